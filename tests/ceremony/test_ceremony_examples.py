"""What keyholders would read first runs as it stands; the specification shows a real event."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from indextrust.ceremony.event import encode
from tests.ceremony.event_room import genesis_of, person, server
from tests.support.examples import EXAMPLES, output_of

CEREMONIES = EXAMPLES / "ceremonies"

STORIES = {
    "genesis": ["1 more for the new root 1", "complete: the threshold is met", "1.root.json"],
    "yearly": ["a renewal: nothing changes but the time", "roots in the backup: [1, 2]"],
    "lost_keyholder": ["- keyholder Bob (serial bag-Bob", "1 more for the old root 1"],
    "higher_threshold": ["threshold: 4 of 6 sign a root (before: 3 of 5)", "4 of 4 needed"],
    "online_key": ["another online key", "signs no more", "root 2 is in force"],
    "genesis_on_tokens": ["--key=hsm:?label=Dee&id=a1", "3 of 3 needed, of 5 keyholders"],
}


@pytest.mark.parametrize("story", STORIES)
def test_the_example_runs_as_it_stands_and_leaves_nothing(story: str, tmp_path: Path) -> None:
    printed = output_of(CEREMONIES / f"{story}.py", tmp_path)
    for words in STORIES[story]:
        assert words in printed
    assert "passphrase of" not in printed


def test_the_readme_lists_every_example() -> None:
    listed = re.findall(r"^\| \[(\w+)\.py\]", (CEREMONIES / "README.md").read_text(), re.MULTILINE)
    there = {path.stem for path in CEREMONIES.glob("*.py")} - {"room"}
    assert set(listed) == there == set(STORIES)


def test_the_specification_shows_the_fields_of_a_real_event() -> None:
    text = (EXAMPLES.parent / "specs" / "ceremony.md").read_text()
    shown = re.search(r"```json\n(.+?)```", text, re.DOTALL)
    assert shown is not None
    spec = json.loads(shown[1])
    real = json.loads(encode(genesis_of([person("Ann")], 1, server())))
    assert spec.keys() == real.keys()
    assert spec["root"].keys() == real["root"].keys()
    assert json.dumps(spec, indent=1, sort_keys=True, ensure_ascii=False) + "\n" == shown[1]
    for field in real:
        assert f"`{field}`" in text
