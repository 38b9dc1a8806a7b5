"""The client workflow of the TUF specification (5.1 to 5.6) as a machine without I/O.

A `Session` is one refresh at one reference time. Its driver looks at `wants()`, does what it
says, and `feed()`s the answer, until it wants nothing more (`Done`). `lookup()` then starts a
machine of the same kind for one target path; several may be driven at once.

| step              | wants                   | on an acceptable answer    | otherwise           |
|-------------------|-------------------------|----------------------------|---------------------|
| stored root       | Load(root)              | remember what is held      | Persist(bootstrap)  |
| 5.3 next root     | Load(root, N+1), Fetch  | trust it, Persist, again   | ABSENT ends it      |
| 5.3.10, policy    |                         | not expired, not outdated  | refused             |
| 5.4 timestamp     | Load(timestamp)         | trust it, for comparison   | forget it           |
|                   | Fetch(timestamp)        | trust it, Persist          | refused             |
| 5.5 snapshot      | Load(snapshot)          | the one listed: use it     | keep for comparison |
|                   | Fetch(snapshot)         | trust it, Persist          | refused             |
| 5.6 targets, bins | (none if it is `Known`) |                            |                     |
|                   | Load(role)              | the one listed: use it     | forget it           |
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
(`indextrust.trust.wants`), retrying, reading the clock, and keeping `Session.times`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from indextrust.errors import (
    BudgetExceededError,
    ExpiredError,
    InputError,
    MissingRoleError,
    RefusedError,
    UnreachableError,
    UnsafePathError,
)
from indextrust.names import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, metadata_filename
from indextrust.trust import checks
from indextrust.trust.freshness import (
    Policy,
    Times,
    check_root_age,
    is_set_back,
    reference_time,
)
from indextrust.trust.keys import RoleKeys
from indextrust.trust.known import Known
from indextrust.trust.limits import Allowance, Limits
from indextrust.trust.lookup import NotListed, check_target_path, walk
from indextrust.trust.machine import Answer, Machine, Steps
from indextrust.trust.metadata import FileInfo, Root, Snapshot, Targets, Timestamp, parse
from indextrust.trust.notices import Notice, set_back_notice
from indextrust.trust.verdict import TargetEntry
from indextrust.trust.wants import ABSENT, Done, Fetch, Load, Persist

__all__ = ["Lookup", "Session", "Trusted"]

T = TypeVar("T")


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


class Session(Machine[Trusted]):
    """One refresh of the top-level metadata.

    Args:
        bootstrap: a root file that the caller trusts out of band.
        now: what the clock shows, aware. The reference time is the same for all steps (TUF
            specification 5.1): this, or a later one that was seen before.
        limits: upper bounds.
        known: what earlier sessions of this process verified, to save work.
        policy: what the user asks of the root's age.
        times: what was remembered of time for this repository.

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
        policy: Policy | None = None,
        times: Times | None = None,
    ) -> None:
        if now.tzinfo is None:
            raise InputError("the reference time needs a time zone")
        self.now = reference_time(now, times).astimezone(UTC)
        self.limits = limits or Limits()
        self.notices: list[Notice] = []
        self._known = known or Known()
        self._policy = policy or Policy()
        self._times = times
        if times is not None and is_set_back(now, times):
            self.notices.append(set_back_notice(now, times))
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

    @property
    def times(self) -> Times:
        """What to remember of time, now that the repository was asked and answered.

        Raises:
            InputError: the refresh is not finished.
        """
        version, before = self.trusted.root.version, self._times
        same = before is not None and before.root_version == version
        return Times(
            last_seen=self.now,
            last_refresh=self.now,
            root_version=version,
            root_since=before.root_since if before is not None and same else self.now,
        )

    def lookup(self, path: str, *, now: datetime | None = None) -> Lookup:
        """Start to look `path` up under the refreshed metadata.

        Args:
            path: target path.
            now: a reference time later than the session's, where that was made some time ago.

        Raises:
            UnsafePathError: a path that could leave its base; nothing is requested.
            InputError: the refresh is not finished.
        """
        now = self.now if now is None else max(now, self.now)
        trusted = self.trusted
        if now >= trusted.expires:
            order = (ROOT, TIMESTAMP, SNAPSHOT, TARGETS)
            first = min(order, key=lambda role: getattr(trusted, role).expires)
            checks.not_expired(getattr(trusted, first), now, first)
        return Lookup(self, trusted, check_target_path(path), now)

    def own_targets(self, folder: str) -> tuple[TargetEntry, ...]:
        """What the top-level targets role itself lists below `folder`, sorted by path.

        Raises:
            InputError: the refresh is not finished.
        """
        trusted = self.trusted
        paths = sorted(path for path in trusted.targets.targets if path.startswith(folder))
        return tuple(_entry(path, TARGETS, trusted.targets, trusted.snapshot) for path in paths)

    # -- the steps ---------------------------------------------------------------------------

    def _refresh(self, bootstrap: bytes) -> Steps[Trusted]:
        try:
            return (yield from self._in_order(bootstrap))
        except ExpiredError as error:
            if all(notice.kind != "clock-set-back" for notice in self.notices):
                raise
            raise ExpiredError(
                f"{error.what} by a time seen before, not by the clock; if that time was wrong, "
                "`indextrust trust reset-clock` forgets it",
                where=error.where,
                expected=error.expected,
                got=error.got,
            ) from None

    def _in_order(self, bootstrap: bytes) -> Steps[Trusted]:
        allowance = Allowance(self.limits)
        root = yield from self._root(bootstrap, allowance)
        timestamp = yield from self._timestamp(root, allowance)
        snapshot = yield from self._snapshot(root, timestamp, allowance)
        search = _Roles(self, root, snapshot, self.now, allowance)
        delegator = f"root version {root.version}"
        targets = yield from search.role(TARGETS, root.roles[TARGETS], delegator, None)
        return Trusted(root, timestamp, snapshot, targets)

    def _root(self, bootstrap: bytes, allowance: Allowance) -> Steps[Root]:
        """5.2 and 5.3."""
        limit = self.limits.root_length
        root = checks.verified_bootstrap(parse(bootstrap, where="bootstrap root", max_length=limit))
        current = bootstrap
        stored = yield Load(ROOT)
        held = _digest(stored)
        if held is None:
            yield Persist(ROOT, root.version, bootstrap, None, root.version)
            held = _digest(bootstrap)
        fetched, before = 0, root
        seen = 0 if self._times is None else self._times.root_version
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
                data = yield from _fetch(ROOT, version, limit, allowance)
                if data is ABSENT:
                    break
                new = verify(_bytes(data))
                before = before if fetched or seen else root
                fetched += 1
                yield Persist(ROOT, version, _bytes(data), held, root.version)
                held = _digest(data)
            root, current = new, _bytes(data)
            if root.version <= seen:
                before = root
        if held != _digest(current):
            yield Persist(ROOT, root.version, current, held, root.version)
        if fetched or (seen and before is not root):
            self._replaced(root, before, current)
        checks.not_expired(root, self.now, ROOT)
        check_root_age(root.version, self.now, self._policy, self._times)
        return root

    def _replaced(self, root: Root, before: Root, data: bytes) -> None:
        """Whoever signs a root decides on everything (ATTACK 52): a new one is told of."""
        kept = len({*root.roles[ROOT].keyids} & {*before.roles[ROOT].keyids})
        message = (
            f"{ROOT} version {before.version} was replaced by version {root.version} (sha256 "
            f"{_digest(data)}); {kept} of its {len(root.roles[ROOT].keyids)} keys were in the old "
            f"one: if its operator announced no change, ask"
        )
        self.notices.append(Notice("new-root", ROOT, message, b""))

    def _next_root(self, data: bytes, trusted: Root) -> Root:
        where = f"{ROOT} version {trusted.version + 1}"
        envelope = parse(data, where=where, max_length=self.limits.root_length)
        return checks.verified_next_root(envelope, trusted)

    def _timestamp(self, root: Root, allowance: Allowance) -> Steps[Timestamp]:
        """5.4."""
        limit = self.limits.timestamp_length

        def verify(data: bytes, most: int) -> Timestamp:
            envelope = parse(data, where=TIMESTAMP, max_length=most)
            return checks.verified_timestamp(envelope, root)

        stored = yield Load(TIMESTAMP)
        trusted = _unless_refused(partial(verify, most=limit), stored)
        data = yield from _fetch_present(TIMESTAMP, None, limit, allowance)
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

    def _snapshot(self, root: Root, timestamp: Timestamp, allowance: Allowance) -> Steps[Snapshot]:
        """5.5."""
        info = timestamp.snapshot
        limit = self.limits.recorded(self.limits.snapshot_length, info.length)

        keys = root.roles[SNAPSHOT]

        def verify(data: bytes, most: int) -> Snapshot:
            return checks.verified_snapshot(parse(data, where=SNAPSHOT, max_length=most), root)

        stored = yield Load(SNAPSHOT)
        held = _digest(stored)
        trusted = self._known.recall(SNAPSHOT, held, keys, Snapshot) or _unless_refused(
            partial(verify, most=self.limits.ceiling), stored
        )
        if trusted is not None and trusted.version == info.version:
            if info.hashes != {"sha256": held}:
                checks.same_bytes(_bytes(stored), info, SNAPSHOT)
            if self.now < trusted.expires:
                self._known.learn(SNAPSHOT, held, len(_bytes(stored)), keys, trusted)
                return trusted
        version = info.version if root.consistent_snapshot else None
        data = yield from _fetch_present(SNAPSHOT, version, limit, allowance)
        checks.vouched_for(data, info, SNAPSHOT)
        new = verify(data, limit)
        checks.version_is(info.version, new, SNAPSHOT)
        if trusted is not None:
            if trusted.version == new.version:
                checks.not_equivocated(_bytes(stored), data, new.version, SNAPSHOT)
            checks.snapshot_not_rolled_back(trusted, new)
        checks.not_expired(new, self.now, SNAPSHOT)
        yield Persist(SNAPSHOT, new.version, data, held, root.version)
        self._known.learn(SNAPSHOT, _checked_digest(data, info), len(data), keys, new)
        return new


