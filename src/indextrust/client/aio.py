"""`AsyncTufClient`: plain TUF for asyncio, against any repository.

The same decisions as `TufClient`, by the same code (`Current`, `Attempt`, `Incoming`); only the
waiting is another. The event loop waits for the network. Everything that touches the disk, and
the verifying that goes with it, is done in threads; one that has begun ends before its caller
goes on, cancelled or not, so that nothing half-written stays.

* Calls that need a refresh at the same time share one.
* Look-ups run side by side once the snapshot is trusted. A file that several of them need is
  fetched by one; the others begin anew when it is verified.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from typing import BinaryIO, ParamSpec, Protocol, TypeVar

from indextrust.client.current import Current
from indextrust.client.drive import Attempt, Call, from_store
from indextrust.client.durable import replacing
from indextrust.client.ports import Clock, MetadataStore
from indextrust.client.receive import Incoming, file_matches, storing, target_url
from indextrust.client.updater import Refreshed, utc_now
from indextrust.client.urls import base_url
from indextrust.errors import BudgetExceededError, InputError, UnreachableError
from indextrust.trust import (
    Absent,
    Done,
    Fetch,
    Limits,
    NotListed,
    Policy,
    Session,
    TargetEntry,
    check_target_path,
)

__all__ = ["AsyncFetcher", "AsyncTufClient"]

T = TypeVar("T")
P = ParamSpec("P")


class AsyncFetcher(Protocol):
    """Gets files from a server that may be hostile: `indextrust.client.Fetcher` for asyncio, with
    the same duties. Used by several tasks at once."""

    async def fetch(
        self, url: str, *, max_length: int, seconds: float | None = None
    ) -> bytes | Absent:
        """See `Fetcher.fetch`."""

    def stream(
        self, url: str, *, max_length: int
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes] | Absent]:
        """See `Fetcher.stream`."""


class AsyncTufClient:
    """A client of one TUF repository. May be used by several tasks of one event loop.

    Args:
        metadata_url: where ``timestamp.json`` lies.
        root: the bootstrap root file, obtained in a way that is trusted.
        store: for the trusted metadata of this repository alone; it is used in threads.
        fetcher: for metadata and targets.
        targets_url: where target paths begin; None if nothing will be downloaded.
        clock: gives the time.
        limits: upper bounds.
        policy: what is asked of freshness beyond expiry.
        parallel: look-ups, and downloads, under way at once.

    Raises:
        InputError: a URL that can't be used, or no look-up at once.
    """

    def __init__(
        self,
        metadata_url: str,
        *,
        root: bytes,
        store: MetadataStore,
        fetcher: AsyncFetcher,
        targets_url: str | None = None,
        clock: Clock = utc_now,
        limits: Limits | None = None,
        policy: Policy | None = None,
        parallel: int = 8,
    ) -> None:
        if parallel < 1:
            raise InputError(f"parallel: expected 1 or more, got {parallel}")
        self._metadata_url = base_url(metadata_url)
        self._targets_url = None if targets_url is None else base_url(targets_url)
        self._store = store
        self._fetcher = fetcher
        self._limits = limits or Limits()
        self._current = Current(root, store, clock, self._limits, policy or Policy())
        self._lock = asyncio.Lock()  # of `_current`; never held while the network is waited for
        self._lookups = asyncio.Semaphore(parallel)
        self._downloads = asyncio.Semaphore(parallel)
        self._asking: asyncio.Task[Session] | None = None
        self._view: _View | None = None

    async def refresh(self) -> Refreshed:
        """Bring root, timestamp, snapshot and top-level targets up to date.

        A refresh that is under way already is shared. Raises: as `TufClient.refresh`.
        """
        call = self._call()
        session = await (self._usable(call) if self._current.offline else self._ask(call))
        return Refreshed.of(session, self._current.asked)

    async def target(self, path: str) -> TargetEntry | NotListed:
        """What the trusted metadata says of a target path. As `TufClient.target`."""
        check_target_path(path)
        call = self._call()
        async with _slot(self._lookups, call):
            while True:
                session = await self._usable(call)
                view = self._view_of(session)
                found = await self._look_up(view, path, call)
                if found is not None:
                    return found.result
                view.over = True
                if await self._locked(self._start_over, session) and not self._current.offline:
                    await self._ask(call)

    async def targets(self, paths: Iterable[str]) -> dict[str, TargetEntry | NotListed]:
        """What the trusted metadata says of many target paths, looked up side by side.

        Returns:
            Path to answer, in the order of `paths`.

        Raises: as `target`, the first error; the other look-ups are given up.
        """
        wanted = [check_target_path(path) for path in dict.fromkeys(paths)]
        tasks = [asyncio.create_task(self.target(path)) for path in wanted]
        try:
            found = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return dict(zip(wanted, found, strict=True))

    async def download(self, entry: TargetEntry, destination: Path, *, plain: bool = False) -> Path:
        """Get a target's verified bytes into a file. As `TufClient.download`."""
        async with self._downloads:
            if not await _thread(_matches, entry, destination):
                async with _entered(_replacing(destination)) as file:
                    await self._receive(entry, file, plain=plain)
        return destination

    # -- parts -------------------------------------------------------------------------------

    def _call(self) -> Call:
        return Call(self._limits.refresh_seconds)

    async def _locked(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A call on `_current`, which is for one thread at a time."""
        async with self._lock:
            return await _thread(function, *args, **kwargs)

    async def _usable(self, call: Call) -> Session:
        if self._asking is None or self._current.session is not None:
            session = await self._locked(self._current.usable)
            if session is not None:
                return session
        return await self._ask(call)

    async def _ask(self, call: Call) -> Session:
        """A session that asked the repository, for everyone who waits for one now."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._refreshed())
            self._asking.add_done_callback(self._asked)
        return await _in_time(call, asyncio.shield(self._asking))

    def _asked(self, task: asyncio.Task[Session]) -> None:
        self._asking = None
        if not task.cancelled():
            task.exception()  # seen, even where everyone who waited for it is gone

    async def _refreshed(self) -> Session:
        call = self._call()
        while True:
            session = await self._locked(self._current.begin)
            try:
                attempt = Attempt(session, self._store, call)
                step = await _thread(attempt.begin)
                while isinstance(step, Fetch):
                    step = await _thread(attempt.answer, await self._get(step, call))
                if step is not None:
                    await self._locked(self._current.finished, session)
                    return session
            finally:
                await _thread(self._current.keep, session)

    def _start_over(self, session: Session) -> bool:
        """Use `session` no more; False if that was seen to already."""
        mine = self._current.session is session
        if mine:
            self._current.start_over()
        return mine

    def _view_of(self, session: Session) -> _View:
        if self._view is None or self._view.session is not session:
            self._view = _View(session)
        return self._view

    async def _look_up(
        self, view: _View, path: str, call: Call
    ) -> Done[TargetEntry | NotListed] | None:
        """The end of a look-up; None if a new session should start over."""
        relied_on: set[str] = set()
        while not view.over:
            lookup = view.session.lookup(path, now=self._current.now())
            attempt = Attempt(lookup, self._store, call)
            step = await _thread(attempt.begin)
            while isinstance(step, Fetch):
                name = step.filename
                if name in view.fetching:
                    await _in_time(call, view.fetching[name].wait())
                    break
                if name in view.fetched - relied_on:  # between our `Load` and now
                    relied_on.add(name)
                    break
                with view.fetches(name):
                    step = await _thread(attempt.answer, await self._get(step, call))
            else:
                return step
        return None

    async def _get(self, want: Fetch, call: Call) -> bytes | Absent:
        if self._current.offline:
            return await _thread(from_store, want, self._store)
        return await self._fetcher.fetch(
            self._metadata_url + want.filename,
            max_length=want.max_length,
            seconds=call.seconds_left(),
        )

    async def _receive(self, entry: TargetEntry, sink: BinaryIO, *, plain: bool = False) -> None:
        """Write a target's bytes to `sink` and judge them. Only if it returns they are good."""
        session = await self._usable(self._call())
        url = target_url(
            self._targets_url,
            entry,
            consistent=session.trusted.root.consistent_snapshot and not plain,
            longest=self._limits.target_length,
        )
        if self._current.offline:
            raise UnreachableError(f"{entry.path}: offline, the repository isn't asked")
        incoming = Incoming(entry, sink)
        async with self._fetcher.stream(url, max_length=entry.length) as body:
            if isinstance(body, Absent):
                raise UnreachableError(f"{entry.path}: listed, and the server has no such file")
            async for piece in body:
                await _thread(incoming.write, piece)
        incoming.finish()


class _View:
    """A session, and the files that its look-ups fetch or have fetched, by their names.

    It is over when one of them found that a new session should start."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.over = False
        self.fetching: dict[str, asyncio.Event] = {}
        self.fetched: set[str] = set()

    @contextlib.contextmanager
    def fetches(self, name: str) -> Iterator[None]:
        """While one look-up fetches a file, and has it verified."""
        event = self.fetching[name] = asyncio.Event()
        try:
            yield
            self.fetched.add(name)
        finally:
            del self.fetching[name]
            event.set()


async def _in_time(call: Call, waiting: Awaitable[T]) -> T:
    """What others work at, unless `call` runs out of time first."""
    try:
        async with asyncio.timeout(call.seconds_left()):
            return await waiting
    except TimeoutError:
        call.seconds_left()
        raise BudgetExceededError("the metadata was not complete in time") from None


@contextlib.asynccontextmanager
async def _slot(slots: asyncio.Semaphore, call: Call) -> AsyncIterator[None]:
    await _in_time(call, slots.acquire())
    try:
        yield
    finally:
        slots.release()


async def _thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `function` in a thread. It ends before this does, if this is cancelled too."""
    task = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen
        raise


@contextlib.asynccontextmanager
async def _entered(manager: AbstractContextManager[T]) -> AsyncIterator[T]:
    """`manager`, entered and left in threads; left too if it was cancelled while entering."""
    stack = contextlib.ExitStack()
    try:
        yield await _thread(stack.enter_context, manager)
    except BaseException as error:
        await _thread(stack.__exit__, type(error), error, error.__traceback__)
        raise
    await _thread(stack.close)


@contextlib.contextmanager
def _replacing(destination: Path) -> Iterator[BinaryIO]:
    with storing(destination), replacing(destination) as file:
        yield file


def _matches(entry: TargetEntry, path: Path) -> bool:
    with storing(path):
        return file_matches(entry, path)
