"""Keys in PKCS#11 tokens: smart cards, hardware security modules, SoftHSM.

securesystemslib's own signer takes small numbers as key ids, one token with a label or the only
one there is, and asks for the PIN with every signature. This one reads the same URIs and more: a
key id of any bytes, a token by label or serial number, several modules and tokens in one process.
It logs in once, when it is opened: so a wrong PIN is found before anything is begun.

    hsm:[KEYID][?label=LABEL][&serial=SERIAL][&id=HEX][&module-path=FILE]

KEYID is a number (2 if nothing is given, as securesystemslib has it), ``id`` the same id as bytes
in hex, of which leading zeros count. Without ``module-path`` the PKCS#11 module is the one that
``PYKCS11LIB`` names, as for securesystemslib. ECDSA P-256 and P-384 are supported.

Guarantees: nothing is signed by a key whose public half, where the token shows it, is another
than expected; which token or key was meant is never guessed; the PIN is not kept. Left to others:
how often a person may try (the token locks itself), and that a signature is verified
(`indextrust.repository.signing`). A key that wants its PIN for each signature anew (some smart
cards offer that) gives one signature for each opening. While a process has one key of a token open,
the token is unlocked for it, and looks at no PIN when it opens another.

Sources: PKCS#11 v2.40 (5.4, 5.6, 5.11; "CKA_ID"); securesystemslib, `HSMSigner`; FIPS 186-5 6.4.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from cryptography.hazmat.primitives.serialization import load_der_public_key
from securesystemslib.signer import Key, SecretsHandler, Signature, Signer, SSlibKey

from indextrust.errors import (
    InputError,
    KeyFileError,
    MissingExtraError,
    PassphraseError,
    SigningError,
)

if TYPE_CHECKING:
    import pkcs11

__all__ = ["HSM_SCHEME", "TokenPlace", "TokenSigner", "read_token_key"]

HSM_SCHEME = "hsm"
"""URI scheme of a key in a token: securesystemslib's own name for it."""

_MODULE = "PYKCS11LIB"
_DEFAULT_ID = 2  # securesystemslib's: the signature slot (9c) of a PIV card
_HASHES = {"ecdsa-sha2-nistp256": "sha256", "ecdsa-sha2-nistp384": "sha384"}

Prompt = Callable[[str], str]
"""Is given the name of a secret, for a person; answers with the secret."""


@dataclass(frozen=True)
class TokenPlace:
    """Where a key is: a module, a token, an id.

    Args:
        key_id: ``CKA_ID`` of the key.
        label: of the token; None for any.
        serial: serial number of the token; None for any.
        module: PKCS#11 module; None for the one that ``PYKCS11LIB`` names.
    """

    key_id: bytes
    label: str | None = None
    serial: str | None = None
    module: Path | None = None

    @classmethod
    def parse(cls, uri: str) -> TokenPlace:
        """Read a URI as this module's head has it.

        Raises:
            InputError: another scheme, an unknown parameter, or an id that is none.
        """
        scheme, _, rest = uri.partition(":")
        number, _, query = rest.partition("?")
        wrong = InputError(
            f"can't use the key URI {uri!r:.200}: expected "
            f"hsm:[KEYID][?label=LABEL][&serial=SERIAL][&id=HEX][&module-path=FILE]"
        )
        pairs = parse_qsl(query, keep_blank_values=True)
        fields = dict(pairs)
        known = fields.keys() <= {"label", "serial", "id", "module-path"}
        if scheme != HSM_SCHEME or not known or len(fields) != len(pairs):
            raise wrong
        if "" in fields.values() or (number and "id" in fields):
            raise wrong
        try:
            key_id = bytes.fromhex(fields["id"]) if "id" in fields else _number(number)
        except ValueError:
            raise wrong from None
        module = fields.get("module-path")
        return cls(
            key_id, fields.get("label"), fields.get("serial"), Path(module) if module else None
        )

    def __str__(self) -> str:
        """The URI, with the id in hex."""
        fields = {"id": self.key_id.hex()}
        for name, value in (
            ("label", self.label),
            ("serial", self.serial),
            ("module-path", self.module),
        ):
            if value is not None:
                fields[name] = str(value)
        return f"{HSM_SCHEME}:?{urlencode(fields)}"