class Lookup(Machine[TargetEntry | NotListed]):
    """The search for one target path (5.6 for each delegated role, 5.6.7).

    Made by `Session.lookup`. A result is `TargetEntry`, or `NotListed` if the trusted metadata
    says so; everything else is an error.
    """

    def __init__(self, session: Session, trusted: Trusted, path: str, now: datetime) -> None:
        roles = _Roles(session, trusted.root, trusted.snapshot, now, Allowance(session.limits))
        super().__init__(self._search(roles, trusted, path, session.limits.delegations))

    @staticmethod
    def _search(
        asked: _Roles, trusted: Trusted, path: str, most: int
    ) -> Steps[TargetEntry | NotListed]:
        roles: dict[str, Targets] = {TARGETS: trusted.targets}
        search = walk(path, most=most)
        try:
            visit = next(search)
            while True:
                if visit.role != TARGETS:
                    parent = roles[visit.delegator]
                    keys = parent.keys_of(visit.role)
                    if keys is None:  # pragma: no cover - the walk names only delegated roles
                        raise MissingRoleError("not delegated to", where=visit.role)
                    roles[visit.role] = yield from asked.role(
                        visit.role, keys, visit.delegator, parent
                    )
                visit = search.send(roles[visit.role])
        except StopIteration as stop:
            found: tuple[str, Targets] | None = stop.value
        if found is None:
            return NotListed(path, trusted.snapshot.version)
        role, targets = found
        return _entry(path, role, targets, trusted.snapshot)


