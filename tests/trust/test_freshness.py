"""Time: clocks set back, withheld roots, how often to ask, and offline use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from indextrust.errors import ExpiredError, InputError, OutdatedRootError, UnreachableError
from indextrust.testing import MetadataRepository
from indextrust.trust import Policy, Times
from indextrust.trust.freshness import is_fresh, is_set_back, offline_times, reference_time
from tests.support.drive import Driver

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TIMES = Times(NOW, NOW, 1, NOW)


def _client(repository: MetadataRepository) -> Driver:
    return Driver(repository.files, repository.files["1.root.json"], NOW)


@pytest.fixture
def repository() -> MetadataRepository:
    repository = MetadataRepository(now=NOW)
    repository.delegate("targets", "bins", ["files/*/*"], terminating=True)
    repository.add_target("files/demo/demo-1.0.tar.gz", b"demo", role="bins")
    repository.publish()
    return repository


def test_attack_54_expiry_is_judged_by_the_later_time(repository: MetadataRepository) -> None:
    """The attacker keeps today's signed files, and next week sets the clock back to today. The
    client saw next week already: it warns, and today's files are expired."""
    client = _client(repository)
    client.refresh()
    replayed = dict(repository.files)
    client.now = NOW + 7 * DAY
    repository.timestamp.signed.expires += 8 * DAY
    repository.snapshot.signed.expires += 8 * DAY
    repository.publish()
    client.refresh()

    client.stored = {"root": client.stored["root"]}  # the rollback protection is gone, too
    client.files, client.now = replayed, NOW
    client.requests.clear()
    with pytest.raises(ExpiredError, match="by a time seen before, not by the clock"):
        client.refresh()
    assert client.requests[-1] == "timestamp.json"
    assert set(client.stored) == {"root"}

    client.files = repository.files
    session = client.refresh()
    assert [notice.kind for notice in session.notices] == ["clock-set-back"]
    assert session.now == session.times.last_seen == NOW + 7 * DAY


def test_a_clock_corrected_by_seconds_is_no_alarm(repository: MetadataRepository) -> None:
    client = _client(repository)
    client.refresh()
    client.now = NOW - timedelta(seconds=20)
    session = client.refresh()
    assert session.notices == []
    assert session.now == NOW


def test_attack_10_a_withheld_root_passes_until_a_policy_says_what_is_too_old(
    repository: MetadataRepository,
) -> None:
    """The network answers 404 for the next root, so a revoked online key goes on signing."""
    client = _client(repository)
    client.refresh()
    withheld = dict(repository.files)
    repository.rotate("timestamp")
    repository.publish_root()
    repository.publish()
    client.files = withheld
    client.refresh()  # nothing tells this from "there is no newer root"

    before = dict(client.stored)
    client.policy = Policy(minimum_root_version=2)
    client.requests.clear()
    with pytest.raises(OutdatedRootError, match=r"version 2 or higher.*got version 1"):
        client.refresh()
    assert client.requests == ["2.root.json"]
    assert client.stored == before

    client.files = repository.files
    client.refresh()
    assert client.session is not None
    assert client.session.trusted.root.version == 2


def test_attack_10_a_root_may_serve_no_longer_than_the_policy_says(
    repository: MetadataRepository,
) -> None:
    client = _client(repository)
    client.policy = Policy(maximum_root_age=30 * DAY)
    client.refresh()
    repository.timestamp.signed.expires += 60 * DAY
    repository.snapshot.signed.expires += 60 * DAY
    repository.publish()
    client.now = NOW + 30 * DAY
    client.refresh()
    client.now += HOUR
    with pytest.raises(OutdatedRootError, match="root version 1: in use for longer"):
        client.refresh()
    repository.publish_root()
    session = client.refresh()
    assert session.times.root_since == client.now
    assert session.times.root_version == 2


def test_what_is_remembered_of_time_moves_only_with_what_was_trusted(
    repository: MetadataRepository,
) -> None:
    client = _client(repository)
    client.refresh()
    assert client.times == TIMES
    client.now += HOUR
    client.refresh()
    assert client.times == Times(NOW + HOUR, NOW + HOUR, 1, NOW)
    client.now += 400 * DAY
    with pytest.raises(ExpiredError) as refused:
        client.refresh()
    assert "seen before" not in str(refused.value)  # it is by the clock
    assert client.times == Times(NOW + HOUR, NOW + HOUR, 1, NOW)


def test_a_role_that_expired_since_the_refresh_is_refused_at_a_look_up(
    repository: MetadataRepository,
) -> None:
    """A client that lives long looks up at the time of the look-up, not of its refresh."""
    repository.targets["bins"].signed.expires = NOW + HOUR
    repository.publish()
    client = _client(repository)
    client.refresh()
    client.find("files/demo/demo-1.0.tar.gz")
    client.now += 2 * HOUR
    assert client.session is not None
    with pytest.raises(ExpiredError):
        client._drive(client.session.lookup("files/demo/demo-1.0.tar.gz", now=client.now))


@pytest.mark.parametrize(
    ("clock", "expected"),
    [(NOW - 365 * DAY, NOW), (NOW, NOW), (NOW + HOUR, NOW + HOUR)],
)
def test_the_reference_time_is_the_later_one(clock: datetime, expected: datetime) -> None:
    assert reference_time(clock, TIMES) == expected
    assert reference_time(clock, None) == clock


def test_fresh_is_what_was_refreshed_lately_by_a_clock_that_runs() -> None:
    assert is_fresh(NOW, TIMES, HOUR)
    assert is_fresh(NOW + HOUR - timedelta(seconds=1), TIMES, HOUR)
    assert not is_fresh(NOW + HOUR, TIMES, HOUR)
    assert not is_fresh(NOW, None, HOUR)
    assert not is_fresh(NOW, TIMES, timedelta(0))
    assert is_set_back(NOW - HOUR, TIMES)
    assert not is_fresh(NOW - HOUR, TIMES, HOUR)  # it would be fresh for ever


def test_offline_times_is_that_of_the_last_refresh_while_it_is_recent_enough() -> None:
    assert offline_times(NOW + 7 * DAY, TIMES, 7 * DAY) is TIMES
    with pytest.raises(ExpiredError, match="at most 7 days, 0:00:00 ago"):
        offline_times(NOW + 7 * DAY + HOUR, TIMES, 7 * DAY)
    with pytest.raises(UnreachableError, match="no refresh"):
        offline_times(NOW, None, 7 * DAY)
    seen_later = TIMES.seen(NOW + 8 * DAY)
    with pytest.raises(ExpiredError):
        offline_times(NOW, seen_later, 7 * DAY)
    assert TIMES.seen(NOW - DAY) == TIMES


@pytest.mark.parametrize(
    "values",
    [
        {"refresh_every": -HOUR},
        {"fresh_for": -HOUR},
        {"maximum_root_age": -HOUR},
        {"offline_for": -HOUR},
        {"minimum_root_version": 0},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(values))):
        Policy(**values)
