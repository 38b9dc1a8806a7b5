"""When a client asks the repository, and what it does when it may not or must not ask."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from indextrust.client import FileMetadataStore, TufClient
from indextrust.errors import (
    BudgetExceededError,
    ExpiredError,
    OutdatedRootError,
    StoreError,
    UnreachableError,
)
from indextrust.trust import ABSENT, Absent, Limits, NotListed, Policy, TargetEntry
from tests.client.stage import BYTES, NOW, WHEEL, Stage

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ASKED = ["metadata/2.root.json", "metadata/timestamp.json"]


def _found(client: TufClient) -> TargetEntry:
    entry = client.target(WHEEL)
    assert isinstance(entry, TargetEntry)
    return entry


# -- how often -----------------------------------------------------------------------------------


def test_a_client_that_lives_on_asks_again_after_a_while(stage: Stage) -> None:
    client = stage.client(policy=Policy(refresh_every=5 * MINUTE))
    _found(client)
    stage.requests()
    stage.now += 4 * MINUTE
    assert isinstance(client.target("files/demo/demo-2.0.tar.gz"), NotListed)
    assert stage.requests() == []
    stage.add("files/demo/demo-2.0.tar.gz", b"new")
    stage.publish()
    stage.now += MINUTE
    assert isinstance(client.target("files/demo/demo-2.0.tar.gz"), TargetEntry)
    assert stage.requests()[:2] == ASKED


def test_a_clock_set_back_makes_no_client_ask_at_every_look_up(stage: Stage) -> None:
    stage.client().refresh()
    stage.now -= HOUR
    client = stage.client()
    assert [notice.kind for notice in client.refresh().notices] == ["clock-set-back"]
    stage.requests()
    _found(client)
    _found(client)
    assert stage.requests() == ["metadata/1.bins.json"]


def test_a_refresh_that_fails_prolongs_nothing(stage: Stage) -> None:
    """A network that never answers: what was trusted is used for its five minutes, not longer."""
    client = stage.client()
    client.refresh()
    stage.server.tamper("metadata/timestamp.json", 503)
    for _ in range(2):
        stage.now += 4 * MINUTE
        with pytest.raises(UnreachableError):
            client.refresh()
    with pytest.raises(UnreachableError):
        client.target(WHEEL)


def test_a_refresh_a_moment_ago_serves_the_next_process_if_the_policy_wants_it(
    stage: Stage,
) -> None:
    """An operator's alarms about 404s, and a CDN's bill, stay quiet."""
    _found(stage.client())
    stage.requests()
    policy = Policy(fresh_for=10 * MINUTE)
    stage.now += 9 * MINUTE
    client = stage.client(policy=policy)
    _found(client)
    assert client.state().asked == NOW
    assert stage.requests() == []
    stage.now += MINUTE
    client = stage.client(policy=policy)
    _found(client)
    assert client.state().asked == NOW + 10 * MINUTE
    assert stage.requests() == ASKED


def test_refresh_itself_always_asks(stage: Stage) -> None:
    stage.client().refresh()
    stage.requests()
    stage.client(policy=Policy(fresh_for=DAY)).refresh()
    assert stage.requests() == ASKED


def test_fresh_enough_is_never_past_expiry(stage: Stage) -> None:
    stage.client().refresh()
    stage.requests()
    stage.now += DAY
    client = stage.client(policy=Policy(fresh_for=30 * DAY, refresh_every=30 * DAY))
    with pytest.raises(ExpiredError):
        client.target(WHEEL)
    assert stage.requests() == ASKED


def test_fresh_enough_and_not_all_there_is_asked_for(stage: Stage) -> None:
    """Somebody removed the snapshot from the cache, or a process died before it came."""
    stage.client().refresh()
    (stage.folder / "cache" / "snapshot.json").unlink()
    stage.requests()
    _found(stage.client(policy=Policy(fresh_for=DAY)))
    assert stage.requests()[:3] == [*ASKED, "metadata/1.snapshot.json"]


# -- the clock -----------------------------------------------------------------------------------


def test_a_person_whose_clock_was_once_wrong_starts_anew(stage: Stage) -> None:
    """The clock was a month ahead during one refresh, and signed files live long enough."""
    for metadata in (stage.repository.timestamp, stage.repository.snapshot):
        metadata.signed.expires = NOW + 31 * DAY
    stage.publish()
    stage.now = NOW + 30 * DAY
    stage.client().refresh()
    stage.now = NOW
    for metadata in (stage.repository.timestamp, stage.repository.snapshot):
        metadata.signed.expires = NOW + DAY
    stage.publish()
    with pytest.raises(ExpiredError, match="`indextrust trust reset-clock` forgets it"):
        stage.client().refresh()
    stage.store().forget_times()
    assert stage.client().refresh().notices == ()
    assert stage.client().refresh().asked == NOW


def test_what_was_remembered_of_time_and_is_damaged_is_said(stage: Stage) -> None:
    stage.client().refresh()
    (stage.folder / "cache" / "refreshed.times").write_bytes(b"garbage")
    with pytest.raises(StoreError, match="reset-clock"):
        stage.client().refresh()
    stage.store().forget_times()
    stage.client().refresh()


# -- the root ------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", ["timestamp.json", "2.snapshot.json"])
def test_a_new_root_is_told_of_even_if_the_refresh_that_met_it_was_broken_off(
    stage: Stage, broken: str
) -> None:
    """ATTACK 52: one dropped answer must not keep the word from the user."""
    stage.client().refresh()
    stage.repository.publish_root()
    stage.publish()
    stage.server.tamper(f"metadata/{broken}", 503)
    with pytest.raises(UnreachableError):
        stage.client().refresh()
    stage.server.be_honest()
    assert [notice.kind for notice in stage.client().refresh().notices] == ["new-root"]
    assert stage.client().refresh().notices == ()


def test_the_age_of_a_root_holds_for_a_client_that_lives_on(stage: Stage) -> None:
    client = stage.client(policy=Policy(refresh_every=30 * DAY, maximum_root_age=HOUR))
    _found(client)
    stage.now += 2 * HOUR
    with pytest.raises(OutdatedRootError):
        client.target(WHEEL)


def test_the_age_of_a_root_counts_from_when_it_was_first_trusted_here(stage: Stage) -> None:
    policy = Policy(maximum_root_age=90 * DAY)
    for days in (0, 60):
        stage.now = NOW + days * DAY
        for metadata in (stage.repository.timestamp, stage.repository.snapshot):
            metadata.signed.expires = stage.now + 60 * DAY
        stage.publish()
        stage.client(policy=policy).refresh()
    stage.now = NOW + 91 * DAY
    with pytest.raises(OutdatedRootError, match="since 2026-01-01"):
        stage.client(policy=policy).refresh()
    stage.repository.publish_root()
    stage.write()
    assert stage.client(policy=policy).refresh().root_version == 2


# -- offline -------------------------------------------------------------------------------------


def test_offline_uses_what_was_trusted_and_says_how_old_it_is(stage: Stage, tmp_path: Path) -> None:
    client = stage.client()
    entry = _found(client)
    client.download(entry, tmp_path / "demo.whl")
    stage.requests()
    stage.now += 6 * DAY  # long past the timestamp's expiry
    offline = stage.client(policy=Policy(offline_for=7 * DAY))
    assert offline.refresh().asked == NOW
    assert _found(offline) == entry
    assert offline.download(entry, tmp_path / "demo.whl").read_bytes() == BYTES
    with pytest.raises(UnreachableError, match="offline"):
        offline.download(entry, tmp_path / "other.whl")
    assert not (tmp_path / "other.whl").exists()
    assert stage.requests() == []


def test_offline_is_refused_past_its_maximum_age_whatever_the_clock_says_then(
    stage: Stage,
) -> None:
    _found(stage.client())
    policy = Policy(offline_for=7 * DAY)
    stage.now += 7 * DAY
    client = stage.client(policy=policy)
    _found(client)
    stage.now += HOUR
    for again in (client, stage.client(policy=policy)):
        with pytest.raises(ExpiredError, match="too old for offline use"):
            again.target(WHEEL)


def test_offline_time_does_not_run_backward(stage: Stage) -> None:
    """Used offline on day 5, the clock is set back to day 0; from then on it is day 5."""
    _found(stage.client())
    stage.now = NOW + 5 * DAY
    _found(stage.client(policy=Policy(offline_for=7 * DAY)))
    stage.now = NOW
    with pytest.raises(ExpiredError):
        stage.client(policy=Policy(offline_for=4 * DAY)).target(WHEEL)


def test_offline_a_clock_set_back_is_told_and_an_old_root_refused(stage: Stage) -> None:
    _found(stage.client())
    stage.now = NOW + 5 * DAY
    _found(stage.client(policy=Policy(offline_for=90 * DAY)))
    stage.now = NOW
    notices = stage.client(policy=Policy(offline_for=90 * DAY)).refresh().notices
    assert [notice.kind for notice in notices] == ["clock-set-back"]
    stage.now = NOW + 31 * DAY
    strict = Policy(offline_for=90 * DAY, maximum_root_age=30 * DAY)
    with pytest.raises(OutdatedRootError):
        stage.client(policy=strict).refresh()


def test_offline_what_was_never_fetched_could_not_be_reached(stage: Stage) -> None:
    offline = Policy(offline_for=7 * DAY)
    with pytest.raises(UnreachableError, match="no refresh"):
        stage.client(policy=offline).refresh()
    stage.client().refresh()
    stage.requests()
    with pytest.raises(UnreachableError, match=r"1\.bins\.json: not stored here"):
        stage.client(policy=offline).target(WHEEL)
    assert stage.requests() == []


def test_offline_a_forged_cache_is_refused_and_not_replaced(stage: Stage) -> None:
    """The anchor is the bootstrap root, offline too."""
    _found(stage.client())
    forged = stage.folder / "cache" / "bins.json"
    forged.write_bytes(forged.read_bytes().replace(b'"length":', b'"length":1'))
    before = stage.stored()
    with pytest.raises(UnreachableError):
        stage.client(policy=Policy(offline_for=7 * DAY)).target(WHEEL)
    assert stage.stored() == before


# -- the time that a call takes ------------------------------------------------------------------


class Clockwork:
    """A fetcher whose every answer takes ten seconds of a clock that stands still otherwise."""

    def __init__(self, stage: Stage) -> None:
        self.files = stage.repository.files
        self.now = 0.0
        self.given: list[float | None] = []

    def fetch(self, url: str, *, max_length: int, seconds: float | None = None) -> bytes | Absent:
        self.given.append(seconds)
        self.now += 10.0
        return self.files.get(url.rpartition("/")[2], ABSENT)

    def stream(self, url: str, *, max_length: int) -> object:
        raise NotImplementedError


def test_a_call_takes_so_many_seconds_in_all(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file comes within its own deadline, and all of them together too late."""
    fetcher = Clockwork(stage)
    monkeypatch.setattr("indextrust.client.drive.monotonic", lambda: fetcher.now)
    client = TufClient(
        "http://repository/",
        root=stage.repository.files["1.root.json"],
        store=FileMetadataStore(stage.folder / "cache"),
        fetcher=fetcher,  # type: ignore[arg-type]
        clock=lambda: stage.now,
        limits=Limits(refresh_seconds=25.0),
    )
    with pytest.raises(BudgetExceededError, match="25 seconds in all"):
        client.refresh()
    assert fetcher.given == [25.0, 15.0, 5.0]
    assert set(stage.stored()) == {"root.json", "timestamp.json", "snapshot.json"}
    assert client.refresh().snapshot_version == 1
