"""The event's file on a medium: read bounded, replaced whole or not at all.

A medium may be pulled and a process killed at any moment: the new bytes are complete under another
name, and durable, before they take the place of the old ones. Nothing here needs hard links, which
the file systems of USB sticks do not have. What a killed process leaves is a file or folder whose
name begins with a dot and ends with ``.tmp``: it is never read, and may be deleted. What has its
name is read again: not every medium does what it says.

Two people may sign one file on a shared medium at the same moment: what is there is read again
under a lock (``.NAME.lock``, beside it, which stays), and one signature is added to the other.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from indextrust.ceremony.event import MAX_BYTES, Event, decode, encode
from indextrust.errors import CeremonyError, StoreError
from indextrust.repository.disk import NEW, storing
from indextrust.repository.durable import fsync_folder
from indextrust.repository.key_files import check_written, place_new
from indextrust.repository.lock import locked

__all__ = ["create_event", "create_folder", "read_event", "replace_file", "update_event"]


def read_event(path: Path) -> Event:
    """Read an event; it is not judged.

    Raises:
        CeremonyError: no signing event, or no regular file.
        StoreError: it can't be read.
    """
    with storing(f"read {path}"):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise CeremonyError(f"{path}: expected a regular file")
            data = file.read(MAX_BYTES + 1)
    try:
        return decode(data)
    except CeremonyError as error:
        raise CeremonyError(f"{path}: {error}") from None


def create_event(path: Path, event: Event) -> None:
    """Write a new event.

    Raises:
        CeremonyError: something is there already.
        StoreError: it can't be written.
    """
    try:
        with storing(f"write {path}"):
            place_new(path, encode(event), 0o644)
    except StoreError as error:
        if not isinstance(error.__cause__, FileExistsError):
            raise
        raise CeremonyError(f"{path} exists: a proposal is never overwritten") from None


def update_event(path: Path, change: Callable[[Event], Event]) -> Event:
    """Put signatures into the file of an event, whoever else does so at the same time.

    Args:
        path: its file.
        change: is given the event as it is now, not judged, and returns what it will be
            (`indextrust.ceremony.gather.merge`).

    Returns:
        What it is.

    Raises:
        CeremonyError: no signing event; and what `change` raises.
        ConflictError: others kept the lock for a minute.
        StoreError: it can't be written; it is as it was.
    """
    path = path.resolve()
    with locked(path.with_name(f".{path.name}.lock")):
        event = change(read_event(path))
        replace_file(path, encode(event))
    return event


def replace_file(path: Path, data: bytes) -> None:
    """Write a file whole, durably, in the place of another one or none. Raises StoreError."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    with storing(f"write {path}"):
        try:
            _write_durably(fresh, data)
            os.replace(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
        fsync_folder(path.absolute().parent)
        check_written(path, data)


def create_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder with all of these files, or none.

    Args:
        folder: not there yet; its parent is.
        files: by name, ``/`` between folders.

    Raises:
        CeremonyError: something is there already.
        StoreError: it can't be written; nothing is left.
    """
    if os.path.lexists(folder):
        raise CeremonyError(f"{folder} exists: give the name of a folder to be made")
    fresh = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.tmp")
    with storing(f"write {folder}"):
        try:
            folders = {fresh, *((fresh / name).parent for name in files)}
            for each in sorted(folders):
                each.mkdir(parents=True, exist_ok=True)
            for name, data in files.items():
                _write_durably(fresh / name, data)
            for each in folders:
                fsync_folder(each)
            os.rename(fresh, folder)
            fsync_folder(folder.absolute().parent)
            for name, data in files.items():
                check_written(folder / name, data)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def _write_durably(path: Path, data: bytes) -> None:
    """Create `path` and wait for the disk. Raises OSError."""
    with os.fdopen(os.open(path, NEW, 0o644), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
