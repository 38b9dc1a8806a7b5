"""Somebody who writes the state database, every table of it, and has no key.

He knows the tables and how they hang together: what a bin's row says of its entries, which
document lists a file, how each entry of the log is sealed over the one before. What he lacks is the
queue key, so he seals with one of his own. Raw SQL and the standard library; he never calls
indextrust's repository.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import secrets
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["Scribe"]


class Scribe:
    """Edits a repository's state database.

    Args:
        database: its file.
        key: what he seals with; None for a key of his own making, since he has no other.
    """

    def __init__(self, database: Path, *, key: bytes | None = None) -> None:
        self._database = database
        self._key = key or secrets.token_bytes(32)

    def replace_file(self, project: str, filename: str, data: bytes, document: bytes) -> None:
        """Say that a published file always had these bytes: in every table, and in the log.

        Args:
            project: normalised.
            filename: of a file that is published.
            data: what it is to be.
            document: the project's document that lists it so.
        """
        honest = self._one("SELECT sha256 FROM files WHERE filename = ?", filename)
        size = self._one("SELECT size FROM files WHERE filename = ?", filename)
        sha256 = hashlib.sha256(data).hexdigest()
        with self._editing() as db:
            db.execute(
                "UPDATE files SET sha256 = ?, size = ? WHERE filename = ?",
                (sha256, len(data), filename),
            )
            db.execute(
                "UPDATE used_filenames SET sha256 = ? WHERE filename = ?", (sha256, filename)
            )
            for path, content in (
                (f"files/{project}/{filename}", data),
                (f"simple/{project}/index.json", document),
            ):
                digest = hashlib.sha256(content).hexdigest()
                db.execute(
                    "UPDATE targets SET sha256 = ?, length = ? WHERE path = ?",
                    (digest, len(content), path),
                )
            db.execute(
                "UPDATE log SET body = replace(replace(body, ?, ?), ?, ?) WHERE project = ?",
                (honest, sha256, f'"size":{size},', f'"size":{len(data)},', project),
            )

    def queue_file(self, project: str, version: str, filename: str, data: bytes) -> None:
        """Append to the queue that a file was added."""
        file = {
            "filename": filename,
            "metadata_sha256": None,
            "project": project,
            "requires_python": None,
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "upload_time": "2026-01-01T00:00:00Z",
            "version": version,
            "yanked": None,
        }
        body = {"elsewhere": False, "file": file, "kind": "add", "metadata_size": None}
        with self._editing() as db:
            db.execute(
                "INSERT INTO log SELECT max(number) + 1, 'change', ?, ?, max(time), max(who), '' "
                "FROM log",
                (project, json.dumps(body, separators=(",", ":"), sort_keys=True)),
            )
            db.execute(
                "INSERT INTO used_filenames VALUES (?, ?, ?)",
                (filename.lower(), filename, file["sha256"]),
            )

    def seal_from(self, number: int) -> None:
        """Seal the log anew from this entry on, and (from the first one) every role's row too."""
        with self._editing() as db:
            found = db.execute("SELECT mac FROM log WHERE number = ?", (number - 1,)).fetchone()
            before = found[0] if found else ""
            for row in db.execute(
                "SELECT number, kind, project, body, time, who FROM log WHERE number >= ? "
                "ORDER BY number",
                (number,),
            ).fetchall():
                before = self._mac(before, row)
                db.execute("UPDATE log SET mac = ? WHERE number = ?", (before, row[0]))
            if number > 1:
                return
            self._describe_bins(db)
            for row in db.execute(
                "SELECT name, version, length, sha256, entries FROM roles WHERE mac <> ''"
            ).fetchall():
                db.execute(
                    "UPDATE roles SET mac = ? WHERE name = ?", (self._mac("role", row), row[0])
                )

    def last(self) -> int:
        """Number of the last entry of the log."""
        return int(self._one("SELECT max(number) FROM log"))

    @staticmethod
    def _describe_bins(db: sqlite3.Connection) -> None:
        """Have every bin's row say what its targets are now."""
        for (name,) in db.execute("SELECT name FROM roles WHERE name LIKE 'bin-%'").fetchall():
            rows = db.execute(
                "SELECT path, sha256, length FROM targets WHERE bin = ? ORDER BY path", (name,)
            )
            entries = ",".join(
                f'{json.dumps(path)}:{{"hashes":{{"sha256":"{sha256}"}},"length":{length}}}'
                for path, sha256, length in rows
            )
            digest = hashlib.sha256(entries.encode("utf-8")).hexdigest()
            db.execute("UPDATE roles SET entries = ? WHERE name = ?", (digest, name))

    def _mac(self, before: str, fields: tuple[Any, ...]) -> str:
        message = json.dumps([before, *fields], separators=(",", ":")).encode("ascii")
        return hmac.digest(self._key, message, "sha256").hex()

    def _one(self, query: str, *values: object) -> Any:
        with self._editing() as db:
            return db.execute(query, values).fetchone()[0]

    @contextlib.contextmanager
    def _editing(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self._database)) as db, db:
            yield db
