"""Files appear whole or not at all, under their names and nowhere else."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from indextrust.errors import StoreError
from indextrust.repository import durable
from indextrust.repository.disk import CHUNK, read_bounded, sweep
from indextrust.repository.objects import ObjectStore
from indextrust.repository.storage import FolderStorage
from tests.repository.place import everything

SHA = hashlib.sha256(b"bytes").hexdigest()


@pytest.fixture
def storage(tmp_path: Path) -> FolderStorage:
    (tmp_path / "scratch").mkdir()
    return FolderStorage(tmp_path / "public", tmp_path / "scratch", tmp_path / "quarantine")


@pytest.fixture
def objects(tmp_path: Path, storage: FolderStorage) -> ObjectStore:
    return ObjectStore(tmp_path / "objects", tmp_path / "scratch")


def test_a_versioned_file_never_gets_other_bytes(storage: FolderStorage) -> None:
    storage.write_once("metadata/1.x.json", b"one")
    storage.write_once("metadata/1.x.json", b"one")
    with pytest.raises(StoreError, match="exists with other bytes"):
        storage.write_once("metadata/1.x.json", b"two")
    storage.sync()
    for other in (b"two", b"one and more", b""):
        with pytest.raises(StoreError, match="exists with other bytes"):
            storage.write_once("metadata/1.x.json", other)
        with pytest.raises(StoreError, match="exists with other bytes"):
            storage.write_numbered("metadata/1.x.json", other)
    storage.write_numbered("metadata/1.x.json", b"one")
    storage.sync()
    assert storage.read("metadata/1.x.json", 100) == b"one"


def test_replacing_gives_a_reader_the_old_or_the_new_file(storage: FolderStorage) -> None:
    storage.replace("timestamp.json", b"old")
    storage.sync()
    with (storage.public / "timestamp.json").open("rb") as reader:
        storage.replace("timestamp.json", b"new")
        storage.sync()
        assert reader.read() == b"old"
    assert storage.read("timestamp.json", 100) == b"new"


def test_plain_and_hash_prefixed_name_are_one_file_and_the_object_is_another(
    storage: FolderStorage, objects: ObjectStore
) -> None:
    assert objects.keep_bytes(b"bytes") == SHA
    storage.copy_once(f"files/x/{SHA}.x", objects, SHA)
    storage.link("files/x/x", f"files/x/{SHA}.x")
    storage.sync()
    public = storage.public / "files" / "x"
    assert (public / "x").stat().st_ino == (public / f"{SHA}.x").stat().st_ino
    (public / "x").write_bytes(b"EVIL!")  # an intruder edits in place
    assert objects.read(SHA) == b"bytes"


def test_a_plain_name_moves_to_a_new_file_and_back(storage: FolderStorage, tmp_path: Path) -> None:
    for name in ("a", "b"):
        storage.write_once(f"{name}.x", name.encode())
    for name in ("a", "a", "b", "a"):
        storage.link("x", f"{name}.x")
        storage.sync()
        assert storage.read("x", 10) == name.encode()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_without_hard_links_there_are_two_copies(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    storage.write_once("1.x", b"bytes")
    monkeypatch.setattr(os, "link", refuse)
    storage.link("x", "1.x")
    storage.sync()
    assert storage.read("x", 100) == b"bytes"
    assert (storage.public / "x").stat().st_nlink == 1
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_damaged_object_is_not_published(storage: FolderStorage, objects: ObjectStore) -> None:
    objects.keep_bytes(b"bytes")
    objects.path(SHA).write_bytes(b"bytez")
    with pytest.raises(StoreError, match="is damaged"):
        storage.copy_once("files/x/x", objects, SHA)
    with pytest.raises(StoreError, match="is damaged"):
        objects.read(SHA)
    assert not storage.exists("files/x/x")
    with pytest.raises(StoreError, match="No such file"):
        objects.read("f" * 64)


@pytest.mark.parametrize("size", [0, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK])
def test_objects_of_any_size_are_copied_and_damaged_ones_leave_nothing(
    storage: FolderStorage, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(durable, "_syncfs", lambda _: None)  # each file is asked for by its name
    data = bytes(size)
    sha256 = hashlib.sha256(data).hexdigest()
    objects.keep_bytes(data)
    storage.copy_once("files/x/good", objects, sha256)
    storage.sync()
    assert storage.read("files/x/good", 2 * CHUNK) == data
    objects.path(sha256).write_bytes(data + b"z")
    with pytest.raises(StoreError, match="is damaged"):
        storage.copy_once("files/x/bad", objects, sha256)
    for name in ("one", "two", "three"):
        storage.write_once(f"files/x/{name}", b"bytes")
    storage.sync()
    assert storage.listing("files/x") == ["good", "one", "three", "two"]


def test_something_else_under_a_hash_prefixed_name_is_refused(
    storage: FolderStorage, objects: ObjectStore
) -> None:
    objects.keep_bytes(b"bytes")
    storage.replace("x", b"longer than it was")
    with pytest.raises(StoreError, match="exists with other bytes"):
        storage.copy_once("x", objects, SHA)
    storage.sync()
    with pytest.raises(StoreError, match="exists with other bytes"):
        storage.copy_once("x", objects, SHA)


def test_no_write_goes_through_a_planted_link(storage: FolderStorage, tmp_path: Path) -> None:
    storage.write_once("files/honest/x", b"x")
    storage.sync()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (storage.public / "files" / "demo").symlink_to(elsewhere)
    with pytest.raises(StoreError, match="is not a folder of ours"):
        storage.write_once("files/demo/x", b"x")
    assert list(elsewhere.iterdir()) == []


def test_replacing_a_planted_link_leaves_its_target_alone(
    storage: FolderStorage, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"victim")
    storage.replace("a", b"a")
    storage.sync()
    (storage.public / "timestamp.json").symlink_to(victim)
    with pytest.raises(StoreError):
        storage.write_once("timestamp.json", b"victim")
    storage.replace("timestamp.json", b"new")
    storage.sync()
    assert victim.read_bytes() == b"victim"
    assert storage.read("timestamp.json", 100) == b"new"


def test_what_is_set_aside_is_kept(storage: FolderStorage, tmp_path: Path) -> None:
    storage.replace("files/evil/a", b"a")
    storage.sync()
    storage.set_aside("files/evil", "incident")
    storage.set_aside("files/evil", "incident")  # gone already
    assert (tmp_path / "quarantine/incident/files/evil/a").read_bytes() == b"a"
    assert not storage.exists("files/evil")


def test_reading_is_bounded_and_never_raises(storage: FolderStorage, tmp_path: Path) -> None:
    storage.replace("a", b"12345")
    storage.sync()
    assert (storage.read("a", 5), storage.read("a", 4)) == (b"12345", None)
    assert storage.read("missing", 5) is None
    (storage.public / "link").symlink_to(storage.public / "a")
    os.mkfifo(storage.public / "pipe")
    for name in ("link", "pipe", ".", "a/b"):
        assert read_bounded(storage.public / name, 5) is None
        assert not storage.matches(name, 5, SHA)
    assert storage.listing("missing") == storage.listing("a") == []


def test_a_file_that_is_longer_than_it_says_is_read_to_its_end() -> None:
    """As one that grows while it is read."""
    path = Path("/proc/version")
    assert path.stat().st_size == 0
    data = path.read_bytes()
    assert read_bounded(path, len(data)) == data
    assert read_bounded(path, len(data) - 1) is None


def test_sweeping_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    keep = tmp_path / "keep"
    keep.mkdir()
    sweep(tmp_path / "scratch")
    (tmp_path / "scratch" / "half").write_bytes(b"")
    (tmp_path / "scratch" / "folder").mkdir()
    (tmp_path / "scratch" / "folder" / "x").write_bytes(b"")
    (tmp_path / "scratch" / "link").symlink_to(keep)
    sweep(tmp_path / "scratch")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keep", "scratch"]
    assert list((tmp_path / "scratch").iterdir()) == []


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from indextrust.errors import StoreError
from indextrust.repository.disk import sweep
from indextrust.repository.storage import FolderStorage
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
folder = Path(sys.argv[1])
storage = FolderStorage(folder / "public", folder / "scratch", folder / "quarantine")
for attempt in (
    lambda: storage.write_once("metadata/2.x.json", b"x"),
    lambda: storage.replace("metadata/timestamp.json", b"x"),
    lambda: storage.remove("metadata/timestamp.json"),
    lambda: storage.set_aside("metadata/timestamp.json", "x"),
    lambda: sweep(folder / "new"),
):
    try:
        attempt()
    except StoreError as error:
        print(error)
"""


