"""A repository's folder that is open: its parts, and the two operations that all others end in.

`Repository` is what an operator works with. Here are the places in the folder, the lock, the
offline roles in force, and how a publication is made (`Opened._publish`), also after the state was
made the truth again (`Opened._start_over`).
"""

from __future__ import annotations

import contextlib
import errno
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from securesystemslib.signer import Signer

from indextrust.errors import FrozenError, RepositoryError, SigningError, StoreError
from indextrust.names import SNAPSHOT, TIMESTAMP
from indextrust.repository import usage
from indextrust.repository.disk import sweep
from indextrust.repository.freeze import Freeze
from indextrust.repository.gate import Gate
from indextrust.repository.lock import locked
from indextrust.repository.objects import ObjectStore
from indextrust.repository.offline import (
    Offline,
    check_expiry,
    check_online_key,
    check_successor,
    verify,
)
from indextrust.repository.plan import LIFETIME, TargetFile, utc
from indextrust.repository.publish import Publisher, Warm
from indextrust.repository.queue import Pending
from indextrust.repository.rebin import Rebinner, old_scheme
from indextrust.repository.restore import Repair
from indextrust.repository.results import Published
from indextrust.repository.roles import SignedRoles
from indextrust.repository.served import highest_versions, stated_versions, targets_served
from indextrust.repository.state import State
from indextrust.repository.state_questions import OfflineDigests
from indextrust.repository.status import clock_warnings
from indextrust.repository.storage import FolderStorage
from indextrust.repository.usage import UsageLog
from indextrust.repository.usage_place import place_of, remember
from indextrust.repository.workers import Workers

__all__ = ["INCOMING", "LOCK", "OBJECTS", "STATE", "Clock", "Opened", "utc_now"]

Clock = Callable[[], datetime]
"""Tells the time: aware, UTC."""

STATE, LOCK, INCOMING, OBJECTS = "state.sqlite", "lock", "incoming", "objects"
"""Names in the folder of a repository."""

_REFUSED = frozenset({errno.EDQUOT, errno.EIO, errno.ENOSPC, errno.EROFS})
"""Errors of a disk that takes nothing, whatever lies on it."""


def utc_now() -> datetime:
    """The time, aware, UTC."""
    return datetime.now(UTC)


