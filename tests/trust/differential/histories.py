"""Honest repositories of many shapes, made with python-tuf, and everything they ever served."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, Signer, SSlibKey
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    SuccinctRoles,
    TargetFile,
    Targets,
)

from indextrust.testing import MetadataRepository

__all__ = ["NOW", "PATHS", "SHAPES", "TOP_LEVEL", "Files", "History", "signer_number"]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TOP_LEVEL = ("root", "timestamp", "snapshot", "targets")
PATHS = ("files/a/1", "files/b/1", "other")
SHAPES = ("flat", "nested", "prefixes", "succinct")

Files = dict[str, bytes]


@functools.cache
def signer_number(number: int) -> CryptoSigner:
    """The n-th of a fixed row of signers, the same in every run: an example can be replayed."""
    seed = hashlib.sha256(b"signer %d" % number).digest()
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(seed))


class Repository(MetadataRepository):
    """A repository in memory whose keys are taken from the fixed row, one after the other."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        super().__init__(now=NOW)

    def new_signer(self) -> CryptoSigner:
        """A signer that this repository has not used before."""
        return signer_number(next(self._numbers))

    def add_key(self, role: str) -> Signer:
        """As in the base class, with a key of the row."""
        signer = self.new_signer()
        self.root.signed.add_key(signer.public_key, role)
        self.signers.setdefault(role, []).append(signer)
        return signer

    def delegate(self, parent: str, name: str, paths: list[str], *, terminating: bool) -> None:
        """As in the base class, with a key of the row."""
        super().delegate(parent, name, paths, terminating=terminating)
        self.replace_key(parent, name)

    def replace_key(self, parent: str, name: str) -> None:
        """Let `parent` name one new key for the role `name`, in place of all others."""
        signed = self.targets[parent].signed
        assert signed.delegations is not None
        assert signed.delegations.roles is not None
        for keyid in list(signed.delegations.roles[name].keyids):
            signed.revoke_key(keyid, name)
        signer = self.new_signer()
        signed.add_key(signer.public_key, name)
        self.signers[name] = [signer]


