"""The queue that nobody can forge: an attacker knows SQL, has the database file, and no key.

He writes what he likes into every table, or puts an older file in its place. Nothing of it is
signed: the publication is refused as a whole, the message names the entry, and the public folder
and the state stay as they were. He is raw SQL throughout.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from indextrust.errors import (
    AlteredStateError,
    InputError,
    KeyFileError,
    RepositoryError,
)
from indextrust.repository import Repository
from indextrust.repository.inspect import read_distribution
from indextrust.repository.seal import make_key, read_key
from tests.repository.place import Place, everything, sql

FIRST, END, THIRD = 4, 6, 8
"""Numbers in the log of `waiting`: 4 is a change, 5 and 6 its publication, 7 and 8 changes that
wait."""


@pytest.fixture
def waiting(place: Place) -> Place:
    """demo 1.0 is published; demo 2.0 and the removal of 1.0 wait."""
    place.publish(place.wheel("demo", "1.0"))
    place.repository.add(place.wheel("demo", "2.0"))
    place.repository.remove("demo", "demo-1.0-py3-none-any.whl")
    kinds = [row[0] for row in place.sql("SELECT kind FROM log ORDER BY number")]
    assert kinds == ["create", "begin", "end", "change", "begin", "end", "change", "change"]
    return place


def publishing_is_refused(place: Place, names: str) -> None:
    """Publishing, renewing and installing sign nothing, and say what is wrong."""
    before = everything(place.folder)
    for attempt in (place.repository.publish, place.reopen().publish):
        with pytest.raises(AlteredStateError, match=names):
            attempt()
    assert everything(place.folder) == before


COPY = "INSERT INTO log SELECT {to}, kind, project, body, time, who, mac FROM log WHERE number = {}"


@pytest.mark.parametrize(
    ("statements", "names"),
    [
        # inserted
        ([COPY.format(THIRD, to=9)], "log entry 9 was not written"),
        (["INSERT INTO log VALUES (9, 'change', 'demo', '{}', 'now', 'ada', '')"], "log entry 9"),
        (["INSERT INTO log VALUES (99, 'change', 'demo', '{}', 'now', 'ada', '')"], "log entry 9 "),
        # replayed after it was done
        ([COPY.format(FIRST, to=9)], "log entry 9 was not written"),
        # altered: every column
        (["UPDATE log SET body = replace(body, '2.0', '3.0') WHERE number = 7"], "entry 7"),
        (["UPDATE log SET project = 'other' WHERE number = 7"], "log entry 7"),
        (["UPDATE log SET kind = 'begin' WHERE number = 7"], "log entry 7"),
        (["UPDATE log SET time = '2027' WHERE number = 7"], "log entry 7"),
        (["UPDATE log SET who = 'eve' WHERE number = 7"], "log entry 7"),
        (["UPDATE log SET mac = '00000000' WHERE number = 7"], "log entry [78] was"),
        (["UPDATE log SET mac = x'ff00' WHERE number = 7"], "log entry [78] was"),
        (["UPDATE log SET body = x'ff00' WHERE number = 7"], "log entry 7"),
        (["UPDATE log SET who = 7.5 WHERE number = 7"], "log entry 7"),
        (["UPDATE log SET mac = (SELECT mac FROM log WHERE number = 8)"], "log entry [678]"),
        # deleted
        (["DELETE FROM log WHERE number = 7"], "log entry 7 is missing|log entry 8"),
        (["DELETE FROM log WHERE number = 8"], "log entry 8 is missing, the last one"),
        (["DELETE FROM log WHERE number >= 7"], "log entry 8 is missing, the last one"),
        (["DELETE FROM log"], "log entry 8 is missing, the last one"),
        # reordered
        (
            [
                "UPDATE log SET number = 100 WHERE number = 7",
                "UPDATE log SET number = 7 WHERE number = 8",
                "UPDATE log SET number = 8 WHERE number = 100",
            ],
            "log entry 8 is not the one|log entry [78] was not written",
        ),
        # done marked undone, undone marked done
        (
            ["UPDATE log SET body = replace(body, '\"upto\": 4', '\"upto\": 0')"],
            "log entry [56] was not written",
        ),
        (["UPDATE log SET kind = 'begin' WHERE number = 6"], "log entry 6 was not written"),
        (["DELETE FROM log WHERE number = 6"], "log entry 6 is missing|log entry 7"),
        (["DELETE FROM log WHERE number IN (5, 6)"], "log entry ([56] is missing|7 was not)"),
        (
            [
                "UPDATE log SET kind = 'end', body = (SELECT replace(body, '4', '7') "
                "FROM log WHERE number = 6) WHERE number = 8"
            ],
            "log entry 8 was not written",
        ),
        ([COPY.format(END, to=9)], "log entry 9 was not written"),
    ],
)
def test_what_was_not_queued_is_not_signed(
    waiting: Place, statements: list[str], names: str
) -> None:
    for statement in statements:
        waiting.sql(statement)
    publishing_is_refused(waiting, names)


def test_a_whole_entry_that_the_attacker_made_himself_is_refused(waiting: Place) -> None:
    """He gives the published name other bytes, and all tables agree with him."""
    other = waiting.wheel("demo", "1.0", content="# evil\n")
    file, _ = read_distribution(other, upload_time="2026-01-31T12:00:00Z")
    waiting.sql("UPDATE log SET body = replace(body, '2.0', '1.0') WHERE number = 7")
    waiting.sql("UPDATE files SET sha256 = ?, size = ?", file.sha256, file.size)
    waiting.sql("UPDATE used_filenames SET sha256 = ?", file.sha256)
    waiting.sql("UPDATE targets SET sha256 = ? WHERE path LIKE 'files/%.whl'", file.sha256)
    publishing_is_refused(waiting, "log entry 7")


def test_an_entry_of_another_repository_is_refused_even_under_one_key(
    waiting: Place, tmp_path: Path
) -> None:
    folder = tmp_path / "elsewhere"
    (folder / "up").mkdir(parents=True)
    there = Repository.create(
        folder / "index",
        waiting.roles,
        online=waiting.online,
        clock=waiting.clock,
        queue_key=waiting.repository.folder / "queue.key",
    )
    for version in ("1.0", "2.0", "3.0", "4.0", "5.0", "6.0"):
        there.add(waiting.wheel("demo", version))
    (row,) = sql(folder / "index", "SELECT * FROM log WHERE number = 9")
    assert row[1] == "change"
    waiting.sql("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?)", *row)
    publishing_is_refused(waiting, "log entry 9 was not written")


def test_nothing_is_queued_after_an_entry_that_was_put_there(waiting: Place) -> None:
    waiting.sql(COPY.format(FIRST, to=9))
    before = everything(waiting.repository.folder)
    with pytest.raises(AlteredStateError, match="log entry 9 was not written"):
        waiting.repository.add(waiting.wheel("demo", "3.0"))
    assert before.items() - everything(waiting.repository.folder).items() == set()


def test_status_says_that_the_log_was_altered(waiting: Place) -> None:
    waiting.sql("DELETE FROM log WHERE number = 8")
    (warning,) = waiting.repository.status().warnings
    assert "log entry 8 is missing" in warning


# -- older copies ------------------------------------------------------------------------------


def test_an_older_copy_of_the_database_is_refused_whoever_put_it_there(waiting: Place) -> None:
    state = waiting.repository.folder / "state.sqlite"
    old = state.read_bytes()
    waiting.repository.yank("demo", "demo-2.0-py3-none-any.whl", "broken")
    state.write_bytes(old)
    publishing_is_refused(waiting, "log entry 9 is missing, .* an old backup")


def test_a_removal_that_was_published_is_not_undone_by_an_older_copy(waiting: Place) -> None:
    """The attacker makes the old copy agree with what is served; the queue would run again."""
    state = waiting.repository.folder / "state.sqlite"
    old = state.read_bytes()
    waiting.repository.publish()
    rows = waiting.sql("SELECT name, version, allotted, length, sha256, expires, mac FROM roles")
    state.write_bytes(old)
    for name, *values in rows:
        waiting.sql(
            "UPDATE roles SET version = ?, allotted = ?, length = ?, sha256 = ?, expires = ?, "
            "mac = ? WHERE name = ?",
            *(*values, name),
        )
    publishing_is_refused(waiting, "log entry 10 is missing")


def test_an_entry_of_a_branch_that_was_given_up_is_refused(waiting: Place) -> None:
    """An operator restores from an older copy; the attacker kept an entry of the lost future."""
    state = waiting.repository.folder / "state.sqlite"
    old = state.read_bytes()
    waiting.repository.yank("demo", "demo-2.0-py3-none-any.whl", "broken")
    (lost,) = waiting.sql("SELECT * FROM log WHERE number = 9")
    state.write_bytes(old)
    waiting.repository.restore()
    waiting.sql("DELETE FROM log WHERE number = 9")
    waiting.sql("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?)", *lost)
    publishing_is_refused(waiting, "log entry 10 was not written")


def test_an_operator_who_restores_from_an_older_copy_goes_on_and_the_log_says_so(
    waiting: Place,
) -> None:
    state = waiting.repository.folder / "state.sqlite"
    old = state.read_bytes()
    waiting.repository.add(waiting.wheel("late", "1.0"))
    waiting.repository.publish()
    state.write_bytes(old)
    publishing_is_refused(waiting, "log entry 11 is missing")
    waiting.repository.restore()
    ((body,),) = waiting.sql("SELECT body FROM log WHERE kind = 'restore'")
    assert json.loads(body)["lost"] == 3
    assert waiting.repository.publish().added == 1
    assert waiting.repository.status().warnings == ()
    assert waiting.repository.audit().clean


def test_restoring_takes_no_entry_that_was_altered(waiting: Place) -> None:
    waiting.sql("UPDATE log SET who = 'eve' WHERE number = 7")
    before = everything(waiting.folder)
    with pytest.raises(AlteredStateError, match="log entry 7"):
        waiting.repository.restore()
    assert everything(waiting.folder) == before


def test_database_and_head_put_back_together_are_noticed_by_what_is_served(
    waiting: Place,
) -> None:
    """The limit of the head: the log can't tell; the public folder can."""
    names = ("state.sqlite", "queue.head")
    old = {name: (waiting.repository.folder / name).read_bytes() for name in names}
    waiting.repository.publish()
    for name, data in old.items():
        (waiting.repository.folder / name).write_bytes(data)
    before = everything(waiting.folder)
    with pytest.raises(RepositoryError, match="is not the one that was published"):
        waiting.reopen().publish()
    assert everything(waiting.folder) == before