def test_an_unwritable_folder_is_named_and_nothing_changes() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own is closed to other users
        folder = Path(name)
        (folder / "scratch").mkdir()
        storage = FolderStorage(folder / "public", folder / "scratch", folder / "quarantine")
        storage.replace("metadata/timestamp.json", b"old")
        storage.sync()
        folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
        for path in folders:
            path.chmod(0o555)
        before = everything(folder)
        done = subprocess.run(
            [sys.executable, "-c", UNPRIVILEGED, name],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=False,
        )
        assert everything(folder) == before
        for path in folders:
            path.chmod(0o755)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    assert all(line.endswith("Permission denied") and name in line for line in lines)


def test_nothing_is_removed_through_a_link_out_of_the_public_folder(
    storage: FolderStorage, tmp_path: Path
) -> None:
    storage.replace("files/y/y", b"bytes")
    storage.sync()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").write_bytes(b"somebody's")
    (storage.public / "files" / "x").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="files/x is not a folder of ours"):
        storage.remove("files/x/x")
    assert (tmp_path / "elsewhere" / "x").read_bytes() == b"somebody's"
    storage.remove("files/y/y")
    assert storage.listing("files/y") == []
    storage.remove("files/y/y")
    storage.remove("files/gone/x")


def test_a_loop_of_links_has_no_names_in_it(storage: FolderStorage) -> None:
    storage.public.mkdir()
    (storage.public / "metadata").symlink_to("metadata")
    assert storage.listing("metadata") == []


