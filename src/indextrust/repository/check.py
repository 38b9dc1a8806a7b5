"""The check: state, signed metadata, log and stored files compared, and nothing changed.

* *Log*: every entry, from the first to the head (`indextrust.repository.log`); the snapshot and
  timestamp that it says were published are those in the state.
* *Metadata*: the whole chain from the first root as a client reads it today, then every bin
  (`indextrust.repository.verified`); version, length, hash, expiry and HMAC in its row; each of
  its targets in the state, and no other there.
* *State*: the files of each project give the document that is signed; each file has its targets
  and its used name.
* *Public files*: every name that a client or a browser may ask for has the bytes that are signed,
  or (HTML pages) that follow from the state.
* *Private copies*: each has the hash it is named after.

Everything is read once; names that are one file on disk are hashed once. Memory is that of a few
hundred projects, or of one bin.

It takes no lock to look, so publications go on. What seems wrong may be what is being published
just then: so each bin or project that seems wrong is looked at again, under the lock, and only
what is wrong then is told of.

Left to others: whether what was signed is what should have been (`indextrust.repository.audit`
with a checkpoint); what lies in the public folder and belongs to nothing (`restore` finds it).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

from indextrust.distribution import DistributionFile
from indextrust.errors import (
    AlteredStateError,
    DistributionError,
    RefusedError,
    RepositoryError,
    StoreError,
    UnreachableError,
)
from indextrust.names import (
    SNAPSHOT,
    TIMESTAMP,
    NormalizedName,
    document_path,
    is_target_path,
)
from indextrust.repository.bulk import pieces
from indextrust.repository.disk import digests, open_regular
from indextrust.repository.documents import document_bytes, html_index, html_page
from indextrust.repository.objects import ObjectStore
from indextrust.repository.offline import Offline
from indextrust.repository.place import PROJECT_LIST, is_long, names_of
from indextrust.repository.plan import RoleFile, TargetFile, describe, page_path, public_files
from indextrust.repository.results import Checked, Difference
from indextrust.repository.state import State
from indextrust.repository.storage import FolderStorage
from indextrust.repository.verified import ServedBin, ServedSet

__all__ = ["Check"]

_PROJECTS = 100
_DOCUMENT = re.compile(r"simple/([^/]+)/index\.json", re.ASCII)
_NAMED = 1_000
"""How many differences are named in the answer; the others are counted."""


class Check:
    """One comparison.

    Args:
        state: the working copy.
        storage: the public folder.
        objects: the private copies.
        offline: gives the verified offline roles in force, and reads them anew each time.
        locked: takes the repository's lock for a block.
        clock: tells the time, aware, UTC.
    """

    def __init__(
        self,
        state: State,
        storage: FolderStorage,
        objects: ObjectStore,
        offline: Callable[[], Offline],
        locked: Callable[[], AbstractContextManager[None]],
        clock: Callable[[], datetime],
    ) -> None:
        self._state = state
        self._storage = storage
        self._objects = objects
        self._offline = offline
        self._locked = locked
        self._clock = clock
        self._served: ServedSet | None = None
        self._scheme, self._layout = offline().scheme, offline().layout
        self._hashed: dict[tuple[int, int, bool], TargetFile] = {}
        self._found: list[Difference] = []
        self._count = self._entries = self._bins = self._projects = 0
        self._files = self._size = 0

    def run(self) -> Checked:
        """Compare everything.

        Raises:
            StoreError: the state or the private copies of the offline roles can't be read.
        """
        self._judge(self._log)
        self._judge(self._top)
        if self._served is not None:
            for name in self._scheme.names():
                self._bins += 1
                self._judge(lambda name=name: self._bin(name))  # type: ignore[misc]
        self._judge(self._strangers)
        self._judge(self._listing)
        self._judge(lambda: self._folders(("metadata", "simple", "files")))
        for piece in pieces(self._state.projects(), _PROJECTS):
            self._pages([NormalizedName(name) for name in piece])
        return Checked(
            *(self._entries, self._bins, self._projects, self._files, self._size, self._count),
            tuple(self._found),
        )

    def _judge(self, look: Callable[[], Iterable[Difference]]) -> None:
        """Look, and if something seems wrong look again while nobody publishes."""
        if not list(look()):
            return
        with self._locked():
            for difference in look():
                self._count += 1
                if len(self._found) < _NAMED:
                    self._found.append(difference)

    # -- log and metadata --------------------------------------------------------------------

    def _log(self) -> Iterator[Difference]:
        self._entries = 0
        try:
            for _ in self._state.queue.log.verified():
                self._entries += 1
            published = self._state.queue.ledger().published
        except AlteredStateError as error:
            yield Difference("log", "log", str(error))
            return
        for name, row in self._state.roles((SNAPSHOT, TIMESTAMP)).items():
            if row.version and published.get(name) != row.file:
                yield Difference("log", name, _differ(published.get(name), row.file))

    def _top(self) -> Iterator[Difference]:
        """The top-level roles; leaves what is served for the bins."""
        self._served, offline = None, self._offline()
        try:
            served = ServedSet(self._storage, offline.roots[min(offline.roots)], self._clock())
            retired = dict(served.retired())
            top = served.top()
        except (RefusedError, UnreachableError, RepositoryError) as error:
            yield Difference("metadata", "metadata", str(error))
            return
        self._served = served
        for name, role in offline.roles.items():
            if served.offline.roles[name].data != role.data:
                yield Difference("metadata", name, "not the one in force by the state")
        for version, data in offline.roots.items():
            if version < max(offline.roots) and served.offline.roots.get(version) != data:
                yield Difference("metadata", f"{version}.root", "not the one kept by the state")
        rows = self._state.roles(top)
        for name, (file, expires) in top.items():
            row = rows[name]
            if (row.file, row.expires) != (file, expires):
                yield Difference("state", name, _differ((file, expires), (row.file, row.expires)))
        old = {name: row.file for name, row in self._state.retired(offline.online_keyid).items()}
        for name in sorted(old.keys() | retired.keys()):
            if old.get(name) != retired.get(name):
                yield Difference("state", name, _differ(retired.get(name), old.get(name)))

    def _bin(self, name: str) -> Iterator[Difference]:
        rows = self._state.recorded([name])
        row = rows.get(name)
        expires = "" if row is None else self._state.role(name).expires
        if row is not None and row.file.version != self._listed(name):
            list(self._top())  # published meanwhile
        try:
            served = self._serve(name)
        except (RefusedError, UnreachableError) as error:
            yield Difference("metadata", name, str(error))
            return
        ours = None if row is None else (row.file, expires)
        if row is None or ours != (served.file, served.expires):
            yield Difference("state", name, _differ((served.file, served.expires), ours))
        elif not row.sealed:
            yield Difference("state", name, "its row lacks the HMAC of its file")
        targets = dict(self._state.bins([name]))[name]
        for path in sorted(targets.keys() | served.targets.keys()):
            if targets.get(path) != served.targets.get(path):
                what = _differ(served.targets.get(path), targets.get(path))
                yield Difference("state", path[:300], f"{name}: {what}")
        documents = filter(None, map(_DOCUMENT.fullmatch, served.targets))
        projects = {NormalizedName(match[1]) for match in documents}
        for project in sorted(projects - self._state.known(projects)):
            yield Difference("state", project, "has a document, and is no project in the state")

    def _listed(self, name: str) -> int:
        try:
            return 0 if self._served is None else self._served.version(name)
        except RefusedError:
            return 0

    def _serve(self, name: str) -> ServedBin:
        if self._served is None:
            raise UnreachableError("the set that it belongs to can't be read")
        return next(self._served.bins([name]))

    # -- state and files ---------------------------------------------------------------------

    def _strangers(self) -> Iterator[Difference]:
        """Rows that belong to no bin and no project."""
        bins = set(self._offline().scheme.names())
        for name in self._state.bins_with_targets():
            if name not in bins:
                yield Difference("state", name, "has targets in the state, and is no bin in force")
        for piece in pieces(self._state.projects_with_files(), 500):
            projects = [NormalizedName(name) for name in piece]
            for name in sorted(set(projects) - self._state.known(projects)):
                yield Difference("state", name, "has files in the state, and is no project there")

    def _listing(self) -> Iterator[Difference]:
        """The list of projects. A long one may lack the latest (`place.is_list_due`)."""
        expected = html_index(self._state.projects())
        found = self._storage.read(PROJECT_LIST, len(expected))
        if found != expected and not (is_long(found) and _is_part(found or b"", expected)):
            what = _differ(describe(expected), None if found is None else describe(found))
            yield Difference("public", PROJECT_LIST, what)

    def _folders(self, names: Iterable[str]) -> Iterator[Difference]:
        for name in names:
            if self._storage.is_other(name):
                yield Difference("public", name, "not a folder, or a link to one")

    def _pages(self, projects: Sequence[NormalizedName]) -> None:
        for project in projects:
            self._projects += 1
            self._judge(lambda project=project: self._project(project))  # type: ignore[misc]

    def _project(self, project: NormalizedName) -> Iterator[Difference]:
        self._hashed.clear()
        yield from self._folders((f"simple/{project}", f"files/{project}"))
        files = self._state.files(project)
        page = document_bytes(project, files.values())
        path, wanted = document_path(project), dict[str, TargetFile]()
        for file in files.values():
            for at, hashes in public_files(file).items():
                size = file.size if hashes.sha256 == file.sha256 else -1
                wanted[at] = TargetFile(size, *hashes)
        layout = self._layout
        signed = self._state.targets_at([path, *wanted])
        document = signed.get(path)
        expected = describe(page, both=document is not None and document.sha512 is not None)
        wanted = {path: expected, **wanted}
        for at, target in wanted.items():
            found = signed.get(at)
            if is_target_path(at, layout) and not _agree(target, found):
                yield Difference("state", at, f"{project}: {_differ(target, found)}")
        yield from self._used(files)
        for name in names_of(path, expected, layout):
            yield from self._public(name, expected)
        html = describe(html_page(project, files.values()))
        yield from self._public(page_path(project), html)
        elsewhere = self._state.elsewhere(project)
        for file in files.values():
            for at, hashes in public_files(file).items():
                names = names_of(at, hashes, layout)
                if file.filename not in elsewhere:
                    yield from self._stored(names, wanted[at])
                    continue
                for name in filter(self._storage.exists, names):  # nothing proves that it is so
                    yield from self._public(name, wanted[at], follow=True)

    def _used(self, files: Mapping[str, DistributionFile]) -> Iterator[Difference]:
        used = self._state.used_of(files)
        for name, file in files.items():
            if used.get(name.lower()) != (name, file.sha256):
                what = _differ((name, file.sha256), used.get(name.lower()))
                yield Difference("state", name, f"used names: {what}")

    def _stored(self, names: Sequence[str], expected: TargetFile) -> Iterator[Difference]:
        """A distribution file or core metadata, in public and in private."""
        for name in names:
            yield from self._public(name, expected)
        found = self._digest(self._objects.path(expected.sha256), both=expected.sha512 is not None)
        if not _agree(expected, found):
            yield Difference("private", expected.sha256, f"{names[-1]}: {_differ(expected, found)}")

    def _public(
        self, name: str, expected: TargetFile, *, follow: bool = False
    ) -> Iterator[Difference]:
        path = self._storage.public / name
        both = expected.sha512 is not None
        found = self._digest(Path(os.path.realpath(path)) if follow else path, both=both)
        if not _agree(expected, found):
            yield Difference("public", name, _differ(expected, found))

    def _digest(self, path: Path, *, both: bool) -> TargetFile | None:
        """Length and hashes of a regular file; None if there is none that can be read."""
        try:
            with open_regular(path) as file:
                status = os.fstat(file.fileno())
                if (known := self._hashed.get((status.st_dev, status.st_ino, both))) is not None:
                    return known
                found = digests(file, both=both)
        except (DistributionError, StoreError, OSError):
            return None
        self._files += 1
        self._size += found.length
        self._hashed[status.st_dev, status.st_ino, both] = found
        return found


def _is_part(found: bytes, expected: bytes) -> bool:
    """Whether all lines of `found` are lines of `expected`, in its order."""
    lines = iter(expected.splitlines())
    return all(line in lines for line in found.splitlines())


def _agree(expected: TargetFile, found: TargetFile | None) -> bool:
    """Whether hashes and length are the same; a length of -1 is not known."""
    if found is None or found.hashes != expected.hashes:
        return False
    return expected.length in (-1, found.length)


def _differ(expected: object, got: object) -> str:
    return f"expected {_text(expected)}, got {_text(got)}"


def _text(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, TargetFile):
        length = "" if value.length < 0 else f" ({value.length} bytes)"
        more = "" if value.sha512 is None else f", sha512 {value.sha512}"
        return f"sha256 {value.sha256}{more}{length}"
    if isinstance(value, RoleFile):
        return f"version {value.version}, {_text(TargetFile(value.length, value.sha256))}"
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    return str(value)
