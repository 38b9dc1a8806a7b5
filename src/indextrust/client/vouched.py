"""What vouches for a file: its project's verified page, its own target, or both in agreement."""

from __future__ import annotations

from indextrust.client.listing import ListedFile
from indextrust.errors import ProfileError
from indextrust.names import file_path
from indextrust.trust import TargetEntry

__all__ = ["agree", "as_target", "require_sha256"]


def as_target(listed: ListedFile) -> TargetEntry:
    """What a verified page says of a file that is no target, as an entry of one."""
    file, document = listed.file, listed.document
    return TargetEntry(
        file_path(file.project, file.filename),
        file.size,
        {"sha256": file.sha256},
        document.role,
        document.role_version,
        document.snapshot_version,
    )


def require_sha256(entry: TargetEntry) -> None:
    """Profile: every target has a sha256, the hash that installers and lock files use."""
    if "sha256" not in entry.hashes:
        raise ProfileError("no sha256", where=entry.path, got=sorted(entry.hashes))


def agree(entry: TargetEntry, size: int, sha256: str) -> None:
    """Profile: a page and a file's own target say the same of it."""
    require_sha256(entry)
    if (entry.length, entry.hashes["sha256"]) != (size, sha256):
        raise ProfileError(
            "the project's page and the file's own target disagree",
            where=entry.path,
            expected=f"{size} bytes, sha256 {sha256} (page)",
            got=f"{entry.length} bytes, sha256 {entry.hashes['sha256']} (target)",
        )
