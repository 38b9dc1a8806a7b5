"""``indextrust serve``: the index over HTTP, for development.

The standard library's static server, on the public folder alone. A production index is served by
any web server; clients trust the signatures and not the server.
"""

from __future__ import annotations

import errno
import functools
from contextlib import suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click

from indextrust.cli.options import FOLDER, common, output
from indextrust.errors import InputError, PortInUseError

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
    public = folder / "public" if (folder / "public").is_dir() else folder
    if not (public / "metadata").is_dir():
        raise InputError(f"{folder}: expected an index (a folder with metadata/), got none")
    out = output()
    with _listen(public, host, port) as server, suppress(KeyboardInterrupt):
        bound, number = server.server_address[:2]
        url = f"http://{bound!s}:{number}/"
        out.say(f"serving {public} at {url}  (Ctrl-C ends it)")
        out.data({"serving": {"folder": str(public), "url": url}})
        server.serve_forever()


def _listen(public: Path, host: str, port: int) -> ThreadingHTTPServer:
    handler = functools.partial(_Handler, directory=str(public))
    try:
        return ThreadingHTTPServer((host, port), handler)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(f"{host}:{port} is taken by another program") from error
        raise InputError(f"can't listen on {host}:{port}: {error.strerror}") from error


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def guess_type(self, path: str) -> str:  # type: ignore[override]
        """The type of a project document is PEP 691's; of the rest, what its suffix says."""
        if path.endswith("index.json"):
            return "application/vnd.pypi.simple.v1+json"
        return super().guess_type(path)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        """Say nothing: what an index serves is no news."""
