"""The queue: what was asked for and is not published yet. A view of the log, and as safe.

Changes are published in the order they were queued, from the first one that waits. Everything that
decides what will be signed is read from entries that were verified, without a gap, from the last
change that is published (`indextrust.repository.ledger`) up to the end of the log; one that was not
written by this repository stops the publication before anything has changed.

A publication writes two entries, each in the transaction that it belongs to (`State.allot`,
`State.finish`): one when it begins, one when everything is out. The first one is known outside
the database before a file of it is there, so its numbers are used up for good. The second one
says which snapshot and timestamp were published, and has a digest of what the snapshot lists;
what is signed next has to follow from those (`indextrust.repository.provenance`).

What was verified is kept as a `Ledger`, so a process reads the log once, and no body stays in
memory; afterwards it reads the last entry that it knows, which must be there as it was, and what
came since. A publication takes a window: the waiting changes from the first one on, up to a
number of files. Its cost is that of the window, whatever waits behind it. Between the first
reading and that of a window anybody may have written to the database: so a window is read up to
an entry whose HMAC the ledger has, and that vouches for all that precedes it. What a table or an
index says is only where reading begins; the entries that are read say what is done.

What is proved and what not: see `indextrust.repository.log`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple

import sqlalchemy as sa

from indextrust.errors import AlteredStateError, RepositoryError, StoreError
from indextrust.names import SNAPSHOT, TIMESTAMP, Hashes, NormalizedName
from indextrust.repository.changes import Change, Rehash, count, decode, encode, spread
from indextrust.repository.ledger import Ledger, published_upto
from indextrust.repository.log import (
    BEGIN,
    CHANGE,
    CREATE,
    END,
    HASHES,
    REBIN,
    RESTORE,
    Log,
    Transaction,
)
from indextrust.repository.plan import RoleFile
from indextrust.repository.seal import Head

__all__ = ["BOTH", "Pending", "Queue"]

BOTH = (HASHES, None, json.dumps({"hashes": "both"}))
"""The entry that says so."""


class Pending(NamedTuple):
    """Queued changes in order, and the number of the last one (0 if there are none).

    `more`: whether others wait behind them.
    """

    changes: tuple[Change, ...]
    last: int
    more: bool = False


class Queue:
    """The queue in the state database.

    Args:
        begin: begins a transaction, to write.
        read: a transaction to read in.
        log: the log in the same database.
    """

    def __init__(self, begin: Transaction, read: Transaction, log: Log) -> None:
        self._begin = begin
        self._read = read
        self.log = log
        self._ledger: Ledger | None = None
        self._followed: object = None  # the transaction in which it was brought up to date
        self._begun: dict[int, int] = {}

    def create(
        self, db: sa.Connection, roots: Sequence[str], now: str, hashes: Hashes = "sha256"
    ) -> None:
        """Begin the log of a new repository.

        Args:
            db: the transaction that makes the tables.
            roots: SHA-256 of its root files, for whoever reads the log.
            now: the time.
            hashes: which are listed.
        """
        body = {"nonce": secrets.token_hex(16), "roots": list(roots)}
        more = [BOTH] if hashes == "both" else []
        self.log.create(db, [(CREATE, None, json.dumps(body)), *more], now)

    def enqueue(self, changes: Iterable[Change], now: str) -> None:
        """Queue changes: all of them, or none.

        Raises:
            RepositoryError: a change that the queue would not give back as it is, such as one
                with a control character: no publication could get past it.
            AlteredStateError: the log does not end as it did.
        """
        self._enqueue(((CHANGE, change.project, _kept(change)) for change in changes), now)

    def rehash(self, changes: Iterable[Rehash], now: str) -> None:
        """Queue that SHA-512 are listed: from now on of what is new, and of these files.

        Raises:
            AlteredStateError: the log does not end as it did.
        """
        items = ((CHANGE, change.project, _kept(change)) for change in changes)
        self._enqueue(chain([] if self.ledger().both else [BOTH], items), now)

    def enqueue_imports(self, bodies: Iterable[tuple[NormalizedName, str]], now: str) -> None:
        """Queue many files: all of them, or none.

        Args:
            bodies: projects and their files as `changes.encode_import` writes them; read one by
                one, so there may be more than memory holds.
            now: the time.

        Raises:
            AlteredStateError: the log does not end as it did.
        """
        self._enqueue(((CHANGE, project, body) for project, body in bodies), now)

    def _enqueue(self, entries: Iterable[tuple[str, NormalizedName | None, str]], now: str) -> None:
        items = iter(entries)
        first = next(items, None)
        if first is not None:
            with self._begin() as db:
                head = self.log.append(db, chain([first], items), now)
            try:
                self.log.keep(head)
            except StoreError as error:
                raise StoreError(
                    f"{error}; the changes are queued all the same, and will be published"
                ) from error

    def ledger(self) -> Ledger:
        """Where the publications stand. Reads the log once in a transaction (`Database.read`).

        Raises:
            AlteredStateError: an entry that counts was not written by this repository.
        """
        with self._read() as db:
            transaction = db.get_transaction()
        if self._ledger is None or transaction is not self._followed:
            self._ledger, self._followed = self._follow(None), transaction
        return self._ledger

    def pending(self, *, limit: int | None = None, upto: int | None = None) -> Pending:
        """Queued changes in order, from the first one on.

        Args:
            limit: changes at most, or those of the first entry if it alone has more; None for
                all of them.
            upto: number of the last entry that may be in it; None for all.

        Raises:
            AlteredStateError: as `ledger`.
        """
        ledger = self.ledger()
        end = ledger.last if upto is None else min(upto, ledger.last)
        changes: list[Change] = []
        last = vouched = ledger.done
        for entry in self.log.chain(ledger.done) if ledger.done < end else ():
            if entry.kind == CHANGE and entry.number <= end:
                if limit is None or not changes or len(changes) + count(entry.body) <= limit:
                    changes += spread(decode(entry.body))
                    last = entry.number
                else:
                    end = last
            if entry.number in ledger.marks:
                if entry.mac != ledger.marks[entry.number]:
                    break
                vouched = entry.number
                if vouched >= end:
                    break
        if vouched < end:
            raise AlteredStateError(
                f"log entries after {vouched} are not those that were verified a moment ago: "
                f"somebody writes to the state; nothing is signed"
            )
        return Pending(tuple(changes), last if changes else 0, last < ledger.last)

    def waiting(self) -> int:
        """How many changes wait. Reads them all. Raises AlteredStateError."""
        ledger = self.ledger()
        entries = self.log.verified(since=ledger.done) if ledger.done < ledger.last else ()
        return sum(count(entry.body) for entry in entries if entry.kind == CHANGE)

    def pending_of(self, projects: Sequence[NormalizedName]) -> dict[NormalizedName, list[Change]]:
        """Queued changes of each of these projects, in order.

        Args:
            projects: a few hundred at most.

        Raises:
            AlteredStateError: one of them was not written by this repository.
        """
        found: dict[NormalizedName, list[Change]] = {project: [] for project in projects}
        with self._read() as db:
            end = self.log.last_end(db)
        for entry in self.log.of_projects(projects, since=published_upto(end)):
            for change in spread(decode(entry.body)):
                found[change.project].append(change)
        return found

    def interrupted(self) -> int | None:
        """Last change of the publications that did not end; None if all did."""
        return self.ledger().interrupted

    # -- publication -------------------------------------------------------------------------

    def begin(self, db: sa.Connection, last: int, versions: Mapping[str, int], now: str) -> Head:
        """Log that a publication begins, within its first transaction.

        The entry says that numbers are used up: nobody may hide it once one of them is.

        Args:
            db: the transaction.
            last: number of the last change in it.
            versions: of the roles that will be signed, by name.
            now: the time.

        Returns:
            The new head, to be kept after the commit and before anything is written; its number
            is the publication's.
        """
        ledger = self._follow(db)
        upto = max(last, ledger.done)
        body = {
            "upto": upto,
            "snapshot": versions.get(SNAPSHOT),
            "timestamp": versions.get(TIMESTAMP),
        }
        head = self.log.append(db, [(BEGIN, None, json.dumps(body))], now, ledger.head)
        self._begun = {head.number: upto}
        return head

    def end(
        self,
        db: sa.Connection,
        publication: int,
        signed: Mapping[str, RoleFile],
        listed: str | None,
        now: str,
    ) -> Head:
        """Log that a publication is out, within its last transaction.

        Args:
            db: the transaction.
            publication: its number, from `begin`.
            signed: what was published of each role.
            listed: digest of what the new snapshot lists of bins, if there is one.
            now: the time.

        Returns:
            The new head, to be kept after the commit.
        """
        ledger = self._follow(db)
        roles = {**ledger.published, **signed}  # not what a table says by now
        body: dict[str, Any] = {
            "publication": publication,
            "upto": self._begun[publication],
            "signed": len(signed),
            "listed": listed or ledger.listed,
        }
        if ledger.both:
            body["hashes"] = "both"
        for name in (SNAPSHOT, TIMESTAMP):
            body[name] = roles[name]._asdict() if name in roles else None
        return self.log.append(db, [(END, None, json.dumps(body))], now, ledger.head)

    def rebin(self, db: sa.Connection, bins: str, towards: str, now: str) -> Head:
        """Log that a re-binning begins, within the transaction that adopts the new bins.

        Args:
            db: the transaction.
            bins: SHA-256 of the bins role until now.
            towards: the same of the one from now on.
            now: the time.

        Returns:
            The new head, to be kept after the commit.
        """
        body = json.dumps({"bins": bins, "towards": towards})
        return self.log.append(db, [(REBIN, None, body)], now)

    def note(self, kind: str, fields: Mapping[str, Any], now: str) -> None:
        """Log what happened and is neither a change nor a publication.

        Args:
            kind: of the entry.
            fields: what it says.
            now: the time.

        Raises:
            AlteredStateError: the log does not end as it did.
        """
        with self._begin() as db:
            head = self.log.append(db, [(kind, None, json.dumps(dict(fields)))], now)
        self.log.keep(head)

    def restart(
        self,
        db: sa.Connection,
        above: Mapping[str, int],
        now: str,
        *,
        older: bool,
        roles: bool = False,
    ) -> tuple[Head, int | None]:
        """Log that an operator takes the state, as it is, for the truth.

        Args:
            db: the transaction.
            above: roles whose numbers go on above those that were found to be served.
            now: the time.
            older: whether an older copy will do: then the entries that are there must be sound,
                and need not reach the head.
            roles: whether he brought new offline roles along.

        Returns:
            The new head, to be kept after the commit; and how many entries are lost, None if
            nobody can tell.

        Raises:
            AlteredStateError: an entry was not written by this repository, or is missing.
        """
        fields: dict[str, Any] = {"above": dict(above), **({"roles": True} if roles else {})}
        if not older:
            body = json.dumps({"lost": 0, **fields})
            return self.log.append(db, [(RESTORE, None, body)], now), 0
        self._ledger = None  # the log may have another end than this process has seen
        end = self.log.last_end(db)
        return self.log.append_to_rest(db, published_upto(end), RESTORE, fields, now)

    def _follow(self, db: sa.Connection | None) -> Ledger:
        """The ledger up to the end of the log; in a transaction, before anything is appended.

        (What is appended and rolled back must not be known here.)
        """
        ledger = self._ledger
        if ledger is None:
            with self.log.within(db) as transaction:
                end = self.log.last_end(transaction)
            done = published_upto(end)
            ledger = Ledger(Head(done, ""), done).after(self.log.verified(since=done, db=db))
        else:
            ledger = ledger.after(islice(self.log.after(ledger.head, db), 1, None))
        self._ledger = ledger
        return ledger


def _kept(change: Change) -> str:
    """The change as the queue keeps it. Raises RepositoryError if it would not come back."""
    what = change.project if isinstance(change, Rehash) else change.filename
    try:
        text = encode(change)
        if decode(text) == change:
            return text
    except (StoreError, ValueError, TypeError):
        pass
    raise RepositoryError(
        f"{what!r} can't be queued: a text in its change has a character that "
        f"the queue does not keep: {str(change)[:500]!r}"
    )
