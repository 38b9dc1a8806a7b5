"""What `indextrust.client` imports, and when."""

from __future__ import annotations

import subprocess
import sys

import pytest

import indextrust.client

_LISTS = """
import sys
{statement}
print(*sys.modules)
"""


def _modules_after(statement: str) -> set[str]:
    command = [sys.executable, "-c", _LISTS.format(statement=statement)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


def test_who_brings_a_fetcher_does_not_pay_for_ours() -> None:
    loaded = _modules_after("from indextrust.client import TufClient, FileMetadataStore")
    assert "indextrust.client.updater" in loaded
    heavy = {"urllib3", "sqlite3", "platformdirs", "packaging.utils", "cryptography"}
    assert not heavy & loaded
    assert "urllib3" in _modules_after("from indextrust.client import Urllib3Fetcher")


def test_every_public_name_is_there() -> None:
    assert set(indextrust.client.__all__) <= set(dir(indextrust.client))
    for name in indextrust.client.__all__:
        assert getattr(indextrust.client, name) is vars(indextrust.client)[name]
    star = _modules_after("from indextrust.client import *\nassert Client and utc_now")
    assert "indextrust.client.index" in star


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'indextrust\.client' has no attribute 'Clinet'"):
        indextrust.client.Clinet  # type: ignore[attr-defined]  # noqa: B018
