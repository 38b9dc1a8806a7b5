"""Private copies of everything that was ever added: what `restore` repairs the public folder from.

Every object lies under its SHA-256, and is durable when the method that stored it returns.

Left to others: which objects belong to which file (the state), and naming them in the public
folder (`indextrust.repository.storage`).
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from indextrust.errors import DistributionError, StoreError
from indextrust.repository.disk import copy_bytes, fresh_file, open_regular, storing
from indextrust.repository.durable import fsync_folder
from indextrust.repository.offline import Offline

__all__ = ["ObjectStore"]


class ObjectStore:
    """Private copies of everything that was ever added, by SHA-256.

    Args:
        folder: created if missing, for its owner alone.
        scratch: folder for unfinished files, on the same file system.
    """

    def __init__(self, folder: Path, scratch: Path) -> None:
        self._folder = folder
        self._scratch = scratch

    def place(self, sha256: str) -> str:
        """Where an object lies: ``ab/abcd…``, so that no folder gets millions of names. As text: a
        publication of many files asks for thousands."""
        return f"{self._folder}/{sha256[:2]}/{sha256}"

    def path(self, sha256: str) -> Path:
        """The same as a path."""
        return Path(self.place(sha256))

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
            with fresh_file(folder, durable=True) as (fresh, file):
                copy_bytes(source, file)
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
        with (
            storing(f"write {self._scratch}"),
            fresh_file(self._scratch, durable=True) as (fresh, file),
        ):
            file.write(data)
        self.keep(fresh, sha256)
        return sha256

    def keep_offline(self, offline: Offline) -> None:
        """Store the files of the offline roles. Raises StoreError."""
        roles = (role.data for role in offline.roles.values())
        for data in (*offline.roots.values(), *roles, *offline.incidents.values()):
            self.keep_bytes(data)

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
