"""What the public folder serves, verified as a client verifies it, from a root given.

Used where nothing else may be believed: to make a lost state anew, and to compare one with what
is served. The top-level roles are read by `indextrust.trust.Session`, a client's own machine; then
each bin, one at a time, by the checks that a client's look-up makes: signed by the key that the
``bins`` role names, of the version (and length and hash) that the snapshot lists, no target of
another bin.

What this proves is what it proves to a client: that the holder of the online key signed it. A
thief of that key signs well, and an older set than the last one verifies too while nobody knows
a later one: compare with a checkpoint that was kept elsewhere.

Sources: TUF specification 5; `specs/client.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from indextrust.distribution import SHA256_HEX, SHA512_HEX
from indextrust.errors import MissingRoleError, ProfileError, RepositoryError, UnreachableError
from indextrust.incidents import MAX_LENGTH
from indextrust.names import (
    BINS,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    hash_prefixed,
    metadata_filename,
)
from indextrust.repository.encode import entries_digest
from indextrust.repository.offline import Offline, verify
from indextrust.repository.plan import RoleFile, TargetFile, utc
from indextrust.repository.roles import SignedRoles
from indextrust.repository.served import METADATA
from indextrust.trust import ABSENT, STORED, Done, Fetch, Limits, Load, Session, Trusted
from indextrust.trust.checks import (
    in_its_bin,
    not_expired,
    verified_targets,
    version_is,
    vouched_for,
)
from indextrust.trust.keys import RoleKeys
from indextrust.trust.metadata import FileInfo, Targets, parse

__all__ = ["EVER", "Readable", "ServedBin", "ServedSet"]

EVER = datetime(1970, 1, 1, tzinfo=UTC)
"""A reference time at which nothing has expired yet, for who wants to know what was signed."""


class ServedBin(NamedTuple):
    """One bin.

    Args:
        name: role name.
        file: its file.
        expires: as TUF writes it.
        targets: target path to what is signed for it.
    """

    name: str
    file: RoleFile
    expires: str
    targets: dict[str, TargetFile]


class Readable(Protocol):
    """Where an index is read from: its public folder, a copy of that, or a server."""

    def read(self, name: str, limit: int) -> bytes | None:
        """The bytes of a file below it; None if there is none, or more than `limit` bytes."""


class ServedSet:
    """The set that the served timestamp leads to.

    Args:
        storage: the public folder, or another place with the same names.
        anchor: a root file that is trusted out of band.
        now: the reference time, aware; `EVER` to leave expiry to the caller.

    Raises:
        RefusedError: a client would refuse it.
        UnreachableError: a file is missing.
        RepositoryError: it verifies, and is no set of this profile.
    """

    def __init__(self, storage: Readable, anchor: bytes, now: datetime) -> None:
        self._storage = storage
        self._now = now
        self._limits = Limits()
        self._timestamp = b""
        self.trusted = self._refresh(Session(anchor, now=now))
        roots = tuple(
            self._read(ROOT, version, self._limits.root_length)
            for version in range(1, self.trusted.root.version + 1)
        )
        if anchor not in roots:
            raise RepositoryError("the root given is none of those that are served")
        self._parent = self._role(BINS, self.trusted.targets)[1]
        targets, bins = (
            self._read(name, self.version(name), self._limits.ceiling) for name in (TARGETS, BINS)
        )
        listed = self.trusted.targets.targets
        incidents = {path: self._record(path, entry) for path, entry in listed.items()}
        self.offline: Offline = verify(SignedRoles(roots, targets, bins, incidents), {}, None)

    def metadata(self) -> dict[str, bytes]:
        """The signed files above the bins, by name: every root, targets, bins, snapshot and
        timestamp. Raises UnreachableError: one went missing meanwhile."""
        found = {metadata_filename(ROOT, v): data for v, data in self.offline.roots.items()}
        versions = {name: self.offline.roles[name].version for name in (TARGETS, BINS)}
        versions[SNAPSHOT] = self.trusted.snapshot.version
        for name, version in versions.items():
            data = self._read(name, version, self._limits.ceiling)
            found[metadata_filename(name, version)] = data
        found[metadata_filename(TIMESTAMP)] = self._timestamp
        return found

    def top(self) -> dict[str, tuple[RoleFile, str]]:
        """File and expiry of snapshot and timestamp, by role name."""
        found = {}
        for name, role in (
            (SNAPSHOT, self.trusted.snapshot),
            (TIMESTAMP, self.trusted.timestamp),
        ):
            version = None if name == TIMESTAMP else role.version
            data = self._read(name, version, self._limits.ceiling)
            found[name] = (RoleFile.of(role.version, data), utc(role.expires))
        return found

    def bins(self, names: Iterable[str]) -> Iterator[ServedBin]:
        """These bins, one after the other.

        Raises:
            RefusedError, UnreachableError: as for the set; those before were good.
        """
        for name in names:
            data, role = self._bin(name)
            targets = {path: _target(name, path, entry) for path, entry in role.targets.items()}
            file = _bin_file(data, role.version)
            yield ServedBin(name, file, utc(role.expires), targets)

    def entries(self, name: str) -> Iterator[tuple[str, TargetFile | ProfileError]]:
        """What is signed in one bin: each target path, and what clients of this profile read there.

        Raises:
            RefusedError, UnreachableError: as for the set: no client takes this bin.
        """
        for path, entry in self._bin(name)[1].targets.items():
            try:
                yield path, _target(name, path, entry)
            except ProfileError as error:
                yield path, error

    def retired(self) -> Iterator[tuple[str, RoleFile]]:
        """Bins that the snapshot lists and nothing delegates to: what a re-binning left.

        Raises:
            RefusedError, UnreachableError: as for the set.
        """
        keys = self._parent.keys_of(self.offline.scheme.name(0))
        others = {TARGETS, BINS, *self.offline.scheme.names()}
        for filename in self.trusted.snapshot.meta:
            name = filename.removesuffix(".json")
            if name not in others and keys is not None:
                data, role = self._checked(name, keys)
                yield name, _bin_file(data, role.version)

    def version(self, name: str) -> int:
        """The version of a role that the snapshot lists. Raises MissingRoleError."""
        return self._info(name).version

    def expired(self, now: datetime) -> tuple[str, ...]:
        """Which of the top-level roles have expired at `now`."""
        roles = {
            ROOT: self.trusted.root,
            TARGETS: self.trusted.targets,
            BINS: self._parent,
            SNAPSHOT: self.trusted.snapshot,
            TIMESTAMP: self.trusted.timestamp,
        }
        return tuple(name for name, role in roles.items() if role.expires <= now)

    def _refresh(self, session: Session) -> Trusted:
        while not isinstance(want := session.wants(), Done):
            if isinstance(want, Load):
                session.feed(ABSENT)
            elif isinstance(want, Fetch):
                data = self._storage.read(METADATA + want.filename, want.max_length)
                if data and want.filename == metadata_filename(TIMESTAMP):
                    self._timestamp = data  # another one may be published meanwhile
                session.feed(data or ABSENT)
            else:
                session.feed(STORED)
        return want.result

    def _info(self, name: str) -> FileInfo:
        info = self.trusted.snapshot.info(f"{name}.json")
        if info is None:
            raise MissingRoleError("delegated to, and not in the snapshot", where=name)
        return info

    def _bin(self, name: str) -> tuple[bytes, Targets]:
        data, role = self._role(name, self._parent)
        in_its_bin(role, name, self._parent)
        return data, role

    def _role(self, name: str, parent: Targets) -> tuple[bytes, Targets]:
        """A role that `parent` delegates to, by the checks of TUF specification 5.6."""
        keys = parent.keys_of(name)
        if keys is None:
            raise MissingRoleError("not delegated to", where=name)
        data, role = self._checked(name, keys)
        not_expired(role, self._now, name)
        return data, role

    def _checked(self, name: str, keys: RoleKeys) -> tuple[bytes, Targets]:
        info = self._info(name)
        limit = self._limits.recorded(self._limits.targets_length, info.length)
        data = self._read(name, info.version, limit)
        vouched_for(data, info, name)
        role = verified_targets(parse(data, where=name, max_length=limit), name, keys, BINS)
        version_is(info.version, role, name)
        return data, role

    def _record(self, path: str, entry: Mapping[str, Any]) -> bytes:
        """An incident record that targets lists; `verify` compares it."""
        target = _target(TARGETS, path, entry)
        name = hash_prefixed(path, target.sha256)
        data = self._storage.read(name, min(target.length, MAX_LENGTH))
        if data is None:
            raise UnreachableError(f"{name}: missing, or longer than is listed")
        return data

    def _read(self, role: str, version: int | None, limit: int) -> bytes:
        name = metadata_filename(role, version)
        data = self._storage.read(METADATA + name, limit)
        if data is None:
            raise UnreachableError(f"{name}: missing, or longer than {limit} bytes")
        return data


def _bin_file(data: bytes, version: int) -> RoleFile:
    return RoleFile.of(version, data, entries_digest(data, version))


def _target(name: str, path: str, entry: Mapping[str, Any]) -> TargetFile:
    hashes: Mapping[str, str] = entry["hashes"]
    more = hashes.keys() - {"sha256"}
    if (
        not more <= {"sha512"}
        or not SHA256_HEX.fullmatch(hashes.get("sha256", ""))
        or (more and not SHA512_HEX.fullmatch(hashes["sha512"]))
    ):
        raise ProfileError("not the hashes of this profile", where=f"{name}: {path}", got=hashes)
    return TargetFile(entry["length"], hashes["sha256"], hashes.get("sha512"))
