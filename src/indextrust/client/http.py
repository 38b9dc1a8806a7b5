"""`Urllib3Fetcher`: files over HTTP, within bounds that hold whatever the server does.

How the bounds are kept:

* *Time.* A read timeout alone bounds each wait, not their sum: a server that drips one byte a
  second, in headers or body, would hold us for ever. So every receive on the socket is given
  what is left of one total deadline, which began before the name was resolved. No watchdog
  thread is needed, and no socket is closed while another thread reads from it. Sending is a
  few hundred bytes; the TLS handshake has its own total timeout, the time that is left.
  `getaddrinfo` can't be interrupted, so names are resolved in a thread that is abandoned.
* *Bytes.* The body is counted where it is read, against `max_length`; everything that comes
  over the socket (header lines, interim answers, chunk sizes, trailers) is counted where it is
  received. A negative chunk size or an endless trailer ends there at the latest.
* *Meaning.* No content encoding is asked for or undone; redirects stay within the origin and
  are few; urllib3's own retries are off. One thing is tried again, within the same deadline: a
  request on a kept-alive connection that the server had already closed.

Proxies named in the environment (``HTTP_PROXY`` ...) are not used. The deadline is kept on our
own sockets, and `indextrust run` sets those very variables for its children. Who needs a proxy
implements the `Fetcher` port.

Certificates are verified against the system's store (``SSL_CERT_FILE`` is OpenSSL's).
"""

from __future__ import annotations

import contextlib
import functools
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, ProtocolError, SSLError
from urllib3.exceptions import TimeoutError as Urllib3TimeoutError

from indextrust.client import answers
from indextrust.client.urls import checked, shown
from indextrust.errors import (
    BudgetExceededError,
    InputError,
    UnreachableError,
)
from indextrust.trust.wants import ABSENT, Absent

__all__ = ["Urllib3Fetcher"]

_CHUNK = 65_536
_OVERHEAD = 262_144  # bytes of status lines, headers and chunk sizes that an honest server needs
_local = threading.local()  # .exchange: what this thread's next connection or request belongs to


@dataclass
class _Exchange:
    """The budget of one fetch, redirects included.

    Args:
        url: for messages.
        until: the deadline, on `time.monotonic`.
        patience: seconds that a single wait may last.
        bytes_left: bytes that may still be received.
        connected: a new connection was made for it.
    """

    url: str
    until: float
    patience: float
    bytes_left: int
    connected: bool = False

    def seconds(self) -> float:
        """How long the next wait may last."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise BudgetExceededError(f"{shown(self.url)}: not complete within the total time")
        return min(left, self.patience)

    def receive(self, sock: socket.socket, receive: Callable[[], int]) -> int:
        """One receive on `sock`, bounded in time and counted."""
        sock.settimeout(self.seconds())
        try:
            count = receive()
        except TimeoutError:
            self.seconds()
            raise BudgetExceededError(
                f"{shown(self.url)}: nothing came for {self.patience:g} seconds"
            ) from None
        self.bytes_left -= count
        if self.bytes_left < 0:
            raise BudgetExceededError(f"{shown(self.url)}: more bytes than any honest answer needs")
        return count


class _Socket(socket.socket):
    exchange: _Exchange

    def recv_into(self, *args: Any) -> int:
        return self.exchange.receive(self, lambda: super(_Socket, self).recv_into(*args))


class _TLSSocket(ssl.SSLSocket):
    exchange: _Exchange

    def recv_into(self, *args: Any) -> int:
        return self.exchange.receive(self, lambda: super(_TLSSocket, self).recv_into(*args))


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _connect(_local.exchange, self._dns_host, self.port)

    def request(self, *args: Any, **kwargs: Any) -> None:
        _claim(self.sock)
        super().request(*args, **kwargs)


class _TLSConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _connect(_local.exchange, self._dns_host, self.port)

    def request(self, *args: Any, **kwargs: Any) -> None:
        _claim(self.sock)
        super().request(*args, **kwargs)


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


def _claim(sock: socket.socket | None) -> None:
    """An open connection now works for this thread's exchange."""
    if isinstance(sock, (_Socket, _TLSSocket)):
        sock.exchange = _local.exchange


def _connect(exchange: _Exchange, host: str, port: int) -> socket.socket:
    """Connect to the first address that answers, within the deadline."""
    addresses = _resolve(exchange, host, port)
    failures: list[str] = []
    for tried, (family, kind, protocol, _, address) in enumerate(addresses):
        sock = _Socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(exchange.seconds() / (len(addresses) - tried))
            sock.connect(address)
            sock.settimeout(exchange.seconds())
        except OSError as error:
            sock.close()
            failures.append(f"{address[0]}: {error}")
        except BaseException:
            sock.close()
            raise
        else:
            sock.exchange = exchange
            exchange.connected = True
            return sock
    exchange.seconds()
    raise UnreachableError(f"{shown(exchange.url)}: no connection ({'; '.join(failures)})")


def _resolve(exchange: _Exchange, host: str, port: int) -> list[Any]:
    """`getaddrinfo`, within the deadline."""
    answers: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=ask, name=f"resolve {host}", daemon=True).start()
    try:
        answer = answers.get(timeout=exchange.seconds())
    except queue.Empty:
        raise BudgetExceededError(
            f"{shown(exchange.url)}: {host} was not resolved in time"
        ) from None
    if isinstance(answer, Exception):
        raise UnreachableError(f"{shown(exchange.url)}: can't resolve {host}: {answer}")
    return answer


