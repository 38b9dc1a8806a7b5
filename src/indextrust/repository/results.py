"""What the repository's operations answer: plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from indextrust.names import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, Hashes, Layout

__all__ = [
    "Checked",
    "Collected",
    "Difference",
    "KeyUses",
    "LogEntry",
    "Published",
    "Rebuilt",
    "RoleStatus",
    "Status",
]


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Args:
        files: files that were queued.
        projects: projects that they belong to.
        present: files that were there already, and stay as they are.
        left_out: files on pages that no installer takes.
    """

    files: int
    projects: int
    present: int
    left_out: int


@dataclass(frozen=True)
class Published:
    """What a publication did.

    Args:
        signed: roles that were signed anew, sorted; empty if there was nothing to do.
        snapshot_version: the snapshot that readers see now.
        timestamp_version: the timestamp that readers see now.
        added: files listed anew.
        removed: files listed no more.
        changed: files that were yanked, or whose yank was taken back.
        rehashed: files that were listed before, and whose SHA-512 is listed from now on.
        repaired: files in the public folder that were not as they should be, and are again.
        lost: entries of the log that are lost, because an operator restored from an older copy of
            the state; None if nobody can tell how many.
        warnings: what a person should look at: a clock that is behind.
    """

    signed: tuple[str, ...] = field(repr=False)
    snapshot_version: int
    timestamp_version: int
    added: int = 0
    removed: int = 0
    changed: int = 0
    rehashed: int = 0
    repaired: tuple[str, ...] = ()
    lost: int | None = 0
    warnings: tuple[str, ...] = ()

    def then(self, later: Published) -> Published:
        """What this publication and a later one did together."""
        return Published(
            tuple(sorted({*self.signed, *later.signed})),
            later.snapshot_version,
            later.timestamp_version,
            added=self.added + later.added,
            removed=self.removed + later.removed,
            changed=self.changed + later.changed,
            rehashed=self.rehashed + later.rehashed,
            repaired=(*self.repaired, *later.repaired),
            lost=self.lost,
            warnings=tuple(dict.fromkeys((*self.warnings, *later.warnings))),
        )

    @property
    def bins(self) -> tuple[str, ...]:
        """The bins among the roles that were signed anew."""
        return tuple(name for name in self.signed if name not in {SNAPSHOT, TIMESTAMP})

    @property
    def nothing_to_do(self) -> bool:
        """Nothing was signed: nothing was queued, and nothing had expired."""
        return not self.signed


@dataclass(frozen=True)
class RoleStatus:
    """One role as it is published.

    Args:
        name: role name.
        version: 0 if it was never published.
        expires: aware, UTC; None if it has to be signed anew whatever the time.
    """

    name: str
    version: int
    expires: datetime | None


@dataclass(frozen=True)
class KeyUses:
    """How often the online key was used: once for each publication.

    Args:
        place: file of its log.
        size: bytes of it.
        count: uses in all.
        last_day: uses in the 24 hours before now.
        last_week: uses in the 7 days before now.
        last: when it was used last, ``YYYY-MM-DDTHH:MM:SSZ``; None if never.
    """

    place: str
    size: int
    count: int
    last_day: int
    last_week: int
    last: str | None


@dataclass(frozen=True)
class Status:
    """What the repository holds, and what it needs.

    Args:
        roles: root, targets, bins, snapshot, timestamp, and the bin that expires first.
        bins: number of bins.
        layout: what is a target.
        retired: bins out of use that are listed until the online key is replaced.
        projects: published projects.
        files: published distribution files.
        queued: changes that wait for `publish`.
        interrupted: a publication was begun and not finished; the next one completes it.
        warnings: what a person should know, one sentence each.
        hashes: which are listed of what is new.
        sha256_only: where both are, published files that are listed with a SHA-256 alone.
        uses: of the online key; None if its log is not as it was written, which is a warning.
        frozen: why nothing is signed, in a sentence; None if it is not frozen.
    """

    roles: tuple[RoleStatus, ...]
    bins: int
    layout: Layout
    retired: int
    projects: int
    files: int
    queued: int
    interrupted: bool
    warnings: tuple[str, ...]
    hashes: Hashes = "sha256"
    sha256_only: int | None = None
    uses: KeyUses | None = None
    frozen: str | None = None

    def role(self, name: str) -> RoleStatus:
        """One of the roles, by name."""
        return next(role for role in self.roles if role.name == name)

    @property
    def root_version(self) -> int:
        """Version of the root."""
        return self.role(ROOT).version

    @property
    def targets_version(self) -> int:
        """Version of the top-level targets."""
        return self.role(TARGETS).version

    @property
    def snapshot_version(self) -> int:
        """Version of the snapshot."""
        return self.role(SNAPSHOT).version

    @property
    def timestamp_version(self) -> int:
        """Version of the timestamp."""
        return self.role(TIMESTAMP).version


