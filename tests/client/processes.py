"""Running a piece of a test in another process: to kill it, to bound it, to take its rights."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import resource
import signal
import sqlite3
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

_NOBODY = 65534
_fork = multiprocessing.get_context("fork")
_CHANGES = ("open", "fsync", "rename", "replace", "link", "unlink", "mkdir", "fchmod", "ftruncate")
_LOOKS = ("listdir", "scandir")
_INSTRUCTIONS = 25  # of SQLite's virtual machine, between two steps

Step = Callable[[str], None]
"""Called with the name of the file-system call that comes next."""


def in_child(action: Callable[[], object]) -> str:
    """Run `action` in a forked process; what it returned or raised, as text."""
    return str(_in_child(lambda: _outcome(action)))


def without_rights(action: Callable[[], object]) -> str:
    """`in_child`, as an ordinary user: root may read and write everything."""

    def run() -> object:
        if os.geteuid() == 0:
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
        return action()

    return in_child(run)


def on_a_full_disk(limit: int, action: Callable[[], object]) -> str:
    """`in_child`, where no file may grow beyond `limit` bytes: writing fails as on a full disk."""

    def run() -> object:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        return action()

    return in_child(run)


def killed_before_step(number: int, action: Callable[[], object]) -> bool:
    """Run `action` in a process that is killed from outside before file-system call `number`.

    Calls that list a folder and take a lock count too, and so do the middle of a write and every
    25 instructions of SQLite. After call N nothing is changed before call N + 1, so a kill before
    call N + 1 is one after call N.

    Returns:
        False if `action` was done before it made so many calls.
    """
    mine, theirs = _fork.Pipe()

    def run(pipe: Connection) -> None:
        calls = 0

        def step(_: str) -> None:
            nonlocal calls
            calls += 1
            if calls == number:
                pipe.send(True)
                time.sleep(3600)

        _watch(step, *_CHANGES, *_LOOKS)
        _watch_locks(step)
        _watch_sqlite(step)
        action()
        pipe.send(False)

    child = _fork.Process(target=run, args=(theirs,))
    child.start()
    theirs.close()
    try:
        reached: bool = mine.recv()
    except EOFError:
        raise AssertionError("the process ended by itself") from None
    finally:
        child.kill()
        child.join()
        mine.close()
    return reached


def failing_at_step(number: int, error: int, action: Callable[[], object]) -> tuple[str, str]:
    """`in_child`, where call `number` of those that change a file system fails.

    Args:
        number: from 1. Where it is a write, its first half may have been written.
        error: the errno.
        action: what is run.

    Returns:
        The failed call's name, empty if `action` was done before it made so many calls; and
        what `action` returned or raised, as text.
    """

    def run() -> tuple[str, str]:
        calls: list[str] = []

        def step(name: str) -> None:
            calls.append(name)
            if len(calls) == number:
                raise OSError(error, os.strerror(error))

        _watch(step, *_CHANGES)
        result = _outcome(action)
        return calls[number - 1] if len(calls) >= number else "", result

    name, result = _in_child(run)
    return name, result


def _outcome(action: Callable[[], object]) -> str:
    try:
        return repr(action())
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _in_child(run: Callable[[], Any]) -> Any:
    """What `run` returns in a forked process."""
    mine, theirs = _fork.Pipe()
    child = _fork.Process(target=lambda pipe: pipe.send(run()), args=(theirs,))
    child.start()
    theirs.close()
    result = mine.recv()
    child.join()
    mine.close()
    return result


def _watch(step: Step, *names: str) -> None:
    """From now on this process calls `step` before those calls of `os`, and in its writes."""

    def watched(name: str) -> Callable[..., Any]:
        call = getattr(os, name)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            step(name)
            return call(*args, **kwargs)

        return wrapper

    fdopen: Callable[..., IO[bytes]] = os.fdopen
    for name in names:
        setattr(os, name, watched(name))
    setattr(os, "fdopen", lambda *args, **kwargs: _WatchedFile(fdopen(*args, **kwargs), step))  # noqa: B010


def _watch_locks(step: Step) -> None:
    flock = fcntl.flock

    def watched(file: Any, operation: int) -> None:
        step("flock")
        flock(file, operation)

    fcntl.flock = watched


def _watch_sqlite(step: Step) -> None:
    connect = sqlite3.connect

    def watched(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **kwargs)
        connection.set_progress_handler(lambda: step("sqlite"), _INSTRUCTIONS)
        return connection

    setattr(sqlite3, "connect", watched)  # noqa: B010


class _WatchedFile:
    """A file whose every write is two on the disk, with a step before each."""

    def __init__(self, file: IO[bytes], step: Step) -> None:
        self._file = file
        self._step = step

    def write(self, data: bytes) -> int:
        for part in (data[: len(data) // 2], data[len(data) // 2 :]):
            self._step("write")
            self._file.write(part)
            self._file.flush()
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._file.close()


def visible(folder: Path) -> set[str]:
    """The names of all files below `folder`."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
