"""Many bins are signed by real processes; when one of them fails, nothing is visible."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner, Key, Signature, Signer

from indextrust.errors import SigningError, StoreError
from indextrust.repository import durable
from indextrust.repository import workers as module
from indextrust.repository.bins import BinTask, make_all
from indextrust.repository.plan import RoleFile, TargetFile, describe
from indextrust.repository.storage import FolderStorage
from indextrust.repository.workers import Workers
from tests.repository.place import Place, everything
from tests.repository.test_publish import client, reaches_only

TIME, LATER = "2026-01-31T12:00:00Z", "2026-02-01T12:00:00Z"
COUNT = 300


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cores", lambda: 2)
    monkeypatch.setattr(module, "_LEAST", 256)


def storage(folder: Path) -> FolderStorage:
    (folder / "incoming").mkdir(parents=True)
    return FolderStorage(folder / "public", folder / "incoming", folder / "quarantine")


def make(
    place: FolderStorage, signer: Signer, workers: Workers, tasks: list[BinTask]
) -> dict[str, RoleFile]:
    made = dict(make_all(place, signer, workers, tasks, len(tasks)))
    place.sync()
    return {name: file for name, file in made.items() if file is not None}


def pids(workers: Workers) -> list[int]:
    return [worker.process.pid for worker in workers._workers]


class Elsewhere(Signer):
    """A device: it signs, and its key can't be had."""

    def __init__(self, inner: CryptoSigner, *, wrong: bool = False) -> None:
        self.inner, self.wrong, self.count = inner, wrong, 0

    @property
    def public_key(self) -> Key:
        return self.inner.public_key

    @classmethod
    def from_priv_key_uri(cls, *_: Any) -> Signer:
        raise NotImplementedError

    def sign(self, payload: bytes) -> Signature:
        self.count += 1
        return self.inner.sign(payload + b" " * (self.wrong and self.count == 200))


def test_they_write_the_bytes_that_one_process_writes(tmp_path: Path) -> None:
    signer = CryptoSigner.generate_ed25519()
    found: list[dict[str, bytes | None]] = []
    for name, count in (("one", 1), ("many", 2)):
        place = storage(tmp_path / name)
        workers = Workers(place, count)
        put = {f"files/a/{number}": TargetFile(number, f"{number:064x}") for number in range(9)}
        first = [BinTask(f"bin-{n:03x}", 1, TIME, put=put) for n in range(COUNT)]
        files = make(place, signer, workers, first)
        more = {"files/a/99": TargetFile(9, "f" * 64)}
        second = [
            BinTask(name, 2, LATER, old, more, ("files/a/3",)) if n % 2 else
            BinTask(name, 2, LATER, old)
            for n, (name, old) in enumerate(files.items())
        ]  # fmt: skip
        files = make(place, signer, workers, second)
        assert bool(pids(workers)) == (count == 2)
        for role, file in files.items():
            data = place.read(f"metadata/2.{role}.json", 10_000)
            assert data is not None
            assert describe(data) == TargetFile(file.length, file.sha256)
        found.append(everything(tmp_path / name / "public"))
        workers.close()
    assert found[0] == found[1]
    assert len(found[0]) == 2 * COUNT + 1


def test_a_bin_whose_last_file_was_altered_is_left_to_the_publisher(tmp_path: Path) -> None:
    signer, place = CryptoSigner.generate_ed25519(), storage(tmp_path)
    workers = Workers(place)
    files = make(place, signer, workers, [BinTask(f"bin-{n}", 1, TIME) for n in range(COUNT)])
    path = tmp_path / "public/metadata/1.bin-7.json"
    path.write_bytes(path.read_bytes().replace(b"targets", b"Targets"))
    tasks = [BinTask(name, 2, LATER, old) for name, old in files.items()]
    made = dict(make_all(place, signer, workers, tasks, COUNT))
    assert [name for name, file in made.items() if file is None] == ["bin-7"]
    assert not (tmp_path / "public/metadata/2.bin-7.json").exists()


def test_a_disk_that_refuses_is_told_as_such(tmp_path: Path) -> None:
    signer, place = CryptoSigner.generate_ed25519(), storage(tmp_path)
    (tmp_path / "public/metadata").mkdir(parents=True)
    (tmp_path / "public/metadata/1.bin-150.json").write_bytes(b"somebody else's")
    tasks = [BinTask(f"bin-{n}", 1, TIME) for n in range(COUNT)]
    with pytest.raises(StoreError, match=r"1\.bin-150\.json exists with other bytes"):
        make(place, signer, Workers(place), tasks)


def test_the_key_is_in_no_argument_and_no_environment(tmp_path: Path) -> None:
    signer, place = CryptoSigner.generate_ed25519(), storage(tmp_path)
    workers = Workers(place)
    make(place, signer, workers, [BinTask(f"bin-{n}", 1, TIME) for n in range(COUNT)])
    secret = b"".join(signer.private_bytes.splitlines()[1:-1])
    assert len(pids(workers)) == 2
    for pid in pids(workers):
        for part in ("cmdline", "environ"):
            told = Path(f"/proc/{pid}/{part}").read_bytes()
            assert secret not in told
            assert b"PRIVATE KEY" not in told
        links = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
        assert sorted(link.partition(":")[0] for link in links) == [
            "/dev/null", "/dev/null", "/dev/null", "socket"
        ]  # fmt: skip
    workers.close()


