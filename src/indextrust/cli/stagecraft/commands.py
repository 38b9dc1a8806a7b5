"""indextrust's own commands, each in a process of its own, as people call them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indextrust.errors import StoreError

__all__ = ["Answer", "indextrust"]

_SECONDS = 180


@dataclass(frozen=True)
class Answer:
    """How a command ended.

    Args:
        code: its exit code.
        data: what it printed with ``--json``.
        words: what it said beside that.
    """

    code: int
    data: dict[str, Any]
    words: str


def indextrust(*arguments: str | Path, env: Mapping[str, str] | None = None) -> Answer:
    """Run ``indextrust ARGUMENTS --json``, without a terminal; what stands after ``--`` stays.

    Raises:
        StoreError: it printed no JSON.
    """
    words = [*map(str, arguments)]
    end = words.index("--") if "--" in words else len(words)
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-m", "indextrust", *words[:end], "--json", *words[end:]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
        env=env,
    )
    try:
        data: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        raise StoreError(
            f"indextrust {arguments[0]} ended with {done.returncode} and no answer: "
            f"{done.stderr[-500:]}"
        ) from None
    return Answer(done.returncode, data, done.stderr)
