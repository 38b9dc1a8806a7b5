"""A PEM file with two public keys: which one was meant is not guessed."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from indextrust.errors import KeyFileError
from indextrust.repository.public_keys import import_pem


def pem() -> bytes:
    return (
        Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def test_two_keys_in_one_file_are_one_too_many(tmp_path: Path) -> None:
    path = tmp_path / "both.pem"
    path.write_bytes(pem() + pem())
    with pytest.raises(KeyFileError, match="one public key"):
        import_pem(path, "Ann", None, "root")
