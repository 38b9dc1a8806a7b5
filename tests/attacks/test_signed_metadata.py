"""Who signs, or writes into what others signed: stolen keys, and bytes that two readers read in
two ways.

A thief of online keys can sign new things; that is the limit of the model. He can't take the
client back, show it two faces of one version, or break it by the form of what he signs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from securesystemslib.signer import SSlibKey
from tuf.api.metadata import MetaFile

from indextrust.errors import (
    AlarmError,
    EquivocationError,
    HashMismatchError,
    IndextrustError,
    LengthError,
    MalformedError,
    MissingRoleError,
    RollbackError,
)
from tests.attacks.story import (
    ROLES,
    Rewrite,
    newest,
    recover,
    refused,
    stolen_keys_sign,
    verified_before,
)
from tests.client.stage import WHEEL, Stage

FORMS = [(role, True) for role in ROLES] + [("snapshot", False)]
"""Each role; and the snapshot of a large index, which lists versions without hashes and is read in
a way of its own."""

each_form = pytest.mark.parametrize(
    ("role", "hashes"),
    FORMS,
    ids=[role if hashes else f"{role} of versions only" for role, hashes in FORMS],
)


def _edited(change: Callable[[Any], object]) -> Rewrite:
    """Change the tree that is signed, and keep it canonical."""

    def rewrite(payload: bytes) -> bytes:
        tree = json.loads(payload)
        change(tree)
        return json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()

    return rewrite


def _replaced(old: bytes, new: bytes) -> Rewrite:
    """Replace the first `old`, which must be there."""

    def rewrite(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new, 1)

    return rewrite


def _malformed(
    stage: Stage,
    role: str,
    rewrite: Rewrite = bytes,
    *,
    match: str,
    envelope: Rewrite = bytes,
    hashes: bool = True,
) -> None:
    """The thief serves a file of a form that no reader of ours takes, and then all is well."""
    name = stolen_keys_sign(stage, role, rewrite, envelope=envelope, hashes=hashes)
    with refused(
        stage,
        MalformedError,
        match=match,
        last=name,
        stored=verified_before(role),
        heal=lambda: recover(stage),
    ):
        stage.client().target(WHEEL)


# -- back to an older file -----------------------------------------------------------------------


@pytest.mark.parametrize("hashes", [True, False], ids=["hashes", "versions only"])
@pytest.mark.parametrize("role", ["bin-0", "bins", "targets"])
def test_attack_07_a_snapshot_that_lowers_a_version(stage: Stage, role: str, hashes: bool) -> None:
    """A thief of the online keys wants an older bin back, with a file that was withdrawn. He signs
    a new snapshot, which lists the bin as it was. The client compares it with the one it has."""
    stage.repository.delegate("bins", "bin-0", ["files/*/*"], terminating=True)
    stage.publish()
    stage.publish()
    stage.client().target(WHEEL)
    listed = stage.repository.snapshot.signed.meta[f"{role}.json"].version
    name = stolen_keys_sign(
        stage,
        "snapshot",
        _edited(lambda signed: signed["meta"][f"{role}.json"].update(version=listed - 1)),
        hashes=hashes,
    )
    with refused(
        stage,
        RollbackError,
        match=rf"snapshot: {role}\.json: older than before; expected >= {listed}; got {listed - 1}",
        last=name,
        stored=("timestamp",),
        heal=lambda: recover(stage),
    ):
        stage.client().refresh()


@pytest.mark.parametrize("hashes", [True, False], ids=["hashes", "versions only"])
@pytest.mark.parametrize("role", ["bin-0", "bins", "targets"])
def test_attack_07_a_snapshot_that_drops_a_role(stage: Stage, role: str, hashes: bool) -> None:
    """Not an older bin but none: a version that is missing is lower than any."""
    stage.repository.delegate("bins", "bin-0", ["files/*/*"], terminating=True)
    stage.publish()
    stage.client().target(WHEEL)
    name = stolen_keys_sign(
        stage, "snapshot", _edited(lambda signed: signed["meta"].pop(f"{role}.json")), hashes=hashes
    )
    with refused(
        stage,
        MissingRoleError,
        match=rf"snapshot: {role}\.json: listed before and no more",
        last=name,
        stored=("timestamp",),
        heal=lambda: recover(stage),
    ):
        stage.client().refresh()


def test_attack_07_a_timestamp_that_lowers_the_snapshot(stage: Stage) -> None:
    """The same one file earlier: a new timestamp that lists the snapshot of yesterday."""
    stage.publish()
    stage.client().target(WHEEL)
    name = stolen_keys_sign(
        stage,
        "timestamp",
        _edited(lambda signed: signed["meta"].update({"snapshot.json": {"version": 1}})),
    )
    with refused(
        stage,
        RollbackError,
        match=r"timestamp: snapshot\.json: older than before; expected >= 2; got 1",
        last=name,
        heal=lambda: recover(stage),
    ):
        stage.client().refresh()


# -- nesting -------------------------------------------------------------------------------------


def _nested(shape: str, levels: int) -> bytes:
    opening, closing = {
        "arrays": (b"[", b"]"),
        "objects": (b'{"":', b"}"),
        "both": (b'[{"":', b"}]"),
        "behind strings": (b'["]]]]",', b"]"),
    }[shape]
    levels = levels // 2 if shape == "both" else levels
    return opening * levels + b"0" + closing * levels


@pytest.mark.parametrize("shape", ["arrays", "objects", "both", "behind strings"])
@pytest.mark.parametrize("deep", [33, 100, 1000, 5000])
def test_attack_19_json_nested_too_deep(stage: Stage, deep: int, shape: str) -> None:
    """Deep nesting exhausts a parser that calls itself. It is counted on the bytes, before the
    parser sees them."""
    rewrite = _replaced(b"{", b'{"A":' + _nested(shape, deep - 1) + b",")
    _malformed(stage, "snapshot", rewrite, match="nested too deep")


@pytest.mark.parametrize("place", [b"{", b'[{"'], ids=["beside signed", "in a signature"])
def test_attack_19_where_nobody_signed_it(stage: Stage, place: bytes) -> None:
    """The same in what no signature covers."""
    deep = _replaced(place, place.rstrip(b'"') + b'"A":' + _nested("both", 5000) + b"," + place[2:])
    _malformed(stage, "snapshot", envelope=deep, match="nested too deep")


@each_form
def test_attack_19_in_any_role(stage: Stage, role: str, hashes: bool) -> None:
    """Whichever file it is."""
    deep = _replaced(b"{", b'{"A":' + _nested("arrays", 1000) + b",")
    _malformed(stage, role, deep, match="nested too deep", hashes=hashes)


@pytest.mark.parametrize("opening", [b"[", b'{"":', b'[{"":'])
def test_attack_19_nesting_without_end(stage: Stage, opening: bytes) -> None:
    """The network needs no key for it: brackets that are never closed instead of a timestamp."""
    stage.server.tamper("metadata/timestamp.json", opening * (16_384 // len(opening)))
    with refused(stage, MalformedError, match="nested too deep", last="timestamp.json"):
        stage.client().refresh()


# -- one file, two readings ----------------------------------------------------------------------

KEYS = {
    "root": [
        "signatures", "signed", "keyid", "sig", "_type", "consistent_snapshot", "expires", "keys",
        "keytype", "keyval", "public", "scheme", "roles", "root", "keyids", "threshold", "version",
    ],
    "timestamp": [
        "signatures", "signed", "keyid", "sig", "_type", "expires", "meta", "snapshot.json",
        "hashes", "sha256", "length", "version", "spec_version",
    ],
    "snapshot": ["signatures", "signed", "meta", "bins.json", "version", "expires"],
    "targets": ["delegations", "keys", "roles", "paths", "terminating", "name", "targets"],
    "bins": ["targets", WHEEL, "length", "hashes", "sha256"],
}  # fmt: skip
"""Every object that metadata has, by a key in it."""


def _as_it_is(key: str) -> str:
    return key


def _one_escape(key: str) -> str:
    return f"\\u{ord(key[0]):04x}{key[1:]}"


def _all_escapes(key: str) -> str:
    return "".join(f"\\u{ord(c):04X}" for c in key)


@each_form
@pytest.mark.parametrize("spelling", [_as_it_is, _one_escape, _all_escapes])
def test_attack_21_a_key_twice_in_one_object(
    stage: Stage, role: str, hashes: bool, spelling: Callable[[str], str]
) -> None:
    """The key stands there as it was signed, and before it once more, spelled so or otherwise.
    Whoever takes the last one sees what was signed, and whoever takes the first one does not."""
    keys = [key for key in KEYS[role] if hashes or key not in ("hashes", "sha256", "length")]
    if spelling is not _as_it_is:
        keys = keys[-2:]
    for key in keys:
        twin = _replaced(f'"{key}":'.encode(), f'"{spelling(key)}":0,"{key}":'.encode())
        _malformed(
            stage, role, envelope=twin, match=f"duplicate key; got {key[:20]}", hashes=hashes
        )


@pytest.mark.parametrize("first", [True, False], ids=["forged first", "forged last"])
@pytest.mark.parametrize("key", ["signed", "\\u0073igned", "SIGNED"])
def test_attack_21_two_signed_objects_in_a_timestamp(stage: Stage, key: str, first: bool) -> None:
    """The network puts its own ``signed`` beside the one that was signed. In another case it is
    another field, which nobody reads."""
    honest = stage.repository.files["timestamp.json"]
    head, _, signed = honest[:-1].partition(b'"signed":')
    forged = f'"{key}":'.encode() + signed.replace(b'"version":1', b'"version":9')
    true = b'"signed":' + signed
    both = forged + b"," + true if first else true + b"," + forged
    stage.server.tamper("metadata/timestamp.json", head + both + b"}")
    if key == "SIGNED":
        assert stage.client().refresh().timestamp_version == 1
        return
    with refused(stage, MalformedError, match="duplicate key; got signed", last="timestamp.json"):
        stage.client().refresh()


@each_form
def test_attack_21_a_key_id_that_signs_twice(stage: Stage, role: str, hashes: bool) -> None:
    """No JSON object has a key twice here, but the list of signatures has one twice."""
    twice = _edited(lambda tree: tree["signatures"].extend(tree["signatures"]))
    _malformed(stage, role, envelope=twice, match="a key id signs twice", hashes=hashes)


# -- signatures by the thousand ------------------------------------------------------------------


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The key ids of all signatures that are verified."""
    seen: list[str] = []
    original = SSlibKey.verify_signature

    def counting(self: SSlibKey, *args: Any) -> None:
        seen.append(self.keyid)
        original(self, *args)

    monkeypatch.setattr(SSlibKey, "verify_signature", counting)
    return seen


