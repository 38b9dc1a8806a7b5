"""Running what users would copy, as they would run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def output_of(example: Path, folder: Path) -> str:
    """What `example` prints when it is run without arguments in `folder`, which stays empty."""
    done = subprocess.run(
        [sys.executable, "-B", str(example)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert os.listdir(folder) == []
    return done.stdout
