"""What the state says is published: its questions. Changes nothing.

The rows are a working copy, which whoever writes the database can change: before anything is signed
by what is answered here, `indextrust.repository.provenance` compares it with what was signed.

Nothing here reads whole tables on behalf of a publication: files and changes are found by
project, targets by bin, and many of them by one statement (`indextrust.repository.bulk`). (A
snapshot lists every bin: the first publication of a process reads one row for each.) Within
`connected` all that is read from one write to the next is one transaction.

How rows change is in `indextrust.repository.state`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import sqlalchemy as sa

from indextrust.distribution import DistributionFile
from indextrust.errors import AlteredStateError
from indextrust.names import BINS, LONGEST_WITH_SHA512, ROOT, TARGETS, NormalizedName
from indextrust.repository import bulk, retired, schema
from indextrust.repository.plan import RoleFile, TargetFile
from indextrust.repository.provenance import Recorded
from indextrust.repository.schema import Database
from indextrust.repository.seal import Seal

__all__ = ["OFFLINE", "Counts", "OfflineDigests", "RoleRow", "StateQuestions", "role_rows"]

OFFLINE = (ROOT, TARGETS, BINS)
"""Names of the roles that no online key signs."""

_BINS_AT_A_TIME = 128


class RoleRow(NamedTuple):
    """What is published of a role. `expires` is text; `NEVER` if it must be signed anew."""

    name: str
    version: int
    allotted: int
    length: int
    sha256: str
    expires: str
    mac: str = ""
    entries: str = ""

    @property
    def file(self) -> RoleFile:
        """What a snapshot says of it."""
        return RoleFile(self.version, self.length, self.sha256, self.entries)


class OfflineDigests(NamedTuple):
    """SHA-256 of the files of the offline roles: every root in order, targets, and bins."""

    roots: tuple[str, ...]
    targets: str
    bins: str


class Counts(NamedTuple):
    """How many there are."""

    projects: int
    files: int


class StateQuestions:
    """The methods of `State` that change nothing. They raise `StoreError` when it can't be read.

    Args:
        database: made by `State.create`.
        seal: key of its log, which vouches for the rows of roles.

    Attributes:
        connected: see `schema.Database.connected`.
    """

    def __init__(self, database: Database, seal: Seal) -> None:
        self._read, self.connected = database.read, database.connected
        self._seal = seal

    def roles(self, names: Iterable[str] | None = None) -> dict[str, RoleRow]:
        """These roles, or (None) every role, by name."""
        with self._read() as db:
            return role_rows(db, names)

    def recorded(self, names: Iterable[str]) -> dict[str, Recorded]:
        """What the rows of these roles say, for `provenance.check_rows`."""
        return self._recorded(self.roles(names))

    def recorded_bins(self, names: Iterable[str]) -> dict[str, Recorded]:
        """The same of these bins, also where they are out of use (`retired`)."""
        names = list(names)
        old = self.retired().items()
        return self._recorded({n: row for n, row in old if n in set(names)} | self.roles(names))

    def retired(self, keyid: str | None = None) -> dict[str, RoleRow]:
        """Bins out of use: those that a snapshot under this key has to list, or (None) all."""
        with self._read() as db:
            rows = retired.rows(db, keyid)
        return {row["name"]: RoleRow(expires=schema.NEVER, **row) for row in rows}

    def role(self, name: str) -> RoleRow:
        """One role."""
        with self._read() as db:
            return RoleRow(*db.execute(_ROLES, {"keys": [name]}).one())

    def offline(self) -> OfflineDigests:
        """The files of the offline roles. Raises AlteredStateError: one has no row."""
        with self._read() as db:
            roots = tuple(db.scalars(_ROOTS))
            rows = role_rows(db, (TARGETS, BINS))
        if missing := sorted({TARGETS, BINS} - rows.keys()):
            raise AlteredStateError(f"the state was altered: it has no row of role {missing[0]}")
        return OfflineDigests(roots, rows[TARGETS].sha256, rows[BINS].sha256)

    def due(self, by: str, latest: str) -> list[str]:
        """Names of the online roles that have to be signed anew.

        Args:
            by: those that expire by then.
            latest: those that expire later than a role signed now would: signed while the clock
                was ahead. And those whose publication was interrupted.
        """
        with self._read() as db:
            return sorted(set(db.scalars(_due, {"by": by, "latest": latest})) - {*OFFLINE})

    def projects(self) -> list[NormalizedName]:
        """All projects, sorted."""
        with self._read() as db:
            return [NormalizedName(name) for name in db.scalars(_project_names)]

    def known(self, projects: Iterable[NormalizedName]) -> set[NormalizedName]:
        """Those of `projects` that have a published document."""
        with self._read() as db:
            return bulk.known_projects(db, projects)

    def files(self, project: NormalizedName) -> dict[str, DistributionFile]:
        """The published files of a project, by file name."""
        return self.files_of([project])[project]

    def files_of(
        self, projects: Iterable[NormalizedName]
    ) -> dict[NormalizedName, dict[str, DistributionFile]]:
        """The published files of each project, by file name; of a new project there are none."""
        with self._read() as db:
            return bulk.files_of(db, projects)

    def recorded_files(
        self, projects: Iterable[NormalizedName]
    ) -> dict[NormalizedName, dict[str, DistributionFile]]:
        """As `files_of`, but with fields of any form: for `provenance.check_project`."""
        with self._read() as db:
            return bulk.files_of(db, projects, bulk.unchecked)

    def elsewhere(self, project: NormalizedName) -> set[str]:
        """Names of the published files of a project whose bytes the operator serves himself."""
        with self._read() as db:
            return bulk.elsewhere(db, project)

    def target(self, path: str) -> TargetFile | None:
        """What is signed for a target path."""
        return self.targets_at([path]).get(path)

    def targets_at(self, paths: Iterable[str]) -> dict[str, TargetFile]:
        """What is signed for each of these paths that is a target."""
        with self._read() as db:
            return bulk.targets_at(db, paths)

    def bins(self, names: Iterable[str]) -> Iterator[tuple[str, dict[str, TargetFile]]]:
        """What is signed for every target path of each bin, a few bins at a time in memory."""
        for piece in bulk.pieces(names, _BINS_AT_A_TIME):
            with self._read() as db:
                found = bulk.targets_of(db, piece)
            yield from found.items()

    def entries(self, names: Iterable[str], *, both: bool) -> Iterator[tuple[str, bytes]]:
        """The same as the entries of each bin's file, a few bins at a time in memory; `both`:
        whether there may be SHA-512, which are left out otherwise."""
        for piece in bulk.pieces(names, _BINS_AT_A_TIME):
            with self._read() as db:
                found = bulk.entries_of(db, piece, both=both)
            yield from found.items()

    def targets(self) -> dict[str, TargetFile]:
        """What is signed for every target path."""
        columns = schema.targets.c
        query = sa.select(columns.path, columns.length, columns.sha256, columns.sha512)
        with self._read() as db:
            return {row.path: TargetFile(*row[1:]) for row in db.execute(query)}

    def documents(self) -> int:
        """How many targets are documents of projects."""
        path = schema.targets.c.path
        query = sa.select(sa.func.count()).where((path >= "simple/") & (path < "simple0"))
        with self._read() as db:
            return db.scalar(query) or 0

    def used(self, filename: str) -> tuple[str, str] | None:
        """The file name, in its own spelling, and the digest that ever were used for it."""
        return self.used_of([filename]).get(filename.lower())

    def used_of(self, filenames: Iterable[str]) -> dict[str, tuple[str, str]]:
        """The same for many file names, by the name in lower case."""
        with self._read() as db:
            return bulk.used(db, filenames)

    def counts(self) -> Counts:
        """How many projects and files there are."""
        with self._read() as db:
            tables = (schema.projects, schema.files)
            counts = [db.scalar(sa.select(sa.func.count()).select_from(t)) or 0 for t in tables]
            return Counts(*counts)

    def sha256_only(self) -> int:
        """How many files have a SHA-256 alone."""
        query = sa.select(sa.func.count()).where(schema.files.c.sha512.is_(None))
        with self._read() as db:
            return db.scalar(query) or 0

    def sha256_for_good(self) -> int:
        """How many of those keep it: their bytes are elsewhere, or their names are too long."""
        columns = schema.files.c
        keeps = columns.elsewhere | (sa.func.length(columns.filename) > LONGEST_WITH_SHA512)
        query = sa.select(sa.func.count()).where(columns.sha512.is_(None) & keeps)
        with self._read() as db:
            return db.scalar(query) or 0

    def without_sha512(self) -> Iterator[tuple[NormalizedName, str]]:
        """Project and name of published files with a SHA-256 alone that may get a SHA-512, in
        order; a transaction for some hundred."""
        return bulk.without_sha512(self._read)

    def documents_without_sha512(self) -> Iterator[NormalizedName]:
        """Projects whose documents are signed with a SHA-256 alone, likewise."""
        return bulk.documents_without_sha512(self._read)

    def bins_with_targets(self) -> Iterator[str]:
        """Names of the bins that targets are said to be in, a few at a time."""
        return bulk.distinct(self._read, schema.targets.c.bin)

    def projects_with_files(self) -> Iterator[str]:
        """Names of the projects that files are said to be of, a few at a time."""
        return bulk.distinct(self._read, schema.files.c.project)

    def _recorded(self, rows: Mapping[str, RoleRow]) -> dict[str, Recorded]:
        return {
            name: Recorded(row.file, row.allotted, self._seal.vouches(name, row.file, row.mac))
            for name, row in rows.items()
        }


_ROLES = sa.select(schema.roles).where(bulk.among(schema.roles.c.name))
_ROOTS = sa.select(schema.roots.c.sha256).order_by(schema.roots.c.version)
_project_names = sa.select(schema.projects.c.name).order_by(schema.projects.c.name)


_due = sa.union_all(  # by an index each: together they would read every row
    sa.select(schema.roles.c.name).where(schema.roles.c.expires <= sa.bindparam("by")),
    sa.select(schema.roles.c.name).where(schema.roles.c.expires > sa.bindparam("latest")),
    sa.select(schema.roles.c.name).where(schema.is_interrupted),
)


def role_rows(db: sa.Connection, names: Iterable[str] | None) -> dict[str, RoleRow]:
    """Rows of roles, by name.

    Args:
        db: the transaction.
        names: of those to be read; one that has no row is left out. None for every role.

    Raises:
        StoreError: they can't be read.
    """
    if names is None:
        return {row.name: RoleRow(*row) for row in db.execute(sa.select(schema.roles)).all()}
    rows = (
        row for piece in bulk.pieces(names) for row in db.execute(_ROLES, {"keys": piece}).all()
    )
    return {row.name: RoleRow(*row) for row in rows}
