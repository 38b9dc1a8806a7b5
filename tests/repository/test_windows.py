"""A long queue is read once, and published window by window; an attacker writes in between.

He knows SQL, has the database file and older copies of it, and no key. What a process verified a
moment ago he replaces by what this repository wrote too, at another time.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from indextrust.errors import AlteredStateError
from indextrust.names import NormalizedName
from indextrust.repository import Repository, log
from indextrust.repository.changes import Remove, Yank
from indextrust.repository.log import Entry
from indextrust.repository.plan import RoleFile
from indextrust.repository.queue import Queue
from indextrust.trust import TargetEntry
from tests.repository.place import Place
from tests.repository.test_publish import client

DEMO = NormalizedName("demo")
NOW = "2026-01-31T12:00:00Z"


def removal(number: int) -> Remove:
    return Remove(DEMO, f"demo-{number}.tar.gz")


def numbers(queue: Queue, **limits: int) -> list[int]:
    """The waiting removals, by the number in their file names."""
    changes = queue.pending(**limits).changes
    return [int(c.filename[5:-7]) for c in changes if isinstance(c, Remove)]


def queued(place: Place, first: int, last: int) -> None:
    """Another process queues removals, an entry each."""
    place.state().queue.enqueue([removal(n) for n in range(first, last)], NOW)


class Copies:
    """The attacker's copies of the database, and of the head that the operator restored."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, name: str, *files: str) -> None:
        for file in files:
            shutil.copy(self.folder / file, self.folder.parent / f"{name}-{file}")

    def put(self, name: str, *files: str) -> None:
        for file in files:
            shutil.copy(self.folder.parent / f"{name}-{file}", self.folder / file)


@pytest.fixture
def branches(place: Place) -> tuple[Place, Copies]:
    """Removals 0 to 2, of which the log once had another 1 and 2, in a future that was lost."""
    copies = Copies(place.repository.folder)
    both = ("state.sqlite", "queue.head")
    queued(place, 0, 1)
    copies.keep("start", *both)
    queued(place, 11, 13)
    copies.keep("lost", *both)
    copies.put("start", *both)
    queued(place, 1, 3)
    copies.keep("true", *both)
    return place, copies


def before_the_window(queue: Queue, act: Callable[[], None]) -> None:
    """`act` between the verification of the log and the reading of a window."""
    read = queue.log.chain

    def chain(since: int, db: object = None) -> Iterator[Entry]:
        queue.log.chain = read  # type: ignore[method-assign]
        act()
        return read(since)

    queue.ledger()
    follow = queue._follow

    def following(db: None) -> object:
        ledger = follow(db)
        queue.log.chain = chain  # type: ignore[method-assign]
        return ledger

    queue._follow = following  # type: ignore[assignment,method-assign]


# -- what was verified ---------------------------------------------------------------------------


def test_what_was_verified_is_read_again_before_it_is_published(place: Place) -> None:
    queued(place, 0, 600)
    queue = place.state().queue
    queue.ledger()
    place.sql("UPDATE log SET body = replace(body, 'demo-7', 'demo-8') WHERE body LIKE '%demo-7.%'")
    for limit in (3, 100):  # in the window, and behind it
        with pytest.raises(AlteredStateError, match="log entry 11 was not written"):
            queue.pending(limit=limit)


def test_a_lost_future_in_the_place_of_what_was_verified_is_refused(
    branches: tuple[Place, Copies],
) -> None:
    """Every entry of it was written by this repository, and follows the one before it."""
    place, copies = branches
    queue = place.state().queue
    before_the_window(queue, lambda: copies.put("lost", "state.sqlite"))
    with pytest.raises(AlteredStateError, match="not those that were verified a moment ago"):
        queue.pending()
    copies.put("true", "state.sqlite")
    assert numbers(place.state().queue) == [0, 1, 2]


def test_a_window_that_ends_in_a_lost_future_is_refused(branches: tuple[Place, Copies]) -> None:
    """He replaces what the window holds and leaves alone what lies behind it."""
    place, _ = branches
    lost = sqlite3.connect(place.folder / "lost-state.sqlite")
    rows = lost.execute("SELECT * FROM log WHERE number > 4").fetchall()
    lost.close()
    queue = place.state().queue

    def act() -> None:
        place.sql("DELETE FROM log WHERE number = 5")
        place.sql("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?)", *rows[0])

    before_the_window(queue, act)
    with pytest.raises(AlteredStateError, match="log entry 6 was not written"):
        queue.pending(limit=2)


