"""What an operator asks of an index, and what does not change it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from indextrust.distribution import DistributionFile
from indextrust.errors import AlteredStateError, InputError, RepositoryError, StoreError
from indextrust.names import NormalizedName, project_name
from indextrust.repository import audit, audited
from indextrust.repository.audited import Audited
from indextrust.repository.care import exposed_keys, with_uses
from indextrust.repository.check import Check
from indextrust.repository.checkpoint import Checkpoint
from indextrust.repository.checkpoint_make import Made, Progress, make_checkpoint, silent
from indextrust.repository.freeze import Frozen
from indextrust.repository.history import history
from indextrust.repository.log import Log
from indextrust.repository.opened import Opened
from indextrust.repository.plan import TargetFile
from indextrust.repository.results import Checked, Difference, LogEntry, Status
from indextrust.repository.status import make_status
from indextrust.repository.stored import Stored, check_stored, expected_files

__all__ = ["Questions"]


class Questions(Opened):
    """The methods of `Repository` that change nothing."""

    def status(self, *, keys: Path | None = None) -> Status:
        """What is published, and what a person should see to.

        Args:
            keys: folder of the online key; it is looked through for keys that should not be
                there, as the repository's folder is.
        """
        offline, now = self._offline(None), self._clock()
        status = make_status(self._state, offline, self._storage, now)
        status = with_uses(status, self._usage, self._state.queue.log.ends(), now)
        folders = [self.folder] if keys is None else [self.folder, keys]
        warnings = exposed_keys(folders, offline.online_keyid)
        frozen = self._freeze.found()
        return replace(
            status,
            warnings=(*status.warnings, *warnings),
            frozen=None if frozen is None else str(frozen),
        )

    def frozen(self) -> Frozen | None:
        """The freeze that is in force; None if there is none."""
        return self._freeze.found()

    def check_uses(self) -> None:
        """Verify the log of the online key, against itself and against the transaction log.

        `check` does this too, and `status` while the log is short (some 60,000 publications).

        Raises:
            AlteredStateError: entries were altered, left out, moved or cut off.
            StoreError: it can't be read.
        """
        self._usage.check(self._state.queue.log.ends())

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

    def expected_targets(self) -> dict[str, TargetFile]:
        """The published targets as the state has them: target path to length and SHA-256."""
        return self._state.targets()

    def published_targets(self) -> dict[str, TargetFile]:
        """The targets as the served metadata has them, whoever signed it; not verified.

        Raises:
            RepositoryError: part of the served metadata can't be read. `audit` answers
                nevertheless.
        """
        targets, faults = self._served()
        if faults:
            raise RepositoryError(f"{self.public}: {'; '.join(faults[:5])}")
        return targets

    def audit(self) -> audit.Audit:
        """Compare the metadata that is served with the state.

        What is signed for each target is compared, and no target is read: files that were altered
        or are missing are found by clients, by `check_stored`, and by `restore`, which hashes them
        all. After a compromise the state proves nothing: see `audit_since`.
        """
        return audit.compare(self.expected_targets(), *self._served())

    def checkpoint(self, root: bytes, path: Path, *, progress: Progress = silent) -> Made:
        """Make a checkpoint of what is served, to be kept off the server. Reads no database.

        Args:
            root: a root file of this index that is trusted, best the first one.
            path: the file to be made, or the folder for it.
            progress: is told of every project.

        Raises:
            RefusedError, UnreachableError, StoreError: as `make_checkpoint`.
        """
        return make_checkpoint(self._storage, root, path, self._clock(), progress)

    @property
    def transaction_log(self) -> Log:
        """The log itself, for an audit."""
        return self._state.queue.log

    def audit_since(self, good: Checkpoint, *, progress: Progress = silent) -> Audited:
        """Compare what is served with a checkpoint, and say who queued what differs.

        Args:
            good: opened with the digest that a person gave.
            progress: is told of every project.

        Raises:
            CheckpointError, StoreError: as `audited.audit`.
        """
        return audited.audit(good, self._storage, self.transaction_log, self._clock(), progress)

    def check_stored(
        self,
        good: Checkpoint,
        found: Audited,
        *,
        sample: int | None = None,
        progress: Progress = silent,
    ) -> Stored:
        """Hash the stored files again, public and private, and compare.

        Args:
            good: the checkpoint.
            found: what `audit_since` found.
            sample: how many files, chosen at random; None for all.
            progress: is told of every file.

        Raises:
            CheckpointError: a part of the checkpoint was altered.
        """
        return check_stored(
            lambda: expected_files(good, found),
            good.layout,
            self.public,
            self._objects.path,
            elsewhere=self._is_elsewhere,
            sample=sample,
            progress=progress,
        )

    def _is_elsewhere(self, path: str) -> bool:
        """Whether the state says that the operator serves a file himself."""
        _, project, filename = path.split("/")
        try:
            there = self._state.elsewhere(project_name(project))
        except (InputError, StoreError):
            return False
        return filename.removesuffix(".metadata") in there

    def check(self) -> Checked:
        """Compare state, signed metadata, logs and stored files, and change nothing.

        Reads the whole index once. Publications may go on meanwhile.

        Raises:
            StoreError: the state, or the private copies of the offline roles, can't be read.
        """
        parts = self._state, self._storage, self._objects
        checked = Check(*parts, lambda: self._offline(None), self._locked, self._clock).run()
        if self._wrong_uses() is None:
            return checked
        with self._locked():  # a publication may have come between the two logs
            wrong = self._wrong_uses()
        if wrong is None:
            return checked
        found = (Difference("uses", str(self._usage.path), wrong), *checked.differences)
        return replace(checked, count=checked.count + 1, differences=found)

    def _wrong_uses(self) -> str | None:
        """What is wrong with the log of the online key; None: nothing."""
        try:
            self.check_uses()
        except (AlteredStateError, StoreError) as error:
            return str(error)
        return None
