"""A stick without the older roots: a key that they dropped looks like a new one."""

from __future__ import annotations

import pytest

from indextrust.ceremony import SignedRoles
from indextrust.ceremony.judge import judge
from indextrust.ceremony.proposal import Change
from indextrust.errors import CeremonyError
from tests.ceremony.event_room import genesis_of, next_of, person, server, signed

ANN, BOB, CID = (person(name) for name in ("Ann", "Bob", "Cid"))
STOLEN, FRESH = server(), server()


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (Change(remove=["Bob"]), Change(add=[BOB.holder])),
        (Change(online=FRESH.holder), Change(online=STOLEN.holder)),
    ],
    ids=["lost root key", "stolen online key"],
)
def test_a_key_that_was_dropped_does_not_come_back_by_leaving_out_the_root_that_listed_it(
    first: Change, then: Change
) -> None:
    genesis = signed(genesis_of([ANN, BOB, CID], 2, STOLEN), [ANN, CID])
    second = signed(next_of(genesis.roles, first), [ANN, CID])
    cut: SignedRoles = second.roles  # the second root alone: the first one is left out
    with pytest.raises(CeremonyError, match="every root since the first"):
        judge(next_of(cut, then))