def _entry(path: str, role: str, targets: Targets, snapshot: Snapshot) -> TargetEntry:
    entry = targets.targets[path]
    return TargetEntry(
        path,
        entry["length"],
        dict(entry["hashes"]),  # copies: what is `Known` serves later sessions too
        role,
        targets.version,
        snapshot.version,
        deepcopy(entry.get("custom")),
    )


class _Roles:
    """Targets roles, the top level and the delegated, as one refresh or lookup needs them."""

    def __init__(
        self,
        session: Session,
        root: Root,
        snapshot: Snapshot,
        now: datetime,
        allowance: Allowance,
    ) -> None:
        self._known = session._known
        self._limits = session.limits
        self._root = root
        self._snapshot = snapshot
        self._now = now
        self._allowance = allowance

    def role(
        self, role: str, keys: RoleKeys, delegator: str, parent: Targets | None
    ) -> Steps[Targets]:
        """5.6.1 to 5.6.6 for `role`, verified with the keys that `delegator` gives it.

        `parent` is the delegator's metadata, None for the root.
        """
        info = self._snapshot.info(f"{role}.json")
        if info is None:
            raise MissingRoleError("delegated to, and not in the snapshot", where=role)
        bins = None if info.hashes or parent is None else parent  # a hash says which bin it is
        by = (keys, None if bins is None else bins.delegation_of(role))
        known = self._known.listed(role, info, by, Targets)
        if known is not None and self._now < known.expires:
            return known

        def verify(data: bytes, most: int) -> Targets:
            envelope = parse(data, where=role, max_length=most)
            targets = checks.verified_targets(envelope, role, keys, delegator)
            if bins is not None:
                checks.in_its_bin(targets, role, bins)
            return targets

        stored = yield Load(role)
        held = _digest(stored)
        trusted = _unless_refused(partial(verify, most=self._limits.ceiling), stored)
        if trusted is not None and _is_current(trusted, _bytes(stored), info, self._now, role):
            self._known.learn(role, held, len(_bytes(stored)), by, trusted)
            return trusted
        version = info.version if self._root.consistent_snapshot else None
        limit = self._limits.recorded(self._limits.targets_length, info.length)
        data = yield from _fetch_present(role, version, limit, self._allowance)
        checks.vouched_for(data, info, role)
        new = verify(data, limit)
        checks.version_is(info.version, new, role)
        if trusted is not None and trusted.version == new.version:
            checks.not_equivocated(_bytes(stored), data, new.version, role)
        checks.not_expired(new, self._now, role)
        yield Persist(role, new.version, data, held, self._root.version)
        self._known.learn(role, _checked_digest(data, info), len(data), by, new)
        return new


