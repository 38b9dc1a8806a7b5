"""The state made anew from signed metadata alone, for when the database is lost or not believed.

What is published is signed: the public folder is read as a client reads it, from a root that the
operator gives (`indextrust.repository.verified`), and the rows follow from it: roles from the
snapshot and the bins, targets from the bins, projects and files from the documents, each document
verified by the hash that its bin lists. Nothing else of the folder is believed.

What no signature covers is lost, and the answer says so:

* changes that were queued and not published; a publication that was cut short;
* which names removed files had, and so which names must not be used for other bytes again. They
  are taken over from the old database if that can be read, and checked for their form alone: a
  false one can only forbid a name;
* the log. The new one begins with an entry that says where it comes from;
* whether the bytes of a file are served by the operator himself: so it is taken for every file
  that has no private copy, and those are named.

Numbers go on above the highest that was ever served. The new database and the new head of its log
are made beside the old ones, which are kept in the quarantine, and put in their places last; who
is killed in between rebuilds again.

With a checkpoint, where a thief of the online key may have signed: the rows are those that the
checkpoint has, as if the state came from a backup of that day; only roots, targets, bins and the
numbers to go on above are read from what is served. `recover` goes on from there; `publish`
refuses, because the served timestamp is another one. Where the checkpoint has other bins than are
served, the state is that of a re-binning which was cut short, and `recover` ends it. Bins that a
re-binning left are not taken along: the online key has to be replaced.

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
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import islice
from pathlib import Path

import sqlalchemy as sa

from indextrust.distribution import SHA256_HEX, DistributionFile
from indextrust.errors import IndextrustError, InputError, RefusedError, RepositoryError, StoreError
from indextrust.names import (
    BINS,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    BinScheme,
    NormalizedName,
    check_filename,
    document_path,
    is_target_path,
    project_name,
)
from indextrust.repository import bulk, retired, schema
from indextrust.repository.checkpoint import Checkpoint
from indextrust.repository.disk import storing, sweep
from indextrust.repository.documents import document_bytes
from indextrust.repository.durable import fsync_folder
from indextrust.repository.encode import SnapshotList, lists_hashes
from indextrust.repository.faults import Faults
from indextrust.repository.lock import locked
from indextrust.repository.log import REBUILD
from indextrust.repository.objects import ObjectStore
from indextrust.repository.offline import Offline
from indextrust.repository.place import names_of
from indextrust.repository.plan import RoleFile, TargetFile, describe, public_files, utc
from indextrust.repository.provenance import read_snapshot
from indextrust.repository.queue import BOTH
from indextrust.repository.rebin import old_scheme
from indextrust.repository.results import Rebuilt
from indextrust.repository.schema import Database
from indextrust.repository.seal import HEAD, Seal, make_key
from indextrust.repository.served import highest_versions
from indextrust.repository.state import State
from indextrust.repository.storage import FolderStorage
from indextrust.repository.verified import EVER, ServedBin, ServedSet
from indextrust.trust import Limits, parse_document

__all__ = ["rebuild"]

_BINS_AT_A_TIME = 64
_NAMED = 100
"""How many of a kind are named in the answer."""

_PAGE = 500
_DOCUMENT = re.compile(r"simple/([^/]+)/index\.json", re.ASCII)

_UNLISTED_FILES = sa.text(
    "SELECT project, filename FROM files LEFT JOIN targets "
    "ON path = 'files/' || project || '/' || filename WHERE path IS NULL "
    "OR files.sha256 <> targets.sha256 OR size <> length "
    "OR files.sha512 IS NOT targets.sha512"
)
_UNLISTED_METADATA = sa.text(
    "SELECT project, filename FROM files LEFT JOIN targets "
    "ON path = 'files/' || project || '/' || filename || '.metadata' "
    "WHERE metadata_sha256 IS NOT NULL AND (path IS NULL OR metadata_sha256 <> targets.sha256 "
    "OR metadata_sha512 IS NOT targets.sha512)"
)
_FILES = sa.text("SELECT count(*) + count(metadata_sha256) FROM files")
_ANY_SHA512 = sa.text("SELECT EXISTS (SELECT 1 FROM targets WHERE sha512 IS NOT NULL)")
_FILE_TARGETS = sa.text("SELECT count(*) FROM targets WHERE path >= 'files/' AND path < 'files0'")


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
            nobody vouches for.
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
        served = ServedSet(storage, root, EVER)
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
        served: what is served, verified with `verified.EVER`.
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
        self._faults = Faults(_NAMED)
        self._missing = Faults(_NAMED)

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
        path, offline, now = self._own / self._old.name, self._then(), utc(self._now)
        state = State.create(path, self._own / "scratch", offline, seal, self._who, now)
        database = Database(path)
        if self._good is None:
            signed = self._store_served(database, seal)
        else:
            signed = self._store_good(database, self._good, offline.scheme)
        with database.begin() as db:
            taken_over = self._take_over(db)
            self._compare(db)
            body = json.dumps({"snapshot": signed[SNAPSHOT][0].version, "lost": lost})
            more = [BOTH] if db.scalar(_ANY_SHA512) else []
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
            missing=self._missing.count,
            faults=self._faults.count,
            named=(*self._missing.named, *self._faults.named),
            aside=self._exchange(),
        )

    # -- rows --------------------------------------------------------------------------------

    def _store_served(self, database: Database, seal: Seal) -> dict[str, tuple[RoleFile, str]]:
        """Rows of what is served; file and expiry of each online role."""
        signed = self._served.top()
        for bins in self._bins():
            signed |= {found.name: (found.file, found.expires) for found in bins}
            with database.begin() as db:
                self._store(db, bins)
        with database.begin() as db:
            for name, file in self._served.retired():
                keyid = self._served.offline.online_keyid
                row = {"name": name, "allotted": file.version, "keyid": keyid}
                mac = seal.mac_of(name, file)
                db.execute(schema.retired.insert().values(mac=mac, **row, **file._asdict()))
        return signed

    def _bins(self) -> Iterator[list[ServedBin]]:
        bins = self._served.bins(self._served.offline.scheme.names())
        while some := list(islice(bins, _BINS_AT_A_TIME)):
            yield some

    def _store(self, db: sa.Connection, bins: Iterable[ServedBin]) -> None:
        """Rows of the targets of these bins, and of the projects whose documents are there."""
        rows, projects, files = [], [], []
        for name, _, _, targets in bins:
            for path, target in targets.items():
                rows.append({"bin": name, "path": path, **target._asdict()})
                if not is_target_path(path, self._served.offline.layout):
                    self._faults.add(f"{name}: no client looks for its entry of {path[:200]!r}")
                elif match := _DOCUMENT.fullmatch(path):
                    with self._noting(path):
                        projects.append({"name": project_name(match[1])})
                        files += self._files(NormalizedName(match[1]), target)
        bulk.insert(db, schema.targets, rows)
        bulk.insert(db, schema.projects, projects)
        elsewhere = [{**vars(file), "elsewhere": not self._is_kept(file)} for file in files]
        bulk.insert(db, schema.files, elsewhere)
        bulk.use(db, files)

    def _then(self) -> Offline:
        """The offline roles that are served, with the checkpoint's bins if those are others."""
        offline = self._served.offline
        if self._good is None or (scheme := old_scheme(self._good.roles.bins)) == offline.scheme:
            return offline
        bins = replace(offline.roles[BINS], data=self._good.roles.bins)
        return replace(offline, roles={**offline.roles, BINS: bins}, scheme=scheme)

    def _store_good(
        self, database: Database, good: Checkpoint, scheme: BinScheme
    ) -> dict[str, tuple[RoleFile, str]]:
        """Rows of what the checkpoint has; the roles that it has, to be signed anew."""
        records = good.projects()
        while some := list(islice(records, _PAGE)):
            targets = [pair for record in some for pair in record.targets.items()]
            files = [file for record in some for file in record.files.values()]
            elsewhere = [{**vars(file), "elsewhere": not self._is_kept(file)} for file in files]
            rows = [{"bin": scheme.bin_of(p), "path": p, **t._asdict()} for p, t in targets]
            with database.begin() as db:
                bulk.insert(db, schema.targets, rows)
                bulk.insert(db, schema.projects, [{"name": record.name} for record in some])
                bulk.insert(db, schema.files, elsewhere)
                bulk.use(db, files)
        snapshot = RoleFile.of(good.snapshot_version, good.snapshot)
        timestamp = RoleFile.of(good.timestamp_version, good.timestamp)
        listed = read_snapshot(good.snapshot, snapshot)
        found = {SNAPSHOT: snapshot, TIMESTAMP: timestamp}
        with database.begin() as db:
            both = bool(db.scalar(_ANY_SHA512))
        for piece in bulk.pieces(scheme.names(), _BINS_AT_A_TIME):
            with database.begin() as db:
                entries = bulk.entries_of(db, piece, both=both)
            for name in piece:
                there = listed[name]
                digest = describe(entries[name]).sha256
                file = RoleFile(there.version, there.length or 0, there.sha256 or "", digest)
                found[name] = file
        return {name: (file, schema.NEVER) for name, file in found.items()}

    def _files(self, project: NormalizedName, target: TargetFile) -> list[DistributionFile]:
        """The files of a project, from its document.

        Raises:
            RefusedError: the document is missing, or none of this profile.
        """
        path = document_path(project)
        names = names_of(path, target, "pep458")
        found = (
            self._storage.read(name, min(target.length, Limits().document_length)) for name in names
        )
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
    def _noting(self, path: str) -> Iterator[None]:
        try:
            yield
        except (RefusedError, InputError) as error:
            self._faults.add(f"{path[:200]!r}: {error}")

    def _is_kept(self, file: DistributionFile) -> bool:
        """Whether there is a private copy of a file, by its size; of its core metadata too."""
        kept = True
        for path, (sha256, _) in public_files(file).items():
            try:
                size = self._objects.path(sha256).lstat().st_size
            except OSError:
                size = -1
            if size < 0 or (sha256 == file.sha256 and size != file.size):
                self._missing.add(f"{path}: no private copy with sha256 {sha256}")
                kept = False
        return kept

    def _compare(self, db: sa.Connection) -> None:
        """Documents with targets: a file has to be in both, where files are targets."""
        if self._served.offline.layout != "pep458":
            return
        for statement in (_UNLISTED_FILES, _UNLISTED_METADATA):
            for project, filename in db.execute(statement):
                self._faults.add(
                    f"{filename}: the document of {project} and the bins differ about it"
                )
        files = db.scalar(_FILES) or 0
        targets = db.scalar(_FILE_TARGETS) or 0
        if targets > files:
            self._faults.add(f"{targets - files} targets of files that no document lists")

    def _number(self, database: Database, state: State) -> None:
        """Let numbers go on above all that were served."""
        above = {}
        with database.begin() as db:
            db.execute(schema.roles.update().values(allotted=schema.roles.c.version))
            highest = highest_versions(self._storage)
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
