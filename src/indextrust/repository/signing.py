"""Signing: the one place where a role's bytes get their signatures.

`sign_role` turns the ``signed`` part of a role into the bytes of its metadata file, and
`sign_payload` does so for one that is encoded already. Both verify every signature with the
signer's own public key before they return: a signer that is broken, or holds another key than it
says, stops the publication instead of being published.

One signature after the other: with keys in memory threads gain nothing (`cryptography` holds
Python's lock while it signs: measured), and whether a device takes several requests at a time is
not known here.

Left to others: whether the signers are the ones the role's delegation asks for, and enough of
them (`indextrust.ceremony` for the offline roles, the publisher for the online ones); key files
(`indextrust.repository.keys`).

Source: TUF specification 4.2 (the envelope).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, SecretsHandler, Signature, Signer

from indextrust.canonical import canonical
from indextrust.errors import InputError, PassphraseError, SigningError
from indextrust.repository.encode import Payload
from indextrust.repository.keys import check_pair, load_signer

__all__ = ["FILE_SCHEME", "load_online", "sign_payload", "sign_role"]

FILE_SCHEME = "file2"
"""URI scheme of a key file: securesystemslib's own name for it."""


def sign_role(signed: dict[str, Any], signers: Sequence[Signer]) -> bytes:
    """Sign a role and return its metadata file.

    Args:
        signed: the ``signed`` part: a JSON tree of the role, complete.
        signers: at least one; all of them sign.

    Returns:
        Compact JSON with sorted keys, ``{"signatures": [{"keyid", "sig"}, ...], "signed": ...}``,
        the signatures sorted by key id. What is signed is the canonical form of `signed`, which
        stands in the file as it is unless a string holds a control character (the line ends of
        an ECDSA or RSA key): that is escaped in the file, and raw in what is signed.
        Byte-stable for Ed25519, whose signatures are deterministic.

    Raises:
        InputError: `signed` has no canonical form; no signer; two signers of one key id.
        SigningError: a signer failed, or its signature is not valid under its public key.
    """
    if not signers:
        raise InputError("expected at least one signer, got none")
    keyids = [signer.public_key.keyid for signer in signers]
    if len(set(keyids)) != len(keyids):
        raise InputError(f"expected signers of distinct key ids, got {sorted(keyids)}")
    try:
        payload = canonical(signed)
    except (TypeError, ValueError) as error:
        raise InputError(f"{signed.get('_type')!r} can't be signed: {error}") from None
    signatures = sorted((_signature(signer, payload) for signer in signers), key=lambda s: s.keyid)
    envelope = {
        "signatures": [{"keyid": s.keyid, "sig": s.signature} for s in signatures],
        "signed": signed,
    }
    text = json.dumps(envelope, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode("utf-8")


def sign_payload(payload: Payload, signer: Signer) -> bytes:
    """Sign what is encoded already: the same bytes as `sign_role` of its tree with one signer.

    Raises:
        SigningError: as `sign_role`.
    """
    signature = _signature(signer, payload)
    entry = json.dumps(
        {"keyid": signature.keyid, "sig": signature.signature}, separators=(",", ":")
    )
    return b'{"signatures":[%b],"signed":%b}' % (entry.encode("utf-8"), payload)


def load_online(uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None) -> Signer:
    """Load the signer of an online key by its securesystemslib URI.

    ``file2:PATH`` is a passphrase-encrypted key file, loaded by `keys.load_signer`
    (securesystemslib's own loader takes unencrypted files only); its passphrase is asked of
    `secrets_handler` under the name ``passphrase``. All that follows the colon is the path, and
    ``CRYPTO_SIGNER_PATH_PREFIX`` is not looked at: the environment shall not choose the key.
    Every other scheme (``hsm:``, ``gcpkms:``, ``hv:``, ...) is securesystemslib's.

    Args:
        uri: where the private key is.
        public_key: its public half, as the root lists it.
        secrets_handler: gets the name of a secret, returns it; None if no secret is needed.

    Raises:
        InputError: a URI of no known scheme, or one its scheme can't use.
        KeyFileError: a key file that can't be used, or that holds another key.
        PassphraseError: a wrong passphrase, or nobody to ask for it.
        SigningError: the service or device behind the URI failed.
    """
    scheme, _, path = uri.partition(":")
    if scheme == FILE_SCHEME:
        if secrets_handler is None:
            raise PassphraseError(f"{path}: a passphrase is needed, and there is nobody to ask")
        signer = load_signer(Path(path), secrets_handler("passphrase"))
        check_pair(signer.public_key, public_key, path)
        return signer
    try:
        return Signer.from_priv_key_uri(uri, public_key, secrets_handler)
    except ValueError as error:
        raise InputError(f"can't use the key URI {uri!r}: {error}") from error
    except Exception as error:  # securesystemslib: "signer implementations may raise" anything
        raise SigningError(
            f"the signer at {uri!r} could not be loaded: {type(error).__name__}: {error}"
        ) from error


def _signature(signer: Signer, payload: bytes) -> Signature:
    """One signature, verified. Raises SigningError."""
    key = signer.public_key
    try:
        signature = signer.sign(payload)
    except Exception as error:  # as above
        raise SigningError(
            f"the signer of key {key.keyid} failed: {type(error).__name__}: {error}"
        ) from error
    try:
        key.verify_signature(signature, payload)
    except UnverifiedSignatureError as error:
        raise SigningError(
            f"the signer of key {key.keyid} gave a signature that its public key does not verify"
        ) from error
    return signature
