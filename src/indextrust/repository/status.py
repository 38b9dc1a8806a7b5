"""What the operator should know: counts, versions, expiries, and what needs a hand.

Root, targets and bins are renewed together in a signing event, which needs people: it is warned
of 90, 30 and 7 days ahead, more plainly each time. Timestamp, snapshot and bins are renewed by a
timer: they are warned of when the timer has failed, and when they were signed by a clock that was
ahead (then they would not be renewed for as long as it was).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from indextrust.errors import AlteredStateError, RepositoryError
from indextrust.names import BINS, ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from indextrust.repository.ledger import Ledger
from indextrust.repository.offline import Offline
from indextrust.repository.plan import LIFETIME, utc
from indextrust.repository.publish import check_unchanged
from indextrust.repository.results import RoleStatus, Status
from indextrust.repository.schema import NEVER
from indextrust.repository.state import State
from indextrust.repository.state_questions import RoleRow
from indextrust.repository.storage import FolderStorage

__all__ = ["clock_warnings", "make_status"]

_CLOCKS = timedelta(minutes=5)
"""How far two clocks of one operator may be apart."""

_SIGNING_EVENT = (
    (timedelta(0), "expired: no client takes anything any more; hold the signing event now"),
    (timedelta(days=7), "expires within a week: hold the signing event now"),
    (timedelta(days=30), "expires within 30 days: call the keyholders together"),
    (timedelta(days=90), "expires within 90 days: plan the signing event"),
)


def make_status(state: State, offline: Offline, storage: FolderStorage, now: datetime) -> Status:
    """The status at `now` (aware, UTC).

    Raises:
        AlteredStateError: a role has no row, or none that can be read.
    """
    rows, scheme = state.roles(), offline.scheme
    top, bins = (ROOT, TARGETS, BINS, SNAPSHOT, TIMESTAMP), scheme.names()
    for name in (*top, *bins):
        if name not in rows:
            raise AlteredStateError(f"the state was altered: it has no row of role {name}")
        if not isinstance(rows[name].expires, str):
            raise _no_expiry(rows[name])
    first = min((rows[name] for name in bins), key=lambda row: row.expires)
    shown = [rows[name] for name in top]
    roles = tuple(map(_role, (*shown, first)))
    warnings = [text for role in roles if (text := _warning(role, now)) is not None]
    queued, interrupted, both = 0, False, False
    try:
        ledger = state.queue.ledger()
        both = ledger.both
        queued, interrupted = state.queue.waiting(), ledger.unfinished
        if interrupted:
            warnings.append("a publication was interrupted: publish completes it")
        warnings += clock_warnings(ledger, now)
        check_unchanged(state, storage)
    except RepositoryError as error:  # an altered log, or another timestamp
        warnings.append(str(error))
    if ahead := [name for name in (SNAPSHOT, TIMESTAMP, *bins) if _ahead(rows[name], now)]:
        warnings.append(
            f"{len(ahead)} roles ({', '.join(ahead[:3])}) were signed at a time that is still to "
            f"come: look at the clock; if it is right now, publish signs them anew"
        )
    counts = state.counts()
    return Status(
        roles,
        scheme.count,
        offline.layout,
        len(state.retired(offline.online_keyid)),
        counts.projects,
        counts.files,
        queued,
        interrupted,
        tuple(warnings),
        "both" if both else "sha256",
        state.sha256_only() if both else None,
    )


def clock_warnings(ledger: Ledger, now: datetime) -> tuple[str, ...]:
    """What to say of a clock that shows a time before the log's last one; empty if it doesn't."""
    if ledger.time <= utc(now + _CLOCKS):
        return ()
    return (
        f"the clock says {utc(now)}, and the log has an entry of {ledger.time}: one of them is "
        f"wrong; what is signed by a clock that is behind expires too early",
    )


def _ahead(row: RoleRow, now: datetime) -> bool:
    """Whether a role expires later than one that is signed now: its clock was ahead."""
    return row.expires > utc(now + LIFETIME)


def _role(row: RoleRow) -> RoleStatus:
    expires = None
    if row.expires != NEVER:
        try:
            expires = datetime.strptime(row.expires, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        except ValueError:
            raise _no_expiry(row) from None
    return RoleStatus(row.name, row.version, expires)


def _no_expiry(row: RoleRow) -> AlteredStateError:
    return AlteredStateError(
        f"the state was altered: role {row.name}: expected an expiry like 2026-01-31T12:00:00Z, "
        f"got {row.expires!r:.80}"
    )


def _warning(role: RoleStatus, now: datetime) -> str | None:
    if role.name not in (ROOT, TARGETS, BINS):
        if role.expires is None:
            return f"{role.name} is to be signed anew by what was begun: end that, or publish"
        if role.expires <= now:
            return f"{role.name} has expired: renew it, and look why it was not renewed in time"
        return None
    left = timedelta(0) if role.expires is None else role.expires - now
    for limit, text in _SIGNING_EVENT:
        if left <= limit:
            return f"{role.name} {text}"
    return None