@dataclass(frozen=True)
class LogEntry:
    """One entry of the transaction log.

    Args:
        number: its place in the order; the first is 1, and none is left out.
        time: when, ``YYYY-MM-DDTHH:MM:SSZ``.
        who: the user, or the name that a service gave.
        what: ``add``, ``remove``, ``yank`` or ``unyank`` of a file was asked for, or ``import`` of
            many, or ``rehash`` of some; ``hashes``: both are listed from then on; ``begin`` or
            ``publish``: a publication began, or is out; ``create``: of the repository;
            ``restore``: by `Repository.restore` or `Repository.install`; ``rebin``: by
            `Repository.rebin`; ``freeze`` or ``thaw``.
        project: of the file, or files.
        filename: the file's own name.
        sha256: of a file that was added.
        reason: of a yank, a freeze or a thaw.
        publication: number of the entry that began the publication that it is, or was published
            in; None while a change waits.
        snapshot: version of the snapshot in which it is published.
        timestamp: version of the timestamp, likewise.
        files: how many files were imported, or are to be listed with both hashes.
        lost: how many entries before a ``restore`` are lost; None if nobody can tell.
    """

    number: int
    time: str
    who: str
    what: str
    project: str | None = None
    filename: str | None = None
    sha256: str | None = None
    reason: str | None = None
    publication: int | None = None
    snapshot: int | None = None
    timestamp: int | None = None
    files: int | None = None
    lost: int | None = None


@dataclass(frozen=True)
class Rehashed:
    """What one step of the hash transition queued.

    Args:
        files: published files whose SHA-512 was computed.
        projects: that they are of, and others whose documents alone lacked a SHA-512.
        size: bytes that were read.
        more: whether there is more to do by a later step.
        left_out: names of files whose private copy is missing or is not the published bytes
            (`Repository.check` says more), or whose project's document would become more than
            clients read. Nothing of them is queued.
        elsewhere: published files that have a SHA-256 alone and keep it: their bytes are the
            operator's, or their name is too long to be prefixed with a SHA-512. None while there
            is more to do.
    """

    files: int
    projects: int
    size: int
    more: bool
    left_out: tuple[str, ...]
    elsewhere: int | None


@dataclass(frozen=True)
class Collected:
    """What a collection removed.

    Args:
        metadata: metadata files.
        targets: hash-prefixed names of targets.
        oldest_snapshot: version of the oldest snapshot that clients may still be reading.
    """

    metadata: int
    targets: int
    oldest_snapshot: int


@dataclass(frozen=True)
class Rebuilt:
    """What a state was made of that was made anew, and what is lost.

    Args:
        snapshot_version: of the set that it was made from.
        timestamp_version: likewise.
        projects: how many there are.
        files: distribution files.
        lost_changes: changes that were queued and not published; None if nobody can tell.
        taken_over: names of removed files that were taken over from the old database, so that
            they are not used for other bytes; None if not all of it could be read.
        expired: top-level roles that have expired: a later set may be withheld, or none was
            signed.
        missing: files and core metadata without a private copy. They can't be restored, and count
            as served by the operator himself.
        faults: what is signed and makes no sense together; nothing of it was invented.
        named: both, one sentence each, up to 100 of a kind.
        aside: where the old database is kept; None if there was none.
    """

    snapshot_version: int
    timestamp_version: int
    projects: int
    files: int
    lost_changes: int | None
    taken_over: int | None
    expired: tuple[str, ...]
    missing: int
    faults: int
    named: tuple[str, ...] = field(repr=False)
    aside: Path | None


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it should be.

    Args:
        kind: ``log``, ``uses`` (the log of the online key), ``state``, ``metadata``, ``public`` or
            ``private``: where it was found.
        where: a role, a file below the public folder, a target path, a project, a log.
        what: what was expected and what was there, in one sentence.
    """

    kind: str
    where: str
    what: str


@dataclass(frozen=True)
class Checked:
    """What a comparison of state, signed metadata, log and stored files found.

    Args:
        entries: of the log, all verified.
        bins: verified as a client does, and compared with the state.
        projects: whose documents, pages and files were compared.
        files: that were read and hashed, public and private.
        size: their bytes.
        count: of the differences.
        differences: the first of them.
    """

    entries: int
    bins: int
    projects: int
    files: int
    size: int
    count: int
    differences: tuple[Difference, ...] = field(repr=False)

    @property
    def clean(self) -> bool:
        """Whether all is as it should be."""
        return self.count == 0
