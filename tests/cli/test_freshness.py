"""Policies, clocks and the offline mode, at the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from indextrust.client import FileMetadataStore
from indextrust.testing import TamperingServer
from tests.cli.place import Place

WHEEL = "demo-1.0-py3-none-any.whl"


@pytest.fixture
def served(index: Place) -> Iterator[TamperingServer]:
    with TamperingServer(index.public) as server:
        yield server


@pytest.fixture
def trusting(index: Place, served: TamperingServer) -> Place:
    root = index.public / "metadata" / "1.root.json"
    index.must("trust", "add", "work", served.url, "--root", root)
    return index


def _store(place: Place) -> FileMetadataStore:
    (folder,) = Path(place.home, "indexes", "work").glob("*/metadata")
    return FileMetadataStore(folder)


def _aged(place: Place, age: timedelta, seen: timedelta = timedelta(0)) -> None:
    """The last refresh was `age` ago, and `seen` from now was the latest time seen."""
    store, now = _store(place), datetime.now(UTC).replace(microsecond=0)
    times = store.times()
    assert times is not None
    store.forget_times()
    store.save_times(
        replace(times, last_refresh=now - age, root_since=now - age, last_seen=now + seen)
    )


def test_a_policy_is_set_shown_and_kept_through_a_reset(trusting: Place) -> None:
    assert "nothing beyond expiry" in trusting.must("trust", "policy", "work")
    said = trusting.must(
        *("trust", "policy", "work", "--minimum-root", "1"),
        *("--maximum-root-age", "90d", "--fresh-for", "10m"),
    )
    assert "a root serves at most 90 days" in said
    trusting.must("trust", "policy", "work", "--fresh-for", "2h")
    root = trusting.public / "metadata" / "1.root.json"
    trusting.must("trust", "reset", "work", "--root", root)
    (listed,) = json.loads(trusting.must("trust", "list", "--json"))["indexes"]
    assert listed["policy"] == {
        "fresh_for": 7200.0,
        "maximum_root_age": 90 * 86400.0,
        "minimum_root_version": 1,
    }
    trusting.must("trust", "policy", "work", "--maximum-root-age", "0d", "--fresh-for", "0m")
    assert "nothing beyond expiry" in trusting.must("trust", "policy", "work")


@pytest.mark.parametrize("value", ["", "90", "d", "-1d", "1.5h", "9999999d", "1w", "١d"])
def test_a_duration_has_a_unit(trusting: Place, value: str) -> None:
    done = trusting.run("trust", "policy", "work", "--fresh-for", value)
    assert done.returncode == 2
    assert "expected a number and a unit" in done.stderr


def test_an_outdated_root_is_an_alarm_with_its_exit_code(trusting: Place) -> None:
    trusting.must("trust", "policy", "work", "--minimum-root", "2")
    done = trusting.run("verify", trusting.dist / WHEEL)
    assert done.returncode == 11
    assert "version 2 or higher" in done.stderr
    trusting.must("trust", "policy", "work", "--minimum-root", "1")
    assert "as listed" in trusting.must("verify", trusting.dist / WHEEL)


def test_a_fresh_refresh_is_used_again(trusting: Place, served: TamperingServer) -> None:
    trusting.must("trust", "policy", "work", "--fresh-for", "1h")
    trusting.must("verify", trusting.dist / WHEEL)
    served.requests.clear()
    trusting.must("verify", trusting.dist / WHEEL)
    assert not [path for path in served.requests if path.startswith("metadata/")]


def test_offline_verifies_says_how_old_its_knowledge_is_and_asks_nobody(
    trusting: Place, served: TamperingServer
) -> None:
    wheel = trusting.dist / WHEEL
    never = trusting.run("verify", "--offline", "7d", wheel)
    assert (never.returncode, "no refresh" in never.stderr) == (12, True)
    trusting.must("verify", wheel)
    _aged(trusting, timedelta(hours=2))
    served.requests.clear()
    done = trusting.run("verify", "--offline", "7d", wheel)
    assert done.returncode == 0, done.stderr
    assert "as listed" in done.stdout
    assert "offline: judged by what the index said at" in done.stderr
    told = json.loads(trusting.must("verify", "--offline", "7d", "--json", wheel))
    assert [notice in done.stderr for notice in told["notices"]] == [True]
    changed = trusting.folder / "changed" / WHEEL
    changed.parent.mkdir()
    changed.write_bytes(wheel.read_bytes()[:-1] + b"!")
    assert trusting.run("verify", "--offline", "7d", changed).returncode == 10
    _aged(trusting, timedelta(days=8))
    old = trusting.run("verify", "--offline", "7d", wheel)
    assert (old.returncode, "too old for offline use" in old.stderr) == (10, True)
    assert served.requests == []
    assert trusting.run("verify", "--offline", "7d", "--deep", wheel).returncode == 2


def test_a_clock_set_back_is_told_and_can_be_forgotten(trusting: Place) -> None:
    wheel = trusting.dist / WHEEL
    trusting.must("verify", wheel)
    _aged(trusting, timedelta(0), seen=timedelta(hours=6))
    done = trusting.run("verify", wheel)
    assert done.returncode == 0
    assert "the clock was set back" in done.stderr
    _aged(trusting, timedelta(0), seen=timedelta(days=400))
    assert trusting.run("verify", wheel).returncode == 10
    trusting.must("trust", "reset-clock", "work")
    assert _store(trusting).times() is None
    again = trusting.run("verify", wheel)
    assert (again.returncode, again.stderr) == (0, "")
    assert trusting.run("trust", "reset-clock", "nobody").returncode == 2


def test_a_deep_verification_of_what_the_index_published_itself(trusting: Place) -> None:
    assert "as listed" in trusting.must("verify", "--deep", trusting.dist / WHEEL)
