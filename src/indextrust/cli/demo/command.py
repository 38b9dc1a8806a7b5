"""``indextrust demo``."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from indextrust.cli.exit_codes import DEMO_FAILED
from indextrust.cli.options import FOLDER, common, output
from indextrust.errors import StoreError

__all__ = ["demo"]


@click.command()
@click.option("--keep", type=FOLDER, metavar="DIR", help="Play in DIR, and leave everything there.")
@common
def demo(keep: Path | None) -> int:
    """Play the whole story on real packages: sign, install, attack, recover.

    In an empty temporary folder, over loopback, with real pip and real uv; no question is asked.
    Flask and what it needs are fetched by pip first.
    """
    from indextrust.cli.demo.people import find_uv
    from indextrust.cli.demo.story import play

    find_uv()
    with _empty_folder(keep) as folder:
        acts = play(folder, output())
    return 0 if all(act.ok for act in acts) else DEMO_FAILED


@contextlib.contextmanager
def _empty_folder(keep: Path | None) -> Iterator[Path]:
    """`keep`, made if need be, or a temporary folder that is removed in the end."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="indextrust-demo-") as temporary:
            yield Path(temporary)
        return
    keep.mkdir(parents=True, exist_ok=True)
    if any(keep.iterdir()):
        raise StoreError(f"{keep}: expected an empty folder or none, got one with files in it")
    yield keep.resolve()
