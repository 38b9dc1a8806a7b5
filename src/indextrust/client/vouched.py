"""What vouches for a file: its project's verified page, its own target, or both in agreement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from indextrust.client.listing import ListedFile
from indextrust.errors import ProfileError
from indextrust.names import file_path
from indextrust.trust import TargetEntry

__all__ = ["agreed", "as_target", "hashes_of", "require_sha256"]


def as_target(listed: ListedFile) -> TargetEntry:
    """What a verified page says of a file that is no target, as an entry of one."""
    file, document = listed.file, listed.document
    return TargetEntry(
        file_path(file.project, file.filename),
        file.size,
        hashes_of(file.sha256, file.sha512),
        document.role,
        document.role_version,
        document.snapshot_version,
    )


def require_sha256(entry: TargetEntry) -> None:
    """Profile: every target has a sha256, the hash that installers and lock files use."""
    if "sha256" not in entry.hashes:
        raise ProfileError("no sha256", where=entry.path, got=sorted(entry.hashes))


def hashes_of(sha256: str, sha512: str | None) -> dict[str, str]:
    """What a page lists of a file, as a target does."""
    return {"sha256": sha256} if sha512 is None else {"sha256": sha256, "sha512": sha512}


def agreed(entry: TargetEntry, size: int, hashes: Mapping[str, str]) -> TargetEntry:
    """Profile: a page and a file's own target say the same of it, in every hash that both list.

    Args:
        entry: the target.
        size: bytes, as the page has it.
        hashes: likewise.

    Returns:
        The target with every hash that either lists: all of them will be checked.

    Raises:
        ProfileError: they disagree.
    """
    require_sha256(entry)
    both = hashes.keys() & entry.hashes.keys()
    if entry.length != size or any(hashes[name] != entry.hashes[name] for name in both):
        raise ProfileError(
            "the project's page and the file's own target disagree",
            where=entry.path,
            expected=f"{_words(size, hashes)} (page)",
            got=f"{_words(entry.length, entry.hashes)} (target)",
        )
    return replace(entry, hashes={**entry.hashes, **hashes})


def _words(size: int, hashes: Mapping[str, str]) -> str:
    return ", ".join([f"{size} bytes", *(f"{name} {hashes[name]}" for name in sorted(hashes))])
