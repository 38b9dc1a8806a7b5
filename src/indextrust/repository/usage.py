"""The log of the online key: each use of it, so that a use that nobody asked for stands out.

One entry for each publication: when, with which key, how many bins, which snapshot and timestamp,
the digest of the timestamp and one over everything that was signed. An entry is written, and on
the disk, after the signatures were made and before anybody can see them: what is published is in
the log. (A publication that was cut short or refused after it has an entry too; the key was used.
One whose signer failed has none; it is in the transaction log.)

The file is only ever appended to. Each entry carries the SHA-256 of the one before it, so an entry
that was altered, left out or moved breaks the chain. Whoever can write the file can write a new
chain; so `check` also compares with the publications in the transaction log, which is sealed under
a key of its own (`indextrust.repository.log`), and both must agree on every timestamp. An operator
can keep the file where the publisher may append and not alter (`chattr +a`, another user's file
on another disk): then a thief of the server can't take back what he signed there. A thief who
took the key elsewhere leaves no entry; his timestamps have versions or digests that are not here.

Form: one JSON object on a line, keys sorted, no blanks; times as TUF writes them. ``batch`` is the
SHA-256 of the lines ``ROLE VERSION SHA256`` (each with a newline, sorted) of all files signed: any
copy of the public metadata gives it again. What follows the last newline was being written when
the power failed, and is no entry.

Sources: PEP 458, "Auditing Snapshots"; Schneier and Kelsey, "Secure Audit Logs to Support Computer
Forensics" (1999), for the chain.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from indextrust.canonical import canonical
from indextrust.errors import AlteredStateError, StoreError
from indextrust.names import SNAPSHOT, TIMESTAMP
from indextrust.repository.disk import storing
from indextrust.repository.durable import fsync_folder
from indextrust.repository.log import Entry
from indextrust.repository.plan import RoleFile, utc
from indextrust.repository.results import KeyUses

__all__ = ["FILE", "KeyUse", "UsageLog"]

FILE = "online.log"
"""Its name in the repository's folder, if the operator names no other place."""

_START = "0" * 64
_LINE = 65_536
"""The longest line; ours have some 500 bytes."""


@dataclass(frozen=True)
class KeyUse:
    """One use of the online key.

    Args:
        number: its place in the log; the first is 1.
        time: ``YYYY-MM-DDTHH:MM:SSZ``.
        keyid: of the online key.
        bins: how many bins were signed.
        snapshot: version of the snapshot that was signed; None if none was.
        timestamp: version of the timestamp that was signed.
        sha256: of the timestamp's file.
        batch: digest of everything that was signed.
        previous: SHA-256 of the entry before this one.
    """

    number: int
    time: str
    keyid: str
    bins: int
    snapshot: int | None
    timestamp: int
    sha256: str
    batch: str
    previous: str

    def line(self) -> bytes:
        """The entry as it is written."""
        return canonical(dataclasses.asdict(self)) + b"\n"


