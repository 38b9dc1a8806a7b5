"""Power loss: what was not made durable is gone, or half of it; the index is whole nevertheless.

A publication is recorded call by call, SQLite's calls included. For a moment in it, a disk is made
as it may be when the power fails there (`tests.repository.faults.power`), and what crashes leave
behind is asked the same questions as after a kill. The record is made with the calls that the
product makes, so a promise that rests on an fsync that is missing does not pass.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable

import pytest

from tests.repository.faults.power import Record, read_disk
from tests.repository.faults.readers import Reader, numbered
from tests.repository.faults.scenes import Scene, check_recovery, copy, look
from tests.repository.faults.workshop import Effect, Workshop
from tests.repository.place import everything

TIMESTAMP = "public/metadata/timestamp.json"
NAMES = ("mixed", "add", "renew", "create", "install", "restore", "rebin", "rehash")
CASES = [
    *[pytest.param(name, 6, id=f"{name}-some") for name in NAMES],
    *[pytest.param(name, 180, marks=pytest.mark.long, id=f"{name}-many") for name in NAMES],
]


def moment(effects: tuple[Effect, ...]) -> int:
    """How many effects there are when the new timestamp is visible."""
    return 1 + next(
        place
        for place, effect in enumerate(effects)
        if effect.name == "renameat" and effect.paths[-1] == TIMESTAMP
    )


@pytest.mark.parametrize("name", NAMES)
def test_02_the_record_done_again_gives_what_the_publication_gave(
    name: str,
    scene_of: Callable[[str], Scene],
    copied: Callable[[Scene], Scene],
    workshop: Workshop,
) -> None:
    """The model is no fantasy: with power, the recorded effects give the same folder."""
    scene = copied(scene_of(name))
    before = read_disk(scene.index) if scene.before is not None else None
    if before is None:
        scene.index.mkdir()
        before = read_disk(scene.index)
    effects = workshop.record(scene.job).effects
    Record(before, effects).live(len(effects)).write_to(scene.folder / "again")
    assert everything(scene.folder / "again") == everything(scene.index)


@pytest.mark.parametrize(("name", "rounds"), CASES)
def test_02_after_power_loss_the_index_is_whole_and_goes_on(
    name: str,
    rounds: int,
    scene_of: Callable[[str], Scene],
    copied: Callable[[Scene], Scene],
    workshop: Workshop,
) -> None:
    """The power fails at some moment. A fresh client then reads one whole index, and one that had
    read what was served just before goes on after the next publication: its versions never fall,
    and no number that it was given has other bytes."""
    scene = copied(scene_of(name))
    if not scene.index.exists():
        scene.index.mkdir()
    before = read_disk(scene.index)
    run = workshop.record(scene.job)
    assert run.ended.how == "returned"
    record, visible = Record(before, run.effects), moment(run.effects)
    done = copy(scene, scene.folder.parent / "done")
    late = Reader(done.folder / "home", done.root)
    late.read(done.public, done.paths)
    chance = random.Random(name)
    moments = [visible, visible + 1, record.length] + [
        chance.randint(1, record.length) for _ in range(rounds - 3)
    ]
    try:
        for number, length in enumerate(moments):
            lost = copied(scene_of(name))
            shutil.rmtree(lost.index, ignore_errors=True)
            record.after_power_loss(length, chance).write_to(lost.index)
            if length >= visible:  # the returning client is one that has read the new index
                shutil.rmtree(lost.folder / "home", ignore_errors=True)
                shutil.copytree(done.folder / "home", lost.folder / "home")
            try:
                _goes_on(lost, workshop, returned=length == record.length, old=length < visible)
                if length >= visible:
                    _stays(lost, late)
            except Exception as error:
                last = run.effects[length - 1]
                raise AssertionError(
                    f"{number}: after {length}, {last.name} {last.paths}"
                ) from error
    finally:
        shutil.rmtree(done.folder)


def _goes_on(scene: Scene, workshop: Workshop, *, returned: bool, old: bool) -> None:
    """As after a kill; a client that saw the new timestamp may have to wait for the recovery."""
    seen = look(scene, returning=old)
    if returned:
        assert seen.index is not None
        assert seen.index.targets == scene.after
        look(scene)
    check_recovery(scene, workshop, seen)


def _stays(scene: Scene, late: Reader) -> None:
    """What the client was given before the power failed is what the names stand for, for good."""
    for name, digest in numbered(scene.public).items():
        assert late.given.get(name, digest) == digest, name
