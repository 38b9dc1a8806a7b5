"""Another place that has the index: a folder here, or whatever reads like one.

A mirror is believed nothing: its metadata is verified as a client does, its files by their hashes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from indextrust.errors import DistributionError, InputError, StoreError
from indextrust.repository.disk import CHUNK, open_regular, read_bounded
from indextrust.repository.verified import Readable

__all__ = ["FolderMirror", "Mirror"]


class Mirror(Readable, Protocol):
    """A copy of an index that files can be fetched from."""

    def stream(self, name: str, most: int) -> AbstractContextManager[Iterator[bytes] | None]:
        """A file piece by piece, not verified; None if it is not there.

        Args:
            name: below the mirror.
            most: bytes; a longer file is an error.

        Raises:
            UnreachableError, RefusedError: no usable answer.
        """


class FolderMirror:
    """A folder with ``metadata/``, ``simple/`` and ``files/``, or some of them.

    Args:
        folder: an index's public folder or a copy of it; a repository's own folder stands for
            the public folder in it.

    Raises:
        InputError: no folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise InputError(f"expected the folder of an index, got {folder}")
        public = folder / "public"
        self.folder = public if (public / "metadata").is_dir() else folder

    def read(self, name: str, limit: int) -> bytes | None:
        """As `Readable.read`."""
        return read_bounded(self.folder / name, limit)

    @contextlib.contextmanager
    def stream(self, name: str, most: int) -> Iterator[Iterator[bytes] | None]:
        """As `Mirror.stream`."""
        try:
            file = open_regular(self.folder / name)
        except (DistributionError, StoreError):
            yield None
            return
        with file:
            yield iter(lambda: file.read(CHUNK), b"")