def _strangers(count: int) -> list[dict[str, str]]:
    return [{"keyid": f"{number:x}", "sig": ""} for number in range(count)]


@pytest.mark.parametrize("role", [role for role in ROLES if role != "timestamp"])
@pytest.mark.parametrize("count", [257, 15_000])
def test_attack_24_thousands_of_signatures(
    stage: Stage, verified: list[str], role: str, count: int
) -> None:
    """Each signature would cost a verification. There are too many to be honest, so that not one
    of them is verified, not even the good one."""
    many = _edited(lambda tree: tree["signatures"].extend(_strangers(count - 1)))
    name = stolen_keys_sign(stage, role, envelope=many)
    before = stage.stored()
    with refused(
        stage,
        MalformedError,
        match=f"too many signatures; expected 256; got {count}",
        last=name,
        stored=verified_before(role),
        heal=lambda: recover(stage),
    ):
        verified.clear()
        try:
            stage.client().target(WHEEL)
        finally:
            checked = list(verified)
    # the bootstrap root, and of each role before this one what was stored and what came
    assert len(checked) <= 1 + len(before) + len(verified_before(role))


@pytest.mark.parametrize("count", [300, 15_000])
def test_attack_24_thousands_of_signatures_on_a_timestamp(
    stage: Stage, verified: list[str], count: int
) -> None:
    """The network needs no key for it, but a timestamp has a length: it is refused unparsed, or
    its signatures are unverified."""
    stage.publish()
    tree = json.loads(stage.repository.files["timestamp.json"])
    tree["signatures"] += _strangers(count - 1)
    forged = json.dumps(tree, separators=(",", ":")).encode()
    stage.server.tamper("metadata/timestamp.json", forged)
    kind: type[IndextrustError] = LengthError if len(forged) > 16_384 else MalformedError
    match = "too many signatures|expected at most 16384 bytes"
    with refused(stage, kind, match=match, last="timestamp.json"):
        verified.clear()
        try:
            stage.client().refresh()
        finally:
            checked = list(verified)
    assert len(checked) <= 2, "the bootstrap root, and the stored timestamp"


