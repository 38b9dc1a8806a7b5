"""The ``targets`` of a bin, read without making objects of each entry.

At PyPI's size a bin lists a thousand files and more, each with one sha256 and a length, and in
canonical form:

    "targets":{"files/a/a-1.tar.gz":{"hashes":{"sha256":"6b86…"},"length":5},…}

Cut at its quotes, such a text repeats itself every ten pieces. As with the list of versions in a
snapshot (`indextrust.trust.version_list`) a handful of operations in C proves the shape of all
entries at once; whatever is of another shape (other hashes, ``custom``, escapes, blanks, an order
that isn't canonical) is left to the strict reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from indextrust.trust.quoted import are_names, cut, position

__all__ = ["TargetList", "cut_out"]

_OPENING = b'"targets":{"'
_HEX = b"0123456789abcdef"
# as `reader.MAX_DIGITS` and the shape of a length have it
_END_OF_ENTRY = re.compile(rb":(0|[1-9][0-9]{0,17})\},")
_FIXED = {1: b":{", 2: b"hashes", 3: b":{", 4: b"sha256", 5: b":", 7: b"},", 8: b"length"}
_PIECES = 10


class TargetList(Mapping[str, Mapping[str, Any]]):
    """Target path to ``{"hashes": {"sha256": …}, "length": N}``, as the strict reader gives it,
    made when asked for.

    Args:
        paths: strictly ascending.
        digests: for each its SHA-256, as it is written.
        ends: for each its length, as ``:5},``.
    """

    def __init__(self, paths: list[bytes], digests: list[bytes], ends: list[bytes]) -> None:
        self._paths = paths
        self._digests = digests
        self._ends = ends

    def __getitem__(self, path: str) -> Mapping[str, Any]:
        at = position(self._paths, path)
        hashes = {"sha256": self._digests[at].decode()}
        return {"hashes": hashes, "length": int(self._ends[at][1:-2])}

    def __iter__(self) -> Iterator[str]:
        return map(bytes.decode, self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def cut_out(data: bytes, *, most: int) -> tuple[TargetList, int, int] | None:
    """Find the first object under a ``targets`` key, if it is a canonical list of targets with one
    sha256 each.

    Args:
        data: a file's bytes, untrusted, of bounded length.
        most: quotes to allow.

    Returns:
        The list, and where its object begins and ends in `data`. None if it has another shape.
    """
    found = cut(data, _OPENING, most=most)
    if found is None:
        return None
    pieces, start, end = found
    paths, digests, ends = pieces[::_PIECES], pieces[6::_PIECES], pieces[9::_PIECES]
    count = len(paths)
    if (
        len(pieces) != _PIECES * count
        or any(pieces[at::_PIECES] != [fixed] * count for at, fixed in _FIXED.items())
        or b"".join(digests).translate(None, _HEX)
        or not all(map(_END_OF_ENTRY.fullmatch, ends))
        or not are_names(paths)
    ):
        return None
    return TargetList(paths, digests, ends), start, end
