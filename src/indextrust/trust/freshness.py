"""Time: which reference time to judge by, and when to ask the repository again.

A signature says nothing about today. Metadata expires, and that is all that TUF has against a
frozen repository; it holds only if the clock does, and for an online role it means a day, for
the root a year. What is here narrows both:

* *A clock set back.* The latest time ever seen is remembered (`Times`); expiry is judged by the
  later of that and the clock (ATTACK 54: yesterday's signed files, replayed with yesterday's
  clock). A person whose clock was once wrong forgets the memory (`indextrust trust reset-clock`).
* *A withheld root.* Nothing tells "there is no newer root" from "it was kept from you" until the
  root expires (ATTACK 10). Who knows more says so in a `Policy`: a version that is the least, or
  how long one root may serve.
* *How often to ask.* What was refreshed a moment ago may be used without asking, so that an
  operator's alarms about 404s and a CDN's bill stay quiet; never past its expiry.
* *Offline.* The weaker mode: what the last refresh trusted is used as of then, past its expiry
  too, for as long as the user allows. What was revoked since goes unnoticed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from indextrust.errors import ExpiredError, InputError, OutdatedRootError, UnreachableError
from indextrust.names import ROOT

__all__ = [
    "Policy",
    "Times",
    "check_root_age",
    "is_fresh",
    "is_set_back",
    "offline_times",
    "reference_time",
]

# Clocks are corrected by seconds each day; an attacker's hour is another matter.
_JITTER = timedelta(minutes=5)


@dataclass(frozen=True)
class Times:
    """What a client remembers of time for one repository. All are aware, in UTC.

    Args:
        last_seen: the latest reference time at which something was trusted.
        last_refresh: the reference time of the last refresh that succeeded.
        root_version: the root that was trusted then.
        root_since: the reference time at which that version was first trusted here.
    """

    last_seen: datetime
    last_refresh: datetime
    root_version: int
    root_since: datetime

    def seen(self, now: datetime) -> Times:
        """The same, used again at `now`."""
        last_seen = max(now, self.last_seen)
        return Times(last_seen, self.last_refresh, self.root_version, self.root_since)


@dataclass(frozen=True)
class Policy:
    """What a user asks of freshness, beyond expiry.

    Args:
        refresh_every: after how long a client that lives on asks the repository again.
        fresh_for: how recent a refresh by an earlier run, or by another process on the same
            store, must be for a new client to use it without asking; 0 to ask always.
        minimum_root_version: the least root version that will do, as the operator announced it.
        maximum_root_age: how long one root version may serve this client, from when it was first
            trusted here; None for as long as it has not expired. For repositories that replace
            their root at known intervals.
        offline_for: None to ask the repository. Otherwise it is never asked: what the last
            refresh trusted is used as of then, if that is no longer ago than this.

    Raises:
        InputError: a negative duration, or a version below 1.
    """

    refresh_every: timedelta = timedelta(minutes=5)
    fresh_for: timedelta = timedelta(0)
    minimum_root_version: int = 1
    maximum_root_age: timedelta | None = None
    offline_for: timedelta | None = None

    def __post_init__(self) -> None:
        for name in ("refresh_every", "fresh_for", "maximum_root_age", "offline_for"):
            duration: timedelta | None = getattr(self, name)
            if duration is not None and duration < timedelta(0):
                raise InputError(f"{name}: expected a duration of 0 or more, got {duration}")
        if type(self.minimum_root_version) is not int or self.minimum_root_version < 1:
            raise InputError(
                f"minimum_root_version: expected 1 or more, got {self.minimum_root_version}"
            )


def reference_time(clock: datetime, times: Times | None) -> datetime:
    """The time to judge by: the later of the clock and the last time seen."""
    return clock if times is None else max(clock, times.last_seen)


def is_set_back(clock: datetime, times: Times | None) -> bool:
    """Whether the clock shows a time well before one that was seen."""
    return times is not None and clock + _JITTER < times.last_seen


def is_fresh(clock: datetime, times: Times | None, longest: timedelta) -> bool:
    """Whether the last refresh is less than `longest` ago.

    Never with a clock that was set back: it would stand still at the last time seen.
    """
    if times is None or is_set_back(clock, times):
        return False
    return reference_time(clock, times) - times.last_refresh < longest


def offline_times(clock: datetime, times: Times | None, longest: timedelta) -> Times:
    """`times`, if its last refresh is recent enough to be used offline, as of then.

    Raises:
        UnreachableError: there was none.
        ExpiredError: it is longer ago than `longest`.
    """
    if times is None:
        raise UnreachableError("offline, and no refresh of this repository ever succeeded here")
    age = reference_time(clock, times) - times.last_refresh
    if age > longest:
        raise ExpiredError(
            "too old for offline use",
            where="last refresh",
            expected=f"at most {longest} ago",
            got=f"{age} ago",
        )
    return times


def check_root_age(version: int, now: datetime, policy: Policy, times: Times | None) -> None:
    """Refuse a root that the user's policy calls outdated (ATTACK 10).

    Raises:
        OutdatedRootError: below the least version, or in use here for too long.
    """
    if version < policy.minimum_root_version:
        raise OutdatedRootError(
            "below the least version of your policy; a newer one may be withheld",
            where=ROOT,
            expected=f"version {policy.minimum_root_version} or higher",
            got=f"version {version}",
        )
    longest = policy.maximum_root_age
    if longest is None or times is None or times.root_version != version:
        return
    age = now - times.root_since
    if age > longest:
        raise OutdatedRootError(
            "in use for longer than your policy allows; a newer one may be withheld",
            where=f"{ROOT} version {version}",
            expected=f"at most {longest}",
            got=f"{age}, since {times.root_since.isoformat(timespec='seconds')}",
        )
