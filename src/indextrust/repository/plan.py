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
from indextrust.repository.changes import Add, Change, Remove
from indextrust.repository.documents import document_bytes, html_page

__all__ = [
    "LIFETIME",
    "SPEC_VERSION",
    "BinEdit",
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
    """What is signed for one target: bytes, and lower-case hex SHA-256."""

    length: int
    sha256: str


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


def describe(data: bytes) -> TargetFile:
    """What is signed for `data`."""
    return TargetFile(len(data), hashlib.sha256(data).hexdigest())


@dataclass(frozen=True)
class ProjectPlan:
    """What a publication does to one project.

    Args:
        project: normalised name.
        document: the new canonical document.
        page: the new HTML page.
        added: files listed from now on; also those that were removed and came back since.
        removed: files listed no more.
        changed: files whose yank changed, as they are from now on.
        put: target path to what is signed for it, of new and changed targets.
        drop: target paths that are targets no more.
        withdrawn: where the removed files lie in the public folder, by their plain names.
        elsewhere: names of those of `added` whose bytes the operator serves himself.
        again: those of `added` that are listed already: what is known of them is new.
    """

    project: NormalizedName
    document: bytes
    page: bytes
    added: tuple[DistributionFile, ...]
    removed: tuple[DistributionFile, ...]
    changed: tuple[DistributionFile, ...]
    put: Mapping[str, TargetFile]
    drop: tuple[str, ...]
    withdrawn: tuple[str, ...]
    elsewhere: frozenset[str] = frozenset()
    again: tuple[DistributionFile, ...] = ()


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


def plan_project(
    project: NormalizedName,
    before: Mapping[str, DistributionFile],
    changes: Iterable[Change],
    document: TargetFile | None,
    layout: Layout = "pep458",
) -> ProjectPlan:
    """What `changes` do to `project`.

    Args:
        project: normalised name.
        before: its published files, by file name.
        changes: of this project, in the order they were queued.
        document: what is signed for its document now; None for a new project.
        layout: whether files are targets.

    Raises:
        RepositoryError: as `replay`.
    """
    changes = list(changes)
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
        put[file_path(project, file.filename)] = TargetFile(file.size, file.sha256)
        size = last[file.filename].metadata_size
        if file.metadata_sha256 is not None and size is not None:  # both or neither, by `Add`
            put[metadata_path(project, file.filename)] = TargetFile(size, file.metadata_sha256)
    old = (*removed, *(before[file.filename] for file in again))
    withdrawn = tuple(path for file in old for path in public_files(file) if path not in kept)
    page = document_bytes(project, after.values())
    if describe(page) != document:
        put[document_path(project)] = describe(page)
    return ProjectPlan(
        project,
        page,
        html_page(project, after.values()),
        tuple(added),
        tuple(removed),
        tuple(f for n, f in after.items() if n not in gone and before.get(n, f) != f),
        put,
        withdrawn if layout == "pep458" else (),
        withdrawn,
        frozenset(last) - {name for name, add in last.items() if not add.elsewhere},
        tuple(again),
    )


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


def public_files(file: DistributionFile) -> dict[str, str]:
    """SHA-256 of a distribution file and of its core metadata, by their plain names in the public
    folder; in PEP 458's layout these are target paths."""
    files = {file_path(file.project, file.filename): file.sha256}
    if file.metadata_sha256 is not None:
        files[metadata_path(file.project, file.filename)] = file.metadata_sha256
    return files


def bin_role(version: int, expires: str, targets: Mapping[str, TargetFile]) -> dict[str, Any]:
    """A bin: target paths and what is vouched for them."""
    return {
        "_type": "targets",
        "spec_version": SPEC_VERSION,
        "version": version,
        "expires": expires,
        "targets": {
            path: {"length": target.length, "hashes": {"sha256": target.sha256}}
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
