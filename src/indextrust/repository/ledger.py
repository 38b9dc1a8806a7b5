"""Where the publications stand, by what the log says. PURE.

"Done" is no mark on a row but one number, which the entry that ends a publication states: changes
up to it are published, those after it wait. The entries after that one say what has begun since and
is not out, and what an operator has done. So the ledger is a value that is made of entries, all of
them verified, one after the other (`Ledger.after`); no table is asked.

Changes themselves are not in it: any number may wait. It keeps the HMAC of every 256th waiting
entry and of the last one, by which whoever reads changes again knows that they are the same.

Left to others: reading and verifying entries (`indextrust.repository.queue`, and `log`), and what
has to follow from a ledger (`indextrust.repository.provenance`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from indextrust.errors import AlteredStateError
from indextrust.names import SNAPSHOT, TIMESTAMP
from indextrust.repository.changes import PER_ENTRY
from indextrust.repository.log import BEGIN, CHANGE, END, HASHES, REBIN, RESTORE, Entry
from indextrust.repository.plan import RoleFile
from indextrust.repository.seal import Head

__all__ = ["Ledger", "published_upto"]

_MARK = 256


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
                done, listed, time = published_upto(entry), entry.fields()["listed"], entry.time
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


def published_upto(end: Entry | None) -> int:
    """Number of the last change that is published.

    Args:
        end: the last entry that ended a publication, verified; None before the first.

    Raises:
        AlteredStateError: it states no such number.
    """
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
