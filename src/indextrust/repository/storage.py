"""Files on disk: complete and durable, or not there.

Guarantees, for every write to the public folder:

1. The bytes go to a fresh file in the scratch folder. `FolderStorage.sync` makes the bytes of all
   such files durable at once, then gives them their names, in the order in which they were
   written, then makes the names durable. So nothing is visible before `sync`, the publisher
   calls it before anything refers to the new files, and neither a reader nor a power failure
   leaves half a file under a name.
2. The exception are metadata files under a version number (`write_numbered`): they are written
   under their name, and bytes and name become durable together, which spares half of the waiting.
   A kill or a power failure may leave half of one behind. That is harmless because of how numbers
   are given: the number was used up in the state, durably, before the file was begun, so it is
   never written again, and what refers to it (snapshot, timestamp) comes after a `sync` that
   never was. It is garbage that no reader asks for. A hash-prefixed name, in contrast, comes back
   with the same bytes when an interrupted publication is done again, and half a file under it
   would be in the way: those are never written like this.
3. A file whose name carries a version or a hash is never given other bytes.
4. No write and no removal goes through a symbolic link below the public folder, whenever it was
   put there (`indextrust.repository.folders`).

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
import stat
from collections.abc import Iterator
from io import BufferedWriter
from pathlib import Path
from typing import TYPE_CHECKING

from indextrust.errors import DistributionError, StoreError
from indextrust.repository.disk import (
    CHUNK,
    NEW,
    copy_bytes,
    expect,
    fresh_file,
    open_regular,
    read_bounded,
    storing,
)
from indextrust.repository.durable import Batch
from indextrust.repository.folders import Folders

if TYPE_CHECKING:
    from indextrust.repository.objects import ObjectStore

__all__ = ["FolderStorage"]

MAX_TARGET = 16_000_000_000
"""Bytes of the largest target that a client takes (`indextrust.trust.Limits.target_length`)."""

_SHA512_DIGITS = 128

_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class FolderStorage:
    """The public folder: what any static web server serves.

    Names are POSIX paths below `public`, built by `indextrust.names`. What is written gets its
    name, and is durable, after `sync`. Every method raises `StoreError` if the disk refuses, and
    leaves the old file intact.

    Args:
        public: the folder; created if missing.
        scratch: folder for unfinished files, on the same file system.
        quarantine: where `set_aside` moves what does not belong; created when needed.
    """

    def __init__(self, public: Path, scratch: Path, quarantine: Path) -> None:
        self.public = public
        self._scratch = scratch
        self._quarantine = quarantine
        self._written = Batch(scratch)
        # paths below are text: a publication of many files handles thousands
        self._waiting: dict[str, str] = {}  # name to be: its bytes, in the scratch folder
        self._linked: dict[str, str] = {}  # those of them that are a second name: of which file
        self._placed: set[str] = set()  # folders that are there, since the last `sync`
        self._folders = Folders(str(public))
        self._doubted = False

    @property
    def places(self) -> tuple[str, str, str]:
        """The three folders, for another process to write to the first one as well."""
        return str(self.public), str(self._scratch), str(self._quarantine)

    @contextlib.contextmanager
    def written_elsewhere(self, folder: str) -> Iterator[None]:
        """In this block other processes write numbered files into a folder below `public`:
        failures of the disk are seen from here on."""
        self._place(f"{folder}/")
        with contextlib.ExitStack() as block:
            with storing(f"write {self.public}/{folder}"):
                self._written.begin()
                block.enter_context(self._written.ahead())
            yield

    def wrote_elsewhere(self, name: str) -> None:
        """Another process wrote this numbered file: the next `sync` makes it durable."""
        path = f"{self.public}/{name}"
        self._written.add(path)
        self._written.add_folder(os.path.dirname(path))

    def write_once(self, name: str, data: bytes) -> None:
        """Write a file that stays as it is from now on; the same bytes there already are fine.

        Raises:
            StoreError: other bytes are there.
        """
        path = self._place(name)
        there = self._waiting.get(path, path)
        if os.path.lexists(there):
            expect(there, data)
        else:
            self._name(self._write(name, data), path)

    def write_numbered(self, name: str, data: bytes) -> None:
        """Write a file under a version number that was used up for it, and for nothing before.

        It has its name at once (the module says why).

        Raises:
            StoreError: other bytes are there.
        """
        path = self._place(name)
        with storing(f"write {path}"):
            try:
                self._create(path, data, self._folders.at(_folder(name)))
            except FileExistsError:
                expect(path, data)
            else:
                self._written.add_folder(os.path.dirname(path))

    def replace(self, name: str, data: bytes) -> None:
        """Write a file whose bytes change with time; its readers see the old or the new one."""
        self._name(self._write(name, data), self._place(name))

    def prepare(self, name: str, data: bytes) -> str:
        """Write the bytes of a file that is to be replaced later, by `replace_prepared`.

        `sync` makes them durable and gives them no name.
        """
        return self._write(name, data)

    def replace_prepared(self, name: str, prepared: str) -> None:
        """`replace` with what `prepare` wrote."""
        self._name(prepared, self._place(name))

    def copy_once(self, name: str, objects: ObjectStore, sha256: str) -> None:
        """Copy an object to a hash-prefixed name; nothing to do if it is there already.

        What is there is taken for intact by its size: hashing it again on every publication
        would make the cost proportional to the whole index. `matches` looks closer.

        Raises:
            StoreError: the object is missing or damaged, or something else is there.
        """
        path, source = self._place(name), objects.place(sha256)
        there = self._waiting.get(path, path)
        with storing(f"copy {source} to {path}"):
            if os.path.lexists(there):
                found = os.lstat(there)
                if not stat.S_ISREG(found.st_mode) or found.st_size != os.stat(source).st_size:
                    raise StoreError(f"{path} exists with other bytes, and is never overwritten")
                return
            self._name(self._copied(source, sha256), path)

    def link(self, name: str, existing: str) -> None:
        """Give the file `existing` (a hash-prefixed name) the plain name `name` as well."""
        path = self._place(name)
        self._waiting.pop(path, None)
        self._waiting[path] = path
        self._linked[path] = existing

    def remove(self, name: str) -> None:
        """Take a name away; fine if it is gone already.

        Raises:
            StoreError: the way there leads through a symbolic link, out of the public folder.
        """
        path = f"{self.public}/{name}"
        with storing(f"remove {path}"), contextlib.suppress(FileNotFoundError):
            folder = self._folders.at(_folder(name))
            self._written.add_folder(os.path.dirname(path))
            os.unlink(os.path.basename(path), dir_fd=folder)

    def matches(self, name: str, length: int, sha256: str) -> bool:
        """Whether `name` is a regular file of these bytes. One of another size is not read."""
        return self._digest(name, length, length) == sha256

    def has_digest(self, name: str, digest: str) -> bool:
        """Whether `name` is a regular file of this hash: a SHA-256, or by its length a SHA-512.

        One larger than any distribution may be (`MAX_TARGET`) is not read.
        """
        algorithm = "sha512" if len(digest) == _SHA512_DIGITS else "sha256"
        return self._digest(name, 0, MAX_TARGET, algorithm) == digest

    def _digest(self, name: str, least: int, most: int, algorithm: str = "sha256") -> str | None:
        """Hash of a regular file whose size is in these bounds, also while it is read."""
        digest, length = hashlib.new(algorithm), 0
        try:
            with open_regular(self.public / name) as file:
                if not least <= os.fstat(file.fileno()).st_size <= most:
                    return None
                while length <= most and (chunk := file.read(CHUNK)):
                    length += len(chunk)
                    digest.update(chunk)
        except (DistributionError, StoreError, OSError):
            return None
        return digest.hexdigest() if least <= length <= most else None

    def read(self, name: str, limit: int) -> bytes | None:
        """The bytes of `name`, or None if it is missing, longer than `limit`, or no file."""
        return read_bounded(f"{self.public}/{name}", limit)

    def listing(self, folder: str) -> list[str]:
        """The names in a folder below `public`, sorted; none if it is no folder to be read."""
        try:
            return sorted(os.listdir(self.public / folder))
        except OSError:  # what a hostile hand put there: a file, a loop of links
            return []

    def exists(self, name: str) -> bool:
        """Whether anything has this name: a file, or what a hostile hand put there."""
        return os.path.lexists(self.public / name)

    def size(self, name: str) -> int | None:
        """Bytes of a regular file; None if there is none."""
        return (self.public / name).lstat().st_size if self.is_file(name) else None

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
            os.rename(path.name, place, src_dir_fd=self._folders.at(_folder(name)))
        self._folders.close()  # it may have been one of them
        self._placed.clear()

    def abandon(self) -> None:
        """Forget what was written since the last `sync`: the scratch folder is emptied."""
        self._written.abandon()
        self._waiting.clear()
        self._linked.clear()
        self._placed.clear()
        self._folders.close()
        self._doubted = False

    def doubt(self) -> None:
        """Call this if another process was killed while it wrote: names of folders and files that
        are there may not be durable, and become so with what is written until `abandon`."""
        self._doubted = True

    def sync_too(self, folder: Path) -> None:
        """Make the names in a folder of the same file system durable with the next `sync`."""
        self._written.add_folder(folder)

    def sync(self) -> None:
        """Make everything written so far durable, and give it its names."""
        waiting, self._waiting = self._waiting, {}
        with storing(f"write {self.public}"):
            self._written.sync()
            self._folders.close()
            for path, fresh in waiting.items():
                if path in self._linked:
                    self._link(path, self._linked[path])
                else:
                    self._rename(fresh, path)
            self._linked.clear()
            self._written.sync()
        self._placed.clear()
        self._folders.close()

    def _rename(self, fresh: str, path: str) -> None:
        """Give a file of the scratch folder its name. Raises OSError."""
        self._written.rename(fresh, path, self._folders.at(self._below(path)))

    def _link(self, path: str, existing: str) -> None:
        """Give a file that has its name a second one. Raises OSError."""
        below, _, source = existing.rpartition("/")
        place, _, name = path.rpartition("/")
        try:
            origin = self._folders.at(below)
            folder = self._folders.at(self._below(path))
            try:
                os.link(source, name, src_dir_fd=origin, dst_dir_fd=folder, follow_symlinks=False)
            except FileExistsError:
                fresh = self._new_name()
                os.link(source, fresh, src_dir_fd=origin, follow_symlinks=False)
            else:
                self._written.begin()
                self._written.add_folder(place)
                return
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            fresh = self._copied(f"{self.public}/{existing}")
        self._rename(fresh, path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)  # rename() of two names of one file does nothing

    def _below(self, path: str) -> str:
        """The folder of a path, below the public folder."""
        return _folder(path[len(str(self.public)) + 1 :])

    def _place(self, name: str) -> str:
        """The path of `name`, its folders made; none of them may be a symbolic link."""
        path, folder = f"{self.public}/{name}", _folder(name)
        if folder in self._placed:
            return path
        with storing(f"write {path}"):
            below = ""
            for part in ["", *folder.split("/")] if folder else [""]:
                below = f"{below}/{part}".lstrip("/")
                if self._folders.made(below) or self._doubted:
                    self._written.add_folder((self.public / below).parent)
        if self._doubted:
            self._written.add_folder(os.path.dirname(path))
        self._placed.add(folder)
        return path

    def _new_name(self) -> str:
        return f"{self._scratch}/{secrets.token_hex(16)}"

    def _write(self, name: str, data: bytes) -> str:
        """A file in the scratch folder, not durable yet."""
        fresh = self._new_name()
        with storing(f"write {self.public}/{name}"):
            self._create(fresh, data)
        return fresh

    def _copied(self, source: str | Path, sha256: str | None = None) -> str:
        """A copy in the scratch folder, not durable yet.

        Raises:
            StoreError: another SHA-256 than that which is wanted; nothing is left of the copy.
        """
        data = read_bounded(source, CHUNK)
        if data is not None:  # a short one, as most are
            _expect_digest(source, sha256, hashlib.sha256(data).hexdigest())
            fresh = self._new_name()
            self._create(fresh, data)
            return fresh
        with open_regular(source) as original, self._fresh() as (fresh, file):
            _expect_digest(source, sha256, copy_bytes(original, file))
        return fresh

    def _create(self, path: str, data: bytes, folder: int | None = None) -> None:
        """A new file, not durable yet; deleted again if the disk refuses. Raises OSError.

        Args:
            path: its own.
            data: its bytes.
            folder: a descriptor of its folder, if others may write there too.
        """
        self._written.begin()
        name = path if folder is None else os.path.basename(path)
        descriptor = os.open(name, NEW, 0o644, dir_fd=folder)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]
        except BaseException:
            os.unlink(name, dir_fd=folder)
            raise
        finally:
            os.close(descriptor)
        self._written.add(path)

    @contextlib.contextmanager
    def _fresh(self) -> Iterator[tuple[str, BufferedWriter]]:
        self._written.begin()
        with fresh_file(self._scratch, durable=False) as (fresh, file):
            yield str(fresh), file
        self._written.add(fresh)

    def _name(self, fresh: str, path: str) -> None:
        """Have `sync` rename a file; the bytes that waited for the name before are dropped."""
        self._linked.pop(path, None)
        self._waiting.pop(path, None)
        self._waiting[path] = fresh


def _folder(name: str) -> str:
    """The folder of a name below the public folder; empty for that itself."""
    return name.rpartition("/")[0]


def _expect_digest(source: str | Path, wanted: str | None, found: str) -> None:
    if wanted not in (None, found):
        raise StoreError(f"{source} is damaged: its bytes are not those of its name")