def test_attack_24_signatures_by_strangers_are_not_verified(
    stage: Stage, verified: list[str]
) -> None:
    """As many as there may be: only keys that root lists for the role are asked."""
    many = _edited(lambda tree: tree["signatures"].extend(_strangers(255)))
    stolen_keys_sign(stage, "snapshot", envelope=many)
    verified.clear()
    assert stage.client().refresh().snapshot_version == 2
    listed = {
        signer.public_key.keyid for role in ROLES for signer in stage.repository.signers[role]
    }
    assert set(verified) <= listed | {"probe"}
    assert len(verified) <= 10


# -- numbers and dates that are none -------------------------------------------------------------

NUMBERS = {
    "true": "true",
    "false": "false",
    "null": "null",
    "2.0": "2.0",
    "2e0": "2e0",
    "1e2": "1e2",
    "2E+0": "2E+0",
    "a string": '"2"',
    "a list": "[2]",
    "an object": "{}",
    "10^4000": "1" + "0" * 4000,
    "10^18": "1" + "0" * 18,
    "-0": "-0",
    "0": "0",
    "-1": "-1",
    "02": "02",
    "+2": "+2",
    "0x2": "0x2",
    "2_0": "2_0",
    "NaN": "NaN",
    "Infinity": "Infinity",
    "an Arabic digit": "\u0662",
    "a wide digit": "\uff12",
    "nothing": "",
}
SOME = ["true", "2.0", "a string"]


