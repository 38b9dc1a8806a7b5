"""URLs: what we accept as one, and how one is shown.

Plain http is accepted: TUF's promises rest on signatures, not on TLS (TUF specification, 1.5.2),
and an index on a loopback address or behind a corporate mirror has none. https hides what is
asked for and is what an operator should offer.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, quote, urlsplit

from indextrust.errors import InputError

__all__ = ["base_url", "below", "checked", "origin", "shown"]

_URL = re.compile(r"[!-~]+", re.ASCII)
_PORTS = {"http": 80, "https": 443}


def checked(url: str) -> SplitResult:
    """Split `url`, if it is one that we would ask for.

    Raises:
        InputError: not http or https, no host, a bad port, a user name or password, a blank, a
            control character or anything outside ASCII.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise InputError(f"expected an http or https URL, got {shown(url)!r}: {error}") from None
    if not usable or not _URL.fullmatch(url):
        raise InputError(f"expected an http or https URL in ASCII, got {shown(url)!r}")
    if "@" in parts.netloc:
        raise InputError(f"expected a URL without user name and password, got {shown(url)!r}")
    return parts


def base_url(url: str) -> str:
    """`url` as something that file names are appended to: checked, and with a slash at its end.

    Raises:
        InputError: as `checked`, or there is a query or a fragment.
    """
    parts = checked(url)
    if "?" in url or "#" in url:
        raise InputError(f"expected a URL without query and fragment, got {shown(url)!r}")
    return parts.geturl() if parts.path.endswith("/") else parts.geturl() + "/"


def below(base: str, path: str) -> str:
    """The URL of a checked target path below `base` (from `base_url`), percent-encoded."""
    return base + quote(path, safe="/")


def origin(parts: SplitResult) -> tuple[str, str, int]:
    """Scheme, host and port: what a redirect may not change."""
    return parts.scheme, (parts.hostname or "").rstrip("."), parts.port or _PORTS[parts.scheme]


def shown(url: str) -> str:
    """`url` for a message: without user name, password, query and fragment, and shortened."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url[:200]
    authority, slash, path = re.split("[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"[:200]
