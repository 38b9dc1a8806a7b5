"""`FileMetadataStore`: trusted metadata in a folder.

    root.json, timestamp.json, bins.json, ...   what is trusted now, byte for byte as received
    root_history/N.root.json                    every root that was ever trusted
    evidence/                                   refused bytes, for a person to look at
    incidents/SHA256.json                       incident records, to be had offline
    refreshed.times                             when the repository was last seen
    tmp/                                        files being written
    store.lock                                  the lock between processes

A file is written under ``tmp/``, synced, renamed to its place, and the folder is synced: after
a crash the old bytes are there, or the new ones. A new root goes to the history first, and
``root.json`` is the point at which it counts. What a killed process left under ``tmp/`` is
removed by the next one that writes; all writing is done under the lock.

No symbolic link below the folder is followed and nothing but a regular file is read.

Delegated roles that nobody used for long are removed (`indextrust.client.pruning`); a process
that was about to replace one loses the race and starts over.

Many processes may share the folder. On a read-only one `load` and `times` work, `save_times`
does nothing, and `persist` raises.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from indextrust.client.durable import make_folder, replacing_in
from indextrust.client.folders import opened, read, read_below, subfolder
from indextrust.client.pruning import Pruner
from indextrust.client.times import decode, encode, together
from indextrust.distribution import SHA256_HEX
from indextrust.errors import InputError, StoreError, UnsafePathError
from indextrust.incidents import MAX_LENGTH, MAX_RECORDS
from indextrust.names import ROOT, TOP_LEVEL_ROLES, metadata_filename
from indextrust.trust.freshness import Times
from indextrust.trust.wants import Persist

__all__ = ["FileMetadataStore"]

_HISTORY, _EVIDENCE, _TMP, _LOCK = "root_history", "evidence", "tmp", "store.lock"
_KEPT = "incidents"
_TIMES = "refreshed.times"
_LOCK_SECONDS = 60.0
_MOST_BYTES = 64_000_000  # more than any role may have; a larger file is not ours
_MOST_TIMES = 1_000
_MOST_NAME = 200
_MOST_EVIDENCE = 32
_MOST_KEPT = 2 * MAX_RECORDS
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_FORGET = "; `indextrust trust reset-clock` forgets them"


class FileMetadataStore:
    """A `MetadataStore` (see `indextrust.client.ports`) in a folder of the local file system.

    Args:
        folder: made by the first `persist` if it isn't there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pruner = Pruner()

    def load(self, role: str, version: int | None = None) -> bytes | None:
        """See `MetadataStore.load`."""
        name = _filename(role)
        with self._errors(f"read the {role} metadata"), self._opened() as folder:
            if folder is None:
                return None
            if version is None:
                return _read(folder, name)
            filename = metadata_filename(role, version)
            return read_below(folder, _HISTORY, filename, most=_MOST_BYTES)

    def persist(self, want: Persist) -> bool:
        """See `MetadataStore.persist`."""
        name = _filename(want.role)
        with self._errors(f"store version {want.version} of {want.role}"), self._locked() as folder:
            stored = _read(folder, name)
            if want.role == ROOT:
                return _persist_root(folder, want, stored)
            if _version_of(_read(folder, metadata_filename(ROOT))) != want.root_version:
                return False
            if stored == want.data:
                os.fsync(folder)  # who stored it may have been killed before it was durable
                return True
            if _digest(stored) != want.replaces:
                return False
            _write(folder, folder, name, want.data)
            if want.role not in TOP_LEVEL_ROLES:
                self._pruner.stored(folder, name, len(want.data))
        return True

    def keep_evidence(self, name: str, data: bytes) -> None:
        """See `MetadataStore.keep_evidence`. The first 32 are kept: later ones can't push
        them out."""
        filename = f"{hashlib.sha256(data).hexdigest()}.{metadata_filename(name)[-100:]}"
        with (
            contextlib.suppress(StoreError),  # the alarm that brought us here must get through
            self._errors("keep evidence"),
            self._locked() as folder,
            subfolder(folder, _EVIDENCE) as evidence,
        ):
            kept = os.listdir(evidence)
            if filename not in kept and len(kept) < _MOST_EVIDENCE:
                _write(folder, evidence, filename, data)

    def kept_target(self, sha256: str) -> bytes | None:
        """See `MetadataStore.kept_target`."""
        with self._errors("read an incident record"), self._opened() as folder:
            if folder is None:
                return None
            return read_below(folder, _KEPT, f"{_checked(sha256)}.json", most=MAX_LENGTH)

    def keep_target(self, sha256: str, data: bytes) -> None:
        """See `MetadataStore.keep_target`. Beyond twice as many as may count, all go."""
        with (
            contextlib.suppress(StoreError),
            self._errors("keep an incident record"),
            self._locked() as folder,
            subfolder(folder, _KEPT) as kept,
        ):
            names = os.listdir(kept)
            for name in names if len(names) >= _MOST_KEPT else ():
                os.unlink(name, dir_fd=kept)
            _write(folder, kept, f"{_checked(sha256)}.json", data)

    def times(self) -> Times | None:
        """See `MetadataStore.times`."""
        with self._errors("read the last-seen times", _FORGET), self._opened() as folder:
            return None if folder is None else _times(folder)

    def save_times(self, times: Times) -> None:
        """See `MetadataStore.save_times`."""
        if self.times() == times:
            return
        with (
            self._errors("store the last-seen times"),
            _unless_read_only(),
            self._locked() as folder,
        ):
            held = _times(folder)
            new = together(held, times, _version_of(_read(folder, metadata_filename(ROOT))))
            if new != held:
                _write(folder, folder, _TIMES, encode(new))

    def forget_times(self) -> None:
        """See `MetadataStore.forget_times`. Damaged ones go too."""
        with self._errors("forget the last-seen times"), self._opened() as there:
            if there is not None:
                with self._locked() as folder, contextlib.suppress(FileNotFoundError):
                    os.unlink(_TIMES, dir_fd=folder)
                    os.fsync(folder)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int | None]:
        """The folder's descriptor; None if it isn't there yet."""
        with contextlib.ExitStack() as stack:
            folder: int | None = None
            with contextlib.suppress(FileNotFoundError):
                folder = stack.enter_context(opened(self._folder))
            yield folder

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """Hold the lock between processes and threads; gives the folder's descriptor."""
        from filelock import FileLock  # takes long to import, and who only reads needs none

        make_folder(self._folder)
        with (
            opened(self._folder) as folder,
            FileLock(self._folder / _LOCK, timeout=_LOCK_SECONDS, poll_interval=0.005),
        ):
            yield folder

    @contextlib.contextmanager
    def _errors(self, what: str, remedy: str = "") -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise StoreError(
                f"can't {what}: another process held {self._folder / _LOCK} for "
                f"{_LOCK_SECONDS:g} seconds"
            ) from None
        except OSError as error:
            raise StoreError(
                f"can't {what} in {self._folder}: {error.strerror or error}"
                + (f" ({error.filename!r})" if error.filename else "")
                + remedy
            ) from error


