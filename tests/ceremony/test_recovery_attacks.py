"""What could stop a recovery, or leave a gap in its record: by a thief's hand, or by none."""

from __future__ import annotations

from pathlib import Path

import pytest

from indextrust.repository import Repository
from tests.ceremony.recovery_room import Shop, open_shop


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return open_shop(tmp_path_factory.mktemp("attacks") / "shop")


@pytest.fixture
def shop(opened: Shop, tmp_path: Path) -> Shop:
    return opened.copied(tmp_path / "copy")


def test_who_queued_has_a_name_of_any_letters(shop: Shop) -> None:
    place = shop.place
    folder, wheel = place.folder / "index", place.wheel("demo", "5.0")
    theirs = Repository.open(folder, online=place.online, clock=place.clock, by="Jürgen Ł")
    theirs.add(wheel)
    theirs.publish()
    recovery = shop.start().audit()
    assert "Jürgen Ł" in (recovery.folder / "decisions.txt").read_text("utf-8")
    recovery.decide()
