"""What earlier sessions of a process verified, so that it isn't read and verified again."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TypeVar

from indextrust.trust.metadata import FileInfo, Signed

__all__ = ["Known"]

S = TypeVar("S", bound=Signed)


@dataclass(frozen=True)
class _Verified:
    by: object
    signed: Signed
    length: int
    sha256: str | None


class Known:
    """What earlier sessions of this process verified: it saves work, and decides nothing.

    A role is taken from here only if it was verified by the very same (`by`: the keys, and what
    else of the delegator it was checked against), and for the very bytes (`recall`) or the
    version, length and hash that the snapshot lists (`listed`). Expiry is checked each time all
    the same. Learn only what passed every check: `listed` asks none of them again. May be used by
    several threads.

    Args:
        most: roles remembered; the one used least recently goes first.
        most_bytes: of their files together. (As values they take several times that.)
    """

    def __init__(self, most: int = 512, most_bytes: int = 16_000_000) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._latest: dict[str, _Verified] = {}
        self._bytes = 0

    def recall(self, role: str, sha256: str | None, by: object, kind: type[S]) -> S | None:
        """The role that was verified by `by` from bytes with this SHA-256, if it was the last
        one of its name."""
        found = self._find(role)
        if found is None or found.sha256 != sha256 or found.by != by:
            return None
        return found.signed if isinstance(found.signed, kind) else None

    def listed(self, role: str, info: FileInfo, by: object, kind: type[S]) -> S | None:
        """The role that was verified by `by`, if it is the one that `info` describes.

        Hashes other than sha256 can't be told from here: then the bytes are needed.
        """
        found = self._find(role)
        if found is None or found.signed.version != info.version or found.by != by:
            return None
        if info.length not in (None, found.length):
            return None
        if info.hashes not in ({}, {"sha256": found.sha256}):
            return None
        return found.signed if isinstance(found.signed, kind) else None

    def learn(self, role: str, sha256: str | None, length: int, by: object, signed: Signed) -> None:
        """Remember `signed`, verified by `by` from `length` bytes with this SHA-256, and
        trusted."""
        verified = _Verified(by, signed, length, sha256)
        with self._lock:
            self._forget(role)
            if length > self._most_bytes:
                return  # it would push out all the others, and itself
            self._latest[role] = verified
            self._bytes += verified.length
            while len(self._latest) > self._most or self._bytes > self._most_bytes:
                self._forget(next(iter(self._latest)))

    def _forget(self, role: str) -> None:
        found = self._latest.pop(role, None)
        self._bytes -= found.length if found is not None else 0

    def _find(self, role: str) -> _Verified | None:
        with self._lock:
            found = self._latest.pop(role, None)
            if found is not None:
                self._latest[role] = found
            return found
