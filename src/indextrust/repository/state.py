"""The repository's working copy: what is published, what is queued, which numbers are used.

One SQLite file, through SQLAlchemy Core; every public method is one transaction. The tables say
what *is published*: they change only after the files are out (`finish`), so a crash at any point
leaves rows in the queue and never a row that claims more than the disk holds. The one exception
is made on purpose, and before anything is written: `allot` records which version numbers, and
which digest under which file name, are used from now on. A role whose ``allotted`` is above its
``version`` was caught in an interrupted publication; it is due, under a new number.

Nothing here reads whole tables on behalf of a publication: files and changes are found by
project, targets by bin. (A snapshot lists every bin, so it reads one row for each.)

Durability: a rollback journal and ``synchronous=EXTRA``; what a method returned from survives
power loss, and the state is one file to copy. Times are text, UTC, and sort as they are.

Left to others: locking between processes (`Repository`), and what the rows mean (`plan`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from indextrust.distribution import DistributionFile
from indextrust.errors import RepositoryError, RepositoryVersionError, StoreError
from indextrust.names import (
    BINS,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    NormalizedName,
)
from indextrust.repository import schema
from indextrust.repository.changes import Change, decode, encode
from indextrust.repository.offline import Offline
from indextrust.repository.plan import ProjectPlan, RoleFile, TargetFile, describe
from indextrust.repository.storage import fsync_folder

__all__ = ["Allotted", "Counts", "Pending", "RoleRow", "State"]

_OFFLINE = (ROOT, TARGETS, BINS)


class RoleRow(NamedTuple):
    """What is published of a role. `expires` is text; `NEVER` if it must be signed anew."""

    name: str
    version: int
    allotted: int
    length: int
    sha256: str
    expires: str

    @property
    def file(self) -> RoleFile:
        """What a snapshot says of it."""
        return RoleFile(self.version, self.length, self.sha256)


class Allotted(NamedTuple):
    """A publication that has begun: its number, and the new version of each role in it."""

    publication: int
    versions: dict[str, int]


class Pending(NamedTuple):
    """Queued changes in order, and the number of the last one (0 if there are none)."""

    changes: tuple[Change, ...]
    last: int


class Counts(NamedTuple):
    """How many there are."""

    projects: int
    files: int
    queued: int


class State:
    """The state database.

    Args:
        path: its file, made by `create`.

    Raises:
        RepositoryVersionError: its tables are of another version.
        StoreError: no such file, or not a database.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine = schema.open_engine(path)
        if not path.is_file():
            raise StoreError(f"{path}: no such file")
        with self._begin() as db:
            version = None
            if sa.inspect(db).has_table(schema.about.name):
                version = db.scalar(sa.select(schema.about.c.schema_version))
        if version != schema.VERSION:
            raise RepositoryVersionError(
                f"{path}: expected a state of schema version {schema.VERSION}, got {version}"
            )

    @classmethod
    def create(cls, path: Path, scratch: Path, offline: Offline) -> State:
        """Make the database, complete or not at all.

        Args:
            path: the file to be.
            scratch: folder on the same file system, for the unfinished file.
            offline: the verified roles of the genesis.

        Raises:
            StoreError: it can't be written.
        """
        fresh = scratch / path.name
        try:
            os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            with schema.open_engine(fresh).begin() as db:
                schema.tables.create_all(db)
                db.execute(schema.about.insert().values(schema_version=schema.VERSION))
                online = (*offline.scheme.names(), SNAPSHOT, TIMESTAMP)
                rows = [RoleRow(name, 0, 0, 0, "", schema.NEVER)._asdict() for name in online]
                db.execute(schema.roles.insert(), rows)
                _adopt(db, offline)
            os.rename(fresh, path)
            fsync_folder(path.parent)
        except (OSError, sa.exc.SQLAlchemyError) as error:
            raise StoreError(f"can't write {path}: {error}") from error
        return cls(path)

    @contextlib.contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        """One transaction."""
        try:
            with self._engine.begin() as db:
                yield db
        except sa.exc.SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise StoreError(f"{self._path}: {cause}") from error

    # -- what is published -------------------------------------------------------------------

    def roles(self) -> dict[str, RoleRow]:
        """Every role, by name."""
        with self._begin() as db:
            return {row.name: RoleRow(*row) for row in db.execute(sa.select(schema.roles))}

    def role(self, name: str) -> RoleRow:
        """One role."""
        with self._begin() as db:
            return RoleRow(
                *db.execute(sa.select(schema.roles).where(schema.roles.c.name == name)).one()
            )

    def roots(self) -> dict[int, str]:
        """SHA-256 of every root file, by version."""
        with self._begin() as db:
            return {row.version: row.sha256 for row in db.execute(sa.select(schema.roots))}

    def due(self, by: str, latest: str) -> list[str]:
        """Names of the online roles that have to be signed anew.

        Args:
            by: those that expire by then.
            latest: those that expire later than a role signed now would: signed while the clock
                was ahead. And those whose publication was interrupted.
        """
        expires = schema.roles.c.expires
        late = (expires <= by) | (expires > latest)
        late |= schema.roles.c.allotted > schema.roles.c.version
        query = sa.select(schema.roles.c.name).where(late, schema.roles.c.name.not_in(_OFFLINE))
        with self._begin() as db:
            return list(db.scalars(query.order_by(schema.roles.c.name)))

    def projects(self) -> list[NormalizedName]:
        """All projects, sorted."""
        with self._begin() as db:
            return [NormalizedName(name) for name in db.scalars(_project_names)]

    def has_project(self, project: NormalizedName) -> bool:
        """Whether the project has a published document."""
        with self._begin() as db:
            return db.scalar(_project_names.where(schema.projects.c.name == project)) is not None

    def files(self, project: NormalizedName) -> dict[str, DistributionFile]:
        """The published files of a project, by file name."""
        query = (
            sa.select(schema.files)
            .where(schema.files.c.project == project)
            .order_by(schema.files.c.filename)
        )
        with self._begin() as db:
            rows = db.execute(query).mappings()
            return {row["filename"]: DistributionFile(**row) for row in rows}

    def target(self, path: str) -> TargetFile | None:
        """What is signed for a target path."""
        with self._begin() as db:
            row = db.execute(_target_files.where(schema.targets.c.path == path)).one_or_none()
            return None if row is None else TargetFile(*row[1:])

    def targets(self, bin_name: str | None = None) -> dict[str, TargetFile]:
        """What is signed for every target path of a bin, or (None) of all bins."""
        query = _target_files
        if bin_name is not None:
            query = query.where(schema.targets.c.bin == bin_name)
        with self._begin() as db:
            return {row.path: TargetFile(*row[1:]) for row in db.execute(query)}

    def used(self, filename: str) -> tuple[str, str] | None:
        """The file name, in its own spelling, and the digest that ever were used for it."""
        query = sa.select(schema.used.c.filename, schema.used.c.sha256)
        with self._begin() as db:
            row = db.execute(query.where(schema.used.c.folded == filename.lower())).one_or_none()
            return None if row is None else (row.filename, row.sha256)

    def counts(self) -> Counts:
        """How many projects, files and queued changes there are."""
        with self._begin() as db:
            waiting = schema.queue.c.publication.is_(None)
            queued = db.scalar(sa.select(sa.func.count()).where(waiting).select_from(schema.queue))
            tables = (schema.projects, schema.files)
            counts = [db.scalar(sa.select(sa.func.count()).select_from(t)) or 0 for t in tables]
            return Counts(counts[0], counts[1], queued or 0)

    # -- what is asked for -------------------------------------------------------------------

    def enqueue(self, changes: Sequence[Change], now: str) -> None:
        """Queue changes: all of them, or none.

        Raises:
            RepositoryError: a change that the queue would not give back as it is, such as one
                with a control character: no publication could get past it.
        """
        for change in changes:
            _check_kept(change)
        rows = [{"project": c.project, "change": encode(c), "queued": now} for c in changes]
        if rows:
            with self._begin() as db:
                db.execute(schema.queue.insert(), rows)

    def pending(self, *, project: NormalizedName | None = None, upto: int | None = None) -> Pending:
        """Queued changes in order: all, or those of a project, or those up to a row."""
        query = sa.select(schema.queue.c.id, schema.queue.c.change).where(
            schema.queue.c.publication.is_(None)
        )
        if project is not None:
            query = query.where(schema.queue.c.project == project)
        if upto is not None:
            query = query.where(schema.queue.c.id <= upto)
        with self._begin() as db:
            rows = db.execute(query.order_by(schema.queue.c.id)).all()
        return Pending(tuple(decode(row.change) for row in rows), rows[-1].id if rows else 0)

    def interrupted(self) -> int | None:
        """Last queue row of the publications that did not finish; None if all did."""
        query = sa.select(sa.func.max(schema.publications.c.last_change))
        with self._begin() as db:
            last: int | None = db.scalar(query.where(schema.publications.c.finished.is_(None)))
            return last

    # -- publication -------------------------------------------------------------------------

    def allot(
        self, names: Iterable[str], files: Iterable[DistributionFile], last: int, now: str
    ) -> Allotted:
        """Begin a publication: use up version numbers and file names, before anything is written.

        Args:
            names: roles to be signed.
            files: distribution files that will be listed anew.
            last: number of the last queue row in the publication.
            now: the time.

        Raises:
            RepositoryError: a file name stands for other bytes: the queue was altered.
        """
        names = sorted(names)
        bound = [{"role": name} for name in names]
        with self._begin() as db:
            for file in files:
                _use(db, file)
            more = schema.roles.update().where(schema.roles.c.name == sa.bindparam("role"))
            if bound:
                db.execute(more.values(allotted=schema.roles.c.allotted + 1), bound)
            rows = db.execute(sa.select(schema.roles.c.name, schema.roles.c.allotted)).all()
            wanted = set(names)
            versions = {row.name: row.allotted for row in rows if row.name in wanted}
            row = db.execute(
                schema.publications.insert().values(
                    started=now,
                    last_change=last,
                    snapshot=versions.get(SNAPSHOT),
                    timestamp=versions.get(TIMESTAMP),
                )
            ).inserted_primary_key
            publication = int(row[0]) if row else 0
        return Allotted(publication, versions)

    def finish(
        self,
        publication: int,
        signed: Mapping[str, tuple[RoleFile, str]],
        plans: Iterable[ProjectPlan],
        bin_of: Callable[[str], str],
        now: str,
    ) -> None:
        """End a publication: everything in it is out and durable.

        Args:
            publication: its number.
            signed: what was published of each role, and its expiry.
            plans: what happened to the projects.
            bin_of: gives the bin of a target path.
            now: the time.
        """
        with self._begin() as db:
            rows = [
                {"role": name, **file._asdict(), "expires": expires}
                for name, (file, expires) in signed.items()
            ]
            if rows:
                update = schema.roles.update().where(schema.roles.c.name == sa.bindparam("role"))
                db.execute(update, rows)
            for plan in plans:
                _store(db, plan, bin_of)
            last = sa.select(schema.publications.c.last_change).where(
                schema.publications.c.id == publication
            )
            mine = schema.queue.c.publication.is_(None) & (
                schema.queue.c.id <= last.scalar_subquery()
            )
            db.execute(schema.queue.update().where(mine).values(publication=publication))
            unfinished = schema.publications.c.finished.is_(None) & (
                schema.publications.c.id <= publication
            )
            db.execute(schema.publications.update().where(unfinished).values(finished=now))

    def start_over(self, highest: Mapping[str, int], offline: Offline | None) -> None:
        """Make every online role due, under numbers above `highest`.

        Args:
            highest: the highest version of each role that was found to be served.
            offline: new offline roles to publish along, if any.
        """
        online = schema.roles.c.name.not_in(_OFFLINE)
        with self._begin() as db:
            db.execute(schema.roles.update().where(online).values(expires=schema.NEVER))
            for name, version in highest.items():
                lower = online & (schema.roles.c.name == name) & (schema.roles.c.allotted < version)
                db.execute(schema.roles.update().where(lower).values(allotted=version))
            if offline is not None:
                _adopt(db, offline)


