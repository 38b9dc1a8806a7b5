"""Canonical JSON, as TUF signs it.

The encoding is securesystemslib's: OLPC canonical JSON. Keys sorted by code point, no
whitespace, no floats, and inside strings only the quote and the backslash are escaped, so
control characters stand raw. The standard library's encoder gives the same bytes, many times
faster, for every tree whose strings need no escape; the others take the slow, exact path.

Source: TUF specification 4.2 ("File formats: general principles").
"""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["canonical", "canonical_without_floats"]

_encode = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
).encode
# What a float would look like; it may also match inside a string, then the slow path decides.
_MAYBE_FLOAT = re.compile(r"[:\[,]-?\d+[.e]|^-?\d+[.e]")


def canonical(tree: Any) -> bytes:
    """Encode a JSON tree (dict with str keys, list, str, int, bool, None) canonically.

    Returns:
        UTF-8 bytes.

    Raises:
        ValueError: a float, a lone surrogate, or a circular tree.
        TypeError: a type that JSON does not have.
    """
    text = _encode(tree)
    if "\\" in text or _MAYBE_FLOAT.search(text):
        text = _exact(tree)
    return text.encode("utf-8")


def canonical_without_floats(tree: Any) -> bytes:
    """`canonical` for a tree that is known to hold no floats: it spares the search for them."""
    text = _encode(tree)
    return (_exact(tree) if "\\" in text else text).encode("utf-8")


def _exact(tree: Any) -> str:
    if isinstance(tree, str):
        return '"' + tree.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if tree is None or tree is True or tree is False:
        return {None: "null", True: "true", False: "false"}[tree]
    if isinstance(tree, int):
        return str(tree)
    if isinstance(tree, (list, tuple)):
        return "[" + ",".join(map(_exact, tree)) + "]"
    if isinstance(tree, dict):
        return "{" + ",".join(f"{_exact(k)}:{_exact(v)}" for k, v in sorted(tree.items())) + "}"
    raise ValueError(f"canonical JSON has no {type(tree).__name__}: {tree!r:.80}")
