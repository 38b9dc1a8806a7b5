"""What is served, project by project: every bin read once, and put in another order.

A bin holds targets of many projects, and a project's targets lie in many bins. Here every bin is
read as a client reads it (`indextrust.repository.verified`), its targets go to a temporary database
on disk (``TMPDIR``; some 150 bytes for each), and come back by project, in the order of a
checkpoint (`records.key_of`). So memory is that of one bin and one project, however many there are,
and whoever signed them.

What no client could read is no target: it is told as a fault, and its targets are missing from what
comes back. A document is read only if somebody asks for it.

Left to others: comparing (`audit`).
"""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import groupby
from typing import Any

from indextrust.distribution import DistributionFile
from indextrust.errors import InputError, ProfileError, RefusedError, StoreError, UnreachableError
from indextrust.names import (
    NormalizedName,
    document_path,
    is_target_path,
    project_name,
)
from indextrust.repository.faults import Faults
from indextrust.repository.place import names_of
from indextrust.repository.plan import TargetFile, describe
from indextrust.repository.records import key_of
from indextrust.repository.verified import Readable, ServedSet
from indextrust.trust import Limits, parse_document

__all__ = ["ServedProject", "ServedProjects"]

_NAMED = 1_000
"""How many faults are kept; the others are counted."""

_PATH = re.compile(r"[^/]+/([^/]+)/[^/]+")
_CACHE_KIB = 1 << 15


class ServedProject:
    """One project as it is served.

    Args:
        name: as the target paths have it; a thief need not normalise.
        targets: target path to what is signed for it.
        storage: where its document is read.
        faults: takes what is wrong with the document.
    """

    def __init__(
        self, name: str, targets: Mapping[str, TargetFile], storage: Readable, faults: Faults
    ) -> None:
        self.name = name
        self.targets = targets
        self._storage = storage
        self._faults = faults

    @cached_property
    def files(self) -> Mapping[str, DistributionFile]:
        """What the document lists, by file name; nothing if no client could read it."""
        path = f"simple/{self.name}/index.json"
        if path not in self.targets:
            return {}
        try:
            return self.read()
        except (RefusedError, UnreachableError) as error:
            self._faults.add(f"{path[:300]!r}: {error}")
            return {}

    def read(self) -> Mapping[str, DistributionFile]:
        """The same.

        Raises:
            RefusedError, UnreachableError: no client could read it.
        """
        try:
            project = project_name(self.name)
        except InputError as error:
            raise ProfileError(str(error)) from None
        path = document_path(project)
        target = self.targets[path]
        limit = min(max(target.length, 0), Limits().document_length)
        for name in names_of(path, target, "pep458"):
            data = self._storage.read(name, limit)
            if data is not None and describe(data, both=target.sha512 is not None) == target:
                return parse_document(project, data).files
        digests = " and ".join(f"{name} {digest}" for name, digest in target.hashes.items())
        raise UnreachableError(f"{path}: no such bytes with {digests}")


class ServedProjects:
    """All projects that are served; a context manager.

    Args:
        served: the verified set.
        storage: where it was read.

    Raises:
        StoreError: the disk refused.
    """

    def __init__(self, served: ServedSet, storage: Readable) -> None:
        self.served = served
        self.faults = Faults(_NAMED)
        self._storage = storage
        self._folder = tempfile.TemporaryDirectory(prefix="indextrust-")
        self._db = sqlite3.connect(f"{self._folder.name}/targets.sqlite", isolation_level=None)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{_CACHE_KIB}"):
            self._db.execute(f"PRAGMA {pragma}")
        try:
            self._fill()
        except sqlite3.Error as error:
            self.close()
            raise StoreError(f"{self._folder.name}: {error}") from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> ServedProjects:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the temporary database."""
        self._db.close()
        self._folder.cleanup()

    def __iter__(self) -> Iterator[ServedProject]:
        """The projects, in the order of `records.key_of`. Raises StoreError."""
        query = "SELECT project, path, length, sha256, sha512 FROM targets ORDER BY key, path"
        try:
            for project, rows in groupby(self._db.execute(query), key=lambda row: row[0]):
                targets = {
                    path: TargetFile(int(length), sha256.hex(), sha512.hex() or None)
                    for _, path, length, sha256, sha512 in rows
                }
                yield ServedProject(NormalizedName(project), targets, self._storage, self.faults)
        except sqlite3.Error as error:
            raise StoreError(f"{self._folder.name}: {error}") from error

    @property
    def count(self) -> int:
        """How many targets there are."""
        count: int = self._db.execute("SELECT count(*) FROM targets").fetchone()[0]
        return count

    def _fill(self) -> None:
        self._db.execute("CREATE TABLE targets (key BLOB, project, path, length, sha256, sha512)")
        self._db.execute("BEGIN")
        for name in self.served.offline.scheme.names():
            self._db.executemany("INSERT INTO targets VALUES (?, ?, ?, ?, ?, ?)", self._rows(name))
        self._db.execute("COMMIT")

    def _rows(self, name: str) -> list[tuple[Any, ...]]:
        """The targets of one bin, ready to be inserted."""
        offline, rows = self.served.offline, []
        try:
            for path, target in self.served.entries(name):
                match = _PATH.fullmatch(path)
                if not match or not is_target_path(path, offline.layout):
                    self.faults.add(f"{name}: no client looks for its entry of {path[:200]!r}")
                elif isinstance(target, ProfileError):
                    self.faults.add(f"{target}")
                elif offline.scheme.bin_of(path) != name:
                    self.faults.add(f"{name}: its entry of {path[:200]!r} belongs to another bin")
                else:
                    digests = bytes.fromhex(target.sha256), bytes.fromhex(target.sha512 or "")
                    own = key_of(match[1]), match[1], path, str(target.length)
                    rows.append((*own, *digests))
        except (RefusedError, UnreachableError) as error:
            self.faults.add(f"{name}: {error}")
            return []
        return rows
