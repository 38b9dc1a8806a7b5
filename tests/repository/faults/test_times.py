"""Clocks that go back, and an index that sleeps: versions rise, and one publication heals."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from tuf.api.exceptions import ExpiredMetadataError

from tests.repository.faults.readers import Reader, whole
from tests.repository.faults.scenes import today
from tests.repository.place import Clock, Place

HOUR, YEAR = timedelta(hours=1), timedelta(days=360)


def warned(place: Place, what: str) -> bool:
    return any(what in text for text in place.repository.status().warnings)


def read(place: Place, reader: Reader) -> dict[str, int]:
    """A returning client reads everything; the versions of all online roles."""
    index = whole(place.public, place.roles.root[0])
    assert reader.read(place.public, index.targets).targets == index.targets
    return index.versions


@pytest.mark.parametrize("back", [HOUR, YEAR])
def test_05_a_clock_that_was_ahead_and_is_right_again(tmp_path: Path, back: timedelta) -> None:
    """The clock was an hour, or a year, ahead, and an index was published then. It is put right:
    the operator is told which roles were signed at a time to come, the next publication signs
    them anew, and no version falls."""
    place = Place(tmp_path, Clock(today() - timedelta(minutes=1)))
    reader = Reader(tmp_path / "home", place.roles.root[0])
    place.clock.now += back
    place.publish(place.wheel("demo", "1.0"))
    assert place.repository.status().warnings == () or back == YEAR
    before = read(place, reader)
    place.clock.now -= back
    assert warned(place, "still to come")
    place.publish(place.wheel("demo", "2.0"))
    assert place.repository.status().warnings == ()
    after = read(place, reader)
    assert after.items() >= {"targets": 1, "bins": 1}.items()
    assert all(after[name] > before[name] for name in ("timestamp", "snapshot"))
    assert all(after[name] >= before[name] for name in before)


@pytest.mark.parametrize("back", [HOUR, YEAR])
def test_05_a_clock_that_falls_behind_and_is_put_right(tmp_path: Path, back: timedelta) -> None:
    """The clock goes back by an hour, or a year, between two publications. The operator is told;
    if he publishes all the same, versions rise. What is signed a year ago has expired, and no
    client takes it; when the clock is right again, one publication heals them."""
    place = Place(tmp_path, Clock(today() - timedelta(minutes=1)))
    reader = Reader(tmp_path / "home", place.roles.root[0])
    place.publish(place.wheel("demo", "1.0"))
    before = read(place, reader)
    place.clock.now -= back
    assert warned(place, "still to come: look at the clock")
    place.repository.add(place.wheel("demo", "2.0"))
    published = place.repository.publish()
    assert "what is signed by a clock that is behind expires too early" in published.warnings[0]
    behind = place.versions()
    assert all(behind[name] >= before[name] for name in before)
    assert behind["timestamp"] > before["timestamp"]
    if back == YEAR:
        with pytest.raises(ExpiredMetadataError):
            reader.read(place.public, ["simple/demo/index.json"])
        place.clock.now += back
        assert warned(place, "timestamp has expired")
        place.repository.publish()
    assert all(version >= behind[name] for name, version in read(place, reader).items())


def test_05_a_clock_that_jumps_to_and_fro_between_steps(tmp_path: Path) -> None:
    """Mid-sequence: queueing, publishing and renewing each meet another time."""
    place = Place(tmp_path, Clock(today() - timedelta(minutes=1)))
    reader = Reader(tmp_path / "home", place.roles.root[0])
    right, last = place.clock.now, 0
    for number, jump in enumerate([HOUR, -HOUR, YEAR, -YEAR, 2 * HOUR, -YEAR, timedelta(0)]):
        place.clock.now = right - jump
        place.repository.add(place.wheel("demo", f"1.{number}"))
        place.clock.now = right + jump
        place.repository.publish()
        place.clock.now = right
        place.repository.renew()
        versions = read(place, reader)
        assert versions["timestamp"] > last
        last = versions["timestamp"]
    assert place.repository.status().warnings == ()


@pytest.mark.parametrize("what", ["publish", "renew"])
def test_09_an_index_that_was_down_for_thirty_days_heals_by_one_publication(
    tmp_path: Path, what: str
) -> None:
    """Everything online has been expired for a month. Clients that were there before, and new
    ones, refuse it; after one publication both read it, and a change that was queued is out."""
    place = Place(tmp_path, Clock(today() - timedelta(days=30)))
    place.publish(place.wheel("demo", "1.0"))
    for name in ("home", "fresh"):
        with pytest.raises(ExpiredMetadataError):
            Reader(tmp_path / name, place.roles.root[0]).read(place.public, [])
    place.clock.now = today() - timedelta(minutes=1)
    assert warned(place, "timestamp has expired")
    if what == "publish":
        place.repository.add(place.wheel("demo", "2.0"))
        assert len(place.repository.publish().bins) == 4
    else:
        assert place.repository.renew() is not None
    for name in ("home", "fresh"):
        versions = read(place, Reader(tmp_path / name, place.roles.root[0]))
        assert versions["timestamp"] == 3
    assert ("demo-2.0-py3-none-any.whl" in str(place.document("demo"))) == (what == "publish")
    assert place.repository.status().warnings == ()
