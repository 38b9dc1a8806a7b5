"""What waits for the disk, and how often; counted, never timed."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from indextrust.errors import StoreError
from indextrust.repository import durable
from indextrust.repository.storage import FolderStorage
from tests.repository.place import Place


@pytest.fixture
def storage(tmp_path: Path) -> FolderStorage:
    (tmp_path / "scratch").mkdir()
    return FolderStorage(tmp_path / "public", tmp_path / "scratch", tmp_path / "quarantine")


class Waits:
    """Every wait for the disk, in order: paths that were fsynced, and ``syncfs``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, syncfs: bool) -> None:
        self.seen: list[str] = []
        self.refused: str | None = None
        fsync, found = os.fsync, durable._syncfs

        def counted(descriptor: int) -> None:
            self._see(os.readlink(f"/proc/self/fd/{descriptor}"))
            fsync(descriptor)

        def look(home: Path) -> Callable[[int], None] | None:
            real = found(home) if syncfs else None
            if real is None:
                return None

            def seen(descriptor: int) -> None:
                self._see("syncfs")
                real(descriptor)

            return seen

        monkeypatch.setattr(durable, "_file_system", lambda _: "ext4")  # also in a container
        monkeypatch.setattr(os, "fsync", counted)
        monkeypatch.setattr(durable, "_syncfs", look)

    def _see(self, what: str) -> None:
        self.seen.append(what)
        if self.refused is not None and self.refused in what:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def take(self) -> list[str]:
        seen, self.seen = self.seen, []
        return seen


