"""The state database: its version, its damage, its transactions."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
from pathlib import Path

import pytest
import sqlalchemy as sa
from securesystemslib.signer import CryptoSigner

from indextrust.distribution import DistributionFile
from indextrust.errors import RepositoryError, RepositoryVersionError, StoreError
from indextrust.names import NormalizedName
from indextrust.repository import Repository
from indextrust.repository.changes import Add, Change, Remove, Yank
from indextrust.repository.inspect import read_distribution
from indextrust.repository.origin import Origin
from indextrust.repository.schema import VERSION, Database, open_engine
from tests.repository.place import Place, everything

DEMO = NormalizedName("demo")


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE about SET schema_version = 1", "got 1"),
        ("UPDATE about SET schema_version = 0", "got 0"),
        ("DELETE FROM about", "got None"),
        ("DROP TABLE about", "got None"),
    ],
)
def test_a_state_of_another_version_is_refused_untouched(
    place: Place, statement: str, found: str
) -> None:
    place.sql(statement)
    before = everything(place.folder)
    with pytest.raises(RepositoryVersionError, match=f"expected .* version {VERSION}, {found}"):
        place.reopen()
    assert everything(place.folder) == before


def test_a_file_that_is_no_database_is_our_own_damage(place: Place) -> None:
    (place.repository.folder / "state.sqlite").write_bytes(b"not a database, by far" * 100)
    with pytest.raises(StoreError, match=r"state\.sqlite: file is not a database"):
        place.reopen()


def test_a_folder_without_state_is_no_repository(place: Place) -> None:
    (place.repository.folder / "state.sqlite").unlink()
    with pytest.raises(RepositoryError, match=r"is no repository: it has no state\.sqlite"):
        place.reopen()
    with pytest.raises(StoreError, match="no such file"):
        place.state()


def test_the_state_is_for_its_owner_alone(place: Place) -> None:
    mode = (place.repository.folder / "state.sqlite").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert stat.S_IMODE((place.repository.folder / "objects").stat().st_mode) == 0o700


def test_the_journal_stays_beside_the_state_empty_and_for_its_owner_alone(place: Place) -> None:
    """An empty one does nothing to another database that is put in the place of this one."""
    state = place.repository.folder / "state.sqlite"
    journal = state.with_name("state.sqlite-journal")
    before = state.read_bytes()
    place.publish(place.wheel("demo", "1.0"))
    kept = journal.stat()
    place.repository.add(place.wheel("demo", "2.0"))
    assert journal.stat().st_ino == kept.st_ino
    assert stat.S_IMODE(kept.st_mode) == 0o600
    assert not any(journal.read_bytes()[:28])  # SQLite's file format, 3: the head
    state.write_bytes(before)
    assert place.state().projects() == []
    assert state.read_bytes() == before


def test_what_a_large_transaction_left_of_its_journal_is_cut_off(tmp_path: Path) -> None:
    path, journal = tmp_path / "state.sqlite", tmp_path / "state.sqlite-journal"
    engine = open_engine(path)
    with engine.begin() as db:
        db.exec_driver_sql("CREATE TABLE pages AS SELECT zeroblob(2000000) AS bytes")
    with engine.begin() as db:
        db.exec_driver_sql("UPDATE pages SET bytes = randomblob(2000000)")
        assert journal.stat().st_size > 1 << 20
    assert journal.stat().st_size == 1 << 20
    assert not any(journal.read_bytes()[:28])


def test_a_write_ahead_log_that_somebody_holds_open_stops_nothing_and_ends_with_him(
    place: Place,
) -> None:
    path = place.repository.folder / "state.sqlite"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        assert other.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",)
        assert other.execute("SELECT count(*) FROM projects").fetchone() == (0,)
        place.publish(place.wheel("demo", "1.0"))
        assert other.execute("SELECT count(*) FROM projects").fetchone() == (1,)
    place.publish(place.wheel("demo", "2.0"))
    assert not path.with_name("state.sqlite-wal").exists()
    assert path.read_bytes()[18:20] == b"\1\1"  # SQLite's file format, 1.3: a rollback journal
    assert place.repository.check().clean


def test_what_is_read_stays_until_something_is_written_and_that_is_there_at_once(
    place: Place,
) -> None:
    """In one operation: others see what a write returned from, and nobody writes in between."""
    path = place.repository.folder / "state.sqlite"
    database, count = Database(path), sa.text("SELECT count(*) FROM projects")
    with database.connected(), contextlib.closing(sqlite3.connect(path, timeout=0)) as other:
        with database.read() as db:
            assert db.scalar(count) == 0
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("INSERT INTO projects VALUES ('attacked')").connection.commit()
        other.rollback()
        with database.read() as db:
            assert db.scalar(count) == 0
        with database.begin() as db:
            db.execute(sa.text("INSERT INTO projects VALUES ('demo')"))
            with database.read() as same:
                assert same.scalar(count) == 1
        assert other.execute("SELECT count(*) FROM projects").fetchone() == (1,)
        with contextlib.suppress(ZeroDivisionError), database.begin() as db:
            db.execute(sa.text("INSERT INTO projects VALUES ('other')"))
            raise ZeroDivisionError
        assert other.execute("SELECT count(*) FROM projects").fetchone() == (1,)
        with database.begin() as db:
            db.execute(sa.text("INSERT INTO projects VALUES ('other')"))
            with pytest.raises(StoreError, match="already"):
                database.begin().__enter__()
        assert other.execute("SELECT count(*) FROM projects").fetchone() == (2,)


def test_a_number_once_allotted_is_never_handed_out_again(place: Place) -> None:
    state = place.state()
    offline = place.repository._offline(None)

    def numbers(*names: str) -> dict[str, int]:
        origin = Origin(state, place.repository._storage, offline)
        origin.check(names, ())
        return origin.numbers(names)

    first = state.allot(numbers("bin-0", "snapshot"), [], 0, "now")
    assert numbers("bin-0", "bin-1", "snapshot") == {"bin-0": 3, "bin-1": 3, "snapshot": 3}
    second = state.allot(numbers("bin-0"), [], 0, "now")
    assert second > first
    assert numbers("bin-0", "bin-1") == {"bin-0": 4, "bin-1": 4}  # whatever their rows say
    assert {state.role(name).allotted for name in ("bin-0", "snapshot")} == {3, 2}
    assert state.due("", "9999") == ["bin-0", "snapshot"]
    assert state.role("bin-0").version == 1


def test_a_queued_file_under_a_used_name_with_other_bytes_is_refused(place: Place) -> None:
    """The intake refuses it; if it did not, the publication would."""
    place.publish(place.wheel("demo", "1.0"))
    other = place.wheel("demo", "1.0", content="# other\n")
    file, _ = read_distribution(other, upload_time="2026-01-31T12:00:00Z")
    place.repository.remove("demo", file.filename)
    place.repository.publish()
    place.state().queue.enqueue([Add(file, 1)], "2026-01-31T12:00:00Z")
    before = everything(place.folder)
    with pytest.raises(RepositoryError, match="and was published with"):
        place.repository.publish()
    assert everything(place.folder) == before


def test_a_queued_removal_of_what_is_not_there_is_refused(place: Place) -> None:
    place.state().queue.enqueue([Remove(DEMO, "demo-1.0.tar.gz")], "2026-01-31T12:00:00Z")
    before = everything(place.folder)
    with pytest.raises(RepositoryError, match="is not listed, and a change of it is queued"):
        place.repository.publish()
    assert everything(place.folder) == before


def test_the_log_says_what_was_published_when(place: Place) -> None:
    """In plain rows, for whoever has SQL alone."""
    place.publish(place.wheel("demo", "1.0"))
    place.clock.sleep(hours=1)
    place.repository.remove("demo", "demo-1.0-py3-none-any.whl")
    place.repository.publish()
    rows = place.sql("SELECT kind, time, body FROM log WHERE number > 3 ORDER BY number")
    assert [(kind, time[11:13]) for kind, time, _ in rows] == [
        *(("change", "12"), ("begin", "12"), ("end", "12")),
        *(("change", "13"), ("begin", "13"), ("end", "13")),
    ]
    assert '"upto": 7' in rows[-1][2]
    assert '"version": 3' in rows[-1][2]


def test_opening_asks_for_the_online_key_in_force(place: Place) -> None:
    stranger = CryptoSigner.generate_ed25519()
    with pytest.raises(RepositoryError, match="expected the online key"):
        Repository.open(place.repository.folder, online=stranger)
    read_only = Repository.open(place.repository.folder, clock=place.clock)
    read_only.add(place.wheel("demo", "1.0"))
    with pytest.raises(RepositoryError, match="publishing needs the online key"):
        read_only.publish()
    assert place.repository.publish().added == 1


@pytest.mark.parametrize("text", ["===\x01", ">=3\n", "\ud800"])
def test_what_the_queue_would_not_give_back_is_not_queued(place: Place, text: str) -> None:
    file = DistributionFile(
        DEMO, "demo-1.0.tar.gz", "1.0", 1, "00" * 32, "2026-01-31T12:00:00Z", requires_python=text
    )
    state = place.state()
    changes: list[Change] = [Add(file), Yank(DEMO, "demo-1.0.tar.gz", text)]
    for change in changes:
        with pytest.raises(RepositoryError, match=r"'demo-1.0.tar.gz' can't be queued"):
            state.queue.enqueue([Remove(DEMO, "demo-2.0.tar.gz"), change], "2026-01-31T12:00:00Z")
    assert state.queue.pending().changes == ()
    place.publish(place.wheel("demo", "1.0"))  # the queue is not stuck


@pytest.mark.parametrize("name", ["what?", "%41", "a#b", "x?mode=memory"])
def test_the_state_lies_in_its_folder_whatever_the_folder_is_called(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).mkdir()
    place = Place(tmp_path / name)
    place.publish(place.wheel("demo", "1.0"))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (place.repository.folder / "state.sqlite").stat().st_size > 0
    assert place.reopen().projects() == ["demo"]
