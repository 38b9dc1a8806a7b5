"""Without SQLAlchemy: what does not need it works, and what does says what to install."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import indextrust.repository

BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "sqlalchemy":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
from indextrust.repository import SignedRoles, read_distribution
from indextrust.repository.signing import sign_role
import indextrust.ceremony
from indextrust.errors import MissingExtraError
try:
    from indextrust.repository import Repository
except MissingExtraError as error:
    print(error.extra, error.missing, error, sep=" | ")
"""


def test_a_missing_extra_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout == (
        "repository | sqlalchemy | 'sqlalchemy' is not installed: install it with  "
        "pip install 'indextrust[repository]'\n"
    )


def test_every_public_name_is_there_and_no_other_is_made_up() -> None:
    for name in indextrust.repository.__all__:
        assert getattr(indextrust.repository, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Repositories'"):
        indextrust.repository.Repositories  # noqa: B018
