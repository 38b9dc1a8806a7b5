"""The strict reader refuses what two readers could read in two ways, before it costs anything."""

from __future__ import annotations

import contextlib
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indextrust.canonical import canonical
from indextrust.errors import LengthError, MalformedError
from indextrust.trust.reader import MAX_DENSE_VALUES, MAX_DEPTH, MAX_VALUES, read, read_signed

TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def _read(data: bytes) -> object:
    return read(data, where="test", max_length=6_000_000)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"{} {}",
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'[{"x":{"b":1,"b":2}}]',
        b"1.0",
        b"[1e3]",
        b"[1E3]",
        b"-0",
        b"[-0]",
        b"[1,-0]",
        b'{"a":-0}',
        b"[ -0]",
        b"[\t-0]",
        b"[\n-0]",
        b"[\r-0]",
        b"[01]",
        b"[+1]",
        b"[0x10]",
        b"[NaN]",
        b"[Infinity]",
        b"[-Infinity]",
        b"[1000000000000000000]",
        b"[" + b"9" * 4001 + b"]",
        b"['a']",
        b"[1,]",
        b'{"a":1,}',
        b"// comment\n{}",
        b'\xef\xbb\xbf{"a":1}',
        b'["\xff"]',
        b'["\xed\xa0\x80"]',
        b'["\\ud800"]',
        b'{"\\udfff":1}',
        b'["a\nb"]',
        b'["\x00"]',
        '{"a":1}'.encode("utf-16"),
        b"[\xc2\xa01]",
        "[\u0661]".encode(),
    ],
)
def test_what_is_not_strict_json_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        _read(data)


@pytest.mark.parametrize("opener", [b"[", b'{"a":', b'[{"]}":'])
@pytest.mark.parametrize("levels", [1, 7, 5000])
def test_deep_nesting_is_refused_by_one_typed_error(opener: bytes, levels: int) -> None:
    per = 2 if opener == b'[{"]}":' else 1
    closer = {b"[": b"]", b'{"a":': b"}", b'[{"]}":': b"}]"}[opener]
    deepest = MAX_DEPTH // per
    fine = opener * (deepest - 1) + b"[" * per + b"]" * per + closer * (deepest - 1)
    assert _read(fine) is not None
    with pytest.raises(MalformedError, match="nested too deep"):
        _read(opener * levels + fine + closer * levels)


def test_brackets_in_strings_do_not_hide_depth_nor_add_to_it() -> None:
    assert _read(b'["' + b"[{" * 500 + b'"]') == ["[{" * 500]
    assert _read(b'["\\"' + b"[" * 500 + b'\\\\"]') == ['"' + "[" * 500 + "\\"]
    hidden = b'{"' + b"]" * 500 + b'":' + b"[" * 40 + b"]" * 40 + b"}"
    with pytest.raises(MalformedError, match="nested too deep"):
        _read(hidden)
    escaped = b'{"\\"' + b"]" * 500 + b'":' + b"[" * 40 + b"]" * 40 + b"}"
    with pytest.raises(MalformedError, match="nested too deep"):
        _read(escaped)


def test_more_bytes_than_the_limit_are_not_parsed() -> None:
    assert read(b"[1]", where="test", max_length=3) == [1]
    with pytest.raises(LengthError, match="at most 2 bytes"):
        read(b"[1]", where="test", max_length=2)


