"""Our canonical encoder gives securesystemslib's bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from securesystemslib.formats import encode_canonical

from indextrust.canonical import canonical, canonical_without_floats

TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(TREES)
@example("\x00\x1f\n\t\x7f\u2028")
@example({'"': "\\", "\\": '"', "\n": "\\n"})
@example({"b": 1, "a": {"\U0001f600": 1, "\ufb01": 2}})
@example(["files:1.2", ":-1e5", "[0.5,", "1.0"])
def test_the_bytes_are_those_of_securesystemslib(tree: Any) -> None:
    expected = encode_canonical(tree)
    assert expected is not None
    assert canonical(tree) == expected.encode("utf-8")
    assert canonical_without_floats(tree) == expected.encode("utf-8")


@pytest.mark.parametrize(
    "tree", [1.0, [1e300], {"a": 1.5}, {"a": ["\\", 0.5]}, float("nan"), ["\ud800"], {"\udc00": 1}]
)
def test_what_has_no_canonical_form_is_an_error(tree: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - several messages, one kind
        canonical(tree)