def test_a_file_of_another_size_is_told_apart_unread(storage: FolderStorage) -> None:
    storage.replace("x", b"bytes")
    storage.sync()
    assert storage.matches("x", 5, SHA)
    assert not storage.matches("x", 4, SHA)
    assert storage.has_digest("x", SHA)
    os.truncate(storage.public / "x", 1 << 40)  # a terabyte of nothing: hashing it takes hours
    assert not storage.matches("x", 5, SHA)
    assert not storage.has_digest("x", SHA)


@pytest.mark.parametrize("where", ["files/x", "files"])
@pytest.mark.parametrize("act", ["sync", "write_numbered", "remove", "set_aside"])
def test_a_link_that_is_planted_after_the_folder_was_looked_at_is_not_followed(
    storage: FolderStorage, tmp_path: Path, where: str, act: str
) -> None:
    storage.write_once("files/x/1.old", b"old")
    storage.sync()
    outside = tmp_path / "outside"
    (outside / "x").mkdir(parents=True)
    for folder in (outside, outside / "x"):
        (folder / "1.old").write_bytes(b"mine")
    storage.write_once("files/x/2.new", b"new")
    storage._folders.close()  # as when many other folders were opened since
    (storage.public / where).rename(tmp_path / "away")
    (storage.public / where).symlink_to(outside)
    before = everything(outside)
    acts: dict[str, Callable[[], object]] = {
        "sync": storage.sync,
        "write_numbered": lambda: storage.write_numbered("files/x/3.new", b"new"),
        "remove": lambda: storage.remove("files/x/1.old"),
        "set_aside": lambda: storage.set_aside("files/x/1.old", "incident"),
    }
    with pytest.raises(StoreError, match=f"{where} is not a folder of ours"):
        acts[act]()
    assert everything(outside) == before


def test_few_folders_are_open_at_a_time_and_none_afterwards(storage: FolderStorage) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(100):
        storage.write_once(f"files/x{number}/1.x", b"x")
        storage.write_numbered(f"metadata/{number}.x.json", b"x")
        assert len(os.listdir("/proc/self/fd")) < before + 20
    storage.sync()
    assert len(os.listdir("/proc/self/fd")) == before
