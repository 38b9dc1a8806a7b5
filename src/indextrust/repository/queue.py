"""The queue: what was asked for and is not published yet. A view of the log, and as safe.

Changes are published in the order they were queued, from the first one that waits. So "done" is
no mark on a row but one number, which the entry that ends a publication states: changes up to it
are published, those after it wait. Everything that decides what will be signed is read from
entries that were verified, without a gap, from that number up to the end of the log; one that
was not written by this repository stops the publication before anything has changed.

A publication writes two entries, each in the transaction that it belongs to (`State.allot`,
`State.finish`): one when it begins, one when everything is out. The first one is known outside
the database before a file of it is there, so its numbers are used up for good. The second one
says which snapshot and timestamp were published, and has a digest of what the snapshot lists;
what is signed next has to follow from those (`indextrust.repository.provenance`).

What was verified is kept (`Ledger`), so a process reads the log once, and no body stays in
memory; afterwards it reads the last entry that it knows, which must be there as it was, and what
came since. A publication takes a window: the waiting changes from the first one on, up to a
number of files. Its cost is that of the window, whatever waits behind it. Between the first
reading and that of a window anybody may have written to the database: so the ledger keeps the
HMAC of every 256th waiting entry and of the last one, a window is read up to one of these, and
each vouches for all that precedes it. What a table or an index says is only where reading
begins; the entries that are read say what is done.

What is proved and what not: see `indextrust.repository.log`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any, NamedTuple

import sqlalchemy as sa

from indextrust.errors import AlteredStateError, RepositoryError, StoreError
from indextrust.names import SNAPSHOT, TIMESTAMP, Hashes, NormalizedName
from indextrust.repository.changes import PER_ENTRY, Change, Rehash, count, decode, encode, spread
from indextrust.repository.log import (
    BEGIN,
    CHANGE,
    CREATE,
    END,
    HASHES,
    REBIN,
    RESTORE,
    Entry,
    Log,
    Transaction,
)
from indextrust.repository.plan import RoleFile
from indextrust.repository.seal import Head

__all__ = ["BOTH", "Ledger", "Pending", "Queue"]

_MARK = 256
BOTH = (HASHES, None, json.dumps({"hashes": "both"}))
"""The entry that says so."""


class Pending(NamedTuple):
    """Queued changes in order, and the number of the last one (0 if there are none).

    `more`: whether others wait behind them.
    """

    changes: tuple[Change, ...]
    last: int
    more: bool = False


@dataclass(frozen=True)
class Ledger:
    """What the log says of the publications, all of it verified.

    Args:
        head: the last entry that was verified; number 0 if there was none.
        done: number of the last change that is published.
        last: number of the last change; up to `done` if nothing waits.
        published: snapshot and timestamp of the last publication that ended, by role name; empty
            before the first.
        listed: digest of what that snapshot lists of bins (`SnapshotList.digest`).
        begun: how many publications began since.
        interrupted: the last change in one of those; None if all ended.
        timestamps: version numbers that those used up for the timestamp.
        restored: whether an operator has made the state the truth since (`restore`, `install`).
        above: roles whose numbers he let go on above those that were found to be served.
        rebinning: SHA-256 of the bins role that was in force before a re-binning that has begun
            since and is not out; None if there is none.
        towards: SHA-256 of the bins role that it adopts; None if an operator has installed other
            roles since.
        marks: number and HMAC of some of the entries after `done`, the last one among them.
        time: the latest time that an entry states, from the last `END` on; empty if there is none.
        both: whether the SHA-512 of what is new is listed beside its SHA-256; never taken back.
    """

    head: Head
    done: int
    last: int = 0
    published: Mapping[str, RoleFile] = field(default_factory=dict)
    listed: str | None = None
    begun: int = 0
    interrupted: int | None = None
    timestamps: tuple[int, ...] = ()
    restored: bool = False
    above: Mapping[str, int] = field(default_factory=dict)
    rebinning: str | None = None
    towards: str | None = None
    marks: Mapping[int, str] = field(default_factory=dict)
    time: str = ""
    both: bool = False

    @property
    def unfinished(self) -> bool:
        """Whether a publication or a re-binning has begun and is not out."""
        return self.begun > 0 or self.rebinning is not None

    def is_one_window(self, limit: int) -> bool:
        """Whether all that waits will be published together, if at most `limit` changes are at a
        time. May be False where it would be so."""
        return not self.begun and (self.last - self.done) * PER_ENTRY < limit

    def after(self, entries: Iterable[Entry]) -> Ledger:
        """The ledger after further entries, all of them verified."""
        head, last, marks, time = self.head, self.last, dict(self.marks), self.time
        now = self
        for entry in entries:
            head = Head(entry.number, entry.mac)
            time = max(time, entry.time)
            if entry.number % _MARK == 0:
                marks[entry.number] = entry.mac
            if entry.kind == CHANGE:
                last = entry.number
            elif entry.kind == END:
                done, listed, time = _number(entry, "upto"), entry.fields()["listed"], entry.time
                both = entry.fields().get("hashes") == "both"
                now = Ledger(now.head, done, published=_published(entry), listed=listed, both=both)
            elif entry.kind == BEGIN:
                upto = max(_number(entry, "upto"), now.interrupted or 0)
                used = entry.fields()[TIMESTAMP]
                timestamps = now.timestamps if used is None else (*now.timestamps, used)
                now = replace(now, begun=now.begun + 1, interrupted=upto, timestamps=timestamps)
            elif entry.kind == RESTORE:
                above = {**now.above, **entry.fields()["above"]}
                towards = None if entry.fields().get("roles") else now.towards
                now = replace(now, restored=True, above=above, towards=towards)
            elif entry.kind == REBIN:
                fields = entry.fields()
                now = replace(now, rebinning=fields["bins"], towards=fields["towards"])
            elif entry.kind == HASHES:
                now = replace(now, both=True)
        if head == self.head:
            return self
        marks = {number: mac for number, mac in marks.items() if number > now.done}
        marks.pop(self.head.number, None)
        if self.head.number % _MARK == 0 and self.head.number > now.done:
            marks[self.head.number] = self.head.mac
        marks[head.number] = head.mac
        return replace(now, head=head, last=last, marks=marks, time=time)


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
        done = 0 if end is None else _number(end, "upto")
        for entry in self.log.of_projects(projects, since=done):
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
        done = 0 if end is None else _number(end, "upto")
        return self.log.append_to_rest(db, done, RESTORE, fields, now)

    def _follow(self, db: sa.Connection | None) -> Ledger:
        """The ledger up to the end of the log; in a transaction, before anything is appended.

        (What is appended and rolled back must not be known here.)
        """
        ledger = self._ledger
        if ledger is None:
            with self.log.within(db) as transaction:
                end = self.log.last_end(transaction)
            done = 0 if end is None else _number(end, "upto")
            ledger = Ledger(Head(done, ""), done).after(self.log.verified(since=done, db=db))
        else:
            ledger = ledger.after(islice(self.log.after(ledger.head, db), 1, None))
        self._ledger = ledger
        return ledger


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
