"""When a repository was last seen: remembered strictly, together, and never silently forgotten."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from indextrust.client import FileMetadataStore
from indextrust.errors import InputError, StoreError
from indextrust.trust import Persist
from indextrust.trust.freshness import Times
from tests.client.processes import (
    failing_at_step,
    in_child,
    killed_before_step,
    visible,
    without_rights,
)

T = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
TIMES = Times(T, T, 1, T)


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
    _trust_root(store, 1)
    return store


def _trust_root(store: FileMetadataStore, version: int) -> None:
    data = json.dumps({"signed": {"version": version}}).encode()
    held = store.load("root")
    digest = None if held is None else hashlib.sha256(held).hexdigest()
    assert store.persist(Persist("root", version, data, digest, version))


def test_times_come_back_as_they_were(store: FileMetadataStore, folder: Path) -> None:
    assert store.times() is None
    times = Times(T + 2 * HOUR + timedelta(microseconds=1), T + HOUR, 1, T)
    store.save_times(times)
    assert FileMetadataStore(folder).times() == times
    assert (folder / "refreshed.times").read_bytes() == (
        b'{"last_refresh":"2026-01-01T01:00:00+00:00",'
        b'"last_seen":"2026-01-01T02:00:00.000001+00:00",'
        b'"root_since":"2026-01-01T00:00:00+00:00","root_version":1}\n'
    )


def test_a_store_that_is_not_there_has_no_times(folder: Path) -> None:
    store = FileMetadataStore(folder)
    assert store.times() is None
    store.forget_times()
    assert not folder.exists(), "asking makes nothing"
    store.save_times(TIMES)
    assert store.times() == TIMES


def test_no_time_falls_until_a_person_forgets_them(store: FileMetadataStore) -> None:
    """The slower of two processes, or one whose clock was set back, saves what it saw."""
    later = Times(T + 2 * HOUR, T + HOUR, 1, T)
    store.save_times(later)
    store.save_times(TIMES)
    assert store.times() == later
    store.save_times(replace(TIMES, last_refresh=T + 3 * HOUR))
    assert store.times() == replace(later, last_refresh=T + 3 * HOUR)
    store.forget_times()
    assert store.times() is None
    store.save_times(TIMES)
    assert store.times() == TIMES


def test_of_two_roots_the_stored_one_counts(store: FileMetadataStore) -> None:
    """One process saw root v1 an hour ago; another has stored v2 since."""
    store.save_times(TIMES)
    _trust_root(store, 2)
    newer = Times(T + HOUR, T + HOUR, 2, T + HOUR)
    store.save_times(newer)
    assert store.times() == newer
    store.save_times(Times(T + 2 * HOUR, T + 2 * HOUR, 1, T))
    assert store.times() == Times(T + 2 * HOUR, T + 2 * HOUR, 2, T + HOUR)
    store.save_times(Times(T, T, 2, T + 2 * HOUR))
    assert store.times() == Times(T + 2 * HOUR, T + 2 * HOUR, 2, T + HOUR), "first seen stays"


def test_a_root_of_another_chain_takes_over(store: FileMetadataStore) -> None:
    """The cache was another repository's, whose root went up to v9; its times don't hold ours."""
    store.save_times(replace(TIMES, root_version=9))
    store.save_times(Times(T + HOUR, T + HOUR, 1, T + HOUR))
    assert store.times() == Times(T + HOUR, T + HOUR, 1, T + HOUR)


def test_what_is_known_is_not_written_again(store: FileMetadataStore, folder: Path) -> None:
    store.save_times(TIMES)
    before = (folder / "refreshed.times").stat().st_ino
    for times in (TIMES, replace(TIMES, last_seen=T - HOUR)):
        store.save_times(times)
    assert (folder / "refreshed.times").stat().st_ino == before


def test_of_many_threads_the_latest_time_stays(store: FileMetadataStore, folder: Path) -> None:
    times = [replace(TIMES, last_seen=T + HOUR * number) for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(FileMetadataStore(folder).save_times, times[::-1] + times))
    assert store.times() == times[-1]


GOOD = (
    b'{"last_refresh":"2026-01-01T00:00:00+00:00","last_seen":"2026-01-01T00:00:00+00:00",'
    b'"root_since":"2026-01-01T00:00:00+00:00","root_version":1}\n'
)


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 900,
        b"x" * 5_000,
        GOOD[:-1],
        GOOD[:-3],
        GOOD.replace(b":1}", b":true}"),
        GOOD.replace(b":1}", b":1.0}"),
        GOOD.replace(b":1}", b":0}"),
        GOOD.replace(b":1}", b':"1"}'),
        GOOD.replace(b":1}", b':1,"more":1}'),
        GOOD.replace(b":1}", b':2,"root_version":1}'),
        GOOD.replace(b"+00:00", b""),
        GOOD.replace(b"+00:00", b"Z"),
        GOOD.replace(b"+00:00", b"+01:00"),
        GOOD.replace(b"2026", b"0000"),
        GOOD.replace(b'"2026-01-01T00:00:00+00:00"', b"1767225600"),
    ],
)
def test_damage_is_said_with_the_way_out_and_never_forgotten(
    store: FileMetadataStore, folder: Path, damage: bytes
) -> None:
    """Whoever can spoil the file, and set the clock back, must not pass for a first refresh."""
    path = folder / "refreshed.times"
    store.save_times(TIMES)
    assert path.read_bytes() == GOOD
    path.write_bytes(damage)
    with pytest.raises(StoreError, match=r"refreshed\.times.*indextrust trust reset-clock"):
        store.times()
    with pytest.raises(StoreError, match="indextrust trust reset-clock"):
        store.save_times(TIMES)
    assert path.read_bytes() == damage
    store.forget_times()
    assert store.times() is None


def test_what_is_no_file_of_ours_is_said(store: FileMetadataStore, folder: Path) -> None:
    path, victim = folder / "refreshed.times", folder.parent / "victim"
    victim.write_bytes(GOOD)
    path.symlink_to(victim)
    with pytest.raises(StoreError, match="reset-clock"):
        store.times()
    store.forget_times()
    assert victim.read_bytes() == GOOD
    os.mkfifo(path)
    with pytest.raises(StoreError, match="not a regular file"):
        store.times()
    store.forget_times()
    path.mkdir()
    with pytest.raises(StoreError, match=r"directory|not a regular file"):
        store.times()
    with pytest.raises(StoreError, match="can't forget the last-seen times"):
        store.forget_times()


def test_what_can_not_be_read_is_not_forgotten(store: FileMetadataStore, folder: Path) -> None:
    store.save_times(TIMES)
    (folder / "refreshed.times").chmod(0)
    folder.chmod(0o777)
    for action in (store.times, lambda: store.save_times(TIMES)):
        assert without_rights(action).startswith("StoreError: can't read the last-seen times")
    assert (folder / "refreshed.times").read_bytes() == GOOD


@pytest.mark.parametrize(
    "times",
    [
        replace(TIMES, last_seen=datetime(2026, 1, 1)),  # noqa: DTZ001
        replace(TIMES, last_refresh=T.astimezone(timezone(HOUR))),
        replace(TIMES, root_version=0),
    ],
)
def test_a_caller_s_mistake_is_not_stored(store: FileMetadataStore, times: Times) -> None:
    with pytest.raises(InputError):
        store.save_times(times)
    assert store.times() is None


def test_a_read_only_store_is_no_error(store: FileMetadataStore, folder: Path) -> None:
    """An image ships the cache. What was seen can't be noted; nothing else is wrong."""
    store.save_times(TIMES)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    later = replace(TIMES, last_seen=T + HOUR)
    assert without_rights(lambda: store.save_times(later)) == "None"
    assert without_rights(store.times) == repr(TIMES)
    assert without_rights(store.forget_times).startswith("StoreError: can't forget")
    assert store.times() == TIMES


