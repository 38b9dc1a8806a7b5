"""The repository's working copy: what is published, what is queued, which numbers are used.

One SQLite file, through SQLAlchemy Core; every public method that writes is one transaction, and
within `connected` all that is read from one write to the next is another. The tables say
what *is published*: they change only after the files are out (`finish`), so a crash at any point
leaves rows in the queue and never a row that claims more than the disk holds. The one exception
is made on purpose, and before anything is written: `allot` records which version numbers, and
which digest under which file name, are used from now on. A role whose ``allotted`` is above its
``version`` was caught in an interrupted publication; it is due, under a new number.

Nothing here reads whole tables on behalf of a publication: files and changes are found by
project, targets by bin, and many of them by one statement (`indextrust.repository.bulk`). (A
snapshot lists every bin: the first publication of a process reads one row for each.)

Durability: a rollback journal and ``synchronous=EXTRA``; what a method returned from survives
power loss, and the state is one file to copy (the journal beside it is empty between two
transactions). Times are text, UTC, and sort as they are.

Left to others: locking between processes (`Repository`), and what the rows mean (`plan`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from indextrust.distribution import DistributionFile
from indextrust.errors import AlteredStateError, StoreError
from indextrust.names import (
    BINS,
    LONGEST_WITH_SHA512,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    Hashes,
    NormalizedName,
)
from indextrust.repository import bulk, retired, schema
from indextrust.repository.durable import fsync_folder
from indextrust.repository.log import Log
from indextrust.repository.offline import Offline
from indextrust.repository.plan import ProjectPlan, RoleFile, TargetFile, describe
from indextrust.repository.provenance import Recorded
from indextrust.repository.queue import Queue
from indextrust.repository.schema import Database
from indextrust.repository.seal import Seal

__all__ = ["Counts", "OfflineDigests", "RoleRow", "State"]

_OFFLINE = (ROOT, TARGETS, BINS)
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


class State:
    """The state database.

    Args:
        database: made by `create`.
        seal: key and head of its log.
        who: is named in the log.

    Attributes:
        folder: where the head of the log lies.
    """

    def __init__(self, database: Database, seal: Seal, who: str) -> None:
        self._begin, self._read = database.begin, database.read
        self.connected = database.connected
        self._seal = seal
        self.folder = seal.path.parent
        self.queue = Queue(self._begin, self._read, Log(self._read, seal, who))

    @classmethod
    def create(
        cls,
        path: Path,
        scratch: Path,
        offline: Offline,
        seal: Seal,
        who: str,
        now: str,
        hashes: Hashes = "sha256",
    ) -> State:
        """Make the database, complete or not at all.

        Args:
            path: the file to be.
            scratch: folder on the same file system, for the unfinished file.
            offline: the verified roles of the genesis.
            seal: key and head of its log; the head is written.
            who: is named in the log.
            now: the time.
            hashes: which are listed.

        Raises:
            StoreError: it can't be written.
        """
        fresh = scratch / path.name
        roots = [describe(data).sha256 for data in offline.roots.values()]
        try:
            os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            engine = schema.open_engine(fresh)
            with engine.begin() as db:
                schema.tables.create_all(db)
                db.execute(schema.about.insert().values(schema_version=schema.VERSION))
                online = (*offline.scheme.names(), SNAPSHOT, TIMESTAMP)
                rows = [RoleRow(name, 0, 0, 0, "", schema.NEVER)._asdict() for name in online]
                db.execute(schema.roles.insert(), rows)
                _adopt(db, offline)
                begin = engine.begin
                Queue(begin, begin, Log(begin, seal, who)).create(db, roots, now, hashes)
            os.unlink(f"{fresh}-journal")
            os.rename(fresh, path)
            fsync_folder(path.parent)
        except (OSError, sa.exc.SQLAlchemyError) as error:
            raise StoreError(f"can't write {path}: {error}") from error
        return cls(Database(path), seal, who)

    # -- what is published -------------------------------------------------------------------

    def roles(self, names: Iterable[str] | None = None) -> dict[str, RoleRow]:
        """These roles, or (None) every role, by name."""
        with self._read() as db:
            return _roles(db, names)

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
            rows = _roles(db, (TARGETS, BINS))
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
            return sorted(set(db.scalars(_due, {"by": by, "latest": latest})) - {*_OFFLINE})

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

    # -- publication -------------------------------------------------------------------------

    def allot(
        self,
        numbers: Mapping[str, int],
        files: Iterable[DistributionFile],
        last: int,
        now: str,
    ) -> int:
        """Begin a publication: use up version numbers and file names, before anything is written.

        The names in `folder` have to be made durable before readers see one of the numbers.

        Args:
            numbers: the new version of each role to be signed; never used before.
            files: distribution files that will be listed anew.
            last: number of the last queue row in the publication.
            now: the time.

        Returns:
            The publication's number.

        Raises:
            RepositoryError: a file name stands for other bytes: the queue was altered.
            AlteredStateError: a role has no row, or does not keep its number.
        """
        bound = [{"role": name, "allotted": number} for name, number in sorted(numbers.items())]
        with self._begin() as db:
            bulk.use(db, files)
            if bound:
                db.execute(_SET, bound)
            kept = {name: row.allotted for name, row in _roles(db, numbers).items()}
            if odd := sorted(name for name in numbers if kept.get(name) != numbers[name]):
                raise AlteredStateError(
                    f"the state was altered: role {odd[0]} does not keep the number "
                    f"{numbers[odd[0]]}: it has {kept.get(odd[0])}; nothing is signed"
                )
            head = self.queue.begin(db, last, numbers, now)
        self.queue.log.put(head)
        return head.number

    def finish(
        self,
        publication: int,
        signed: Mapping[str, tuple[RoleFile, str]],
        plans: Collection[ProjectPlan],
        bin_of: Callable[[str], str],
        now: str,
        listed: str | None = None,
    ) -> None:
        """End a publication: everything in it is out and durable.

        Args:
            publication: its number.
            signed: what was published of each role, and its expiry.
            plans: what happened to the projects.
            bin_of: gives the bin of a target path.
            now: the time.
            listed: digest of what the new snapshot lists of bins (`SnapshotList.digest`).
        """
        with self._begin() as db:
            rows = [
                {
                    "role": name,
                    **file._asdict(),
                    "expires": expires,
                    "mac": self._seal.mac_of(name, file),
                }
                for name, (file, expires) in signed.items()
            ]
            if rows:
                db.execute(_SET, rows)
            bulk.store(db, plans, bin_of)
            files = {name: file for name, (file, _) in signed.items()}
            head = self.queue.end(db, publication, files, listed, now)
        self.queue.log.keep(head)

    def rebin(self, current: Offline, offline: Offline, now: str) -> None:
        """Adopt offline roles with other bins: from here on a re-binning has begun.

        Args:
            current: in force until now.
            offline: from now on.
            now: the time.

        Raises:
            AlteredStateError: the log was altered.
        """
        with self._begin() as db:
            names = current.scheme.names(), offline.scheme.names()
            retired.exchange(db, *names, current.online_keyid)
            retired.move(db, offline.scheme.bin_of)
            _adopt(db, offline)
            before, after = (describe(one.roles[BINS].data) for one in (current, offline))
            head = self.queue.rebin(db, before.sha256, after.sha256, now)
        self.queue.log.keep(head)

    def start_over(
        self, highest: Mapping[str, int], offline: Offline | None, now: str
    ) -> int | None:
        """Make every online role due, under numbers above `highest`.

        Args:
            highest: the highest version of each role that was found to be served.
            offline: new offline roles to publish along; None if an operator restores: he may
                have nothing else than an older copy.
            now: the time.

        Returns:
            How many entries of the log are lost; None if nobody can tell.

        Raises:
            AlteredStateError: the log was altered; or it is an older copy, and there are new
                roles.
        """
        online = schema.roles.c.name.not_in(_OFFLINE)
        above = {}
        with self._begin() as db:
            db.execute(schema.roles.update().where(online).values(expires=schema.NEVER))
            for name, version in highest.items():
                for table, which in ((schema.roles, online), (schema.retired, sa.true())):
                    lower = which & (table.c.name == name) & (table.c.allotted < version)
                    found = db.execute(table.update().where(lower).values(allotted=version))
                    if table is schema.roles and found.rowcount:
                        above[name] = version
            retired.remember(db, highest)
            if offline is not None:
                _adopt(db, offline)
            roles = offline is not None
            head, lost = self.queue.restart(db, above, now, older=not roles, roles=roles)
        self.queue.log.keep(head)
        return lost

    def _recorded(self, rows: Mapping[str, RoleRow]) -> dict[str, Recorded]:
        return {
            name: Recorded(row.file, row.allotted, self._seal.vouches(name, row.file, row.mac))
            for name, row in rows.items()
        }


_ROLES = sa.select(schema.roles).where(bulk.among(schema.roles.c.name))
_ROOTS = sa.select(schema.roots.c.sha256).order_by(schema.roots.c.version)
_SET = schema.roles.update().where(schema.roles.c.name == sa.bindparam("role"))
_project_names = sa.select(schema.projects.c.name).order_by(schema.projects.c.name)


_due = sa.union_all(  # by an index each: together they would read every row
    sa.select(schema.roles.c.name).where(schema.roles.c.expires <= sa.bindparam("by")),
    sa.select(schema.roles.c.name).where(schema.roles.c.expires > sa.bindparam("latest")),
    sa.select(schema.roles.c.name).where(schema.is_interrupted),
)


def _roles(db: sa.Connection, names: Iterable[str] | None) -> dict[str, RoleRow]:
    if names is None:
        return {row.name: RoleRow(*row) for row in db.execute(sa.select(schema.roles)).all()}
    rows = (
        row for piece in bulk.pieces(names) for row in db.execute(_ROLES, {"keys": piece}).all()
    )
    return {row.name: RoleRow(*row) for row in rows}


def _adopt(db: sa.Connection, offline: Offline) -> None:
    """Make these the offline roles that are to be published."""
    known = set(db.scalars(sa.select(schema.roots.c.version)))
    for version, data in offline.roots.items():
        if version not in known:
            db.execute(schema.roots.insert().values(version=version, sha256=describe(data).sha256))
    db.execute(schema.roles.delete().where(schema.roles.c.name.in_(_OFFLINE)))
    for name, role in offline.roles.items():
        file = describe(role.data)
        row = RoleRow(name, role.version, role.version, file.length, file.sha256, role.expires)
        db.execute(schema.roles.insert().values(row._asdict()))
