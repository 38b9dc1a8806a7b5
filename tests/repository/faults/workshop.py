"""A warm process that forks one child for each run of an operation, and stops it where told.

Starting Python and importing the product takes a second; a fork takes milliseconds, and happens
before any code of the product runs. Each child opens the folder anew, as a fresh process does.

`Workshop` is what tests use; `main` is the process.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self

from tests.repository.faults import jobs
from tests.repository.faults.syscalls import (
    GO,
    HOLD,
    KILL,
    KILL_CALLER,
    Call,
    Choice,
    Ended,
    Tracee,
    outcome,
)

__all__ = ["Effect", "Operation", "Run", "Workshop"]

_WRITES = frozenset({"write", "pwrite64"})


class Operation(Protocol):
    """What a child does, such as `jobs.Job`. It is pickled, and so is what it returns."""

    @property
    def index(self) -> Path:
        """The folder in which its calls are watched."""
        ...

    def __call__(self) -> Any: ...


@dataclass(frozen=True)
class Effect:
    """A call that succeeded, with what is needed to do it again.

    Args:
        name: of the call.
        paths: relative to the index folder, as they were called before it.
        position, data: of a write.
        flags: of an open.
        size: of a truncation.
        mode: of what a call made.
        fresh: whether an open made the file.
    """

    name: str
    paths: tuple[str, ...]
    position: int = 0
    data: bytes = b""
    flags: int = 0
    size: int = 0
    mode: int = 0
    fresh: bool = False


@dataclass(frozen=True)
class Run:
    """How an operation went.

    Args:
        ended: how the child ended.
        calls: how many calls it made that change files, as far as it came.
        effects: what they did, if that was recorded.
        marks: names of the calls, in order, with the path that each is about.
        helpers: numbers of the calls that were made by processes which the child started.
    """

    ended: Ended
    calls: int
    effects: tuple[Effect, ...] = ()
    marks: tuple[tuple[str, str], ...] = ()
    helpers: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Order:
    job: Operation
    at: int = 0
    choice: Choice = GO
    lasting: bool = False
    record: bool = False
    command: str = "run"


class Workshop:
    """The warm process, from the tests' side. Use it as a context manager."""

    def __init__(self) -> None:
        root = Path(__file__).parents[3]
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=root,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it; what it holds is killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def run(self, job: Operation) -> Ended:
        """Run it undisturbed and unwatched."""
        return self._ask(_Order(job, command="plain")).ended

    def watch(self, job: Operation) -> Run:
        """Run it undisturbed; count and name its calls."""
        return self._ask(_Order(job))

    def record(self, job: Operation) -> Run:
        """Run it undisturbed; record what each call did."""
        return self._ask(_Order(job, record=True))

    def kill(self, job: Operation, at: int) -> Run:
        """Kill it before its call number `at` (the first is 1)."""
        return self._ask(_Order(job, at, KILL))

    def hold(self, job: Operation, at: int) -> Run:
        """Stop it there; `go_on` or `kill_held` must follow."""
        return self._ask(_Order(job, at, HOLD))

    def kill_helper(self, job: Operation, at: int) -> Run:
        """Kill the process that makes the call which is number `at` among those of helpers."""
        return self._ask(_Order(job, at, KILL_CALLER))

    def disturb(self, job: Operation, at: int, choice: Choice, *, lasting: bool = False) -> Run:
        """Let call `at` fail or be cut short; `lasting`: all later ones that write as well."""
        return self._ask(_Order(job, at, choice, lasting=lasting))

    def go_on(self) -> Ended:
        """Let what is held go on."""
        return self._ask(_Order(jobs.NOTHING, command="go on")).ended

    def kill_held(self) -> Ended:
        """Kill what is held, with SIGKILL from outside."""
        return self._ask(_Order(jobs.NOTHING, command="kill")).ended

    def _ask(self, order: _Order) -> Run:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump(order, self._process.stdin)
        self._process.stdin.flush()
        run = pickle.load(self._process.stdout)  # noqa: S301 - our own child's
        assert isinstance(run, Run), run
        return run


