"""The other side of `indextrust.repository.workers`: what one of those processes does.

It has one link, a socket, and no other way to be told anything. It ends when the link does.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner, SSlibKey

from indextrust.errors import IndextrustError, SigningError
from indextrust.repository.bins import make_bins, unpacked
from indextrust.repository.gate import OnlineKey, Reader, Samples, View
from indextrust.repository.plan import RoleFile
from indextrust.repository.storage import FolderStorage
from indextrust.repository.workers import Hello, receive, send

__all__ = ["Worker", "serve"]


class Worker:
    """The jobs.

    Args:
        hello: where, and with which key.
    """

    def __init__(self, hello: Hello) -> None:
        self._storage = FolderStorage(
            Path(hello.public), Path(hello.scratch), Path(hello.quarantine)
        )
        self._reader = Reader(self._storage)
        self._signer: CryptoSigner | None = None
        if hello.key is not None and hello.public_key is not None:
            keyid, key = hello.public_key
            self._signer = CryptoSigner(
                load_pem_private_key(hello.key, None),
                SSlibKey.from_dict(keyid, key),
            )

    def make(self, tasks: Sequence[tuple[Any, ...]]) -> list[tuple[object, ...] | None]:
        """Sign and write bins; the parent makes them durable. As `make_bins`, in plain tuples."""
        if self._signer is None:
            raise SigningError("a worker without a key was asked to sign")
        try:
            made = map(unpacked, tasks)
            files = make_bins(self._storage, self._signer, made, read_later=True)
            return [None if file is None else tuple(file) for file in files]
        finally:
            self._storage.abandon()

    def look(self, job: tuple[View, Samples]) -> None:
        """Look targets up as a client does. As `Reader.check`."""
        self._reader.check(*job)

    def verify(self, job: tuple[OnlineKey, Sequence[tuple[str, RoleFile]]]) -> None:
        """Verify bins that were renewed. As `Reader.check_signed`."""
        self._reader.check_signed(*job)


def serve(link: socket.socket) -> None:
    """Do what is asked for until the link ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    with contextlib.suppress(OSError, EOFError):
        worker = Worker(receive(link))
        send(link, None)
        while True:
            job, batch = receive(link)
            send(link, _answer(worker, job, batch))


def _answer(worker: Worker, job: str, batch: Any) -> tuple[str | None, Any]:
    """Name of an error or None, and its text or the result."""
    try:
        return None, getattr(worker, job)(batch)
    except IndextrustError as error:
        return type(error).__name__, str(error)
    except Exception as error:  # its text may be anything: only its kind is told
        return SigningError.__name__, f"a worker failed: {type(error).__name__}"
