"""The gate: what a client would refuse is not published.

Before ``timestamp.json`` is replaced, the new set is read as a client reads it, by
`indextrust.trust`, from the files that were written: a client that has seen what is served now,
and refreshes with the new timestamp.

* Each time: new roots, timestamp, snapshot; signatures, versions, rollback against what is
  served now, expiry; and that a next root, whoever put it there, can be followed.
* The whole chain, from the oldest root that is kept on, targets and bins included: once for each
  `Gate`, which lives as long as the process has the repository open. Then only what is new, as
  a client does that refreshed before (`Known`).
* Bins whose targets changed: a new or removed target in each is looked up, and the answer has to
  be what was planned. Up to `_EACH` bins all of them, of more that many, evenly spread: their
  signatures were all verified when they were made (`signing`), and they all come out of one
  encoder, so what the others would add is minutes.

Left to others: bins that were renewed, whose targets are the bytes of their last file
(`encode.renewed_payload`) under a signature verified when it was made.

Sources: TUF specification 5; PEP 458, "Producing Consistent Snapshots".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from indextrust.errors import RefusedError, RepositoryError, UnreachableError
from indextrust.names import ROOT, SNAPSHOT, TIMESTAMP, metadata_filename
from indextrust.repository.offline import Offline
from indextrust.repository.plan import BinEdit, TargetFile
from indextrust.repository.served import METADATA, stated_versions
from indextrust.repository.storage import FolderStorage
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

__all__ = ["Gate"]

_EACH = 256


class Gate:
    """Reads what is about to be published.

    Args:
        storage: the public folder.
    """

    def __init__(self, storage: FolderStorage) -> None:
        self._storage = storage
        self._known = Known()
        self._anchor: bytes | None = None

    def check(
        self, offline: Offline, timestamp: bytes, edits: Mapping[str, BinEdit], now: datetime
    ) -> None:
        """Refuse what a client would refuse that has seen what is served now.

        Args:
            offline: roots, targets and bins of the new set; its roots need not be written yet.
            timestamp: the new one, not written yet; all else that it leads to is.
            edits: what changed in each bin.
            now: aware.

        Raises:
            RepositoryError: with the client's reason.
        """
        client = _Client(self._storage, offline, timestamp)
        anchor = self._anchor or offline.roots[min(offline.roots)]
        try:
            session = Session(anchor, now=now, known=self._known)
            client.drive(session)
            for path, expected in _samples(edits):
                lookup = session.lookup(path)
                client.drive(lookup)
                _compare(path, expected, lookup)
        except (RefusedError, UnreachableError) as error:
            raise RepositoryError(f"not published, a client would refuse it: {error}") from error
        self._anchor = offline.roots[max(offline.roots)]


def _samples(edits: Mapping[str, BinEdit]) -> Iterable[tuple[str, TargetFile | None]]:
    """One changed path of each bin and what is planned for it, of `_EACH` bins or a few more."""
    for name in list(edits)[:: max(1, len(edits) // _EACH)]:
        edit = edits[name]
        if edit.put:
            yield next(iter(edit.put.items()))
        else:
            yield edit.drop[0], None


def _compare(path: str, expected: TargetFile | None, lookup: Lookup) -> None:
    """Refuse another answer than was planned. Raises RepositoryError."""
    want = lookup.wants()
    found = want.result if isinstance(want, Done) else None
    got = None
    if isinstance(found, TargetEntry):
        got = (found.length, dict(found.hashes))
    planned = None if expected is None else (expected.length, {"sha256": expected.sha256})
    if got != planned:
        raise RepositoryError(
            f"not published, a client would not find what was planned for {path!r}: "
            f"expected {planned}, got {got}"
        )


class _Client:
    """Answers the requests of a client that refreshed a moment ago and does so again."""

    def __init__(self, storage: FolderStorage, offline: Offline, timestamp: bytes) -> None:
        self._storage = storage
        self._offline = offline
        self._timestamp = timestamp

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
        if role not in (SNAPSHOT, TIMESTAMP):
            return None
        version = stated_versions(self._storage).get(SNAPSHOT) if role == SNAPSHOT else None
        return self._storage.read(METADATA + metadata_filename(role, version), Limits().ceiling)

    def _fetch(self, want: Fetch) -> bytes | None:
        """What it will get: the two that are not written yet, and the rest."""
        if want.role == TIMESTAMP:
            return self._timestamp
        if want.role == ROOT and (root := self._offline.roots.get(want.version or 0)):
            return root
        return self._storage.read(METADATA + want.filename, want.max_length)
