"""Public key files: the half of a key that travels.

``NAME.pub.json`` is a TUF key with its key id, and who brings it: the keyholder, the serial number
of the device it lives in (if there is one), and what the key is for. Keyholder and serial are
signed with the root, so everybody can read them later; the role is what the root says itself. A
key that was made to practise says so in a field, which is signed with the root, too
(`indextrust.names.REHEARSAL_FIELD`).

Guarantees: a file that is read holds one key that clients count, in the one encoding and under
the one key id that it can have, so that nobody brings one key twice. Fields that are not known
here are refused: they would get into the root, signed and unread. Left to others: whether the
person who handed the file over is the keyholder named in it (`fingerprint` is for that), and
whether a set of keys makes a root (`indextrust.ceremony.root`).

Sources: TUF specification 4.2 (keys, key ids); RFC 5280 4.1 (SubjectPublicKeyInfo); RFC 7468 (PEM).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from securesystemslib.signer import Key, SSlibKey

from indextrust.canonical import canonical
from indextrust.errors import InputError, KeyFileError
from indextrust.names import REHEARSAL_FIELD
from indextrust.repository.key_files import create_file, read_file
from indextrust.trust.keys import counts

__all__ = [
    "KEYHOLDER_FIELD",
    "SERIAL_FIELD",
    "KeyRole",
    "Keyholder",
    "check_holder",
    "decode",
    "encode",
    "fingerprint",
    "import_pem",
    "is_rehearsal",
    "keyholder_of",
    "load_public",
    "names_plainly",
    "public_pem",
    "read_public",
    "reads_plainly",
    "save_public",
    "spoken",
]

KEYHOLDER_FIELD = "x-indextrust-keyholder"
"""Field of a public key that names the person who holds it. Signed with the root, public."""

SERIAL_FIELD = "x-indextrust-serial"
"""Field of a public key with the serial number of its device. Signed with the root, public."""

KeyRole = Literal["root", "online"]
"""What a key is for: signing roots, or timestamp, snapshot and the bins."""

_OWNER_LENGTH, _SERIAL_LENGTH = 200, 100
_RSA_BITS = 2_048, 16_384  # OpenSSL verifies nothing by a larger one
_RSA_EXPONENT = 2**16, 2**64  # between, and odd: FIPS 186-5 A.1.1; OpenSSL takes no larger one
_SMALL_PRIMES = math.prod(n for n in range(2, 752) if all(n % d for d in range(2, n)))
_SCHEMES = {
    ("ed25519", "ed25519"),
    ("ecdsa", "ecdsa-sha2-nistp256"),
    ("ecdsa", "ecdsa-sha2-nistp384"),
    ("rsa", "rsassa-pss-sha256"),
    ("rsa", "rsassa-pss-sha384"),
    ("rsa", "rsassa-pss-sha512"),
}


@dataclass(frozen=True)
class Keyholder:
    """A public key, and who brings it.

    Args:
        key: as it will be listed; its fields `KEYHOLDER_FIELD` and `SERIAL_FIELD` say the same
            as `owner` and `serial`.
        owner: who holds it: printable, 1 to 200 characters; ``online`` if nobody is named.
        serial: of the device that it lives in, as printed on it; None for a file.
        role: what it is for.
        rehearsal: made to practise, and for nothing else; the key's `REHEARSAL_FIELD` says so.
    """

    key: Key
    owner: str
    serial: str | None
    role: KeyRole
    rehearsal: bool = False


def keyholder_of(
    key: Key, owner: str | None, serial: str | None, role: KeyRole, *, rehearsal: bool = False
) -> Keyholder:
    """Say who brings a key. The key is changed: it gets their names as fields.

    Args:
        key: of one of our types; without fields of its own.
        owner: None for an online key that is the index's own: then it is named ``online``, and
            nobody is named in the metadata.
        serial, role, rehearsal: as for `Keyholder`.

    Raises:
        InputError: a name or serial that can't be printed, is empty or too long; no such role;
            a root key that nobody holds.
        KeyFileError: a key that no client counts, or of a type that is not for signing here.
    """
    check_holder(owner, serial, role)
    _check_key(key, f"the key of {owner or role}")
    for field, value in ((KEYHOLDER_FIELD, owner), (SERIAL_FIELD, serial)):
        if value is not None:
            key.unrecognized_fields[field] = value
    if rehearsal:
        key.unrecognized_fields[REHEARSAL_FIELD] = True
    return Keyholder(key, owner or role, serial, role, rehearsal)


def is_rehearsal(key: Key) -> bool:
    """Whether a key says that it was made to practise."""
    return REHEARSAL_FIELD in key.unrecognized_fields


def check_holder(owner: str | None, serial: str | None, role: str) -> None:
    """Refuse a name, serial number or role as `keyholder_of` does, before there is a key.

    Raises:
        InputError: as `keyholder_of`.
    """
    for what, text, limit in (
        ("keyholder's name", owner, _OWNER_LENGTH),
        ("serial number", serial, _SERIAL_LENGTH),
    ):
        if text is not None and not (
            0 < len(text) <= limit and names_plainly(text) and text == text.strip()
        ):
            raise InputError(
                f"expected a {what} of 1 to {limit} printable characters and no brackets, "
                f"got {text!r:.120}"
            )
    if role not in get_args(KeyRole):
        raise InputError(f"expected one of the roles {get_args(KeyRole)}, got {role!r:.80}")
    if owner is None and role != "online":
        raise InputError("expected the name of the person who holds the root key (--keyholder)")


_UNSEEN = re.compile(  # printable for Unicode, and nothing to be seen on a screen
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]|  "  # two blanks: enough of them reach the next line of a terminal
)
_MARKS = 3  # more of them on one letter are drawn over other lines


def reads_plainly(text: str) -> bool:
    """Whether a person who sees this on a screen sees all of it, and nothing else."""
    marks = "".join("m" if unicodedata.combining(c) else " " for c in text)
    return text.isprintable() and not _UNSEEN.search(text) and "m" * (_MARKS + 1) not in marks


def names_plainly(text: str) -> bool:
    """Whether a name or serial number reads as that.

    Brackets are for what stands beside a name: ``Ann (key 1c4e1234)`` is no name, but what would be
    read as another key than hers.
    """
    return reads_plainly(text) and "(" not in text and ")" not in text


def encode(keyholder: Keyholder) -> bytes:
    """What a public key file holds."""
    tree = {"keyid": keyholder.key.keyid, "role": keyholder.role, **keyholder.key.to_dict()}
    return (json.dumps(tree, indent=2, sort_keys=True) + "\n").encode()


def read_public(path: Path) -> Keyholder:
    """Read a public key file.

    The key id must be the default one (SHA-256 of the key's canonical form), so that one key
    can't be brought to a ceremony under two ids.

    Args:
        path: a ``NAME.pub.json``.

    Raises:
        KeyFileError: no such file, or not a public key with its holder.
    """
    return decode(read_file(path, private=False), path)


def load_public(path: Path) -> Key:
    """The key in a public key file, with its holder's name. Raises as `read_public`."""
    return read_public(path).key


def decode(data: bytes, where: Path | str) -> Keyholder:
    """`read_public` of bytes.

    Args:
        data: what `encode` wrote, perhaps.
        where: file name for messages.

    Raises:
        KeyFileError: as `read_public`.
    """
    try:
        tree: Any = json.loads(data)
        keyid, role = tree.pop("keyid"), tree.pop("role")
        owner, serial = tree.pop(KEYHOLDER_FIELD, None), tree.pop(SERIAL_FIELD, None)
        rehearsal = REHEARSAL_FIELD in tree
        mark = tree.pop(REHEARSAL_FIELD, True)
        key = Key.from_dict(keyid, tree)
        expected = _keyid(key)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise KeyFileError(
            f"{where}: expected a public key (keyid, keytype, scheme, keyval, role), "
            f"got {type(error).__name__}: {error!s:.200}"
        ) from None
    if keyid != expected:
        raise KeyFileError(f"{where}: expected key id {expected} for this key, got {keyid!r:.80}")
    if key.unrecognized_fields:
        raise KeyFileError(
            f"{where}: expected no other fields than those of a public key file, got "
            f"{sorted(key.unrecognized_fields)!r:.200}"
        )
    if key.keyval.keys() != {"public"}:
        raise KeyFileError(f"{where}: expected 'public' alone in 'keyval', got more")
    if not (isinstance(owner, str | None) and isinstance(serial, str | None)):
        raise KeyFileError(f"{where}: expected text for keyholder and serial, got something else")
    if mark is not True:
        raise KeyFileError(f"{where}: expected true in {REHEARSAL_FIELD!r}, got {mark!r:.80}")
    try:
        return keyholder_of(key, owner, serial, role, rehearsal=rehearsal)
    except InputError as error:
        raise KeyFileError(f"{where}: {error}") from None


def save_public(path: Path, keyholder: Keyholder) -> None:
    """Write a public key file, mode 0644. Raises KeyFileError: it is there, or can't be written."""
    create_file(path, encode(keyholder), 0o644)


def import_pem(
    path: Path, owner: str | None, serial: str | None, role: KeyRole, *, rehearsal: bool = False
) -> Keyholder:
    """Read a public key that was made elsewhere, by any tool or device.

    It is encoded anew: whatever form it came in, it gets the one key id that it can have.

    Args:
        path: PEM, ``-----BEGIN PUBLIC KEY-----``: Ed25519, ECDSA P-256 or P-384, or RSA of 2,048
            bits or more (its signatures are RSA-PSS with SHA-256; they are verified, and made
            elsewhere).
        owner, serial, role, rehearsal: as for `keyholder_of`.

    Raises:
        KeyFileError: no such file, something else than a public key, or a key of another type.
        InputError: as `keyholder_of`.
    """
    data = read_file(path, private=False)
    if b"PRIVATE KEY-----" in data:
        raise KeyFileError(
            f"{path}: expected a public key, got a private one: its public half is all that is "
            f"needed here (openssl pkey -pubout), and the private one should not travel"
        )
    if b"-----BEGIN CERTIFICATE-----" in data:
        raise KeyFileError(
            f"{path}: expected a public key, got a certificate: take the key out of it "
            f"(openssl x509 -pubkey -noout)"
        )
    if data.count(b"-----BEGIN ") > 1:
        raise KeyFileError(f"{path}: expected one public key, got several: which one is meant?")
    try:
        public = serialization.load_pem_public_key(data)
        key = SSlibKey.from_crypto(public)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(
            f"{path}: expected a public key in PEM, got something else: {error!s:.200}"
        ) from None
    return keyholder_of(key, owner, serial, role, rehearsal=rehearsal)


def public_pem(key: Key) -> bytes:
    """The public key as PEM, as other tools read it. Raises KeyFileError: none of ours."""
    pem: bytes = _crypto_key(key, key.keyid).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem


def fingerprint(key: Key) -> str:
    """SHA-256 of the SubjectPublicKeyInfo in DER, lower-case hex: independent of TUF.

    ``openssl pkey -pubin -outform DER | sha256sum`` gives the same for the PEM.

    Raises:
        KeyFileError: a key of a type that is none of ours.
    """
    der = _crypto_key(key, key.keyid).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()


def spoken(digest: str) -> str:
    """A hexadecimal digest in groups of four, to be read aloud and compared."""
    return " ".join(digest[start : start + 4] for start in range(0, len(digest), 4))


def _keyid(key: Key) -> str:
    form = {"keytype": key.keytype, "scheme": key.scheme, "keyval": key.keyval}
    return hashlib.sha256(canonical(form)).hexdigest()


def _check_key(key: Key, where: str) -> None:
    """Refuse a key that clients would not count, or that nothing here is made for."""
    if (key.keytype, key.scheme) not in _SCHEMES:
        raise KeyFileError(
            f"{where}: expected an Ed25519, ECDSA P-256 or P-384, or RSA-PSS key, got "
            f"{key.keytype!r:.80} with {key.scheme!r:.80}"
        )
    public = _crypto_key(key, where)
    if isinstance(public, RSAPublicKey):
        _check_rsa(public, where)
    form = SSlibKey.from_crypto(public, scheme=key.scheme)
    assert isinstance(key, SSlibKey)  # noqa: S101 - for mypy: the schemes above have no other
    if (form.keytype, form.keyval) != (key.keytype, key.keyval) or not counts(key):
        raise KeyFileError(
            f"{where}: expected the key in the form that every client reads the same way, got "
            f"another encoding of it, or a weak key: import it from PEM"
        )


def _check_rsa(public: RSAPublicKey, where: str) -> None:
    """Refuse an RSA key that no honest program makes (SP 800-89 5.3.3).

    Raises:
        KeyFileError: too few bits, or more than are verified; an even, too small or too large
            exponent; a modulus that is even, prime, or has a small factor.
    """
    numbers = public.public_numbers()
    n, e = numbers.n, numbers.e
    fewest, most = _RSA_BITS
    if not fewest <= n.bit_length() <= most:
        raise KeyFileError(
            f"{where}: expected an RSA key of {fewest} to {most} bits, got {n.bit_length()}"
        )
    if e % 2 == 0 or not _RSA_EXPONENT[0] < e < _RSA_EXPONENT[1]:
        raise KeyFileError(
            f"{where}: expected an odd RSA exponent from {_RSA_EXPONENT[0] + 1} on and below 2**64 "
            f"(most have 65537), got {e if e < _RSA_EXPONENT[1] else 'a larger one'}"
        )
    factor = math.gcd(n, _SMALL_PRIMES)
    if factor != 1 or pow(2, n - 1, n) == 1:
        what = f"the factor {factor}" if factor != 1 else "itself as only factor"
        raise KeyFileError(
            f"{where}: expected an RSA modulus of two large primes, got one with {what}: whoever "
            f"looks can sign with this key"
        )


def _crypto_key(key: Key, where: str) -> Any:
    """The key of `cryptography`."""
    public = key.keyval.get("public")
    try:
        if not isinstance(public, str):
            raise TypeError("expected text in 'public'")
        if key.keytype == "ed25519":
            return Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        return serialization.load_pem_public_key(public.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{where}: not a public key: {error!s:.200}") from None
