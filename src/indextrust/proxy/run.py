"""Running one pip or uv command with everything it installs verified.

The order: look through the command line and the files it names, start the proxy, run the child
in a cleaned environment, pass signals on, stop the proxy, say what happened. Nothing is started
if the command would lead past the index. The metadata is refreshed when the child first asks
for something, so a refusal is read where the person looks: in the child's own output.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from indextrust.errors import InputError
from indextrust.proxy.arguments import Installer, read_command
from indextrust.proxy.environment import child_environment, files_in_environment
from indextrust.proxy.report import Summary
from indextrust.proxy.requirements import check_files
from indextrust.proxy.server import VerifyingProxy
from indextrust.proxy.source import Source

__all__ = ["RunResult", "run_child"]

_WORKING_FOLDERS = ("UV_WORKING_DIR", "UV_WORKING_DIRECTORY")  # in uv's order
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Args:
        exit_code: the child's own; 128 + n if signal n ended it, as shells have it.
        summary: what was verified and what was refused.
        removed: names of the environment variables that the child was not given.
    """

    exit_code: int
    summary: Summary
    removed: tuple[str, ...]

    @property
    def refused(self) -> bool:
        """Whether anything was refused, however the child ended."""
        return self.summary.refused


def run_child(
    source: Source,
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
    output: IO[bytes] | None = None,
) -> RunResult:
    """Run pip or ``uv pip`` so that it installs from `source` and from nowhere else.

    In the main thread, SIGINT, SIGTERM and SIGHUP are passed on to the child meanwhile.

    Args:
        source: the client of the index, as a rule an `indextrust.client.Client`.
        argv: the command, for example ``["pip", "install", "flask"]``.
        env: the environment to start from; None for this process's own.
        folder: where to run it; None for the current directory.
        output: where its output and its errors go; None for this process's own.

    Returns:
        What happened. A refusal is not raised: see `RunResult.refused`.

    Raises:
        InputError: not a command of pip or uv, or one that would lead past the index (it names
            the option, requirement or file), or no such program. Nothing was run.
    """
    parent = os.environ if env is None else env
    command = read_command(argv)
    named = (*command.files, *files_in_environment(parent, command.installer))
    base = Path.cwd() if folder is None else folder
    if command.installer is Installer.UV:
        said = next((parent[name] for name in _WORKING_FOLDERS if name in parent), "")
        base /= command.directory or said
    check_files(named, command.installer, folder=base, env=parent)
    with VerifyingProxy(source) as proxy:
        environment = child_environment(parent, index_url=proxy.index_url, door_url=proxy.door_url)
        try:
            child = subprocess.Popen(  # noqa: S603 - running it is what we are asked to do
                command.argv,
                env=dict(environment.variables),
                cwd=folder,
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
            )
        except OSError as error:
            raise InputError(f"{command.argv[0]!r} can't be run: {error.strerror}") from error
        with child, _signals_passed_on(child):
            code = _ended(child)
    exit_code = code if code >= 0 else 128 - code
    return RunResult(exit_code, proxy.report.summary(), environment.removed)


def _ended(child: subprocess.Popen[bytes]) -> int:
    """Wait for its exit code.

    With a timeout, for then Python looks again every few hundredths of a second: a signal that
    comes just before a wait without one is handled after it, which may be never.
    """
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(timeout=60)


@contextlib.contextmanager
def _signals_passed_on(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Let the child decide what a signal to us means; we end when it does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def pass_on(number: int, frame: FrameType | None) -> None:
        if number != signal.SIGINT or not _in_foreground():
            child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in _FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_foreground() -> bool:
    """Whether we and the child are the terminal's foreground: Ctrl-C has reached it already."""
    try:
        terminal = os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
