"""Collection: what no client can ask for any more leaves the public folder.

Versioned metadata and hash-prefixed targets are never overwritten, so that a client in the middle
of a refresh finds the set that its timestamp began. They pile up; this is mark and sweep over
them. Nothing is remembered between two collections: what is garbage follows from the log and from
the metadata that is there, so a collection that was killed is simply begun again.

1. *Which snapshots stay.* The log's `END` entries say which snapshot was published when, by the
   clock at the end of the publication; the log is verified from the oldest snapshot that is there
   up to its end, before anything is removed. A snapshot that was the current one at any time in
   the last hour (`KEPT`) stays, and so does the current one, however old it is. Where a snapshot is
   there that the log does not know, of a time that was lost (an older state was restored, or one
   was rebuilt), nothing goes before what replaced it is an hour old.
2. *Metadata.* Versions only rise. So what is listed by a snapshot that stays has at least the
   version that the oldest of them lists, and every lower version of a role in that list is
   garbage: that of interrupted publications too. What that snapshot does not list is not touched;
   roots are in no snapshot and are never deleted.
3. *Targets.* Only projects that were changed between the oldest snapshot that is there and the
   oldest one that stays can have garbage; the log names them. In their folders a hash-prefixed name
   goes if it is no target now, and if its hash stands in no file of its bin that stays. (Files are
   searched for the text of the hash, and not believed: a damaged one can only make us keep more.)
   Plain names are not touched: they are the same files by another name, or were removed when they
   were published. Nor is a distribution file without a private copy: its bytes are the operator's,
   who may have them nowhere else. (Private copies lie by their SHA-256, and a file name stands for
   one digest for good: so a name with a SHA-512 is of the file whose name with the SHA-256 lies
   beside it. It goes first, so that a collection which was cut short finds the other one.)
4. *Snapshots* go last: while the old ones are there, a collection that was cut short will look at
   the same projects again.

Safe against a publisher, by the lock, which is given back after every few hundred projects:
what was garbage once stays garbage, and what is new is in the tables or in a bin that is there.
Safe against a reader who began within the hour. One who took longer meets a missing file and
begins again (`TufClient` does so by itself).

*The clock.* An entry counts from its own time only if that is no earlier than those before it and
not still to come; otherwise it counts from the first later one of which that is true, and if there
is none, what it replaced stays. So a clock that goes back, for a publication or for a collection,
makes files stay longer. What nobody can see in the log is a clock that was behind by less than
the time since the publication before, and is right again.

Not touched: the private objects, the quarantine, what this repository did not write.

Sources: TUF specification 6.2 (consistent snapshots); PEP 458, "Producing Consistent Snapshots"
(old snapshots are kept "for a period of time").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from indextrust.errors import RepositoryError
from indextrust.names import (
    BINS,
    SNAPSHOT,
    NormalizedName,
    is_target_path,
    metadata_filename,
)
from indextrust.repository.bulk import pieces
from indextrust.repository.log import CHANGE, END, Entry, Log
from indextrust.repository.objects import ObjectStore
from indextrust.repository.offline import Offline
from indextrust.repository.plan import RoleFile, utc
from indextrust.repository.provenance import read_snapshot
from indextrust.repository.results import Collected
from indextrust.repository.served import METADATA, VERSIONED
from indextrust.repository.state import State
from indextrust.repository.storage import FolderStorage

__all__ = ["KEPT", "Collector"]

KEPT = timedelta(hours=1)
"""How long a file stays after it was superseded, at least."""

_PROJECTS = 500
_MAX_FILE = 32_000_000
_PREFIXED = re.compile(r"([0-9a-f]{64}|[0-9a-f]{128})\.(.+)", re.ASCII)
_NEAR = 1_000
"""Entries of the log that are read rather than searched."""


class _Publication(NamedTuple):
    """What an `END` entry says: the snapshot, the last change in it, and when it was out."""

    snapshot: RoleFile
    upto: int
    time: str | None


class Collector:
    """One collection. Making it reads the log, and needs no lock. The methods are called in their
    order, each ``sweep`` under the repository's lock, which may be given back between them.

    Args:
        state: the working copy.
        storage: the public folder.
        objects: the private copies.
        offline: the verified offline roles in force.
        now: aware, UTC.

    Raises:
        RepositoryError: nothing is published yet.
        AlteredStateError: the log was altered.
    """

    def __init__(
        self,
        state: State,
        storage: FolderStorage,
        objects: ObjectStore,
        offline: Offline,
        now: datetime,
    ) -> None:
        self._state = state
        self._storage = storage
        self._objects = objects
        self._offline = offline
        self._metadata = self._targets = 0
        there = self._versions().get(SNAPSHOT, [])
        self._publications = _publications(state.queue.log, min(there, default=1), now)
        self._limit = utc(now - KEPT - timedelta(seconds=1))  # the log's times are cut to seconds
        self._oldest = self._publications[-1]
        self._floors: dict[str, int] = {}
        self._settled = False

    @property
    def collected(self) -> Collected:
        """What was removed so far."""
        return Collected(self._metadata, self._targets, self._oldest.snapshot.version)

    def sweep_metadata(self) -> None:
        """Remove superseded metadata; snapshots stay for now.

        Raises:
            AlteredStateError: the oldest snapshot that stays is not as it was published. Nothing
                was removed.
        """
        versions = self._versions()
        there = versions.get(SNAPSHOT, [])
        before = 0
        for number, publication in enumerate(self._publications):
            version = publication.snapshot.version
            if publication.time is None or publication.time > self._limit:
                if before in there:  # else it was collected before
                    self._oldest = self._publications[number - 1]
                    break
                if lost := [other for other in there if before < other < version]:
                    self._oldest = publication._replace(
                        snapshot=publication.snapshot._replace(version=min(lost))
                    )
                    return
            before = version
        snapshot = self._oldest.snapshot
        name = METADATA + metadata_filename(SNAPSHOT, snapshot.version)
        listed = read_snapshot(self._storage.read(name, snapshot.length), snapshot)
        self._floors = {role: entry.version for role, entry in listed.items()}
        self._settled = self._floors[BINS] == self._offline.roles[BINS].version
        for role in versions:
            self._sweep(role, versions[role], self._floors.get(role, 0))

    def changed_projects(self) -> Iterator[list[NormalizedName]]:
        """The projects that may have garbage, a few hundred at a time.

        None while a snapshot stays that was published under other offline roles, whose bins may
        have been others: the next collections will look at them.

        Raises:
            AlteredStateError: the log was altered.
        """
        if self._settled:
            for piece in pieces(self._changed(), _PROJECTS):
                yield sorted({NormalizedName(name) for name in piece})

    def sweep_targets(self, projects: Iterable[NormalizedName]) -> None:
        """Remove what these projects do not list any more."""
        self._settled = self._state.role(BINS).version == self._floors[BINS]
        if not self._settled:  # new offline roles came since the lock was given back
            return
        names = list(self._prefixed(projects))
        paths = {path for name, path, _ in names} | {name for name, _, _ in names}
        targets = self._state.targets_at(paths)
        garbage: dict[str, list[tuple[str, str]]] = {}
        for name, path, digest in names:
            current = targets.get(path)
            if name not in targets and (current is None or digest not in current.hashes.values()):
                home = self._offline.scheme.bin_of(path)
                garbage.setdefault(home, []).append((name, digest))
        versions = self._versions() if garbage else {}
        for home, candidates in garbage.items():
            files = [
                self._storage.read(METADATA + metadata_filename(home, version), _MAX_FILE)
                for version in versions.get(home, ())
                if version >= self._floors.get(home, 0)
            ]
            for name, digest in candidates:
                text = digest.encode("ascii")
                if all(data is not None and text not in data for data in files):
                    self._storage.remove(name)
                    self._targets += 1

    def sweep_snapshots(self) -> None:
        """Remove superseded snapshots, if all that they lead to was looked at."""
        if self._settled:
            versions = self._versions().get(SNAPSHOT, ())
            self._sweep(SNAPSHOT, versions, self._oldest.snapshot.version)

    def _versions(self) -> dict[str, list[int]]:
        """Which versions of each role are there."""
        found: dict[str, list[int]] = {}
        for name in self._storage.listing("metadata"):
            if match := VERSIONED.fullmatch(name):
                found.setdefault(match[2], []).append(int(match[1]))
        return found

    def _sweep(self, role: str, versions: Iterable[int], floor: int) -> None:
        for version in sorted(versions):
            if version < floor:
                self._storage.remove(METADATA + metadata_filename(role, version))
                self._metadata += 1

    def _changed(self) -> Iterator[NormalizedName]:
        for entry in self._state.queue.log.verified(since=self._publications[0].upto):
            if entry.number > self._oldest.upto:
                return
            if entry.kind == CHANGE and entry.project is not None:
                yield entry.project

    def _prefixed(self, projects: Iterable[NormalizedName]) -> Iterator[tuple[str, str, str]]:
        """Hash-prefixed names in the folders of these projects, their plain names, their hashes;
        of one file the longer name first."""
        for project in projects:
            for folder in (f"simple/{project}", f"files/{project}"):
                if not is_target_path(f"{folder}/x", self._offline.layout):
                    continue
                there = self._storage.listing(folder)
                found = [match for name in there if (match := _PREFIXED.fullmatch(name))]
                if folder.startswith("files/"):
                    kept = {match[2] for match in found if self._is_kept(match[1])}
                    found = [match for match in found if match[2] in kept]
                for match in sorted(found, key=lambda match: -len(match[1])):
                    yield f"{folder}/{match[0]}", f"{folder}/{match[2]}", match[1]

    def _is_kept(self, digest: str) -> bool:
        """Whether there is a private copy; they lie by their SHA-256."""
        return self._objects.path(digest).is_file()


def _publications(log: Log, version: int, now: datetime) -> list[_Publication]:
    """The publications from that of a snapshot on, or the last one before it; at least one.

    Their times are those from which they count (the module says why): None if there is no such.

    Raises:
        RepositoryError: there is none.
        AlteredStateError: an entry is not as it was written.
    """
    found: dict[int, _Publication] = {}
    latest = ""
    for end in log.verified(since=_before(log, version)):
        if end.kind != END:
            continue
        snapshot, upto = _read(end)
        credible = latest <= end.time <= utc(now)
        latest = end.time if credible else latest
        first = found.get(snapshot.version)
        time = (end.time if credible else None) if first is None else first.time
        found[snapshot.version] = _Publication(snapshot, upto, time)
    if not found:
        raise RepositoryError("nothing is published yet")
    publications, time = list(found.values()), None
    for number in reversed(range(len(publications))):
        time = publications[number].time or time
        publications[number] = publications[number]._replace(time=time)
    while len(publications) > 1 and publications[1].snapshot.version <= version:
        del publications[0]
    return publications


def _before(log: Log, version: int) -> int:
    """Number of an entry shortly before the one that published this snapshot."""

    def is_before(number: int) -> bool:
        end = next(log.ends(since=number), None)
        return end is not None and _read(end)[0].version <= version

    low, step = 0, _NEAR
    while is_before(low + step):
        low, step = low + step, 2 * step
    while step > _NEAR:
        step //= 2
        if is_before(low + step):
            low += step
    return low


def _read(end: Entry) -> tuple[RoleFile, int]:
    """The snapshot of a publication, and the last change in it."""
    fields = end.fields()
    return RoleFile(**fields[SNAPSHOT]), fields["upto"]
