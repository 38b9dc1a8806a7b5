"""Somebody who carries the event alters it: raw JSON and python-tuf, none of our builders.

The owner of the stick rewrites the file with care: sorted, indented, digest and all. What he
changes has to be refused by name, or has to change the digest that people read to each other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, Root

from indextrust.canonical import canonical
from indextrust.ceremony import SignedRoles, read_roles, rotate
from indextrust.ceremony.event import MAX_BYTES, Event, decode, encode
from indextrust.ceremony.gather import merge
from indextrust.ceremony.judge import judge
from indextrust.ceremony.judged import whose
from indextrust.ceremony.keyholders import Profile
from indextrust.ceremony.proposal import Change, propose_next
from indextrust.ceremony.runbook import sections
from indextrust.ceremony.script import script_of
from indextrust.ceremony.words import show
from indextrust.errors import CeremonyError
from indextrust.repository.public_keys import keyholder_of
from tests.ceremony.event_room import (
    NOW,
    PROPOSED,
    Person,
    altered,
    genesis_of,
    next_of,
    person,
    practising,
    server,
    signed,
)
from tests.ceremony.parties import signed_by

Tree = dict[str, Any]

ANN, BOB, CID, DEE, EVE = (person(name) for name in ("Ann", "Bob", "Cid", "Dee", "Eve"))
ONLINE, OTHER_SERVER = server(), server()
GENESIS = genesis_of([ANN, BOB, CID], 2, ONLINE)
FIRST = signed(GENESIS, [ANN, BOB, CID])
RENEWAL = next_of(FIRST.roles, Change())
HALF = signed(RENEWAL, [ANN])


def refused(event: Event, change: Callable[[Tree], None], reason: str) -> None:
    with pytest.raises(CeremonyError, match=reason):
        judge(decode(altered(event, change)))


def test_an_unaltered_event_is_accepted() -> None:
    judge(decode(altered(HALF, lambda tree: None)))


# -- the proposed root ---------------------------------------------------------------------------


def _threshold_1(tree: Tree) -> None:
    tree["root"]["roles"]["root"]["threshold"] = 1
    tree["kinds"] = ["threshold"]


def _own_key(tree: Tree) -> None:
    tree["root"]["keys"][EVE.keyid] = EVE.holder.key.to_dict()
    tree["root"]["roles"]["root"]["keyids"] = sorted(
        [*tree["root"]["roles"]["root"]["keyids"], EVE.keyid]
    )
    tree["kinds"] = ["keyholders"]


@pytest.mark.parametrize("change", [_threshold_1, _own_key])
def test_a_root_that_is_changed_after_somebody_signed_is_refused_by_that_name(
    change: Callable[[Tree], None],
) -> None:
    refused(HALF, change, r"invalid signature of Ann .*altered after they signed")


@pytest.mark.parametrize("change", [_threshold_1, _own_key])
def test_a_root_that_is_changed_before_anybody_signed_has_another_digest(
    change: Callable[[Tree], None],
) -> None:
    forged = decode(altered(RENEWAL, change))
    judge(forged)  # it is a proposal like any other: people must read the digest
    assert forged.digest != RENEWAL.digest
    with pytest.raises(CeremonyError, match=r"another event: the kind, the new root's .* differ"):
        merge(HALF, forged)


def test_a_kind_that_hides_what_changes_is_refused() -> None:
    def change(tree: Tree) -> None:
        _own_key(tree)
        tree["kinds"] = ["renewal"]

    refused(RENEWAL, change, "of the kind renewal, and what it changes makes it keyholders")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t["root"].update(note="x"), "'root': note is not what a proposal"),
        (lambda t: t["root"].update(expires="2099-01-01T00:00:00Z"), "'root': expires is not"),
        (lambda t: t["root"].update(version=True), "expected version|version is not"),
        (lambda t: t["root"].update(version=7), r"'root': expected version 2, got 7"),
        (lambda t: t["root"].update(consistent_snapshot=False), "consistent_snapshot is not"),
        (lambda t: t["root"]["roles"]["timestamp"].update(threshold=True), "roles is not"),
        (lambda t: t["root"].update(_type="timestamp"), "expected the signed part of a root"),
        (lambda t: t["root"].update(keys=[]), "expected the signed part of a root"),
        (lambda t: t.update(root={}), "expected the signed part of a root"),
        (lambda t: t["root"].update({"x-indextrust-rehearsal": True}), "x-indextrust-rehearsal"),
        (lambda t: t["proposed"].update(at="2025-01-31T12:00:00Z"), "expires is not what"),
    ],
)
def test_nothing_stands_in_a_root_that_the_builder_does_not_write(
    change: Callable[[Tree], None], reason: str
) -> None:
    refused(RENEWAL, change, reason)


def test_one_key_under_two_ids_does_not_count_as_two_keyholders() -> None:
    def change(tree: Tree) -> None:
        twin = deepcopy(tree["root"]["keys"][ANN.keyid])
        twin["keyval"]["public"] = twin["keyval"]["public"].upper()
        tree["root"]["keys"]["ab" * 32] = twin
        tree["root"]["roles"]["root"]["keyids"].append("ab" * 32)

    refused(RENEWAL, change, "each public key once among the root keys")


def test_a_new_key_under_a_key_id_of_its_own_choice_is_refused() -> None:
    def change(tree: Tree) -> None:
        tree["root"]["keys"]["cd" * 32] = EVE.holder.key.to_dict()
        ids = [*tree["root"]["roles"]["root"]["keyids"], "cd" * 32]
        tree["root"]["roles"]["root"]["keyids"] = sorted(ids)

    refused(RENEWAL, change, f"expected key id {EVE.keyid}")


def test_a_key_of_the_attacker_under_anns_key_id_is_refused() -> None:
    def change(tree: Tree) -> None:
        tree["root"]["keys"][ANN.keyid]["keyval"] = dict(EVE.holder.key.keyval)

    refused(RENEWAL, change, f"key {ANN.keyid} is another one than before")


def test_ann_under_another_name_is_refused() -> None:
    def change(tree: Tree) -> None:
        tree["root"]["keys"][ANN.keyid]["x-indextrust-keyholder"] = "Eve"

    refused(RENEWAL, change, r"another one than before: it was Ann .*, and is Eve")


def test_the_online_key_as_a_root_key_is_refused() -> None:
    def change(tree: Tree) -> None:
        ids = [*tree["root"]["roles"]["root"]["keyids"], ONLINE.keyid]
        tree["root"]["roles"]["root"]["keyids"] = sorted(ids)

    refused(RENEWAL, change, "it is the online key")


# -- the roles in force --------------------------------------------------------------------------


def _forged_first() -> SignedRoles:
    """Root 1 by Eve, who lists the real keyholders besides, with a threshold of 1."""
    root = Metadata[Root].from_bytes(FIRST.root_file).signed
    root.add_key(deepcopy(EVE.holder.key), "root")
    root.roles["root"].threshold = 1
    return replace(FIRST.roles, root=(signed_by(root, [EVE.signer]),))


def test_a_swapped_previous_root_is_refused_by_the_copies_that_others_hold() -> None:
    def change(tree: Tree) -> None:
        tree["before"]["roots"] = [_forged_first().root[0].decode()]
        tree["kinds"] = ["keyholders", "threshold"]

    forged = decode(altered(HALF, change))
    judge(forged)  # by itself it is consistent: its digest and the root's SHA-256 are not yours
    assert forged.digest != HALF.digest
    with pytest.raises(CeremonyError, match="the roles in force differ"):
        merge(HALF, forged)


def test_a_previous_root_that_nobody_signed_is_refused() -> None:
    def change(tree: Tree) -> None:
        envelope = json.loads(tree["before"]["roots"][0])
        envelope["signatures"] = envelope["signatures"][:1]
        tree["before"]["roots"] = [json.dumps(envelope)]

    refused(RENEWAL, change, "the roles in force in this event: 'root' 1 does not verify")


def test_an_event_made_a_genesis_is_refused() -> None:
    refused(HALF, lambda tree: tree.update(before=None), r"'root': expected version 1, got 2")


def test_targets_of_another_event_are_refused() -> None:
    twin = next_of(FIRST.roles, Change())

    def change(tree: Tree) -> None:
        tree["targets"] = twin.targets.decode()

    refused(RENEWAL, change, "'targets' 2 does not verify by 'root' 2")


def test_something_beside_the_signed_part_of_targets_is_refused() -> None:
    def change(tree: Tree) -> None:
        envelope = json.loads(tree["targets"])
        envelope["more"] = 1
        tree["targets"] = json.dumps(envelope, sort_keys=True, separators=(",", ":"))

    refused(RENEWAL, change, "'targets': expected compact metadata with 2 signatures")


def test_one_time_keys_that_are_not_the_ones_recorded_are_refused() -> None:
    def change(tree: Tree) -> None:
        tree["one_time_keys_gone"]["bins"][0] = "ef" * 32

    refused(RENEWAL, change, "'one_time_keys_gone': expected the key ids that sign")


# -- signatures ----------------------------------------------------------------------------------


def _with(signature: Tree) -> Callable[[Tree], None]:
    def change(tree: Tree) -> None:
        entry = {"at": "2026-01-31T12:00:00Z", **signature}
        kept = [one for one in tree["signatures"] if one["keyid"] != entry["keyid"]]
        tree["signatures"] = sorted([*kept, entry], key=lambda one: str(one["keyid"]))

    return change


def test_a_signature_of_another_event_is_refused_by_its_owners_name() -> None:
    stale = signed(next_of(FIRST.roles, Change()), [BOB]).signatures[0]
    refused(
        HALF, _with({"keyid": BOB.keyid, "sig": stale.sig}), "invalid signature of Bob .*another"
    )


def test_a_signature_by_a_stranger_is_refused_as_foreign() -> None:
    sig = EVE.signer.sign(RENEWAL.payload).signature
    refused(HALF, _with({"keyid": EVE.keyid, "sig": sig}), "foreign signature: .* a stranger's key")


def test_a_signature_by_the_online_key_is_refused_as_foreign() -> None:
    sig = ONLINE.signer.sign(RENEWAL.payload).signature
    refused(HALF, _with({"keyid": ONLINE.keyid, "sig": sig}), "foreign signature: .* another role")


@pytest.mark.parametrize("sig", ["", "zz", "00", "AB" * 64, "ab" * 64, "ab" * 100_000])
def test_what_is_no_signature_is_refused_by_its_owners_name(sig: str) -> None:
    refused(HALF, _with({"keyid": BOB.keyid, "sig": sig}), "invalid signature of Bob")


def test_one_signature_twice_is_refused() -> None:
    def change(tree: Tree) -> None:
        tree["signatures"] *= 2

    refused(HALF, change, f"key {ANN.keyid} signs a second time")


def test_anns_signature_under_bobs_key_id_is_refused() -> None:
    sig = HALF.signatures[0].sig
    refused(HALF, _with({"keyid": BOB.keyid, "sig": sig}), "invalid signature of Bob")


def test_a_great_many_signatures_are_refused_at_the_first(  # squares of 30,000 would take minutes
) -> None:
    def change(tree: Tree) -> None:
        entry = {"at": "2026-01-31T12:00:00Z", "sig": "00"}
        tree["signatures"] = [{**entry, "keyid": f"{number:016x}"} for number in range(30_000)]

    refused(RENEWAL, change, "foreign signature: 0000000000000000 is a stranger's key")


def test_a_root_with_more_keys_than_clients_take_is_refused() -> None:
    def change(tree: Tree) -> None:
        key = EVE.holder.key.to_dict()
        tree["root"]["keys"] |= {f"{number:064x}": key for number in range(5_000)}

    refused(RENEWAL, change, "roots of at most 512000 bytes")


def test_a_role_whose_key_is_not_listed_is_refused() -> None:
    def change(tree: Tree) -> None:
        tree["root"]["roles"]["timestamp"]["keyids"] = ["ab" * 32]

    refused(RENEWAL, change, "timestamp is to be signed by key 'abab.*not listed")


def test_roles_in_force_without_an_online_key_are_none_of_ours() -> None:
    root = Metadata[Root].from_bytes(FIRST.root_file).signed
    for name in ("timestamp", "snapshot"):
        root.roles[name].keyids = [ANN.keyid]

    def change(tree: Tree) -> None:
        tree["before"]["roots"] = [signed_by(root, [ANN.signer, BOB.signer]).decode()]

    refused(RENEWAL, change, "the roles in force in this event: expected one online key, got 2")


def test_a_name_with_control_characters_draws_on_no_terminal() -> None:
    key = deepcopy(ANN.holder.key)
    key.unrecognized_fields["x-indextrust-keyholder"] = "Ann\x1b[2J\nEve"
    assert whose(key).startswith(r"'Ann\x1b[2J\nEve' (key ")


# -- other events --------------------------------------------------------------------------------


def test_an_event_of_another_repository_is_not_merged() -> None:
    other = signed(genesis_of([ANN, BOB, CID], 2, OTHER_SERVER), [ANN, BOB])
    theirs = next_of(other.roles, Change())
    with pytest.raises(CeremonyError, match=r"another event: .*the roles in force"):
        merge(HALF, theirs)


def test_a_key_that_was_removed_does_not_come_back() -> None:
    second = signed(next_of(FIRST.roles, Change(add=[DEE.holder], remove=["Ann"])), [BOB, CID])
    roles = SignedRoles((*FIRST.roles.root, second.root_file), second.targets, second.bins)
    with pytest.raises(CeremonyError, match=rf"the old key {ANN.keyid}.*would come back"):
        next_of(roles, Change(add=[ANN.holder]))


# -- the profile ---------------------------------------------------------------------------------


def ecdsa(name: str) -> Person:
    signer = CryptoSigner.generate_ecdsa()
    return Person(signer, keyholder_of(signer.public_key, name, None, "root"))


def test_what_every_client_verifies_gets_no_other_key_unless_that_is_said() -> None:
    eli = ecdsa("Eli")
    with pytest.raises(CeremonyError, match="of Eli is 'ecdsa', which the profile portable does"):
        propose_next(FIRST.roles, Change(add=[eli.holder]), proposed=PROPOSED)
    change = Change(add=[eli.holder])
    event = propose_next(FIRST.roles, change, profile=Profile.HSM, proposed=PROPOSED)
    assert event.profile == "hsm"
    refused(event, lambda t: t.update(profile="portable"), "of Eli is 'ecdsa', which the profile p")
    refused(event, lambda t: t.update(profile="any"), "'profile': expected one of portable, hsm")
    refused(event, lambda t: t.update(profile=7), "'profile': expected 1 to 200 printable")
    roles = signed(event, [ANN, BOB]).roles
    roles = replace(roles, root=(*FIRST.roles.root, *roles.root))
    later = propose_next(roles, Change(), proposed=PROPOSED)
    assert later.profile == "hsm"


def test_another_profile_is_another_event() -> None:
    forged = decode(altered(RENEWAL, lambda tree: tree.update(profile="hsm")))
    judge(forged)
    with pytest.raises(CeremonyError, match="another event: the profile differ"):
        merge(HALF, forged)


# -- rehearsals ----------------------------------------------------------------------------------


def practised_genesis() -> Event:
    people = [practising(one) for one in (ANN, BOB, CID)]
    return genesis_of(people, 2, practising(ONLINE), rehearsal=True)


def test_a_rehearsal_is_followed_by_rehearsals_only_and_follows_nothing_real() -> None:
    practised = signed(practised_genesis(), [ANN, BOB])
    assert practised.root["x-indextrust-rehearsal"] is True
    assert next_of(practised.roles, Change()).rehearsal
    both = [ANN.signer, BOB.signer]
    rotated = rotate(practised.roles, both, practising(ONLINE).holder.key, now=NOW)
    assert read_roles(rotated).rehearsal

    def real(tree: Tree) -> None:
        tree["rehearsal"] = False
        del tree["root"]["x-indextrust-rehearsal"]

    refused(next_of(practised.roles, Change()), real, "are a rehearsal: nothing real follows them")

    def practice(tree: Tree) -> None:
        tree["rehearsal"] = True
        tree["root"]["x-indextrust-rehearsal"] = True

    refused(RENEWAL, practice, "would follow a root that is no rehearsal")


def test_a_rehearsal_without_its_mark_is_refused() -> None:
    practised = practised_genesis()
    refused(practised, lambda tree: tree.update(rehearsal=False), "x-indextrust-rehearsal is not")


# -- the file ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "in JSON"),
        (b"\xff", "in JSON"),
        (b"[]", "'format' is not"),
        (b"null", "'format' is not"),
        (b'{"format": 1}', "'format' is not"),
        (b"[" * 100_000, "nested at most 16 deep, got 100000"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "nested at most 16 deep"),
        (b" " * (MAX_BYTES + 1), "at most 16777216 bytes"),
        (b"9" * 10_000, "in JSON"),
        (b'{"format":"indextrust-signing-event","version":1.0}', "no such number: 1.0"),
        (b'{"format":"indextrust-signing-event","version":NaN}', "no such number: NaN"),
        (b'{"format":"indextrust-signing-event","version":true}', "version 1 of the format"),
        (b'{"format":"indextrust-signing-event","version":2}', "another indextrust"),
        (b'{"format":"indextrust-signing-event","version":1}', "expected an object with"),
    ],
)
def test_what_is_no_event_is_refused_and_bounded(data: bytes, reason: str) -> None:
    with pytest.raises(CeremonyError, match=reason):
        decode(data)


@pytest.mark.parametrize(
    "respell",
    [
        lambda data: data[:-1],
        lambda data: data + b" ",
        lambda data: data.replace(b'"rehearsal": false', b'"rehearsal":false'),
        lambda data: data.replace(b'"Lea"', b'"L\\u0065a"'),
        lambda data: data.replace(b'"version": 1\n', b'"version": 1,\n "version": 1\n'),
        lambda data: json.dumps(json.loads(data)).encode(),
    ],
)
def test_an_event_has_one_encoding(respell: Callable[[bytes], bytes]) -> None:
    data = encode(HALF)
    changed = respell(data)
    assert changed != data
    with pytest.raises(CeremonyError, match="one encoding"):
        decode(changed)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.update(more=1), "expected an object with"),
        (lambda t: t.pop("bins"), "expected an object with"),
        (lambda t: t.update(rehearsal=0), "true or false"),
        (lambda t: t.update(root=[]), "an object in 'root'"),
        (lambda t: t["root"].update(x="\ud800"), "no canonical form"),
        (lambda t: t.update(kinds="renewal"), "'kinds': expected a list"),
        (lambda t: t.update(kinds=["\x1b[2J"]), "'kinds': expected 1 to 200 printable"),
        (lambda t: t["proposed"].update(by="x" * 201), "'proposed.by'"),
        (lambda t: t["proposed"].update(at="2026-02-30T12:00:00Z"), "'proposed.at'"),
        (lambda t: t["proposed"].update(at="9999-12-31T12:00:00Z"), "'proposed.at'"),
        (lambda t: t["before"].update(roots={}), "'before.roots': expected a list"),
        (lambda t: t["before"].update(roots=[]), "at least one root file"),
        (lambda t: t["before"].update(roots=[7]), r"'before.roots\[0\]': expected text"),
        (lambda t: t.update(targets="\ud800"), "'targets': expected text"),
        (lambda t: t.update(targets="{}"), "'targets': expected TUF metadata"),
        (lambda t: t.update(signatures={}), "'signatures': expected a list"),
        (lambda t: t["signatures"][0].update(at=""), r"'signatures\[0\]': expected a time"),
        (lambda t: t["signatures"][0].update(who="Ann"), r"'signatures\[0\]': expected an object"),
    ],
)
def test_a_file_of_another_shape_is_refused_with_its_place(
    change: Callable[[Tree], None], reason: str
) -> None:
    refused(HALF, change, reason)


_JUNK: list[Any] = [
    *(None, True, False, 0, -1, 2**70, 10**30, "", "x", "\x00", "ab" * 32, "ed25519", "root"),
    *([], {}, [[]], {"a": 1}, ["ab" * 32], "2026-02-30T00:00:00Z", "9999-12-31T23:59:59Z"),
]


def _places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(tree, dict):
        items = sorted(tree.items())
    elif isinstance(tree, list):
        items = enumerate(tree)
    for key, value in items:
        yield (*path, key)
        yield from _places(value, (*path, key))


def _spoil(data: st.DataObject, tree: Any) -> None:
    """Put something else in one place of a tree, or take it away."""
    *way, last = data.draw(st.sampled_from(list(_places(tree))))
    for key in way:
        tree = tree[key]
    junk = data.draw(st.sampled_from([*_JUNK, Ellipsis]))
    if junk is Ellipsis:
        del tree[last]
    else:
        tree[last] = junk


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_is_put_anywhere_is_refused_by_an_error_of_ours_or_shown(
    data: st.DataObject,
) -> None:
    """Only documented errors escape; the roles in force are signed anew by who made them."""

    def change(tree: Tree) -> None:
        where = data.draw(st.sampled_from(["event", "root", "targets", "bins", "new targets"]))
        if where == "event":
            return _spoil(data, tree)
        holder: Any = tree["before"]
        key: str | int = where
        if where == "root":
            holder, key = holder["roots"], 0
        elif where == "new targets":
            holder, key = tree, "targets"
        envelope = json.loads(holder[key])
        _spoil(data, envelope)
        if where == "root" and "signed" in envelope:
            payload = canonical(envelope["signed"])
            envelope["signatures"] = [
                {"keyid": one.keyid, "sig": one.signer.sign(payload).signature}
                for one in (ANN, BOB, CID)
            ]
        holder[key] = json.dumps(envelope, sort_keys=True, separators=(",", ":"))
        return None

    try:
        judged = judge(decode(altered(HALF, change)))
    except CeremonyError:
        return
    assert show(judged, NOW)
    assert sections(script_of(judged, event="event.json"))


def test_a_proposal_with_a_key_that_clients_can_not_verify_fails_early() -> None:
    key = SSlibKey.from_crypto(ec.generate_private_key(ec.SECP256R1()).public_key())
    holder = keyholder_of(key, "Hal", "12-34", "root")
    with pytest.raises(CeremonyError, match=r"of Hal is 'ecdsa', which the profile portable"):
        next_of(FIRST.roles, Change(add=[holder]))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (Change(remove=["Zoe"]), "no keyholder 'Zoe': there are Ann"),
        (Change(add=[ANN.holder]), "Ann .* is a keyholder already"),
        (Change(add=[ONLINE.holder]), "was made as an online key, not root"),
        (Change(online=DEE.holder), "was made as a root key, not online"),
        (Change(threshold=0), r"from 1 to the number of root keys \(3\), got 0"),
        (Change(threshold=4), r"from 1 to the number of root keys \(3\), got 4"),
        (Change(remove=["Ann", "Bob"]), r"from 1 to the number of root keys \(1\), got 2"),
    ],
)
def test_a_change_that_can_not_be_is_refused_by_name(change: Change, reason: str) -> None:
    with pytest.raises(CeremonyError, match=reason):
        next_of(FIRST.roles, change)


def test_a_name_that_two_keys_have_is_ambiguous_and_a_key_id_is_not() -> None:
    twin = person("Ann")
    with_twin = signed(next_of(FIRST.roles, Change(add=[twin.holder])), [ANN, BOB])
    roots = (*FIRST.roles.root, with_twin.root_file)
    roles = SignedRoles(roots, with_twin.targets, with_twin.bins)
    with pytest.raises(CeremonyError, match="'Ann' has several keys"):
        next_of(roles, Change(remove=["Ann"]))
    event = next_of(roles, Change(remove=[twin.keyid[:8]]))
    assert [key.keyid for key in judge(event).removed] == [twin.keyid]
