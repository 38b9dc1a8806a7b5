"""`TufClient`: plain TUF, against any repository.

A short shell: trust decisions are made by `indextrust.trust.Session`, which asks for files;
`indextrust.client.drive` gets and stores them; this module starts sessions, starts them over
where another process or the operator was faster, and downloads targets.

A target's bytes are verified before anybody sees them under their own name.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from indextrust.client.current import Current
from indextrust.client.drive import Attempt, Call, drive, from_store
from indextrust.client.durable import replacing
from indextrust.client.ports import Clock, Fetcher, MetadataStore
from indextrust.client.receive import Incoming, file_matches, storing, target_url
from indextrust.client.urls import base_url, below
from indextrust.errors import InputError, LengthError, UnreachableError
from indextrust.trust import (
    Absent,
    Fetch,
    Limits,
    Notice,
    NotListed,
    Policy,
    Session,
    TargetEntry,
    check_target_path,
)
from indextrust.trust.verdict import check_digests, check_hashes

__all__ = ["Refreshed", "TufClient", "utc_now"]


def utc_now() -> datetime:
    """The system's clock."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Refreshed:
    """What is trusted after a refresh.

    Args:
        root_version: version of the root.
        timestamp_version: version of the timestamp.
        snapshot_version: version of the snapshot.
        targets_version: version of the top-level targets.
        expires: when the first of the four expires, aware, UTC.
        asked: when the repository was asked for them, aware, UTC. Offline, that is a while ago.
        notices: what was not refused and should be known.
    """

    root_version: int
    timestamp_version: int
    snapshot_version: int
    targets_version: int
    expires: datetime
    asked: datetime
    notices: tuple[Notice, ...]

    @classmethod
    def of(cls, session: Session, asked: datetime) -> Refreshed:
        """What a finished session trusts."""
        trusted = session.trusted
        return cls(
            trusted.root.version,
            trusted.timestamp.version,
            trusted.snapshot.version,
            trusted.targets.version,
            trusted.expires,
            asked,
            tuple(session.notices),
        )


