"""A mirror that a person names: a folder, or the URL of a server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from indextrust.client.http import Urllib3Fetcher
from indextrust.client.urls import base_url, below
from indextrust.errors import LengthError
from indextrust.repository.mirrors import FolderMirror, Mirror
from indextrust.trust.wants import Absent

__all__ = ["HttpMirror", "open_mirror"]


class HttpMirror:
    """A mirror behind HTTP. It is believed nothing.

    Args:
        url: below which ``metadata/``, ``simple/`` and ``files/`` are.

    Raises:
        InputError: no such URL.
    """

    def __init__(self, url: str) -> None:
        self._base = base_url(url)
        self._fetcher = Urllib3Fetcher()

    def read(self, name: str, limit: int) -> bytes | None:
        """As `Readable.read`. Raises UnreachableError."""
        try:
            data = self._fetcher.fetch(below(self._base, name), max_length=limit)
        except LengthError:
            return None
        return None if isinstance(data, Absent) else data

    @contextlib.contextmanager
    def stream(self, name: str, most: int) -> Iterator[Iterator[bytes] | None]:
        """As `Mirror.stream`."""
        with self._fetcher.stream(below(self._base, name), max_length=most) as pieces:
            yield None if isinstance(pieces, Absent) else pieces


def open_mirror(text: str) -> Mirror:
    """The mirror at a URL, or in a folder.

    Raises:
        InputError: neither.
    """
    if text.startswith(("http://", "https://")):
        return HttpMirror(text)
    return FolderMirror(Path(text))
