"""What the public folder says, read as if an attacker had written it.

After a compromise the files in ``metadata/`` may be anything: validly signed by a stolen key, or
garbage. Nothing here verifies a signature or trusts a number; every read is bounded, and what
can't be read is reported, never raised.
"""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

from indextrust.distribution import SHA256_HEX, SHA512_HEX
from indextrust.errors import RepositoryError
from indextrust.names import (
    BINS,
    SNAPSHOT,
    TIMESTAMP,
    BinScheme,
    Layout,
    is_target_path,
    metadata_filename,
)
from indextrust.repository.offline import scheme_of
from indextrust.repository.plan import TargetFile
from indextrust.repository.storage import FolderStorage

__all__ = [
    "METADATA",
    "VERSIONED",
    "VERSION_LIMIT",
    "highest_versions",
    "stated_versions",
    "targets_served",
]

METADATA = "metadata/"
"""Where metadata lies below the public folder."""

VERSION_LIMIT = 2**52
"""Versions beyond are not followed: a thief must not push ours out of what JSON numbers and SQL
integers hold. Where one was signed, clients forget it with the stolen key (specification 5.3.11).
"""

VERSIONED = re.compile(r"([1-9][0-9]{0,15})\.([a-z0-9-]+)\.json", re.ASCII)
"""Name of a metadata file: version and role."""

_READABLE = 2**53
"""Versions are read up to here, so that ours above `VERSION_LIMIT` have room."""

# What no client reads is not read here either; the figures are those of `indextrust.trust`.
_MAX_TIMESTAMP = 16_384
_MAX_FILE = 32_000_000
_MAX_VALUES = 350_000
_MAX_FAULTS = 100


def _signed(storage: FolderStorage, filename: str) -> dict[str, Any] | None:
    """The ``signed`` part of a metadata file, not verified; None if it can't be read."""
    timestamp = filename == metadata_filename(TIMESTAMP)
    data = storage.read(METADATA + filename, _MAX_TIMESTAMP if timestamp else _MAX_FILE)
    if data is not None and sum(map(data.count, (b",", b"[", b"{"))) > _MAX_VALUES:
        return None
    try:
        signed = json.loads(data)["signed"] if data is not None else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return signed if isinstance(signed, dict) else None


def _version(tree: Any) -> int | None:
    version = tree.get("version") if isinstance(tree, dict) else None
    return version if type(version) is int and 1 <= version <= _READABLE else None


def _meta(signed: dict[str, Any] | None) -> dict[str, int]:
    """Role name to version, from the ``meta`` of a snapshot or timestamp."""
    meta = signed.get("meta") if signed is not None else None
    if not isinstance(meta, dict):
        return {}
    versions = {name.removesuffix(".json"): _version(entry) for name, entry in meta.items()}
    return {name: version for name, version in versions.items() if version is not None}


def stated_versions(storage: FolderStorage) -> dict[str, int]:
    """The versions that ``timestamp.json`` states, of itself and of the snapshot.

    What can't be read is left out.
    """
    timestamp = _signed(storage, metadata_filename(TIMESTAMP))
    versions = _meta(timestamp)
    if (version := _version(timestamp)) is not None:
        versions[TIMESTAMP] = version
    return versions


def highest_versions(storage: FolderStorage) -> dict[str, int]:
    """The highest version of each role that was served, by anybody, up to `VERSION_LIMIT`.

    From the names of the files, and from what the served timestamp and snapshot list.
    """
    found: list[tuple[str, int]] = []
    for name in storage.listing("metadata"):
        if match := VERSIONED.fullmatch(name):
            found.append((match[2], int(match[1])))
    listed = stated_versions(storage)
    found.extend(listed.items())
    if SNAPSHOT in listed:
        snapshot = _signed(storage, metadata_filename(SNAPSHOT, listed[SNAPSHOT]))
        found.extend(_meta(snapshot).items())
    highest: dict[str, int] = {}
    for role, version in found:
        if version <= VERSION_LIMIT:
            highest[role] = max(version, highest.get(role, 0))
    return highest


def targets_served(
    storage: FolderStorage,
    scheme: BinScheme,
    layout: Layout,
) -> tuple[dict[str, TargetFile], tuple[str, ...]]:
    """The targets that a client would find, walking timestamp, snapshot and bins.

    Args:
        storage: the public folder.
        scheme: the bins if the bins role that is served can't be read, which may have others while
            a re-binning is not out, or by a thief's hand; an entry in another bin than its path
            falls into is no target.
        layout: what targets hands to the bins; an entry of another path is no target either.

    Returns:
        Target path to what is signed for it, and what could not be read, one sentence each; of
        one bin at most 100, and one more that says how many there were.
    """
    targets: dict[str, TargetFile] = {}
    faults: list[str] = []
    version = stated_versions(storage).get(SNAPSHOT)
    snapshot = version and _signed(storage, metadata_filename(SNAPSHOT, version))
    if not snapshot:
        return {}, ("the served timestamp leads to no readable snapshot",)
    listed = _meta(snapshot)
    bins = _signed(storage, metadata_filename(BINS, listed.get(BINS, 0))) or {}
    if isinstance(delegations := bins.get("delegations"), dict):
        with contextlib.suppress(RepositoryError):
            scheme = scheme_of(delegations)[0]
    for name in scheme.names():
        filename = metadata_filename(name, listed.get(name, 0))
        entries = (_signed(storage, filename) or {}).get("targets")
        if not isinstance(entries, dict):
            faults.append(f"{name}: {filename} can't be read")
            continue
        odd: list[str] = []
        for path, entry in entries.items():
            target = _target(entry)
            if target is None or not _belongs(path, name, scheme, layout):
                odd.append(f"{name}: no client follows its entry of {path[:200]!r}")
            else:
                targets[path] = target
        faults.extend(odd[:_MAX_FAULTS])
        if len(odd) > _MAX_FAULTS:
            faults.append(f"{name}: {len(odd)} such entries, of which {_MAX_FAULTS} are named")
    return targets, tuple(faults)


def _belongs(path: str, name: str, scheme: BinScheme, layout: Layout) -> bool:
    try:
        return is_target_path(path, layout) and scheme.bin_of(path) == name
    except UnicodeEncodeError:  # JSON can spell lone surrogates
        return False


def _target(entry: Any) -> TargetFile | None:
    try:
        length, sha256 = entry["length"], entry["hashes"]["sha256"]
        sha512 = entry["hashes"].get("sha512")
    except (KeyError, TypeError, AttributeError):
        return None
    if type(length) is not int or not isinstance(sha256, str) or not SHA256_HEX.fullmatch(sha256):
        return None
    if sha512 is not None and not (isinstance(sha512, str) and SHA512_HEX.fullmatch(sha512)):
        return None
    return TargetFile(length, sha256, sha512)
