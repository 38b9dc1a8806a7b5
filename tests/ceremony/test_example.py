"""What keyholders would copy runs as it stands."""

from __future__ import annotations

import doctest
import re
import runpy
from pathlib import Path

import indextrust.ceremony
from tests.ceremony.parties import root_of, tuf_client
from tests.support.examples import EXAMPLES, output_of

EXAMPLE = EXAMPLES / "ceremony.py"


def test_the_example_runs_without_arguments_and_leaves_nothing(tmp_path: Path) -> None:
    printed = output_of(EXAMPLE, tmp_path)
    assert "Clients start from this root, sha256" in printed
    assert "Root 2 is signed, sha256" in printed


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
