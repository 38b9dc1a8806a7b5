"""Incident records: what clients do about them, against an index made by hand with python-tuf."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from indextrust.client import Project
from indextrust.errors import (
    ChangedArtifactError,
    KnownBadArtifactError,
    LengthError,
    MalformedError,
    NotListedError,
    ProfileError,
    RefusedError,
    RemovedArtifactError,
    UnreachableError,
)
from indextrust.incidents import MAX_RECORDS, Fingerprint, Incident, IncidentFile
from indextrust.names import NormalizedName
from indextrust.trust import Acknowledged, Changed, FirstSeen, KnownBad, NotListed, Unchanged
from tests.client.pages import SDIST, WHL, listing, page, put, sha256
from tests.client.stage import Stage
from tests.client.test_index import EVIL, GOOD, OTHER, User

DEMO = NormalizedName("demo")
WORSE = b"worse wheel" * 100


def record(
    name: str,
    bad: list[bytes],
    good: bytes | None,
    *,
    filename: str = WHL,
    more: tuple[IncidentFile, ...] = (),
) -> Incident:
    digests = sorted(sha256(data) for data in bad)
    file = IncidentFile(
        DEMO,
        filename,
        tuple(Fingerprint(digest) for digest in digests),
        None if good is None else Fingerprint(sha256(good)),
    )
    files = tuple(sorted((file, *more), key=lambda file: file.filename))
    return Incident(name, datetime(2026, 1, 1, tzinfo=UTC), f"The key was stolen ({name}).", files)


def announce(stage: Stage, *incidents: Incident) -> None:
    """The operator's ceremony: top-level targets lists these records, and no others."""
    targets = stage.repository.targets["targets"].signed.targets
    targets.clear()
    for incident in incidents:
        stage.repository.add_target(incident.path, incident.encode())
    stage.publish()


@pytest.fixture
def user(stage: Stage) -> User:
    """Somebody who first saw the thief's wheel; the operator has put the good one back."""
    put(stage, {WHL: EVIL, SDIST: OTHER})
    user = User(stage, "user")
    assert user.verdicts() == {WHL: FirstSeen, SDIST: FirstSeen}
    put(stage, {WHL: GOOD, SDIST: OTHER})
    return user


def notices(user: User) -> list[str]:
    return [notice.message for notice in user.client().refresh().notices]


# -- who saw the bad state ------------------------------------------------------------------------


def test_what_was_restored_is_an_alarm_until_a_record_explains_it(stage: Stage, user: User) -> None:
    client = user.client()
    assert notices(user) == []
    with pytest.raises(ChangedArtifactError):
        client.download(client.file(WHL), user.downloads)
    announce(stage, record("stolen-key", [EVIL], GOOD))

    [told] = notices(user)
    assert "incident stolen-key (2026-01-01): The key was stolen (stolen-key)." in told
    assert f"saw the bad {WHL} on 2026-01-01" in told
    assert "indextrust scan" in told
    client = user.client()
    project = client.project("demo")
    assert isinstance(project, Project)
    verdict = project.file(WHL).verdict
    assert isinstance(verdict, Acknowledged)
    assert (verdict.remembered.sha256, verdict.offered) == (sha256(EVIL), sha256(GOOD))
    [accepted] = [notice.message for notice in project.notices]
    assert sha256(EVIL) in accepted
    assert sha256(GOOD) in accepted
    assert "stolen-key" in accepted
    assert client.download(project.file(WHL), user.downloads).read_bytes() == GOOD

    later = user.project()
    unchanged = later.file(WHL).verdict
    assert isinstance(unchanged, Unchanged)
    assert unchanged.remembered.incident == "stolen-key"
    assert later.notices == ()
    assert notices(user) == []
    with sqlite3.connect(user.home / "memory.sqlite") as database:
        rows = database.execute("SELECT filename, sha256, incident FROM acknowledged").fetchall()
    assert rows == [(WHL, sha256(GOOD), "stolen-key")]