class History:
    """A repository that publishes, rotates and delegates; `moments` are all it ever served.

    Args:
        shape: how targets are delegated. ``nested``: one delegation terminates, one does not, one
            stands below another, and the last lists what the first terminates; ``prefixes`` and
            ``succinct``: two bins by path hash.
        consistent: whether root v1 asks for consistent snapshots.
        hashes: whether timestamp and snapshot record lengths and hashes.
    """

    def __init__(
        self, shape: str = "nested", *, consistent: bool = True, hashes: bool = True
    ) -> None:
        self.repository = Repository()
        self.hashes = hashes
        self.moments: list[Files] = []
        self.set_consistent(consistent)
        self.repository.publish_again("root")
        self.bootstrap = self.repository.files["1.root.json"]
        self._delegate(shape)
        self.publish(self.targets_roles)

    @property
    def targets_roles(self) -> list[str]:
        """``targets`` and every delegated role."""
        return list(self.repository.targets)

    @property
    def delegated_by_name(self) -> list[str]:
        """Roles that stand in a delegator's list, so that each has keys of its own."""
        return [
            name
            for metadata in self.repository.targets.values()
            if metadata.signed.delegations
            for name in metadata.signed.delegations.roles or {}
        ]

    @property
    def served(self) -> Files:
        """What the honest repository serves now."""
        return self.moments[-1]

    def signed(self, role: str) -> Any:
        """The open metadata of a role, as its next version will be signed."""
        return self._metadata(role).signed

    def holds(self, role: str) -> bool:
        """Whether there is such a role."""
        return role in TOP_LEVEL or role in self.repository.targets

    # -- what it does ----------------------------------------------------------------------------

    def publish(self, roles: Iterable[str] = ()) -> None:
        """Publish new versions of `roles`, of the snapshot and of the timestamp."""
        meta = self.repository.snapshot.signed.meta
        for role in roles:
            data = self._again(role, bump=f"{role}.json" in meta)
            meta[f"{role}.json"] = self._info(role, data)
        snapshot = self._again("snapshot", bump=bool(self.moments))
        self.repository.timestamp.signed.snapshot_meta = self._info("snapshot", snapshot)
        self._again("timestamp", bump=bool(self.moments))
        self._serve()

    def publish_root(self, changed: Iterable[str] = ()) -> None:
        """Publish the next root, and under it what the `changed` top-level roles sign."""
        self.repository.publish_root()
        self.publish(["targets"] if "targets" in changed else [])

    def rotate(self, roles: Collection[str]) -> None:
        """Replace all keys of these top-level roles, by a signing event."""
        for role in roles:
            self.repository.root.signed.roles[role].threshold = 1
            self.repository.rotate(role)
        self.publish_root(roles)

    def set_keys(self, role: str, keys: int, threshold: int) -> None:
        """Give a top-level role up to `keys` keys and a threshold, by a signing event."""
        listed = self.repository.root.signed.roles[role]
        while len(listed.keyids) < max(keys, threshold):
            self.repository.add_key(role)
        listed.threshold = threshold
        self.publish_root([role])

    def replace_delegated_key(self, role: str) -> None:
        """Let the delegator of `role` (or the bins) name a new key for it."""
        delegator = next(
            name
            for name, metadata in self.repository.targets.items()
            if metadata.signed.delegations and role in (metadata.signed.delegations.roles or {})
        )
        self.repository.replace_key(delegator, role)
        self.publish([delegator, role])

    def list_key_twice(self, role: str) -> None:
        """Name the role's one key under a second id, and ask for two signatures."""
        signer = self.repository.new_signer()
        key = signer.public_key
        twin = SSlibKey("twin-of-" + key.keyid, key.keytype, key.scheme, dict(key.keyval))
        root = self.repository.root.signed
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        root.add_key(key, role)
        root.add_key(twin, role)
        root.roles[role].threshold = 2
        self.repository.signers[role] = [signer, CryptoSigner(signer._private_key, twin)]
        self.publish_root([role])

    def set_consistent(self, consistent: bool) -> None:
        """What the next root will say of consistent snapshots."""
        self.repository.root.signed.consistent_snapshot = consistent

    def renew(self, now: datetime) -> None:
        """Push every expiry but root's into the future of `now`, and publish."""
        for role in ("timestamp", "snapshot", *self.targets_roles):
            self.signed(role).expires = now + timedelta(days=2)
        self.publish(self.targets_roles)

    # -- parts -----------------------------------------------------------------------------------

    def _metadata(self, role: str) -> Metadata[Any]:
        top: dict[str, Metadata[Any]] = {
            "root": self.repository.root,
            "timestamp": self.repository.timestamp,
            "snapshot": self.repository.snapshot,
        }
        return top.get(role) or self.repository.targets[role]

    def _again(self, role: str, *, bump: bool) -> bytes:
        self.signed(role).version += bump
        return self.repository.publish_again(role)

    def _info(self, role: str, data: bytes) -> MetaFile:
        version = self.signed(role).version
        if not self.hashes:
            return MetaFile(version)
        return MetaFile(version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})

    def _serve(self) -> None:
        files = dict(self.repository.files)
        for role in ("snapshot", *self.targets_roles):  # for who doesn't ask for versions
            files[f"{role}.json"] = files[f"{self.signed(role).version}.{role}.json"]
        self.moments.append(files)

    def _delegate(self, shape: str) -> None:
        owners = dict.fromkeys(PATHS, "targets")
        if shape == "nested":
            self.repository.delegate("targets", "bins", ["files/*/*"], terminating=True)
            self.repository.delegate("targets", "rest", ["*", "files/a/?"], terminating=False)
            self.repository.delegate("bins", "inner", ["files/b/*"], terminating=True)
            owners = {"files/a/1": "bins", "files/b/1": "inner", "other": "rest"}
        elif shape != "flat":
            owners = self._two_bins(succinct=shape == "succinct")
        for path, owner in owners.items():
            digest = hashlib.sha256(path.encode()).hexdigest()
            target = TargetFile(len(path), {"sha256": digest}, path)
            self.repository.targets[owner].signed.targets[path] = target
        if shape == "nested":
            self.repository.add_target("files/a/1", b"never to be found", role="rest")

    def _two_bins(self, *, succinct: bool) -> dict[str, str]:
        signer = self.repository.new_signer()
        key = signer.public_key
        names = ("bin-0", "bin-1")
        halves = ("01234567", "89abcdef")
        if succinct:
            roles = SuccinctRoles([key.keyid], 1, 1, "bin")
            delegations = Delegations({key.keyid: key}, None, roles)
        else:
            delegations = Delegations(
                {key.keyid: key},
                {
                    name: DelegatedRole(name, [key.keyid], 1, True, None, list(half))
                    for name, half in zip(names, halves, strict=True)
                },
            )
        targets = self.repository.targets
        targets["targets"].signed.delegations = delegations
        for name in names:
            targets[name] = Metadata(Targets(expires=targets["targets"].signed.expires))
            self.repository.signers[name] = [signer]
        return {path: names[hashlib.sha256(path.encode()).digest()[0] >> 7] for path in PATHS}
