"""Repair: the public folder brought back to what the state says, byte for byte.

First the state is compared with the log and with what was signed last (`origin`): tables that were
altered put nothing back and set nothing aside.

Everything that should be there is compared by its hash and, where it differs or is missing,
written again: documents and pages from the state, distribution files from the private object
store, offline roles from there as well. What does not belong there goes to the quarantine, for
whoever looks into the case; nothing is deleted. The cost is reading the whole index once.

What stays: files under a hash-prefixed name in a project's folders that have that hash (nobody
reaches them but by their hash), and metadata files of roles that there are, under versions that
are used up (after `State.start_over` no number among them is ever used again, and readers reach
them only through a timestamp). Everything else goes, also what an operator put there himself: the
public folder is the repository's alone.

Left to others: signing anew (`publish`), which has to follow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from indextrust.distribution import DistributionFile
from indextrust.errors import AlteredStateError, StoreError
from indextrust.names import (
    BINS,
    ROOT,
    TARGETS,
    TIMESTAMP,
    NormalizedName,
    document_path,
    hash_prefixed,
    is_target_path,
    metadata_filename,
)
from indextrust.repository.documents import document_bytes, html_index, html_page
from indextrust.repository.objects import ObjectStore
from indextrust.repository.offline import Offline
from indextrust.repository.origin import Origin
from indextrust.repository.place import PROJECT_LIST, names_of, place_object, place_pages
from indextrust.repository.plan import TargetFile, describe, page_path, public_files
from indextrust.repository.provenance import check_project
from indextrust.repository.rebin import OldBins, old_scheme
from indextrust.repository.served import METADATA, VERSIONED
from indextrust.repository.state import State
from indextrust.repository.storage import FolderStorage

__all__ = ["Repair"]

_FOLDERS = ("metadata", "simple", "files", "incidents")
_PREFIXED = re.compile(r"([0-9a-f]{64}|[0-9a-f]{128})\..+", re.ASCII)


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
        self._rehashed: set[NormalizedName] = set()  # whose documents are signed with a SHA-512

    def run(self) -> tuple[str, ...]:
        """Repair everything.

        Returns:
            The names that were written again or set aside, sorted.

        Raises:
            AlteredStateError: the state does not say what was published; nothing was touched.
            StoreError: a private copy is missing or damaged, or the disk refused.
        """
        self._check_roles()
        projects = self._checked_projects()
        self._storage.doubt()
        self._strangers("", set(_FOLDERS))
        self._folders(_FOLDERS)
        self._metadata()
        self._strangers("simple", {*projects, "index.html"})
        self._strangers("files", set(projects))
        self._incidents()
        for project in projects:
            self._project(project)
        listing = html_index(projects)
        if self._is_wrong(PROJECT_LIST, describe(listing)):
            self._storage.replace(PROJECT_LIST, listing)
        self._storage.sync()
        return tuple(sorted(self._repaired))

    def _check_roles(self) -> None:
        """Refuse rows and targets that do not follow from what was published."""
        offline, ledger = self._offline, self._state.queue.ledger()
        parts, scheme = (self._state, self._storage), offline.scheme
        bins = scheme.names()
        if ledger.rebinning is None:
            Origin(*parts, offline).check(bins, bins)
        else:
            before = old_scheme(self._objects.read(ledger.rebinning))
            origin = Origin(*parts, offline, before=before)
            origin.check(bins, ())
            OldBins(*parts, before, origin.last, ledger, scheme).check_moved()

    def _checked_projects(self) -> list[NormalizedName]:
        """All projects, whose files say what is signed for their documents."""
        projects = self._state.projects()
        documents = self._state.documents()
        for project in projects:
            document = self._state.target(document_path(project))
            check_project(project, self._state.files(project).values(), document)
            if document is None:
                raise AlteredStateError(f"the state was altered: no document of project {project}")
            if document.sha512 is not None:
                self._rehashed.add(project)
            documents -= 1
        if documents:
            raise AlteredStateError(
                f"the state was altered: {documents} documents of projects that it does not have"
            )
        return projects

    def _folders(self, names: Iterable[str]) -> None:
        """Set aside what is in the place of a folder, above all a link that leads elsewhere."""
        for name in names:
            if self._storage.is_other(name):
                self._set_aside(name)

    def _is_wrong(self, name: str, expected: TargetFile | str) -> bool:
        """Whether `name` must be written again; what is in its place is set aside.

        Args:
            name: of a file.
            expected: what it should be; or its SHA-256, where no more is recorded.
        """
        if isinstance(expected, str):
            right = self._storage.has_digest(name, expected)
        else:
            right = self._storage.matches(name, expected.length, expected.sha256)
        if right:
            return False
        self._set_aside(name)
        return True

    def _set_aside(self, name: str) -> None:
        self._storage.set_aside(name, self._incident)
        self._repaired.append(name)

    def _strangers(self, folder: str, expected: set[str], *, hashed: bool = False) -> None:
        """Set aside what lies in a folder and is not expected.

        Args:
            folder: below the public folder; empty for that itself.
            expected: names that stay.
            hashed: whether names that carry the hash of their file stay as well.
        """
        for name in self._storage.listing(folder):
            if name not in expected:
                path, prefix = f"{folder}/{name}".lstrip("/"), _PREFIXED.fullmatch(name)
                if not (hashed and prefix and self._storage.has_digest(path, prefix[1])):
                    self._set_aside(path)

    def _metadata(self) -> None:
        """Set aside what would stop or mislead a client, and what is no metadata of ours.

        The first is another timestamp, or a next root.

        What is missing afterwards is written by the publisher.
        """
        timestamp = METADATA + metadata_filename(TIMESTAMP)
        rows = self._state.roles()
        self._is_wrong(timestamp, TargetFile(rows[TIMESTAMP].length, rows[TIMESTAMP].sha256))
        ours = {metadata_filename(ROOT, v): data for v, data in self._offline.roots.items()}
        for name in (TARGETS, BINS):
            role = self._offline.roles[name]
            ours[metadata_filename(name, role.version)] = role.data
        rows |= self._state.retired(self._offline.online_keyid)
        used = {name: rows[name].allotted for name in rows if name != TIMESTAMP}
        for name in self._storage.listing("metadata"):
            match = VERSIONED.fullmatch(name)
            if name in ours:
                self._is_wrong(METADATA + name, describe(ours[name]))
            elif METADATA + name != timestamp and not (
                match
                and int(match[1]) <= used.get(match[2], 0)
                and self._storage.is_file(METADATA + name)
            ):
                self._set_aside(METADATA + name)

    def _incidents(self) -> None:
        """Set aside what is in the place of a record; what is missing the publisher writes."""
        expected = {
            name: describe(data)
            for path, data in self._offline.incidents.items()
            for name in (path, hash_prefixed(path, describe(data).sha256))
        }
        for name, target in expected.items():
            if self._storage.exists(name):
                self._is_wrong(name, target)
        self._strangers("incidents", {name.rpartition("/")[2] for name in expected})

    def _project(self, project: NormalizedName) -> None:
        self._folders((f"simple/{project}", f"files/{project}"))
        files = self._state.files(project)
        document = document_bytes(project, files.values())
        page = html_page(project, files.values())
        path = document_path(project)
        target = describe(document, both=project in self._rehashed)
        expected = dict.fromkeys(names_of(path, target, "pep458"), target)
        expected[page_path(project)] = describe(page)
        if [name for name, target in expected.items() if self._is_wrong(name, target)]:
            place_pages(self._storage, project, document, page, target)
        names = set(expected)
        elsewhere = self._state.elsewhere(project)
        for file in files.values():
            names.update(self._file(file, file.filename in elsewhere))
        for folder in (f"simple/{project}", f"files/{project}"):
            own = {name.rpartition("/")[2] for name in names if name.startswith(f"{folder}/")}
            hashed = is_target_path(f"{folder}/x", self._offline.layout)
            self._strangers(folder, own, hashed=hashed)

    def _file(self, file: DistributionFile, elsewhere: bool) -> Iterator[str]:
        """Repair a distribution file and its core metadata; gives the names of both.

        What the operator serves himself is left alone, also if he does so from this folder.
        """
        layout = self._offline.layout
        for path, digests in public_files(file).items():
            names = names_of(path, digests, layout)
            signed = self._state.target(path)
            if signed is None and is_target_path(path, layout):
                raise StoreError(f"the state is damaged: it lists {path}, and no target of it")
            if not elsewhere and [n for n in names if self._is_wrong(n, signed or digests.sha256)]:
                place_object(self._storage, self._objects, path, digests, layout)
            yield from names
