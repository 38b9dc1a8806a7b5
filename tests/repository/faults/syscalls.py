"""Stop a program before each of its system calls that changes a file, and do something there.

The program runs in a child process under ptrace(2), with a seccomp filter that reports such calls
and lets all others pass (`tests.repository.faults.kernel`). So what is seen is what the kernel is
asked to do, whoever asks: Python, SQLite, a library, a thread, a process that the program starts.
Nothing is wrapped, so nothing is missed (writing through a shared memory map would be; SQLite does
not do so here).

At each call the observer decides (`Choice`): let it happen, kill the process with SIGKILL from
outside, hold it there, let the call fail before or after it is done, or let a write be cut short.
"""

from __future__ import annotations

import os
import pickle
import platform
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.repository.faults import kernel
from tests.repository.faults.kernel import Call

__all__ = ["GO", "HOLD", "KILL", "KILL_CALLER", "Call", "Choice", "Ended", "Tracee", "outcome"]
_ORPHANS = 30.0
"""Seconds that processes may outlive the one that started them."""


@dataclass(frozen=True)
class Choice:
    """What becomes of a call.

    Args:
        kind: ``go``; ``kill``; ``kill caller``, the process that makes it, which may be one that
            the program started; ``hold``; ``fail``, instead of it; ``late``, after it; ``short``.
        error: the error number of a failure.
        length: of a short write, bytes that are written.
        watch: report the call again, with its result, when it is done.
    """

    kind: str
    error: int = 0
    length: int = 0
    watch: bool = False


GO, KILL, HOLD = Choice("go"), Choice("kill"), Choice("hold")
KILL_CALLER = Choice("kill caller")


@dataclass(frozen=True)
class Ended:
    """How the program ended.

    Args:
        how: ``returned``, ``raised``, ``killed`` or ``held``.
        value: what it returned; of an error, its message.
        kinds: names of the error's class and of its bases.
        trace: of an error, the traceback.
    """

    how: str
    value: Any = None
    kinds: tuple[str, ...] = ()
    trace: str = ""


class Tracee:
    """A program in a child process, stopped at its calls below a folder.

    Args:
        program: runs in the child; what it returns must be picklable.
        below: only calls on files in this folder are told to the observer.
        observer: is asked at each call, and told its result if it wanted to watch.
    """

    def __init__(
        self, program: Callable[[], Any], below: Path, observer: Callable[[Call], Choice]
    ) -> None:
        if platform.machine() != "x86_64":
            raise RuntimeError("the fault tests need Linux on x86-64")
        self._below = str(below)
        self._observer = observer
        self._pipe, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._pipe)
            _run(program, writing)
        os.close(writing)
        self._there = {self.pid}
        self._begun: dict[int, tuple[Call, Choice]] = {}
        self._held: int | None = None
        self._killed: float | None = None
        self._status = 0
        kernel.begin(self.pid)

    def run(self) -> Ended:
        """Go on until it ends, or is held. Raises RuntimeError if a process outlives it."""
        if self._held is not None:
            pid, self._held = self._held, None
            kernel.go(pid)
        while self._there:
            try:
                pid, status = kernel.wait(block=self._killed is None)
            except ChildProcessError:
                break
            if pid == 0:
                self._outlived()
            elif not os.WIFSTOPPED(status):
                self._there.discard(pid)
                if pid == self.pid:
                    self._status = status
                    self._killed = self._killed or time.monotonic()
            elif self._stopped(pid, status):
                return Ended("held")
        return self._ended()

    def kill(self) -> Ended:
        """SIGKILL, from outside."""
        self._held = None
        self._kill()
        return self.run()

    def _kill(self) -> None:
        self._killed = time.monotonic()
        os.kill(self.pid, signal.SIGKILL)

    def _outlived(self) -> None:
        assert self._killed is not None
        if time.monotonic() - self._killed > _ORPHANS:
            for pid in self._there:
                os.kill(pid, signal.SIGKILL)
            raise RuntimeError(f"{len(self._there)} processes outlived the one that was killed")
        time.sleep(0.0005)

    def _ended(self) -> Ended:
        with os.fdopen(self._pipe, "rb") as file:
            answer = file.read()
        if os.WIFSIGNALED(self._status):
            assert os.WTERMSIG(self._status) == signal.SIGKILL, self._status
            return Ended("killed")
        ended = pickle.loads(answer)  # noqa: S301 - our own child's
        assert isinstance(ended, Ended)
        return ended

    def _stopped(self, pid: int, status: int) -> bool:
        """Deal with a stop; returns whether the process stays in it."""
        self._there.add(pid)
        number, event = os.WSTOPSIG(status), status >> 16
        try:
            if number == signal.SIGTRAP and event == kernel.AT_CALL:
                return self._called(pid)
            if number == signal.SIGTRAP | 0x80:
                self._done(pid)
            ours = event or number in (signal.SIGSTOP, signal.SIGTRAP, signal.SIGTRAP | 0x80)
            kernel.go(pid, 0 if ours else number)
        except ProcessLookupError:  # killed meanwhile
            pass
        return False

    def _called(self, pid: int) -> bool:
        call = kernel.read_call(pid)
        choice = GO
        if call is not None and self._killed is None and self._concerns(call):
            choice = self._observer(call)
        if choice.kind == "kill":
            assert call is not None
            self._kill()
            if call.process != self.pid:  # one that the program started: it outlives it a moment
                kernel.go(pid)
            return False
        if choice.kind == "kill caller":
            assert call is not None
            os.kill(call.process, signal.SIGKILL)
            return False
        if choice.kind == "hold":
            self._held = pid
            return True
        if choice.kind == "fail":
            kernel.refuse(pid, choice.error)
        elif choice.kind == "short":
            kernel.cut(pid, choice.length)
        to_the_end = call is not None and (choice.watch or choice.kind == "late")
        if call is not None and to_the_end:
            self._begun[pid] = (call, choice)
        kernel.go(pid, to_the_end=to_the_end)
        return False

    def _done(self, pid: int) -> None:
        call, choice = self._begun.pop(pid)
        if choice.kind == "late":
            kernel.answer(pid, -choice.error)
        if choice.watch:
            self._observer(replace(call, result=kernel.read_result(pid)))

    def _concerns(self, call: Call) -> bool:
        """Whether it changes something below the folder."""
        inside = self._below + "/"
        below = any((path + "/").startswith(inside) for path in call.paths)
        return call.name == "sync" or (below and call.changes)


def outcome(program: Callable[[], Any]) -> Ended:
    """Run it, and say how it ended."""
    try:
        return Ended("returned", program())
    except BaseException as error:
        kinds = tuple(kind.__name__ for kind in type(error).__mro__)
        return Ended("raised", str(error), kinds, traceback.format_exc())


def _run(program: Callable[[], Any], answer: int) -> None:
    """In the child. Never returns."""
    try:
        kernel.trace_me()
        kernel.report_calls()
        os.write(answer, pickle.dumps(outcome(program)))
    finally:
        os._exit(0)
