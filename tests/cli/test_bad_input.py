"""Bad input: a clear line, the exit code of its kind, and everything as it was before."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.cli.place import KEYS, Place, lying_wheel
from tests.support.wheels import make_wheel


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """One line on stderr that says what is wrong, and the code of its kind."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("indextrust: ")]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0]


def test_a_file_that_is_no_distribution(index: Place) -> None:
    notes = index.folder / "notes.txt"
    notes.write_text("not a distribution")
    lies = index.folder / "lies-1.0-py3-none-any.whl"
    lies.write_bytes(b"PK but no archive")
    before = index.digest()
    refused(index.run("add", index.repository, notes), 22, "notes.txt")
    refused(index.run("add", index.repository, lies), 22, "lies-1.0-py3-none-any.whl")
    assert index.digest() == before


def test_one_bad_file_among_good_ones_queues_none_of_them(index: Place) -> None:
    good = make_wheel(index.dist, "good", "1.0")
    bad = lying_wheel(index.dist, "bad", "1.0", says="evil")
    before = index.digest()
    refused(index.run("add", index.repository, good, bad), 22, "bad", "evil")
    assert index.digest() == before


def test_a_wheel_whose_name_and_metadata_disagree(index: Place) -> None:
    wheel = lying_wheel(index.dist, "demo", "2.0", says="flask")
    before = index.digest()
    refused(index.run("add", index.repository, wheel), 22, "demo", "flask")
    assert index.digest() == before


@pytest.mark.parametrize("name", ["Demo", "de..mo", "demo-", "dé", ""])
def test_an_unnormalised_or_empty_name(index: Place, name: str) -> None:
    index.must(
        *("trust", "add", "work", "http://127.0.0.1:9/", "--root"),
        index.public / "metadata" / "1.root.json",
    )
    before = index.digest()
    refused(index.run("get", f"{name}==1.0"), 2, "normalised", repr(name))
    assert index.digest() == before


def test_an_unnormalised_name_is_told_how_to_be_written(place: Place) -> None:
    refused(place.run("get", "Six==1.17.0"), 2, "'Six'", "write six==1.17.0")
    done = place.run("get", "Six")
    refused(done, 2, "expected PROJECT==VERSION")
    assert "write" not in done.stderr


@pytest.mark.parametrize("name", ["Ada", "", "online", "../ada"])
def test_a_keyholder_without_a_proper_name(place: Place, name: str) -> None:
    before = place.digest()
    done = place.run("init", place.repository, f"--keyholder={name}", "--threshold", "1")
    refused(done, 2, repr(name))
    assert place.digest() == before


def test_a_threshold_that_nobody_can_meet_leaves_no_key_behind(place: Place) -> None:
    before = place.digest()
    phrases = place.passphrases("ada", "online")
    done = place.run("init", place.repository, "--keyholder=ada", "--threshold=2", *phrases)
    refused(done, 30, "2")
    assert place.digest() == before


def test_a_wrong_passphrase(index: Place) -> None:
    index.must("add", index.repository, make_wheel(index.dist, "demo", "2.0"))
    (index.folder / "phrases" / "online").write_text("a guess\n")
    before = index.digest()
    done = index.run(*index.publish)
    refused(done, 32, "online.pem", "passphrase")
    assert "a guess" not in done.stderr
    assert index.digest() == before


def test_no_passphrase_and_no_terminal_to_ask_at(index: Place) -> None:
    before = index.digest()
    refused(index.run("publish", index.repository), 32, "--passphrase-file online=PATH")
    assert index.digest() == before


def test_a_passphrase_file_that_others_can_read(index: Place) -> None:
    (index.folder / "phrases" / "online").chmod(0o644)
    before = index.digest()
    done = index.run(*index.publish)
    refused(done, 31, "0644", "chmod 600")
    assert index.digest() == before


def test_an_unwritable_folder(place: Place) -> None:
    (place.folder / "file").write_text("in the way")
    before = place.digest()
    below = Place(place.folder / "file")
    keys = f"--keys={place.folder / 'keys'}"
    done = place.run(*below.init(keys, *place.passphrases(*KEYS)))
    refused(done, 15, str(place.folder / "file"))
    assert place.digest() == before


def test_keys_where_the_world_would_fetch_them(place: Place) -> None:
    before = place.digest()
    inside = place.repository / "public" / "keys"
    done = place.run("init", place.repository, "--keyholder=ada", "--threshold=1", "--keys", inside)
    refused(done, 2, "apart from the repository")
    assert place.digest() == before


def test_a_port_in_use(index: Place) -> None:
    before = index.digest()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(index.run("serve", index.repository, "--port", str(port)), 17, str(port))
    assert index.digest() == before


def test_a_repository_folder_from_another_version(index: Place) -> None:
    with sqlite3.connect(index.repository / "state.sqlite") as state:
        state.execute("UPDATE about SET schema_version = 999")
    state.close()
    before = index.digest()
    wheel = make_wheel(index.dist, "late", "1.0")
    refused(index.run("status", index.repository), 21, "999")
    refused(index.run("add", index.repository, wheel), 21, "999")
    wheel.unlink()
    assert index.digest() == before


def test_a_folder_that_is_no_repository(place: Place) -> None:
    before = place.digest()
    refused(place.run("status", place.folder / "nothing"), 20, "no repository")
    assert place.digest() == before


def test_an_error_is_one_object_with_json(place: Place) -> None:
    done = place.run("get", "Flask==1.0", "--json")
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["exit_code"], error["kind"]) == (2, 2, "InputError")
    assert "'Flask'" in error["message"]


def test_a_command_line_that_makes_no_sense(place: Place) -> None:
    done = place.run("publish", "--json")
    assert done.returncode == 2
    assert "FOLDER" in json.loads(done.stdout)["error"]["message"]


def test_verbose_twice_shows_where_it_came_from(place: Place) -> None:
    done = place.run("get", "Flask==1.0", "-v", "-v")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_files_are_not_shown_with_the_terminal_commands_in_their_names(index: Place) -> None:
    evil = index.folder / "\x1b[2Jdemo.whl"
    evil.write_bytes(Path(__file__).read_bytes())
    done = index.run("add", index.repository, evil)
    assert done.returncode == 22
    assert "\x1b" not in done.stderr
