"""Keyholders: who holds which key, what kind of client can verify it, and how it signs.

A key comes to a ceremony as a public key file (`read_public`), or as PEM from any tool or device
(`import_pem`); the person, the device's serial number and the key are one value, `Keyholder`. It
signs through a URI (`open_signer`): a file, a PKCS#11 token, or a service that securesystemslib
reaches.

A ceremony declares for which clients it is held, with a profile. *portable*: clients that can
compile nothing, pip above all, verify Ed25519 in pure Python and no other signature; one key of
another type in the threshold, and they can't refresh any more. *hsm*: clients that have
`cryptography`; ECDSA too, which is what PKCS#11 devices sign with, and RSA-PSS. `check_profile`
refuses early what would strand clients later. One-time keys are Ed25519, and fit both.

Sources: PEP 458, "Number and Type Of Keys Recommended"; TUF specification 4.2.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from pathlib import Path

from securesystemslib.signer import Key, SSlibKey

from indextrust.ceremony.root import material
from indextrust.errors import CeremonyError, KeyFileError
from indextrust.repository.hsm import read_token_key
from indextrust.repository.keys import is_private, load_signer
from indextrust.repository.public_keys import (
    KEYHOLDER_FIELD,
    SERIAL_FIELD,
    Keyholder,
    KeyRole,
    check_holder,
    fingerprint,
    import_pem,
    is_rehearsal,
    keyholder_of,
    public_pem,
    read_public,
    save_public,
    spoken,
)
from indextrust.repository.signers import Prompt, open_signer

__all__ = [
    "KEYHOLDER_FIELD",
    "SERIAL_FIELD",
    "KeyRole",
    "Keyholder",
    "Profile",
    "Prompt",
    "check_duplicates",
    "check_holder",
    "check_profile",
    "check_rehearsal",
    "fingerprint",
    "fitting",
    "import_pem",
    "import_private",
    "import_token",
    "is_private",
    "open_signer",
    "profile_of",
    "public_pem",
    "read_public",
    "save_public",
    "spoken",
]


class Profile(enum.StrEnum):
    """Which clients must be able to verify the index."""

    PORTABLE = "portable"
    HSM = "hsm"


_TYPES = {Profile.PORTABLE: {"ed25519"}, Profile.HSM: {"ed25519", "ecdsa", "rsa"}}


def import_token(
    uri: str,
    prompt: Prompt | None,
    owner: str | None,
    serial: str | None,
    role: KeyRole,
    *,
    rehearsal: bool = False,
) -> Keyholder:
    """Take in the public half of a key that lives in a PKCS#11 token.

    Args:
        uri: ``hsm:…`` (`indextrust.repository.hsm`).
        prompt: is asked for the PIN, if the token shows its public keys to its owner alone.
        owner, role: as for `Keyholder`; None for an online key of nobody.
        serial: as printed on the device; None for the one that the token gives.
        rehearsal: made to practise. A token knows nothing of it: it is the importer's word.

    Raises:
        As `open_signer`.
    """
    key, given = read_token_key(uri, prompt)
    return keyholder_of(key, owner, serial or given or None, role, rehearsal=rehearsal)


def import_private(
    path: Path,
    prompt: Prompt,
    owner: str | None,
    serial: str | None,
    role: KeyRole,
    *,
    rehearsal: bool = False,
) -> Keyholder:
    """Make the public half of a private key file anew, when it was lost or never written.

    Args:
        path: the private key's file (`is_private`).
        prompt: is asked for its passphrase.
        owner, serial, role: as for `Keyholder`: the private file does not have them.
        rehearsal: made to practise; where the private file says so, it is, whatever is given.

    Raises:
        As `indextrust.repository.keys.load_signer`.
        KeyFileError: `rehearsal`, and the private file does not say so: it may be a real key.
    """
    found = load_signer(path, prompt(f"passphrase of {path}")).public_key
    if rehearsal and not is_rehearsal(found):
        raise KeyFileError(
            f"{path}: expected a key that was made to practise (key generate --rehearsal), got "
            f"one that does not say so: leave it in its bag"
        )
    key = SSlibKey(found.keyid, found.keytype, found.scheme, found.keyval)
    return keyholder_of(key, owner, serial, role, rehearsal=is_rehearsal(found))


def fitting(key: Key) -> list[Profile]:
    """The profiles that a key fits, the one with most clients first."""
    return [profile for profile, types in _TYPES.items() if key.keytype in types]


def check_profile(keys: Iterable[Key], profile: Profile) -> None:
    """Refuse keys that a client of this profile could not verify.

    Args:
        keys: of every role: the keyholders' and the online key.
        profile: as declared.

    Raises:
        CeremonyError: the first such key, and the reason.
    """
    for key in keys:
        if key.keytype in _TYPES[profile]:
            continue
        owner = key.unrecognized_fields.get(KEYHOLDER_FIELD)
        whose = f" of {owner}" if owner else ""
        if profile is Profile.PORTABLE:
            reason = (
                "clients that can compile nothing, such as pip, verify Ed25519 alone. Bring an "
                "Ed25519 key, or declare the profile hsm: then only clients with 'cryptography' "
                "can use the index"
            )
        else:
            reason = "clients verify Ed25519, ECDSA and RSA-PSS. Bring a key of one of these"
        raise CeremonyError(
            f"key {key.keyid}{whose} is {key.keytype!r}, which the profile {profile} does not "
            f"allow: {reason}"
        )


def profile_of(keys: Iterable[Key]) -> Profile:
    """The profile with most clients that all of these keys fit."""
    fits = [fitting(key) for key in keys]
    return Profile.PORTABLE if all(Profile.PORTABLE in one for one in fits) else Profile.HSM


def check_rehearsal(keys: Iterable[Key], *, rehearsal: bool) -> None:
    """Refuse keys made to practise in a root made in earnest, and the other way round.

    A real key has no place in a rehearsal: it would leave its bag, and give a signature on a root
    that nobody means. And as no root has both kinds, no key id that a rehearsal's root lists is
    ever listed by a real one, unless somebody takes the mark out of the key's files.

    Args:
        keys: the keyholders' and the online key.
        rehearsal: whether the root is made to practise.

    Raises:
        CeremonyError: the first such key.
    """
    for key in keys:
        if is_rehearsal(key) == rehearsal:
            continue
        whose = key.unrecognized_fields.get(KEYHOLDER_FIELD, "the server")
        if rehearsal:
            raise CeremonyError(
                f"key {key.keyid} of {whose} is no rehearsal key, and this is a rehearsal: leave "
                f"it in its bag, and make one to practise with (indextrust key generate "
                f"--rehearsal)"
            )
        raise CeremonyError(
            f"key {key.keyid} of {whose} was made in a rehearsal, and this is none: make a new "
            f"key, and take the rehearsal's away"
        )


def check_duplicates(keyholders: Sequence[Keyholder]) -> None:
    """Refuse one key that is brought twice, under whatever key id, scheme or name.

    Raises:
        CeremonyError: it names both who brought it.
    """
    seen: dict[str, Keyholder] = {}
    for keyholder in keyholders:
        first = seen.setdefault(material(keyholder.key), keyholder)
        if first is not keyholder:
            raise CeremonyError(
                f"{first.owner} and {keyholder.owner} bring the same key ({first.key.keyid} and "
                f"{keyholder.key.keyid}): each keyholder needs a key of their own"
            )
