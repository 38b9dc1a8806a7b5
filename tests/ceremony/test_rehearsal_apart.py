"""Rehearsals and real events have no key in common, and a client that follows one not the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tuf.api.exceptions import RepositoryError as TufError

from indextrust.ceremony import SignedRoles, rotate
from indextrust.ceremony.event import Event, decode
from indextrust.ceremony.judge import judge
from indextrust.ceremony.proposal import Change
from indextrust.errors import CeremonyError, RepositoryError
from indextrust.repository.follow import check_followed
from indextrust.repository.offline import verify
from tests.ceremony.event_room import (
    NOW,
    Person,
    altered,
    genesis_of,
    next_of,
    person,
    practising,
    server,
    signed,
)
from tests.ceremony.parties import root_of, signed_by, tuf_client

ANN, BOB, CID = (person(name) for name in ("Ann", "Bob", "Cid"))
ONLINE, SOFT = server(), server(rehearsal=True)
SOFT_ANN, SOFT_BOB = (person(name, rehearsal=True) for name in ("Ann", "Bob"))


def rehearsed() -> SignedRoles:
    """A rehearsal of a rotation to a soft online key, with the keys in earnest: somebody marked
    their public halves."""
    people = [practising(one) for one in (ANN, BOB, CID)]
    first = signed(genesis_of(people, 2, practising(ONLINE), rehearsal=True), [ANN, BOB])
    return signed(next_of(first.roles, Change(online=SOFT.holder)), [ANN, BOB]).roles


def test_a_client_of_the_real_index_does_not_follow_a_rehearsal() -> None:
    real = signed(genesis_of([ANN, BOB, CID], 2, ONLINE), [ANN, BOB])
    roles = rehearsed()
    with pytest.raises(CeremonyError, match="would not follow"):
        check_followed(real.root_file, roles, now=NOW)
    with pytest.raises(TufError):
        tuf_client(real.root_file).update_root(roles.root[-1])


def _soft_keyholder() -> Event:
    return genesis_of([ANN, SOFT_BOB], 2, ONLINE)


def _soft_server() -> Event:
    return genesis_of([ANN, BOB], 2, SOFT)


def _soft_server_later() -> Event:
    first = signed(genesis_of([ANN, BOB], 2, ONLINE), [ANN, BOB])
    return next_of(first.roles, Change(online=SOFT.holder))


def _at_one_machine() -> SignedRoles:
    first = signed(genesis_of([ANN, BOB], 2, ONLINE), [ANN, BOB])
    return rotate(first.roles, [ANN.signer, BOB.signer], SOFT.holder.key, now=NOW)


@pytest.mark.parametrize(
    "make", [_soft_keyholder, _soft_server, _soft_server_later, _at_one_machine]
)
def test_a_rehearsals_key_is_proposed_in_no_real_event(
    make: Callable[[], Event | SignedRoles],
) -> None:
    with pytest.raises(CeremonyError, match="was made in a rehearsal, and this is none"):
        make()


@pytest.mark.parametrize("people", [[ANN, SOFT_BOB], [SOFT_ANN, SOFT_BOB]])
def test_a_real_key_stays_in_its_bag_in_a_rehearsal(people: list[Person]) -> None:
    with pytest.raises(CeremonyError, match=r"is no rehearsal key.*leave it in its bag"):
        genesis_of(people, 2, ONLINE, rehearsal=True)


def test_a_mark_that_is_put_into_an_event_or_taken_out_of_it_is_refused() -> None:
    """The carrier edits the proposal; the rules are those of `propose`."""
    real = genesis_of([ANN, BOB], 2, ONLINE)
    practised = genesis_of([SOFT_ANN, SOFT_BOB], 2, SOFT, rehearsal=True)

    def mark(tree: dict[str, Any]) -> None:
        tree["root"]["keys"][ANN.keyid]["x-indextrust-rehearsal"] = True

    def unmark(tree: dict[str, Any]) -> None:
        del tree["root"]["keys"][SOFT_ANN.keyid]["x-indextrust-rehearsal"]

    for event, change, reason in (
        (real, mark, "was made in a rehearsal, and this is none"),
        (practised, unmark, "is no rehearsal key"),
    ):
        with pytest.raises(CeremonyError, match=reason):
            judge(decode(altered(event, change)))


def test_no_server_takes_a_root_with_a_rehearsals_key_whoever_made_it() -> None:
    """Somebody has built a root by hand, with python-tuf."""
    roles = signed(genesis_of([ANN, BOB], 2, ONLINE), [ANN, BOB]).roles
    root = root_of(roles.root[0])
    root.keys[BOB.keyid].unrecognized_fields["x-indextrust-rehearsal"] = True
    forged = replace(roles, root=(signed_by(root, [ANN.signer, BOB.signer]),))
    with pytest.raises(RepositoryError, match=f"lists key {BOB.keyid}, which was made in a reh"):
        verify(forged, {}, NOW)
