"""Three keyholders, an online key, and the index they made."""

from __future__ import annotations

import pytest
from securesystemslib.signer import CryptoSigner

from indextrust.ceremony import BinScheme, SignedRoles, genesis
from tests.ceremony.parties import NOW


@pytest.fixture
def keyholders() -> list[CryptoSigner]:
    """Ann, Bob and Eve."""
    return [CryptoSigner.generate_ed25519() for _ in range(3)]


@pytest.fixture
def online() -> CryptoSigner:
    """The key on the server."""
    return CryptoSigner.generate_ed25519()


@pytest.fixture
def roles(keyholders: list[CryptoSigner], online: CryptoSigner) -> SignedRoles:
    """An index of 4 bins; two of the three keyholders make a root."""
    return genesis(keyholders, 2, online.public_key, bins=BinScheme.of(4), now=NOW)
