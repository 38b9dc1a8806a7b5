"""Real tokens: SoftHSM, with a folder of its own for each test process.

A PKCS#11 module reads its configuration when a process loads it, so all tokens of one test
process lie in one folder, and each test has tokens with labels of its own. Child processes
inherit the environment and find the same tokens.
"""

from __future__ import annotations

import functools
import os
import secrets
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pkcs11
from pkcs11.util.ec import encode_named_curve_parameters

__all__ = ["Token", "new_token"]

_CANDIDATES = "/usr/lib/softhsm", "/usr/lib/*/softhsm", "/usr/lib64", "/usr/local/lib/softhsm"
_KEEP: list[tempfile.TemporaryDirectory[str]] = []


@dataclass(frozen=True)
class Token:
    """A token with a user's PIN.

    Args:
        label: unlike any other's.
        pin: the user's.
    """

    label: str
    pin: str

    def uri(self, key_id: str = "id=a1") -> str:
        """URI of a key in it."""
        return f"hsm:?label={self.label}&{key_id}"

    @property
    def serial(self) -> str:
        return self._token().serial.decode()

    def add_key(
        self, key_id: bytes = b"\xa1", curve: str = "secp256r1", *, hidden: bool = False
    ) -> None:
        """Make an ECDSA key pair inside the token.

        Args:
            key_id: ``CKA_ID`` of both halves.
            curve: its name.
            hidden: the public half, too, is shown to nobody without the PIN.
        """
        with self._token().open(rw=True, user_pin=self.pin) as session:
            parameters = session.create_domain_parameters(
                pkcs11.KeyType.EC,
                {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters(curve)},
                local=True,
            )
            parameters.generate_keypair(
                id=key_id,
                store=True,
                mechanism=pkcs11.Mechanism.EC_KEY_PAIR_GEN,
                public_template={pkcs11.Attribute.PRIVATE: hidden},
            )

    def remove_private(self, key_id: bytes) -> None:
        """Destroy the private half of a key."""
        with self._token().open(rw=True, user_pin=self.pin) as session:
            session.get_key(pkcs11.ObjectClass.PRIVATE_KEY, id=key_id).destroy()

    def _token(self) -> pkcs11.Token:
        return pkcs11.lib(module()).get_token(token_label=self.label)


def new_token(name: str, pin: str = "4711-token-pin") -> Token:
    """Initialise a token. Signers that this process has open are closed by it.

    Args:
        name: the beginning of its label.
        pin: the user's.
    """
    module()
    label = f"{name} {secrets.token_hex(4)}"
    subprocess.run(
        [
            *("softhsm2-util", "--init-token", "--free", "--label", label),
            *("--so-pin", "so-pin-of-nobody", "--pin", pin),
        ],
        check=True,
        capture_output=True,
    )
    loaded = pkcs11.lib(module())
    loaded.reinitialize()  # a token of another process is not seen otherwise
    return Token(label, pin)


@functools.cache
def module() -> str:
    """The module, after the environment points it and all children to a folder of their own."""
    root = Path("/")
    found = [
        path for place in _CANDIDATES for path in sorted(root.glob(f"{place[1:]}/libsofthsm2.so"))
    ]
    assert found, "SoftHSM is missing: make system (apt-get install softhsm2)"
    _KEEP.append(tempfile.TemporaryDirectory(prefix="softhsm-"))
    folder = Path(_KEEP[0].name)
    (folder / "tokens").mkdir()
    conf = folder / "softhsm2.conf"
    conf.write_text(
        f"directories.tokendir = {folder / 'tokens'}\n"
        "objectstore.backend = file\nlog.level = ERROR\n"
    )
    os.environ["SOFTHSM2_CONF"] = str(conf)
    os.environ["PYKCS11LIB"] = str(found[0])
    return str(found[0])
