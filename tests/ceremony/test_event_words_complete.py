"""What is signed is said: nothing in a root that `show` leaves out, and a reason to refuse it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from securesystemslib.signer import CryptoSigner

from indextrust.ceremony.event import Event
from indextrust.ceremony.judge import judge
from indextrust.ceremony.keyholders import Profile
from indextrust.ceremony.proposal import Change, propose_genesis, propose_next
from indextrust.ceremony.words import refuse_if, show
from indextrust.names import BinScheme
from indextrust.repository.public_keys import keyholder_of
from tests.ceremony.event_room import NOW, PROPOSED, Person, genesis_of, person, server, signed

ANN, BOB = person("Ann"), person("Bob")


def shown(event: Event) -> str:
    return "\n".join(show(judge(event), NOW))


def test_a_key_that_comes_is_to_be_compared_with_its_holders() -> None:
    """A key of the proposer's under Bob's name: Bob is absent, and everybody knows his name."""
    genesis = genesis_of([ANN, BOB], 2, server())
    assert any(
        "new key" in reason and "read aloud" in reason for reason in refuse_if(judge(genesis))
    )
    first = signed(genesis, [ANN, BOB])
    renewal = propose_next(first.roles, Change(), profile=Profile.PORTABLE, proposed=PROPOSED)
    assert not any("new key" in reason for reason in refuse_if(judge(renewal)))


def test_a_key_that_pip_can_not_verify_is_told() -> None:
    """The profile is whoever proposes' alone; what it means for users is everybody's."""
    signer = CryptoSigner.generate_ecdsa()
    cid = Person(signer, keyholder_of(signer.public_key, "Cid", None, "root"))
    people, online = [ANN, BOB, cid], server()
    event = propose_genesis(
        [one.holder for one in people],
        2,
        online.holder,
        bins=BinScheme.of(4),
        layout="pep458",
        profile=Profile.HSM,
        proposed=PROPOSED,
    )
    assert "only clients with 'cryptography' can verify" in shown(event)
    assert "every client can verify" in shown(genesis_of([ANN, BOB], 2, online))


def test_whoever_is_named_in_the_online_key_is_shown() -> None:
    text = shown(genesis_of([ANN, BOB], 2, person("Mallory", "online", "SN-666")))
    assert "Mallory" in text
    assert "SN-666" in text


@pytest.mark.parametrize("succinct", [False, True])
def test_the_form_of_the_bins_is_shown(succinct: bool) -> None:
    first = signed(genesis_of([ANN, BOB], 2, server()), [ANN, BOB])  # classic
    event = propose_next(
        first.roles,
        Change(bins=BinScheme.of(4, succinct=succinct)),
        profile=Profile.PORTABLE,
        proposed=PROPOSED,
    )
    assert ("succinct" in shown(event)) == succinct


def test_what_has_expired_is_called_so() -> None:
    event = genesis_of([ANN, BOB], 2, server())
    assert "EXPIRED" in "\n".join(show(judge(event), NOW + timedelta(days=366)))
