"""A checkpoint made of what is served: verified as a client verifies it, and never of the database.

Every bin and every document is read, and each document is made again from what the checkpoint keeps
of it: one that can't be made again, or says something else than the bins, is not known to be good,
and no checkpoint comes of it. (So none is made of an index while a thief's traces are inconsistent;
that a consistent one is good, only people can know.)

It takes no lock: what a snapshot refers to stays for an hour after it was superseded. Memory is
that of one block and the table.

The file is written under another name, and complete and durable before it gets its own. Nothing is
overwritten.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from indextrust.errors import CheckpointError, StoreError
from indextrust.names import Layout, document_path, project_name
from indextrust.repository.checkpoint import Checkpoint
from indextrust.repository.checkpoint_frame import MAGIC, PART_SIZE, TABLE_ROW, Head
from indextrust.repository.disk import NEW, storing
from indextrust.repository.durable import fsync_folder
from indextrust.repository.plan import describe
from indextrust.repository.records import ProjectRecord, block_of, encode_block
from indextrust.repository.verified import EVER, Readable, ServedSet
from indextrust.repository.walk import ServedProjects

__all__ = ["TIME", "Made", "Progress", "checkpoint_name", "make_checkpoint", "place_new", "silent"]

_PER_BLOCK: Mapping[Layout, int] = {"pep458": 4_000, "projects": 200}
"""Targets in a block, about: some hundred kilobytes, so a look at one project is quick."""

_MOST_BITS = 16

TIME = "%Y%m%dT%H%M%SZ"
"""How the name of a checkpoint gives the time."""

Progress = Callable[[str, int], None]
"""Is told what was done, and how many units of work."""


def silent(_done: str, _units: int) -> None:
    """The progress that nobody looks at."""


@dataclass(frozen=True)
class Made:
    """A checkpoint that was written.

    Args:
        path: its file.
        digest: what a person has to keep elsewhere.
        snapshot_version: of the set it was made of.
        projects: how many there are.
        files: distribution files.
        size: bytes of the checkpoint.
        expired: top-level roles that have expired: a later set may be withheld.
    """

    path: Path
    digest: str
    snapshot_version: int
    projects: int
    files: int
    size: int
    expired: tuple[str, ...]


def make_checkpoint(
    storage: Readable,
    root: bytes,
    path: Path,
    now: datetime,
    progress: Progress = silent,
) -> Made:
    """Make a checkpoint of what is served.

    Args:
        storage: the public folder, or a copy of it somewhere else.
        root: a root file that is trusted out of band, best the first one.
        path: the file to be made; or the folder for it, where it gets the name that
            `checkpoints` knows it by.
        now: aware, UTC.
        progress: is told of every project.

    Raises:
        RefusedError, UnreachableError: what is served is not what a client of this root takes,
            but for expiry.
        CheckpointError: documents and bins contradict each other.
        StoreError: something is there already, or the disk refused; nothing is left.
    """
    served = ServedSet(storage, root, EVER)
    if path.is_dir():
        path /= checkpoint_name(now, served.trusted.snapshot.version)
    if os.path.lexists(path):
        raise StoreError(f"{path} exists, and is never overwritten")
    with ServedProjects(served, storage) as projects, place_new(path) as file:
        if projects.faults.count:
            raise CheckpointError(
                "part of what is served can't be read, so this is not known to be good: audit it",
                where=projects.faults.named[0],
            )
        _write(file, projects, progress)
    with Checkpoint.open(path, None) as made:
        return Made(
            *(path, made.digest, made.snapshot_version, made.project_count, made.file_count),
            *(path.stat().st_size, served.expired(now)),
        )


def checkpoint_name(now: datetime, snapshot: int) -> str:
    """The file name of a checkpoint.

    Args:
        now: aware.
        snapshot: version of its snapshot.
    """
    return f"{now.astimezone(UTC).strftime(TIME)}-snapshot-{snapshot}.checkpoint"


def _write(file: BinaryIO, projects: ServedProjects, progress: Progress) -> None:
    """Write a checkpoint of `projects`: room for the table, the parts, then the table."""
    served = projects.served
    metadata, layout = served.metadata(), served.offline.layout
    bits = min((projects.count // _PER_BLOCK[layout]).bit_length(), _MOST_BITS)
    head = Head(bits, layout, tuple((name, describe(data)) for name, data in metadata.items()))
    file.write(MAGIC + head.line())
    place, table = file.tell(), []
    file.write(bytes(TABLE_ROW.size << bits))
    for data in metadata.values():
        _write_part(file, data)
    records = groupby(_records(projects, progress), key=lambda record: block_of(record.name, bits))
    waiting = next(records, None)
    for number in range(1 << bits):
        found: list[ProjectRecord] = []
        if waiting is not None and waiting[0] == number:
            found, waiting = list(waiting[1]), next(records, None)
        data = encode_block(found)
        files = sum(len(record.rows) for record in found)
        digest = hashlib.sha256(data).digest()
        table.append(TABLE_ROW.pack(len(data), len(found), files, digest))
        _write_part(file, data)
    file.seek(place)
    file.write(b"".join(table))


def _write_part(file: BinaryIO, data: bytes) -> None:
    packed = zlib.compress(data)
    file.write(PART_SIZE.pack(len(packed)) + packed)


def _records(projects: ServedProjects, progress: Progress) -> Iterator[ProjectRecord]:
    layout = projects.served.offline.layout
    for project in projects:
        name = project_name(project.name)
        if document_path(name) not in project.targets:
            raise CheckpointError("targets without a document", where=name)
        progress(name, 1)
        yield ProjectRecord.of(name, project.read().values(), project.targets, layout)


@contextlib.contextmanager
def place_new(path: Path) -> Iterator[BinaryIO]:
    """A new file at `path`: complete and durable after the block, or not there.

    Raises:
        StoreError: something is there, or the disk refused.
    """
    folder = path.absolute().parent
    fresh = folder / f".{path.name}.{secrets.token_hex(8)}.tmp"
    with storing(f"write {path}"):
        try:
            with os.fdopen(os.open(fresh, NEW, 0o644), "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if os.path.lexists(path):
                raise StoreError(f"{path} exists, and is never overwritten")
            os.rename(fresh, path)  # no hard link: sticks have none
            fsync_folder(folder)
        finally:
            fresh.unlink(missing_ok=True)
