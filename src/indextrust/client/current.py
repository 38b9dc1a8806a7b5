"""Which session a client uses, and whether it still may: the policy of `indextrust.trust.freshness`
over a store. Blocking and asynchronous clients share it; it fetches nothing.

A session is *usable* while nothing of it has expired and its refresh is recent enough. A new one
may begin *from the store* if another process refreshed a moment ago, or if the policy is offline;
else the repository is asked.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import datetime, timedelta

from indextrust.client.drive import Attempt, Call, drive, from_store
from indextrust.client.ports import Clock, MetadataStore
from indextrust.errors import InputError, RefusedError, UnreachableError
from indextrust.trust import Known, Limits, Policy, Session, Times
from indextrust.trust.freshness import (
    check_root_age,
    is_fresh,
    is_set_back,
    offline_times,
    reference_time,
)
from indextrust.trust.notices import set_back_notice

__all__ = ["Current"]

_RESOLUTION = timedelta(minutes=1)


class Current:
    """The session in use. Not locked: its owner does that.

    Args:
        root: the bootstrap root file.
        store: the trusted metadata.
        clock: gives the time.
        limits: upper bounds.
        policy: what the user asks of freshness.
    """

    def __init__(
        self, root: bytes, store: MetadataStore, clock: Clock, limits: Limits, policy: Policy
    ) -> None:
        self.session: Session | None = None
        self.limits = limits
        self.policy = policy
        self._root = root
        self._store = store
        self._clock = clock
        self._known = Known()
        self._times: Times | None = None
        # of the session in use, and of the one that asks: what the clock showed, right or wrong
        self._began = self._beginning = clock()
        self._asked: datetime | None = None

    @property
    def asked(self) -> datetime:
        """When the repository was asked last, and answered. Only with a session in use."""
        if self._asked is None:
            raise InputError("nothing was refreshed yet")
        return self._asked

    @property
    def offline(self) -> bool:
        """Whether the repository is never asked."""
        return self.policy.offline_for is not None

    def now(self) -> datetime:
        """The time to judge look-ups by: the clock's, or the last time seen; offline that of the
        last refresh."""
        if self.offline and self.session is not None:
            return self.session.now
        return reference_time(self._clock(), self._times)

    def usable(self) -> Session | None:
        """The session in use, if it still may be used; where policy allows, a new one from the
        store. None: ask the repository.

        Raises:
            ExpiredError, UnreachableError: offline, and what is stored is too old or not enough.
            StoreError: the store can't be read.
        """
        longest = self.policy.offline_for
        if self.session is None or longest is not None:
            self._times = self._store.times() or self._times
        clock = self._clock()
        if longest is not None:
            times = offline_times(clock, self._times, longest)
            if self.session is None or self.session.now != times.last_refresh:
                self.session = self._from_store(times.last_refresh)
                self._asked = times.last_refresh
                if is_set_back(clock, times):  # it is judged as of then, and can't tell itself
                    self.session.notices.append(set_back_notice(clock, times))
            version = self.session.trusted.root.version
            check_root_age(version, reference_time(clock, times), self.policy, times)
            self._save(times, times.seen(clock))
        elif self.session is not None:
            recent = timedelta(0) <= clock - self._began < self.policy.refresh_every
            if (
                not recent
                or self.now() >= self.session.trusted.expires
                or self._outdated(self.session)
            ):
                self.session = None
        elif is_fresh(clock, self._times, self.policy.fresh_for):
            # what asking may cure is no reason to stop: not enough is stored, or it expired
            with contextlib.suppress(RefusedError, UnreachableError):
                self.session = self._from_store(self.now())
                self._began = clock
                self._asked = self._times.last_refresh if self._times else None
        return self.session

    def begin(self) -> Session:
        """A session that asks the repository. Hand it to `finished` when it is done."""
        self._times = self._store.times() or self._times
        self._beginning = self._clock()
        return self._session(self._beginning, self._times)

    def finished(self, session: Session) -> None:
        """`session` refreshed: use it from now on, and remember when."""
        before, self._times, self.session = self._times, session.times, session
        self._began, self._asked = self._beginning, self._times.last_refresh
        self._save(before, self._times)

    def start_over(self) -> None:
        """What the session in use was judged by has changed: use it no more."""
        self.session = None

    def keep(self, session: Session) -> None:
        """Keep what `session` noticed, refused or not, for a person to look at."""
        for notice in session.notices:
            if notice.evidence:
                self._store.keep_evidence(notice.role, notice.evidence)

    def _outdated(self, session: Session) -> bool:
        """Whether the policy calls the session's root outdated by now."""
        if self.policy.maximum_root_age is None:
            return False
        try:
            check_root_age(session.trusted.root.version, self.now(), self.policy, self._times)
        except RefusedError:
            return True
        return False

    def _save(self, before: Times | None, after: Times) -> None:
        """Store `after` if it says anything new: a minute more or less is nothing."""
        if (
            before is None
            or (before.root_version, before.root_since) != (after.root_version, after.root_since)
            or after.last_refresh - before.last_refresh >= _RESOLUTION
            or after.last_seen - before.last_seen >= _RESOLUTION
        ):
            self._store.save_times(after)

    def _session(self, now: datetime, times: Times | None) -> Session:
        return Session(
            self._root,
            now=now,
            limits=self.limits,
            known=self._known,
            policy=self.policy,
            times=times,
        )

    def _from_store(self, now: datetime) -> Session:
        """A session over what is stored alone, judged at `now` whatever was seen later."""
        times = None if self._times is None else replace(self._times, last_seen=now)
        call = Call(self.limits.refresh_seconds)
        while True:
            session = self._session(now, times)
            attempt = Attempt(session, self._store, call)
            if drive(attempt, lambda want: from_store(want, self._store)) is not None:
                return session