def test_a_record_explains_nothing_but_what_it_says(stage: Stage, user: User) -> None:
    """The thief of another key offers a third digest; a record of another file changes nothing."""
    announce(stage, record("stolen-key", [EVIL], GOOD), record("other", [WORSE], OTHER,
             filename=SDIST))  # fmt: skip
    put(stage, {WHL: b"a third", SDIST: b"a fourth"})
    assert user.verdicts() == {WHL: Changed, SDIST: Changed}
    with pytest.raises(ChangedArtifactError):
        user.client().verify_deeply(_written(user, WHL, b"a third"))


def test_who_saw_the_good_one_first_refuses_the_bad_one_as_known(stage: Stage) -> None:
    put(stage, {WHL: GOOD})
    user = User(stage, "early")
    assert user.verdicts() == {WHL: FirstSeen}
    announce(stage, record("stolen-key", [EVIL], GOOD))
    assert notices(user) == []  # this machine saw nothing bad
    put(stage, {WHL: EVIL})
    assert user.verdicts() == {WHL: KnownBad}


# -- what is bad stays bad ------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", [WHL, "Demo-1.0.0-py3-none-any.whl"])
def test_the_bad_file_is_refused_also_by_who_never_saw_it(stage: Stage, spelling: str) -> None:
    """The record came first; then a thief offers the bad file again, under another spelling too."""
    announce(stage, record("stolen-key", [EVIL], GOOD))
    put(stage, {spelling: EVIL})
    entries = [listing(spelling, EVIL) | {"url": f"../../files/demo/{spelling}"}]
    stage.add("simple/demo/index.json", page("demo", entries))
    stage.publish()
    user = User(stage, "new")
    for _ in range(2):  # it is not remembered as seen first either
        client = user.client()
        listed = client.file(spelling)
        assert isinstance(listed.verdict, KnownBad)
        for use in (
            lambda: client.download(listed, user.downloads),  # noqa: B023
            lambda: client.metadata(listed),  # noqa: B023
            lambda: client.verify(_written(user, spelling, EVIL)),  # noqa: B023
        ):
            with pytest.raises(KnownBadArtifactError, match="stolen-key calls it bad") as refused:
                use()
            assert refused.value.incident == "stolen-key"
        assert not list(user.downloads.iterdir())
    put(stage, {WHL: GOOD})
    assert user.verdicts() == {WHL: FirstSeen}


def test_a_person_can_not_accept_what_the_operator_calls_bad(stage: Stage) -> None:
    put(stage, {WHL: GOOD})
    user = User(stage, "user")
    user.project()
    announce(stage, record("stolen-key", [EVIL], GOOD))
    put(stage, {WHL: EVIL})
    with pytest.raises(KnownBadArtifactError):
        user.client().acknowledge(WHL, sha256(EVIL))
    stage.server.tamper("metadata/timestamp.json", 503)  # nor while the index is away
    user.client().acknowledge(WHL, sha256(EVIL))
    stage.server.be_honest()
    assert user.verdicts() == {WHL: KnownBad}


def test_a_bad_file_of_ones_own_is_named_as_such(stage: Stage, user: User) -> None:
    """Downloaded while it was listed; the index lists the good one again."""
    announce(stage, record("stolen-key", [EVIL], GOOD))
    client = user.client()
    client.refresh()
    with pytest.raises(KnownBadArtifactError, match="stolen-key"):
        client.verify(_written(user, WHL, EVIL))
    with pytest.raises(KnownBadArtifactError):
        user.client(offline_for=timedelta(days=1)).verify(user.home / WHL)
    with pytest.raises(LengthError):
        client.verify(_written(user, WHL, b"neither"))


def test_a_listing_from_before_the_record_is_refused_when_it_is_used(stage: Stage) -> None:
    put(stage, {WHL: EVIL})
    user = User(stage, "user")
    client = user.client()
    listed = client.file(WHL)
    assert isinstance(listed.verdict, FirstSeen)
    announce(stage, record("stolen-key", [EVIL], GOOD))
    client.refresh()
    with pytest.raises(KnownBadArtifactError):
        client.download(listed, user.downloads)


