"""What is served, read to make a lost state anew; and the way out where no state can be made of it.

An installation of new roles writes the next root first, and the timestamp last. If it is cut short
and the database lost, then a root is served whose timestamp never was. No state is made of that:
what was published under it is not known. Nor can the root be taken back, since clients may have
seen it. So a person moves it aside, the state is made without it, and that very root is installed
by its bundle. Where the timestamp was a thief's, the installation had set it aside before.

What is said here helps people, and trusts nothing: they go on with a root of their own.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from indextrust.errors import IndextrustError, RepositoryError, SignatureError
from indextrust.names import ROOT, TIMESTAMP, metadata_filename
from indextrust.repository.served import METADATA
from indextrust.repository.storage import FolderStorage
from indextrust.repository.verified import EVER, Readable, ServedSet
from indextrust.trust import Limits

__all__ = ["served_set"]

_TIMESTAMP = METADATA + metadata_filename(TIMESTAMP)


def served_set(folder: Path, storage: FolderStorage, root: bytes) -> ServedSet:
    """What is served, whether it has expired or not.

    Args:
        folder: the repository's.
        storage: its public folder.
        root: a root file that is trusted out of band.

    Raises:
        RefusedError, UnreachableError: a client of this root would refuse it.
        RepositoryError: it is no index of this profile; or an installation was cut short, and the
            message says what to do.
    """
    if not storage.exists(_TIMESTAMP):
        aside = (str(path) for path in folder.glob(f"quarantine/*/{_TIMESTAMP}"))
        raise RepositoryError(
            f"{storage.public / _TIMESTAMP} is missing, and nothing else says what was published: "
            f"copy the last one there ({max(aside, default='a mirror or a client may have it')}), "
            f"and rebuild again"
        )
    try:
        return ServedSet(storage, root, EVER)
    except SignatureError as error:
        name = _root_ahead(storage)
        if name is None:
            raise
        raise RepositoryError(
            f"{name} is served, and the timestamp is still that of the root before: an "
            f"installation was cut short. Clients may have seen this root, so never make another "
            f"one of its number. Move {name} out of {storage.public / METADATA}, rebuild again "
            f"from an earlier root, then give the bundle of {name} to `indextrust install`"
        ) from error


def _root_ahead(storage: Readable) -> str | None:
    """The root without which the set would be taken; None if it would be refused all the same."""
    first = storage.read(METADATA + metadata_filename(ROOT, 1), Limits().root_length)
    if first is None:
        return None
    newest = _Roots(storage)
    with contextlib.suppress(IndextrustError):
        ServedSet(newest, first, EVER)
    if newest.last is None:
        return None
    try:
        ServedSet(_Roots(storage, hidden=newest.last), first, EVER)
    except IndextrustError:
        return None
    return newest.last.removeprefix(METADATA)


class _Roots:
    """A place whose roots are noted as they are read.

    Args:
        storage: the place.
        hidden: a name that is taken for missing.
    """

    def __init__(self, storage: Readable, hidden: str | None = None) -> None:
        self._storage = storage
        self._hidden = hidden
        self.last: str | None = None

    def read(self, name: str, limit: int) -> bytes | None:
        data = None if name == self._hidden else self._storage.read(name, limit)
        if data is not None and name.endswith(f".{ROOT}.json"):
            self.last = name
        return data
