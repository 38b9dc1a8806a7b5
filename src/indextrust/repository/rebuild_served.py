"""Rows of a state from signed metadata alone: what is served, read as a client reads it.

From the set that the served timestamp leads to (`indextrust.repository.verified`), each bin is
verified and gives its targets; the documents among them give projects and files, each verified by
the hash that its bin lists, and parsed as a client parses it. Nothing else of the public folder is
believed: no file name, no page, no file that nobody signed.

A bin that a client would refuse ends it. A document that is missing or makes no sense does not: it
is a fault, its project stays without files, and its target stays as it is signed.

Source: PEP 458, "Auditing Snapshots".
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from itertools import islice

from indextrust.distribution import DistributionFile
from indextrust.errors import InputError, RefusedError
from indextrust.names import NormalizedName, document_path, is_target_path, project_name
from indextrust.repository import schema
from indextrust.repository.documents import document_bytes
from indextrust.repository.faults import Faults
from indextrust.repository.place import names_of
from indextrust.repository.plan import RoleFile, TargetFile, describe
from indextrust.repository.rebuild_rows import NewRows
from indextrust.repository.seal import Seal
from indextrust.repository.storage import FolderStorage
from indextrust.repository.verified import ServedBin, ServedSet
from indextrust.trust import Limits, parse_document

__all__ = ["store_served"]

_BINS_AT_A_TIME = 64
_DOCUMENT = re.compile(r"simple/([^/]+)/index\.json", re.ASCII)


def store_served(
    rows: NewRows, served: ServedSet, storage: FolderStorage, seal: Seal
) -> dict[str, tuple[RoleFile, str]]:
    """Make the rows of what is served.

    Args:
        rows: of the new state.
        served: what is served, verified.
        storage: the public folder, to read documents from.
        seal: vouches for the rows of bins that are out of use.

    Returns:
        File and expiry of each online role, by role name.

    Raises:
        RefusedError, UnreachableError: a bin that a client would refuse.
        RepositoryError: a file name stands for two digests.
        StoreError: the disk refused.
    """
    signed = served.top()
    bins = served.bins(served.offline.scheme.names())
    while some := list(islice(bins, _BINS_AT_A_TIME)):
        signed |= {found.name: (found.file, found.expires) for found in some}
        _store(rows, served, storage, some)
    with rows.database.begin() as db:
        for name, file in served.retired():
            keyid = served.offline.online_keyid
            row = {"name": name, "allotted": file.version, "keyid": keyid}
            mac = seal.mac_of(name, file)
            db.execute(schema.retired.insert().values(mac=mac, **row, **file._asdict()))
    return signed


def _store(
    rows: NewRows, served: ServedSet, storage: FolderStorage, bins: Iterable[ServedBin]
) -> None:
    """Rows of the targets of these bins, and of the projects whose documents are there."""
    targets: list[tuple[str, str, TargetFile]] = []
    projects: list[NormalizedName] = []
    files: list[DistributionFile] = []
    for name, _, _, listed in bins:
        for path, target in listed.items():
            targets.append((name, path, target))
            if not is_target_path(path, served.offline.layout):
                rows.faults.add(f"{name}: no client looks for its entry of {path[:200]!r}")
            elif match := _DOCUMENT.fullmatch(path):
                with _noting(rows.faults, path):
                    projects.append(project_name(match[1]))
                    files += _files(storage, projects[-1], target)
    rows.store(targets, projects, files)


def _files(
    storage: FolderStorage, project: NormalizedName, target: TargetFile
) -> list[DistributionFile]:
    """The files of a project, from its document.

    Raises:
        RefusedError: the document is missing, or none of this profile.
    """
    path = document_path(project)
    names = names_of(path, target, "pep458")
    found = (storage.read(name, min(target.length, Limits().document_length)) for name in names)
    for data in found:
        if data is not None and describe(data, both=target.sha512 is not None) == target:
            files = list(parse_document(project, data).files.values())
            if document_bytes(project, files) != data:
                raise RefusedError("not as this index writes it", where=path)
            return files
    raise RefusedError(
        "missing: put a copy there and rebuild again",
        where=path,
        expected=f"sha256 {target.sha256}",
    )


@contextlib.contextmanager
def _noting(faults: Faults, path: str) -> Iterator[None]:
    try:
        yield
    except (RefusedError, InputError) as error:
        faults.add(f"{path[:200]!r}: {error}")
