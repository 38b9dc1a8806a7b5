"""kill -9 wherever a publication touches a file: the next process completes it, no reader minds.

The points are the system calls that change a file, SQLite's own among them: killed between two of
them, the disk is as after the first. The reasons why it works are told in
`indextrust.repository.publish` and `storage`; here they are not believed.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from indextrust.repository import Repository
from tests.repository.faults.scenes import SCENES, Scene, check_recovery, kept, look
from tests.repository.faults.workshop import Run, Workshop

TIMESTAMP = ("renameat", "public/metadata/timestamp.json")


def points(run: Run, count: int | None) -> list[int]:
    """Where to kill: `count` calls, those around the publication itself among them; None: all."""
    every = range(1, run.calls + 1)
    if count is None or count >= run.calls:
        return list(every)
    visible = len(run.marks) - run.marks[::-1].index(TIMESTAMP)
    chosen = {visible, visible + 1}
    return sorted(chosen | set(random.Random(count).sample(every, count - len(chosen))))


SOME = {"mixed": 6, "many": 2}
CASES = [
    *[pytest.param(name, SOME.get(name, 3), id=f"{name}-some") for name in SCENES],
    *[
        pytest.param(
            name,
            100 if name == "many" else None,
            marks=pytest.mark.long,
            id=f"{name}-{'hundred' if name == 'many' else 'all'}",
        )
        for name in SCENES
    ],
]


@pytest.mark.parametrize(("name", "count"), CASES)
def test_01_killed_at_any_system_call_the_next_process_completes_it(
    name: str,
    count: int | None,
    scene_of: Callable[[str], Scene],
    copied: Callable[[Scene], Scene],
    workshop: Workshop,
) -> None:
    """The publisher is killed before its n-th change to a file. Readers see the index as it was,
    or as it shall be, whole; a fresh process completes it; every other time it is killed as well,
    and a third one completes it. No number ever stands for two contents."""
    whole_run = workshop.watch(copied(scene_of(name)).job)
    assert whole_run.ended.how == "returned"
    chance = random.Random(name)
    killed = 0
    for at in points(whole_run, count):
        scene = copied(scene_of(name))
        run = workshop.kill(scene.job, at)
        killed += run.ended.how == "killed"
        again = chance.randint(1, whole_run.calls) if at % 2 else 0
        try:
            check_recovery(scene, workshop, look(scene), again_at=again)
        except Exception as error:
            where = run.marks[-1]
            raise AssertionError(f"killed before call {at}, {where}; again at {again}") from error
    assert killed


@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [1, pytest.param(30, marks=pytest.mark.long)])
def test_01_a_helping_process_that_is_killed_stops_the_publication_and_the_next_completes_it(
    count: int,
    scene_of: Callable[[str], Scene],
    copied: Callable[[Scene], Scene],
    workshop: Workshop,
) -> None:
    """Many bins are signed and written by processes that the publisher starts (where there are
    two cores). One of them is killed: the publisher says so, nothing is visible, and the next
    publication completes it."""
    helpers = workshop.watch(copied(scene_of("many")).job).helpers
    if len(os.sched_getaffinity(0)) < 2:
        assert not helpers
        return
    assert len(helpers) > 1_024
    for at in random.Random(count).sample(range(1, len(helpers) // 2), count):
        scene = copied(scene_of("many"))
        ended = workshop.kill_helper(scene.job, at).ended
        assert "SigningError" in ended.kinds, ended
        seen = look(scene)
        assert seen.index is not None
        assert seen.index.versions["timestamp"] == scene.seen
        check_recovery(scene, workshop, seen)


@pytest.mark.parametrize("visible", [False, True])
def test_01_renewing_after_a_kill_takes_nothing_back_and_publishes_nothing_new(
    visible: bool,
    scene_of: Callable[[str], Scene],
    copied: Callable[[Scene], Scene],
    workshop: Workshop,
) -> None:
    """After the kill an operator queues one more change, and the timer renews first. What clients
    may have seen already stays; what came later waits for a publication."""
    whole_run = workshop.watch(copied(scene_of("mixed")).job)
    scene = copied(scene_of("mixed"))
    workshop.kill(scene.job, whole_run.marks.index(TIMESTAMP) + (2 if visible else 0))
    seen = look(scene)
    assert seen.index is not None
    assert seen.index.targets == (scene.after if visible else scene.before)
    repository = Repository.open(scene.index, clock=lambda: scene.job.now)
    repository.yank("demo", "demo-1.1-py3-none-any.whl", "came later")
    assert repository.status().interrupted
    ended = workshop.run(scene.again("renew"))
    assert ended.value.added == 2
    after = look(scene)
    kept(seen, after)
    assert after.index is not None
    assert after.index.targets == scene.after
    assert repository.status().queued == 1