def test_an_old_record_is_no_pardon_for_what_a_newer_one_calls_bad(
    stage: Stage, user: User
) -> None:
    """The first record called GOOD good; later it turned out bad too, and a second one says so."""
    first, second = record("a-first", [EVIL], GOOD), record("b-second", [GOOD], WORSE)
    for order in ((first, second), (second, first)):
        announce(stage, *order)
        put(stage, {WHL: GOOD})
        assert user.verdicts() == {WHL: KnownBad}
    put(stage, {WHL: WORSE})  # who missed what was between comes along too, by both together
    verdict = user.project().file(WHL).verdict
    assert isinstance(verdict, Acknowledged)
    assert verdict.incident.id == "b-second"
    announce(stage)  # withdrawn records say nothing more; what was accepted stays accepted
    put(stage, {WHL: WORSE})
    assert user.verdicts() == {WHL: Unchanged}


def test_what_a_thief_of_the_offline_keys_had_accepted_is_given_up_again(
    stage: Stage, user: User
) -> None:
    """His record took in WORSE; the operator's, after new keys, calls that bad and lists no more
    of the thief's."""
    announce(stage, record("forged", [EVIL], WORSE))
    put(stage, {WHL: WORSE, SDIST: OTHER})
    assert user.verdicts()[WHL] is Acknowledged
    announce(stage, record("honest", [EVIL, WORSE], GOOD))
    assert user.verdicts()[WHL] is KnownBad
    assert "honest" in notices(user)[0]
    put(stage, {WHL: GOOD, SDIST: OTHER})
    assert user.verdicts() == {WHL: Acknowledged, SDIST: Unchanged}
    assert user.verdicts() == {WHL: Unchanged, SDIST: Unchanged}


def test_core_metadata_is_said_of_like_its_file(stage: Stage) -> None:
    honest, evil = b"Metadata-Version: 2.1\n", b"Metadata-Version: 2.1\nRequires-Dist: evil\n"

    def publish(wheel: bytes, text: bytes) -> None:
        put(stage, {WHL: wheel})
        entries = [listing(WHL, wheel, **{"core-metadata": {"sha256": sha256(text)}})]
        stage.add(f"files/demo/{WHL}.metadata", text)
        stage.add("simple/demo/index.json", page("demo", entries))
        stage.publish()

    publish(EVIL, evil)
    user = User(stage, "user")
    user.project()
    publish(GOOD, honest)
    beside = IncidentFile(
        DEMO, f"{WHL}.metadata", (Fingerprint(sha256(evil)),), Fingerprint(sha256(honest))
    )
    announce(stage, record("stolen-key", [EVIL], GOOD, more=(beside,)))
    client = user.client()
    project = client.project("demo")
    assert isinstance(project, Project)
    assert len(project.notices) == 2
    assert client.metadata(project.file(WHL)) == honest
    publish(GOOD, evil)
    client = user.client()
    listed = client.file(WHL)
    assert isinstance(listed.verdict, Unchanged)
    with pytest.raises(KnownBadArtifactError, match=r"whl\.metadata: incident record stolen-key"):
        client.metadata(listed)


def test_core_metadata_beside_a_bad_file_is_not_remembered(stage: Stage) -> None:
    """The record says nothing of it; it came with the bad file all the same."""
    announce(stage, record("stolen-key", [EVIL], GOOD))
    user = User(stage, "user")
    for wheel, text in ((EVIL, b"evil"), (GOOD, b"honest")):
        put(stage, {WHL: wheel})
        entries = [listing(WHL, wheel, **{"core-metadata": {"sha256": sha256(text)}})]
        stage.add(f"files/demo/{WHL}.metadata", text)
        stage.add("simple/demo/index.json", page("demo", entries))
        stage.publish()
        client = user.client()
        listed = client.file(WHL)
    assert isinstance(listed.verdict, FirstSeen)
    assert client.metadata(listed) == b"honest"