class _Observer:
    """Counts, and does what was ordered at the call that was named."""

    def __init__(self, order: _Order) -> None:
        self._order = order
        self._folder = str(order.job.index)
        self._waiting: dict[int, Effect] = {}
        self.marks: list[tuple[str, str]] = []
        self.effects: list[Effect] = []
        self.helpers: list[int] = []
        self.main = 0

    def __call__(self, call: Call) -> Choice:
        if call.result is not None:
            self._done(call)
            return GO
        paths = tuple(os.path.relpath(path, self._folder) for path in call.paths)
        self.marks.append((call.name, paths[-1] if paths else ""))
        if self._order.record:
            self._waiting[call.pid] = _effect(call, paths)
            return Choice("go", watch=True)
        number, at, choice = len(self.marks), self._order.at, self._order.choice
        if call.process != self.main:
            self.helpers.append(number)
        if choice == KILL_CALLER:
            here = call.process != self.main and len(self.helpers) == at
            return choice if here else GO
        if number != at and not (self._order.lasting and number > at and _needs_space(call)):
            return GO
        if choice.kind == "short":
            if call.name not in _WRITES or call.arguments[2] < 2:
                return GO
            return replace(choice, length=call.arguments[2] // 2)
        return choice

    def run(self, ended: Ended) -> Run:
        """What it saw, so far."""
        marks, helpers = tuple(self.marks), tuple(self.helpers)
        return Run(ended, len(marks), tuple(self.effects), marks, helpers)

    def _done(self, call: Call) -> None:
        effect = self._waiting.pop(call.pid)
        assert call.result is not None
        if call.result < 0:
            return
        if effect.name in _WRITES:
            effect = replace(effect, data=effect.data[: call.result])
        path = call.paths[-1] if call.paths else ""
        if effect.fresh or effect.name in ("mkdir", "mkdirat"):
            effect = replace(effect, mode=os.lstat(path).st_mode & 0o777)
        self.effects.append(effect)


def _needs_space(call: Call) -> bool:
    names = {"openat", "open", "mkdir", "mkdirat", "link", "linkat", "rename", "renameat"}
    return call.name in names | _WRITES


def _effect(call: Call, paths: tuple[str, ...]) -> Effect:
    if call.name in _WRITES:
        return Effect(call.name, paths, call.position, call.data)
    if call.name in ("open", "openat"):
        fresh = not os.path.lexists(call.paths[0])
        return Effect(call.name, paths, flags=call.flags, fresh=fresh)
    if call.name in ("truncate", "ftruncate"):
        return Effect(call.name, paths, size=call.arguments[1])
    return Effect(call.name, paths)


def _plain(program: Callable[[], Any]) -> Ended:
    """Run it in a forked child that nobody watches."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            ended = outcome(program)
            os.write(writing, pickle.dumps(ended))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        answer = file.read()
    os.waitpid(pid, 0)
    ended = pickle.loads(answer)  # noqa: S301 - our own child's
    assert isinstance(ended, Ended)
    return ended


def main() -> None:
    """Carry out orders from standard input until it ends."""
    orders, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    held: tuple[Tracee, _Observer] | None = None
    while True:
        try:
            order = pickle.load(orders)  # noqa: S301 - the test's
        except EOFError:
            if held is not None:
                held[0].kill()
            return
        if order.command == "plain":
            run = Run(_plain(order.job), 0)
        else:
            if order.command == "run":
                observer = _Observer(order)
                held = (Tracee(order.job, order.job.index, observer), observer)
                observer.main = held[0].pid
            assert held is not None
            tracee, observer = held
            ended = tracee.kill() if order.command == "kill" else tracee.run()
            run = observer.run(ended)
            held = held if ended.how == "held" else None
        pickle.dump(run, answers)
        answers.flush()
