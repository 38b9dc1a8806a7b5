"""The first ceremony: what it makes, and what it will not make."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from securesystemslib.signer import CryptoSigner, Key, SSlibKey

from indextrust.ceremony import BinScheme, SignedRoles, genesis
from indextrust.errors import CeremonyError, InputError
from tests.ceremony.parties import NOW, TufOperator, root_of, targets_of, tuf_client

FOUR_BINS = BinScheme.of(4)


def test_tufs_client_follows_a_new_index_from_its_root_down_to_a_bin(
    roles: SignedRoles, online: CryptoSigner
) -> None:
    operator = TufOperator(online)
    client = tuf_client(roles.root[0])
    client.update_timestamp(operator.timestamp())
    client.update_snapshot(operator.snapshot(roles, FOUR_BINS.names()))
    client.update_targets(roles.targets)
    client.update_delegated_targets(roles.bins, "bins", "targets")
    for name in FOUR_BINS.names():
        assert client.update_delegated_targets(operator.bin(), name, "bins").version == 1


def test_the_roles_say_what_pep_458_asks_for(
    roles: SignedRoles, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    root, targets, bins = root_of(roles.root[0]), targets_of(roles.targets), targets_of(roles.bins)
    people = sorted(signer.public_key.keyid for signer in keyholders)
    server = [online.public_key.keyid]

    assert (root.version, targets.version, bins.version) == (1, 1, 1)
    assert {signed.expires for signed in (root, targets, bins)} == {
        datetime.fromisoformat("2027-01-31T12:00:00Z")
    }
    assert root.consistent_snapshot is True
    assert (root.roles["root"].keyids, root.roles["root"].threshold) == (people, 2)
    for name in ("timestamp", "snapshot"):
        assert (root.roles[name].keyids, root.roles[name].threshold) == (server, 1)
    assert targets.targets == bins.targets == {}

    assert targets.delegations is not None
    assert targets.delegations.roles is not None
    (delegation,) = targets.delegations.roles.values()
    assert delegation.name == "bins"
    assert delegation.terminating
    assert delegation.paths == ["simple/*/*", "files/*/*"]
    for role in (root.roles["targets"], delegation):  # (2, 2)
        assert (len(set(role.keyids)), role.threshold) == (2, 2)

    assert bins.delegations is not None
    assert bins.delegations.roles is not None
    assert list(bins.delegations.keys) == server
    assert {name: role.keyids for name, role in bins.delegations.roles.items()} == dict.fromkeys(
        FOUR_BINS.names(), server
    )


def test_no_key_serves_two_purposes(
    roles: SignedRoles, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    root, targets = root_of(roles.root[0]), targets_of(roles.targets)
    assert targets.delegations is not None
    groups: list[list[str]] = [
        root.roles["root"].keyids,
        root.roles["targets"].keyids,
        list(targets.delegations.keys),
        [online.public_key.keyid],
    ]
    keyids = [keyid for group in groups for keyid in group]
    assert len(keyids) == len(set(keyids)) == len(keyholders) + 2 + 2 + 1


@pytest.mark.parametrize("count", [2, 32, 256, 512])
def test_the_index_has_the_bins_that_were_asked_for(
    count: int, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    scheme = BinScheme.of(count)
    roles = genesis(keyholders, 2, online.public_key, bins=scheme, now=NOW)
    delegations = targets_of(roles.bins).delegations
    assert delegations is not None
    for path in ("simple/six/index.json", "files/six/six-1.17.0-py2.py3-none-any.whl"):
        found = [name for name, _ in delegations.get_roles_for_target(path)]
        assert found == [scheme.bin_of(path)]


def test_sixteen_thousand_bins_make_a_small_bins_role(
    keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    roles = genesis(keyholders, 2, online.public_key, bins=BinScheme.of(16_384), now=NOW)
    assert len(roles.bins) < 1_000


def test_everybody_signs_the_first_root(roles: SignedRoles, keyholders: list[CryptoSigner]) -> None:
    signed_by = [signature["keyid"] for signature in json.loads(roles.root[0])["signatures"]]
    assert signed_by == sorted(signer.public_key.keyid for signer in keyholders)


@pytest.mark.parametrize("threshold", [0, -1, 4])
def test_a_threshold_that_nobody_or_anybody_could_meet_is_refused(
    threshold: int, keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    with pytest.raises(CeremonyError, match=rf"from 1 to .*\(3\), got {threshold}$"):
        genesis(keyholders, threshold, online.public_key, bins=FOUR_BINS, now=NOW)


def test_no_keyholder_at_all_is_refused(online: CryptoSigner) -> None:
    with pytest.raises(CeremonyError, match=r"number of root keys \(0\)"):
        genesis([], 1, online.public_key, bins=FOUR_BINS, now=NOW)


def test_one_key_does_not_count_as_two_keyholders(
    keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    with pytest.raises(CeremonyError, match="each key id once"):
        genesis([*keyholders, keyholders[0]], 2, online.public_key, bins=FOUR_BINS, now=NOW)


@pytest.mark.parametrize("spelling", [str, str.upper])
def test_one_key_under_two_key_ids_does_not_count_as_two_keyholders(
    spelling: type[str], keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    ann = keyholders[0]
    twin = SSlibKey(
        "ab" * 32, "ed25519", "ed25519", {"public": spelling(ann.public_key.keyval["public"])}
    )
    twins = [ann, CryptoSigner(ann._private_key, twin)]
    with pytest.raises(CeremonyError, match="each public key once"):
        genesis(twins, 2, online.public_key, bins=FOUR_BINS, now=NOW)


@pytest.mark.parametrize("keyid", ["its own", "another"])
def test_the_online_key_is_no_root_key_under_whatever_key_id(
    keyid: str, keyholders: list[CryptoSigner]
) -> None:
    ann = keyholders[0].public_key
    online: Key = ann
    if keyid == "another":
        online = SSlibKey("cd" * 32, ann.keytype, ann.scheme, ann.keyval)
    with pytest.raises(CeremonyError, match="it is the online key"):
        genesis(keyholders, 2, online, bins=FOUR_BINS, now=NOW)


def test_a_time_without_a_zone_is_refused(
    keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    with pytest.raises(InputError, match="time zone"):
        genesis(keyholders, 2, online.public_key, bins=FOUR_BINS, now=datetime(2026, 1, 31))  # noqa: DTZ001


def test_a_time_in_another_zone_is_the_same_time(
    keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    local = datetime.fromisoformat("2026-02-01T01:00:00+13:00")
    roles = genesis(keyholders, 2, online.public_key, bins=FOUR_BINS, now=local)
    assert json.loads(roles.root[0])["signed"]["expires"] == "2027-01-31T12:00:00Z"
