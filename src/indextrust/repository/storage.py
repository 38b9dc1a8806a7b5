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

if TYPE_CHECKING:
    from indextrust.repository.objects import ObjectStore

__all__ = ["FolderStorage"]

MAX_TARGET = 16_000_000_000
"""Bytes of the largest target that a client takes (`indextrust.trust.Limits.target_length`)."""

_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


def _expect_folder(folder: Path) -> None:
    """Refuse a symbolic link, or anything else, in the place of a folder. Raises StoreError."""
    if not stat.S_ISDIR(folder.lstat().st_mode):
        raise StoreError(f"{folder} is not a folder of ours")


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
        self._waiting: dict[Path, Path] = {}  # name to be: its bytes, in the scratch folder
        self._linked: set[Path] = set()  # those of them that may be a second name of one file
        self._folders: set[str] = set()  # known to be no symbolic links since the last `sync`

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
                self._create(path, data)
            except FileExistsError:
                expect(path, data)
            else:
                self._written.add_folder(path.parent)

    def replace(self, name: str, data: bytes) -> None:
        """Write a file whose bytes change with time; its readers see the old or the new one."""
        self._name(self._write(name, data), self._place(name))

    def prepare(self, name: str, data: bytes) -> Path:
        """Write the bytes of a file that is to be replaced later, by `replace_prepared`.

        `sync` makes them durable and gives them no name.
        """
        return self._write(name, data)

    def replace_prepared(self, name: str, prepared: Path) -> None:
        """`replace` with what `prepare` wrote."""
        self._name(prepared, self._place(name))

    def copy_once(self, name: str, objects: ObjectStore, sha256: str) -> None:
        """Copy an object to a hash-prefixed name; nothing to do if it is there already.

        What is there is taken for intact by its size: hashing it again on every publication
        would make the cost proportional to the whole index. `matches` looks closer.

        Raises:
            StoreError: the object is missing or damaged, or something else is there.
        """
        path, source = self._place(name), objects.path(sha256)
        there = self._waiting.get(path, path)
        with storing(f"copy {source} to {path}"):
            if os.path.lexists(there):
                found = there.lstat()
                if not stat.S_ISREG(found.st_mode) or found.st_size != source.stat().st_size:
                    raise StoreError(f"{path} exists with other bytes, and is never overwritten")
                return
            with open_regular(source) as original, self._fresh() as (fresh, file):
                if copy_bytes(original, file) != sha256:
                    raise StoreError(f"{source} is damaged: its bytes are not those of its name")
        self._name(fresh, path)

    def link(self, name: str, existing: str) -> None:
        """Give the file `existing` (a hash-prefixed name) the plain name `name` as well."""
        path, named = self._place(name), self.public / existing
        source = self._waiting.get(named, named)
        fresh = self._scratch / secrets.token_hex(16)
        with storing(f"write {path}"):
            try:
                os.link(source, fresh, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NO_HARD_LINKS:
                    raise
                with open_regular(source) as original, self._fresh() as (fresh, file):
                    copy_bytes(original, file)
        self._linked.add(fresh)
        self._name(fresh, path)

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
            self._written.add_folder(path.parent)

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
                while length <= most and (chunk := file.read(CHUNK)):
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
            os.rename(path, place)

    def abandon(self) -> None:
        """Forget what was written since the last `sync`: the scratch folder is emptied."""
        self._written.abandon()
        self._waiting.clear()
        self._linked.clear()
        self._folders.clear()

    def sync(self) -> None:
        """Make everything written so far durable, and give it its names."""
        waiting, self._waiting = self._waiting, {}
        with storing(f"write {self.public}"):
            self._written.sync()
            for path, fresh in waiting.items():
                self._written.rename(fresh, path)
                if fresh in self._linked:  # rename() of two names of one file does nothing
                    fresh.unlink(missing_ok=True)
            self._linked.clear()
            self._written.sync()
        self._folders.clear()

    def _place(self, name: str) -> Path:
        """The path of `name`, its folders made; none of them may be a symbolic link."""
        path, folder = self.public / name, self.public
        if name.rpartition("/")[0] in self._folders:
            return path
        with storing(f"write {path}"):
            for part in ["", *name.split("/")[:-1]]:
                folder = folder / part
                try:
                    folder.mkdir()
                    self._written.add_folder(folder.parent)
                except FileExistsError:
                    if folder != self.public:
                        _expect_folder(folder)
        self._folders.add(name.rpartition("/")[0])
        return path

    def _write(self, name: str, data: bytes) -> Path:
        """A file in the scratch folder, not durable yet."""
        fresh = self._scratch / secrets.token_hex(16)
        with storing(f"write {self.public / name}"):
            self._create(fresh, data)
        return fresh

    def _create(self, path: Path, data: bytes) -> None:
        """A new file, not durable yet; deleted again if the disk refuses. Raises OSError."""
        self._written.begin()
        descriptor = os.open(path, NEW, 0o644)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        self._written.add(path)

    @contextlib.contextmanager
    def _fresh(self) -> Iterator[tuple[Path, BufferedWriter]]:
        self._written.begin()
        with fresh_file(self._scratch, durable=False) as (fresh, file):
            yield fresh, file
        self._written.add(fresh)

    def _name(self, fresh: Path, path: Path) -> None:
        """Have `sync` rename a file; the bytes that waited for the name before are dropped."""
        self._waiting.pop(path, None)
        self._waiting[path] = fresh
