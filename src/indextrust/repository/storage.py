"""Files on disk: complete and durable, or not there.

Guarantees, for every write:

1. The bytes go to a fresh file in the scratch folder, are fsynced, and only then get their
   name, by rename or link. A reader or a crash never meets half a file.
2. The folders that got a new name are fsynced by `FolderStorage.sync`; the publisher calls it
   before anything refers to the new files.
3. A file whose name carries a version or a hash is never given other bytes.
4. No write and no removal goes through a symbolic link below the public folder.

The plain and the hash-prefixed name of a target are two hard links to one file (where the file
system has none, two copies). The private copies in `ObjectStore` are never links to public
files: whoever may edit a public file in place must not reach the copy it is restored from. The
price is each distribution file twice on disk.

Left to others: which file is written when (`publish`), what is in it (`plan`, `documents`).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from io import BufferedReader, BufferedWriter
from pathlib import Path

from indextrust.errors import DistributionError, StoreError

__all__ = [
    "FolderStorage",
    "ObjectStore",
    "fsync_folder",
    "open_regular",
    "read_bounded",
    "storing",
    "sweep",
    "write_new",
]

_CHUNK = 1 << 20
MAX_TARGET = 16_000_000_000
"""Bytes of the largest target that a client takes (`indextrust.trust.Limits.target_length`)."""

_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


@contextlib.contextmanager
def storing(what: str) -> Iterator[None]:
    """Turn an `OSError` in the block into a `StoreError` that says what was tried.

    Args:
        what: the attempt, as in ``write /srv/index/public``.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(f"can't {what}: {error.strerror or error}") from error


