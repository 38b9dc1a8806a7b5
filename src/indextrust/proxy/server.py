"""The verifying proxy: an index on loopback that hands out nothing unverified.

What it guarantees, in the order a request meets it:

1. Only this run's child is served: the address is 127.0.0.1 on a port of the kernel's choice,
   the path starts with a token nobody can guess, and the Host header must name that address (a
   web page whose name was rebound to 127.0.0.1 sends its own).
2. The same port is the closed door. The child's environment names it as the proxy for all
   requests, so one for any other host ends here, is refused and is noted (see `environment`).
3. A page is rendered anew from the verified document (`pages`).
4. Not one byte of a distribution file goes out before all of it was verified; ranges are cut
   from the verified file. A stream cut in the middle would read as a network fault.
5. What could not be verified says so in words that pip and uv print (`refusals`), and is never
   a 404. pip passes over a refused page, so it gets one whose links each refuse.

Deciding is left to the client behind `Source`; this module moves bytes.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
import socket
import tempfile
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from indextrust.proxy.desk import Desk
from indextrust.proxy.front import Front, refusal
from indextrust.proxy.refusals import Problem
from indextrust.proxy.report import Report
from indextrust.proxy.source import Source

__all__ = ["VerifyingProxy"]

_HOST = "127.0.0.1"
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class VerifyingProxy:
    """Serves one index on loopback, from a thread of its own, while the context is entered.

    Args:
        source: the client; its blocking calls are made in other threads.

    Example::

        with VerifyingProxy(client) as proxy:
            subprocess.run(["pip", "install", "--index-url", proxy.index_url, "flask"])
        assert not proxy.report.summary().refused
    """

    def __init__(self, source: Source) -> None:
        self.report = Report()
        self._source = source
        self._token = secrets.token_urlsafe(16)
        self._port = 0
        self._stop: Callable[[], object] | None = None
        self._failure: BaseException | None = None
        self._settled = threading.Event()  # it serves, or it failed
        self._thread = threading.Thread(target=self._run, name="indextrust proxy", daemon=True)

    @property
    def index_url(self) -> str:
        """The simple index, for ``--index-url``."""
        return f"http://{_HOST}:{self._port}/{self._token}/simple/"

    @property
    def door_url(self) -> str:
        """The closed door, for ``HTTPS_PROXY``: every request through it is refused."""
        return f"http://{_HOST}:{self._port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._settled.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        if self._stop is not None:
            self._stop()
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            self._settled.set()

    async def _serve(self) -> None:
        with (
            tempfile.TemporaryDirectory(prefix="indextrust-", ignore_cleanup_errors=True) as folder,
            socket.create_server((_HOST, 0)) as listener,
        ):
            self._port = listener.getsockname()[1]
            application = web.Application(middlewares=[self._guard])
            front = Front(Desk(self._source, Path(folder), self.report))
            application.add_routes(front.routes(f"/{self._token}"))
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.SockSite(runner, listener).start()
            stop = asyncio.Event()
            self._stop = functools.partial(
                asyncio.get_running_loop().call_soon_threadsafe, stop.set
            )
            self._settled.set()
            await stop.wait()
            await runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Let through what this run's child asks of the index."""
        target = request.raw_path
        ours = f"{_HOST}:{self._port}"
        if not target.startswith("/"):  # as to a proxy (RFC 9112, 3.2.2 and 3.2.3)
            authority = _authority(target)
            if authority != ours or not target.startswith("http://"):
                self.report.outside(authority)
                return refusal(_OUTSIDE)
            target = target.removeprefix(f"http://{ours}")
        token = target.removeprefix("/").partition("/")[0]
        if request.headers.get("Host") != ours or not secrets.compare_digest(
            token.encode(), self._token.encode()
        ):
            return refusal(_STRANGER)
        return await handler(request)


_OUTSIDE = Problem(
    403,
    "InputError",
    "outside the index",
    "this run lets its child reach the verified index and nothing else",
)
_STRANGER = Problem(403, "InputError", "not for you", "this address serves one run only")


def _authority(target: str) -> str:
    """``host:port`` or ``host`` of a request target in absolute or authority form (RFC 9112)."""
    authority = target.partition("://")[2] or target
    authority = authority.partition("/")[0].rpartition("@")[2]
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in authority)[:200]
