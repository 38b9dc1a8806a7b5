"""A folder of checkpoints: one a day and one a week are kept, older ones go.

The name of a checkpoint says when it was made and of which snapshot:
``20261123T081000Z-snapshot-42.checkpoint``. It is a label, for people and for what is kept; the
digest does not cover it, so that the same set always has the same digest.

Kept are the last checkpoint of each of the latest days, and of each of the latest weeks (ISO 8601,
Monday to Sunday), that have any. Days without a checkpoint do not count, so an index that was
asleep loses nothing. Files of other names are never touched.

What lies on the server is a copy for convenience: it is worth what the digest on paper makes it
worth, and a thief of the server can delete it. Carry it away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from indextrust.errors import CheckpointError, DistributionError, InputError, StoreError
from indextrust.repository.checkpoint import Checkpoint
from indextrust.repository.checkpoint_make import TIME, place_new
from indextrust.repository.disk import CHUNK, open_regular, storing
from indextrust.repository.durable import fsync_folder

__all__ = ["Kept", "export", "kept_in", "prune", "to_keep"]

_NAME = re.compile(r"([0-9]{8}T[0-9]{6}Z)-snapshot-([1-9][0-9]{0,19})\.checkpoint", re.ASCII)


@dataclass(frozen=True)
class Kept:
    """One checkpoint of a folder.

    Args:
        path: its file.
        made: when, by its name; aware, UTC.
        snapshot_version: of the set it was made of.
        projects: how many there are; None if it can't be read.
        files: distribution files; likewise.
        digest: what it has, to be compared with paper, and not to be copied from here; likewise.
    """

    path: Path
    made: datetime
    snapshot_version: int
    projects: int | None
    files: int | None
    digest: str | None


def kept_in(folder: Path) -> list[Kept]:
    """The checkpoints in a folder, the oldest first. Only what their digests cover is read.

    Raises:
        StoreError: it can't be read.
    """
    with storing(f"read {folder}"):
        names = sorted(path.name for path in folder.iterdir())
    found = []
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None:
            continue
        try:
            made = datetime.strptime(match[1], TIME).replace(tzinfo=UTC)
        except ValueError:  # a month 13
            continue
        found.append(_kept(folder / name, made, int(match[2])))
    return found


def _kept(path: Path, made: datetime, snapshot: int) -> Kept:
    try:
        with Checkpoint.open(path, None) as there:
            counts = there.project_count, there.file_count
            return Kept(path, made, there.snapshot_version, *counts, there.digest)
    except (CheckpointError, DistributionError, StoreError):
        return Kept(path, made, snapshot, None, None, None)


def to_keep(made: Iterable[datetime], daily: int, weekly: int) -> set[datetime]:
    """Which of these times are kept: the last of each of the latest days and weeks."""
    ordered = sorted(made, reverse=True)
    kept: set[datetime] = set()
    for most, period in (
        (daily, lambda time: time.date().isoformat()),
        (weekly, lambda time: "{}-{:02}".format(*time.isocalendar()[:2])),
    ):
        last: dict[str, datetime] = {}
        for time in ordered:
            last.setdefault(period(time), time)
        kept.update(list(last.values())[:most])
    return kept


def prune(folder: Path, *, daily: int, weekly: int) -> list[Path]:
    """Remove checkpoints that are not kept.

    Args:
        folder: of checkpoints.
        daily: how many days with a checkpoint are kept; 1 or more.
        weekly: how many weeks.

    Returns:
        What was removed.

    Raises:
        InputError: nothing would be kept.
        StoreError: the disk refused.
    """
    if daily < 1 or weekly < 0:
        raise InputError(f"expected to keep one day or more, got {daily}, and {weekly} weeks")
    there = kept_in(folder)
    keep = to_keep((kept.made for kept in there), daily, weekly)
    gone = [kept.path for kept in there if kept.made not in keep]
    with storing(f"write {folder}"):
        for path in gone:
            path.unlink()
        if gone:
            fsync_folder(folder)
    return gone


def export(good: Checkpoint, target: Path) -> None:
    """Copy a checkpoint, and read the copy whole.

    Args:
        good: opened with the digest that a person gave.
        target: the file to be made; on a stick, for example.

    Raises:
        StoreError: something is there already, or the disk refused; nothing is left.
        CheckpointError: what was written is not what was read.
    """
    with (
        place_new(target) as file,
        open_regular(good.path) as source,
        storing(f"copy {good.path} to {target}"),
    ):
        while chunk := source.read(CHUNK):
            file.write(chunk)
    try:
        with Checkpoint.open(target, good.digest) as copy:
            copy.check()
    except BaseException:
        target.unlink(missing_ok=True)
        raise
