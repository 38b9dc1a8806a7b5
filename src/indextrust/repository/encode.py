"""The large online roles as bytes: what is signed for bins and the snapshot. PURE.

At 16,384 bins the trees of `indextrust.repository.plan` cost more than all the rest of a
publication: a tree is made of a million dictionaries to be sorted and taken apart again. Here a
role is put together from its encoded entries, and an entry is encoded once:

* `bin_payload`: from the rows of a bin;
* `renewed_payload`: from the bin's last file, of which only version and expiry change;
* `edited_payload`: likewise, and some entries change: the others are copied as they stand;
* `SnapshotList`: the entries of the snapshot, of which a publication changes a few.

The bytes are those of `canonical` for the tree of the same role (a property test holds them
together, and to securesystemslib's encoder). A string that would need an escape is refused: the
names, paths and hashes of this profile have none, so it is no string of ours. That is also why
what is signed stands in the metadata file as it is (`Payload`).

Sources: TUF specification 4.2 to 4.6; PEP 458, "PyPI and TUF Metadata" (a snapshot of versions).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from json.encoder import encode_basestring as _quote
from typing import Any, NewType

from indextrust.errors import RepositoryError
from indextrust.names import CLASSIC_BINS_LIMIT, BinScheme
from indextrust.repository.plan import SPEC_VERSION, RoleFile, TargetFile, describe

__all__ = [
    "Payload",
    "SnapshotList",
    "bin_payload",
    "decoded",
    "edited_payload",
    "encoded",
    "entries_digest",
    "entries_of",
    "find_target",
    "listed",
    "lists_hashes",
    "renewed_payload",
]

Payload = NewType("Payload", bytes)
"""Canonical bytes of a ``signed`` part that are JSON as they stand: no control character."""

LONGEST_UNRECORDED = 5_000_000
"""Bytes of the longest targets file that python-tuf's `Updater` takes without a recorded length."""

_BEFORE_TARGETS = f'","spec_version":"{SPEC_VERSION}","targets":{{'.encode()
_BIN = re.compile(
    rb'"signed":\{"_type":"targets","expires":"[0-9TZ:-]{20}' + re.escape(_BEFORE_TARGETS)
)
_OF_ONE = re.compile(
    rb':\{"hashes":\{"sha256":"([0-9a-f]{64})"(?:,"sha512":"([0-9a-f]{128})")?\},'
    rb'"length":(0|[1-9][0-9]*)\}'
)
_ENTRY = re.compile(  # digests are as they were published: their length is enough
    rb'("([^"\\]++)":\{"hashes":\{"sha256":".{64}"(?:,"sha512":".{128}")?\},'
    rb'"length":(?:0|[1-9][0-9]*)\}),',
    re.DOTALL,
)


def lists_hashes(scheme: BinScheme) -> bool:
    """Whether the snapshot lists length and hash of each role beside its version.

    Up to 256 bins it does. Above, versions only, as PEP 458 has it: 0.5 MB instead of 2.2 MB at
    16,384 bins, for every client and every publication. What is lost: an *empty* bin could be
    served in the place of another of the same version, and hide what that lists until the bins
    are signed anew, a day at most, which whoever controls the network can do anyway.
    """
    return scheme.count <= CLASSIC_BINS_LIMIT


def bin_payload(version: int, expires: str, targets: Mapping[str, TargetFile]) -> Payload:
    """A bin.

    Args:
        version: its version.
        expires: as TUF writes it.
        targets: target path to what is vouched for it, in any order.

    Raises:
        RepositoryError: a path or hash that can't be one: the state is damaged.
    """
    return _bin(version, expires, encoded(targets))


def encoded(targets: Mapping[str, TargetFile]) -> bytes:
    """The entries of a bin, as they stand in its file. Raises RepositoryError as `bin_payload`."""
    entries = [_target(path, target) for path, target in sorted(targets.items())]
    return ",".join(entries).encode("utf-8")


def entries_of(data: bytes, version: int) -> bytes | None:
    """The entries in a bin's file, as they stand in it, in the order of their paths.

    Args:
        data: the file; known to be the one that was published.
        version: its version.

    Returns:
        None if `data` is not what this module writes.
    """
    found, end = _BIN.search(data), b'},"version":%d}}' % version
    if found is None or not data.endswith(end):
        return None
    return data[found.end() : len(data) - len(end)]


def entries_digest(data: bytes, version: int) -> str:
    """SHA-256 of the entries in a bin's file; empty if it is not what this module writes."""
    entries = entries_of(data, version)
    return "" if entries is None else describe(entries).sha256


def decoded(entries: bytes) -> dict[str, TargetFile]:
    """The targets in the entries of a bin, known to be what this module wrote."""
    return {path: listed(entry) for path, entry in json.loads(b"{" + entries + b"}").items()}


def listed(entry: Mapping[str, Any]) -> TargetFile:
    """An entry of a bin that is known to be one that this module wrote."""
    hashes = entry["hashes"]
    return TargetFile(entry["length"], hashes["sha256"], hashes.get("sha512"))


def renewed_payload(data: bytes, old: int, version: int, expires: str) -> Payload | None:
    """A bin whose targets stay, from the bytes of its last file.

    Args:
        data: the file; known to be the one that was published.
        old: its version.
        version: the new one.
        expires: as TUF writes it.

    Returns:
        None if `data` is not what this module writes: then `bin_payload` is needed.
    """
    entries = entries_of(data, old)
    return None if entries is None else _bin(version, expires, entries)


