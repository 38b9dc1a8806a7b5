"""Repair: the public folder brought back to what the state says, byte for byte.

Everything that should be there is compared by its hash and, where it differs or is missing,
written again: documents and pages from the state, distribution files from the private object
store, offline roles from there as well. What does not belong there goes to the quarantine, for
whoever looks into the case; nothing is deleted. The cost is reading the whole index once.

What stays: files under a hash-prefixed name that have that hash (nobody reaches them but by their
hash), and versioned files of the online roles (after `State.start_over` no version number among
them is ever used again, and readers reach them only through a timestamp).

Left to others: signing anew (`publish`), which has to follow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from indextrust.names import (
    BINS,
    ROOT,
    TARGETS,
    TIMESTAMP,
    NormalizedName,
    document_path,
    file_path,
    hash_prefixed,
    metadata_filename,
    metadata_path,
)
from indextrust.repository.documents import document_bytes, html_index, html_page
from indextrust.repository.offline import Offline
from indextrust.repository.place import PROJECT_LIST, place_object, place_pages
from indextrust.repository.plan import describe, page_path
from indextrust.repository.served import METADATA
from indextrust.repository.state import State
from indextrust.repository.storage import FolderStorage, ObjectStore

__all__ = ["Repair"]

_OFFLINE_FILE = re.compile(r"([0-9]+)\.(root|targets|bins)\.json", re.ASCII)
_PREFIXED = re.compile(r"([0-9a-f]{64})\..+", re.ASCII)


class Repair:
    """One repair.

    Args:
        state: what should be there.
        storage: the public folder.
        objects: the private copies.
        offline: the verified offline roles.
        incident: name of this repair's folder in the quarantine.
    """

    def __init__(
        self,
        state: State,
        storage: FolderStorage,
        objects: ObjectStore,
        offline: Offline,
        incident: str,
    ) -> None:
        self._state = state
        self._storage = storage
        self._objects = objects
        self._offline = offline
        self._incident = incident
        self._repaired: list[str] = []

    def run(self) -> tuple[str, ...]:
        """Repair everything.

        Returns:
            The names that were written again or set aside, sorted.

        Raises:
            StoreError: a private copy is missing or damaged, or the disk refused.
        """
        projects = self._state.projects()
        self._folders(("metadata", "simple", "files"))
        self._metadata()
        self._strangers("simple", {*projects, "index.html"})
        self._strangers("files", set(projects))
        for project in projects:
            self._project(project)
        listing = html_index(projects)
        if self._is_wrong(PROJECT_LIST, describe(listing).sha256):
            self._storage.replace(PROJECT_LIST, listing)
        self._storage.sync()
        return tuple(sorted(self._repaired))

    def _folders(self, names: Iterable[str]) -> None:
        """Set aside what is in the place of a folder, above all a link that leads elsewhere."""
        for name in names:
            if self._storage.is_other(name):
                self._set_aside(name)

    def _is_wrong(self, name: str, sha256: str) -> bool:
        """Whether `name` must be written again; what is in its place is set aside."""
        if self._storage.matches(name, sha256):
            return False
        self._set_aside(name)
        return True

    def _set_aside(self, name: str) -> None:
        self._storage.set_aside(name, self._incident)
        self._repaired.append(name)

    def _strangers(self, folder: str, expected: set[str]) -> None:
        """Set aside what lies in a folder and is neither expected nor named after its hash."""
        for name in self._storage.listing(folder):
            if name not in expected:
                path, prefix = f"{folder}/{name}", _PREFIXED.fullmatch(name)
                if prefix is None or not self._storage.matches(path, prefix[1]):
                    self._set_aside(path)

    def _metadata(self) -> None:
        """Set aside what would stop or mislead every client: another timestamp, a next root.

        What is missing afterwards is written by the publisher.
        """
        timestamp = METADATA + metadata_filename(TIMESTAMP)
        self._is_wrong(timestamp, self._state.role(TIMESTAMP).sha256)
        ours = {metadata_filename(ROOT, v): data for v, data in self._offline.roots.items()}
        for name in (TARGETS, BINS):
            role = self._offline.roles[name]
            ours[metadata_filename(name, role.version)] = role.data
        for name in self._storage.listing("metadata"):
            match = _OFFLINE_FILE.fullmatch(name)
            if match and name not in ours and int(match[1]) > self._offline.roles[match[2]].version:
                self._set_aside(METADATA + name)
            elif name in ours:
                self._is_wrong(METADATA + name, describe(ours[name]).sha256)

    def _project(self, project: NormalizedName) -> None:
        self._folders((f"simple/{project}", f"files/{project}"))
        files = self._state.files(project)
        document = document_bytes(project, files.values())
        page = html_page(project, files.values())
        path, sha256 = document_path(project), describe(document).sha256
        expected = {hash_prefixed(path, sha256): sha256, path: sha256}
        expected[page_path(project)] = describe(page).sha256
        if [name for name, digest in expected.items() if self._is_wrong(name, digest)]:
            place_pages(self._storage, project, document, page)
        targets: dict[str, str] = {}
        for file in files.values():
            targets[file_path(project, file.filename)] = file.sha256
            if file.metadata_sha256 is not None:
                targets[metadata_path(project, file.filename)] = file.metadata_sha256
        names = set(expected)
        for path, sha256 in targets.items():
            pair = (hash_prefixed(path, sha256), path)
            names.update(pair)
            if [name for name in pair if self._is_wrong(name, sha256)]:
                place_object(self._storage, self._objects, path, sha256)
        for folder in (f"simple/{project}", f"files/{project}"):
            own = {name.rpartition("/")[2] for name in names if name.startswith(f"{folder}/")}
            self._strangers(folder, own)
