"""What a session asks of its driver, and what the driver may answer.

A driver loops: look at `wants()`, do it, `feed()` the answer.

| want      | the driver does                                        | and feeds                  |
|-----------|--------------------------------------------------------|----------------------------|
| `Load`    | reads the role's stored bytes, if there are any        | bytes, or `ABSENT`         |
| `Fetch`   | gets the file from the repository, bounded             | bytes, or `ABSENT`         |
| `Persist` | stores the bytes durably, by compare-and-swap          | `STORED`                   |
| `Done`    | stops; `Done.result` is the answer                     | nothing                    |

`ABSENT` for a `Fetch` means that the server said so: status 403 or 404. Every other failure
(5xx, timeout, refused connection) is raised by the driver as `UnreachableError` and never fed.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["ABSENT", "STORED", "Absent", "Done", "Fetch", "Load", "Persist", "Stored"]

T = TypeVar("T")


class Absent(enum.Enum):
    """The type of `ABSENT`: there is no such file, said by who should know."""

    ABSENT = "absent"


class Stored(enum.Enum):
    """The type of `STORED`: the bytes are durable."""

    STORED = "stored"


ABSENT = Absent.ABSENT
STORED = Stored.STORED


@dataclass(frozen=True)
class Load:
    """Read a role's stored bytes.

    Args:
        role: role name, not encoded.
        version: for ``root`` only: that version from the stored history; None for the others.
    """

    role: str
    version: int | None = None


@dataclass(frozen=True)
class Fetch:
    """Get a metadata file from the repository.

    Args:
        role: role name, not encoded.
        version: the version in its file name; None for an unversioned file.
        filename: the file's name below the metadata URL, the role name percent-encoded; it
            goes into the URL as it stands.
        max_length: bytes after which the driver stops reading; the session refuses more.
    """

    role: str
    version: int | None
    filename: str
    max_length: int


@dataclass(frozen=True)
class Persist:
    """Store a verified role durably.

    Args:
        role: role name, not encoded.
        version: its version.
        data: the bytes as received.
        replaces: SHA-256 (hex) of the bytes that `Load` gave, or None if it gave `ABSENT`.
            The store writes only if that is what it still holds (compare-and-swap).
        root_version: version of the root under which the role was verified; the store refuses
            if it holds another trusted root by now.
    """

    role: str
    version: int
    data: bytes
    replaces: str | None
    root_version: int


@dataclass(frozen=True)
class Done(Generic[T]):
    """Nothing more is wanted; `result` is the answer."""

    result: T
