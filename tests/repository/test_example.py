"""What an operator would copy runs as it stands."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from indextrust.repository import Repository
from tests.support.examples import EXAMPLES, output_of

EXAMPLE = EXAMPLES / "index_operator.py"


def test_the_example_runs_without_arguments_and_leaves_nothing(tmp_path: Path) -> None:
    printed = output_of(EXAMPLE, tmp_path)
    assert "snapshot 2: 2 files added" in printed
    assert "nothing to renew yet\nas published: True\n" in printed


def test_the_example_leaves_an_index_as_it_says(tmp_path: Path) -> None:
    runpy.run_path(str(EXAMPLE))["main"](tmp_path)
    files = Repository.open(tmp_path / "index").files("demo")
    assert [(file.version, file.yanked) for file in files] == [
        ("1.0", "loses data on Tuesdays"),
        ("1.1", None),
    ]


def test_the_example_is_short_and_uses_public_names_only() -> None:
    text = EXAMPLE.read_text()
    assert len(text.splitlines()) < 60
    modules = re.findall(r"^(?:from|import) (indextrust\S*)", text, re.MULTILINE)
    assert modules == ["indextrust.ceremony", "indextrust.repository"]


def test_the_example_of_a_re_binning_shows_a_client_that_follows(tmp_path: Path) -> None:
    printed = output_of(EXAMPLES / "rebinning.py", tmp_path).splitlines()
    numbers = [int(line.rpartition("-")[2], 16) for line in printed[:2]]
    assert numbers[1] >> 2 == numbers[0], "the new bin's range is part of the old one's"
    assert printed[2] == "8 bins, 0 old names; as published: True"
