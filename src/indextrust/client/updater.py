"""`TufClient`: plain TUF, against any repository.

A short shell: trust decisions are made by `indextrust.trust.Session`, which asks for files;
`indextrust.client.drive` gets and stores them; this module starts sessions, starts them over
where another process or the operator was faster, and downloads targets.

A target's bytes are verified before anybody sees them under their own name.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import stat
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from indextrust.client.drive import Retry, World, drive
from indextrust.client.durable import replacing
from indextrust.client.ports import Clock, Fetcher, MetadataStore
from indextrust.client.urls import base_url, below
from indextrust.errors import (
    InputError,
    LengthError,
    StoreError,
    UnreachableError,
)
from indextrust.names import hash_prefixed
from indextrust.trust import (
    Absent,
    Known,
    Limits,
    Notice,
    NotListed,
    Session,
    TargetEntry,
    check_target_path,
)
from indextrust.trust.verdict import algorithms, check

__all__ = ["Refreshed", "TufClient", "file_matches", "utc_now"]

_CHUNK = 1 << 20


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
        notices: what was not refused and should be known.
    """

    root_version: int
    timestamp_version: int
    snapshot_version: int
    targets_version: int
    expires: datetime
    notices: tuple[Notice, ...]


class TufClient:
    """A client of one TUF repository. May be used by several threads.

    Args:
        metadata_url: where ``timestamp.json`` lies.
        root: the bootstrap root file, obtained in a way that is trusted.
        store: for the trusted metadata of this repository alone.
        fetcher: for metadata and targets.
        targets_url: where target paths begin; None if nothing will be downloaded.
        clock: gives the reference time.
        limits: upper bounds.

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
    ) -> None:
        self._world = World(base_url(metadata_url), store, fetcher)
        self._targets_url = None if targets_url is None else base_url(targets_url)
        self._root = root
        self._clock = clock
        self._limits = limits or Limits()
        self._known = Known()
        self._session: Session | None = None
        self._lock = threading.RLock()

    def refresh(self) -> Refreshed:
        """Bring root, timestamp, snapshot and top-level targets up to date.

        Raises:
            RefusedError: something came that is not acceptable. What was verified before it is
                stored; what an earlier refresh of this object trusted stays in use.
            UnreachableError: the repository could not be reached, or lacks a file.
            UnsupportedKeyError: a signature that can't be verified here.
            StoreError: the store failed; `ConflictError` if others kept changing it.
        """
        with self._lock:
            session = self._session = self._refreshed(Retry())
        trusted = session.trusted
        return Refreshed(
            trusted.root.version,
            trusted.timestamp.version,
            trusted.snapshot.version,
            trusted.targets.version,
            trusted.expires,
            tuple(session.notices),
        )

    def target(self, path: str) -> TargetEntry | NotListed:
        """What the trusted metadata says of a target path.

        Refreshes first if nothing did yet, or if what was trusted has expired meanwhile.

        Raises:
            UnsafePathError: a path that could leave its base; nothing is requested.
            RefusedError, UnreachableError, UnsupportedKeyError, StoreError: as `refresh`.
        """
        check_target_path(path)
        retry = Retry()
        while True:
            session = self._current()
            found = drive(session.lookup(path), self._world, retry)
            if found is not None:
                return found.result
            with self._lock:
                if self._session is session:
                    self._session = self._refreshed(retry)

    def download(self, entry: TargetEntry, destination: Path) -> Path:
        """Get a target's verified bytes into a file.

        The file appears complete or not at all; an older one stays until then. Bytes that are
        there already and match are not fetched again.

        Args:
            entry: from `target`.
            destination: the file's own path; its folder exists.

        Raises:
            LengthError, HashMismatchError: not the bytes that were vouched for.
            UnreachableError: they did not come.
            StoreError: they could not be written.
        """
        with _storing(destination):
            if file_matches(entry, destination):
                return destination
            with replacing(destination) as file:
                self._receive(entry, file)
        return destination

    def open(self, entry: TargetEntry) -> IO[bytes]:
        """A target's verified bytes in a nameless temporary file, at its beginning.

        Raises: as `download`.
        """
        with _storing(Path(tempfile.gettempdir())):
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

    def _current(self) -> Session:
        with self._lock:
            if self._session is None or self._clock() >= self._session.trusted.expires:
                self._session = self._refreshed(Retry())
            return self._session

    def _refreshed(self, retry: Retry) -> Session:
        while True:
            session = Session(self._root, now=self._clock(), limits=self._limits, known=self._known)
            try:
                if drive(session, self._world, retry) is not None:
                    return session
            finally:
                for notice in session.notices:
                    self._world.store.keep_evidence(notice.role, notice.evidence)

    def _receive(self, entry: TargetEntry, sink: IO[bytes]) -> None:
        """Write a target's bytes to `sink` and judge them. Only if it returns they are good."""
        if self._targets_url is None:
            raise InputError("this client was made without a URL for targets")
        if entry.length > self._limits.target_length:
            raise LengthError(
                "too long", where=entry.path, expected=self._limits.target_length, got=entry.length
            )
        hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms(entry)}
        url = below(self._targets_url, self._request_path(entry))
        length = 0
        with self._world.fetcher.stream(url, max_length=entry.length) as body:
            if isinstance(body, Absent):
                raise UnreachableError(f"{entry.path}: listed, and the server has no such file")
            for piece in body:
                length += len(piece)
                for digest in hashes.values():
                    digest.update(piece)
                sink.write(piece)
        check(entry, length, {name: digest.hexdigest() for name, digest in hashes.items()})

    def _request_path(self, entry: TargetEntry) -> str:
        """Hash-prefixed for consistent snapshots (TUF specification 5.7.3)."""
        if not self._current().trusted.root.consistent_snapshot:
            return check_target_path(entry.path)
        names = algorithms(entry)
        digest = entry.hashes["sha256" if "sha256" in names else names[-1]]
        return check_target_path(hash_prefixed(entry.path, digest))


def file_matches(entry: TargetEntry, path: Path) -> bool:
    """Whether `path` is a regular file (no symbolic link) with the bytes that `entry` lists.

    Raises:
        HashMismatchError: the entry lists no usable hash.
        OSError: it is there and can't be read.
    """
    names = algorithms(entry)
    with contextlib.suppress(FileNotFoundError):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and status.st_size == entry.length:
            hashes = [hashlib.new(name, usedforsecurity=False) for name in names]
            with open(path, "rb") as file:
                while piece := file.read(_CHUNK):
                    for digest in hashes:
                        digest.update(piece)
            return all(
                digest.hexdigest() == entry.hashes[name]
                for name, digest in zip(names, hashes, strict=True)
            )
    return False


@contextlib.contextmanager
def _storing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"can't write {path}: {error.strerror or error}") from error