MOST = MAX_DENSE_VALUES
SNAPSHOT = b'{"signatures":[],"signed":{"_type":"snapshot","meta":{'
ENTRIES = ",".join(f'"{n:06}":{{"version":1}}' for n in range(MOST // 2 - 10)).encode()
KEYS = ",".join(f'"{n:011}":0' for n in range(MOST - 10)).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"[" + b"[]," * 1_600_000 + b"[]]",
        b"[" + b"[]," * (MOST // 2 - 10) + b"0]",
        b"[" + b'{"":0},' * (MOST // 2 - 10) + b"0]",
        b"[" + b'{"abcdef":0},' * (MOST // 2 - 10) + b"0]",
        b"[" + b"1234567890123456789," * 240_000 + b"0]",
        b'{"' + b'\\"' * 2_400_000 + b'":1}',
        b'["' + b"\\\\" * 2_400_000,
        b'["' + b"\\u0100" * 800_000 + b'"]',
        b'["' + b"\\ud800" * 800_000 + b'"]',
        b'["a' + b"\xf0\x9f\x98\x80" * 1_200_000 + b'"]',
        b'"' * 5_000_000,
        b'"::"' * 1_250_000,
        b"[" * 5_000_000,
        b'{"a":' * 1_000_000,
        b"9" * 5_000_000,
        b'{"a":1,' + b'"b":1,' * 140_000 + b'"a":1}',
        b"{" + KEYS + b"}",
        b"{" + KEYS + b',"00000000000":1}',
        b'{"signatures":[],"signed":{"a":[' + b'"b\\tbb",' * (MOST - 10) + b"0]}}",
        SNAPSHOT + ENTRIES + b"}}}",
        SNAPSHOT + ENTRIES + b',"0":{"version":1}}}}',
        SNAPSHOT + b'""' * 2_400_000 + b"}}",
        SNAPSHOT + b'"ab' * 1_600_000 + b"}}",
    ],
    ids=[
        "lists",
        "few lists",
        "dicts",
        "named dicts",
        "wide integers",
        "quotes",
        "backslashes",
        "escapes",
        "surrogates",
        "emoji",
        "empty strings",
        "colons",
        "brackets",
        "nested",
        "digits",
        "twins",
        "keys",
        "a late twin",
        "control characters",
        "versions",
        "unsorted versions",
        "no versions",
        "pieces",
    ],
)
def test_five_hostile_megabytes_cost_little_memory(data: bytes) -> None:
    tracemalloc.start()
    try:
        with contextlib.suppress(MalformedError):
            read_signed(data, where="test", max_length=6_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50_000_000


def test_only_a_long_file_may_hold_very_many_values() -> None:
    """A snapshot of 65,536 bins with their hashes is one; 5 MB of brackets is none."""
    most = MOST + 50_000
    spread = b"[" + (b"0," + b" " * 22) * (most - 1) + b"0]"
    assert len(read(spread + b" " * 24, where="test", max_length=10**7)) == most
    with pytest.raises(MalformedError, match=f"too many values; expected {MOST}"):
        _read(b"[" + b"0," * (most - 1) + b"0]")
    with pytest.raises(MalformedError, match=f"too many values; expected {MAX_VALUES}"):
        read(b"[" + (b"0," + b" " * 22) * MAX_VALUES + b"0]", where="test", max_length=10**7)


def test_a_key_that_stands_twice_is_named_unless_that_took_much_memory() -> None:
    with pytest.raises(MalformedError, match="duplicate key; got b"):
        _read(b'[{},{"a":1,"b":{"c":1},"b":2}]')
    filler = b'"' + b"x" * 1_000_000 + b'"'
    with pytest.raises(MalformedError, match="duplicate key; expected 2 keys; got 1 keys"):
        _read(b'{"a":' + filler + b',"a":1}')


def test_what_looks_like_a_number_in_a_string_is_none() -> None:
    tree = [" -0", ":-0", "1234567890123456789", "1.5", "NaN", -1, 0, 10**18 - 1, 1 - 10**18]
    assert _read(json.dumps(tree).encode()) == tree
    assert _read(b"-1") == -1


@given(TREES)
def test_what_is_written_is_read_back(tree: object) -> None:
    assert _read(json.dumps(tree).encode()) == tree
    assert _read(json.dumps(tree, ensure_ascii=False, indent=1).encode()) == tree


@given(st.binary() | st.text().map(str.encode))
def test_bytes_are_read_as_the_standard_library_reads_them_or_refused(data: bytes) -> None:
    try:
        tree = _read(data)
    except MalformedError:
        return
    assert json.loads(data) == tree


PLAIN = st.text(
    st.characters(min_codepoint=32, exclude_characters='"\\', exclude_categories=["Cs"])
)


@given(
    st.recursive(
        st.integers(-(10**17), 10**17) | PLAIN,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PLAIN, inner, max_size=4),
    )
)
def test_parse_then_serialise_is_identity_on_canonical_bytes(tree: object) -> None:
    data = canonical(tree)
    assert canonical(_read(data)) == data


def _spellings(tree: object) -> st.SearchStrategy[bytes]:
    return st.builds(
        lambda indent, ascii_only, sort: json.dumps(
            tree, indent=indent, ensure_ascii=ascii_only, sort_keys=sort, separators=(",", ":")
        ).encode(),
        st.sampled_from([None, 1]),
        st.booleans(),
        st.booleans(),
    )


@given(st.fixed_dictionaries({"signatures": TREES, "signed": TREES}, optional={"x": TREES}).flatmap(
    _spellings))  # fmt: skip
def test_a_signed_file_reads_the_same_by_the_short_way_and_the_long(data: bytes) -> None:
    tree, payload = read_signed(data, where="test", max_length=10**6)
    assert tree == _read(data)
    assert payload == canonical(tree["signed"])


@given(TREES, TREES)
def test_the_short_way_hides_no_duplicate(one: object, other: object) -> None:
    """The canonical bytes of ``signed`` stand in the file, and something else stands there too."""
    inner = canonical(one)
    for data in (
        b'{"signatures":[],"signed":' + canonical(other) + b',"signed":' + inner + b"}",
        b'{"signatures":[{"a":1,"a":2}],"signed":' + inner + b"}",
        b'{"signed":{"k":1,"k":' + inner + b"}}",
        b'{"k":' + inner + b',"signed":{"k":' + inner + b',"k":' + inner + b"}}",
        b'{"signed":' + inner + b"} 0",
        b'{"signed":' + inner + b',"n":1.5}',
        b'{"signed":[' + inner + b",1e5]}",
        b'{"signed":[' + inner + b",-0]}",
        b'{"signed":[' + inner + b",1000000000000000000]}",
    ):
        with pytest.raises(MalformedError):
            read_signed(data, where="test", max_length=10**6)


def test_a_file_without_signed_has_no_payload() -> None:
    assert read_signed(b'{"a":1}', where="test", max_length=100) == ({"a": 1}, b"")
    assert read_signed(b"[1]", where="test", max_length=100) == ([1], b"")
