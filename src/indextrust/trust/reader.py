"""The strict reader: the one way in which untrusted bytes become a JSON tree.

It is bounded before it allocates, in this order: length, then the number of values and the
depth of nesting (both counted on the bytes), and only then the parser runs. What it returns
holds str, int, bool, None, list and dict with str keys, and nothing else.

The parser is the standard library's, and as far as possible only its part in C: whether a key
stands twice is told from the number of colons outside strings, which is the number of keys; and
integers are looked at one by one only if some run of digits could be too long.

`read_signed` gives the same for a metadata file, with the canonical bytes of what is signed. For
what is long and uniform, a canonical snapshot that lists versions only and a canonical bin whose
targets have one sha256 each, with no fields beside those of TUF, it has a shorter way, which gives
what the other one would give, or nothing (`indextrust.trust.version_list`,
`indextrust.trust.target_list`).

Refused beyond what RFC 8259 refuses, with the reason:

* more than `MAX_DENSE_VALUES` values, unless the file is so long that each has 20 bytes, and
  `MAX_VALUES` in any case; more than `MAX_DEPTH` levels: a parser must not be a way to exhaust
  memory or stack (ATTACK: parser exhaustion). A snapshot of 65,536 bins with their hashes has
  327,700 values in 9 MB; without this rule 5 MB could take 140 MB and seconds;
* duplicate keys: two readers could see two documents under one signature;
* floats, ``NaN``, ``Infinity``, integers of more than `MAX_DIGITS` digits, ``-0``: they have no
  canonical form, or another value in another language;
* anything but UTF-8 without byte-order mark; escaped lone surrogates, which have no UTF-8.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from itertools import chain
from typing import Any, NamedTuple, NoReturn

from indextrust.canonical import canonical_without_floats
from indextrust.errors import LengthError, MalformedError
from indextrust.trust.target_list import TargetList, targets
from indextrust.trust.version_list import VersionList, versions

__all__ = ["MAX_DENSE_VALUES", "MAX_DEPTH", "MAX_DIGITS", "MAX_VALUES", "read", "read_signed"]

MAX_DEPTH = 32
MAX_DIGITS = 18
MAX_VALUES = 350_000
MAX_DENSE_VALUES = 200_000

_BYTES_PER_VALUE = 20
_MAX_NAMED = 1_000_000
_ALL_BUT_MARKS = bytes(sorted(set(range(256)) - set(b'[]{}:"')))
_ONE_SHAPE = bytes.maketrans(b"{}", b"[]")
_ONE_DIGIT = bytes.maketrans(b"123456789", b"000000000")
_TOO_WIDE = b"0" * (MAX_DIGITS + 1)
_BEFORE_A_NUMBER = (b":", b",", b"[", b" ", b"\t", b"\n", b"\r")


# Printable ASCII that is no escape and no quote: what strings hold that need none of either.
_TEXT = rb'"[ !#-\[\]-~]*"'
_SIGNATURE = rb'\{"keyid":%b,"sig":%b\}' % (_TEXT, _TEXT)
_BEFORE_SIGNED = rb'\{"signatures":\[(?:%b(?:,%b)*+)?\],"signed":' % (_SIGNATURE, _SIGNATURE)
_VERSION = rb'"version":(?:0|[1-9][0-9]{0,%d})\}\}' % (MAX_DIGITS - 1)


class _Uniform(NamedTuple):
    """A part of a file that is long and uniform, and all that stands before and after it.

    Args:
        field: in ``signed``, under which it stands.
        before: from the beginning of the file to the part's first quote; group 1 begins where
            ``signed`` does.
        end: what its last entry ends with, its own end, and the next key.
        after: from its end to that of the file.
        entries: reads it.
        values: that an entry counts for, as `_values` counts.
        least: bytes that each of these takes.
    """

    field: str
    before: re.Pattern[bytes]
    end: bytes
    after: re.Pattern[bytes]
    entries: Callable[[bytes], VersionList | TargetList | None]
    values: int
    least: int


_UNIFORM = (
    _Uniform(
        "targets",
        re.compile(
            _BEFORE_SIGNED
            + rb'(\{"_type":"targets","expires":%b,"spec_version":%b,"targets":\{")'
            % (_TEXT, _TEXT)
        ),
        b'}},"version":',
        re.compile(rb"\}," + _VERSION),
        targets,
        values=4,
        least=25,
    ),
    _Uniform(
        "meta",
        re.compile(_BEFORE_SIGNED + rb'(\{"_type":"snapshot","expires":%b,"meta":\{")' % _TEXT),
        b'}},"spec_version":',
        re.compile(rb'\},"spec_version":%b,' % _TEXT + _VERSION),
        versions,
        values=2,
        least=8,
    ),
)


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
    _check_length(data, where, max_length)
    return _strict(data, where, _most_values(data))


def read_signed(data: bytes, *, where: str, max_length: int) -> tuple[Any, bytes]:
    """Parse a metadata file and give the canonical bytes of its ``signed`` as well.

    Args and errors as for `read`.

    Returns:
        The tree, and the payload (empty if there is no ``signed`` in the tree). What is uniform
        may be a `VersionList` or a `TargetList`, which equals what `read` gives.
    """
    _check_length(data, where, max_length)
    for part in _UNIFORM:
        if (found := _in_short(data, part)) is not None:
            return found
    tree = _strict(data, where, _most_values(data))
    if not isinstance(tree, dict) or "signed" not in tree:
        return tree, b""
    return tree, canonical_without_floats(tree["signed"])


def _in_short(data: bytes, part: _Uniform) -> tuple[Any, bytes] | None:
    """The short way, for a file in canonical form with no fields but those of its type.

    It is cut in three: what stands before the long uniform part, the part, and what stands after
    it. Each has a pattern that leaves nothing open, so that the bytes of ``signed`` are canonical
    as they stand, and the parser can't find in the rest what the strict reader would refuse.
    """
    before = part.before.match(data)
    if before is None:
        return None
    start, end = before.end(), data.rfind(part.end, before.end())
    if end < 0 or part.after.fullmatch(data, end + 1) is None:
        return None
    most = _most_values(data)
    if len(data) > most * part.least and _values(data) > most:
        return None  # the long way says so; before anything is made of them
    entries = part.entries(data[start:end] + b'},"')
    if entries is None:
        return None
    rest = data[: start - len(b'{"')] + b"0" + data[end + len(b"}}") :]
    if _values(rest) + part.values * len(entries) > most:
        return None
    tree = json.loads(rest)
    tree["signed"][part.field] = entries
    return tree, data[before.start(1) : -1]


def _check_length(data: bytes, where: str, max_length: int) -> None:
    if len(data) > max_length:
        raise LengthError(
            "too long", where=where, expected=f"at most {max_length} bytes", got=len(data)
        )


def _most_values(data: bytes) -> int:
    return min(MAX_VALUES, max(MAX_DENSE_VALUES, len(data) // _BYTES_PER_VALUE))


def _values(data: bytes) -> int:
    """At least as many as there are values in a JSON text."""
    return data.count(b",") + data.count(b"[") + data.count(b"{")


def _strict(data: bytes, where: str, most: int) -> Any:
    """Parse bytes of bounded length that may hold `most` values."""
    values = _values(data)
    if values > most:
        raise MalformedError("too many values", where=where, expected=most, got=values)
    marks = _outside_strings(data, 4 * values + 4)
    if _deeper_than(marks, MAX_DEPTH):
        raise MalformedError("nested too deep", where=where, expected=f"at most {MAX_DEPTH} levels")
    try:
        text = data.decode("utf-8")
        tree = (_careful if _has_odd_integers(data) else _quick).decode(text)
        if (keys := _keys(tree)) != (colons := marks.count(b":")):
            del tree
            if len(data) <= _MAX_NAMED:  # else to say which would take much memory
                _naming.decode(text)
            raise MalformedError("duplicate key", expected=f"{colons} keys", got=f"{keys} keys")
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


def _outside_strings(data: bytes, most: int) -> bytes:
    """The brackets and colons of a JSON text, those in its strings left out; all of it in C.

    Of bytes that are not JSON it gives something that the parser will never be asked about, or
    will refuse. More than `most` quotes are in no text with so few values: they stay unsplit.
    """
    if b"\\" in data:  # without their escapes, strings end at the next quote
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = data.translate(None, _ALL_BUT_MARKS).replace(b'""', b"")
    if b'"' in marks and marks.count(b'"') <= most:  # some string holds marks
        marks = b"".join(marks.split(b'"')[::2])
    return marks


def _deeper_than(marks: bytes, levels: int) -> bool:
    """Whether brackets are nested more than `levels` deep.

    Each pass over the brackets alone removes the innermost level. Unbalanced brackets may read as
    too deep; the parser would refuse them anyway.
    """
    brackets = marks.translate(_ONE_SHAPE, b':"')
    for _ in range(levels):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _has_odd_integers(data: bytes) -> bool:
    """Whether there may be an integer that `_integer` refuses. (A string may look like one.)"""
    return (
        _TOO_WIDE in data.translate(_ONE_DIGIT)
        or data.startswith(b"-0")
        or any(before + b"-0" in data for before in _BEFORE_A_NUMBER)
    )


def _keys(tree: Any) -> int:
    """How many keys all objects of a tree have together, counted level by level."""
    keys, level = 0, [tree]
    while level:
        objects = [value for value in level if type(value) is dict]
        lists = [value for value in level if type(value) is list]
        keys += sum(map(len, objects))
        level = [*chain.from_iterable(map(dict.values, objects)), *chain.from_iterable(lists)]
    return keys


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    key, times = Counter(key for key, _ in pairs).most_common(1)[0] if pairs else ("", 1)
    if times > 1:
        raise MalformedError("duplicate key", got=key)
    return dict(pairs)


def _integer(digits: str) -> int:
    if (len(digits) > MAX_DIGITS and len(digits.lstrip("-")) > MAX_DIGITS) or digits == "-0":
        raise MalformedError("integer out of range", got=digits)
    return int(digits)


def _no_float(digits: str) -> NoReturn:
    raise MalformedError("floats are not allowed", got=digits)


_quick = json.JSONDecoder(parse_float=_no_float, parse_constant=_no_float)
_careful = json.JSONDecoder(parse_int=_integer, parse_float=_no_float, parse_constant=_no_float)
_naming = json.JSONDecoder(object_pairs_hook=_object)
