"""``indextrust ceremony`` as keyholders have it: at a terminal, with mistakes and interruptions."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from indextrust.ceremony import generate_key
from indextrust.ceremony.event_file import read_event
from tests.cli.place import Place, new_place
from tests.support.softhsm import new_token

PASSPHRASE = "correct-horse-staple"
PEOPLE = ("ann", "bob", "cid")


@pytest.fixture(scope="module")
def proposed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with three keyholders, an online key, and a genesis proposed among them."""
    place = new_place(tmp_path_factory.mktemp("proposed") / "place")
    for name in PEOPLE:
        generate_key(place.folder / f"{name}.pem", PASSPHRASE, keyholder=name.title())
        (place.folder / "phrases" / name).write_text(f"{PASSPHRASE}\n")
        (place.folder / "phrases" / name).chmod(0o600)
    generate_key(place.folder / "online.pem", PASSPHRASE)
    people = [f"--add={name}.pub.json" for name in PEOPLE]
    options = ("--threshold=2", "--online=online.pub.json", "--bins=4", "--by=Lea")
    place.must("ceremony", "propose", "event.json", *people, *options)
    return place.folder


@pytest.fixture
def room(proposed: Path, tmp_path: Path) -> Place:
    """A copy of it."""
    shutil.copytree(proposed, tmp_path / "place")
    return Place(tmp_path / "place")


def digest_of(room: Place) -> str:
    return read_event(room.folder / "event.json").digest


def by_file(room: Place, name: str) -> list[str]:
    """The words that sign as `name` without a terminal."""
    return [
        *("ceremony", "sign", "event.json", f"--keyholder={name.title()}"),
        *(f"--key=file2:{name}.pem", f"--digest={digest_of(room)}"),
        f"--passphrase-file={name.title()}={room.folder / 'phrases' / name}",
    ]


class Terminal:
    """``ceremony sign`` as Ann, at a pseudo-terminal; all that it ever showed is kept."""

    def __init__(self, room: Place, key: str = "--key=file2:ann.pem") -> None:
        self.shown = io.StringIO()
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", "indextrust", "ceremony", "sign", "event.json", "--keyholder=Ann", key],
            cwd=str(room.folder),
            env=dict(os.environ),
            encoding="utf-8",
            timeout=60,
        )
        self.child.logfile_read = self.shown
        self.digest = digest_of(room)
        self.agreed = ""

    def at_consent(self) -> None:
        self.child.expect(r"groups (\d+), (\d+) and (\d+) of .*anything else stops: ")
        match = self.child.match
        assert isinstance(match, re.Match)
        numbers = [int(number) for number in match.groups()]
        self.agreed = "".join(self.digest[4 * number - 4 : 4 * number] for number in numbers)

    def at_passphrase(self) -> None:
        self.at_consent()
        self.child.sendline(self.agreed)
        self.child.expect("Enter the passphrase of ann.pem: ")

    def end(self) -> int:
        self.child.expect(pexpect.EOF)
        self.child.close()
        assert isinstance(self.child.exitstatus, int)
        return self.child.exitstatus


def test_a_keyholder_reads_agrees_and_signs(room: Place) -> None:
    terminal = Terminal(room)
    terminal.at_passphrase()
    before = terminal.shown.getvalue()
    terminal.child.sendline(PASSPHRASE)
    assert terminal.end() == 0
    assert before.index("Do not sign if") < before.index("anything else stops")
    assert "signed by Ann" in terminal.shown.getvalue()
    assert PASSPHRASE not in terminal.shown.getvalue()
    event = read_event(room.folder / "event.json")
    assert len(event.signatures) == 1
    files = [path for path in room.folder.rglob("*") if path.is_file()]
    holding = {path.parent.name for path in files if PASSPHRASE.encode() in path.read_bytes()}
    assert holding == {"phrases"}


def test_a_mistyped_passphrase_is_asked_again(room: Place) -> None:
    terminal = Terminal(room)
    terminal.at_passphrase()
    for wrong in ("a-wrong-secret", "", PASSPHRASE + "x"):
        terminal.child.sendline(wrong)
        terminal.child.expect("Enter the passphrase of ann.pem: ")
    terminal.child.sendline(PASSPHRASE)
    assert terminal.end() == 0
    shown = terminal.shown.getvalue()
    assert shown.count("wrong passphrase, or a damaged file") == 2
    assert "secret" not in shown
    assert PASSPHRASE not in shown