# -- what was withdrawn ---------------------------------------------------------------------------


def test_a_withdrawn_file_is_no_alarm_and_its_name_is_not_free_again(stage: Stage) -> None:
    """A malicious release that never should have been: the record has no good file for it."""
    put(stage, {WHL: GOOD, SDIST: EVIL})
    user = User(stage, "user")
    user.project()
    put(stage, {WHL: GOOD})
    with pytest.raises(RemovedArtifactError):
        user.client().file(SDIST)
    announce(stage, record("stolen-key", [EVIL], None, filename=SDIST))
    assert "stolen-key" in notices(user)[0]
    assert user.project().removed == ()
    with pytest.raises(NotListedError):
        user.client().file(SDIST)
    put(stage, {WHL: GOOD, SDIST: OTHER})
    assert user.verdicts() == {WHL: Unchanged, SDIST: Changed}
    put(stage, {WHL: GOOD, SDIST: EVIL})
    assert user.verdicts() == {WHL: Unchanged, SDIST: KnownBad}


def test_a_project_of_the_thief_is_gone_and_an_honest_one_that_vanished_is_not(
    stage: Stage, user: User
) -> None:
    user.project()
    stage.repository.targets["bins"].signed.targets.clear()
    announce(stage, record("stolen-key", [EVIL], None))
    with pytest.raises(RemovedArtifactError, match=r"files seen before: demo-1\.0\.tar\.gz"):
        user.client().project("demo")  # the sdist was honest
    announce(stage, record("stolen-key", [EVIL], None), record("b", [OTHER], None, filename=SDIST))
    assert isinstance(user.client().project("demo"), NotListed)


def test_a_good_file_that_is_not_there_is_missed(stage: Stage, user: User) -> None:
    announce(stage, record("stolen-key", [EVIL], GOOD))
    put(stage, {SDIST: OTHER})
    with pytest.raises(RemovedArtifactError):
        user.client().file(WHL)


# -- who may speak --------------------------------------------------------------------------------


@pytest.mark.parametrize("paths", [["files/*/*", "simple/*/*"], ["*/*"]])
def test_a_thief_of_the_online_keys_can_not_pardon_himself(stage: Stage, paths: list[str]) -> None:
    """He lists a record in his bin, validly signed; even where bins is trusted with its path."""
    delegations = stage.repository.targets["targets"].signed.delegations
    assert delegations is not None
    assert delegations.roles is not None
    delegations.roles["bins"].paths = [*paths, "simple/*/*", "files/*/*"]
    put(stage, {WHL: GOOD})
    user = User(stage, "user")
    assert user.verdicts() == {WHL: FirstSeen}
    pardon = record("pardon", [GOOD], EVIL)
    put(stage, {WHL: EVIL})
    stage.add(pardon.path, pardon.encode())
    stage.publish()
    found = stage.client().target(pardon.path)  # the attack: plain TUF may well find it
    assert isinstance(found, NotListed) == (paths != ["*/*"])
    assert user.client().incidents().records == ()
    assert user.verdicts() == {WHL: Changed}
    assert notices(user) == []


def test_a_record_under_other_bytes_is_refused_and_nothing_is_accepted(
    stage: Stage, user: User
) -> None:
    honest, forged = record("stolen-key", [WORSE], GOOD), record("stolen-key", [EVIL], GOOD)
    announce(stage, honest)
    stage.server.tamper(f"incidents/{sha256(honest.encode())}.stolen-key.json", forged.encode())
    with pytest.raises(RefusedError, match=r"incidents/stolen-key\.json"):
        user.client().project("demo")
    stage.server.be_honest()
    assert user.verdicts() == {WHL: Changed, SDIST: Unchanged}


# -- fetching -------------------------------------------------------------------------------------


