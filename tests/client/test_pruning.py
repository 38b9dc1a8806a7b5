"""A store that serves for years: bins that nobody uses go, and nobody notices."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from indextrust.client import FileMetadataStore
from indextrust.trust import Persist, TargetEntry
from indextrust.trust.freshness import Times
from tests.client.processes import in_child, killed_before_step, visible
from tests.client.stage import NOW, WHEEL, Stage

ROOT = json.dumps({"signed": {"version": 1}}).encode()
KEPT = {"root.json", "timestamp.json", "snapshot.json", "targets.json", "store.lock"}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 16 delegated roles, and 16,000 bytes of them."""
    monkeypatch.setattr("indextrust.client.pruning.MOST_FILES", 16)
    monkeypatch.setattr("indextrust.client.pruning.MOST_BYTES", 16_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store with everything that is not a delegated role."""
    store = FileMetadataStore(tmp_path / "cache")
    _persist(store, "root", ROOT)
    for role in ("timestamp", "snapshot", "targets"):
        _persist(store, role, b"x" * 100_000)
    store.keep_evidence("timestamp", b"evidence")
    store.save_times(Times(NOW, NOW, 1, NOW))
    return tmp_path / "cache"


def _persist(store: FileMetadataStore, role: str, data: bytes = b"bin") -> None:
    held = store.load(role)
    digest = None if held is None else hashlib.sha256(held).hexdigest()
    assert store.persist(Persist(role, 1, data, digest, 1))


def _age(folder: Path, role: str, seconds: int) -> None:
    """Pretend that a role was stored so many seconds after 1970."""
    os.utime(folder / f"{role}.json", (seconds, seconds))


def _delegated(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.json")} - {Path(name).stem for name in KEPT}


def _others(folder: Path) -> dict[str, bytes]:
    names = visible(folder) - {f"{role}.json" for role in _delegated(folder)}
    return {name: (folder / name).read_bytes() for name in names}


def test_beyond_the_bound_the_bins_stored_longest_ago_go(folder: Path, small: None) -> None:
    others = _others(folder)
    assert others.keys() >= KEPT
    assert len(others) == len(KEPT) + 3, "the history, the evidence and the times"
    for number in range(16):
        _persist(FileMetadataStore(folder), f"bin-{number}")
        _age(folder, f"bin-{number}", 1000 + number)
    assert len(_delegated(folder)) == 16
    _persist(FileMetadataStore(folder), "bin-0", b"signed anew today")
    _persist(FileMetadataStore(folder), "bin-16")
    gone = {f"bin-{number}" for number in (1, 2, 3, 4, 5)}
    assert _delegated(folder) == {f"bin-{number}" for number in range(17)} - gone
    assert _others(folder) == others


def test_many_bytes_are_too_many_too(folder: Path, small: None) -> None:
    others = _others(folder)
    for number in range(5):
        _persist(FileMetadataStore(folder), f"bin-{number}", b"x" * 4_000)
        _age(folder, f"bin-{number}", 1000 + number)
    assert _delegated(folder) == {"bin-2", "bin-3", "bin-4"}
    _persist(FileMetadataStore(folder), "huge", b"x" * 20_000)
    assert _delegated(folder) == {"huge"}, "what was just stored stays"
    assert _others(folder) == others


def test_a_process_that_lives_long_stays_within_a_sixteenth_of_the_bound(
    folder: Path, small: None
) -> None:
    store = FileMetadataStore(folder)
    most = 0
    for number in range(200):
        _persist(store, f"bin-{number}")
        most = max(most, len(_delegated(folder)))
    assert 12 < most <= 17
    assert f"bin-{number}" in _delegated(folder)


def test_the_folder_is_not_listed_each_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real bounds: once with the first bin, and then once for each 256."""
    scandir, looks = os.scandir, []

    def counted(where: int) -> object:
        looks.append(where)
        return scandir(where)

    monkeypatch.setattr(os, "scandir", counted)
    store = FileMetadataStore(folder)
    for number in range(257):
        _persist(store, "bin-1", b"%d" % number)
    assert len(looks) == 1
    _persist(store, "bin-1", b"the next")
    assert len(looks) == 2
    _persist(store, "timestamp", b"no bin")
    assert len(looks) == 2


def test_what_can_not_be_removed_is_no_error(folder: Path, small: None) -> None:
    for number in range(16):
        (folder / f"bin-{number}.json").mkdir()
    _persist(FileMetadataStore(folder), "bin-16")
    assert len(_delegated(folder)) == 17


def test_killed_while_pruning_every_file_is_whole(folder: Path, small: None) -> None:
    for number in range(16):
        _persist(FileMetadataStore(folder), f"bin-{number}", b"old")
    others, number, reached = _others(folder), 0, True
    while reached:
        number += 1
        copy = folder.with_name(f"copy-{number}")
        shutil.copytree(folder, copy)
        store = FileMetadataStore(copy)
        reached = killed_before_step(number, lambda on=store: _persist(on, "new", b"new"))  # type: ignore[misc]
        for role in _delegated(copy):
            assert store.load(role) == (b"new" if role == "new" else b"old")
        _persist(FileMetadataStore(copy), "new", b"newer")
        assert len(_delegated(copy)) <= 16
        assert _others(copy) == others
    assert number > 20


# -- and the client ------------------------------------------------------------------------------


class Watched(FileMetadataStore):
    """Another process does something each time a lookup has read ``bins``."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.neighbours: list[str] = []

    def load(self, role: str, version: int | None = None) -> bytes | None:
        found = super().load(role, version)
        if role == "bins" and self.neighbours:
            assert in_child(lambda: _neighbour(self._folder)) == self.neighbours.pop()
        return found


def _neighbour(folder: Path) -> bool:
    """Store so many other bins that ``bins``, stored in 1970, is pruned."""
    _age(folder, "bins", 0)
    for number in range(20):
        _persist(FileMetadataStore(folder), f"bin-{number}")
    return (folder / "bins.json").exists()


def test_a_pruned_bin_is_fetched_again(stage: Stage, small: None) -> None:
    assert isinstance(stage.client().target(WHEEL), TargetEntry)
    in_child(lambda: _neighbour(stage.folder / "cache"))
    assert "bins.json" not in stage.stored()
    stage.requests()
    assert isinstance(stage.client().target(WHEEL), TargetEntry)
    assert stage.requests()[-1] == "metadata/1.bins.json"
    assert stage.stored()["bins.json"] == stage.repository.files["1.bins.json"]


@pytest.mark.parametrize("changed", [False, True])
def test_a_bin_pruned_under_a_running_lookup_is_no_error(
    stage: Stage, small: None, changed: bool
) -> None:
    """The lookup has read version 1 and is about to use it, or to replace it by version 2. The
    store no longer holds what was to be replaced: a lost race, and the lookup starts over."""
    stage.client().target(WHEEL)
    if changed:
        stage.publish()
    store = Watched(stage.folder / "cache")
    client = stage.client(store=store)
    client.refresh()
    store.neighbours = ["False"]
    entry = client.target(WHEEL)
    assert isinstance(entry, TargetEntry)
    assert entry.role_version == (2 if changed else 1)
    assert store.neighbours == [], "the neighbour was there"
    if changed:
        assert stage.stored()["bins.json"] == stage.repository.files["2.bins.json"]
