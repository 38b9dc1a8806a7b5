"""``indextrust install``: what a finished signing event brings to the server.

The one step from the keyholders' room to the public: with a genesis it founds the index, with a
later event it replaces root, targets and bins, and signs everything under them.
"""

from __future__ import annotations

from pathlib import Path

import click

from indextrust.cli.operating import report
from indextrust.cli.options import FOLDER, common, output
from indextrust.cli.signing import Signing, signing

__all__ = ["install"]


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("bundle", type=FOLDER)
@signing
@common
def install(desk: Signing, bundle: Path) -> None:
    """Take the roles in BUNDLE, the folder `public` of a finished signing event.

    If FOLDER is missing or empty, a genesis founds an empty index there. Else the roles follow
    those in force, and everything is signed under them; with another number of bins, all targets
    are spread anew. Nothing is taken that a client would not follow.
    """
    from indextrust.ceremony import SignedRoles, read_roles
    from indextrust.repository import Repository

    roles, folder = SignedRoles.load(bundle), desk.folder
    new = read_roles(roles)
    there = folder.is_dir() and any(folder.iterdir())
    bins = read_roles(desk.opened().signed_roles()).scheme if there else None
    online = desk.online(new.online_keys[0])
    out = output()
    with out.progress("signing"):
        if not there:
            made = Repository.create(folder, roles, online=online, **desk.places)
        elif bins == new.scheme:
            published = desk.opened().install(roles, online)
        else:
            published = desk.opened().rebin(roles, online)
    if there:
        out.say(f"root {new.root.version} is in force")
        report(published)
    else:
        out.say(f"{folder}: a signed, empty index; serve {made.public}")
        out.data({"founded": {"folder": str(folder), "public": str(made.public)}})
