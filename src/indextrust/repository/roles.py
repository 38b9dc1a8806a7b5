"""The offline roles as files: what the keyholders hand to the operator. No key is in them.

`SignedRoles.save` and `SignedRoles.load` move them between machines, under the names they will
be published by. The incident records that targets lists (`indextrust.incidents`) go with them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from indextrust.errors import InputError, StoreError
from indextrust.incidents import FOLDER, MAX_LENGTH, incident_path
from indextrust.names import BINS, ROOT, TARGETS, metadata_filename
from indextrust.repository.disk import read_bounded, storing, write_new

__all__ = ["SignedRoles"]

_ROLE_FILE = re.compile(r"([1-9][0-9]{0,8})\.(root|targets|bins)\.json", re.ASCII)


_MAX_BYTES = 5_000_000  # what clients take of targets and bins


@dataclass(frozen=True)
class SignedRoles:
    """The offline roles as a ceremony signed them.

    Args:
        root: the new root files, in order of version: one from a genesis, usually one from a
            rotation.
        targets: the ``targets`` file.
        bins: the ``bins`` file.
        incidents: every incident record that `targets` lists, by target path.
    """

    root: tuple[bytes, ...]
    targets: bytes
    bins: bytes
    incidents: Mapping[str, bytes] = field(default_factory=dict)

    def save(self, folder: Path) -> list[Path]:
        """Write ``N.root.json``, ``N.targets.json``, ``N.bins.json`` and ``incidents/ID.json``.

        Args:
            folder: created if missing. A file that is there already must have the same bytes.

        Returns:
            The files, roots first, incident records last.

        Raises:
            InputError: a role without a version.
            StoreError: a file is there with other bytes, or can't be written.
        """
        files = [(folder / metadata_filename(ROOT, _version(data)), data) for data in self.root]
        files.append((folder / metadata_filename(TARGETS, _version(self.targets)), self.targets))
        files.append((folder / metadata_filename(BINS, _version(self.bins)), self.bins))
        files += [(folder / path, data) for path, data in sorted(self.incidents.items())]
        with storing(f"write {folder}"):
            for parent in {path.parent for path, _ in files}:
                parent.mkdir(parents=True, exist_ok=True)
        for path, data in files:
            write_new(path, data)
        return [path for path, _ in files]

    @classmethod
    def load(cls, folder: Path) -> SignedRoles:
        """Read what `save` wrote: every root there, the newest ``targets`` and ``bins``, and the
        incident records that this targets lists; or the ``metadata`` folder of an index, with the
        records beside it.

        Nothing is verified here; the repository does that before it takes the roles.

        Raises:
            InputError: a role is missing.
            StoreError: the folder can't be read.
        """
        found: dict[str, dict[int, Path]] = {ROOT: {}, TARGETS: {}, BINS: {}}
        with storing(f"read {folder}"):
            for path in folder.iterdir():
                if match := _ROLE_FILE.fullmatch(path.name):
                    found[match[2]][int(match[1])] = path
            for role, versions in found.items():
                if not versions:
                    raise InputError(f"{folder} has no N.{role}.json")
            targets = _read(found[TARGETS][max(found[TARGETS])])
            return cls(
                tuple(_read(path) for _, path in sorted(found[ROOT].items())),
                targets,
                _read(found[BINS][max(found[BINS])]),
                _incidents(folder, targets),
            )


def _incidents(folder: Path, targets: bytes) -> dict[str, bytes]:
    """The records that targets lists, by target path. Raises InputError, StoreError."""
    listed = _signed(targets).get("targets")
    found = {}
    for path in sorted(listed) if isinstance(listed, dict) else []:
        if incident_path(path.removeprefix(FOLDER).removesuffix(".json")) != path:
            raise InputError(f"expected incident records in targets, got {path!r:.200}")
        places = [folder / path, folder.parent / path]
        there = next((place for place in places if place.is_file()), places[0])
        found[path] = _read(there, MAX_LENGTH)
    return found


def _read(path: Path, most: int = _MAX_BYTES) -> bytes:
    """A small regular file. Raises StoreError: it is something else (a stick may hold anything)."""
    data = read_bounded(path, most)
    if data is None:
        raise StoreError(f"can't read {path}: expected a regular file of at most {most} bytes")
    return data


def _version(data: bytes) -> int:
    """The version that a metadata file says it has; the file is not verified."""
    version = _signed(data).get("version")
    if type(version) is not int or version < 1:
        raise InputError(f"expected a signed role with a version, got {data[:60]!r}")
    return version


def _signed(data: bytes) -> dict[str, Any]:
    """The ``signed`` part of a metadata file; empty if it has none."""
    try:
        signed = json.loads(data)["signed"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}
    return signed if isinstance(signed, dict) else {}
