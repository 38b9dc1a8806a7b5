"""What earlier sessions of a process verified, so that it isn't read and verified again."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from typing import TypeVar

from indextrust.trust.keys import RoleKeys
from indextrust.trust.metadata import FileInfo, Signed

__all__ = ["Known"]

S = TypeVar("S", bound=Signed)


@dataclass(frozen=True)
class _Verified:
    keys: RoleKeys
    signed: Signed
    length: int
    sha256: str


class Known:
    """What earlier sessions of this process verified: it saves work, and decides nothing.

    A role is taken from here only for the very keys with which it was verified, and for the very
    bytes (`recall`) or the version, length and hash that the snapshot lists (`listed`). Expiry is
    checked each time all the same. Learn only what passed every check: `listed` asks none of
    them again. May be used by several threads.

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

    def recall(self, role: str, data: bytes, keys: RoleKeys, kind: type[S]) -> S | None:
        """The role that was verified from `data` with `keys`, if it was the last one."""
        found = self._find(role)
        if found is None or found.length != len(data) or found.keys != keys:
            return None
        if found.sha256 != hashlib.sha256(data).hexdigest():
            return None
        return found.signed if isinstance(found.signed, kind) else None

    def listed(self, role: str, info: FileInfo, keys: RoleKeys, kind: type[S]) -> S | None:
        """The role that was verified with `keys`, if it is the one that `info` describes.

        Hashes other than sha256 can't be told from here: then the bytes are needed.
        """
        found = self._find(role)
        if found is None or found.signed.version != info.version or found.keys != keys:
            return None
        if info.length not in (None, found.length):
            return None
        if info.hashes not in ({}, {"sha256": found.sha256}):
            return None
        return found.signed if isinstance(found.signed, kind) else None

    def learn(self, role: str, data: bytes, keys: RoleKeys, signed: Signed) -> None:
        """Remember `signed`, verified from `data` with `keys`, and trusted."""
        verified = _Verified(keys, signed, len(data), hashlib.sha256(data).hexdigest())
        with self._lock:
            self._forget(role)
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
