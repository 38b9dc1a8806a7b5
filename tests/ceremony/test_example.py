"""What keyholders would copy runs as it stands."""

from __future__ import annotations

import doctest
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import indextrust.ceremony
from tests.ceremony.parties import root_of, tuf_client

EXAMPLE = Path(__file__).parents[2] / "examples" / "ceremony.py"


def test_the_example_runs_without_arguments_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-B", str(EXAMPLE)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Clients start from this root, sha256" in done.stdout
    assert "Root 2 is signed, sha256" in done.stdout
    assert os.listdir(tmp_path) == []


def test_tufs_client_follows_what_the_example_signed(tmp_path: Path) -> None:
    runpy.run_path(str(EXAMPLE))["main"](tmp_path)
    first = (tmp_path / "genesis" / "1.root.json").read_bytes()
    second = (tmp_path / "rotation" / "2.root.json").read_bytes()
    assert tuf_client(first).update_root(second).version == 2
    online = [root_of(data).roles["timestamp"].keyids for data in (first, second)]
    assert online[0] != online[1]
    assert sorted(path.name for path in (tmp_path / "rotation").iterdir()) == [
        "2.bins.json",
        "2.root.json",
        "2.targets.json",
    ]


def test_the_example_is_short_and_uses_public_names_only() -> None:
    text = EXAMPLE.read_text()
    assert len(text.splitlines()) < 60
    modules = re.findall(r"^(?:from|import) (indextrust\S*)", text, re.MULTILINE)
    assert modules == ["indextrust.ceremony"]


def test_the_example_in_the_documentation_runs() -> None:
    results = doctest.testmod(indextrust.ceremony, raise_on_error=True)
    assert results.attempted > 0
