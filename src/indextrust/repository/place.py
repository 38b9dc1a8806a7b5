"""Which names a file gets in the public folder, and when the list of projects is written.

Every target lies under its hash-prefixed name, which TUF clients ask for, and under its plain
name, for clients that verify nothing. The hash-prefixed one is written first. Where the SHA-512 is
listed beside the SHA-256 there is a name with either, for clients ask for whichever they choose. A
distribution file that is no target (the layout ``projects``) lies under its plain name alone: a
file name stands for one digest for good, so a second name would tell nothing.

The list of all projects is one file, so a new project costs as much as there are projects: 35 MB
at 886,000. No installer reads it, and it is not signed. So while it is short (256 KiB, some 5,000
projects) it is written with every new project; then by the first publication of each hour at
most. A new project can be installed at once, and is listed within the hour of publications (or
of `renew`, which runs without changes as well).

Sources: TUF specification 6.2; PEP 503.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from indextrust.names import Layout, NormalizedName, document_path, hash_prefixed, is_target_path
from indextrust.repository.documents import html_index
from indextrust.repository.objects import ObjectStore
from indextrust.repository.plan import Digests, TargetFile, describe, page_path
from indextrust.repository.storage import FolderStorage

__all__ = [
    "PROJECT_LIST",
    "is_list_due",
    "is_long",
    "names_of",
    "place_incidents",
    "place_list",
    "place_object",
    "place_pages",
]

PROJECT_LIST = "simple/index.html"
"""The PEP 503 list of all projects; not a target."""

_SHORT = 1 << 18
_LONGEST = 1 << 30
_HOUR = len("2026-01-31T12")


def names_of(path: str, digests: Digests | TargetFile, layout: Layout) -> tuple[str, ...]:
    """The names of a file in the public folder, in the order in which they are written."""
    if not is_target_path(path, layout):
        return (path,)
    hashes = [digests.sha256] if digests.sha512 is None else [digests.sha256, digests.sha512]
    return (*(hash_prefixed(path, digest) for digest in hashes), path)


def place_object(
    storage: FolderStorage, objects: ObjectStore, path: str, digests: Digests, layout: Layout
) -> None:
    """Copy a distribution or core metadata file out of the object store.

    Args:
        storage: the public folder.
        objects: the private copies.
        path: its plain name, which may be a target path.
        digests: which object, by its SHA-256.
        layout: whether it is.

    Raises:
        StoreError: the object is missing or damaged, or the disk refused.
    """
    first, *others = names_of(path, digests, layout)
    storage.copy_once(first, objects, digests.sha256)
    for name in others:
        storage.link(name, first)


def place_incidents(storage: FolderStorage, incidents: Mapping[str, bytes]) -> None:
    """Write incident records, by target path. Raises StoreError."""
    for path, data in sorted(incidents.items()):
        prefixed = hash_prefixed(path, describe(data).sha256)
        storage.write_once(prefixed, data)
        storage.link(path, prefixed)


def place_pages(
    storage: FolderStorage,
    project: NormalizedName,
    document: bytes,
    page: bytes,
    target: TargetFile,
) -> None:
    """Write a project's document and its HTML page.

    Args:
        storage: the public folder.
        project: normalised name.
        document: its bytes.
        page: the HTML page.
        target: what is signed for the document.

    Raises:
        StoreError: the disk refused.
    """
    first, *others = names_of(document_path(project), target, "pep458")
    storage.write_once(first, document)
    for name in others:
        storage.link(name, first)
    storage.replace(page_path(project), page)


def is_list_due(storage: FolderStorage, *, more: bool, last: str, this: str) -> bool:
    """Whether a publication writes the list of projects.

    Args:
        storage: the public folder.
        more: whether the publication has a new project.
        last: a time of the last publication, as TUF writes it; empty if there was none.
        this: the same time of this one.
    """
    size = storage.size(PROJECT_LIST)
    if size is None:
        return True
    return more if size <= _SHORT else last[:_HOUR] != this[:_HOUR]


def is_long(listing: bytes | None) -> bool:
    """Whether a list of projects is not written with every new project."""
    return listing is not None and len(listing) > _SHORT


def place_list(storage: FolderStorage, projects: AbstractSet[NormalizedName]) -> None:
    """Write the list of projects, unless it is long and has as many already. Raises StoreError."""
    there = storage.read(PROJECT_LIST, _LONGEST)
    if there is None or len(there) <= _SHORT or there.count(b"<a ") != len(projects):
        storage.replace(PROJECT_LIST, html_index(projects))
