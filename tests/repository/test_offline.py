"""Offline roles are verified before the repository takes them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Root, TargetFile, Targets

from indextrust.ceremony import BinScheme, genesis
from indextrust.errors import RepositoryError
from indextrust.names import BINS, ROOT, TARGETS
from indextrust.repository import Repository, SignedRoles
from indextrust.repository.offline import check_successor, scheme_of, verify
from tests.repository.place import NOW, Place


def resign(roles: SignedRoles, change: Callable[[Root, Targets, Targets], None]) -> SignedRoles:
    """The roles after `change`, signed by keys of the forger's own that they list."""
    root, targets, bins = (
        Metadata[Any].from_bytes(data) for data in (roles.root[0], roles.targets, roles.bins)
    )
    one, two, three = (CryptoSigner.generate_ed25519() for _ in range(3))
    root.signed.keys[one.public_key.keyid] = one.public_key
    root.signed.keys[two.public_key.keyid] = two.public_key
    root.signed.roles[ROOT].keyids, root.signed.roles[ROOT].threshold = [one.public_key.keyid], 1
    root.signed.roles[TARGETS].keyids = [two.public_key.keyid]
    root.signed.roles[TARGETS].threshold = 1
    targets.signed.delegations.keys[three.public_key.keyid] = three.public_key
    delegation = targets.signed.delegations.roles[BINS]
    delegation.keyids, delegation.threshold = [three.public_key.keyid], 1
    change(root.signed, targets.signed, bins.signed)
    for metadata, signer in ((root, one), (targets, two), (bins, three)):
        metadata.signatures.clear()
        metadata.sign(signer)
    return SignedRoles((root.to_bytes(),), targets.to_bytes(), bins.to_bytes())


def no_consistent_snapshot(root: Root, targets: Targets, bins: Targets) -> None:
    root.consistent_snapshot = False


def other_timestamp_key(root: Root, targets: Targets, bins: Targets) -> None:
    key = CryptoSigner.generate_ed25519().public_key
    root.keys[key.keyid] = key
    root.roles["timestamp"].keyids = [key.keyid]


def two_timestamp_signatures(root: Root, targets: Targets, bins: Targets) -> None:
    root.roles["timestamp"].threshold = 2


def a_target_of_its_own(root: Root, targets: Targets, bins: Targets) -> None:
    targets.targets["files/x/x"] = TargetFile.from_data("files/x/x", b"x")


def a_target_of_bins(root: Root, targets: Targets, bins: Targets) -> None:
    bins.targets["files/x/x"] = TargetFile.from_data("files/x/x", b"x")


def bins_not_terminating(root: Root, targets: Targets, bins: Targets) -> None:
    assert targets.delegations is not None
    assert targets.delegations.roles is not None
    targets.delegations.roles[BINS].terminating = False


def other_paths(root: Root, targets: Targets, bins: Targets) -> None:
    assert targets.delegations is not None
    assert targets.delegations.roles is not None
    targets.delegations.roles[BINS].paths = ["*/*/*"]


def no_bins(root: Root, targets: Targets, bins: Targets) -> None:
    bins.delegations = Delegations({}, {})


def a_renamed_bin(root: Root, targets: Targets, bins: Targets) -> None:
    assert bins.delegations is not None
    roles = bins.delegations.roles
    assert roles is not None
    old = roles.pop("bin-0")
    roles["box-0"] = DelegatedRole(
        "box-0", old.keyids, old.threshold, True, path_hash_prefixes=old.path_hash_prefixes
    )


def expired_root(root: Root, targets: Targets, bins: Targets) -> None:
    root.expires = NOW - timedelta(seconds=1)


def expired_bins(root: Root, targets: Targets, bins: Targets) -> None:
    bins.expires = NOW


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (no_consistent_snapshot, "expected consistent_snapshot to be true"),
        (other_timestamp_key, "'timestamp': expected one signature by the key of the bins"),
        (two_timestamp_signatures, "'timestamp'"),
        (a_target_of_its_own, "it lists 'files/x/x', and no such record is there"),
        (a_target_of_bins, "'bins' must list no target of its own"),
        (bins_not_terminating, "expected a terminating delegation"),
        (other_paths, "expected a terminating delegation"),
        (no_bins, "expected delegations to bins in the profile's form"),
        (a_renamed_bin, "expected delegations to bins in the profile's form"),
        (expired_root, "'root' version 1 expired"),
        (expired_bins, "'bins' version 1 expired"),
    ],
)
def test_roles_that_no_client_or_this_repository_could_use_are_refused(
    place: Place, change: Callable[[Root, Targets, Targets], None], reason: str
) -> None:
    with pytest.raises(RepositoryError, match=reason):
        verify(resign(place.roles, change), {}, NOW)
    verify(resign(place.roles, lambda *_: None), {}, NOW)  # the forgery itself is sound


