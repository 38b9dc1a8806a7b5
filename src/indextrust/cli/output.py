"""What a command prints, and where.

* The result goes to stdout: plain lines for a person, or one JSON object with ``--json``.
* Everything else (progress, detail with ``-v``, errors) goes to stderr.
* ``-q`` leaves out what is for a person's comfort; the JSON and the errors stay.

A string that came from elsewhere is shown with its control characters escaped, so that a file
name can't draw on the terminal.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Timer
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from indextrust.cli.exit_codes import BUG, exit_code

__all__ = ["Output", "Step", "on_one_line", "printable"]

_PATIENCE = 1.0
"""Seconds after which a progress bar appears."""


def printable(text: str) -> str:
    """`text` with control and other unprintable characters escaped, newlines excepted."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def on_one_line(text: str) -> str:
    """`text` for a line of a list: who chose a name with a newline in it must not begin another."""
    return text.replace("\n", "\\n")


class Step:
    """Progress of one piece of work; `advance` after each unit."""

    def __init__(self, progress: Progress | None, task: Any) -> None:
        self._progress = progress
        self._task = task

    def advance(self, done: str, units: int = 1) -> None:
        """So many units more are done; `done` names them."""
        if self._progress is not None:
            self._progress.update(self._task, advance=units, done=printable(done))


class Output:
    """One command's voice. Set up by the options every command shares."""

    def __init__(self) -> None:
        self.json = False
        self.verbosity = 0
        self.quiet = False
        self.notices: list[str] = []

    def say(self, text: str) -> None:
        """A line of the result, for a person."""
        if not self.json and not self.quiet:
            print(printable(text), flush=True)

    def note(self, text: str, *, always: bool = False) -> None:
        """A line beside the result, on stderr; `always`: also with ``-q``."""
        if not self.json and (always or not self.quiet):
            print(f"indextrust: {printable(text)}", file=sys.stderr, flush=True)

    def notice(self, text: str) -> None:
        """What a person should know of what the index said: a note, also with ``-q``; with
        ``--json`` it stands in the object, whatever that is."""
        self.note(text, always=True)
        self.notices.append(text)

    def detail(self, text: str, *, level: int = 1) -> None:
        """A line on stderr for who asked with ``-v`` (`level` times)."""
        if self.verbosity >= level:
            print(printable(text), file=sys.stderr, flush=True)

    def table(self, headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
        """A table of the result, for a person."""
        if self.json or self.quiet:
            return
        table = Table(*headings, box=None, pad_edge=False, header_style="bold")
        for row in rows:
            table.add_row(*(Text(printable(cell), overflow="fold") for cell in row))
        Console(highlight=False).print(table)

    def data(self, value: Mapping[str, Any]) -> None:
        """The result as one JSON object, on a line of its own, with ``--json``."""
        if self.json:
            value = {**value, "notices": self.notices} if self.notices else value
            print(json.dumps(value, ensure_ascii=True, sort_keys=True), flush=True)

    def error(self, error: BaseException, *, code: int | None = None) -> int:
        """The end of a command: `complain`, and an ``{"error": ...}`` object with ``--json``.

        Returns:
            The exit code of its kind, or `code` if given.
        """
        described = self.complain(error, code=code)
        self.data({"error": described})
        return int(described["exit_code"])

    def complain(self, error: BaseException, *, code: int | None = None) -> dict[str, Any]:
        """Print one clear line about `error` on stderr; return its description for ``--json``."""
        code = exit_code(error) if code is None else code
        kind, message = type(error).__name__, str(error)
        if code == BUG:
            message = f"{kind}: {message} (a bug in indextrust; -v -v shows the traceback)"
        print(f"indextrust: {printable(message)}", file=sys.stderr)
        if self.verbosity == 1 and (cause := error.__cause__) is not None:
            print(f"  because of {type(cause).__name__}: {printable(str(cause))}", file=sys.stderr)
        if self.verbosity > 1:
            lines = "".join(traceback.format_exception(error))
            print(printable(lines), file=sys.stderr, end="")
        described = {"kind": kind, "message": message, "exit_code": code}
        for name in ("where", "expected", "got", "remembered", "offered", "extra"):
            if getattr(error, name, None):
                described[name] = str(getattr(error, name))
        return described

    @contextmanager
    def progress(self, doing: str, total: int | None = None) -> Iterator[Step]:
        """A progress bar on stderr, for work that takes more than a second, on a terminal.

        Args:
            doing: what is being done.
            total: units of work, if they can be counted.
        """
        if self.quiet or self.json or not sys.stderr.isatty():
            yield Step(None, None)
            return
        bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}: {task.fields[done]}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        task = bar.add_task(doing, total=total, done="")
        appears = Timer(_PATIENCE, bar.start)
        appears.daemon = True
        appears.start()
        try:
            yield Step(bar, task)
        finally:
            appears.cancel()
            appears.join()
            bar.stop()
