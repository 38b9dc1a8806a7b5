"""Re-binning: another number of bins, which clients that are there already follow.

It is a signing event of root, targets and bins (`indextrust.ceremony.rotate`), and then, on the
server, this:

1. Every bin's file and its rows are compared: what is signed for every target is what was published
   last. An index that needs a repair is refused; nothing has changed.
2. One transaction adopts the offline roles, takes the bins of the new scheme into the ``roles``
   table and those that are no more out of it (`indextrust.repository.retired`), and logs that a
   re-binning has begun, with the hash of the old bins role. From here on it will be completed: by
   this process, or by the next publication or renewal if it is killed.
3. A publication signs every new bin, the snapshot and the timestamp, in the order and with the
   checks of all publications (`indextrust.repository.publish`). A reader sees the old bins until
   the timestamp is replaced, and the new ones from then on.

A bin's range of path hashes is part of an old bin's range, or the union of several. So new bins
are made one after the other from the files of old ones, with one old or one new bin in memory.
Those files are believed by their hashes, in rows that the last snapshot or the HMAC vouches for
(`provenance`); no table says what is signed.

What clients need: old names stay in the snapshot until its key is replaced (`retired`); where a
name is in both schemes its versions go on. Between the new root and the new timestamp clients
refuse what they find, as in every signing event: a moment, or until the next publication if the
process is killed just there.

Sources: TUF specification 5.5.5 (a snapshot must not lose a role), 5.3.11, 6.2; TAP 15.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from indextrust.errors import AlteredStateError, RepositoryError
from indextrust.names import BINS, SNAPSHOT, TARGETS, TIMESTAMP, BinScheme, metadata_filename
from indextrust.repository.bins import BinTask
from indextrust.repository.encode import SnapshotList, bin_payload, encoded
from indextrust.repository.ledger import Ledger
from indextrust.repository.objects import ObjectStore
from indextrust.repository.offline import Offline, check_followers, scheme_of
from indextrust.repository.origin import Origin
from indextrust.repository.plan import BinEdit, RoleFile, TargetFile
from indextrust.repository.provenance import (
    NOTHING,
    Listed,
    check_bin,
    check_rows,
    known_targets,
    read_bin,
)
from indextrust.repository.publish import Publisher
from indextrust.repository.queue import Pending
from indextrust.repository.results import Published
from indextrust.repository.served import METADATA
from indextrust.repository.state import State
from indextrust.repository.storage import FolderStorage

__all__ = ["OldBins", "Rebinner", "begin", "old_scheme", "sources"]


def begin(
    state: State,
    storage: FolderStorage,
    objects: ObjectStore,
    current: Offline,
    offline: Offline,
    now: str,
) -> None:
    """Begin a re-binning, or refuse it: then nothing has changed.

    Args:
        state: the working copy.
        storage: the public folder.
        objects: the private copies.
        current: the offline roles in force.
        offline: those to be, verified.
        now: the time.

    Raises:
        RepositoryError: the same bins; another layout; roles that are not newer; or a publication
            or a re-binning has begun and is not out.
        AlteredStateError: what is signed for some target is not what the state says.
    """
    ledger = state.queue.ledger()
    _check(current, offline, ledger)
    origin = Origin(state, storage, current)
    origin.check((), ())
    scheme = current.scheme
    OldBins(state, storage, scheme, origin.last, ledger, scheme).check_tables()
    objects.keep_offline(offline)
    state.rebin(current, offline, now)


def _check(current: Offline, offline: Offline, ledger: Ledger) -> None:
    if offline.scheme == current.scheme:
        raise RepositoryError(
            f"expected another number or form of bins than the {current.scheme.count} in force; "
            f"install takes roles that keep them"
        )
    check_followers(current, offline)
    for name in (TARGETS, BINS):
        if offline.roles[name].version == current.roles[name].version:
            raise RepositoryError(
                f"{name!r}: expected a version above {offline.roles[name].version}"
            )
    if ledger.unfinished or ledger.restored or not ledger.published:
        raise RepositoryError("a publication has begun and is not out: publish first")


def old_scheme(bins: bytes) -> BinScheme:
    """The scheme of a bins role that was verified before. Raises RepositoryError."""
    return scheme_of(json.loads(bins)["signed"]["delegations"])[0]


def sources(name: str, new: BinScheme, old: BinScheme) -> list[str]:
    """The old bins that the paths of a new bin come from."""
    number, more = int(name.rpartition("-")[2], 16), new.bits - old.bits
    if more >= 0:
        return [old.name(number >> more)]
    return [old.name(one) for one in range(number << -more, (number + 1) << -more)]


class OldBins:
    """The targets of the bins that were published last, one file in memory at a time.

    Args:
        state: the working copy.
        storage: the public folder.
        scheme: of these bins.
        listed: what the last snapshot lists (`Origin.last`).
        ledger: of the log. If an operator started over, the table will do where a bin's file is
            damaged (`provenance.known_targets`).
        home: the bins into which the table says that targets fall.

    Raises:
        AlteredStateError: a row differs from what was published.
    """

    def __init__(
        self,
        state: State,
        storage: FolderStorage,
        scheme: BinScheme,
        listed: Mapping[str, Listed],
        ledger: Ledger,
        home: BinScheme,
    ) -> None:
        self._state = state
        self._storage = storage
        self._scheme = scheme
        self._restored = ledger.restored
        rows = state.recorded_bins(scheme.names())
        if missing := sorted(set(scheme.names()) - rows.keys()):
            raise AlteredStateError(f"the state was altered: it has no row of role {missing[0]}")
        rows = {name: row._replace(allotted=row.file.version) for name, row in rows.items()}
        check_rows(rows, {}, listed, begun=0, above={}, rebinning=False)  # no number will be used
        self._rows = rows
        self._last: tuple[str, dict[str, TargetFile]] = ("", {})
        self._home = home

    def check_tables(self) -> None:
        """Compare every file with the ``targets`` table. Raises AlteredStateError."""
        for name, table in self._state.bins(self._scheme.names()):
            check_bin(name, table, self._read(name))

    def check_moved(self) -> None:
        """The same when targets fall into other bins by now."""
        for name, table in self._state.bins(self._home.names()):
            check_bin(name, table, self.targets(name, self._home))

    def targets(self, name: str, scheme: BinScheme) -> dict[str, TargetFile]:
        """What will be signed for the paths of a new bin.

        Args:
            name: of the new bin.
            scheme: of the new bins.

        Raises:
            AlteredStateError: the file of an old bin is not as it was published.
        """
        found: dict[str, TargetFile] = {}
        for old in sources(name, scheme, self._scheme):
            targets = self._read(old)
            if scheme.bits > self._scheme.bits:
                targets = {p: target for p, target in targets.items() if scheme.bin_of(p) == name}
            found |= targets
        return found

    def _known(self, name: str) -> dict[str, TargetFile]:
        """The targets of a bin whose file is damaged."""
        tables = self._state.bins(sources(name, self._scheme, self._home))
        table = {
            path: target
            for _, targets in tables
            for path, target in targets.items()
            if self._scheme.bin_of(path) == name
        }
        return known_targets(name, self._rows[name], encoded(table))

    def _read(self, name: str) -> dict[str, TargetFile]:
        """The targets of a bin."""
        if self._last[0] == name:
            return self._last[1]
        file = self._rows[name].file
        data = None
        if file != NOTHING:
            path = METADATA + metadata_filename(name, file.version)
            data = self._storage.read(path, file.length)
        try:
            targets = read_bin(name, data, file)
        except AlteredStateError:
            if not self._restored:
                raise
            targets = self._known(name)
        self._last = (name, targets)
        return targets


class Rebinner(Publisher):
    """The publication that ends a re-binning, which the state has adopted."""

    _before: BinScheme
    _old: OldBins
    _samples: dict[str, BinEdit]

    def rebin(self, old: BinScheme) -> Published:
        """Sign everything under the new bins.

        Args:
            old: the bins in the snapshot that was published last.

        Raises:
            RepositoryError, SigningError, StoreError: as `publish`.
        """
        self._warm.listed = self._warm.known = None  # its names are others from now on
        self._before, self._samples = old, {}
        names = (*self._offline.scheme.names(), SNAPSHOT, TIMESTAMP)
        return self.publish(Pending((), 0), names)

    def _origin(self) -> Origin:
        parts, ledger = (self._state, self._storage), self._state.queue.ledger()
        origin = Origin(*parts, self._offline, before=self._before)
        home = self._offline.scheme
        self._old = OldBins(*parts, self._before, origin.last, ledger, home)
        return origin

    def _sign(
        self, versions: Mapping[str, int], edits: Mapping[str, BinEdit], origin: Origin
    ) -> tuple[dict[str, RoleFile], SnapshotList | None]:
        return super()._sign(versions, self._samples, origin)

    def _bins(
        self, versions: Mapping[str, int], edits: Mapping[str, BinEdit], origin: Origin
    ) -> dict[str, RoleFile]:
        """Make every bin from the old ones; the gate will look up a target of each."""
        made = self._made(self._tasks(versions), self._offline.scheme.count)
        return {name: file for name, file in made if file is not None}

    def _tasks(self, versions: Mapping[str, int]) -> Iterator[BinTask]:
        for name in self._offline.scheme.names():
            targets = self._old.targets(name, self._offline.scheme)
            if targets:
                path = next(iter(targets))
                self._samples[name] = BinEdit({path: targets[path]})
            version, expires = versions[name], self._expires(name)
            payload = bin_payload(version, expires, targets)
            yield BinTask(name, version, expires, payload=payload)
