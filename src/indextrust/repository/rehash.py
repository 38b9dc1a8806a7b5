"""The hash transition, one step at a time: SHA-512 of files that are listed with a SHA-256 alone.

PEP 458's plan: new metadata list both hashes, and those that exist are made anew. The first step
says in the log that both are listed from then on. Each one reads some private copies of published
files, and queues what it computed as a change like every other: authenticated, in order, published
by the next publication.

* The SHA-512 is of the bytes whose SHA-256 is signed. That is the one in the tables, which have to
  give the signed document before anything is read; and the same reading computes both. The change
  says of which SHA-256 it is, so a publication refuses it for any other.
* What is left follows from the tables and the queue, so nothing is remembered between two steps,
  and one that was killed has queued nothing, or all of it.
* A step ends after so many files, or `_MOST` bytes, but not before it has one: it holds the lock.
* A project without a file that is read here gets its document's SHA-512 by a change that lists no
  file, after all others.

Left out, and counted: files whose bytes are the operator's, and those whose name has no room for a
SHA-512 (`names.has_room_for_sha512`). Left out, and named: files whose private copy is damaged, and
those of a project whose document would become more than a client reads, which no publication would
get past. They stop no other file.

Source: PEP 458, "Hash Algorithm Transition Plan", step 2.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby, islice
from operator import itemgetter

from indextrust.distribution import DistributionFile
from indextrust.errors import (
    AlteredStateError,
    DistributionError,
    InputError,
    RefusedError,
    RepositoryError,
    StoreError,
)
from indextrust.names import NormalizedName
from indextrust.repository.changes import PER_ENTRY, FileDigests, Rehash
from indextrust.repository.disk import digests, open_regular
from indextrust.repository.documents import document_bytes
from indextrust.repository.inspect import MAX_SIZE
from indextrust.repository.intake import Intake
from indextrust.repository.ledger import Ledger
from indextrust.repository.objects import ObjectStore
from indextrust.repository.plan import TargetFile
from indextrust.repository.results import Rehashed
from indextrust.repository.state import State
from indextrust.trust.document import parse_document

__all__ = ["STEP", "Rehasher"]

STEP = 1_000
"""Files of one step, unless asked otherwise."""

_MOST = 1 << 32
"""Bytes after which a step ends: some ten seconds of hashing."""

_PROJECTS = 400
_LARGE = 5_000
"""Files of a project from which on its document is read as a client reads it, for its size."""


class Rehasher:
    """One step. The caller holds the lock.

    Args:
        state: where the queue is.
        objects: the private copies.
        intake: knows what the queue will do, and refuses tables that were altered.
    """

    def __init__(self, state: State, objects: ObjectStore, intake: Intake) -> None:
        self._state = state
        self._objects = objects
        self._intake = intake
        self._files = self._size = 0
        self._left_out: list[str] = []

    def step(self, files: int, now: str) -> Rehashed:
        """Queue the SHA-512 of some files.

        Args:
            files: how many at most.
            now: the time.

        Raises:
            AlteredStateError: state and signed metadata differ. Nothing is queued.
            RepositoryError: a re-binning has begun and is not out.
            InputError: not a positive number.
        """
        if files < 1:
            raise InputError(f"expected a positive number of files, got {files}")
        ledger = self._state.queue.ledger()
        if ledger.rebinning is not None:
            raise RepositoryError("a re-binning has begun and is not out: publish first")
        changes, more = self._of_files(files, ledger)
        if not more:
            there = {change.project for change in changes}
            documents = list(islice(self._of_documents(there), files + 1))
            changes, more = changes + documents[:files], len(documents) > files
        self._state.queue.rehash(changes, now)
        return Rehashed(
            self._files,
            len({change.project for change in changes}),
            self._size,
            more,
            tuple(self._left_out),
            None if more else self._state.sha256_for_good(),
        )

    def _of_files(self, most: int, ledger: Ledger) -> tuple[list[Rehash], bool]:
        """Changes of at most so many files, and whether there are more."""
        changes: list[Rehash] = []
        groups = groupby(self._state.without_sha512(), key=itemgetter(0))
        while piece := [
            (project, [name for _, name in rows])
            for project, rows in islice(groups, min(most - self._files + 1, _PROJECTS))
        ]:
            projects = [project for project, _ in piece]
            self._intake.check_there(projects)
            known = self._intake.known(projects, ledger)
            for project, names in piece:
                files = known[project].files
                left = [name for name in names if _has_none(files.get(name))]
                some = left[: most - self._files]
                if len(files) > _LARGE and not _is_read(project, files, some):
                    self._left_out += left
                    continue
                found, more = self._some(files, left, most)
                parts = range(0, len(found), PER_ENTRY)
                changes += [Rehash(project, found[at : at + PER_ENTRY]) for at in parts]
                if more:
                    return changes, True
        return changes, False

    def _some(
        self, files: Mapping[str, DistributionFile], names: Iterable[str], most: int
    ) -> tuple[tuple[FileDigests, ...], bool]:
        """Those of these files that the step still takes, and whether it leaves any."""
        found: list[FileDigests] = []
        for name in names:
            if self._files >= most or (self._files and self._size >= _MOST):
                return tuple(found), True
            if (digests := self._digests(files[name])) is None:
                self._left_out.append(name)
            else:
                found.append(digests)
                self._files += 1
        return tuple(found), False

    def _digests(self, file: DistributionFile) -> FileDigests | None:
        """What is read of a file's private copies; None if one is not what is vouched for."""
        copy = self._read(file.sha256, file.size)
        if copy is None or copy.length != file.size or copy.sha512 is None:
            return None
        if file.metadata_sha256 is None:
            return FileDigests(file.filename, file.sha256, copy.sha512)
        beside = self._read(file.metadata_sha256, MAX_SIZE)
        if beside is None:
            return None
        core = (beside.sha256, beside.sha512, beside.length)
        return FileDigests(file.filename, file.sha256, copy.sha512, *core)

    def _read(self, sha256: str, most: int) -> TargetFile | None:
        """Length and hashes of an object; None if it is missing, or has other bytes, or more."""
        try:
            with open_regular(self._objects.path(sha256)) as file:
                if os.fstat(file.fileno()).st_size > most:
                    return None
                found = digests(file, both=True)
        except (DistributionError, StoreError, OSError):
            return None
        self._size += found.length
        return found if found.sha256 == sha256 else None

    def _of_documents(self, there: set[NormalizedName]) -> Iterator[Rehash]:
        """Changes of projects whose documents have no SHA-512, and will not get one anyway.

        Args:
            there: projects of which this step has changes.

        Raises:
            AlteredStateError: a document that is not published.
        """
        left = (name for name in self._state.documents_without_sha512() if name not in there)
        while piece := list(islice(left, _PROJECTS)):
            waiting = self._state.queue.pending_of(piece)
            published = self._intake.documents(piece)
            for project in piece:
                if published[project] is None:
                    raise AlteredStateError(
                        f"the state was altered: it has a document of project {project!r:.200}, "
                        f"and none is published; nothing is queued"
                    )
                if not waiting[project]:
                    yield Rehash(project, ())


def _has_none(file: DistributionFile | None) -> bool:
    """Whether a file has no SHA-512; None: it waits to be removed."""
    return file is not None and file.sha512 is None


def _is_read(
    project: NormalizedName, files: Mapping[str, DistributionFile], names: Iterable[str]
) -> bool:
    """Whether clients would read the document of a project with the SHA-512 of these files: all
    SHA-512 have one length, so none is computed for it."""
    digest = "0" * 128
    longer = {
        name: file.with_sha512(digest, file.metadata_sha256 and digest)
        for name, file in ((name, files[name]) for name in names)
    }
    try:
        parse_document(project, document_bytes(project, {**files, **longer}.values()))
    except RefusedError:
        return False
    return True