def test_a_thousand_files_wait_for_the_disk_as_often_as_ten(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = Waits(monkeypatch, syncfs=True)
    if durable._syncfs(storage.public.parent) is None:
        pytest.fail("these tests need one of the file systems that durable.py names")
    for count in (10, 1000):
        for number in range(count):
            storage.write_once(f"{count}{number % 4}/{number}", b"x")
        storage.sync()
        assert waits.take() == ["syncfs", "syncfs"]  # the bytes, then the names


def test_numbered_files_wait_once_and_one_file_is_fsynced(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    waits = Waits(monkeypatch, syncfs=True)
    for number in range(100):
        storage.write_numbered(f"metadata/{number}.x.json", b"x")
    storage.sync()
    assert waits.take() == ["syncfs"]
    storage.replace("metadata/timestamp.json", b"x")
    storage.sync()
    (file, folder) = waits.take()
    assert Path(file).parent == tmp_path / "scratch"
    assert folder == str(storage.public / "metadata")
    storage.sync()
    assert waits.take() == []


def test_where_there_is_no_syncfs_every_file_and_folder_is_fsynced(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    waits = Waits(monkeypatch, syncfs=False)
    for number in range(50):
        storage.write_once(f"f{number % 3}/{number}", b"x")
    storage.sync()
    seen = waits.take()
    assert [Path(path).parent for path in seen[:50]] == [tmp_path / "scratch"] * 50
    folders = {str(storage.public / f"f{number}") for number in range(3)}
    assert folders | {str(storage.public), str(tmp_path)} == set(seen[50:])


@pytest.mark.parametrize("syncfs", [True, False])
def test_nothing_is_named_if_its_bytes_did_not_reach_the_disk(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch, *, syncfs: bool
) -> None:
    waits = Waits(monkeypatch, syncfs=syncfs)
    storage.replace("plain", b"old")
    storage.sync()
    waits.refused = "syncfs" if syncfs else "scratch"
    for number in range(9):
        storage.write_once(f"{number}.x", b"x")
    storage.replace("plain", b"new")
    with pytest.raises(StoreError, match="Input/output error"):
        storage.sync()
    waits.refused = None
    storage.sync()  # what failed is forgotten, not believed to be there
    assert storage.listing("") == ["plain"]
    assert storage.read("plain", 10) == b"old"


def test_what_is_written_is_invisible_until_it_is_synced_and_can_be_abandoned(
    storage: FolderStorage, tmp_path: Path
) -> None:
    storage.write_once("1.x", b"x")
    storage.link("x", "1.x")
    storage.replace("page", b"page")
    prepared = storage.prepare("timestamp.json", b"time")
    assert storage.listing("") == []
    storage.abandon()
    storage.sync()
    assert storage.listing("") == []
    prepared = storage.prepare("timestamp.json", b"time")
    storage.sync()
    assert storage.listing("") == []
    storage.replace_prepared("timestamp.json", prepared)
    storage.sync()
    assert storage.read("timestamp.json", 10) == b"time"


def test_names_are_given_in_the_order_of_writing(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    named: list[str] = []
    replace = os.replace

    def noted(old: str, new: str, *, dst_dir_fd: int) -> None:
        named.append(new)
        replace(old, new, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "replace", noted)
    storage.write_once("hash.x", b"1")
    storage.link("x", "hash.x")
    storage.replace("page", b"1")
    storage.replace("x", b"2")  # a later one takes the later place
    storage.sync()
    assert named == ["hash.x", "page", "x"]
    assert storage.read("x", 10) == b"2"


def test_an_unknown_file_system_or_an_old_kernel_is_not_trusted_with_syncfs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    device = os.stat(tmp_path).st_dev
    line = f"1 0 {os.major(device)}:{os.minor(device)} / / rw - %s none rw\n"
    monkeypatch.setattr(durable, "_MOUNTS", mounts)
    mounts.write_text(line % "ext4")
    assert durable._syncfs(tmp_path) is not None
    for kind in ("fuse.sshfs", "nfs4", "overlay"):
        mounts.write_text(line % kind)
        assert durable._syncfs(tmp_path) is None
    mounts.write_text("1 0 0:0 / / rw - ext4 none rw\n")
    assert durable._syncfs(tmp_path) is None
    mounts.write_text(line % "ext4")
    for release, trusted in (("5.4.0-1-generic", False), ("5.16.20", False), ("5.17.0", True)):
        system = os.uname_result(("Linux", "x", release, "x", "x"))
        monkeypatch.setattr(os, "uname", lambda system=system: system)
        assert (durable._syncfs(tmp_path) is not None) == trusted


def test_a_publication_waits_as_often_for_many_files_as_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path)
    counts = []
    for batch in (1, 12):
        wheels = [place.wheel(f"demo{batch}x{number}", "1.0") for number in range(batch)]
        place.repository.add(*wheels)
        with monkeypatch.context() as patch:
            waits = Waits(patch, syncfs=True)
            place.repository.publish()
        counts.append(waits.seen)
    assert counts[0] == counts[1]
    public = str(place.public / "metadata")
    assert counts[0].index(public) > max(n for n, w in enumerate(counts[0]) if w == "syncfs")


def test_what_a_killed_publication_named_is_made_durable_by_the_next(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was killed when everything had its name, and before the names were durable. Where there
    is no syncfs nothing else would wait for them."""
    place.publish(place.wheel("demo", "1.0"))
    place.repository.add(place.wheel("new", "2.0"))
    waits = Waits(monkeypatch, syncfs=False)
    sync, counted = durable.Batch.sync, 0

    class KilledError(BaseException):
        pass

    def killed(self: durable.Batch) -> None:
        nonlocal counted
        counted += 1
        if counted == 2:
            raise KilledError
        sync(self)

    with monkeypatch.context() as patch:
        patch.setattr(durable.Batch, "sync", killed)
        with pytest.raises(KilledError):
            place.reopen().publish()
    waits.take()
    place.reopen().publish()
    folders = ("files/new", "files", "simple/new", "simple")
    assert {str(place.public / folder) for folder in folders} <= set(waits.take())
    place.repository.add(place.wheel("new", "3.0"))
    place.reopen().publish()  # nobody was killed: what is there is durable
    assert not {str(place.public / folder) for folder in ("files", "simple")} & set(waits.take())


class Ahead:
    """The disk, for `Batch.ahead`: each ``syncfs`` does what `answer` says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: Callable[[int], None]) -> None:
        self.asked: list[int] = []
        self.begun = threading.Event()

        def syncfs(descriptor: int) -> None:
            self.asked.append(descriptor)
            self.begun.set()
            answer(descriptor)

        monkeypatch.setattr(durable, "_syncfs", lambda _: syncfs)
        monkeypatch.setattr(durable, "_AHEAD", 0)

    def write(self, storage: FolderStorage) -> None:
        """Three files by somebody else, and the disk has begun."""
        with storage.written_elsewhere("metadata"):
            for number in range(3):
                (storage.public / f"metadata/{number}.x.json").write_bytes(b"x")
                storage.wrote_elsewhere(f"metadata/{number}.x.json")
            assert self.begun.wait(60)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "durable"]


def wait(event: threading.Event) -> None:
    assert event.wait(60)


def refuse(_: int) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_the_disk_begins_while_others_write_and_sync_asks_again_by_another_descriptor(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each descriptor is told of a failure once: the one that `sync` asks was told nothing yet."""
    disk = Ahead(monkeypatch, lambda _: None)
    disk.write(storage)
    ahead = set(disk.asked)
    disk.asked.clear()
    storage.sync()
    assert disk.asked
    assert ahead.isdisjoint(disk.asked)
    assert not threads()


def test_what_failed_once_while_others_wrote_fails_in_sync_though_the_disk_is_well_by_then(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused flush of the disk's own cache is told to who asked, and to nobody after him."""
    answers = iter([refuse])
    disk = Ahead(monkeypatch, lambda descriptor: next(answers, lambda _: None)(descriptor))
    disk.write(storage)
    with pytest.raises(StoreError, match="Input/output error"):
        storage.sync()
    storage.replace("page", b"page")
    storage.sync()  # the next batch is another one
    assert storage.read("page", 10) == b"page"


def test_who_is_interrupted_does_not_wait_for_the_disk_and_nothing_asks_for_it_any_more(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = threading.Event()
    disk = Ahead(monkeypatch, lambda _: wait(slow))

    def interrupted() -> None:
        with storage.written_elsewhere("metadata"):
            assert disk.begun.wait(60)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    (thread,) = threads()  # it is still in its one call
    slow.set()
    thread.join(60)
    assert not thread.is_alive()
    assert len(disk.asked) == 1


def test_without_a_thread_to_be_had_the_disk_begins_at_the_end(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    disk = Ahead(monkeypatch, lambda _: None)
    monkeypatch.setattr(threading.Thread, "start", refused)
    disk.begun.set()
    disk.write(storage)
    assert not disk.asked
    storage.sync()
    assert len(disk.asked) == 1


def test_a_scratch_folder_that_cant_be_opened_is_told_as_such(
    storage: FolderStorage, tmp_path: Path
) -> None:
    (tmp_path / "scratch").rmdir()
    with (
        pytest.raises(StoreError, match=r"can't write .*: No such file or directory"),
        storage.written_elsewhere("metadata"),
    ):
        pytest.fail("nobody may write now")
