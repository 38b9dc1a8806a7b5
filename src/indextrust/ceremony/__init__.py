"""The keyholders' side: keys, and the signing events of root, targets and bins.

>>> from datetime import UTC, datetime
>>> from securesystemslib.signer import CryptoSigner
>>> from indextrust.names import BinScheme
>>> ann, bob, eve, online = (CryptoSigner.generate_ed25519() for _ in range(4))
>>> now = datetime.now(UTC)
>>> roles = genesis([ann, bob, eve], 2, online.public_key, bins=BinScheme.of(256), now=now)
>>> new = CryptoSigner.generate_ed25519()
>>> roles = rotate(roles, [ann, eve], new.public_key, now=now)  # `online` is revoked

Keys are kept in files by `generate_key` and `load_signer`, or anywhere a securesystemslib
signer can reach.
"""

from indextrust.ceremony.check import OfflineRoles, check_event, read_roles
from indextrust.ceremony.signing_event import genesis, rotate
from indextrust.names import BinScheme
from indextrust.repository.keys import generate_key, load_public, load_signer, public_path
from indextrust.repository.roles import SignedRoles

__all__ = [
    "BinScheme",
    "OfflineRoles",
    "SignedRoles",
    "check_event",
    "generate_key",
    "genesis",
    "load_public",
    "load_signer",
    "public_path",
    "read_roles",
    "rotate",
]
