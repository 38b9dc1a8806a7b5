"""Who must sign, in which order, on how many copies: every case of a small ceremony."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indextrust.ceremony.event import decode, encode
from indextrust.ceremony.finish import check_finished
from indextrust.ceremony.gather import add_signature, merge
from indextrust.ceremony.judge import judge
from indextrust.ceremony.proposal import Change
from indextrust.errors import CeremonyError
from tests.ceremony.event_room import NOW, Person, genesis_of, next_of, person, server, signed

ANN, BOB, CID, DEE = (person(name) for name in ("Ann", "Bob", "Cid", "Dee"))
ONLINE = server()
FIRST = signed(genesis_of([ANN, BOB, CID], 2, ONLINE), [ANN, BOB, CID])
SECOND = next_of(FIRST.roles, Change(add=[DEE.holder], remove=["Ann"]))
"""Ann leaves and Dee comes: 2 of Ann, Bob, Cid and 2 of Bob, Cid, Dee must sign."""


def enough(people: tuple[Person, ...]) -> bool:
    old = [one for one in people if one in (ANN, BOB, CID)]
    new = [one for one in people if one in (BOB, CID, DEE)]
    return len(old) >= 2 and len(new) >= 2


@pytest.mark.parametrize("count", range(5))
def test_finish_succeeds_exactly_when_both_thresholds_are_met_in_every_order(count: int) -> None:
    """Every subset of the keyholders and every order of signing."""
    for order in itertools.permutations((ANN, BOB, CID, DEE), count):
        judged = judge(signed(SECOND, order), now=NOW)
        if enough(order):
            check_finished(judged, now=NOW, ahead=timedelta(days=364))
        else:
            with pytest.raises(CeremonyError, match="signatures are missing"):
                check_finished(judged, now=NOW)


EVERYBODY = [person(name) for name in ("Ada", "Ben", "Che", "Dag", "Ewa", "Fay", "Gus")]


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_finish_succeeds_exactly_when_both_thresholds_are_met_for_any_change(
    data: st.DataObject,
) -> None:
    """Up to five keyholders before and seven people in all, any thresholds, anybody signing."""
    old = EVERYBODY[: data.draw(st.integers(1, 5))]
    before = data.draw(st.integers(1, len(old)))
    gone = data.draw(st.lists(st.sampled_from(old), unique=True, max_size=len(old) - 1))
    come = EVERYBODY[len(old) : data.draw(st.integers(len(old), len(EVERYBODY)))]
    new = [one for one in old if one not in gone] + come
    after = data.draw(st.integers(1, len(new)))
    first = signed(genesis_of(old, before, ONLINE), old)
    change = Change([one.holder for one in come], [one.keyid for one in gone], after)
    able = [*old, *come]
    order = data.draw(st.permutations(able))[: data.draw(st.integers(0, len(able)))]
    judged = judge(signed(next_of(first.roles, change), order))
    met = len({*_ids(order)} & {*_ids(old)}) >= before
    if met and len({*_ids(order)} & {*_ids(new)}) >= after:
        check_finished(judged, now=NOW)
    else:
        with pytest.raises(CeremonyError, match="signatures are missing"):
            check_finished(judged, now=NOW)


def _ids(people: list[Person]) -> list[str]:
    return [one.keyid for one in people]


@pytest.mark.parametrize("count", range(4))
def test_a_genesis_is_finished_exactly_when_its_own_threshold_is_met(count: int) -> None:
    event = genesis_of([ANN, BOB, CID], 2, ONLINE)
    for order in itertools.permutations((ANN, BOB, CID), count):
        judged = judge(signed(event, order))
        if count >= 2:
            check_finished(judged, now=NOW)
        else:
            with pytest.raises(CeremonyError, match=rf"^signatures are missing: {2 - count} more"):
                check_finished(judged, now=NOW)


@given(
    copies=st.lists(st.permutations([ANN, BOB, CID, DEE]), min_size=1, max_size=3),
    lengths=st.lists(st.integers(0, 4), min_size=3, max_size=3),
    data=st.data(),
)
@settings(max_examples=25, deadline=None)
def test_copies_merge_to_the_same_bytes_whatever_way_they_went(
    copies: list[list[Person]], lengths: list[int], data: st.DataObject
) -> None:
    events = [
        signed(SECOND, order[:length]) for order, length in zip(copies, lengths, strict=False)
    ]
    one = merge(*events)
    other = merge(*data.draw(st.permutations(events)))
    assert encode(one) == encode(other)
    assert {each.keyid for each in one.signatures} == {
        each.keyid for event in events for each in event.signatures
    }
    assert decode(encode(one)) == one


def test_what_is_missing_is_said_by_name_for_each_threshold() -> None:
    judged = judge(signed(SECOND, [BOB]))
    with pytest.raises(CeremonyError) as caught:
        check_finished(judged, now=NOW)
    text = str(caught.value)
    old, new = text.split("; ")
    assert "1 more for the old root 1, out of Ann" in old
    assert "Dee" not in old
    assert "1 more for the new root 2, out of Cid" in new
    assert "Ann" not in new


def test_nobody_signs_twice() -> None:
    with pytest.raises(CeremonyError, match=r"^Bob \(key \w+\) has signed already, at 2026-01-31"):
        signed(SECOND, [BOB, BOB])


def test_a_stranger_does_not_sign() -> None:
    eve = person("Eve")
    with pytest.raises(CeremonyError, match=f"{eve.keyid} is no keyholder's"):
        signed(SECOND, [eve])


def test_an_event_that_has_expired_is_neither_signed_nor_finished() -> None:
    later = NOW + timedelta(days=366)
    event = signed(SECOND, [BOB, CID])
    with pytest.raises(CeremonyError, match=r"'root' 2: expired"):
        judge(event, now=later)
    with pytest.raises(CeremonyError, match=r"'root' 2: expired"):
        check_finished(judge(event), now=NOW, ahead=timedelta(days=366))


def test_a_signer_that_fails_or_holds_another_key_leaves_the_event_as_it_was() -> None:
    class Broken:
        public_key = BOB.holder.key

        def sign(self, payload: bytes) -> None:
            raise OSError("the token was pulled out")

    class Other:
        public_key = BOB.holder.key
        sign = CID.signer.sign

    judged = judge(SECOND)
    with pytest.raises(CeremonyError, match=r"Bob .* failed: OSError: the token was pulled out"):
        add_signature(judged, Broken(), at=NOW)  # type: ignore[arg-type]
    with pytest.raises(CeremonyError, match="invalid signature of Bob"):
        add_signature(judged, Other(), at=NOW)  # type: ignore[arg-type]
    assert judged.event.signatures == ()
