"""The shape of metadata: from strict JSON trees to typed values.

`parse` makes an `Envelope`: the tree under ``signed``, its canonical bytes and the signatures,
nothing verified. `Root`, `Timestamp`, `Snapshot` and `Targets` are made from an envelope by the
functions in `indextrust.trust.checks`, after its signatures were verified, and by nothing else.

Fields that TUF does not define are kept (they are part of the signed bytes) and never
interpreted (TUF specification 4, "undefined attribute-value pairs").

Source: TUF specification 4.2 to 4.6; TAP 15 for ``succinct_roles``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from indextrust.errors import MalformedError
from indextrust.names import SNAPSHOT, TOP_LEVEL_ROLES
from indextrust.trust.glance import is_file_info, is_target
from indextrust.trust.keys import RoleKeys, parse_key
from indextrust.trust.reader import read_signed
from indextrust.trust.target_list import TargetList
from indextrust.trust.version_list import VersionList

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey

__all__ = [
    "Delegation",
    "Envelope",
    "FileInfo",
    "Root",
    "Signed",
    "Snapshot",
    "SuccinctDelegation",
    "Targets",
    "Timestamp",
    "parse",
    "parse_root",
    "parse_snapshot",
    "parse_targets",
    "parse_timestamp",
]

MAX_SIGNATURES = 256
MAX_ROLE_NAME = 200
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z", re.ASCII)
_SPEC_VERSION = re.compile(r"1\.\d{1,6}(?:\.\d{1,6})?", re.ASCII)


@dataclass(frozen=True)
class Envelope:
    """A metadata file that was parsed and not verified.

    Args:
        where: what the file is called in messages.
        signed: the tree under ``signed``.
        payload: its canonical bytes: what is signed.
        signatures: key id to signature (hex), each id once.
    """

    where: str
    signed: Mapping[str, Any]
    payload: bytes
    signatures: Mapping[str, str]


@dataclass(frozen=True)
class FileInfo:
    """What signed metadata says of another metadata file (an entry of ``meta``).

    Args:
        version: 1 or more.
        length: bytes, if recorded.
        hashes: algorithm to hex digest; empty if none are recorded.
    """

    version: int
    length: int | None
    hashes: Mapping[str, str]


@dataclass(frozen=True)
class Signed:
    """What every role has. `expires` is aware, in UTC."""

    version: int
    expires: datetime


@dataclass(frozen=True)
class Root(Signed):
    """Root metadata: who signs the top-level roles."""

    consistent_snapshot: bool
    roles: Mapping[str, RoleKeys]


@dataclass(frozen=True)
class Timestamp(Signed):
    """Timestamp metadata: which snapshot is the latest."""

    snapshot: FileInfo


@dataclass(frozen=True)
class Snapshot(Signed):
    """Snapshot metadata: file name (``bins.json``) to its entry: a tree, checked for shape, which
    gets its type when it is asked for. (There may be tens of thousands.)"""

    meta: Mapping[str, Mapping[str, Any]]

    def info(self, name: str) -> FileInfo | None:
        """What is said of the file `name`; None if it is not listed."""
        entry = self.meta.get(name)
        return None if entry is None else _file_info(entry, f"{SNAPSHOT}: meta[{name!r}]")

    def differing(self, other: Snapshot) -> Iterator[str]:
        """The names that `other` lists in another way, or not at all."""
        mine, theirs = self.meta, other.meta
        if isinstance(mine, VersionList) and isinstance(theirs, VersionList):
            return mine.differing(theirs)
        return (name for name, entry in mine.items() if theirs.get(name) != entry)


@dataclass(frozen=True)
class Delegation:
    """One delegated role (TUF specification 4.5, "ROLE"): `paths` or `path_hash_prefixes`."""

    name: str
    keys: RoleKeys
    terminating: bool
    paths: tuple[str, ...] | None
    path_hash_prefixes: tuple[str, ...] | None


@dataclass(frozen=True)
class SuccinctDelegation:
    """TAP 15: ``2 ** bit_length`` terminating roles, all with the same keys."""

    bit_length: int
    name_prefix: str
    keys: RoleKeys

    def role_of(self, number: int) -> str:
        """Role name of bin `number`."""
        digits = (self.bit_length + 3) // 4
        return f"{self.name_prefix}-{number:0{digits}x}"

    def prefixes_of(self, role: str) -> tuple[str, ...]:
        """How the hashes of paths begin that fall into the bin `role`, in whole hex digits."""
        number = int(role.rpartition("-")[2], 16)
        digits = (self.bit_length + 3) // 4
        share = 4 * digits - self.bit_length  # bits of the last digit that do not matter
        first = number << share
        return tuple(f"{first + n:0{digits}x}" for n in range(1 << share))


@dataclass(frozen=True)
class Targets(Signed):
    """Targets metadata: entries by path (their trees, checked for shape), and delegations."""

    targets: Mapping[str, Mapping[str, Any]]
    delegations: tuple[Delegation, ...] | SuccinctDelegation

    def keys_of(self, role: str) -> RoleKeys | None:
        """The keys of a role that this one delegates to; None if it does not."""
        if isinstance(self.delegations, SuccinctDelegation):
            prefix, _, suffix = role.rpartition("-")
            known = prefix == self.delegations.name_prefix and _is_bin(suffix, self.delegations)
            return self.delegations.keys if known else None
        found = self._by_name.get(role)
        return None if found is None else found.keys

    def prefixes_of(self, role: str) -> tuple[str, ...] | None:
        """How the hashes of paths begin that `role` is trusted with (hex); None if this one
        doesn't delegate to it by hash."""
        if isinstance(self.delegations, SuccinctDelegation):
            return self.delegations.prefixes_of(role)
        found = self._by_name.get(role)
        return None if found is None else found.path_hash_prefixes

    def delegation_of(self, role: str) -> Delegation | SuccinctDelegation | None:
        """The delegation to `role`, which may be that to all bins."""
        if isinstance(self.delegations, SuccinctDelegation):
            return self.delegations
        return self._by_name.get(role)

    @cached_property
    def _by_name(self) -> Mapping[str, Delegation]:
        assert isinstance(self.delegations, tuple)  # noqa: S101 - asked for classic ones only
        return {delegation.name: delegation for delegation in self.delegations}