def test_two_futures_are_not_read_as_one(
    branches: tuple[Place, Copies], monkeypatch: pytest.MonkeyPatch
) -> None:
    """He changes the database between two transactions of one reading."""
    monkeypatch.setattr(log, "_PAGE", 2)
    place, copies = branches
    copies.put("lost", "state.sqlite", "queue.head")
    queue = place.state().queue
    reading = queue.log.chain(3)
    assert [next(reading).number, next(reading).number] == [4, 5]
    copies.put("true", "state.sqlite", "queue.head")
    with pytest.raises(AlteredStateError, match="log entry 6 was not written"):
        next(reading)


def test_database_and_head_put_back_together_are_noticed_by_a_process_that_saw_more(
    branches: tuple[Place, Copies],
) -> None:
    place, copies = branches
    queue = place.state().queue
    assert numbers(queue) == [0, 1, 2]
    for older in ("start", "lost"):
        copies.put(older, "state.sqlite", "queue.head")
        with pytest.raises(AlteredStateError, match=r"is not the one that was there|is missing"):
            queue.pending()
    assert numbers(place.state().queue) == [0, 11, 12]  # one that starts now can't know


def test_an_index_that_hides_a_publication_brings_nothing_back(place: Place) -> None:
    """SQLite believes its indexes: one that lacks rows says that nothing was ever published."""
    wheel = place.wheel("demo", "1.0")
    place.publish(wheel)
    place.repository.yank("demo", wheel.name, "broken")
    place.repository.publish()
    place.repository.unyank("demo", wheel.name)
    for was, becomes in (("'end'", "'dne'"), ("'dne'", "'end'")):
        db = sqlite3.connect(place.repository.folder / "state.sqlite")
        db.execute("PRAGMA writable_schema = ON")
        change = "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = 'log_end'"
        db.execute(change, (was, becomes))
        db.commit()
        db.close()
        if was == "'end'":
            place.sql("REINDEX log_end")  # of no row at all
    assert place.sql("SELECT max(number) FROM log WHERE kind = 'end'") == [(None,)]
    (waiting,) = place.state().queue.pending(limit=1).changes
    assert isinstance(waiting, Yank)
    assert waiting.filename == wheel.name
    assert place.reopen().publish().changed == 1
    assert place.document("demo")["files"][0]["yanked"] is False


def test_the_end_of_a_publication_names_what_was_verified_not_what_a_table_says_by_now(
    place: Place,
) -> None:
    """Else the next publication would follow from an older snapshot, and its older bins."""
    place.publish(place.wheel("demo", "1.0"))
    queued(place, 0, 2)
    state = place.state()
    published = state.queue.ledger().published["snapshot"]
    publication = state.allot({"timestamp": 3}, [], 0, NOW)
    (row,) = place.sql("SELECT * FROM log WHERE kind = 'end' ORDER BY number DESC LIMIT 1")
    place.sql("DELETE FROM log WHERE number = ?", row[0])
    signed = {"timestamp": (RoleFile(3, 1, "00" * 32), "9999")}
    state.finish(publication, signed, [], lambda path: path, NOW)
    place.sql("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?)", *row)
    assert place.state().queue.ledger().published["snapshot"] == published
    assert published.version == 2


# -- windows -------------------------------------------------------------------------------------


def test_a_window_is_what_waits_first_in_whole_entries(place: Place) -> None:
    queued(place, 0, 10)
    queue = place.state().queue
    assert numbers(queue, limit=4) == [0, 1, 2, 3]
    assert numbers(queue, limit=4, upto=5) == [0, 1]
    assert numbers(queue, limit=10) == numbers(queue) == list(range(10))
    assert queue.pending(limit=4).last == 7
    assert queue.waiting() == 10


def test_a_publication_costs_its_window_whatever_waits_behind_it(place: Place) -> None:
    queued(place, 0, 3_000)
    queue = place.state().queue
    queue.ledger()
    read = count_of_entries_read(queue)
    assert numbers(queue, limit=10) == list(range(10))
    assert len(read) <= 1 + 1 + 256 + log._PAGE  # the head twice, to the next mark, a page
    queued(place, 3_000, 9_000)
    queue.ledger()
    read.clear()
    assert numbers(queue, limit=10) == list(range(10))
    assert len(read) <= 1 + 1 + 256 + log._PAGE


