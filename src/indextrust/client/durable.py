"""Files that are there completely or not at all, after a crash too."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["replacing", "sync_folder"]


@contextlib.contextmanager
def replacing(destination: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `destination` when the block ends without an error.

    Its bytes are synced before the rename and the folder after it. Until then whatever is at
    `destination` stays; a symbolic link there is replaced, not followed.

    Raises:
        OSError: from the file system; nothing is left behind.
    """
    temporary = destination.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, destination)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(destination.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