def _is_bin(suffix: str, succinct: SuccinctDelegation) -> bool:
    try:
        number = int(suffix, 16)
    except ValueError:
        return False
    return (
        0 <= number < 2**succinct.bit_length
        and succinct.role_of(number) == f"{succinct.name_prefix}-{suffix}"
    )


def parse(data: bytes, *, where: str, max_length: int) -> Envelope:
    """Read a metadata file strictly (TUF specification 4.2).

    Raises:
        LengthError: more than `max_length` bytes.
        MalformedError: not of the shape of signed metadata; a key id that signs twice.
    """
    tree, payload = read_signed(data, where=where, max_length=max_length)
    signed = _get(tree, "signed", dict, where)
    entries = _get(tree, "signatures", list, where)
    if len(entries) > MAX_SIGNATURES:
        raise MalformedError(
            "too many signatures", where=where, expected=MAX_SIGNATURES, got=len(entries)
        )
    signatures: dict[str, str] = {}
    for number, entry in enumerate(entries):
        place = f"{where}: signatures[{number}]"
        keyid = _get(entry, "keyid", str, place)
        if keyid in signatures:
            raise MalformedError("a key id signs twice", where=place, got=keyid)
        signatures[keyid] = _get(entry, "sig", str, place)
    return Envelope(where, signed, payload, signatures)


