"""``indextrust drill N``."""

from __future__ import annotations

from pathlib import Path

import click

from indextrust.cli.exit_codes import DEMO_FAILED
from indextrust.cli.options import FOLDER, common, output

__all__ = ["drill"]

NUMBERS = 1, 6


@click.command()
@click.argument("number", type=click.IntRange(*NUMBERS), metavar="N")
@click.option("--keep", type=FOLDER, metavar="DIR", help="Play in DIR, and leave everything there.")
@common
def drill(number: int, keep: Path | None) -> int:
    """Rehearse a compromise and its recovery, from the theft to the last client.

    \b
    1  the online key is stolen
    2  one root key of five is stolen
    3  a threshold of root keys is stolen
    4  the stored files are tampered with
    5  the state database is tampered with
    6  the server comes back from an old backup

    In an empty temporary folder, over loopback, with real pip; no question is asked, and nothing
    is fetched from elsewhere.
    """
    from indextrust.cli.drills.play import play
    from indextrust.cli.stagecraft.folder import empty_folder

    with empty_folder(keep) as folder:
        acts = play(number, folder, output())
    return 0 if all(act.ok for act in acts) else DEMO_FAILED
