"""The checks of the TUF client workflow, one function for a step.

Each function takes parsed or verified values and a reference time, and returns or raises; it
reads no file and no clock. Beside each stand the step of the specification and the attack it
stops. The order in which they run is that of `indextrust.trust.session` and
`indextrust.trust.roles`.

The functions named ``verified_…`` are the only makers of `Root`, `Timestamp`, `Snapshot` and
`Targets` values: they verify first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime

from indextrust.errors import (
    EquivocationError,
    ExpiredError,
    MalformedError,
    MissingRoleError,
    RollbackError,
    WrongVersionError,
)
from indextrust.names import ROOT, SNAPSHOT, TIMESTAMP
from indextrust.trust.keys import RoleKeys, verify_threshold
from indextrust.trust.metadata import (
    Envelope,
    FileInfo,
    Root,
    Signed,
    Snapshot,
    Targets,
    Timestamp,
    parse_root,
    parse_snapshot,
    parse_targets,
    parse_timestamp,
)
from indextrust.trust.target_list import TargetList
from indextrust.trust.verdict import ALGORITHMS, check_digests, check_hashes, check_length

__all__ = [
    "in_its_bin",
    "not_equivocated",
    "not_expired",
    "same_bytes",
    "snapshot_not_rolled_back",
    "timestamp_not_rolled_back",
    "verified_bootstrap",
    "verified_next_root",
    "verified_snapshot",
    "verified_targets",
    "verified_timestamp",
    "version_is",
    "vouched_for",
]


def verified_bootstrap(envelope: Envelope) -> Root:
    """5.2: the root that the caller trusts out of band must at least be signed by itself."""
    root = parse_root(envelope)
    _threshold(envelope, ROOT, root.roles[ROOT], "itself")
    return root


def verified_next_root(envelope: Envelope, trusted: Root) -> Root:
    """5.3.4 and 5.3.5: a threshold of the trusted root's keys, then of its own, then version + 1.

    Stops: arbitrary root (one stolen key of several), rollback and skipping of roots
    (CVE-2020-15163, CVE-2025-2885).
    """
    _threshold(envelope, ROOT, trusted.roles[ROOT], f"root version {trusted.version}")
    root = parse_root(envelope)
    _threshold(envelope, ROOT, root.roles[ROOT], "itself")
    version_is(trusted.version + 1, root, envelope.where)
    return root


def verified_timestamp(envelope: Envelope, root: Root) -> Timestamp:
    """5.4.2: signed by a threshold of the timestamp keys in the trusted root."""
    _threshold(envelope, TIMESTAMP, root.roles[TIMESTAMP], f"root version {root.version}")
    return parse_timestamp(envelope)


def verified_snapshot(envelope: Envelope, root: Root) -> Snapshot:
    """5.5.3: signed by a threshold of the snapshot keys in the trusted root."""
    _threshold(envelope, SNAPSHOT, root.roles[SNAPSHOT], f"root version {root.version}")
    return parse_snapshot(envelope)


def verified_targets(envelope: Envelope, role: str, keys: RoleKeys, delegator: str) -> Targets:
    """5.6.3: signed by a threshold of the keys that this delegator gives the role."""
    _threshold(envelope, role, keys, delegator)
    return parse_targets(envelope)


def not_expired(signed: Signed, now: datetime, where: str) -> None:
    """5.3.10, 5.4.4, 5.5.6, 5.6.5: not past its time. Stops a freeze attack."""
    if now >= signed.expires:
        raise ExpiredError(
            f"version {signed.version} expired",
            where=where,
            expected=f"metadata valid at {now.isoformat()}",
            got=f"expiry {signed.expires.isoformat()}",
        )


def version_is(expected: int, signed: Signed, where: str) -> None:
    """5.3.5, 5.5.4, 5.6.4: exactly this version. Stops mix-and-match: an old bin in a new set."""
    if signed.version != expected:
        raise WrongVersionError("wrong version", where=where, expected=expected, got=signed.version)


def vouched_for(data: bytes, info: FileInfo, where: str) -> None:
    """5.5.2, 5.6.2: length and hashes as the delegating file records them, where it does.

    Stops mix-and-match, and two different files under one version.
    """
    if info.length is not None:
        check_length(info.length, len(data), where=where)
    if info.hashes:
        check_digests(info.hashes, _digests(data, info.hashes), where=where)


def timestamp_not_rolled_back(trusted: Timestamp, new: Timestamp) -> None:
    """5.4.3: neither the timestamp's version nor the snapshot's that it lists may fall.

    Off-spec, stricter: the same snapshot version may not get another hash.
    Stops rollback and a snapshot swapped under its version.
    """
    if new.version < trusted.version:
        raise RollbackError(
            "older than before", where=TIMESTAMP, expected=f">= {trusted.version}", got=new.version
        )
    _info_not_rolled_back(trusted.snapshot, new.snapshot, f"{TIMESTAMP}: snapshot.json")


def snapshot_not_rolled_back(trusted: Snapshot, new: Snapshot) -> None:
    """5.5.5: no role listed before may vanish or fall in version.

    Off-spec, stricter: nor get another hash under the same version; nor may the snapshot's own
    version fall while the same keys sign it (the specification leaves that to the timestamp,
    whose key may have been replaced alone).
    Stops rollback of single roles, and hiding a role.
    """
    if new.version < trusted.version:
        raise RollbackError(
            "older than before", where=SNAPSHOT, expected=f">= {trusted.version}", got=new.version
        )
    for name in trusted.differing(new):
        before, after = trusted.info(name), new.info(name)
        if before is None or after is None:
            raise MissingRoleError("listed before and no more", where=f"{SNAPSHOT}: {name}")
        _info_not_rolled_back(before, after, f"{SNAPSHOT}: {name}")


def not_equivocated(trusted: bytes, new: bytes, version: int, where: str) -> None:
    """Off-spec, stricter: a version that was trusted with other bytes is not taken again.

    Stops: two different files under one version, where the snapshot records no hashes.
    """
    if trusted != new:
        raise EquivocationError(
            f"version {version} came with other bytes than before",
            where=where,
            expected=f"sha256 {hashlib.sha256(trusted).hexdigest()}",
            got=f"sha256 {hashlib.sha256(new).hexdigest()}",
        )


def in_its_bin(targets: Targets, role: str, parent: Targets) -> None:
    """Off-spec, stricter: a bin lists no target of another bin. For bins of which the snapshot
    records no hashes.

    Bins share a key and may share a version, and a bin does not say which it is: the network could
    serve one in the place of another, and a client would read "not listed" for what is listed.
    (An empty bin fits everywhere: for that the snapshot has to record hashes.)
    """
    prefixes = parent.prefixes_of(role)
    if prefixes is None:
        return
    listed = frozenset(prefixes)  # there may be as many as targets: never each with each
    lengths = {len(prefix) for prefix in prefixes if len(prefix) <= 64}
    left = {path: hashlib.sha256(path).hexdigest() for path in _encoded_paths(targets)}
    for length in lengths:
        left = {path: digest for path, digest in left.items() if digest[:length] not in listed}
    if left:
        raise MalformedError(
            "a target of another bin",
            where=role,
            expected=f"paths whose hashes begin with {' or '.join(prefixes[:4])}",
            got=next(iter(left)).decode("utf-8"),
        )


def same_bytes(data: bytes, info: FileInfo, where: str) -> None:
    """Off-spec, stricter: bytes trusted before must match what is recorded for their version now.

    Stops a snapshot that changed under its version while the timestamp listed no hash before.
    """
    if info.hashes:
        check_hashes(info.hashes, where=where)
    for algorithm, digest in _digests(data, info.hashes).items():
        if digest != info.hashes[algorithm]:
            raise EquivocationError(
                f"version {info.version} is now listed with another hash",
                where=where,
                expected=f"{algorithm} {digest}",
                got=info.hashes[algorithm],
            )


# -- parts -----------------------------------------------------------------------------------


def _threshold(envelope: Envelope, role: str, keys: RoleKeys, delegator: str) -> None:
    verify_threshold(role, keys, envelope.payload, envelope.signatures, where=delegator)


def _info_not_rolled_back(before: FileInfo, after: FileInfo, where: str) -> None:
    if after.version < before.version:
        raise RollbackError(
            "older than before", where=where, expected=f">= {before.version}", got=after.version
        )
    if after.version == before.version:
        for algorithm, digest in before.hashes.items():
            if after.hashes.get(algorithm, digest) != digest:
                raise EquivocationError(
                    f"version {after.version} is now listed with another hash",
                    where=where,
                    expected=f"{algorithm} {digest}",
                    got=after.hashes[algorithm],
                )


def _encoded_paths(targets: Targets) -> Sequence[bytes]:
    listed = targets.targets
    return listed.paths if isinstance(listed, TargetList) else [path.encode() for path in listed]


def _digests(data: bytes, hashes: Mapping[str, str]) -> dict[str, str]:
    return {
        algorithm: hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()
        for algorithm in hashes
        if algorithm in ALGORITHMS
    }
