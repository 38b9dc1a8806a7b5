"""A file that is removed and comes back before anything was published."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from indextrust.errors import RepositoryError
from indextrust.repository import Repository
from indextrust.repository.plan import TargetFile
from tests.repository.place import Place

WHEEL = "demo-1.0-py3-none-any.whl"


def table(place: Place, name: str, *rows: dict[str, object]) -> Path:
    path = place.folder / f"{name}.jsonl"
    base = {"filename": WHEEL, "sha256": "a" * 64, "size": 7, "upload_time": "2026-01-31T12:00:00Z"}
    path.write_text("".join(json.dumps({**base, **row}) + "\n" for row in rows))
    return path


def test_a_file_removed_and_added_again_leaves_tables_that_are_believed(place: Place) -> None:
    wheel = place.wheel("demo", "1.0")
    place.repository.add(wheel)
    place.repository.publish()
    place.clock.sleep(minutes=1)
    place.repository.remove("demo", wheel.name)
    place.repository.add(wheel)  # with a later upload time
    place.repository.publish()
    stated = place.document("demo")["files"][0]["upload-time"]
    assert place.repository.files("demo")[0].upload_time == stated
    place.repository.add(place.wheel("demo", "2.0"))
    place.repository.publish()  # not: the state was altered


@pytest.mark.parametrize("core", [{}, {"metadata_sha256": "c" * 64, "metadata_size": 3}])
def test_core_metadata_change_with_a_file_that_is_imported_again(
    place: Place, core: dict[str, object]
) -> None:
    first = {"metadata_sha256": "b" * 64, "metadata_size": 2}
    place.repository.import_files(table(place, "one", first))
    place.repository.publish()
    place.repository.remove("demo", WHEEL)
    place.repository.import_files(table(place, "two", core))
    place.repository.publish()
    found = place.repository.published_targets().get(f"files/demo/{WHEEL}.metadata")
    assert found == (TargetFile(3, "c" * 64) if core else None)
    place.repository.yank("demo", WHEEL)
    place.repository.publish()


def test_bytes_that_come_here_are_published_here(place: Place) -> None:
    wheel = place.wheel("demo", "1.0")
    data = wheel.read_bytes()
    row = {"filename": wheel.name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    place.repository.import_files(table(place, "one", row))
    place.repository.publish()
    place.repository.remove("demo", wheel.name)
    place.repository.add(wheel)
    place.repository.publish()
    assert (place.repository.public / "files/demo" / wheel.name).read_bytes() == data


def test_a_name_never_gets_a_second_digest_in_a_later_window(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a queue of an older version may hold."""
    from indextrust.distribution import DistributionFile
    from indextrust.names import NormalizedName
    from indextrust.repository.changes import Add, Remove

    monkeypatch.setattr(Repository, "WINDOW", 2)
    demo, now = NormalizedName("demo"), "2026-01-31T12:00:00Z"
    file = [DistributionFile(demo, WHEEL, "1.0", 7, digit * 64, now) for digit in "ab"]
    other = DistributionFile(demo, "demo-2.0.tar.gz", "2.0", 7, "d" * 64, now)
    place.repository._state.queue.enqueue(
        [
            Add(file[0], None, elsewhere=True),
            Add(other, None, elsewhere=True),
            Remove(demo, WHEEL),
            Add(file[1], None, elsewhere=True),
        ],
        now,
    )
    with pytest.raises(RepositoryError, match="was published with a"):
        place.repository.publish()
