"""What is installed in a Python environment, read without running anything of it.

An environment in which a malicious package ran is its author's: Python is not started there, no
symbolic link below the folder that was named is followed, no path from a RECORD leaves
``site-packages``, and all that is read is bounded. What can't be read is said, never an error.

Sources: the packaging specifications "Recording installed projects" (``.dist-info``, RECORD),
"Direct URL data structure", and PEP 710 (``provenance_url.json``, a draft).
"""

from __future__ import annotations

import contextlib
import csv
import errno
import fnmatch
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import Version

from indextrust.client.folders import opened, read_below
from indextrust.distribution import SHA256_HEX
from indextrust.errors import InputError, StoreError
from indextrust.installed import counted_path, form_of, recorded

__all__ = ["Installed", "form_in", "installed_in", "metadata_was_replaced", "site_packages"]

_PLACES = (
    ("lib", "python*", "site-packages"),
    ("lib", "python*", "dist-packages"),
    ("lib64", "python*", "site-packages"),
    ("local", "lib", "python*", "site-packages"),
    ("local", "lib", "python*", "dist-packages"),
    ("Lib", "site-packages"),
)
_ENDINGS = (".dist-info", ".egg-info")
_MOST_METADATA = 4_000_000  # bytes
_MOST_RECORD = 16_000_000
_MOST_TEXT = 200  # characters of a name or a version
_MOST_DEPTH = 64
_MOST_BYTES = 4 * 2**30  # of one distribution's files
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class Installed:
    """One installed distribution, as it says of itself.

    Args:
        info: name of its ``.dist-info`` (or ``.egg-info``) in ``site-packages``.
        projects: normalised names: that of the folder, and that in METADATA.
        versions: PEP 440 versions of the two, normalised.
        archives: sha256 of the file it was installed from, where an installer wrote one down.
            The package itself may have: it proves nothing good.
        clear: whether METADATA names the project of the folder and no other, and a version.
    """

    info: str
    projects: frozenset[str]
    versions: frozenset[str]
    archives: frozenset[str]
    clear: bool

    @property
    def accepted_as(self) -> frozenset[str]:
        """All names of projects that installers take its wheel for: of the folder's name they
        ask only how it begins, and METADATA is as they saw it until the wheel replaces it."""
        if not self.info.endswith(".dist-info"):
            return self.projects
        folder = canonicalize_name(self.info)
        return self.projects | {folder[:end] for end in range(1, len(folder))}


@contextlib.contextmanager
def site_packages(environment: Path) -> Iterator[tuple[tuple[Path, int], ...]]:
    """The folders of an environment in which distributions are installed, open.

    Args:
        environment: a virtual environment, another prefix with ``lib/python…``, the Python in its
            ``bin``, or a ``site-packages`` itself.

    Returns:
        Each folder's path, for people, and its descriptor.

    Raises:
        InputError: none of these.
        StoreError: it can't be read.
    """
    base = environment.absolute()
    try:
        if not base.is_dir():
            if not (base.is_file() and fnmatch.fnmatch(base.name, "python*")):
                raise InputError(_wanted(environment))
            base = base.parent.parent  # as written: a venv's Python is a link to another's
        with contextlib.ExitStack() as stack:
            top = stack.enter_context(opened(base))
            named = base.name in ("site-packages", "dist-packages")
            found = [(base, top)] if named or _infos(top) else []
            if not named:  # also where a wheel put a .dist-info beside bin and lib
                found += [place for parts in _PLACES for place in _below(stack, base, top, parts)]
            if not found:
                raise InputError(_wanted(environment))
            yield tuple(found)
    except OSError as error:
        raise StoreError(f"can't read {environment}: {error.strerror or error}") from error


def installed_in(site: int) -> Iterator[Installed]:
    """The distributions in a ``site-packages``, by name of their ``.dist-info``.

    Args:
        site: its descriptor.

    Raises:
        OSError: it can't be read.
    """
    for info in _infos(site):
        stem, _, ending = info.rpartition(".")
        name, _, version = stem.partition("-") if ending == "egg-info" else stem.rpartition("-")
        names, versions = set[str](), set[str]()
        for line in _headers(site, info, "METADATA" if ending == "dist-info" else "PKG-INFO"):
            field, _, value = line.partition(":")
            if field.lower() == "name":
                names.add(value.strip()[:_MOST_TEXT])
            elif field.lower() == "version":
                versions.add(value.strip())
        projects = {canonicalize_name(name) for name in names}
        normalised = {_normalised(version) for version in versions}
        of_folder = {canonicalize_name(name)}, {_normalised(version.partition("-")[0])}
        yield Installed(
            info,
            frozenset(projects | of_folder[0]),
            frozenset(filter(None, normalised | of_folder[1])),
            frozenset(_archives(site, info)),
            clear=ending == "egg-info"  # installers of wheels leave none
            or (projects == of_folder[0] and bool(normalised) and None not in normalised),
        )


