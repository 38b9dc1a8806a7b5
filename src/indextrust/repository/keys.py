"""Key files: made, read, and told apart from everything else.

A private key lives in ``NAME.pem``: Ed25519 or ECDSA, PKCS#8, encrypted with a passphrase, mode
0600 whatever the umask. Beside it lies its public half, ``NAME.pub.json``, to hand to others
(`indextrust.repository.public_keys`). The private half comes first: a process that is killed
between the two leaves a key whose public half can be made again (`load_signer`), where the other
order would leave one that people list and nobody can sign with.

A key that is made to practise says so in both files. In the private one it is a line before the
PEM, which other programs skip (RFC 7468 2): so a mark that is taken out of the public file is
missed when the key signs. Whoever takes it out of both has made a real key of it, and nothing
tells the two apart.

Guarantees, in this order: an existing file is never overwritten; a file appears under its name
complete or not at all; a private key that others on this machine may read is not used; no
passphrase gets into a message, a traceback or a log. Left to others: asking for the passphrase,
and where the medium with the file is kept.

The passphrase is stretched with scrypt: `cryptography` reads such files and would write PBKDF2
with 2,048 rounds, which is little between a thief of a root key's file and the key.

Sources: RFC 5958 and RFC 8018 (encrypted PKCS#8); RFC 7914 7 (scrypt in it); TUF specification
4.3 (keys); RFC 7468 2 (text before a PEM).
"""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import padding, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from securesystemslib.signer import CryptoSigner, Key, SSlibKey

from indextrust.errors import InputError, KeyFileError, PassphraseError
from indextrust.names import REHEARSAL_FIELD
from indextrust.repository.key_files import create_file, read_file
from indextrust.repository.public_keys import (
    KeyRole,
    encode,
    is_rehearsal,
    keyholder_of,
    load_public,
)

__all__ = [
    "KEY_TYPES",
    "KeyType",
    "PrivateKey",
    "check_pair",
    "generate_key",
    "is_private",
    "load_signer",
    "public_path",
]

PrivateKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey

KeyType = Literal["ed25519", "ecdsa-p256", "ecdsa-p384"]
"""What can be made here."""

KEY_TYPES: dict[KeyType, Callable[[], PrivateKey]] = {
    "ed25519": Ed25519PrivateKey.generate,
    "ecdsa-p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-p384": lambda: ec.generate_private_key(ec.SECP384R1()),
}
"""How it is made."""

_MAX_PASSPHRASE = 1_023  # the most that cryptography takes
_BEGIN = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
_END = b"-----END ENCRYPTED PRIVATE KEY-----"
_REHEARSAL = b"REHEARSAL: this key was made to practise, and is for nothing else.\n"

# 16 MiB and some tenths of a second for each guess. More memory at once would pass the bound
# that OpenSSL sets when it reads such a file.
_SCRYPT_NUMBERS = (2**14, 8, 5)
_OID_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_OID_SCRYPT = bytes.fromhex("06092b06010401da47040b")
_OID_AES256_CBC = bytes.fromhex("060960864801650304012a")
_SEQUENCE, _OCTETS, _INTEGER = 0x30, 0x04, 0x02


def public_path(path: Path) -> Path:
    """Where the public half of the key file `path` lies: ``NAME.pub.json`` beside ``NAME.pem``."""
    return path.with_suffix(".pub.json")


def generate_key(
    path: Path,
    passphrase: str,
    *,
    keyholder: str | None = None,
    serial: str | None = None,
    role: KeyRole | None = None,
    kind: KeyType = "ed25519",
    rehearsal: bool = False,
) -> SSlibKey:
    """Make a new key: the private half at `path`, the public half beside it.

    Args:
        path: the private key's file, to be created; by custom ``NAME.pem``.
        passphrase: encrypts it; not empty.
        keyholder: name of the person, printable, published with the key; None leaves it out,
            for an online key only.
        serial: number of the medium that the file is kept on, published too.
        role: what the key is for; None for ``root`` with a keyholder, and ``online`` without.
        kind: Ed25519 is what every client verifies.
        rehearsal: made to practise: both files say so, and no real root lists it.

    Returns:
        The public key.

    Raises:
        PassphraseError: an empty passphrase, one of more than 1,023 bytes, or no Unicode text.
        KeyFileError: one of the two files exists, or can't be written. Nothing is left behind.
        InputError: a name or serial that can't be printed, or is empty; a root key of nobody;
            no such kind.
    """
    if kind not in KEY_TYPES:
        raise InputError(f"expected one of the kinds {', '.join(KEY_TYPES)}, got {kind!r:.80}")
    secret = _secret(path, passphrase)
    public = public_path(path)
    for file in (path, public):
        if os.path.lexists(file):
            half = file is path and not os.path.lexists(public)
            raise KeyFileError(
                f"{file} exists: a key file is never overwritten"
                + (f" ({public} is missing: `indextrust key import` makes it anew)" if half else "")
            )
    private_key = KEY_TYPES[kind]()
    key = SSlibKey.from_crypto(private_key.public_key())
    role = role or ("online" if keyholder is None else "root")
    text = encode(keyholder_of(key, keyholder, serial, role, rehearsal=rehearsal))
    pem = (_REHEARSAL if rehearsal else b"") + _encrypted(private_key, secret)
    create_file(path, pem, 0o600)
    try:
        create_file(public, text, 0o644)
    except BaseException:  # Ctrl-C may come when it is written: a public half alone never stays
        with contextlib.suppress(OSError):
            if public.read_bytes() == text:
                public.unlink()
        path.unlink()
        raise
    return key