class TokenSigner(Signer):
    """ECDSA by a key in a token; logged in until `close`, or the end of the process.

    Args:
        session: open, logged in.
        private_key: found in it.
        public_key: its public half.
    """

    def __init__(
        self, session: pkcs11.Session, private_key: pkcs11.SignMixin, public_key: SSlibKey
    ) -> None:
        self._session = session
        self._private_key = private_key
        self._public_key = public_key

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> TokenSigner:
        """Find the token and the key, and log in.

        Args:
            priv_key_uri: as this module's head has it.
            public_key: what the key's public half must be.
            secrets_handler: is asked for the PIN, under a name for a person.

        Raises:
            InputError: not such a URI, or a key that is not ECDSA P-256 or P-384.
            PassphraseError: a wrong PIN, or nobody to ask for it.
            KeyFileError: the token holds another key under this id.
            SigningError: no such module, token or key, several of them, or a locked token.
            MissingExtraError: python-pkcs11 is not installed.
        """
        place = TokenPlace.parse(priv_key_uri)
        if not isinstance(public_key, SSlibKey) or public_key.scheme not in _HASHES:
            raise InputError(
                f"{place}: a key in a token signs ECDSA P-256 or P-384, and key "
                f"{public_key.keyid} is {public_key.keytype} with {public_key.scheme}"
            )
        with _device(place) as token:
            session = _log_in(place, token, secrets_handler)
            try:
                signer = cls(session, _private_key(place, session), public_key)
                _check_half(place, session, public_key)
            except BaseException:
                session.close()
                raise
        return signer

    @property
    def public_key(self) -> SSlibKey:
        """The public half."""
        return self._public_key

    def sign(self, payload: bytes) -> Signature:
        """Sign. Raises whatever the device does: `indextrust.repository.signing` names it."""
        import pkcs11
        from pkcs11.util.ec import encode_ecdsa_signature

        digest = hashlib.new(_HASHES[self._public_key.scheme], payload).digest()
        raw = self._private_key.sign(digest, mechanism=pkcs11.Mechanism.ECDSA)
        return Signature(self._public_key.keyid, encode_ecdsa_signature(raw).hex())

    def close(self) -> None:
        """Log out and close the session."""
        self._session.close()


def read_token_key(uri: str, prompt: SecretsHandler | None = None) -> tuple[SSlibKey, str]:
    """The public half of a key in a token.

    Args:
        uri: as this module's head has it.
        prompt: is asked for the PIN if the token shows its public keys to nobody else.

    Returns:
        The key, and the serial number of the token.

    Raises:
        As `TokenSigner.from_priv_key_uri`; `InputError` for a key that is not ECDSA P-256 or
        P-384.
    """
    place = TokenPlace.parse(uri)
    with _device(place) as token:
        with token.open() as session:
            key = _public_half(place, session)
        if key is None:
            with _log_in(place, token, prompt) as session:
                key = _public_half(place, session)
        if key is None:
            raise SigningError(f"{place}: the token has no such public key")
        return key, token.serial.decode("ascii", "replace").strip()


def _number(text: str) -> bytes:
    """The bytes of a key id that is given as a number. Raises ValueError."""
    if text and not (text.isascii() and text.isdigit() and len(text) <= 40):
        raise ValueError(text)
    number = int(text) if text else _DEFAULT_ID
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8))


