"""Metadata of another shape is refused, although its own role's keys signed it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Delegations, Root, Snapshot, SuccinctRoles, Targets, Timestamp

from indextrust.canonical import canonical
from indextrust.errors import HashMismatchError, LengthError, MalformedError, UnsupportedKeyError
from indextrust.trust import checks
from indextrust.trust.metadata import (
    Envelope,
    FileInfo,
    SuccinctDelegation,
    parse,
    parse_root,
    parse_snapshot,
    parse_targets,
    parse_timestamp,
)

KEY = CryptoSigner.generate_ed25519().public_key
ID = KEY.keyid
SHA256 = {"sha256": "a" * 64}
Change = Callable[[dict[str, Any]], object]


def _root() -> dict[str, Any]:
    root = Root()
    for role in ("root", "timestamp", "snapshot", "targets"):
        root.add_key(KEY, role)
    return dict(root.to_dict())


def _targets() -> dict[str, Any]:
    tree = dict(Targets().to_dict())
    tree["targets"] = {"a/b": {"length": 1, "hashes": SHA256}}
    role = {"name": "bins", "keyids": [ID], "threshold": 1, "terminating": True, "paths": ["a/*"]}
    tree["delegations"] = {"keys": {ID: KEY.to_dict()}, "roles": [role]}
    return tree


def _succinct() -> dict[str, Any]:
    tree = _targets()
    roles = SuccinctRoles([ID], 1, 4, "bin")
    tree["delegations"] = Delegations({ID: KEY}, None, roles).to_dict()
    return tree


def _snapshot() -> dict[str, Any]:
    tree = dict(Snapshot().to_dict())
    tree["meta"]["targets.json"] = {"version": 1, "length": 5, "hashes": SHA256}
    return tree


def _timestamp() -> dict[str, Any]:
    return dict(Timestamp().to_dict())


PARSERS: dict[str, tuple[Callable[[], dict[str, Any]], Callable[[Envelope], object]]] = {
    "root": (_root, parse_root),
    "targets": (_targets, parse_targets),
    "succinct": (_succinct, parse_targets),
    "snapshot": (_snapshot, parse_snapshot),
    "timestamp": (_timestamp, parse_timestamp),
}


def _parse(kind: str, tree: dict[str, Any]) -> Any:
    data = canonical({"signatures": [], "signed": tree})
    return PARSERS[kind][1](parse(data, where=kind, max_length=100_000))


def _role(tree: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = tree["delegations"]["roles"][0]
    return found


def _bits(tree: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = tree["delegations"]["succinct_roles"]
    return found


COMMON: dict[str, Change] = {
    "another type": lambda t: t.update(_type="mirrors"),
    "type in capitals": lambda t: t.update(_type=t["_type"].title()),
    "no type": lambda t: t.pop("_type"),
    "spec 2": lambda t: t.update(spec_version="2.0.0"),
    "spec 1": lambda t: t.update(spec_version="1"),
    "spec as a number": lambda t: t.update(spec_version=1),
    "no version": lambda t: t.pop("version"),
    "version 0": lambda t: t.update(version=0),
    "no expiry": lambda t: t.pop("expires"),
    "expiry as a number": lambda t: t.update(expires=2**31),
}
ROOT: dict[str, Change] = {
    "a role missing": lambda t: t["roles"].pop("snapshot"),
    "a role too many": lambda t: t["roles"].update(mirrors=t["roles"]["root"]),
    "roles as a list": lambda t: t.update(roles=[]),
    "threshold 0": lambda t: t["roles"]["root"].update(threshold=0),
    "threshold negative": lambda t: t["roles"]["root"].update(threshold=-1),
    "threshold true": lambda t: t["roles"]["root"].update(threshold=True),
    "one key id twice": lambda t: t["roles"]["root"].update(keyids=[ID, ID]),
    "key ids as a string": lambda t: t["roles"]["root"].update(keyids=ID),
    "key ids as numbers": lambda t: t["roles"]["root"].update(keyids=[1]),
    "keys as a list": lambda t: t.update(keys=[]),
    "a key as a string": lambda t: t["keys"].update({ID: "key"}),
    "consistent_snapshot as a number": lambda t: t.update(consistent_snapshot=1),
}
TIMESTAMP: dict[str, Change] = {
    "no snapshot": lambda t: t.update(meta={}),
    "meta as a list": lambda t: t.update(meta=[]),
    "snapshot as a number": lambda t: t["meta"].update({"snapshot.json": 1}),
    "snapshot version 0": lambda t: t["meta"]["snapshot.json"].update(version=0),
    "length negative": lambda t: t["meta"]["snapshot.json"].update(length=-1),
    "length true": lambda t: t["meta"]["snapshot.json"].update(length=True),
    "no hashes in hashes": lambda t: t["meta"]["snapshot.json"].update(hashes={}),
    "a hash as a number": lambda t: t["meta"]["snapshot.json"].update(hashes={"sha256": 1}),
    "a second hash as a number": lambda t: t["meta"]["snapshot.json"].update(
        hashes={"sha256": "00", "sha512": 1}
    ),
}
SNAPSHOT: dict[str, Change] = {
    "an entry as null": lambda t: t["meta"].update({"x.json": None}),
    "an entry as a list": lambda t: t["meta"].update({"x.json": [1]}),
    "an entry without version": lambda t: t["meta"].update({"x.json": {}}),
    "an entry with version 0": lambda t: t["meta"].update({"x.json": {"version": 0}}),
    "an entry with a negative length": lambda t: t["meta"]["targets.json"].update(length=-1),
    "an entry with a length as a string": lambda t: t["meta"]["targets.json"].update(length="5"),
    "an entry with no hash": lambda t: t["meta"]["targets.json"].update(hashes={}),
    "an entry with hashes as a list": lambda t: t["meta"]["targets.json"].update(hashes=[]),
    "an entry with a number for a hash": lambda t: t["meta"]["targets.json"].update(
        hashes={"sha256": 1}
    ),
    "an entry with version true": lambda t: t["meta"].update({"x.json": {"version": True}}),
}
TARGETS: dict[str, Change] = {
    "targets as a list": lambda t: t.update(targets=[]),
    "a target as null": lambda t: t["targets"].update({"a/b": None}),
    "a target without length": lambda t: t["targets"].update({"a/b": {"hashes": SHA256}}),
    "a target without hashes": lambda t: t["targets"].update({"a/b": {"length": 1}}),
    "a target with no hash": lambda t: t["targets"]["a/b"].update(hashes={}),
    "a target with a number for a hash": lambda t: t["targets"]["a/b"].update(hashes={"sha256": 1}),
    "a target that is a list": lambda t: t["targets"].update({"a/b": []}),
    "a target of no length": lambda t: t["targets"]["a/b"].update(length=-1),
    "a target of true length": lambda t: t["targets"]["a/b"].update(length=True),
    "a negative length": lambda t: t["targets"]["a/b"].update(length=-1),
    "delegations as a list": lambda t: t.update(delegations=[]),
    "neither roles nor succinct": lambda t: t["delegations"].pop("roles"),
    "a role twice": lambda t: t["delegations"]["roles"].append(_role(t)),
    "a role called targets": lambda t: _role(t).update(name="targets"),
    "a role without name": lambda t: _role(t).update(name=""),
    "terminating as a string": lambda t: _role(t).update(terminating="false"),
    "terminating missing": lambda t: _role(t).pop("terminating"),
    "paths and prefixes": lambda t: _role(t).update(path_hash_prefixes=["0"]),
    "neither paths nor prefixes": lambda t: _role(t).pop("paths"),
    "paths as a string": lambda t: _role(t).update(paths="a/*"),
    "paths as numbers": lambda t: _role(t).update(paths=[1]),
    "delegated threshold 0": lambda t: _role(t).update(threshold=0),
}
SUCCINCT: dict[str, Change] = {
    "both roles and succinct": lambda t: t["delegations"].update(roles=[]),
    "bit_length 0": lambda t: _bits(t).update(bit_length=0),
    "bit_length 33": lambda t: _bits(t).update(bit_length=33),
    "bit_length true": lambda t: _bits(t).update(bit_length=True),
    "prefix as a number": lambda t: _bits(t).update(name_prefix=1),
    "succinct as a list": lambda t: t["delegations"].update(succinct_roles=[1]),
}
CASES = [
    *((kind, name, change) for kind in PARSERS for name, change in COMMON.items()),
    *(("root", name, change) for name, change in ROOT.items()),
    *(("timestamp", name, change) for name, change in TIMESTAMP.items()),
    *(("snapshot", name, change) for name, change in (TIMESTAMP | SNAPSHOT).items()
      if "snapshot" not in name and "length" not in name and "hash" not in name),
    *(("targets", name, change) for name, change in TARGETS.items()),
    *(("succinct", name, change) for name, change in SUCCINCT.items()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "change"), [(k, c) for k, _, c in CASES], ids=[f"{k}: {n}" for k, n, _ in CASES]
)
def test_another_shape_is_refused(kind: str, change: Change) -> None:
    tree = PARSERS[kind][0]()
    assert _parse(kind, copy.deepcopy(tree))
    change(tree)
    with pytest.raises(MalformedError):
        _parse(kind, tree)


def test_what_python_tuf_writes_is_read() -> None:
    root, targets = _parse("root", _root()), _parse("targets", _targets())
    assert isinstance(_parse("succinct", _succinct()).delegations, SuccinctDelegation)
    assert root.consistent_snapshot is True
    assert [d.name for d in targets.delegations] == ["bins"]
    plain = _targets()
    del plain["delegations"]
    assert _parse("targets", plain).delegations == ()


def test_a_root_that_says_nothing_of_consistent_snapshots_has_none() -> None:
    tree = _root()
    del tree["consistent_snapshot"]
    assert _parse("root", tree).consistent_snapshot is False


def test_a_role_whose_name_makes_no_file_name_is_refused() -> None:
    tree = _targets()
    _role(tree)["name"] = "x" * 201
    with pytest.raises(MalformedError, match="role name"):
        _parse("targets", tree)


def test_a_key_of_a_kind_nobody_can_verify_is_not_called_unsigned() -> None:
    tree = _root()
    tree["keys"][ID]["scheme"] = "rot13"
    with pytest.raises(UnsupportedKeyError):
        _parse("root", tree)


@pytest.mark.parametrize(
    "data",
    [b"[]", b"{}", b'{"signed":{}}', b'{"signatures":[]}', b'{"signatures":{},"signed":{}}',
     b'{"signatures":[],"signed":[]}', b'{"signatures":[1],"signed":{}}',
     b'{"signatures":[{"keyid":"a"}],"signed":{}}', b'{"signatures":[{"sig":"a"}],"signed":{}}',
     b'{"signatures":[{"keyid":"a","sig":1}],"signed":{}}',
     b'{"signatures":[{"keyid":"a","sig":""},{"keyid":"a","sig":""}],"signed":{}}',
     b'{"payload":"e30=","payloadType":"application/vnd.tuf+json","signatures":[]}'],
)  # fmt: skip
def test_what_is_no_envelope_of_signed_metadata_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse(data, where="test", max_length=1000)


def test_a_recorded_length_holds_even_without_hashes() -> None:
    checks.vouched_for(b"12345", FileInfo(1, 5, {}), "test")
    checks.vouched_for(b"12345", FileInfo(1, None, {}), "test")
    with pytest.raises(LengthError):
        checks.vouched_for(b"123456", FileInfo(1, 5, {}), "test")


def test_metadata_vouched_for_by_md5_alone_is_refused() -> None:
    with pytest.raises(HashMismatchError, match="no usable hash"):
        checks.vouched_for(
            b"12345", FileInfo(1, 5, {"md5": "827ccb0eea8a706c4c34a16891f84e7b"}), "t"
        )
