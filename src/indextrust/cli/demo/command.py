"""``indextrust demo``."""

from __future__ import annotations

from pathlib import Path

import click

from indextrust.cli.exit_codes import DEMO_FAILED
from indextrust.cli.options import FOLDER, common, output

__all__ = ["demo"]


@click.command()
@click.option("--keep", type=FOLDER, metavar="DIR", help="Play in DIR, and leave everything there.")
@common
def demo(keep: Path | None) -> int:
    """Play the whole story on real packages: sign, install, attack, recover.

    In an empty temporary folder, over loopback, with real pip and real uv; no question is asked.
    Flask and what it needs are fetched by pip first.
    """
    from indextrust.cli.demo.story import play
    from indextrust.cli.stagecraft.folder import empty_folder
    from indextrust.cli.stagecraft.people import find_uv

    find_uv()
    with empty_folder(keep) as folder:
        acts = play(folder, output())
    return 0 if all(act.ok for act in acts) else DEMO_FAILED
