"""Text in canonical JSON, cut at its quotes: what long and uniform parts are read by.

A handful of operations in C then proves the shape of thousands of entries at once
(`indextrust.trust.version_list`, `indextrust.trust.target_list`).
"""

from __future__ import annotations

import operator
from bisect import bisect_left
from itertools import islice

__all__ = ["are_names", "cut", "position"]

_PLAIN = bytes(byte for byte in range(0x20, 0x7F) if byte not in b'"\\,[]{}')


def cut(data: bytes, opening: bytes, *, most: int) -> tuple[list[bytes], int, int] | None:
    """The pieces of the first object that begins with `opening`, of whose entries the last and no
    other ends with two braces.

    Args:
        data: a file's bytes, untrusted, of bounded length.
        opening: a key, and how its object begins up to the first quote.
        most: quotes to allow: so many pieces are made, and each takes memory.

    Returns:
        The pieces from the first name on, the last one ended like those before it; where the
        object begins and ends. None if there is none, or it has too many quotes.
    """
    start = data.find(opening) + len(opening)
    end = data.find(b"}}", start)
    if start < len(opening) or end < 0 or data.count(b'"', start, end) > most:
        return None
    pieces = data[start:end].split(b'"')
    pieces[-1] += b"},"
    return pieces, start - len(b'{"'), end + len(b"}}")


def are_names(names: list[bytes]) -> bool:
    """Whether they are plain ASCII, without a mark of JSON, and strictly ascending."""
    plain = not b"".join(names).translate(None, _PLAIN)
    return plain and all(map(operator.lt, names, islice(names, 1, None)))


def position(names: list[bytes], wanted: str) -> int:
    """Where a name stands in ascending ones. Raises KeyError."""
    name = wanted.encode("utf-8", "surrogatepass")
    at = bisect_left(names, name)
    if at == len(names) or names[at] != name:
        raise KeyError(wanted)
    return at