def _fetch(role: str, version: int | None, limit: int, allowance: Allowance) -> Steps[Answer]:
    filename = metadata_filename(role, version)
    if len(filename.encode("utf-8")) > 255:
        raise UnsafePathError("the role's name makes too long a file name", where=role)
    allowance.check(filename)
    data = yield Fetch(role, version, filename, limit)
    if isinstance(data, bytes):
        allowance.take(len(data))
    return data


def _fetch_present(
    role: str, version: int | None, limit: int, allowance: Allowance
) -> Steps[bytes]:
    data = yield from _fetch(role, version, limit, allowance)
    if not isinstance(data, bytes):
        name = metadata_filename(role, version)
        raise UnreachableError(f"{name}: the server says that there is no such file")
    return data


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


def _checked_digest(data: bytes, info: FileInfo) -> str:
    """SHA-256 of what `info` vouches for (`checks.vouched_for`): there it was computed already."""
    return info.hashes.get("sha256") or hashlib.sha256(data).hexdigest()


def _unless_refused(verify: Callable[[bytes], T], stored: Answer) -> T | None:
    """`verify(stored)`; None if there is nothing stored, or nothing that can be trusted now."""
    if not isinstance(stored, bytes):
        return None
    try:
        return verify(stored)
    except RefusedError:
        return None