def load_signer(path: Path, passphrase: str) -> CryptoSigner:
    """Open a private key file.

    The public key comes out of the private one; where its public half lies beside it, the two
    must agree, and the keyholder's name is taken from there.

    Args:
        path: an encrypted PKCS#8 file that only its owner may read.
        passphrase: what it was encrypted with.

    Raises:
        PassphraseError: a wrong or empty passphrase (or a damaged file: the two can't be told
            apart).
        KeyFileError: no file, one that others may read, not an encrypted private key, or a key
            of another type than TUF signs with.
    """
    secret = _secret(path, passphrase)
    text = read_file(path, private=True)
    pem = text.removeprefix(_REHEARSAL)
    if not (pem.startswith(_BEGIN) and pem.rstrip().endswith(_END)):
        raise KeyFileError(
            f"{path}: expected a passphrase-encrypted private key, from '{_BEGIN.decode()}' to "
            f"'{_END.decode()}', got something else"
        )
    try:
        private_key = serialization.load_pem_private_key(pem, secret)
    except ValueError:  # which of the two can't be told: a wrong passphrase gives any bytes
        raise PassphraseError(f"{path}: wrong passphrase, or a damaged file") from None
    except UnsupportedAlgorithm as error:
        raise KeyFileError(f"{path}: encrypted in a way not supported here: {error}") from None
    try:
        signer = CryptoSigner(private_key)
    except ValueError as error:
        raise KeyFileError(f"{path}: not a key that TUF signs with: {error}") from None
    if pem != text:
        signer.public_key.unrecognized_fields[REHEARSAL_FIELD] = True
    public = public_path(path)
    if public.exists():
        key = load_public(public)
        check_pair(signer.public_key, key, path)
        signer.public_key.unrecognized_fields.update(key.unrecognized_fields)
    return signer


def is_private(path: Path) -> bool:
    """Whether a file is a private key file, for `load_signer`. Raises KeyFileError: unreadable."""
    data = read_file(path, private=False)
    return data.removeprefix(_REHEARSAL).startswith(_BEGIN)


def check_pair(private: Key, public: Key, where: Path | str) -> None:
    """Refuse a private key whose public half is not `public`.

    Args:
        private: the public key that was computed from the private one.
        public: the public key that is expected.
        where: file name for the message.

    Raises:
        KeyFileError: they are two keys, or one of the two is marked as made in a rehearsal, and
            the other is not.
    """
    if (private.keyid, private.keytype, private.scheme, private.keyval) != (
        public.keyid,
        public.keytype,
        public.scheme,
        public.keyval,
    ):
        raise KeyFileError(f"{where}: expected key {public.keyid}, got key {private.keyid}")
    if is_rehearsal(private) and not is_rehearsal(public):
        raise KeyFileError(
            f"{where}: this key was made in a rehearsal, to practise, and its public half here "
            f"says nothing of it: somebody took the mark away. Make a new key"
        )
    if is_rehearsal(public) and not is_rehearsal(private):
        raise KeyFileError(
            f"{where}: this key is no rehearsal key, and its public half here says that it is: "
            f"somebody marked it. Leave it in its bag, and make one to practise with (indextrust "
            f"key generate --rehearsal)"
        )


def _secret(path: Path, passphrase: str) -> bytes:
    """The passphrase in UTF-8. Raises PassphraseError, without the passphrase in its context."""
    try:
        secret = passphrase.encode("utf-8")
    except UnicodeEncodeError:
        secret = None  # raised below: the UnicodeEncodeError carries the passphrase
    if secret is None:
        raise PassphraseError(f"{path}: expected a passphrase of Unicode text, got other bytes")
    if not secret:
        raise PassphraseError(f"{path}: the passphrase is empty")
    if len(secret) > _MAX_PASSPHRASE:
        raise PassphraseError(f"{path}: the passphrase has more than {_MAX_PASSPHRASE} bytes")
    return secret


def _encrypted(private_key: PrivateKey, secret: bytes) -> bytes:
    """The private key as PEM: PKCS#8, AES-256-CBC, scrypt."""
    plain = private_key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    salt, iv = secrets.token_bytes(16), secrets.token_bytes(16)
    stretched = Scrypt(salt, 32, *_SCRYPT_NUMBERS).derive(secret)
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES256(stretched), modes.CBC(iv)).encryptor()
    sealed = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    numbers = (_der(_INTEGER, n.to_bytes(3).lstrip(b"\0")) for n in _SCRYPT_NUMBERS)
    kdf = _der(_SEQUENCE, _OID_SCRYPT, _der(_SEQUENCE, _der(_OCTETS, salt), *numbers))
    cipher = _der(_SEQUENCE, _OID_AES256_CBC, _der(_OCTETS, iv))
    scheme = _der(_SEQUENCE, _OID_PBES2, _der(_SEQUENCE, kdf, cipher))
    body = base64.encodebytes(_der(_SEQUENCE, scheme, _der(_OCTETS, sealed)))
    pem = _BEGIN + b"\n" + body + _END + b"\n"
    # What can't be opened again is a lost key: look before anything depends on it.
    serialization.load_pem_private_key(pem, secret)
    return pem


def _der(tag: int, *parts: bytes) -> bytes:
    """One DER element of up to 65,535 bytes (X.690 8.1)."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes(2).lstrip(b"\0")
    return bytes((tag, 0x80 | len(length))) + length + content
