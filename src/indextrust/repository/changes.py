"""What an operator asks for: the changes that wait in the queue. PURE.

A change is one row of the queue. Its JSON form is canonical, so that a row can be
authenticated as it stands; it carries everything that publishing needs, above all the hash that
was computed when the file came in. Nothing is hashed, looked up or guessed again later.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from indextrust.canonical import canonical
from indextrust.distribution import DistributionFile
from indextrust.errors import InputError, StoreError
from indextrust.names import NormalizedName

__all__ = ["Add", "Change", "Remove", "Yank", "decode", "encode", "yank_reason"]

_MAX_REASON = 500


@dataclass(frozen=True)
class Add:
    """List a file. Its bytes, and its core metadata's, are in the object store already.

    Args:
        file: all that was read from it.
        metadata_size: bytes of the core metadata beside it (PEP 658); None if there is none.

    Raises:
        InputError: a size without core metadata, or core metadata without a size.
    """

    file: DistributionFile
    metadata_size: int | None = None

    def __post_init__(self) -> None:
        if (self.metadata_size is None) != (self.file.metadata_sha256 is None):
            raise InputError(f"{self.filename}: core metadata needs both a sha256 and a size")

    @property
    def project(self) -> NormalizedName:
        """The project it belongs to."""
        return self.file.project

    @property
    def filename(self) -> str:
        """The file's own name."""
        return self.file.filename


@dataclass(frozen=True)
class Remove:
    """List a file no more.

    Args:
        project: normalised project name.
        filename: the file's own name.
    """

    project: NormalizedName
    filename: str


@dataclass(frozen=True)
class Yank:
    """Yank a file (PEP 592), or take that back.

    Args:
        project: normalised project name.
        filename: the file's own name.
        reason: why, possibly empty; None takes an earlier yank back.
    """

    project: NormalizedName
    filename: str
    reason: str | None


Change = Add | Remove | Yank
_KINDS: Mapping[str, type[Add] | type[Remove] | type[Yank]] = {
    "add": Add,
    "remove": Remove,
    "yank": Yank,
}


def encode(change: Change) -> str:
    """The change as one line of canonical JSON: ``{"kind": "remove", "project": …}``."""
    kind = next(kind for kind, cls in _KINDS.items() if type(change) is cls)
    tree = {"kind": kind, **vars(change)}
    if isinstance(change, Add):
        tree["file"] = vars(change.file)
    return canonical(tree).decode("utf-8")


def decode(text: str) -> Change:
    """The change that `encode` wrote.

    Raises:
        StoreError: not the JSON of a change: the state was altered.
    """
    try:
        tree: dict[str, Any] = json.loads(text)
        kind = _KINDS[tree.pop("kind")]
        if kind is Add:
            return Add(DistributionFile(**tree["file"]), tree["metadata_size"])
        return kind(**tree)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StoreError(f"a queue row is damaged ({error}): {text[:200]!r}") from None


def yank_reason(reason: str) -> str:
    """`reason` in the one form that goes into a document: NFC, printable, at most 500 characters.

    Raises:
        InputError: control or other unprintable characters, or too long.
    """
    text = unicodedata.normalize("NFC", reason)
    if not text.isprintable() or len(text) > _MAX_REASON:
        raise InputError(
            f"expected a yank reason of at most {_MAX_REASON} printable characters on one line, "
            f"got {reason[: _MAX_REASON + 1]!r}"
        )
    return text
