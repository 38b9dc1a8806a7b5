"""A freeze stops every signature, whatever is under way, and lasts until a reason is given."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from securesystemslib.signer import CryptoSigner, Signature

from indextrust.errors import FrozenError, InputError, RepositoryError
from indextrust.repository import Repository
from indextrust.repository import emergency as emergency_module
from indextrust.repository.freeze import Freeze, FreezeNote
from indextrust.repository.storage import FolderStorage
from tests.repository.place import Place
from tests.repository.test_publish import reaches_only
from tests.repository.test_recovery import rob

DEMO = "demo-1.0-py3-none-any.whl"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for the lock: here it is held by whoever is frozen."""
    monkeypatch.setattr(emergency_module, "_PATIENCE", 0.01)


def freeze(place: Place, reason: str = "the key was seen elsewhere") -> bool:
    """The operator's next process freezes. Whether it is logged."""
    return Repository.freeze(place.repository.folder, reason, by="ada", clock=place.clock)[1]


class SlowSigner(CryptoSigner):
    """A key in a device that takes its time: something happens before its n-th signature."""

    def __init__(self, signer: CryptoSigner, number: int, event: Callable[[], object]) -> None:
        super().__init__(signer._private_key, signer.public_key)
        self.number, self.event, self.signed = number, event, 0

    def sign(self, payload: bytes) -> Signature:
        self.signed += 1
        if self.signed == self.number:
            self.event()
        return super().sign(payload)


def operations(place: Place) -> dict[str, Callable[[], object]]:
    new = CryptoSigner.generate_ed25519()
    repository = place.repository
    return {
        "publish": repository.publish,
        "renew": repository.renew,
        "restore": repository.restore,
        "install": lambda: repository.install(place.rotation(new), new),
        "rebin": lambda: repository.rebin(place.rotation(new), new),
        "collect": repository.collect,
    }


