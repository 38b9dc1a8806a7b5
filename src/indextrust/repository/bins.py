"""Bins made anew: from the last file and what changes to the new file, signed and written.

A bin is made from the bytes of its last file wherever that is possible, because those are known
to be what was published: from the file that has the hash in the bin's checked row. What changes
is put in between, and the rest is never taken apart (`indextrust.repository.encode`).

Each bin is a task for itself: a small value that can go to another process. So many of them are
done by several at once (`indextrust.repository.workers`), few of them here.

Left to others: whether a bin may be made anew, and under which number (`provenance`, `publish`);
making the files durable (`FolderStorage.sync`); reading the result as a client does (`gate`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from securesystemslib.signer import Signer

from indextrust.names import metadata_filename
from indextrust.repository.encode import (
    Payload,
    bin_payload,
    edited_payload,
    entries_digest,
    entries_of,
    renewed_payload,
)
from indextrust.repository.plan import RoleFile, TargetFile, describe
from indextrust.repository.provenance import NOTHING
from indextrust.repository.served import METADATA
from indextrust.repository.signing import sign_payload
from indextrust.repository.storage import FolderStorage
from indextrust.repository.workers import Workers

__all__ = ["BinTask", "make_all", "make_bins", "unpacked"]

_BATCH = 64
"""Tasks that go to another process at a time: some hundredths of a second of work."""


class BinTask(NamedTuple):
    """A bin to be made anew.

    Args:
        name: its role name.
        version: its new version, which was used up for it.
        expires: as TUF writes it.
        old: its last file, which the new one is made from; `NOTHING` if there is none.
        put: target path to what is signed for it from now on.
        drop: target paths that are targets no more.
        payload: all of it, if it is not made from the last file.
    """

    name: str
    version: int
    expires: str
    old: RoleFile = NOTHING
    put: Mapping[str, TargetFile] = {}
    drop: tuple[str, ...] = ()
    payload: Payload | None = None


def make_bins(
    storage: FolderStorage, signer: Signer, tasks: Iterable[BinTask], *, read_later: bool = False
) -> list[RoleFile | None]:
    """Sign and write bins, one after the other.

    Args:
        storage: the public folder; a `sync` has to follow.
        signer: of the online key.
        tasks: the bins.
        read_later: leave it to the gate to verify the signatures.

    Returns:
        What was written for each task, in their order. None: its last file is not as it was
        published, or not what this repository writes; nothing was written.

    Raises:
        RepositoryError: a path or hash that can't be one.
        SigningError: the signer failed, or its signature is not valid.
        StoreError: the disk refused.
    """
    return [_make(storage, signer, task, read_later) for task in tasks]


def make_all(
    storage: FolderStorage,
    signer: Signer,
    workers: Workers,
    tasks: Iterable[BinTask],
    count: int,
    meanwhile: Iterator[None] = iter(()),  # noqa: B008 - an empty one has no state
) -> Iterator[tuple[str, RoleFile | None]]:
    """`make_bins` by as many hands as are worth it: each name with what was written.

    Args:
        storage, signer: as for `make_bins`.
        workers: of the same storage.
        tasks: any number, read as they are needed.
        count: how many there are.
        meanwhile: small steps of other work for this process, while others are at it.
    """
    if not workers.are_worth(count, signer):
        for task in tasks:  # one at a time: whoever gives them may stop between two signatures
            yield task.name, _make(storage, signer, task, read_later=False)
        return
    left = iter(tasks)
    batches = iter(lambda: list(islice(left, _BATCH)), [])
    packed = ((batch, [_packed(task) for task in batch]) for batch in batches)
    with storage.written_elsewhere("metadata"):
        for batch, results in workers.run("make", packed, meanwhile):
            files = [None if result is None else RoleFile(*result) for result in results]
            for task, file in zip(batch, files, strict=True):
                if file is not None:
                    storage.wrote_elsewhere(METADATA + metadata_filename(task.name, task.version))
            yield from zip(_names(batch), files, strict=True)


def _names(tasks: Iterable[BinTask]) -> Iterator[str]:
    return (task.name for task in tasks)


def _packed(task: BinTask) -> tuple[object, ...]:
    """The task in plain tuples, which are many times as fast to send."""
    put = [(path, *target) for path, target in task.put.items()]
    return (*task[:3], tuple(task.old), put, task.drop, task.payload)


def unpacked(task: tuple[Any, ...]) -> BinTask:
    """What `make_all` sent to another process."""
    name, version, expires, old, put, drop, payload = task
    targets = {path: TargetFile(*target) for path, *target in put}
    return BinTask(name, version, expires, RoleFile(*old), targets, drop, payload)


def _make(
    storage: FolderStorage, signer: Signer, task: BinTask, read_later: bool
) -> RoleFile | None:
    payload = _payload(storage, task) if task.payload is None else task.payload
    if payload is None:
        return None
    data = sign_payload(payload, signer, verified=not read_later)
    storage.write_numbered(METADATA + metadata_filename(task.name, task.version), data)
    return RoleFile.of(task.version, data, entries_digest(data, task.version))


def _payload(storage: FolderStorage, task: BinTask) -> Payload | None:
    if task.old == NOTHING:
        return None if task.drop else bin_payload(task.version, task.expires, task.put)
    filename = METADATA + metadata_filename(task.name, task.old.version)
    data = storage.read(filename, task.old.length)
    if data is None or describe(data).sha256 != task.old.sha256:
        return None
    if not (task.put or task.drop):
        return renewed_payload(data, task.old.version, task.version, task.expires)
    entries = entries_of(data, task.old.version)
    if entries is None:
        return None
    return edited_payload(entries, task.version, task.expires, task.put, task.drop)
