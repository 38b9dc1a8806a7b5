"""The stage on which the client's stories play."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.stage import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A published repository and its server."""
    stage = Stage(tmp_path)
    yield stage
    stage.server.close()