def flipped(data: bytes) -> bytes:
    """One signature altered in one digit."""
    tree = json.loads(data)
    sig = tree["signatures"][0]["sig"]
    tree["signatures"][0]["sig"] = ("0" if sig[0] != "0" else "1") + sig[1:]
    return json.dumps(tree).encode()


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (lambda r: replace(r, root=()), "expected at least one root"),
        (lambda r: replace(r, root=(b"{}",)), "'root': not TUF metadata"),
        (lambda r: replace(r, root=(r.targets,)), "'root': expected that role, got a 'targets'"),
        (lambda r: replace(r, targets=r.bins), "'targets' version 1 does not verify by 'root'"),
        (lambda r: replace(r, targets=flipped(r.targets)), "'targets' version 1 does not verify"),
        (lambda r: replace(r, bins=flipped(r.bins)), "'bins' version 1 does not verify by"),
        (lambda r: replace(r, bins=r.targets), "'bins' version 1 does not verify by"),
    ],
)
def test_roles_that_do_not_verify_make_no_repository(
    place: Place, tmp_path: Path, broken: Callable[[SignedRoles], SignedRoles], reason: str
) -> None:
    with pytest.raises(RepositoryError, match=reason):
        Repository.create(
            tmp_path / "other", broken(place.roles), online=place.online, clock=place.clock
        )
    assert not (tmp_path / "other").exists()


def test_a_repository_starts_from_the_first_root(place: Place, tmp_path: Path) -> None:
    later = place.rotation(place.online)
    with pytest.raises(RepositoryError, match="'root': expected version 1, got 2"):
        verify(later, {}, NOW)
    both = replace(later, root=(*place.roles.root, *later.root))
    repository = Repository.create(tmp_path / "other", both, online=place.online, clock=place.clock)
    assert repository.status().root_version == 2


def test_the_next_root_must_be_signed_by_the_one_before(place: Place) -> None:
    stranger = genesis(
        [CryptoSigner.generate_ed25519()],
        1,
        place.online.public_key,
        bins=BinScheme.of(4),
        now=NOW,
    )
    forged = resign(stranger, lambda root, *_: setattr(root, "version", 2))
    with pytest.raises(RepositoryError, match="'root' version 2 does not verify by 'root' versio"):
        verify(forged, {1: place.roles.root[0]}, NOW)
    with pytest.raises(RepositoryError, match="'root' version 1 has other bytes than before"):
        verify(stranger, {1: place.roles.root[0]}, NOW)


@pytest.mark.parametrize("count", [2, 4, 8, 16, 32, 256, 512, 16384])
def test_the_number_of_bins_is_read_back_from_the_delegation(count: int) -> None:
    scheme = BinScheme.of(count)
    tree = {"keys": {}, **scheme.delegation(["ab"], 1)}
    assert scheme_of(json.loads(json.dumps(tree))) == (scheme, ["ab"], 1)


def test_a_delegation_that_differs_in_any_detail_is_not_ours() -> None:
    good: dict[str, Any] = BinScheme.of(4).delegation(["ab"], 1)
    worse: list[dict[str, Any]] = [{}, {"roles": []}, {"roles": {}}, {"succinct_roles": {}}]
    for field, value in (
        ("terminating", False),
        ("threshold", 2),
        ("keyids", ["cd"]),
        ("path_hash_prefixes", ["00"]),
        ("name", "bin-3"),
    ):
        tree = copy.deepcopy(good)
        tree["roles"][1][field] = value
        worse.append(tree)
    worse.append({**good, **BinScheme.of(512).delegation(["ab"], 1)})
    worse.append({"roles": good["roles"][:3]})
    for bits in (9.0, 2.5, True):  # JSON has them, and none is a number of bits
        tree = BinScheme.of(512).delegation(["ab"], 1)
        tree["succinct_roles"]["bit_length"] = bits
        worse.append(tree)
    for tree in worse:
        with pytest.raises(RepositoryError, match="in the profile's form"):
            scheme_of(tree)


def test_targets_never_get_older_nor_another_content_under_their_version(place: Place) -> None:
    first = verify(place.roles, {}, NOW)
    rotated = verify(place.rotation(place.online), first.roots, NOW)
    check_successor(first, rotated)
    check_successor(first, first)
    for name in (TARGETS, BINS):
        older = replace(rotated, roles={**rotated.roles, name: first.roles[name]})
        with pytest.raises(RepositoryError, match=f"'{name}': expected a version above 2, got 1"):
            check_successor(rotated, older)
        other = replace(first.roles[name], data=b"other")
        with pytest.raises(RepositoryError, match=f"'{name}': expected a version above 1, got 1"):
            check_successor(first, replace(first, roles={**first.roles, name: other}))


def test_the_number_of_bins_stays(place: Place) -> None:
    first = verify(place.roles, {}, NOW)
    more = replace(first, scheme=BinScheme.of(8))
    with pytest.raises(
        RepositoryError, match="expected 4 bins by path_hash_prefixes as before, got 8 by"
    ):
        check_successor(first, more)
