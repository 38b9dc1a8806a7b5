"""From queued changes to unsigned roles. PURE.

`plan_project` says what a project's changes do to its pages and targets; `bin_role`,
`snapshot_role` and `timestamp_role` build the ``signed`` part of the online roles. Nothing here
knows a key, a file or a clock: versions and expiry come in, trees go out.

In PEP 458's layout the project document, every distribution file and every core metadata file is
a target, each in the bin that its path falls into. In the layout ``projects`` documents alone are,
and the hashes in them vouch for the files (`indextrust.names.Layout`). A project whose last file
was removed keeps an empty document: its name stays taken, so that no installer goes on to look for
it on another index.

Sources: PEP 458, "PyPI and TUF Metadata"; TUF specification 4.4 to 4.6.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from indextrust.distribution import DistributionFile
from indextrust.errors import InputError, RepositoryError
from indextrust.names import (
    BinScheme,
    Layout,
    NormalizedName,
    document_path,
    file_path,
    metadata_path,
)
from indextrust.repository.changes import Add, Change, Rehash, Remove
from indextrust.repository.documents import document_bytes, html_page

__all__ = [
    "LIFETIME",
    "SPEC_VERSION",
    "BinEdit",
    "Digests",
    "ProjectPlan",
    "RoleFile",
    "TargetFile",
    "bin_edits",
    "bin_role",
    "describe",
    "page_path",
    "plan_project",
    "public_files",
    "replay",
    "snapshot_role",
    "timestamp_role",
    "utc",
]

LIFETIME = timedelta(days=1)
"""How long timestamp, snapshot and bins are valid (PEP 458: one day)."""

SPEC_VERSION = "1.0.34"


class TargetFile(NamedTuple):
    """What is signed for one target: bytes, lower-case hex SHA-256, and SHA-512 if it is listed."""

    length: int
    sha256: str
    sha512: str | None = None

    @property
    def hashes(self) -> dict[str, str]:
        """As metadata lists them."""
        more = {} if self.sha512 is None else {"sha512": self.sha512}
        return {"sha256": self.sha256, **more}


class RoleFile(NamedTuple):
    """What is signed for one metadata file.

    Args:
        version: its version.
        length: bytes.
        sha256: of the file, lower-case hex.
        entries: of a bin, the SHA-256 of its entries (`encode.entries_digest`): so what its
            targets are is known also when the file is damaged. No metadata lists it.
    """

    version: int
    length: int
    sha256: str
    entries: str = ""

    @classmethod
    def of(cls, version: int, data: bytes, entries: str = "") -> RoleFile:
        """What is signed for these bytes."""
        return cls(version, len(data), hashlib.sha256(data).hexdigest(), entries)


def page_path(project: NormalizedName) -> str:
    """Where a project's HTML page lies, beside its document. Not a target."""
    return document_path(project).removesuffix(".json") + ".html"


def utc(time: datetime) -> str:
    """An aware time as TUF writes it: ``2026-01-31T12:00:00Z``, which also sorts as text.

    Raises:
        InputError: a time without a time zone.
    """
    if time.tzinfo is None:
        raise InputError(f"expected a time with a time zone, got {time.isoformat()}")
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def describe(data: bytes, *, both: bool = False) -> TargetFile:
    """What is signed for `data`; `both`: with its SHA-512."""
    sha512 = hashlib.sha512(data).hexdigest() if both else None
    return TargetFile(len(data), hashlib.sha256(data).hexdigest(), sha512)


@dataclass(frozen=True)
class ProjectPlan:
    """What a publication does to one project.

    Args:
        project: normalised name.
        document: the new canonical document.
        page: the new HTML page.
        target: what is signed for the document from now on.
        added: files listed from now on; also those that were removed and came back since.
        removed: files listed no more.
        changed: files whose yank changed, as they are from now on.
        put: target path to what is signed for it, of new and changed targets.
        drop: target paths that are targets no more.
        withdrawn: where the removed files lie in the public folder, by their plain names.
        elsewhere: names of those of `added` whose bytes the operator serves himself.
        again: those of `added` that are listed already: what is known of them is new.
        rehashed: files that stay, whose SHA-512 is listed from now on; they may be in `changed`.
    """

    project: NormalizedName
    document: bytes
    page: bytes
    target: TargetFile
    added: tuple[DistributionFile, ...]
    removed: tuple[DistributionFile, ...]
    changed: tuple[DistributionFile, ...]
    put: Mapping[str, TargetFile]
    drop: tuple[str, ...]
    withdrawn: tuple[str, ...]
    elsewhere: frozenset[str] = frozenset()
    again: tuple[DistributionFile, ...] = ()
    rehashed: tuple[DistributionFile, ...] = ()