def edited_payload(
    entries: bytes,
    version: int,
    expires: str,
    put: Mapping[str, TargetFile],
    drop: Iterable[str],
) -> Payload | None:
    """A bin of which some targets change.

    Args:
        entries: of its last file (`entries_of`).
        version: the new one.
        expires: as TUF writes it.
        put: target path to what is vouched for it from now on.
        drop: target paths that are targets no more.

    Returns:
        None if `entries` is not what this module writes: then `bin_payload` is needed.

    Raises:
        RepositoryError: as `bin_payload`.
    """
    pairs = _ENTRY.findall(entries + b",") if entries else []
    if sum(len(entry) + 1 for entry, _ in pairs) != len(entries) + bool(entries):
        return None  # something stands between them
    found = {path: entry for entry, path in pairs}
    for path, target in put.items():
        found[path.encode("utf-8")] = _target(path, target).encode("utf-8")
    for path in drop:
        found.pop(path.encode("utf-8"), None)
    return _bin(version, expires, b",".join([found[path] for path in sorted(found)]))


def find_target(entries: bytes, path: str) -> TargetFile | None:
    """What is vouched for `path` in the entries of a bin (`entries_of`); None if nothing."""
    key = _quote(path).encode("utf-8")
    start = entries.find(key + b':{"hashes":{"sha256":')  # a path may read "sha512"
    match = None if start < 0 else _OF_ONE.match(entries, start + len(key))
    if match is None:
        return None
    sha512 = None if match[2] is None else match[2].decode("ascii")
    return TargetFile(int(match[3]), match[1].decode("ascii"), sha512)


class SnapshotList:
    """The entries of the snapshot, encoded and in order.

    Args:
        hashes: whether length and sha256 are listed (`lists_hashes`).
        roles: what is published of each, by role name.
    """

    def __init__(self, roles: Mapping[str, RoleFile], *, hashes: bool) -> None:
        self._hashes = hashes
        names = sorted(roles, key=lambda name: f"{name}.json")
        self._entries = {name: self._entry(name, roles[name]) for name in names}

    def changed(self, roles: Mapping[str, RoleFile]) -> SnapshotList:
        """The same with other entries for `roles`, all of which are listed already."""
        changed = SnapshotList({}, hashes=self._hashes)
        changed._entries = self._entries.copy()
        for name, role in roles.items():
            changed._entries[name] = self._entry(name, role)
        return changed

    @cached_property
    def _text(self) -> str:
        """All entries, as they stand in the snapshot."""
        return ",".join(self._entries.values())

    def payload(self, version: int, expires: str) -> Payload:
        """The snapshot. Raises RepositoryError as `bin_payload`."""
        return _payload(
            f'{{"_type":"snapshot","expires":{_quote(expires)},'
            f'"meta":{{{self._text}}},'
            f'"spec_version":"{SPEC_VERSION}","version":{version}}}'
        )

    def digest(self, names: Sequence[str]) -> str:
        """SHA-256 of what is listed of these roles, in this order."""
        return describe(self._part(names).encode("utf-8")).sha256

    def _part(self, names: Sequence[str]) -> str:
        """The entries of these roles: out of the text, if they lie side by side in it, as those
        of all bins do when none is out of use."""
        entries, text, order = self._entries, self._text, [*self._entries]
        start = order.index(names[0])
        if order[start : start + len(names)] != [*names]:
            return ",".join(map(entries.__getitem__, names))
        first, last = entries[names[0]], entries[names[-1]]
        return text[text.index(first) : text.rindex(last) + len(last)]

    def _entry(self, name: str, role: RoleFile) -> str:
        key = _quote(f"{name}.json")
        if self._hashes:
            hashes = f'{{"sha256":{_quote(role.sha256)}}}'
            return (
                f'{key}:{{"hashes":{hashes},"length":{role.length:d},"version":{role.version:d}}}'
            )
        if role.length > LONGEST_UNRECORDED:
            return f'{key}:{{"length":{role.length:d},"version":{role.version:d}}}'
        return f'{key}:{{"version":{role.version:d}}}'


def _target(path: str, target: TargetFile) -> str:
    """One entry of a bin. Raises RepositoryError for what can't be one."""
    try:
        more = "" if target.sha512 is None else f',"sha512":{_quote(target.sha512)}'
        entry = (
            f'{_quote(path)}:{{"hashes":{{"sha256":{_quote(target.sha256)}{more}}},'
            f'"length":{target.length:d}}}'
        )
    except (TypeError, ValueError) as error:
        raise RepositoryError(f"the state is damaged: no entry of a target: {error}") from None
    if "\\" in entry:
        raise RepositoryError(
            f"the state is damaged: a name, path or hash that can't be one: {entry[:160]!r}"
        )
    return entry


def _bin(version: int, expires: str, entries: bytes) -> Payload:
    head = f'{{"_type":"targets","expires":{_quote(expires)}'.encode()
    return Payload(head + _BEFORE_TARGETS[1:] + entries + b'},"version":%d}' % version)


def _payload(text: str) -> Payload:
    if "\\" in text:
        start = max(text.index("\\") - 80, 0)
        raise RepositoryError(
            f"the state is damaged: a name, path or hash that can't be one: {text[start:][:160]!r}"
        )
    return Payload(text.encode("utf-8"))
