"""A thief of the online key who writes what he likes, with python-tuf and raw bytes.

Unlike `indextrust.testing.OnlineKeyThief` he may choose versions, sign a whole set of targets at
once, and leave documents and bins in contradiction.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

_JSON = JSONSerializer(compact=True)


class Forger:
    """Signs with a stolen online key into a public folder.

    Args:
        public: the folder.
        online: the stolen key.
        now: the time of his forgeries.
    """

    def __init__(self, public: Path, online: CryptoSigner, now: datetime) -> None:
        self.public = public
        self._expires = now + timedelta(days=1)
        roots = (public / "metadata").glob("*.root.json")
        latest = max(roots, key=lambda path: int(path.name.partition(".")[0]))
        root = Metadata[Root].from_file(str(latest)).signed
        key = root.keys[root.roles["timestamp"].keyids[0]]
        self._signer = CryptoSigner(online._private_key, cast(Any, key))

    def sign(
        self,
        targets: Mapping[str, bytes | None],
        *,
        bins: tuple[str, ...] = (),
        version: int | None = None,
        hashes: tuple[str, ...] = ("sha256",),
    ) -> None:
        """Publish a snapshot in which these targets have these bytes.

        Args:
            targets: target path to its bytes; None to take it out.
            bins: role names that are signed anew with the targets they have.
            version: of all that is signed; None for one above the last.
            hashes: what is signed of a target.
        """
        delegations = cast(Targets, self._served("bins").signed).delegations
        assert delegations is not None
        timestamp = self._served("timestamp")
        snapshot = self._served("snapshot")
        listed = cast(Snapshot, snapshot.signed).meta
        touched = {name: self._served(name) for name in bins}
        for path, data in targets.items():
            role = next(name for name, _ in delegations.get_roles_for_target(path))
            signed = touched.setdefault(role, self._served(role)).signed
            if data is None:
                signed.targets.pop(path, None)
            else:
                digests = {name: hashlib.new(name, data).hexdigest() for name in hashes}
                signed.targets[path] = TargetFile(len(data), digests, path)
                self.place(path, data)
        for name, metadata in touched.items():
            listed[f"{name}.json"] = self._write(name, metadata, version)
        meta = self._write("snapshot", snapshot, version)
        cast(Timestamp, timestamp.signed).snapshot_meta = meta
        self._write("timestamp", timestamp, version)

    def place(self, path: str, data: bytes) -> None:
        """Put bytes into the public folder, under the plain and the hash-prefixed name."""
        folder, _, name = path.rpartition("/")
        (self.public / folder).mkdir(parents=True, exist_ok=True)
        put(self.public / path, data)
        put(self.public / folder / f"{hashlib.sha256(data).hexdigest()}.{name}", data)

    def document(self, project: str) -> dict[str, Any]:
        """The served document of a project; an empty one if there is none."""
        path = self.public / "simple" / project / "index.json"
        if path.exists():
            tree: dict[str, Any] = json.loads(path.read_bytes())
            return tree
        return {"files": [], "meta": {"api-version": "1.4"}, "name": project, "versions": []}

    def _served(self, role: str) -> Metadata[Any]:
        """What the served timestamp leads to."""
        folder = self.public / "metadata"
        if role == "timestamp":
            return Metadata.from_file(str(folder / "timestamp.json"))
        timestamp = cast(Timestamp, self._served("timestamp").signed)
        version = timestamp.snapshot_meta.version
        if role != "snapshot":
            snapshot = Metadata[Snapshot].from_file(str(folder / f"{version}.snapshot.json"))
            version = snapshot.signed.meta[f"{role}.json"].version
        return Metadata.from_file(str(folder / f"{version}.{role}.json"))

    def _write(self, role: str, metadata: Metadata[Any], version: int | None) -> MetaFile:
        signed = metadata.signed
        signed.version = signed.version + 1 if version is None else max(version, signed.version + 1)
        signed.expires = self._expires
        metadata.sign(self._signer)
        data = metadata.to_bytes(_JSON)
        prefix = "" if role == "timestamp" else f"{signed.version}."
        put(self.public / "metadata" / f"{prefix}{role}.json", data)
        return MetaFile(signed.version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})


def encoded(document: Mapping[str, Any]) -> bytes:
    """A document as bytes."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8")


def listed(project: str, filename: str, data: bytes, **more: Any) -> dict[str, Any]:
    """An entry of a document, for a file of these bytes."""
    return {
        "core-metadata": False,
        "filename": filename,
        "hashes": {"sha256": hashlib.sha256(data).hexdigest()},
        "size": len(data),
        "upload-time": "2026-01-31T12:00:00Z",
        "url": f"../../files/{project}/{filename}",
        "yanked": False,
        **more,
    }


def put(path: Path, data: bytes) -> None:
    """Write by rename: the honest bytes may lie under other names too, as hard links."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(data)
    os.replace(temporary, path)
