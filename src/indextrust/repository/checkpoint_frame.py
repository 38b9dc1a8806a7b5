"""The frame of a checkpoint's file: its head, its table, and their bounds. PURE.

The form is in `indextrust.repository.checkpoint`. All of it is read before the digest is known
to be right, so it is small, bounded, and refused unless it is what `Head.line` writes.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

from indextrust.distribution import SHA256_HEX
from indextrust.errors import CheckpointError
from indextrust.names import LAYOUTS, Layout
from indextrust.repository.plan import TargetFile

__all__ = [
    "MAGIC",
    "MAX_BLOCK",
    "MAX_HEAD",
    "METADATA_NAME",
    "PART_SIZE",
    "TABLE_ROW",
    "Block",
    "Head",
    "block_count",
    "most_compressed",
]

MAGIC = b"indextrust checkpoint 1\n"
TABLE_ROW = struct.Struct(">QII32s")
"""Length, projects, files and SHA-256 of a block."""

PART_SIZE = struct.Struct(">I")
"""Bytes of a compressed part, before it."""

MAX_HEAD = 4_000_000
_MAX_METADATA = 32_000_000
MAX_BLOCK = 1 << 29
METADATA_NAME = re.compile(
    r"(?:timestamp|([1-9][0-9]{0,19})\.(root|targets|bins|snapshot))\.json", re.ASCII
)


class Block(NamedTuple):
    """A block, as the table has it: bytes before compression, how many projects and distribution
    files are in it, and the SHA-256."""

    length: int
    projects: int
    files: int
    sha256: bytes


@dataclass(frozen=True)
class Head:
    """The second line of a checkpoint.

    Args:
        bits: there are ``2 ** bits`` blocks; 0 to 16.
        layout: what is a target.
        metadata: name, length and SHA-256 of each metadata file.
    """

    bits: int
    layout: Layout
    metadata: tuple[tuple[str, TargetFile], ...]

    def line(self) -> bytes:
        """The line."""
        metadata = [[name, file.length, file.sha256] for name, file in self.metadata]
        tree = {**vars(self), "metadata": metadata}
        return json.dumps(tree, sort_keys=True, separators=(",", ":")).encode("ascii") + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Head:
        """Read what `line` wrote. Raises CheckpointError."""
        try:
            tree: dict[str, Any] = json.loads(line)
            metadata = tuple(
                (name, TargetFile(length, sha256)) for name, length, sha256 in tree.pop("metadata")
            )
            head = cls(**tree, metadata=metadata)
            counts = (head.bits, *(file.length for _, file in metadata))
            good = (
                all(type(count) is int and count >= 0 for count in counts)
                and head.bits <= 16
                and head.layout in LAYOUTS
                and all(
                    METADATA_NAME.fullmatch(name)
                    and SHA256_HEX.fullmatch(file.sha256)
                    and file.length <= _MAX_METADATA
                    for name, file in metadata
                )
            )
            if good and head.line() == line:
                return head
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            pass
        raise CheckpointError("a second line that is no head of a checkpoint", got=line[:80])


def most_compressed(length: int) -> int:
    """Bytes that `length` bytes have at most when they are compressed (zlib's own bound)."""
    return length + (length >> 10) + 1024


def block_count(line: bytes) -> int:
    """How many blocks a head announces; 0 if it is none (`Head.parse` says so)."""
    try:
        return 1 << Head.parse(line).bits
    except CheckpointError:
        return 0