def test_nothing_that_signs_goes_on_and_queueing_does(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"))
    place.clock.sleep(hours=23)
    before = place.signed("timestamp.json")
    assert freeze(place)
    for name, operation in operations(place).items():
        with pytest.raises(FrozenError, match=r"frozen, by ada at .*: the key was seen elsewhere"):
            operation()
        assert place.signed("timestamp.json") == before, name
    assert place.repository.status().frozen is not None
    place.repository.add(place.wheel("demo", "2.0"))
    assert place.repository.thaw("it was a drill").notes[0].who == "ada"
    assert place.repository.status().frozen is None
    place.repository.publish()
    reaches_only(place, "demo", [DEMO, "demo-2.0-py3-none-any.whl"])
    said = [(entry.what, entry.reason) for entry in place.repository.log() if entry.reason]
    assert said == [("freeze", "the key was seen elsewhere"), ("thaw", "it was a drill")]


@pytest.mark.parametrize("number", range(1, 7))
def test_a_publication_under_way_stops_before_its_next_signature(place: Place, number: int) -> None:
    """Four bins, snapshot, timestamp: the freeze comes while one of the six is being made."""
    place.publish(place.wheel("demo", "1.0"))
    before = place.signed("timestamp.json")
    place.clock.sleep(hours=13)
    online = SlowSigner(place.online, number, lambda: freeze(place))
    repository = Repository.open(place.repository.folder, online=online, clock=place.clock)
    with pytest.raises(FrozenError):
        repository.renew()
    assert online.signed == number
    assert place.signed("timestamp.json") == before
    place.repository.thaw("it was a drill")
    assert place.repository.publish().timestamp_version > before["version"] + 1
    reaches_only(place, "demo", [DEMO])


def test_it_needs_neither_the_lock_nor_a_key(place: Place) -> None:
    with FileLock(place.repository.folder / "lock"):
        assert not freeze(place, "while a publisher hangs")
    with pytest.raises(FrozenError, match="while a publisher hangs"):
        place.repository.publish()
    place.repository.thaw("again")
    (place.repository.folder / "queue.key").rename(place.folder / "key")
    assert not freeze(place, "without the queue key")
    with pytest.raises(FrozenError, match="without the queue key"):
        place.repository.renew()
    place.repository.thaw("it is in the log all the same")
    (place.folder / "key").rename(place.repository.folder / "queue.key")
    *_, thawed = place.state().queue.log.verified()
    assert '"reason": "without the queue key"' in thawed.body


def test_nothing_becomes_visible_after_it_has_returned(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timestamp that is past the last question is waited for, also without the queue key."""
    monkeypatch.setattr(emergency_module, "_PATIENCE", 30.0)
    place.publish(place.wheel("demo", "1.0"))
    place.clock.sleep(hours=13)
    replace, seen = FolderStorage.replace_prepared, list[int]()

    def slow(storage: FolderStorage, name: str, prepared: str) -> None:
        (place.repository.folder / "queue.key").rename(place.folder / "key")
        frozen.start()
        while place.repository.frozen() is None:
            frozen.join(0.01)
        frozen.join(0.3)
        replace(storage, name, prepared)

    def stop() -> None:
        freeze(place)
        seen.append(place.signed("timestamp.json")["version"])

    frozen = threading.Thread(target=stop)
    repository = place.repository
    monkeypatch.setattr(FolderStorage, "replace_prepared", slow)
    published = repository.renew()
    frozen.join()
    assert published is not None
    assert seen == [published.timestamp_version] == [place.signed("timestamp.json")["version"]]


def test_a_freeze_on_an_altered_log_and_a_robbed_folder_holds_and_no_thaw_is_unlogged(
    place: Place,
) -> None:
    place.publish(place.wheel("demo", "1.0"))
    rob(place)
    place.sql("UPDATE log SET who = 'eve' WHERE number = (SELECT max(number) FROM log)")
    assert not freeze(place)
    with pytest.raises(RepositoryError, match="altered"):
        place.repository.thaw("I would like to")
    with pytest.raises(FrozenError):
        place.repository.restore()


CHILD = """
import os, signal, sys
from pathlib import Path
from indextrust.repository import Repository, freeze

class Slow:
    def __getattr__(self, name):
        return getattr(os, name)
    def write(self, descriptor, data):
        if sys.argv[2] == "half":
            os.write(descriptor, data[:20])
        print("stopped", flush=True)
        signal.pause()

freeze.os = Slow()
Repository.freeze(Path(sys.argv[1]), "never written to the end")
"""


@pytest.mark.parametrize("written", ["nothing", "half"])
def test_killed_in_the_middle_of_it_the_repository_is_frozen(place: Place, written: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(place.repository.folder), written],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"stopped\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    with pytest.raises(FrozenError, match="the reason was not written to the end"):
        place.repository.publish()
    freeze(place, "said again")
    with pytest.raises(FrozenError, match=r"frozen, by ada at [^;]*: said again"):
        place.repository.publish()
    place.repository.thaw("known now")
    assert place.repository.publish().nothing_to_do


@pytest.mark.parametrize("thing", ["folder", "link", "rubbish"])
def test_whatever_lies_in_its_place_freezes(place: Place, thing: str) -> None:
    path = place.repository.folder / "frozen"
    if thing == "folder":
        path.mkdir()
    elif thing == "link":
        path.symlink_to("nowhere")
    else:
        path.write_bytes(b'{"time": 1}\n[[[[\xff')
    with pytest.raises(FrozenError, match="the reason was not written to the end"):
        place.repository.publish()


def test_who_freezes_while_somebody_thaws_is_not_overheard(tmp_path: Path) -> None:
    first, second = FreezeNote("t1", "ada", "first"), FreezeNote("t2", "bob", "second")
    freeze = Freeze(tmp_path)
    frozen = freeze.set(first)
    with pytest.raises(FrozenError, match="by bob at t2: second"):
        freeze.lift(frozen, lambda: freeze.set(second))
    found = freeze.found()
    assert found is not None
    assert found.notes == (first, second)


def test_who_may_sign_under_a_freeze_stops_at_the_next(tmp_path: Path) -> None:
    freeze = Freeze(tmp_path)
    freeze.allow(freeze.set(FreezeNote("t1", "ada", "first")))
    freeze.check()
    Freeze(tmp_path).set(FreezeNote("t2", "bob", "stop"))
    with pytest.raises(FrozenError, match="by bob at t2: stop"):
        freeze.check()


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines", "x" * 501])
def test_a_reason_is_one_line_that_people_can_read(place: Place, reason: str) -> None:
    with pytest.raises(InputError, match="reason"):
        freeze(place, reason)
    assert place.repository.frozen() is None
    freeze(place)
    with pytest.raises(InputError, match="reason"):
        place.repository.thaw(reason)
    assert place.repository.frozen() is not None


def test_there_is_nothing_to_freeze_or_to_thaw(place: Place, tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="is no repository"):
        Repository.freeze(tmp_path / "uploads", "a wrong folder")
    assert not (tmp_path / "uploads" / "frozen").exists()
    with pytest.raises(RepositoryError, match="is not frozen"):
        place.repository.thaw("for no reason")


def test_the_commands(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    from indextrust.cli.app import run

    folder = str(place.repository.folder)

    def says(*arguments: str, code: int = 0) -> Any:
        assert run([*arguments]) == code
        captured = capsys.readouterr()
        return captured.out + captured.err

    assert "frozen, by ada" in says("freeze", folder, "--reason", "stolen", "--by", "ada")
    assert "FROZEN: the repository is frozen, by ada" in says("status", folder)
    assert "nothing is signed until `indextrust thaw`" in says("collect", folder, code=23).lower()
    assert "thawed" in says("thaw", folder, "--reason", "found it")
    assert "freeze  stolen" in says("log", folder)
    assert "frozen" not in says("status", folder).lower()


@pytest.mark.long
def test_many_hands_stop_after_what_they_were_given(tmp_path: Path) -> None:
    """2,048 bins are signed by other processes: the freeze comes when the first is on the disk."""
    place = Place(tmp_path, bins=2048)
    before = place.signed("timestamp.json")
    place.clock.sleep(hours=25)
    metadata = place.public / "metadata"
    names = set(os.listdir(metadata))

    def watch() -> None:
        while len(os.listdir(metadata)) == len(names):
            pass
        freeze(place)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with pytest.raises(FrozenError):
        place.repository.renew()
    watcher.join()
    assert place.signed("timestamp.json") == before
    signed = set(os.listdir(metadata)) - names
    assert len(signed) < 2048
    place.repository.thaw("it was a drill")
    assert len(place.repository.publish().bins) == 2048
