"""What the next publication has to follow from: the checks of `provenance`, with their files.

Made once for a publication, and asked before anything has changed. It reads the log, the rows of
the roles that will be signed or listed, and the last published file of each bin that will be
edited. A bin that is only renewed is read where it is signed, from the bytes that its checked row
names. What was checked is what is used: it is handed out, and the tables are not asked again.

After `restore` and `install` a file that is not as it was published is no reason to stop, for
that is what they are called for: then, and for that bin alone, the table is believed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from indextrust.distribution import DistributionFile
from indextrust.errors import AlteredStateError
from indextrust.names import (
    SNAPSHOT,
    TIMESTAMP,
    BinScheme,
    NormalizedName,
    document_path,
    metadata_filename,
)
from indextrust.repository.plan import RoleFile, TargetFile
from indextrust.repository.provenance import (
    NOTHING,
    Listed,
    Recorded,
    check_bin,
    check_listed,
    check_project,
    check_rows,
    read_bin,
    read_snapshot,
)
from indextrust.repository.served import METADATA
from indextrust.repository.state import State
from indextrust.repository.storage import FolderStorage

__all__ = ["Origin"]

_KEPT = 2_048
"""Bins whose targets are kept in memory until they are signed; others are read again."""


class Origin:
    """The origin of one publication.

    Args:
        state: the working copy.
        storage: the public folder.
        scheme: the bins.
        known: what the snapshot of an earlier publication of this process lists, and which
            snapshot that is (`listed`); spares reading it, and the rows that are not signed.

    Raises:
        AlteredStateError: the log was altered, or the last snapshot is not as it was published.
    """

    def __init__(
        self,
        state: State,
        storage: FolderStorage,
        scheme: BinScheme,
        known: tuple[RoleFile, Mapping[str, Listed]] | None = None,
    ) -> None:
        self._state = state
        self._storage = storage
        self._scheme = scheme
        self._ledger = state.queue.ledger()
        self._rows: dict[str, Recorded] = {}
        self._others: dict[str, RoleFile] = {}
        self._targets: dict[str, dict[str, TargetFile]] = {}
        self._tables: dict[str, dict[str, TargetFile]] = {}
        snapshot = self._ledger.published.get(SNAPSHOT)
        self._warm = known is not None and known[0] == snapshot
        self._listed: Mapping[str, Listed]
        self._listed = known[1] if known and self._warm else self._read_snapshot(snapshot)

    def listed(self, signed: Mapping[str, RoleFile]) -> dict[str, Listed]:
        """What the snapshot lists when `signed` is published: `known` of the next publication."""
        return {**self._listed, **{name: Listed(*file) for name, file in signed.items()}}

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
        self._check_rows(homes)
        self._load_tables(homes)
        found: dict[NormalizedName, TargetFile | None] = {}
        for name, projects in homes.items():
            targets = self._checked(name)
            for project in projects:
                document = targets.get(document_path(project))
                check_project(project, files[project].values(), document)
                found[project] = document
        return found

    def check(self, names: Iterable[str], edited: Iterable[str]) -> None:
        """Refuse to sign what does not follow from what was published and queued.

        Args:
            names: the online roles that will be signed.
            edited: the bins among them whose targets will change.

        Raises:
            AlteredStateError: with the first thing that differs.
        """
        self._check_rows({*names, SNAPSHOT, TIMESTAMP})
        if not self._warm:
            self._check_others()
        edited = list(edited)
        self._load_tables(edited)
        for name in edited:
            self._checked(name)

    def check_numbers(self, versions: Mapping[str, int]) -> None:
        """Refuse numbers that do not follow from the rows that `check` saw.

        Args:
            versions: those that were allotted, of the roles that were checked.

        Raises:
            AlteredStateError: somebody else wrote to the database meanwhile.
        """
        for name, version in versions.items():
            if version != self._rows[name].allotted + 1:
                raise AlteredStateError(
                    f"the state was altered: role {name}: expected the number "
                    f"{self._rows[name].allotted + 1}, got {version}; nothing is signed"
                )

    def file(self, name: str) -> RoleFile:
        """What was published of a role that was checked."""
        return self._rows[name].file

    def bins(self) -> dict[str, RoleFile]:
        """What was published of every bin; of an origin that `known` did not make shorter."""
        return {name: self._others.get(name) or self.file(name) for name in self._scheme.names()}

    def targets(self, name: str) -> dict[str, TargetFile]:
        """The targets of a bin that was checked, before this publication.

        Raises:
            AlteredStateError: the bin's file is not as it was published.
        """
        if name in self._targets:
            return self._targets.pop(name)
        published = self._published(name)
        return self._table(name) if published is None else published

    def _checked(self, name: str) -> dict[str, TargetFile]:
        """The targets of a bin, compared with the table; kept if there are not too many."""
        if name in self._targets:
            return self._targets[name]
        table, published = self._table(name), self._published(name)
        if published is not None:
            check_bin(name, table, published)
        if len(self._targets) < _KEPT:
            self._targets[name] = table
        return table

    def _load_tables(self, names: Iterable[str]) -> None:
        """Ask for the tables of many bins at once; of no more than are kept."""
        wanted = [name for name in names if name not in self._targets]
        self._tables = dict(self._state.bins(wanted[: _KEPT - len(self._targets)]))

    def _table(self, name: str) -> dict[str, TargetFile]:
        table = self._tables.pop(name, None)
        return dict(self._state.bins([name]))[name] if table is None else table

    def _published(self, name: str) -> dict[str, TargetFile] | None:
        """The targets in the last file of a bin; None if it is damaged, and that is known."""
        file = self._rows[name].file
        data = None if file == NOTHING else self._read(name, file)
        try:
            return read_bin(name, data, file)
        except AlteredStateError:
            if self._ledger.restored:
                return None
            raise

    def _check_rows(self, names: Collection[str]) -> None:
        wanted = set(names) - self._rows.keys()
        rows = self._state.recorded(wanted)
        if missing := sorted(wanted - rows.keys()):
            raise AlteredStateError(f"the state was altered: it has no row of role {missing[0]}")
        check_rows(
            rows,
            self._ledger.published,
            self._listed,
            begun=self._ledger.begun,
            restored=self._ledger.restored,
        )
        self._rows.update(rows)

    def _check_others(self) -> None:
        """The rows of bins that stay as they are, and will be listed again."""
        others = self._state.roles(set(self._scheme.names()) - self._rows.keys())
        self._others = {name: row.file for name, row in others.items()}
        if missing := sorted(set(self._scheme.names()) - self._rows.keys() - others.keys()):
            raise AlteredStateError(f"the state was altered: it has no row of role {missing[0]}")
        check_listed(self._others, self._listed)

    def _read_snapshot(self, snapshot: RoleFile | None) -> dict[str, Listed]:
        data = None if snapshot is None else self._read(SNAPSHOT, snapshot)
        try:
            return read_snapshot(data, snapshot)
        except AlteredStateError:
            if self._ledger.restored:
                return {}
            raise

    def _read(self, name: str, file: RoleFile) -> bytes | None:
        return self._storage.read(METADATA + metadata_filename(name, file.version), file.length)