class Opened:
    """The parts of an index folder.

    Args:
        folder: the repository's.
        state: its working copy.
        online: signer of the online key; None if nothing will be published.
        clock: tells the time, aware, UTC.
        online_log: where each use of the online key is logged, from now on; None for where it
            was the last time (`indextrust.repository.usage_place`).
    """

    def __init__(
        self,
        folder: Path,
        state: State,
        online: Signer | None,
        clock: Clock,
        online_log: Path | None = None,
    ) -> None:
        self.folder = folder
        self._state = state
        self._online = online
        self._clock = clock
        scratch = folder / INCOMING
        self._objects = ObjectStore(folder / OBJECTS, scratch)
        self._storage = FolderStorage(folder / "public", scratch, folder / "quarantine")
        workers = Workers(self._storage)
        log = (online_log or place_of(folder) or folder / usage.FILE).absolute()
        note = partial(remember, folder, scratch, log)
        self._usage = UsageLog(log, note) if online_log else UsageLog(log)
        self._freeze = Freeze(folder)
        self._warm = Warm(Gate(self._storage, workers), workers, self._usage, self._freeze)
        self._verified: tuple[OfflineDigests, Offline] | None = None

    @property
    def public(self) -> Path:
        """The folder to serve."""
        return self._storage.public

    def signed_roles(self) -> SignedRoles:
        """The offline roles in force, from the private copies: what the next ceremony starts from.

        Not read from the public folder, where a thief may have put others.
        """
        return self._read_roles(self._state.offline())

    def _read_roles(self, digests: OfflineDigests) -> SignedRoles:
        """The offline roles in the private copies of these digests."""
        roots = tuple(map(self._objects.read, digests.roots))
        signed = self._objects.read(digests.targets)
        listed = json.loads(signed)["signed"]["targets"]
        incidents = {
            path: self._objects.read(entry["hashes"]["sha256"]) for path, entry in listed.items()
        }
        return SignedRoles(roots, signed, self._objects.read(digests.bins), incidents)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with locked(self.folder / LOCK):
            sweep(self.folder / INCOMING)
            self._storage.abandon()
            try:
                with self._state.connected():
                    yield
            finally:
                with contextlib.suppress(StoreError):  # the next operation sweeps again
                    sweep(self.folder / INCOMING)

    @contextlib.contextmanager
    def _unfrozen(self) -> Iterator[None]:
        """The lock, for what signs. Raises FrozenError, also without waiting for the lock."""
        self._freeze.check()
        with self._locked():
            self._freeze.check()
            yield

    def _signer(self) -> Signer:
        if self._online is None:
            raise RepositoryError("publishing needs the online key: open the repository with it")
        return self._online

    def _offline(self, now: datetime | None) -> Offline:
        """The offline roles in force, read and verified once for these digests; not expired at
        `now`."""
        digests = self._state.offline()
        if self._verified is None or self._verified[0] != digests:
            self._verified = (digests, verify(self._read_roles(digests), {}, None))
        offline = self._verified[1]
        if now is not None:
            check_expiry(offline, now)
        return offline

    def _served(self) -> tuple[dict[str, TargetFile], tuple[str, ...]]:
        offline = self._offline(None)
        return targets_served(self._storage, offline.scheme, offline.layout)

    def _begun(self) -> Pending:
        """The changes of an interrupted publication: clients may have seen them already."""
        upto = self._state.queue.interrupted()
        return Pending((), 0) if upto is None else self._state.queue.pending(upto=upto)

    def _publish(self, pending: Pending, within: timedelta) -> Published:
        now = self._clock()
        due = self._state.due(utc(now + within), utc(now + LIFETIME))
        ledger = self._state.queue.ledger()
        rebinning = ledger.rebinning
        if not pending.changes and not due and rebinning is None:
            snapshot, timestamp = self._state.role(SNAPSHOT), self._state.role(TIMESTAMP)
            return Published((), snapshot.version, timestamp.version)
        offline = self._offline(now)
        check_online_key(offline, self._signer())
        parts = (self._state, self._storage, self._objects, offline)
        others = (self._signer(), self._clock, self._warm)
        if rebinning is not None:
            done = Rebinner(*parts, *others).rebin(old_scheme(self._objects.read(rebinning)))
            return done.then(self._publish(pending, within))
        done = Publisher(*parts, *others).publish(pending, due)
        return replace(done, warnings=clock_warnings(ledger, now))

    def _incident(self) -> str:
        """A name for a folder in the quarantine."""
        when = utc(self._clock()).replace("-", "").replace(":", "")
        return f"{when}-{secrets.token_hex(4)}"

    def _adopted(self, roles: SignedRoles, online: Signer) -> Offline:
        """New offline roles, verified and kept, not published yet. Raises RepositoryError."""
        current = self._offline(None)
        offline = verify(roles, current.roots, self._clock())
        check_online_key(offline, online)
        check_successor(current, offline)
        self._objects.keep_offline(offline)
        return offline

    def _complete(self) -> None:
        """Complete a publication that is out, and was killed before it was recorded.

        A repair would set its timestamp aside, and clients find none until the repair is done.
        What stands in the way is what a repair is for, but for a disk that refuses.
        """
        served = stated_versions(self._storage).get(TIMESTAMP)
        try:
            ledger = self._state.queue.ledger()
            if served in ledger.timestamps and ledger.rebinning is None:
                self._publish(self._begun(), timedelta(0))
        except (FrozenError, SigningError):
            raise
        except (RepositoryError, StoreError) as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in _REFUSED:
                raise
            self._storage.abandon()

    def _start_over(self, offline: Offline | None, online: Signer, above: int = 0) -> Published:
        """Number above everything served, repair the public folder, sign everything."""
        repaired, lost = self._made_true(offline, online, above)
        published = self._publish(self._begun(), timedelta(0))
        return replace(published, repaired=repaired, lost=lost)

    def _made_true(
        self, offline: Offline | None, online: Signer, above: int
    ) -> tuple[tuple[str, ...], int | None]:
        """Make the state the truth, and the public folder as it says; a publication must follow.

        Args:
            offline: new offline roles; None for those in force.
            online: signer of their online key.
            above: numbers go on above this one, too.

        Returns:
            What was repaired, and how many entries of the log are lost.
        """
        now = utc(self._clock())
        highest = highest_versions(self._storage)
        for name in (*(offline or self._offline(None)).scheme.names(), SNAPSHOT, TIMESTAMP):
            highest[name] = max(above, highest.get(name, 0))
        lost = self._state.start_over(highest, offline, now)
        self._warm.listed = self._warm.known = None
        self._online = online
        parts = (self._state, self._storage, self._objects, self._offline(None))
        return Repair(*parts, self._incident()).run(), lost
