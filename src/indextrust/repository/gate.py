"""The gate: what a client would refuse is not published.

Before ``timestamp.json`` is replaced, the new set is read as a client reads it, by
`indextrust.trust`, from the files that were written: a client that has seen what is served now,
and refreshes with the new timestamp.

* Each time: new roots, timestamp, snapshot; signatures, versions, rollback against what is
  served now, expiry; and that a next root, whoever put it there, can be followed.
* The whole chain, from the oldest root that is kept on, targets and bins included: once for each
  `Gate`, which lives as long as the process has the repository open. Then only what is new, as
  a client does that refreshed before (`Known`).
* A second time at a later moment: `MARGIN` before the first of the new files expires, by what the
  publisher meant to sign. So nothing expires sooner than was thought.
* Every new and every removed target is looked up at that moment, and the answer has to be what was
  planned; so every bin whose targets changed is read from the disk and verified.
* Bins that were merely renewed have the targets of their last file (`encode.renewed_payload`), so
  nothing is looked up in them: each is read from the disk, has to be the file that was written,
  and its signature is verified.

Many bins are read by several processes (`indextrust.repository.workers`).

Sources: TUF specification 5; PEP 458, "Producing Consistent Snapshots".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from indextrust.errors import (
    RefusedError,
    RepositoryError,
    SignatureError,
    SigningError,
    UnreachableError,
)
from indextrust.names import BINS, ROOT, SNAPSHOT, TIMESTAMP, metadata_filename
from indextrust.repository.offline import Offline
from indextrust.repository.plan import BinEdit, RoleFile, TargetFile, describe
from indextrust.repository.served import METADATA
from indextrust.repository.signing import opened
from indextrust.repository.storage import FolderStorage
from indextrust.repository.workers import Workers
from indextrust.trust import (
    ABSENT,
    STORED,
    Done,
    Fetch,
    Known,
    Limits,
    Load,
    Lookup,
    Session,
    TargetEntry,
)
from indextrust.trust.keys import RoleKeys, parse_key, verify_threshold

__all__ = ["MARGIN", "Gate", "OnlineKey", "Reader", "Samples", "View"]

MARGIN = timedelta(minutes=1)
"""How long before the first expiry of a new set it is read for the second time."""

S = TypeVar("S")
T = TypeVar("T")

_BATCH = 64
"""Targets or bins that another process reads at a time."""

Samples = Sequence[tuple[str, TargetFile | None]]
"""Target paths, and what is planned for each: None if it is no target any more."""


OnlineKey = tuple[str, Mapping[str, Any]]
"""Key id and key object, as ``bins`` lists it."""


@dataclass(frozen=True)
class View:
    """What a client has that read the new set a moment before.

    Args:
        anchor: the latest root.
        timestamp: the new one, not written yet.
        now: when it reads it again.
    """

    anchor: bytes
    timestamp: bytes
    now: datetime


class Reader:
    """A client that reads the new set, of which all but the timestamp is written.

    Args:
        storage: the public folder.
        known: what was verified before.
    """

    def __init__(self, storage: FolderStorage, known: Known | None = None) -> None:
        self._storage = storage
        self._known = known or Known()
        self._last: tuple[View, Session, _Client] | None = None

    def check(self, view: View, samples: Samples) -> None:
        """Refuse what it would refuse, and answers that were not planned.

        Raises:
            RepositoryError: with the client's reason.
        """
        try:
            if self._last is None or self._last[0] != view:
                client = _Client(self._storage, {}, view.timestamp, view.timestamp)
                session = Session(view.anchor, now=view.now, known=self._known)
                client.drive(session)
                self._last = (view, session, client)
            _, session, client = self._last
            for path, expected in samples:
                lookup = session.lookup(path)
                client.drive(lookup)
                _compare(path, expected, lookup)
        except (RefusedError, UnreachableError) as error:
            raise RepositoryError(f"not published, a client would refuse it: {error}") from error

    def check_signed(self, key: OnlineKey, files: Sequence[tuple[str, RoleFile]]) -> None:
        """Refuse files that are not what was written, or not signed.

        Args:
            key: that has to have signed.
            files: role names and what was written of each.

        Raises:
            RepositoryError: another file is there.
            SigningError: the key's signature is not valid.
        """
        keyid, tree = key
        keys = RoleKeys((keyid,), 1, {keyid: parse_key(keyid, tree, where=BINS)})
        for name, file in files:
            path = METADATA + metadata_filename(name, file.version)
            data = self._storage.read(path, file.length)
            if data is None or describe(data) != TargetFile(file.length, file.sha256):
                raise RepositoryError(f"not published, a client would get another {path}")
            signature, payload = opened(data, where=path)
            signatures = {signature.keyid: signature.signature}
            try:
                verify_threshold(name, keys, payload, signatures, where=BINS)
            except SignatureError as error:
                raise SigningError(f"not published, a client would refuse it: {error}") from error


class Gate:
    """Reads what is about to be published.

    Args:
        storage: the public folder.
        workers: help where there is much to read.
    """

    def __init__(self, storage: FolderStorage, workers: Workers) -> None:
        self._storage = storage
        self._workers = workers
        self._known = Known()
        self._anchor: bytes | None = None
        self._reader = Reader(storage, self._known)

    def check(
        self,
        offline: Offline,
        timestamp: bytes,
        edits: Mapping[str, BinEdit],
        renewed: Sequence[tuple[str, RoleFile]],
        now: datetime,
        until: datetime,
    ) -> None:
        """Refuse what a client would refuse that has seen what is served now.

        Args:
            offline: roots, targets and bins of the new set; its roots need not be written yet.
            timestamp: the new one, not written yet; all else that it leads to is.
            edits: what changed in each bin.
            renewed: bins that were signed anew with the targets that they had.
            now: aware.
            until: when the first of the files expires that were signed now.

        Raises:
            RepositoryError: with the client's reason.
            SigningError: a signature is not valid, or another process that helped to read failed.
        """
        self._refresh(offline, timestamp, now)
        latest = offline.roots[max(offline.roots)]
        ends = [until, *(datetime.fromisoformat(role.expires) for role in offline.roles.values())]
        view = View(latest, timestamp, max(now, min(ends) - MARGIN))
        samples = list(_samples(edits))
        self._reader.check(view, ())
        self._read("look", view, samples, self._reader.check)
        key = _online_key(offline)
        self._read("verify", key, renewed, self._reader.check_signed)
        self._anchor = latest

    def _read(
        self, job: str, what: T, items: Sequence[S], here: Callable[[T, Sequence[S]], None]
    ) -> None:
        """Have items read by workers, by the job of that name, or `here` if there are few."""
        if self._workers.are_worth(len(items), None):
            batches = (items[at : at + _BATCH] for at in range(0, len(items), _BATCH))
            for _ in self._workers.run(job, ((None, (what, batch)) for batch in batches)):
                pass
        else:
            here(what, items)

    def _refresh(self, offline: Offline, timestamp: bytes, now: datetime) -> None:
        """As a client that has seen what is served now. Raises RepositoryError."""
        name = METADATA + metadata_filename(TIMESTAMP)
        before = self._storage.read(name, Limits().ceiling)
        client = _Client(self._storage, offline.roots, timestamp, before)
        anchor = self._anchor or offline.roots[min(offline.roots)]
        try:
            client.drive(Session(anchor, now=now, known=self._known))
        except (RefusedError, UnreachableError) as error:
            raise RepositoryError(f"not published, a client would refuse it: {error}") from error


def _online_key(offline: Offline) -> OnlineKey:
    """The key of the bins, from the verified ``bins`` role."""
    keys = json.loads(offline.roles[BINS].data)["signed"]["delegations"]["keys"]
    return offline.online_keyid, keys[offline.online_keyid]


def _samples(edits: Mapping[str, BinEdit]) -> Iterator[tuple[str, TargetFile | None]]:
    """Every changed path and what is planned for it, bin by bin."""
    for edit in edits.values():
        dropped = set(edit.drop)
        yield from ((path, target) for path, target in edit.put.items() if path not in dropped)
        yield from ((path, None) for path in edit.drop)


def _compare(path: str, expected: TargetFile | None, lookup: Lookup) -> None:
    """Refuse another answer than was planned. Raises RepositoryError."""
    want = lookup.wants()
    found = want.result if isinstance(want, Done) else None
    got = None
    if isinstance(found, TargetEntry):
        got = (found.length, dict(found.hashes))
    planned = None if expected is None else (expected.length, expected.hashes)
    if got != planned:
        raise RepositoryError(
            f"not published, a client would not find what was planned for {path!r}: "
            f"expected {planned}, got {got}"
        )


def _snapshot_of(timestamp: bytes) -> int | None:
    """The version of the snapshot that a timestamp names, whoever wrote it."""
    try:
        version = json.loads(timestamp)["signed"]["meta"]["snapshot.json"]["version"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return version if type(version) is int else None


class _Client:
    """Answers the requests of a client.

    Args:
        storage: the public folder.
        roots: those that are not written yet.
        timestamp: the one that it will get, not written yet either.
        stored: the one that it has, with the snapshot that this names; None if it has none.
    """

    def __init__(
        self,
        storage: FolderStorage,
        roots: Mapping[int, bytes],
        timestamp: bytes,
        stored: bytes | None,
    ) -> None:
        self._storage = storage
        self._roots = roots
        self._timestamp = timestamp
        self._stored = stored

    def drive(self, machine: Session | Lookup) -> None:
        while not isinstance(want := machine.wants(), Done):
            if isinstance(want, Load):
                machine.feed(self._load(want.role) or ABSENT)
            elif isinstance(want, Fetch):
                machine.feed(self._fetch(want) or ABSENT)
            else:
                machine.feed(STORED)

    def _load(self, role: str) -> bytes | None:
        """What it has stored."""
        if role == TIMESTAMP:
            return self._stored
        if role != SNAPSHOT or self._stored is None:
            return None
        version = _snapshot_of(self._stored)
        return self._storage.read(METADATA + metadata_filename(role, version), Limits().ceiling)

    def _fetch(self, want: Fetch) -> bytes | None:
        """What it will get: the two that are not written yet, and the rest."""
        if want.role == TIMESTAMP:
            return self._timestamp
        if want.role == ROOT and (root := self._roots.get(want.version or 0)):
            return root
        return self._storage.read(METADATA + want.filename, want.max_length)
