"""What a session accepts, and a person should know of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from indextrust.names import TIMESTAMP
from indextrust.trust.freshness import Times

__all__ = ["Notice", "set_back_notice"]


@dataclass(frozen=True)
class Notice:
    """Something that was not refused and yet should be known or kept.

    Args:
        kind: ``same-version-other-bytes``: the fetched file was discarded; ``clock-set-back``:
            the clock shows a time before one that was seen; ``new-root``: the root was replaced.
        role: which role it is about.
        message: for people.
        evidence: bytes worth keeping; empty if there are none.
    """

    kind: str
    role: str
    message: str
    evidence: bytes


def set_back_notice(clock: datetime, times: Times) -> Notice:
    """That `clock` shows a time well before one that was seen."""
    message = (
        f"the clock was set back: it shows {clock:%Y-%m-%d %H:%M}, and "
        f"{times.last_seen:%Y-%m-%d %H:%M} was seen before; expiry is judged by the later"
    )
    return Notice("clock-set-back", TIMESTAMP, message, b"")