def _last_replaced(old: bytes, new: bytes) -> Rewrite:
    """Replace the last `old`: the role's own version, as ``version`` sorts behind ``meta``."""

    def rewrite(data: bytes) -> bytes:
        before, found, after = data.rpartition(old)
        assert found
        return before + new + after

    return rewrite


def _number(number: str, field: bytes = b"version") -> bytes:
    return b'"' + field + b'":' + NUMBERS[number].encode()


@pytest.mark.parametrize("number", NUMBERS)
def test_attack_25_a_version_that_is_no_version(stage: Stage, number: str) -> None:
    """The thief signs a timestamp whose version compares like a number in some language, and isn't
    one. Taken for one, it would be newer than any, or break the client."""
    own = _last_replaced(b'"version":2', _number(number))
    _malformed(stage, "timestamp", own, match="timestamp: ")


@each_form
def test_attack_25_in_any_role(stage: Stage, role: str, hashes: bool) -> None:
    """Whichever role's own version it is."""
    for number in SOME:
        own = partial(_with_version, number=number)
        _malformed(stage, role, own, match=f"{role}.*: ", hashes=hashes)


def _with_version(payload: bytes, number: str) -> bytes:
    version = json.loads(payload)["version"]
    return _last_replaced(b'"version":%d' % version, _number(number))(payload)


@pytest.mark.parametrize("number", [*SOME, "10^4000", "10^18", "0", "-1", "02"])
@pytest.mark.parametrize(
    ("role", "hashes"),
    [("timestamp", True), ("snapshot", True), ("snapshot", False)],
    ids=["timestamp", "snapshot", "snapshot of versions only"],
)
def test_attack_25_a_listed_version_that_is_no_version(
    stage: Stage, role: str, hashes: bool, number: str
) -> None:
    """Nor may what is listed of other files be anything else."""
    listed = _replaced(b'"version":2', _number(number))
    _malformed(stage, role, listed, match=f"{role}: ", hashes=hashes)


