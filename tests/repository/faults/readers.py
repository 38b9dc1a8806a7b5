"""Readers that are not ours: tuf's `Updater`, and its metadata classes reading the whole index.

`Reader` is one client with a home of its own: a fresh one, or one that has been there before.
`whole` reads everything that the served timestamp leads to, and verifies it; an index in which
anything is missing, or does not fit, is no complete snapshot and raises.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.ngclient import FetcherInterface, Updater

__all__ = ["Index", "Reader", "numbered", "whole"]

_BASE = "http://index.invalid/"
_FOR_GOOD = re.compile(r"([1-9][0-9]*\.[a-z0-9-]+\.json|[0-9a-f]{64}\..+)", re.ASCII)


@dataclass(frozen=True)
class Index:
    """One complete snapshot.

    Args:
        versions: of every role, by name.
        targets: target path to SHA-256.
    """

    versions: dict[str, int]
    targets: dict[str, str]


class _Folder(FetcherInterface):
    """Serves a folder, and keeps what it gave out."""

    def __init__(self, folder: Path, given: dict[str, str]) -> None:
        self._folder = folder
        self._given = given

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.removeprefix(_BASE)
        try:
            data = (self._folder / name).read_bytes()
        except FileNotFoundError:
            raise DownloadHTTPError(f"no {name}", 404) from None
        self._given[name] = hashlib.sha256(data).hexdigest()
        yield data


class Reader:
    """A client.

    Args:
        home: its folder; one that is there already makes it a returning client.
        root: the root it starts from.
    """

    def __init__(self, home: Path, root: bytes) -> None:
        self.home = home
        self._root = root
        self.given: dict[str, str] = {}
        """SHA-256 of what it was given last, by name."""
        (home / "targets").mkdir(parents=True, exist_ok=True)

    def read(self, public: Path, paths: Iterable[str]) -> Index:
        """Refresh, look for each path, and download what is listed. Raises what tuf raises."""
        updater = Updater(
            str(self.home / "metadata"),
            _BASE + "metadata/",
            str(self.home / "targets"),
            _BASE,
            fetcher=_Folder(public, self.given),
            bootstrap=self._root,
        )
        updater.refresh()
        targets = {}
        for path in paths:
            entry = updater.get_targetinfo(path)
            if entry is not None:
                data = Path(updater.download_target(entry)).read_bytes()
                assert hashlib.sha256(data).hexdigest() == entry.hashes["sha256"]
                targets[path] = entry.hashes["sha256"]
        trusted = Metadata[Timestamp].from_file(str(self.home / "metadata" / "timestamp.json"))
        snapshot = trusted.signed.snapshot_meta.version
        return Index({"timestamp": trusted.signed.version, "snapshot": snapshot}, targets)


def whole(public: Path, root: bytes) -> Index:
    """Everything that is served, verified from the root on."""
    metadata = public / "metadata"
    trusted = Metadata[Root].from_bytes(root)
    while (after := metadata / f"{trusted.signed.version + 1}.root.json").exists():
        root = after.read_bytes()
        new = Metadata[Root].from_bytes(root)
        for delegator in (trusted, new):
            delegator.signed.verify_delegate("root", new.signed_bytes, new.signatures)
        trusted = new
    timestamp = Metadata[Timestamp].from_bytes((metadata / "timestamp.json").read_bytes())
    _verify(trusted, "timestamp", timestamp)
    said = timestamp.signed.snapshot_meta
    data = (metadata / f"{said.version}.snapshot.json").read_bytes()
    said.verify_length_and_hashes(data)
    snapshot = Metadata[Snapshot].from_bytes(data)
    _verify(trusted, "snapshot", snapshot)
    versions = {"timestamp": timestamp.signed.version, "snapshot": said.version}
    targets: dict[str, str] = {}
    waiting = {"targets": root}  # name: the file that delegates to it
    while waiting:
        name, delegator_file = waiting.popitem()
        meta = snapshot.signed.meta[f"{name}.json"]
        data = (metadata / f"{meta.version}.{name}.json").read_bytes()
        meta.verify_length_and_hashes(data)
        role = _verified(delegator_file, name, data).signed
        assert role.version == meta.version
        assert not role.is_expired(), name
        versions[name] = role.version
        for path, entry in role.targets.items():
            _there(public, path, entry)
            targets[path] = entry.hashes["sha256"]
        if role.delegations is not None:
            succinct = role.delegations.succinct_roles
            below = succinct.get_roles() if succinct else role.delegations.roles or ()
            waiting |= dict.fromkeys(below, data)
    return Index(versions, targets)


def numbered(public: Path) -> dict[str, str]:
    """SHA-256 of every file whose name stands for one content for good, by name."""
    return {
        str(path.relative_to(public)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in public.rglob("*")
        if _FOR_GOOD.fullmatch(path.name) and path.is_file()
    }


def _verify(delegator: Metadata[Any], name: str, role: Metadata[Any]) -> None:
    delegator.signed.verify_delegate(name, role.signed_bytes, role.signatures)
    assert not role.signed.is_expired(), name


@lru_cache(maxsize=4096)
def _verified(delegator: bytes, name: str, data: bytes) -> Metadata[Targets]:
    """A role whose signatures are good: looked at once for the same bytes."""
    role = Metadata[Targets].from_bytes(data)
    _verify(Metadata[Any].from_bytes(delegator), name, role)
    return role


def _there(public: Path, path: str, entry: TargetFile) -> None:
    """The file of a target lies under the name that clients ask for."""
    folder, _, name = path.rpartition("/")
    data = (public / folder / f"{entry.hashes['sha256']}.{name}").read_bytes()
    entry.verify_length_and_hashes(data)