def test_a_key_that_is_elsewhere_signs_where_it_is(tmp_path: Path) -> None:
    signer, place = Elsewhere(CryptoSigner.generate_ed25519()), storage(tmp_path)
    workers = Workers(place)
    made = make(place, signer, workers, [BinTask(f"bin-{n}", 1, TIME) for n in range(COUNT)])
    assert (len(made), signer.count, pids(workers)) == (COUNT, COUNT, [])


def test_a_wrong_signature_is_never_written(tmp_path: Path) -> None:
    signer = Elsewhere(CryptoSigner.generate_ed25519(), wrong=True)
    place = storage(tmp_path)
    put = {"files/a/a": TargetFile(1, "0" * 64)}
    with pytest.raises(SigningError, match="its public key does not verify"):
        make(
            *(place, signer, Workers(place)),
            [BinTask(f"bin-{n:03}", 1, TIME, put=put) for n in range(COUNT)],
        )
    assert len(list((tmp_path / "public/metadata").iterdir())) == 199


def test_without_an_interpreter_the_work_is_done_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    signer, place = CryptoSigner.generate_ed25519(), storage(tmp_path)
    workers = Workers(place)
    made = make(place, signer, workers, [BinTask(f"bin-{n}", 1, TIME) for n in range(COUNT)])
    assert (len(made), pids(workers)) == (COUNT, [])


# -- a publication ---------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path: Path) -> Place:
    """512 bins, signed by workers; a file, and half a day later."""
    place = Place(tmp_path, bins=512)
    place.publish(place.wheel("demo", "1.0"))
    place.clock.sleep(hours=20)
    return place


def visible(place: Place) -> Mapping[str, bytes | None]:
    return {
        name: data
        for name, data in everything(place.public).items()
        if not name.startswith("metadata/") or name.endswith("timestamp.json")
    }


def healed(place: Place) -> None:
    assert place.repository.renew() is not None
    client(place).refresh()
    reaches_only(place, "demo", ["demo-1.0-py3-none-any.whl"])


def test_a_worker_killed_in_the_middle_leaves_nothing_visible(large: Place) -> None:
    before, (first, _) = visible(large), pids(large.repository._warm.workers)
    os.kill(first, signal.SIGSTOP)  # it will have got work when it is killed
    killer = threading.Timer(1, os.kill, (first, signal.SIGKILL))
    killer.start()
    with pytest.raises(SigningError, match="a worker process failed"):
        large.repository.renew()
    assert visible(large) == before
    assert pids(large.repository._warm.workers) == []
    healed(large)


def test_what_the_disk_refused_once_while_they_wrote_leaves_nothing_visible(
    large: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was told to a thread that only has the disk begin early, and to nobody else."""
    before, publisher, told = visible(large), threading.current_thread(), 0

    def syncfs(_: int) -> None:
        nonlocal told
        if threading.current_thread() is not publisher:
            told += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(durable, "_syncfs", lambda _: syncfs)
        patch.setattr(durable, "_AHEAD", 0)
        with pytest.raises(StoreError, match="Input/output error"):
            large.repository.renew()
    assert told == 1
    assert visible(large) == before
    healed(large)


def test_a_worker_that_hangs_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, bins=512)
    place.publish(place.wheel("demo", "1.0"))
    place.clock.sleep(hours=20)
    before, both = visible(place), pids(place.repository._warm.workers)
    with monkeypatch.context() as patch:
        patch.setattr(module, "TIMEOUT", 0.5)
        for pid in both:
            os.kill(pid, signal.SIGSTOP)
        with pytest.raises(SigningError, match=r"no worker answered within 0\.5 seconds"):
            place.repository.renew()
    assert visible(place) == before
    assert not any(Path(f"/proc/{pid}").exists() for pid in both)
    healed(place)


SCRIPT = """
import os, sys
from pathlib import Path
from indextrust.repository import workers
workers.cores, workers._LEAST = lambda: 2, 256
from tests.repository.place import Place
print("began", flush=True)
place = Place(Path(sys.argv[1]), bins=512)
print(*(worker.process.pid for worker in place.repository._warm.workers._workers), flush=True)
sys.stdin.read()
"""


def test_they_run_no_script_again_and_end_with_their_parent(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)  # without a guard
    (tmp_path / "place").mkdir()
    child = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "place")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "began\n"
    found = child.stdout.readline().split()
    assert len(found) == 2
    child.send_signal(signal.SIGKILL)
    assert child.stdout.read() == ""
    child.communicate()
    deadline = time.monotonic() + 60
    while any(is_running(pid) for pid in found):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_they_end_with_the_repository(tmp_path: Path) -> None:
    place = Place(tmp_path, bins=512)
    found = pids(place.repository._warm.workers)
    assert len(found) == 2
    del place
    assert not any(is_running(str(pid)) for pid in found)


def test_an_unknown_error_tells_its_kind_and_nothing_else(tmp_path: Path) -> None:
    signer, place = CryptoSigner.generate_ed25519(), storage(tmp_path)
    workers = Workers(place)
    assert workers.are_worth(COUNT, signer)
    with pytest.raises(SigningError, match=r"^a worker failed: TypeError$"):
        list(workers.run("make", [(None, 5)]))
    with pytest.raises(SigningError, match="there are no worker processes"):
        list(workers.run("make", [(None, [])]))
