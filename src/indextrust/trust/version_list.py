"""The ``meta`` of a large snapshot, read without making an object of each entry.

At PyPI's size a snapshot lists 16,384 bins, with a version each and nothing else (PEP 458), and
in canonical form:

    "meta":{"bin-0000.json":{"version":1},"bin-0001.json":{"version":7},"bins.json":{"version":1}}

One pattern proves the shape of all entries at once, and that of two neighbours the names differ.
As they stand, cut apart, they are what is kept. What is proved is what the strict reader would
have checked one by one; whatever is of another shape (other fields, escapes, blanks, an order
that isn't canonical) is left to that reader.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping

from indextrust.trust.quoted import are_ascending

__all__ = ["VersionList", "versions"]

# A name is as `quoted.are_plain` has it, and without what sorts before the quote that ends it
# (blank, "!"): so entries are in the order of their names. A version is as `reader.MAX_DIGITS` and
# its shape have it.
_ENTRIES = re.compile(rb'(?:([#-+\--Z^-z|~]++)":\{"version":[1-9][0-9]{0,17}\},"(?!\1"))++')
_APART = b'},"'
_SOME = 256


class VersionList(Mapping[str, Mapping[str, int]]):
    """File name to ``{"version": N}``, as the strict reader gives it, made when asked for.

    Args:
        entries: strictly ascending, each as ``bin-0000.json":{"version":1``.
    """

    def __init__(self, entries: list[bytes]) -> None:
        self._entries = entries

    def __getitem__(self, name: str) -> Mapping[str, int]:
        key = name.encode("utf-8", "surrogatepass") + b'":{"version":'
        at = bisect_left(self._entries, key)
        if at == len(self._entries) or not self._entries[at].startswith(key):
            raise KeyError(name)
        return {"version": int(self._entries[at][len(key) :])}

    def __iter__(self) -> Iterator[str]:
        return map(_name, self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def differing(self, other: VersionList) -> Iterator[str]:
        """The names that `other` lists in another way, or not at all.

        Stretches that are the same in both are left out first: no entry stands twice in a list,
        so none of the rest is in them.
        """
        ours: list[bytes] = []
        theirs: set[bytes] = set()
        for at in range(0, max(len(self), len(other)), _SOME):
            mine, its = self._entries[at : at + _SOME], other._entries[at : at + _SOME]
            if mine != its:
                ours += mine
                theirs.update(its)
        return (_name(entry) for entry in ours if entry not in theirs)


def _name(entry: bytes) -> str:
    return entry.partition(b'"')[0].decode("ascii")


def versions(text: bytes) -> VersionList | None:
    """The list, if it is a canonical one of versions only.

    Args:
        text: of the entries, untrusted, without the first quote, and each ended by ``},"``.

    Returns:
        None if it has another shape.
    """
    if _ENTRIES.fullmatch(text) is None:
        return None
    entries = text[: -len(_APART)].split(_APART)
    return VersionList(entries) if are_ascending(entries) else None
