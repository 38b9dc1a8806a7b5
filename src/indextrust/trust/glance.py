"""Telling at a glance that an entry of signed metadata has its shape.

A file may have tens of thousands of entries. `indextrust.trust.metadata` looks at leisure only at
those that are not told here, and says what is wrong with them.
"""

from __future__ import annotations

from typing import Any

__all__ = ["is_file_info", "is_target"]

_TEXT = {str}


def is_file_info(entry: Any) -> bool:
    """Whether `entry` is one of a snapshot's ``meta`` (TUF specification 4.4)."""
    return (
        type(entry) is dict
        and _is_from(1, entry.get("version"))
        and ("length" not in entry or _is_from(0, entry["length"]))
        and ("hashes" not in entry or _is_hashes(entry["hashes"]))
    )


def is_target(entry: Any) -> bool:
    """Whether `entry` is one of a targets role's ``targets`` (TUF specification 4.5)."""
    return (
        type(entry) is dict and _is_from(0, entry.get("length")) and _is_hashes(entry.get("hashes"))
    )


def _is_from(least: int, value: Any) -> bool:
    return type(value) is int and value >= least


def _is_hashes(value: Any) -> bool:
    return type(value) is dict and {*map(type, value.values())} == _TEXT
