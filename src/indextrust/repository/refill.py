"""Damaged files put back by their hash, from wherever the right bytes are. Nothing is signed.

What is served stays as it was signed: no version changes, no client notices but by getting the
right bytes again. A file's bytes come from its private copy, from another name of it in the public
folder, or from a mirror; wherever they come from, they are believed for their SHA-256 alone.
Documents are made from the checkpoint. What was found in the place of a file goes to the
quarantine.

First the bytes become a private copy (so the next repair has them), then public names. Who is
killed in between does it again.

Left to others: finding what is damaged (`stored`); the lock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from indextrust.errors import (
    DistributionError,
    RefusedError,
    StoreError,
    UnreachableError,
)
from indextrust.names import Layout, project_name
from indextrust.repository.checkpoint import Checkpoint
from indextrust.repository.disk import fresh_file, open_regular, storing
from indextrust.repository.inspect import MAX_SIZE
from indextrust.repository.mirrors import FolderMirror, Mirror
from indextrust.repository.objects import ObjectStore
from indextrust.repository.place import names_of, place_object
from indextrust.repository.storage import FolderStorage
from indextrust.repository.stored import Damage

__all__ = ["Refill", "Refilled"]


@dataclass(frozen=True)
class Refilled:
    """What was put back.

    Args:
        restored: paths of the files that are as they should be again.
        lost: paths of those whose bytes are nowhere, each with the reason.
        incident: name of the folder in the quarantine.
    """

    restored: tuple[str, ...]
    lost: tuple[tuple[str, str], ...]
    incident: str


class Refill:
    """One repair of stored files. The caller holds the lock.

    Args:
        good: the checkpoint.
        storage: the public folder.
        objects: the private copies.
        scratch: folder for unfinished files, on the same file system.
        layout: which names a file has.
        mirror: where bytes may come from; None for nowhere else.
        incident: name of the folder in the quarantine.
    """

    def __init__(
        self,
        good: Checkpoint,
        storage: FolderStorage,
        objects: ObjectStore,
        scratch: Path,
        layout: Layout,
        mirror: Mirror | None,
        incident: str,
    ) -> None:
        self._good = good
        self._storage = storage
        self._objects = objects
        self._scratch = scratch
        self._layout = layout
        self._sources = [FolderMirror(storage.public), *([] if mirror is None else [mirror])]
        self._incident = incident

    def run(self, damages: Iterable[Damage]) -> Refilled:
        """Put files back, each that can be.

        Raises:
            StoreError: the disk refused.
        """
        restored, lost = [], []
        for damage in damages:
            try:
                if damage.path.startswith("simple/"):
                    self._document(damage)
                else:
                    self._file(damage)
            except (UnreachableError, RefusedError) as error:
                lost.append((damage.path, str(error)))
            else:
                restored.append(damage.path)
        self._storage.sync()
        return Refilled(tuple(restored), tuple(lost), self._incident)

    def _document(self, damage: Damage) -> None:
        """A document, from the checkpoint or from a mirror."""
        record = self._good.project(project_name(damage.path.split("/")[1]))
        if record is not None and record.document.sha256 == damage.expected:
            data = record.document_bytes()
        else:
            self._fetch(damage)
            data = self._objects.read(damage.expected)
        self._set_aside(damage)
        first, *others = names_of(damage.path, damage.digests, "pep458")
        self._storage.write_once(first, data)
        for name in others:
            self._storage.link(name, first)

    def _file(self, damage: Damage) -> None:
        """A distribution file or core metadata."""
        if not self._is_right(self._objects.path(damage.expected), damage.expected):
            self._fetch(damage)
        self._set_aside(damage)
        place_object(self._storage, self._objects, damage.path, damage.digests, self._layout)

    def _set_aside(self, damage: Damage) -> None:
        """The public names that are wrong, also those that a copy in place made wrong together."""
        for name in names_of(damage.path, damage.digests, self._layout):
            if not self._storage.has_digest(name, damage.expected):
                self._storage.set_aside(name, self._incident)

    def _fetch(self, damage: Damage) -> None:
        """The bytes, as a private copy.

        Raises:
            UnreachableError: they are nowhere, with what the mirror said.
            StoreError: the disk refused.
        """
        why, most = "no other name has the bytes", MAX_SIZE
        if damage.length >= 0:
            most = damage.length
        for source in self._sources:
            for name in names_of(damage.path, damage.digests, "pep458"):
                try:
                    with source.stream(name, most) as pieces:
                        if pieces is not None and self._keep(pieces, damage.expected, most):
                            return
                except (UnreachableError, RefusedError) as error:
                    why = f"the mirror gave no answer: {error}"
        raise UnreachableError(f"{damage.path}: expected sha256 {damage.expected}; {why}")

    def _keep(self, pieces: Iterator[bytes], sha256: str, most: int) -> bool:
        """Keep bytes as a private copy if they are the right ones. Raises StoreError."""
        digest, left = hashlib.sha256(), most
        with (
            storing(f"write {self._scratch}"),
            fresh_file(self._scratch, durable=True) as (
                fresh,
                file,
            ),
        ):
            for piece in pieces:
                left -= len(piece)
                if left < 0:
                    break
                digest.update(piece)
                file.write(piece)
        if left < 0 or digest.hexdigest() != sha256:
            fresh.unlink()
            return False
        self._objects.keep(fresh, sha256)
        return True

    def _is_right(self, path: Path, sha256: str) -> bool:
        try:
            with open_regular(path) as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except (DistributionError, StoreError, OSError):
            return False
