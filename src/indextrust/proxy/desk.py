"""The desk between the proxy's event loop and a blocking client: each question is asked once.

A run is one view of the index. The first request refreshes the trusted metadata; every answer,
a refusal too, is kept until the run ends. So an installer that asks for a file in five ranges
costs one download, and what was refused once stays refused for the whole of the run.

An index that could not be reached is asked again, a few times and after a pause: installers are
told not to retry on loopback, so it must be done here. A refusal is never retried.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from indextrust.client import ListedFile, Project
from indextrust.errors import BudgetExceededError, IndextrustError, UnreachableError
from indextrust.names import NormalizedName
from indextrust.proxy.refusals import Problem, not_listed, problem_of
from indextrust.proxy.report import RemovedFile, Report, VerifiedFile
from indextrust.proxy.source import Source
from indextrust.trust import Changed, KnownBad, NotListed

__all__ = ["Artifact", "Desk"]

T = TypeVar("T")

_THREADS = 8
_PAUSES = (0.5, 1.5)  # seconds before an unreachable index is asked again
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Artifact:
    """A distribution file that was verified to its last byte.

    Args:
        path: where the verified bytes are.
        size: bytes.
        sha256: lower-case hex.
    """

    path: Path
    size: int
    sha256: str


class Desk:
    """Asks `source`, at most once for each thing, and keeps the report.

    To be used from one event loop.

    Args:
        source: the client.
        folder: an empty folder of our own, readable by nobody else, for verified files.
        report: what happened is noted here.
    """

    def __init__(self, source: Source, folder: Path, report: Report) -> None:
        self._source = source
        self._folder = folder
        self._report = report
        self._answers: dict[Hashable, asyncio.Task[Any]] = {}
        self._slots = asyncio.Semaphore(_THREADS)

    async def project(self, name: NormalizedName) -> Project | Problem:
        """A project's verified page, or why there is none."""
        answer = await self._project(name)
        if isinstance(answer, Problem):
            self._report.failure("page", name, "", answer)
            return answer
        self._report.page(name)
        for listed in answer.files:
            if isinstance(listed.verdict, (Changed, KnownBad)):
                self._report.alarm(str(listed.verdict.error()))
        for notice in answer.notices:
            self._report.notice(notice.message)
        for gone in answer.removed:
            when = gone.first_seen.isoformat(timespec="seconds")
            self._report.removed(RemovedFile(name, gone.filename, when))
        return answer

    async def file(self, name: NormalizedName, filename: str) -> Artifact | Problem:
        """A distribution file, verified and on disk, or why there is none."""
        answer: Artifact | Problem
        listed = await self._listed(name, filename)
        if isinstance(listed, Problem):
            return listed
        answer = await self._once(("file", name, filename), lambda: self._fetched(listed))
        if isinstance(answer, Problem):
            self._report.failure("file", name, filename, answer)
        else:
            self._report.file(VerifiedFile(name, filename, answer.sha256, answer.size))
        return answer

    async def metadata(self, name: NormalizedName, filename: str) -> bytes | Problem:
        """The verified core metadata beside the distribution file `filename`, or why not."""
        answer: bytes | Problem
        listed = await self._listed(name, filename)
        if isinstance(listed, Problem):
            return listed
        answer = await self._once(
            ("metadata", name, filename), lambda: self._source.metadata(listed)
        )
        if isinstance(answer, Problem):
            self._report.failure("metadata", name, filename, answer)
        return answer

    async def _project(self, name: NormalizedName) -> Project | Problem:
        refreshed = await self._once("state", self._source.state)
        if isinstance(refreshed, Problem):
            return refreshed
        for notice in refreshed.notices:
            self._report.notice(notice.message)
        answer = await self._once(("project", name), lambda: self._source.project(name))
        if isinstance(answer, NotListed):
            return not_listed(f"project {name!r}", answer.snapshot_version)
        return answer

    async def _listed(self, name: NormalizedName, filename: str) -> ListedFile | Problem:
        """The entry of a file on its project's verified page."""
        project = await self.project(name)
        if isinstance(project, Problem):
            return project
        try:
            return project.file(filename)
        except IndextrustError as error:
            problem = problem_of(error)
        self._report.failure("file", name, filename, problem)
        return problem

    def _fetched(self, listed: ListedFile) -> Artifact:
        folder = self._folder / listed.file.project
        folder.mkdir(exist_ok=True)
        path = self._source.download(listed, folder)
        return Artifact(path, listed.file.size, listed.file.sha256)

    async def _once(self, key: Hashable, ask: Callable[[], T]) -> T | Problem:
        """What `ask` returned when it was first asked under `key`."""
        if key not in self._answers:
            self._answers[key] = asyncio.create_task(self._answered(ask))
        answer: T | Problem = await asyncio.shield(self._answers[key])
        return answer

    async def _answered(self, ask: Callable[[], T]) -> T | Problem:
        for pause in (*_PAUSES, None):
            try:
                async with self._slots:
                    return await _in_thread(ask)
            except UnreachableError as error:
                if pause is None or isinstance(error, BudgetExceededError):
                    return problem_of(error)
                await asyncio.sleep(pause)
            except Exception as error:
                if not isinstance(error, IndextrustError):
                    _log.exception("a bug in indextrust: an error nobody foresaw")
                return problem_of(error)
        raise AssertionError("the last attempt returns")


async def _in_thread(ask: Callable[[], T]) -> T:
    """Call `ask` in a thread that does not keep the process alive: its child may be long gone."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result, failure = None, None
        try:
            result = ask()
        except Exception as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=work, name="indextrust proxy", daemon=True).start()
    return await future