# -- key and head ------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o277])
def test_the_key_is_for_its_owner_alone_under_any_umask(place: Place, umask: int) -> None:
    key = place.folder / f"key-{umask}"
    old = os.umask(umask)
    try:
        make_key(key)
    finally:
        os.umask(old)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(key.read_bytes()) == 32
    assert key.read_bytes() != (place.repository.folder / "queue.key").read_bytes()


def test_a_new_repository_has_its_key_outside_of_what_is_served(place: Place) -> None:
    key = place.repository.folder / "queue.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    secret = key.read_bytes()
    assert not any(secret in (data or b"") for data in everything(place.public).values())
    state = (place.repository.folder / "state.sqlite").read_bytes()
    assert secret not in state
    assert secret.hex().encode() not in state


def _unlink(key: Path) -> None:
    key.unlink()


def _shorten(key: Path) -> None:
    key.write_bytes(key.read_bytes()[:31])


def _open_to_others(key: Path) -> None:
    key.chmod(0o640)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_unlink, "can't be read: No such file"),
        (_shorten, "expected a queue key of 32 bytes, got 31"),
        (_open_to_others, "expected mode 0600, got 0640"),
    ],
)
def test_a_key_that_is_not_as_it_should_be_is_refused(
    waiting: Place, spoil: Callable[[Path], None], says: str
) -> None:
    spoil(waiting.repository.folder / "queue.key")
    before = everything(waiting.folder)
    with pytest.raises(KeyFileError, match=says):
        waiting.reopen()
    assert everything(waiting.folder) == before


