"""The state made anew, for when the database is lost or not believed.

What is published is signed: the public folder is read as a client reads it, from a root that the
operator gives (`indextrust.repository.verified`). There are two ways to go on from there:

* by signed metadata alone: every row follows from what is served
  (`indextrust.repository.rebuild_served`);
* by a checkpoint, where a thief of the online key may have signed what is served: the rows are
  those of that day (`indextrust.repository.rebuild_checkpoint`).

What no signature covers is lost, and the answer says so:

* changes that were queued and not published; a publication that was cut short;
* which names removed files had, and so which names must not be used for other bytes again. They
  are taken over from the old database if that can be read, and checked for their form alone: a
  false one can only forbid a name;
* the log. The new one begins with an entry that says where it comes from;
* whether the bytes of a file are served by the operator himself: so it is taken for every file
  that has no private copy, and those are named.

Numbers go on above the highest that was ever served, or signed by the log of the online key. The
new database and the new head of its log are made beside the old ones, which are kept in the
quarantine, and put in their places last; who is killed in between rebuilds again.

What it can't know: whether somebody put an older set back, or signed one with a stolen key.
Compare with a checkpoint (`Repository.audit_since`) before the next publication.

Source: PEP 458, "Auditing Snapshots" and "Key Compromise Analysis" (recovery).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from indextrust.distribution import SHA256_HEX
from indextrust.errors import IndextrustError, InputError, RepositoryError, StoreError
from indextrust.names import (
    BINS,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    check_filename,
)
from indextrust.repository import bulk, retired, schema, usage
from indextrust.repository.checkpoint import Checkpoint
from indextrust.repository.cut_short import served_set
from indextrust.repository.disk import storing, sweep
from indextrust.repository.durable import fsync_folder
from indextrust.repository.encode import SnapshotList, lists_hashes
from indextrust.repository.lock import locked
from indextrust.repository.log import REBUILD
from indextrust.repository.objects import ObjectStore
from indextrust.repository.offline import Offline
from indextrust.repository.plan import describe, utc
from indextrust.repository.queue import BOTH
from indextrust.repository.rebuild_checkpoint import offline_then, store_checkpoint
from indextrust.repository.rebuild_rows import NewRows, has_sha512
from indextrust.repository.rebuild_served import store_served
from indextrust.repository.results import Rebuilt
from indextrust.repository.schema import Database
from indextrust.repository.seal import HEAD, Seal, make_key
from indextrust.repository.served import VERSION_LIMIT, highest_versions
from indextrust.repository.state import State
from indextrust.repository.storage import FolderStorage
from indextrust.repository.usage_place import place_of
from indextrust.repository.verified import ServedSet

__all__ = ["rebuild"]

_PAGE = 500
_LAST_USES = 1 << 20
"""Bytes at the end of the log of the online key that are read: some 2,000 publications."""


def rebuild(
    folder: Path,
    root: bytes,
    queue_key: Path,
    who: str,
    now: datetime,
    good: Checkpoint | None = None,
) -> Rebuilt:
    """Make the state of a repository anew.

    Args:
        folder: the repository's.
        root: a root file that is trusted out of band.
        queue_key: file of the queue key; made if it is not there.
        who: is named in the log.
        now: aware, UTC.
        good: a checkpoint to make the rows of; None to make them of what is served.

    Raises:
        CheckpointError: a part of the checkpoint was altered.
        RefusedError, UnreachableError: what is served is not what a client of this root would
            take, but for expiry. Nothing has changed.
        RepositoryError: no index of this profile is there; or roots before the one given that
            nobody vouches for; or an installation of new roles was cut short.
        KeyFileError: no usable queue key.
        StoreError: the disk refused; ConflictError: another process kept the lock.
    """
    if not (folder / "public" / "metadata").is_dir():
        raise RepositoryError(f"{folder} has no public folder to read")
    scratch = folder / "incoming"
    with locked(folder / "lock"):
        sweep(scratch)
        storage = FolderStorage(folder / "public", scratch, folder / "quarantine")
        objects = ObjectStore(folder / "objects", scratch)
        served = served_set(folder, storage, root)
        _check_roots(served.offline, root, objects)
        key = make_key(queue_key)
        made = _Rebuild(folder / "state.sqlite", storage, objects, served, key, who, now, good)
        try:
            return made.run()
        finally:
            with contextlib.suppress(StoreError):
                sweep(scratch)


def _check_roots(offline: Offline, anchor: bytes, objects: ObjectStore) -> None:
    """Refuse roots before the one given that nobody vouches for: no root signs an older one.

    (Whoever writes the public folder can make one that lists the keyholders' keys beside his own,
    with a threshold of one: the later, true ones follow from it.)

    Raises:
        RepositoryError: one of them has no private copy.
    """
    for version, data in sorted(offline.roots.items()):
        if data == anchor:
            return
        try:
            objects.read(describe(data).sha256)
        except StoreError:
            raise RepositoryError(
                f"{version}.root.json in the public folder is not a root that this repository "
                f"kept, and no later root vouches for it: give the first root of this index"
            ) from None


class _Rebuild:
    """One rebuilding. The caller holds the lock, and has emptied the scratch folder.

    Args:
        database: file of the state; what is there is kept in the quarantine.
        storage: the public folder.
        objects: the private copies.
        served: what is served, verified, expired or not.
        key: the queue key.
        who: is named in the log.
        now: aware, UTC.
        good: a checkpoint, or None.
    """

    def __init__(
        self,
        database: Path,
        storage: FolderStorage,
        objects: ObjectStore,
        served: ServedSet,
        key: bytes,
        who: str,
        now: datetime,
        good: Checkpoint | None,
    ) -> None:
        self._good = good
        self._old = database
        self._own = database.parent / "incoming" / "rebuild"
        self._storage = storage
        self._objects = objects
        self._served = served
        self._key = key
        self._who = who
        self._now = now

    def run(self) -> Rebuilt:
        """Make the new state, and put it in the place of the old one.

        Raises:
            RefusedError, UnreachableError: a bin that a client would refuse. Nothing has changed.
            StoreError: the disk refused.
        """
        lost = self._waiting()
        with storing(f"write {self._own}"):
            (self._own / "scratch").mkdir(parents=True)
        seal = Seal(self._key, self._own, self._own / "scratch")
        path, offline, now = self._own / self._old.name, self._served.offline, utc(self._now)
        if self._good is not None:
            offline = offline_then(offline, self._good)
        state = State.create(path, self._own / "scratch", offline, seal, self._who, now)
        database = Database(path)
        rows = NewRows(database, self._objects)
        if self._good is None:
            signed = store_served(rows, self._served, self._storage, seal)
        else:
            signed = store_checkpoint(rows, self._good, offline.scheme)
        with database.begin() as db:
            taken_over = self._take_over(db)
            rows.compare(db, offline.layout)
            body = json.dumps({"snapshot": signed[SNAPSHOT][0].version, "lost": lost})
            more = [BOTH] if has_sha512(db) else []
            head = state.queue.log.append(db, [(REBUILD, None, body), *more], now)
        state.queue.log.keep(head)
        versions = {name: file.version for name, (file, _) in signed.items()}
        with database.begin() as db:
            publication = state.queue.begin(db, 0, versions, now).number
        listed = SnapshotList(
            {name: file for name, (file, _) in signed.items()},
            hashes=lists_hashes(offline.scheme),
        ).digest(offline.scheme.names())
        state.finish(publication, signed, (), offline.scheme.bin_of, now, listed)
        if offline.scheme != self._served.offline.scheme:  # as if the re-binning was cut short
            self._objects.keep_bytes(offline.roles[BINS].data)
            state.rebin(offline, self._served.offline, now)
        self._number(database, state)
        counts = state.counts()
        self._objects.keep_offline(self._served.offline)
        return Rebuilt(
            *(versions[SNAPSHOT], versions[TIMESTAMP], counts.projects, counts.files),
            lost_changes=lost,
            taken_over=taken_over,
            expired=self._served.expired(self._now),
            missing=rows.missing.count,
            faults=rows.faults.count,
            named=(*rows.missing.named, *rows.faults.named),
            aside=self._exchange(),
        )

    def _number(self, database: Database, state: State) -> None:
        """Let numbers go on above all that were served, or signed: a timestamp that was cut short
        before anybody saw it is in the log of the online key alone."""
        above, folder = {}, self._old.parent
        place = folder / usage.FILE
        with contextlib.suppress(StoreError):
            place = place_of(folder) or place
        signed = usage.UsageLog(place).highest(last_bytes=_LAST_USES, limit=VERSION_LIMIT)
        with database.begin() as db:
            db.execute(schema.roles.update().values(allotted=schema.roles.c.version))
            highest = highest_versions(self._storage)
            highest |= {name: max(n, highest.get(name, 0)) for name, n in signed.items()}
            retired.remember(db, highest)
            for name, version in highest.items():
                for table in (schema.roles, schema.retired):
                    lower = (table.c.name == name) & (table.c.allotted < version)
                    if table is schema.roles:
                        lower &= table.c.name.not_in((ROOT, TARGETS, BINS))
                    found = db.execute(table.update().where(lower).values(allotted=version))
                    if table is schema.roles and found.rowcount:
                        above[name] = version
            now, head = utc(self._now), None
            if above:
                head, _ = state.queue.restart(db, above, now, older=False)
        if head is not None:
            state.queue.log.keep(head)

    # -- the old state -----------------------------------------------------------------------

    def _waiting(self) -> int | None:
        """How many changes are lost, if the old log says so; None if nobody can tell."""
        try:
            seal = Seal(self._key, self._old.parent, self._own.parent)
            return State(self._opened(), seal, self._who).queue.waiting()
        except Exception:  # an attacker's database: values of any type, in any place
            return None

    def _take_over(self, db: sa.Connection) -> int | None:
        """Names of removed files from the old database; None if not all of it can be read."""
        columns = schema.used.c
        query = sa.select(columns.folded, columns.filename, columns.sha256).limit(_PAGE)
        query = query.where(*(sa.func.typeof(column) == "text" for column in columns))
        taken, last = 0, ""
        try:
            old = self._opened()
            while True:
                with old.begin() as other:
                    after = query.where(columns.folded > last).order_by(columns.folded)
                    rows = other.execute(after).all()
                if not rows:
                    return taken
                last = rows[-1].folded
                known = bulk.used(db, (row.folded for row in rows))
                new = [row._asdict() for row in rows if row.folded not in known and _is_name(*row)]
                bulk.insert(db, schema.used, new)
                taken += len(new)
        except IndextrustError:
            return None

    def _opened(self) -> Database:
        """The old database. Raises StoreError also if its tables may be endless queries."""
        old = Database(self._old)
        with old.begin() as db:
            if sa.inspect(db).get_view_names():
                raise StoreError(f"{self._old}: it has views, and was not made here")
        return old

    def _exchange(self) -> Path | None:
        """The new database and head in the places of the old ones, which are kept."""
        folder = self._old.parent
        stamp = re.sub("[-:]", "", utc(self._now))
        aside = folder / "quarantine" / f"rebuild-{stamp}-{secrets.token_hex(4)}"
        beside = [self._old.name + suffix for suffix in ("-journal", "-wal", "-shm")]
        there = [n for n in (self._old.name, HEAD, *beside) if os.path.lexists(folder / n)]
        with storing(f"write {self._old}"):
            if there:
                aside.mkdir(mode=0o700, parents=True)
            for name in there:
                _keep(folder / name, aside / name)
            for name in set(there).intersection(beside):  # SQLite would apply it to the new one
                (folder / name).unlink()
            for name in (self._old.name, HEAD):
                os.replace(self._own / name, folder / name)
            shutil.rmtree(self._own)
            for changed in (aside, aside.parent, folder):
                if changed.is_dir():
                    fsync_folder(changed)
        return aside if there else None


def _is_name(folded: object, filename: object, sha256: object) -> bool:
    """Whether a row of an old database that nobody vouches for has the form of a used name."""
    texts = isinstance(filename, str) and isinstance(sha256, str)
    try:
        return (
            texts
            and check_filename(str(filename)).lower() == folded
            and SHA256_HEX.fullmatch(str(sha256)) is not None
        )
    except InputError:
        return False


def _keep(path: Path, place: Path) -> None:
    """A second name for a file, or a copy. Raises OSError."""
    try:
        os.link(path, place, follow_symlinks=False)
    except OSError:
        shutil.copy2(path, place, follow_symlinks=False)
