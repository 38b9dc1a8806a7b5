"""Keeping a metadata store from growing without bound.

An index has as many bins as it likes, and may rename them all. A client stores those that its
lookups went through, and a store that serves for years would end up with every one of every
scheme there ever was. Beyond a bound the files that were stored longest ago are removed. A bin
in use is signed anew each day and stored anew with its next lookup, so "stored long ago" is
"unused for long"; and one that is missed is fetched again.

What is lost with a pruned role is the memory of its exact bytes. Its version can't fall without
it: the trusted snapshot remembers the versions of all roles.

Only delegated roles are pruned; never a top-level role, an old root, or anything else.
"""

from __future__ import annotations

import contextlib
import os

from indextrust.names import TOP_LEVEL_ROLES, metadata_filename

__all__ = ["MOST_BYTES", "MOST_FILES", "Pruner"]

MOST_FILES = 4_096
"""Far more projects, and so bins, than any one machine installs from."""
MOST_BYTES = 256 * 2**20
"""Some 900 bins of the largest kind (290 KB each, PyPI with files as targets)."""

_TOP_LEVEL = {metadata_filename(role) for role in TOP_LEVEL_ROLES}
_LOOKS = 16  # a bound is reached in so many steps at least, with one look at the folder for each


class Pruner:
    """Counts what one process stores in one folder. Used under the store's lock.

    The folder is listed with the first delegated role that the process stores, and then once
    for each sixteenth of a bound: a store may exceed a bound by that much for each process.
    """

    def __init__(self) -> None:
        self._files = self._bytes = 0  # that may be stored before the next look

    def stored(self, folder: int, name: str, length: int) -> None:
        """A delegated role was just stored as `name`; make room if it is time to.

        Never fails: what can't be removed stays, and is tried again with the next look.

        Args:
            folder: descriptor of the store's folder.
            name: the file's name; this one stays.
            length: bytes.
        """
        self._files -= 1
        self._bytes -= length
        if self._files < 0 or self._bytes < 0:
            self._files, self._bytes = MOST_FILES // _LOOKS, MOST_BYTES // _LOOKS
            with contextlib.suppress(OSError):
                _prune(folder, name)


def _prune(folder: int, spared: str) -> None:
    """Remove the files stored longest ago, down to three quarters, if a bound is exceeded."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".json") and entry.name not in _TOP_LEVEL:
                status = entry.stat(follow_symlinks=False)
                found.append((status.st_mtime_ns, entry.name, status.st_size))
    files, size = len(found), sum(length for _, _, length in found)
    if files <= MOST_FILES and size <= MOST_BYTES:
        return
    for _, name, length in sorted(found):
        if files <= MOST_FILES * 3 // 4 and size <= MOST_BYTES * 3 // 4:
            break
        if name != spared:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=folder)
                files -= 1
                size -= length
