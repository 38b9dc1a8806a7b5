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


def edited(draw: st.DrawFn, data: bytes, tokens: Sequence[bytes]) -> bytes:
    """`data` with up to three edits anywhere."""
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        end = at + draw(st.integers(0, 3))
        data = data[:at] + draw(st.sampled_from(tokens) | st.just(b"")) + data[end:]
    return data
