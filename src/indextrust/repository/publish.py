"""Publication: from the queue to what readers see, restartable at every point.

The order is the guarantee. A reader sees the old index until the last step, and the new one
from then on; a process killed anywhere in between leaves the old one.

0. What clients would refuse to read in a project's document is refused; nothing has changed.
1. One transaction uses up a version number for every role that will be signed, and the names of
   the new files. A number is never handed out twice, so no version ever has two contents.
2. Distribution files, documents and pages are written; those of targets under names that carry
   their hash, then under their plain names. (Plain names are for clients that verify nothing;
   they run a moment ahead.)
3. Bins, then the snapshot, are signed and written under their version numbers. Everything so far
   is made durable.
4. The new set is read as a client would read it, coming from what is served now. What a client
   would refuse is not published.
5. New roots, if there are any, are written, and ``timestamp.json`` is replaced: this is the
   publication. Made durable. (Between a root that revokes the online key and the timestamp,
   clients refuse what they find: a moment, or until the next publication if the process is
   killed just there.)
6. Plain names of removed files are taken away.
7. One transaction records what is published and marks the queue rows done.

A publication that was killed before 7 is done again from 1, with new numbers: its queue rows are
still there, and the roles it had numbers for are due. If it was killed between 5 and 7, readers
see the same content twice, under rising versions.

Files under hash-prefixed and versioned names are never deleted here: a client in the middle of a
refresh may ask for the old ones. Collecting them is a task of its own.

Sources: TUF specification 6.2 (consistent snapshots) and 5 (what a client checks); PEP 458,
"Producing Consistent Snapshots".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from securesystemslib.signer import Signer

from indextrust.errors import RefusedError, RepositoryError, UnreachableError
from indextrust.names import (
    BINS,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    NormalizedName,
    document_path,
    file_path,
    metadata_filename,
    metadata_path,
)
from indextrust.repository.changes import Change
from indextrust.repository.documents import html_index
from indextrust.repository.offline import Offline
from indextrust.repository.place import PROJECT_LIST, place_object, place_pages
from indextrust.repository.plan import (
    LIFETIME,
    BinEdit,
    ProjectPlan,
    RoleFile,
    bin_edits,
    bin_role,
    describe,
    plan_project,
    snapshot_role,
    timestamp_role,
    utc,
)
from indextrust.repository.results import Published
from indextrust.repository.served import METADATA, stated_versions
from indextrust.repository.signing import sign_role
from indextrust.repository.state import Pending, State
from indextrust.repository.storage import FolderStorage, ObjectStore
from indextrust.trust import ABSENT, STORED, Done, Fetch, Limits, Load, Lookup, Session
from indextrust.trust.document import parse_document

__all__ = ["Publisher", "check_unchanged"]

_UNLISTED = frozenset({ROOT, SNAPSHOT, TIMESTAMP})
"""Roles that a snapshot does not list."""


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
    if state.interrupted() is not None and version is not None and version <= role.allotted:
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


class Publisher:
    """One publication.

    Args:
        state: the working copy.
        storage: the public folder.
        objects: the private copies.
        offline: the verified offline roles to publish under.
        online: signer of timestamp, snapshot and bins.
        now: aware, UTC.
    """

    def __init__(
        self,
        state: State,
        storage: FolderStorage,
        objects: ObjectStore,
        offline: Offline,
        online: Signer,
        now: datetime,
    ) -> None:
        self._state = state
        self._storage = storage
        self._objects = objects
        self._offline = offline
        self._online = online
        self._now = now
        self._expires = utc(now + LIFETIME)

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
        plans = self._plans(pending.changes)
        for plan in plans:
            _check_document(plan)
        edits = bin_edits(plans, self._offline.scheme)
        names = {*edits, *due}
        if names:
            names.add(TIMESTAMP)
        if names - {TIMESTAMP}:
            names.add(SNAPSHOT)
        added = [file for plan in plans for file in plan.added]
        begun = self._state.allot(names, added, pending.last, utc(self._now))
        for plan in plans:
            self._place(plan)
        self._place_list(plans)
        signed = self._sign(begun.versions, edits) if names else {}
        for plan in plans:
            for path in plan.drop:
                self._storage.remove(path)
        self._storage.sync()
        roles = {name: (file, self._expires) for name, file in signed.items()}
        self._state.finish(
            begun.publication, roles, plans, self._offline.scheme.bin_of, utc(self._now)
        )
        return self._published(tuple(sorted(signed)), plans)

    def _plans(self, changes: Sequence[Change]) -> list[ProjectPlan]:
        by_project: dict[NormalizedName, list[Change]] = {}
        for change in changes:
            by_project.setdefault(change.project, []).append(change)
        return [
            plan_project(
                project,
                self._state.files(project),
                by_project[project],
                self._state.target(document_path(project)),
            )
            for project in sorted(by_project)
        ]

    def _published(self, signed: tuple[str, ...], plans: Sequence[ProjectPlan]) -> Published:
        return Published(
            signed,
            self._state.role(SNAPSHOT).version,
            self._state.role(TIMESTAMP).version,
            added=sum(len(plan.added) for plan in plans),
            removed=sum(len(plan.removed) for plan in plans),
            changed=sum(len(plan.changed) for plan in plans),
        )

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

    def _place_list(self, plans: Sequence[ProjectPlan]) -> None:
        """The list of projects changes only when there is a new one."""
        first = self._state.role(SNAPSHOT).version == 0
        if first or any(not self._state.has_project(plan.project) for plan in plans):
            projects = {*self._state.projects(), *(plan.project for plan in plans)}
            self._storage.replace(PROJECT_LIST, html_index(projects))

    # -- steps 3 to 5 ------------------------------------------------------------------------

    def _sign(
        self, versions: Mapping[str, int], edits: Mapping[str, BinEdit]
    ) -> dict[str, RoleFile]:
        """Sign and write the roles of `versions`; returns what was published of each."""
        signed: dict[str, RoleFile] = {}
        for name in sorted(versions.keys() - {SNAPSHOT, TIMESTAMP}):
            targets = self._state.targets(name)
            if name in edits:
                targets = edits[name].apply(targets)
            tree = bin_role(versions[name], self._expires, targets)
            signed[name] = self._write(name, tree)
        rows = self._state.roles()
        if SNAPSHOT in versions:
            listed = {name: row.file for name, row in rows.items() if name not in _UNLISTED}
            tree = snapshot_role(versions[SNAPSHOT], self._expires, {**listed, **signed})
            signed[SNAPSHOT] = self._write(SNAPSHOT, tree)
        for name in (TARGETS, BINS):
            role = self._offline.roles[name]
            self._storage.write_once(METADATA + metadata_filename(name, role.version), role.data)
        self._storage.sync()
        snapshot = signed.get(SNAPSHOT, rows[SNAPSHOT].file)
        timestamp = timestamp_role(versions[TIMESTAMP], self._expires, snapshot)
        data = sign_role(timestamp, [self._online])
        self._check(data, next((path for edit in edits.values() for path in edit.put), None))
        for version, root in sorted(self._offline.roots.items()):
            self._storage.write_once(METADATA + metadata_filename(ROOT, version), root)
        self._storage.sync()
        self._storage.replace(METADATA + metadata_filename(TIMESTAMP), data)
        self._storage.sync()
        signed[TIMESTAMP] = RoleFile(versions[TIMESTAMP], *describe(data))
        return signed

    def _write(self, name: str, tree: dict[str, Any]) -> RoleFile:
        data = sign_role(tree, [self._online])
        self._storage.write_once(METADATA + metadata_filename(name, tree["version"]), data)
        return RoleFile(tree["version"], *describe(data))

    def _check(self, timestamp: bytes, path: str | None) -> None:
        """Refuse what a client would refuse that has seen what is served now.

        Args:
            timestamp: the new one, not written yet.
            path: one of the new targets, if there are any.

        Raises:
            RepositoryError: with the client's reason.
        """
        try:
            session = Session(self._offline.roots[min(self._offline.roots)], now=self._now)
            self._drive(session, timestamp)
            if path is not None:
                self._drive(session.lookup(path), timestamp)
        except (RefusedError, UnreachableError) as error:
            raise RepositoryError(f"not published, a client would refuse it: {error}") from error

    def _drive(self, machine: Session | Lookup, timestamp: bytes) -> None:
        while not isinstance(want := machine.wants(), Done):
            if isinstance(want, Load):
                machine.feed(self._load(want.role) or ABSENT)
            elif isinstance(want, Fetch):
                machine.feed(self._fetch(want, timestamp) or ABSENT)
            else:
                machine.feed(STORED)

    def _load(self, role: str) -> bytes | None:
        """What a client has stored that refreshed a moment ago."""
        if role not in (SNAPSHOT, TIMESTAMP):
            return None
        version = stated_versions(self._storage).get(SNAPSHOT) if role == SNAPSHOT else None
        return self._storage.read(METADATA + metadata_filename(role, version), Limits().ceiling)

    def _fetch(self, want: Fetch, timestamp: bytes) -> bytes | None:
        """What a client will get from now on: the two that are not written yet, and the rest."""
        if want.role == TIMESTAMP:
            return timestamp
        if want.role == ROOT and (root := self._offline.roots.get(want.version or 0)):
            return root
        return self._storage.read(METADATA + want.filename, want.max_length)
