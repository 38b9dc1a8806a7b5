"""What the repository's operations answer: plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from indextrust.names import ROOT, SNAPSHOT, TARGETS, TIMESTAMP

__all__ = ["LogEntry", "Published", "RoleStatus", "Status"]


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
        repaired: files in the public folder that were not as they should be, and are again.
    """

    signed: tuple[str, ...] = field(repr=False)
    snapshot_version: int
    timestamp_version: int
    added: int = 0
    removed: int = 0
    changed: int = 0
    repaired: tuple[str, ...] = ()

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
class Status:
    """What the repository holds, and what it needs.

    Args:
        roles: root, targets, bins, snapshot, timestamp, and the bin that expires first.
        bins: number of bins.
        projects: published projects.
        files: published distribution files.
        queued: changes that wait for `publish`.
        interrupted: a publication was begun and not finished; the next one completes it.
        warnings: what a person should know, one sentence each.
    """

    roles: tuple[RoleStatus, ...]
    bins: int
    projects: int
    files: int
    queued: int
    interrupted: bool
    warnings: tuple[str, ...]

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
        what: ``add``, ``remove``, ``yank`` or ``unyank`` of a file was asked for; ``begin`` or
            ``publish``: a publication began, or is out; ``create``: of the repository;
            ``restore``: by `Repository.restore` or `Repository.install`.
        project: of the file.
        filename: the file's own name.
        sha256: of a file that was added.
        reason: of a yank.
        publication: number of the entry that began the publication that it is, or was published
            in; None while a change waits.
        snapshot: version of the snapshot in which it is published.
        timestamp: version of the timestamp, likewise.
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
