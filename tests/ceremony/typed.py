"""A command of ``indextrust``, to be run in a child of the fault tests' workshop.

What commands import when they run is imported here, once, before any child is forked.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import indextrust.ceremony.paper
import indextrust.repository  # noqa: F401
from indextrust.cli.app import run


@dataclass(frozen=True)
class Typed:
    """A command as it is typed in a folder.

    Args:
        folder: where; its calls below this folder are watched.
        words: what stands after ``indextrust``.
    """

    folder: Path
    words: tuple[str, ...]

    @property
    def index(self) -> Path:
        """The folder that is watched."""
        return self.folder

    def __call__(self) -> int:
        os.chdir(self.folder)
        return run([*self.words, "-q"])
