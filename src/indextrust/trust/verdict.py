"""The verdict on an artifact: do these bytes match what was vouched for?

The caller streams and hashes; this module never sees the bytes. An entry vouches by length and
by every hash it lists. At least one of them must be strong, and one that we don't know is a
refusal, never a shrug (ATTACKS: md5- or sha1-only hashes).

Source: TUF specification 5.7.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from indextrust.errors import HashMismatchError, LengthError

__all__ = [
    "ALGORITHMS",
    "STRONG",
    "TargetEntry",
    "algorithms",
    "check",
    "check_digests",
    "check_hashes",
    "check_length",
]

_HEX = re.compile(r"[0-9a-f]+", re.ASCII)
STRONG = frozenset({"sha256", "sha384", "sha512"})
_DIGITS = {"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}
ALGORITHMS = frozenset(_DIGITS)
"""Names as in hashlib. The weak ones are checked where they stand beside a strong one."""


@dataclass(frozen=True)
class TargetEntry:
    """What verified metadata says of one target.

    Args:
        path: target path.
        length: bytes.
        hashes: algorithm to hex digest, not empty.
        role: the role that lists it.
        role_version: that role's version.
        snapshot_version: the snapshot under which it was found.
        custom: the entry's ``custom`` field, uninterpreted.
    """

    path: str
    length: int
    hashes: Mapping[str, str]
    role: str
    role_version: int
    snapshot_version: int
    custom: Any = None


def check_hashes(hashes: Mapping[str, str], *, where: str) -> tuple[str, ...]:
    """The algorithms to compute for `hashes`, sorted.

    Raises:
        HashMismatchError: an algorithm we don't know, no strong one, or a digest that is not
            lower-case hex.
    """
    for algorithm, digest in hashes.items():
        # it becomes part of a file name in the request
        if not _HEX.fullmatch(digest) or len(digest) != _DIGITS.get(algorithm, len(digest)):
            raise HashMismatchError(f"no {algorithm} in hex", where=where, got=digest)
    unknown = set(hashes) - ALGORITHMS
    if unknown or not STRONG & set(hashes):
        raise HashMismatchError(
            "no usable hash", where=where, expected=f"one of {sorted(STRONG)}", got=sorted(hashes)
        )
    return tuple(sorted(hashes))


def algorithms(entry: TargetEntry) -> tuple[str, ...]:
    """The hashlib names to compute over an artifact's bytes. Raises HashMismatchError as above."""
    return check_hashes(entry.hashes, where=entry.path)


def check(entry: TargetEntry, length: int, digests: Mapping[str, str]) -> None:
    """Accept or refuse an artifact of which `length` bytes were read.

    Args:
        entry: from a lookup.
        length: bytes read; one more than listed is enough to know.
        digests: lower-case hex digest for each of `algorithms(entry)`.

    Raises:
        LengthError: more or fewer bytes than listed.
        HashMismatchError: a digest differs, is missing, or none of the listed is strong.
    """
    check_length(entry.length, length, where=entry.path)
    check_digests(entry.hashes, digests, where=entry.path)


def check_length(listed: int, length: int, *, where: str) -> None:
    """Raises LengthError if `length` bytes are not what was `listed`."""
    if length != listed:
        raise LengthError("wrong length", where=where, expected=listed, got=length)


def check_digests(listed: Mapping[str, str], digests: Mapping[str, str], *, where: str) -> None:
    """Raises HashMismatchError unless `digests` has every listed one, and one is strong."""
    for algorithm in check_hashes(listed, where=where):
        if digests.get(algorithm) != listed[algorithm]:
            raise HashMismatchError(
                f"wrong {algorithm}",
                where=where,
                expected=listed[algorithm],
                got=digests.get(algorithm, "none"),
            )
