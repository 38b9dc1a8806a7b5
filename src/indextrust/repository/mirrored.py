"""What is served compared with a mirror: both verified from the roots of a checkpoint.

A mirror of another owner is a second witness. What it lacks was added here since it was filled, or
by somebody who did not reach it; what it has and nobody serves here was removed. Which of the two
is right it does not say: the versions of the snapshots tell which is older, the checkpoint what was
good.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from indextrust.errors import RefusedError, RepositoryError, UnreachableError
from indextrust.repository.audited import NAMED, KnownRoots
from indextrust.repository.checkpoint import Checkpoint
from indextrust.repository.checkpoint_make import Progress, silent
from indextrust.repository.comparison import FileDifference, differences, name_of, pairs
from indextrust.repository.verified import EVER, Readable, ServedSet
from indextrust.repository.walk import ServedProjects

__all__ = ["Mirrored", "compare_mirror"]


@dataclass(frozen=True)
class Mirrored:
    """How what is served differs from a mirror.

    Args:
        there: version of the mirror's snapshot; None if no client takes what it serves.
        here: version of the snapshot that is served; likewise.
        counts: how many files were added, changed and removed here, seen from the mirror.
        differences: the first of them.
        fault_count: how many parts of either no client could read.
        faults: the first of them, one sentence each.
    """

    there: int | None
    here: int | None
    counts: Mapping[str, int] = field(default_factory=dict)
    differences: tuple[FileDifference, ...] = field(default=(), repr=False)
    fault_count: int = 0
    faults: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether both say the same."""
        return not (self.counts or self.fault_count)


def compare_mirror(
    good: Checkpoint, storage: Readable, mirror: Readable, progress: Progress = silent
) -> Mirrored:
    """Compare what is served here with a mirror.

    Args:
        good: its roots are believed.
        storage: what is served here.
        mirror: what is served there.
        progress: is told of every project.

    Raises:
        CheckpointError: a part of the checkpoint was altered.
        StoreError: the disk refused.
    """
    known = [KnownRoots(place, good) for place in (mirror, storage)]
    sets: list[ServedSet | None] = []
    faults: list[str] = []
    for place, what in zip(known, ("the mirror", "here"), strict=True):
        try:
            sets.append(ServedSet(place, good.root, EVER))
        except (RefusedError, UnreachableError, RepositoryError) as error:
            sets.append(None)
            faults.append(f"no client takes what is served: {what}: {error}")
    there, here = sets
    if there is None or here is None:
        return Mirrored(
            None if there is None else there.trusted.snapshot.version,
            None if here is None else here.trusted.snapshot.version,
            fault_count=len(faults),
            faults=tuple(faults),
        )
    counts: Counter[str] = Counter()
    found: list[FileDifference] = []
    with ServedProjects(there, known[0]) as theirs, ServedProjects(here, known[1]) as ours:
        for before, now in pairs(iter(theirs), iter(ours)):
            progress(name_of(before, now), 1)
            for each in differences(before, now):
                counts[each.kind] += 1
                if len(found) < NAMED:
                    found.append(each)
        count = theirs.faults.count + ours.faults.count
        faults = [f"the mirror: {text}" for text in theirs.faults.named] + ours.faults.named
    return Mirrored(
        *(there.trusted.snapshot.version, here.trusted.snapshot.version),
        counts=dict(counts),
        differences=tuple(found),
        fault_count=count,
        faults=tuple(faults),
    )
