"""A thief of the online key, with write access to the served folder.

He holds what signs timestamp, snapshot and bins, so whatever he signs is valid: that is the
limit of the model (PEP 458, Table 4). He does not hold the keys of root, targets and bins'
delegation. Written with python-tuf and raw bytes; he never calls indextrust's repository.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

from securesystemslib.signer import Signer, SSlibKey
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

from indextrust.testing.raw import latest, meta_of, put, stolen_signer, write_signed

__all__ = ["OnlineKeyThief", "SigningThief"]


class SigningThief:
    """Signs what he likes into `public`, the folder that a static index is served from.

    Args:
        public: the folder with ``metadata/``, ``simple/`` and ``files/``.
        signer: the key that signs timestamp, snapshot and every bin.
        now: the time his forgeries are signed at.
    """

    def __init__(self, public: Path, signer: Signer, *, now: datetime) -> None:
        self._public = public
        self._metadata = public / "metadata"
        self._expires = now.replace(microsecond=0) + timedelta(days=1)
        self._signer = signer

    def replace_file(self, project: str, filename: str, data: bytes) -> tuple[str, ...]:
        """Put `data` where the index has a distribution file, and sign for it.

        The file, the project's document and its page change; bins, snapshot and timestamp are
        signed anew.

        Returns:
            The target paths that changed, sorted.
        """
        digest = hashlib.sha256(data).hexdigest()
        document = self._document(project)
        entry = next(file for file in document["files"] if file["filename"] == filename)
        honest = entry["hashes"]["sha256"]
        entry["hashes"] = {"sha256": digest}
        entry["size"] = len(data)
        page = self._public / "simple" / project / "index.html"
        put(page, page.read_bytes().replace(honest.encode(), digest.encode()))
        return self._publish({f"files/{project}/{filename}": data, **_target(project, document)})

    def add_file(self, project: str, version: str, filename: str, data: bytes) -> tuple[str, ...]:
        """Add a distribution file, and its project if there is none, and sign for both.

        Returns:
            The target paths that changed or are new, sorted.
        """
        entry = {
            "core-metadata": False,
            "filename": filename,
            "hashes": {"sha256": hashlib.sha256(data).hexdigest()},
            "size": len(data),
            "upload-time": self._expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "url": f"../../files/{project}/{filename}",
            "yanked": False,
        }
        if (self._public / "simple" / project).exists():
            document = self._document(project)
        else:
            meta = {"api-version": "1.4"}
            document = {"files": [], "meta": meta, "name": project, "versions": []}
        document["files"] = sorted([*document["files"], entry], key=lambda file: file["filename"])
        document["versions"] = sorted({*document["versions"], version})
        return self._publish({f"files/{project}/{filename}": data, **_target(project, document)})

    def remove_file(self, project: str, filename: str) -> tuple[str, ...]:
        """Take a distribution file out of its project's document and of the bins, and sign that.

        Returns:
            The target paths that changed or are gone, sorted.
        """
        document = self._document(project)
        document["files"] = [file for file in document["files"] if file["filename"] != filename]
        path = f"files/{project}/{filename}"
        (self._public / path).unlink()
        return self._publish({path: None, f"{path}.metadata": None, **_target(project, document)})

    def drive_versions(self, version: int) -> None:
        """Sign timestamp, snapshot and every bin anew as `version` (a fast-forward attack)."""
        snapshot = latest(self._metadata, Snapshot.type)
        listed = cast(Snapshot, snapshot.signed).meta
        bins = {name.removesuffix(".json") for name in listed} - {Targets.type, "bins"}
        for role in sorted(bins):
            metadata = latest(self._metadata, role)
            metadata.signed.version = version
            listed[f"{role}.json"] = meta_of(metadata, self._sign(role, metadata))
        snapshot.signed.version = version
        self._sign_timestamp_for(snapshot, self._sign(Snapshot.type, snapshot), version)

    def sign_timestamp(self, version: int) -> bytes:
        """A timestamp of `version`, written over the served one.

        Returns:
            Its bytes.
        """
        timestamp = latest(self._metadata, Timestamp.type)
        timestamp.signed.version = version
        return self._sign(Timestamp.type, timestamp)

    def _publish(self, targets: dict[str, bytes | None]) -> tuple[str, ...]:
        """Write these targets, or (None) take them out, and sign all that leads to them."""
        delegations = cast(Targets, latest(self._metadata, "bins").signed).delegations
        if delegations is None:
            raise ValueError("expected a bins role that delegates, got none")
        snapshot = latest(self._metadata, Snapshot.type)
        listed = cast(Snapshot, snapshot.signed).meta
        bins: dict[str, Metadata[Targets]] = {}
        for path, data in targets.items():
            role = next(name for name, _ in delegations.get_roles_for_target(path))
            if role not in bins:
                bins[role] = latest(self._metadata, role)
            found = bins[role].signed.targets
            if data is None:
                found.pop(path, None)
                continue
            digest = hashlib.sha256(data).hexdigest()
            folder, _, name = path.rpartition("/")
            put(self._public / path, data)
            put(self._public / folder / f"{digest}.{name}", data)
            found[path] = TargetFile(len(data), {"sha256": digest}, path)
        for role, metadata in bins.items():
            metadata.signed.version += 1
            listed[f"{role}.json"] = meta_of(metadata, self._sign(role, metadata))
        snapshot.signed.version += 1
        version = latest(self._metadata, Timestamp.type).signed.version + 1
        self._sign_timestamp_for(snapshot, self._sign(Snapshot.type, snapshot), version)
        return tuple(sorted(targets))

    def _document(self, project: str) -> dict[str, Any]:
        path = self._public / "simple" / project / "index.json"
        document: dict[str, Any] = json.loads(path.read_bytes())
        return document

    def _sign(self, role: str, metadata: Metadata[Any]) -> bytes:
        metadata.signed.expires = self._expires
        return write_signed(self._metadata, role, metadata, [self._signer])

    def _sign_timestamp_for(self, snapshot: Metadata[Any], data: bytes, version: int) -> None:
        timestamp = latest(self._metadata, Timestamp.type)
        timestamp.signed.version = version
        cast(Timestamp, timestamp.signed).snapshot_meta = meta_of(snapshot, data)
        self._sign(Timestamp.type, timestamp)


class OnlineKeyThief(SigningThief):
    """The thief of the online key's file.

    Args:
        public: as for `SigningThief`.
        stolen: the online private key's file (PEM).
        passphrase: what it is encrypted with; he got that too.
        now: as for `SigningThief`.
    """

    def __init__(self, public: Path, stolen: bytes, passphrase: bytes, *, now: datetime) -> None:
        root = latest(public / "metadata", Root.type).signed
        self.keyid = root.roles[Timestamp.type].keyids[0]
        # Whatever id the repository gave the key: a thief reads it in root.
        public_key = cast(SSlibKey, root.keys[self.keyid])
        super().__init__(public, stolen_signer(stolen, passphrase, public_key), now=now)


def _target(project: str, document: dict[str, Any]) -> dict[str, bytes]:
    data = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return {f"simple/{project}/index.json": data.encode("utf-8")}
