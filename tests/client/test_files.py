"""The metadata store: what was persisted is there, entirely, whoever else writes or dies."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock

from indextrust.client import FileMetadataStore
from indextrust.errors import InputError, StoreError, UnsafePathError
from indextrust.trust import Persist
from tests.client.processes import (
    in_child,
    killed_before_step,
    on_a_full_disk,
    visible,
    without_rights,
)


def _root(version: int, more: str = "") -> bytes:
    return json.dumps({"signatures": [], "signed": {"version": version, "x": more}}).encode()


def _digest(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()


def _persist(store: FileMetadataStore, role: str, version: int, data: bytes, root: int = 1) -> bool:
    """Persist over whatever the store holds now."""
    return store.persist(Persist(role, version, data, _digest(store.load(role)), root))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose parents everybody may enter, which pytest's own are not."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path / "metadata"
    shutil.rmtree(path)


@pytest.fixture
def store(folder: Path) -> FileMetadataStore:
    store = FileMetadataStore(folder)
    assert _persist(store, "root", 1, _root(1))
    return store


def test_nothing_was_persisted_yet(folder: Path) -> None:
    store = FileMetadataStore(folder)
    assert store.load("root") is None
    assert store.load("root", 1) is None
    assert not folder.exists(), "reading makes nothing"


def test_bytes_come_back_as_they_were(store: FileMetadataStore, folder: Path) -> None:
    data = b' {"signed":\xff not even JSON \r\n'
    assert _persist(store, "timestamp", 1, data)
    assert store.load("timestamp") == data
    assert (folder / "timestamp.json").read_bytes() == data


def test_every_root_is_kept(store: FileMetadataStore, folder: Path) -> None:
    assert _persist(store, "root", 2, _root(2))
    assert _persist(store, "root", 3, _root(3), root=2)
    assert store.load("root") == _root(3)
    assert [store.load("root", version) for version in (1, 2, 3, 4)] == [
        _root(1),
        _root(2),
        _root(3),
        None,
    ]
    assert visible(folder) == {
        "root.json",
        "root_history/1.root.json",
        "root_history/2.root.json",
        "root_history/3.root.json",
        "store.lock",
    }


# -- compare-and-swap ----------------------------------------------------------------------------


def test_the_slower_of_two_processes_writes_nothing(store: FileMetadataStore) -> None:
    assert _persist(store, "timestamp", 1, b"one")
    seen = _digest(b"one")
    assert store.persist(Persist("timestamp", 3, b"three", seen, 1))
    assert not store.persist(Persist("timestamp", 2, b"two", seen, 1))
    assert not store.persist(Persist("timestamp", 2, b"two", None, 1))
    assert store.load("timestamp") == b"three"


def test_the_same_bytes_stored_by_another_process_are_no_conflict(store: FileMetadataStore) -> None:
    assert store.persist(Persist("timestamp", 1, b"one", None, 1))
    assert store.persist(Persist("timestamp", 1, b"one", None, 1))


def test_what_was_verified_under_an_older_root_is_not_stored(store: FileMetadataStore) -> None:
    """Between the slower process's root and its timestamp, a faster one stored root v2."""
    assert _persist(store, "root", 2, _root(2))
    assert not store.persist(Persist("timestamp", 1, b"by the old keys", None, 1))
    assert store.load("timestamp") is None
    assert store.persist(Persist("timestamp", 1, b"by the new keys", None, 2))


def test_two_processes_fetch_the_same_new_root(store: FileMetadataStore) -> None:
    seen = _digest(_root(1))
    assert store.persist(Persist("root", 2, _root(2), seen, 1))
    assert store.persist(Persist("root", 2, _root(2), seen, 1))
    assert not store.persist(Persist("root", 2, _root(2, "another"), seen, 1))
    assert store.load("root") == store.load("root", 2) == _root(2)


