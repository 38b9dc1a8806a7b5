"""Which keys are gone decides what helps; and what looks like a cure and is none, is refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Targets

from indextrust.ceremony import BinScheme, SignedRoles, genesis, rotate
from indextrust.ceremony.check import OfflineRoles, read_roles
from indextrust.ceremony.recovery import Cure, check_cured, make_plan
from indextrust.errors import CeremonyError
from tests.ceremony.event_room import NOW, genesis_of, person, server, signed
from tests.ceremony.parties import TufOperator, root_of, signed_by, targets_of, tuf_client

NEW = CryptoSigner.generate_ed25519()


@pytest.fixture(scope="module", params=[False, True], ids=["classic", "succinct"])
def keys(request: pytest.FixtureRequest) -> dict[str, Any]:
    """An index of three keyholders, its recovery, and the keys."""
    holders = [CryptoSigner.generate_ed25519() for _ in range(3)]
    online = CryptoSigner.generate_ed25519()
    scheme = BinScheme.of(4, succinct=request.param)
    roles = genesis(holders, 2, online.public_key, bins=scheme, now=NOW)
    after = rotate(roles, holders[:2], NEW.public_key, now=NOW)
    return {"holders": holders, "online": online, "roles": roles, "after": after}


def trees(roles: SignedRoles) -> dict[str, Any]:
    """The signed parts, to be edited as somebody does who has other software."""
    files = {"root": roles.root[-1], "targets": roles.targets, "bins": roles.bins}
    return {name: json.loads(data)["signed"] for name, data in files.items()}


def read(tree: dict[str, Any]) -> OfflineRoles:
    tree = deepcopy(tree)
    below = (Targets.from_dict(tree[name]) for name in ("targets", "bins"))
    return OfflineRoles(Root.from_dict(tree["root"]), *below)


# -- what helps -------------------------------------------------------------------------------


def test_each_theft_has_its_cure() -> None:
    people, online = [person("Ann", serial="YK-1"), person("Bob"), person("Eve")], server()
    current = read_roles(signed(genesis_of(people, 2, online), people).roles)
    one_time = current.root.roles["targets"].keyids[0]
    for words, cure in (
        (["timestamp"], Cure.ONLINE),
        (["bin-3"], Cure.ONLINE),
        (["snapshot", "targets"], Cure.ONLINE),
        ([online.keyid], Cure.ONLINE),
        (["Ann"], Cure.KEYHOLDERS),
        (["Ann", "snapshot"], Cure.ONLINE),
        (["Ann", people[0].keyid[:8]], Cure.KEYHOLDERS),
        (["Ann", "Bob"], Cure.OUT_OF_BAND),
        (["root"], Cure.OUT_OF_BAND),
        (["root", "timestamp"], Cure.OUT_OF_BAND),
        ([one_time], Cure.ONE_TIME),
        (["bins"], Cure.ONE_TIME),
    ):
        assert make_plan(current, words).cure is cure, words
    for words, reason in (
        ([], "name at least one"),
        (["Zoe"], "'Zoe' is no key, keyholder or role in force"),
        ([people[0].keyid[:7]], "is no key"),
        ([""], "is no key"),
    ):
        with pytest.raises(CeremonyError, match=reason):
            make_plan(current, words)


def test_the_plan_says_who_must_come_and_with_what() -> None:
    people, online = [person("Ann"), person("Bob"), person("Eve")], server()
    current = read_roles(signed(genesis_of(people, 2, online), people).roles)
    plan = make_plan(current, ["timestamp", "Eve"])
    text = "\n".join(plan.lines())
    for words in (
        *("Eve (key", "trusted for root", "trusted for timestamp, snapshot, bin-*"),
        *("2 keyholders of the root in force, of Ann (key", "new keyholders for Eve"),
        *("the checkpoint, and its digest from another place", "root 2, targets and bins"),
    ):
        assert words in text, words
    assert [step.name for step in plan.steps] == [
        *("freeze", "close", "audit", "decide", "propose"),
        *("sign", "install", "verify", "thaw"),
    ]
    tight = read_roles(signed(genesis_of(people[:2], 2, online), people[:2]).roles)
    text = "\n".join(make_plan(tight, ["Ann"]).lines())
    assert "and 1 of Ann" in text
    assert "1 new keyholders at least, or a lower threshold" in text
    text = "\n".join(make_plan(current, ["root"]).lines())
    assert "no event helps" in text
    assert "indextrust trust reset --fingerprint" in text


# -- what is none -----------------------------------------------------------------------------


def test_a_key_that_is_added_beside_the_stolen_one_leaves_the_thief_in(
    keys: dict[str, Any],
) -> None:
    """The attack, with python-tuf on both sides: the naive cure is a root that both keys sign."""
    roles, online = keys["roles"], keys["online"]
    naive = root_of(roles.root[0])
    naive.version = 2
    for role in ("timestamp", "snapshot"):
        naive.add_key(NEW.public_key, role)
    data = signed_by(naive, keys["holders"])
    client = tuf_client(roles.root[0])
    client.update_root(data)
    client.update_timestamp(TufOperator(online, version=2**31).timestamp())  # the thief's
    half = dataclasses.replace(roles, root=(*roles.root, data))
    plan = make_plan(read_roles(roles), ["timestamp"])
    with pytest.raises(CeremonyError, match=r"would stay: timestamp lists it .* leaves the thief"):
        check_cured(read_roles(roles), read_roles(half), plan)
    cured = tuf_client(roles.root[0])
    cured.update_root(keys["after"].root[0])
    with pytest.raises(Exception, match="timestamp was signed by 0/1 keys"):
        cured.update_timestamp(TufOperator(online, version=2**31).timestamp())


def only_timestamp(old: dict[str, Any], new: dict[str, Any]) -> None:
    keyid = old["root"]["roles"]["snapshot"]["keyids"][0]
    new["root"]["roles"]["snapshot"] = old["root"]["roles"]["snapshot"]
    new["root"]["keys"][keyid] = old["root"]["keys"][keyid]


def unused_in_the_table(old: dict[str, Any], new: dict[str, Any]) -> None:
    keyid = old["root"]["roles"]["snapshot"]["keyids"][0]
    new["root"]["keys"][keyid] = old["root"]["keys"][keyid]


def under_another_id(old: dict[str, Any], new: dict[str, Any]) -> None:
    keyid = old["root"]["roles"]["snapshot"]["keyids"][0]
    key = deepcopy(old["root"]["keys"][keyid])
    key["keyval"]["public"] = key["keyval"]["public"].upper()
    new["root"]["keys"]["f" * 64] = key
    new["root"]["roles"]["targets"]["keyids"].append("f" * 64)


def in_a_bin(old: dict[str, Any], new: dict[str, Any]) -> None:
    keyid = old["root"]["roles"]["snapshot"]["keyids"][0]
    delegations = new["bins"]["delegations"]
    delegations["keys"][keyid] = old["root"]["keys"][keyid]
    if "succinct_roles" in delegations:
        delegations["succinct_roles"]["keyids"].append(keyid)
    else:
        delegations["roles"][-1]["keyids"].append(keyid)


def another_delegation(old: dict[str, Any], new: dict[str, Any]) -> None:
    keyid = old["root"]["roles"]["snapshot"]["keyids"][0]
    delegations = new["targets"]["delegations"]
    delegations["keys"][keyid] = old["root"]["keys"][keyid]
    more = {**delegations["roles"][0], "name": "more", "keyids": [keyid], "threshold": 1}
    delegations["roles"].append(more)


def same_targets(old: dict[str, Any], new: dict[str, Any]) -> None:
    new["root"]["roles"]["targets"] = old["root"]["roles"]["targets"]
    for keyid in old["root"]["roles"]["targets"]["keyids"]:
        new["root"]["keys"][keyid] = old["root"]["keys"][keyid]


def same_bins(old: dict[str, Any], new: dict[str, Any]) -> None:
    new["targets"]["delegations"] = old["targets"]["delegations"]


def unchanged(old: dict[str, Any], new: dict[str, Any]) -> None:
    new.update(deepcopy(old))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (only_timestamp, "would stay: snapshot lists it"),
        (unused_in_the_table, "would stay: the key table of root lists it"),
        (under_another_id, "would stay: targets lists it as ffff"),
        (in_a_bin, r"would stay: bin-\* lists it"),
        (another_delegation, "would stay: more lists it"),
        (same_targets, "targets would keep 2 of its keys"),
        (same_bins, "bins would keep 2 of its keys"),
        (unchanged, "would stay: timestamp lists it"),
    ],
)
def test_a_cure_that_leaves_a_path_is_refused_with_its_name(
    keys: dict[str, Any], change: Callable[[Any, Any], None], reason: str
) -> None:
    old, new = trees(keys["roles"]), trees(keys["after"])
    plan = make_plan(read(old), ["timestamp"])
    check_cured(read(old), read(new), plan)
    change(old, new)
    with pytest.raises(CeremonyError, match=reason):
        check_cured(read(old), read(new), plan)


def test_a_threshold_of_root_keys_is_cured_by_no_event(keys: dict[str, Any]) -> None:
    old, new = read_roles(keys["roles"]), read(trees(keys["after"]))
    plan = make_plan(old, ["root"])
    with pytest.raises(CeremonyError, match="no event helps"):
        check_cured(old, new, plan)


def test_a_stolen_root_key_must_go(keys: dict[str, Any]) -> None:
    roles, holders = keys["roles"], keys["holders"]
    old = read_roles(roles)
    plan = make_plan(old, [holders[2].public_key.keyid])
    stays = rotate(roles, holders[:2], keys["online"].public_key, now=NOW)
    with pytest.raises(CeremonyError, match="would stay: root lists it"):
        check_cured(old, read(trees(stays)), plan)
    goes = rotate(
        roles,
        holders[:2],
        keys["online"].public_key,
        new_root_keys=[holder.public_key for holder in holders[:2]],
        now=NOW,
    )
    check_cured(old, read(trees(goes)), plan)
    # the thief, with the stolen key and one honest keyholder who is fooled by an old event
    late = rotate(goes_after(roles, goes), holders[:2], NEW.public_key, now=NOW)
    forged: Metadata[Any] = Metadata(root_of(late.root[0]))
    for signer in (holders[1], holders[2]):
        forged.sign(signer, append=True)
    client = tuf_client(roles.root[0])
    client.update_root(goes.root[0])
    with pytest.raises(Exception, match="root was signed by 1/2 keys"):
        client.update_root(forged.to_bytes())
    assert targets_of(goes.targets).version == 2


def goes_after(roles: SignedRoles, goes: SignedRoles) -> SignedRoles:
    return dataclasses.replace(goes, root=(*roles.root, *goes.root))
