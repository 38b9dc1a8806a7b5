"""Stolen root keys are worth what the threshold says, for somebody else's client too."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tuf.api.exceptions import UnsignedMetadataError
from tuf.ngclient import Updater

from indextrust.testing import SigningThief, TamperingServer, Usurper
from tests.repository.place import Clock, Place

FILE = "files/demo/demo-1.0-py3-none-any.whl"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path, Clock(datetime.now(UTC)))
    made.publish(made.wheel("demo", "1.0"))
    return made


def found(place: Place, server: TamperingServer, path: str) -> str | None:
    """The digest that a new `Updater` finds, given root 1."""
    home = place.folder / "tuf"
    (home / "targets").mkdir(parents=True, exist_ok=True)
    client = Updater(
        *(str(home / "metadata"), f"{server.url}metadata/", str(home / "targets"), server.url),
        bootstrap=place.roles.root[0],
    )
    info = client.get_targetinfo(path)
    return None if info is None else info.hashes["sha256"]


def test_a_threshold_is_the_index(place: Place) -> None:
    usurper = Usurper(place.public, place.keyholders[:2], now=place.clock.now)
    usurper.sign_root()
    thief = usurper.sign_everything()
    thief.replace_file("demo", FILE.rpartition("/")[2], b"evil")
    with TamperingServer(place.public) as server:
        assert found(place, server, FILE) != place.repository.expected_targets()[FILE].sha256


def test_fewer_are_nothing(place: Place) -> None:
    Usurper(place.public, place.keyholders[:1], now=place.clock.now).sign_root()
    with TamperingServer(place.public) as server, pytest.raises(UnsignedMetadataError):
        found(place, server, FILE)


def test_the_online_key_adds_and_removes_files_and_drives_versions(place: Place) -> None:
    thief = SigningThief(place.public, place.online, now=place.clock.now)
    new = "files/other/other-1.0.tar.gz"
    assert thief.add_file("other", "1.0", "other-1.0.tar.gz", b"evil") == (
        new,
        "simple/other/index.json",
    )
    thief.remove_file("demo", FILE.rpartition("/")[2])
    thief.drive_versions(2**31)
    assert set(place.versions().values()) == {1, 2**31}  # targets and bins are not his
    with TamperingServer(place.public) as server:
        assert found(place, server, new) is not None
        assert found(place, server, FILE) is None
