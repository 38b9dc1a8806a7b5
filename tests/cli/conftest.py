"""Places to run the command line in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.place import KEYS, Place, new_place
from tests.support.wheels import make_wheel


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty place."""
    return new_place(tmp_path / "place")


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place whose index was founded and holds one published wheel, demo 1.0."""
    made = new_place(tmp_path_factory.mktemp("founded") / "place")
    made.must(*made.init("--bins=4", *made.passphrases(*KEYS)))
    made.must("add", made.repository, make_wheel(made.dist, "demo", "1.0"))
    made.must(*made.publish)
    return made.folder


@pytest.fixture
def index(founded: Path, tmp_path: Path) -> Place:
    """A copy of `founded` of one's own."""
    shutil.copytree(founded, tmp_path / "place")
    return Place(tmp_path / "place")
