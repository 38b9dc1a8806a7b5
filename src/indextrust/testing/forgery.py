"""Stolen keys tried in one role after another.

After a recovery nothing that a stolen key signs may count, in no role. To see that it is the
role's own signature that is refused, and not a hash or a version beside it, everything else is
made right: the next version of the role is signed by the stolen keys, under their own key ids and
under the role's, and what leads to it is signed by the honest online key, as if the repository had
been talked into listing it.

Written with python-tuf; the metadata is changed in a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

from securesystemslib.signer import Signature, Signer
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization.json import CanonicalJSONSerializer

from indextrust.testing.raw import latest, meta_of, write, write_signed

__all__ = ["BINS", "delegator_of", "forge_role"]

BINS = "bins"
"""The role that delegates to every bin."""


def delegator_of(metadata: Path, role: str) -> Root | Targets:
    """The signed part that says whose signatures count for `role`, as it is served now."""
    if role in (Root.type, Timestamp.type, Snapshot.type, Targets.type):
        return cast(Root, latest(metadata, Root.type).signed)
    above = Targets.type if role == BINS else BINS
    return cast(Targets, latest(metadata, above).signed)


def forge_role(
    metadata: Path, role: str, stolen: Sequence[Signer], online: Signer, *, now: datetime
) -> None:
    """Put the next version of `role`, signed by stolen keys, among the served metadata.

    Args:
        metadata: a copy of the served folder ``metadata/``; changed.
        role: its name.
        stolen: what the thief signs with.
        online: the honest online key: signs the snapshot and the timestamp that list it.
        now: the time it is signed at.
    """
    forged = latest(metadata, role)
    forged.signed.version += 1
    forged.signed.expires = now.replace(microsecond=0) + timedelta(days=1)
    snapshot, timestamp = latest(metadata, Snapshot.type), latest(metadata, Timestamp.type)
    if role == Timestamp.type:
        _sign_as(forged, delegator_of(metadata, role), role, stolen)
        write(metadata, role, forged)
        return
    if role == Snapshot.type:
        snapshot = forged
    _sign_as(forged, delegator_of(metadata, role), role, stolen)
    data = write(metadata, role, forged)
    if role == Root.type:
        return
    if role != Snapshot.type:
        cast(Snapshot, snapshot.signed).meta[f"{role}.json"] = meta_of(forged, data)
        snapshot.signed.version += 1
        data = write_signed(metadata, Snapshot.type, snapshot, [online])
    cast(Timestamp, timestamp.signed).snapshot_meta = meta_of(snapshot, data)
    timestamp.signed.version += 1
    write_signed(metadata, Timestamp.type, timestamp, [online])


def _sign_as(
    forged: Metadata[Any], delegator: Root | Targets, role: str, stolen: Sequence[Signer]
) -> None:
    """Sign with every stolen key: under its own key id, and under each that the role has."""
    payload = CanonicalJSONSerializer().serialize(forged.signed)
    forged.signatures.clear()
    for signer in stolen:
        signature = signer.sign(payload)
        forged.signatures[signature.keyid] = signature
        for keyid in delegator.get_delegated_role(role).keyids:
            if keyid not in {other.public_key.keyid for other in stolen}:
                forged.signatures[keyid] = Signature(keyid, signature.signature)
