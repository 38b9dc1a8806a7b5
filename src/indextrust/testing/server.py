"""A static HTTP server on loopback that can be told to lie.

It plays the index's web server, its CDN, its mirror and the network between. Left alone it
serves the folder's files, byte for byte, as any static server would.
"""

from __future__ import annotations

import errno
import mimetypes
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

from indextrust.errors import PortInUseError

__all__ = ["Answer", "TamperingServer"]

Answer = bytes | int | Callable[[bytes], bytes]
"""What to send instead of a file: these bytes, this status, or the file's bytes changed so."""


class TamperingServer:
    """Serves `folder` at `url` from its own threads, until closed.

    Args:
        folder: the root of what is served; may change while it is served.
        host: address to listen on.
        port: 0 for any free one.

    Raises:
        PortInUseError: the address is taken.
        OSError: it can't be listened on for another reason.
    """

    def __init__(self, folder: Path, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._folder = folder
        self._answers: dict[str, Answer] = {}
        self._elsewhere: dict[str, Path] = {}
        self.requests: list[str] = []
        """Every path asked for, in order."""
        try:
            self._server = _Server((host, port), _Handler)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUseError(f"{host}:{port} is taken by another program") from error
            raise
        self._server.owner = self
        bound, number = self._server.server_address[:2]
        self.url = f"http://{bound!s}:{number}/"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()

    def tamper(self, path: str, answer: Answer) -> None:
        """From now on answer requests for `path` (no leading slash) with `answer`."""
        self._answers[path] = answer

    def replay(self, prefix: str, folder: Path) -> None:
        """From now on take the paths below `prefix` (``metadata/``) from another folder."""
        self._elsewhere[prefix] = folder

    def be_honest(self) -> None:
        """Serve the folder as it is again."""
        self._answers.clear()
        self._elsewhere.clear()

    def close(self) -> None:
        """Stop serving; requests that are being answered are finished."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()

    def answer(self, path: str) -> bytes | int:
        """The body for `path`, or a status: what the handler sends."""
        self.requests.append(path)
        instead = self._answers.get(path)
        if isinstance(instead, (bytes, int)):
            return instead
        found = self._read(path)
        return instead(found) if instead is not None and isinstance(found, bytes) else found

    def _read(self, path: str) -> bytes | int:
        parts = path.split("/")
        if ".." in parts or "\\" in path or "\0" in path:
            return HTTPStatus.NOT_FOUND
        file = self._folder / path
        for prefix, folder in self._elsewhere.items():
            if path.startswith(prefix):
                file = folder / path.removeprefix(prefix)
        if not path or path.endswith("/"):
            file /= "index.html"
        if path.startswith("/"):  # joined, an absolute path would replace the folder
            return HTTPStatus.NOT_FOUND
        try:
            return file.read_bytes()
        except OSError:
            return HTTPStatus.NOT_FOUND


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: TamperingServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes; the second would wait
    server: _Server

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).removeprefix("/")
        answer = self.server.owner.answer(path)
        status, body = (HTTPStatus.OK, answer) if isinstance(answer, bytes) else (answer, b"")
        self.send_response(status)
        self.send_header("Content-Type", _content_type(path))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the name http.server looks for

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        """Say nothing: `TamperingServer.requests` has it."""


def _content_type(path: str) -> str:
    if not path or path.endswith("/"):
        return "text/html; charset=utf-8"
    if path.startswith("simple/") and path.endswith(".json"):
        return "application/vnd.pypi.simple.v1+json"
    return mimetypes.guess_type(path)[0] or "application/octet-stream"
