"""`Client`: an index of our profile, over plain TUF.

A project's document is looked up, fetched and verified as a target, read strictly
(`indextrust.trust.document`), and every file that it lists is compared with what was seen first
under its name (`indextrust.trust.memory`). New files are remembered as soon as they are listed.

A file, and the core metadata beside it, is vouched for by the document's sha256. Where the index
also lists it as a target of its own (the layout of PEP 458), the two must agree. Where it does not,
the document's word is enough, in either layout: in the layout ``projects`` no file is a target; and
in PEP 458's one online key signs documents and files alike, so a missing entry protects nobody,
while a file that was withdrawn after its page was read would look like an attack. Such a file is
asked for under its plain name.

A file seen before that is listed with another digest stays in the list with the verdict
`Changed`; using it raises `ChangedArtifactError`. One that is listed no more is "removed", never
"unknown". One that an incident record of the operator calls bad (`indextrust.trust.incidents`) is
`KnownBad`, and using it raises `KnownBadArtifactError`.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from indextrust.client.incidents import IncidentRecords
from indextrust.client.listing import ListedFile, Project, Verified, not_listed
from indextrust.client.ports import Clock, Fetcher, MemoryStore, MetadataStore
from indextrust.client.scan import Scan, scan
from indextrust.client.seen import Seen, refusal
from indextrust.client.updater import Refreshed, TufClient, utc_now
from indextrust.client.urls import base_url
from indextrust.client.vouched import agreed, as_target, hashes_of, require_sha256
from indextrust.client.wheels import wheel_metadata
from indextrust.errors import (
    InputError,
    KnownBadArtifactError,
    NotListedError,
    ProfileError,
    RefusedError,
    RemovedArtifactError,
    StoreError,
    UnreachableError,
)
from indextrust.names import (
    METADATA_SUFFIX,
    NormalizedName,
    document_path,
    file_path,
    metadata_path,
    project_name,
    project_of_filename,
)
from indextrust.trust import (
    Incidents,
    KnownBad,
    Limits,
    NotListed,
    Policy,
    TargetEntry,
    parse_document,
)
from indextrust.trust.verdict import algorithms, check

__all__ = ["Client", "ListedFile", "Project", "Verified"]

_MOST_METADATA = 8_000_000  # bytes of a PEP 658 file
_CHUNK = 1 << 20


class Client:
    """A client of one package index. May be used by several threads.

    Args:
        url: the index's base URL, above ``metadata/``, ``simple/`` and ``files/``.
        root: the bootstrap root file, obtained in a way that is trusted.
        store: for the trusted metadata of this index alone.
        memory: for what was seen first.
        fetcher: for metadata, pages and files.
        name: the index's name on this machine, under which files are remembered.
        clock: gives the time.
        limits: upper bounds.
        policy: what is asked of freshness beyond expiry.

    Raises:
        InputError: a URL that can't be used.
    """

    def __init__(
        self,
        url: str,
        *,
        root: bytes,
        store: MetadataStore,
        memory: MemoryStore,
        fetcher: Fetcher,
        name: str,
        clock: Clock = utc_now,
        limits: Limits | None = None,
        policy: Policy | None = None,
    ) -> None:
        base = base_url(url)
        self._limits = limits or Limits()
        self._tuf = TufClient(
            base + "metadata/",
            root=root,
            store=store,
            fetcher=fetcher,
            targets_url=base,
            clock=clock,
            limits=self._limits,
            policy=policy,
        )
        self._store = store
        self._seen = Seen(memory, name, clock)
        self._records = IncidentRecords(self._tuf, store)

    def refresh(self) -> Refreshed:
        """Bring the trusted metadata and the incident records up to date; see `TufClient.refresh`.

        Its notices name the incidents of which this machine saw bad files.

        Raises: as `TufClient.refresh`, and `incidents`.
        """
        return self._noticed(self._tuf.refresh())

    def state(self) -> Refreshed:
        """What is trusted now, asked for only if the policy wants it; as `refresh` otherwise."""
        return self._noticed(self._tuf.state())

    def incidents(self) -> Incidents:
        """What the operator's incident records say.

        Raises:
            RefusedError: one that can't be read.
            UnreachableError: one that can't be had.
            and what `TufClient.state` raises.
        """
        return self._records.current()

    def scan(self, environment: Path) -> Scan:
        """Which installed distributions the incident records are about.

        Args:
            environment: a virtual environment, the Python in it, or a ``site-packages`` folder.
                Nothing in it is run.

        Raises:
            InputError: no environment.
            StoreError: it can't be read.
            and what `incidents` raises.
        """
        return scan(environment, self.incidents(), self._seen.remembered)

    def project(self, name: str) -> Project | NotListed:
        """A project's page, every file on it compared with what was seen first.

        Args:
            name: normalised; use `packaging.utils.canonicalize_name` on what a person typed.

        Raises:
            InputError: not a normalised project name.
            RemovedArtifactError: the project was seen before, and its page is listed no more.
            ProfileError: a page against the rules of the profile.
            RefusedError, UnreachableError, UnsupportedKeyError, StoreError: as
                `TufClient.download`.
        """
        project = project_name(name)
        path = document_path(project)
        entry = self._tuf.target(path)
        if isinstance(entry, NotListed):
            removed = self._seen.removed(project, self._records.current())
            if removed:
                names = ", ".join(seen.filename for seen in removed)
                raise RemovedArtifactError(
                    f"the project is listed no more in snapshot {entry.snapshot_version}",
                    where=project,
                    expected=f"the files seen before: {names}",
                )
            return entry
        require_sha256(entry)
        data = self._tuf.read(entry, max_length=self._limits.document_length)
        document = parse_document(project, data, max_length=self._limits.document_length)
        files = list(document.files.values())
        judged = self._seen.page(project, document.versions, files, entry, self._records.current())
        if any(refusal(listed.verdict) is not None for listed in judged.files):
            self._store.keep_evidence(f"{project}.page", data)
        return judged

    def file(self, filename: str) -> ListedFile:
        """The listing of one distribution file, whatever the verdict on it.

        Raises:
            InputError: not the name of a wheel or an sdist.
            NotListedError: the index lists no such file, and never did that we saw.
            RemovedArtifactError: it was seen before and is listed no more.
            and what `project` raises.
        """
        project = self.project(project_of_filename(filename))
        if isinstance(project, NotListed):
            raise not_listed(filename, project.snapshot_version)
        return project.file(filename)

    def download(self, listed: ListedFile, folder: Path) -> Path:
        """Put a distribution file into `folder` under its own name, verified.

        Args:
            listed: from `project` or `file`.
            folder: exists.

        Raises:
            ChangedArtifactError: it is not what was seen first under this name.
            KnownBadArtifactError: an incident record calls it bad.
            ProfileError: page and file target disagree.
            LengthError, HashMismatchError: other bytes than vouched for came.
            and what `TufClient.download` raises.
        """
        entry, is_target = self._vouched(listed)
        return self._tuf.download(entry, folder / listed.file.filename, plain=not is_target)

    def metadata(self, listed: ListedFile) -> bytes:
        """The core metadata beside a distribution file (PEP 658), verified.

        Raises:
            NotListedError: the page lists none.
            ChangedArtifactError: it, or its file, is not what was seen first under the name. (An
                installer resolves dependencies by it, so it is remembered like the file.)
            KnownBadArtifactError: an incident record calls it, or its file, bad.
            ProfileError: page and target disagree.
            LengthError, HashMismatchError: other bytes than vouched for came, or more than a core
                metadata file may have.
            and what `download` raises.
        """
        self._refuse(listed)
        file = listed.file
        path = metadata_path(file.project, file.filename)
        if file.metadata_sha256 is None:
            raise NotListedError(f"{file.filename}: the index has no core metadata beside it")
        self._check(file.project, file.filename + METADATA_SUFFIX, file.metadata_sha256)
        hashes = hashes_of(file.metadata_sha256, file.metadata_sha512)
        entry = self._tuf.target(path)
        if isinstance(entry, NotListed):
            return self._tuf.read_plain(path, hashes, max_length=_MOST_METADATA)
        entry = agreed(entry, entry.length, hashes)
        return self._tuf.read(entry, max_length=_MOST_METADATA)

    def verify(self, path: Path) -> Verified:
        """Compare a local file with what the index lists under its name.

        Offline the file's own target vouches for it, where the index has such (the layout of
        PEP 458) and it was looked up before: pages are not stored.

        Raises:
            LengthError, HashMismatchError: other bytes than the index lists.
            KnownBadArtifactError: an incident record calls this very file bad.
            StoreError: the file can't be read.
            and what `file` and `download` raise.
        """
        length, digests = _hashed(path, ["sha256"])
        self._refuse_bad(project_of_filename(path.name), path.name, digests["sha256"])
        if self._tuf.offline:
            entry = self._known_target(path.name)
        else:
            entry, _ = self._vouched(self.file(path.name))
        if more := [name for name in algorithms(entry) if name not in digests]:
            digests |= _hashed(path, more)[1]
        check(entry, length, digests)
        return Verified(path, length, digests["sha256"], entry)

    def verify_deeply(self, path: Path) -> Verified:
        """Compare a local wheel with its listing, and its own METADATA with the core metadata
        that the index serves beside it (PEP 658): dependencies are resolved by the one, and what
        is installed says the other. What lists no core metadata is verified as by `verify`.

        Raises:
            ProfileError: the two differ.
            MalformedError: not a wheel with one METADATA file.
            and what `verify` and `metadata` raise.
        """
        verified = self.verify(path)
        listed = self.file(path.name)
        if listed.file.metadata_sha256 is not None and path.name.endswith(".whl"):
            own = wheel_metadata(path, max_length=_MOST_METADATA)
            if own != self.metadata(listed):
                raise ProfileError(
                    "the core metadata beside the wheel is not the wheel's own",
                    where=path.name,
                    expected=f"METADATA with sha256 {hashlib.sha256(own).hexdigest()}",
                    got=f"sha256 {listed.file.metadata_sha256}",
                )
        return verified

    def acknowledge(self, filename: str, sha256: str) -> None:
        """A person accepts another digest for a file that was seen before.

        Args:
            filename: the distribution file, or its core metadata (``….metadata``).
            sha256: lower-case hex; compared by the person with what the operator says.

        The index is asked for its incident records. If it can't be, the digest is remembered all
        the same; what a record calls bad is refused when it is used, whatever was acknowledged.

        Raises:
            InputError: a file that was never seen, or not a digest.
            KnownBadArtifactError: an incident record calls it bad.
            StoreError: it could not be remembered.
        """
        project = project_of_filename(filename.removesuffix(METADATA_SUFFIX))
        try:
            self._refuse_bad(project, filename, sha256)
        except KnownBadArtifactError:
            raise
        except (RefusedError, UnreachableError):
            pass
        self._seen.acknowledge(project, filename, sha256)

    # -- parts -------------------------------------------------------------------------------

    def _noticed(self, refreshed: Refreshed) -> Refreshed:
        notices = self._seen.notices(self._records.current())
        return replace(refreshed, notices=(*refreshed.notices, *notices))

    def _vouched(self, listed: ListedFile) -> tuple[TargetEntry, bool]:
        """The entry to verify a file's bytes with, and whether it is a target: its own, agreeing
        with the page, or the page's word where there is none."""
        self._refuse(listed)
        file = listed.file
        entry = self._tuf.target(file_path(file.project, file.filename))
        if isinstance(entry, NotListed):
            return as_target(listed), False
        return agreed(entry, file.size, hashes_of(file.sha256, file.sha512)), True

    def _known_target(self, filename: str) -> TargetEntry:
        """A file's own target, by what is stored; it is what was seen first, if it was seen."""
        project = project_of_filename(filename)
        entry = self._tuf.target(file_path(project, filename))
        if isinstance(entry, NotListed):
            raise UnreachableError(
                f"{filename}: it is no target, its project's page alone vouches for it, and "
                f"offline that isn't asked for"
            )
        require_sha256(entry)
        self._check(project, filename, entry.hashes["sha256"])
        return entry

    def _check(self, project: NormalizedName, filename: str, sha256: str) -> None:
        """Raise the alarm that this digest is, if it is one."""
        verdict = self._seen.verdict(project, filename, sha256, self._records.current())
        if (alarm := refusal(verdict)) is not None:
            raise alarm

    def _refuse(self, listed: ListedFile) -> None:
        """Raise the alarm that a listed file is, also by a record that came after the page."""
        if (alarm := refusal(listed.verdict)) is not None:
            raise alarm
        self._refuse_bad(listed.file.project, listed.file.filename, listed.file.sha256)

    def _refuse_bad(self, project: NormalizedName, filename: str, sha256: str) -> None:
        """Raise KnownBadArtifactError if an incident record calls this digest bad."""
        incident = self._records.current().bad(project, filename, sha256)
        if incident is not None:
            raise KnownBad(filename, sha256, incident).error()


def _hashed(path: Path, names: Iterable[str]) -> tuple[int, dict[str, str]]:
    """Length and hashes of a local file."""
    length, digests = 0, {name: hashlib.new(name, usedforsecurity=False) for name in names}
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path}: expected a file")
        with path.open("rb") as file:
            while piece := file.read(_CHUNK):
                length += len(piece)
                for digest in digests.values():
                    digest.update(piece)
    except OSError as error:
        raise StoreError(f"can't read {path}: {error.strerror or error}") from error
    return length, {name: digest.hexdigest() for name, digest in digests.items()}
