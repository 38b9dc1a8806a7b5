"""A disk that is full or broken at one call, and a storage that does half of what it is told.

Each call of a publication that changes a file is answered with an error by the kernel: instead of
being done, or (which is worse) after it was done. SQLite's calls are among them, so a commit that
succeeds while the program is told that it failed is among them, too.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable

import pytest

from tests.repository.faults.readers import whole
from tests.repository.faults.scenes import Scene, check_recovery, kept, look
from tests.repository.faults.syscalls import Choice
from tests.repository.faults.workshop import Run, Workshop
from tests.repository.place import everything

NAMES = ("mixed", "renew", "create")
FULL, BROKEN = errno.ENOSPC, errno.EIO
FAULTS = {
    "full": (Choice("fail", FULL), False),
    "stays-full": (Choice("fail", FULL), True),
    "broken": (Choice("fail", BROKEN), False),
    "error-after": (Choice("late", BROKEN), False),
    "half": (Choice("short"), False),
}
SPACE = frozenset(
    {"write", "pwrite64", "openat", "mkdir", "mkdirat", "linkat", "rename", "renameat"}
)
"""Calls that a full disk refuses."""


def points(run: Run, fault: str, count: int | None) -> list[int]:
    """Where the fault can happen: `count` calls; None: all of them."""
    full, half = fault.endswith("full"), fault == "half"
    calls = [
        number
        for number, (name, _) in enumerate(run.marks, 1)
        if (not full or name in SPACE) and (not half or "write" in name)
    ]
    return calls if count is None else random.Random(fault).sample(calls, count)


def cases() -> list[object]:
    return [
        *[(name, fault, 2) for name in NAMES for fault in FAULTS],
        *[pytest.param("mixed", fault, None, marks=pytest.mark.long) for fault in FAULTS],
        *[
            pytest.param(name, fault, 40, marks=pytest.mark.long)
            for name in NAMES[1:]
            for fault in FAULTS
        ],
    ]


@pytest.mark.parametrize(("name", "fault", "count"), cases())
def test_03_07_a_disk_that_fails_is_told_of_and_harms_nobody(
    name: str,
    fault: str,
    count: int | None,
    scene_of: Callable[[str], Scene],
    copied: Callable[[Scene], Scene],
    workshop: Workshop,
) -> None:
    """The disk is full, or broken, at some call, or says that it failed when it had not, or takes
    half of what it is given. The publisher raises `StoreError` (`KeyFileError` where the key of
    the queue is written) and nothing else, or gets through;
    readers see one whole index; the next publication completes it."""
    run = workshop.watch(copied(scene_of(name)).job)
    choice, lasting = FAULTS[fault]
    for at in points(run, fault, count):
        scene = copied(scene_of(name))
        disturbed = workshop.disturb(scene.job, at, choice, lasting=lasting)
        try:
            ended = disturbed.ended
            told = "KeyFileError" if "queue.key can't be written" in ended.trace else "StoreError"
            assert ended.how == "returned" or told in ended.kinds, ended.trace
            seen = look(scene)
            if ended.how == "returned":
                assert seen.index is not None
                assert seen.index.targets == scene.after
            check_recovery(scene, workshop, seen)
        except Exception as error:
            raise AssertionError(f"at call {at}, {run.marks[at - 1]}") from error


@pytest.mark.parametrize("count", [6, pytest.param(None, marks=pytest.mark.long)])
@pytest.mark.parametrize("fault", ["full", "broken", "error-after"])
@pytest.mark.timeout(1200)
def test_03_07_a_process_that_met_a_failing_disk_publishes_when_it_is_well_again(
    fault: str,
    count: int | None,
    scene_of: Callable[[str], Scene],
    copied: Callable[[Scene], Scene],
    workshop: Workshop,
) -> None:
    """The same process asks again, with all that it has in memory: nothing in it may be believed
    that did not reach the disk."""
    run = workshop.watch(copied(scene_of("mixed")).job)
    opened = next(n for n, mark in enumerate(run.marks, 1) if "journal" in mark[1])
    for at in points(run, fault, count):
        scene = copied(scene_of("mixed"))
        before = look(scene)
        ended = workshop.disturb(scene.again("retry"), at, FAULTS[fault][0]).ended
        try:
            assert ended.how == "returned" or at < opened, ended.trace
            after = look(scene)
            kept(before, after)
            assert after.index is not None
            if ended.how == "returned":
                assert after.index.targets == scene.after
            check_recovery(scene, workshop, after)
        except Exception as error:
            raise AssertionError(f"at call {at}, {run.marks[at - 1]}") from error


@pytest.mark.parametrize("name", ["mixed", "renew", "create", "install"])
def test_07_the_timestamp_comes_last(
    name: str,
    scene_of: Callable[[str], Scene],
    copied: Callable[[Scene], Scene],
    workshop: Workshop,
) -> None:
    """When the new timestamp gets its name, all that it leads to is there and durable; after it
    nothing that readers ask for by number or hash is written, and metadata least of all."""
    scene = copied(scene_of(name))
    if not scene.index.exists():
        scene.index.mkdir()
    run = workshop.record(scene.job)
    timestamp = "public/metadata/timestamp.json"
    (visible,) = (
        place
        for place, effect in enumerate(run.effects)
        if effect.paths and effect.paths[-1] == timestamp and effect.name == "renameat"
    )
    for effect in run.effects[visible + 1 :]:
        if effect.paths and effect.paths[-1].startswith("public/"):
            assert effect.name in ("fsync", "unlink", "unlinkat"), effect
    assert whole(scene.public, scene.root).targets == scene.after


def test_07_a_storage_that_shows_an_old_timestamp_stops_the_publisher(
    scene_of: Callable[[str], Scene], copied: Callable[[Scene], Scene], workshop: Workshop
) -> None:
    """The public folder is put back to a state from before the last publication, as a storage
    with stale reads might show it. Going on from there could give out numbers twice: the
    publisher refuses, and changes nothing; when the storage is current again it goes on."""
    scene = copied(scene_of("mixed"))
    file = scene.public / "metadata" / "timestamp.json"
    stale = file.read_bytes()
    assert workshop.run(scene.job).how == "returned"
    current = file.read_bytes()
    file.write_bytes(stale)
    before = everything(scene.index)
    for what in ("publish", "renew"):
        ended = workshop.run(scene.again(what))
        assert ended.kinds[0] == "RepositoryError"
        assert "somebody else wrote it, or the state is an old backup" in ended.value
    assert everything(scene.index) == before
    file.write_bytes(current)
    assert workshop.run(scene.again("publish")).value.nothing_to_do