def test_a_disk_that_fails_is_said_and_a_read_only_one_is_not(
    store: FileMetadataStore, folder: Path
) -> None:
    later = replace(TIMES, last_seen=T + HOUR)
    said = f"StoreError: can't store the last-seen times in {folder}"
    for error in (errno.EROFS, errno.ENOSPC, errno.EIO):
        calls = []
        for number in range(3, 100):  # the first two calls read
            store.forget_times()
            store.save_times(TIMES)
            call, result = failing_at_step(number, error, lambda: store.save_times(later))
            assert store.times() in (TIMES, later)
            assert visible(folder / "tmp") == set()
            if not call:
                break
            calls.append(call)
            silent = error == errno.EROFS or (call == "mkdir" and store.times() == later)
            assert (result == "None") if silent else result.startswith(said), call
        assert {"open", "write", "fsync", "rename"} <= set(calls)
        assert (result, store.times()) == ("None", later)


def test_killed_while_saving_the_old_or_the_new_times_are_there(
    store: FileMetadataStore, folder: Path
) -> None:
    number, reached, times = 0, True, TIMES
    store.save_times(times)
    while reached:
        number += 1
        old, times = times, replace(times, last_seen=times.last_seen + HOUR)
        reached = killed_before_step(number, lambda new=times: store.save_times(new))  # type: ignore[misc]
        assert store.times() in (old, times)
        assert in_child(lambda new=times: store.save_times(new)) == "None"  # type: ignore[misc]
        assert store.times() == times
        assert visible(folder / "tmp") == set()
    assert number > 15
