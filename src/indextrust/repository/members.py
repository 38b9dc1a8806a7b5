"""What both kinds of archive must keep: names that every file system reads alike, and bounds.

Two names are twins if a file system that folds case, or that normalises Unicode, takes them for
one (``METADATA`` and ``metadata``): which of the two gets unpacked then depends on the tool. A
name may not stand for a file and for a folder either.

Work and memory are bounded before they are spent: a name by its length, all names together by
their number and their sum, and what is unpacked by PyPI's bound (50 times, beyond 64 MiB).
"""

from __future__ import annotations

import re
import unicodedata
from enum import Enum
from typing import NoReturn

from indextrust.errors import DistributionError

__all__ = [
    "CHUNK",
    "MAX_METADATA",
    "Kind",
    "Names",
    "Unpacked",
    "check_text",
    "refuse",
]

CHUNK = 1 << 16
"""Bytes that are unpacked in one go."""
MAX_METADATA = 2 * 1024 * 1024
"""Bytes of a METADATA or PKG-INFO. The largest on PyPI have some hundred kilobytes."""

_MAX_MEMBERS = 100_000
_MAX_NAMES = 16 * 1024 * 1024  # characters, of members and of the folders above them
_MAX_PATH = 4_096
_MAX_PART = 255
_BOMB_SIZE = 64 * 1024 * 1024
_BOMB_RATIO = 50
_BAD_NAME = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]|^[A-Za-z]:")


def refuse(where: str, what: str) -> NoReturn:
    """Raise the `DistributionError` that says what is wrong in the file `where`."""
    raise DistributionError(f"{where}: {what}")


def check_text(path: str, where: str) -> None:
    """Refuse a name or a link's target that is too long or has control characters in it."""
    if len(path) > _MAX_PATH:
        refuse(where, f"a name of {len(path)} characters, more than {_MAX_PATH}: {path[:80]!r}")
    if _BAD_NAME.search(path):
        refuse(where, f"a member's name is not plain: {path[:200]!r}")


class Unpacked:
    """Counts the bytes that an archive really unpacks to.

    Args:
        size: bytes of the archive.
        where: its file name, for messages.
    """

    def __init__(self, size: int, where: str) -> None:
        self._size = size
        self._where = where
        self._most = max(_BOMB_SIZE, _BOMB_RATIO * size)
        self._count = 0

    def add(self, count: int) -> None:
        """Count more bytes.

        Raises:
            DistributionError: a decompression bomb.
        """
        self._count += count
        if self._count > self._most:
            refuse(
                self._where,
                f"{self._size} bytes unpack to {self._count} or more: a decompression bomb",
            )


class Kind(Enum):
    """What a name in an archive stands for."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"


class Names:
    """The names of one archive, each accepted in its turn.

    Args:
        where: the archive's file name, for messages.
        ignore_case: whether names that differ only by case are twins. They are in a wheel, which
            is installed on every kind of file system; in an sdist only PKG-INFO has none, for
            real ones hold both a ``Makefile`` and a ``makefile``.
    """

    def __init__(self, where: str, *, ignore_case: bool) -> None:
        self._where = where
        self._ignore_case = ignore_case
        self._spelled: set[str] = set()
        self._kinds: dict[str, tuple[str, Kind]] = {}
        self.tops: set[str] = set()
        """The folders (or files) at the top."""
        self._members = 0
        self._length = 0

    def add(self, name: str, kind: Kind) -> None:
        """Accept a member's name, or refuse it.

        Args:
            name: as in the archive; a folder's may end with one slash.
            kind: what it stands for. A folder may come twice, everything else once.

        Raises:
            DistributionError: a name that is too long, not plain, absolute or leading out, a
                twin of another, below a file or a link; too many names.
        """
        self._members += 1
        if self._members > _MAX_MEMBERS:
            refuse(self._where, f"more than {_MAX_MEMBERS} members")
        path = name.removesuffix("/") if kind is Kind.FOLDER else name
        check_text(path, self._where)
        parts = path.split("/")
        if any(part in ("", ".", "..") or len(part) > _MAX_PART for part in parts):
            refuse(
                self._where, f"a member's name leaves the archive or is not plain: {name[:200]!r}"
            )
        self.tops.add(parts[0])
        key = _folded(path)
        if there := self._kinds.get(key):
            if self._is_another_file(path, kind, there):
                return
            if Kind.FOLDER not in (kind, there[1]):
                refuse(self._where, f"the member {name[:200]!r} is there twice, as {there[0]!r}")
            if kind is not there[1]:
                refuse(self._where, f"{name[:200]!r} is a folder and a {self._other(kind, there)}")
            return
        self._register(key, path, kind)
        self._add_folders(key, name)

    def top(self) -> str:
        """The one folder that all members lie in.

        Raises:
            DistributionError: none, or several.
        """
        if len(self.tops) != 1:
            refuse(self._where, f"expected one folder at the top, got {sorted(self.tops)[:4]}")
        return next(iter(self.tops))

    def kind(self, name: str) -> Kind | None:
        """What a member of exactly this name stands for."""
        there = self._kinds.get(_folded(name))
        return there[1] if there is not None and there[0] == name else None

    def _is_another_file(self, path: str, kind: Kind, there: tuple[str, Kind]) -> bool:
        """Whether two files may stand side by side although only case tells their names apart.

        Never with a link or a folder: where case is ignored one would take the other's place.
        """
        if self._ignore_case or kind is not Kind.FILE or there[1] is not Kind.FILE:
            return False
        exact = unicodedata.normalize("NFC", path)
        if exact in self._spelled or path.casefold().endswith("/pkg-info"):
            return False
        self._spelled.add(exact)
        return True

    @staticmethod
    def _other(kind: Kind, there: tuple[str, Kind]) -> str:
        return (there[1] if kind is Kind.FOLDER else kind).value

    def _add_folders(self, key: str, name: str) -> None:
        """Note the folders above, from the deepest up to the first that is known already."""
        while "/" in key:
            key = key.rpartition("/")[0]
            there = self._kinds.get(key)
            if there is None:
                self._register(key, key, Kind.FOLDER)
            elif there[1] is Kind.FOLDER:
                return
            else:
                refuse(self._where, f"{name[:200]!r} lies behind a {there[1].value}, {there[0]!r}")

    def _register(self, key: str, path: str, kind: Kind) -> None:
        self._length += len(key)
        if self._length > _MAX_NAMES:
            refuse(self._where, f"more than {_MAX_NAMES} characters of names")
        self._kinds[key] = path, kind
        self._spelled.add(unicodedata.normalize("NFC", path))


def _folded(path: str) -> str:
    """The form in which twins are equal; a slash stays a slash."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
