"""Work on all cores: processes that sign, write and read bins for the one that publishes.

Threads gain nothing (`cryptography` holds Python's lock while it signs: measured), so these are
processes. Each is started by its own command, not forked and not by `multiprocessing`: an
operator's script may have threads, and needs no ``__main__`` guard. They live as long as the
`Workers` object, and end when their parent does, however it does.

The online key of a `CryptoSigner` goes to them through the socket that is their only link, as it
is in memory here: never as an argument, in the environment, or on disk. Any other signer (a
device, a service, a class of somebody's own) signs where it is: then they only read.

Workers save time and decide nothing: what they write is read by the gate, and every answer is
waited for a bounded time. If one dies or hangs all are ended, and the publication stops as if the
signer had failed: nothing is visible, and the next publication starts new ones. A worker that
outlives its parent for the rest of its batch (some hundredths of a second) writes files under
numbers that were used up for them, which nobody asks for.

If they can't be started at all (no Python under ``sys.executable``, as in some embeddings) the
work is done here, on one core.

Sources: securesystemslib's `CryptoSigner` ("private_bytes").
"""

from __future__ import annotations

import json
import os
import pickle
import selectors
import socket
import subprocess
import sys
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

from securesystemslib.signer import CryptoSigner, Signer

import indextrust
from indextrust.errors import RepositoryError, SigningError, StoreError
from indextrust.repository.storage import FolderStorage

__all__ = ["TIMEOUT", "Hello", "Workers", "cores", "receive", "send"]

TIMEOUT = 60.0
"""Seconds that a worker may take for one batch, or for its start."""

_LEAST, _LEAST_STARTED, _MOST = 1_000, 64, 16
"""Tasks that are worth starting processes for (which takes half a second), and giving them to
those that are there; and processes."""

_AHEAD = 2
"""Batches that a worker has at a time: one to work on, one so that it does not wait for us."""

_HEAD = 8
_END = object()
T = TypeVar("T")
_START = (
    "import json,socket,sys;"
    "link=socket.socket(fileno=int(sys.argv[1]));"
    "size=int.from_bytes(link.recv(8,socket.MSG_WAITALL),'big');"
    "sys.path[:]=json.loads(link.recv(size,socket.MSG_WAITALL));"
    "from indextrust.repository.worker import serve;"
    "serve(link)"
)
_links: weakref.WeakSet[socket.socket] = weakref.WeakSet()
_ERRORS = {error.__name__: error for error in (RepositoryError, SigningError, StoreError)}


class Hello(NamedTuple):
    """What a worker is told first.

    Args:
        public, scratch, quarantine: of the `FolderStorage`.
        key: private key as PEM, or None.
        public_key: key id and key object, as the root lists it.
    """

    public: str
    scratch: str
    quarantine: str
    key: bytes | None
    public_key: tuple[str, dict[str, Any]] | None

    def __repr__(self) -> str:
        """Without the key: reports of failures print local variables."""
        return f"Hello({self.public!r})"


def _leave() -> None:
    """A process that was forked from us keeps no link: the workers would outlive us."""
    for link in list(_links):
        link.close()


os.register_at_fork(after_in_child=_leave)


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def send(link: socket.socket, message: object) -> None:
    """Send one message. Raises OSError."""
    data = pickle.dumps(message)
    link.sendall(len(data).to_bytes(_HEAD, "big") + data)


def receive(link: socket.socket) -> Any:
    """Receive one message from a process of ours. Raises OSError, or EOFError at its end."""
    size = int.from_bytes(_exactly(link, _HEAD), "big")
    return pickle.loads(_exactly(link, size))  # noqa: S301 - a socket that only we and it have


