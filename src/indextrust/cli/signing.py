"""What the commands that sign with the online key ask for, and how they open a repository."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indextrust.cli.genesis import ONLINE, key_path
from indextrust.cli.options import (
    by_option,
    keys_folder,
    keys_option,
    online_log_option,
    queue_key_option,
)
from indextrust.cli.passphrases import Passphrases, passphrase_option

if TYPE_CHECKING:
    from securesystemslib.signer import Key, Signer

    from indextrust.repository import Repository

__all__ = ["Signing", "signing"]


@dataclass(frozen=True)
class Signing:
    """Which repository, and where the online key is.

    Args:
        folder: of the repository.
        keys: folder of the key files; None for the default.
        signer: URI of the online key; None for the key file.
        passphrases: where its passphrase comes from.
        by, queue_key, online_log: as `Repository.open` takes them.
    """

    folder: Path
    keys: Path | None
    signer: str | None
    passphrases: Passphrases
    by: str | None
    queue_key: Path | None
    online_log: Path | None

    @property
    def places(self) -> dict[str, Any]:
        """What `Repository.open` and `Repository.create` are told beside folder and key."""
        return {"by": self.by, "queue_key": self.queue_key, "online_log": self.online_log}

    def opened(self, online: Signer | None = None) -> Repository:
        """The repository, with its online key or without."""
        from indextrust.repository import Repository

        return Repository.open(self.folder, online=online, **self.places)

    def opened_to_sign(self) -> Repository:
        """The repository with its online key; the passphrase or PIN is asked for last."""
        from indextrust.ceremony import read_roles

        self.passphrases.only_for([ONLINE])
        # First: a folder that is no repository needs no passphrase.
        (key,) = read_roles(self.opened().signed_roles()).online_keys
        return self.opened(self.online(key))

    def online(self, key: Key) -> Signer:
        """The signer of this online key: as given, or the key file in its folder."""
        from indextrust.ceremony.keyholders import open_signer

        self.passphrases.only_for([ONLINE])
        uri = self.signer or f"file2:{key_path(keys_folder(self.folder, self.keys), ONLINE)}"
        return self.passphrases.attempt(ONLINE, lambda prompt: open_signer(uri, key, prompt))


def signing(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a command that signs; with FOLDER they become its first argument, a `Signing`.

    The command adds the argument ``folder`` itself: others may come before its options.
    """

    @functools.wraps(function)
    def command(
        folder: Path,
        keys: Path | None,
        signer: str | None,
        passphrases: Passphrases,
        by: str | None,
        queue_key: Path | None,
        online_log: Path | None,
        **own: Any,
    ) -> Any:
        places = (by, queue_key, online_log)
        return function(Signing(folder, keys, signer, passphrases, *places), **own)

    decorated: Callable[..., Any] = command
    for option in (
        *(online_log_option, queue_key_option, by_option, passphrase_option),
        *(_signer_option, keys_option),
    ):
        decorated = option(decorated)
    return decorated


_signer_option = click.option(
    "--signer",
    metavar="URI",
    help="Where the online key is: file2:PATH, hsm:…, or a service that securesystemslib "
    "reaches.  [default: online.pem in the folder of the key files]",
)
