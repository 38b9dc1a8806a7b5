"""A rehearsal held with the keys in earnest: still no client of the real index follows it."""

from __future__ import annotations

import pytest
from tuf.api.exceptions import RepositoryError as TufError

from indextrust.ceremony import SignedRoles
from indextrust.ceremony.proposal import Change
from indextrust.errors import CeremonyError
from indextrust.repository.follow import check_followed
from tests.ceremony.event_room import NOW, genesis_of, next_of, person, server, signed
from tests.ceremony.parties import tuf_client

ANN, BOB, CID = (person(name) for name in ("Ann", "Bob", "Cid"))
ONLINE, SOFT = server(), server()


def rehearsed() -> SignedRoles:
    """A rehearsal of a rotation to a soft online key; Ann and Bob did not change their keys."""
    first = signed(genesis_of([ANN, BOB, CID], 2, ONLINE, rehearsal=True), [ANN, BOB])
    return signed(next_of(first.roles, Change(online=SOFT.holder)), [ANN, BOB]).roles


def test_a_client_of_the_real_index_does_not_follow_a_rehearsal() -> None:
    real = signed(genesis_of([ANN, BOB, CID], 2, ONLINE), [ANN, BOB])
    roles = rehearsed()
    with pytest.raises(CeremonyError, match="would not follow"):
        check_followed(real.root_file, roles, now=NOW)
    with pytest.raises(TufError):
        tuf_client(real.root_file).update_root(roles.root[-1])