def replay(
    files: Mapping[str, DistributionFile], changes: Iterable[Change]
) -> dict[str, DistributionFile]:
    """The files of a project after `changes`, by file name.

    Raises:
        RepositoryError: a change of a file that is not there, or another file under a name that
            is taken: the queue was altered.
    """
    after = dict(files)
    for change in changes:
        if isinstance(change, Rehash):
            after |= _rehashed(after, change)
            continue
        present = after.get(change.filename)
        if isinstance(change, Add):
            if present is not None and present.sha256 != change.file.sha256:
                raise RepositoryError(
                    f"{change.filename} is listed with sha256 {present.sha256}, "
                    f"and queued with {change.file.sha256}"
                )
            after.setdefault(change.filename, change.file)
        elif present is None:
            raise RepositoryError(f"{change.filename} is not listed, and a change of it is queued")
        elif isinstance(change, Remove):
            del after[change.filename]
        else:
            after[change.filename] = present.with_yank(change.reason)
    return after


def _rehashed(files: Mapping[str, DistributionFile], change: Rehash) -> dict[str, DistributionFile]:
    """The files of `change` with their SHA-512. Raises RepositoryError as `replay`."""
    found = {}
    for digests in change.files:
        file = files.get(digests.filename)
        if file is None or (file.sha256, file.metadata_sha256) != digests.of:
            raise RepositoryError(
                f"{digests.filename}: a sha512 of bytes with sha256 {digests.of[0]} is queued, "
                f"and listed is {'none' if file is None else file.sha256}"
            )
        found[digests.filename] = file.with_sha512(digests.sha512, digests.metadata_sha512)
    return found


def plan_project(
    project: NormalizedName,
    before: Mapping[str, DistributionFile],
    changes: Iterable[Change],
    document: TargetFile | None,
    layout: Layout = "pep458",
    *,
    both: bool = False,
) -> ProjectPlan:
    """What `changes` do to `project`.

    Args:
        project: normalised name.
        before: its published files, by file name.
        changes: of this project, in the order they were queued.
        document: what is signed for its document now; None for a new project.
        layout: whether files are targets.
        both: whether the document's SHA-512 is listed.

    Raises:
        RepositoryError: as `replay`.
    """
    changes = list(changes)
    if document is None and changes and all(isinstance(one, Rehash) for one in changes):
        raise RepositoryError(f"a sha512 of project {project} is queued, which has no document")
    after = replay(before, changes)
    gone = {change.filename for change in changes if isinstance(change, Remove)}
    again = [file for name, file in after.items() if name in before and name in gone]
    added = [file for name, file in after.items() if name not in before or name in gone]
    removed = [file for name, file in before.items() if name not in after]
    put: dict[str, TargetFile] = {}
    adds = [change for change in changes if isinstance(change, Add)]
    last = {add.filename: add for add in adds}
    kept = {path for file in again for path in public_files(file)}
    for file in added if layout == "pep458" else ():
        if before.get(file.filename) == file:
            continue  # it came back as it was
        put |= _targets(file, last[file.filename].metadata_size)
    digests = {one.filename: one for c in changes if isinstance(c, Rehash) for one in c.files}
    rehashed = tuple(
        file
        for name in digests
        if name in before and name not in gone and (file := after[name]).sha512 is not None
    )
    for file in rehashed if layout == "pep458" else ():
        put |= _targets(file, digests[file.filename].metadata_size)
    old = (*removed, *(before[file.filename] for file in again))
    withdrawn = tuple(path for file in old for path in public_files(file) if path not in kept)
    page = document_bytes(project, after.values())
    if (target := describe(page, both=both)) != document:
        put[document_path(project)] = target
    return ProjectPlan(
        project,
        page,
        html_page(project, after.values()),
        target,
        tuple(added),
        tuple(removed),
        tuple(f for n, f in after.items() if n not in gone and before.get(n, f).yanked != f.yanked),
        put,
        withdrawn if layout == "pep458" else (),
        withdrawn,
        frozenset(last) - {name for name, add in last.items() if not add.elsewhere},
        tuple(again),
        rehashed,
    )


