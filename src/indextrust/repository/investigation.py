"""What happened: the audit against a checkpoint, beside what our own log and state say.

The audit (`audited`) says what differs from the checkpoint, and who queued it. To decide on each
difference one needs more: what the state has, whether that is worth anything, and what the thief
*undid*: a change that was queued since the checkpoint, and of which nothing is served any more, is
no difference from the checkpoint.

Source: PEP 458, "Key Compromise Analysis".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from indextrust.distribution import DistributionFile
from indextrust.errors import AlteredStateError, InputError, StoreError
from indextrust.names import NormalizedName, project_name
from indextrust.repository.audited import Audited, audit
from indextrust.repository.blame import Blame
from indextrust.repository.checkpoint import Checkpoint
from indextrust.repository.log import REBUILD
from indextrust.repository.plan import RoleFile, TargetFile
from indextrust.repository.state import State
from indextrust.repository.storage import FolderStorage

__all__ = ["Investigation", "investigate"]


@dataclass(frozen=True)
class Investigation:
    """What an investigation found.

    Args:
        audited: against the checkpoint.
        believed: whether the log is sound and reaches back to the checkpoint. If not, the state
            may be anything: only the checkpoint is known.
        rebuilt: whether the log was begun anew (`Repository.rebuild`), so that nobody can tell what
            was queued before.
        ours: the files in the state of each project that is not as it was.
        taken: by file name in lower case, the digest that it stands for, for good.
        altered: what the state has and the log never gave it, in a sentence; empty if nothing.
        undone: target path to what is served for it (None: nothing), where that is as in the
            checkpoint and not as in the state.
    """

    audited: Audited
    believed: bool
    rebuilt: bool
    altered: str
    ours: Mapping[NormalizedName, Mapping[str, DistributionFile]] = field(repr=False)
    taken: Mapping[str, str] = field(repr=False)
    undone: Mapping[str, TargetFile | None] = field(repr=False)


def investigate(
    state: State,
    storage: FolderStorage,
    good: Checkpoint,
    served: tuple[Mapping[str, TargetFile], tuple[str, ...]],
    now: datetime,
) -> Investigation:
    """Compare what is served with a checkpoint, the log and the state.

    Args:
        state: of the repository.
        storage: the public folder.
        good: the checkpoint.
        served: targets that are served, and faults.
        now: aware, UTC.

    Raises:
        CheckpointError: a part of the checkpoint was altered.
        StoreError: the checkpoint, or the state, can't be read.
    """
    audited = audit(good, storage, state.queue.log, now)
    blame = None if audited.log else _reaching_back(state, good)
    believed = blame is not None
    found = {finding.difference.path for finding in audited.findings}
    targets, expected = served[0], state.targets() if believed else {}
    undone = {
        path: targets.get(path)
        for path in (expected.keys() | targets.keys() if believed else ())
        if expected.get(path) != targets.get(path) and path not in found
    }
    names = {finding.difference.project for finding in audited.findings}
    names |= {path.split("/")[1] for path in undone}
    ours: Mapping[NormalizedName, Mapping[str, DistributionFile]] = {}
    try:
        ours = state.files_of(filter(None, map(_normal, sorted(names))))
        altered = "" if blame is None else _altered(blame, good, ours)
    except (InputError, TypeError, ValueError) as error:  # a row that no file can have
        altered = f"the state was altered: {error}"
    filenames = (path.rpartition("/")[2] for path in (*found, *undone))
    taken = {folded: sha256 for folded, (_, sha256) in state.used_of(filenames).items()}
    return Investigation(audited, believed, _is_rebuilt(state), altered, ours, taken, undone)


def _reaching_back(state: State, good: Checkpoint) -> Blame | None:
    try:
        blame = Blame(state.queue.log, RoleFile.of(good.snapshot_version, good.snapshot))
    except (AlteredStateError, StoreError):
        return None
    return blame if blame.reaches_back else None


def _altered(
    blame: Blame, good: Checkpoint, ours: Mapping[NormalizedName, Mapping[str, DistributionFile]]
) -> str:
    """Who writes the tables without the log makes them say what nobody queued."""
    for name, files in sorted(ours.items()):
        record = good.project(name)
        if wrong := blame.altered(name, {} if record is None else record.files, files):
            return (
                f"the state was altered: {wrong}, which neither the checkpoint nor the log gave it"
            )
    return ""


def _is_rebuilt(state: State) -> bool:
    try:
        return any(entry.kind == REBUILD for entry in islice(state.queue.log.chain(0), 2))
    except (AlteredStateError, StoreError):
        return False


def _normal(name: str) -> NormalizedName | None:
    """A name of the thief's choice, if it can be a project's."""
    try:
        return project_name(name)
    except InputError:
        return None
