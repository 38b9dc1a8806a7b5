"""An empty folder to play in."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from indextrust.errors import StoreError

__all__ = ["empty_folder"]


@contextlib.contextmanager
def empty_folder(keep: Path | None) -> Iterator[Path]:
    """`keep`, made if need be, or (None) a temporary folder that is removed in the end.

    Raises:
        StoreError: `keep` has something in it.
    """
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="indextrust-") as temporary:
            yield Path(temporary)
        return
    keep.mkdir(parents=True, exist_ok=True)
    if any(keep.iterdir()):
        raise StoreError(f"{keep}: expected an empty folder or none, got one with files in it")
    yield keep.resolve()