class TufClient:
    """A client of one TUF repository. May be used by several threads.

    Args:
        metadata_url: where ``timestamp.json`` lies.
        root: the bootstrap root file, obtained in a way that is trusted.
        store: for the trusted metadata of this repository alone.
        fetcher: for metadata and targets.
        targets_url: where target paths begin; None if nothing will be downloaded.
        clock: gives the time.
        limits: upper bounds.
        policy: what is asked of freshness beyond expiry.

    Raises:
        InputError: a URL that can't be used.
    """

    def __init__(
        self,
        metadata_url: str,
        *,
        root: bytes,
        store: MetadataStore,
        fetcher: Fetcher,
        targets_url: str | None = None,
        clock: Clock = utc_now,
        limits: Limits | None = None,
        policy: Policy | None = None,
    ) -> None:
        self._metadata_url = base_url(metadata_url)
        self._targets_url = None if targets_url is None else base_url(targets_url)
        self._store = store
        self._fetcher = fetcher
        self._limits = limits or Limits()
        self._current = Current(root, store, clock, self._limits, policy or Policy())
        self._lock = threading.RLock()

    @property
    def offline(self) -> bool:
        """Whether the policy is never to ask the repository."""
        return self._current.offline

    def refresh(self) -> Refreshed:
        """Bring root, timestamp, snapshot and top-level targets up to date.

        Asks the repository, however fresh what is trusted may be; unless the policy is offline.

        Raises:
            RefusedError: something came that is not acceptable. What was verified before it is
                stored; what an earlier refresh of this object trusted stays in use.
                (`OutdatedRootError`, an alarm: by the policy. `ExpiredError`: also where the last
                refresh is too long ago for offline use.)
            UnreachableError: the repository could not be reached, or lacks a file.
                (`BudgetExceededError`: not all of it came within our bounds.)
            UnsupportedKeyError: a signature that can't be verified here.
            StoreError: the store failed; `ConflictError` if others kept changing it.
        """
        call = self._call()
        with self._lock:
            session = self._usable(call) if self._current.offline else self._ask(call)
            return Refreshed.of(session, self._current.asked)

    def state(self) -> Refreshed:
        """What is trusted now. Asks the repository only if the policy wants it.

        Raises: as `refresh`.
        """
        call = self._call()
        with self._lock:
            return Refreshed.of(self._usable(call), self._current.asked)

    def target(self, path: str) -> TargetEntry | NotListed:
        """What the trusted metadata says of a target path.

        Refreshes first if the policy wants it, or if what was trusted has expired meanwhile.

        Raises:
            UnsafePathError: a path that could leave its base; nothing is requested.
            RefusedError, UnreachableError, UnsupportedKeyError, StoreError: as `refresh`.
        """
        check_target_path(path)
        call = self._call()
        while True:
            with self._lock:
                session = self._usable(call)
                lookup = session.lookup(path, now=self._current.now())
            attempt = Attempt(lookup, self._store, call)
            found = drive(attempt, lambda want: self._get(want, call))
            if found is not None:
                return found.result
            with self._lock:
                if self._current.session is session:
                    self._current.start_over()
                    if not self._current.offline:
                        self._ask(call)

    def own_targets(self, folder: str) -> tuple[TargetEntry, ...]:
        """What the top-level targets role itself lists below `folder`, sorted by path.

        What a delegated role lists there doesn't count, whatever it was delegated: for what only
        the keys of targets may say.

        Args:
            folder: how the paths begin, with a slash at the end.

        Raises: as `state`.
        """
        call = self._call()
        with self._lock:
            return self._usable(call).own_targets(folder)

    def download(self, entry: TargetEntry, destination: Path, *, plain: bool = False) -> Path:
        """Get a target's verified bytes into a file.

        The file appears complete or not at all; an older one stays until then. Bytes that are
        there already and match are not fetched again.

        Args:
            entry: from `target`; or what a verified target says of a file that is none.
            destination: the file's own path; its folder exists.
            plain: ask under the plain name, as for a file that is no target.

        Raises:
            LengthError, HashMismatchError: not the bytes that were vouched for.
            UnreachableError: they did not come.
            StoreError: they could not be written.
        """
        with storing(destination):
            if file_matches(entry, destination):
                return destination
            with replacing(destination) as file:
                self._receive(entry, file, plain=plain)
        return destination

    def open(self, entry: TargetEntry) -> IO[bytes]:
        """A target's verified bytes in a nameless temporary file, at its beginning.

        Raises: as `download`.
        """
        with storing(Path(tempfile.gettempdir())):
            file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
            try:
                self._receive(entry, file)
                file.seek(0)
            except BaseException:
                file.close()
                raise
        return file

    def read(self, entry: TargetEntry, *, max_length: int) -> bytes:
        """A target's verified bytes in memory.

        Args:
            entry: from `target`.
            max_length: bytes; an entry that lists more is refused, and nothing is requested.

        Raises: as `download`, without StoreError.
        """
        if entry.length > max_length:
            raise LengthError(
                "too long", where=entry.path, expected=f"at most {max_length}", got=entry.length
            )
        sink = io.BytesIO()
        self._receive(entry, sink)
        return sink.getvalue()

    def read_plain(self, path: str, hashes: Mapping[str, str], *, max_length: int) -> bytes:
        """The bytes of a file that is no target, in memory, verified by what a target says of it.

        Args:
            path: below the targets' URL.
            hashes: from a verified target: algorithm to lower-case hex; all have to agree.
            max_length: bytes; of a longer file nothing is returned.

        Raises:
            HashMismatchError: other bytes came.
            and what `download` raises, without StoreError.
        """
        if self._targets_url is None:
            raise InputError("this client was made without a URL for targets")
        url = below(self._targets_url, check_target_path(path))
        if self._current.offline:
            raise UnreachableError(f"{path}: offline, the repository isn't asked")
        data = self._fetcher.fetch(url, max_length=max_length)
        if isinstance(data, Absent):
            raise UnreachableError(f"{path}: listed, and the server has no such file")
        names = check_hashes(hashes, where=path)
        check_digests(
            hashes, {name: hashlib.new(name, data).hexdigest() for name in names}, where=path
        )
        return data

    # -- parts -------------------------------------------------------------------------------

    def _call(self) -> Call:
        return Call(self._limits.refresh_seconds)

    def _usable(self, call: Call) -> Session:
        return self._current.usable() or self._ask(call)

    def _ask(self, call: Call) -> Session:
        """A session that asked the repository."""
        while True:
            session = self._current.begin()
            try:
                attempt = Attempt(session, self._store, call)
                if drive(attempt, lambda want: self._get(want, call)) is not None:
                    self._current.finished(session)
                    return session
            finally:
                self._current.keep(session)

    def _get(self, want: Fetch, call: Call) -> bytes | Absent:
        if self._current.offline:
            return from_store(want, self._store)
        return self._fetcher.fetch(
            self._metadata_url + want.filename,
            max_length=want.max_length,
            seconds=call.seconds_left(),
        )

    def _receive(self, entry: TargetEntry, sink: IO[bytes], *, plain: bool = False) -> None:
        """Write a target's bytes to `sink` and judge them. Only if it returns they are good."""
        call = self._call()
        with self._lock:
            root = self._usable(call).trusted.root
        url = target_url(
            self._targets_url,
            entry,
            consistent=root.consistent_snapshot and not plain,
            longest=self._limits.target_length,
        )
        if self._current.offline:
            raise UnreachableError(f"{entry.path}: offline, the repository isn't asked")
        incoming = Incoming(entry, sink)
        with self._fetcher.stream(url, max_length=entry.length) as body:
            if isinstance(body, Absent):
                raise UnreachableError(f"{entry.path}: listed, and the server has no such file")
            for piece in body:
                incoming.write(piece)
        incoming.finish()
