"""Which names a target gets in the public folder.

Every target lies under its hash-prefixed name, which TUF clients ask for, and under its plain
name, for clients that verify nothing. The hash-prefixed one is written first.

Source: TUF specification 6.2.
"""

from __future__ import annotations

from indextrust.names import NormalizedName, document_path, hash_prefixed
from indextrust.repository.plan import describe, page_path
from indextrust.repository.storage import FolderStorage, ObjectStore

__all__ = ["PROJECT_LIST", "place_object", "place_pages"]

PROJECT_LIST = "simple/index.html"
"""The PEP 503 list of all projects; not a target."""


def place_object(storage: FolderStorage, objects: ObjectStore, path: str, sha256: str) -> None:
    """Copy a distribution or core metadata file out of the object store.

    Args:
        storage: the public folder.
        objects: the private copies.
        path: target path.
        sha256: which object.

    Raises:
        StoreError: the object is missing or damaged, or the disk refused.
    """
    prefixed = hash_prefixed(path, sha256)
    storage.copy_once(prefixed, objects, sha256)
    storage.link(path, prefixed)


def place_pages(
    storage: FolderStorage, project: NormalizedName, document: bytes, page: bytes
) -> None:
    """Write a project's document and its HTML page. Raises StoreError."""
    path = document_path(project)
    prefixed = hash_prefixed(path, describe(document).sha256)
    storage.write_once(prefixed, document)
    storage.link(path, prefixed)
    storage.replace(page_path(project), page)
