"""A thief of root keys: he makes himself the owner of the index, if they are enough.

The next root lists one key, his own, for every role; he signs it with what he stole, and with his
own. Whoever follows it believes all that he signs from then on. Written with python-tuf.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from indextrust.testing.raw import latest, meta_of, write_signed
from indextrust.testing.thief import SigningThief

__all__ = ["Usurper"]

_TOP_LEVEL = (Root.type, Timestamp.type, Snapshot.type, Targets.type)


class Usurper:
    """Signs the next root, and all below it.

    Args:
        public: the served folder.
        stolen: the root keys that he has.
        now: the time his forgeries are signed at.
    """

    def __init__(self, public: Path, stolen: Sequence[Signer], *, now: datetime) -> None:
        self._public = public
        self._metadata = public / "metadata"
        self._stolen = tuple(stolen)
        self._expires = now.replace(microsecond=0) + timedelta(days=1)
        self._now = now
        self.own = CryptoSigner.generate_ed25519()

    def sign_root(self) -> bytes:
        """Publish the next root, in which every key is his own.

        Returns:
            Its bytes.
        """
        root = latest(self._metadata, Root.type)
        signed = cast(Root, root.signed)
        for role in _TOP_LEVEL:
            for keyid in list(signed.roles[role].keyids):
                signed.revoke_key(keyid, role)
            signed.add_key(self.own.public_key, role)
            signed.roles[role].threshold = 1
        return self._sign(Root.type, root, *self._stolen)

    def sign_everything(self) -> SigningThief:
        """Publish the next version of all that stands below root, signed by his own key.

        Returns:
            Somebody who signs files with that key.
        """
        snapshot = latest(self._metadata, Snapshot.type)
        listed = cast(Snapshot, snapshot.signed).meta
        for name in sorted(listed):
            role = name.removesuffix(".json")
            metadata = latest(self._metadata, role)
            self._delegate_to_himself(metadata.signed)
            listed[name] = meta_of(metadata, self._sign(role, metadata))
        data = self._sign(Snapshot.type, snapshot)
        timestamp = latest(self._metadata, Timestamp.type)
        cast(Timestamp, timestamp.signed).snapshot_meta = meta_of(snapshot, data)
        self._sign(Timestamp.type, timestamp)
        return SigningThief(self._public, self.own, now=self._now)

    def _delegate_to_himself(self, signed: Targets) -> None:
        if signed.delegations is None:
            return
        key = self.own.public_key
        signed.delegations.keys = {key.keyid: key}
        roles = [*(signed.delegations.roles or {}).values(), signed.delegations.succinct_roles]
        for role in filter(None, roles):
            role.keyids, role.threshold = [key.keyid], 1

    def _sign(self, role: str, metadata: Metadata[Any], *more: Signer) -> bytes:
        metadata.signed.version += 1
        metadata.signed.expires = self._expires
        return write_signed(self._metadata, role, metadata, [*more, self.own])