@pytest.mark.parametrize("number", [*SOME, "10^4000", "-1"])
@pytest.mark.parametrize("role", ["timestamp", "snapshot", "bins"])
def test_attack_25_a_length_that_is_no_length(stage: Stage, role: str, number: str) -> None:
    """Lengths decide how much is read."""

    def rewrite(payload: bytes) -> bytes:
        head, found, tail = payload.partition(b'"length":')
        assert found
        return head + _number(number, b"length") + tail.lstrip(b"0123456789")

    _malformed(stage, role, rewrite, match=f"{role}: ")


@pytest.mark.parametrize("number", [*SOME, "0", "-1"])
@pytest.mark.parametrize("role", ["root", "targets"])
def test_attack_25_a_threshold_that_is_no_threshold(stage: Stage, role: str, number: str) -> None:
    """Thresholds decide how many must agree."""
    rewrite = _replaced(b'"threshold":1', _number(number, b"threshold"))
    _malformed(stage, role, rewrite, match=f"{role}.*: ")


@pytest.mark.parametrize(
    "expires",
    [
        "\u0662\u0660\u0662\u0666-06-01T00:00:00Z",
        "\uff12026-06-01T00:00:00Z",
        "2026-06-01T00:00:00+00:00",
        "2026-06-01T00:00:00.000Z",
        "2026-06-01T00:00:00",
        "2026-06-01T24:00:00Z",
        "2026-06-01T00:00:60Z",
        "2026-02-29T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "2026-6-1T0:0:0Z",
        " 2026-06-01T00:00:00Z",
        "2026-06-01T00:00:00Z\n",
        "2026-06-01T00:00:00z",
        "20260601T000000Z",
        "2026-W23-1T00:00:00Z",
        "",
    ],
)
def test_attack_25_a_date_that_is_no_date(stage: Stage, expires: str) -> None:
    """A date has one form; a reader that takes more of them reads one that others don't."""

    def rewrite(payload: bytes) -> bytes:
        honest = json.loads(payload)["expires"].encode()
        return payload.replace(honest, expires.encode())

    def escape(data: bytes) -> bytes:
        return data.replace(b"\n", b"\\n")  # signed raw, and written as JSON wants it

    _malformed(stage, "timestamp", rewrite, envelope=escape, match="timestamp: expires: not a date")


@pytest.mark.parametrize("role", ["timestamp", "snapshot"])
def test_attack_25_versions_that_a_double_can_not_tell_apart(stage: Stage, role: str) -> None:
    """2^53 + 1 is 2^53 for a reader that makes doubles of integers. For the client it is newer, so
    that going back by one is a rollback."""
    signed = getattr(stage.repository, role).signed
    signed.version = 2**53
    stage.publish()
    stage.client().target(WHEEL)
    signed.version = 2**53 - 1  # publishing adds one
    if role == "snapshot":
        stage.repository.publish_timestamp(stage.repository.publish_snapshot())
    else:
        stage.repository.publish_timestamp(stage.repository.files[newest(stage, "snapshot")])
    stage.write()

    def heal() -> None:
        signed.version = 2**53 + 5
        recover(stage)

    with refused(
        stage,
        RollbackError,
        match=f"older than before; expected >= {2**53 + 1}; got {2**53}",
        last="timestamp.json",
        heal=heal,
    ):
        stage.client().refresh()


# -- two contents under one version --------------------------------------------------------------


def test_attack_27_a_snapshot_version_with_another_hash(stage: Stage) -> None:
    """A thief of the online keys shows this client another snapshot 1 than before, so that the two
    never meet. No honest repository does this: it is an alarm, and what proves it is kept."""
    stage.repository.snapshot.signed.unrecognized_fields["other"] = "face"
    stage.repository.publish_timestamp(stage.repository.publish_again("snapshot"))
    stage.write()
    with refused(
        stage,
        EquivocationError,
        match=r"timestamp: snapshot\.json: version 1 is now listed with another hash",
        last="timestamp.json",
        evidence=[stage.repository.files["timestamp.json"]],
        heal=lambda: recover(stage),
    ) as alarm:
        stage.client().refresh()
    assert isinstance(alarm.value, AlarmError)


