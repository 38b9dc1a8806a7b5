"""The transaction log: who asked for what, when, and with which snapshot it went out."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import tracemalloc
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from indextrust.errors import AlteredStateError, InputError
from indextrust.names import NormalizedName
from indextrust.repository import LogEntry, Repository
from indextrust.repository.changes import Remove
from tests.repository.place import Place, everything
from tests.repository.test_publish import FailingSigner

ME = pwd.getpwuid(os.getuid()).pw_name
ONE, TWO = "demo-1.0-py3-none-any.whl", "demo-2.0-py3-none-any.whl"


@pytest.fixture
def busy(place: Place) -> Place:
    """Two publications, by two people, and something that waits."""
    robot = Repository.open(
        place.repository.folder, online=place.online, clock=place.clock, by="upload service"
    )
    place.clock.sleep(hours=1)
    robot.add(place.wheel("demo", "1.0"), place.wheel("other", "1.0"))
    place.clock.sleep(hours=1)
    place.repository.publish()
    place.repository.yank("demo", ONE, "broken")
    place.repository.add(place.wheel("demo", "2.0"))
    place.clock.sleep(hours=1)
    robot.publish()
    place.repository.unyank("demo", ONE)
    place.repository.remove("demo", TWO)
    return place


def short(entries: list[LogEntry]) -> list[tuple[Any, ...]]:
    return [(e.number, e.time[11:13], e.who, e.what, e.filename, e.snapshot) for e in entries]


def test_the_log_tells_the_whole_story_in_order(busy: Place) -> None:
    robot = "upload service"
    assert short(list(busy.repository.log())) == [
        (1, "12", ME, "create", None, None),
        (2, "12", ME, "begin", None, 1),
        (3, "12", ME, "publish", None, 1),
        (4, "13", robot, "add", ONE, 2),
        (5, "13", robot, "add", "other-1.0-py3-none-any.whl", 2),
        (6, "14", ME, "begin", None, 2),
        (7, "14", ME, "publish", None, 2),
        (8, "14", ME, "yank", ONE, 3),
        (9, "14", ME, "add", TWO, 3),
        (10, "15", robot, "begin", None, 3),
        (11, "15", robot, "publish", None, 3),
        (12, "15", ME, "unyank", ONE, None),
        (13, "15", ME, "remove", TWO, None),
    ]


def test_a_change_names_its_file_its_publication_and_what_was_signed(busy: Place) -> None:
    entries = {entry.number: entry for entry in busy.repository.log()}
    sha256 = {file.filename: file.sha256 for file in busy.repository.files("demo")}
    assert (entries[9].sha256, entries[9].project) == (sha256[TWO], "demo")
    assert (entries[9].publication, entries[9].timestamp) == (10, 3)
    assert (entries[10].publication, entries[11].publication) == (10, 10)
    assert entries[8].reason == "broken"
    assert entries[12].reason is None
    assert entries[12].publication is None  # it waits
    assert busy.versions()["snapshot"] == entries[11].snapshot
    assert busy.versions()["timestamp"] == entries[11].timestamp


def test_a_renewal_is_a_publication_of_no_change(busy: Place) -> None:
    busy.clock.sleep(hours=20)
    busy.repository.renew()
    entries = list(busy.repository.log(since=3))
    assert [entry.what for entry in entries] == ["unyank", "remove", "begin", "publish"]
    assert [entry.snapshot for entry in entries] == [None, None, 4, 4]


@pytest.mark.parametrize(
    ("since", "numbers"),
    [(1, [4, *range(5, 14)]), (2, [8, 9, 10, 11, 12, 13]), (3, [12, 13]), (99, [12, 13])],
)
def test_since_a_snapshot_is_what_it_does_not_hold(
    busy: Place, since: int, numbers: list[int]
) -> None:
    assert [entry.number for entry in busy.repository.log(since=since)] == numbers


def test_the_log_of_a_project_is_what_was_asked_for_it(busy: Place) -> None:
    found = short(list(busy.repository.log("demo")))
    assert [row[0] for row in found] == [4, 8, 9, 12, 13]
    assert [row[5] for row in found] == [2, 3, 3, None, None]
    assert [e.number for e in busy.repository.log("demo", since=2)] == [8, 9, 12, 13]
    assert list(busy.repository.log("unknown")) == []
    with pytest.raises(InputError):
        busy.repository.log("De..mo")


def test_an_interrupted_publication_is_in_the_log_and_so_is_the_one_that_completes_it(
    place: Place,
) -> None:
    place.repository.add(place.wheel("demo", "1.0"))
    failing = Repository.open(
        place.repository.folder, online=FailingSigner(place.online, 1), clock=place.clock
    )
    with pytest.raises(Exception, match="signer"):
        failing.publish()
    place.repository.publish()
    entries = list(place.repository.log(since=1))
    assert [entry.what for entry in entries] == ["add", "begin", "begin", "publish"]
    assert [entry.publication for entry in entries] == [6, 5, 6, 6]
    assert [entry.snapshot for entry in entries] == [3, 2, 3, 3]


def test_what_was_altered_is_never_shown(busy: Place) -> None:
    busy.sql("UPDATE log SET who = 'eve' WHERE number = 9")
    with pytest.raises(AlteredStateError, match=r"log entry (9|10)"):
        list(busy.repository.log())
    with pytest.raises(AlteredStateError, match=r"log entry (9|10)"):
        list(busy.repository.log("other"))


def test_a_deleted_entry_is_missed(busy: Place) -> None:
    busy.sql("DELETE FROM log WHERE number = 5")
    with pytest.raises(AlteredStateError, match="log entry 5 is missing"):
        list(busy.repository.log())
    busy.sql("DELETE FROM log WHERE number >= 12")
    with pytest.raises(AlteredStateError, match="log entry 13 is missing"):
        list(busy.repository.log())


@pytest.mark.parametrize("by", ["", "a\nb", "x" * 201, "\x1b[2J"])
def test_a_name_that_would_draw_on_the_terminal_is_refused(place: Place, by: str) -> None:
    before = everything(place.folder)
    with pytest.raises(InputError, match="expected a name of 1 to 200 printable characters"):
        Repository.open(place.repository.folder, by=by)
    assert everything(place.folder) == before


def test_the_name_is_not_taken_from_the_environment(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("USER", "LOGNAME", "USERNAME", "LNAME"):
        monkeypatch.setenv(name, "eve")
    place.reopen().add(place.wheel("demo", "1.0"))
    *_, entry = place.repository.log()
    assert entry.who == ME


def test_a_long_log_is_read_in_bounded_memory_and_while_others_write(place: Place) -> None:
    queue = place.state().queue
    changes = [Remove(NormalizedName("demo"), f"demo-{n}.0.tar.gz") for n in range(20_000)]
    queue.enqueue(changes, "2026-01-31T12:00:00Z")
    count = 0
    tracemalloc.start()
    for entry in place.repository.log():
        count += 1
        assert entry.number == count
        if count == 10:
            queue.enqueue(changes[:1], "2026-01-31T12:00:00Z")  # nobody is held up
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 3 + 20_000 + 1
    assert peak < 4_000_000  # a page of 1,000 entries, and SQLAlchemy


def test_the_command_prints_lines_for_people_and_objects_for_programs(busy: Place) -> None:
    def run(*arguments: str) -> list[str]:
        words = [sys.executable, "-m", "indextrust", "log", str(busy.repository.folder)]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [*words, *arguments], capture_output=True, text=True, env=env, check=True
        )
        return done.stdout.splitlines()

    lines = run("--since", "2", "--project", "demo")
    sha256 = busy.repository.files("demo")[1].sha256
    assert lines == [
        f"8  2026-01-31T14:00:00Z  {ME}  yank  {ONE}  snapshot 3",
        f"9  2026-01-31T14:00:00Z  {ME}  add  {TWO}  sha256 {sha256}  snapshot 3",
        f"12  2026-01-31T15:00:00Z  {ME}  unyank  {ONE}  waits",
        f"13  2026-01-31T15:00:00Z  {ME}  remove  {TWO}  waits",
    ]
    found = [json.loads(line)["entry"] for line in run("--json")]
    assert found == [asdict(entry) for entry in busy.repository.log()]


def test_by_names_a_service_on_the_command_line(place: Place, tmp_path: Path) -> None:
    place.publish(place.wheel("demo", "1.0"))
    words = [sys.executable, "-m", "indextrust", "yank", str(place.repository.folder), ONE]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([*words, "--by", "the robot"], env=env, check=True, capture_output=True)
    *_, entry = place.repository.log()
    assert (entry.who, entry.what) == ("the robot", "yank")
