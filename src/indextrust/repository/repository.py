"""`Repository`: an index folder, and everything an operator does with it.

A folder holds

* ``public/``: what a static web server serves, and nothing else (`indextrust.repository.place`);
* ``state.sqlite``: the working copy, what is published and what is queued;
* ``objects/``: a private copy of every file that was added, from which `restore` repairs
  ``public/``; copied and never linked, so that whoever edits a public file does not reach it;
* ``incoming/``: unfinished files, emptied whenever an operation begins;
* ``quarantine/``: what `restore` found and did not want;
* ``lock``: one operation at a time, across processes;
* ``queue.key``, ``queue.head``: what vouches for the queue (`indextrust.repository.seal`);
* ``online.log``: each use of the online key (`indextrust.repository.usage`), or ``online.place``,
  which says where it is;
* ``frozen``: there while nothing may be signed (`indextrust.repository.freeze`).

Serve ``public/`` alone, and let the server's user write nowhere.

What readers see changes with an operation that succeeds, and not otherwise; one that was cut
short is completed by the next. (Where `create` fails after its checks, at the signer or the disk,
there may be a repository that is not published yet: `open` it and `publish`.) The signer of the
online key is handed in and never stored; no offline key ever comes here.

Here it is made, published, repaired and cleaned up. Its other methods are where they belong: what
changes nothing in `questions`, what is queued in `queueing`, the worst day in `emergency`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from securesystemslib.signer import Signer

from indextrust.errors import InputError, RepositoryError
from indextrust.names import Hashes
from indextrust.repository.checkpoint import Checkpoint
from indextrust.repository.collect import Collector
from indextrust.repository.disk import storing, sweep
from indextrust.repository.emergency import Emergency
from indextrust.repository.expiry import AHEAD
from indextrust.repository.lock import locked
from indextrust.repository.log import author
from indextrust.repository.mirrors import Mirror
from indextrust.repository.objects import ObjectStore
from indextrust.repository.offline import (
    check_online_key,
    verify,
)
from indextrust.repository.opened import INCOMING, LOCK, OBJECTS, STATE, Clock, utc_now
from indextrust.repository.plan import utc
from indextrust.repository.publish import check_unchanged
from indextrust.repository.queue import Pending
from indextrust.repository.rebin import begin
from indextrust.repository.rebuild import rebuild
from indextrust.repository.refill import Refill, Refilled
from indextrust.repository.results import Collected, Published, Rebuilt
from indextrust.repository.roles import SignedRoles
from indextrust.repository.schema import Database
from indextrust.repository.seal import Seal, key_place, make_key, read_key
from indextrust.repository.served import VERSION_LIMIT
from indextrust.repository.state import State
from indextrust.repository.stored import Damage

__all__ = ["Repository", "utc_now"]

_LEFTOVER = re.compile(r"[0-9a-f]{32}|state\.sqlite(-journal)?|queue\.head", re.ASCII)
_MADE = re.compile(
    r"lock|incoming|objects|queue\.(key|head)|\.queue\.key\.[0-9a-f]{16}\.tmp", re.ASCII
)
"""What a `create` that was killed may have left in the folder."""


class Repository(Emergency):
    """An index folder. Made by `create`, found again by `open`.

    Methods that change something raise, besides what they name, `StoreError` when the disk
    refuses and `ConflictError` when another process keeps the lock for a minute; those that sign,
    and `collect`, which removes evidence, `FrozenError` while the repository is frozen.
    """

    @classmethod
    def create(
        cls,
        folder: Path,
        roles: SignedRoles,
        *,
        online: Signer,
        clock: Clock = utc_now,
        queue_key: Path | None = None,
        by: str | None = None,
        online_log: Path | None = None,
        hashes: Hashes = "sha256",
    ) -> Repository:
        """Make a new repository and publish it, empty.

        Args:
            folder: to be created, or empty.
            roles: what the genesis ceremony signed.
            online: signer of timestamp, snapshot and all bins.
            clock: tells the time, aware, UTC.
            queue_key: file of the key that vouches for the queue, made if it is not there; None
                for ``queue.key`` in the folder.
            by: who is named in the log; None for the operating system's user.
            online_log: file in which each use of the online key is logged
                (`indextrust.repository.usage`), best where this user can't alter it; None for
                ``online.log`` in the folder. It is remembered, and used until another is given.
            hashes: which are listed; ``both`` for good (`rehash`).

        Raises:
            KeyFileError: no usable queue key.
            RepositoryError: roles that do not verify, an online key that is not in them, or a
                folder that is not empty.
            SigningError: the signer failed; the repository is there, not published yet.
        """
        offline = verify(roles, {}, clock())
        check_online_key(offline, online)
        with storing(f"write {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / LOCK):
            others = sorted(name for name in os.listdir(folder) if not _MADE.fullmatch(name))
            others += _foreign(folder / INCOMING)
            if others:
                raise RepositoryError(f"{folder} is not empty: it has {others[:5]}")
            sweep(folder / INCOMING)
            objects = ObjectStore(folder / OBJECTS, folder / INCOMING)
            objects.keep_offline(offline)
            seal = Seal(make_key(key_place(folder, queue_key)), folder, folder / INCOMING)
            state = State.create(
                *(folder / STATE, folder / INCOMING, offline, seal, author(by), utc(clock())),
                hashes,
            )
            repository = cls(folder, state, online, clock, online_log)
            repository._publish(Pending((), 0), timedelta(0))
        return repository

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        online: Signer | None = None,
        clock: Clock = utc_now,
        queue_key: Path | None = None,
        by: str | None = None,
        online_log: Path | None = None,
    ) -> Repository:
        """Open a repository.

        Args:
            folder: its folder.
            online: signer of the online key; None if nothing will be published.
            clock: tells the time, aware, UTC.
            queue_key, by, online_log: as for `create`; the key must be there.

        Raises:
            KeyFileError: no usable queue key.
            RepositoryError: no repository is there, or another online key is in force.
            RepositoryVersionError: made by another version of indextrust.
            StoreError: it can't be read.
        """
        if not (folder / STATE).is_file():
            served = (folder / "public" / "metadata").is_dir()
            cure = ". If that was lost, `indextrust rebuild` makes it anew" if served else ""
            raise RepositoryError(f"{folder} is no repository: it has no {STATE}{cure}")
        database = Database(folder / STATE)  # first: another version may have no queue key
        seal = Seal(read_key(key_place(folder, queue_key)), folder, folder / INCOMING)
        repository = cls(folder, State(database, seal, author(by)), online, clock, online_log)
        if online is not None:
            check_online_key(repository._offline(None), online)
        return repository

    @classmethod
    def rebuild(
        cls,
        folder: Path,
        root: bytes,
        *,
        clock: Clock = utc_now,
        queue_key: Path | None = None,
        by: str | None = None,
        good: Checkpoint | None = None,
    ) -> Rebuilt:
        """Make the state anew from the signed metadata in the public folder, and nothing else.

        For when the database is lost or not believed. What no signature covers is lost; the
        answer says what (`indextrust.repository.rebuild`). The old database is kept. Nothing is
        signed: `open` and `publish` go on. Compare with a checkpoint first, if there is one.

        Args:
            folder: of the repository.
            root: a root file of this index that is trusted, best the first one.
            clock: tells the time, aware, UTC.
            queue_key: file of the key that vouches for the queue, made if it is not there.
            by: as for `create`.
            good: a checkpoint, where somebody may have signed with a stolen key: the state is
                made of that, and of what is served only the offline roles and the numbers are
                believed. To be followed by `recover`.

        Raises:
            CheckpointError: a part of the checkpoint was altered.
            RefusedError, UnreachableError: what is served is not what a client of this root would
                take, but for expiry. Nothing has changed.
            RepositoryError: no index of this profile is there.
            KeyFileError: no usable queue key.
        """
        place = key_place(folder, queue_key)
        return rebuild(folder, root, place, author(by), clock(), good)

    # -- publication -------------------------------------------------------------------------

    def publish(self) -> Published:
        """Publish what is queued, and complete a publication that was interrupted.

        Only the bins that a change falls into are signed anew, and what has expired already. More
        changes than `WINDOW` are published in as many steps, each a complete snapshot: whoever is
        cut short has published a prefix of the queue, and the next call goes on. With nothing
        queued, interrupted or expired nothing is done, and the answer says so
        (`Published.nothing_to_do`): renewing in time is `renew`'s task.

        Raises:
            RepositoryError: no online signer, somebody else wrote the public timestamp, an
                offline role has expired, or a client would refuse the result.
            SigningError: the signer failed.
        """
        with self._unfrozen():
            check_unchanged(self._state, self._storage)
            pending = self._state.queue.pending(limit=self.WINDOW)
            done = self._publish(pending, timedelta(0))
            while pending.more:
                check_unchanged(self._state, self._storage)  # hours may have gone by
                pending = self._state.queue.pending(limit=self.WINDOW)
                done = done.then(self._publish(pending, timedelta(0)))
            return done

    def renew(self, within: timedelta = AHEAD) -> Published | None:
        """Sign anew what expires soon: timestamp, snapshot and bins. Publishes no change.

        Call it every hour: each time a twelfth of the bins is due (`indextrust.repository.expiry`).
        An index that was asleep for weeks is healed by one call.

        Args:
            within: sign what expires in this time.

        Returns:
            None if nothing does.

        Raises:
            RepositoryError, SigningError: as `publish`.
        """
        with self._unfrozen():
            check_unchanged(self._state, self._storage)
            published = self._publish(self._begun(), within)
        return None if published.nothing_to_do else published

    def install(self, roles: SignedRoles, online: Signer) -> Published:
        """Take new offline roles from a ceremony and sign everything under them.

        For the yearly renewal, and for recovery: with a new online key in `roles`, whoever stole
        the old one is out. The public folder is repaired as by `restore`.

        Args:
            roles: what the ceremony signed, from the root after the current one on.
            online: signer of the online key in `roles`.

        Raises:
            RepositoryError: roles that do not follow the current ones, other bins (`rebin` takes
                those), or another online key.
            SigningError: the signer failed; call `install` or `publish` again.
        """
        with self._unfrozen():
            return self._start_over(self._adopted(roles, online), online)

    def rebin(self, roles: SignedRoles, online: Signer) -> Published:
        """Take new offline roles with another number of bins, and spread all targets over those.

        Clients follow by an ordinary refresh. The old names stay in the snapshots until the online
        key is replaced. What is queued stays queued. If this is cut short, readers see the old
        bins, and the next call of this, of `publish` or of `renew` completes it.

        Args:
            roles: what the ceremony signed (`rotate` with ``bins``), from the root after the
                current one on.
            online: signer of the online key in `roles`; the same as before, or a new one.

        Raises:
            RepositoryError: roles that do not follow the current ones, the same bins, another
                layout, or a publication that has begun and is not out.
            AlteredStateError: state and served bins differ: audit, restore, then come again.
            SigningError: the signer failed; call `rebin` or `publish` again.
        """
        with self._unfrozen():
            check_unchanged(self._state, self._storage)
            current, now = self._offline(None), self._clock()
            offline = verify(roles, current.roots, now)
            check_online_key(offline, online)
            if offline.roles != current.roles:  # else it has begun already, or is out
                begin(self._state, self._storage, self._objects, current, offline, utc(now))
            self._online = online
            return self._publish(self._begun(), timedelta(0))

    def restore(self, *, above: int = 0) -> Published:
        """Bring the public folder back to the state, and sign everything anew.

        Whatever differs is written again from the private copies, what does not belong is moved
        to ``quarantine/``, and all online roles get versions above the highest ones found there,
        whoever signed them. Reads the whole index once. If the online key was stolen, hold a
        ceremony and use `install`. A publication that is out, and was killed before it was
        recorded, is completed first where that is possible.

        Args:
            above: version numbers go on above this one, too. For a server that was put back from a
                backup, the public folder with it: nothing here says what clients have seen since,
                and they refuse whatever is lower. Give the highest version of timestamp, snapshot
                or a bin that a mirror or a client has.

        Raises:
            InputError: a number beyond what versions can be.
            RepositoryError: no online signer.
            SigningError: the signer failed; call it again.
            StoreError: a private copy is missing or damaged, or the disk refused.
        """
        if not 0 <= above <= VERSION_LIMIT:
            raise InputError(f"expected a version up to {VERSION_LIMIT}, got {above}")
        with self._unfrozen():
            self._complete()
            return self._start_over(None, self._signer(), above)

    def refill(
        self, good: Checkpoint, damages: Iterable[Damage], *, mirror: Mirror | None = None
    ) -> Refilled:
        """Put damaged files back by their hash. Nothing is signed, and no version changes.

        Args:
            good: the checkpoint that they were found damaged by.
            damages: what `check_stored` found.
            mirror: where bytes may come from that are nowhere here; believed for their hash alone.

        Raises:
            StoreError: the disk refused; call it again.
        """
        incident = self._incident()
        with self._locked():
            parts = (self._storage, self._objects, self.folder / INCOMING, good.layout)
            return Refill(good, *parts, mirror, incident).run(damages)

    def collect(self) -> Collected:
        """Remove what was superseded an hour ago or earlier, and no client can ask for any more.

        Call it every hour. What readers see stays as it is, roots and private copies stay for
        ever; publications may come in between. A collection that was cut short is begun again.

        Raises:
            RepositoryError: somebody else wrote the public timestamp; the log or the oldest
                snapshot in use was altered. Nothing is removed.
        """
        now, offline = self._clock(), self._offline(None)
        collector = Collector(self._state, self._storage, self._objects, offline, now)
        with self._unfrozen():
            check_unchanged(self._state, self._storage)
            collector.sweep_metadata()
        for projects in collector.changed_projects():
            with self._unfrozen():
                collector.sweep_targets(projects)
        with self._unfrozen():
            collector.sweep_snapshots()
        return collector.collected


def _foreign(scratch: Path) -> list[str]:
    """What lies in a folder to be swept and was not left there by a `create` that was killed."""
    if not os.path.lexists(scratch):
        return []
    with storing(f"read {scratch}"):
        names = sorted(os.listdir(scratch))
    return [f"{INCOMING}/{name}" for name in names if not _LEFTOVER.fullmatch(name)]
