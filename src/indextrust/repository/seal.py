"""The seal on the log: a key and the head of the chain, both kept outside the database.

The key is 32 random bytes in a file that its owner alone can read. Every entry of the log
(`indextrust.repository.log`) carries an HMAC-SHA256 under it, and the HMAC of an entry covers
the one before. The head, number and HMAC of the last entry, lies in a file of its own, so that a
database that was put back as a whole to an older copy of itself is told from the current one.

The head is written after the database, so a crash leaves it behind and never ahead: entries
beyond the head are taken if their HMACs are right, for only the key can have made them. What
the head names must be there. When a publication begins, the head is written before any of its
files: who then takes the entry back out of the database can't have its numbers used again.

By default the key is ``queue.key`` in the repository folder, beside the database and never below
``public/``. That separates it from whoever writes the database through SQL, and from copies of
the database; an operator who wants it out of backups of the folder too names another place. The
head is always in the repository folder: the key's place may be read-only.

Source: RFC 2104 (HMAC), FIPS 180-4 (SHA-256).
"""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
from pathlib import Path
from typing import NamedTuple

from indextrust.errors import InputError, KeyFileError
from indextrust.repository.disk import storing
from indextrust.repository.durable import fsync_folder
from indextrust.repository.key_files import create_file, read_file
from indextrust.repository.plan import RoleFile

__all__ = ["HEAD", "KEY", "Head", "Seal", "key_place", "make_key", "read_key"]

KEY = "queue.key"
"""Default name of the key's file in the repository folder."""

HEAD = "queue.head"
"""Name of the head's file in the repository folder."""

_KEY_SIZE = 32
_array = json.JSONEncoder(separators=(",", ":")).encode
_TYPES = {int, str, type(None)}
_HEAD = re.compile(r"([1-9][0-9]{0,17}) ([0-9a-f]{64})\n", re.ASCII)
_MAX_HEAD = 100


def key_place(folder: Path, path: Path | None) -> Path:
    """Where the key of the repository in `folder` lies.

    Args:
        folder: the repository's.
        path: the place that the operator named; None for the default.

    Raises:
        InputError: a place below the folder that is served.
    """
    if path is None:
        return folder / KEY
    if (folder / "public").resolve() in path.resolve().parents:
        raise InputError(f"expected the queue key outside the served folder, got {path}")
    return path


def make_key(path: Path) -> bytes:
    """The key in the file `path`; it is made, with mode 0600, if nothing is there.

    Raises:
        KeyFileError: what is there is no such key, or it can't be written.
    """
    if not os.path.lexists(path):
        create_file(path, secrets.token_bytes(_KEY_SIZE), 0o600)
    return read_key(path)


def read_key(path: Path) -> bytes:
    """The key in the file `path`.

    Raises:
        KeyFileError: missing, readable by others, or not 32 bytes. The bytes are not told.
    """
    key = read_file(path, private=True)
    if len(key) != _KEY_SIZE:
        raise KeyFileError(f"{path}: expected a queue key of {_KEY_SIZE} bytes, got {len(key)}")
    return key


class Head(NamedTuple):
    """The last entry of a log: its number, and its HMAC in lower-case hex."""

    number: int
    mac: str


class Seal:
    """Key and head of one repository.

    Args:
        key: 32 bytes, secret.
        folder: the repository's folder; the head lies there.
        scratch: folder on the same file system, for the unfinished head.
    """

    def __init__(self, key: bytes, folder: Path, scratch: Path) -> None:
        self._key = key
        self.path = folder / HEAD
        self._scratch = scratch

    def mac(self, previous: str, fields: tuple[int | str | None, ...]) -> str:
        """The HMAC of an entry, lower-case hex.

        Args:
            previous: HMAC of the entry before; empty for the first.
            fields: all that the entry says, in a fixed order. Their JSON array is
                authenticated, so that nothing can move from one field into the next.
        """
        message = _array([previous, *fields]).encode("ascii")
        return hmac.digest(self._key, message, "sha256").hex()

    def matches(self, mac: object, previous: object, fields: tuple[object, ...]) -> bool:
        """Whether `mac` is the HMAC of an entry as it was read, whatever types its values have."""
        if not {type(mac), type(previous), *map(type, fields)} <= _TYPES:
            return False
        expected = self.mac(str(previous), fields)  # type: ignore[arg-type]
        return hmac.compare_digest(str(mac).encode("utf-8", "replace"), expected.encode("ascii"))

    def mac_of(self, role: str, file: RoleFile) -> str:
        """The HMAC of a metadata file that was published, lower-case hex.

        A version stands for one file for good, so it can't be of an older state.
        """
        return self.mac("role", (role, *file))

    def vouches(self, role: str, file: RoleFile, mac: object) -> bool:
        """Whether `mac` is the one that `mac_of` gave."""
        return self.matches(mac, "role", (role, *file))

    def head(self) -> Head | None:
        """The head that was kept last; None if its file is missing or not as it was written."""
        try:
            with self.path.open("rb") as file:
                text = file.read(_MAX_HEAD).decode("ascii")
        except (OSError, UnicodeDecodeError):
            return None
        match = _HEAD.fullmatch(text)
        return None if match is None else Head(int(match[1]), match[2])

    def keep(self, head: Head) -> None:
        """Write the head, durably; the old one or the new one is there, whatever happens.

        Raises:
            StoreError: it can't be written.
        """
        self.put(head)
        with storing(f"write {self.path}"):
            fsync_folder(self.path.parent)

    def put(self, head: Head) -> None:
        """Write the head; a power failure may leave the old one, until its folder is fsynced.

        Raises:
            StoreError: it can't be written.
        """
        fresh = self._scratch / HEAD
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with storing(f"write {self.path}"):
            with os.fdopen(os.open(fresh, flags, 0o600), "wb") as file:
                file.write(f"{head.number} {head.mac}\n".encode("ascii"))
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, self.path)
