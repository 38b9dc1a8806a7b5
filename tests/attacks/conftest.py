"""What the attacks' stories share: a published repository, a client that knows it, a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.story import Wire
from tests.client.stage import WHEEL, Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A repository, and in the shared cache all that a client trusts of its first version."""
    stage = Stage(tmp_path)
    stage.client().target(WHEEL)
    stage.requests()
    yield stage
    stage.server.close()


@pytest.fixture
def wire(stage: Stage) -> Iterator[Wire]:
    """The network in front of the stage's server."""
    with Wire(stage) as wire:
        yield wire