def test_no_record_costs_no_request_and_each_is_fetched_once(stage: Stage, user: User) -> None:
    def asked() -> list[str]:
        return [path for path in stage.requests() if "incident" in path]

    user.project()
    assert asked() == []
    incident = record("stolen-key", [EVIL], GOOD)
    announce(stage, incident)
    stage.requests()
    user.client().refresh()
    assert asked() == [f"incidents/{sha256(incident.encode())}.stolen-key.json"]
    user.project()
    user.client().refresh()
    assert asked() == []
    [kept] = (user.home / "metadata" / "incidents").iterdir()
    kept.write_bytes(incident.encode().replace(b"stolen", b"st0len"))  # no anchor
    assert [record.id for record in user.client().incidents().records] == ["stolen-key"]
    assert len(asked()) == 1


def test_offline_the_kept_records_count_and_a_missing_one_stops(stage: Stage, user: User) -> None:
    announce(stage, record("stolen-key", [EVIL], GOOD))
    wheel = _written(user, WHL, GOOD)
    client = user.client()
    client.refresh()
    client.verify(wheel)
    offline = user.client(offline_for=timedelta(days=1))
    assert offline.verify(wheel).sha256 == sha256(GOOD)
    for kept in (user.home / "metadata" / "incidents").iterdir():
        kept.unlink()
    with pytest.raises(UnreachableError, match="incident record is missing"):
        user.client(offline_for=timedelta(days=1)).verify(wheel)


def test_a_record_that_is_withheld_stops_its_index(stage: Stage, user: User) -> None:
    announce(stage, record("stolen-key", [EVIL], GOOD))
    for path in (stage.public / "incidents").iterdir():
        path.unlink()
    for use in (user.client().refresh, lambda: user.client().project("demo")):
        with pytest.raises(UnreachableError, match=r"incidents/stolen-key\.json"):
            use()


def test_records_that_can_not_be_read_stop_their_index(stage: Stage, user: User) -> None:
    good = record("stolen-key", [EVIL], GOOD).encode()
    newer = good.replace(b'"format":1', b'"format":2')
    cases: list[tuple[dict[str, bytes], type[RefusedError]]] = [
        ({"incidents/stolen-key.json": newer}, MalformedError),
        ({"incidents/other.json": good}, ProfileError),
        ({"incidents/a/b.json": good}, ProfileError),
        ({f"incidents/r{n}.json": b"" for n in range(MAX_RECORDS + 1)}, LengthError),
    ]
    for listed, kind in cases:
        stage.repository.targets["targets"].signed.targets.clear()
        for path, data in listed.items():
            stage.repository.add_target(path, data)
        stage.publish()
        with pytest.raises(kind):
            user.client().refresh()
    targets = stage.repository.targets["targets"].signed.targets
    targets.clear()
    stage.repository.add_target("incidents/stolen-key.json", good)
    targets["incidents/stolen-key.json"].length = 64_000_001
    stage.publish()
    with pytest.raises(LengthError, match="too long together"):
        user.client().refresh()


def _written(user: User, name: str, data: bytes) -> Path:
    path = user.home / name
    path.write_bytes(data)
    return path


def test_another_spelling_that_a_thief_listed_beside_it_leaves_nothing_behind(
    stage: Stage,
) -> None:
    """He lists one wheel twice, in two spellings, to somebody who saw neither."""
    twice = WHL.replace("1.0", "1.0.0")
    put(stage, {WHL: EVIL, twice: WORSE})
    user = User(stage, "user")
    assert user.verdicts() == {WHL: FirstSeen, twice: FirstSeen}
    put(stage, {WHL: GOOD})
    announce(stage, record("stolen-key", [EVIL, WORSE], GOOD))
    assert len(notices(user)) == 1
    assert user.verdicts() == {WHL: Acknowledged}
    assert user.project().removed == ()
    assert notices(user) == []


def test_the_good_file_under_another_spelling_does_not_silence_the_notice(stage: Stage) -> None:
    """The thief lists it himself, beside the bad one that may have been installed."""
    put(stage, {WHL: EVIL, WHL.replace("1.0", "1.0.0"): GOOD})
    user = User(stage, "user")
    user.project()
    announce(stage, record("stolen-key", [EVIL], GOOD))
    assert len(notices(user)) == 1