def _check_kept(change: Change) -> None:
    """Refuse a change that does not survive the queue. Raises RepositoryError."""
    try:
        kept = decode(encode(change)) == change
    except (StoreError, ValueError, TypeError):
        kept = False
    if not kept:
        raise RepositoryError(
            f"{change.filename!r} can't be queued: a text in its change has a character that "
            f"the queue does not keep: {str(change)[:500]!r}"
        )


_project_names = sa.select(schema.projects.c.name).order_by(schema.projects.c.name)
_target_files = sa.select(schema.targets.c.path, schema.targets.c.length, schema.targets.c.sha256)


def _adopt(db: sa.Connection, offline: Offline) -> None:
    """Make these the offline roles that are to be published."""
    known = set(db.scalars(sa.select(schema.roots.c.version)))
    for version, data in offline.roots.items():
        if version not in known:
            db.execute(schema.roots.insert().values(version=version, sha256=describe(data).sha256))
    db.execute(schema.roles.delete().where(schema.roles.c.name.in_(_OFFLINE)))
    for name, role in offline.roles.items():
        length, sha256 = describe(role.data)
        row = RoleRow(name, role.version, role.version, length, sha256, role.expires)
        db.execute(schema.roles.insert().values(row._asdict()))


def _use(db: sa.Connection, file: DistributionFile) -> None:
    """Record that a file name stands for one digest, for good.

    Raises:
        RepositoryError: it stands for another one: the queue was altered.
    """
    folded = file.filename.lower()
    used = db.scalar(sa.select(schema.used.c.sha256).where(schema.used.c.folded == folded))
    if used is None:
        row = {"folded": folded, "filename": file.filename, "sha256": file.sha256}
        db.execute(schema.used.insert().values(row))
    elif used != file.sha256:
        raise RepositoryError(
            f"{file.filename} is queued with sha256 {file.sha256}, and was published with {used}"
        )


def _store(db: sa.Connection, plan: ProjectPlan, bin_of: Callable[[str], str]) -> None:
    """Bring a project's rows to what was published of it."""
    if db.scalar(_project_names.where(schema.projects.c.name == plan.project)) is None:
        db.execute(schema.projects.insert().values(name=plan.project))
    for file in (*plan.removed, *plan.changed):
        db.execute(schema.files.delete().where(schema.files.c.filename == file.filename))
    for file in (*plan.added, *plan.changed):
        db.execute(schema.files.insert().values(dataclasses.asdict(file)))
    for path in (*plan.drop, *plan.put):
        db.execute(schema.targets.delete().where(schema.targets.c.path == path))
    for path, target in plan.put.items():
        row = {"path": path, "bin": bin_of(path), **target._asdict()}
        db.execute(schema.targets.insert().values(row))
