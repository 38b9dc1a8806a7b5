"""Clocks that were wrong, folders of somebody else's, documents that nobody could read."""

from __future__ import annotations

import errno
from datetime import timedelta
from pathlib import Path

import pytest

from indextrust.distribution import DistributionFile
from indextrust.errors import DistributionError, RepositoryError, SigningError, StoreError
from indextrust.names import NormalizedName
from indextrust.repository import Repository
from indextrust.repository.changes import Add
from indextrust.repository.restore import Repair
from indextrust.repository.state import State
from indextrust.repository.storage import FolderStorage
from tests.repository.place import NOW, Place, everything
from tests.repository.test_publish import FailingSigner, client, reaches_only
from tests.support.wheels import make_wheel


def test_what_a_wrong_clock_signed_is_warned_of_and_signed_anew(place: Place) -> None:
    place.clock.sleep(days=3000)
    with pytest.raises(RepositoryError, match="expired"):
        place.repository.renew()  # the offline roles stop a clock that is years ahead
    place.clock.now = NOW + timedelta(days=100)
    place.repository.renew()
    place.clock.now = NOW
    warnings = place.repository.status().warnings
    assert any("6 roles (snapshot, timestamp, bin-0)" in text for text in warnings)
    published = place.repository.publish()
    assert len(published.bins) == 4
    assert place.repository.status().warnings == ()
    assert place.signed("timestamp.json")["expires"] == "2026-02-01T12:00:00Z"
    client(place).refresh()


def refuses(*_: object) -> None:
    raise StoreError("the disk refuses")


@pytest.fixture
def unrecorded(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A publication failed after its timestamp was out, with a project that is new in it."""
    place.publish(place.wheel("demo", "1.0"))
    place.repository.add(place.wheel("new", "1.0"))
    with monkeypatch.context() as patch:
        patch.setattr(State, "finish", refuses)
        with pytest.raises(StoreError):
            place.repository.publish()
    return place


def test_a_repair_takes_no_timestamp_away_that_is_out_and_not_recorded(
    unrecorded: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The repair is interrupted. Clients go on with what they have seen."""
    seen = unrecorded.versions()
    with monkeypatch.context() as patch:
        patch.setattr(Repair, "_project", refuses)
        with pytest.raises(StoreError):
            unrecorded.reopen().restore()
    assert unrecorded.versions()["timestamp"] == seen["timestamp"] + 1
    reaches_only(unrecorded, "new", ["new-1.0-py3-none-any.whl"])
    assert unrecorded.reopen().restore().lost == 0
    assert unrecorded.repository.check().clean


def test_a_repair_does_not_begin_where_nothing_can_be_signed_or_written(
    unrecorded: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take the timestamp away, and could not put another there."""
    timestamp, online = unrecorded.public / "metadata" / "timestamp.json", unrecorded.online
    served = timestamp.read_bytes()

    def full(*_: object) -> None:
        raise StoreError("can't write") from OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(FolderStorage, "sync", full)
        with pytest.raises(StoreError, match="can't write"):
            unrecorded.reopen().restore()
    assert timestamp.read_bytes() == served
    unrecorded.online = FailingSigner(online, 0)
    with pytest.raises(SigningError, match="the device is gone"):
        unrecorded.reopen().restore()
    assert timestamp.read_bytes() == served
    unrecorded.online = online
    assert unrecorded.reopen().restore().lost == 0
    reaches_only(unrecorded, "new", ["new-1.0-py3-none-any.whl"])


def test_what_a_repair_is_for_does_not_stop_it_before_it_begins(unrecorded: Place) -> None:
    """The publication that was cut short can't be completed: its bins are damaged."""
    for path in (unrecorded.public / "metadata").glob("*.bin-*.json"):
        path.write_bytes(path.read_bytes() + b"\n")
    assert unrecorded.reopen().restore().lost == 0
    reaches_only(unrecorded, "new", ["new-1.0-py3-none-any.whl"])
    assert unrecorded.repository.check().clean


def test_a_document_that_clients_refuse_is_never_published(place: Place) -> None:
    state = place.state()
    file = DistributionFile(
        NormalizedName("demo"),
        "demo-1.0.tar.gz",
        "1.0",
        1,
        "00" * 32,
        "2026-01-31T12:00:00Z",
        requires_python="==1e\u0301",  # not NFC
    )
    state.queue.enqueue([Add(file)], "2026-01-31T12:00:00Z")
    public, rows = everything(place.public), state.roles()
    with pytest.raises(RepositoryError, match=r"a client would refuse it: .*requires-python"):
        place.repository.publish()
    assert everything(place.public) == public
    assert state.roles() == rows
    assert state.queue.interrupted() is None
    assert state.used(file.filename) is None


def test_a_name_too_long_to_be_served_is_refused_before_it_blocks_the_queue(
    place: Place, tmp_path: Path
) -> None:
    """A target is served with its SHA-256 before its name, and its core metadata with more."""
    longest = make_wheel(tmp_path, "demo", f"1.0+{'a' * (181 - 26)}")
    assert len(longest.name) == 181
    place.repository.add(longest)
    with pytest.raises(DistributionError, match="182 characters, expected at most 181"):
        place.repository.add(make_wheel(tmp_path, "demo", f"1.0+{'a' * (182 - 26)}"))
    assert place.repository.publish().added == 1
    assert place.repository.check().clean


def test_creating_sweeps_no_folder_of_somebody_elses(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "incoming").mkdir(parents=True)
    (folder / "incoming" / "letters.txt").write_bytes(b"mine")
    with pytest.raises(RepositoryError, match=r"is not empty: .*incoming/letters\.txt"):
        Repository.create(folder, place.roles, online=place.online, clock=place.clock)
    assert (folder / "incoming" / "letters.txt").read_bytes() == b"mine"


def test_a_new_index_whose_signer_fails_is_there_and_published_later(
    place: Place, tmp_path: Path
) -> None:
    folder = tmp_path / "second"
    with pytest.raises(SigningError):
        Repository.create(
            folder, place.roles, online=FailingSigner(place.online, 2), clock=place.clock
        )
    assert not (folder / "public/metadata/timestamp.json").exists()
    repository = Repository.open(folder, online=place.online, clock=place.clock)
    assert len(repository.publish().bins) == 4
