"""Publication: from the queue to what readers see, restartable at every point.

The order is the guarantee. A reader sees the old index until the last step, and the new one
from then on; a process killed anywhere in between leaves the old one.

0. What clients would refuse to read in a project's document is refused; nothing has changed.
1. One transaction uses up a version number for every role that will be signed, and the names of
   the new files. A number is never handed out twice, so no version ever has two contents.
2. Distribution files, documents and pages are written; those of targets under names that carry
   their hash, then under their plain names. (Plain names are for clients that verify nothing;
   they run a moment ahead.) With the roles of step 3, incident records too.
3. Bins, then the snapshot, are signed and written under their version numbers, and the bytes of
   the new timestamp without a name. Everything so far is made durable, all at once: waiting for
   the disk is what a publication spends most of its time with (`storage`, `durable`). Where
   there are many bins other processes sign and write them, while this one is at step 2 (`bins`,
   `workers`): nothing refers to any of these files yet, so their order among each other is free.
   The use of the online key is logged (`usage`).
4. The new set is read as a client would read it, coming from what is served now. What a client
   would refuse is not published (`gate`): every target that changed is looked up.
5. New roots, if there are any, are written, and ``timestamp.json`` is replaced: this is the
   publication. Made durable. (Between a root that revokes the online key and the timestamp,
   clients refuse what they find: a moment, or until the next publication if the process is
   killed just there.)
6. Plain names of removed files are taken away.
7. One transaction records what is published and marks the queue rows done.

A publication that was killed before 7 is done again from 1, with new numbers: its queue rows are
still there, and the roles it had numbers for are due. If it was killed between 5 and 7, readers
see the same content twice, under rising versions.

The cost is that of the bins touched, and one snapshot: nothing of the others is read, except
that the first publication of a process reads one row for each entry of the snapshot. A bin is
made from the bytes of its last file, if that is the one whose hash the state has: of one that is
only renewed the targets are not even taken apart, of another those that change.

Files under hash-prefixed and versioned names are never deleted here: a client in the middle of a
refresh may ask for the old ones. Collecting them is a task of its own.

Sources: TUF specification 6.2 (consistent snapshots) and 5 (what a client checks); PEP 458,
"Producing Consistent Snapshots".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from securesystemslib.signer import Signer

from indextrust.errors import AlteredStateError, RepositoryError
from indextrust.names import (
    BINS,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    NormalizedName,
    metadata_filename,
)
from indextrust.repository.bins import BinTask, make_all
from indextrust.repository.changes import Change
from indextrust.repository.encode import Payload, SnapshotList, bin_payload, lists_hashes
from indextrust.repository.expiry import expiry
from indextrust.repository.freeze import Freeze
from indextrust.repository.gate import Gate
from indextrust.repository.objects import ObjectStore
from indextrust.repository.offline import Offline
from indextrust.repository.origin import Origin
from indextrust.repository.place import (
    is_list_due,
    place_incidents,
    place_list,
    place_object,
    place_pages,
)
from indextrust.repository.plan import (
    BinEdit,
    ProjectPlan,
    RoleFile,
    bin_edits,
    plan_project,
    public_files,
    timestamp_role,
    utc,
)
from indextrust.repository.provenance import NOTHING, Listed
from indextrust.repository.queue import Pending
from indextrust.repository.readable import check_readable
from indextrust.repository.results import Published
from indextrust.repository.served import METADATA, stated_versions
from indextrust.repository.signing import sign_payload, sign_role
from indextrust.repository.state import State
from indextrust.repository.state_questions import RoleRow
from indextrust.repository.storage import FolderStorage
from indextrust.repository.usage import UsageLog
from indextrust.repository.workers import Workers

__all__ = ["Publisher", "Warm", "check_unchanged"]


def check_unchanged(state: State, storage: FolderStorage) -> None:
    """Refuse to go on from a timestamp that this repository did not publish.

    Somebody else wrote to the public folder, or the state comes from a backup. Going on would
    publish lower versions than clients have seen, and hide the traces. What was published is what
    the log says, not what a row says.

    Raises:
        RepositoryError: the served timestamp is not ours.
    """
    ledger = state.queue.ledger()
    ours = ledger.published.get(TIMESTAMP, NOTHING)
    name = METADATA + metadata_filename(TIMESTAMP)
    if not storage.exists(name):
        if ours == NOTHING or ledger.restored:
            return
    elif storage.matches(name, ours.length, ours.sha256):
        return
    version = stated_versions(storage).get(TIMESTAMP)
    if version in ledger.timestamps:
        return  # killed after step 5
    found = "missing" if version is None else f"version {version}"
    raise RepositoryError(
        f"the public timestamp.json ({found}) is not the one that was published "
        f"(version {ours.version}): somebody else wrote it, or the state is an old backup. "
        f"Compare with an audit; then restore, or install new roles if a key was stolen"
    )


@dataclass
class Warm:
    """What is kept in memory between the publications of a process: it saves work, and decides
    nothing.

    Args:
        gate: knows what it verified before.
        workers: started when there was much to do.
        listed: the entries of the snapshot that was published last, and which snapshot that is.
        known: likewise, the versions in it (`Origin`).
        usage, freeze: not kept in memory: the log of the online key, and what stops its use.
    """

    gate: Gate
    workers: Workers
    usage: UsageLog
    freeze: Freeze
    listed: tuple[RoleFile, SnapshotList] | None = None
    known: tuple[RoleFile, Mapping[str, Listed]] | None = None


class Publisher:
    """One publication.

    Args:
        state: the working copy.
        storage: the public folder.
        objects: the private copies.
        offline: the verified offline roles to publish under.
        online: signer of timestamp, snapshot and bins.
        clock: tells the time, aware, UTC: when it begins, and when it is out.
        warm: of this repository, from its last publication.
    """

    def __init__(
        self,
        state: State,
        storage: FolderStorage,
        objects: ObjectStore,
        offline: Offline,
        online: Signer,
        clock: Callable[[], datetime],
        warm: Warm,
    ) -> None:
        self._state = state
        self._storage = storage
        self._objects = objects
        self._offline = offline
        self._online = online
        self._clock = clock
        self._now = clock()
        self._warm = warm
        self._dates: dict[str, str] = {}
        self._meanwhile: Iterator[None] = iter(())

    def publish(self, pending: Pending, due: Iterable[str]) -> Published:
        """Publish changes, and sign anew what is due.

        Args:
            pending: queued changes, from the first one on.
            due: online roles that have to be signed whatever the changes are.

        Raises:
            RepositoryError: the queue was altered, or a client would refuse the result.
            SigningError: the signer failed. Nothing became visible.
            StoreError: the disk refused. Nothing became visible, or the publication is complete
                and will be done again.
        """
        scheme = self._offline.scheme
        due = set(due)
        if strange := sorted(due.difference(scheme.names(), (SNAPSHOT, TIMESTAMP))):
            raise AlteredStateError(
                f"the state was altered: role {strange[0]!r:.80} is none of this index; "
                f"nothing is signed"
            )
        origin = self._origin()
        plans = self._plans(pending.changes, origin)
        edits = bin_edits(plans, scheme)
        names = {*edits, *due}
        if names:
            names.add(TIMESTAMP)
        if names - {TIMESTAMP}:
            names.add(SNAPSHOT)
        origin.check(names, edits)
        before = self._state.roles((SNAPSHOT, TIMESTAMP))
        added = [file for plan in plans for file in plan.added]
        versions = origin.numbers(names)
        publication = self._state.allot(versions, added, pending.last, utc(self._now))
        self._storage.sync_too(self._state.folder)
        if origin.unfinished:
            self._storage.doubt()
        self._meanwhile = self._placed(plans, before)
        signed, listed = self._sign(versions, edits, origin) if names else ({}, None)
        deque(self._meanwhile, maxlen=0)
        for path in (path for plan in plans for path in plan.withdrawn):
            self._storage.remove(path)
        self._storage.sync()
        roles = {name: (file, self._expires(name)) for name, file in signed.items()}
        self._state.finish(
            *(publication, roles, plans, scheme.bin_of, utc(self._clock())),
            None if listed is None else listed.digest(scheme.names()),
        )
        if listed is not None:
            self._warm.listed = (signed[SNAPSHOT], listed)
            self._warm.known = (signed[SNAPSHOT], origin.listed(signed))
        served = {name: row.file for name, row in before.items()} | signed
        return Published(
            tuple(sorted(signed)),
            served[SNAPSHOT].version,
            served[TIMESTAMP].version,
            added=len(added),
            removed=sum(len(plan.removed) for plan in plans),
            changed=sum(len(plan.changed) for plan in plans),
            rehashed=sum(len(plan.rehashed) for plan in plans),
        )

    def _origin(self) -> Origin:
        return Origin(self._state, self._storage, self._offline, self._warm.known)

    def _expires(self, name: str) -> str:
        if name not in self._dates:
            self._dates[name] = expiry(name, self._offline.scheme.count, self._now)
        return self._dates[name]

    def _plans(self, changes: Sequence[Change], origin: Origin) -> list[ProjectPlan]:
        by_project: dict[NormalizedName, list[Change]] = {}
        for change in changes:
            by_project.setdefault(change.project, []).append(change)
        state = self._state
        files = (state.files_of if origin.restored else state.recorded_files)(by_project)
        documents = origin.documents(files)
        plans = []
        for project in sorted(by_project):
            before, document = files[project], documents[project]
            changes = by_project[project]
            plan = plan_project(
                project, before, changes, document, self._offline.layout, both=origin.both
            )
            check_readable(plan, {} if origin.restored else before)
            plans.append(plan)
        return plans

    # -- step 2 ------------------------------------------------------------------------------

    def _placed(
        self, plans: Sequence[ProjectPlan], before: Mapping[str, RoleRow]
    ) -> Iterator[None]:
        """Step 2 in small steps, to be gone through while others sign."""
        for plan in plans:
            self._place(plan)
            yield
        self._place_list(plans, before)

    def _place(self, plan: ProjectPlan) -> None:
        """Files first, then the pages that name them."""
        for file in (*plan.added, *plan.rehashed):
            if file.filename in plan.elsewhere:
                continue
            for path, digests in public_files(file).items():
                place_object(self._storage, self._objects, path, digests, self._offline.layout)
        place_pages(self._storage, plan.project, plan.document, plan.page, plan.target)

    def _place_list(self, plans: Sequence[ProjectPlan], before: Mapping[str, RoleRow]) -> None:
        """The list of projects: when there is a new one, and it is time (`is_list_due`)."""
        projects = [plan.project for plan in plans]
        more = len(projects) > len(self._state.known(projects))
        last = before[TIMESTAMP].expires
        if is_list_due(self._storage, more=more, last=last, this=self._expires(TIMESTAMP)):
            place_list(self._storage, {*self._state.projects(), *projects})

    # -- steps 3 to 5 ------------------------------------------------------------------------

    def _sign(
        self,
        versions: Mapping[str, int],
        edits: Mapping[str, BinEdit],
        origin: Origin,
    ) -> tuple[dict[str, RoleFile], SnapshotList | None]:
        """Sign and write the roles of `versions`.

        Returns:
            What was published of each, and the entries of the snapshot if there is a new one.
        """
        signed = self._bins(versions, edits, origin)
        deque(self._meanwhile, maxlen=0)
        listed = None
        place_incidents(self._storage, self._offline.incidents)
        for name in (TARGETS, BINS):
            role = self._offline.roles[name]
            self._storage.write_once(METADATA + metadata_filename(name, role.version), role.data)
        if SNAPSHOT in versions:
            offline = {
                name: RoleFile.of(role.version, role.data)
                for name, role in self._offline.roles.items()
                if name != ROOT
            }
            listed = self._listed(origin, offline).changed({**offline, **signed})
            self._warm.freeze.check()
            payload = listed.payload(versions[SNAPSHOT], self._expires(SNAPSHOT))
            signed[SNAPSHOT] = self._write(SNAPSHOT, versions[SNAPSHOT], payload)
        snapshot = signed.get(SNAPSHOT, origin.file(SNAPSHOT))
        timestamp = timestamp_role(versions[TIMESTAMP], self._expires(TIMESTAMP), snapshot)
        self._warm.freeze.check()
        data = sign_role(timestamp, [self._online])
        name = METADATA + metadata_filename(TIMESTAMP)
        prepared = self._storage.prepare(name, data)
        self._storage.sync()
        signed[TIMESTAMP] = RoleFile.of(versions[TIMESTAMP], data)
        self._warm.usage.record(utc(self._now), self._online.public_key.keyid, signed)
        ends = min(map(self._expires, versions))
        renewed = [(name, signed[name]) for name in _bin_names(versions) if name not in edits]
        until = datetime.fromisoformat(ends)
        self._warm.gate.check(self._offline, data, edits, renewed, self._now, until)
        self._warm.freeze.check()
        for version, root in sorted(self._offline.roots.items()):
            self._storage.write_once(METADATA + metadata_filename(ROOT, version), root)
        self._storage.sync()
        self._storage.replace_prepared(name, prepared)
        self._storage.sync()
        return signed, listed

    def _bins(
        self, versions: Mapping[str, int], edits: Mapping[str, BinEdit], origin: Origin
    ) -> dict[str, RoleFile]:
        """Make anew each bin that has to be signed."""
        names = _bin_names(versions)
        tasks = [self._task(name, versions[name], edits.get(name), origin) for name in names]
        made = dict(self._made(tasks, len(tasks)))
        left = [task for task in tasks if made[task.name] is None]
        for task in left:
            targets = BinEdit(dict(task.put), list(task.drop)).apply(origin.targets(task.name))
            payload = bin_payload(task.version, task.expires, targets)
            made |= self._made([task._replace(payload=payload)], 1)
        return {name: file for name, file in made.items() if file is not None}

    def _task(self, name: str, version: int, edit: BinEdit | None, origin: Origin) -> BinTask:
        task = BinTask(name, version, self._expires(name), origin.file(name))
        return task if edit is None else task._replace(put=edit.put, drop=tuple(edit.drop))

    def _made(self, tasks: Iterable[BinTask], count: int) -> Iterator[tuple[str, RoleFile | None]]:
        return make_all(
            *(self._storage, self._online, self._warm.workers),
            *(self._unless_frozen(tasks), count, self._meanwhile),
        )

    def _unless_frozen(self, tasks: Iterable[BinTask]) -> Iterator[BinTask]:
        for task in tasks:
            self._warm.freeze.check()
            yield task

    def _listed(self, origin: Origin, offline: Mapping[str, RoleFile]) -> SnapshotList:
        """The entries of the snapshot that is published now."""
        if self._warm.listed is not None and self._warm.listed[0] == origin.file(SNAPSHOT):
            return self._warm.listed[1]
        roles = {**origin.bins(), **offline}
        return SnapshotList(roles, hashes=lists_hashes(self._offline.scheme))

    def _write(self, name: str, version: int, payload: Payload) -> RoleFile:
        data = sign_payload(payload, self._online)
        self._storage.write_numbered(METADATA + metadata_filename(name, version), data)
        return RoleFile.of(version, data)


def _bin_names(names: Iterable[str]) -> list[str]:
    """The bins among online roles, sorted."""
    return sorted({*names} - {SNAPSHOT, TIMESTAMP})
