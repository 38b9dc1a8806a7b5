"""Publication: from the queue to what readers see, restartable at every point.

The order is the guarantee. A reader sees the old index until the last step, and the new one
from then on; a process killed anywhere in between leaves the old one.

0. What clients would refuse to read in a project's document is refused; nothing has changed.
1. One transaction uses up a version number for every role that will be signed, and the names of
   the new files. A number is never handed out twice, so no version ever has two contents.
2. Distribution files, documents and pages are written; those of targets under names that carry
   their hash, then under their plain names. (Plain names are for clients that verify nothing;
   they run a moment ahead.)
3. Bins, then the snapshot, are signed and written under their version numbers, and the bytes of
   the new timestamp without a name. Everything so far is made durable, all at once: waiting for
   the disk is what a publication spends most of its time with (`storage`, `durable`).
4. The new set is read as a client would read it, coming from what is served now. What a client
   would refuse is not published (`gate`).
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
that the first publication of a process reads one row for each entry of the snapshot. A bin that
is only renewed is not even taken apart: its targets are the bytes of its last file, if that is
the one whose hash the state has.

Files under hash-prefixed and versioned names are never deleted here: a client in the middle of a
refresh may ask for the old ones. Collecting them is a task of its own.

Sources: TUF specification 6.2 (consistent snapshots) and 5 (what a client checks); PEP 458,
"Producing Consistent Snapshots".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from securesystemslib.signer import Signer

from indextrust.errors import RefusedError, RepositoryError
from indextrust.names import (
    BINS,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    NormalizedName,
    file_path,
    metadata_filename,
    metadata_path,
)
from indextrust.repository.changes import Change
from indextrust.repository.encode import (
    Payload,
    SnapshotList,
    bin_payload,
    lists_hashes,
    renewed_payload,
)
from indextrust.repository.gate import Gate
from indextrust.repository.objects import ObjectStore
from indextrust.repository.offline import Offline
from indextrust.repository.origin import Origin
from indextrust.repository.place import is_list_due, place_list, place_object, place_pages
from indextrust.repository.plan import (
    LIFETIME,
    BinEdit,
    ProjectPlan,
    RoleFile,
    bin_edits,
    describe,
    plan_project,
    timestamp_role,
    utc,
)
from indextrust.repository.provenance import Listed
from indextrust.repository.queue import Pending
from indextrust.repository.results import Published
from indextrust.repository.served import METADATA, stated_versions
from indextrust.repository.signing import sign_payload, sign_role
from indextrust.repository.state import RoleRow, State
from indextrust.repository.storage import FolderStorage
from indextrust.trust.document import parse_document

__all__ = ["Publisher", "Warm", "check_unchanged"]


def check_unchanged(state: State, storage: FolderStorage) -> None:
    """Refuse to go on from a timestamp that this repository did not publish.

    Somebody else wrote to the public folder, or the state comes from a backup. Going on would
    publish lower versions than clients have seen, and hide the traces.

    Raises:
        RepositoryError: the served timestamp is not ours.
    """
    role = state.role(TIMESTAMP)
    name = METADATA + metadata_filename(TIMESTAMP)
    if not storage.exists(name) or storage.matches(name, role.length, role.sha256):
        return
    version = stated_versions(storage).get(TIMESTAMP)
    if state.queue.interrupted() is not None and version is not None and version <= role.allotted:
        return  # killed after step 5
    raise RepositoryError(
        f"the public timestamp.json (version {version}) is not the one that was published "
        f"(version {role.version}): somebody else wrote it, or the state is an old backup. "
        f"Compare with an audit; then restore, or install new roles if a key was stolen"
    )


def _check_document(plan: ProjectPlan) -> None:
    """Refuse a document that clients would refuse to read, before anything is used up.

    Raises:
        RepositoryError: with the client's reason.
    """
    try:
        parse_document(plan.project, plan.document)
    except RefusedError as error:
        raise RepositoryError(f"not published, a client would refuse it: {error}") from error


@dataclass
class Warm:
    """What is kept in memory between the publications of a process: it saves work, and decides
    nothing.

    Args:
        gate: knows what it verified before.
        listed: the entries of the snapshot that was published last, and which snapshot that is.
        known: likewise, the versions in it (`Origin`).
    """

    gate: Gate
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
        now: aware, UTC.
        warm: of this repository, from its last publication.
    """

    def __init__(
        self,
        state: State,
        storage: FolderStorage,
        objects: ObjectStore,
        offline: Offline,
        online: Signer,
        now: datetime,
        warm: Warm,
    ) -> None:
        self._state = state
        self._storage = storage
        self._objects = objects
        self._offline = offline
        self._online = online
        self._now = now
        self._expires = utc(now + LIFETIME)
        self._warm = warm

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
        origin = Origin(self._state, self._storage, scheme, self._warm.known)
        plans = self._plans(pending.changes, origin)
        for plan in plans:
            _check_document(plan)
        edits = bin_edits(plans, scheme)
        names = {*edits, *due}
        if names:
            names.add(TIMESTAMP)
        if names - {TIMESTAMP}:
            names.add(SNAPSHOT)
        origin.check(names, edits)
        before = self._state.roles((SNAPSHOT, TIMESTAMP))
        added = [file for plan in plans for file in plan.added]
        begun = self._state.allot(names, added, pending.last, utc(self._now))
        origin.check_numbers(begun.versions)
        for plan in plans:
            self._place(plan)
        self._place_list(plans, before)
        signed, listed = self._sign(begun.versions, edits, origin) if names else ({}, None)
        for path in (path for plan in plans for path in plan.drop):
            self._storage.remove(path)
        self._storage.sync()
        roles = {name: (file, self._expires) for name, file in signed.items()}
        self._state.finish(
            begun.publication, roles, plans, self._offline.scheme.bin_of, utc(self._now)
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
        )

    def _plans(self, changes: Sequence[Change], origin: Origin) -> list[ProjectPlan]:
        by_project: dict[NormalizedName, list[Change]] = {}
        for change in changes:
            by_project.setdefault(change.project, []).append(change)
        files = self._state.files_of(by_project)
        documents = origin.documents(files)
        return [
            plan_project(project, files[project], by_project[project], documents[project])
            for project in sorted(by_project)
        ]

    # -- step 2 ------------------------------------------------------------------------------

    def _place(self, plan: ProjectPlan) -> None:
        """Files first, then the pages that name them."""
        for file in plan.added:
            place_object(
                self._storage, self._objects, file_path(file.project, file.filename), file.sha256
            )
            if file.metadata_sha256 is not None:
                path = metadata_path(file.project, file.filename)
                place_object(self._storage, self._objects, path, file.metadata_sha256)
        place_pages(self._storage, plan.project, plan.document, plan.page)

    def _place_list(self, plans: Sequence[ProjectPlan], before: Mapping[str, RoleRow]) -> None:
        """The list of projects: when there is a new one, and it is time (`is_list_due`)."""
        projects = [plan.project for plan in plans]
        more = len(projects) > len(self._state.known(projects))
        last = before[TIMESTAMP].expires
        if is_list_due(self._storage, more=more, last=last, this=self._expires):
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
        signed: dict[str, RoleFile] = {}
        listed = None
        for name, payload in self._bins(versions, edits, origin):
            signed[name] = self._write(name, versions[name], payload)
        for name in (TARGETS, BINS):
            role = self._offline.roles[name]
            self._storage.write_once(METADATA + metadata_filename(name, role.version), role.data)
        if SNAPSHOT in versions:
            offline = {
                name: RoleFile(role.version, *describe(role.data))
                for name, role in self._offline.roles.items()
                if name != ROOT
            }
            listed = self._listed(origin, offline).changed({**offline, **signed})
            payload = listed.payload(versions[SNAPSHOT], self._expires)
            signed[SNAPSHOT] = self._write(SNAPSHOT, versions[SNAPSHOT], payload)
        snapshot = signed.get(SNAPSHOT, origin.file(SNAPSHOT))
        timestamp = timestamp_role(versions[TIMESTAMP], self._expires, snapshot)
        data = sign_role(timestamp, [self._online])
        name = METADATA + metadata_filename(TIMESTAMP)
        prepared = self._storage.prepare(name, data)
        self._storage.sync()
        self._warm.gate.check(self._offline, data, edits, self._now)
        for version, root in sorted(self._offline.roots.items()):
            self._storage.write_once(METADATA + metadata_filename(ROOT, version), root)
        self._storage.sync()
        self._storage.replace_prepared(name, prepared)
        self._storage.sync()
        signed[TIMESTAMP] = RoleFile(versions[TIMESTAMP], *describe(data))
        return signed, listed

    def _bins(
        self, versions: Mapping[str, int], edits: Mapping[str, BinEdit], origin: Origin
    ) -> Iterator[tuple[str, Payload]]:
        """Name and new content of each bin that has to be signed."""
        due = versions.keys() - edits.keys() - {SNAPSHOT, TIMESTAMP}
        from_rows = [*edits]
        for name in sorted(due):
            row = origin.file(name)
            filename = METADATA + metadata_filename(name, row.version)
            data = self._storage.read(filename, row.length)
            payload = None
            if data is not None and describe(data).sha256 == row.sha256:
                payload = renewed_payload(data, row.version, versions[name], self._expires)
            if payload is None:
                from_rows.append(name)
            else:
                yield name, payload
        for name in from_rows:
            targets = origin.targets(name)
            if name in edits:
                targets = edits[name].apply(targets)
            yield name, bin_payload(versions[name], self._expires, targets)

    def _listed(self, origin: Origin, offline: Mapping[str, RoleFile]) -> SnapshotList:
        """The entries of the snapshot that is published now."""
        if self._warm.listed is not None and self._warm.listed[0] == origin.file(SNAPSHOT):
            return self._warm.listed[1]
        roles = {**origin.bins(), **offline}
        return SnapshotList(roles, hashes=lists_hashes(self._offline.scheme))

    def _write(self, name: str, version: int, payload: Payload) -> RoleFile:
        data = sign_payload(payload, self._online)
        self._storage.write_numbered(METADATA + metadata_filename(name, version), data)
        return RoleFile(version, *describe(data))
