"""Folders below one folder, opened part by part, none of them through a symbolic link.

Whoever may write to a folder can put a link in the place of one below it, at any moment, also
after somebody has looked. So nothing is created, renamed or removed by its path: the folder is
opened with ``O_NOFOLLOW``, each part in the one before, and the name is given in what is open. A
folder that is moved away in between gets the file where it is then, which is no harm: the
attacker could have moved the file.

Source: openat(2), "Rationale for openat()".
"""

from __future__ import annotations

import contextlib
import errno
import os

from indextrust.errors import StoreError

__all__ = ["Folders"]

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MOST = 16


class Folders:
    """The folders, a few of them open at a time.

    Args:
        root: the one that all others are below; it may itself be reached through a link.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._open: dict[str, int] = {}  # by path below the root; the last ones used come last

    def at(self, path: str) -> int:
        """A descriptor of a folder, valid until some others were opened.

        Args:
            path: below the root, without slashes at its ends; empty for that itself.

        Raises:
            StoreError: a symbolic link, or no folder, is on the way.
            OSError: it can't be opened; FileNotFoundError if it is not there.
        """
        found = self._open.pop(path, None)
        if found is None:
            parent, _, name = path.rpartition("/")
            if path:
                found = self._below(self.at(parent), name, path)
            else:
                found = os.open(self._root, _FLAGS)
        self._open[path] = found
        if len(self._open) > _MOST:
            os.close(self._open.pop(next(iter(self._open))))
        return found

    def made(self, path: str) -> bool:
        """Make a folder whose parent is there, unless it is there itself. Returns whether it was.

        Raises:
            StoreError, OSError: as `at`.
        """
        parent, _, name = path.rpartition("/")
        try:
            self.at(path)
        except FileNotFoundError:
            pass
        else:
            return False
        with contextlib.suppress(FileExistsError):  # `at` looks at what it is
            if path:
                os.mkdir(name, dir_fd=self.at(parent))
            else:
                os.mkdir(self._root)
        self.at(path)
        return True

    def close(self) -> None:
        """Close them; what is asked for next is opened anew."""
        while self._open:
            os.close(self._open.popitem()[1])

    def _below(self, parent: int, name: str, path: str) -> int:
        try:
            return os.open(name, _FLAGS | os.O_NOFOLLOW, dir_fd=parent)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise StoreError(f"{self._root}/{path} is not a folder of ours") from None
            raise
