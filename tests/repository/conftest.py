"""An index of 4 bins at a frozen time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.repository.place import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)
