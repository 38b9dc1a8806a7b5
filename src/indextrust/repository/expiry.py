"""When an online role expires: within PEP 458's one day, and the bins spread over it. PURE.

Timestamp and snapshot live for `plan.LIFETIME`. If the bins did too, all that were signed at once
would have to be signed anew at once, for ever: at 16,384 bins the first build would come back
twice a day. So each bin has a slot of its own in every half day, by its number, and expires at
the last such slot within its lifetime: after 12 to 24 hours. A renewal that signs what expires
within 11 hours (`AHEAD`) finds it due once in every half day, and gives it 23 hours again. An
hourly `renew` therefore signs a twelfth of the bins, whenever they were signed before, and
whatever was published meanwhile; and while it runs, nothing that is served has less than 10 hours
left.

A bin that was just published may be due an hour later, if a slot of its comes near: that costs
one signature more, once.

Source: PEP 458, "Metadata Expiry Times" (one day for timestamp, snapshot and bin).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from indextrust.names import SNAPSHOT, TIMESTAMP
from indextrust.repository.plan import LIFETIME, utc

__all__ = ["AHEAD", "expiry"]

AHEAD = timedelta(hours=11)
"""How long before it expires a role is signed anew. Less than the shortest life of a bin."""

_SPREAD = int(LIFETIME / timedelta(seconds=2))


def expiry(role: str, bins: int, now: datetime) -> str:
    """When `role` expires if it is signed at `now`, as TUF writes it.

    Args:
        role: timestamp, snapshot, or a bin by its name (`BinScheme.name`).
        bins: how many bins there are.
        now: aware.
    """
    if role in (SNAPSHOT, TIMESTAMP):
        return utc(now + LIFETIME)
    slot = _SPREAD * int(role.rpartition("-")[2], 16) // bins
    latest = int((now + LIFETIME).timestamp())
    return utc(datetime.fromtimestamp(latest - (latest - slot) % _SPREAD, UTC))
