"""An online key in a device that has a bad day."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Self

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import CryptoSigner, Key, SecretsHandler, Signature, Signer

__all__ = ["TROUBLES", "TroubledSigner"]

TROUBLES = ("gone", "refuses", "garbage", "other-key", "nothing")
"""What may happen instead of a signature."""


@dataclass
class TroubledSigner(Signer):
    """Signs, until it doesn't.

    Args:
        inner: a signer that works.
        at: the number of the signature that meets the trouble, and all after it; the first is 1.
        trouble: one of `TROUBLES`, or ``hangs``.
    """

    inner: CryptoSigner
    at: int
    trouble: str = "gone"
    asked: int = field(default=0, init=False)

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> Self:
        raise NotImplementedError

    @property
    def public_key(self) -> Any:
        return self.inner.public_key

    def sign(self, payload: bytes) -> Signature:
        self.asked += 1
        good = self.inner.sign(payload)
        if self.asked < self.at:
            return good
        if self.trouble == "gone":
            raise OSError("the device is gone")
        if self.trouble == "refuses":
            raise UnverifiedSignatureError("the device refuses")
        if self.trouble == "garbage":
            return Signature(good.keyid, "00" * 64)
        if self.trouble == "other-key":
            return CryptoSigner.generate_ed25519().sign(payload)
        if self.trouble == "nothing":
            return None  # type: ignore[return-value]
        print("hanging", flush=True)
        while True:
            time.sleep(60)
