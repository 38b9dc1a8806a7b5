"""Whoever runs `propose` makes the one-time keys: nothing but plain ones gets into an event."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from securesystemslib.signer import CryptoSigner

from indextrust.ceremony.judge import judge
from indextrust.errors import CeremonyError
from tests.ceremony.event_room import genesis_of, person, server

plain = CryptoSigner.generate_ed25519


def with_a_field() -> CryptoSigner:
    signer = plain()
    signer.public_key.unrecognized_fields["note"] = "nobody was shown this"
    return signer


def of_a_keyholder() -> CryptoSigner:
    signer = plain()
    signer.public_key.unrecognized_fields["x-indextrust-keyholder"] = "Ann"
    return signer


def under_an_id_of_its_own() -> CryptoSigner:
    signer = plain()
    signer.public_key.keyid = f"{signer.public_key.keyid}0"
    return signer


@pytest.mark.parametrize(
    "make", [with_a_field, of_a_keyholder, under_an_id_of_its_own, CryptoSigner.generate_ecdsa]
)
def test_a_one_time_key_that_is_not_plain_ed25519_is_refused(
    make: Callable[[], CryptoSigner], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a root holds signed fields that nobody was shown, or strands clients without ECDSA."""
    people, online = [person(name) for name in ("Ann", "Bob")], server()
    monkeypatch.setattr(CryptoSigner, "generate_ed25519", staticmethod(make))
    with pytest.raises(CeremonyError, match="one-time key"):
        judge(genesis_of(people, 2, online))
