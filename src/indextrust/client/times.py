"""`Times` as bytes, and what two processes remember together.

    {"last_refresh":"2026-01-01T00:00:00+00:00","last_seen":...,"root_since":...,"root_version":3}

One line of JSON in exactly one form. Anything else is damage, and damage is not "never seen":
whoever can spoil the memory must not be able to empty it.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from indextrust.errors import InputError
from indextrust.trust.freshness import Times

__all__ = ["decode", "encode", "together"]


def encode(times: Times) -> bytes:
    """The one form of `times`.

    Raises:
        InputError: a time that is not in UTC, or a version that is none.
    """
    if type(times.root_version) is not int or times.root_version < 1:
        raise InputError(f"expected a root version of 1 or more, got {times.root_version!r}")
    tree = {
        "last_seen": _text(times.last_seen),
        "last_refresh": _text(times.last_refresh),
        "root_version": times.root_version,
        "root_since": _text(times.root_since),
    }
    return json.dumps(tree, separators=(",", ":"), sort_keys=True).encode() + b"\n"


def decode(data: bytes) -> Times:
    """What `encode` was given.

    Raises:
        ValueError: not what it wrote.
    """
    try:
        tree = json.loads(data)
        times = Times(
            datetime.fromisoformat(tree["last_seen"]),
            datetime.fromisoformat(tree["last_refresh"]),
            tree["root_version"],
            datetime.fromisoformat(tree["root_since"]),
        )
        same = encode(times) == data
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"damaged: {error}") from None
    if not same:
        raise ValueError("damaged: not in the form in which it is written")
    return times


def together(held: Times | None, new: Times, stored_root: int | None) -> Times:
    """What to remember after `new`, where another process may have saved `held` meanwhile.

    No time falls. Of the roots, the one counts that the store holds; of two first sightings of
    one root, the first.

    Args:
        held: what is remembered.
        new: what this process saw.
        stored_root: the version of the root in the store, None if there is none.
    """
    if held is None:
        return new
    version, since = new.root_version, new.root_since
    if held.root_version == version:
        since = min(held.root_since, since)
    elif stored_root != version:
        version, since = held.root_version, held.root_since
    return Times(
        max(held.last_seen, new.last_seen),
        max(held.last_refresh, new.last_refresh),
        version,
        since,
    )


def _text(when: datetime) -> str:
    if when.utcoffset() != timedelta(0):
        raise InputError(f"expected a time in UTC, got {when.isoformat()}")
    return when.isoformat()
