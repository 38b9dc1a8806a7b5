"""``indextrust install``: what a finished signing event brings to the server.

The one step from the keyholders' room to the public: with a genesis it founds the index, with a
later event it replaces root, targets and bins, and signs everything under them.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from indextrust.cli.genesis import ONLINE
from indextrust.cli.operating import online_uri, report, signer_option
from indextrust.cli.options import (
    FOLDER,
    by_option,
    common,
    keys_option,
    online_log_option,
    output,
    queue_key_option,
)
from indextrust.cli.passphrases import Passphrases, passphrase_option

__all__ = ["install"]


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("bundle", type=FOLDER)
@keys_option
@signer_option
@passphrase_option
@by_option
@queue_key_option
@online_log_option
@common
def install(
    folder: Path,
    bundle: Path,
    keys: Path | None,
    signer: str | None,
    passphrases: Passphrases,
    queue_key: Path | None,
    online_log: Path | None,
    by: str | None,
) -> None:
    """Take the roles in BUNDLE, the folder `public` of a finished signing event.

    If FOLDER is missing or empty, a genesis founds an empty index there. Else the roles follow
    those in force, and everything is signed under them; with another number of bins, all targets
    are spread anew. Nothing is taken that a client would not follow.
    """
    from indextrust.ceremony import SignedRoles, read_roles
    from indextrust.ceremony.keyholders import open_signer
    from indextrust.repository import Repository

    passphrases.only_for([ONLINE])
    roles = SignedRoles.load(bundle)
    new = read_roles(roles)
    there = folder.is_dir() and any(folder.iterdir())
    opened = partial(Repository.open, folder, queue_key=queue_key, by=by, online_log=online_log)
    bins = read_roles(opened().signed_roles()).scheme if there else None
    uri, key = online_uri(folder, keys, signer), new.online_keys[0]
    online = passphrases.attempt(ONLINE, lambda prompt: open_signer(uri, key, prompt))
    out = output()
    with out.progress("signing"):
        if not there:
            made = Repository.create(
                folder, roles, online=online, queue_key=queue_key, by=by, online_log=online_log
            )
        elif bins == new.scheme:
            published = opened().install(roles, online)
        else:
            published = opened().rebin(roles, online)
    if there:
        out.say(f"root {new.root.version} is in force")
        report(published)
    else:
        out.say(f"{folder}: a signed, empty index; serve {made.public}")
        out.data({"founded": {"folder": str(folder), "public": str(made.public)}})