@pytest.mark.parametrize("role", ["bins", "targets"])
def test_attack_27_a_role_version_with_another_hash(stage: Stage, role: str) -> None:
    """The same one file later: a new snapshot lists another hash for a version that was listed."""

    def change(signed: Any) -> None:
        signed["meta"][f"{role}.json"] = {
            "hashes": {"sha256": "0" * 64},
            "length": 100,
            "version": 1,
        }

    name = stolen_keys_sign(stage, "snapshot", _edited(change))
    with refused(
        stage,
        EquivocationError,
        match=rf"snapshot: {role}\.json: version 1 is now listed with another hash",
        last=name,
        stored=("timestamp",),
        evidence=[stage.repository.files[name]],
        heal=lambda: recover(stage),
    ):
        stage.client().refresh()


def test_attack_27_a_hash_that_comes_later(stage: Stage) -> None:
    """The timestamp listed no hash when the client took the snapshot. Now it lists one, of another
    snapshot with the same version. The client compares it with the bytes that it has."""
    stage.repository.publish()
    stage.repository.timestamp.signed.snapshot_meta = MetaFile(2)
    stage.repository.publish_again("timestamp")
    stage.write()
    stage.client().target(WHEEL)
    stage.repository.snapshot.signed.unrecognized_fields["other"] = "face"
    stage.repository.publish_timestamp(stage.repository.publish_again("snapshot"))
    stage.write()
    with refused(
        stage,
        EquivocationError,
        match="snapshot: version 2 is now listed with another hash",
        last="timestamp.json",
        stored=("timestamp",),
        evidence=[stage.stored()["snapshot.json"]],
        heal=lambda: recover(stage),
    ):
        stage.client().refresh()


def _list_versions_only(stage: Stage) -> None:
    """As a large index does."""
    meta = stage.repository.snapshot.signed.meta
    for name in meta:
        meta[name] = MetaFile(meta[name].version)
    stage.repository.publish_timestamp(stage.repository.publish_again("snapshot"))


def test_attack_29_a_second_bin_under_a_snapshot_without_hashes(stage: Stage) -> None:
    """The snapshot vouches for versions only, so a thief of the bin's key may show each client a
    bin of its own. A client that has one of them takes no other under the same version, not even
    when its own has expired."""
    bins = stage.repository.targets["bins"].signed
    bins.expires = stage.now + timedelta(hours=1)
    stage.repository.publish()
    _list_versions_only(stage)
    stage.write()
    stage.client().target(WHEEL)
    bins.expires = stage.now + timedelta(days=9)
    second = stage.repository.publish_again("bins")
    stage.write()
    stage.now += timedelta(hours=2)
    with refused(
        stage,
        EquivocationError,
        match="bins: version 2 came with other bytes than before",
        last="2.bins.json",
        evidence=[second],
        heal=lambda: recover(stage),
    ):
        stage.client().target(WHEEL)


@pytest.mark.parametrize(
    ("field", "kind"),
    [("expires", HashMismatchError), ("more", LengthError)],
    ids=["same length", "longer"],
)
def test_attack_29_a_second_bin_under_a_snapshot_with_hashes(
    stage: Stage, field: str, kind: type[IndextrustError]
) -> None:
    """Where the snapshot vouches for the bytes, a second bin is refused by any client, also by
    one that has none."""
    stage.repository.publish()
    bins = stage.repository.targets["bins"].signed
    if field == "expires":
        bins.expires -= timedelta(days=1)
    else:
        bins.unrecognized_fields[field] = 1
    stage.repository.publish_again("bins")
    stage.write()
    with refused(
        stage,
        kind,
        match="bins",
        last="2.bins.json",
        stored=verified_before("bins"),
        heal=lambda: recover(stage),
    ):
        stage.client().target(WHEEL)
