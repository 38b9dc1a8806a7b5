"""The log: what was asked for and what was done, in order, for ever, and sealed.

Entries are only ever appended. Each carries an HMAC over its number, kind, project, content, time
and author, *and the HMAC of the entry before it*, under a key that is not in the database; the
number and HMAC of the last one are kept outside too (`indextrust.repository.seal`).

What this proves. An entry that passes `verified` was appended by a holder of the key, to this
log, after the very entries that precede it. So whoever writes the database, every table of it
and as consistently as he likes, can't insert, alter, renumber, swap or delete an entry, mark one
done or not done, bring one from another repository, or put the whole database back to an older
copy: each is an `AlteredStateError` that names the entry, and nothing is signed. (The first entry
has a random part, so logs under one key are different logs.)

What it does not prove.

* Who reads the key writes entries: the key is worth as much as the permission to publish.
* Who puts back database *and* head to what they were together, as one who restores the whole
  folder from a backup does, is not noticed here; the served timestamp tells, unless it was put
  back as well.
* `restore` takes a database that is older than the head, because an operator who calls it may have
  nothing else. The log says that it happened, how many entries are lost, and to which version
  numbers he jumped (`RESTORE`). `install` takes none: it believes what a publication believes.
* Two repositories that went on from copies of one folder share a past; what one appended next
  would be taken by the other as its own. Give a copy another key: create it anew.
* ``who`` is the name that the caller gave, or that of the operating system's user. It is a
  record, no proof.

An entry's authenticity is checked where it is used: a publication verifies everything since the
last change that was published, without a gap, up to the head (once in a process, and then only
what came since: `indextrust.repository.queue`); `Repository.log` what it shows.

Reading may take many transactions, and between two the attacker writes. So each entry is
checked against the HMAC of the one that was *read* before it, not of the one that lies there by
now, and the last against the head: an HMAC vouches for all that precedes it, hence whoever has
read up to a known one has read the log and not a mixture of it with a branch that was given up.

Kinds: `CREATE` the repository; `CHANGE` was asked for (``body`` as `changes.encode` wrote it);
`BEGIN` and `END` of a publication; `RESTORE`; `REBIN`;
`REBUILD`: the state was made anew from signed metadata; `HASHES`: which hashes are listed from
then on; `FREEZE` and `THAW`. Times are text, UTC.

Sources: PEP 458, "Producing Consistent Snapshots" (the transaction log); the chain is that of
B. Schneier and J. Kelsey, "Secure Audit Logs to Support Computer Forensics", 1999, without its
key evolution.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import sqlalchemy as sa

from indextrust.errors import AlteredStateError, InputError
from indextrust.names import NormalizedName
from indextrust.repository import schema
from indextrust.repository.seal import Head, Seal

__all__ = [
    "BEGIN",
    "CHANGE",
    "CREATE",
    "END",
    "FREEZE",
    "HASHES",
    "REBIN",
    "REBUILD",
    "RESTORE",
    "THAW",
    "Entry",
    "Log",
    "Transaction",
    "author",
]

CREATE, CHANGE, BEGIN, END = "create", "change", "begin", "end"
RESTORE, REBIN, REBUILD = "restore", "rebin", "rebuild"
HASHES, FREEZE, THAW = "hashes", "freeze", "thaw"

Transaction = Callable[[], AbstractContextManager[sa.Connection]]
"""Begins a transaction."""

_Condition = sa.ColumnElement[bool] | sa.TextClause
_IS_END = sa.text("log.kind = 'end'")  # no bound value: an index over these rows serves it
_PAGE = 200
"""Entries read or written at once; one that holds many files has some 200 KB."""

_before = schema.log.alias("before")
_mac_before = sa.select(_before.c.mac).where(_before.c.number == schema.log.c.number - 1)
_QUERY = (
    sa.select(schema.log, _mac_before.scalar_subquery())
    .where(schema.log.c.number > sa.bindparam("since"))
    .order_by(schema.log.c.number)
    .limit(sa.bindparam("most"))
)
"""Entries, each with the HMAC of the one before it."""

_MAX_NAME = 200


def author(name: str | None) -> str:
    """Who will be named in the log: `name`, or (None) the operating system's user.

    Raises:
        InputError: a name that is empty, too long, or not printable.
    """
    if name is None:
        try:
            return pwd.getpwuid(os.getuid()).pw_name  # not from the environment
        except KeyError:
            return f"uid {os.getuid()}"
    if not name.isprintable() or not 1 <= len(name) <= _MAX_NAME:
        raise InputError(
            f"expected a name of 1 to {_MAX_NAME} printable characters, got {name[:_MAX_NAME]!r}"
        )
    return name


class Entry(NamedTuple):
    """One entry, as the table has it."""

    number: int
    kind: str
    project: NormalizedName | None
    body: str
    time: str
    who: str
    mac: str

    def fields(self) -> dict[str, Any]:
        """The object in ``body`` of an entry that was verified."""
        tree: dict[str, Any] = json.loads(self.body)
        return tree


class Log:
    """The log in the state database.

    Args:
        read: a transaction to read in.
        seal: key and head.
        who: is named in what is appended.
    """

    def __init__(self, read: Transaction, seal: Seal, who: str) -> None:
        self._read = read
        self._seal = seal
        self._who = who

    def create(
        self, db: sa.Connection, items: Iterable[tuple[str, NormalizedName | None, str]], now: str
    ) -> None:
        """Begin an empty log, within a transaction that makes the tables."""
        self._seal.keep(self._append(db, Head(0, ""), items, now))

    def append(
        self,
        db: sa.Connection,
        items: Iterable[tuple[str, NormalizedName | None, str]],
        now: str,
        tip: Head | None = None,
    ) -> Head:
        """Append entries, within a transaction. To be followed by `keep` when it is committed.

        Args:
            db: the transaction.
            items: kind, project and body of each, any number.
            now: the time.
            tip: the last entry, if it was verified in this transaction (as by `tip`).

        Returns:
            The new head.

        Raises:
            AlteredStateError: the log does not end as it did.
        """
        return self._append(db, tip or self.tip(db), items, now)

    def append_to_rest(
        self, db: sa.Connection, since: int, kind: str, fields: Mapping[str, Any], now: str
    ) -> tuple[Head, int | None]:
        """Append one entry to a log whose end may be lost, and say in it what is lost.

        Args:
            db: the transaction.
            since: number of an entry; everything after it must be sound.
            kind: of the entry.
            fields: what else it says.
            now: the time.

        Returns:
            The new head, and how many entries are lost; None if nobody can tell.

        Raises:
            AlteredStateError: what is there was not written by this repository.
        """
        rest = deque(self.chain(since, db), maxlen=1)
        if not rest:
            raise AlteredStateError(f"log entry {since + 1} is missing")
        expected, tip = self._seal.head(), Head(rest[0].number, rest[0].mac)
        lost = None if expected is None else max(expected.number - tip.number, 0)
        body = json.dumps({"lost": lost, **fields})
        return self._append(db, tip, [(kind, None, body)], now), lost

    def keep(self, head: Head) -> None:
        """Remember the head outside the database, after the commit. Raises StoreError."""
        self._seal.keep(head)

    def put(self, head: Head) -> None:
        """The same, but for its name: the caller makes that durable (`Seal.put`)."""
        self._seal.put(head)

    def _append(
        self,
        db: sa.Connection,
        head: Head,
        items: Iterable[tuple[str, NormalizedName | None, str]],
        now: str,
    ) -> Head:
        rows: list[dict[str, Any]] = []
        for kind, project, body in items:
            fields = (head.number + 1, kind, project, body, now, self._who)
            head = Head(head.number + 1, self._seal.mac(head.mac, fields))
            rows.append(Entry(*fields, head.mac)._asdict())
            if len(rows) == _PAGE:
                db.execute(schema.log.insert(), rows)
                rows = []
        if rows:
            db.execute(schema.log.insert(), rows)
        return head

    def tip(self, db: sa.Connection) -> Head:
        """The last entry, known to be the last one that was written, or one after it.

        Raises:
            AlteredStateError: entries are missing at the end, or were put there.
        """
        (last,) = deque(self.after(self._head(), db), maxlen=1)
        return Head(last.number, last.mac)

    def after(self, known: Head, db: sa.Connection | None) -> Iterator[Entry]:
        """Entry number `known` and all after it, as `verified`, by one reading.

        Args:
            known: an entry that was verified before, and must be there as it was.
            db: as for `verified`.

        Raises:
            AlteredStateError: as `verified`; when it has run to its end, not before.
        """
        head, last = self._head(), None
        for last in self.chain(min(known.number, head.number) - 1, db):
            for there in (head, known):
                if last.number == there.number and last.mac != there.mac:
                    raise AlteredStateError(
                        f"log entry {there.number} is not the one that was there (expected HMAC "
                        f"{there.mac}, got {last.mac}): the state was altered, or restored while "
                        f"this process had it open; then open it again"
                    )
            if last.number >= known.number:
                yield last
        if last is None or last.number < max(head.number, known.number):
            raise AlteredStateError(
                f"log entry {max(head.number, known.number)} is missing, the last one that was "
                f"written: entries were deleted, or the state is an old backup; compare with an "
                f"audit, then restore"
            )

    def _head(self) -> Head:
        head = self._seal.head()
        if head is None:
            raise AlteredStateError(
                f"{self._seal.path} is missing or damaged: without it nobody can tell the state "
                f"from an older copy; compare with an audit, then restore"
            )
        return head

    def verified(self, *, since: int = 0, db: sa.Connection | None = None) -> Iterator[Entry]:
        """All entries after `since` up to the head, without a gap; in bounded memory.

        Args:
            since: number of an entry.
            db: the transaction to read in; None to read each page in one of its own, so that a
                slow reader stops nobody.

        Raises:
            AlteredStateError: while it runs, at the first entry that is not as it was written.
        """
        with self.within(db) as transaction:
            tip = self.tip(transaction)
        for entry in self.chain(since, db):
            if entry.number == tip.number and entry.mac != tip.mac:
                raise AlteredStateError(_altered(entry.number))
            yield entry
            since = entry.number
        if since < tip.number:
            raise AlteredStateError(f"log entry {since + 1} is missing")

    def chain(self, since: int, db: sa.Connection | None = None) -> Iterator[Entry]:
        """All entries after `since`, each the successor of the one before it.

        They are this log's when the caller has met an entry in them whose HMAC he knows.
        Arguments and errors as for `verified`.
        """
        mac = None
        while True:
            with self.within(db) as transaction:
                page = list(self._page(transaction, since, None, mac=mac))
            yield from page
            if len(page) < _PAGE:
                return
            since, mac = page[-1].number, page[-1].mac

    def of_projects(self, projects: Sequence[NormalizedName], *, since: int) -> Iterator[Entry]:
        """The entries of these projects after `since`: each is verified, and not that it is all.

        Args:
            projects: a few hundred at most.
            since: number of an entry.

        Raises:
            AlteredStateError: as `verified`.
        """
        return self._pages(since, schema.log.c.project.in_(projects))

    def ends(self, *, since: int = 0) -> Iterator[Entry]:
        """The entries after `since` that ended publications: each is verified, and not that it
        is all.

        Raises:
            AlteredStateError: as `verified`.
        """
        return self._pages(since, _IS_END)

    def last_end(self, db: sa.Connection) -> Entry | None:
        """The entry that ended a publication, the last one by an index that may have been altered
        like any table. It is where reading begins: itself verified, and a later one is among the
        entries after the last change in it (`indextrust.repository.ledger.Ledger`).

        Raises:
            AlteredStateError: as `verified`.
        """
        number = db.scalar(sa.select(sa.func.max(schema.log.c.number)).where(_IS_END))
        return None if number is None else self.entry(db, number)

    def _pages(self, since: int, where: _Condition) -> Iterator[Entry]:
        """The entries after `since` that meet a condition, a transaction for each page."""
        while True:
            with self._read() as db:
                page = list(self._page(db, since, where))
            yield from page
            if len(page) < _PAGE:
                return
            since = page[-1].number

    @contextlib.contextmanager
    def within(self, db: sa.Connection | None) -> Iterator[sa.Connection]:
        """The transaction that is there, or (None) one to read in."""
        if db is not None:
            yield db
        else:
            with self._read() as transaction:
                yield transaction

    def entry(self, db: sa.Connection, number: int) -> Entry:
        """One entry, verified. Raises AlteredStateError."""
        for found in self._page(db, number - 1, None, limit=1):
            return found
        raise AlteredStateError(f"log entry {number} is missing")

    def _page(
        self,
        db: sa.Connection,
        since: int,
        where: _Condition | None,
        limit: int | None = None,
        mac: str | None = None,
    ) -> Iterator[Entry]:
        """Some entries after `since`, verified; `mac`: that of `since`, if it was read."""
        query = _QUERY if where is None else _QUERY.where(where)
        for row in db.execute(query, {"since": since, "most": limit or _PAGE}):
            entry = Entry(*row[:-1])
            since += 1
            if where is None and entry.number != since:
                raise AlteredStateError(f"log entry {since} is missing: the next is {entry.number}")
            previous = "" if entry.number == 1 else row[-1] if mac is None else mac
            if previous is None or not self._seal.matches(entry.mac, previous, entry[:-1]):
                raise AlteredStateError(_altered(entry.number))
            mac = entry.mac if where is None else None
            yield entry


def _altered(number: int) -> str:
    return (
        f"log entry {number} was not written by this repository, or it or the entry before it "
        f"was altered since: nothing is signed"
    )
