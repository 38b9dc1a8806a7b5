"""What the next publication has to follow from: the checks of `provenance`, with their files.

Made once for a publication, and asked before anything has changed. It reads the log, the rows of
the roles that will be signed or listed, and the last published file of each bin that will be
edited. A bin that is only renewed is read where it is signed, from the bytes that its checked row
names. What was checked is what is used: it is handed out, and the tables are not asked again.

After `restore` and `install` a file that is not as it was published is no reason to stop, for
that is what they are called for. Then the table is taken, but not believed: the rows must be those
that the snapshot listed, by the digest in the log, and the targets those of the bin, by the digest
that its row's HMAC covers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from indextrust.distribution import DistributionFile
from indextrust.errors import AlteredStateError
from indextrust.names import (
    BINS,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    BinScheme,
    NormalizedName,
    document_path,
    metadata_filename,
)
from indextrust.repository.encode import SnapshotList, entries_of, find_target, lists_hashes
from indextrust.repository.offline import Offline
from indextrust.repository.plan import RoleFile, TargetFile, describe
from indextrust.repository.provenance import (
    NOTHING,
    Listed,
    Recorded,
    as_listed,
    check_bin,
    check_listed,
    check_offline,
    check_project,
    check_rows,
    known_targets,
    least_used,
    read_bin,
    read_snapshot,
)
from indextrust.repository.served import METADATA
from indextrust.repository.state import State
from indextrust.repository.storage import FolderStorage

__all__ = ["Origin"]


class Origin:
    """The origin of one publication.

    Args:
        state: the working copy.
        storage: the public folder.
        offline: the offline roles; they name the bins, and the snapshot key.
        known: what the snapshot of an earlier publication of this process lists, and which
            snapshot that is (`listed`); spares reading it, and the rows that are not signed.
        before: the bins in the last snapshot, if a re-binning has begun since.

    Raises:
        AlteredStateError: the log was altered, or the last snapshot is not as it was published.
    """

    def __init__(
        self,
        state: State,
        storage: FolderStorage,
        offline: Offline,
        known: tuple[RoleFile, Mapping[str, Listed]] | None = None,
        before: BinScheme | None = None,
    ) -> None:
        self._state = state
        self._storage = storage
        self._scheme = offline.scheme
        self._keyid = offline.online_keyid
        self._offline = {
            name: RoleFile.of(offline.roles[name].version, offline.roles[name].data)
            for name in (TARGETS, BINS)
        }
        self._ledger = state.queue.ledger()
        towards, bins = self._ledger.towards, self._offline[BINS]
        if towards not in (None, bins.sha256):
            raise AlteredStateError(
                f"the state was altered: a re-binning adopted a bins role with sha256 {towards}, "
                f"expected that, got version {bins.version} with {bins.sha256}; nothing is signed"
            )
        self._rows: dict[str, Recorded] = {}
        self._others: dict[str, RoleFile] = {}
        self._checked: set[str] = set()  # bins whose table says what is published
        snapshot = self._ledger.published.get(SNAPSHOT)
        self._warm = known is not None and known[0] == snapshot
        self._listed: Mapping[str, Listed]
        if known and self._warm:
            self._listed = known[1]
        else:
            self._listed = self._read_snapshot(snapshot, before or self._scheme)

    @property
    def restored(self) -> bool:
        """Whether an operator made the state the truth since (`ledger.Ledger.restored`)."""
        return self._ledger.restored

    @property
    def both(self) -> bool:
        """Whether the SHA-512 of what is new is listed too (`ledger.Ledger.both`)."""
        return self._ledger.both

    @property
    def unfinished(self) -> bool:
        """Whether something began since the last publication, and may have been killed."""
        return self._ledger.unfinished or self._ledger.restored

    @property
    def last(self) -> Mapping[str, Listed]:
        """What the last snapshot lists."""
        return self._listed

    def listed(self, signed: Mapping[str, RoleFile]) -> dict[str, Listed]:
        """What the snapshot lists when `signed` is published: `known` of the next publication."""
        new = {**self._offline, **signed}
        return {**self._listed, **{name: as_listed(file) for name, file in new.items()}}

    def documents(
        self, files: Mapping[NormalizedName, Mapping[str, DistributionFile]]
    ) -> dict[NormalizedName, TargetFile | None]:
        """What is signed now for the document of each project.

        Args:
            files: what the tables say of the files of each; must give that document.

        Raises:
            AlteredStateError: with the first thing that differs.
        """
        homes: dict[str, list[NormalizedName]] = {}
        for project in files:
            homes.setdefault(self._scheme.bin_of(document_path(project)), []).append(project)
        paths = {name: [*map(document_path, projects)] for name, projects in homes.items()}
        documents = self._documents(paths)
        found = {project: documents.get(document_path(project)) for project in files}
        for project, document in found.items():
            check_project(project, files[project].values(), document)
        return found

    def check(self, names: Iterable[str], edited: Iterable[str]) -> None:
        """Refuse to sign what does not follow from what was published and queued.

        Args:
            names: the online roles that will be signed.
            edited: the bins among them whose targets will change.

        Raises:
            AlteredStateError: with the first thing that differs.
        """
        newer = self._ledger.restored or self._ledger.rebinning is not None
        check_offline(self._offline, self._listed, newer=newer)
        self._check_rows({*names, SNAPSHOT, TIMESTAMP})
        if not self._warm:
            self._check_others()
        self._documents({name: [] for name in edited if name not in self._checked})

    def numbers(self, names: Iterable[str]) -> dict[str, int]:
        """The next version of each of these roles, which were checked.

        Above the last one that was published, one for each publication that began since and may
        have used it, and those that were found to be served when an operator started over:
        whatever the table says, no number is used twice.
        """
        begun, above = self._ledger.begun, self._ledger.above
        return {
            name: max(row.allotted, least_used(row, above.get(name, 0)) + begun) + 1
            for name, row in ((name, self._rows[name]) for name in names)
        }

    def file(self, name: str) -> RoleFile:
        """What was published of a role that was checked."""
        return self._rows[name].file

    def bins(self) -> dict[str, RoleFile]:
        """What was published of every bin, those included that are out of use and still listed;
        of an origin that `known` did not make shorter."""
        signed = {name: self.file(name) for name in self._scheme.names() if name in self._rows}
        return {**self._others, **signed}

    def targets(self, name: str) -> dict[str, TargetFile]:
        """The targets of a bin that was checked, before this publication.

        Raises:
            AlteredStateError: the bin's file is not as it was published.
        """
        return self._published(name)

    def _documents(self, paths: Mapping[str, Sequence[str]]) -> dict[str, TargetFile]:
        """Compare the tables of bins with their files.

        Args:
            paths: for each bin the target paths that are asked for.

        Returns:
            What is signed for those of them that are targets.
        """
        self._check_rows(paths)
        found: dict[str, TargetFile] = {}
        for name, table in self._state.entries(paths, both=self.both):
            if self._entries(name) == table:
                targets = {path: find_target(table, path) for path in paths[name]}
            else:
                compared = self._compared(name)
                targets = {path: compared.get(path) for path in paths[name]}
            found |= {path: target for path, target in targets.items() if target is not None}
            self._checked.add(name)
        return found

    def _entries(self, name: str) -> bytes | None:
        """The entries in the last file of a bin; None if it is not as we wrote it."""
        file = self._rows[name].file
        if file == NOTHING:
            return b""
        data = self._read(name, file)
        if data is None or describe(data) != TargetFile(file.length, file.sha256):
            return None
        return entries_of(data, file.version)

    def _compared(self, name: str) -> Mapping[str, TargetFile]:
        """The targets of a bin, compared with the table one by one. Raises AlteredStateError."""
        table, published = dict(self._state.bins([name]))[name], self._published(name)
        check_bin(name, table, published)
        return table

    def _published(self, name: str) -> dict[str, TargetFile]:
        """The targets of a bin as it was published last."""
        row = self._rows[name]
        data = None if row.file == NOTHING else self._read(name, row.file)
        try:
            return read_bin(name, data, row.file)
        except AlteredStateError:
            if not self._ledger.restored:
                raise
            entries = dict(self._state.entries([name], both=self.both))
            return known_targets(name, row, entries[name])

    def _check_rows(self, names: Collection[str]) -> None:
        wanted = set(names) - self._rows.keys()
        rows = self._state.recorded(wanted)
        if missing := sorted(wanted - rows.keys()):
            raise AlteredStateError(f"the state was altered: it has no row of role {missing[0]}")
        self._check(rows)
        self._rows.update(rows)

    def _check(self, rows: Mapping[str, Recorded]) -> None:
        """Refuse rows that do not follow from the log and the last snapshot."""
        check_rows(
            rows,
            self._ledger.published,
            self._listed,
            begun=self._ledger.begun,
            above=self._ledger.above,
            rebinning=self._ledger.rebinning is not None,
        )

    def _check_others(self) -> None:
        """The rows of bins that stay as they are, and will be listed again."""
        others = self._state.roles(set(self._scheme.names()) - self._rows.keys())
        self._others = {name: row.file for name, row in others.items()}
        if missing := sorted(set(self._scheme.names()) - self._rows.keys() - others.keys()):
            raise AlteredStateError(f"the state was altered: it has no row of role {missing[0]}")
        check_listed(self._others, self._listed)
        old = self._state.recorded_bins(self._state.retired(self._keyid))
        old = {name: row._replace(allotted=row.file.version) for name, row in old.items()}
        self._check(old)  # their numbers do not matter: none will be used
        self._others |= {name: row.file for name, row in old.items()}

    def _read_snapshot(self, snapshot: RoleFile | None, scheme: BinScheme) -> Mapping[str, Listed]:
        data = None if snapshot is None else self._read(SNAPSHOT, snapshot)
        try:
            return read_snapshot(data, snapshot)
        except AlteredStateError:
            if not self._ledger.restored:
                raise
        return self._relisted(scheme)

    def _relisted(self, scheme: BinScheme) -> dict[str, Listed]:
        """What a snapshot lists whose file is damaged: its rows, if the log says that it is so."""
        names, hashes = scheme.names(), lists_hashes(scheme)
        rows = self._state.recorded_bins(names)
        files = {name: row.file for name, row in rows.items()}
        whole = len(files) == len(names)
        if not whole or SnapshotList(files, hashes=hashes).digest(names) != self._ledger.listed:
            raise AlteredStateError(
                "the last snapshot in the public folder is damaged, and the state was altered: its "
                "roles are not those that it listed; nothing is signed"
            )
        old = {name: row.file for name, row in self._state.retired(self._keyid).items()}
        sealed = {name: Listed(file.version, None, None) for name, file in (old | files).items()}
        return sealed | {name: as_listed(file) for name, file in files.items() if hashes}

    def _read(self, name: str, file: RoleFile) -> bytes | None:
        return self._storage.read(METADATA + metadata_filename(name, file.version), file.length)
