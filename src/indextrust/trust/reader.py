"""The strict reader: the one way in which untrusted bytes become a JSON tree.

It is bounded before it allocates, in this order: length, then the number of values and the
depth of nesting (both counted on the bytes), and only then the parser runs. What it returns
holds str, int, bool, None, list and dict with str keys, and nothing else.

`read_signed` gives the same for a metadata file, with the canonical bytes of what is signed,
and spares most of the work where the file is canonical already.

Refused beyond what RFC 8259 refuses, with the reason:

* more than `MAX_VALUES` values or `MAX_DEPTH` levels: a parser must not be a way to exhaust
  memory or stack (ATTACK: parser exhaustion);
* duplicate keys: two readers could see two documents under one signature;
* floats, ``NaN``, ``Infinity``, integers of more than `MAX_DIGITS` digits, ``-0``: they have no
  canonical form, or another value in another language;
* anything but UTF-8 without byte-order mark; escaped lone surrogates, which have no UTF-8.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NoReturn

from indextrust.canonical import canonical_without_floats
from indextrust.errors import LengthError, MalformedError

__all__ = ["MAX_DEPTH", "MAX_DIGITS", "MAX_VALUES", "read", "read_signed"]

MAX_DEPTH = 32
MAX_DIGITS = 18
MAX_VALUES = 350_000

_ALL_BUT_BRACKETS_AND_QUOTES = bytes(sorted(set(range(256)) - set(b'[]{}"')))
_ONE_SHAPE = bytes.maketrans(b"{}", b"[]")


def read(data: bytes, *, where: str, max_length: int) -> Any:
    """Parse `data`.

    Args:
        data: untrusted bytes.
        where: what they are, for error messages.
        max_length: bytes; more is refused unread.

    Raises:
        LengthError: more than `max_length` bytes.
        MalformedError: anything that is not JSON in the strict sense above.
    """
    _check_bounds(data, where, max_length)
    return _strict(data, where)


def read_signed(data: bytes, *, where: str, max_length: int) -> tuple[Any, bytes]:
    """Parse a metadata file and give the canonical bytes of its ``signed`` as well.

    If these bytes stand in the file as they are, then what they hold needs no look at each of
    its objects: canonical bytes have no key twice, and no number has two forms. The rest of the
    file is read strictly with a 0 in their place. If they don't, the whole file is.

    Args and errors as for `read`.

    Returns:
        The tree, and the payload (empty if there is no ``signed`` in the tree).
    """
    _check_bounds(data, where, max_length)
    if b"\n" not in data:  # a file written for people is not canonical: don't try
        fast = _canonical_already(data, where)
        if fast is not None:
            return fast
    tree = _strict(data, where)
    if not isinstance(tree, dict) or "signed" not in tree:
        return tree, b""
    return tree, canonical_without_floats(tree["signed"])


def _canonical_already(data: bytes, where: str) -> tuple[Any, bytes] | None:
    try:
        signed = _loose_decoder.decode(data.decode("utf-8"))["signed"]
        payload = canonical_without_floats(signed)
    except (MalformedError, ValueError, RecursionError, LookupError, TypeError):
        return None  # the strict way says what is wrong
    before, found, after = data.partition(payload)
    if not found:
        return None
    tree = _strict(before + b"0" + after, where)
    if not isinstance(tree, dict) or tree.get("signed") != 0:
        return None
    tree["signed"] = signed
    return tree, payload


def _check_bounds(data: bytes, where: str, max_length: int) -> None:
    if len(data) > max_length:
        raise LengthError(
            "too long", where=where, expected=f"at most {max_length} bytes", got=len(data)
        )
    values = data.count(b",") + data.count(b"[") + data.count(b"{")
    if values > MAX_VALUES:
        raise MalformedError("too many values", where=where, expected=MAX_VALUES, got=values)
    if _deeper_than(data, MAX_DEPTH):
        raise MalformedError("nested too deep", where=where, expected=f"at most {MAX_DEPTH} levels")


def _strict(data: bytes, where: str) -> Any:
    try:
        text = data.decode("utf-8")
        tree = _decoder.decode(text)
        if b"\\u" in data:  # only an escape can bring in a lone surrogate
            json.dumps(tree, ensure_ascii=False).encode("utf-8")
    except MalformedError as error:
        raise MalformedError(
            error.what, where=where, expected=error.expected, got=error.got
        ) from None
    except UnicodeError as error:
        raise MalformedError("not UTF-8", where=where, got=str(error)) from None
    except (ValueError, RecursionError) as error:
        raise MalformedError("not JSON", where=where, got=str(error)) from None
    return tree


def _deeper_than(data: bytes, levels: int) -> bool:
    """Whether brackets are nested more than `levels` deep, strings left aside.

    Each pass over the brackets alone removes the innermost level; all of it runs in C.
    Unbalanced brackets may read as too deep; the parser would refuse them anyway.
    """
    if b"\\" in data:  # without their escapes, strings end at the next quote
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = data.translate(None, _ALL_BUT_BRACKETS_AND_QUOTES).replace(b'""', b"")
    if b'"' in brackets:  # some string holds brackets: keep what is outside
        brackets = b"".join(brackets.split(b'"')[::2])
    brackets = brackets.translate(_ONE_SHAPE)
    for _ in range(levels):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise MalformedError("duplicate key", got=counts.most_common(1)[0][0])
    return tree


def _integer(digits: str) -> int:
    if (len(digits) > MAX_DIGITS and len(digits.lstrip("-")) > MAX_DIGITS) or digits == "-0":
        raise MalformedError("integer out of range", got=digits)
    return int(digits)


def _no_float(digits: str) -> NoReturn:
    raise MalformedError("floats are not allowed", got=digits)


_loose_decoder = json.JSONDecoder(
    parse_int=_integer, parse_float=_no_float, parse_constant=_no_float
)
_decoder = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=_no_float,
    parse_constant=_no_float,
)
