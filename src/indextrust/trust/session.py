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
| 5.6 targets       | (in `trust.roles`)      |                            |                     |

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

from datetime import UTC, datetime
from functools import partial

from indextrust.errors import BudgetExceededError, ExpiredError, InputError
from indextrust.names import ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from indextrust.trust import checks
from indextrust.trust.freshness import (
    Policy,
    Times,
    check_root_age,
    is_set_back,
    reference_time,
)
from indextrust.trust.known import Known
from indextrust.trust.limits import Allowance, Limits
from indextrust.trust.lookup import check_target_path
from indextrust.trust.machine import Machine, Steps
from indextrust.trust.metadata import Root, Snapshot, Timestamp, parse
from indextrust.trust.notices import Notice, set_back_notice
from indextrust.trust.roles import Roles
from indextrust.trust.search import Lookup, Trusted, entry_of
from indextrust.trust.steps import (
    as_bytes,
    checked_digest,
    digest,
    fetch,
    fetch_present,
    unless_refused,
)
from indextrust.trust.verdict import TargetEntry
from indextrust.trust.wants import ABSENT, Done, Load, Persist

__all__ = ["Session"]


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
        return Lookup(trusted, check_target_path(path), now, self._known, self.limits)

    def own_targets(self, folder: str) -> tuple[TargetEntry, ...]:
        """What the top-level targets role itself lists below `folder`, sorted by path.

        Raises:
            InputError: the refresh is not finished.
        """
        trusted = self.trusted
        paths = sorted(path for path in trusted.targets.targets if path.startswith(folder))
        return tuple(entry_of(path, TARGETS, trusted.targets, trusted.snapshot) for path in paths)

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
        roles = Roles(root, snapshot, self.now, self._known, self.limits, allowance)
        delegator = f"root version {root.version}"
        targets = yield from roles.role(TARGETS, root.roles[TARGETS], delegator, None)
        return Trusted(root, timestamp, snapshot, targets)

    def _root(self, bootstrap: bytes, allowance: Allowance) -> Steps[Root]:
        """5.2 and 5.3."""
        limit = self.limits.root_length
        root = checks.verified_bootstrap(parse(bootstrap, where="bootstrap root", max_length=limit))
        current = bootstrap
        stored = yield Load(ROOT)
        held = digest(stored)
        if held is None:
            yield Persist(ROOT, root.version, bootstrap, None, root.version)
            held = digest(bootstrap)
        fetched, before = 0, root
        seen = 0 if self._times is None else self._times.root_version
        while True:
            version = root.version + 1
            data = yield Load(ROOT, version)
            verify = partial(self._next_root, trusted=root)
            new = unless_refused(verify, data)
            if new is None and held != digest(current):
                data = stored  # the history may be lost, and what it led to not
                new = unless_refused(verify, data)
            if new is None:
                if fetched == self.limits.root_updates:
                    raise BudgetExceededError(
                        f"{ROOT}: more than {fetched} new versions; the next refresh goes on "
                        f"from version {root.version}"
                    )
                data = yield from fetch(ROOT, version, limit, allowance)
                if data is ABSENT:
                    break
                new = verify(as_bytes(data))
                before = before if fetched or seen else root
                fetched += 1
                yield Persist(ROOT, version, as_bytes(data), held, root.version)
                held = digest(data)
            root, current = new, as_bytes(data)
            if root.version <= seen:
                before = root
        if held != digest(current):
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
            f"{digest(data)}); {kept} of its {len(root.roles[ROOT].keyids)} keys were in the old "
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
        trusted = unless_refused(partial(verify, most=limit), stored)
        data = yield from fetch_present(TIMESTAMP, None, limit, allowance)
        new = verify(data, limit)
        if trusted is not None:
            if new.version == trusted.version:
                if data != stored:
                    self._discarded(TIMESTAMP, new.version, data)
                checks.not_expired(trusted, self.now, TIMESTAMP)
                return trusted
            checks.timestamp_not_rolled_back(trusted, new)
        checks.not_expired(new, self.now, TIMESTAMP)
        yield Persist(TIMESTAMP, new.version, data, digest(stored), root.version)
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
        held = digest(stored)
        trusted = self._known.recall(SNAPSHOT, held, keys, Snapshot) or unless_refused(
            partial(verify, most=self.limits.ceiling), stored
        )
        if trusted is not None and trusted.version == info.version:
            if info.hashes != {"sha256": held}:
                checks.same_bytes(as_bytes(stored), info, SNAPSHOT)
            if self.now < trusted.expires:
                self._known.learn(SNAPSHOT, held, len(as_bytes(stored)), keys, trusted)
                return trusted
        version = info.version if root.consistent_snapshot else None
        data = yield from fetch_present(SNAPSHOT, version, limit, allowance)
        checks.vouched_for(data, info, SNAPSHOT)
        new = verify(data, limit)
        checks.version_is(info.version, new, SNAPSHOT)
        if trusted is not None:
            if trusted.version == new.version:
                checks.not_equivocated(as_bytes(stored), data, new.version, SNAPSHOT)
            checks.snapshot_not_rolled_back(trusted, new)
        checks.not_expired(new, self.now, SNAPSHOT)
        yield Persist(SNAPSHOT, new.version, data, held, root.version)
        self._known.learn(SNAPSHOT, checked_digest(data, info), len(data), keys, new)
        return new
