"""The client workflow of the TUF specification (5.1 to 5.6) as a machine without I/O.

A `Session` is one refresh at one reference time. Its driver looks at `wants()`, does what it
says, and `feed()`s the answer, until it wants nothing more (`Done`). `lookup()` then starts a
machine of the same kind for one target path; several may be driven at once.

| step              | wants                   | on an acceptable answer    | otherwise           |
|-------------------|-------------------------|----------------------------|---------------------|
| stored root       | Load(root)              | remember what is held      | Persist(bootstrap)  |
| 5.3 next root     | Load(root, N+1), Fetch  | trust it, Persist, again   | ABSENT ends it      |
| 5.3.10            |                         | the root is not expired    | refused             |
| 5.4 timestamp     | Load(timestamp)         | trust it, for comparison   | forget it           |
|                   | Fetch(timestamp)        | trust it, Persist          | refused             |
| 5.5 snapshot      | Load(snapshot)          | the one listed: use it     | keep for comparison |
|                   | Fetch(snapshot)         | trust it, Persist          | refused             |
| 5.6 targets, bins | Load(role)              | the one listed: use it     | forget it           |
|                   | Fetch(role)             | trust it, Persist          | refused             |

Guarantees:

* What is stored is verified first, and stored before the next step begins, in the order of the
  specification. A refusal leaves what was verified before it, above all a verified root.
* The bootstrap root is the anchor. What the store holds is believed only as far as the chain
  from the bootstrap reaches; the rest is fetched again.
* 5.3.11 (fast-forward recovery) needs no deletion: a stored timestamp or snapshot that the
  trusted root's keys no longer sign is not trusted, so it limits nothing.
* After a refusal the machine is finished. To try again, make a new session.

What it leaves to others: fetching within time and size, storing durably with compare-and-swap
(`indextrust.trust.wants`), retrying, and choosing the reference time.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Generic, TypeVar

from indextrust.errors import (
    BudgetExceededError,
    InputError,
    LengthError,
    MissingRoleError,
    RefusedError,
    UnreachableError,
    UnsafePathError,
)
from indextrust.names import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, metadata_filename
from indextrust.trust import checks
from indextrust.trust.keys import RoleKeys
from indextrust.trust.limits import Limits
from indextrust.trust.lookup import NotListed, check_target_path, walk
from indextrust.trust.metadata import FileInfo, Root, Signed, Snapshot, Targets, Timestamp, parse
from indextrust.trust.verdict import TargetEntry
from indextrust.trust.wants import ABSENT, STORED, Absent, Done, Fetch, Load, Persist, Stored

__all__ = ["Known", "Lookup", "Notice", "Session", "Trusted"]

T = TypeVar("T")
S = TypeVar("S", bound=Signed)
Want = Load | Fetch | Persist
Answer = bytes | Absent | Stored
Steps = Generator[Want, Answer, T]


@dataclass(frozen=True)
class Notice:
    """Something that was not refused and yet should be known or kept.

    Args:
        kind: ``same-version-other-bytes``: the fetched file was discarded.
        role: which role it is about.
        message: for people.
        evidence: bytes worth keeping.
    """

    kind: str
    role: str
    message: str
    evidence: bytes


@dataclass
class Trusted:
    """What a finished refresh trusts.

    Args:
        root: the root; its keys verified all the others.
        timestamp: its version and expiry say how fresh the rest is.
        snapshot: versions of all targets roles.
        targets: the top-level targets.
    """

    root: Root
    timestamp: Timestamp
    snapshot: Snapshot
    targets: Targets

    @property
    def expires(self) -> datetime:
        """When the first of the four expires; from then on none of it may be used."""
        roles = (self.root, self.timestamp, self.snapshot, self.targets)
        return min(role.expires for role in roles)


class Known:
    """What earlier sessions of this process verified: it saves work, and decides nothing.

    A role is taken from here only for the very bytes and the very keys with which it was
    verified. Expiry, versions and hashes are checked each time all the same. May be used by
    several threads.

    Args:
        most: roles remembered; the one used least recently goes first.
    """

    def __init__(self, most: int = 512) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._verified: dict[tuple[str, str], tuple[RoleKeys, Signed]] = {}

    def recall(self, role: str, data: bytes, keys: RoleKeys, kind: type[S]) -> S | None:
        """The role that was verified from `data` with `keys`, if it was."""
        place = (role, hashlib.sha256(data).hexdigest())
        with self._lock:
            signers, signed = self._verified.get(place, (None, None))
            if isinstance(signed, kind) and signers == keys:
                self._verified[place] = self._verified.pop(place)
                return signed
        return None

    def learn(self, role: str, data: bytes, keys: RoleKeys, signed: Signed) -> None:
        """Remember `signed`, just verified from `data` with `keys`."""
        place = (role, hashlib.sha256(data).hexdigest())
        with self._lock:
            self._verified[place] = (keys, signed)
            while len(self._verified) > self._most:
                del self._verified[next(iter(self._verified))]


class _Machine(Generic[T]):
    """The `wants()`/`feed()` shell around a generator of steps."""

    def __init__(self, steps: Steps[T]) -> None:
        self._steps = steps
        self._want: Want | Done[T] | None = None
        self._advance(None)

    def wants(self) -> Want | Done[T]:
        """What the driver should do next; the same until `feed` is called.

        Raises:
            InputError: the machine ended with an error before.
        """
        if self._want is None:
            raise InputError("this session ended with an error; make a new one")
        return self._want

    def feed(self, answer: Answer) -> None:
        """Give the answer to what `wants()` asked for.

        Raises:
            RefusedError: the answer is not acceptable; the machine is finished.
            UnreachableError: it cannot go on without a file that the server lacks, or a budget
                ran out.
            UnsupportedKeyError: a signature can't be verified here.
            InputError: not an answer to what was asked.
        """
        want = self.wants()
        if isinstance(want, Done):
            raise InputError("nothing was asked for")
        if (answer is STORED) != isinstance(want, Persist):
            raise InputError(f"not an answer to {type(want).__name__}: {type(answer).__name__}")
        self._advance(answer)

    def _advance(self, answer: Answer | None) -> None:
        self._want = None
        try:
            # a fresh generator takes None, which its type can't say
            self._want = self._steps.send(answer)  # type: ignore[arg-type]
        except StopIteration as stop:
            self._want = Done(stop.value)


class Session(_Machine[Trusted]):
    """One refresh of the top-level metadata.

    Args:
        bootstrap: a root file that the caller trusts out of band.
        now: the reference time, aware; the same for all steps (TUF specification 5.1).
        limits: upper bounds.
        known: what earlier sessions of this process verified, to save work.

    Raises:
        RefusedError: the bootstrap root is not a root signed by itself.
        InputError: `now` has no time zone.
    """

    def __init__(
        self,
        bootstrap: bytes,
        *,
        now: datetime,
        limits: Limits | None = None,
        known: Known | None = None,
    ) -> None:
        if now.tzinfo is None:
            raise InputError("the reference time needs a time zone")
        self.now = now
        self.limits = limits or Limits()
        self.notices: list[Notice] = []
        self._known = known or Known()
        self._roles: dict[str, tuple[RoleKeys, Targets]] = {}
        super().__init__(self._refresh(bootstrap))

    @property
    def trusted(self) -> Trusted:
        """The result of a finished refresh.

        Raises:
            InputError: it is not finished.
        """
        want = self.wants()
        if not isinstance(want, Done):
            raise InputError("the refresh is not finished")
        return want.result

    def lookup(self, path: str) -> Lookup:
        """Start to look `path` up under the refreshed metadata.

        Raises:
            UnsafePathError: a path that could leave its base; nothing is requested.
            InputError: the refresh is not finished.
        """
        return Lookup(self, self.trusted, check_target_path(path))

    # -- the steps ---------------------------------------------------------------------------

    def _refresh(self, bootstrap: bytes) -> Steps[Trusted]:
        root = yield from self._root(bootstrap)
        timestamp = yield from self._timestamp(root)
        snapshot = yield from self._snapshot(root, timestamp)
        targets = yield from _role(
            self, root, snapshot, TARGETS, root.roles[TARGETS], f"root version {root.version}"
        )
        return Trusted(root, timestamp, snapshot, targets)

    def _root(self, bootstrap: bytes) -> Steps[Root]:
        """5.2 and 5.3."""
        limit = self.limits.root_length
        root = checks.verified_bootstrap(parse(bootstrap, where="bootstrap root", max_length=limit))
        current = bootstrap
        stored = yield Load(ROOT)
        held = _digest(stored)
        if held is None:
            yield Persist(ROOT, root.version, bootstrap, None, root.version)
            held = _digest(bootstrap)
        fetched = 0
        while True:
            version = root.version + 1
            data = yield Load(ROOT, version)
            verify = partial(self._next_root, trusted=root)
            new = _unless_refused(verify, data)
            if new is None and held != _digest(current):
                data = stored  # the history may be lost, and what it led to not
                new = _unless_refused(verify, data)
            if new is None:
                if fetched == self.limits.root_updates:
                    raise BudgetExceededError(
                        f"{ROOT}: more than {fetched} new versions; the next refresh goes on "
                        f"from version {root.version}"
                    )
                data = yield from self._fetch(ROOT, version, limit)
                if data is ABSENT:
                    break
                new = verify(_bytes(data))
                fetched += 1
                yield Persist(ROOT, version, _bytes(data), held, root.version)
                held = _digest(data)
            root, current = new, _bytes(data)
        if held != _digest(current):
            yield Persist(ROOT, root.version, current, held, root.version)
        checks.not_expired(root, self.now, ROOT)
        return root

    def _next_root(self, data: bytes, trusted: Root) -> Root:
        where = f"{ROOT} version {trusted.version + 1}"
        envelope = parse(data, where=where, max_length=self.limits.root_length)
        return checks.verified_next_root(envelope, trusted)

    def _timestamp(self, root: Root) -> Steps[Timestamp]:
        """5.4."""
        limit = self.limits.timestamp_length

        def verify(data: bytes, most: int) -> Timestamp:
            envelope = parse(data, where=TIMESTAMP, max_length=most)
            return checks.verified_timestamp(envelope, root)

        stored = yield Load(TIMESTAMP)
        trusted = _unless_refused(partial(verify, most=limit), stored)
        data = yield from self._fetch_present(TIMESTAMP, None, limit)
        new = verify(data, limit)
        if trusted is not None:
            if new.version == trusted.version:
                if data != stored:
                    self._discarded(TIMESTAMP, new.version, data)
                checks.not_expired(trusted, self.now, TIMESTAMP)
                return trusted
            checks.timestamp_not_rolled_back(trusted, new)
        checks.not_expired(new, self.now, TIMESTAMP)
        yield Persist(TIMESTAMP, new.version, data, _digest(stored), root.version)
        return new

    def _discarded(self, role: str, version: int, data: bytes) -> None:
        message = f"{role}: version {version} came with other bytes than before; it was discarded"
        self.notices.append(Notice("same-version-other-bytes", role, message, data))

    def _snapshot(self, root: Root, timestamp: Timestamp) -> Steps[Snapshot]:
        """5.5."""
        info = timestamp.snapshot
        limit = self.limits.recorded(self.limits.snapshot_length, info.length)

        def verify(data: bytes, most: int) -> Snapshot:
            snapshot = self._known.recall(SNAPSHOT, data, root.roles[SNAPSHOT], Snapshot)
            if snapshot is None:
                envelope = parse(data, where=SNAPSHOT, max_length=most)
                snapshot = checks.verified_snapshot(envelope, root)
                self._known.learn(SNAPSHOT, data, root.roles[SNAPSHOT], snapshot)
            return snapshot

        stored = yield Load(SNAPSHOT)
        trusted = _unless_refused(partial(verify, most=self.limits.ceiling), stored)
        if trusted is not None and trusted.version == info.version:
            checks.same_bytes(_bytes(stored), info, SNAPSHOT)
            if self.now < trusted.expires:
                return trusted
        version = info.version if root.consistent_snapshot else None
        data = yield from self._fetch_present(SNAPSHOT, version, limit)
        checks.vouched_for(data, info, SNAPSHOT)
        new = verify(data, limit)
        checks.version_is(info.version, new, SNAPSHOT)
        if trusted is not None:
            if trusted.version == new.version:
                checks.not_equivocated(_bytes(stored), data, new.version, SNAPSHOT)
            checks.snapshot_not_rolled_back(trusted, new)
        checks.not_expired(new, self.now, SNAPSHOT)
        yield Persist(SNAPSHOT, new.version, data, _digest(stored), root.version)
        return new

    def _fetch(self, role: str, version: int | None, limit: int) -> Steps[Answer]:
        filename = metadata_filename(role, version)
        if len(filename.encode("utf-8")) > 255:
            raise UnsafePathError("the role's name makes too long a file name", where=role)
        data = yield Fetch(role, version, filename, limit)
        if isinstance(data, bytes) and len(data) > limit:
            raise LengthError("too long", where=filename, expected=limit, got=len(data))
        return data

    def _fetch_present(self, role: str, version: int | None, limit: int) -> Steps[bytes]:
        data = yield from self._fetch(role, version, limit)
        if not isinstance(data, bytes):
            name = metadata_filename(role, version)
            raise UnreachableError(f"{name}: the server says that there is no such file")
        return data


class Lookup(_Machine[TargetEntry | NotListed]):
    """The search for one target path (5.6 for each delegated role, 5.6.7).

    Made by `Session.lookup`. A result is `TargetEntry`, or `NotListed` if the trusted metadata
    says so; everything else is an error.
    """

    def __init__(self, session: Session, trusted: Trusted, path: str) -> None:
        super().__init__(self._search(session, trusted, path))

    @staticmethod
    def _search(session: Session, trusted: Trusted, path: str) -> Steps[TargetEntry | NotListed]:
        roles: dict[str, Targets] = {TARGETS: trusted.targets}
        search = walk(path, most=session.limits.delegations)
        try:
            visit = next(search)
            while True:
                if visit.role != TARGETS:
                    keys = roles[visit.delegator].keys_of(visit.role)
                    if keys is None:  # pragma: no cover - the walk names only delegated roles
                        raise MissingRoleError("not delegated to", where=visit.role)
                    roles[visit.role] = yield from _role(
                        session, trusted.root, trusted.snapshot, visit.role, keys, visit.delegator
                    )
                visit = search.send(roles[visit.role])
        except StopIteration as stop:
            found: tuple[str, Targets] | None = stop.value
        if found is None:
            return NotListed(path, trusted.snapshot.version)
        role, targets = found
        entry = targets.targets[path]
        return TargetEntry(
            path,
            entry["length"],
            entry["hashes"],
            role,
            targets.version,
            trusted.snapshot.version,
            entry.get("custom"),
        )


# -- targets roles, the same for the top level and the delegated -------------------------------


def _role(
    session: Session, root: Root, snapshot: Snapshot, role: str, keys: RoleKeys, delegator: str
) -> Steps[Targets]:
    """5.6.1 to 5.6.6 for `role`, verified with the keys that `delegator` gives it."""
    known = session._roles.get(role)
    if known is not None and known[0] == keys:
        return known[1]
    info = snapshot.info(f"{role}.json")
    if info is None:
        raise MissingRoleError("delegated to, and not in the snapshot", where=role)
    limit = session.limits.recorded(session.limits.targets_length, info.length)

    def verify(data: bytes, most: int) -> Targets:
        targets = session._known.recall(role, data, keys, Targets)
        if targets is None:
            envelope = parse(data, where=role, max_length=most)
            targets = checks.verified_targets(envelope, role, keys, delegator)
            session._known.learn(role, data, keys, targets)
        return targets

    stored = yield Load(role)
    trusted = _unless_refused(partial(verify, most=session.limits.ceiling), stored)
    if trusted is None or not _is_current(trusted, _bytes(stored), info, session.now, role):
        version = info.version if root.consistent_snapshot else None
        data = yield from session._fetch_present(role, version, limit)
        checks.vouched_for(data, info, role)
        new = verify(data, limit)
        checks.version_is(info.version, new, role)
        if trusted is not None and trusted.version == new.version:
            checks.not_equivocated(_bytes(stored), data, new.version, role)
        checks.not_expired(new, session.now, role)
        yield Persist(role, new.version, data, _digest(stored), root.version)
        trusted = new
    session._roles[role] = (keys, trusted)
    return trusted


def _is_current(targets: Targets, data: bytes, info: FileInfo, now: datetime, where: str) -> bool:
    try:
        checks.version_is(info.version, targets, where)
        checks.vouched_for(data, info, where)
        checks.not_expired(targets, now, where)
    except RefusedError:
        return False
    return True


def _bytes(answer: Answer) -> bytes:
    if not isinstance(answer, bytes):  # pragma: no cover - where it is called, it is
        raise InputError("expected bytes")
    return answer


def _digest(answer: Answer) -> str | None:
    return hashlib.sha256(answer).hexdigest() if isinstance(answer, bytes) else None


def _unless_refused(verify: Callable[[bytes], T], stored: Answer) -> T | None:
    """`verify(stored)`; None if there is nothing stored, or nothing that can be trusted now."""
    if not isinstance(stored, bytes):
        return None
    try:
        return verify(stored)
    except RefusedError:
        return None
