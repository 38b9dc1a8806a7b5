"""A target's bytes on their way from the network: counted, hashed, written, and judged at the end.

Blocking and asynchronous clients share it. What it writes is not verified before `finish` returns.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from indextrust.client.urls import below
from indextrust.errors import InputError, LengthError, StoreError
from indextrust.names import hash_prefixed
from indextrust.trust import TargetEntry, check_target_path
from indextrust.trust.verdict import algorithms, check

__all__ = ["Incoming", "file_matches", "storing", "target_url"]

_CHUNK = 1 << 20


class Incoming:
    """The bytes of one target.

    Args:
        entry: what vouches for them.
        sink: where they go.

    Raises:
        HashMismatchError: the entry lists no usable hash.
    """

    def __init__(self, entry: TargetEntry, sink: IO[bytes]) -> None:
        self._entry = entry
        self._sink = sink
        self._length = 0
        self._hashes = {
            name: hashlib.new(name, usedforsecurity=False) for name in algorithms(entry)
        }

    def write(self, piece: bytes) -> None:
        """The next piece. Raises OSError from the sink."""
        self._length += len(piece)
        for digest in self._hashes.values():
            digest.update(piece)
        self._sink.write(piece)

    def finish(self) -> None:
        """There are no more.

        Raises:
            LengthError, HashMismatchError: they are not what was vouched for.
        """
        digests = {name: digest.hexdigest() for name, digest in self._hashes.items()}
        check(self._entry, self._length, digests)


def target_url(base: str | None, entry: TargetEntry, *, consistent: bool, longest: int) -> str:
    """Where to ask for a target (TUF specification 5.7.3).

    Args:
        base: where target paths begin, with a slash at the end.
        entry: the target.
        consistent: whether the root says that snapshots are consistent: then the name is prefixed
            with a hash.
        longest: bytes; an entry that lists more is refused unasked.

    Raises:
        LengthError: it lists more than `longest` bytes.
        UnsafePathError: a path that could leave its base.
        HashMismatchError: the entry lists no usable hash.
        InputError: there is no base.
    """
    if base is None:
        raise InputError("this client was made without a URL for targets")
    if entry.length > longest:
        raise LengthError("too long", where=entry.path, expected=longest, got=entry.length)
    path = check_target_path(entry.path)
    if consistent:
        names = algorithms(entry)
        digest = entry.hashes["sha256" if "sha256" in names else names[-1]]
        path = hash_prefixed(path, digest)
    return below(base, path)


def file_matches(entry: TargetEntry, path: Path) -> bool:
    """Whether `path` is a regular file (no symbolic link) with the bytes that `entry` lists.

    Raises:
        HashMismatchError: the entry lists no usable hash.
        OSError: it is there and can't be read.
    """
    names = algorithms(entry)
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size != entry.length:
                return False
            hashes = [hashlib.new(name, usedforsecurity=False) for name in names]
            left = entry.length + 1
            while left and (piece := file.read(min(left, _CHUNK))):
                left -= len(piece)
                for digest in hashes:
                    digest.update(piece)
            return left == 1 and all(
                digest.hexdigest() == entry.hashes[name]
                for name, digest in zip(names, hashes, strict=True)
            )
    return False


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn what the file system raises while `path` is written into `StoreError`."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"can't write {path}: {error.strerror or error}") from error
