"""Numbers of bins that come back, after the state that knew them was lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from indextrust.ceremony import BinScheme, rotate
from tests.repository.place import Place
from tests.repository.test_publish import client
from tests.repository.test_rebuild import rebuild


def to(place: Place, bins: int, online: CryptoSigner) -> None:
    """The keyholders meet; the online key may be another one."""
    place.roles = rotate(
        place.roles,
        place.keyholders[:2],
        online.public_key,
        now=place.clock.now,
        bins=BinScheme.of(bins),
    )
    place.online = online
    place.repository.rebin(place.roles, online)


@pytest.fixture
def moved(tmp_path: Path) -> Place:
    """4 bins, renewed a few times, then 32 of them under another online key."""
    place = Place(tmp_path)
    place.publish(*(place.wheel(f"p{number}", "1.0") for number in range(6)))
    for _ in range(3):
        place.clock.sleep(hours=20)
        place.repository.renew()
    return place


def test_a_rebuilding_keeps_the_numbers_of_bins_that_nobody_lists(moved: Place) -> None:
    last = moved.versions()["bin-0"]
    to(moved, 32, CryptoSigner.generate_ed25519())
    assert "bin-0" not in moved.versions()
    rebuild(moved)
    assert moved.repository.check().clean
    to(moved, 4, moved.online)
    assert moved.versions()["bin-0"] > last
    assert client(moved).refresh()


def test_an_old_backup_keeps_the_numbers_of_bins_that_it_never_knew(moved: Place) -> None:
    state = moved.repository.folder / "state.sqlite"
    backup, first = state.read_bytes(), moved.roles
    to(moved, 32, moved.online)
    for _ in range(3):
        moved.clock.sleep(hours=20)
        moved.repository.renew()
    last, roles = moved.versions()["bin-00"], moved.roles
    returning = client(moved)
    returning.now = moved.clock.now
    returning.refresh()
    state.write_bytes(backup)
    moved.repository, moved.roles = moved.reopen(), first
    moved.repository.restore()
    moved.repository.rebin(roles, moved.online)
    assert moved.versions()["bin-00"] > last
    returning.now = moved.clock.now
    returning.refresh()
