"""`FileMetadataStore`: trusted metadata in a folder.

    root.json, timestamp.json, bins.json, ...   what is trusted now, byte for byte as received
    root_history/N.root.json                    every root that was ever trusted
    evidence/                                   refused bytes, for a person to look at
    tmp/                                        files being written
    store.lock                                  the lock between processes

A file is written under ``tmp/``, synced, renamed to its place, and the folder is synced: after
a crash the old bytes are there, or the new ones. A new root goes to the history first, and
``root.json`` is the point at which it counts. What a killed process left under ``tmp/`` is
removed by the next one that writes; all writing is done under the lock.

No symbolic link below the folder is followed and nothing but a regular file is read: a FIFO
in place of a role is an error, not a hang.

Many processes may share the folder. On a read-only one `load` works and `persist` raises.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from indextrust.errors import StoreError, UnsafePathError
from indextrust.names import ROOT, TOP_LEVEL_ROLES, metadata_filename
from indextrust.trust.wants import Persist

__all__ = ["FileMetadataStore"]

_HISTORY, _EVIDENCE, _TMP, _LOCK = "root_history", "evidence", "tmp", "store.lock"
_LOCK_SECONDS = 60.0
_MOST_BYTES = 64_000_000  # more than any role may have; a larger file is not ours
_MOST_NAME = 200
_MOST_EVIDENCE = 32
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class FileMetadataStore:
    """A `MetadataStore` (see `indextrust.client.ports`) in a folder of the local file system.

    Args:
        folder: made by the first `persist` if it isn't there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, role: str, version: int | None = None) -> bytes | None:
        """See `MetadataStore.load`."""
        name = _filename(role)
        with self._errors(f"read the {role} metadata"):
            try:
                folder = os.open(self._folder, _FOLDER_FLAGS)
            except FileNotFoundError:
                return None
            try:
                if version is None:
                    return _read(folder, name)
                return _read_below(folder, _HISTORY, metadata_filename(role, version))
            finally:
                os.close(folder)

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
                return True
            if _digest(stored) != want.replaces:
                return False
            _write(folder, folder, name, want.data)
        return True

    def keep_evidence(self, name: str, data: bytes) -> None:
        """See `MetadataStore.keep_evidence`. The first 32 are kept: later ones can't push
        them out."""
        filename = f"{hashlib.sha256(data).hexdigest()}.{metadata_filename(name)[-100:]}"
        with (
            contextlib.suppress(StoreError),  # the alarm that brought us here must get through
            self._errors("keep evidence"),
            self._locked() as folder,
            _subfolder(folder, _EVIDENCE) as evidence,
        ):
            kept = os.listdir(evidence)
            if filename not in kept and len(kept) < _MOST_EVIDENCE:
                _write(folder, evidence, filename, data)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """Hold the lock between processes and threads; gives the folder's descriptor."""
        self._folder.mkdir(parents=True, exist_ok=True)
        folder = os.open(self._folder, _FOLDER_FLAGS)
        try:
            with FileLock(self._folder / _LOCK, timeout=_LOCK_SECONDS, poll_interval=0.005):
                _remove_leftovers(folder)
                yield folder
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except Timeout:
            raise StoreError(
                f"can't {what}: another process held {self._folder / _LOCK} for "
                f"{_LOCK_SECONDS:g} seconds"
            ) from None
        except OSError as error:
            raise StoreError(
                f"can't {what} in {self._folder}: {error.strerror or error}"
                + (f" ({error.filename!r})" if error.filename else "")
            ) from error


def _persist_root(folder: int, want: Persist, stored: bytes | None) -> bool:
    """Keep a verified root in the history, and make it the current one.

    It may be older than what stands in ``root.json``: the session walks from the bootstrap root,
    and where the history was damaged it fetches a version again and goes on to the newest. A
    ``root.json`` that the chain doesn't reach (a foreign one, a forged one) is replaced for good;
    else it would keep every other role from being stored, for ever.
    """
    if stored != want.data and _digest(stored) != want.replaces:
        return False
    with _subfolder(folder, _HISTORY) as history:
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


def _read(folder: int, name: str) -> bytes | None:
    """The bytes of a regular file in `folder`, None if there is none of that name."""
    try:
        descriptor = os.open(
            name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder
        )
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", name)
        if status.st_size > _MOST_BYTES:
            raise OSError(errno.EFBIG, f"larger than {_MOST_BYTES} bytes", name)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def _read_below(folder: int, subfolder: str, name: str) -> bytes | None:
    try:
        below = os.open(subfolder, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        return _read(below, name)
    finally:
        os.close(below)


@contextlib.contextmanager
def _subfolder(folder: int, name: str) -> Iterator[int]:
    """The descriptor of a subfolder, made and synced if it isn't there."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
        os.fsync(folder)
    descriptor = os.open(name, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write(folder: int, target: int, name: str, data: bytes) -> None:
    """Put `data` at `name` in the folder `target`, durably, all or nothing."""
    with _subfolder(folder, _TMP) as tmp:
        temporary = secrets.token_hex(8)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(temporary, flags, 0o644, dir_fd=tmp), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, name, src_dir_fd=tmp, dst_dir_fd=target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=tmp)
            raise
        os.fsync(target)


def _remove_leftovers(folder: int) -> None:
    """Remove what processes that were killed left half-written. Called under the lock."""
    with _subfolder(folder, _TMP) as tmp:
        for name in os.listdir(tmp):
            with contextlib.suppress(IsADirectoryError):  # not ours; and no reason to stop
                os.unlink(name, dir_fd=tmp)


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
