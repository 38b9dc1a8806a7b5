"""People who install: they trust an index, get and verify files, and run pip through it."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from indextrust.testing import TamperingServer
from tests.cli.place import KEYS, Place, new_place
from tests.support.wheels import make_wheel

WHEEL = "demo-1.0-py3-none-any.whl"


@pytest.fixture
def served(index: Place) -> Iterator[TamperingServer]:
    """The founded index, served."""
    with TamperingServer(index.public) as server:
        yield server


@pytest.fixture
def trusting(index: Place, served: TamperingServer) -> Place:
    """A place whose user trusts the served index as ``work``."""
    index.must("trust", "add", "work", served.url, "--fingerprint", fingerprint(index))
    return index


def fingerprint(index: Place) -> str:
    return hashlib.sha256((index.public / "metadata" / "1.root.json").read_bytes()).hexdigest()


def test_an_index_is_trusted_by_root_file_fingerprint_or_first_use(
    index: Place, served: TamperingServer
) -> None:
    root = index.public / "metadata" / "1.root.json"
    index.must("trust", "add", "by-root", served.url, "--root", root)
    index.must("trust", "add", "by-print", served.url, "--fingerprint", fingerprint(index))
    index.must("trust", "add", "by-luck", served.url, "--first-use")
    listed = json.loads(index.must("trust", "list", "--json"))["indexes"]
    assert [entry["name"] for entry in listed] == ["by-luck", "by-print", "by-root"]
    assert {entry["fingerprint"] for entry in listed} == {fingerprint(index)}


def test_a_wrong_fingerprint_is_refused_and_nothing_is_trusted(
    index: Place, served: TamperingServer
) -> None:
    done = index.run("trust", "add", "work", served.url, "--fingerprint", "0" * 64)
    assert done.returncode == 10
    assert fingerprint(index) in done.stderr
    assert json.loads(index.must("trust", "list", "--json")) == {"indexes": []}


def test_one_way_to_trust_has_to_be_chosen(index: Place) -> None:
    assert index.run("trust", "add", "work", "http://127.0.0.1:9/").returncode == 2
    both = ("--first-use", "--fingerprint", "0" * 64)
    assert index.run("trust", "add", "work", "http://127.0.0.1:9/", *both).returncode == 2


def test_get_brings_a_release_and_verify_knows_it_again(trusting: Place) -> None:
    got = json.loads(trusting.must("get", "demo==1.0", "--to", "wheels", "--json"))
    path = trusting.folder / got["downloaded"][0]["path"]
    assert path.read_bytes() == (trusting.dist / WHEEL).read_bytes()
    assert "as listed" in trusting.must("verify", path)


def test_verify_looks_at_every_file_and_fails_for_the_changed_one(trusting: Place) -> None:
    good = trusting.dist / WHEEL
    changed = trusting.folder / "changed" / WHEEL
    changed.parent.mkdir()
    changed.write_bytes(good.read_bytes()[:-1] + b"!")
    done = trusting.run("verify", changed, good, "--json")
    first, second = json.loads(done.stdout)["files"]
    assert done.returncode == 10
    assert first["error"]["kind"] == "HashMismatchError"
    assert "sha256" in second


def test_what_is_not_listed_has_its_own_answer(trusting: Place) -> None:
    done = trusting.run("get", "demo==9.9")
    assert (done.returncode, "awaiting publication" in done.stderr) == (13, True)
    assert trusting.run("get", "unheard-of==1.0").returncode == 13


def test_a_server_that_is_gone_is_no_attack(trusting: Place, served: TamperingServer) -> None:
    for name in ("2.root.json", "timestamp.json"):
        served.tamper(f"metadata/{name}", 503)
    done = trusting.run("get", "demo==1.0")
    assert done.returncode == 12, done.stderr


def test_get_refuses_a_changed_byte_and_leaves_nothing(
    trusting: Place, served: TamperingServer
) -> None:
    digest = hashlib.sha256((trusting.dist / WHEEL).read_bytes()).hexdigest()
    served.tamper(f"files/demo/{digest}.{WHEEL}", lambda honest: honest[:-1] + b"!")
    done = trusting.run("get", "demo==1.0", "--to", "wheels")
    assert done.returncode == 10
    assert digest in done.stderr
    assert list((trusting.folder / "wheels").iterdir()) == []


def test_run_installs_what_is_verified_and_exits_with_pips_code(trusting: Place) -> None:
    target = trusting.folder / "site"
    pip = (sys.executable, "-m", "pip", "install", "--target", target, "demo")
    done = trusting.run("run", "--json", "--", *pip)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)["summary"]
    assert [file["filename"] for file in summary["files"]] == [WHEEL]
    assert (target / "demo.py").exists()
    nothing = trusting.run("run", "--json", "--", *pip[:-1], "unheard-of")
    assert nothing.returncode == 1
    assert json.loads(nothing.stdout)["refused"] is False


def test_run_has_a_code_of_its_own_when_something_was_refused(
    trusting: Place, served: TamperingServer
) -> None:
    digest = hashlib.sha256((trusting.dist / WHEEL).read_bytes()).hexdigest()
    served.tamper(f"files/demo/{digest}.{WHEEL}", lambda honest: honest[:-1] + b"!")
    target = trusting.folder / "site"
    done = trusting.run(
        *("run", "--", sys.executable, "-m", "pip", "install", "--target", target, "demo")
    )
    assert done.returncode == 90
    by_pip, by_us = (
        [line for line in done.stderr.splitlines() if line.startswith(start)]
        for start in ("ERROR", "indextrust: ")
    )
    assert any("indextrust: refused" in line for line in by_pip)
    assert any(line.startswith("indextrust: refused") for line in by_us)
    assert not target.exists()


def test_runs_summary_leaves_stdout_to_the_child(trusting: Place) -> None:
    pip = (sys.executable, "-m", "pip", "index", "versions", "--json", "demo")
    done = trusting.run("run", "--", *pip)
    assert json.loads(done.stdout)["versions"] == ["1.0"]
    assert "files verified" in done.stderr


def test_a_way_around_the_index_is_refused_before_anything_runs(trusting: Place) -> None:
    elsewhere = ("--index-url", "http://127.0.0.1:9/simple/")
    done = trusting.run("run", "--", sys.executable, "-m", "pip", "install", *elsewhere, "demo")
    assert done.returncode == 2
    assert "--index-url" in done.stderr


def test_without_a_trusted_index_run_says_so(place: Place) -> None:
    done = place.run("run", "--", "pip", "install", "demo")
    assert done.returncode == 2
    assert "trust" in done.stderr


def test_a_changed_file_alarms_until_a_person_acknowledges_it(
    trusting: Place, served: TamperingServer, tmp_path: Path
) -> None:
    """The index is founded anew with other bytes under the old name: memory outlives the reset."""
    trusting.must("get", "demo==1.0", "--to", "wheels")
    other = new_place(tmp_path / "other")
    other.must(*other.init("--bins=4", *other.passphrases(*KEYS)))
    wheel = make_wheel(other.dist, "demo", "1.0", content="CHANGED = True")
    other.must("add", other.repository, wheel)
    other.must(*other.publish)
    shutil.rmtree(trusting.public)
    shutil.copytree(other.public, trusting.public)

    assert trusting.run("get", "demo==1.0").returncode == 10  # another root: no way
    trusting.must("trust", "reset", "work", "--fingerprint", fingerprint(other))
    alarmed = trusting.run("get", "demo==1.0", "--to", "wheels", "--json")
    error = json.loads(alarmed.stdout)["error"]
    offered = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert (alarmed.returncode, error["offered"]) == (11, offered)
    assert error["remembered"] != offered

    trusting.must("trust", "acknowledge", WHEEL, "--sha256", offered)
    trusting.must("get", "demo==1.0", "--to", "wheels")
    assert (trusting.folder / "wheels" / WHEEL).read_bytes() == wheel.read_bytes()


def test_a_removed_file_is_told_of_whether_asked_for_or_not(trusting: Place) -> None:
    trusting.must("add", trusting.repository, make_wheel(trusting.dist, "demo", "2.0"))
    trusting.must(*trusting.publish)
    trusting.must("get", "demo==1.0", "--to", "wheels")
    trusting.must("remove", trusting.repository, WHEEL)
    trusting.must(*trusting.publish)

    target = trusting.folder / "site"
    pip = (sys.executable, "-m", "pip", "install", "--target", target, "demo")
    told = trusting.run("run", "-q", "--", *pip)
    assert told.returncode == 0, told.stderr
    lines = [line for line in told.stderr.splitlines() if line.startswith("indextrust: ")]
    assert len(lines) == 1
    assert lines[0].startswith(f"indextrust: listed no more: {WHEEL}, first seen 20")
    done = trusting.run("run", "--json", "--", *pip)
    (removed,) = json.loads(done.stdout)["summary"]["removed"]
    assert (done.returncode, removed["filename"], removed["project"]) == (0, WHEEL, "demo")

    asked = trusting.run("get", "demo==1.0.0", "--json")
    error = json.loads(asked.stdout)["error"]
    assert (asked.returncode, error["kind"]) == (11, "RemovedArtifactError")
    assert trusting.run("get", "demo==9.9").returncode == 13


def test_a_changed_file_that_pip_did_not_ask_for_is_an_alarm_all_the_same(
    trusting: Place, tmp_path: Path
) -> None:
    trusting.must("get", "demo==1.0", "--to", "wheels")
    other = new_place(tmp_path / "other")
    other.must(*other.init("--bins=4", *other.passphrases(*KEYS)))
    for version in ("1.0", "2.0"):
        wheel = make_wheel(other.dist, "demo", version, content="CHANGED = True")
        other.must("add", other.repository, wheel)
    other.must(*other.publish)
    shutil.rmtree(trusting.public)
    shutil.copytree(other.public, trusting.public)
    trusting.must("trust", "reset", "work", "--fingerprint", fingerprint(other))

    pip = (sys.executable, "-m", "pip", "install", "--target", trusting.folder / "site", "demo")
    done = trusting.run("run", "--json", "--", *pip)
    said = json.loads(done.stdout)
    assert (done.returncode, said["exit_code"], said["refused"]) == (90, 0, True)
    assert [WHEEL in alarm for alarm in said["summary"]["alarms"]] == [True]
    assert [file["filename"][:8] for file in said["summary"]["files"]] == ["demo-2.0"]
