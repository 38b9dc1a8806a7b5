"""Running a piece of a test in another process: to kill it, to bound it, to take its rights."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_NOBODY = 65534
_fork = multiprocessing.get_context("fork")
_STEPS = ("open", "fsync", "rename", "replace", "link", "unlink", "mkdir")


def in_child(action: Callable[[], object]) -> str:
    """Run `action` in a forked process; what it returned or raised, as text."""
    mine, theirs = _fork.Pipe()

    def run(pipe: Connection) -> None:
        try:
            result = repr(action())
        except Exception as error:
            result = f"{type(error).__name__}: {error}"
        pipe.send(result)

    child = _fork.Process(target=run, args=(theirs,))
    child.start()
    theirs.close()
    result: str = mine.recv()
    child.join()
    return result


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

    Returns:
        False if `action` was done before it made so many calls.
    """
    mine, theirs = _fork.Pipe()

    def run(pipe: Connection) -> None:
        calls = 0

        def counted(call: Callable[..., Any]) -> Callable[..., Any]:
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == number:
                    pipe.send(True)
                    time.sleep(3600)
                return call(*args, **kwargs)

            return wrapper

        for name in _STEPS:
            setattr(os, name, counted(getattr(os, name)))
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
    return reached


def visible(folder: Path) -> set[str]:
    """The names of all files below `folder`."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
