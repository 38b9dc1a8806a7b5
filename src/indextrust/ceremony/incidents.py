"""Incident records in a signing event: what targets lists besides the bins.

A record (`indextrust.incidents`) counts because top-level targets lists it, so it is made part of
a signing event, like a key. Once listed it stays: a client that comes back after years must find
it. So each event carries the records that there were, byte for byte, and those that are new.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from tuf.api.metadata import Targets

from indextrust.errors import CeremonyError, RefusedError, StoreError
from indextrust.incidents import FOLDER, MAX_LENGTH, MAX_RECORDS, Incident, parse
from indextrust.repository.disk import read_bounded

__all__ = ["check_kept", "check_listed", "read_incident", "with_new"]


def read_incident(path: Path) -> Incident:
    """The record in a file that is named ``ID.json``.

    Raises:
        StoreError: it can't be read, or is too long.
        RefusedError: no record, or one of another id.
    """
    data = read_bounded(path, MAX_LENGTH)
    if data is None:
        raise StoreError(f"can't read {path}: expected a file of at most {MAX_LENGTH} bytes")
    return parse(data, path=f"{FOLDER}{path.name}")


def with_new(before: Mapping[str, bytes], new: Sequence[Incident]) -> dict[str, bytes]:
    """The records after an event, by target path.

    Args:
        before: those that there were.
        new: those that come.

    Raises:
        CeremonyError: an id that there is already.
        InputError: a record that is too long.
    """
    records = dict(before)
    for incident in new:
        if incident.path in records:
            raise CeremonyError(
                f"there is an incident {incident.id!r} already, and what was signed of it stays: "
                f"give the new record an id of its own"
            )
        records[incident.path] = incident.encode()
    return records


def check_listed(targets: Targets, records: Mapping[str, bytes]) -> None:
    """Refuse targets that list other records than come along, or what is no record.

    Raises:
        CeremonyError: with the first that differs.
    """
    if len(records) > MAX_RECORDS:
        raise CeremonyError(f"expected at most {MAX_RECORDS} incident records, got {len(records)}")
    for path in sorted(records.keys() ^ targets.targets.keys()):
        where = "listed by targets, and not" if path in targets.targets else "not listed, and"
        raise CeremonyError(f"{path!r:.200} is {where} among the incident records that came along")
    for path, data in records.items():
        listed = targets.targets[path]
        here = (len(data), {"sha256": hashlib.sha256(data).hexdigest()})
        if (listed.length, listed.hashes) != here:
            raise CeremonyError(f"{path}: targets lists other bytes than the record has")
        try:
            parse(data, path=path)
        except RefusedError as error:
            raise CeremonyError(f"an incident record: {error}") from error


def check_kept(old: Targets, new: Targets) -> None:
    """Refuse targets that lost a record. Raises CeremonyError."""
    for path, listed in old.targets.items():
        there = new.targets.get(path)
        if there is None or (there.length, there.hashes) != (listed.length, listed.hashes):
            raise CeremonyError(
                f"{path} was listed before, and is not as it was: an incident record stays for good"
            )
