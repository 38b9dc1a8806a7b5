"""What a verified page says, as values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from indextrust.distribution import DistributionFile
from indextrust.errors import NotListedError, RemovedArtifactError
from indextrust.names import NormalizedName
from indextrust.trust import Notice, Remembered, TargetEntry
from indextrust.trust.memory import Verdict

__all__ = ["ListedFile", "Project", "Verified", "not_listed"]


@dataclass(frozen=True)
class ListedFile:
    """A distribution file on a verified page.

    Args:
        file: what the page says of it.
        verdict: how that compares with what was seen first under its name.
        document: the page's own entry in the metadata, which vouches for it.
    """

    file: DistributionFile
    verdict: Verdict
    document: TargetEntry


@dataclass(frozen=True)
class Project:
    """A project's verified page.

    Args:
        name: normalised.
        versions: PEP 440 versions as listed.
        files: in the page's order.
        removed: files seen before that the page lists no more, and that no incident record
            withdrew.
        snapshot_version: the snapshot under which it was read.
        notices: what was accepted by an incident record just now.
    """

    name: NormalizedName
    versions: tuple[str, ...]
    files: tuple[ListedFile, ...]
    removed: tuple[Remembered, ...]
    snapshot_version: int
    notices: tuple[Notice, ...] = ()

    def file(self, filename: str) -> ListedFile:
        """The entry of one file, with its verdict.

        Raises:
            NotListedError: there is no such file, and never was that we saw.
            RemovedArtifactError: it was seen before and is listed no more.
        """
        for listed in self.files:
            if listed.file.filename == filename:
                return listed
        for gone in self.removed:
            if gone.filename == filename:
                raise RemovedArtifactError(
                    f"seen before ({gone.first_seen.isoformat(timespec='seconds')}, snapshot "
                    f"{gone.snapshot_version}) and listed no more",
                    where=filename,
                    expected=f"sha256 {gone.sha256}",
                    got=f"no entry in snapshot {self.snapshot_version}",
                )
        raise not_listed(filename, self.snapshot_version)


@dataclass(frozen=True)
class Verified:
    """A local file that is, byte for byte, what the index lists under its name.

    Args:
        path: where it lies.
        size: bytes.
        sha256: lower-case hex.
        entry: what vouches for it.
    """

    path: Path
    size: int
    sha256: str
    entry: TargetEntry


def not_listed(filename: str, snapshot_version: int) -> NotListedError:
    """The error for a file that the snapshot doesn't list."""
    return NotListedError(
        f"{filename}: not listed in snapshot {snapshot_version}; it may be awaiting publication"
    )
