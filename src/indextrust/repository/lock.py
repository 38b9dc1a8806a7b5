"""One operation at a time on a repository folder, across threads and processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from indextrust.errors import ConflictError, StoreError

__all__ = ["TIMEOUT", "locked"]

TIMEOUT = 60.0
"""Seconds to wait for another operation to finish."""


@contextlib.contextmanager
def locked(path: Path, timeout: float | None = None) -> Iterator[None]:
    """Hold the lock file `path`; the system releases it when the process ends, however it ends.

    Args:
        path: of the lock file.
        timeout: seconds to wait for another operation; None for `TIMEOUT`.

    Raises:
        ConflictError: another operation held it all the time.
        StoreError: it can't be written.
    """
    seconds = TIMEOUT if timeout is None else timeout
    lock = FileLock(path, timeout=seconds)
    try:
        lock.acquire()
    except Timeout:
        raise ConflictError(f"{path}: another operation held it for {seconds:.0f} s") from None
    except OSError as error:
        raise StoreError(f"can't write {path}: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()