def test_a_gap_in_the_history_is_filled_on_the_way_to_the_newest_root(
    store: FileMetadataStore, folder: Path
) -> None:
    """Root v2 was lost from the history; the session, which walks from v1, fetches it again."""
    assert _persist(store, "root", 2, _root(2))
    assert _persist(store, "root", 3, _root(3), root=2)
    (folder / "root_history" / "2.root.json").unlink()
    assert store.persist(Persist("root", 2, _root(2), _digest(_root(3)), 1))
    assert store.load("root") == store.load("root", 2) == _root(2)
    assert store.persist(Persist("root", 3, _root(3), _digest(_root(2)), 2))
    assert store.load("root") == _root(3)
    assert not store.persist(Persist("timestamp", 1, b"by root 2", None, 2))


def test_an_installer_brings_a_newer_root_than_was_stored(store: FileMetadataStore) -> None:
    assert store.persist(Persist("root", 7, _root(7), _digest(_root(1)), 7))
    assert store.load("root") == _root(7)


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b"[]", b"\xff", b'{"signed":{"version":"1"}}', b"[" * 100_000]
)
def test_a_damaged_root_is_handed_over_and_can_be_replaced(
    store: FileMetadataStore, folder: Path, damage: bytes
) -> None:
    """The session believes nothing that the chain from its bootstrap doesn't reach."""
    (folder / "root.json").write_bytes(damage)
    assert store.load("root") == damage
    assert not store.persist(Persist("timestamp", 1, b"one", None, 1))
    assert store.persist(Persist("root", 1, _root(1), _digest(damage), 1))
    assert store.load("root") == _root(1)


def test_no_write_of_many_threads_is_lost(folder: Path) -> None:
    """Twenty threads append to one role by compare-and-swap, each ten times."""
    assert _persist(FileMetadataStore(folder), "root", 1, _root(1))

    def append(thread: int) -> None:
        store = FileMetadataStore(folder)
        for number in range(10):
            done = False
            while not done:
                held = store.load("log")
                data = (held or b"") + b"%d.%d " % (thread, number)
                done = store.persist(Persist("log", 1, data, _digest(held), 1))

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(append, range(20)))
    log = (FileMetadataStore(folder).load("log") or b"").split()
    assert sorted(log) == sorted(b"%d.%d" % (a, b) for a in range(20) for b in range(10))


# -- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "role", ["../outside", "/etc/passwd", ".", "..", "a/b", "a\0b", "?", "é", " ", "1.root", "%2e"]
)
def test_an_odd_role_name_stays_one_file_in_the_folder(
    store: FileMetadataStore, folder: Path, role: str
) -> None:
    before = visible(folder.parent)
    assert _persist(store, role, 1, b"odd")
    assert store.load(role) == b"odd"
    (new,) = visible(folder.parent) - before
    assert Path(new).parent == Path("metadata")
    assert new.endswith(".json")


@pytest.mark.parametrize("role", ["x" * 196, "é" * 40, "ROOT", "Timestamp"])
def test_a_role_name_that_the_folder_can_not_hold_is_refused(
    store: FileMetadataStore, folder: Path, role: str
) -> None:
    """Too long once encoded, or the twin of a top-level role where case is ignored."""
    before = visible(folder)
    with pytest.raises(UnsafePathError):
        store.load(role)
    with pytest.raises(UnsafePathError):
        store.persist(Persist(role, 1, b"x", None, 1))
    assert visible(folder) == before


# -- a folder that is not as it should be --------------------------------------------------------


def test_a_symbolic_link_is_not_followed(store: FileMetadataStore, folder: Path) -> None:
    """A local attacker puts links where roles, the history or temporary files would be."""
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (folder / "timestamp.json").symlink_to(outside / "secret")
    with pytest.raises(StoreError, match="timestamp"):
        store.load("timestamp")
    with pytest.raises(StoreError):
        store.persist(Persist("timestamp", 1, b"x", _digest(b"secret"), 1))
    for name in ("root_history", "tmp", "evidence"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).symlink_to(outside)
    with pytest.raises(StoreError):
        store.load("root", 1)
    with pytest.raises(StoreError):
        _persist(store, "root", 2, _root(2))
    store.keep_evidence("timestamp", b"evidence")
    assert visible(outside) == {"secret"}
    assert (outside / "secret").read_bytes() == b"secret"