def open_regular(path: Path) -> BufferedReader:
    """Open an existing regular file for reading; a symbolic link is not followed.

    Raises:
        DistributionError: a symbolic link, a folder, a device, a pipe.
        StoreError: it can't be opened.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DistributionError(f"{path} is a symbolic link: give the file itself") from None
        raise StoreError(f"can't read {path}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DistributionError(f"{path} is not a regular file")
    return os.fdopen(descriptor, "rb")


def read_bounded(path: Path, limit: int) -> bytes | None:
    """The bytes of a regular file; None if there is none, or more than `limit` bytes.

    Raises nothing, whatever a hostile hand has put at `path`.
    """
    try:
        with open_regular(path) as file:
            data = file.read(limit + 1)
    except (DistributionError, StoreError, OSError):
        return None
    return data if len(data) <= limit else None


def fsync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _fresh(scratch: Path) -> Iterator[tuple[Path, BufferedWriter]]:
    """A new file to write; fsynced and closed after the block, deleted if the block fails."""
    path = scratch / secrets.token_hex(16)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o644), "wb") as file:
        try:
            yield path, file
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def write_new(path: Path, data: bytes) -> None:
    """Write a small file durably; if it exists, it must have the same bytes.

    Args:
        path: its folder must exist.
        data: the content.

    Raises:
        StoreError: other bytes are there, or the write failed.
    """
    with storing(f"write {path}"):
        with _fresh(path.parent) as (fresh, file):
            file.write(data)
        try:
            os.link(fresh, path)
        except FileExistsError:
            _expect(path, data)
        finally:
            fresh.unlink()
        fsync_folder(path.parent)


def sweep(folder: Path) -> None:
    """Empty a scratch folder of what a killed process left; create it if missing."""
    with storing(f"write {folder}"):
        folder.mkdir(mode=0o700, exist_ok=True)
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)


def _expect(path: Path, data: bytes) -> None:
    if read_bounded(path, len(data)) != data:
        raise StoreError(f"{path} exists with other bytes, and is never overwritten")


def _copy(source: BufferedReader, target: BufferedWriter) -> str:
    """Copy all bytes and return their SHA-256."""
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        target.write(chunk)
    return digest.hexdigest()


def _expect_folder(folder: Path) -> None:
    """Refuse a symbolic link, or anything else, in the place of a folder. Raises StoreError."""
    if not stat.S_ISDIR(folder.lstat().st_mode):
        raise StoreError(f"{folder} is not a folder of ours")


class ObjectStore:
    """Private copies of everything that was ever added, by SHA-256.

    Args:
        folder: created if missing, for its owner alone.
        scratch: folder for unfinished files, on the same file system.
    """

    def __init__(self, folder: Path, scratch: Path) -> None:
        self._folder = folder
        self._scratch = scratch

    def path(self, sha256: str) -> Path:
        """Where an object lies: ``ab/abcd…``, so that no folder gets millions of names."""
        return self._folder / sha256[:2] / sha256

    def take_in(self, path: Path, most: int) -> Path:
        """Copy somebody's file into the scratch folder, under its own name in a new folder.

        What is inspected afterwards is the copy, and the copy is what is stored, even if
        somebody writes to the original meanwhile.

        Args:
            path: a regular file.
            most: bytes; a larger file is not copied at all.

        Raises:
            DistributionError: not a regular file, or too large.
            StoreError: it can't be read or copied.
        """
        folder = self._scratch / secrets.token_hex(16)
        with open_regular(path) as source, storing(f"copy {path} to {folder}"):
            size = os.fstat(source.fileno()).st_size
            if size > most:
                raise DistributionError(f"{path}: {size} bytes, more than {most}")
            folder.mkdir()
            with _fresh(folder) as (fresh, file):
                _copy(source, file)
            os.rename(fresh, folder / path.name)
        return folder / path.name

    def keep(self, copy: Path, sha256: str) -> None:
        """Move a file of the scratch folder into the store.

        Raises:
            StoreError: it could not be stored.
        """
        place = self.path(sha256)
        with storing(f"write {place}"):
            for folder in (self._folder, place.parent):
                folder.mkdir(mode=0o700, exist_ok=True)
            os.rename(copy, place)
            for folder in (place.parent, self._folder, self._folder.parent):
                fsync_folder(folder)

    def keep_bytes(self, data: bytes) -> str:
        """Store `data` and return its SHA-256. Raises StoreError."""
        sha256 = hashlib.sha256(data).hexdigest()
        with storing(f"write {self._scratch}"), _fresh(self._scratch) as (fresh, file):
            file.write(data)
        self.keep(fresh, sha256)
        return sha256

    def read(self, sha256: str) -> bytes:
        """A small object's bytes.

        Raises:
            StoreError: missing, or altered.
        """
        path = self.path(sha256)
        with storing(f"read {path}"):
            data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise StoreError(f"{path} is damaged: its bytes are not those of its name")
        return data


class FolderStorage:
    """The public folder: what any static web server serves.

    Names are POSIX paths below `public`, built by `indextrust.names`. Every method raises
    `StoreError` if the disk refuses, and leaves the old file intact.

    Args:
        public: the folder; created if missing.
        scratch: folder for unfinished files, on the same file system.
        quarantine: where `set_aside` moves what does not belong; created when needed.
    """

    def __init__(self, public: Path, scratch: Path, quarantine: Path) -> None:
        self.public = public
        self._scratch = scratch
        self._quarantine = quarantine
        self._unsynced: set[Path] = set()

    def write_once(self, name: str, data: bytes) -> None:
        """Write a file that stays as it is from now on; the same bytes there already are fine.

        Raises:
            StoreError: other bytes are there.
        """
        path = self._place(name)
        if os.path.lexists(path):
            _expect(path, data)
        else:
            self._write(path, data)

    def replace(self, name: str, data: bytes) -> None:
        """Write a file whose bytes change with time; its readers see the old or the new one."""
        self._write(self._place(name), data)

    def copy_once(self, name: str, objects: ObjectStore, sha256: str) -> None:
        """Copy an object to a hash-prefixed name; nothing to do if it is there already.

        What is there is taken for intact by its size: hashing it again on every publication
        would make the cost proportional to the whole index. `matches` looks closer.

        Raises:
            StoreError: the object is missing or damaged, or something else is there.
        """
        path, source = self._place(name), objects.path(sha256)
        with storing(f"copy {source} to {path}"):
            if os.path.lexists(path):
                there = path.lstat()
                if not stat.S_ISREG(there.st_mode) or there.st_size != source.stat().st_size:
                    raise StoreError(f"{path} exists with other bytes, and is never overwritten")
                return
            with open_regular(source) as original, _fresh(self._scratch) as (fresh, file):
                if _copy(original, file) != sha256:
                    raise StoreError(f"{source} is damaged: its bytes are not those of its name")
            self._name(fresh, path)

    def link(self, name: str, existing: str) -> None:
        """Give the file `existing` (a hash-prefixed name) the plain name `name` as well."""
        path, source = self._place(name), self.public / existing
        fresh = self._scratch / secrets.token_hex(16)
        with storing(f"write {path}"):
            try:
                os.link(source, fresh, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NO_HARD_LINKS:
                    raise
                with open_regular(source) as original, _fresh(self._scratch) as (fresh, file):
                    _copy(original, file)
            self._name(fresh, path)
            fresh.unlink(missing_ok=True)  # rename() of two names of one file does nothing

    def remove(self, name: str) -> None:
        """Take a name away; fine if it is gone already.

        Raises:
            StoreError: the way there leads through a symbolic link, out of the public folder.
        """
        path = self.public / name
        with storing(f"remove {path}"):
            for parent in list(path.relative_to(self.public).parents)[-2::-1]:
                folder = self.public / parent
                if not os.path.lexists(folder):
                    return
                _expect_folder(folder)
            path.unlink(missing_ok=True)

    def matches(self, name: str, length: int, sha256: str) -> bool:
        """Whether `name` is a regular file of these bytes. One of another size is not read."""
        return self._digest(name, length, length) == sha256

    def keeps_its_name(self, name: str, sha256: str) -> bool:
        """Whether `name` is a regular file with the hash that it is named after.

        One larger than any distribution may be (`MAX_TARGET`) is not read.
        """
        return self._digest(name, 0, MAX_TARGET) == sha256

    def _digest(self, name: str, least: int, most: int) -> str | None:
        """SHA-256 of a regular file whose size is in these bounds, also while it is read."""
        digest, length = hashlib.sha256(), 0
        try:
            with open_regular(self.public / name) as file:
                if not least <= os.fstat(file.fileno()).st_size <= most:
                    return None
                while length <= most and (chunk := file.read(_CHUNK)):
                    length += len(chunk)
                    digest.update(chunk)
        except (DistributionError, StoreError, OSError):
            return None
        return digest.hexdigest() if least <= length <= most else None

    def read(self, name: str, limit: int) -> bytes | None:
        """The bytes of `name`, or None if it is missing, longer than `limit`, or no file."""
        return read_bounded(self.public / name, limit)

    def listing(self, folder: str) -> list[str]:
        """The names in a folder below `public`, sorted; none if it is no folder to be read."""
        try:
            return sorted(os.listdir(self.public / folder))
        except OSError:  # what a hostile hand put there: a file, a loop of links
            return []

    def exists(self, name: str) -> bool:
        """Whether anything has this name: a file, or what a hostile hand put there."""
        return os.path.lexists(self.public / name)

    def is_file(self, name: str) -> bool:
        """Whether `name` is a regular file, and no link to one."""
        return self.exists(name) and stat.S_ISREG((self.public / name).lstat().st_mode)

    def is_other(self, name: str) -> bool:
        """Whether something is in the place of the folder `name` that is none: a link, a file."""
        return self.exists(name) and not stat.S_ISDIR((self.public / name).lstat().st_mode)

    def set_aside(self, name: str, under: str) -> None:
        """Move something that does not belong out of the public folder, as evidence.

        Args:
            name: what; a file, a link, or a whole folder.
            under: folder in the quarantine, one for each incident.
        """
        path, place = self.public / name, self._quarantine / under / name
        if not self.exists(name):
            return
        with storing(f"move {path} to {place}"):
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.rename(path, place)

    def sync(self) -> None:
        """Make every name given so far durable."""
        with storing(f"write {self.public}"):
            for folder in sorted(self._unsynced):
                fsync_folder(folder)
        self._unsynced.clear()

    def _place(self, name: str) -> Path:
        """The path of `name`, its folders made; none of them may be a symbolic link."""
        folder = self.public
        parts = name.split("/")
        with storing(f"write {self.public / name}"):
            for part in ["", *parts[:-1]]:
                folder = folder / part
                try:
                    folder.mkdir()
                    self._unsynced.add(folder.parent)
                except FileExistsError:
                    if folder != self.public:
                        _expect_folder(folder)
        return folder / parts[-1]

    def _write(self, path: Path, data: bytes) -> None:
        with storing(f"write {path}"):
            with _fresh(self._scratch) as (fresh, file):
                file.write(data)
            self._name(fresh, path)

    def _name(self, fresh: Path, path: Path) -> None:
        os.replace(fresh, path)
        self._unsynced.add(path.parent)
