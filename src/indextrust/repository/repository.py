"""`Repository`: an index folder, and everything an operator does with it.

A folder holds

* ``public/``: what a static web server serves, and nothing else (`indextrust.repository.place`);
* ``state.sqlite``: the working copy, what is published and what is queued;
* ``objects/``: a private copy of every file that was added, from which `restore` repairs
  ``public/``; copied and never linked, so that whoever edits a public file does not reach it;
* ``incoming/``: unfinished files, emptied whenever an operation begins;
* ``quarantine/``: what `restore` found and did not want;
* ``lock``: one operation at a time, across processes;
* ``queue.key``, ``queue.head``: what vouches for the queue (`indextrust.repository.seal`).

Serve ``public/`` alone, and let the server's user write nowhere.

What readers see changes with an operation that succeeds, and not otherwise; one that was cut
short is completed by the next. (Where `create` fails after its checks, at the signer or the disk,
there may be a repository that is not published yet: `open` it and `publish`.) The signer of the
online key is handed in and never stored; no offline key ever comes here.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import Signer

from indextrust.distribution import DistributionFile
from indextrust.errors import RepositoryError, StoreError
from indextrust.names import (
    BINS,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    NormalizedName,
    check_filename,
    project_name,
)
from indextrust.repository import audit
from indextrust.repository.changes import Change, Remove, Yank, yank_reason
from indextrust.repository.disk import storing, sweep
from indextrust.repository.gate import Gate
from indextrust.repository.history import history
from indextrust.repository.intake import Intake
from indextrust.repository.lock import locked
from indextrust.repository.log import author
from indextrust.repository.objects import ObjectStore
from indextrust.repository.offline import (
    Offline,
    check_expiry,
    check_online_key,
    check_successor,
    verify,
)
from indextrust.repository.plan import LIFETIME, TargetFile, utc
from indextrust.repository.publish import Publisher, Warm, check_unchanged
from indextrust.repository.queue import Pending
from indextrust.repository.restore import Repair
from indextrust.repository.results import LogEntry, Published, Status
from indextrust.repository.roles import SignedRoles
from indextrust.repository.schema import Database
from indextrust.repository.seal import Seal, key_place, make_key, read_key
from indextrust.repository.served import highest_versions, targets_served
from indextrust.repository.state import State
from indextrust.repository.status import make_status
from indextrust.repository.storage import FolderStorage

__all__ = ["Repository", "utc_now"]

Clock = Callable[[], datetime]
"""Tells the time: aware, UTC."""

_STATE, _LOCK, _INCOMING, _OBJECTS = "state.sqlite", "lock", "incoming", "objects"
_LEFTOVER = re.compile(r"[0-9a-f]{32}|state\.sqlite(-journal)?|queue\.head", re.ASCII)
_MADE = re.compile(
    r"lock|incoming|objects|queue\.(key|head)|\.queue\.key\.[0-9a-f]{16}\.tmp", re.ASCII
)
"""What a `create` that was killed may have left in the folder."""


def utc_now() -> datetime:
    """The time, aware, UTC."""
    return datetime.now(UTC)


class Repository:
    """An index folder. Made by `create`, found again by `open`.

    Methods that change something raise, besides what they name, `StoreError` when the disk
    refuses and `ConflictError` when another process keeps the lock for a minute.
    """

    def __init__(self, folder: Path, state: State, online: Signer | None, clock: Clock) -> None:
        self.folder = folder
        self._state = state
        self._online = online
        self._clock = clock
        scratch = folder / _INCOMING
        self._objects = ObjectStore(folder / _OBJECTS, scratch)
        self._intake = Intake(state, self._objects)
        self._storage = FolderStorage(folder / "public", scratch, folder / "quarantine")
        self._warm = Warm(Gate(self._storage))
        self._verified: tuple[SignedRoles, Offline] | None = None

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
        with locked(folder / _LOCK):
            others = sorted(name for name in os.listdir(folder) if not _MADE.fullmatch(name))
            others += _foreign(folder / _INCOMING)
            if others:
                raise RepositoryError(f"{folder} is not empty: it has {others[:5]}")
            sweep(folder / _INCOMING)
            objects = ObjectStore(folder / _OBJECTS, folder / _INCOMING)
            _keep_offline(objects, offline)
            seal = Seal(make_key(key_place(folder, queue_key)), folder, folder / _INCOMING)
            state = State.create(
                folder / _STATE, folder / _INCOMING, offline, seal, author(by), utc(clock())
            )
            repository = cls(folder, state, online, clock)
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
    ) -> Repository:
        """Open a repository.

        Args:
            folder: its folder.
            online: signer of the online key; None if nothing will be published.
            clock: tells the time, aware, UTC.
            queue_key, by: as for `create`; the key must be there.

        Raises:
            KeyFileError: no usable queue key.
            RepositoryError: no repository is there, or another online key is in force.
            RepositoryVersionError: made by another version of indextrust.
            StoreError: it can't be read.
        """
        if not (folder / _STATE).is_file():
            raise RepositoryError(f"{folder} is no repository: it has no {_STATE}")
        database = Database(folder / _STATE)  # first: another version may have no queue key
        seal = Seal(read_key(key_place(folder, queue_key)), folder, folder / _INCOMING)
        repository = cls(folder, State(database, seal, author(by)), online, clock)
        if online is not None:
            check_online_key(repository._offline(None), online)
        return repository

    @property
    def public(self) -> Path:
        """The folder to serve."""
        return self._storage.public

    # -- changes -----------------------------------------------------------------------------

    def add(self, *paths: Path, upload_time: str | None = None) -> list[DistributionFile]:
        """Queue wheels and sdists; all of them, or none.

        Their bytes are copied at once. A file that is there already, with the same digest, is
        left as it is. A file name stands for one digest for good: other bytes are refused, also
        after a removal.

        Args:
            paths: regular files under their own names.
            upload_time: ``YYYY-MM-DDTHH:MM:SSZ``; None for now.

        Returns:
            What is known of each file, in the order given.

        Raises:
            DistributionError: a file that is no acceptable distribution.
            RepositoryError: a file name that is used for other bytes, or a twin of it in other
                case.
            InputError: an upload time of another form.
        """
        now = utc(self._clock())
        with self._locked():
            return self._intake.add(paths, upload_time or now, now)

    def remove(self, project: str, filename: str) -> None:
        """Queue the removal of a file.

        Its plain name leaves the public folder when this is published. Its hash-prefixed name
        stays for now, for clients in the middle of a refresh.

        Raises:
            RepositoryError: no such file.
            InputError: not a normalised project name, or not a file name.
        """
        self._queue(Remove(project_name(project), check_filename(filename)))

    def yank(self, project: str, filename: str, reason: str = "") -> None:
        """Queue the yank of a file (PEP 592): installers take it only if pinned.

        Args:
            project: normalised project name.
            filename: the file's own name.
            reason: shown to users; one line.

        Raises:
            RepositoryError: no such file.
            InputError: not a normalised project name, not a file name, not a printable reason.
        """
        reason = yank_reason(reason)
        self._queue(Yank(project_name(project), check_filename(filename), reason))

    def unyank(self, project: str, filename: str) -> None:
        """Queue taking a yank back. Raises as `remove`."""
        self._queue(Yank(project_name(project), check_filename(filename), None))

    # -- publication -------------------------------------------------------------------------

    def publish(self) -> Published:
        """Publish what is queued, and complete a publication that was interrupted.

        Only the bins that a change falls into are signed anew, and what has expired already. With
        nothing queued, interrupted or expired nothing is done, and the answer says so
        (`Published.nothing_to_do`): renewing in time is `renew`'s task.

        Raises:
            RepositoryError: no online signer, somebody else wrote the public timestamp, an
                offline role has expired, or a client would refuse the result.
            SigningError: the signer failed.
        """
        with self._locked():
            check_unchanged(self._state, self._storage)
            return self._publish(self._state.queue.pending(), timedelta(0))

    def renew(self, within: timedelta = LIFETIME / 2) -> Published | None:
        """Sign anew what expires soon: timestamp, snapshot and bins. Publishes no change.

        Call it at least twice in their lifetime of a day. An index that was asleep for weeks is
        healed by one call.

        Args:
            within: sign what expires in this time.

        Returns:
            None if nothing does.

        Raises:
            RepositoryError, SigningError: as `publish`.
        """
        with self._locked():
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
            RepositoryError: roles that do not follow the current ones, another number of bins,
                or another online key.
            SigningError: the signer failed; call `install` or `publish` again.
        """
        with self._locked():
            current = self._offline(None)
            offline = verify(roles, current.roots, self._clock())
            check_online_key(offline, online)
            check_successor(current, offline)
            _keep_offline(self._objects, offline)
            return self._start_over(offline, online)

    def restore(self) -> Published:
        """Bring the public folder back to the state, and sign everything anew.

        Whatever differs is written again from the private copies, what does not belong is moved
        to ``quarantine/``, and all online roles get versions above the highest ones found there,
        whoever signed them. Reads the whole index once. If the online key was stolen, hold a
        ceremony and use `install`.

        Raises:
            RepositoryError: no online signer.
            SigningError: the signer failed; call it again.
        """
        with self._locked():
            return self._start_over(None, self._signer())

    # -- questions ---------------------------------------------------------------------------

    def status(self) -> Status:
        """What is published, and what a person should see to."""
        return make_status(self._state, self._offline(None).scheme, self._storage, self._clock())

    def projects(self) -> list[NormalizedName]:
        """All published projects, sorted."""
        return self._state.projects()

    def files(self, project: str) -> list[DistributionFile]:
        """The published files of a project, sorted by name.

        Raises:
            InputError: not a normalised project name.
        """
        return list(self._state.files(project_name(project)).values())

    def log(self, project: str | None = None, since: int | None = None) -> Iterator[LogEntry]:
        """The transaction log, in order: who asked for what, when, and what became of it.

        Every entry is verified before it is given out, and none is left out unnoticed. It takes
        no lock, and memory is bounded.

        Args:
            project: normalised name: only what was asked for it; None for all.
            since: version of a snapshot: only what came after it.

        Raises:
            InputError: not a normalised project name.
            AlteredStateError: while it runs, at the first entry that is not as it was written.
        """
        name = None if project is None else project_name(project)
        return history(self._state.queue.log, name, since)

    def signed_roles(self) -> SignedRoles:
        """The offline roles in force, from the private copies: what the next ceremony starts from.

        Not read from the public folder, where a thief may have put others.
        """
        roots = [self._objects.read(sha256) for _, sha256 in sorted(self._state.roots().items())]
        targets, bins = (self._state.role(name).sha256 for name in (TARGETS, BINS))
        return SignedRoles(tuple(roots), self._objects.read(targets), self._objects.read(bins))

    def expected_targets(self) -> dict[str, TargetFile]:
        """The published targets as the state has them: target path to length and SHA-256."""
        return self._state.targets()

    def published_targets(self) -> dict[str, TargetFile]:
        """The targets as the served metadata has them, whoever signed it; not verified.

        Raises:
            RepositoryError: part of the served metadata can't be read. `audit` answers
                nevertheless.
        """
        targets, faults = targets_served(self._storage, self._offline(None).scheme)
        if faults:
            raise RepositoryError(f"{self.public}: {'; '.join(faults[:5])}")
        return targets

    def checkpoint(self) -> dict[str, Any]:
        """A record of the published targets, as a JSON tree, to be kept off the server."""
        return audit.checkpoint(self.expected_targets(), utc(self._clock()))

    def audit(self, checkpoint: Mapping[str, Any] | None = None) -> audit.Audit:
        """Compare the metadata that is served with what should be.

        What is signed for each target is compared, and no target is read: files that were altered
        or are missing are found by clients, and by `restore`, which hashes them all.

        Args:
            checkpoint: what is known to be good; None for the state.

        Raises:
            InputError: not a checkpoint, or one that was altered.
        """
        good = self.expected_targets() if checkpoint is None else audit.read_checkpoint(checkpoint)
        return audit.compare(good, *targets_served(self._storage, self._offline(None).scheme))

    # -- parts -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with locked(self.folder / _LOCK):
            sweep(self.folder / _INCOMING)
            self._storage.abandon()
            try:
                with self._state.connected():
                    yield
            finally:
                with contextlib.suppress(StoreError):  # the next operation sweeps again
                    sweep(self.folder / _INCOMING)

    def _signer(self) -> Signer:
        if self._online is None:
            raise RepositoryError("publishing needs the online key: open the repository with it")
        return self._online

    def _offline(self, now: datetime | None) -> Offline:
        """The offline roles in force, verified once for these bytes; not expired at `now`."""
        roles = self.signed_roles()
        if self._verified is None or self._verified[0] != roles:
            self._verified = (roles, verify(roles, {}, None))
        offline = self._verified[1]
        if now is not None:
            check_expiry(offline, now)
        return offline

    def _queue(self, change: Change) -> None:
        with self._locked():
            self._intake.change(change, utc(self._clock()))

    def _begun(self) -> Pending:
        """The changes of an interrupted publication: clients may have seen them already."""
        upto = self._state.queue.interrupted()
        return Pending((), 0) if upto is None else self._state.queue.pending(upto=upto)

    def _publish(self, pending: Pending, within: timedelta) -> Published:
        now = self._clock()
        due = self._state.due(utc(now + within), utc(now + LIFETIME))
        if not pending.changes and not due:
            snapshot, timestamp = self._state.role(SNAPSHOT), self._state.role(TIMESTAMP)
            return Published((), snapshot.version, timestamp.version)
        offline = self._offline(now)
        check_online_key(offline, self._signer())
        publisher = Publisher(
            self._state, self._storage, self._objects, offline, self._signer(), now, self._warm
        )
        return publisher.publish(pending, due)

    def _start_over(self, offline: Offline | None, online: Signer) -> Published:
        """Number above everything served, repair the public folder, sign everything."""
        now = utc(self._clock())
        self._state.start_over(highest_versions(self._storage), offline, now)
        self._online = online
        when = now.replace("-", "").replace(":", "")
        incident = f"{when}-{secrets.token_hex(4)}"
        repair = Repair(self._state, self._storage, self._objects, self._offline(None), incident)
        repaired = repair.run()
        return replace(self._publish(self._begun(), timedelta(0)), repaired=repaired)


def _foreign(scratch: Path) -> list[str]:
    """What lies in a folder to be swept and was not left there by a `create` that was killed."""
    if not os.path.lexists(scratch):
        return []
    with storing(f"read {scratch}"):
        names = sorted(os.listdir(scratch))
    return [f"{_INCOMING}/{name}" for name in names if not _LEFTOVER.fullmatch(name)]


def _keep_offline(objects: ObjectStore, offline: Offline) -> None:
    """Keep the files of the offline roles, as every other object."""
    for data in (*offline.roots.values(), *(role.data for role in offline.roles.values())):
        objects.keep_bytes(data)
