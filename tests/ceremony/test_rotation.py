"""Every later ceremony: renewal, changes of keys, and what must not get through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner, Key, SecretsHandler, Signature, Signer, SSlibKey
from tuf.api.exceptions import ExpiredMetadataError, RepositoryError, UnsignedMetadataError

from indextrust.ceremony import BinScheme, SignedRoles, genesis, rotate
from indextrust.errors import CeremonyError
from tests.ceremony.parties import (
    NOW,
    TufOperator,
    root_of,
    signed_by,
    targets_of,
    tuf_client,
)


def _keys(signers: list[CryptoSigner]) -> list[Key]:
    return [signer.public_key for signer in signers]


def test_tufs_client_follows_three_roots_and_ends_with_the_new_online_key(
    roles: SignedRoles, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    ann, bob, eve = keyholders
    newcomer, fresh = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()
    second = rotate(roles, [ann, bob], fresh.public_key, now=NOW)
    third = rotate(
        second,
        [bob, eve, newcomer],
        fresh.public_key,
        new_root_keys=_keys([bob, eve, newcomer]),
        now=NOW,
    )

    client = tuf_client(roles.root[0])
    assert client.update_root(second.root[0]).version == 2
    assert client.update_root(third.root[0]).version == 3
    operator = TufOperator(fresh)
    client.update_timestamp(operator.timestamp())
    client.update_snapshot(operator.snapshot(third, ["bin-0"]))
    assert client.update_targets(third.targets).version == 3
    assert client.update_delegated_targets(third.bins, "bins", "targets").version == 3
    assert client.update_delegated_targets(operator.bin(), "bin-0", "bins").version == 1


def test_the_thief_of_the_old_online_key_signs_nothing_any_more(
    roles: SignedRoles, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    fresh = CryptoSigner.generate_ed25519()
    second = rotate(roles, keyholders[1:], fresh.public_key, now=NOW)
    thief, operator = TufOperator(online, version=9), TufOperator(fresh)

    client = tuf_client(roles.root[0])
    client.update_root(second.root[0])
    with pytest.raises(UnsignedMetadataError, match="timestamp was signed by 0/1"):
        client.update_timestamp(thief.timestamp())
    client.update_timestamp(operator.timestamp())
    with pytest.raises(UnsignedMetadataError, match="snapshot was signed by 0/1"):
        client.update_snapshot(thief.snapshot(second, ["bin-0"]))
    client.update_snapshot(operator.snapshot(second, ["bin-0"]))
    with pytest.raises(UnsignedMetadataError, match="targets was signed by 0/2"):
        client.update_targets(roles.targets)  # the old one-time keys are out, too
    client.update_targets(second.targets)
    client.update_delegated_targets(second.bins, "bins", "targets")
    with pytest.raises(UnsignedMetadataError, match="bin-0 was signed by 0/1"):
        client.update_delegated_targets(thief.bin(), "bin-0", "bins")
    assert online.public_key.keyid.encode() not in second.root[0] + second.targets + second.bins


def test_the_thief_of_one_root_key_gets_no_root_accepted(
    roles: SignedRoles, keyholders: list[CryptoSigner]
) -> None:
    stolen, ann, bob = keyholders
    hostile = root_of(roles.root[0])
    hostile.version = 2
    hostile.roles["root"].threshold = 1
    client = tuf_client(roles.root[0])
    with pytest.raises(UnsignedMetadataError, match="root was signed by 1/2"):
        client.update_root(signed_by(hostile, [stolen]))

    heir = CryptoSigner.generate_ed25519()
    second = rotate(
        roles,
        [ann, bob, heir],
        CryptoSigner.generate_ed25519().public_key,
        new_root_keys=_keys([ann, bob, heir]),
        now=NOW,
    )
    assert client.update_root(second.root[0]).version == 2
    next_hostile = root_of(second.root[0])
    next_hostile.version = 3
    with pytest.raises(UnsignedMetadataError, match="root was signed by 1/2"):
        client.update_root(signed_by(next_hostile, [stolen, ann]))


def test_the_yearly_renewal_keeps_the_keys_of_people_and_server(
    roles: SignedRoles, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    next_year = NOW + timedelta(days=364)
    second = rotate(roles, keyholders[:2], online.public_key, now=next_year)
    old, new = root_of(roles.root[0]), root_of(second.root[0])
    for role in ("root", "timestamp", "snapshot"):
        assert new.roles[role] == old.roles[role]
    assert new.expires == next_year + timedelta(days=365)


def test_an_index_whose_roles_have_expired_can_still_be_renewed(
    roles: SignedRoles, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    late = NOW + timedelta(days=1_000)
    second = rotate(roles, keyholders[:2], online.public_key, now=late)
    client = tuf_client(roles.root[0])
    client.reference_time = late
    client.update_root(second.root[0])
    operator = TufOperator(online)
    with pytest.raises(ExpiredMetadataError, match="timestamp"):  # and not root
        client.update_timestamp(operator.timestamp())


def test_the_one_time_keys_are_new_each_time(
    roles: SignedRoles, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    events = [roles]
    for _ in range(2):
        events.append(rotate(events[-1], keyholders, online.public_key, now=NOW))
    keyids: list[str] = []
    for event in events:
        delegations = targets_of(event.targets).delegations
        assert delegations is not None
        keyids += [*root_of(event.root[0]).roles["targets"].keyids, *delegations.keys]
    assert len(set(keyids)) == len(keyids) == 3 * 4


@pytest.mark.parametrize(
    "scheme",
    [BinScheme(1, False), BinScheme(5, False), BinScheme(8, False), BinScheme(3, True)],
    ids=str,
)
def test_a_rotation_keeps_the_bins(
    scheme: BinScheme, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    first = genesis(keyholders, 2, online.public_key, bins=scheme, now=NOW)
    second = rotate(first, keyholders, online.public_key, now=NOW)
    assert targets_of(second.bins).delegations == targets_of(first.bins).delegations


POOL = [CryptoSigner.generate_ed25519() for _ in range(5)]
ONLINE = CryptoSigner.generate_ed25519()
SOME = st.sets(st.sampled_from(range(len(POOL))))


@settings(max_examples=150, deadline=None)
@given(
    old=SOME.filter(bool),
    new=SOME.filter(bool),
    present=SOME,
    old_threshold=st.integers(1, 4),
    new_threshold=st.integers(1, 4),
)
def test_fewer_than_a_threshold_of_either_root_never_suffice_and_a_threshold_always_does(
    old: set[int], new: set[int], present: set[int], old_threshold: int, new_threshold: int
) -> None:
    old_threshold, new_threshold = min(old_threshold, len(old)), min(new_threshold, len(new))
    first = genesis(
        [POOL[n] for n in old], old_threshold, ONLINE.public_key, bins=BinScheme.of(2), now=NOW
    )

    def ceremony() -> SignedRoles:
        return rotate(
            first,
            [POOL[n] for n in present],
            ONLINE.public_key,
            new_root_keys=[POOL[n].public_key for n in new],
            new_threshold=new_threshold,
            now=NOW,
        )

    enough = len(present & old) >= old_threshold and len(present & new) >= new_threshold
    if enough and present <= old | new:
        second = ceremony()
        accepted = tuf_client(first.root[0]).update_root(second.root[0])
        assert accepted.roles["root"].threshold == new_threshold
        assert set(accepted.roles["root"].keyids) == {POOL[n].public_key.keyid for n in new}
    else:
        with pytest.raises(CeremonyError):
            ceremony()


class WatchedSigner(Signer):
    """A keyholder who counts how often he was asked to sign, and signs as `behaviour` says."""

    def __init__(self, inner: CryptoSigner, behaviour: Callable[[bytes], Signature]) -> None:
        self.inner = inner
        self.behaviour = behaviour
        self.asked = 0

    @property
    def public_key(self) -> Key:
        return self.inner.public_key

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> Signer:
        raise NotImplementedError

    def sign(self, payload: bytes) -> Signature:
        self.asked += 1
        return self.behaviour(payload)


def test_nobody_is_asked_to_sign_what_will_not_be_enough(
    roles: SignedRoles, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    ann = WatchedSigner(keyholders[0], keyholders[0].sign)
    with pytest.raises(CeremonyError, match="expected signatures by 2 of the 3 keys of the old"):
        rotate(roles, [ann], online.public_key, now=NOW)
    assert ann.asked == 0


def test_one_keyholder_twice_is_one_keyholder(
    roles: SignedRoles, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    with pytest.raises(CeremonyError, match="each keyholder once"):
        rotate(roles, [keyholders[0], keyholders[0]], online.public_key, now=NOW)


def test_a_stranger_does_not_sign_along(
    roles: SignedRoles, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    stranger = CryptoSigner.generate_ed25519()
    with pytest.raises(CeremonyError, match=f"key {stranger.public_key.keyid} is neither"):
        rotate(roles, [*keyholders, stranger], online.public_key, now=NOW)


def test_somebody_elses_key_under_a_keyholders_key_id_is_a_stranger(
    roles: SignedRoles, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    impostor = CryptoSigner.generate_ed25519(keyid=keyholders[0].public_key.keyid)
    with pytest.raises(CeremonyError, match="is neither"):
        rotate(roles, [impostor, *keyholders[1:]], online.public_key, now=NOW)


def test_a_signer_that_breaks_or_lies_ends_the_ceremony(
    roles: SignedRoles, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    ann, bob, eve = keyholders

    def unplugged(payload: bytes) -> Signature:
        raise OSError("token removed")

    def lying(payload: bytes) -> Signature:
        return Signature(bob.public_key.keyid, eve.sign(payload).signature)

    for behaviour, expected in ((unplugged, "token removed"), (lying, "does not verify")):
        with pytest.raises(CeremonyError, match=expected):
            rotate(roles, [ann, WatchedSigner(bob, behaviour)], online.public_key, now=NOW)


@pytest.mark.parametrize("field", ["root", "targets", "bins"])
def test_nothing_is_built_on_roles_that_do_not_verify(
    field: str, roles: SignedRoles, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    def tampered(data: bytes) -> bytes:
        assert data.count(b'"version":1') == 1
        return data.replace(b'"version":1', b'"version":2')

    before = {"root": tampered(roles.root[0]), "targets": tampered(roles.targets)}
    broken = {
        "root": replace(roles, root=(before["root"],)),
        "targets": replace(roles, targets=before["targets"]),
        "bins": replace(roles, bins=tampered(roles.bins)),
    }[field]
    with pytest.raises(CeremonyError, match=f"'{field}' 2 does not verify"):
        rotate(broken, keyholders, online.public_key, now=NOW)


def test_nothing_is_built_on_roles_of_two_events(
    roles: SignedRoles, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    second = rotate(roles, keyholders, online.public_key, now=NOW)
    for mixed in (replace(roles, root=second.root), replace(second, bins=roles.bins)):
        with pytest.raises(CeremonyError, match="does not verify"):
            rotate(mixed, keyholders, online.public_key, now=NOW)


def test_a_chain_of_roots_with_a_gap_is_no_base(
    roles: SignedRoles, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    second = rotate(roles, keyholders, online.public_key, now=NOW)
    third = rotate(second, keyholders, online.public_key, now=NOW)
    whole = replace(third, root=(*roles.root, *second.root, *third.root))
    assert root_of(rotate(whole, keyholders, online.public_key, now=NOW).root[0]).version == 4
    for gap in ((*roles.root, *third.root), (*third.root, *second.root), ()):
        with pytest.raises(CeremonyError, match=r"expected (version|at least one)"):
            rotate(replace(third, root=gap), keyholders, online.public_key, now=NOW)


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"signatures":[],"signed":{}}'])
def test_what_is_no_metadata_is_no_base(
    data: bytes, roles: SignedRoles, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    with pytest.raises(CeremonyError, match="'targets': expected TUF metadata"):
        rotate(replace(roles, targets=data), keyholders, online.public_key, now=NOW)
    with pytest.raises(CeremonyError, match="expected a targets role, got 'root'"):
        rotate(replace(roles, targets=roles.root[0]), keyholders, online.public_key, now=NOW)


def test_a_replaced_online_key_does_not_come_back_under_another_key_id(
    roles: SignedRoles, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    old = online.public_key
    twin = SSlibKey("ef" * 32, old.keytype, old.scheme, old.keyval)
    with pytest.raises(CeremonyError, match=f"old online key {old.keyid} would stay in force"):
        rotate(roles, keyholders, twin, now=NOW)


def test_a_replaced_online_key_does_not_become_a_root_key(
    roles: SignedRoles, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    with pytest.raises(CeremonyError, match=r"old online key .* would stay in force"):
        rotate(
            roles,
            [*keyholders, online],
            CryptoSigner.generate_ed25519().public_key,
            new_root_keys=_keys([*keyholders, online]),
            now=NOW,
        )


def test_a_removed_root_key_does_not_become_the_online_key(
    roles: SignedRoles, keyholders: list[CryptoSigner]
) -> None:
    ann, bob, eve = keyholders
    with pytest.raises(CeremonyError, match=r"old root key .* would stay in force"):
        rotate(roles, keyholders, eve.public_key, new_root_keys=_keys([ann, bob]), now=NOW)


def test_a_ceremony_that_was_refused_leaves_the_next_one_untouched(
    roles: SignedRoles, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    before = replace(roles)
    with pytest.raises(CeremonyError):
        rotate(roles, keyholders[:1], online.public_key, now=NOW)
    assert roles == before
    second = rotate(roles, keyholders[:2], online.public_key, now=NOW)
    with pytest.raises(RepositoryError):  # tuf's own: the roots of two chains don't mix
        tuf_client(second.root[0]).update_root(second.root[0])
