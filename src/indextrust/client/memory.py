"""`SqliteMemory`: first-seen memory in a local SQLite file.

Two tables. ``first_seen`` has one row for each index and file name, written once and never
changed. ``acknowledged`` has a row for each digest that was accepted later, by a person or by an
incident record, whose id it then has; the last one is what counts, and the earlier ones stay as
history.

The file is made complete under another name and then linked to its own, mode 0600: a file that
is there and isn't a memory of this version was damaged or is someone else's, and is refused.
It is never made anew over an old one: whoever can spoil the memory must not be able to empty it.

Threads share one connection under a lock; processes share the file through SQLite's
write-ahead log.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import stat
import threading
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from indextrust.client.durable import sync_folder
from indextrust.distribution import SHA256_HEX
from indextrust.errors import InputError, StoreError
from indextrust.names import check_filename
from indextrust.trust.memory import Remembered

__all__ = ["SqliteMemory"]

SCHEMA_VERSION = 2
_APPLICATION_ID = 0x69_74_66_73  # "itfs"
_BUSY_SECONDS = 30.0
_SCHEMA = f"""
PRAGMA journal_mode = WAL;
BEGIN;
CREATE TABLE first_seen (
    index_name TEXT NOT NULL,
    project TEXT NOT NULL,
    filename TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    first_seen TEXT NOT NULL,
    snapshot_version INTEGER NOT NULL,
    PRIMARY KEY (index_name, project, filename)
) STRICT, WITHOUT ROWID;
CREATE TABLE acknowledged (
    number INTEGER PRIMARY KEY,
    index_name TEXT NOT NULL,
    project TEXT NOT NULL,
    filename TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    acknowledged TEXT NOT NULL,
    incident TEXT
) STRICT;
CREATE INDEX acknowledged_files ON acknowledged (index_name, project, filename);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""
# what version 1 (indextrust 0.1.0) lacks
_FROM_VERSION_1 = f"""
ALTER TABLE acknowledged ADD COLUMN incident TEXT;
PRAGMA user_version = {SCHEMA_VERSION};
"""
_REMEMBERED = """
SELECT filename, sha256, first_seen, snapshot_version FROM first_seen
WHERE index_name = :index AND project = :project
"""
_ACKNOWLEDGED = """
SELECT filename, sha256, acknowledged, incident FROM acknowledged
WHERE index_name = :index AND project = :project ORDER BY number
"""


class SqliteMemory:
    """A `MemoryStore` (see `indextrust.client.ports`) in one SQLite file for all indexes.

    Args:
        path: made with its folders if it isn't there.

    Raises:
        StoreError: the file can't be opened, is damaged, or of another version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        with self._errors():
            if not os.path.lexists(path):
                _create(path)
            if not stat.S_ISREG(os.lstat(path).st_mode):
                raise StoreError(f"first-seen memory {path}: not a regular file")
            self._connection = _connect(path)
            self._close = weakref.finalize(self, self._connection.close)
            self._check()
            self._bring_up_to_date()

    def remembered(self, index: str, project: str) -> Mapping[str, Remembered]:
        """See `MemoryStore.remembered`. After an acknowledgement its digest and time are given."""
        names = {"index": index, "project": project}
        with self._lock, self._errors():
            self._connection.execute("BEGIN")
            try:
                rows = self._connection.execute(_REMEMBERED, names).fetchall()
                later = self._connection.execute(_ACKNOWLEDGED, names).fetchall()
            finally:
                self._connection.execute("ROLLBACK")
        known: dict[str, Remembered] = {}
        for filename, sha256, when, version in rows:
            known[filename] = self._row(project, filename, sha256, when, version)
        for filename, sha256, when, incident in later:
            if filename not in known:
                raise StoreError(f"first-seen memory {self._path}: damaged at {filename!r}")
            version = known[filename].snapshot_version
            accepted = self._row(project, filename, sha256, when, version)
            known[filename] = replace(accepted, incident=incident)
        return known

    def record(
        self,
        index: str,
        project: str,
        files: Mapping[str, str],
        *,
        when: datetime,
        snapshot_version: int,
    ) -> None:
        """See `MemoryStore.record`."""
        rows = [
            (index, project, check_filename(name), _checked(digest), _text(when), snapshot_version)
            for name, digest in files.items()
        ]
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO first_seen VALUES (?, ?, ?, ?, ?, ?)", rows
            )

    def acknowledge(
        self,
        index: str,
        project: str,
        filename: str,
        sha256: str,
        *,
        when: datetime,
        incident: str | None = None,
    ) -> None:
        """See `MemoryStore.acknowledge`."""
        names = (index, project, filename)
        with self._transaction() as connection:
            known = connection.execute(
                "SELECT 1 FROM first_seen WHERE (index_name, project, filename) = (?, ?, ?)", names
            ).fetchone()
            if known is None:
                raise InputError(f"{filename!r} was never seen in index {index!r}")
            connection.execute(
                "INSERT INTO acknowledged "
                "(index_name, project, filename, sha256, acknowledged, incident) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (*names, _checked(sha256), _text(when), incident),
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._close()

    def _check(self) -> None:
        """Refuse a file whose damage SQLite can see: a lost page would read as "never seen".

        A flipped bit inside a row is not of that kind; rows carry no checksum of their own.
        """
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if application != _APPLICATION_ID:
            raise StoreError(f"first-seen memory {self._path}: damaged, or not a memory at all")
        if not 1 <= version <= SCHEMA_VERSION:
            raise StoreError(
                f"first-seen memory {self._path}: expected version {SCHEMA_VERSION}, got {version}"
            )
        (damage,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if damage != "ok":
            raise StoreError(f"first-seen memory {self._path}: damaged: {damage}")

    def _bring_up_to_date(self) -> None:
        """Give a memory of version 1 what it lacks; nothing in it is forgotten."""
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version == SCHEMA_VERSION:
            return
        with self._transaction() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version != SCHEMA_VERSION:  # no other process was faster
                for statement in _FROM_VERSION_1.split(";"):
                    connection.execute(statement)

    def _row(self, project: str, filename: str, sha256: str, when: str, version: int) -> Remembered:
        try:
            time = datetime.fromisoformat(when)
            if time.tzinfo is None or not SHA256_HEX.fullmatch(sha256):
                raise ValueError("not a time with a time zone and a sha256")
        except (ValueError, TypeError) as error:
            raise StoreError(
                f"first-seen memory {self._path}: damaged at {filename!r}: {error}"
            ) from None
        return Remembered(project, filename, sha256, time, version)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeError) as error:
            raise StoreError(f"first-seen memory {self._path}: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode=rw",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.execute(
        "PRAGMA synchronous = FULL"
    )  # a digest once told as seen survives power loss
    return connection


def _create(path: Path) -> None:
    """Make an empty memory at `path`; if another process is faster, its one is kept."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        os.fchmod(descriptor, 0o600)
        os.close(descriptor)
        with contextlib.closing(_connect(temporary)) as connection:
            connection.executescript(_SCHEMA)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):  # SQLite's own stay where it failed
            Path(f"{temporary}{suffix}").unlink(missing_ok=True)
    sync_folder(path.parent)


def _checked(sha256: str) -> str:
    if not SHA256_HEX.fullmatch(sha256):
        raise InputError(f"expected a lower-case hex sha256, got {sha256[:80]!r}")
    return sha256


def _text(when: datetime) -> str:
    if when.tzinfo is None:
        raise InputError("expected a time with a time zone")
    return when.isoformat()
