"""The audit: what is served compared with a checkpoint, and who asked for each difference.

What is read is the signed metadata that a client finds now, which a thief of the online key may
have written: every number in it may be his, up to the limits of a client, and every signature good.
It is verified as a client does that trusts the roots of the checkpoint, and compared with what the
checkpoint says (`comparison`). Nothing of the database is believed but the log, whose entries
are authenticated by the queue key; without it the answer says that it can't say who.

A role that was *re-signed* has another version than in the checkpoint; with the log it is known
whether by the repository, because that says which snapshot was published last.

Memory is bounded: the differences that are named, a bin, a project. It takes no lock.

Left to others: the stored files (`stored`), words (`audit_report`), what to do about it.

Source: PEP 458, "Auditing Snapshots" and "Key Compromise Analysis".
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from indextrust.errors import (
    AlteredStateError,
    CheckpointError,
    RefusedError,
    RepositoryError,
    StoreError,
    UnreachableError,
)
from indextrust.names import ROOT, SNAPSHOT, TIMESTAMP, metadata_filename
from indextrust.repository.blame import Blame, Queued
from indextrust.repository.checkpoint import Checkpoint
from indextrust.repository.checkpoint_make import Progress, silent
from indextrust.repository.comparison import FileDifference, Project, differences, name_of, pairs
from indextrust.repository.log import Log
from indextrust.repository.plan import RoleFile
from indextrust.repository.provenance import Listed, as_listed, read_snapshot
from indextrust.repository.served import METADATA
from indextrust.repository.verified import EVER, Readable, ServedSet
from indextrust.repository.walk import ServedProjects

__all__ = ["Audited", "Finding", "KnownRoots", "RoleChange", "audit"]

NAMED = 100_000
"""How many differences are named; the others are counted. As many that are not additions, so that
nobody hides what he altered behind what he added."""


@dataclass(frozen=True)
class Finding:
    """One difference.

    Args:
        difference: what is not as it was.
        queued: who asked for it; None if nobody did, or nobody can tell (`Audited.log`).
    """

    difference: FileDifference
    queued: Queued | None


@dataclass(frozen=True)
class RoleChange:
    """A role that is another version than in the checkpoint, or has other bytes.

    Args:
        name: role name.
        before: its version in the checkpoint; None if it was not there.
        now: the version that is served; None if it is not listed.
        published: whether that is what this repository published; None if nobody can tell.
    """

    name: str
    before: int | None
    now: int | None
    published: bool | None


@dataclass(frozen=True)
class Audited:
    """What an audit found.

    Args:
        checkpoint: digest of the checkpoint.
        before: version of its snapshot.
        now: version of the snapshot that is served; None if no client takes it.
        log: why nobody can tell of each file who queued it; empty if the log was read.
        counts: how many files were added, changed and removed.
        unqueued: how many of them were queued by nobody; of no meaning without the log.
        findings: the differences: of additions, and of all others, the first `NAMED`.
        roles: those that were re-signed.
        fault_count: how many parts no client could read.
        faults: the first of them, one sentence each.
        expired: top-level roles that have expired.
    """

    checkpoint: str
    before: int
    now: int | None
    log: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    unqueued: int = 0
    findings: tuple[Finding, ...] = field(default=(), repr=False)
    roles: tuple[RoleChange, ...] = field(default=(), repr=False)
    fault_count: int = 0
    faults: tuple[str, ...] = ()
    expired: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many files differ."""
        return sum(self.counts.values())

    @property
    def strange(self) -> tuple[RoleChange, ...]:
        """The roles that somebody else signed than this repository."""
        return tuple(role for role in self.roles if role.published is False)

    @property
    def clean(self) -> bool:
        """Whether what is served is what the checkpoint says, under whatever version numbers of
        this repository."""
        return not (self.count or self.fault_count or self.strange)

    @property
    def explained(self) -> bool:
        """Whether everything that differs was queued, and signed by this repository."""
        return not ((self.log and self.count) or self.unqueued or self.fault_count or self.strange)


class KnownRoots:
    """What is served, but for the roots that the checkpoint has: a thief of the public folder who
    spoils those would otherwise stop the audit.

    Args:
        storage: what is served.
        good: the checkpoint.
    """

    def __init__(self, storage: Readable, good: Checkpoint) -> None:
        self._storage = storage
        self._known = {
            METADATA + metadata_filename(ROOT, version): data
            for version, data in enumerate(good.roles.root, start=1)
        }

    def read(self, name: str, limit: int) -> bytes | None:
        """As `Readable.read`."""
        return self._known.get(name) or self._storage.read(name, limit)

    def spoilt(self) -> list[str]:
        """Names of those roots that are served otherwise."""
        return [
            name
            for name, data in self._known.items()
            if self._storage.read(name, len(data)) != data
        ]


