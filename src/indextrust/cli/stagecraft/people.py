"""Those who install: each with a home (trusted index, first-seen memory), in environments.

They run the command that people run, ``indextrust run -- pip install flask``, in a process of
its own; what they report is its exit code, pip's own words and the summary.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indextrust.cli.exit_codes import REFUSED_IN_RUN
from indextrust.cli.stagecraft.commands import Answer, indextrust
from indextrust.errors import InputError, StoreError

__all__ = ["Environment", "Installation", "Person", "find_uv"]

_SECONDS = 180
_LOOK = "import {0}; print(getattr({0}, 'STOLEN', 'honest'), {0}.__file__)"


class Environment:
    """A virtual environment.

    Args:
        folder: where it is made.
        pip: with a pip of its own; without, it is filled from outside, and made faster.
    """

    def __init__(self, folder: Path, *, pip: bool = False) -> None:
        self.folder = folder
        without = [] if pip else ["--without-pip"]
        _output([sys.executable, "-m", "venv", *without, str(folder)], f"make {folder}")

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def installed(self) -> list[str]:
        """Names of what is installed in it, sorted, apart from pip and setuptools."""
        look = "import importlib.metadata as m; print(*(d.name for d in m.distributions()))"
        found = _output([str(self.python), "-I", "-c", look], "look around").split()
        return sorted(set(found) - {"pip", "setuptools"})

    def origin(self, module: str) -> str:
        """``honest``, or what a thief's payload in `module` calls itself, as Python imports it."""
        look = _LOOK.format(module)
        return _output([str(self.python), "-I", "-c", look], f"import {module}").split()[0]


@dataclass(frozen=True)
class Installation:
    """What came of one ``indextrust run``.

    Args:
        code: its exit code.
        words: what the installer printed.
        summary: what indextrust verified and refused.
    """

    code: int
    words: str
    summary: dict[str, Any]

    def refusals(self) -> list[dict[str, Any]]:
        """What was refused, in order of time."""
        return list(self.summary.get("refusals", ()))

    def refused_as(self, *errors: str) -> bool:
        """Whether something was refused, and as nothing but one of these errors."""
        kinds = {refusal["error"] for refusal in self.refusals()}
        return bool(kinds) and kinds <= set(errors)

    def stopped_as(self, *errors: str) -> bool:
        """Whether the run was stopped by these errors and no other."""
        return self.code == REFUSED_IN_RUN and self.refused_as(*errors)

    def verdict(self) -> str:
        """How it ended, in a line."""
        refusals = self.refusals()
        if not refusals:
            return f"exit code {self.code}, nothing refused"
        return f"refused ({refusals[-1]['error']}): {refusals[-1]['detail']}"

    def reason(self) -> str:
        """The line in which the installer itself repeats our reason; empty if it doesn't."""
        lines = [line.strip() for line in self.words.splitlines() if "indextrust: " in line]
        return lines[-1] if lines else ""


@dataclass(frozen=True)
class Person:
    """Somebody with an ``INDEXTRUST_HOME`` of their own.

    Args:
        home: that folder.
        tools: the environment whose pip they use.
        index: the name under which they trust the index.
    """

    home: Path
    tools: Environment
    index: str

    def trust(self, url: str, fingerprint: str) -> None:
        """Trust the index at `url` from the root with this SHA-256."""
        self._must("trust", "add", self.index, url, "--fingerprint", fingerprint)

    def reset(self, fingerprint: str) -> Answer:
        """Start again from the root with this SHA-256, as somebody told it."""
        return self._indextrust("trust", "reset", self.index, "--fingerprint", fingerprint)

    def acknowledge(self, filename: str, sha256: str) -> None:
        """Accept `sha256` for a file remembered with another digest."""
        self._must("trust", "acknowledge", filename, "--sha256", sha256)

    def scan(self, environment: Environment) -> Answer:
        """``indextrust scan``: which of the installed distributions an incident is about."""
        return self._indextrust("scan", str(environment.folder), "--index", self.index)

    def pip_install(self, project: str, into: Environment) -> Installation:
        """``indextrust run -- pip install PROJECT`` into an environment."""
        into_other = () if into is self.tools else ("--python", str(into.python))
        return self._run("pip", *into_other, "install", project)

    def uv_install(self, project: str, into: Environment) -> Installation:
        """``indextrust run -- uv pip install PROJECT`` into an environment."""
        return self._run(find_uv(), "pip", "install", "--python", str(into.python), project)

    def _run(self, *child: str) -> Installation:
        answer = self._indextrust("run", "--index", self.index, "--", *child)
        return Installation(answer.code, answer.words, answer.data.get("summary", {}))

    def _must(self, *arguments: str) -> None:
        """A command that succeeds. Raises StoreError."""
        if (answer := self._indextrust(*arguments)).code != 0:
            raise StoreError(f"{' '.join(arguments)}: exit code {answer.code}: {answer.words}")

    def _indextrust(self, *arguments: str) -> Answer:
        return indextrust(*arguments, env=self._environ())

    def _environ(self) -> dict[str, str]:
        return {
            **os.environ,
            "INDEXTRUST_HOME": str(self.home),
            "PATH": f"{self.tools.python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        }


def find_uv() -> str:
    """Where uv is: beside this Python, or on the path.

    Raises:
        InputError: nowhere.
    """
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        raise InputError("uv is needed beside indextrust:  pip install uv")
    return uv


def _output(command: list[str], what: str) -> str:
    """What `command` prints. Raises StoreError with its last words if it fails."""
    done = subprocess.run(  # noqa: S603 - our own words
        command, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    if done.returncode != 0:
        raise StoreError(f"could not {what}: exit code {done.returncode}: {done.stderr[-500:]}")
    return done.stdout
