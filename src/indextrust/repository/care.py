"""Care for keys on the server, for `status`: how the online key is used, and what lies beside it.

The server needs the online key and no other. A keyholder's key file that is left in the
repository's folder, or beside the online key, is worth its passphrase to whoever breaks in, and
a threshold of them is worth the index. `exposed_keys` looks with the eyes of the user that runs
it: what this user can't read is not found.

It looks at the names right in these folders, and in the folders right below them that are not the
repository's own: key files are put where people put files, and an index may have millions.

Uses of the online key are counted in its log (`indextrust.repository.usage`), which is verified.

Source: PEP 458, "Managing offline keys".
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from indextrust.errors import AlteredStateError, KeyFileError, StoreError
from indextrust.repository.disk import read_bounded
from indextrust.repository.keys import public_path
from indextrust.repository.log import Entry
from indextrust.repository.public_keys import read_public
from indextrust.repository.results import Status
from indextrust.repository.usage import UsageLog

__all__ = ["exposed_keys", "with_uses"]

_QUICK = 1 << 25
"""Bytes of the log for which a person may be kept waiting: a second or two."""

_OWN = frozenset({"objects", "incoming", "quarantine", "public"})
_MOST = 65_536
_BEGIN, _END = b"-----BEGIN ", b"PRIVATE KEY-----"


def with_uses(
    status: Status, usage: UsageLog, publications: Iterable[Entry], now: datetime
) -> Status:
    """Add how often the online key was used, or a warning that its log is not as it was written.

    Args:
        status: what is known else.
        usage: the log; the end of a long one is verified, all of a shorter one.
        publications: the entries that ended publications in the transaction log, in order.
        now: aware.
    """
    try:
        uses = usage.summary(now, last_bytes=_QUICK)
        if uses.size <= _QUICK:
            usage.check(publications)
    except (AlteredStateError, StoreError) as error:
        return replace(status, warnings=(*status.warnings, str(error)))
    return replace(status, uses=uses)


def exposed_keys(folders: Sequence[Path], online_keyid: str) -> list[str]:
    """What a person should take off this machine, one sentence for each file.

    Args:
        folders: of the repository, and of the online key. One that is not there, or not
            readable, holds nothing that this user can read.
        online_keyid: key id of the online key, which belongs here.
    """
    found = {Path(os.path.realpath(path)): None for folder in folders for path in _files(folder)}
    return [text for path in found if (text := _judged(path, online_keyid)) is not None]


def _files(folder: Path) -> Iterator[Path]:
    """The files that may hold keys."""
    for below in (folder, *(folder / entry for entry in _listed(folder) if entry not in _OWN)):
        yield from (below / name for name in _listed(below))


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _judged(path: Path, online_keyid: str) -> str | None:
    """A warning about a file; None if it holds no private key, or the online key."""
    data = read_bounded(path, _MOST)
    if data is None or not any(
        line.startswith(_BEGIN) and line.rstrip().endswith(_END) for line in data.splitlines()
    ):
        return None
    what = "a private key whose public half is not beside it"
    try:
        holder = read_public(public_path(path))
    except KeyFileError:
        if path.stem == "online":  # its public half may be kept elsewhere
            return None
    else:
        if holder.key.keyid == online_keyid:
            return None
        what = f"the {holder.role} key of {holder.owner}"
        if holder.role == "online":
            what = "an online key that is not the one in force"
    return f"{path} is {what}, and this server can read it: take it off this machine"
