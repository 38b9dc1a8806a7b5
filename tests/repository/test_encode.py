"""Roles put together from encoded entries are, byte for byte, the canonical form of their trees."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner

from indextrust.errors import RepositoryError
from indextrust.names import BinScheme
from indextrust.repository.encode import (
    LONGEST_UNRECORDED,
    SnapshotList,
    bin_payload,
    edited_payload,
    entries_of,
    find_target,
    lists_hashes,
    renewed_payload,
)
from indextrust.repository.plan import (
    RoleFile,
    TargetFile,
    bin_role,
    describe,
    snapshot_role,
)
from indextrust.repository.signing import sign_payload, sign_role

TIME, LATER = "2026-01-31T12:00:00Z", "2026-02-01T12:00:00Z"
SHA = st.binary(min_size=32, max_size=32).map(bytes.hex)
SHA512 = st.binary(min_size=64, max_size=64).map(bytes.hex)
PLAIN = st.text(
    st.characters(exclude_characters='"\\', exclude_categories=["Cc", "Cs"]), min_size=1
)
TARGET = st.builds(TargetFile, st.integers(0, 2**53), SHA, st.none() | SHA512)
TARGETS = st.dictionaries(PLAIN, TARGET, max_size=8)
ROLES = st.dictionaries(
    st.from_regex(r"bins?(-[0-9a-f]{1,4})?|targets", fullmatch=True),
    st.builds(RoleFile, st.integers(1, 2**53), st.integers(1, LONGEST_UNRECORDED), SHA),
    max_size=8,
)


@given(TARGETS, st.integers(1, 2**53))
def test_a_bin_is_encoded_as_its_tree_is(targets: dict[str, TargetFile], version: int) -> None:
    tree = bin_role(version, TIME, targets)
    assert bin_payload(version, TIME, targets).decode() == encode_canonical(tree)


@given(ROLES, ROLES, st.booleans())
def test_a_snapshot_is_encoded_as_its_tree_is_also_after_a_change(
    roles: dict[str, RoleFile], others: dict[str, RoleFile], hashes: bool
) -> None:
    changes = {name: role for name, role in others.items() if name in roles}
    before = SnapshotList(roles, hashes=hashes)
    after = before.changed(changes)
    for listed, expected in ((before, roles), (after, {**roles, **changes})):
        tree = snapshot_role(7, TIME, expected)
        if not hashes:
            for entry in tree["meta"].values():
                del entry["length"], entry["hashes"]
        assert listed.payload(7, TIME).decode() == encode_canonical(tree)


@given(ROLES, st.data(), st.booleans())
def test_the_digest_of_what_is_listed_is_that_of_the_entries_in_the_order_asked_for(
    roles: dict[str, RoleFile], data: st.DataObject, hashes: bool
) -> None:
    assume(roles)
    listed = SnapshotList(roles, hashes=hashes)
    order = sorted(roles, key=lambda name: f"{name}.json")
    start = data.draw(st.integers(0, len(order) - 1))
    beside = order[start : data.draw(st.integers(start + 1, len(order)))]
    others = data.draw(st.lists(st.sampled_from(order), min_size=1, unique=True))
    meta = json.loads(listed.payload(7, TIME))["meta"]
    for names in (beside, others):
        entries = ({f"{name}.json": meta[f"{name}.json"]} for name in names)
        text = ",".join(str(encode_canonical(entry))[1:-1] for entry in entries)
        assert listed.digest(names) == describe(text.encode()).sha256


@given(TARGETS, st.integers(1, 2**53), st.integers(1, 2**53))
def test_a_renewed_bin_is_encoded_as_if_from_its_rows(
    targets: dict[str, TargetFile], old: int, new: int
) -> None:
    data = b'{"signatures":[],"signed":%b}' % bin_payload(old, TIME, targets)
    assert renewed_payload(data, old, new, LATER) == bin_payload(new, LATER, targets)


@given(TARGETS, TARGETS, st.sets(PLAIN, max_size=3), st.randoms())
@example(
    {"sha512": TargetFile(0, "0" * 64), "0": TargetFile(0, "0" * 64, "0" * 128)},
    {},
    set(),
    Random(0),
)
def test_an_edited_bin_is_encoded_as_if_from_its_rows(
    targets: dict[str, TargetFile],
    put: dict[str, TargetFile],
    others: set[str],
    random: Random,
) -> None:
    drop = others | {path for path in targets if random.random() < 0.3}
    data = b'{"signatures":[],"signed":%b}' % bin_payload(3, TIME, targets)
    entries = entries_of(data, 3)
    assert entries is not None
    after = {path: target for path, target in {**targets, **put}.items() if path not in drop}
    assert edited_payload(entries, 4, LATER, put, drop) == bin_payload(4, LATER, after)
    for path in {*targets, *others}:
        assert find_target(entries, path) == targets.get(path)


@pytest.mark.parametrize(
    "odd",
    [
        b"x", b'"a":1', b'"a":{"hashes":{"sha256":"00"},"length":1}', b"}", b',"x":1', b"a" * 80,
        b'"a":{"hashes":{"sha256":"%b"},"length":01}' % (b"0" * 64),
        b'"":{"hashes":{"sha256":"%b"},"length":1}' % (b"0" * 64),
        b'"a":{"hashes":{"sha256":"%b","sha512":"00"},"length":1}' % (b"0" * 64),
    ],
)  # fmt: skip
def test_entries_of_another_form_are_not_edited_as_they_stand(odd: bytes) -> None:
    entries = b'"a":{"hashes":{"sha256":"%b"},"length":1}' % (b"0" * 64)
    assert edited_payload(entries, 2, LATER, {}, ()) is not None
    for other in (odd, entries + b"," + odd, odd + b"," + entries, entries + b",", b"," + entries):
        assert edited_payload(other, 2, LATER, {}, ()) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b'{"signed":{"_type":"targets","expires":"2026-01-31T12:00:00Z"}}',
        json.dumps({"signatures": [], "signed": bin_role(1, TIME, {})}).encode(),
        b'{"signatures":[],"signed":%b}' % bin_payload(2, TIME, {}),
        b'{"signatures":[],"signed":%b}' % bin_payload(11, TIME, {}),
    ],
)
def test_a_file_of_another_form_or_version_is_not_renewed_by_its_bytes(data: bytes) -> None:
    assert renewed_payload(data, 1, 2, LATER) is None


@pytest.mark.parametrize("odd", ['a"b', "a\\b", "a\nb", "a\x00b"])
def test_what_is_no_name_of_ours_is_never_encoded(odd: str) -> None:
    for targets in ({odd: TargetFile(1, "0" * 64)}, {"x": TargetFile(1, odd)}):
        with pytest.raises(RepositoryError, match="the state is damaged"):
            bin_payload(1, TIME, targets)
    for listed in ({odd: RoleFile(1, 1, "0" * 64)}, {"bins": RoleFile(1, 1, odd)}):
        with pytest.raises(RepositoryError, match="the state is damaged"):
            SnapshotList(listed, hashes=True).payload(1, TIME)


@pytest.mark.parametrize("odd", ["1", 1.5, None])
def test_what_is_no_length_is_never_encoded(odd: object) -> None:
    with pytest.raises(RepositoryError, match="the state is damaged"):
        bin_payload(1, TIME, {"x": TargetFile(odd, "0" * 64)})  # type: ignore[arg-type]


def test_what_is_signed_encoded_is_what_is_signed_as_a_tree() -> None:
    signer = CryptoSigner.generate_ed25519()
    targets = {"files/x/x": TargetFile(5, "b" * 64), "files/x/é": TargetFile(6, "c" * 64)}
    signed = sign_payload(bin_payload(3, TIME, targets), signer)
    assert signed == sign_role(bin_role(3, TIME, targets), [signer])


def test_a_small_index_lists_hashes_and_a_large_one_versions_and_what_outgrows_clients() -> None:
    assert lists_hashes(BinScheme.of(256))
    assert not lists_hashes(BinScheme.of(512))
    roles = {
        "bin-000": RoleFile(1, LONGEST_UNRECORDED, "a" * 64),
        "bin-001": RoleFile(2, LONGEST_UNRECORDED + 1, "a" * 64),
    }
    signed = json.loads(SnapshotList(roles, hashes=False).payload(1, TIME))
    assert signed["meta"] == {
        "bin-000.json": {"version": 1},
        "bin-001.json": {"version": 2, "length": LONGEST_UNRECORDED + 1},
    }
