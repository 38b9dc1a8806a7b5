"""kill -9, a full disk, and two people at one file: what becomes of an event and its outputs.

The commands run in children that the kernel stops at every call which changes a file
(`tests.repository.faults.syscalls`): nothing is wrapped, and a kill is SIGKILL from outside.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from indextrust.ceremony import BinScheme, generate_key, judge, load_public, propose_genesis
from indextrust.ceremony.event import Event, Proposed
from indextrust.ceremony.event_file import create_event, read_event
from indextrust.ceremony.keyholders import Profile, read_public
from tests.ceremony.typed import Typed
from tests.repository.faults.syscalls import Choice
from tests.repository.faults.workshop import Workshop

PASSPHRASE = "correct-horse-staple"
OUTPUTS = {"public", "full-backup", "online-backup", "hash-sheet.txt", "transcript.md"}
FINISH = ("ceremony", "finish", "event.json", "out")
MERGE = ("ceremony", "merge", "event.json", "copy.json")


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    with Workshop() as made:
        yield made


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory, workshop: Workshop) -> Path:
    """An event that nobody has signed, a copy that Bob has, and one that both have."""
    folder = tmp_path_factory.mktemp("room")
    (folder / "passphrase").touch(0o600)
    (folder / "passphrase").write_text(f"{PASSPHRASE}\n")
    for name in ("ann", "bob"):
        generate_key(folder / f"{name}.pem", PASSPHRASE, keyholder=name.title())
    generate_key(folder / "online.pem", PASSPHRASE)
    event = propose_genesis(
        [read_public(folder / f"{name}.pub.json") for name in ("ann", "bob")],
        2,
        read_public(folder / "online.pub.json"),
        bins=BinScheme.of(2),
        layout="pep458",
        profile=Profile.PORTABLE,
        proposed=Proposed("Lea", datetime.now(UTC).replace(microsecond=0), "indextrust 1"),
    )
    create_event(folder / "event.json", event)
    shutil.copy2(folder / "event.json", folder / "copy.json")
    assert workshop.run(sign(folder, "bob", "copy.json")).value == 0
    shutil.copy2(folder / "copy.json", folder / "both.json")
    assert workshop.run(sign(folder, "ann", "both.json")).value == 0
    return folder


@pytest.fixture
def copied(room: Path, tmp_path: Path) -> Path:
    """A copy of the room."""
    return again(room, tmp_path / "copy")


def again(room: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(room, folder))


def sign(folder: Path, name: str, event: str = "event.json") -> Typed:
    """Signing without a terminal."""
    words = (
        *("ceremony", "sign", event, f"--keyholder={name.title()}", f"--key=file2:{name}.pem"),
        *(f"--digest={read_event(folder / event).digest}",),
        f"--passphrase-file={name.title()}=passphrase",
    )
    return Typed(folder, words)


def signers(event: Event) -> set[str]:
    return {
        str(judge(event).signers[one.keyid].unrecognized_fields["x-indextrust-keyholder"])
        for one in event.signatures
    }


def holds(sheet: Path) -> bool:
    """Whether all that a sheet lists is there as it says."""
    lines = [line.split("  ") for line in sheet.read_text().splitlines() if line[:1] != "#"]
    return all(
        hashlib.sha256((sheet.parent / name).read_bytes()).hexdigest() == digest
        for digest, name in lines
    )


# -- two people ----------------------------------------------------------------------------------


def test_two_who_sign_one_file_at_the_same_moment_have_both_signed(
    copied: Path, workshop: Workshop
) -> None:
    """Ann's process is stopped when its new file is about to take the place of the old one; Bob's
    begins, and must not take the old one for the last."""
    ann = sign(copied, "ann")
    renames = workshop.watch(sign(again(copied, copied.with_name("watched")), "ann")).marks
    at = renames.index(("rename", "event.json")) + 1
    assert workshop.hold(ann, at).ended.how == "held"
    with watching(copied / ".event.json.lock") as was_opened:
        bob = subprocess.Popen(
            [sys.executable, "-m", "indextrust", *sign(copied, "bob").words],
            cwd=copied,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        while not was_opened():
            assert bob.poll() is None
            time.sleep(0.01)
    assert workshop.go_on().value == 0
    shown, _ = bob.communicate(timeout=60)
    assert bob.returncode == 0
    assert "complete: the threshold is met" in shown
    assert signers(read_event(copied / "event.json")) == {"Ann", "Bob"}


@contextlib.contextmanager
def watching(path: Path) -> Iterator[Callable[[], bool]]:
    """Tells, of a file that is there, whether somebody has opened it since (inotify(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK)
    opened = 0x20
    assert libc.inotify_add_watch(descriptor, os.fsencode(path), opened) > 0

    def was_opened() -> bool:
        try:
            return bool(os.read(descriptor, 4096))
        except BlockingIOError:
            return False

    try:
        yield was_opened
    finally:
        os.close(descriptor)


# -- kill -9 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["sign", "merge"])
@pytest.mark.parametrize("count", [3, pytest.param(None, marks=pytest.mark.long)])
def test_a_kill_at_any_call_leaves_the_event_as_it_was_or_as_it_shall_be(
    count: int | None, what: str, room: Path, tmp_path: Path, workshop: Workshop
) -> None:
    def typed(folder: Path) -> Typed:
        return sign(folder, "bob") if what == "sign" else Typed(folder, MERGE)

    marks = workshop.watch(typed(again(room, tmp_path / "copy"))).marks
    visible = marks.index(("rename", "event.json")) + 1
    for at in range(1, len(marks) + 1) if count is None else (visible - 1, visible, visible + 1):
        folder = again(room, tmp_path / "copy")
        assert workshop.kill(typed(folder), at).ended.how == "killed"
        there = signers(read_event(folder / "event.json"))
        assert there in (set(), {"Bob"})
        if not there or what == "merge":
            assert workshop.run(typed(folder)).value == 0
        assert signers(read_event(folder / "event.json")) == {"Bob"}


@pytest.mark.parametrize("count", [5, pytest.param(None, marks=pytest.mark.long)])
def test_a_killed_finish_leaves_a_whole_folder_or_none_and_the_next_one_makes_it(
    count: int | None, room: Path, tmp_path: Path, workshop: Workshop
) -> None:
    first = _complete(again(room, tmp_path / "copy"))
    calls = workshop.watch(Typed(first, FINISH)).calls
    every = range(1, calls + 1)
    some = every if count is None else {*random.Random(8).sample(every, count), calls}
    for at in some:
        folder = _complete(again(room, tmp_path / "copy"))
        before = (folder / "event.json").read_bytes()
        assert workshop.kill(Typed(folder, FINISH), at).ended.how == "killed"
        if not (folder / "out").exists():
            assert workshop.run(Typed(folder, FINISH)).value == 0
        assert {path.name for path in (folder / "out").iterdir()} == OUTPUTS
        for sheet in ("hash-sheet.txt", "full-backup/SHA256SUMS", "online-backup/SHA256SUMS"):
            assert holds(folder / "out" / sheet)
        assert (folder / "event.json").read_bytes() == before


def _complete(folder: Path) -> Path:
    shutil.copy2(folder / "both.json", folder / "event.json")
    return folder


# -- a full disk ---------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [MERGE, FINISH], ids=["merge", "finish"])
def test_a_disk_that_gets_full_leaves_all_as_it_was(
    words: tuple[str, ...], room: Path, tmp_path: Path, workshop: Workshop
) -> None:
    """From some call on, the disk takes nothing more."""
    needy = {"openat", "write", "mkdir", "rename"}
    marks = workshop.watch(Typed(_prepared(room, tmp_path, words), words)).marks
    places = [at for at, (name, _) in enumerate(marks, 1) if name in needy]
    full = Choice("fail", errno.ENOSPC)
    for at in random.Random(7).sample(places, min(3, len(places))):
        folder = _prepared(room, tmp_path, words)
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        ended = workshop.disturb(Typed(folder, words), at, full, lasting=True).ended
        assert ended.value == 15, (at, marks[at - 1], ended)
        after = {path.name: path.read_bytes() for path in folder.iterdir()}
        after.pop(".event.json.lock", None)
        assert after == before
        assert workshop.run(Typed(folder, words)).value == 0


def _prepared(room: Path, tmp_path: Path, words: tuple[str, ...]) -> Path:
    folder = again(room, tmp_path / "copy")
    return _complete(folder) if words == FINISH else folder


# -- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [3, pytest.param(None, marks=pytest.mark.long)])
def test_a_key_is_never_lost_between_its_two_files(
    count: int | None, tmp_path: Path, workshop: Workshop
) -> None:
    """`key generate` is killed at each of its calls: there is no key, or one that is whole, or one
    whose public half is made anew from the private one. A public half alone, which people could
    take to a ceremony, there never is."""
    folder = tmp_path / "home"

    def home() -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "phrase").touch(0o600)
        (folder / "phrase").write_text(f"{PASSPHRASE}\n")
        return folder

    words = ("key", "generate", "ann.pem", "--keyholder=Ann", "--passphrase-file=ann=phrase")
    marks = [path for _, path in workshop.watch(Typed(home(), words)).marks]
    between = next(at for at, path in enumerate(marks, 1) if path.startswith(".ann.pub.json"))
    halves = 0
    for at in range(1, len(marks) + 1) if count is None else (1, between - 1, between):
        assert workshop.kill(Typed(home(), words), at).ended.how == "killed"
        private, public = folder / "ann.pem", folder / "ann.pub.json"
        if not private.exists():
            assert not public.exists()
            continue
        if not public.exists():
            halves += 1
            remake = ("key", "import", "ann.pem", "ann.pub.json", *words[3:])
            assert workshop.run(Typed(folder, remake)).value == 0
        assert load_public(public).unrecognized_fields == {"x-indextrust-keyholder": "Ann"}
    assert halves
