"""A proposal dated years ahead would make a root that is valid for decades."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from indextrust.ceremony.finish import check_finished
from indextrust.ceremony.judge import judge
from indextrust.ceremony.keyholders import Profile
from indextrust.ceremony.proposal import propose_genesis
from indextrust.errors import CeremonyError
from tests.ceremony.event_room import FOUR_BINS, NOW, PROPOSED, person, server, signed


@pytest.mark.parametrize("ahead", [timedelta(days=2), timedelta(days=60 * 365)])
def test_a_proposal_from_the_future_is_not_finished(ahead: timedelta) -> None:
    people = [person(name) for name in ("Ann", "Bob")]
    event = propose_genesis(
        [one.holder for one in people],
        2,
        server().holder,
        bins=FOUR_BINS,
        layout="pep458",
        profile=Profile.PORTABLE,
        proposed=replace(PROPOSED, at=NOW + ahead),
    )
    judged = judge(signed(event, people))
    with pytest.raises(CeremonyError, match="proposed in the future"):
        check_finished(judged, now=NOW)
    check_finished(judged, now=NOW + ahead)
