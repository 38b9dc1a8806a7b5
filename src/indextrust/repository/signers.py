"""Signers by URI: where a private key is, and how it is reached.

``file2:PATH`` is a passphrase-encrypted key file, ``hsm:…`` a key in a PKCS#11 token
(`indextrust.repository.hsm`). Every other scheme (``gcpkms:``, ``awskms:``, ``azurekms:``,
``hv:``, …) is securesystemslib's, with the credentials that its service takes from its own
surroundings. None of them brings a secret in the URI.

Left to others: that the signer is the one that a role asks for, and that its signatures are
verified (`indextrust.repository.signing`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from securesystemslib.signer import Key, Signer

from indextrust.errors import IndextrustError, InputError, PassphraseError, SigningError
from indextrust.repository.hsm import HSM_SCHEME, TokenSigner
from indextrust.repository.keys import check_pair, load_signer

__all__ = ["FILE_SCHEME", "Prompt", "open_signer"]

FILE_SCHEME = "file2"
"""URI scheme of a key file: securesystemslib's own name for it."""

Prompt = Callable[[str], str]
"""Asks a person: is given what is wanted (``PIN of token 'ann'``), returns what was typed."""


def open_signer(uri: str, key: Key, prompt: Prompt | None = None) -> Signer:
    """Open the signer of a key by its URI.

    All that follows ``file2:`` is the path, and ``CRYPTO_SIGNER_PATH_PREFIX`` is not looked at:
    the environment shall not choose the key. (securesystemslib's own loader takes unencrypted
    files only.)

    Args:
        uri: where the private key is.
        key: its public half, as it is listed or will be.
        prompt: is asked once for the passphrase or PIN, if there is one. Whoever wants to try
            again after a wrong one calls this again.

    Returns:
        A signer that shows `key`.

    Raises:
        InputError: a URI of no known scheme, or one its scheme can't use.
        KeyFileError: a key file that can't be used, or a file or token that holds another key.
        PassphraseError: a wrong passphrase or PIN, or nobody to ask for it.
        SigningError: the service or device behind the URI failed.
        MissingExtraError: the packages that the device needs are not installed.
    """
    scheme, _, path = uri.partition(":")
    if scheme == FILE_SCHEME:
        if prompt is None:
            raise PassphraseError(f"{path}: a passphrase is needed, and there is nobody to ask")
        signer = load_signer(Path(path), prompt(f"passphrase of {path}"))
        check_pair(signer.public_key, key, path)
        signer.public_key.unrecognized_fields = dict(key.unrecognized_fields)
        return signer
    try:
        if scheme == HSM_SCHEME:
            return TokenSigner.from_priv_key_uri(uri, key, prompt)
        return Signer.from_priv_key_uri(uri, key, prompt)
    except IndextrustError:
        raise
    except ValueError as error:
        raise InputError(f"can't use the key URI {uri!r}: {error}") from error
    except Exception as error:  # securesystemslib: "signer implementations may raise" anything
        raise SigningError(
            f"the signer at {uri!r} could not be loaded: {type(error).__name__}: {error}"
        ) from error
