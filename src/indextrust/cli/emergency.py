"""``freeze`` and ``thaw``: stop signing at once, and go on when a person says why."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indextrust.cli.options import FOLDER, by_option, common, output, queue_key_option

if TYPE_CHECKING:
    from indextrust.repository import Frozen

__all__ = ["COMMANDS"]

_reason = click.option("--reason", required=True, metavar="TEXT", help="Why; one line.")


@click.command()
@click.argument("folder", type=FOLDER)
@_reason
@by_option
@queue_key_option
@common
def freeze(folder: Path, reason: str, by: str | None, queue_key: Path | None) -> None:
    """Sign nothing from now on. Stops a publication that is under way; needs no key."""
    from indextrust.repository import Repository

    out = output()
    frozen, logged = Repository.freeze(folder, reason, by=by, queue_key=queue_key)
    out.say(f"{folder}: {frozen}")
    out.say("whoever has the online key elsewhere can sign all the same: `recover` replaces it")
    if not logged:
        out.say("it is not in the authenticated log, which can't be written now")
    out.data({"frozen": {**_data(frozen), "logged": logged}})


@click.command()
@click.argument("folder", type=FOLDER)
@_reason
@by_option
@queue_key_option
@common
def thaw(folder: Path, reason: str, by: str | None, queue_key: Path | None) -> None:
    """End a freeze; the reason is logged. Signs nothing: `publish` and `renew` go on."""
    from indextrust.repository import Repository

    out = output()
    frozen = Repository.open(folder, queue_key=queue_key, by=by).thaw(reason)
    out.say(f"{folder}: thawed. Before, {frozen}")
    out.data({"thawed": _data(frozen)})


def _data(frozen: Frozen) -> dict[str, Any]:
    return {"notes": [dataclasses.asdict(note) for note in frozen.notes]}


COMMANDS: tuple[click.Command, ...] = (freeze, thaw)