def test_what_was_verified_is_not_read_a_second_time(place: Place) -> None:
    queued(place, 0, 1_000)
    queue = place.state().queue
    read = count_of_entries_read(queue)
    queue.ledger()
    assert len(read) >= 1_000
    read.clear()
    for _ in range(10):
        queue.ledger()
    assert len(read) <= 20
    queued(place, 1_000, 1_005)
    read.clear()
    queue.ledger()
    assert len(read) <= 5 + 2 + 5


def count_of_entries_read(queue: Queue) -> list[int]:
    read: list[int] = []
    matches = queue.log._seal.matches

    def counting(mac: object, previous: object, fields: tuple[object, ...]) -> bool:
        read.append(fields[0])  # type: ignore[arg-type]
        return matches(mac, previous, fields)

    queue.log._seal.matches = counting  # type: ignore[method-assign]
    return read


def test_the_first_reading_holds_no_bodies(place: Place) -> None:
    row = json.dumps(["demo-1.0.tar.gz", "1.0", 1, "00" * 32, NOW, "x" * 800, None, None, None])
    body = '{"count":50,"files":[' + ",".join([row] * 50) + '],"kind":"import","project":"demo"}'
    place.state().queue.enqueue_imports(((DEMO, body) for _ in range(1_500)), NOW)
    queue = place.state().queue
    tracemalloc.start()
    queue.ledger()
    assert len(queue.pending(limit=100).changes) == 100
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert queue.waiting() == 75_000
    assert len(body) * 1_500 > 70_000_000
    assert peak < 25_000_000  # a page of 200 bodies, and what reading it takes


def test_many_changes_are_published_in_windows_and_the_answer_is_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Repository, "WINDOW", 2)
    place.repository.add(*[place.wheel(f"demo{n}", "1.0") for n in range(5)])
    place.repository.yank("demo0", "demo0-1.0-py3-none-any.whl", "broken")
    done = place.repository.publish()
    assert (done.added, done.changed, done.removed) == (5, 1, 0)
    assert done.snapshot_version == 1 + 3 == place.versions()["snapshot"]
    assert [entry.what for entry in place.repository.log()].count("publish") == 1 + 3
    assert place.repository.audit().clean
    assert place.repository.publish().nothing_to_do
    assert place.repository.projects() == [f"demo{n}" for n in range(5)]


CHILD = """
import signal, sys
from pathlib import Path
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner
from indextrust.repository import Repository
from tests.repository.place import Clock

folder, name, left = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
online = CryptoSigner(load_pem_private_key((folder / "online.pem").read_bytes(), None))
index = Repository.open(folder / "index", online=online, clock=Clock())
Repository.WINDOW = 2

def hook(event, args):
    # before the nth timestamp is put in its place, or before the head is, after that
    global left
    if event == "os.rename":
        left -= str(args[1]).endswith("timestamp.json")
        if left == 0 and str(args[1]).endswith(name):
            print("stopped", flush=True)
            signal.pause()

sys.addaudithook(hook)
index.publish()
"""


@pytest.mark.parametrize(
    ("rename", "nth", "listed"),
    [
        ("timestamp.json", 1, 0),
        ("queue.head", 1, 2),
        ("timestamp.json", 2, 2),
        ("queue.head", 2, 4),
        ("queue.head", 3, 5),
    ],
)
def test_killed_between_two_windows_a_prefix_is_there_whole_and_the_next_call_goes_on(
    place: Place, rename: str, nth: int, listed: int
) -> None:
    place.repository.add(*[place.wheel(f"demo{n}", "1.0") for n in range(5)])
    pem = place.online._private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (place.folder / "online.pem").write_bytes(pem)
    returning = client(place)
    returning.refresh()
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(place.folder), rename, str(nth)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"stopped\n"
    child.send_signal(signal.SIGKILL)
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL

    def are_listed() -> list[bool]:
        returning.refresh()
        paths = [f"simple/demo{n}/index.json" for n in range(5)]
        return [isinstance(returning.find(path), TargetEntry) for path in paths]

    assert are_listed() == [n < listed for n in range(5)]
    place.reopen().publish()
    assert are_listed() == [True] * 5
    assert place.reopen().audit().clean
    assert place.reopen().status().queued == 0
