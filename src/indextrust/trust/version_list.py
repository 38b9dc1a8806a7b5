"""The ``meta`` of a large snapshot, read without making an object of each entry.

At PyPI's size a snapshot lists 16,384 bins, with a version each and nothing else (PEP 458), and
in canonical form:

    "meta":{"bin-0000.json":{"version":1},"bin-0001.json":{"version":7},"bins.json":{"version":1}}

Cut at its quotes, such a text repeats itself every four pieces: a name, ``:{``, ``version`` and
``:7},``. So a handful of operations in C proves the shape of all entries at once. What they
prove is what the strict reader would have checked one by one; whatever is of another shape
(other fields, escapes, blanks, an order that isn't canonical) is left to that reader.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Mapping
from itertools import compress

from indextrust.trust.quoted import are_names, cut, position

__all__ = ["VersionList", "cut_out"]

_OPENING = b'"meta":{"'
# as `reader.MAX_DIGITS` and the shape of a version have it
_END_OF_ENTRY = re.compile(rb":([1-9][0-9]{0,17})\},")


class VersionList(Mapping[str, Mapping[str, int]]):
    """File name to ``{"version": N}``, as the strict reader gives it, made when asked for.

    Args:
        names: the file names, strictly ascending.
        ends: for each its version, as ``:7},``.
    """

    def __init__(self, names: list[bytes], ends: list[bytes]) -> None:
        self._names = names
        self._ends = ends

    def __getitem__(self, name: str) -> Mapping[str, int]:
        return {"version": int(self._ends[position(self._names, name)][1:-2])}

    def __iter__(self) -> Iterator[str]:
        return map(bytes.decode, self._names)

    def __len__(self) -> int:
        return len(self._names)

    def differing(self, other: VersionList) -> Iterator[str]:
        """The names that `other` lists in another way, or not at all."""
        if self._names == other._names:
            changed = map(operator.ne, self._ends, other._ends)
            return map(bytes.decode, compress(self._names, changed))
        listed = dict(zip(other._names, other._ends, strict=True))
        ours = zip(self._names, self._ends, strict=True)
        return (name.decode() for name, end in ours if listed.get(name) != end)


def cut_out(data: bytes, *, most: int) -> tuple[VersionList, int, int] | None:
    """Find the first object under a ``meta`` key, if it is a canonical list of versions.

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
    names, ends = pieces[::4], pieces[3::4]
    if (
        len(pieces) != 4 * len(names)
        or pieces[1::4] != [b":{"] * len(names)
        or pieces[2::4] != [b"version"] * len(names)
        or not all(map(_END_OF_ENTRY.fullmatch, set(ends)))
        or not are_names(names)
    ):
        return None
    return VersionList(names, ends), start, end
