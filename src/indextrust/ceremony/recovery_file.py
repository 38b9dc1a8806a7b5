"""The recovery's own file: which step it is at, and what the steps before found out.

``recovery.json`` in the folder ``recovery`` of the repository. It is replaced whole, durably, at
the end of each step. So a recovery that was killed, or a machine that was switched off, goes on
with the step that was cut short; every step may be done twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from indextrust.ceremony.event_file import replace_file
from indextrust.errors import CeremonyError
from indextrust.repository.disk import read_bounded

__all__ = ["FILE", "STEPS", "Progress", "read_progress", "write_progress"]

FILE = "recovery.json"
STEPS = ("audit", "decide", "propose", "sign", "install", "verify", "thaw", "done")
"""In order. Where no online key was stolen it begins with ``propose``, and has no ``thaw``."""

_FORMAT, _VERSION = "indextrust-recovery", 1
_MAX = 1 << 30


@dataclass(frozen=True)
class Progress:
    """How far a recovery is.

    Args:
        compromised: the words it was started with.
        stolen: key ids of the stolen keys.
        summary: what happened, for users.
        started: when, ``YYYY-MM-DDTHH:MM:SSZ``.
        step: the next one, of `STEPS`.
        root: version of the root in force when it began.
        checkpoint: path and digest of what is known to be good; None if no audit is needed.
        frozen: the freeze that it runs under, as text; None if it needs none.
        items: what the audit found, then with decisions (`decisions.to_trees`).
        records: ids of the incident records.
        notes: what people should know, one sentence each.
        log: by what the log is recognised that the audit read; empty before it.
    """

    compromised: tuple[str, ...]
    stolen: tuple[str, ...]
    summary: str
    started: str
    step: str
    root: int
    checkpoint: tuple[str, str] | None = None
    frozen: str | None = None
    items: tuple[Mapping[str, Any], ...] = ()
    records: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())
    log: str = ""


def read_progress(folder: Path) -> Progress | None:
    """How far the recovery in `folder` is; None if there is none.

    Raises:
        CeremonyError: the file is damaged, or of another version.
    """
    path = folder / FILE
    if not path.exists():
        return None
    data = read_bounded(path, _MAX)
    try:
        tree = json.loads(data or b"")
        if (tree.pop("format"), tree.pop("version")) == (_FORMAT, _VERSION):
            for name in ("compromised", "stolen", "items", "records", "notes", "checkpoint"):
                tree[name] = tuple(tree[name]) if tree[name] is not None else None
            progress = Progress(**tree)
            if progress.step in STEPS:
                return progress
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    raise CeremonyError(f"{path}: expected the state of a recovery: it is damaged")


def write_progress(folder: Path, progress: Progress) -> None:
    """Remember it, durably. Raises StoreError."""
    tree = {"format": _FORMAT, "version": _VERSION, **asdict(progress)}
    replace_file(folder / FILE, (json.dumps(tree, indent=1) + "\n").encode("ascii"))
