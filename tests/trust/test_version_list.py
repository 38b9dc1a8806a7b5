"""The short way to read a large snapshot: the strict reader's verdict and value, or no verdict."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuf.api.metadata import Metadata, MetaFile, Snapshot
from tuf.api.serialization.json import JSONSerializer

from indextrust.canonical import canonical
from indextrust.errors import MalformedError, MissingRoleError, RollbackError
from indextrust.trust.checks import snapshot_not_rolled_back
from indextrust.trust.metadata import Snapshot as OurSnapshot
from indextrust.trust.metadata import parse, parse_snapshot
from indextrust.trust.reader import MAX_DENSE_VALUES, read_signed
from indextrust.trust.version_list import VersionList
from tests.trust.two_ways import MOST, around, edited, long, role, short

HEAD = b'{"signatures":[],"signed":{"_type":"snapshot","expires":"2030-01-01T00:00:00Z",'
TAIL = b',"spec_version":"1.0.31","version":1}}'


def _meta(data: bytes) -> Any:
    return read_signed(data, where="test", max_length=MOST)[0]["signed"]["meta"]


def test_a_snapshot_of_pythontuf_is_read_the_short_way() -> None:
    listed = {f"bin-{n:04x}.json": MetaFile(n + 1) for n in range(300)}
    data = Metadata(Snapshot(meta=listed)).to_bytes(JSONSerializer(compact=True))
    meta = _meta(data)
    assert isinstance(meta, VersionList)
    assert meta == {name: {"version": entry.version} for name, entry in listed.items()}
    assert meta["bin-00ff.json"] == {"version": 256}
    for absent in ("bin-00ff.jso", "bin-00ff.json0", "", "\U0001f600", "\ud800", "zzz"):
        assert absent not in meta
    assert short(data) == long(data)


@pytest.mark.parametrize(
    "meta",
    [
        b'"meta":{}',
        b'"meta":{"a":{"version":0}}',
        b'"meta":{"a":{"version":01}}',
        b'"meta":{"a":{"version":-1}}',
        b'"meta":{"a":{"version":true}}',
        b'"meta":{"a":{"version":1.0}}',
        b'"meta":{"a":{"version":"1"}}',
        b'"meta":{"a":{"version":1000000000000000000}}',
        b'"meta":{"a":{"version":}}',
        b'"meta":{"a":{"version":1}}5',
        b'"meta":{"a":{"version":1}}.5',
        b'"meta":{"a":{"version":1},}',
        b'"meta":{"a":{"version":1}{"b":{"version":1}}',
        b'"meta":{"a":{"version":1},,"b":{"version":1}}',
        b'"meta":{"a":{"version":1},"a":{"version":2}}',
        b'"meta":{"b":{"version":1},"a":{"version":1}}',
        b'"meta":{"a!":{"version":1},"a":{"version":1}}',
        b'"meta":{"a":{"version":1},"a!":{"version":1}}',
        b'"meta":{"a ":{"version":1},"a":{"version":1}}',
        b'"meta":{"a":{"version":1},"a":{"version":1}}',
        b'"meta":{"a":{"version":1},"aa":{"version":1}}',
        b'"meta":{"":{"version":1},"a":{"version":1}}',
        b'"meta":{"a":{"version":1},"a-b":{"version":1},"a":{"version":1}}',
        b'"meta":{"a":{"version":1},"b":{"Version":1}}',
        b'"meta":{"a":{"version":1},"b":["version":1}}',
        b'"meta":{"a":{"length":1,"version":1}}',
        b'"meta":{"a":{"version":1,"version":1}}',
        b'"meta":{"a":{"version":1 }}',
        b'"meta":{"a\\":{\\"version\\":1},\\"b":{"version":1}}',
        b'"meta":{"\\u0061":{"version":1}}',
        b'"meta":{"\xc3\xa9":{"version":1}}',
        b'"meta":{"\xff":{"version":1}}',
        b'"meta":{"a\x01":{"version":1}}',
        b'"meta":{"a":{"version":1}},"meta":{"a":{"version":1}}',
        b'"meta":0,"meta":{"a":{"version":1}}',
        b'"meta":{"a":{"version":1}},"meta":0',
        # the list stands under another ``meta`` than that of ``signed``
        b'"f":{"meta":{"a":{"version":1}}},"meta":0',
        b'"f":{"meta":{"a":{"version":1}}},"meta":1',
        b'"f":{"meta":{"a":{"version":1}}},"meta":-5',
        b'"f":{"meta":{"a":{"version":1}}},"meta":false',
        b'"f":{"meta":{"a":{"version":1}}},"meta":{"b":{"version":1}}',
        b'"f":{"meta":{"a":{"version":1}}}',
        b'"f\\"meta":{"a":{"version":1}},"meta":0',
        b'"f":"\\"meta\\":0","meta":{"a":{"version":1}}',
        b'"f":{"meta":0},"meta":{"a":{"version":1}}',
    ],
)  # fmt: skip
def test_what_is_not_a_plain_list_gets_the_strict_readers_verdict(meta: bytes) -> None:
    data = HEAD + meta + TAIL
    assert short(data) == long(data)


@pytest.mark.parametrize("data", around(HEAD + b'"meta":{"a":{"version":1}}' + TAIL))
def test_what_stands_around_the_list_gets_the_strict_readers_verdict(data: bytes) -> None:
    assert short(data) == long(data)


def test_signatures_are_no_reason_to_go_the_long_way() -> None:
    data = HEAD + b'"meta":{"a":{"version":1}}' + TAIL
    signature = b'{"keyid":"k, [","sig":"ab"}'
    for signatures in (signature, signature + b"," + signature):
        signed = data.replace(b'"signatures":[]', b'"signatures":[' + signatures + b"]")
        assert isinstance(_meta(signed), VersionList)
        assert short(signed) == long(signed)


@pytest.mark.parametrize(
    "data",
    [
        b'{"signatures":[],"signed":[{"_type":"snapshot","meta":{"a":{"version":1}}}]}',
        # canonical where the list stands, and not elsewhere
        b'{"signatures":[],"signed":{"_type":"snapshot", "meta":{"a":{"version":1}}}}',
        b'{"signatures":[],"signed":{"_type":"snapshot","meta":{"a":{"version":1}}, "x":1}}',
        # the signed ``meta`` is a number, and a list stands outside what is signed
        b'{"signatures":[],"signed":{"_type":"snapshot","meta":1},"x":{"meta":{"a":{"version":9}}}}',
        b'{"meta":{"a":{"version":1}},"signatures":[],"signed":{"_type":"snapshot"}}',
        b'{"meta":{"a":{"version":1}},"signatures":[],"signed":{"_type":"snapshot","meta":0}}',
        b'{"meta":{"a":{"version":1}},"signatures":[]}',
        # ``signed`` says 0, and what would be its canonical form stands elsewhere with a list
        b'{"signatures":[],"signed":{"_type":"snapshot","meta": 0},'
        b'"x":{"_type":"snapshot","meta":{"a":{"version":1}}}}',
        b'{"meta":{"a":{"version":1}}',
        b'[{"meta":{"a":{"version":1}}}]',
        b'"meta":{"a":{"version":1}}',
        b'"meta":{"a":{"version":1}',
    ],
)
def test_a_list_outside_of_signed_is_nothing_special(data: bytes) -> None:
    assert short(data) == long(data)


def test_only_a_snapshot_is_read_the_short_way() -> None:
    listed = b'"meta":{"snapshot.json":{"version":1}}'
    assert isinstance(_meta(HEAD + listed + TAIL), VersionList)
    timestamp = HEAD.replace(b'"snapshot"', b'"timestamp"') + listed + TAIL
    assert isinstance(_meta(timestamp), dict)


def test_the_list_counts_as_values_like_any_other() -> None:
    """ATTACK: parser exhaustion, by the way that doesn't parse."""
    entries = ",".join(f'"{n:06}":{{"version":1}}' for n in range(MAX_DENSE_VALUES // 2)).encode()
    data = HEAD + b'"meta":{' + entries + b"}" + TAIL
    with pytest.raises(MalformedError, match="too many values"):
        read_signed(data, where="test", max_length=MOST)
    for mark in (b"[", b"{", b","):
        marks = b'"meta":{"' + mark * MAX_DENSE_VALUES + b'":{"version":1}}'
        with pytest.raises(MalformedError, match="too many values"):
            read_signed(HEAD + marks + TAIL, where="test", max_length=MOST)
        before = HEAD.replace(b"2030", mark * MAX_DENSE_VALUES) + b'"meta":{"a":{"version":1}}'
        with pytest.raises(MalformedError, match="too many values"):
            read_signed(before + TAIL, where="test", max_length=MOST)


def test_a_list_of_too_many_takes_no_memory() -> None:
    """ATTACK: parser exhaustion, by a list of the right shape."""
    two = b'"a":{"version":1},"b":{"version":1},'
    data = HEAD + b'"meta":{' + two * 250_000 + b'"c":{"version":1}}' + TAIL
    tracemalloc.start()
    try:
        with pytest.raises(MalformedError, match="too many values"):
            read_signed(data, where="test", max_length=MOST)
        assert tracemalloc.get_traced_memory()[1] < len(data)
    finally:
        tracemalloc.stop()


TOKENS = [
    *(bytes([byte]) for byte in b'",{}[]:01- \\\n\0\xff'), b".5", b"\\u0061", b"true", b"9" * 18,
    b'"meta":', b'"meta":0', b'"meta":{"', b'"version":', b'"a":{"version":1},', b'},"',
    b'":{"version":', b'"signed":', b'"signed":0', b'"_type":"snapshot",',
]  # fmt: skip
NAMES = st.sampled_from(
    ["", "a", "a!", "a b", "a-b", "a.json", "aa", "b", "meta", "é", 'q"', "x,y", "{", "}}"]
)
LISTS = st.dictionaries(
    NAMES, st.fixed_dictionaries({"version": st.integers(0, 3) | st.just(10**18 - 1)}), max_size=5
)


@st.composite
def _files(draw: st.DrawFn) -> bytes:
    """A snapshot file in canonical form, with up to three edits anywhere."""
    return edited(draw, role(draw, "snapshot", "meta", LISTS), TOKENS)


@settings(max_examples=400)
@given(_files())
def test_the_short_way_gives_what_the_long_way_gives(data: bytes) -> None:
    """Verdict, value and signed bytes are those of the strict reader."""
    assert short(data) == long(data)


def _snapshot(meta: dict[str, dict[str, int]], *, listed: bool) -> OurSnapshot:
    fields = {"_type": "snapshot", "expires": "2030-01-01T00:00:00Z", "meta": meta}
    tree = {"signatures": [], "signed": {**fields, "spec_version": "1.0", "version": 1}}
    data = canonical(tree) if listed else json.dumps(tree, indent=1).encode()
    snapshot = parse_snapshot(parse(data, where="test", max_length=MOST))
    assert isinstance(snapshot.meta, VersionList) == (listed and bool(meta))
    return snapshot


METAS = st.dictionaries(
    st.sampled_from("abcd"), st.fixed_dictionaries({"version": st.integers(1, 12)})
)


@given(METAS, METAS, st.booleans(), st.booleans())
def test_attack_7_a_rollback_is_seen_whichever_way_the_two_were_read(
    before: dict[str, dict[str, int]], after: dict[str, dict[str, int]], one: bool, other: bool
) -> None:
    """The thief of the online keys lowers a bin's version, or lists it no more."""
    trusted, new = _snapshot(before, listed=one), _snapshot(after, listed=other)
    assert set(trusted.differing(new)) == {n for n, e in before.items() if after.get(n) != e}
    missing = any(name not in after for name in before)
    lower = any(n in after and after[n]["version"] < e["version"] for n, e in before.items())
    if missing or lower:
        with pytest.raises((MissingRoleError, RollbackError)):
            snapshot_not_rolled_back(trusted, new)
    else:
        snapshot_not_rolled_back(trusted, new)
