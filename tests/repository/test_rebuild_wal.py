"""What SQLite keeps beside a database, and what a rebuilding does with it."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.repository.place import Place
from tests.repository.test_rebuild import rebuild


@pytest.mark.parametrize("damaged", [False, True])
def test_a_write_ahead_log_that_was_left_is_not_applied_to_the_new_database(
    place: Place, tmp_path: Path, damaged: bool
) -> None:
    place.publish(place.wheel("demo", "1.0"))
    folder, work = place.repository.folder, tmp_path / "work"
    work.mkdir()
    shutil.copy(folder / "state.sqlite", work / "state.sqlite")
    db = sqlite3.connect(work / "state.sqlite", isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA wal_autocheckpoint=0")
        db.execute("UPDATE projects SET name = 'evil'")
        shutil.copy(work / "state.sqlite-wal", folder / "state.sqlite-wal")
    finally:
        db.close()
    (folder / "state.sqlite").unlink()
    if damaged:
        (folder / "state.sqlite").write_bytes(b"no database" * 100)
    made = rebuild(place)
    assert place.repository.projects() == ["demo"]
    checked = place.repository.check()
    assert checked.clean, checked.differences
    assert (made.aside / "state.sqlite-wal").exists() or damaged