@pytest.mark.timeout(20)
def test_what_is_no_regular_file_is_an_error_and_no_hang(
    store: FileMetadataStore, folder: Path
) -> None:
    os.mkfifo(folder / "timestamp.json")
    (folder / "snapshot.json").mkdir()
    for role in ("timestamp", "snapshot"):
        with pytest.raises(StoreError, match=r"not a regular file|[Ii]s a directory"):
            store.load(role)
        with pytest.raises(StoreError):
            store.persist(Persist(role, 1, b"x", None, 1))


def test_reading_leaves_no_file_open(store: FileMetadataStore, folder: Path) -> None:
    (folder / "snapshot.json").mkdir()
    os.mkfifo(folder / "timestamp.json")
    before = len(os.listdir("/proc/self/fd"))
    for role in ("root", "timestamp", "snapshot", "other"):
        for _ in range(5):
            with contextlib.suppress(StoreError):
                store.load(role)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_larger_than_any_role_is_not_read(store: FileMetadataStore, folder: Path) -> None:
    (folder / "timestamp.json").touch()
    os.truncate(folder / "timestamp.json", 1 << 40)
    with pytest.raises(StoreError, match="larger than 64000000 bytes"):
        store.load("timestamp")


def test_a_lock_that_is_never_given_back_is_an_error(
    store: FileMetadataStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indextrust.client.files._LOCK_SECONDS", 0.2)
    with FileLock(folder / "store.lock"):
        answer = in_child(lambda: _persist(store, "timestamp", 1, b"one"))
    assert answer.startswith("StoreError: can't store version 1 of timestamp: another process")
    assert _persist(store, "timestamp", 1, b"one")


def test_a_file_that_can_not_be_read_is_not_absent(store: FileMetadataStore, folder: Path) -> None:
    """A store that forgets on a permission error forgets the rollback protection."""
    assert _persist(store, "timestamp", 1, b"one")
    (folder / "timestamp.json").chmod(0)
    answer = without_rights(lambda: store.load("timestamp"))
    assert answer.startswith("StoreError: can't read the timestamp metadata")
    folder.chmod(0)
    assert without_rights(lambda: store.load("timestamp")).startswith("StoreError: ")
    assert without_rights(lambda: store.load("root", 1)).startswith("StoreError: ")
    folder.chmod(0o755)


def test_a_read_only_folder_can_be_read(store: FileMetadataStore, folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert without_rights(lambda: store.load("root")) == repr(_root(1))
    answer = without_rights(lambda: _persist(store, "timestamp", 1, b"one"))
    assert answer.startswith("StoreError: can't store version 1 of timestamp")
    assert "Permission denied" in answer
    assert without_rights(lambda: store.keep_evidence("timestamp", b"x")) == "None"


def test_a_folder_that_can_not_be_made(folder: Path) -> None:
    folder.write_bytes(b"a file")
    store = FileMetadataStore(folder)
    with pytest.raises(StoreError):
        store.load("root")
    with pytest.raises(StoreError):
        _persist(FileMetadataStore(folder / "below"), "root", 1, _root(1))


def test_a_full_disk_leaves_what_was_stored(store: FileMetadataStore, folder: Path) -> None:
    assert _persist(store, "snapshot", 1, b"old")
    before = visible(folder)
    big = b"x" * 10_000
    answer = on_a_full_disk(1000, lambda: _persist(store, "snapshot", 2, big))
    assert answer.startswith("StoreError: can't store version 2 of snapshot")
    assert store.load("snapshot") == b"old"
    assert visible(folder) == before
    assert _persist(store, "snapshot", 2, big)


# -- dying ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["root", "timestamp"])
def test_killed_before_any_file_system_call_the_old_or_the_new_is_there(
    folder: Path, role: str
) -> None:
    """kill -9 before each call of a persist in turn; the next process works and cleans up."""
    store = FileMetadataStore(folder)
    assert _persist(store, "root", 1, _root(1))
    assert _persist(store, "timestamp", 1, b"old")
    number, version = 0, 1
    reached = True
    while reached:
        number += 1
        held = store.load(role)
        new = _root(version + 1) if role == "root" else b"new %d" % number
        want = Persist(role, version + 1, new, _digest(held), 1)
        reached = killed_before_step(number, lambda want=want: store.persist(want))  # type: ignore[misc]
        assert store.load(role) in (held, new)
        assert _persist(store, role, version + 1, new)
        assert store.load(role) == new
        assert not list((folder / "tmp").iterdir())
        if role == "root":
            version += 1
            assert store.load("root", version) == new
    assert number > 8


# -- evidence ------------------------------------------------------------------------------------


def test_evidence_is_kept_once_and_apart(store: FileMetadataStore, folder: Path) -> None:
    store.keep_evidence("../timestamp", b"two faces")
    store.keep_evidence("../timestamp", b"two faces")
    (kept,) = (folder / "evidence").iterdir()
    assert kept.read_bytes() == b"two faces"
    assert kept.name == f"{_digest(b'two faces')}...%2Ftimestamp.json"
    assert store.load("timestamp") is None


def test_a_flood_does_not_push_the_first_evidence_out(
    store: FileMetadataStore, folder: Path
) -> None:
    for number in range(40):
        store.keep_evidence("timestamp", b"%d" % number)
    kept = {path.read_bytes() for path in (folder / "evidence").iterdir()}
    assert kept == {b"%d" % number for number in range(32)}


def test_evidence_with_a_long_name_is_kept(store: FileMetadataStore, folder: Path) -> None:
    store.keep_evidence("é" * 500, b"x")
    (kept,) = (folder / "evidence").iterdir()
    assert len(kept.name) < 200


def test_a_child_sees_what_its_parent_stored(store: FileMetadataStore) -> None:
    assert in_child(lambda: store.load("root")) == repr(_root(1))


# -- incident records ----------------------------------------------------------------------------


def test_records_are_kept_by_digest_and_bounded(store: FileMetadataStore, folder: Path) -> None:
    digests = [_digest(b"%d" % number) or "" for number in range(513)]
    assert FileMetadataStore(folder / "nowhere").kept_target(digests[0]) is None
    for number, digest in enumerate(digests[:512]):
        (folder / "incidents").mkdir(exist_ok=True)
        (folder / "incidents" / f"{digest}.json").write_bytes(b"%d" % number)
    assert store.kept_target(digests[7]) == b"7"
    store.keep_target(digests[512], b"512")
    assert FileMetadataStore(folder).kept_target(digests[512]) == b"512"
    assert store.kept_target(digests[7]) is None  # all made room: they can be had again
    for wrong in ("../root", "A" * 64, ""):
        with pytest.raises(InputError):
            store.kept_target(wrong)
        with pytest.raises(InputError):
            store.keep_target(wrong, b"")


def test_a_record_is_read_through_no_link_and_a_store_that_is_read_only_keeps_none(
    store: FileMetadataStore, folder: Path
) -> None:
    digest = _digest(b"x") or ""
    assert without_rights(lambda: store.keep_target(digest, b"x")) == "None"
    assert store.kept_target(digest) is None
    (folder / "incidents").mkdir(exist_ok=True)
    (folder / "incidents" / f"{digest}.json").symlink_to(folder / "root.json")
    with pytest.raises(StoreError):
        store.kept_target(digest)
