"""The incident records of an index, brought here and read.

They are the targets below ``incidents/`` that the top-level targets role itself lists. An index
that lists none costs nothing: no look-up, no request. A record is fetched once and kept by its
digest; what is kept is compared with what the role lists each time, so it may come from anywhere.

No record is passed over. One that can't be had or can't be read ends what was asked for: it may
be the one that calls bad what would be installed next. Its author holds offline keys, so that is
no way for a server to stop clients, which it can always do by being silent.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading

from indextrust.client.ports import MetadataStore
from indextrust.client.updater import TufClient
from indextrust.client.vouched import require_sha256
from indextrust.errors import LengthError, RefusedError, UnreachableError
from indextrust.incidents import FOLDER, MAX_LENGTH, MAX_RECORDS, Incident, parse
from indextrust.trust import Incidents, TargetEntry
from indextrust.trust.verdict import check_digests, check_hashes, check_length

__all__ = ["IncidentRecords"]

_MOST_BYTES = 64_000_000  # of all records together
_NONE = Incidents()


class IncidentRecords:
    """The records that count now. May be used by several threads.

    Args:
        tuf: the client of the index's repository.
        store: where they are kept.
    """

    def __init__(self, tuf: TufClient, store: MetadataStore) -> None:
        self._tuf = tuf
        self._store = store
        self._lock = threading.Lock()
        self._listed: tuple[tuple[str, str], ...] = ()  # paths and digests of `_current`
        self._current = _NONE

    def current(self) -> Incidents:
        """What all records say. Refreshes the metadata first if the policy wants it.

        Raises:
            LengthError: too many records, or too long ones.
            MalformedError, ProfileError: one that can't be read.
            UnreachableError: one that can't be had; offline, one that was never fetched.
            and what `TufClient.state` and `TufClient.read` raise.
        """
        entries = self._tuf.own_targets(FOLDER)
        listed = tuple((entry.path, _sha256(entry)) for entry in entries)
        with self._lock:
            if listed != self._listed:
                _check_sizes(entries)
                self._current = Incidents(self._read(entry) for entry in entries)
                self._listed = listed
            return self._current

    def _read(self, entry: TargetEntry) -> Incident:
        sha256 = _sha256(entry)
        data = self._store.kept_target(sha256)
        if data is None or not _matches(entry, data):
            try:
                data = self._tuf.read(entry, max_length=MAX_LENGTH)
            except UnreachableError as error:
                missing = f"{entry.path}: an incident record is missing: {error}"
                raise UnreachableError(missing) from error
            self._store.keep_target(sha256, data)
        return parse(data, path=entry.path)


def _sha256(entry: TargetEntry) -> str:
    check_hashes(entry.hashes, where=entry.path)
    require_sha256(entry)
    return entry.hashes["sha256"]


def _check_sizes(entries: tuple[TargetEntry, ...]) -> None:
    if len(entries) > MAX_RECORDS:
        raise LengthError(
            "too many incident records", where=FOLDER, expected=MAX_RECORDS, got=len(entries)
        )
    length = sum(entry.length for entry in entries)
    if length > _MOST_BYTES:
        raise LengthError(
            "incident records too long together", where=FOLDER, expected=_MOST_BYTES, got=length
        )


def _matches(entry: TargetEntry, data: bytes) -> bool:
    """Whether what was kept is what is listed now."""
    with contextlib.suppress(RefusedError):
        check_length(entry.length, len(data), where=entry.path)
        digests = {name: hashlib.new(name, data).hexdigest() for name in entry.hashes}
        check_digests(entry.hashes, digests, where=entry.path)
        return True
    return False