def _exactly(link: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = link.recv(min(size - len(data), 1 << 20))
        if not piece:
            raise EOFError("the other end is gone")
        data += piece
    return bytes(data)


class _Worker:
    """One process, its link, and the batches that it has."""

    def __init__(self) -> None:
        self.link, other = socket.socketpair()
        _links.add(self.link)
        self.link.settimeout(TIMEOUT)
        other.setblocking(True)  # whatever `socket.setdefaulttimeout` says
        self.batches: deque[Any] = deque()
        with other:
            descriptor = other.fileno()
            self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and text
                [sys.executable, "-I", "-c", _START, str(descriptor)],
                pass_fds=[descriptor],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def greet(self, hello: Hello) -> None:
        paths = json.dumps(_paths()).encode()
        self.link.sendall(len(paths).to_bytes(_HEAD, "big") + paths)
        send(self.link, hello)


def _paths() -> list[str]:
    """Where a worker imports from: no folder that depends on where this process is by now."""
    paths = [path for path in sys.path if isinstance(path, str) and os.path.isabs(path)]
    home = os.path.dirname(os.path.dirname(os.path.abspath(indextrust.__file__)))
    return paths if home in paths else [*paths, home]


def _end(workers: list[_Worker], owner: int) -> None:
    """End these processes. They have nothing to lose."""
    for worker in workers:
        worker.link.close()
    if os.getpid() == owner:  # else we are a fork, and they are not ours
        for worker in workers:
            worker.process.kill()
            worker.process.wait()


class Workers:
    """The workers of one repository, started when there is enough to do.

    Args:
        storage: the public folder, for its places.
        count: processes; None for one on each core.
    """

    def __init__(self, storage: FolderStorage, count: int | None = None) -> None:
        self._storage = storage
        self._count = min(cores(), _MOST) if count is None else count
        self._signer: Signer | None = None
        self._workers: list[_Worker] = []
        self._owner = 0
        self._end: weakref.finalize[..., Workers] | None = None

    def are_worth(self, tasks: int, signer: Signer | None) -> bool:
        """Whether to give them so many tasks; starts them if so and they are not there.

        Args:
            tasks: how many there are.
            signer: of the online key; None if there is nothing to sign.
        """
        if signer is not None and type(signer) is not CryptoSigner:
            return False
        started = bool(self._workers) and self._owner == os.getpid()
        if self._count < 2 or tasks < (_LEAST_STARTED if started else _LEAST):
            return False
        if started and signer in (None, self._signer):
            return True
        self.close()
        return self._started(signer)

    def run(
        self,
        job: str,
        batches: Iterable[tuple[T, object]],
        meanwhile: Iterator[None] = iter(()),  # noqa: B008 - an empty one has no state
    ) -> Iterator[tuple[T, Any]]:
        """Have batches done by whoever is free; gives each with its result, in any order.

        Args:
            job: name of a method of `indextrust.repository.worker.Worker`.
            batches: each with a name, by which it is given back.
            meanwhile: small steps of other work, done here while there is nothing to receive.

        Raises:
            SigningError: a worker died, or did not answer in time.
            RepositoryError, StoreError: as the job.
        """
        if not self._workers:
            raise SigningError("there are no worker processes")
        left = iter(batches)
        done = False
        try:
            with selectors.DefaultSelector() as selector:
                for worker in self._workers:
                    selector.register(worker.link, selectors.EVENT_READ, worker)
                more = busy = True
                while True:
                    more = more and self._feed(job, left)
                    if not any(worker.batches for worker in self._workers):
                        break
                    ready = selector.select(0 if busy else TIMEOUT)
                    if not ready and busy:
                        busy = next(meanwhile, _END) is not _END
                        continue
                    if not ready:
                        raise SigningError(f"no worker answered within {TIMEOUT:g} seconds")
                    for key, _ in ready:
                        yield self._answer(key.data)
            done = True
        except (OSError, EOFError) as error:
            raise SigningError(f"a worker process failed: {error or 'it is gone'}") from None
        finally:
            if not done:
                self.close()

    def close(self) -> None:
        """End them."""
        if self._end is not None:
            self._end()
        self._workers, self._end, self._signer = [], None, None

    def _feed(self, job: str, left: Iterator[tuple[Any, object]]) -> bool:
        """Give everyone something to do. Returns whether there may be more."""
        for load in range(_AHEAD):
            for worker in self._workers:
                if len(worker.batches) == load:
                    name, batch = next(left, (None, None))
                    if batch is None:
                        return False
                    worker.batches.append(name)
                    send(worker.link, (job, batch))
        return True

    @staticmethod
    def _answer(worker: _Worker) -> tuple[Any, Any]:
        try:
            error, result = receive(worker.link)
            name = worker.batches.popleft()
        except (OSError, EOFError):
            raise
        except Exception as failure:
            raise SigningError(f"a worker process failed: {type(failure).__name__}") from None
        if error is not None:
            raise _ERRORS.get(error, SigningError)(result)
        return name, result

    def _started(self, signer: Signer | None) -> bool:
        """Start them. False if that fails: then there are none."""
        workers: list[_Worker] = []
        self._owner = os.getpid()
        self._end = weakref.finalize(self, _end, workers, self._owner)
        key = public_key = None
        try:
            if isinstance(signer, CryptoSigner):
                key = signer.private_bytes
                public_key = (signer.public_key.keyid, signer.public_key.to_dict())
            hello = Hello(*self._storage.places, key, public_key)
            for _ in range(self._count):
                workers.append(_Worker())
            for worker in workers:
                worker.greet(hello)
            deadline = time.monotonic() + TIMEOUT
            for worker in workers:
                worker.link.settimeout(max(deadline - time.monotonic(), 0.001))
                receive(worker.link)
                worker.link.settimeout(TIMEOUT)
        except Exception:  # of whatever kind: a key that can't be read, no path of a Python
            self.close()
            return False
        self._workers, self._signer = workers, signer
        return True
