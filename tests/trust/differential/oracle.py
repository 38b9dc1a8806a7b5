"""An independent judge of what a client trusts: python-tuf's own types and verification.

It reads a client's store afterwards, and asks nothing of the code that filled it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

__all__ = ["chain", "is_signed_by", "root_of", "target_in", "version_of"]

Delegator = Root | Targets


def version_of(data: bytes) -> int:
    """The version that the file says."""
    version: int = Metadata[Any].from_bytes(data).signed.version
    return version


def is_signed_by(data: bytes, delegator: Delegator, role: str) -> bool:
    """Whether a threshold of distinct keys, by material, signed `data` for this delegator."""
    metadata = Metadata[Any].from_bytes(data)
    result = delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    distinct = {key.keyval["public"].strip().lower() for key in result.signed.values()}
    return bool(result) and len(distinct) >= result.threshold


def root_of(bootstrap: bytes, history: Mapping[int, bytes], stored: bytes) -> Root:
    """The trusted root, if an unbroken chain leads to it from `bootstrap`."""
    root = Metadata[Root].from_bytes(bootstrap).signed
    newest = version_of(stored)
    data = bootstrap
    for version in range(root.version + 1, newest + 1):
        data = history[version]
        new = Metadata[Root].from_bytes(data).signed
        assert new.version == version
        assert is_signed_by(data, root, "root")
        assert is_signed_by(data, new, "root")
        root = new
    assert data == stored
    return root


def chain(
    bootstrap: bytes, history: Mapping[int, bytes], stored: Mapping[str, bytes], now: datetime
) -> None:
    """Assert that what is stored of the top level is one chain, and none of it past its time."""
    root = root_of(bootstrap, history, stored["root"])
    for role in ("timestamp", "snapshot", "targets"):
        assert is_signed_by(stored[role], root, role), role
    timestamp = Metadata[Timestamp].from_bytes(stored["timestamp"]).signed
    _assert_listed(stored["snapshot"], timestamp.snapshot_meta)
    snapshot = Metadata[Snapshot].from_bytes(stored["snapshot"]).signed
    _assert_listed(stored["targets"], snapshot.meta["targets.json"])
    assert not any(role.is_expired(now) for role in (root, timestamp, snapshot)), "expired"


def target_in(stored: Mapping[str, bytes], path: str, now: datetime) -> TargetFile | None:
    """The entry for `path` in the chain that is stored, by the walk over delegations.

    Each role on the way must be listed by the snapshot, signed as its delegator says, and not
    past its time.
    """
    snapshot = Metadata[Snapshot].from_bytes(stored["snapshot"]).signed
    to_visit: list[tuple[str, Delegator]] = [
        ("targets", Metadata[Root].from_bytes(stored["root"]).signed)
    ]
    seen = set()
    while to_visit:
        role, delegator = to_visit.pop(0)
        if role in seen:
            continue
        seen.add(role)
        assert is_signed_by(stored[role], delegator, role), role
        _assert_listed(stored[role], snapshot.meta[f"{role}.json"])
        targets = Metadata[Targets].from_bytes(stored[role]).signed
        assert not targets.is_expired(now), (role, "expired")
        if path in targets.targets:
            return targets.targets[path]
        children: list[tuple[str, Delegator]] = []
        if targets.delegations is not None:
            for name, terminating in targets.delegations.get_roles_for_target(path):
                children.append((name, targets))
                if terminating:
                    to_visit = []
                    break
        to_visit = children + to_visit
    return None


def _assert_listed(data: bytes, info: MetaFile) -> None:
    assert version_of(data) == info.version
    for algorithm, digest in (info.hashes or {}).items():
        if algorithm in hashlib.algorithms_available:
            assert hashlib.new(algorithm, data).hexdigest() == digest
