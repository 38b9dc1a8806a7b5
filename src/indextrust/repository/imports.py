"""Bulk import: another index's files, or a table of files, into the queue at once.

The bytes stay where they are. What is imported is listed and signed as every other file; the
operator serves it himself, under ``files/<project>/<filename>`` (and its hash-prefixed name, where
files are targets), and clients refuse what does not have the digest. So a row is believed: who
imports vouches for its digests, as whoever adds a file vouches for its bytes.

All or nothing. Rows are checked one by one while they are read (`import_rows`), put into a
scratch table on disk, and come back by project (`staging`). Each project is held against what is
published and what waits, by the rules of `Intake`: a file name stands for one digest for good, and
names that differ in case only are one name. Only when all are is something queued, by one
transaction: an entry of the log for each project, or several where it has many files. What is
there already with the same digest stays as it is, so the same import twice changes nothing.

Memory is bounded by the largest project; disk is needed for the table and for sorting it.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from indextrust.distribution import DistributionFile
from indextrust.errors import InputError, RefusedError, RepositoryError
from indextrust.names import Layout, NormalizedName
from indextrust.repository.changes import PER_ENTRY, encode_import, import_row, read_import_row
from indextrust.repository.documents import document_bytes
from indextrust.repository.import_rows import LeftOut, Source, sources
from indextrust.repository.intake import Intake, check_name
from indextrust.repository.results import Imported
from indextrust.repository.staging import Staged, Staging
from indextrust.repository.state import State
from indextrust.trust.document import parse_document

__all__ = ["Importer", "Progress"]

Progress = Callable[[str, int], None]
"""Is told what was done, in words, and how many bytes were read since the last time."""

_PROJECTS_AT_ONCE = 500
_ROWS_AT_ONCE = 5_000
_TELL_EVERY = 10_000
_LARGE, _LONG = 5_000, 4_000_000
"""Files of a project, and characters of text in them, from which on its document is read as a
client reads it, for its size. (A character has up to four bytes.)"""


class Importer:
    """One import. The caller holds the lock.

    Args:
        state: where the queue is.
        intake: the rules.
        scratch: folder for unfinished files.
        layout: of the repository.
        progress: is told now and then.
        both: whether the SHA-512 of a row that has one is listed.
    """

    def __init__(
        self,
        state: State,
        intake: Intake,
        scratch: Path,
        layout: Layout,
        progress: Progress,
        *,
        both: bool = False,
    ) -> None:
        self._state = state
        self._intake = intake
        self._scratch = scratch
        self._layout = layout
        self._both = both
        self._progress = progress
        self._sources: list[Source] = []
        self._projects = self._files = self._present = self._left_out = 0

    def run(self, paths: Sequence[Path], now: str) -> Imported:
        """Queue all files of these sources, or none.

        Raises:
            InputError: a row that can't be imported, with its place.
            RepositoryError: a file name that stands for another digest, with its place.
            DistributionError, StoreError: a source or the disk can't be read or written.
        """
        with contextlib.closing(Staging(self._scratch)) as staging:
            staging.fill(self._rows(paths))
            staging.keep(self._entries(staging))
            self._state.queue.enqueue_imports(staging.entries(), now)
        return Imported(self._files, self._projects, self._present, self._left_out)

    def _rows(self, paths: Sequence[Path]) -> Iterator[Staged]:
        """Every row of every source."""
        read = told = before = 0
        for number, source in enumerate(sources(paths, self._layout, both=self._both)):
            self._sources.append(source)
            for row in source.rows():
                read += 1
                if read % _TELL_EVERY == 0:
                    self._progress(f"{read:,} files read", before + source.at - told)
                    told = before + source.at
                if isinstance(row, LeftOut):
                    self._left_out += 1
                    continue
                file = row.add.file
                yield Staged(
                    *(file.project, file.filename, file.sha256, file.size),
                    *(number, row.position, import_row(row.add)),
                )
            before += source.at

    def _entries(self, staging: Staging) -> Iterator[tuple[NormalizedName, str]]:
        """Project and text of each entry of the log, with the files that are new."""
        for groups in _some(staging.projects()):
            for project, rows in self._new(groups):
                self._projects += 1
                for start in range(0, len(rows), PER_ENTRY):
                    some = [row.row for row in rows[start : start + PER_ENTRY]]
                    yield project, encode_import(project, some)
                before, self._files = self._files, self._files + len(rows)
                if self._files // _TELL_EVERY > before // _TELL_EVERY:
                    self._progress(f"{self._files:,} files queued", 0)

    def _new(
        self, groups: Sequence[Sequence[Staged]]
    ) -> Iterator[tuple[NormalizedName, Sequence[Staged]]]:
        """Of each project the files that are not there, checked against those that are."""
        known = self._intake.known([rows[0].project for rows in groups])
        used = self._state.used_of(row.filename for rows in groups for row in rows)
        there = {
            row.project
            for rows in groups
            for row in rows
            if row.filename in known[row.project].files
        }
        self._intake.check_there(there)
        for rows in groups:
            files, promised = known[rows[0].project]
            self._check_twice(rows)
            self._check_names(rows, files, used, promised)
            new = [row for row in rows if row.filename not in files]
            self._present += len(rows) - len(new)
            self._check_size(new, files)
            if new:
                yield new[0].project, new

    def _check_twice(self, rows: Sequence[Staged]) -> None:
        """Refuse two rows of one name, also if they differ in case alone."""
        for row, following in itertools.pairwise(rows):
            if row.filename.lower() == following.filename.lower():
                raise InputError(
                    f"{self._where(following)}: {following.filename} is there twice: "
                    f"also {row.filename} in {self._where(row)}"
                )

    def _check_names(
        self,
        rows: Sequence[Staged],
        files: Mapping[str, DistributionFile],
        used: Mapping[str, tuple[str, str]],
        promised: Mapping[str, tuple[str, str]],
    ) -> None:
        """Refuse names that stand for other bytes, in what is published or waits."""
        waiting = {name.lower(): (name, file.sha256) for name, file in files.items()}
        for row in rows:
            folded, there = row.filename.lower(), files.get(row.filename)
            try:
                taken = (used.get(folded), promised.get(folded), waiting.get(folded))
                check_name(row.filename, row.sha256, taken)
            except RepositoryError as error:
                raise RepositoryError(f"{self._where(row)}: {error}") from None
            if there is not None and there.size != row.size:
                raise RepositoryError(
                    f"{self._where(row)}: {row.filename} has {there.size} bytes with this "
                    f"sha256, got {row.size}"
                )

    def _check_size(self, new: Sequence[Staged], files: Mapping[str, DistributionFile]) -> None:
        """Refuse more files than clients read in one document."""
        text = sum(len(row.row) for row in new)
        for file in files.values():
            text += len(file.requires_python or "") + len(file.yanked or "")
        if not new or (len(new) + len(files) <= _LARGE and text <= _LONG):
            return
        project = new[0].project
        listed = [*files.values(), *(read_import_row(project, row.row).file for row in new)]
        try:
            parse_document(project, document_bytes(project, listed))
        except RefusedError as error:
            raise RepositoryError(
                f"{self._where(new[-1])}: project {project} would have {len(listed)} files, and "
                f"a client would refuse its document: {error}"
            ) from error

    def _where(self, row: Staged) -> str:
        return self._sources[row.source].where(row.position)


def _some(groups: Iterable[list[Staged]]) -> Iterator[list[list[Staged]]]:
    """Projects in pieces: some hundred, or fewer with many files."""
    piece: list[list[Staged]] = []
    rows = 0
    for group in groups:
        piece.append(group)
        rows += len(group)
        if len(piece) == _PROJECTS_AT_ONCE or rows >= _ROWS_AT_ONCE:
            yield piece
            piece, rows = [], 0
    if piece:
        yield piece
