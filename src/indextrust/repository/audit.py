"""What is different: two sets of targets compared. PURE.

The question after a compromise is not whether the served metadata verifies (a thief with the
online key signs well), but whether it says what the operator published. Both sides of the
comparison are plain mappings from target path to length and digest, so one of them can come
from a checkpoint that was kept off the server.

It is metadata that is compared: what is *signed* for each target. The files themselves are not
read here; a client refuses one whose bytes were altered, and `Repository.restore` hashes them all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from indextrust.canonical import canonical
from indextrust.errors import InputError
from indextrust.repository.plan import TargetFile

__all__ = ["Audit", "checkpoint", "compare", "read_checkpoint"]


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
    good: Mapping[str, TargetFile],
    served: Mapping[str, TargetFile],
    faults: tuple[str, ...] = (),
    *,
    older: bool = False,
) -> Audit:
    """Compare what is served with what is known to be good.

    Args:
        good: target path to what should be signed.
        served: what is.
        faults: parts that could not be read.
        older: whether `good` was recorded some time ago: a SHA-512 may have come since.
    """
    if older:
        served = {path: _as_far(target, good.get(path)) for path, target in served.items()}
    return Audit(
        tuple(sorted(served.keys() - good.keys())),
        tuple(sorted(p for p in good.keys() & served.keys() if good[p] != served[p])),
        tuple(sorted(good.keys() - served.keys())),
        faults,
    )


def _as_far(served: TargetFile, good: TargetFile | None) -> TargetFile:
    """A target as far as it was recorded: without a SHA-512 that was not listed then."""
    return served._replace(sha512=None) if good is not None and good.sha512 is None else served


def checkpoint(targets: Mapping[str, TargetFile], taken: str) -> dict[str, Any]:
    """A record of `targets` to keep somewhere else, as a JSON tree.

    Args:
        targets: target path to length and digest.
        taken: when, as text.

    Returns:
        ``{"targets": {path: {"length": …, "sha256": …}}, "taken": …, "digest": …}``, the digest
        being the SHA-256 of the canonical JSON of ``targets``: short enough to read out loud,
        it is what has to be kept off the server.
    """
    tree = {path: {"length": t.length, **t.hashes} for path, t in targets.items()}
    return {"digest": _digest(tree), "taken": taken, "targets": tree}


def read_checkpoint(record: Mapping[str, Any]) -> dict[str, TargetFile]:
    """The targets in a checkpoint.

    Raises:
        InputError: not a checkpoint, or not the one its digest was taken of.
    """
    try:
        tree = record["targets"]
        targets = {path: TargetFile(**target) for path, target in tree.items()}
        if record["digest"] == _digest(tree):
            return targets
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError("expected a checkpoint: taken, digest, targets") from None
    raise InputError("the checkpoint was altered: its targets do not have its digest")


def _digest(tree: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(tree)).hexdigest()