def test_a_mistyped_pin_is_asked_again_and_ctrl_c_leaves_the_event_as_it_was(room: Place) -> None:
    """Ann's key is in a token."""
    token = new_token("ceremony")
    token.add_key()
    pin = room.folder / "phrases" / "token"
    pin.write_text(f"{token.pin}\n")
    pin.chmod(0o600)
    words = ["key", "import", token.uri(), "token.pub.json", "--keyholder=Ann"]
    room.must(*words, f"--passphrase-file=token={pin}")
    people = ["--add=token.pub.json", "--add=bob.pub.json", "--threshold=2"]
    options = ["--online=online.pub.json", "--bins=4"]
    done = room.run("ceremony", "propose", "new.json", *people, *options)
    assert done.returncode == 30  # pip could not verify it
    assert "of Ann is 'ecdsa', which the profile portable does not allow" in done.stderr
    (room.folder / "event.json").unlink()
    room.must("ceremony", "propose", "event.json", *people, *options, "--profile=hsm")
    before = room.digest()

    for last in ("ctrl-c", token.pin):
        terminal = Terminal(room, f"--key={token.uri()}")
        terminal.at_consent()
        terminal.child.sendline(terminal.agreed)
        terminal.child.expect("Enter the PIN of .*: ")
        terminal.child.sendline("0000-wrong-pin")
        terminal.child.expect("Enter the PIN of .*: ")
        if last == "ctrl-c":
            terminal.child.sendintr()
            assert terminal.end() == 130
            assert room.digest() == before
        else:
            terminal.child.sendline(last)
            assert terminal.end() == 0
        assert "wrong PIN" in terminal.shown.getvalue()
        assert "0000-wrong-pin" not in terminal.shown.getvalue()
        assert token.pin not in terminal.shown.getvalue()
    told = json.loads(room.must("ceremony", "status", "event.json", "--json"))
    (signed,) = told["event"]["thresholds"][0]["signed"]
    assert signed.startswith(f"Ann (serial {token.serial.strip()}")


def test_another_digest_than_was_read_aloud_is_no_consent(room: Place) -> None:
    before = room.digest()
    for typed in ("", "yes", "0000 0000", "ffffffff"):
        terminal = Terminal(room)
        terminal.at_consent()
        terminal.child.sendline(typed)
        assert terminal.end() == 30
        assert "not signed: these are not the groups of this event's digest" in (
            terminal.shown.getvalue().replace("\r\n", " ")
        )
    assert room.digest() == before


def _at_consent(terminal: Terminal) -> None:
    terminal.at_consent()


def _half_a_digest(terminal: Terminal) -> None:
    terminal.at_consent()
    terminal.child.send(terminal.agreed[:4])


def _at_passphrase(terminal: Terminal) -> None:
    terminal.at_passphrase()


def _half_a_passphrase(terminal: Terminal) -> None:
    terminal.at_passphrase()
    terminal.child.send(PASSPHRASE[:10])


def _after_a_wrong_one(terminal: Terminal) -> None:
    terminal.at_passphrase()
    terminal.child.sendline("a-wrong-secret")
    terminal.child.expect("Enter the passphrase of ann.pem: ")


STATIONS = [_at_consent, _half_a_digest, _at_passphrase, _half_a_passphrase, _after_a_wrong_one]


@pytest.mark.parametrize("station", STATIONS)
def test_ctrl_c_at_any_prompt_leaves_everything_as_it_was(
    room: Place, station: Callable[[Terminal], None]
) -> None:
    before = room.digest()
    terminal = Terminal(room)
    station(terminal)
    terminal.child.sendintr()
    assert terminal.end() == 130
    assert room.digest() == before
    assert PASSPHRASE[:10] not in terminal.shown.getvalue()
    assert "Traceback" not in terminal.shown.getvalue()


@pytest.mark.parametrize("station", [_at_consent, _half_a_passphrase])
def test_a_killed_sign_and_a_terminal_that_goes_away_leave_everything_as_it_was(
    room: Place, station: Callable[[Terminal], None]
) -> None:
    before = room.digest()
    terminal = Terminal(room)
    station(terminal)
    terminal.child.kill(signal.SIGKILL)
    terminal.child.expect(pexpect.EOF)
    terminal.child.close()
    hung_up = Terminal(room)
    station(hung_up)
    hung_up.child.close()  # SIGHUP
    assert room.digest() == before
    room.must(*by_file(room, "ann"))  # and the next one works


def test_the_process_list_holds_no_secret(room: Place) -> None:
    terminal = Terminal(room)
    _half_a_passphrase(terminal)
    process = Path("/proc") / str(terminal.child.pid)
    for name in ("cmdline", "environ", "comm"):
        assert PASSPHRASE[:10].encode() not in (process / name).read_bytes()
    children = (process / "task" / str(terminal.child.pid) / "children").read_text()
    assert children == ""
    terminal.child.sendintr()
    terminal.end()


