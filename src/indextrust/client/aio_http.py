"""`AiohttpFetcher`: files over HTTP for asyncio, within the bounds of the `Fetcher` port.

How the bounds are kept:

* *Time.* Every wait for the network stands under one deadline that began before the name was
  resolved. Up to the end of the headers it lasts `seconds` at most, and so does each wait for a
  piece of the body.
* *Bytes.* The body is counted against `max_length`. aiohttp bounds header lines and trailers, in
  length and number, and drops what else an answer may hold without end (interim answers, chunk
  extensions): that costs time, which is bounded, and no memory.
* *Meaning.* No content encoding is asked for or undone, no cookie is kept; redirects stay within
  the origin and are few. One thing is tried again, within the same deadline: a request on a
  kept-alive connection that the server had already closed.

Proxies named in the environment are not used. Certificates are verified against the system's
store. Needs the extra ``proxy``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from indextrust.client import answers
from indextrust.client.urls import checked, shown
from indextrust.errors import (
    BudgetExceededError,
    InputError,
    MissingExtraError,
    UnreachableError,
)
from indextrust.trust.wants import ABSENT, Absent

try:
    import aiohttp
    from aiohttp.http_exceptions import HttpProcessingError
    from yarl import URL
except ModuleNotFoundError as missing:
    raise MissingExtraError("proxy", missing.name or "aiohttp") from missing

__all__ = ["AiohttpFetcher"]


class AiohttpFetcher:
    """An `AsyncFetcher` (see `indextrust.client.aio`) over a pool of aiohttp connections.

    For one event loop. A fetch may last `seconds` plus the time that `max_length` bytes take at
    `slowest` bytes per second.

    Args:
        seconds: for resolving, connecting and the headers, and for any one wait.
        slowest: bytes per second below which a download is given up.
        ssl_context: to trust other certificates; None for the system's.

    Example::

        async with AiohttpFetcher() as fetcher:
            timestamp = await fetcher.fetch(url, max_length=16_384)
    """

    def __init__(
        self,
        *,
        seconds: float = 30.0,
        slowest: int = 32_768,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        if seconds <= 0 or slowest <= 0:
            raise InputError(f"expected positive limits, got {seconds} s and {slowest} bytes/s")
        self._seconds = seconds
        self._slowest = slowest
        self._ssl_context = ssl_context
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        session, self._session, self._closed = self._session, None, True
        if session is not None:
            await session.close()

    async def fetch(
        self, url: str, *, max_length: int, seconds: float | None = None
    ) -> bytes | Absent:
        """See `AsyncFetcher.fetch`."""
        async with self._open(url, max_length, seconds) as body:
            if isinstance(body, Absent):
                return body
            return b"".join([piece async for piece in body])

    def stream(
        self, url: str, *, max_length: int
    ) -> contextlib.AbstractAsyncContextManager[AsyncIterator[bytes] | Absent]:
        """See `AsyncFetcher.stream`."""
        return self._open(url, max_length, None)

    @contextlib.asynccontextmanager
    async def _open(
        self, url: str, max_length: int, seconds: float | None
    ) -> AsyncIterator[AsyncIterator[bytes] | Absent]:
        checked(url)
        longest = self._seconds + max_length / self._slowest
        wait = _Wait(
            asyncio.get_running_loop().time()
            + (longest if seconds is None else min(seconds, longest)),
            self._seconds,
        )
        url, response = await self._request(url, wait)
        try:
            if response.status in answers.ABSENT_STATUSES:
                if answers.is_short(response.headers):
                    async with wait.typed(url):
                        await response.read()
                yield ABSENT
            else:
                answers.check(
                    url, response.status, response.reason or "", response.headers, max_length
                )
                yield _body(url, response, wait, max_length)
        finally:
            response.close()

    async def _request(self, url: str, wait: _Wait) -> tuple[str, aiohttp.ClientResponse]:
        """The response to a GET, after redirects within the origin, and whose it is."""
        async with wait.typed(url):
            for _ in range(answers.REDIRECTS + 1):
                response = await self._opened().get(
                    URL(url, encoded=True), allow_redirects=False, headers=answers.HEADERS
                )
                there = answers.redirected(url, response.status, response.headers)
                if there is None:
                    return url, response
                response.close()
                url = there
        raise UnreachableError(f"{shown(url)}: more than {answers.REDIRECTS} redirects")

    def _opened(self) -> aiohttp.ClientSession:
        if self._closed:
            raise aiohttp.ClientError("this fetcher was closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._ssl_context or True),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
            )
        return self._session


class _Wait:
    """The time of one fetch, redirects included.

    Args:
        until: the deadline, by the event loop's clock.
        patience: seconds that a single wait may last.
    """

    def __init__(self, until: float, patience: float) -> None:
        self._until = until
        self._patience = patience

    @contextlib.asynccontextmanager
    async def typed(self, url: str) -> AsyncIterator[None]:
        """One wait: bounded, and whatever the libraries underneath raise is one of ours."""
        now = asyncio.get_running_loop().time()
        where = shown(url)
        try:
            async with asyncio.timeout_at(min(self._until, now + self._patience)):
                yield
        except TimeoutError:
            raise BudgetExceededError(
                f"{where}: not complete within the total time, or nothing came for "
                f"{self._patience:g} seconds"
            ) from None
        except aiohttp.ClientSSLError as error:
            raise UnreachableError(
                f"{where}: no TLS connection that can be trusted: {error}"
            ) from error
        except aiohttp.ClientConnectorError as error:
            code = error.os_error.errno
            what = os.strerror(code) if code and code > 0 else str(error.os_error)
            raise UnreachableError(f"{where}: no connection ({error.host}: {what})") from error
        except (aiohttp.ClientError, HttpProcessingError, OSError, EOFError, ValueError) as error:
            raise UnreachableError(
                f"{where}: expected a complete HTTP answer, got {type(error).__name__}: "
                f"{str(error)[:300]}"
            ) from error


async def _body(
    url: str, response: aiohttp.ClientResponse, wait: _Wait, max_length: int
) -> AsyncIterator[bytes]:
    """The body in pieces, counted."""
    length = 0
    while True:
        async with wait.typed(url):
            piece = await response.content.readany()
        if not piece:
            return
        length += len(piece)
        if length > max_length:
            raise answers.too_long(url, max_length, "more")
        yield piece
