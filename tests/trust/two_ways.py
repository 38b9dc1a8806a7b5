"""Two ways to read metadata: the reader, which may take the short one, and the strict one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from indextrust.canonical import canonical
from indextrust.errors import MalformedError
from indextrust.trust.reader import read, read_signed

MOST = 10**7

_TEXTS = st.sampled_from(
    ["", "ab", "2030-01-01T00:00:00Z", "a, b", "{[", "é", 'q"', "\\", "\x7f", "\n"]
)
_SIGNATURES = st.lists(st.fixed_dictionaries({"keyid": _TEXTS, "sig": _TEXTS}), max_size=2)


def short(data: bytes) -> str:
    """What `read_signed` makes of `data`, in a form that tells ``1`` from ``true``."""
    try:
        tree, payload = read_signed(data, where="test", max_length=MOST)
    except MalformedError:
        return "refused"
    return json.dumps([_plain(tree), payload.decode()])


def long(data: bytes) -> str:
    """The same from the strict reader and the encoder alone."""
    try:
        tree = read(data, where="test", max_length=MOST)
    except MalformedError:
        return "refused"
    signed = isinstance(tree, dict) and "signed" in tree
    return json.dumps([tree, canonical(tree["signed"]).decode() if signed else ""])


def _plain(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {name: _plain(value) for name, value in tree.items()}
    return tree


def around(data: bytes) -> list[bytes]:
    """`data`, a file without signatures whose version is 1, with changes before and after the
    list: to what is no longer canonical, no longer JSON, or of other fields."""
    signature = b'{"keyid":"k","sig":"ab"}'
    begin, end = b'{"signatures":[]', b',"version":1}}'
    signed = [
        b"", signature, signature + b"," + signature, signature + b",", b"," + signature,
        signature.replace(b"ab", b"\\u0061"), signature.replace(b"ab", b'\\"'),
        signature.replace(b"ab", b"\xff"), signature.replace(b"ab", b"\xc3\xa9"),
        signature.replace(b"ab", b"\n"), signature.replace(b"ab", b"\x7f"),
        signature.replace(b'"ab"', b"1"), signature.replace(b"keyid", b"sig"),
        signature.replace(b'"k"', b'"k","keyid":"k"'), signature + b" ", b"[]", b"1",
    ]  # fmt: skip
    ends = [
        b',"version":01}}', b',"version":-1}}', b',"version":0}}', b',"version":-0}}',
        b',"version":%d}}' % 10**18, b',"version":%d}}' % (10**18 - 1), b',"version":1.0}}',
        b',"version":1e1}}', b',"version":true}}', b',"version":"1"}}', b',"version":}}',
        b',"version":1}', b',"version":1}}}', b',"version":1}} ', b',"version":1}},', b"}}",
        b',"version":1},"x":1}', b',"version":1,"x":1}}', b',"version":1,"version":1}}',
        b',"Version":1}}', b', "version":1}}', b',"version": 1}}', b',"version":1}}\xff',
        b',"version":1}}},"version":1}}',
    ]  # fmt: skip
    edges = [(b'{"signed', b' {"signed'), (b'":{"_type', b'": {"_type'), (b"{", b"[")]
    edges += [(b'"_type"', b'"_Type"'), (b'"expires":"', b'"expires":1,"x":"'), (b"}", b"]")]
    edges += [(b'Z"', b'\\u0061"'), (b'Z"', b'\\\\"'), (b'Z"', b'\\u0001"'), (b'Z"', b'\x01"')]
    edges += [(b'"spec_version":"', b'"spec_version":"\xc3\xa9'), (b'"expires":', b'"expire":')]
    return [
        *(data.replace(begin, b'{"signatures":[' + each + b"]") for each in signed),
        *(data[: -len(end)] + each for each in ends),
        *(data.replace(old, new, 1) for old, new in edges),
        data.replace(b'{"signatures"', b'{"signed":{},"signatures"'),
        data.replace(b'"signatures"', b'"Signatures"'),
        *(before + data for before in (b" ", b"1", b"{", b"\xef\xbb\xbf", data)),
    ]


def role(draw: st.DrawFn, kind: str, field: str, lists: st.SearchStrategy[Any]) -> bytes:
    """A file of this kind in canonical form, mostly with the fields that it has to have."""
    listed: Any = draw(lists | st.integers(-1, 2))
    signed = {"_type": kind, field: listed, "version": draw(st.integers(-1, 10) | st.just(10**18))}
    for name in ("expires", "spec_version"):
        if draw(st.integers(0, 9)):
            signed[name] = draw(_TEXTS)
    if not draw(st.integers(0, 3)):
        signed[draw(st.sampled_from(["a", "z"]))] = {
            field: draw(lists | st.sampled_from([0, False, field]))
        }
    tree = {"signatures": draw(_SIGNATURES), "signed": signed}
    if not draw(st.integers(0, 3)):
        tree["x"] = {field: draw(lists | st.just(0))}
    return canonical(tree)


def edited(draw: st.DrawFn, data: bytes, tokens: Sequence[bytes]) -> bytes:
    """`data` with up to three edits anywhere."""
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        end = at + draw(st.integers(0, 3))
        data = data[:at] + draw(st.sampled_from(tokens) | st.just(b"")) + data[end:]
    return data