def parse_root(envelope: Envelope) -> Root:
    """Give root metadata its type. Raises MalformedError, UnsupportedKeyError."""
    signed, where = envelope.signed, envelope.where
    version, expires = _common(signed, "root", where)
    keys = _keys(signed, where)
    roles = _get(signed, "roles", dict, where)
    if set(roles) != set(TOP_LEVEL_ROLES):
        raise MalformedError(
            "wrong roles", where=where, expected=sorted(TOP_LEVEL_ROLES), got=sorted(roles)
        )
    consistent = signed.get("consistent_snapshot", False)
    if not isinstance(consistent, bool):
        raise MalformedError("expected a boolean", where=f"{where}: consistent_snapshot")
    return Root(
        version,
        expires,
        consistent,
        {name: _role_keys(role, keys, f"{where}: roles[{name!r}]") for name, role in roles.items()},
    )


def parse_timestamp(envelope: Envelope) -> Timestamp:
    """Give timestamp metadata its type. Raises MalformedError."""
    signed, where = envelope.signed, envelope.where
    version, expires = _common(signed, "timestamp", where)
    meta = _get(signed, "meta", dict, where)
    name = f"{SNAPSHOT}.json"
    if set(meta) != {name}:  # TUF specification 4.4: it describes nothing else
        raise MalformedError("wrong entries", where=f"{where}: meta", expected=name, got=meta)
    return Timestamp(version, expires, _file_info(meta[name], f"{where}: meta[{name!r}]"))


def parse_snapshot(envelope: Envelope) -> Snapshot:
    """Give snapshot metadata its type. Raises MalformedError."""
    signed, where = envelope.signed, envelope.where
    version, expires = _common(signed, "snapshot", where)
    meta = signed.get("meta")
    if not isinstance(meta, VersionList):  # else the reader has proved its shape
        meta = _get(signed, "meta", dict, where)
        for name, entry in meta.items():
            if not is_file_info(entry):
                _file_info(entry, f"{where}: meta[{name!r}]")  # says what is wrong
    return Snapshot(version, expires, meta)


def parse_targets(envelope: Envelope) -> Targets:
    """Give targets metadata its type. Raises MalformedError, UnsupportedKeyError."""
    signed, where = envelope.signed, envelope.where
    version, expires = _common(signed, "targets", where)
    targets = signed.get("targets")
    if not isinstance(targets, TargetList):  # else the reader has proved its shape
        targets = _get(signed, "targets", dict, where)
        for path, entry in targets.items():
            if not is_target(entry):
                place = f"{where}: targets[{path!r}]"
                _natural(entry, "length", place)  # one of these says what is wrong
                _hashes(_get(entry, "hashes", dict, place), place)
    delegations: tuple[Delegation, ...] | SuccinctDelegation = ()
    if "delegations" in signed:
        delegations = _delegations(_get(signed, "delegations", dict, where), where)
    return Targets(version, expires, targets, delegations)


# -- parts -----------------------------------------------------------------------------------


def _get(tree: Any, name: str, kind: type, where: str) -> Any:
    if not isinstance(tree, dict):
        raise MalformedError("expected an object", where=where, got=tree)
    if name not in tree:
        raise MalformedError("a field is missing", where=where, expected=name, got=sorted(tree)[:8])
    value = tree[name]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise MalformedError(
            "wrong type", where=f"{where}: {name}", expected=kind.__name__, got=value
        )
    return value


def _natural(tree: Any, name: str, where: str, least: int = 0) -> int:
    value: int = _get(tree, name, int, where)
    if value < least:
        raise MalformedError("out of range", where=f"{where}: {name}", expected=least, got=value)
    return value


def _common(signed: Mapping[str, Any], kind: str, where: str) -> tuple[int, datetime]:
    found = _get(signed, "_type", str, where)
    if found != kind:
        raise MalformedError("wrong role type", where=f"{where}: _type", expected=kind, got=found)
    spec = _get(signed, "spec_version", str, where)
    if not _SPEC_VERSION.fullmatch(spec):
        raise MalformedError(
            "unknown format", where=f"{where}: spec_version", expected="1.x", got=spec
        )
    version = _natural(signed, "version", where, 1)
    text = _get(signed, "expires", str, where)
    parts = _DATE.fullmatch(text)
    try:
        year, month, day, hour, minute, second = map(int, parts.groups() if parts else ())
        expires = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:  # another form, or no such day
        raise MalformedError(
            "not a date", where=f"{where}: expires", expected="YYYY-MM-DDTHH:MM:SSZ", got=text
        ) from None
    return version, expires


