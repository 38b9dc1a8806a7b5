"""One ECDSA key under the scheme of another curve is not a second key."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.signer import SSlibKey

from indextrust.trust.keys import counts


def test_a_p384_key_does_not_count_under_the_scheme_of_p256() -> None:
    """1 in 256 keys has the byte in the middle that stands before a shorter point."""
    curves = {"ecdsa-sha2-nistp256": ec.SECP256R1(), "ecdsa-sha2-nistp384": ec.SECP384R1()}
    for scheme, curve in curves.items():
        key = SSlibKey.from_crypto(ec.generate_private_key(curve).public_key())
        assert key.scheme == scheme
        assert counts(key)
    for _ in range(5000):
        public = SSlibKey.from_crypto(ec.generate_private_key(ec.SECP384R1()).public_key())
        public.scheme = "ecdsa-sha2-nistp256"
        assert not counts(public)
