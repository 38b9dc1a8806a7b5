"""What expires: signed files kept until later, and roots kept from us."""

from __future__ import annotations

from datetime import timedelta

import pytest

from indextrust.errors import ExpiredError, OutdatedRootError
from indextrust.trust import Policy
from tests.attacks.story import recover, refused
from tests.client.stage import NOW, Stage

DAY = timedelta(days=1)


def _live_until(stage: Stage, days: int) -> None:
    for metadata in (stage.repository.timestamp, stage.repository.snapshot):
        metadata.signed.expires = NOW + days * DAY
    stage.publish()


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize(
    "policy",
    [Policy(minimum_root_version=2), Policy(maximum_root_age=30 * DAY)],
    ids=["minimum root", "maximum age"],
)
def test_attack_10_the_next_root_is_withheld(stage: Stage, status: int, policy: Policy) -> None:
    """The operator revokes a stolen timestamp key in root 2. The thief, who has the network too,
    answers that there is no root 2 and goes on signing. No client can tell, until root 1 expires;
    one whose user said how old a root may be raises the alarm and asks for nothing more."""
    client = stage.client(policy=policy)
    _live_until(stage, 60)
    if policy.minimum_root_version == 1:
        client.refresh()
    stage.client().refresh()
    thief = stage.repository.signers["timestamp"]
    stage.repository.rotate("timestamp")
    stage.repository.publish_root()
    stage.repository.publish()
    stage.server.tamper("metadata/2.root.json", status)
    honest = stage.repository.signers["timestamp"]
    stage.repository.signers["timestamp"] = thief
    stage.repository.publish()
    stage.write()
    stage.repository.signers["timestamp"] = honest
    stage.now = NOW + 31 * DAY
    stage.client().refresh()  # without a policy: trusted, and its age is all that there is to see

    with refused(
        stage,
        OutdatedRootError,
        match="a newer one may be withheld",
        last="2.root.json",
        heal=lambda: recover(stage),
    ):
        client.refresh()


def test_attack_54_the_clock_is_set_back(stage: Stage) -> None:
    """The attacker kept the signed files of day 0. On day 7, which the client saw, he sets its
    clock back a year and serves them again. Time seen does not run backward: they are expired."""
    old = dict(stage.repository.files)
    stage.client().refresh()
    stage.now = NOW + 7 * DAY
    _live_until(stage, 8)
    stage.client().refresh()
    new = stage.repository.files
    stage.now = NOW - 365 * DAY
    assert [notice.kind for notice in stage.client().refresh().notices] == ["clock-set-back"]

    for name in ("timestamp.json", "snapshot.json"):  # nor does the cache help to tell
        (stage.folder / "cache" / name).unlink()
    stage.repository.files = old
    stage.write()

    def back() -> None:
        stage.now = NOW + 7 * DAY
        stage.repository.files = new
        stage.write()

    with refused(stage, ExpiredError, match="timestamp", last="timestamp.json", heal=back):
        stage.client().refresh()


def test_attack_54_a_person_whose_clock_was_wrong_has_a_way_out(stage: Stage) -> None:
    """Nobody attacks. The clock was a month ahead during one refresh of long-lived metadata, and
    now everything seems expired, until the person says that it was wrong."""
    _live_until(stage, 31)
    stage.now = NOW + 30 * DAY
    stage.client().refresh()
    stage.now = NOW
    _live_until(stage, 1)
    with refused(
        stage,
        ExpiredError,
        match="timestamp",
        last="timestamp.json",
        heal=lambda: stage.store().forget_times(),
    ):
        stage.client().refresh()