def _hashes(hashes: Any, where: str) -> Mapping[str, str]:
    if not isinstance(hashes, dict) or not hashes:
        raise MalformedError("expected hashes", where=f"{where}: hashes", got=hashes)
    for digest in hashes.values():
        if not isinstance(digest, str):
            raise MalformedError("expected a hex digest", where=f"{where}: hashes", got=digest)
    return hashes


def _file_info(tree: Any, where: str) -> FileInfo:
    version = _natural(tree, "version", where, 1)
    length = _natural(tree, "length", where) if "length" in tree else None
    hashes = _hashes(tree["hashes"], where) if "hashes" in tree else {}
    return FileInfo(version, length, hashes)


def _keys(tree: Any, where: str) -> dict[str, SSlibKey]:
    keys = _get(tree, "keys", dict, where)
    return {
        keyid: parse_key(keyid, key, where=f"{where}: keys[{keyid[:64]!r}]")
        for keyid, key in keys.items()
    }


def _strings(tree: Any, name: str, where: str) -> tuple[str, ...]:
    items = _get(tree, name, list, where)
    if not all(isinstance(item, str) for item in items):
        raise MalformedError("expected strings", where=f"{where}: {name}", got=items)
    return tuple(items)


def _role_keys(tree: Any, keys: Mapping[str, SSlibKey], where: str) -> RoleKeys:
    keyids = _strings(tree, "keyids", where)
    if len(set(keyids)) != len(keyids):
        raise MalformedError("a key id is listed twice", where=where, got=keyids)
    return RoleKeys(keyids, _natural(tree, "threshold", where, 1), keys)


def _delegations(tree: Any, where: str) -> tuple[Delegation, ...] | SuccinctDelegation:
    where = f"{where}: delegations"
    keys = _keys(tree, where)
    if ("roles" in tree) == ("succinct_roles" in tree):
        raise MalformedError("expected either roles or succinct_roles", where=where)
    if "succinct_roles" in tree:
        succinct = tree["succinct_roles"]
        bits = _natural(succinct, "bit_length", where, 1)
        if bits > 32:
            raise MalformedError(
                "out of range", where=f"{where}: bit_length", expected="1..32", got=bits
            )
        prefix = _get(succinct, "name_prefix", str, where)
        _check_role_name(prefix, where)
        return SuccinctDelegation(bits, prefix, _role_keys(succinct, keys, where))
    delegations = tuple(
        _delegation(role, keys, f"{where}: roles[{number}]")
        for number, role in enumerate(_get(tree, "roles", list, where))
    )
    if len({delegation.name for delegation in delegations}) != len(delegations):
        raise MalformedError("a role is delegated to twice", where=where)
    return delegations


def _delegation(tree: Any, keys: Mapping[str, SSlibKey], where: str) -> Delegation:
    name = _get(tree, "name", str, where)
    _check_role_name(name, where)
    if ("paths" in tree) == ("path_hash_prefixes" in tree):
        raise MalformedError("expected either paths or path_hash_prefixes", where=where)
    return Delegation(
        name,
        _role_keys(tree, keys, where),
        _get(tree, "terminating", bool, where),
        _strings(tree, "paths", where) if "paths" in tree else None,
        _strings(tree, "path_hash_prefixes", where) if "path_hash_prefixes" in tree else None,
    )


def _check_role_name(name: str, where: str) -> None:
    if not name or name in TOP_LEVEL_ROLES or len(name) > MAX_ROLE_NAME:
        raise MalformedError(
            f"expected a role name of 1 to {MAX_ROLE_NAME} characters that is not a top-level role",
            where=where,
            got=name,
        )
