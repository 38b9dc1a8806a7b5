"""Files that are there completely or not at all, after a crash too.

A file is written under a temporary name, synced, renamed to its place, and the folder is synced.
Whoever writes a temporary file holds a lock on it, which ends with its process: one that is not
locked was left by a process that was killed, and the next writer beside it removes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from indextrust.client.folders import opened

__all__ = ["make_folder", "replacing", "replacing_in", "sync_folder"]

_TEMPORARY = re.compile(r"\.indextrust\.[0-9a-f]{16}\.tmp", re.ASCII)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LEFT = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_TRIES = 16


@contextlib.contextmanager
def replacing(destination: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `destination` when the block ends without an error.

    Until then whatever is at `destination` stays; a symbolic link there is replaced, not
    followed. The temporary file lies beside it.

    Raises:
        OSError: from the file system; nothing is left behind.
    """
    with (
        opened(destination.parent) as folder,
        replacing_in(folder, destination.name, temporaries=folder) as file,
    ):
        yield file


@contextlib.contextmanager
def replacing_in(folder: int, name: str, *, temporaries: int) -> Iterator[BinaryIO]:
    """`replacing` for `name` in the folder of a descriptor.

    Args:
        folder: descriptor of the folder.
        name: a plain file name.
        temporaries: descriptor of the folder, of the same file system, where it is written.
    """
    _remove_abandoned(temporaries)
    temporary, file = _create(temporaries)
    with file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.rename(temporary, name, src_dir_fd=temporaries, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=temporaries)
            raise
    os.fsync(folder)


def make_folder(folder: Path) -> None:
    """Make `folder` and the folders above it that are missing, and their names durable.

    Raises:
        OSError: from the file system.
    """
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable. Raises OSError."""
    with opened(folder) as descriptor:
        os.fsync(descriptor)


def _create(folder: int) -> tuple[str, BinaryIO]:
    """A new temporary file in `folder`, locked."""
    for _ in range(_TRIES):
        name = f".indextrust.{secrets.token_hex(8)}.tmp"
        file = os.fdopen(os.open(name, _NEW, 0o644, dir_fd=folder), "wb")
        if _is_ours(file):
            return name, file
        file.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
    raise OSError(errno.EBUSY, "others keep taking our temporary files")


def _is_ours(file: BinaryIO) -> bool:
    """Lock a new file. False if another process was faster: it took it for abandoned, and has
    removed it or is about to."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # no locks on this file system: then nobody removes anything either
    return os.fstat(file.fileno()).st_nlink > 0


def _remove_abandoned(folder: int) -> None:
    """Remove temporary files whose writers are gone."""
    for name in os.listdir(folder):
        if _TEMPORARY.fullmatch(name):
            with contextlib.suppress(OSError):  # locked, so in use; or not ours to remove
                descriptor = os.open(name, _LEFT, dir_fd=folder)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(name, dir_fd=folder)
                finally:
                    os.close(descriptor)
