"""The bounds of one session. Everything untrusted is measured against one of these."""

from __future__ import annotations

from dataclasses import dataclass

from indextrust.errors import BudgetExceededError

__all__ = ["Allowance", "Limits"]


@dataclass(frozen=True)
class Limits:
    """Upper bounds; the defaults fit an index of PyPI's size.

    A length recorded in signed metadata may lift a file's own cap, up to `ceiling`: whoever
    steals an online key doesn't get to fill our memory.

    Args:
        root_length: bytes of one root file.
        timestamp_length: bytes of ``timestamp.json``.
        snapshot_length: bytes of a snapshot whose length is not recorded.
        targets_length: bytes of a targets file (bins included) whose length is not recorded.
        ceiling: bytes of any metadata file, whatever was recorded.
        root_updates: roots fetched in one refresh. Roots read from the local history don't
            count, so a client that embeds an old root arrives in the end.
        delegations: delegated roles visited in one lookup.
        refresh_bytes: bytes fetched in one refresh, or in one lookup, all files together.
        refresh_seconds: what a call of a client may take for its metadata, retries included.
            The session has no clock: its driver keeps this one.
        document_length: bytes of a project document.
        target_length: bytes of any target; who signs its length may be a thief.
    """

    root_length: int = 512_000
    timestamp_length: int = 16_384
    snapshot_length: int = 8_000_000
    targets_length: int = 5_000_000
    ceiling: int = 32_000_000
    root_updates: int = 1024
    delegations: int = 32
    refresh_bytes: int = 100_000_000
    refresh_seconds: float = 600.0
    document_length: int = 32_000_000
    target_length: int = 16_000_000_000

    def recorded(self, default: int, length: int | None) -> int:
        """The cap for a file for which signed metadata records `length` bytes, or None."""
        return default if length is None else min(length, self.ceiling)


class Allowance:
    """What one refresh, or one lookup, may still fetch."""

    def __init__(self, limits: Limits) -> None:
        self._most = self._left = limits.refresh_bytes

    def check(self, filename: str) -> None:
        """Before `filename` is asked for.

        Raises:
            BudgetExceededError: nothing is left.
        """
        if self._left <= 0:
            raise BudgetExceededError(
                f"{filename}: not asked for, {self._most} bytes of metadata came already"
            )

    def take(self, length: int) -> None:
        """`length` bytes came."""
        self._left -= length
