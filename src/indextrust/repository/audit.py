"""What is different: the targets in the state, and those that are served. PURE.

The quick question before and after an operation: do the served bins say what the state says? Both
sides are plain mappings from target path to length and digest. Neither is verified; after a
compromise the question is another one, and the answer comes from a checkpoint
(`indextrust.repository.audited`).

It is metadata that is compared: what is *signed* for each target. The files themselves are not
read here; a client refuses one whose bytes were altered, and `Repository.restore` hashes them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from indextrust.repository.plan import TargetFile

__all__ = ["Audit", "compare"]


@dataclass(frozen=True)
class Audit:
    """The difference between what should be served and what is.

    Args:
        added: target paths that are served and should not be, sorted.
        changed: target paths served with another length or digest.
        removed: target paths that should be served and are not.
        faults: parts of the served metadata that could not be read, and why; their targets
            count as removed.
    """

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    faults: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether the served metadata signs what it should. The files' bytes were not looked at."""
        return not (self.added or self.changed or self.removed or self.faults)


def compare(
    good: Mapping[str, TargetFile], served: Mapping[str, TargetFile], faults: tuple[str, ...] = ()
) -> Audit:
    """Compare what is served with what should be."""
    return Audit(
        tuple(sorted(served.keys() - good.keys())),
        tuple(sorted(p for p in good.keys() & served.keys() if good[p] != served[p])),
        tuple(sorted(good.keys() - served.keys())),
        faults,
    )
