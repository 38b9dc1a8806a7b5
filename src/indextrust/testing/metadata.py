"""A TUF repository's metadata in memory, made with python-tuf, for testing clients.

The metadata objects are open: a test changes whatever it likes and publishes. Nothing is checked
on the way out, so a test can publish what no honest repository would.

    repository = MetadataRepository()
    repository.add_target("files/demo/demo-1.0.tar.gz", b"...")
    repository.publish()
    bootstrap, newest = repository.files["1.root.json"], repository.files["timestamp.json"]
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

__all__ = ["MetadataRepository"]

_TOP_LEVEL = (Root.type, Timestamp.type, Snapshot.type, Targets.type)


class MetadataRepository:
    """Root, timestamp, snapshot, targets and delegated roles, signed anew by `publish`.

    After construction, root v1 is published and nothing else.

    Args:
        now: the time everything is signed at; the roles live a year, timestamp and snapshot a day.
    """

    def __init__(self, *, now: datetime | None = None) -> None:
        now = (datetime.now(UTC) if now is None else now).replace(microsecond=0)
        year, day = now + timedelta(days=365), now + timedelta(days=1)
        self.root = Metadata(Root(expires=year))
        self.timestamp = Metadata(Timestamp(expires=day))
        self.snapshot = Metadata(Snapshot(expires=day))
        self.targets: dict[str, Metadata[Targets]] = {Targets.type: Metadata(Targets(expires=year))}
        """Every targets role by name, the top-level one as ``targets``."""
        self.signers: dict[str, list[Signer]] = {}
        """Who signs each role."""
        self.files: dict[str, bytes] = {}
        """Published metadata by file name, every version."""
        self.contents: dict[str, bytes] = {}
        """Targets' bytes by target path."""
        for role in _TOP_LEVEL:
            self.add_key(role)
        self._published: set[str] = set()
        self.publish_root()

    def add_key(self, role: str) -> Signer:
        """Give a top-level role one key more, and its signer. Root is not published."""
        signer = CryptoSigner.generate_ed25519()
        self.root.signed.add_key(signer.public_key, role)
        self.signers.setdefault(role, []).append(signer)
        return signer

    def rotate(self, role: str) -> None:
        """Replace all keys of a top-level role by a new one. Root is not published.

        Root's own old keys go on signing, as the new root needs both (TUF specification 6.1).
        """
        for keyid in list(self.root.signed.roles[role].keyids):
            self.root.signed.revoke_key(keyid, role)
        if role != Root.type:
            self.signers[role] = []
        self.add_key(role)

    def delegate(self, parent: str, name: str, paths: list[str], *, terminating: bool) -> None:
        """Have the targets role `parent` delegate `paths` to a new role with a key of its own."""
        signer = CryptoSigner.generate_ed25519()
        self.signers[name] = [signer]
        role = DelegatedRole(name, [], 1, terminating, paths)
        signed = self.targets[parent].signed
        if signed.delegations is None:
            signed.delegations = Delegations({}, {})
        if signed.delegations.roles is None:
            raise ValueError(f"{parent!r} delegates to succinct roles")
        signed.delegations.roles[name] = role
        signed.add_key(signer.public_key, name)
        expires = self.targets[Targets.type].signed.expires
        self.targets[name] = Metadata(Targets(expires=expires))

    def add_target(self, path: str, data: bytes, *, role: str = Targets.type) -> None:
        """List `data` under `path` in a targets role."""
        digest = hashlib.sha256(data).hexdigest()
        self.targets[role].signed.targets[path] = TargetFile(len(data), {"sha256": digest}, path)
        self.contents[path] = data

    def publish_root(self) -> bytes:
        """Sign and publish the next version of root."""
        return self._publish(Root.type, self.root)

    def publish(self) -> None:
        """Publish the next version of every role but root."""
        for name, metadata in self.targets.items():
            data = self._publish(name, metadata)
            self.snapshot.signed.meta[f"{name}.json"] = _meta(metadata, data)
        self.publish_timestamp(self.publish_snapshot())

    def publish_again(self, role: str) -> bytes:
        """Sign a role as it is now under its present version, over what was published."""
        self._published.discard(role)
        top: dict[str, Metadata[Any]] = {
            Root.type: self.root,
            Timestamp.type: self.timestamp,
            Snapshot.type: self.snapshot,
        }
        return self._publish(role, top.get(role) or self.targets[role])

    def publish_snapshot(self) -> bytes:
        """Sign and publish the next version of the snapshot."""
        return self._publish(Snapshot.type, self.snapshot)

    def publish_timestamp(self, snapshot: bytes) -> None:
        """Publish the next timestamp, for `snapshot`, the bytes of the present snapshot."""
        self.timestamp.signed.snapshot_meta = _meta(self.snapshot, snapshot)
        self._publish(Timestamp.type, self.timestamp)

    def served(self) -> Mapping[str, bytes]:
        """Everything a web server would hold: path to bytes, metadata under ``metadata/``,
        targets (plain and hash-prefixed) under ``targets/``."""
        found = {f"metadata/{name}": data for name, data in self.files.items()}
        for path, data in self.contents.items():
            folder, slash, name = path.rpartition("/")
            found[f"targets/{path}"] = data
            found[f"targets/{folder}{slash}{hashlib.sha256(data).hexdigest()}.{name}"] = data
        return found

    def write(self, folder: Path) -> None:
        """Write what is `served` below `folder`."""
        for path, data in self.served().items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)

    def _publish(self, role: str, metadata: Metadata[Any]) -> bytes:
        if role in self._published:
            metadata.signed.version += 1
        self._published.add(role)
        metadata.signatures.clear()
        for signer in self.signers[role]:
            metadata.sign(signer, append=True)
        data = metadata.to_bytes(JSONSerializer(compact=True))
        encoded = quote(role, safe="")
        prefix = "" if role == Timestamp.type else f"{metadata.signed.version}."
        self.files[f"{prefix}{encoded}.json"] = data
        return data


def _meta(metadata: Metadata[Any], data: bytes) -> MetaFile:
    return MetaFile(
        metadata.signed.version, len(data), {"sha256": hashlib.sha256(data).hexdigest()}
    )
