"""The texts under specs/ name tests and files; what they name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXTS = sorted((ROOT / "specs").rglob("*.md"))


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.name)
def test_every_test_that_a_text_names_exists(text: Path) -> None:
    missing = []
    for file, name in re.findall(r"`([\w/]+\.py)::(\w+)`", text.read_text()):
        path = ROOT / "tests" / file
        if not path.is_file() or not re.search(rf"^ *def {name}\(", path.read_text(), re.MULTILINE):
            missing.append(f"{file}::{name}")
    assert missing == []


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.name)
def test_every_link_between_the_texts_leads_somewhere(text: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text.read_text())
    assert [link for link in links if not (text.parent / link).exists()] == []


def test_every_row_of_the_pep_has_its_own_id_and_a_status() -> None:
    rows = _rows()
    ids = [row for row, _ in rows]
    assert len(ids) == len(set(ids)) > 80
    ways = ("met", "Off-PEP", "not yet", "theirs", "in part", "as ", "no: ", "one hash", "the op")
    assert [row for row, status in rows if not status.startswith(ways)] == []


def test_a_row_that_is_met_names_a_test_or_a_row_that_does() -> None:
    ids = {row for row, _ in _rows()}
    for row, status in _rows():
        other = re.search(r"\bas ([A-Z]\d+)", status)
        if status.startswith("met") and "::test_" not in status:
            assert (other and other[1] in ids) or "the same" in status, row


def _rows() -> list[tuple[str, str]]:
    """Id and status of each row of the PEP's tables."""
    text = (ROOT / "specs" / "pep-458.md").read_text()
    return re.findall(r"^\| ([A-Z]\d+) \| .+? \| (.+) \|$", text, re.MULTILINE)
