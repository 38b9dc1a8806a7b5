"""The commands that keep a repository in order, and the timers that call them."""

from __future__ import annotations

import configparser
import hashlib
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from indextrust.cli.app import main
from tests.cli.place import Place
from tests.support.wheels import make_wheel

TIMERS = Path(__file__).parents[2] / "examples" / "timers"


def test_collect_says_what_went_and_what_is_kept(index: Place) -> None:
    assert "0 metadata files and 0 target files removed" in index.must("collect", index.repository)
    answer = json.loads(index.must("collect", index.repository, "--json"))
    assert answer == {"collected": {"metadata": 0, "oldest_snapshot": 1, "targets": 0}}


def test_check_ends_with_0_or_says_what_differs(index: Place) -> None:
    before = index.digest()
    assert "no differences" in index.must("check", index.repository)
    assert index.digest() == before
    page = index.public / "simple" / "demo" / "index.html"
    page.write_bytes(b"defaced")
    done = index.run("check", index.repository)
    assert done.returncode == 20
    assert "public: simple/demo/index.html: expected sha256" in done.stdout
    done = index.run("check", index.repository, "--json")
    (difference,) = json.loads(done.stdout)["checked"]["differences"]
    assert (done.returncode, difference["where"]) == (20, "simple/demo/index.html")


def test_rehash_goes_over_to_both_hashes_and_names_what_it_can_t_read(index: Place) -> None:
    page = json.loads((index.public / "simple" / "demo" / "index.json").read_bytes())
    sha256 = page["files"][0]["hashes"]["sha256"]
    copy = index.repository / "objects" / sha256[:2] / sha256
    good = copy.read_bytes()
    copy.write_bytes(b"damaged")
    done = index.run("rehash", index.repository)
    assert done.returncode == 15
    assert f"left out: {page['files'][0]['filename']}: its private copy" in done.stdout
    copy.write_bytes(good)
    answer = json.loads(index.must("rehash", index.repository, "--files", "1", "--json"))
    size = answer["rehashed"].pop("size")
    assert size > len(good)  # with its core metadata
    rest = {"files": 1, "projects": 1, "more": False, "left_out": [], "elsewhere": 0}
    assert answer["rehashed"] == rest
    assert "1 files are listed with SHA-512 too" in index.must(*index.publish)
    assert "beside SHA-256, but for 0 files" in index.must("status", index.repository)
    page = json.loads((index.public / "simple" / "demo" / "index.json").read_bytes())
    assert page["files"][0]["hashes"]["sha512"] == hashlib.sha512(good).hexdigest()
    assert "rehash  1 files of demo  snapshot" in index.must("log", index.repository)


def test_rebuild_brings_a_lost_database_back(index: Place) -> None:
    root = shutil.copy(index.public / "metadata" / "1.root.json", index.folder / "root.json")
    index.must("add", index.repository, make_wheel(index.dist, "demo", "2.0"))
    (index.repository / "state.sqlite").unlink()
    lost = index.run("status", index.repository)
    assert lost.returncode == 20
    assert "`indextrust rebuild` makes it anew" in lost.stderr
    printed = index.must("rebuild", index.repository, "--root", root)
    assert "rebuilt from snapshot 2 (timestamp 2): 1 projects, 1 files" in printed
    assert "queued and not published: unknown" in printed
    assert "no differences" in index.must("check", index.repository)
    index.must("add", index.repository, make_wheel(index.dist, "demo", "3.0"))
    index.must(*index.publish)
    assert "no differences" in index.must("check", index.repository)
    answer = json.loads(index.must("rebuild", index.repository, "--root", root, "--json"))
    assert answer["rebuilt"]["lost_changes"] == 0
    assert (Path(answer["rebuilt"]["aside"]) / "state.sqlite").exists()


@pytest.mark.parametrize("content", [None, b"{}", b"x" * 600_000])
def test_rebuild_needs_a_root_that_can_be_one(index: Place, content: bytes | None) -> None:
    root = index.folder / "root.json"
    if content is not None:
        root.write_bytes(content)
    before = index.digest()
    done = index.run("rebuild", index.repository, "--root", root)
    assert done.returncode == (10 if content == b"{}" else 15)
    assert "Traceback" not in done.stderr
    assert index.digest() == before


def test_a_service_is_named_in_the_log_by_add_too(index: Place) -> None:
    index.must("add", index.repository, make_wheel(index.dist, "demo", "2.0"), "--by", "uploads")
    assert "uploads  add  demo-2.0" in index.must("log", index.repository)


# -- timers ----------------------------------------------------------------------------------


def unit(name: str) -> configparser.ConfigParser:
    """A unit file, as far as its form goes."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string((TIMERS / name).read_text())
    return parser


def commands() -> list[list[str]]:
    """What the crontab and the service run, word by word, from ``indextrust`` on."""
    lines = [
        line.split(None, 5)[5]
        for line in (TIMERS / "crontab").read_text().splitlines()
        if re.match(r"[0-9*]", line)
    ]
    service = (TIMERS / "indextrust-renew.service").read_text()
    lines += re.findall(r"^ExecStart=(.*)$", service, re.MULTILINE)
    return [shlex.split(line) for line in lines]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_of_a_timer_is_one_of_ours(words: list[str]) -> None:
    program, name, *arguments = words
    assert Path(program).name == "indextrust"
    command = main.commands[name]
    context = click.Context(command, resilient_parsing=False)
    rest, left, _ = command.make_parser(context).parse_args(list(arguments))
    assert left == []
    assert rest["folder"] is not None


def test_both_kinds_of_timer_renew_and_collect_every_hour() -> None:
    names = [words[1] for words in commands()]
    assert names.count("renew") == names.count("collect") == 2
    assert unit("indextrust-renew.timer")["Timer"]["OnCalendar"] == "hourly"
    lines = (TIMERS / "crontab").read_text().splitlines()
    hourly = [line for line in lines if re.match(r"\d+ \* \* \* \* ", line)]
    assert ["renew" in hourly[0], "collect" in hourly[1]] == [True, True]


def test_the_units_are_in_a_form_that_systemd_reads() -> None:
    service, timer = unit("indextrust-renew.service"), unit("indextrust-renew.timer")
    assert service["Service"]["Type"] == "oneshot"  # more than one ExecStart
    assert timer["Install"]["WantedBy"] == "timers.target"
    known = {"Unit", "Service", "Timer", "Install"}
    assert {*service.sections(), *timer.sections()} <= known
    program = shutil.which("systemd-analyze")
    if program is not None:
        names = [str(TIMERS / f"indextrust-renew.{kind}") for kind in ("service", "timer")]
        done = subprocess.run(
            [program, "verify", *names], capture_output=True, text=True, check=False
        )
        complaints = [
            line
            for line in done.stderr.splitlines()
            if "indextrust-renew" in line and "is not executable" not in line
        ]
        assert complaints == []


def test_the_passphrase_is_in_no_argument_and_no_environment() -> None:
    text = "".join(path.read_text() for path in TIMERS.iterdir())
    assert "PASSPHRASE=" not in text.upper().replace("PASSPHRASE-FILE", "")
    assert "Environment" not in text
