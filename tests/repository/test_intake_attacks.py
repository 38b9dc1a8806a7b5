"""What is asked of tables that anybody may have written: what is there, and which version it is."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from indextrust.errors import AlteredStateError, IndextrustError, StoreError
from indextrust.repository.seal import Seal
from tests.repository.place import Place

SECOND = "demo-2.0-py3-none-any.whl"


def test_versions_of_files_are_not_swapped(place: Place) -> None:
    """A document has the set of versions, and does not say which file is which."""
    place.publish(place.wheel("demo", "1.0"), place.wheel("demo", "2.0"))
    place.sql("UPDATE files SET version = CASE version WHEN '1.0' THEN '2.0' ELSE '1.0' END")
    place.repository.remove("demo", "demo-1.0-py3-none-any.whl")
    with contextlib.suppress(IndextrustError):
        place.reopen().publish()
    document = place.document("demo")
    assert document["versions"] == sorted({f["filename"].split("-")[1] for f in document["files"]})


def plant(place: Place, tmp_path: Path, wheel: Path) -> None:
    """Insert the row that publishing this wheel would give; learnt at home."""
    (tmp_path / "home").mkdir()
    home = Place(tmp_path / "home")
    home.publish(wheel)
    (row,) = home.sql("SELECT * FROM files")
    place.sql(f"INSERT INTO files VALUES ({','.join('?' * len(row))})", *row)  # noqa: S608


def test_a_file_is_not_left_out_because_a_row_says_that_it_is_there(
    place: Place, tmp_path: Path
) -> None:
    """The row is there while the operator adds the file, and would be gone afterwards."""
    place.publish(place.wheel("demo", "1.0"))
    wheel = place.wheel("demo", "2.0")
    plant(place, tmp_path, wheel)
    with pytest.raises(AlteredStateError, match="the files of project demo give a document"):
        place.repository.add(wheel)
    place.sql("DELETE FROM files WHERE filename = ?", SECOND)
    place.repository.add(wheel)
    assert place.repository.publish().added == 1


def test_an_import_leaves_no_file_out_because_a_row_says_that_it_is_there(
    place: Place, tmp_path: Path
) -> None:
    place.publish(place.wheel("demo", "1.0"))
    plant(place, tmp_path, place.wheel("demo", "2.0"))
    (size, sha256) = place.sql("SELECT size, sha256 FROM files WHERE filename = ?", SECOND)[0]
    source = tmp_path / "files.csv"
    source.write_text(
        "project,filename,size,sha256,upload_time\n"
        f"demo,{SECOND},{size},{sha256},2026-01-31T12:00:00Z\n"
    )
    with pytest.raises(AlteredStateError, match="the files of project demo give a document"):
        place.repository.import_files(source)


def test_a_change_that_is_queued_before_the_disk_is_full_is_told_of(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry is committed, and the head can't be kept: the next publication takes it."""

    def full(self: Seal, head: Any) -> None:
        raise StoreError("can't write queue.head: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Seal, "keep", full)
        with pytest.raises(StoreError, match=r"No space left .* queued all the same"):
            place.repository.add(place.wheel("demo", "1.0"))
    assert place.repository.status().queued == 1
    assert place.repository.publish().added == 1
