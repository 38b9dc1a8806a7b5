"""First-seen memory: the first digest stays, whoever writes and whatever breaks."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from indextrust.client import SqliteMemory
from indextrust.errors import InputError, StoreError
from indextrust.trust import Remembered
from tests.client.processes import killed_before_step, visible, without_rights

NOW = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
LATER = datetime(2026, 2, 1, tzinfo=UTC)
GOOD, BAD, WORSE = "a" * 64, "b" * 64, "c" * 64
WHEEL = "demo-1.0-py3-none-any.whl"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "memory.sqlite"


def _record(memory: SqliteMemory, sha256: str = GOOD, version: int = 7) -> None:
    memory.record("pypi", "demo", {WHEEL: sha256}, when=NOW, snapshot_version=version)


def test_what_was_seen_first_is_remembered_in_another_process(path: Path) -> None:
    _record(SqliteMemory(path))
    again = SqliteMemory(path).remembered("pypi", "demo")
    assert again == {WHEEL: Remembered("demo", WHEEL, GOOD, NOW, 7)}


def test_a_later_digest_never_replaces_the_first(path: Path) -> None:
    memory = SqliteMemory(path)
    _record(memory)
    memory.record("pypi", "demo", {WHEEL: BAD}, when=LATER, snapshot_version=8)
    assert memory.remembered("pypi", "demo")[WHEEL] == Remembered("demo", WHEEL, GOOD, NOW, 7)


def test_indexes_and_projects_are_apart(path: Path) -> None:
    memory = SqliteMemory(path)
    _record(memory)
    assert memory.remembered("other", "demo") == {}
    assert memory.remembered("pypi", "other") == {}


def test_an_acknowledgement_counts_from_now_on_and_nothing_is_forgotten(path: Path) -> None:
    memory = SqliteMemory(path)
    _record(memory)
    memory.acknowledge("pypi", "demo", WHEEL, BAD, when=LATER)
    assert memory.remembered("pypi", "demo")[WHEEL] == Remembered("demo", WHEEL, BAD, LATER, 7)
    memory.acknowledge("pypi", "demo", WHEEL, WORSE, when=LATER)
    memory.acknowledge("pypi", "demo", WHEEL, GOOD, when=LATER)
    assert memory.remembered("pypi", "demo")[WHEEL].sha256 == GOOD
    _record(memory, BAD)
    assert memory.remembered("pypi", "demo")[WHEEL].sha256 == GOOD
    memory.close()
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT sha256 FROM first_seen").fetchall() == [(GOOD,)]
        kept = database.execute("SELECT sha256 FROM acknowledged ORDER BY number").fetchall()
    assert kept == [(BAD,), (WORSE,), (GOOD,)]


def test_a_file_never_seen_can_not_be_acknowledged(path: Path) -> None:
    memory = SqliteMemory(path)
    with pytest.raises(InputError, match="never seen"):
        memory.acknowledge("pypi", "demo", WHEEL, BAD, when=NOW)
    _record(memory)
    with pytest.raises(InputError, match="never seen"):
        memory.acknowledge("other", "demo", WHEEL, BAD, when=NOW)


@pytest.mark.parametrize("sha256", ["", "A" * 64, "a" * 63, "a" * 64 + "\n", "g" * 64])
def test_what_is_no_digest_is_not_remembered(path: Path, sha256: str) -> None:
    memory = SqliteMemory(path)
    with pytest.raises(InputError, match="expected a lower-case hex sha256"):
        _record(memory, sha256)
    _record(memory)
    with pytest.raises(InputError, match="expected a lower-case hex sha256"):
        memory.acknowledge("pypi", "demo", WHEEL, sha256, when=NOW)
    assert memory.remembered("pypi", "demo")[WHEEL].sha256 == GOOD


def test_a_time_without_a_zone_is_not_remembered(path: Path) -> None:
    memory = SqliteMemory(path)
    with pytest.raises(InputError, match="time zone"):
        memory.record(
            "pypi", "demo", {WHEEL: GOOD}, when=NOW.replace(tzinfo=None), snapshot_version=1
        )


def test_of_a_bad_batch_nothing_is_remembered(path: Path) -> None:
    memory = SqliteMemory(path)
    with pytest.raises(InputError):
        memory.record("pypi", "demo", {WHEEL: GOOD, "../x": GOOD}, when=NOW, snapshot_version=1)
    assert memory.remembered("pypi", "demo") == {}


def test_nobody_else_may_read_it_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        memory = SqliteMemory(path)
        _record(memory)
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o600}
    assert path.name in modes


# -- a file that is not as it should be ----------------------------------------------------------


def _closed(path: Path) -> None:
    memory = SqliteMemory(path)
    for number in range(200):
        name = f"demo-{number}.tar.gz"
        memory.record("pypi", "demo", {name: GOOD}, when=NOW, snapshot_version=1)
    memory.close()


@pytest.mark.parametrize("damage", [b"", b"not a database", bytes(4096)])
def test_another_file_in_its_place_is_refused_and_left_alone(path: Path, damage: bytes) -> None:
    """Whoever can spoil the memory must not be able to empty it."""
    path.parent.mkdir()
    path.write_bytes(damage)
    with pytest.raises(StoreError, match=r"first-seen memory .*memory\.sqlite"):
        SqliteMemory(path)
    assert path.read_bytes() == damage


def test_a_truncated_memory_is_refused(path: Path) -> None:
    _closed(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError):
        SqliteMemory(path)


def test_a_damaged_page_does_not_read_as_never_seen(path: Path) -> None:
    """A bit flips in the number of rows on the table's page: to a query they were never there."""
    memory = SqliteMemory(path)
    _record(memory)
    memory.close()
    with sqlite3.connect(path) as database:
        (page,) = database.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'first_seen'"
        ).fetchone()
    data = bytearray(path.read_bytes())
    start = (page - 1) * 4096
    assert data[start + 3 : start + 5] == b"\0\1"  # SQLite file format, 1.6: cells on the page
    data[start + 4] = 0
    path.write_bytes(data)
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT count(*) FROM first_seen").fetchone() == (0,)
    with pytest.raises(StoreError, match="damaged"):
        SqliteMemory(path)