class Urllib3Fetcher:
    """A `Fetcher` (see `indextrust.client.ports`) over a pool of urllib3 connections.

    A fetch may last `seconds` plus the time that `max_length` bytes take at `slowest` bytes
    per second; a single wait may last `seconds`.

    Args:
        seconds: for resolving, connecting, the headers, and any one wait.
        slowest: bytes per second below which a download is given up.
        ssl_context: to trust other certificates; None for the system's.
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

    @functools.cached_property
    def _plain(self) -> urllib3.PoolManager:
        pools = urllib3.PoolManager(num_pools=8, maxsize=16)
        pools.pool_classes_by_scheme = {"http": _Pool}
        return pools

    @functools.cached_property
    def _tls(self) -> urllib3.PoolManager:
        # only when it is needed: the system's certificates take a while to load
        context = self._ssl_context or ssl.create_default_context()
        context.sslsocket_class = _TLSSocket
        pools = urllib3.PoolManager(num_pools=8, maxsize=16, ssl_context=context)
        pools.pool_classes_by_scheme = {"https": _TLSPool}
        return pools

    def fetch(self, url: str, *, max_length: int, seconds: float | None = None) -> bytes | Absent:
        """See `Fetcher.fetch`."""
        with self._open(url, max_length, seconds) as body:
            return body if isinstance(body, Absent) else b"".join(body)

    def stream(
        self, url: str, *, max_length: int
    ) -> contextlib.AbstractContextManager[Iterator[bytes] | Absent]:
        """See `Fetcher.stream`."""
        return self._open(url, max_length, None)

    @contextlib.contextmanager
    def _open(
        self, url: str, max_length: int, seconds: float | None
    ) -> Iterator[Iterator[bytes] | Absent]:
        checked(url)
        longest = self._seconds + max_length / self._slowest
        exchange = _Exchange(
            url,
            until=time.monotonic() + (longest if seconds is None else min(seconds, longest)),
            patience=self._seconds,
            bytes_left=2 * max_length + _OVERHEAD,
        )
        response = self._request(exchange)
        try:
            if response.status in answers.ABSENT_STATUSES:
                _drain(exchange, response)
                yield ABSENT
            else:
                reason = str(response.reason)
                answers.check(exchange.url, response.status, reason, response.headers, max_length)
                yield _body(exchange, response, max_length)
        finally:
            response.close()

    def close(self) -> None:
        """Close all idle connections."""
        self._plain.clear()
        if "_tls" in vars(self):
            self._tls.clear()

    def _request(self, exchange: _Exchange) -> urllib3.BaseHTTPResponse:
        """The response to a GET, after redirects within the origin."""
        for _ in range(answers.REDIRECTS + 1):
            response = self._send(exchange)
            there = answers.redirected(exchange.url, response.status, response.headers)
            if there is None:
                return response
            response.close()
            exchange.url = there
        raise UnreachableError(f"{shown(exchange.url)}: more than {answers.REDIRECTS} redirects")

    def _send(self, exchange: _Exchange) -> urllib3.BaseHTTPResponse:
        """One request, on a new connection if a kept-alive one turns out to be closed."""
        pools = self._tls if exchange.url.lower().startswith("https:") else self._plain
        while True:
            _local.exchange = exchange
            exchange.connected = False
            with _typed_errors(exchange):
                try:
                    return pools.urlopen(
                        "GET",
                        exchange.url,
                        headers=answers.HEADERS,
                        timeout=exchange.seconds(),
                        retries=False,
                        redirect=False,
                        preload_content=False,
                        decode_content=False,
                    )
                except ProtocolError:
                    if exchange.connected:
                        raise


def _body(
    exchange: _Exchange, response: urllib3.BaseHTTPResponse, max_length: int
) -> Iterator[bytes]:
    """The body in pieces, counted."""
    length = 0
    with _typed_errors(exchange):
        for piece in response.stream(_CHUNK, decode_content=False):
            length += len(piece)
            if length > max_length:
                raise answers.too_long(exchange.url, max_length, "more")
            yield piece


def _drain(exchange: _Exchange, response: urllib3.BaseHTTPResponse) -> None:
    """Read a short error page to its end, so that the connection can be used again."""
    if answers.is_short(response.headers):
        with _typed_errors(exchange):
            response.drain_conn()


@contextlib.contextmanager
def _typed_errors(exchange: _Exchange) -> Iterator[None]:
    """Turn whatever the libraries underneath raise into ours, with the URL."""
    url = shown(exchange.url)
    try:
        yield
    except Urllib3TimeoutError as error:
        raise BudgetExceededError(f"{url}: not connected in time ({error})") from error
    except (SSLError, ssl.SSLError) as error:
        raise UnreachableError(f"{url}: no TLS connection that can be trusted: {error}") from error
    except (HTTPError, HTTPException, OSError, ValueError) as error:
        raise UnreachableError(
            f"{url}: expected a complete HTTP answer, got {type(error).__name__}: "
            f"{str(error)[:300]}"
        ) from error
