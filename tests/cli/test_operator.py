"""An operator's weeks, command by command; what comes out is read back as JSON."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest
import urllib3

from tests.cli.place import KEYS, Place
from tests.support.wheels import make_wheel


def answer(place: Place, *arguments: str | Path) -> dict[str, object]:
    """The object that a command prints with --json."""
    tree: dict[str, object] = json.loads(place.must(*arguments, "--json"))
    return tree


def document(place: Place, project: str) -> dict[str, object]:
    """What the index says of a project, to everybody who asks."""
    path = place.public / "simple" / project / "index.json"
    tree: dict[str, object] = json.loads(path.read_bytes())
    return tree


def test_init_prints_the_fingerprint_that_users_are_told(place: Place) -> None:
    made = answer(place, *place.init("--bins=4", *place.passphrases(*KEYS)))
    root = (place.public / "metadata" / "1.root.json").read_bytes()
    digest = subprocess.run(
        ["sha256sum", "-"], input=root, capture_output=True, check=True
    ).stdout.decode()
    assert digest.startswith(str(made["fingerprint"]))
    signatures = json.loads(root)["signatures"]
    assert len(signatures) == 3
    for name in KEYS:
        mode = stat.S_IMODE((place.keys / f"{name}.pem").stat().st_mode)
        assert mode == 0o600
    assert stat.S_IMODE(place.keys.stat().st_mode) == 0o700
    assert not [path for path in place.repository.rglob("*") if path.suffix == ".pem"]


def test_a_file_is_added_yanked_unyanked_and_removed(index: Place) -> None:
    filename = "demo-1.0-py3-none-any.whl"

    index.must("yank", index.repository, filename, "--reason", "a bad day")
    assert "a bad day" not in json.dumps(document(index, "demo"))  # queued, not published
    index.must(*index.publish)
    assert document(index, "demo")["files"][0]["yanked"] == "a bad day"  # type: ignore[index]

    index.must("yank", index.repository, filename, "--undo")
    index.must("add", index.repository, make_wheel(index.dist, "demo", "2.0"))
    assert "2 changes queued" in index.must("status", index.repository)
    published = answer(index, *index.publish)["published"]
    assert isinstance(published, dict)
    assert (published["added"], published["changed"]) == (1, 1)
    files = document(index, "demo")["files"]
    assert [file["yanked"] for file in files] == [False, False]  # type: ignore[attr-defined]

    index.must("remove", index.repository, filename)
    index.must(*index.publish)
    assert document(index, "demo")["versions"] == ["2.0"]


def test_status_tells_versions_and_what_is_queued(index: Place) -> None:
    status = answer(index, "status", index.repository)["status"]
    assert isinstance(status, dict)
    versions = {role["name"]: role["version"] for role in status["roles"]}
    assert (versions["root"], versions["snapshot"], versions["timestamp"]) == (1, 2, 2)
    assert (status["projects"], status["files"], status["queued"]) == (1, 1, 0)


def test_renew_has_nothing_to_do_on_the_first_day(index: Place) -> None:
    before = index.digest()
    phrase = index.passphrases("online")
    assert answer(index, "renew", index.repository, *phrase) == {"published": None}
    assert index.digest() == before


def test_publishing_needs_the_online_key_alone(index: Place) -> None:
    for name in ("ada", "grace", "hedy"):
        (index.keys / f"{name}.pem").unlink()
    index.must("add", index.repository, make_wheel(index.dist, "demo", "2.0"))
    index.must(*index.publish)
    assert document(index, "demo")["versions"] == ["1.0", "2.0"]


def test_serve_serves_the_index_until_it_is_interrupted(index: Place) -> None:
    command = [sys.executable, "-m", "indextrust", "serve", str(index.repository), "--port=0"]
    with subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["serving"]["url"]
        served = urllib3.request("GET", url + "metadata/1.root.json").data
        outside = index.repository / "state.sqlite"
        escapes = ("../state.sqlite", "%2e%2e/state.sqlite", "..%2fstate.sqlite")
        secrets = [
            urllib3.request("GET", url + path, retries=False).status
            for path in (*escapes, f"%2F{outside}", f"/{outside}", f"simple/%2F{outside}")
        ]
        document = urllib3.request("GET", url + "simple/index.html").headers["content-type"]
        server.send_signal(2)
        assert server.wait(timeout=30) == 0
    assert served == (index.public / "metadata" / "1.root.json").read_bytes()
    assert secrets == [404] * 6
    assert document == "text/html"


def test_quiet_says_nothing_and_still_answers_machines(index: Place) -> None:
    assert index.must("status", index.repository, "-q") == ""
    assert "status" in json.loads(index.must("status", index.repository, "-q", "--json"))


def test_at_a_terminal_a_new_passphrase_is_asked_twice_and_never_shown(place: Place) -> None:
    options = ("--keyholder=ada", "--bins=2", "--threshold=1")
    child = pexpect.spawn(
        sys.executable,
        ["-m", "indextrust", "init", str(place.repository), *options],
        env=dict(os.environ),
        encoding="utf-8",
        timeout=60,
    )
    shown: list[object] = []
    for name in ("ada", "online"):
        child.expect(f"new key '{name}'.*: ")
        child.sendline(f"secret of {name}")
        child.expect("[Rr]epeat.*: ")
        shown.append(child.before)
        child.sendline(f"secret of {name}")
    child.expect(pexpect.EOF)
    shown.append(child.before)
    child.close()
    assert child.exitstatus == 0
    assert "secret of" not in str(shown)
    (place.folder / "phrases" / "online").write_text("secret of online\n")
    assert "nothing to do" in place.must(*place.publish)


def test_a_bar_appears_at_a_terminal_and_nowhere_else(place: Place) -> None:
    holders = ("--keyholder=ada", "--threshold=1", "--bins=256")
    command = [sys.executable, "-m", "indextrust", "init", str(place.repository), *holders]
    command += place.passphrases("ada", "online")
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs) as child:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65536):
                shown += piece
        except OSError:  # the other end is closed
            pass
        assert child.stdout is not None
        printed = child.stdout.read()
    os.close(ours)
    assert child.returncode == 0
    assert b"genesis" in shown
    assert b"\x1b" not in printed


@pytest.mark.parametrize(
    ("options", "form", "paths"),
    [
        ((), "roles", ["simple/*/*", "files/*/*"]),
        (("--layout=projects", "--hashes=both"), "roles", ["simple/*/*"]),
        (("--succinct",), "succinct_roles", ["simple/*/*", "files/*/*"]),
        (("--bins=512",), "succinct_roles", ["simple/*/*", "files/*/*"]),
    ],
)
def test_init_makes_the_layout_and_the_bins_that_it_is_asked_for(
    place: Place, options: tuple[str, ...], form: str, paths: list[str]
) -> None:
    made = answer(place, *place.init("--bins=4", *options, *place.passphrases(*KEYS)))
    folder = place.public / "metadata"
    bins = json.loads((folder / "1.bins.json").read_bytes())["signed"]
    targets = json.loads((folder / "1.targets.json").read_bytes())["signed"]
    assert form in bins["delegations"]
    assert targets["delegations"]["roles"][0]["paths"] == paths
    layout = "pep458" if len(paths) == 2 else "projects"
    names = {"roles": "path_hash_prefixes", "succinct_roles": "succinct_roles"}
    assert (made["layout"], made["delegation"]) == (layout, names[form])
    status = answer(place, "status", place.repository)["status"]
    assert (status["layout"], status["bins"]) == (layout, made["bins"])  # type: ignore[index]
    hashes = "both" if "--hashes=both" in options else "sha256"
    assert made["hashes"] == status["hashes"] == hashes  # type: ignore[index]


def test_init_refuses_a_layout_that_there_is_not(place: Place) -> None:
    done = place.run(*place.init("--layout=flat", *place.passphrases(*KEYS)))
    assert done.returncode == 2
    assert "'flat' is not one of 'pep458', 'projects'" in done.stderr
    assert not place.keys.exists()