class UsageLog:
    """The log in one file. Callers hold the repository's lock while they append.

    Args:
        path: its place; the folder must be there.
        note: is called before something is written there
            (`indextrust.repository.usage_place.remember`).
    """

    def __init__(self, path: Path, note: Callable[[], None] = lambda: None) -> None:
        self.path = path
        self._note = note

    def record(self, time: str, keyid: str, signed: Mapping[str, RoleFile]) -> None:
        """Append one entry, durably.

        Args:
            time: now.
            keyid: of the online key.
            signed: every role that was signed with it, a timestamp among them.

        Raises:
            StoreError: the file can't be written; nothing is appended.
            AlteredStateError: its last entry is none of ours.
        """
        self._note()
        lines = sorted(f"{name} {file.version} {file.sha256}\n" for name, file in signed.items())
        timestamp, snapshot = signed[TIMESTAMP], signed.get(SNAPSHOT)
        batch = hashlib.sha256("".join(lines).encode()).hexdigest()
        bins = len(signed.keys() - {SNAPSHOT, TIMESTAMP})
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with storing(f"write {self.path}"):
            descriptor = os.open(self.path, flags, 0o600)
            try:
                number, previous, end = self._tip(descriptor)
                use = KeyUse(
                    number + 1,
                    time,
                    keyid,
                    bins,
                    None if snapshot is None else snapshot.version,
                    timestamp.version,
                    timestamp.sha256,
                    batch,
                    previous,
                )
                self._append(descriptor, use.line(), end)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if not number:
                fsync_folder(self.path.parent)

    def uses(self, *, last_bytes: int | None = None) -> Iterator[KeyUse]:
        """The entries in order, each the successor of the one before it.

        Args:
            last_bytes: only what lies in so much of the file's end; None for all of it.

        Raises:
            AlteredStateError: while it runs, at the first entry that is not as it was written,
                or follows another one than it says.
            StoreError: the file can't be read. One that is not there has no entries.
        """
        expected: tuple[int, str] | None = (1, _START)
        try:
            with storing(f"read {self.path}"), self._opened() as file:
                size = os.fstat(file.fileno()).st_size
                if last_bytes is not None and size > last_bytes:
                    file.seek(size - last_bytes)
                    file.readline(_LINE)
                    expected = None
                while (line := file.readline(_LINE)).endswith(b"\n"):
                    use = _read(line)
                    if use is None or (
                        expected is not None and (use.number, use.previous) != expected
                    ):
                        where = "an entry" if expected is None else f"entry {expected[0]}"
                        raise AlteredStateError(
                            f"{self.path}: {where} is not the one that was written there: "
                            f"entries were altered, left out or moved"
                        )
                    yield use
                    expected = (use.number + 1, hashlib.sha256(line).hexdigest())
                if len(line) == _LINE:
                    raise AlteredStateError(f"{self.path}: a line is longer than any entry")
        except StoreError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise

    def highest(self, *, last_bytes: int, limit: int) -> dict[str, int]:
        """The highest versions of snapshot and timestamp that were signed, by role name.

        For numbers to go on above them where nothing else is left that knows. Raises nothing: what
        follows an entry that is not as it was written is left out.

        Args:
            last_bytes: as for `uses`.
            limit: versions from here on are left out.
        """
        highest: dict[str, int] = {}
        with contextlib.suppress(AlteredStateError, StoreError):
            for use in self.uses(last_bytes=last_bytes):
                for name, version in ((SNAPSHOT, use.snapshot or 0), (TIMESTAMP, use.timestamp)):
                    if highest.get(name, 0) < version < limit:
                        highest[name] = version
        return highest

    def check(self, publications: Iterable[Entry]) -> None:
        """Compare the whole log with the publications in the transaction log.

        Args:
            publications: the entries that ended publications, verified, in order.

        Raises:
            AlteredStateError: an entry was altered, left out, moved or cut off, or a publication
                has another timestamp than the log says.
            StoreError: the file can't be read.
        """
        uses = self.uses()
        seen: tuple[int, str] = (0, "")
        for end in publications:
            file = end.fields()[TIMESTAMP]
            if file is None:
                continue
            published: tuple[int, str] = (file["version"], file["sha256"])
            while seen[0] < published[0]:
                use = next(uses, None)
                if use is None or use.timestamp <= seen[0]:
                    raise self._lacks(published[0])
                seen = (use.timestamp, use.sha256)
            if seen != published:
                raise self._lacks(published[0])
        for _ in uses:  # begun after what we saw of the transaction log, or interrupted
            pass

    def summary(self, now: datetime, *, last_bytes: int) -> KeyUses:
        """Count and rate.

        Args:
            now: aware.
            last_bytes: how much of the file is read, from its end.

        Raises:
            AlteredStateError, StoreError: as `uses`.
        """
        day, week = utc(now - timedelta(days=1)), utc(now - timedelta(days=7))
        count = days = weeks = 0
        last = None
        for use in self.uses(last_bytes=last_bytes):
            count, last = use.number, use.time
            days += use.time > day
            weeks += use.time > week
        size = self.path.stat().st_size if count else 0
        return KeyUses(str(self.path), size, count, days, weeks, last)

    def _opened(self) -> BinaryIO:
        """To read; a pipe, which somebody may have put or pointed to, would wait for ever."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return os.fdopen(descriptor, "rb")
        os.close(descriptor)
        raise StoreError(f"{self.path}: expected a regular file")

    def _tip(self, descriptor: int) -> tuple[int, str, int]:
        """Number and digest of the last entry, and where it ends."""
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(f"{self.path}: expected a regular file")
        start = max(0, status.st_size - _LINE)
        data = os.pread(descriptor, _LINE, start)
        end = data.rfind(b"\n") + 1
        if not end and not start:
            return 0, _START, 0
        line = data[data.rfind(b"\n", 0, end - 1) + 1 : end] if end else b""
        use = _read(line)
        if use is None:
            raise AlteredStateError(
                f"{self.path}: its last line is no entry of this log: somebody else wrote there. "
                f"Look what happened, then move the file away to begin a new one"
            )
        return use.number, hashlib.sha256(line).hexdigest(), start + end

    @staticmethod
    def _append(descriptor: int, line: bytes, end: int) -> None:
        """Write a line after `end`, whole or not at all."""
        if os.fstat(descriptor).st_size > end:
            os.ftruncate(descriptor, end)  # what a power failure left
        if os.write(descriptor, line) != len(line):
            os.ftruncate(descriptor, end)
            raise OSError(None, "no space for a whole entry")

    def _lacks(self, version: int) -> AlteredStateError:
        return AlteredStateError(
            f"{self.path}: the publication of timestamp {version} is not in it as it was "
            f"published: entries were cut off or altered, or the log was kept elsewhere then"
        )


def _read(line: bytes) -> KeyUse | None:
    """An entry; None if it is not exactly as `KeyUse.line` writes it."""
    try:
        tree: Any = json.loads(line)
        use = KeyUse(**tree)
        numbers = (use.number, use.bins, use.timestamp, use.snapshot or 0)
        texts = (use.time, use.keyid, use.sha256, use.batch, use.previous)
        fits = all(type(n) is int for n in numbers) and all(type(t) is str for t in texts)
        return use if fits and use.line() == line else None
    except (ValueError, TypeError, RecursionError):
        return None
