"""State that is damaged, or old: noticed, or harmless; never signed from."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.repository.faults.readers import Reader, whole
from tests.repository.faults.scenes import Scene, kept, look, today
from tests.repository.faults.test_crash import TIMESTAMP
from tests.repository.faults.workshop import Workshop
from tests.repository.place import Clock, Place, everything


def flip(file: Path, chance: random.Random) -> tuple[int, int]:
    """Change one byte, more often one that says something; where, and by what."""
    data = bytearray(file.read_bytes())
    places = [place for place, value in enumerate(data) if value]
    place = chance.choice(places) if chance.random() < 0.9 else chance.randrange(len(data))
    change = chance.choice([1 << chance.randrange(8), chance.randrange(1, 256)])
    data[place] ^= change
    file.write_bytes(data)
    return place, change


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("interrupted", [False, True])
@pytest.mark.parametrize("rounds", [16, pytest.param(500, marks=pytest.mark.long)])
def test_08_a_flipped_byte_in_the_state_is_noticed_or_harmless(
    rounds: int,
    interrupted: bool,
    scene_of: Callable[[str], Scene],
    copied: Callable[[Scene], Scene],
    workshop: Workshop,
) -> None:
    """Some byte of the database is another one, in an index with changes in the queue, or with a
    publication that was interrupted. Publishing then raises an error of ours, or does not. Either
    way readers have the old index or the one that should be published: never another target,
    never a number with two contents."""
    run = workshop.watch(copied(scene_of("mixed")).job)
    at = run.marks.index(TIMESTAMP) + 1
    chance, noticed = random.Random(rounds), 0
    for _ in range(rounds):
        scene = copied(scene_of("mixed"))
        if interrupted:
            workshop.kill(scene.job, at + chance.choice([0, 1]))
        before = look(scene)
        where = flip(scene.index / "state.sqlite", chance)
        ended = workshop.run(scene.job)
        try:
            if ended.how == "raised":
                assert "IndextrustError" in ended.kinds, ended.trace
                noticed += 1
            after = look(scene)
            kept(before, after)
            assert before.index is not None
            assert after.index is not None
            if ended.how == "returned":
                assert after.index.targets == scene.after
        except Exception as error:
            raise AssertionError(f"byte {where[0]} changed by {where[1]:#x}") from error
    assert 0 < noticed < rounds


BACKUPS = {
    "database": ["state.sqlite"],
    "database-and-head": ["state.sqlite", "queue.head"],
    "all-but-public": ["state.sqlite", "queue.head", "queue.key", "objects", "incoming", "lock"],
}


@pytest.mark.parametrize("kind", BACKUPS)
@pytest.mark.parametrize("later", ["published", "interrupted"])
def test_11_an_old_backup_is_noticed_and_restore_goes_on_above_what_was_served(
    tmp_path: Path, kind: str, later: str
) -> None:
    """State from before two publications is put back: the database alone, with the head of its
    log, or everything but the public folder. Publishing and renewing refuse, and change nothing;
    the operator is told; `restore` signs what the backup has under numbers above all that were
    served, so that clients go on."""
    place = Place(tmp_path, Clock(today()))
    place.publish(place.wheel("demo", "1.0"))
    old = whole(place.public, place.roles.root[0])
    if later == "interrupted":
        place.repository.add(place.wheel("demo", "3.0"))
    folder, backup = place.repository.folder, tmp_path / "backup"
    backup.mkdir()
    for name in BACKUPS[kind]:
        if (folder / name).is_dir():
            shutil.copytree(folder / name, backup / name)
        elif (folder / name).exists():
            shutil.copy2(folder / name, backup / name)
    for version in ("2.0", "2.1"):
        place.publish(place.wheel("demo", version))
    reader = Reader(tmp_path / "home", place.roles.root[0])
    served = whole(place.public, place.roles.root[0])
    reader.read(place.public, served.targets)

    for name in BACKUPS[kind]:
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
            shutil.copytree(backup / name, folder / name)
        elif (backup / name).exists():
            shutil.copy2(backup / name, folder / name)
    before = everything(place.public)
    repository = place.reopen()
    for operation in (repository.publish, repository.renew):
        with pytest.raises(Exception, match="an old backup"):
            operation()
    assert everything(place.public) == before
    assert any("an old backup" in text for text in repository.status().warnings)
    assert reader.read(place.public, served.targets).targets == served.targets

    repository.restore()
    after = whole(place.public, place.roles.root[0])
    assert after.targets == old.targets
    assert reader.read(place.public, served.targets).targets == old.targets
    assert all(
        after.versions[name] > version
        for name, version in served.versions.items()
        if name not in ("targets", "bins")
    )
    assert place.reopen().publish().nothing_to_do == (later == "published")
    assert place.repository.audit().clean