def metadata_was_replaced(site: int, info: str) -> bool:
    """Whether METADATA may not be what the installer read: a wheel can have another one unpacked
    over it, and then RECORD names it twice.

    Args:
        site: descriptor of ``site-packages``.
        info: name of its ``.dist-info``.
    """
    try:
        paths = [counted_path(path) for path in _recorded(site, info)]
    except FileNotFoundError:
        return False  # systems' own packages have none; pip and uv leave one
    except (OSError, ValueError, csv.Error):
        return True
    return paths.count(f"{info}/METADATA") > 1


def form_in(site: int, info: str, hashed: dict[str, tuple[str, int]]) -> str | None:
    """The installed form (`indextrust.installed`) of a distribution, from the bytes on the disk.

    Args:
        site: descriptor of ``site-packages``.
        info: name of its ``.dist-info``.
        hashed: what was hashed in `site` so far; added to. One large file may be named by
            thousands of RECORDs.

    Returns:
        None if RECORD names a file that is missing or is no regular file, or can't be read itself.
    """
    files: dict[str, str] = {}
    left = _MOST_BYTES
    try:
        for path in _recorded(site, info):
            counted = counted_path(path)
            if counted is not None and counted not in files:
                if counted not in hashed:
                    hashed[counted] = _hashed(site, counted)
                files[counted], length = hashed[counted]
                left -= length
                if left < 0:
                    return None
    except (OSError, ValueError, csv.Error):
        return None
    return form_of(files)


# -- parts -----------------------------------------------------------------------------------


def _wanted(environment: Path) -> str:
    return (
        f"{environment}: expected a virtual environment, the Python in its bin, or a "
        f"site-packages folder"
    )


def _below(
    stack: contextlib.ExitStack, path: Path, folder: int, parts: tuple[str, ...]
) -> Iterator[tuple[Path, int]]:
    """The folders below `folder` that match `parts`, no link followed."""
    if not parts:
        yield path, folder
        return
    for name in sorted(fnmatch.filter(os.listdir(folder), parts[0])):
        try:
            descriptor = os.open(name, _FOLDER, dir_fd=folder)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                continue
            raise
        stack.callback(os.close, descriptor)
        yield from _below(stack, path / name, descriptor, parts[1:])


def _infos(site: int) -> list[str]:
    return sorted(name for name in os.listdir(site) if name.endswith(_ENDINGS))


def _headers(site: int, info: str, name: str) -> list[str]:
    """The first lines of a METADATA file, up to the description; none if it can't be read."""
    data = _read(site, info, name, _MOST_METADATA)
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")  # as email parsers end lines
    head = data.partition(b"\n\n")[0].decode("utf-8", "replace")
    return re.sub(r"\n(?=[ \t])", "", head).split("\n")


def _normalised(version: str) -> str | None:
    try:
        return str(Version(version[:_MOST_TEXT].replace("_", "-")))
    except ValueError:
        return None


def _archives(site: int, info: str) -> Iterator[str]:
    for name in ("direct_url.json", "provenance_url.json"):
        tree: Any = None
        with contextlib.suppress(ValueError, RecursionError):
            tree = json.loads(_read(site, info, name, _MOST_METADATA) or b"null")
        archive = tree.get("archive_info") if isinstance(tree, dict) else None
        if not isinstance(archive, dict):
            continue
        hashes = archive.get("hashes")
        digest = hashes.get("sha256") if isinstance(hashes, dict) else None
        for found in (digest, str(archive.get("hash")).removeprefix("sha256=")):
            if isinstance(found, str) and SHA256_HEX.fullmatch(found):
                yield found


def _read(site: int, info: str, name: str, most: int) -> bytes:
    """A file of a ``.dist-info``; nothing if there is none that can be read."""
    try:
        return read_below(site, info, name, most=most) or b""
    except OSError:
        return b""


def _recorded(site: int, info: str) -> Iterator[str]:
    """The paths in RECORD. Raises OSError, ValueError, csv.Error."""
    data = read_below(site, info, "RECORD", most=_MOST_RECORD)
    if data is None:
        raise FileNotFoundError(errno.ENOENT, "no RECORD", info)
    yield from recorded(data)


def _hashed(site: int, path: str) -> tuple[str, int]:
    """sha256 and length of a regular file below `site`, no link followed on the way.

    Raises:
        OSError: there is none, or it is too long.
        ValueError: no path that a file may have.
    """
    *folders, name = path.split("/")
    if len(folders) > _MOST_DEPTH:
        raise ValueError(f"more than {_MOST_DEPTH} folders deep")
    with contextlib.ExitStack() as stack:
        folder = site
        for part in folders:
            folder = os.open(part, _FOLDER, dir_fd=folder)
            stack.callback(os.close, folder)
        descriptor = os.open(name, _FILE, dir_fd=folder)
        stack.callback(os.close, descriptor)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        if status.st_size > _MOST_BYTES:
            raise OSError(errno.EFBIG, "too long", path)
        digest, length = hashlib.sha256(), 0
        while piece := os.read(descriptor, 1 << 20):
            length += len(piece)
            if length > _MOST_BYTES:
                raise OSError(errno.EFBIG, "too long", path)
            digest.update(piece)
    return digest.hexdigest(), length
