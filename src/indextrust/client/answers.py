"""What an HTTP answer's status and headers alone show, whichever library received them.

Pure: a fetcher asks before it reads a body. The rules are those of the `Fetcher` port.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol
from urllib.parse import urljoin

from indextrust.client.urls import checked, origin, shown
from indextrust.errors import LengthError, MalformedError, UnreachableError

__all__ = ["ABSENT_STATUSES", "HEADERS", "REDIRECTS", "check", "is_short", "redirected", "too_long"]

HEADERS = {"Accept-Encoding": "identity", "User-Agent": "indextrust"}
"""What is sent with every request."""

REDIRECTS = 3
"""How many are followed."""

ABSENT_STATUSES = (403, 404)

_SHORT = 65_536


class Headers(Protocol):
    """Headers by their names in any case."""

    def get(self, name: str, default: str, /) -> str: ...

    def items(self) -> Iterable[tuple[str, str]]: ...


def redirected(url: str, status: int, headers: Headers) -> str | None:
    """Where an answer to `url` redirects to; None if it doesn't.

    Raises:
        UnreachableError: out of the origin (scheme, host and port), or to no URL at all.
    """
    location = headers.get("Location", "")
    if status not in (301, 302, 303, 307, 308) or not location:
        return None
    there = location
    try:
        there = urljoin(url, location)
        same = origin(checked(there)) == origin(checked(url))
    except ValueError:  # InputError is one
        same = False
    if not same:
        raise UnreachableError(
            f"{shown(url)}: redirected to {shown(there)!r}; redirects must keep scheme, host and "
            f"port"
        )
    return there


def check(url: str, status: int, reason: str, headers: Headers, max_length: int) -> None:
    """Refuse what can't be the file that was asked for, before reading on.

    Raises:
        UnreachableError: a status other than 200.
        MalformedError: a content encoding, which was not asked for.
        LengthError: a Content-Length of more than `max_length` bytes.
    """
    if status != 200:
        raise UnreachableError(f"{shown(url)}: expected status 200, got {status} {reason[:100]!r}")
    found = [value for name, value in headers.items() if name.lower() == "content-encoding"]
    encoding = ", ".join(found)
    if encoding.strip().lower() not in ("identity", ""):
        raise MalformedError(
            "encoded, though that was not asked for",
            where=shown(url),
            expected="no Content-Encoding",
            got=encoding,
        )
    length = headers.get("Content-Length", "")
    if _is_number(length) and _exceeds(length, max_length):
        raise too_long(url, max_length, f"Content-Length: {length}")


def too_long(url: str, max_length: int, got: str) -> LengthError:
    """The error for a body of more than `max_length` bytes."""
    return LengthError(
        "too long", where=shown(url), expected=f"at most {max_length} bytes", got=got
    )


def is_short(headers: Headers) -> bool:
    """Whether the body says that it is short: reading it to its end saves a connection."""
    length = headers.get("Content-Length", "")
    return _is_number(length) and not _exceeds(length, _SHORT)


def _is_number(digits: str) -> bool:
    return digits.isdecimal() and digits.isascii()


def _exceeds(digits: str, limit: int) -> bool:
    digits = digits.lstrip("0")
    return len(digits) > 18 or int(digits or "0") > limit
