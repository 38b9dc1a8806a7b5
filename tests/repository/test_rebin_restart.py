"""A re-binning that is killed from outside: readers see the old bins or the new ones, and the next
call completes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from securesystemslib.signer import CryptoSigner

from indextrust.ceremony import BinScheme, rotate
from indextrust.trust import NotListed, TargetEntry
from tests.repository.place import Place
from tests.repository.test_publish import client
from tests.repository.test_restart import run

OLD, NEW = BinScheme.of(4), BinScheme.of(8)
WHEEL, DOCUMENT = "files/demo/demo-1.0-py3-none-any.whl", "simple/demo/index.json"


def prepare(folder: Path, *, new_key: bool = False) -> Place:
    """An index with a wheel, one change in the queue, and roles for more bins."""
    place = Place(folder, bins=OLD.count)
    place.publish(place.wheel("demo", "1.0"))
    place.repository.add(place.wheel("later", "1.0"))
    if new_key:
        place.online = CryptoSigner.generate_ed25519()
    rotate(
        place.roles, place.keyholders[:2], place.online.public_key, bins=NEW, now=place.clock.now
    ).save(folder / "roles")
    pem = place.online._private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "online.pem").write_bytes(pem)
    return place


@pytest.fixture(scope="module")
def changes(tmp_path_factory: pytest.TempPathFactory) -> int:
    """Changes to the disk that a re-binning makes when nobody stops it."""
    folder = tmp_path_factory.mktemp("whole")
    prepare(folder)
    return int(run("rebin", folder, 10**9).split()[-1])


def story(folder: Path, stop: int, then: str, *, new_key: bool = False) -> None:
    """Kill the re-binning before change number `stop`; look; have it completed; look again."""
    place = prepare(folder, new_key=new_key)
    returning, timestamp = client(place), place.public / "metadata" / "timestamp.json"
    returning.refresh()
    before, rows = timestamp.read_bytes(), place.sql("SELECT name FROM roles")
    assert run("rebin", folder, stop).startswith("stopped before")

    visible = timestamp.read_bytes() != before
    begun = place.sql("SELECT name FROM roles") != rows
    assert begun or not visible
    between = not visible and (place.public / "metadata" / "2.root.json").exists()
    if not between:  # a new root is a moment ahead of what it vouches for
        returning.refresh()
        assert isinstance(returning.find(WHEEL), TargetEntry)
        assert isinstance(returning.find("simple/later/index.json"), NotListed)

    ended = place.sql("SELECT kind FROM log ORDER BY number DESC LIMIT 1") == [("end",)]
    again = then == "again" or not begun
    if again:
        assert run("rebin", folder, 10**9).startswith("finished")
    repository = place.reopen()
    assert repository.status().interrupted == (not again and not ended)
    repository.publish()
    status = repository.status()
    assert (status.bins, status.queued, status.interrupted) == (NEW.count, 0, False)
    returning.refresh()
    for path in (WHEEL, DOCUMENT, "simple/later/index.json"):
        assert isinstance(returning.find(path), TargetEntry)
        newcomer = client(place)
        newcomer.refresh()
        assert newcomer.find(path) == returning.find(path)
    assert {name for name in place.versions() if name.startswith("bin-")} == {*NEW.names()}
    assert repository.audit().clean
    assert repository.publish().nothing_to_do


@pytest.mark.parametrize("fraction", [0.02, 0.1, 0.2, 0.3, 0.5, 0.7, 0.77, 0.8, 0.83, 0.86, 1.0])
def test_a_re_binning_that_was_killed_is_completed_by_the_next_publication(
    tmp_path: Path, changes: int, fraction: float
) -> None:
    story(tmp_path, max(1, round(fraction * changes)), "publish")


@pytest.mark.parametrize("fraction", [0.4, 0.82, 1.0])
def test_a_re_binning_that_was_killed_is_completed_when_it_is_called_again(
    tmp_path: Path, changes: int, fraction: float
) -> None:
    story(tmp_path, round(fraction * changes), "again")


@pytest.mark.parametrize("fraction", [0.3, 0.8, 0.83, 1.0])
def test_a_re_binning_with_a_new_online_key_that_was_killed_is_completed(
    tmp_path: Path, changes: int, fraction: float
) -> None:
    story(tmp_path, round(fraction * changes), "publish", new_key=True)


@pytest.mark.long
def test_a_re_binning_may_be_killed_before_every_single_change(
    tmp_path: Path, changes: int
) -> None:
    for stop in range(1, changes + 1):
        folder = tmp_path / str(stop)
        folder.mkdir()
        story(folder, stop, "publish")
