"""Nobody agrees to what they were not shown."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pexpect
import pytest

from indextrust.ceremony import generate_key
from tests.cli.place import Place, new_place

PASSPHRASE = "correct-horse-staple"


@pytest.fixture
def room(tmp_path: Path) -> Place:
    place = new_place(tmp_path / "place")
    generate_key(place.folder / "ann.pem", PASSPHRASE, keyholder="Ann")
    generate_key(place.folder / "online.pem", PASSPHRASE)
    place.must(
        *("ceremony", "propose", "event.json", "--add=ann.pub.json", "--threshold=1"),
        *("--online=online.pub.json", "--bins=4", "--by=Lea"),
    )
    return place


@pytest.mark.parametrize("option", ["-q", "--json"])
def test_whoever_is_asked_to_agree_was_shown_the_event(room: Place, option: str) -> None:
    """With -q or --json nothing is printed; the question would be all that is seen."""
    child = pexpect.spawn(
        sys.executable,
        [
            *("-m", "indextrust", "ceremony", "sign", "event.json"),
            *("--keyholder=Ann", "--key=file2:ann.pem", option),
        ],
        cwd=str(room.folder),
        env=dict(os.environ),
        encoding="utf-8",
        timeout=60,
    )
    asked = child.expect(["anything else stops", pexpect.EOF])
    before = child.before
    child.close(force=True)
    assert asked == 1 or "Do not sign if" in (before or "")
