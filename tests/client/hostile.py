"""A server made of raw sockets, which says what an honest one never would."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

Answer = Callable[[socket.socket], None]


def raw(data: bytes) -> Answer:
    """Send `data` as it stands and hang up."""
    return lambda peer: peer.sendall(data)


def drip(start: bytes, byte: bytes = b"x") -> Answer:
    """Send `start`, then one byte every 20 ms, for ever."""

    def answer(peer: socket.socket) -> None:
        peer.sendall(start)
        while True:
            peer.sendall(byte)
            time.sleep(0.02)

    return answer


def endless(start: bytes, block: bytes) -> Answer:
    """Send `start`, then `block` again and again, as fast as it goes."""

    def answer(peer: socket.socket) -> None:
        peer.sendall(start)
        while True:
            peer.sendall(block)

    return answer


def silence(peer: socket.socket) -> None:
    """Read, and never say a word."""
    while peer.recv(1000):
        pass


def ok(body: bytes, *headers: str) -> bytes:
    """An honest answer."""
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


class RawServer:
    """Answers the first request on each connection with `answer` and closes it.

    Args:
        answer: what to do on a connection once a request was read.
        tls: to speak TLS.
        keep: answer every request on a connection, and close it only when the peer does.
    """

    def __init__(
        self, answer: Answer, *, tls: ssl.SSLContext | None = None, keep: bool = False
    ) -> None:
        self.answer = answer
        self.requests: list[str] = []
        self.connections = 0
        self._tls = tls
        self._keep = keep
        self._peers: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.port}/"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self._peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                self.connections += 1
                self._peers.append(peer)
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.closing(peer):
            if self._tls is not None:
                peer = self._tls.wrap_socket(peer, server_side=True)
            while request := _request(peer):
                self.requests.append(request)
                self.answer(peer)
                if not self._keep:
                    break
            peer.close()


def _request(peer: socket.socket) -> str:
    """The request line of the next request, empty if there is none."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = peer.recv(4096)
        if not piece:
            return ""
        data += piece
    return data.split(b"\r\n")[0].decode()
