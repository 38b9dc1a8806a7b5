"""What the steps of a refresh and of a lookup have in common: asking for a file, within bounds.

Guarantees:

* A file is asked for only if its name fits a file system and the allowance is not used up; what
  came is taken from the allowance before anybody looks at it.
* "The server says that there is no such file" becomes "could not reach" where the file must be
  there; only the search for the next root takes it for an answer.
* Stored bytes that are refused count as nothing stored: the step goes on to fetch. This goes for
  `RefusedError` alone; a key that can't be verified here is no reason to fetch.

Left to others: in which order (`indextrust.trust.session`, `indextrust.trust.roles`), and what is
acceptable (`indextrust.trust.checks`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeVar

from indextrust.errors import InputError, RefusedError, UnreachableError, UnsafePathError
from indextrust.names import metadata_filename
from indextrust.trust.limits import Allowance
from indextrust.trust.machine import Answer, Steps
from indextrust.trust.metadata import FileInfo
from indextrust.trust.wants import Fetch

__all__ = ["as_bytes", "checked_digest", "digest", "fetch", "fetch_present", "unless_refused"]

T = TypeVar("T")


def fetch(role: str, version: int | None, limit: int, allowance: Allowance) -> Steps[Answer]:
    """Ask the repository for a metadata file.

    Args:
        role: role name, not encoded.
        version: the version in its file name; None for an unversioned file.
        limit: bytes at the most.
        allowance: what may still be fetched; what comes is taken from it.

    Returns:
        The bytes, verified by nobody; `ABSENT` if the server says that there is no such file.

    Raises:
        UnsafePathError: the file's name would be longer than 255 bytes.
        BudgetExceededError: nothing is left of the allowance.
    """
    filename = metadata_filename(role, version)
    if len(filename.encode("utf-8")) > 255:
        raise UnsafePathError("the role's name makes too long a file name", where=role)
    allowance.check(filename)
    data = yield Fetch(role, version, filename, limit)
    if isinstance(data, bytes):
        allowance.take(len(data))
    return data


def fetch_present(role: str, version: int | None, limit: int, allowance: Allowance) -> Steps[bytes]:
    """`fetch` a file that must be there.

    Raises:
        UnreachableError: the server says that there is no such file.
    """
    data = yield from fetch(role, version, limit, allowance)
    if not isinstance(data, bytes):
        name = metadata_filename(role, version)
        raise UnreachableError(f"{name}: the server says that there is no such file")
    return data


def as_bytes(answer: Answer) -> bytes:
    """`answer`, where only bytes can have come."""
    if not isinstance(answer, bytes):  # pragma: no cover - where it is called, it is
        raise InputError("expected bytes")
    return answer


def digest(answer: Answer) -> str | None:
    """SHA-256 (hex) of what is stored; None if nothing is."""
    return hashlib.sha256(answer).hexdigest() if isinstance(answer, bytes) else None


def checked_digest(data: bytes, info: FileInfo) -> str:
    """SHA-256 of what `info` vouches for (`checks.vouched_for`): there it was computed already."""
    return info.hashes.get("sha256") or hashlib.sha256(data).hexdigest()


def unless_refused(verify: Callable[[bytes], T], stored: Answer) -> T | None:
    """`verify(stored)`; None if there is nothing stored, or nothing that can be trusted now."""
    if not isinstance(stored, bytes):
        return None
    try:
        return verify(stored)
    except RefusedError:
        return None
