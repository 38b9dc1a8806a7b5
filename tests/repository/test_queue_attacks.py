"""What the log is believed: which publication was the last, which began, what numbers are used.

An attacker has the database file, and knows SQL and the files of SQLite; he has no key. Where he
has more (copies of the public folder, or of the head of the log as well) the story says so. What
he wants: that a file comes back whose removal was published, or that one version number stands for
two files.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from indextrust.errors import AlteredStateError, IndextrustError, RepositoryError, StoreError
from indextrust.repository.log import Entry, Log
from tests.repository.place import Place

BAD = "demo-2.0-py3-none-any.whl"
NO_END = (
    "CREATE TRIGGER stop BEFORE INSERT ON log WHEN NEW.kind = 'end' "
    "BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END"
)

Rows = list[tuple[Any, ...]]


def rows(place: Place, table: str) -> Rows:
    return place.sql(f"SELECT * FROM {table}")  # noqa: S608


def put_back(place: Place, table: str, old: Rows, where: str = "1") -> None:
    place.sql(f"DELETE FROM {table} WHERE {where}")  # noqa: S608
    for row in old:
        place.sql(f"INSERT OR IGNORE INTO {table} VALUES ({','.join('?' * len(row))})", *row)  # noqa: S608


def hide_ends(place: Place, above: int) -> None:
    """The index that finds the last publication loses those above a number; the table does not."""
    db = sqlite3.connect(place.repository.folder / "state.sqlite", isolation_level=None)
    (sql,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'log_end'").fetchone()
    db.execute("DROP INDEX log_end")
    db.execute(f"CREATE INDEX log_end ON log (number) WHERE kind = 'end' AND number <= {above}")
    db.execute("PRAGMA writable_schema = ON")
    db.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'log_end'", (sql,))
    db.close()


def ends(place: Place) -> list[int]:
    found = place.sql("SELECT number FROM log NOT INDEXED WHERE kind = 'end' ORDER BY number")
    return [number for (number,) in found]


def is_listed(place: Place) -> bool:
    return any(BAD in path for path in place.repository.published_targets())


@pytest.fixture
def removed(place: Place) -> tuple[Place, dict[str, Rows]]:
    """demo 2.0 is malware: it was published, and so was its removal. Copies from in between."""
    place.publish(place.wheel("demo", "1.0"))
    place.publish(place.wheel("demo", "2.0"))
    old = {table: rows(place, table) for table in ("roles", "targets", "files")}
    place.repository.remove("demo", BAD)
    place.repository.publish()
    assert not is_listed(place)
    return place, old


# -- which publication was the last one ----------------------------------------------------------


def test_what_an_index_hides_is_read_all_the_same(removed: tuple[Place, dict[str, Rows]]) -> None:
    place, _ = removed
    place.repository.add(place.wheel("demo", "3.0"))
    true = place.state().queue.ledger()
    for number in (*reversed(ends(place)[:-1]), 0):
        hide_ends(place, number)
        found = place.state().queue.ledger()
        assert (found.done, found.published, found.listed, found.begun, found.interrupted) == (
            *(true.done, true.published, true.listed, true.begun, true.interrupted),
        )
        assert len(place.state().queue.pending().changes) == 1


def test_hiding_the_last_publication_brings_no_removed_file_back(
    removed: tuple[Place, dict[str, Rows]],
) -> None:
    """The end of the removal is hidden; a renewal of the timestamp would then log the snapshot
    before as the last one, and tables of that time go on from there."""
    place, old = removed
    hide_ends(place, ends(place)[-2])
    place.sql("UPDATE roles SET expires = '' WHERE name = 'timestamp'")
    with contextlib.suppress(IndextrustError):
        place.reopen().renew(within=timedelta(0))
    kept = [row for row in old["roles"] if row[0] != "timestamp"]
    put_back(place, "roles", kept, "name != 'timestamp'")
    put_back(place, "targets", old["targets"])
    put_back(place, "files", old["files"])
    place.sql("UPDATE roles SET expires = '' WHERE name NOT IN ('root', 'targets', 'bins')")
    for _ in range(6):
        with pytest.raises(AlteredStateError):
            place.reopen().renew()
    assert not is_listed(place)


def test_hiding_publications_in_turn_replays_no_addition_without_its_removal(
    removed: tuple[Place, dict[str, Rows]],
) -> None:
    """A renewal that is stopped at its end says that it went up to the addition; with one more
    end hidden, the next would complete it: the changes up to there, and none after."""
    place, _ = removed
    there = ends(place)
    hide_ends(place, there[-2])
    place.sql(NO_END)
    place.sql("UPDATE roles SET expires = '' WHERE name = 'timestamp'")
    with contextlib.suppress(IndextrustError):
        place.reopen().renew(within=timedelta(0))
    place.sql("DROP TRIGGER stop")
    hide_ends(place, there[-3])
    with contextlib.suppress(IndextrustError):
        place.reopen().renew()
    assert not is_listed(place)


def test_what_was_published_is_never_queued_again(removed: tuple[Place, dict[str, Rows]]) -> None:
    """After one renewal while the end was hidden, the removal would wait for good and fail."""
    place, _ = removed
    hide_ends(place, ends(place)[-2])
    place.clock.sleep(hours=20)
    with contextlib.suppress(IndextrustError):
        place.reopen().renew()
    place.sql("REINDEX")
    assert place.reopen().status().queued == 0
    assert place.reopen().publish().removed == 0


# -- which numbers are used up -------------------------------------------------------------------


@pytest.mark.parametrize("hidden", ["its entry", "its numbers"])
def test_a_number_never_stands_for_two_files(place: Place, hidden: str) -> None:
    """A publication is out and was seen, and stopped at its end. With a copy of the public folder
    from before, the attacker takes back what says that its numbers are used up."""
    place.publish(place.wheel("demo", "1.0"))
    place.repository.add(place.wheel("demo", "2.0"))
    copy = place.folder / "copy"
    shutil.copytree(place.public, copy)
    place.sql(NO_END)
    with pytest.raises(StoreError, match="disk I/O error"):
        place.reopen().publish()
    seen = {path.name: path.read_bytes() for path in (place.public / "metadata").iterdir()}
    place.sql("DROP TRIGGER stop")
    place.sql("UPDATE roles SET allotted = version")
    if hidden == "its entry":
        place.sql("DELETE FROM log WHERE number = (SELECT max(number) FROM log)")
    shutil.rmtree(place.public)
    shutil.copytree(copy, place.public)
    place.clock.sleep(hours=1)
    with contextlib.suppress(RepositoryError):
        place.reopen().publish()
    now = {path.name: path.read_bytes() for path in (place.public / "metadata").iterdir()}
    both = (seen.keys() & now.keys()) - {"timestamp.json"}
    assert [name for name in sorted(both) if seen[name] != now[name]] == []


def test_the_head_knows_that_a_publication_began_before_one_of_its_files_is_there(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.publish(place.wheel("demo", "1.0"))
    place.repository.add(place.wheel("demo", "2.0"))
    before = {path.name for path in (place.public / "metadata").iterdir()}
    put, seen = Log.put, []

    def noted(self: Log, head: Any) -> None:
        seen.append({path.name for path in (place.public / "metadata").iterdir()})
        put(self, head)
        assert place.state().queue.log._seal.head() == head

    monkeypatch.setattr(Log, "put", noted)
    place.reopen().publish()
    assert seen == [before]


def test_a_role_whose_row_is_gone_gets_no_number(place: Place) -> None:
    """Rows that are deleted between the check and the numbers, here by a trigger."""
    place.publish(place.wheel("demo", "1.0"))
    place.repository.add(place.wheel("demo", "2.0"))
    place.sql(
        "CREATE TRIGGER gone AFTER UPDATE ON roles WHEN NEW.name = 'snapshot' "
        "BEGIN DELETE FROM roles WHERE name = 'snapshot'; END"
    )
    with pytest.raises(AlteredStateError, match="role snapshot does not keep the number 3"):
        place.reopen().publish()
    assert place.sql("SELECT count(*) FROM roles WHERE name = 'snapshot'") == [(1,)]


# -- older states --------------------------------------------------------------------------------


def test_an_old_database_with_its_head_is_noticed_whatever_its_rows_say(
    removed: tuple[Place, dict[str, Rows]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """He has the head as well. The row of the timestamp agrees with what is served for as long as
    somebody may look at it."""
    place, _ = removed
    folder = place.repository.folder
    place.publish(place.wheel("demo", "2.0"))
    old = {name: (folder / name).read_bytes() for name in ("state.sqlite", "queue.head")}
    place.repository.remove("demo", BAD)
    place.repository.publish()
    columns = "version, length, sha256"
    served = place.sql(f"SELECT {columns} FROM roles WHERE name = 'timestamp'")[0]  # noqa: S608
    for name, data in old.items():
        (folder / name).write_bytes(data)
    update = "UPDATE roles SET version = ?, length = ?, sha256 = ? WHERE name = 'timestamp'"
    place.sql(update, *served)
    place.sql("UPDATE roles SET expires = '' WHERE name NOT IN ('root', 'targets', 'bins')")
    with pytest.raises(RepositoryError, match="is not the one that was published"):
        place.reopen().renew()
    assert not is_listed(place)


def test_a_timestamp_that_is_gone_is_noticed(place: Place) -> None:
    """Without one the gate could compare the new set with nothing."""
    place.publish(place.wheel("demo", "1.0"))
    (place.public / "metadata" / "timestamp.json").unlink()
    place.repository.add(place.wheel("demo", "2.0"))
    with pytest.raises(RepositoryError, match=r"timestamp\.json \(missing\) is not the one"):
        place.reopen().publish()
    place.repository.restore()
    assert place.repository.publish().added == 1


def test_what_is_read_is_the_log_and_not_a_branch_that_was_given_up(place: Place) -> None:
    """The head is looked at in one transaction, the entries are read in others; in between he
    puts back a branch that an operator gave up, which is as long."""
    place.publish(place.wheel("demo", "1.0"))
    database = place.repository.folder / "state.sqlite"
    fork = database.read_bytes()
    for number in range(6):
        place.repository.add(place.wheel("late", f"{number}.0"))
    lost = rows(place, "log")
    database.write_bytes(fork)
    place.repository.restore()
    log = place.state().queue.log
    chain = log.chain

    def swapped(since: int, db: sa.Connection | None = None) -> Iterator[Entry]:
        if since == 1:
            put_back(place, "log", lost)
        return chain(since, db)

    log.chain = swapped  # type: ignore[method-assign]
    with pytest.raises(AlteredStateError):
        list(log.verified(since=1))
