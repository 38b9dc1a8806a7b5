"""Signing: the one place where a role's bytes get their signatures.

`sign_role` turns the ``signed`` part of a role into the bytes of its metadata file, and
`sign_payload` does so for one that is encoded already. Both verify every signature with the
signer's own public key before they return: a signer that is broken, or holds another key than it
says, stops the publication instead of being published. (Of bins that another process signs with a
key in memory, the gate verifies the signatures, and it is not done twice.)

One signature after the other: with keys in memory threads gain nothing (`cryptography` holds
Python's lock while it signs: measured), but processes do (`indextrust.repository.workers`);
whether a device takes several requests at a time is not known here. A signer that is not a key
in memory (a device, a service, somebody's own class) has `SECONDS` for each signature: one that
hangs must not keep the lock for ever.

Left to others: whether the signers are the ones the role's delegation asks for, and enough of
them (`indextrust.ceremony` for the offline roles, the publisher for the online ones); where the
private keys are (`indextrust.repository.signers`).

Source: TUF specification 4.2 (the envelope).
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Sequence
from json.encoder import encode_basestring_ascii as _quote
from typing import Any

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import CryptoSigner, Signature, Signer

from indextrust.canonical import canonical
from indextrust.errors import InputError, SigningError
from indextrust.repository.encode import Payload

__all__ = ["SECONDS", "opened", "sign_payload", "sign_role"]

SECONDS = 60.0
"""How long a device or service may take for one signature."""

_STRING = rb'("[^"\\]*+(?:\\.[^"\\]*+)*+")'
_ENVELOPE = re.compile(
    rb'\{"signatures":\[\{"keyid":%b,"sig":%b\}\],"signed":' % (_STRING, _STRING)
)


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


def sign_payload(payload: Payload, signer: Signer, *, verified: bool = True) -> bytes:
    """Sign what is encoded already: the same bytes as `sign_role` of its tree with one signer.

    Args:
        payload: what is signed.
        signer: of the online key.
        verified: False only where the signature is verified before anybody sees it, by `gate`.

    Raises:
        SigningError: as `sign_role`.
    """
    signature = _signature(signer, payload, verified=verified)
    entry = f'{{"keyid":{_quote(signature.keyid)},"sig":{_quote(signature.signature)}}}'
    return b'{"signatures":[%b],"signed":%b}' % (entry.encode("ascii"), payload)


def opened(data: bytes, *, where: str) -> tuple[Signature, bytes]:
    """The signature in what `sign_payload` wrote, and the bytes that it is of.

    Args:
        data: the metadata file.
        where: its name, for messages.

    Raises:
        SigningError: not of that form.
    """
    match = _ENVELOPE.match(data)
    try:
        if match is not None:
            keyid, signature = json.loads(b"[%b,%b]" % match.groups())
            return Signature(keyid, signature), data[match.end() : -1]
    except ValueError:  # no strings
        pass
    raise SigningError(
        f"{where}: expected a file with one signature, as it is written here, got {data[:100]!r}"
    )


def _signature(signer: Signer, payload: bytes, *, verified: bool = True) -> Signature:
    """One signature. Raises SigningError."""
    key = signer.public_key
    try:
        signature = _asked(signer, payload)
    except Exception as error:  # securesystemslib: "signer implementations may raise" anything
        raise SigningError(
            f"the signer of key {key.keyid} failed: {type(error).__name__}: {error}"
        ) from error
    try:
        if verified:
            key.verify_signature(signature, payload)
    except UnverifiedSignatureError as error:
        raise SigningError(
            f"the signer of key {key.keyid} gave a signature that its public key does not verify"
        ) from error
    return signature


def _asked(signer: Signer, payload: bytes) -> Signature:
    """What the signer answers. Raises TimeoutError, or whatever the signer raises."""
    if isinstance(signer, CryptoSigner):
        return signer.sign(payload)
    answers: list[Signature] = []
    failures: list[Exception] = []

    def ask() -> None:
        try:
            answers.append(signer.sign(payload))
        except Exception as error:
            failures.append(error)

    # A call into a device can't be taken back: the thread is left to itself.
    thread = threading.Thread(target=ask, name="signer", daemon=True)
    thread.start()
    thread.join(SECONDS)
    if failures:
        raise failures[0]
    if not answers:
        raise TimeoutError(f"no signature within {SECONDS:g} seconds")
    return answers[0]