def audit(
    good: Checkpoint,
    storage: Readable,
    log: Log | str,
    now: datetime,
    progress: Progress = silent,
) -> Audited:
    """Compare what is served with a checkpoint.

    Args:
        good: the checkpoint.
        storage: the public folder, or another place that serves the index.
        log: the transaction log; or why there is none.
        now: aware, UTC: what has expired is told.
        progress: is told of every project that was compared.

    Raises:
        CheckpointError: a part of the checkpoint was altered.
        StoreError: the checkpoint, or the state, can't be read.
    """
    known = KnownRoots(storage, good)
    faults = [f"{name}: not the one in the checkpoint" for name in known.spoilt()]
    try:
        served = ServedSet(known, good.root, EVER)
        listed = _served(served)  # at once: what it reads may be superseded, and go
    except (RefusedError, UnreachableError, RepositoryError) as error:
        faults.append(f"no client takes what is served: {error}")
        reason = log if isinstance(log, str) else ""
        return Audited(
            *(good.digest, good.snapshot_version, None, reason),
            fault_count=len(faults),
            faults=tuple(faults),
        )
    who = _Who(log, RoleFile.of(good.snapshot_version, good.snapshot))
    counts: Counter[str] = Counter()
    named: Counter[bool] = Counter()
    findings: list[Finding] = []
    with ServedProjects(served, known) as projects:
        for before, there in pairs(good.projects(), iter(projects)):
            progress(name_of(before, there), 1)
            found = list(differences(before, there))
            if found:
                counts.update(each.kind for each in found)
                queued = who.queued(before, found, there)
                for pair in zip(found, queued, strict=True):
                    added = pair[0].kind == "added"
                    if named[added] < NAMED:
                        findings.append(Finding(*pair))
                    named[added] += 1
        count = len(faults) + projects.faults.count
        faults += projects.faults.named
    return Audited(
        *(good.digest, good.snapshot_version, served.trusted.snapshot.version, who.silent),
        counts=dict(counts),
        unqueued=who.unqueued,
        findings=tuple(findings),
        roles=tuple(_roles(_known(good), listed, storage, who.published)),
        fault_count=count,
        faults=tuple(faults),
        expired=served.expired(now),
    )


class _Who:
    """`Blame`, or the reason why there is none.

    Args:
        log: the log, or why there is none.
        snapshot: that of the checkpoint.
    """

    def __init__(self, log: Log | str, snapshot: RoleFile) -> None:
        self.silent = log if isinstance(log, str) else ""
        self.unqueued = 0
        self.published: Mapping[str, RoleFile] = {}
        self._blame: Blame | None = None
        if not isinstance(log, str):
            try:
                self._blame = Blame(log, snapshot)
                self.published = self._blame.published
                if not self._blame.reaches_back:
                    self.silent = f"it begins after snapshot {snapshot.version} was published"
            except (AlteredStateError, StoreError) as error:
                self.silent = str(error)

    def queued(
        self, before: Project | None, found: list[FileDifference], now: Project | None
    ) -> list[Queued | None]:
        """As `Blame.of`; None for each if nobody can tell."""
        answer: list[Queued | None] = [None] * len(found)
        if self._blame is not None:
            try:
                answer = self._blame.of(before, found, now)
            except (AlteredStateError, StoreError) as error:
                self._blame, self.silent = None, str(error)
        self.unqueued += answer.count(None)
        return answer


def _roles(
    before: Mapping[str, Listed],
    now: Mapping[str, Listed],
    storage: Readable,
    published: Mapping[str, RoleFile],
) -> Iterator[RoleChange]:
    """The roles that are not listed as they were."""
    ours: dict[str, Listed] | None = None
    if (snapshot := published.get(SNAPSHOT)) is not None:
        name = METADATA + metadata_filename(SNAPSHOT, snapshot.version)
        with contextlib.suppress(AlteredStateError):
            ours = read_snapshot(storage.read(name, snapshot.length), snapshot)
            ours |= {name: as_listed(file) for name, file in published.items()}
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if old != new:
            known = None if ours is None or name == ROOT else ours.get(name) == new
            versions = [None if each is None else each.version for each in (old, new)]
            yield RoleChange(name, versions[0], versions[1], known)


def _known(good: Checkpoint) -> dict[str, Listed]:
    """The roles in a checkpoint: what its snapshot lists, and those above it."""
    files = {
        ROOT: RoleFile.of(good.root_version, good.root),
        SNAPSHOT: RoleFile.of(good.snapshot_version, good.snapshot),
        TIMESTAMP: RoleFile.of(good.timestamp_version, good.timestamp),
    }
    try:
        listed = read_snapshot(good.snapshot, files[SNAPSHOT])
    except (AlteredStateError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"no snapshot: {error!r}", where=str(good.path)) from None
    return listed | {name: as_listed(file) for name, file in files.items()}


def _served(served: ServedSet) -> dict[str, Listed]:
    """The roles that are served, likewise."""
    found = {}
    for filename in served.trusted.snapshot.meta:
        info = served.trusted.snapshot.info(filename)
        if info is not None:
            listed = Listed(info.version, info.length, info.hashes.get("sha256"))
            found[filename.removesuffix(".json")] = listed
    versions = {
        ROOT: served.trusted.root.version,
        SNAPSHOT: served.trusted.snapshot.version,
        TIMESTAMP: served.trusted.timestamp.version,
    }
    files = served.metadata()
    for name, version in versions.items():
        data = files[metadata_filename(name, None if name == TIMESTAMP else version)]
        found[name] = as_listed(RoleFile.of(version, data))
    return found
