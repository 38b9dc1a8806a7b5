"""Public keys and signatures.

Three promises:

1. *The verdict does not depend on the library.* securesystemslib verifies with cryptography
   (OpenSSL) where it is installed and in pure Python otherwise, and the two disagree on
   malleable Ed25519 signatures. What they could disagree on is refused before either is asked:
   S >= L (RFC 8032, 5.1.7), point encodings with y >= p, points of small order, hex with
   blanks in it.
2. *A key is its key material.* One public key listed under two key ids counts once
   (CVE-2020-6174, CVE-2020-15093).
3. *A missing library never reads as a missing signature.* A key that can't be verified here is
   `UnsupportedKeyError`, raised before anything is counted.

`securesystemslib.signer` brings cryptography and the signers of several clouds: it takes longer
to import than all the rest of this package, so it is imported with the first key, not before.
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indextrust.errors import MalformedError, SignatureError, UnsupportedKeyError

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey

__all__ = ["RoleKeys", "counts", "parse_key", "verify_threshold"]

_HEX = re.compile(r"[0-9a-fA-F]*", re.ASCII)
_PEM = re.compile(
    r"-----BEGIN PUBLIC KEY-----\n([A-Za-z0-9+/=\n]+)\n-----END PUBLIC KEY-----\n?", re.ASCII
)
# AlgorithmIdentifier of rsaEncryption with NULL (RFC 3279, 2.3.1), as every tool writes it
_RSA_ENCRYPTION = bytes.fromhex("300d06092a864886f70d0101010500")
# What stands before the point of an ECDSA key, and the size of a coordinate (RFC 5480, 2)
_CURVES = {
    "256": (bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004"), 32),
    "384": (bytes.fromhex("3076301006072a8648ce3d020106052b8104002203620004"), 48),
    "521": (bytes.fromhex("30819b301006072a8648ce3d020106052b810400230381860004"), 66),
}
_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
# y of the points of order 1, 2, 4 and 8 (RFC 7748, 7; the sign of x is another matter)
_SMALL_ORDER_Y = frozenset(
    {
        0,
        1,
        _P - 1,
        2707385501144840649318225287225658788936804267575313519463743609750303402022,
        55188659117513257062467267217118295137698188065244968500265048394206261417927,
    }
)


@dataclass(frozen=True)
class RoleKeys:
    """Who may sign a role, as its delegator says.

    Args:
        keyids: key ids in the delegator's order, without repetition.
        threshold: how many distinct keys must have signed, 1 or more.
        keys: key id to key; an id without a key can't sign.
    """

    keyids: tuple[str, ...]
    threshold: int
    keys: Mapping[str, SSlibKey]


def parse_key(keyid: str, tree: Any, *, where: str) -> SSlibKey:
    """Read one entry of a ``keys`` mapping (TUF specification 4.2, "keys").

    Raises:
        MalformedError: not of a key's shape.
        UnsupportedKeyError: a key type and scheme that securesystemslib can't verify.
    """
    from securesystemslib.signer import KEY_FOR_TYPE_AND_SCHEME, SSlibKey

    if not isinstance(tree, dict):
        raise MalformedError("expected a key object", where=where, got=tree)
    keytype, scheme, keyval = tree.get("keytype"), tree.get("scheme"), tree.get("keyval")
    if not (isinstance(keytype, str) and isinstance(scheme, str) and isinstance(keyval, dict)):
        raise MalformedError("expected keytype, scheme and keyval", where=where, got=tree)
    if KEY_FOR_TYPE_AND_SCHEME.get((keytype, scheme)) is not SSlibKey:
        raise UnsupportedKeyError(
            f"{where}: keys of type {keytype[:60]!r} with scheme {scheme[:60]!r} can't be verified"
        )
    if not isinstance(keyval.get("public"), str):
        raise MalformedError("expected a public key string", where=where, got=keyval)
    return SSlibKey.from_dict(keyid, dict(tree))


def verify_threshold(
    role: str, delegated: RoleKeys, payload: bytes, signatures: Mapping[str, str], *, where: str
) -> None:
    """Check that `payload` is signed by a threshold of distinct trusted keys.

    Signatures that are not valid, or by keys that are not `role`'s, count for nothing and
    spoil nothing (the conformance suite asks for that).

    Args:
        role: role name, for messages.
        delegated: the role's keys and threshold, from a verified delegator.
        payload: the canonical bytes of ``signed``.
        signatures: key id to signature (hex), each id once.
        where: who delegates, for messages.

    Raises:
        UnsupportedKeyError: one of the role's keys can't be verified here.
        SignatureError: fewer than the threshold (TUF specification 5.3.4, 5.4.2, 5.5.3, 5.6.3).
    """
    keys = [delegated.keys[keyid] for keyid in delegated.keyids if keyid in delegated.keys]
    _require_support(role, keys)
    signed_by: set[bytes] = set()
    for key in keys:
        signature = signatures.get(key.keyid)
        material = _material(key)
        if signature is None or material is None or material in signed_by:
            continue
        if _is_valid(key, signature, payload):
            signed_by.add(material)
    if len(signed_by) < delegated.threshold:
        raise SignatureError(
            f"not signed by enough keys of {where}",
            where=role,
            expected=f"{delegated.threshold} distinct keys",
            got=f"{len(signed_by)} valid signatures",
        )


def counts(key: SSlibKey) -> bool:
    """Whether a signature by this key counts at all: it is in its one encoding, and not weak."""
    return _material(key) is not None


def _require_support(role: str, keys: Iterable[SSlibKey]) -> None:
    for key in keys:
        if not _can_verify(key.keytype, key.scheme):
            raise UnsupportedKeyError(
                f"{role}: key {key.keyid} ({key.keytype}, {key.scheme}) can't be verified here: "
                f"it needs the 'cryptography' package, or a newer one"
            )


@functools.lru_cache(maxsize=64)
def _can_verify(keytype: str, scheme: str) -> bool:
    """Whether the library that this type needs is installed, asked of securesystemslib itself."""
    from securesystemslib.exceptions import UnsupportedLibraryError, VerificationError
    from securesystemslib.signer import Signature, SSlibKey

    probe = SSlibKey("probe", keytype, scheme, {"public": ""})
    try:
        probe.verify_signature(Signature("probe", "00"), b"")
    except VerificationError as error:
        return not isinstance(error.__cause__, UnsupportedLibraryError)
    return True  # pragma: no cover - an empty key can't verify


def _is_valid(key: SSlibKey, signature: str, payload: bytes) -> bool:
    from securesystemslib.exceptions import UnverifiedSignatureError
    from securesystemslib.signer import Signature

    if len(signature) % 2 or not _HEX.fullmatch(signature):
        return False
    if key.keytype == "ed25519" and not _canonical_ed25519(bytes.fromhex(signature)):
        return False
    try:
        key.verify_signature(Signature(key.keyid, signature), payload)
    except UnverifiedSignatureError:  # the base of VerificationError too
        return False
    return True


def _canonical_ed25519(signature: bytes) -> bool:
    """64 bytes R || S, with R a canonical point not of small order, and S < L (RFC 8032, 5.1.7)."""
    return (
        len(signature) == 64
        and _canonical_point(signature[:32])
        and int.from_bytes(signature[32:], "little") < _L
    )


def _canonical_point(point: bytes) -> bool:
    y = int.from_bytes(point, "little") & (2**255 - 1)
    return y < _P and y not in _SMALL_ORDER_Y


def _material(key: SSlibKey) -> bytes | None:
    """The key itself in one encoding, or None if it has no acceptable one (it can't sign then)."""
    public = key.keyval["public"]
    if key.keytype == "ed25519":
        if not _HEX.fullmatch(public) or len(public) != 64:
            return None
        raw = bytes.fromhex(public)
        return raw if _canonical_point(raw) else None
    pem = _PEM.fullmatch(public.strip() + "\n")
    if pem is None:
        return None
    try:
        der = base64.b64decode(pem[1].replace("\n", ""), validate=True)
    except binascii.Error:
        return None
    if key.keytype.startswith("ecdsa"):
        # An uncompressed point (SEC 1, 2.3.3) ends the structure: a compressed one would be
        # a second encoding of the same key.
        head, size = _CURVES.get(key.scheme[-3:], (b"", 0))
        if not head or not der.startswith(head) or len(der) != len(head) + 2 * size:
            return None
        return der[-2 * size :]
    if key.keytype == "rsa" and der[4:19] != _RSA_ENCRYPTION:
        return None  # a second encoding of the same key, or one too short to be a key
    return der
