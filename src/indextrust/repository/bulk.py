"""Rows of many projects and bins in few statements.

A publication of a thousand files asks as many questions of the database as one of a single file.
(The keys are asked for in pieces of `_PIECE`: SQL has limits, and so has memory.)

The caller holds the transaction. Left to others: what the rows mean (`State`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice

import sqlalchemy as sa

from indextrust.distribution import DistributionFile
from indextrust.errors import RepositoryError
from indextrust.names import NormalizedName
from indextrust.repository import schema
from indextrust.repository.plan import ProjectPlan, TargetFile

__all__ = [
    "files_of",
    "known_projects",
    "pieces",
    "store",
    "targets_at",
    "targets_of",
    "use",
]

_PIECE = 500


def pieces(keys: Iterable[str], size: int = _PIECE) -> Iterator[list[str]]:
    """`keys` in lists of at most `size`."""
    left = iter(keys)
    while piece := list(islice(left, size)):
        yield piece


def files_of(
    db: sa.Connection, projects: Iterable[NormalizedName]
) -> dict[NormalizedName, dict[str, DistributionFile]]:
    """The published files of each project, by file name, sorted; of a new one there are none."""
    found: dict[NormalizedName, dict[str, DistributionFile]] = {name: {} for name in projects}
    for piece in pieces(found):
        query = sa.select(schema.files).where(schema.files.c.project.in_(piece))
        for row in db.execute(query.order_by(schema.files.c.filename)).mappings():
            found[row["project"]][row["filename"]] = DistributionFile(**row)
    return found


def targets_at(db: sa.Connection, paths: Iterable[str]) -> dict[str, TargetFile]:
    """What is signed for each of these target paths that is one."""
    targets = schema.targets.c
    found = {}
    for piece in pieces(paths):
        query = sa.select(targets.path, targets.length, targets.sha256)
        for path, length, sha256 in db.execute(query.where(targets.path.in_(piece))).all():
            found[path] = TargetFile(length, sha256)
    return found


def targets_of(db: sa.Connection, bins: Sequence[str]) -> dict[str, dict[str, TargetFile]]:
    """What is signed for every target path of each bin. `bins`: a piece."""
    targets = schema.targets.c
    found: dict[str, dict[str, TargetFile]] = {name: {} for name in bins}
    query = sa.select(targets.bin, targets.path, targets.length, targets.sha256)
    for name, path, length, sha256 in db.execute(query.where(targets.bin.in_(bins))).all():
        found[name][path] = TargetFile(length, sha256)
    return found


def known_projects(db: sa.Connection, projects: Iterable[NormalizedName]) -> set[NormalizedName]:
    """Those of `projects` that have a published document."""
    name = schema.projects.c.name
    return {
        NormalizedName(found)
        for piece in pieces(projects)
        for found in db.scalars(sa.select(name).where(name.in_(piece)))
    }


def use(db: sa.Connection, files: Iterable[DistributionFile]) -> None:
    """Record that each file name stands for one digest, for good.

    Raises:
        RepositoryError: one stands for another digest: the queue was altered.
    """
    columns, files = schema.used.c, list(files)
    used: dict[str, str] = {}
    for piece in pieces(file.filename.lower() for file in files):
        query = sa.select(columns.folded, columns.sha256).where(columns.folded.in_(piece))
        used.update((row.folded, row.sha256) for row in db.execute(query))
    new = []
    for file in files:
        folded = file.filename.lower()
        if folded not in used:
            new.append({"folded": folded, "filename": file.filename, "sha256": file.sha256})
        if used.setdefault(folded, file.sha256) != file.sha256:
            raise RepositoryError(
                f"{file.filename} is queued with sha256 {file.sha256}, "
                f"and was published with {used[folded]}"
            )
    _insert(db, schema.used, new)


def store(db: sa.Connection, plans: Collection[ProjectPlan], bin_of: Callable[[str], str]) -> None:
    """Bring the rows of projects to what was published of them."""
    known = known_projects(db, (plan.project for plan in plans))
    new = [{"name": plan.project} for plan in plans if plan.project not in known]
    _insert(db, schema.projects, new)
    _delete(
        db,
        schema.files.c.filename,
        [file.filename for plan in plans for file in (*plan.removed, *plan.changed)],
    )
    _insert(
        db,
        schema.files,
        [dataclasses.asdict(f) for plan in plans for f in (*plan.added, *plan.changed)],
    )
    _delete(db, schema.targets.c.path, [path for plan in plans for path in (*plan.drop, *plan.put)])
    _insert(
        db,
        schema.targets,
        [
            {"path": path, "bin": bin_of(path), **target._asdict()}
            for plan in plans
            for path, target in plan.put.items()
        ],
    )


def _insert(db: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, object]]) -> None:
    if rows:
        db.execute(table.insert(), rows)


def _delete(db: sa.Connection, column: sa.Column[str], keys: list[str]) -> None:
    for piece in pieces(keys):
        db.execute(column.table.delete().where(column.in_(piece)))
