"""Without the command line's packages, the command names the extra that brings them."""

from __future__ import annotations

import subprocess
import sys

import pytest

BLOCKED = """
import importlib.util, sys
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {missing!r} else real(name, *rest)
sys.modules[{missing!r}] = None
from indextrust.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize("missing", ["click", "rich", "sqlalchemy", "aiohttp"])
def test_the_missing_extra_is_named(missing: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(missing=missing)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 40
    assert done.stderr == (
        f"indextrust: {missing!r} is not installed: "
        "install it with  pip install 'indextrust[cli]'\n"
    )
