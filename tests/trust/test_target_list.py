"""The short way to read a bin: the strict reader's verdict and value, or no verdict."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuf.api.metadata import Metadata, TargetFile, Targets
from tuf.api.serialization.json import JSONSerializer

from indextrust.errors import MalformedError
from indextrust.trust.metadata import parse, parse_targets
from indextrust.trust.reader import MAX_DENSE_VALUES, read_signed
from indextrust.trust.target_list import TargetList
from tests.trust.two_ways import MOST, around, edited, long, role, short

HEAD = b'{"signatures":[],"signed":{"_type":"targets","expires":"2030-01-01T00:00:00Z",'
MIDDLE = b'"spec_version":"1.0.31",'
TAIL = b',"version":1}}'
DIGEST = hashlib.sha256(b"").hexdigest()
HASHES = b'{"hashes":{"sha256":"' + DIGEST.encode() + b'"},"length":5}'


def _file(targets: bytes) -> bytes:
    return HEAD + MIDDLE + targets + TAIL


def _targets(data: bytes) -> Any:
    return read_signed(data, where="test", max_length=MOST)[0]["signed"]["targets"]


def test_a_bin_of_pythontuf_is_read_the_short_way() -> None:
    listed = {
        f"files/p/p-{n:03}.tar.gz": TargetFile(
            n, {"sha256": hashlib.sha256(b"%d" % n).hexdigest()}, ""
        )
        for n in range(300)
    }
    data = Metadata(Targets(targets=listed)).to_bytes(JSONSerializer(compact=True))
    targets = _targets(data)
    assert isinstance(targets, TargetList)
    assert targets == {path: entry.to_dict() for path, entry in listed.items()}
    assert targets["files/p/p-007.tar.gz"]["length"] == 7
    for absent in (
        "files/p/p-007.tar.g",
        "files/p/p-007.tar.gz0",
        "",
        "\U0001f600",
        "\ud800",
        "zzz",
    ):
        assert absent not in targets
    assert short(data) == long(data)
    parsed = parse_targets(parse(data, where="test", max_length=MOST))
    assert isinstance(parsed.targets, TargetList)


ENTRY = b'"a":' + HASHES


@pytest.mark.parametrize(
    "targets",
    [
        b'"targets":{}',
        b'"targets":{' + ENTRY + b"}5",
        b'"targets":{' + ENTRY + b"}.5",
        b'"targets":{' + ENTRY + b",}",
        b'"targets":{' + ENTRY + b"," + ENTRY + b"}",
        b'"targets":{"b":' + HASHES + b"," + ENTRY + b"}",
        b'"targets":{' + ENTRY + b',"a-b":' + HASHES + b"," + ENTRY + b"}",
        *(
            b'"targets":{"a":' + HASHES.replace(old, new) + b"}"
            for old, new in [
                (b":5", b":05"), (b":5", b":-5"), (b":5", b":true"), (b":5", b":5.0"),
                (b":5", b':"5"'), (b":5", b":1000000000000000000"), (b":5", b":"), (b":5", b":5 "),
                (b":5", b":999999999999999999"), (b":5", b":0"), (b"length", b"lengths"),
                (b"hashes", b"Hashes"), (b"sha256", b"sha512"), (b"sha256", b"md5"),
                (DIGEST.encode(), DIGEST[1:].encode()), (DIGEST.encode(), b""),
                (DIGEST.encode(), DIGEST.upper().encode()),
                (DIGEST.encode(), DIGEST[:63].encode() + b"g"), (b'{"sha256"', b'["sha256"'),
                (b'"},', b'","sha512":"ab"},'), (b"5}", b'5,"custom":{"x":1}}'),
                (b'{"hashes"', b'["hashes"'), (b'"sha256":"', b'"sha256","'),
                (b'"},"length"', b'"],"length"'), (b'"},"length"', b'"}:"length"'),
                (DIGEST.encode(), b"\\u0061"), (DIGEST.encode(), b"\\ud800"),
                (DIGEST.encode(), b"\xff"), (DIGEST.encode(), b"\x01"),
                (DIGEST.encode(), b"[" * 99),
                *((DIGEST.encode(), odd + DIGEST.encode()[len(odd):]) for odd in (
                    b"\x01", b"\n", b"\\u0061", b"\\n", b"\xff", b"\xc3\xa9", b"{", b"A", b'"',
                    b'"},"',
                )),
                (b"5}", b'5,"length":5}'), (b'{"hashes"', b'{"custom":{"x":1},"hashes"'),
            ]
        ),
        b'"targets":{' + ENTRY + b"," + HASHES + b"}",
        b'"targets":{' + ENTRY + b'{"b":' + HASHES + b"}",
        b'"targets":{"a\\":{\\"hashes\\":1},\\"b":' + HASHES + b"}",
        b'"targets":{"\\u0061":' + HASHES + b"}",
        b'"targets":{"\xc3\xa9":' + HASHES + b"}",
        b'"targets":{"\xff":' + HASHES + b"}",
        b'"targets":{"a\x01":' + HASHES + b"}",
        b'"targets":{"a,b":' + HASHES + b"}",
        b'"targets":{' + ENTRY + b'},"targets":{' + ENTRY + b"}",
        b'"targets":0,"targets":{' + ENTRY + b"}",
        b'"targets":{' + ENTRY + b'},"targets":0',
        # the list stands under another ``targets`` than that of ``signed``
        b'"f":{"targets":{' + ENTRY + b'}},"targets":0',
        b'"f":{"targets":{' + ENTRY + b'}},"targets":1',
        b'"f":{"targets":{' + ENTRY + b'}},"targets":false',
        b'"f":{"targets":{' + ENTRY + b'}},"targets":{"b":' + HASHES + b"}",
        b'"f":{"targets":{' + ENTRY + b"}}",
        b'"f\\"targets":{' + ENTRY + b'},"targets":0',
        b'"f":"\\"targets\\":0","targets":{' + ENTRY + b"}",
        b'"f":{"targets":0},"targets":{' + ENTRY + b"}",
    ],
)  # fmt: skip
def test_what_is_not_a_plain_list_gets_the_strict_readers_verdict(targets: bytes) -> None:
    data = _file(targets)
    assert short(data) == long(data)


@pytest.mark.parametrize("data", around(_file(b'"targets":{' + ENTRY + b"}")))
def test_what_stands_around_the_list_gets_the_strict_readers_verdict(data: bytes) -> None:
    assert short(data) == long(data)


def test_signatures_are_no_reason_to_go_the_long_way() -> None:
    data = _file(b'"targets":{' + ENTRY + b"}")
    signature = b'{"keyid":"k, [","sig":"ab"}'
    for signatures in (signature, signature + b"," + signature):
        signed = data.replace(b'"signatures":[]', b'"signatures":[' + signatures + b"]")
        assert isinstance(_targets(signed), TargetList)
        assert short(signed) == long(signed)


@pytest.mark.parametrize(
    "data",
    [
        b'{"signatures":[],"signed":[{"_type":"targets","targets":{' + ENTRY + b"}}]}",
        # canonical where the list stands, and not elsewhere
        b'{"signatures":[],"signed":{"_type":"targets", "targets":{' + ENTRY + b"}}}",
        b'{"signatures":[],"signed":{"_type":"targets","targets":{' + ENTRY + b'}, "x":1}}',
        # the signed ``targets`` is a number, and a list stands outside what is signed
        b'{"signatures":[],"signed":{"_type":"targets","targets":1},'
        b'"x":{"targets":{' + ENTRY + b"}}}",
        b'{"signatures":[],"signed":{"_type":"targets"},"targets":{' + ENTRY + b"}}",
        b'{"signatures":[],"signed":{"_type":"targets","targets": 0},'
        b'"x":{"_type":"targets","targets":{' + ENTRY + b"}}}",
        b'{"targets":{' + ENTRY + b"}",
        b'[{"targets":{' + ENTRY + b"}}]",
        b'"targets":{' + ENTRY + b"}",
    ],
)  # fmt: skip
def test_a_list_outside_of_signed_is_nothing_special(data: bytes) -> None:
    assert short(data) == long(data)


def test_only_a_targets_role_is_read_the_short_way() -> None:
    data = _file(b'"targets":{' + ENTRY + b"}")
    assert isinstance(_targets(data), TargetList)
    assert isinstance(_targets(data.replace(b'"_type":"targets"', b'"_type":"mirrors"')), dict)


def test_a_path_may_hold_what_sorts_before_a_quote() -> None:
    """Files of an epoch: ``1!2.0``."""
    listed = b",".join(b'"%b":%b' % (path, HASHES) for path in (b"a", b"a !", b"a!1", b"a-1"))
    data = _file(b'"targets":{' + listed + b"}")
    assert isinstance(_targets(data), TargetList)
    assert list(_targets(data)) == ["a", "a !", "a!1", "a-1"]
    assert short(data) == long(data)


def test_the_list_counts_as_values_like_any_other() -> None:
    """ATTACK: parser exhaustion, by the way that doesn't parse."""
    few = b",".join(b'"%06d":%b' % (n, HASHES) for n in range(MAX_DENSE_VALUES // 4 + 1))
    data = _file(b'"targets":{' + few + b"}")
    read_signed(data, where="test", max_length=MOST)  # so long that each value has twenty bytes
    for mark in (b"[", b"{", b","):
        marks = b'"targets":{"' + mark * (MAX_DENSE_VALUES + 1) + b'":' + HASHES + b"}"
        with pytest.raises(MalformedError, match="too many values"):
            read_signed(_file(marks), where="test", max_length=MOST)
    quotes = b'"targets":{"' + b'"' * (3 * MAX_DENSE_VALUES) + b"}}"
    assert short(_file(quotes)) == "refused"


TOKENS = [
    *(bytes([byte]) for byte in b'",{}[]:01- \\\n\0\xff'), b".5", b"\\u0061", b"true", b"9" * 18,
    b'"targets":', b'"targets":0', b'"targets":{"', b'"length":', b'"hashes":{',
    b'"a":' + HASHES + b",", b'},"', b'":{"hashes":{"sha256":"', b'"signed":', b'"signed":0',
    b'"_type":"targets",', b"a" * 64,
]  # fmt: skip
PATHS = st.sampled_from(
    [
        "",
        "a",
        "a!",
        "a b",
        "a-b",
        "a/b",
        "aa",
        "b",
        "targets",
        "é",
        'q"',
        "x,y",
        "{",
        "}}",
        "hashes",
    ]
)
ENTRIES = st.fixed_dictionaries(
    {
        "hashes": st.sampled_from([{"sha256": DIGEST}, {"sha256": "0" * 64}, {"sha256": "0" * 63}])
        | st.just({"sha256": DIGEST, "sha512": "0" * 128}),
        "length": st.integers(0, 3) | st.just(10**18 - 1),
    }
)
LISTS = st.dictionaries(PATHS, ENTRIES, max_size=5)


@st.composite
def _files(draw: st.DrawFn) -> bytes:
    """A targets file in canonical form, with up to three edits anywhere."""
    return edited(draw, role(draw, "targets", "targets", LISTS), TOKENS)


@settings(max_examples=400)
@given(_files())
def test_the_short_way_gives_what_the_long_way_gives(data: bytes) -> None:
    """Verdict, value and signed bytes are those of the strict reader."""
    assert short(data) == long(data)