def _targets(file: DistributionFile, metadata_size: int | None) -> dict[str, TargetFile]:
    """What is signed for a file and its core metadata, where they are targets."""
    path = file_path(file.project, file.filename)
    found = {path: TargetFile(file.size, file.sha256, file.sha512)}
    if file.metadata_sha256 is not None and metadata_size is not None:  # both or neither, by `Add`
        beside = TargetFile(metadata_size, file.metadata_sha256, file.metadata_sha512)
        found[metadata_path(file.project, file.filename)] = beside
    return found


@dataclass
class BinEdit:
    """What a publication does to one bin.

    Args:
        put: target path to what is signed for it from now on.
        drop: target paths that are targets no more.
    """

    put: dict[str, TargetFile] = field(default_factory=dict)
    drop: list[str] = field(default_factory=list)

    def apply(self, targets: Mapping[str, TargetFile]) -> dict[str, TargetFile]:
        """The bin's targets from now on."""
        edited = {**targets, **self.put}
        for path in self.drop:
            edited.pop(path, None)
        return edited


def bin_edits(plans: Iterable[ProjectPlan], scheme: BinScheme) -> dict[str, BinEdit]:
    """What `plans` do to the bins: every bin that they touch, and no other."""
    edits: dict[str, BinEdit] = {}
    for plan in plans:
        for path, target in plan.put.items():
            edits.setdefault(scheme.bin_of(path), BinEdit()).put[path] = target
        for path in plan.drop:
            edits.setdefault(scheme.bin_of(path), BinEdit()).drop.append(path)
    return edits


class Digests(NamedTuple):
    """Hashes of one file: lower-case hex SHA-256, and SHA-512 if it is listed."""

    sha256: str
    sha512: str | None


def public_files(file: DistributionFile) -> dict[str, Digests]:
    """Hashes of a distribution file and of its core metadata, by their plain names in the public
    folder; in PEP 458's layout these are target paths."""
    files = {file_path(file.project, file.filename): Digests(file.sha256, file.sha512)}
    if file.metadata_sha256 is not None:
        beside = Digests(file.metadata_sha256, file.metadata_sha512)
        files[metadata_path(file.project, file.filename)] = beside
    return files


def bin_role(version: int, expires: str, targets: Mapping[str, TargetFile]) -> dict[str, Any]:
    """A bin: target paths and what is vouched for them."""
    return {
        "_type": "targets",
        "spec_version": SPEC_VERSION,
        "version": version,
        "expires": expires,
        "targets": {
            path: {"length": target.length, "hashes": target.hashes}
            for path, target in targets.items()
        },
    }


def snapshot_role(version: int, expires: str, roles: Mapping[str, RoleFile]) -> dict[str, Any]:
    """The snapshot: version, length and hash of targets, bins and every bin, by role name."""
    return {
        "_type": "snapshot",
        "spec_version": SPEC_VERSION,
        "version": version,
        "expires": expires,
        "meta": {f"{name}.json": _meta(role) for name, role in roles.items()},
    }


def timestamp_role(version: int, expires: str, snapshot: RoleFile) -> dict[str, Any]:
    """The timestamp: which snapshot is the latest."""
    return {
        "_type": "timestamp",
        "spec_version": SPEC_VERSION,
        "version": version,
        "expires": expires,
        "meta": {"snapshot.json": _meta(snapshot)},
    }


def _meta(role: RoleFile) -> dict[str, Any]:
    return {
        "version": role.version,
        "length": role.length,
        "hashes": {"sha256": role.sha256},
    }
