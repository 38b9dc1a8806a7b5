"""Files below a folder's descriptor.

Names are resolved from an open descriptor, one component at a time. No symbolic link below the
folder is followed and nothing but a regular file is read: a FIFO is an error, not a hang.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

__all__ = ["opened", "read", "read_below", "subfolder"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[int]:
    """The descriptor of a folder; a link to one is followed. Raises OSError."""
    descriptor = os.open(folder, _FOLDER)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def subfolder(folder: int, name: str) -> Iterator[int]:
    """The descriptor of a subfolder, made and synced if it isn't there. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
        os.fsync(folder)
    descriptor = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read(folder: int, name: str, *, most: int) -> bytes | None:
    """The bytes of a regular file in `folder`, None if there is none of that name.

    Raises:
        OSError: it is there, and no regular file of at most `most` bytes that can be read.
    """
    try:
        descriptor = os.open(name, _FILE, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", name)
        if status.st_size > most:
            raise OSError(errno.EFBIG, f"larger than {most} bytes", name)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def read_below(folder: int, below: str, name: str, *, most: int) -> bytes | None:
    """`read` in the subfolder `below`; None if that is missing too."""
    try:
        descriptor = os.open(below, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        return read(descriptor, name, most=most)
    finally:
        os.close(descriptor)