@contextlib.contextmanager
def _unless_read_only() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise


def _persist_root(folder: int, want: Persist, stored: bytes | None) -> bool:
    """Keep a verified root in the history, and make it the current one.

    It may be older than what stands in ``root.json``: the session walks from the bootstrap root,
    and where the history was damaged it fetches a version again and goes on to the newest. A
    ``root.json`` that the chain doesn't reach (a foreign one, a forged one) is replaced for good;
    else it would keep every other role from being stored, for ever.
    """
    if stored != want.data and _digest(stored) != want.replaces:
        return False
    with subfolder(folder, _HISTORY) as history:
        _write(folder, history, metadata_filename(ROOT, want.version), want.data)
    if stored != want.data:
        _write(folder, folder, metadata_filename(ROOT), want.data)
    return True


def _filename(role: str) -> str:
    """The file name of `role`, if a folder can hold it without mixing it up with another.

    Raises:
        UnsafePathError: too long, or on a file system that ignores case a top-level role's.
    """
    name = metadata_filename(role)
    if len(name) > _MOST_NAME:
        raise UnsafePathError(
            "too long for a file name", where="role name", expected=_MOST_NAME, got=role
        )
    if role not in TOP_LEVEL_ROLES and role.casefold() in TOP_LEVEL_ROLES:
        raise UnsafePathError("a twin of a top-level role", where="role name", got=role)
    return name


def _checked(sha256: str) -> str:
    if not SHA256_HEX.fullmatch(sha256):
        raise InputError(f"expected a lower-case hex sha256, got {sha256[:80]!r}")
    return sha256


def _read(folder: int, name: str) -> bytes | None:
    return read(folder, name, most=_MOST_BYTES)


def _write(folder: int, target: int, name: str, data: bytes) -> None:
    """Put `data` at `name` in the folder `target`, durably, all or nothing."""
    with subfolder(folder, _TMP) as tmp, replacing_in(target, name, temporaries=tmp) as file:
        file.write(data)


def _times(folder: int) -> Times | None:
    data = read(folder, _TIMES, most=_MOST_TIMES)
    try:
        return None if data is None else decode(data)
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), _TIMES) from None


def _digest(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()


def _version_of(root: bytes | None) -> int | None:
    """The version of a stored root; None if there is none that can be read.

    Not a check: the session verifies everything that it loads.
    """
    try:
        version = json.loads(root or b"")["signed"]["version"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return version if isinstance(version, int) else None
