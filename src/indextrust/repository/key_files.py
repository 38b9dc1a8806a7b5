"""Small files that matter: key files, written and read with care.

Guarantees: an existing file is never overwritten; a file appears under its name complete and
durable, or not at all, with exactly the mode that was asked for; a private file that others on
this machine may touch is not read.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from indextrust.errors import KeyFileError

__all__ = ["create_file", "read_file"]

_MAX_FILE = 65_536


def create_file(path: Path, data: bytes, mode: int) -> None:
    """Create `path` with exactly `mode`, complete and durable, or not at all.

    The bytes are written under a temporary name and then linked to `path`, which fails if
    anything is there: no overwriting, and no half-written file under the real name.

    Raises:
        KeyFileError: something is there, or the write failed.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(temporary, flags, mode), "wb") as file:
            try:
                os.fchmod(file.fileno(), mode)  # the umask may have taken bits away
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                os.link(temporary, path)
            finally:
                os.unlink(temporary)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError:
        raise KeyFileError(f"{path} exists: a key file is never overwritten") from None
    except OSError as error:
        raise KeyFileError(f"{path} can't be written: {error.strerror}") from error


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
            if private and mode & 0o077:
                raise KeyFileError(
                    f"{path}: expected mode 0600, got {mode:04o}: others can read this private "
                    f"key, so treat it as stolen, or run  chmod 600  if you know that nobody did"
                )
            data = os.read(descriptor, _MAX_FILE + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise KeyFileError(f"{path} can't be read: {error.strerror}") from error
    if len(data) > _MAX_FILE:
        raise KeyFileError(f"{path}: expected a key file, got more than {_MAX_FILE} bytes")
    return data
