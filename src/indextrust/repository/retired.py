"""Rows of bins that are out of use, and how a re-binning puts them there and takes them back.

A bin that no path falls into any more keeps its row, apart from those in force, for two reasons.
Clients refuse a snapshot that leaves out a role name which the last one listed, unless the
snapshot's key was replaced between them (TUF specification 5.5.5 and 5.3.11): so it is listed as
it was, never signed anew, for as long as the key that it was published under is in force
(`State.retired`). And a version number is never used for other bytes: when the name comes back in
a later re-binning, its numbers go on.

The caller holds the transaction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import sqlalchemy as sa

from indextrust.repository import bulk, schema

__all__ = ["exchange", "move", "remember", "rows"]

_COMMON = [column.name for column in schema.retired.c if column.name != "keyid"]
_MOVED_AT_A_TIME = 10_000
_BIN = re.compile(r"bin-[0-9a-f]{1,4}", re.ASCII)


def exchange(db: sa.Connection, old: Collection[str], new: Collection[str], keyid: str) -> None:
    """Put the bins of `new` in the place of those of `old`; those in both stay as they are.

    Args:
        db: the transaction.
        old: role names in force.
        new: role names from now on.
        keyid: of the snapshot key under which clients have seen the old ones.
    """
    common: list[sa.ColumnElement[Any]] = [sa.column(name) for name in _COMMON]
    roles, retired = schema.roles, schema.retired
    leaving = set(old).difference(new)
    for piece in bulk.pieces(sorted(leaving)):
        gone = sa.select(*common, sa.literal(keyid)).select_from(roles)
        gone = gone.where(roles.c.name.in_(piece))
        db.execute(retired.insert().from_select([*_COMMON, "keyid"], gone))
        db.execute(roles.delete().where(roles.c.name.in_(piece)))
    for piece in bulk.pieces(sorted(set(new).difference(old))):
        again = sa.select(*common, sa.literal(schema.NEVER)).select_from(retired)
        again = again.where(retired.c.name.in_(piece))
        db.execute(roles.insert().from_select([*_COMMON, "expires"], again))
        back = set(db.scalars(sa.select(retired.c.name).where(retired.c.name.in_(piece))))
        db.execute(retired.delete().where(retired.c.name.in_(piece)))
        first = {"version": 0, "allotted": 0, "length": 0, "sha256": "", "mac": "", "entries": ""}
        unused = [
            {"name": name, **first, "expires": schema.NEVER} for name in piece if name not in back
        ]
        if unused:
            db.execute(roles.insert(), unused)


def remember(db: sa.Connection, highest: Mapping[str, int]) -> None:
    """Keep the numbers of bins that are not known here, and were served once.

    Their key was replaced, or the state is older than they are. Nobody lists them; when a name
    comes back, its numbers go on.

    Args:
        db: the transaction.
        highest: the highest version of each role that was found to be served.
    """
    roles, retired = schema.roles, schema.retired
    known = {*db.scalars(sa.select(roles.c.name)), *db.scalars(sa.select(retired.c.name))}
    nothing = {"version": 0, "length": 0, "sha256": "", "mac": "", "entries": "", "keyid": ""}
    unknown = [name for name in sorted(highest) if name not in known and _BIN.fullmatch(name)]
    new = [{"name": name, "allotted": highest[name], **nothing} for name in unknown]
    bulk.insert(db, retired, new)


def rows(db: sa.Connection, keyid: str | None) -> list[dict[str, Any]]:
    """The rows of bins out of use, those under this key or (None) all, without their key."""
    query = sa.select(*(schema.retired.c[name] for name in _COMMON))
    if keyid is not None:
        query = query.where(schema.retired.c.keyid == keyid)
    return [dict(row) for row in db.execute(query).mappings()]


def move(db: sa.Connection, bin_of: Callable[[str], str]) -> None:
    """Say of every target path which bin it falls into from now on; some paths at a time."""
    targets = schema.targets
    page = sa.select(targets.c.path).order_by(targets.c.path).limit(_MOVED_AT_A_TIME)
    change = targets.update().where(targets.c.path == sa.bindparam("at"))
    paths = list(db.scalars(page))
    while paths:
        db.execute(change, [{"at": path, "bin": bin_of(path)} for path in paths])
        paths = list(db.scalars(page.where(targets.c.path > paths[-1])))
