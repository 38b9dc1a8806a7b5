"""The other parties in these stories: all of them python-tuf, none of them our code."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from indextrust.ceremony import SignedRoles

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
"""The day of the ceremonies."""


class TufOperator:
    """Signs timestamp, snapshot and bins with whatever online key he is given."""

    def __init__(self, online: Signer, version: int = 1) -> None:
        self.online = online
        self.version = version
        self.expires = NOW + timedelta(days=1)

    def _sign(self, signed: Targets | Snapshot | Timestamp) -> bytes:
        metadata: Metadata[Any] = Metadata(signed)
        metadata.sign(self.online)
        return metadata.to_bytes()

    def bin(self) -> bytes:
        """An empty bin."""
        return self._sign(Targets(self.version, expires=self.expires))

    def snapshot(self, roles: SignedRoles, bins: Sequence[str]) -> bytes:
        """A snapshot of `roles` and of `bins`, those in this operator's version."""
        versions = {
            "targets": targets_of(roles.targets).version,
            "bins": targets_of(roles.bins).version,
            **dict.fromkeys(bins, self.version),
        }
        meta = {f"{name}.json": MetaFile(version) for name, version in versions.items()}
        return self._sign(Snapshot(self.version, expires=self.expires, meta=meta))

    def timestamp(self) -> bytes:
        """The timestamp of this operator's snapshot."""
        return self._sign(
            Timestamp(self.version, expires=self.expires, snapshot_meta=MetaFile(self.version))
        )


def tuf_client(bootstrap: bytes) -> TrustedMetadataSet:
    """The inside of python-tuf's client, after its bootstrap, on the day of the ceremony."""
    client = TrustedMetadataSet(bootstrap, EnvelopeType.METADATA)
    client.reference_time = NOW
    return client


def root_of(data: bytes) -> Root:
    """Parse a root."""
    return Metadata[Root].from_bytes(data).signed


def targets_of(data: bytes) -> Targets:
    """Parse a targets or bins."""
    return Metadata[Targets].from_bytes(data).signed


def signed_by(signed: Root | Targets, signers: Sequence[Signer]) -> bytes:
    """What somebody with python-tuf and some keys makes of a role."""
    metadata: Metadata[Any] = Metadata(signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes(JSONSerializer(compact=True))
