"""Where the log of the online key is, if the operator keeps it outside the repository's folder.

The place is remembered in that folder (``online.place``), so that nobody has to name it with each
command. It is noted when the log is written there, by who publishes and names another one.

That is a convenience and no evidence. Who can write the folder can point it to another file:
`indextrust.repository.usage.UsageLog.check` then finds that publications are missing from it, as
far as the transaction log is beyond him. Who wants to be sure names the place.
"""

from __future__ import annotations

import os
from pathlib import Path

from indextrust.errors import StoreError
from indextrust.repository.disk import fresh_file, read_bounded, storing
from indextrust.repository.durable import fsync_folder

__all__ = ["PLACE", "place_of", "remember"]

PLACE = "online.place"
"""Name of the file: the absolute path of the log, and a line end."""

_LONGEST = 4_096


def place_of(folder: Path) -> Path | None:
    """The place that a repository remembers; None for the usual one.

    Raises:
        StoreError: something else is noted there.
    """
    known = read_bounded(folder / PLACE, _LONGEST)
    if known is None:
        return None
    path = Path(os.fsdecode(known.removesuffix(b"\n")))
    if not path.is_absolute() or b"\0" in known or b"\n" in known[:-1]:
        raise StoreError(
            f"{folder / PLACE}: expected the path of the log of the online key, got "
            f"{known[:80]!r}: name the place by --online-log"
        )
    return path


def remember(folder: Path, scratch: Path, path: Path) -> None:
    """Note the place of the log, durably, unless it is noted.

    Args:
        folder: the repository's, locked.
        scratch: for unfinished files, on the same file system.
        path: absolute.

    Raises:
        StoreError: it can't be written.
    """
    file, data = folder / PLACE, os.fsencode(path) + b"\n"
    if read_bounded(file, _LONGEST) == data:
        return
    with storing(f"write {file}"):
        with fresh_file(scratch, durable=True) as (fresh, new):
            new.write(data)
        os.replace(fresh, file)
        fsync_folder(folder)