def test_another_key_vouches_for_nothing(waiting: Place) -> None:
    (waiting.repository.folder / "queue.key").write_bytes(b"k" * 32)
    with pytest.raises(AlteredStateError, match="log entry 6 was not written"):
        waiting.reopen().publish()


def test_an_operator_may_keep_the_key_elsewhere(place: Place, tmp_path: Path) -> None:
    folder, key = tmp_path / "second", tmp_path / "safe" / "queue.key"
    key.parent.mkdir()
    Repository.create(folder, place.roles, online=place.online, clock=place.clock, queue_key=key)
    assert not (folder / "queue.key").exists()
    with pytest.raises(KeyFileError, match="can't be read"):
        Repository.open(folder, online=place.online, clock=place.clock)
    there = Repository.open(folder, online=place.online, clock=place.clock, queue_key=key)
    there.add(place.wheel("demo", "1.0"))
    assert there.publish().added == 1


def test_the_key_is_never_in_the_served_folder(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "second"
    with pytest.raises(InputError, match="outside the served folder"):
        Repository.create(
            folder,
            place.roles,
            online=place.online,
            clock=place.clock,
            queue_key=folder / "public" / "queue.key",
        )
    assert not (folder / "state.sqlite").exists()


@pytest.mark.parametrize("text", [None, b"", b"8\n", b"0 " + b"0" * 64 + b"\n", b"\xff" * 200])
def test_without_the_head_nothing_is_signed(waiting: Place, text: bytes | None) -> None:
    head = waiting.repository.folder / "queue.head"
    head.unlink() if text is None else head.write_bytes(text)
    publishing_is_refused(waiting, "queue.head is missing or damaged")
    waiting.repository.restore()
    assert waiting.repository.publish().added == 1


CHILD = """
import os, signal, sys
from pathlib import Path
from indextrust.repository import Repository

def hook(event, args):
    if event == "os.rename" and str(args[1]).endswith("queue.head"):
        print("stopped", flush=True)
        signal.pause()

repository = Repository.open(Path(sys.argv[1]))
sys.addaudithook(hook)
repository.remove("demo", "demo-2.0-py3-none-any.whl")
"""


def test_a_process_killed_between_the_database_and_the_head_loses_and_spoils_nothing(
    waiting: Place,
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(waiting.repository.folder)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"stopped\n"
    child.send_signal(signal.SIGKILL)
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    assert (waiting.repository.folder / "queue.head").read_bytes().startswith(b"8 ")
    assert waiting.repository.status().queued == 3
    waiting.sql("UPDATE log SET who = 'eve' WHERE number = 9")  # behind the head or not
    with pytest.raises(AlteredStateError, match="log entry 9"):
        waiting.repository.publish()
    waiting.sql("UPDATE log SET who = (SELECT who FROM log WHERE number = 8) WHERE number = 9")
    waiting.repository.publish()
    assert waiting.repository.files("demo") == []
    assert (waiting.repository.folder / "queue.head").read_bytes().startswith(b"11 ")


def test_a_repository_whose_creation_was_cut_short_takes_its_key_again(
    place: Place, tmp_path: Path
) -> None:
    folder = tmp_path / "second"
    folder.mkdir()
    key = make_key(folder / "queue.key")
    shutil.copy(place.repository.folder / "queue.head", folder)
    Repository.create(folder, place.roles, online=place.online, clock=place.clock)
    assert read_key(folder / "queue.key") == key
    assert Repository.open(folder, clock=place.clock).status().queued == 0


def test_no_more_than_what_waits_is_read_to_publish(place: Place) -> None:
    """Cost: the log grows for ever; a publication reads what came since the last one."""
    place.publish(place.wheel("demo", "1.0"))
    for _ in range(3):
        place.clock.sleep(hours=20)
        place.repository.renew()
    place.repository.yank("demo", "demo-1.0-py3-none-any.whl", "old")
    read: list[int] = []
    state = place.state()
    find = state.queue.log._seal.matches

    def counting(mac: object, previous: object, fields: tuple[object, ...]) -> bool:
        read.append(fields[0])  # type: ignore[arg-type]
        return find(mac, previous, fields)

    state.queue.log._seal.matches = counting  # type: ignore[method-assign]
    assert len(state.queue.pending().changes) == 1
    assert min(read) == FIRST + 1
    place.repository.publish()
    read.clear()
    assert state.queue.pending().changes == ()
    assert set(read) == {13, 14, 15}
    read.clear()
    assert state.queue.pending().changes == ()
    assert set(read) == {15}
