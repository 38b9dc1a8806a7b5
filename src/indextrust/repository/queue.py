"""The queue: what was asked for and is not published yet. A view of the log, and as safe.

Changes are published in the order they were queued, from the first one that waits. So "done" is
no mark on a row but one number, which the entry that ends a publication states: changes up to it
are published, those after it wait. Everything that decides what will be signed is read from
entries that were verified, without a gap, from that number up to the end of the log; one that
was not written by this repository stops the publication before anything has changed.

A publication writes two entries, each in the transaction that it belongs to (`State.allot`,
`State.finish`): one when it begins, one when everything is out. The second one says which
snapshot and timestamp were published; what is signed next has to follow from those
(`indextrust.repository.provenance`).

What is proved and what not: see `indextrust.repository.log`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from indextrust.errors import AlteredStateError, RepositoryError, StoreError
from indextrust.names import SNAPSHOT, TIMESTAMP, NormalizedName
from indextrust.repository.changes import Change, decode, encode
from indextrust.repository.log import BEGIN, CHANGE, END, RESTORE, Entry, Log, Transaction
from indextrust.repository.plan import RoleFile
from indextrust.repository.seal import Head

__all__ = ["Ledger", "Pending", "Queue"]


class Pending(NamedTuple):
    """Queued changes in order, and the number of the last one (0 if there are none)."""

    changes: tuple[Change, ...]
    last: int


@dataclass(frozen=True)
class Ledger:
    """What the log says of the publications, all of it verified.

    Args:
        done: number of the last change that is published.
        published: snapshot and timestamp of the last publication that ended, by role name; empty
            before the first.
        begun: how many publications began since.
        interrupted: the last change in one of those; None if all ended.
        restored: whether an operator has made the state the truth since (`restore`, `install`).
        waiting: numbers and bodies of the changes that are not published.
    """

    done: int
    published: Mapping[str, RoleFile]
    begun: int
    interrupted: int | None
    restored: bool
    waiting: tuple[tuple[int, str], ...]


class Queue:
    """The queue in the state database.

    Args:
        begin: begins a transaction.
        log: the log in the same database.
    """

    def __init__(self, begin: Transaction, log: Log) -> None:
        self._begin = begin
        self.log = log

    def create(self, db: sa.Connection, roots: Sequence[str], now: str) -> None:
        """Begin the log of a new repository.

        Args:
            db: the transaction that makes the tables.
            roots: SHA-256 of its root files, for whoever reads the log.
            now: the time.
        """
        body = {"nonce": secrets.token_hex(16), "roots": list(roots)}
        self.log.create(db, json.dumps(body), now)

    def enqueue(self, changes: Sequence[Change], now: str) -> None:
        """Queue changes: all of them, or none.

        Raises:
            RepositoryError: a change that the queue would not give back as it is, such as one
                with a control character: no publication could get past it.
            AlteredStateError: the log does not end as it did.
        """
        items = [(CHANGE, change.project, _kept(change)) for change in changes]
        if items:
            with self._begin() as db:
                head = self.log.append(db, items, now)
            self.log.keep(head)

    def ledger(self) -> Ledger:
        """Where the publications stand.

        Raises:
            AlteredStateError: an entry that counts was not written by this repository.
        """
        with self._begin() as db:
            done = self._done(db)
        published: Mapping[str, RoleFile] = {}
        begins: list[int] = []
        restored = False
        waiting: list[tuple[int, str]] = []
        for entry in self.log.verified(since=done):
            if entry.kind == CHANGE:
                waiting.append((entry.number, entry.body))
            elif entry.kind == END:
                published, begins, restored = _published(entry), [], False
            elif entry.kind == BEGIN:
                begins.append(_number(entry, "upto"))
            elif entry.kind == RESTORE:
                restored = True
        last = max(begins, default=None)
        return Ledger(done, published, len(begins), last, restored, tuple(waiting))

    def pending(self, *, upto: int | None = None) -> Pending:
        """Queued changes in order: all, or those up to an entry.

        Raises:
            AlteredStateError: as `ledger`.
        """
        ledger = self.ledger()
        rows = [row for row in ledger.waiting if upto is None or row[0] <= upto]
        return Pending(tuple(decode(body) for _, body in rows), rows[-1][0] if rows else 0)

    def pending_of(self, project: NormalizedName) -> tuple[Change, ...]:
        """Queued changes of one project, in order.

        Raises:
            AlteredStateError: one of them was not written by this repository.
        """
        with self._begin() as db:
            done = self._done(db)
        return tuple(decode(entry.body) for entry in self.log.of_project(project, since=done))

    def interrupted(self) -> int | None:
        """Last change of the publications that did not end; None if all did."""
        return self.ledger().interrupted

    # -- publication -------------------------------------------------------------------------

    def begin(self, db: sa.Connection, last: int, versions: Mapping[str, int], now: str) -> int:
        """Log that a publication begins, within its first transaction.

        The head is kept when it ends: nobody gains by hiding that it began.

        Args:
            db: the transaction.
            last: number of the last change in it.
            versions: of the roles that will be signed, by name.
            now: the time.

        Returns:
            The publication's number.
        """
        body = {
            "upto": max(last, self._done(db)),
            "snapshot": versions.get(SNAPSHOT),
            "timestamp": versions.get(TIMESTAMP),
        }
        return self.log.append(db, [(BEGIN, None, json.dumps(body))], now).number

    def end(
        self, db: sa.Connection, publication: int, signed: Mapping[str, RoleFile], now: str
    ) -> Head:
        """Log that a publication is out, within its last transaction.

        Args:
            db: the transaction.
            publication: its number.
            signed: what was published of each role.
            now: the time.

        Returns:
            The new head, to be kept after the commit.
        """
        before = self.log.last_end(db)
        roles = {**(_published(before) if before is not None else {}), **signed}
        body: dict[str, Any] = {
            "publication": publication,
            "upto": _number(self.log.entry(db, publication), "upto"),
            "signed": len(signed),
        }
        for name in (SNAPSHOT, TIMESTAMP):
            body[name] = roles[name]._asdict() if name in roles else None
        return self.log.append(db, [(END, None, json.dumps(body))], now)

    def restart(self, db: sa.Connection, now: str) -> Head:
        """Log that an operator takes the state, as it is, for the truth.

        The entries that are there must be sound; they need not reach the head.

        Args:
            db: the transaction.
            now: the time.

        Returns:
            The new head, to be kept after the commit.

        Raises:
            AlteredStateError: an entry was not written by this repository.
        """
        return self.log.append_to_rest(db, self._done(db), RESTORE, now)

    def _done(self, db: sa.Connection) -> int:
        end = self.log.last_end(db)
        return 0 if end is None else _number(end, "upto")


def _number(entry: Entry, name: str) -> int:
    """A number in the body of a verified entry, below the entry's own."""
    number = entry.fields()[name]
    if type(number) is not int or not 0 <= number < entry.number:
        raise AlteredStateError(f"log entry {entry.number}: expected a number in {name!r}")
    return number


def _published(entry: Entry) -> dict[str, RoleFile]:
    """Snapshot and timestamp that a verified entry says were published."""
    fields = entry.fields()
    return {name: RoleFile(**fields[name]) for name in (SNAPSHOT, TIMESTAMP) if fields[name]}


def _kept(change: Change) -> str:
    """The change as the queue keeps it. Raises RepositoryError if it would not come back."""
    try:
        text = encode(change)
        if decode(text) == change:
            return text
    except (StoreError, ValueError, TypeError):
        pass
    raise RepositoryError(
        f"{change.filename!r} can't be queued: a text in its change has a character that "
        f"the queue does not keep: {str(change)[:500]!r}"
    )
