"""The offline roles as files: what the keyholders hand to the operator. No key is in them.

`SignedRoles.save` and `SignedRoles.load` move them between machines, under the names they will
be published by.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from indextrust.errors import InputError, StoreError
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
    """

    root: tuple[bytes, ...]
    targets: bytes
    bins: bytes

    def save(self, folder: Path) -> list[Path]:
        """Write the roles as ``N.root.json``, ``N.targets.json`` and ``N.bins.json``.

        Args:
            folder: created if missing. A file that is there already must have the same bytes.

        Returns:
            The files, roots first.

        Raises:
            InputError: a role without a version.
            StoreError: a file is there with other bytes, or can't be written.
        """
        files = [(folder / metadata_filename(ROOT, _version(data)), data) for data in self.root]
        files.append((folder / metadata_filename(TARGETS, _version(self.targets)), self.targets))
        files.append((folder / metadata_filename(BINS, _version(self.bins)), self.bins))
        with storing(f"write {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
        for path, data in files:
            write_new(path, data)
        return [path for path, _ in files]

    @classmethod
    def load(cls, folder: Path) -> SignedRoles:
        """Read what `save` wrote: every root there, the newest ``targets`` and ``bins``.

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
            return cls(
                tuple(_read(path) for _, path in sorted(found[ROOT].items())),
                _read(found[TARGETS][max(found[TARGETS])]),
                _read(found[BINS][max(found[BINS])]),
            )


def _read(path: Path) -> bytes:
    """A small regular file. Raises StoreError: it is something else (a stick may hold anything)."""
    data = read_bounded(path, _MAX_BYTES)
    if data is None:
        raise StoreError(
            f"can't read {path}: expected a regular file of at most {_MAX_BYTES} bytes"
        )
    return data


def _version(data: bytes) -> int:
    """The version that a metadata file says it has; the file is not verified."""
    try:
        version = json.loads(data)["signed"]["version"]
    except (ValueError, TypeError, KeyError, RecursionError):
        version = None
    if type(version) is not int or version < 1:
        raise InputError(f"expected a signed role with a version, got {data[:60]!r}")
    return version