@contextlib.contextmanager
def _device(place: TokenPlace) -> Iterator[pkcs11.Token]:
    """The token, found anew (its flags change). What fails in the block is the device's failure.

    Raises:
        SigningError: no module, no token, several tokens, or the device failed.
    """
    try:
        import pkcs11
        from pkcs11.exceptions import PKCS11Error
    except ImportError as error:
        raise MissingExtraError("hsm", error.name or "pkcs11") from error
    module = os.environ.get(_MODULE) if place.module is None else str(place.module)
    if not module:
        raise SigningError(
            f"{place}: no PKCS#11 module: name its file by module-path=FILE in the URI, or by "
            f"{_MODULE} in the environment"
        )
    try:
        found = list(
            pkcs11.lib(module).get_tokens(
                token_label=place.label, token_flags=pkcs11.TokenFlag.TOKEN_INITIALIZED
            )
        )
        serials = [token.serial.decode("ascii", "replace").strip() for token in found]
        if place.serial is not None:
            found = [t for t, serial in zip(found, serials, strict=True) if serial == place.serial]
        if len(found) != 1:
            raise SigningError(
                f"{place}: expected one such token in {module}, got {len(found)}"
                + (f": tell them apart by serial={'|'.join(serials)}" if found else "")
            )
        yield found[0]
    except PKCS11Error as error:
        raise SigningError(f"{place}: {type(error).__name__}: {error}".rstrip(": ")) from error


def _log_in(
    place: TokenPlace, token: pkcs11.Token, prompt: SecretsHandler | None
) -> pkcs11.Session:
    """Ask for the PIN and open a session. Raises PassphraseError, SigningError."""
    import pkcs11
    from pkcs11 import exceptions

    name = f"token {token.label!r}"
    if token.flags & pkcs11.TokenFlag.USER_PIN_LOCKED:
        raise SigningError(f"{place}: {name} is locked after too many wrong PINs")
    if prompt is None:
        raise PassphraseError(f"{place}: the PIN of {name} is needed, and there is nobody to ask")
    final = token.flags & pkcs11.TokenFlag.USER_PIN_FINAL_TRY
    pin = prompt(f"PIN of {name}{' (the last try before it locks itself)' if final else ''}")
    if not pin or not pin.isprintable():  # also what is no Unicode text: an error would show it
        raise PassphraseError(f"{place}: expected the PIN of {name}, got none that can be typed")
    try:
        return token.open(user_pin=pin)
    except exceptions.UserAlreadyLoggedIn:  # another key of this process is in the same token
        return token.open()
    except exceptions.PinLocked:
        raise SigningError(f"{place}: {name} is locked now, after too many wrong PINs") from None
    except (exceptions.PinIncorrect, exceptions.PinInvalid, exceptions.PinLenRange):
        raise PassphraseError(f"{place}: wrong PIN of {name}") from None


def _private_key(place: TokenPlace, session: pkcs11.Session) -> pkcs11.SignMixin:
    """The one private key of this id. Raises SigningError."""
    import pkcs11

    found = list(
        session.get_objects(
            {
                pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY,
                pkcs11.Attribute.KEY_TYPE: pkcs11.KeyType.EC,
                pkcs11.Attribute.ID: place.key_id,
            }
        )
    )
    if len(found) != 1 or not isinstance(found[0], pkcs11.SignMixin):
        raise SigningError(f"{place}: expected one ECDSA key of this id, got {len(found)}")
    return found[0]


def _public_half(place: TokenPlace, session: pkcs11.Session) -> SSlibKey | None:
    """The public key of this id; None if it is not shown. Raises InputError: no such curve."""
    import pkcs11
    from pkcs11.util.ec import encode_ec_public_key

    found = list(
        session.get_objects(
            {
                pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PUBLIC_KEY,
                pkcs11.Attribute.KEY_TYPE: pkcs11.KeyType.EC,
                pkcs11.Attribute.ID: place.key_id,
            }
        )
    )
    if not found:
        return None
    if len(found) != 1 or not isinstance(found[0], pkcs11.PublicKey):
        raise SigningError(f"{place}: expected one ECDSA key of this id, got {len(found)}")
    try:
        key = SSlibKey.from_crypto(load_der_public_key(encode_ec_public_key(found[0])))
    except ValueError as error:
        raise InputError(f"{place}: {error}") from None
    if key.scheme not in _HASHES:
        raise InputError(f"{place}: expected ECDSA P-256 or P-384, got {key.scheme}")
    return key


def _check_half(place: TokenPlace, session: pkcs11.Session, expected: SSlibKey) -> None:
    """Refuse another key than the expected one. Raises KeyFileError."""
    key = _public_half(place, session)
    if key is not None and key.keyval != expected.keyval:
        raise KeyFileError(f"{place}: expected key {expected.keyid}, got key {key.keyid}")
