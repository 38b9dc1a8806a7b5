"""What an operator asks for: files to be added, removed, yanked, listed with both hashes.

Nothing is signed here, and readers see nothing of it until `publish`: it needs no online key, and
goes on under a freeze. What was asked for at once is queued whole or not at all.

What is refused at the door is in `indextrust.repository.intake`. Where it goes by files that the
state says are published, they are compared with what was signed: who writes the tables alone can't
make it believe that a file is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from indextrust.distribution import DistributionFile
from indextrust.names import NormalizedName, check_filename, project_name
from indextrust.repository.changes import Remove, Yank, yank_reason
from indextrust.repository.imports import Importer, Progress
from indextrust.repository.intake import Intake
from indextrust.repository.opened import INCOMING
from indextrust.repository.origin import Origin
from indextrust.repository.plan import TargetFile, utc
from indextrust.repository.questions import Questions
from indextrust.repository.rehash import STEP, Rehasher
from indextrust.repository.results import Imported, Rehashed

__all__ = ["Queueing"]


class Queueing(Questions):
    """The methods of `Repository` that queue changes."""

    WINDOW: ClassVar[int] = 100_000
    """Files that one publication takes from the queue at most: it holds their documents in
    memory."""

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
            return self._intake().add(paths, upload_time or now, now)

    def import_files(
        self, *paths: Path, progress: Progress = lambda _done, _bytes: None
    ) -> Imported:
        """Queue many files whose bytes are elsewhere; all of them, or none.

        They are listed and signed as every other file; the operator serves their bytes himself,
        and vouches for the digests. What is there already with the same digest stays as it is.

        Args:
            paths: ``.jsonl`` or ``.csv`` files of rows, PEP 691 pages of another index, or
                folders of such pages (`indextrust.repository.import_rows`).
            progress: is told now and then what was done, and the bytes read since the last time.

        Raises:
            InputError: a row that can't be imported; the message has its file and line.
            DistributionError: a source that is no regular file.
            RepositoryError: a file name that is used for other bytes, or a twin of it in other
                case; likewise.
        """
        with self._locked():
            layout = self._offline(None).layout
            scratch = self.folder / INCOMING
            both = self._state.queue.ledger().both
            importer = Importer(self._state, self._intake(), scratch, layout, progress, both=both)
            return importer.run(paths, utc(self._clock()))

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

    def rehash(self, files: int = STEP) -> Rehashed:
        """One step of the hash transition (PEP 458): list the SHA-512 beside the SHA-256.

        From the first call on of everything that is added, and of every document that is signed
        anew; there is no way back. And of `files` more files that are published already, whose
        private copies are read. Call it, and `publish`, until there is no more. A step that was
        cut short queued nothing, or all.

        Args:
            files: how many to read at most; fewer if they are large.

        Raises:
            AlteredStateError: state and signed metadata differ. Nothing is queued.
            RepositoryError: a re-binning has begun and is not out: publish first.
            InputError: not a positive number.
        """
        with self._locked():
            rehasher = Rehasher(self._state, self._objects, self._intake())
            return rehasher.step(files, utc(self._clock()))

    def _queue(self, change: Remove | Yank) -> None:
        with self._locked():
            self._intake().change(change, utc(self._clock()))

    def _intake(self) -> Intake:
        return Intake(self._state, self._objects, self._check_published, self.WINDOW)

    def _check_published(
        self, files: Mapping[NormalizedName, Mapping[str, DistributionFile]]
    ) -> Mapping[NormalizedName, TargetFile | None]:
        """Refuse files that are not what is published. Raises AlteredStateError.

        Returns:
            What is signed for the documents; nothing while no bin has them.
        """
        if self._state.queue.ledger().rebinning is not None:
            return {}
        known = self._warm.known
        return Origin(self._state, self._storage, self._offline(None), known).documents(files)
