"""Scenes are made once in a process, in memory where that can be: their faults need no disk."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.repository.faults.scenes import Scene, copy, prepare
from tests.repository.faults.workshop import Workshop


@pytest.fixture(scope="session")
def workshop() -> Iterator[Workshop]:
    with Workshop() as made:
        yield made


@pytest.fixture(scope="session")
def memory() -> Iterator[Path]:
    """A folder, on a file system in memory if there is one."""
    there = Path("/dev/shm")  # noqa: S108 - a new folder in it, of our own
    folder = Path(tempfile.mkdtemp(prefix="faults-", dir=there if there.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def scene_of(workshop: Workshop, memory: Path) -> Callable[[str], Scene]:
    """The scene of a name; not to be changed, but copied."""
    made: dict[str, Scene] = {}

    def get(name: str) -> Scene:
        if name not in made:
            made[name] = prepare(name, Path(tempfile.mkdtemp(dir=memory)), workshop)
        return made[name]

    return get


@pytest.fixture
def copied(memory: Path) -> Iterator[Callable[[Scene], Scene]]:
    """Copies of scenes; the last one is removed when there is a new one."""
    folder = Path(tempfile.mkdtemp(dir=memory))

    def get(scene: Scene) -> Scene:
        shutil.rmtree(folder / "copy", ignore_errors=True)
        return copy(scene, folder / "copy")

    yield get
    shutil.rmtree(folder)