def test_a_damaged_row_is_refused(path: Path) -> None:
    _record(SqliteMemory(path))
    with sqlite3.connect(path) as database:
        database.execute("UPDATE first_seen SET sha256 = 'x'")
    with pytest.raises(StoreError, match=r"damaged at 'demo-1\.0-py3-none-any\.whl'"):
        SqliteMemory(path).remembered("pypi", "demo")


def test_an_acknowledgement_without_a_first_seen_row_is_damage(path: Path) -> None:
    memory = SqliteMemory(path)
    _record(memory)
    memory.acknowledge("pypi", "demo", WHEEL, BAD, when=NOW)
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM first_seen")
    with pytest.raises(StoreError, match="damaged"):
        memory.remembered("pypi", "demo")


def test_a_memory_of_another_version_is_refused(path: Path) -> None:
    SqliteMemory(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 3")
    with pytest.raises(StoreError, match="expected version 2, got 3"):
        SqliteMemory(path)


def test_a_memory_of_the_first_version_is_taken_over_and_nothing_forgotten(path: Path) -> None:
    """As indextrust 0.1.0 left it: its acknowledgements name no incident."""
    memory = SqliteMemory(path)
    _record(memory)
    memory.acknowledge("pypi", "demo", WHEEL, BAD, when=LATER)
    memory.close()
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE acknowledged DROP COLUMN incident")
        database.execute("PRAGMA user_version = 1")
    for _ in range(2):
        memory = SqliteMemory(path)
        assert memory.remembered("pypi", "demo")[WHEEL] == Remembered("demo", WHEEL, BAD, LATER, 7)
    memory.acknowledge("pypi", "demo", WHEEL, WORSE, when=LATER, incident="stolen-key")
    assert memory.remembered("pypi", "demo")[WHEEL].incident == "stolen-key"


@pytest.mark.timeout(20)
def test_what_is_no_regular_file_is_refused(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path)
    with pytest.raises(StoreError, match="not a regular file"):
        SqliteMemory(path)
    path.unlink()
    path.symlink_to(path.parent / "elsewhere")
    with pytest.raises(StoreError, match="not a regular file"):
        SqliteMemory(path)
    assert not (path.parent / "elsewhere").exists()


def test_a_home_that_can_not_be_used(tmp_path: Path) -> None:
    answer = without_rights(lambda: SqliteMemory(tmp_path / "home" / "memory.sqlite"))
    assert answer.startswith("StoreError: first-seen memory")


# -- others at the same time ---------------------------------------------------------------------


def test_killed_while_it_is_made_the_next_process_makes_it(path: Path) -> None:
    number, reached = 0, True
    while reached:
        number += 1
        own = path.with_name(f"{number}.sqlite")
        reached = killed_before_step(number, lambda own=own: SqliteMemory(own))  # type: ignore[misc]
        _record(SqliteMemory(own))
        assert SqliteMemory(own).remembered("pypi", "demo")[WHEEL].sha256 == GOOD
    assert number > 3


def test_threads_share_one_memory(path: Path) -> None:
    memory = SqliteMemory(path)

    def work(number: int) -> str:
        digest = hashlib.sha256(b"%d" % number).hexdigest()
        _record(memory, digest)
        return memory.remembered("pypi", "demo")[WHEEL].sha256

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(work, range(100)))) == 1, "all see the one that was first"


_WORKER = """
import sys
from datetime import datetime, timezone
from pathlib import Path
from indextrust.client import SqliteMemory
path, number = Path(sys.argv[1]), int(sys.argv[2])
memory = SqliteMemory(path)
for project in range(40):
    files = {f"p{project}-{n}.tar.gz": f"{number:064x}" for n in range(5)}
    memory.record("i", f"p{project}", files, when=datetime.now(timezone.utc), snapshot_version=1)
    memory.acknowledge(
        "i", f"p{project}", f"p{project}-0.tar.gz", "f" * 64, when=datetime.now(timezone.utc)
    )
"""


def test_eight_processes_make_and_fill_one_memory(path: Path) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(path), str(number)], stderr=subprocess.PIPE
        )
        for number in range(8)
    ]
    assert [(worker.communicate()[1], worker.returncode) for worker in workers] == [(b"", 0)] * 8
    memory = SqliteMemory(path)
    for project in range(40):
        known = memory.remembered("i", f"p{project}")
        assert len(known) == 5
        assert known[f"p{project}-0.tar.gz"].sha256 == "f" * 64
    memory.close()
    assert visible(path.parent) == {path.name}
