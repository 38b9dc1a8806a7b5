"""The ``targets`` of a bin, read without making objects of each entry.

At PyPI's size a bin lists a thousand files and more, each with one sha256 and a length, and in
canonical form:

    "targets":{"files/a/a-1.tar.gz":{"hashes":{"sha256":"6b86…"},"length":5},…}

As with the list of versions in a snapshot (`indextrust.trust.version_list`) one pattern finds all
entries at once. That they are all there is, is told by their length; whatever is of another
shape (other hashes, ``custom``, escapes, blanks, an order that isn't canonical) is left to the
strict reader.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from indextrust.trust.quoted import are_ascending, are_plain

__all__ = ["TargetList", "targets"]

# a length is as `reader.MAX_DIGITS` and its shape have it; what a digest is made of is seen later
_ENTRY = re.compile(
    rb'([^"]++)":\{"hashes":\{"sha256":"(.{64})"\},"length":(0|[1-9][0-9]{0,17})\},"', re.DOTALL
)
_DIGITS = 64
_FIXED = len(b'":{"hashes":{"sha256":""},"length":},"')
_HEX = b"0123456789abcdef"


class TargetList(Mapping[str, Mapping[str, Any]]):
    """Target path to ``{"hashes": {"sha256": …}, "length": N}``, as the strict reader gives it,
    made when asked for.

    Args:
        paths: in UTF-8, strictly ascending.
        digests: for each its SHA-256, as it is written.
        lengths: likewise.
    """

    def __init__(
        self, paths: Sequence[bytes], digests: Sequence[bytes], lengths: Sequence[bytes]
    ) -> None:
        self.paths = paths
        self._digests = digests
        self._lengths = lengths

    def __getitem__(self, path: str) -> Mapping[str, Any]:
        wanted = path.encode("utf-8", "surrogatepass")
        at = bisect_left(self.paths, wanted)
        if at == len(self.paths) or self.paths[at] != wanted:
            raise KeyError(path)
        hashes = {"sha256": self._digests[at].decode("ascii")}
        return {"hashes": hashes, "length": int(self._lengths[at])}

    def __iter__(self) -> Iterator[str]:
        return map(bytes.decode, self.paths)

    def __len__(self) -> int:
        return len(self.paths)


def targets(text: bytes) -> TargetList | None:
    """The list, if it is a canonical one of targets with one sha256 each.

    Args:
        text: of the entries, untrusted, without the first quote, and each ended by ``},"``.

    Returns:
        None if it has another shape.
    """
    found = _ENTRY.findall(text)
    if not found:
        return None
    paths, digests, lengths = zip(*found, strict=True)
    names = b"".join(paths)
    if (
        len(names) + sum(map(len, lengths)) + (_DIGITS + _FIXED) * len(paths) != len(text)
        or b"".join(digests).translate(None, _HEX)
        or not are_plain(names)
        or not are_ascending(paths)
    ):
        return None
    return TargetList(paths, digests, lengths)
