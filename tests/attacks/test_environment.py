"""Attacks 57 to 59: no attacker but the environment. Neighbours, kill -9, a full disk."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from indextrust.client import FileMetadataStore, SqliteMemory
from indextrust.errors import StoreError
from indextrust.trust import Remembered, TargetEntry
from indextrust.trust.wants import ABSENT, Absent
from tests.attacks.story import ROLES, newest, trusted_files
from tests.client.pages import sha256
from tests.client.processes import (
    failing_at_step,
    killed_before_step,
    on_a_full_disk,
    visible,
    without_rights,
)
from tests.client.stage import BYTES, NOW, WHEEL, Stage

NEW_BYTES = b"the new wheel's bytes" * 1000
FILENAME = WHEEL.rpartition("/")[2]


# -- 57: neighbours ------------------------------------------------------------------------------

PROCESSES = 8
_WORKER = """
import sys
from datetime import datetime
from pathlib import Path
from indextrust.client import FileMetadataStore, TufClient, Urllib3Fetcher
from indextrust.trust import TargetEntry

url, root, cache, now, rounds, wheel = sys.argv[1:]
fetcher = Urllib3Fetcher(seconds=60)
versions = []
for _ in range(int(rounds)):
    client = TufClient(
        url,
        root=Path(root).read_bytes(),
        store=FileMetadataStore(Path(cache)),
        fetcher=fetcher,
        clock=lambda: datetime.fromisoformat(now),
    )
    trusted = client.refresh()
    versions.append((trusted.root_version, trusted.timestamp_version, trusted.snapshot_version))
    assert isinstance(client.target(wheel), TargetEntry)
for numbers in zip(*versions):
    assert list(numbers) == sorted(numbers), numbers
print(*versions[-1])
"""


class Publisher:
    """Publishes one set after the other, each file at once and the timestamp last; with every
    twentieth come new online keys under a new root. It keeps pace with its clients: a set is out
    for 20 requests of theirs, however slow the machine."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.served: set[str] = set()
        self.stopped = threading.Event()
        self.serve()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        repository, requests = self.stage.repository, self.stage.server.requests
        number = 0
        while not self.stopped.wait(0.01):
            if len(requests) < 20 * (number + 1):
                continue
            number += 1
            if number % 20 == 0:
                repository.rotate("timestamp")
                repository.rotate("snapshot")
                repository.publish_root()
            repository.publish()
            self.serve()

    def serve(self) -> None:
        files = self.stage.repository.files
        new = sorted(set(files) - self.served - {"timestamp.json"}, key=lambda n: "root" in n)
        for name in [*new, "timestamp.json"]:
            self.stage.server.tamper(f"metadata/{name}", files[name])
        self.served |= set(new)

    def stop(self) -> None:
        self.stopped.set()
        self.thread.join()


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("rounds", [40, pytest.param(300, marks=pytest.mark.long)])
def test_attack_57_eight_processes_refresh_one_cache_while_the_repository_publishes(
    stage: Stage, tmp_path: Path, rounds: int
) -> None:
    """Every job of a build machine refreshes the same cache while the operator publishes without
    a pause and rotates the online keys. Not one job fails, none ever sees a version fall, and no
    update is lost: what the last of them trusted is what the cache holds."""
    root, cache = tmp_path / "bootstrap.json", stage.folder / "cache"
    root.write_bytes(stage.repository.files["1.root.json"])
    publisher = Publisher(stage)
    command = [sys.executable, "-c", _WORKER, stage.server.url + "metadata/", str(root)]
    command += [str(cache), NOW.isoformat(), str(rounds), WHEEL]
    workers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    told = [worker.communicate() for worker in workers]
    publisher.stop()

    assert "".join(errors for _, errors in told) == ""
    seen = [tuple(map(int, answer.split())) for answer, _ in told]
    versions = [
        json.loads(stage.stored()[f"{role}.json"])["signed"]["version"]
        for role in ("root", "timestamp", "snapshot")
    ]
    assert versions == [max(numbers) for numbers in zip(*seen, strict=True)]
    assert versions[0] > 2, "the keys were rotated meanwhile, and more than once"

    stage.client().target(WHEEL)
    for role in ROLES:
        assert stage.stored()[f"{role}.json"] == stage.repository.files[newest(stage, role)]
    assert visible(cache / "tmp") == set()


# -- what 58 and 59 are played on ----------------------------------------------------------------


