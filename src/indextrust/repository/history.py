"""The transaction log as people read it: who asked for what, when, and what became of it.

Entries come in the order of the log, without a gap, and each was verified
(`indextrust.repository.log`); with a project only its own are shown, and all are verified. One
walk gives the entries; a second one, over the publications alone, runs ahead just far enough to
say in which publication a change went out. So memory is bounded, whatever the length of the log.

Source: PEP 458, "Producing Consistent Snapshots" (the transaction log).
"""

from __future__ import annotations

from collections.abc import Iterator

from indextrust.names import SNAPSHOT, TIMESTAMP, NormalizedName
from indextrust.repository.changes import Add, Import, Rehash, Yank, decode
from indextrust.repository.log import BEGIN, CHANGE, END, Entry, Log
from indextrust.repository.results import LogEntry

__all__ = ["history"]


def history(log: Log, project: NormalizedName | None, since: int | None) -> Iterator[LogEntry]:
    """The log, entry by entry.

    Args:
        log: of the repository.
        project: only what was asked for this project; None for all, publications included.
        since: version of a snapshot: only what came after it, or was published after it.

    Raises:
        AlteredStateError: while it runs, at the first entry that is not as it was written.
    """
    ends = log.ends()
    start, ahead = None, next(ends, None)
    while since is not None and ahead is not None and (_version(ahead, SNAPSHOT) or 0) <= since:
        start, ahead = ahead, next(ends, None)
    first = 0 if start is None else _upto(start)
    for entry in log.verified(since=first):
        while ahead is not None and _upto(ahead) < entry.number:
            ahead = next(ends, None)
        if entry.kind == CHANGE:
            if project in (None, entry.project):
                yield _change(entry, ahead)
        elif project is None and (start is None or entry.number > start.number):
            yield _other(entry)


def _change(entry: Entry, end: Entry | None) -> LogEntry:
    """A change, and the publication that it went out with, if there is one."""
    change = decode(entry.body)
    what = type(change).__name__.lower()
    if isinstance(change, Yank) and change.reason is None:
        what = "unyank"
    return LogEntry(
        *(entry.number, entry.time, entry.who, what, change.project),
        filename=None if isinstance(change, Import | Rehash) else change.filename,
        files=len(change.files) if isinstance(change, Import | Rehash) else None,
        sha256=change.file.sha256 if isinstance(change, Add) else None,
        reason=change.reason if isinstance(change, Yank) else None,
        publication=None if end is None else end.fields()["publication"],
        snapshot=None if end is None else _version(end, SNAPSHOT),
        timestamp=None if end is None else _version(end, TIMESTAMP),
    )


def _other(entry: Entry) -> LogEntry:
    """What was no change: the publications, and what happened to the repository."""
    fields, head = entry.fields(), (entry.number, entry.time, entry.who)
    if entry.kind == BEGIN:
        return LogEntry(
            *(*head, "begin"),
            publication=entry.number,
            snapshot=fields[SNAPSHOT],
            timestamp=fields[TIMESTAMP],
        )
    if entry.kind == END:
        return LogEntry(
            *(*head, "publish"),
            publication=fields["publication"],
            snapshot=_version(entry, SNAPSHOT),
            timestamp=_version(entry, TIMESTAMP),
        )
    return LogEntry(*head, entry.kind, reason=fields.get("reason"), lost=fields.get("lost"))


def _upto(end: Entry) -> int:
    """Number of the last change that is published."""
    number: int = end.fields()["upto"]
    return number


def _version(end: Entry, role: str) -> int | None:
    """Version of a role as a publication left it; None if none was published yet."""
    file = end.fields()[role]
    return None if file is None else int(file["version"])
