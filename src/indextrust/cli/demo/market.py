"""Where the demo's goods come from: real distributions, pinned, fetched by pip by their hashes.

From wherever this user's pip fetches: its configuration is left alone for this one step.
"""

from __future__ import annotations

import subprocess
from importlib.resources import as_file, files
from pathlib import Path

from indextrust.errors import UnreachableError

__all__ = ["fetch"]

_SECONDS = 120


def fetch(python: Path, folder: Path) -> list[Path]:
    """Download what requirements.txt pins.

    Args:
        python: the interpreter of an environment with pip.
        folder: where the files go; made.

    Returns:
        The files, sorted by name.

    Raises:
        UnreachableError: pip could not get them all.
    """
    folder.mkdir()
    with as_file(files("indextrust.cli.demo") / "requirements.txt") as requirements:
        command = [
            *(str(python), "-m", "pip", "--no-input", "--disable-pip-version-check"),
            *("download", "--no-deps", "--require-hashes"),
            *("--dest", str(folder), "--requirement", str(requirements)),
        ]
        try:
            done = subprocess.run(  # noqa: S603 - our own words
                command, capture_output=True, text=True, timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise UnreachableError(
                f"pip could not fetch the demo's distributions in {_SECONDS} seconds"
            ) from error
    if done.returncode != 0:
        words = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise UnreachableError(
            f"pip could not fetch the demo's distributions: {' '.join(words) or done.stderr}"
        )
    return sorted(folder.iterdir())
