"""Single files, read and written with care: what the folders of a repository are made with.

Nothing here follows a symbolic link, and nothing overwrites. `indextrust.repository.storage` is
the public folder, `indextrust.repository.objects` the private copies.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from io import BufferedReader, BufferedWriter
from pathlib import Path

from indextrust.errors import DistributionError, StoreError
from indextrust.repository.durable import fsync_folder
from indextrust.repository.plan import TargetFile

__all__ = [
    "CHUNK",
    "NEW",
    "copy_bytes",
    "digests",
    "expect",
    "fresh_file",
    "open_regular",
    "read_bounded",
    "storing",
    "sweep",
    "write_new",
]

CHUNK = 1 << 20
"""Bytes that are read at a time."""

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags of ``os.open`` for a file that must not be there yet."""


_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextlib.contextmanager
def storing(what: str) -> Iterator[None]:
    """Turn an `OSError` in the block into a `StoreError` that says what was tried.

    Args:
        what: the attempt, as in ``write /srv/index/public``.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(f"can't {what}: {error.strerror or error}") from error


def open_regular(path: str | Path) -> BufferedReader:
    """Open an existing regular file for reading; a symbolic link is not followed.

    Raises:
        DistributionError: a symbolic link, a folder, a device, a pipe.
        StoreError: it can't be opened.
    """
    try:
        descriptor, _ = _opened(path)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DistributionError(f"{path} is a symbolic link: give the file itself") from None
        raise StoreError(f"can't read {path}: {error.strerror}") from error
    return os.fdopen(descriptor, "rb")


def read_bounded(path: str | Path, limit: int) -> bytes | None:
    """The bytes of a regular file; None if there is none, or more than `limit` bytes.

    Raises nothing, whatever a hostile hand has put at `path`.
    """
    try:
        descriptor, size = _opened(path)
        try:
            data = os.read(descriptor, min(size, limit) + 1)
            while len(data) <= limit and (more := os.read(descriptor, CHUNK)):
                data += more  # it grew, or the system gave less than there is
        finally:
            os.close(descriptor)
    except (DistributionError, OSError):
        return None
    return data if len(data) <= limit else None


def _opened(path: str | Path) -> tuple[int, int]:
    """A descriptor of a regular file, and its size. Raises DistributionError, OSError."""
    descriptor = os.open(path, _READ)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise DistributionError(f"{path} is not a regular file")
    return descriptor, found.st_size


@contextlib.contextmanager
def fresh_file(scratch: Path, *, durable: bool) -> Iterator[tuple[Path, BufferedWriter]]:
    """A new file to write; closed after the block, deleted if the block fails.

    Args:
        scratch: its folder.
        durable: whether it is fsynced when it is closed.
    """
    path = scratch / secrets.token_hex(16)
    with os.fdopen(os.open(path, NEW, 0o644), "wb") as file:
        try:
            yield path, file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def write_new(path: Path, data: bytes) -> None:
    """Write a small file durably; if it exists, it must have the same bytes.

    Args:
        path: its folder must exist.
        data: the content.

    Raises:
        StoreError: other bytes are there, or the write failed.
    """
    with storing(f"write {path}"):
        with fresh_file(path.parent, durable=True) as (fresh, file):
            file.write(data)
        try:
            os.link(fresh, path)
        except FileExistsError:
            expect(path, data)
        finally:
            fresh.unlink()
        fsync_folder(path.parent)


def sweep(folder: Path) -> None:
    """Empty a scratch folder of what a killed process left; create it if missing."""
    with storing(f"write {folder}"):
        folder.mkdir(mode=0o700, exist_ok=True)
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)


def expect(path: str | Path, data: bytes) -> None:
    """Refuse other bytes than `data`. Raises StoreError."""
    if read_bounded(path, len(data)) != data:
        raise StoreError(f"{path} exists with other bytes, and is never overwritten")


def digests(file: BufferedReader, *, both: bool) -> TargetFile:
    """Length and SHA-256 of the rest of `file`; `both`: its SHA-512 too, by the same reading."""
    length, sha256, sha512 = 0, hashlib.sha256(), hashlib.sha512() if both else None
    while chunk := file.read(CHUNK):
        length += len(chunk)
        sha256.update(chunk)
        if sha512 is not None:
            sha512.update(chunk)
    return TargetFile(length, sha256.hexdigest(), sha512.hexdigest() if sha512 else None)


def copy_bytes(source: BufferedReader, target: BufferedWriter) -> str:
    """Copy all bytes and return their SHA-256."""
    digest = hashlib.sha256()
    while chunk := source.read(CHUNK):
        digest.update(chunk)
        target.write(chunk)
    return digest.hexdigest()
