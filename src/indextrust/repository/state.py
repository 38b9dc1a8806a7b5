"""The repository's working copy: what is published, what is queued, which numbers are used.

One SQLite file, through SQLAlchemy Core. What the rows say is asked in
`indextrust.repository.state_questions`; here is how they change: every public method is one
transaction. The tables say what *is published*: they change only after the files are out
(`finish`), so a crash at any point leaves rows in the queue and never a row that claims more than
the disk holds. The one exception is made on purpose, and before anything is written: `allot`
records which version numbers, and which digest under which file name, are used from now on. A role
whose ``allotted`` is above its ``version`` was caught in an interrupted publication; it is due,
under a new number.

Durability: a rollback journal and ``synchronous=EXTRA``; what a method returned from survives
power loss, and the state is one file to copy (the journal beside it is empty between two
transactions). Times are text, UTC, and sort as they are.

Left to others: locking between processes (`Repository`), and what the rows mean (`plan`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

import sqlalchemy as sa

from indextrust.distribution import DistributionFile
from indextrust.errors import AlteredStateError, StoreError
from indextrust.names import BINS, SNAPSHOT, TIMESTAMP, Hashes
from indextrust.repository import bulk, retired, schema
from indextrust.repository.durable import fsync_folder
from indextrust.repository.log import Log
from indextrust.repository.offline import Offline
from indextrust.repository.plan import ProjectPlan, RoleFile, describe
from indextrust.repository.queue import Queue
from indextrust.repository.schema import Database
from indextrust.repository.seal import Seal
from indextrust.repository.state_questions import OFFLINE, RoleRow, StateQuestions, role_rows

__all__ = ["State"]


class State(StateQuestions):
    """The state database.

    Args:
        database: made by `create`.
        seal: key and head of its log.
        who: is named in the log.

    Attributes:
        folder: where the head of the log lies.
    """

    def __init__(self, database: Database, seal: Seal, who: str) -> None:
        super().__init__(database, seal)
        self._begin = database.begin
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
            kept = {name: row.allotted for name, row in role_rows(db, numbers).items()}
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
        online = schema.roles.c.name.not_in(OFFLINE)
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


_SET = schema.roles.update().where(schema.roles.c.name == sa.bindparam("role"))


def _adopt(db: sa.Connection, offline: Offline) -> None:
    """Make these the offline roles that are to be published."""
    known = set(db.scalars(sa.select(schema.roots.c.version)))
    for version, data in offline.roots.items():
        if version not in known:
            db.execute(schema.roots.insert().values(version=version, sha256=describe(data).sha256))
    db.execute(schema.roles.delete().where(schema.roles.c.name.in_(OFFLINE)))
    for name, role in offline.roles.items():
        file = describe(role.data)
        row = RoleRow(name, role.version, role.version, file.length, file.sha256, role.expires)
        db.execute(schema.roles.insert().values(row._asdict()))
