"""The scratch tables of an import: rows in any order in, grouped by project out.

A database of its own in a file of the scratch folder, without durability: it is gone with the
operation, whatever becomes of that. SQLite sorts it on disk (`SQLITE_TMPDIR` says where, usually
``/var/tmp``), so that memory is bounded however many rows there are.

Projects come in the order of the SHA-256 of their document's path, which is the order of bins:
publications of one window after another then touch each bin of documents once, not every bin in
every window.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from indextrust.errors import StoreError
from indextrust.names import NormalizedName, document_path

__all__ = ["Staged", "Staging"]

_AT_ONCE = 2_000
_ENTRIES_AT_ONCE = 50
_CACHE_KIB = 1 << 15


class Staged(NamedTuple):
    """A file to be imported.

    Args:
        project: it belongs to.
        filename: its own name.
        sha256: lower-case hex.
        size: bytes.
        source: number of the file that it was read from.
        position: there.
        row: it, as the queue keeps it (`changes.import_row`).
    """

    project: NormalizedName
    filename: str
    sha256: str
    size: int
    source: int
    position: int
    row: str


class Staging:
    """The tables.

    Args:
        scratch: folder for unfinished files, emptied after the operation.

    Raises:
        StoreError: the disk refused; of all methods.
    """

    def __init__(self, scratch: Path) -> None:
        self._path = scratch / secrets.token_hex(16)
        with self._telling():
            self._db = sqlite3.connect(self._path, isolation_level=None)
            for pragma in (
                *("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE"),
                *("temp_store=FILE", f"cache_size=-{_CACHE_KIB}"),
            ):
                self._db.execute(f"PRAGMA {pragma}")
            self._db.execute(
                "CREATE TABLE staged (home BLOB, folded TEXT, project TEXT, filename TEXT, "
                "sha256 TEXT, size INTEGER, source INTEGER, position INTEGER, body TEXT)"
            )
            self._db.execute("CREATE TABLE kept (number INTEGER PRIMARY KEY, project, body TEXT)")

    def close(self) -> None:
        """Delete them."""
        self._db.close()
        self._path.unlink(missing_ok=True)

    def fill(self, rows: Iterable[Staged]) -> None:
        """Put rows in, as they come."""
        left = iter(rows)
        with self._telling():
            self._db.execute("BEGIN")
        while piece := [(_home(row.project), row.filename.lower(), *row) for row in _some(left)]:
            with self._telling():
                self._db.executemany("INSERT INTO staged VALUES (?,?,?,?,?,?,?,?,?)", piece)
        with self._telling():
            self._db.execute("COMMIT")

    def projects(self) -> Iterator[list[Staged]]:
        """The rows of each project, in the order of their file names in lower case."""
        with self._telling():
            rows = self._db.execute(
                "SELECT project, filename, sha256, size, source, position, body "
                "FROM staged ORDER BY home, project, folded, source, position"
            )
            staged = itertools.starmap(Staged, rows)
            for _, group in itertools.groupby(staged, lambda row: row.project):
                yield list(group)

    def keep(self, entries: Iterable[tuple[NormalizedName, str]]) -> None:
        """Put the entries of the log aside that the rows give, in order, as they come."""
        left = iter(entries)
        with self._telling():
            self._db.execute("BEGIN")
        while piece := list(itertools.islice(left, _ENTRIES_AT_ONCE)):
            with self._telling():
                self._db.executemany("INSERT INTO kept (project, body) VALUES (?, ?)", piece)
        with self._telling():
            self._db.execute("COMMIT")

    def entries(self) -> Iterator[tuple[NormalizedName, str]]:
        """What `keep` put aside."""
        with self._telling():
            yield from self._db.execute("SELECT project, body FROM kept ORDER BY number")

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error


def _some(rows: Iterator[Staged]) -> Iterator[Staged]:
    return itertools.islice(rows, _AT_ONCE)


@lru_cache(maxsize=256)
def _home(project: NormalizedName) -> bytes:
    return hashlib.sha256(document_path(project).encode("utf-8")).digest()[:8]
