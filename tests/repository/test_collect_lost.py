"""Collection where the log has lost what was published a moment ago."""

from __future__ import annotations

from tests.repository.place import Place
from tests.repository.test_collect import is_whole, versions
from tests.repository.test_publish import client
from tests.repository.test_rebuild import rebuild


def test_after_an_old_backup_was_restored_readers_keep_their_hour(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"))
    state = place.repository.folder / "state.sqlite"
    backup = state.read_bytes()
    place.publish(place.wheel("demo", "2.0"))
    place.clock.sleep(hours=2)
    place.repository.collect()  # what the backup knows as the current set is gone
    place.clock.sleep(hours=2)
    slow = client(place)
    slow.refresh()
    state.write_bytes(backup)
    place.repository = place.reopen()
    place.repository.restore()
    place.clock.sleep(minutes=55)
    place.repository.collect()
    assert versions(place, "snapshot") == [3, 4]
    assert slow.find("files/demo/demo-2.0-py3-none-any.whl")  # its bins are there
    place.clock.sleep(minutes=6)
    place.repository.collect()
    assert versions(place, "snapshot") == [4]
    is_whole(place)


def test_after_a_rebuilding_readers_keep_their_hour(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"))
    place.clock.sleep(hours=3)
    slow = client(place)
    slow.refresh()
    place.publish(place.wheel("demo", "2.0"))
    (place.repository.folder / "state.sqlite").unlink()
    rebuild(place)
    place.clock.sleep(minutes=55)
    place.repository.collect()
    assert versions(place, "snapshot") == [1, 2, 3]
    assert slow.find("files/demo/demo-1.0-py3-none-any.whl")
    place.clock.sleep(minutes=6)
    place.repository.collect()
    assert versions(place, "snapshot") == [3]
    is_whole(place)