def test_without_a_terminal_consent_is_given_by_the_whole_digest(room: Place) -> None:
    before = room.digest()
    words = by_file(room, "ann")
    for wrong in ([], ["--digest", "00" * 32], ["--digest", digest_of(room)[:8]]):
        done = room.run(*(word for word in words if "digest" not in word), *wrong)
        assert done.returncode == 30
        assert "not signed" in done.stderr
    assert room.digest() == before
    grouped = " ".join(digest_of(room)[at : at + 4] for at in range(0, 64, 4))
    room.must(*(word for word in words if "digest" not in word), "--digest", grouped)


def test_the_key_of_another_keyholder_does_not_sign(room: Place) -> None:
    before = room.digest()
    words = [word.replace("file2:ann.pem", "file2:bob.pem") for word in by_file(room, "ann")]
    done = room.run(*words)
    assert done.returncode == 31
    assert "expected key" in done.stderr
    assert room.digest() == before


def test_copies_are_signed_apart_and_merged(room: Place) -> None:
    copy = room.folder / "copy.json"
    shutil.copy2(room.folder / "event.json", copy)
    room.must(*by_file(room, "ann"))
    room.must(*[word.replace("event.json", "copy.json") for word in by_file(room, "cid")])
    told = json.loads(room.must("ceremony", "merge", "event.json", "copy.json", "--json"))
    assert told["event"]["complete"] is True
    assert len(told["event"]["thresholds"][0]["signed"]) == 2
    again = room.digest()
    room.must("ceremony", "merge", "event.json", "copy.json")
    assert room.digest() == again

    options = [f"--add={name}.pub.json" for name in PEOPLE]
    options += ["--threshold=2", "--online=online.pub.json", "--bins=4", "--by=Lea"]
    room.must("ceremony", "propose", "other.json", *options)
    done = room.run("ceremony", "merge", "event.json", "other.json")
    assert done.returncode == 30
    assert done.stderr.startswith("indextrust: other.json: that is another event: ")


def test_verify_and_finish_refuse_until_enough_have_signed(room: Place) -> None:
    room.must(*by_file(room, "bob"))
    before = room.digest()
    for words in (["verify", "event.json"], ["finish", "event.json", "out"]):
        done = room.run("ceremony", *words)
        assert done.returncode == 30
        assert "1 more for the new root 1, out of Ann" in done.stderr
    assert room.digest() == before
    room.must(*by_file(room, "ann"))
    room.must("ceremony", "verify", "event.json", "--days", "364")
    done = room.run("ceremony", "verify", "event.json", "--days", "366")
    assert done.returncode == 30
    assert "expired" in done.stderr
    told = json.loads(room.must("ceremony", "finish", "event.json", "out", "--json"))
    assert "public/1.root.json" in told["finished"]["files"]
    assert room.run("ceremony", "finish", "event.json", "out").returncode == 30  # it is there


def test_from_the_keyholders_to_a_published_and_rotated_root(room: Place) -> None:
    online = room.folder / "phrases" / "online"
    online.write_text(f"{PASSPHRASE}\n")
    taken = ("--signer=file2:online.pem", f"--passphrase-file=online={online}")
    for name in ("ann", "cid"):
        room.must(*by_file(room, name))
    room.must("ceremony", "finish", "event.json", "first")
    room.must("install", "index", "first/public", *taken)

    generate_key(room.folder / "online-2.pem", PASSPHRASE)
    (room.folder / "event.json").unlink()
    options = ("--from=index/public/metadata", "--online=online-2.pub.json", "--remove=Bob")
    room.must("ceremony", "propose", "event.json", *options, "--bins=8")
    for name in ("ann", "cid"):
        room.must(*by_file(room, name))
    room.must("ceremony", "finish", "event.json", "second")
    before = room.digest()
    assert room.run("install", "index", "second/public", *taken).returncode == 31  # the old key
    assert room.digest() == before
    taken = ("--signer=file2:online-2.pem", f"--passphrase-file=online={online}")
    room.must("install", "index", "second/public", *taken)
    status = json.loads(room.must("status", "index", "--json"))["status"]
    versions = {role["name"]: role["version"] for role in status["roles"]}
    assert (versions["root"], versions["targets"], versions["bins"]) == (2, 2, 2)
    assert status["bins"] == 8


def test_a_full_disk_while_signing_leaves_the_event_as_it_was(room: Place) -> None:
    """The kernel refuses the write, as a full disk would."""
    before = room.digest()
    script = (
        "import resource, signal, sys\n"
        "from indextrust.cli.app import run\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", script, *by_file(room, "ann")],
        cwd=room.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 15, done.stderr
    assert room.digest() == before


