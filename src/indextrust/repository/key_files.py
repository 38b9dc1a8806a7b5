"""Small files that matter: key files, written and read with care.

Guarantees: an existing file is never overwritten; a file appears under its name complete and
durable, or not at all; a private file that others on this machine may touch is neither written nor
read.

Sticks for ceremonies have file systems (FAT, exFAT) that know neither hard links nor modes. Where
there are no links, a name is taken by an empty file, which is then replaced: no file of another is
overwritten, none is half-written, and only a process that is killed between the two leaves an
empty one. Where modes can't be set, what is public is written with the mode that all files have
there; what is private only if group and others have none, which is a matter of mounting
(``umask=077``, and the ``uid`` of the person). On another machine the same stick may be mounted
otherwise: what is on it is as safe as its passphrase, and the bag that it lies in.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path

from indextrust.errors import KeyFileError
from indextrust.repository.durable import fsync_folder

__all__ = ["check_written", "create_file", "place_new", "read_file"]

_MAX_FILE = 65_536
_OTHERS = 0o077
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


def create_file(path: Path, data: bytes, mode: int) -> None:
    """Create a key file, complete and durable, or not at all.

    Args:
        path: not there yet.
        data: all of it.
        mode: what it gets, whatever the umask; 0600 for a private key.

    Raises:
        KeyFileError: something is there, the write failed, or the file would be private, and its
            file system shows it to others.
    """
    try:
        place_new(path, data, mode)
    except FileExistsError:
        raise KeyFileError(f"{path} exists: a key file is never overwritten") from None
    except OSError as error:
        raise KeyFileError(f"{path} can't be written: {error.strerror}") from error


def place_new(path: Path, data: bytes, mode: int) -> None:
    """`create_file` of anything.

    The bytes are written under a temporary name and then linked to `path`, which fails if
    anything is there: no overwriting, and no half-written file under the real name.

    Raises:
        OSError: something is there, or the write failed.
        KeyFileError: see `create_file`.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    with os.fdopen(os.open(temporary, _NEW, mode), "wb") as file:
        try:
            _set_mode(file.fileno(), mode, path)  # before the first byte of a secret is there
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            _name(temporary, path)
        finally:
            with contextlib.suppress(FileNotFoundError):  # it has its name now
                os.unlink(temporary)
    try:
        fsync_folder(path.parent)
        check_written(path, data)
    except BaseException:  # "not at all": who was told of a failure looks for no file
        os.unlink(path)
        raise


def check_written(path: Path, data: bytes) -> None:
    """Look whether a file got its name: some file systems in user space say so, and do nothing.

    Raises:
        OSError: other bytes are there, or none.
    """
    there = path.read_bytes() if path.is_file() else None
    if there != data:
        raise OSError(errno.EIO, "the medium said yes, and did not keep it: take another one")


_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def _set_mode(descriptor: int, mode: int, path: Path) -> None:
    """Give a new file its mode. Raises KeyFileError: it is to be private, and can't."""
    with contextlib.suppress(OSError):  # a file system without modes
        os.fchmod(descriptor, mode)  # the umask may have taken bits away
    got = stat.S_IMODE(os.fstat(descriptor).st_mode)
    if not mode & _OTHERS and got & _OTHERS:
        raise KeyFileError(
            f"{path} can't be written: it is to be private, and its file system (FAT?) gives every "
            f"file mode {got:04o}. Make the key on a disk that keeps modes, or mount this one "
            f"with umask=077 and your uid"
        )


def _name(temporary: Path, path: Path) -> None:
    """Give a complete file its name, which nothing has. Raises OSError: something has it."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(os.open(path, _NEW, 0o600))  # the name is ours
        try:
            os.rename(temporary, path)
        except BaseException:
            os.unlink(path)
            raise


def read_file(path: Path, *, private: bool) -> bytes:
    """Read a small regular file; a private one only if group and others may not touch it.

    Raises:
        KeyFileError: anything else.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would block
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise KeyFileError(f"{path}: expected a regular file")
            mode = stat.S_IMODE(status.st_mode)
            if private and mode & _OTHERS:
                raise KeyFileError(
                    f"{path}: expected mode 0600, got {mode:04o}: others can read this private "
                    f"key, so treat it as stolen, or run  chmod 600  if you know that nobody did "
                    f"(a file system without modes, such as FAT: mount it with umask=077 and your "
                    f"uid)"
                )
            data = os.read(descriptor, _MAX_FILE + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise KeyFileError(f"{path} can't be read: {error.strerror}") from error
    if len(data) > _MAX_FILE:
        raise KeyFileError(f"{path}: expected a key file, got more than {_MAX_FILE} bytes")
    return data
