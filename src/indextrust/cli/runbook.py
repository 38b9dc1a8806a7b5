"""``indextrust ceremony runbook``: the script of an event, or of one that is only planned.

A ceremony begins before there is an event: people make keys. So where EVENT is not there yet, the
names and the threshold are given, and the script begins with the keys.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from indextrust.cli.options import FOLDER, common, output
from indextrust.errors import CeremonyError, InputError

if TYPE_CHECKING:
    from indextrust.ceremony.check import OfflineRoles
    from indextrust.ceremony.script import Script

__all__ = [
    "current_option",
    "profile_option",
    "rehearsal_option",
    "remove_option",
    "runbook",
    "threshold_option",
]

current_option = click.option(
    "--from",
    "current",
    type=FOLDER,
    metavar="DIR",
    help="Folder of the roles in force, with every root. Without it: a genesis.",
)
remove_option = click.option(
    "--remove",
    multiple=True,
    metavar="NAME",
    help="A keyholder who goes, by name or key id; once for each.",
)
threshold_option = click.option(
    "--threshold", type=int, metavar="N", help="How many keyholders must sign."
)
profile_option = click.option(
    "--profile",
    type=click.Choice(["portable", "hsm"]),
    help="Clients that must be able to verify: all (Ed25519), or those with 'cryptography'.  "
    "[default: portable, or as the keys in force]",
)
rehearsal_option = click.option(
    "--rehearsal",
    is_flag=True,
    help="Mark all that is made as a rehearsal; its keys must be made for one.",
)


@click.command()
@click.argument("event", type=FOLDER)
@click.argument("folder", type=FOLDER)
@click.option(
    "--keyholder",
    "come",
    multiple=True,
    metavar="NAME",
    help="Who will come with a key; once for each. For an event that is not proposed yet.",
)
@click.option("--new-online", is_flag=True, help="The server will have another key.")
@current_option
@remove_option
@threshold_option
@profile_option
@rehearsal_option
@common
def runbook(
    event: Path,
    folder: Path,
    come: tuple[str, ...],
    new_online: bool,
    current: Path | None,
    remove: tuple[str, ...],
    threshold: int | None,
    profile: str | None,
    rehearsal: bool,
) -> None:
    """Write the script of EVENT to FOLDER: runbook.md, and runbook.html to print.

    Where EVENT is not there yet, say who will come and how many must sign: the script then begins
    with the making of the keys, and goes on to the end. Proposed is what it says there.
    """
    from indextrust.ceremony.event_file import create_folder
    from indextrust.ceremony.keyholders import Profile
    from indextrust.ceremony.paper import markdown, page
    from indextrust.ceremony.script import plan

    planned = bool(come or new_online or current or remove or threshold or profile or rehearsal)
    if os.path.lexists(event):
        if planned:
            raise InputError(
                f"{event} is there, and says all about itself: leave the other options out"
            )
        script = _of_event(event)
    else:
        if current is None and (not come or threshold is None or remove):
            raise InputError(
                f"{event} is not there. To plan it, give --keyholder for each who comes and "
                f"--threshold; for what follows a root in force, --from"
            )
        script = plan(
            None if current is None else _in_force(current),
            come,
            remove,
            threshold,
            event=event.name,
            current=None if current is None else str(current),
            new_online=new_online,
            profile=None if profile is None else Profile(profile),
            rehearsal=rehearsal,
        )
    files = {"runbook.md": markdown(script).encode(), "runbook.html": page(script).encode()}
    create_folder(folder, files)
    output().say(f"{folder}/runbook.html: print it; {folder}/runbook.md has the same text")
    told = {"folder": str(folder), "root": script.root, "digest": script.digest}
    output().data({"runbook": {**told, "rehearsal": script.rehearsal}})


def _of_event(path: Path) -> Script:
    from indextrust.ceremony.event_file import read_event
    from indextrust.ceremony.judge import judge
    from indextrust.ceremony.script import script_of

    event = read_event(path)
    try:
        return script_of(judge(event), event=path.name)
    except CeremonyError as error:
        raise CeremonyError(f"{path}: {error}") from None


def _in_force(folder: Path) -> OfflineRoles:
    from indextrust.ceremony.check import read_roles
    from indextrust.repository.roles import SignedRoles

    return read_roles(SignedRoles.load(folder))
