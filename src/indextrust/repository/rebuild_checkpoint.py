"""Rows of a state from a checkpoint, where a thief of the online key may have signed the others.

The rows are those that the checkpoint has, as if the state came from a backup of that day. From
what is served come roots, targets and bins, which no online key signs, and the numbers to go on
above; nothing else. `recover` goes on from there; `publish` refuses, because the served timestamp
is another one.

Where the checkpoint has other bins than are served, the state is that of a re-binning which was
cut short, and `recover` ends it. Bins that a re-binning left are not taken along: the online key
has to be replaced.

Source: PEP 458, "Key Compromise Analysis" (recovery).
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

from indextrust.names import BINS, SNAPSHOT, TIMESTAMP, BinScheme
from indextrust.repository import bulk, schema
from indextrust.repository.checkpoint import Checkpoint
from indextrust.repository.offline import Offline
from indextrust.repository.plan import RoleFile, describe
from indextrust.repository.provenance import read_snapshot
from indextrust.repository.rebin import old_scheme
from indextrust.repository.rebuild_rows import NewRows, has_sha512

__all__ = ["offline_then", "store_checkpoint"]

_BINS_AT_A_TIME = 64
_PROJECTS_AT_A_TIME = 500


def offline_then(offline: Offline, good: Checkpoint) -> Offline:
    """The offline roles that are served, with the checkpoint's bins if those are others.

    Args:
        offline: that are served, verified.
        good: the checkpoint.

    Raises:
        RepositoryError: the checkpoint's bins are none of this profile.
    """
    if (scheme := old_scheme(good.roles.bins)) == offline.scheme:
        return offline
    bins = replace(offline.roles[BINS], data=good.roles.bins)
    return replace(offline, roles={**offline.roles, BINS: bins}, scheme=scheme)


def store_checkpoint(
    rows: NewRows, good: Checkpoint, scheme: BinScheme
) -> dict[str, tuple[RoleFile, str]]:
    """Make the rows of what the checkpoint has.

    Args:
        rows: of the new state.
        good: the checkpoint.
        scheme: its bins, as `offline_then` gives them.

    Returns:
        File and expiry of each online role, by role name: those that the checkpoint has, to be
        signed anew whatever the time.

    Raises:
        CheckpointError: a part of the checkpoint was altered.
        RepositoryError: a file name stands for two digests.
        StoreError: the disk refused.
    """
    records = good.projects()
    while some := list(islice(records, _PROJECTS_AT_A_TIME)):
        targets = [pair for record in some for pair in record.targets.items()]
        rows.store(
            ((scheme.bin_of(path), path, target) for path, target in targets),
            [record.name for record in some],
            [file for record in some for file in record.files.values()],
        )
    snapshot = RoleFile.of(good.snapshot_version, good.snapshot)
    timestamp = RoleFile.of(good.timestamp_version, good.timestamp)
    listed = read_snapshot(good.snapshot, snapshot)
    found = {SNAPSHOT: snapshot, TIMESTAMP: timestamp}
    with rows.database.begin() as db:
        both = has_sha512(db)
    for piece in bulk.pieces(scheme.names(), _BINS_AT_A_TIME):
        with rows.database.begin() as db:
            entries = bulk.entries_of(db, piece, both=both)
        for name in piece:
            there = listed[name]
            digest = describe(entries[name]).sha256
            file = RoleFile(there.version, there.length or 0, there.sha256 or "", digest)
            found[name] = file
    return {name: (file, schema.NEVER) for name, file in found.items()}
