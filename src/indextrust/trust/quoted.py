"""Names in canonical JSON: what long and uniform parts of a file are read by.

A handful of operations in C proves the shape of thousands of entries at once
(`indextrust.trust.version_list`, `indextrust.trust.target_list`).
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import islice

__all__ = ["are_ascending", "are_plain"]

_PLAIN = bytes(byte for byte in range(0x20, 0x7F) if byte not in b'"\\,[]{}')


def are_plain(names: bytes) -> bool:
    """Whether names, one after the other, are plain ASCII without a mark of JSON."""
    return not names.translate(None, _PLAIN)


def are_ascending(names: Sequence[bytes]) -> bool:
    """Whether they are strictly ascending: sorted as canonical JSON has them, and none twice."""
    return all(map(operator.lt, names, islice(names, 1, None)))
