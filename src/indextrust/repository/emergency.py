"""What an operator does on the worst day: freeze, look, recover, thaw.

`Emergency.recover` is `Repository.install` with two things more: it signs under a freeze, so that
timers keep still, and it carries out what people decided on each file *before* anything is signed,
so that clients go from the thief's state to the good one with nothing in between.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from securesystemslib.signer import Signer

from indextrust.distribution import DistributionFile
from indextrust.errors import IndextrustError, RepositoryError, StoreError
from indextrust.names import NormalizedName, file_path
from indextrust.repository.changes import Remove, Yank
from indextrust.repository.checkpoint import Checkpoint
from indextrust.repository.disk import copy_bytes, open_regular, storing, sweep
from indextrust.repository.freeze import Freeze, FreezeNote, Frozen, stated_reason
from indextrust.repository.inspect import MAX_SIZE
from indextrust.repository.investigation import Investigation, investigate
from indextrust.repository.lock import locked
from indextrust.repository.log import FREEZE, THAW, author
from indextrust.repository.opened import INCOMING, LOCK, STATE, Clock, utc_now
from indextrust.repository.place import names_of
from indextrust.repository.plan import Digests, utc
from indextrust.repository.queueing import Queueing
from indextrust.repository.results import Published
from indextrust.repository.roles import SignedRoles
from indextrust.repository.schema import Database
from indextrust.repository.seal import Seal, key_place, read_key
from indextrust.repository.state import State

__all__ = ["Emergency", "Wanted"]

_PATIENCE = 5.0
"""Seconds to wait for the lock, once a freeze is in force: for what is under way, and to log it."""


@dataclass(frozen=True)
class Wanted:
    """A distribution file that is to be listed, by the bytes it has to have.

    Args:
        project: normalised project name.
        filename: the file's own name.
        sha256: of its bytes.
        known: all that is to be said of it; None for what can be read from it, and now.
    """

    project: NormalizedName
    filename: str
    sha256: str
    known: DistributionFile | None = None

    def agrees(self, file: DistributionFile) -> bool:
        """Whether that is what is listed, but for its yank, and for a SHA-512 that only one of both
        has: what is known may be from before the hash transition, and is not listed anew for it."""
        if self.known is None:
            return file.sha256 == self.sha256
        pairs = (self.known.sha512, file.sha512), (self.known.metadata_sha512, file.metadata_sha512)
        same = all(None in pair or pair[0] == pair[1] for pair in pairs)
        known, there = (one.with_yank(None).with_sha512(None, None) for one in (self.known, file))
        return same and known == there


class Emergency(Queueing):
    """The methods of `Repository` for the worst day."""

    @staticmethod
    def freeze(
        folder: Path,
        reason: str,
        *,
        by: str | None = None,
        clock: Clock = utc_now,
        queue_key: Path | None = None,
    ) -> tuple[Frozen, bool]:
        """Sign nothing from now on, whoever asks, until `thaw`.

        Needs no key, no passphrase and no lock: a publication that is under way stops before its
        next signature. Then it waits up to five seconds for the lock, so that a timestamp which was
        just being replaced is out, or will never be, when this returns. Adding, removing and
        rehashing go on being queued. To freeze what is frozen adds the reason, and stops a recovery
        too.

        Args:
            folder: of the repository.
            reason: one line, for the people who find it frozen.
            by: who says so; None for the operating system's user.
            clock: tells the time, aware, UTC.
            queue_key: as for `open`, to log it.

        Returns:
            The freeze, and whether it is in the authenticated log as well. It is not where the
            lock is held for long, the queue key can't be read or the log was altered.

        Raises:
            InputError: no reason, or no such name.
            RepositoryError: no repository is there.
            StoreError: the disk refused; the message says whether it is frozen.
        """
        if not (folder / STATE).is_file() and not (folder / "public").is_dir():
            raise RepositoryError(f"{folder} is no repository: it has no {STATE}")
        note = FreezeNote(utc(clock()), author(by), stated_reason(reason))
        frozen = Freeze(folder).set(note)
        try:
            with locked(folder / LOCK, _PATIENCE):  # first: what was under way has ended then
                seal = Seal(read_key(key_place(folder, queue_key)), folder, folder / INCOMING)
                sweep(folder / INCOMING)
                queue = State(Database(folder / STATE), seal, note.who).queue
                queue.note(FREEZE, {"reason": note.reason}, note.time)
        except (IndextrustError, OSError):
            return frozen, False
        return frozen, True

    def thaw(self, reason: str) -> Frozen:
        """End a freeze. The reason, and what the freeze said, are logged first.

        Nothing is signed by it: `publish` completes what was interrupted.

        Args:
            reason: one line.

        Returns:
            The freeze that is over.

        Raises:
            InputError: no reason.
            RepositoryError: it is not frozen.
            FrozenError: somebody froze it again at this moment.
            AlteredStateError: the log was altered; it stays frozen.
        """
        reason = stated_reason(reason)
        frozen = self._freeze.found()
        if frozen is None:
            raise RepositoryError(f"{self.folder} is not frozen")
        said = [dataclasses.asdict(note) for note in frozen.notes]

        def log() -> None:
            now = utc(self._clock())
            self._state.queue.note(THAW, {"reason": reason, "frozen": said}, now)

        with self._locked():
            self._freeze.lift(frozen, log)
        return frozen

    def investigate(self, good: Checkpoint) -> Investigation:
        """Compare what is served with a checkpoint, with the log, and with the state.

        Raises:
            CheckpointError: a part of the checkpoint was altered.
            StoreError: the checkpoint, or the state, can't be read.
        """
        return investigate(self._state, self._storage, good, self._served(), self._clock())

    def recover(
        self,
        roles: SignedRoles,
        online: Signer,
        frozen: Frozen | None,
        *,
        add: Sequence[Wanted] = (),
        remove: Sequence[tuple[NormalizedName, str]] = (),
    ) -> Published:
        """Take new offline roles, as `install`, and publish with them what people decided.

        What waits in the queue is published too. Called again after it was cut short, it goes on.

        Args:
            roles: what the ceremony signed, from the root after the current one on.
            online: signer of the online key in `roles`.
            frozen: the freeze that it may sign under; any other one stops it.
            add: files to be listed. Their bytes are looked for among the private copies, then in
                the public folder.
            remove: project and file name of files to be listed no more.

        Raises:
            FrozenError: the repository was frozen again.
            RepositoryError: as `install`; a name that stands for other bytes.
            StoreError: the bytes of a file are nowhere.
            SigningError: the signer failed; call it again.
        """
        self._freeze.allow(frozen)
        try:
            with self._unfrozen():
                offline = self._adopted(roles, online)
                repaired, lost = self._made_true(offline, online, 0)
                self._decide(add, remove)
                pending = self._state.queue.pending(limit=self.WINDOW)
                done = self._publish(pending, timedelta(0))
                while pending.more:
                    pending = self._state.queue.pending(limit=self.WINDOW)
                    done = done.then(self._publish(pending, timedelta(0)))
                return replace(done, repaired=repaired, lost=lost)
        finally:
            self._freeze.allow(None)

    # -- parts -------------------------------------------------------------------------------

    def _decide(self, add: Sequence[Wanted], remove: Sequence[tuple[NormalizedName, str]]) -> None:
        """Queue what was decided and is not so already."""
        intake, now = self._intake(), utc(self._clock())
        for project, filename in remove:
            if filename in intake.files(project):
                intake.change(Remove(project, filename), now)
        for wanted in add:
            there = intake.files(wanted.project).get(wanted.filename)
            if there is None or not wanted.agrees(there):
                path = self._copy_of(wanted)
                if there is not None:
                    intake.change(Remove(wanted.project, wanted.filename), now)
                since = now if wanted.known is None else wanted.known.upload_time
                (there,) = intake.add([path], since, now)
            yanked = None if wanted.known is None else wanted.known.yanked
            if there.yanked != yanked:
                intake.change(Yank(wanted.project, wanted.filename, yanked), now)

    def _copy_of(self, wanted: Wanted) -> Path:
        """A copy in the scratch folder, under its own name. Raises StoreError."""
        path = file_path(wanted.project, wanted.filename)
        sha512 = None if wanted.known is None else wanted.known.sha512
        names = names_of(path, Digests(wanted.sha256, sha512), "pep458")
        places = [self._objects.path(wanted.sha256), *(self.public / name for name in names)]
        folder = self.folder / INCOMING / f"{wanted.sha256}.wanted"
        with storing(f"write {folder}"):
            folder.mkdir(exist_ok=True)
            copy = folder / wanted.filename
            for place in places:
                copy.unlink(missing_ok=True)
                try:
                    source = open_regular(place)
                except IndextrustError:
                    continue
                with source, copy.open("xb") as target:
                    if os.fstat(source.fileno()).st_size > MAX_SIZE:
                        continue
                    if copy_bytes(source, target) == wanted.sha256:
                        return copy
        raise StoreError(
            f"{path}: no bytes with sha256 {wanted.sha256} are left, neither among the private "
            f"copies nor in the public folder: put them at {places[0]}"
        )
