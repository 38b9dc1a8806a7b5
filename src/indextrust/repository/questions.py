"""What an operator asks of an index, and what does not change it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from indextrust.distribution import DistributionFile
from indextrust.errors import AlteredStateError, RepositoryError, StoreError
from indextrust.names import NormalizedName, project_name
from indextrust.repository import audit
from indextrust.repository.care import exposed_keys, with_uses
from indextrust.repository.check import Check
from indextrust.repository.history import history
from indextrust.repository.opened import Opened
from indextrust.repository.plan import TargetFile, utc
from indextrust.repository.results import Checked, Difference, LogEntry, Status
from indextrust.repository.status import make_status

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
        return replace(status, warnings=(*status.warnings, *warnings))

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
        return audit.compare(good, *self._served(), older=checkpoint is not None)

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