class NoNetwork:
    """A `Fetcher` that asks the stage's server without a socket: nothing but the disk may fail."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def fetch(self, url: str, *, max_length: int, seconds: float | None = None) -> bytes | Absent:
        assert seconds is None or seconds > 0
        answer = self._stage.server.answer(url.removeprefix(self._stage.server.url))
        if isinstance(answer, int):
            return ABSENT
        assert len(answer) <= max_length
        return answer

    @contextlib.contextmanager
    def stream(self, url: str, *, max_length: int) -> Iterator[Iterator[bytes] | Absent]:
        answer = self.fetch(url, max_length=max_length)
        middle = max_length // 2
        yield answer if answer is ABSENT else iter((answer[:middle], answer[middle:]))


class Machine:
    """All that one machine keeps: a cache, a first-seen memory, downloads."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage = stage
        self.folder = folder
        self.cache = folder / "cache"
        self.downloads = folder / "downloads"
        self.downloads.mkdir(parents=True, exist_ok=True)

    def copy(self, folder: Path) -> Machine:
        """The same, elsewhere; what was there is gone."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder, folder)
        return Machine(self.stage, folder)

    def work(self) -> None:
        """Refresh, look up, remember, download."""
        client = self.stage.client(
            store=FileMetadataStore(self.cache), fetcher=NoNetwork(self.stage)
        )
        client.refresh()
        entry = client.target(WHEEL)
        assert isinstance(entry, TargetEntry)
        memory = SqliteMemory(self.folder / "memory" / "memory.sqlite")
        digest, version = entry.hashes["sha256"], entry.snapshot_version
        names = {FILENAME: digest, f"{digest[:8]}-{FILENAME}": digest}
        memory.record("demo", "demo", names, when=NOW, snapshot_version=version)
        memory.close()
        client.download(entry, self.downloads / FILENAME)

    def kept(self) -> tuple[dict[str, bytes], Mapping[str, Remembered]]:
        """Every file under its final name, and what is remembered."""
        files = trusted_files(self.cache)
        for path in [*self.cache.glob("*.times"), *self.downloads.glob("[!.]*")]:
            files[str(path.relative_to(self.folder))] = path.read_bytes()
        remembered: Mapping[str, Remembered] = {}
        path = self.folder / "memory" / "memory.sqlite"
        if path.exists():
            memory = SqliteMemory(path)
            remembered = memory.remembered("demo", "demo")
            memory.close()
        return files, remembered

    def scraps(self) -> set[str]:
        """Files under temporary names, whoever could mistake them."""
        below = [*visible(self.downloads), *visible(self.cache / "tmp")]
        return {name for name in below if name != FILENAME}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where there is one: the thousands of syncs cost nothing there."""
    memory = "/dev/shm"  # noqa: S108
    path = Path(tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else None))
    yield path
    shutil.rmtree(path)


@pytest.fixture(params=["the first day", "the day of a new root"])
def before(request: pytest.FixtureRequest, stage: Stage, folder: Path) -> Machine:
    """A machine that knows nothing yet, or one that worked before the operator rotated the
    online keys and published a new wheel."""
    machine = Machine(stage, folder / "before")
    if request.param == "the day of a new root":
        machine.work()
        stage.repository.rotate("timestamp")
        stage.repository.rotate("snapshot")
        stage.repository.publish_root()
        stage.add(WHEEL, NEW_BYTES)
        stage.publish()
    return machine


def _check_whole(machine: Machine, before: Machine, undisturbed: Machine) -> None:
    """Nothing under a final name is anything but what it was, or what it will be."""
    (files, remembered), (old, old_rows), (new, new_rows) = (
        each.kept() for each in (machine, before, undisturbed)
    )
    published = set(machine.stage.repository.files.values())
    for name, data in files.items():
        assert data in (old.get(name), new.get(name)) or data in published, name
    assert remembered in (old_rows, new_rows)
    roles = [f"{role}.json" for role in ROLES]
    fresh = [files.get(name) == new[name] for name in roles]
    assert fresh == sorted(fresh, reverse=True), "a later role was stored before an earlier one"
    FileMetadataStore(machine.cache).times()


def _check_next_run(machine: Machine, undisturbed: Machine) -> None:
    """The next run ends where an undisturbed one does, and has cleaned up."""
    machine.work()
    assert machine.kept() == undisturbed.kept()
    assert machine.scraps() == set()


# -- 58: kill -9 ---------------------------------------------------------------------------------


def test_attack_58_killed_before_any_file_system_call_the_next_run_works(before: Machine) -> None:
    """kill -9 from outside, before every call that a run makes on the file system, in the middle
    of every write, and all along SQLite's work. Each time, no half file has a final name; the
    next run works, and ends in the state of a run that nobody disturbed."""
    undisturbed = before.copy(before.folder.parent / "undisturbed")
    undisturbed.work()
    for number in itertools.count(1):
        machine = before.copy(before.folder.parent / "machine")
        if not killed_before_step(number, machine.work):
            break
        _check_whole(machine, before, undisturbed)
        assert len(machine.scraps()) <= 1
        _check_next_run(machine, undisturbed)
    assert machine.kept() == undisturbed.kept(), "the last one was not killed"
    assert number > 120
    print(f"{number - 1} kill points")