def test_a_rehearsal_says_so_first_and_is_held_with_keys_made_for_it(room: Place) -> None:
    generate_key(room.folder / "soft.pem", PASSPHRASE, keyholder="Ann", rehearsal=True)
    generate_key(room.folder / "server.pem", PASSPHRASE, rehearsal=True)
    soft = ["--add=soft.pub.json", "--threshold=1", "--online=server.pub.json", "--bins=4"]
    real = ["--add=ann.pub.json", "--threshold=1", "--online=online.pub.json", "--bins=4"]
    before = room.digest()
    for words, told in (
        (soft, "was made in a rehearsal, and this is none"),
        ([real[0], *soft[1:]], "was made in a rehearsal, and this is none"),
        ([*real, "--rehearsal"], "is no rehearsal key"),
    ):
        done = room.run("ceremony", "propose", "practice.json", *words)
        assert (done.returncode, told in done.stderr) == (30, True), done.stderr
    assert room.digest() == before
    options = [*soft, "--rehearsal"]
    first = room.must("ceremony", "propose", "practice.json", *options).splitlines()[0]
    assert first.startswith("REHEARSAL: ")
    for words in (["show", "practice.json"], ["status", "practice.json"]):
        assert room.must("ceremony", *words).splitlines()[0] == first
    room.must("ceremony", "runbook", "practice.json", "paper")
    assert first in (room.folder / "paper" / "runbook.html").read_text()


@pytest.mark.parametrize(
    "words",
    [
        ["--add=ann.pub.json", "--threshold=1"],
        ["--threshold=1", "--online=online.pub.json"],
        ["--add=ann.pub.json", "--threshold=1", "--online=online.pub.json", "--remove=Ann"],
        ["--from=.", "--rehearsal"],
        ["--from=.", "--layout=projects"],
        ["--from=."],
    ],
)
def test_a_proposal_that_makes_no_sense_is_refused(room: Place, words: list[str]) -> None:
    before = room.digest()
    assert room.run("ceremony", "propose", "new.json", *words).returncode == 2
    assert room.digest() == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--add=online.pub.json", "--online=online.pub.json"], "made as an online key, not root"),
        (["--add=ann.pub.json", "--online=bob.pub.json"], "was made as a root key, not online"),
    ],
)
def test_a_key_is_proposed_for_what_it_was_made_for(
    room: Place, words: list[str], told: str
) -> None:
    before = room.digest()
    done = room.run("ceremony", "propose", "new.json", *words, "--threshold=1", "--bins=4")
    assert (done.returncode, told in done.stderr) == (30, True), done.stderr
    assert room.digest() == before


def test_the_profile_is_in_the_event_and_kept_by_the_next(room: Place) -> None:
    """An index of ECDSA keys is renewed without a word on profiles."""
    generate_key(room.folder / "eli.pem", PASSPHRASE, keyholder="Eli", kind="ecdsa-p256")
    shutil.copy2(room.folder / "phrases" / "ann", room.folder / "phrases" / "eli")
    (room.folder / "event.json").unlink()
    options = ["--threshold=1", "--online=online.pub.json", "--bins=4", "--profile=hsm"]
    room.must("ceremony", "propose", "event.json", "--add=eli.pub.json", *options)
    room.must(*by_file(room, "eli"))
    room.must("ceremony", "finish", "event.json", "first")
    shown = room.must("ceremony", "propose", "second.json", "--from=first/full-backup/roles")
    assert "(profile hsm); pip alone can't" in shown
    text = (room.folder / "second.json").read_text()
    (room.folder / "second.json").write_text(text.replace('"hsm"', '"portable"'))
    signing = ("sign", "second.json", "--keyholder=Eli", "--key=file2:eli.pem")
    done = room.run("ceremony", *signing)
    assert done.returncode == 30
    assert "of Eli is 'ecdsa', which the profile portable does not allow" in done.stderr


def test_who_signs_when_enough_have_signed_is_told_what_it_would_do(room: Place) -> None:
    """A second `finish` gives the same public files; a third signature gives another root than the
    one whose SHA-256 everybody took home."""
    for name in ("ann", "bob"):
        room.must(*by_file(room, name))
    room.must("ceremony", "finish", "event.json", "first")
    room.must("ceremony", "finish", "event.json", "second")
    first, second = (
        {
            str(path.relative_to(room.folder / name)): path.read_bytes()
            for path in (room.folder / name).rglob("*.json")
        }
        for name in ("first", "second")
    )
    assert first == second
    done = room.run(*by_file(room, "cid"))
    assert done.returncode == 0
    assert "If this event was finished, don't sign" in done.stderr
    shutil.copy2(room.folder / "first" / "full-backup" / "event.json", room.folder / "early.json")
    for words in (["early.json", "early.json"], ["event.json", "early.json"]):
        assert room.run("ceremony", "merge", *words).stderr == ""
    merged = room.run("ceremony", "merge", "early.json", "event.json")
    assert "the outputs count, and this file no more" in merged.stderr
    room.must("ceremony", "finish", "event.json", "third")
    root = "public/1.root.json"
    assert (room.folder / "third" / root).read_bytes() != first[root]
