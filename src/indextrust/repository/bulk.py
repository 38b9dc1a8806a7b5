"""Rows of many projects and bins in few statements.

A publication of a thousand files asks as many questions of the database as one of a single file.
(The keys are asked for in pieces of `_PIECE`: SQL has limits, and so has memory.)

The caller holds the transaction. Left to others: what the rows mean (`State`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice

import sqlalchemy as sa

from indextrust.distribution import DistributionFile
from indextrust.errors import RepositoryError
from indextrust.names import LONGEST_WITH_SHA512, NormalizedName
from indextrust.repository import schema
from indextrust.repository.plan import ProjectPlan, TargetFile

__all__ = [
    "among",
    "distinct",
    "documents_without_sha512",
    "elsewhere",
    "entries_of",
    "files_of",
    "insert",
    "known_projects",
    "pieces",
    "store",
    "targets_at",
    "targets_of",
    "unchecked",
    "use",
    "used",
    "without_sha512",
]

_PIECE = 500
_FIELDS = [field.name for field in dataclasses.fields(DistributionFile)]

_HEAD = """'"' || path || '":{"hashes":{"sha256":"' || sha256 || """
_SHA512 = """coalesce('","sha512":"' || sha512, '') || """
_TAIL = """'"},"length":' || length || '}'"""
_ENTRIES = {
    both: sa.func.group_concat(sa.literal_column(_HEAD + (_SHA512 if both else "") + _TAIL))
    for both in (False, True)
}
"""The entries of a bin as `encode.bin_payload` writes them, with commas between; with the SHA-512
of those that have one it takes a third longer."""


def among(column: sa.Column[str]) -> sa.ColumnElement[bool]:
    """Whether the value is one of ``keys``, which are given when the statement is executed.

    (To make a statement costs more than to execute it on few rows: so they are made once.)
    """
    return column.in_(sa.bindparam("keys", expanding=True))


_files, _targets = schema.files.c, schema.targets.c
_FILES_OF = (
    sa.select(*(_files[name] for name in _FIELDS))
    .where(among(_files.project))
    .order_by(_files.project, _files.filename)  # as the key: nothing is to be sorted
)
_TARGETS_AT = sa.select(_targets.path, _targets.length, _targets.sha256, _targets.sha512).where(
    among(_targets.path)
)
_TARGETS_OF = sa.select(
    _targets.bin, _targets.path, _targets.length, _targets.sha256, _targets.sha512
).where(among(_targets.bin))
_ENTRIES_OF = {
    both: sa.select(_targets.bin, entries).where(among(_targets.bin)).group_by(_targets.bin)
    for both, entries in _ENTRIES.items()
}
_KNOWN = sa.select(schema.projects.c.name).where(among(schema.projects.c.name))
_USED = sa.select(schema.used.c.folded, schema.used.c.filename, schema.used.c.sha256).where(
    among(schema.used.c.folded)
)
_ONE = (_files.project == sa.bindparam("of")) & (_files.filename == sa.bindparam("name"))
_REMOVE = schema.files.delete().where(_ONE)
_YANK = schema.files.update().where(_ONE).values(yanked=sa.bindparam("reason"))
_REHASH = (
    schema.files.update()
    .where(_ONE)
    .values(sha512=sa.bindparam("digest"), metadata_sha512=sa.bindparam("beside"))
)
_DROP = schema.targets.delete().where(_targets.path == sa.bindparam("of"))


def pieces(keys: Iterable[str], size: int = _PIECE) -> Iterator[list[str]]:
    """`keys` in lists of at most `size`."""
    left = iter(keys)
    while piece := list(islice(left, size)):
        yield piece


def files_of(
    db: sa.Connection,
    projects: Iterable[NormalizedName],
    make: Callable[..., DistributionFile] = DistributionFile,
) -> dict[NormalizedName, dict[str, DistributionFile]]:
    """The published files of each project, by file name, sorted; of a new one there are none.

    Args:
        db: the transaction.
        projects: normalised names.
        make: makes a file of its fields: `unchecked` for a caller who compares them all.
    """
    found: dict[NormalizedName, dict[str, DistributionFile]] = {name: {} for name in projects}
    for piece in pieces(found):
        for row in db.execute(_FILES_OF, {"keys": piece}).all():
            found[row[0]][row[1]] = make(*row)
    return found


def unchecked(*row: object) -> DistributionFile:
    """A row as it is, whose fields may be of any form."""
    file = object.__new__(DistributionFile)
    file.__dict__.update(zip(_FIELDS, row, strict=True))
    return file


def elsewhere(db: sa.Connection, project: NormalizedName) -> set[str]:
    """Names of the published files of a project whose bytes the operator serves himself."""
    columns = schema.files.c
    query = sa.select(columns.filename).where(columns.project == project, columns.elsewhere)
    return set(db.scalars(query))


def targets_at(db: sa.Connection, paths: Iterable[str]) -> dict[str, TargetFile]:
    """What is signed for each of these target paths that is one."""
    found = {}
    for piece in pieces(paths):
        for path, *target in db.execute(_TARGETS_AT, {"keys": piece}).all():
            found[path] = TargetFile(*target)
    return found


def targets_of(db: sa.Connection, bins: Sequence[str]) -> dict[str, dict[str, TargetFile]]:
    """What is signed for every target path of each bin. `bins`: a piece."""
    found: dict[str, dict[str, TargetFile]] = {name: {} for name in bins}
    rows = db.execute(_TARGETS_OF, {"keys": bins}).all()
    for name, path, length, sha256, sha512 in rows:
        found[name][path] = TargetFile(length, sha256, sha512)
    return found


def entries_of(db: sa.Connection, bins: Sequence[str], *, both: bool) -> dict[str, bytes]:
    """The same as the entries of a bin's file, put together by the database. `bins`: a piece;
    `both`: whether there may be SHA-512.

    (In the order of the file if the database reads a bin in the order of its key.)
    """
    rows = db.execute(_ENTRIES_OF[both], {"keys": bins}).all()
    return {**dict.fromkeys(bins, b""), **{name: text.encode("utf-8") for name, text in rows}}


def known_projects(db: sa.Connection, projects: Iterable[NormalizedName]) -> set[NormalizedName]:
    """Those of `projects` that have a published document."""
    return {
        NormalizedName(found)
        for piece in pieces(projects)
        for found in db.scalars(_KNOWN, {"keys": piece})
    }


def used(db: sa.Connection, filenames: Iterable[str]) -> dict[str, tuple[str, str]]:
    """By the name in lower case: the spelling and the digest that ever were used for it."""
    found = {}
    for piece in pieces(name.lower() for name in filenames):
        for folded, filename, sha256 in db.execute(_USED, {"keys": piece}):
            found[folded] = (filename, sha256)
    return found


def use(db: sa.Connection, files: Iterable[DistributionFile]) -> None:
    """Record that each file name stands for one digest, for good.

    Raises:
        RepositoryError: one stands for another digest: the queue was altered.
    """
    files = list(files)
    known = used(db, (file.filename for file in files))
    digests = {folded: sha256 for folded, (_, sha256) in known.items()}
    new = []
    for file in files:
        folded = file.filename.lower()
        if folded not in digests:
            new.append({"folded": folded, "filename": file.filename, "sha256": file.sha256})
        if digests.setdefault(folded, file.sha256) != file.sha256:
            raise RepositoryError(
                f"{file.filename} is queued with sha256 {file.sha256}, "
                f"and was published with {digests[folded]}"
            )
    insert(db, schema.used, new)


def store(db: sa.Connection, plans: Collection[ProjectPlan], bin_of: Callable[[str], str]) -> None:
    """Bring the rows of projects to what was published of them."""
    known = known_projects(db, (plan.project for plan in plans))
    new = [{"name": plan.project} for plan in plans if plan.project not in known]
    insert(db, schema.projects, new)
    gone = [file for plan in plans for file in (*plan.removed, *plan.again)]
    if removed := [{"of": file.project, "name": file.filename} for file in gone]:
        db.execute(_REMOVE, removed)
    # Of a file that stays nothing can change but its yank, and that its SHA-512 is listed.
    if changed := [
        {"of": f.project, "name": f.filename, "reason": f.yanked} for p in plans for f in p.changed
    ]:
        db.execute(_YANK, changed)
    if rehashed := [
        {"of": f.project, "name": f.filename, "digest": f.sha512, "beside": f.metadata_sha512}
        for p in plans
        for f in p.rehashed
    ]:
        db.execute(_REHASH, rehashed)
    insert(
        db,
        schema.files,
        [
            {**vars(file), "elsewhere": file.filename in plan.elsewhere}
            for plan in plans
            for file in plan.added
        ],
    )
    if paths := [{"of": path} for plan in plans for path in (*plan.drop, *plan.put)]:
        db.execute(_DROP, paths)
    insert(
        db,
        schema.targets,
        [
            {"path": path, "bin": bin_of(path), **target._asdict()}
            for plan in plans
            for path, target in plan.put.items()
        ],
    )


def distinct(
    begin: Callable[[], AbstractContextManager[sa.Connection]], column: sa.Column[str]
) -> Iterator[str]:
    """The values of a column that begins a key, in order, a transaction for each few of them.

    Args:
        begin: begins a transaction.
        column: of text.
    """
    query, last = sa.select(column).distinct().order_by(column).limit(_PIECE), ""
    while True:
        with begin() as db:
            values = list(db.scalars(query.where(column > last)))
        yield from values
        if len(values) < _PIECE:
            return
        last = values[-1]


def without_sha512(
    begin: Callable[[], AbstractContextManager[sa.Connection]],
) -> Iterator[tuple[NormalizedName, str]]:
    """Published files with a SHA-256 alone whose bytes are here, and whose names have room for
    the other, in the order of the key."""
    columns = schema.files.c
    key = sa.tuple_(columns.project, columns.filename)
    short = sa.func.length(columns.filename) <= LONGEST_WITH_SHA512
    wanted = columns.sha512.is_(None) & ~columns.elsewhere & short
    query = sa.select(columns.project, columns.filename).where(wanted).order_by(*key).limit(_PIECE)
    last = ("", "")
    while True:
        with begin() as db:
            rows = db.execute(query.where(key > last)).all()
        yield from ((NormalizedName(row.project), row.filename) for row in rows)
        if len(rows) < _PIECE:
            return
        last = (rows[-1].project, rows[-1].filename)


def documents_without_sha512(
    begin: Callable[[], AbstractContextManager[sa.Connection]],
) -> Iterator[NormalizedName]:
    """Projects whose documents are signed with a SHA-256 alone, in the order of their names."""
    columns = schema.targets.c
    wanted = columns.sha512.is_(None) & (columns.path < "simple0")
    query = sa.select(columns.path).where(wanted).order_by(columns.path).limit(_PIECE)
    last = "simple/"
    while True:
        with begin() as db:
            paths = list(db.scalars(query.where(columns.path > last)))
        yield from (NormalizedName(path.split("/")[1]) for path in paths)
        if len(paths) < _PIECE:
            return
        last = paths[-1]


def insert(db: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, object]]) -> None:
    """Insert rows; there may be none."""
    if rows:
        db.execute(table.insert(), rows)