# -- 59: a disk that is full, or fails -----------------------------------------------------------


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_attack_59_a_disk_that_fails_at_any_call_spoils_nothing(
    before: Machine, error: int
) -> None:
    """The disk is full, or fails, at every call that changes something: halfway through writes
    too. Each time it is a StoreError; metadata, memory and artifact are byte for byte what they
    were, or complete and new; nothing half-written stays, and with a good disk the next run
    works."""
    undisturbed = before.copy(before.folder.parent / "undisturbed")
    undisturbed.work()
    failed = []
    for number in itertools.count(1):
        machine = before.copy(before.folder.parent / "machine")
        call, result = failing_at_step(number, error, machine.work)
        if not call:
            break
        failed.append(call)
        if call == "mkdir" and result == "None":
            assert machine.kept() == undisturbed.kept(), "the folder was there"
        else:
            assert result.startswith("StoreError: "), (call, result)
        _check_whole(machine, before, undisturbed)
        assert machine.scraps() == set(), call
        _check_next_run(machine, undisturbed)
    assert result == "None", "the last run met no error"
    assert {"open", "write", "fsync", "rename"} <= set(failed)
    assert len(failed) > 60
    print(f"{len(failed)} failures")


def test_attack_59_a_full_disk_and_the_first_seen_memory(tmp_path: Path) -> None:
    """The disk fills up while the memory is made, or while it learns. That is a StoreError; no
    memory is there in part, no scrap of it stays, and what it remembered before it remembers."""
    path = tmp_path / "memory" / "memory.sqlite"
    files = {f"demo-{number}.0.tar.gz": sha256(b"%d" % number) for number in range(300)}

    def learn(files: dict[str, str]) -> None:
        memory = SqliteMemory(path)
        try:
            memory.record("demo", "demo", files, when=NOW, snapshot_version=1)
        finally:
            memory.close()

    def remembered() -> dict[str, str]:
        memory = SqliteMemory(path)
        rows = memory.remembered("demo", "demo")
        memory.close()
        return {name: row.sha256 for name, row in rows.items()}

    first = dict(list(files.items())[:1])
    for limit in (0, 1_000, 5_000, 20_000):
        assert on_a_full_disk(limit, lambda: learn(first)).startswith("StoreError: ")
        assert visible(tmp_path) == set()
    learn(first)
    for limit in (0, 1_000, 5_000, 20_000, 40_000):
        assert on_a_full_disk(limit, lambda: learn(files)).startswith("StoreError: ")
        assert remembered() == first
    learn(files)
    assert remembered() == files


def test_attack_59_a_full_disk_and_a_nameless_download(stage: Stage) -> None:
    client = stage.client()
    entry = client.target(WHEEL)
    assert isinstance(entry, TargetEntry)
    answer = on_a_full_disk(5_000, lambda: client.open(entry))
    assert answer.startswith("StoreError: can't write")
    with client.open(entry) as file:
        assert file.read() == BYTES


# -- a cache that can't be written, and what may lie in it ----------------------------------------


@pytest.fixture
def shared(stage: Stage) -> Iterator[Path]:
    """A filled cache that everybody may read and nobody may write, root aside."""
    folder = Path(tempfile.mkdtemp())
    cache = folder / "cache"
    stage.client(store=FileMetadataStore(cache)).target(WHEEL)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield cache
    shutil.rmtree(folder)


def _look_up(stage: Stage, cache: Path) -> Callable[[], object]:
    def look_up() -> object:
        client = stage.client(store=FileMetadataStore(cache))
        return client.refresh().snapshot_version, type(client.target(WHEEL)).__name__

    return look_up


def test_attack_59_a_read_only_cache_serves_as_long_as_nothing_is_new(
    stage: Stage, shared: Path
) -> None:
    """An image ships a filled cache, read-only. A user without rights refreshes and looks up;
    later the clock has moved on, which the store can't note. Something new can't be stored,
    which is said; and nothing has changed on disk."""
    held = trusted_files(shared)
    times = FileMetadataStore(shared).times()
    assert without_rights(_look_up(stage, shared)) == "(1, 'TargetEntry')"
    stage.now = NOW.replace(hour=NOW.hour + 1)
    assert without_rights(_look_up(stage, shared)) == "(1, 'TargetEntry')"
    stage.publish()
    answer = without_rights(_look_up(stage, shared))
    assert answer.startswith("StoreError: can't store version 2 of timestamp")
    assert "Permission denied" in answer
    assert trusted_files(shared) == held
    assert FileMetadataStore(shared).times() == times
    assert not [path for path in shared.rglob("*") if path.stat().st_mode & stat.S_IWUSR]


def _use(stage: Stage) -> None:
    stage.client().refresh()
    stage.store().times()


@pytest.mark.parametrize("name", ["timestamp.json", "store.lock", "tmp", "refreshed.times"])
def test_attack_59_a_link_in_the_cache_is_not_followed(
    stage: Stage, tmp_path: Path, name: str
) -> None:
    """A local user has put a link into the cache, hoping that we read or write its target."""
    outside, cache = tmp_path / "outside", stage.folder / "cache"
    outside.mkdir()
    (outside / "victim").write_bytes(b"precious")
    shutil.rmtree(cache / name) if name == "tmp" else (cache / name).unlink(missing_ok=True)
    (cache / name).symlink_to(outside if name == "tmp" else outside / "victim")
    stage.publish()
    with pytest.raises(StoreError):
        _use(stage)
    assert visible(outside) == {"victim"}
    assert (outside / "victim").read_bytes() == b"precious"
    (cache / name).unlink()
    assert stage.client().refresh().snapshot_version == 2
