"""Served metadata read and written by hand, with python-tuf alone: an attacker's tools."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner, Signer, SSlibKey
from tuf.api.metadata import Metadata, MetaFile, Timestamp
from tuf.api.serialization.json import JSONSerializer

__all__ = ["latest", "meta_of", "put", "stolen_signer", "write", "write_signed"]


def stolen_signer(pem: bytes, passphrase: bytes, public_key: SSlibKey) -> CryptoSigner:
    """What signs with a stolen private key.

    Args:
        pem: its file.
        passphrase: what it is encrypted with; stolen too.
        public_key: as the root lists it.

    Raises:
        TypeError: not an Ed25519 key.
    """
    key = load_pem_private_key(pem, passphrase)
    if not isinstance(key, Ed25519PrivateKey):
        raise TypeError(f"expected an Ed25519 key, got {type(key).__name__}")
    return CryptoSigner(key, public_key)


def latest(folder: Path, role: str) -> Metadata[Any]:
    """The metadata of `role` with the highest version in a served folder of metadata."""
    if role == Timestamp.type:
        return Metadata.from_file(str(folder / "timestamp.json"))
    versions = (int(path.name.split(".", 1)[0]) for path in folder.glob(f"*.{role}.json"))
    return Metadata.from_file(str(folder / f"{max(versions)}.{role}.json"))


def write_signed(
    folder: Path, role: str, metadata: Metadata[Any], signers: Sequence[Signer]
) -> bytes:
    """Sign metadata and write it under the name it is served by.

    Returns:
        Its bytes.
    """
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    return write(folder, role, metadata)


def write(folder: Path, role: str, metadata: Metadata[Any]) -> bytes:
    """Write metadata, with the signatures it has, under the name it is served by."""
    data = metadata.to_bytes(JSONSerializer(compact=True))
    prefix = "" if role == Timestamp.type else f"{metadata.signed.version}."
    put(folder / f"{prefix}{role}.json", data)
    return data


def meta_of(metadata: Metadata[Any], data: bytes) -> MetaFile:
    """How a snapshot or a timestamp lists a role that was written as `data`."""
    return MetaFile(
        metadata.signed.version, len(data), {"sha256": hashlib.sha256(data).hexdigest()}
    )


def put(path: Path, data: bytes) -> None:
    """Write `data` by a rename: the honest bytes may lie under other names too, as hard links."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(data)
    os.replace(temporary, path)
