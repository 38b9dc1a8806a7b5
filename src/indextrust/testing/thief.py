"""A thief of the online key, with write access to the served folder.

He holds what signs timestamp, snapshot and bins, so whatever he signs is valid: that is the
limit of the model (PEP 458, Table 4). He does not hold the keys of root, targets and bins'
delegation. Written with python-tuf and raw bytes; he never calls indextrust's repository.
"""

from __future__ import annotations

import hashlib
import json
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

__all__ = ["OnlineKeyThief"]


class OnlineKeyThief:
    """Signs what he likes into `public`, the folder that a static index is served from.

    Args:
        public: the folder with ``metadata/``, ``simple/`` and ``files/``.
        stolen: the online private key's file (PEM).
        passphrase: what it is encrypted with; he got that too.
        now: the time his forgeries are signed at.
    """

    def __init__(self, public: Path, stolen: bytes, passphrase: bytes, *, now: datetime) -> None:
        self._public = public
        self._metadata = public / "metadata"
        self._expires = now.replace(microsecond=0) + timedelta(days=1)
        root = cast(Root, self._latest("root").signed)
        keyid = root.roles[Timestamp.type].keyids[0]
        # Whatever id the repository gave the key: a thief reads it in root.
        public_key = cast(SSlibKey, root.keys[keyid])
        self._signer = CryptoSigner(_private_key(stolen, passphrase), public_key)
        self.keyid = keyid

    def replace_file(self, project: str, filename: str, data: bytes) -> tuple[str, ...]:
        """Put `data` where the index has a distribution file, and sign for it.

        The file, the project's document and its page change; bins, snapshot and timestamp are
        signed anew.

        Returns:
            The target paths that changed, sorted.
        """
        digest = hashlib.sha256(data).hexdigest()
        document_path = f"simple/{project}/index.json"
        document = json.loads((self._public / document_path).read_bytes())
        entry = next(file for file in document["files"] if file["filename"] == filename)
        honest = entry["hashes"]["sha256"]
        entry["hashes"] = {"sha256": digest}
        entry["size"] = len(data)
        page = self._public / "simple" / project / "index.html"
        _write(page, page.read_bytes().replace(honest.encode(), digest.encode()))
        changed = {
            f"files/{project}/{filename}": data,
            document_path: json.dumps(
                document, sort_keys=True, separators=(",", ":"), ensure_ascii=False
            ).encode("utf-8"),
        }
        self._publish(changed)
        return tuple(sorted(changed))

    def sign_timestamp(self, version: int) -> bytes:
        """A timestamp of `version`, written over the served one.

        Returns:
            Its bytes.
        """
        timestamp = self._latest(Timestamp.type)
        timestamp.signed.version = version
        return self._write_role(Timestamp.type, timestamp)

    def _publish(self, targets: dict[str, bytes]) -> None:
        delegations = cast(Targets, self._latest("bins").signed).delegations
        if delegations is None:
            raise ValueError("expected a bins role that delegates, got none")
        snapshot = self._latest(Snapshot.type)
        listed = cast(Snapshot, snapshot.signed).meta
        bins: dict[str, Metadata[Targets]] = {}
        for path, data in targets.items():
            digest = hashlib.sha256(data).hexdigest()
            folder, _, name = path.rpartition("/")
            _write(self._public / path, data)
            _write(self._public / folder / f"{digest}.{name}", data)
            role = next(name for name, _ in delegations.get_roles_for_target(path))
            found = bins.setdefault(role, cast("Metadata[Targets]", self._latest(role)))
            found.signed.targets[path] = TargetFile(len(data), {"sha256": digest}, path)
        for role, metadata in bins.items():
            metadata.signed.version += 1
            listed[f"{role}.json"] = _meta(metadata, self._write_role(role, metadata))
        snapshot.signed.version += 1
        signed = self._write_role(Snapshot.type, snapshot)
        timestamp = self._latest(Timestamp.type)
        timestamp.signed.version += 1
        cast(Timestamp, timestamp.signed).snapshot_meta = _meta(snapshot, signed)
        self._write_role(Timestamp.type, timestamp)

    def _latest(self, role: str) -> Metadata[Any]:
        """The served metadata of `role` with the highest version."""
        if role == Timestamp.type:
            return Metadata.from_file(str(self._metadata / "timestamp.json"))
        versions = (
            int(path.name.split(".", 1)[0]) for path in self._metadata.glob(f"*.{role}.json")
        )
        return Metadata.from_file(str(self._metadata / f"{max(versions)}.{role}.json"))

    def _write_role(self, role: str, metadata: Metadata[Any]) -> bytes:
        metadata.signed.expires = self._expires
        metadata.sign(self._signer)
        data = metadata.to_bytes(JSONSerializer(compact=True))
        prefix = "" if role == Timestamp.type else f"{metadata.signed.version}."
        _write(self._metadata / f"{prefix}{role}.json", data)
        return data


def _private_key(pem: bytes, passphrase: bytes) -> Ed25519PrivateKey:
    key = load_pem_private_key(pem, passphrase)
    if not isinstance(key, Ed25519PrivateKey):
        raise TypeError(f"expected an Ed25519 key, got {type(key).__name__}")
    return key


def _meta(metadata: Metadata[Any], data: bytes) -> MetaFile:
    return MetaFile(
        metadata.signed.version, len(data), {"sha256": hashlib.sha256(data).hexdigest()}
    )


def _write(path: Path, data: bytes) -> None:
    # By rename: the honest bytes may lie under other names too, as hard links.
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(data)
    os.replace(temporary, path)
