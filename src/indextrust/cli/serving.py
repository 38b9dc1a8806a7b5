"""``indextrust serve``: the index over HTTP, for development."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from indextrust.cli.options import FOLDER, common, output
from indextrust.errors import InputError

__all__ = ["serve"]


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))
@common
def serve(folder: Path, host: str, port: int) -> None:
    """Serve the index in FOLDER (a repository, or its public folder) until interrupted.

    For development: one machine, no TLS. In production any static web server does, since
    clients trust the signatures and not the server.
    """
    from indextrust.testing import TamperingServer

    public = folder / "public" if (folder / "public").is_dir() else folder
    if not (public / "metadata").is_dir():
        raise InputError(f"{folder}: expected an index (a folder with metadata/), got none")
    out = output()
    try:
        server = TamperingServer(public, host=host, port=port)
    except OSError as error:
        raise InputError(f"can't listen on {host}:{port}: {error.strerror}") from error
    with server, suppress(KeyboardInterrupt):
        out.say(f"serving {public} at {server.url}  (Ctrl-C ends it)")
        out.data({"serving": {"folder": str(public), "url": server.url}})
        server.wait()
