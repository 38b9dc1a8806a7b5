"""What a distribution file says of itself.

Name, version, Requires-Python and core metadata are read from the file, never from who uploads
it; the file name must agree with them. What disagrees is refused: an index that lists a file
under a name or version which its METADATA contradicts vouches for something that no installer
will see.

Sources: the packaging specifications (binary and source distribution formats, core metadata);
PEP 658 and PEP 714 (metadata beside the file: of wheels only, since an sdist's PKG-INFO may
change when it is built).
"""

from __future__ import annotations

import os
import re
from io import BufferedReader
from pathlib import Path

from packaging.metadata import Metadata, RawMetadata, parse_email
from packaging.utils import canonicalize_name
from packaging.version import Version

from indextrust.distribution import MAX_TEXT, DistributionFile, is_plain_text
from indextrust.errors import DistributionError, InputError
from indextrust.names import (
    LONGEST_SERVED,
    NormalizedName,
    has_room_for_sha512,
    parse_filename,
)
from indextrust.repository.archives import sdist_metadata, wheel_metadata
from indextrust.repository.disk import digests, open_regular
from indextrust.repository.plan import describe

__all__ = ["MAX_SIZE", "check_path", "read_distribution"]

MAX_SIZE = 8 * 1024**3
"""Bytes of one distribution file."""

_METADATA_VERSION = re.compile(r"[12]\.[0-9]{1,2}", re.ASCII)


def check_path(path: Path) -> None:
    """Refuse a path that no file can have.

    Raises:
        InputError: a NUL or a lone surrogate in it.
    """
    try:
        if b"\0" not in os.fsencode(path):
            return
    except UnicodeEncodeError:
        pass
    raise InputError(f"expected the path of a file, got {str(path)[:200]!r}")


def read_distribution(
    path: Path, *, upload_time: str, both: bool = False
) -> tuple[DistributionFile, bytes | None]:
    """Read a wheel or sdist and hash it.

    Args:
        path: a regular file under its own name; a symbolic link is refused.
        upload_time: ``YYYY-MM-DDTHH:MM:SSZ``, UTC.
        both: whether its SHA-512 is to be listed too, where that can be part of its name.

    Returns:
        What is known of the file, and for a wheel the bytes of its METADATA (PEP 658).

    Raises:
        DistributionError: not a wheel or sdist; an archive that tools read differently; no
            METADATA or one that contradicts the file name.
        InputError: an upload time of another form, or a path that no file can have.
        StoreError: it can't be read.
    """
    filename = path.name
    check_path(path)
    try:
        project, version = parse_filename(filename)
    except InputError as error:
        raise DistributionError(str(error)) from None
    if len(filename) > LONGEST_SERVED:
        raise DistributionError(
            f"{filename}: a name of {len(filename)} characters, expected at most {LONGEST_SERVED}: "
            f"it is served with its SHA-256 before it"
        )
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_SIZE:
            raise DistributionError(f"{filename}: {size} bytes, more than {MAX_SIZE}")
        core, beside = _core_metadata(file, size, filename)
        requires_python = _check(core, project, version, filename)
        file.seek(0)
        both = both and has_room_for_sha512(filename)
        hashes = digests(file, both=both)
        core_hashes = None if beside is None else describe(beside, both=both)
    described = DistributionFile(
        project=project,
        filename=filename,
        version=version,
        size=size,
        sha256=hashes.sha256,
        upload_time=upload_time,
        requires_python=requires_python,
        metadata_sha256=core_hashes.sha256 if core_hashes else None,
        sha512=hashes.sha512,
        metadata_sha512=core_hashes.sha512 if core_hashes else None,
    )
    return described, beside


def _core_metadata(file: BufferedReader, size: int, filename: str) -> tuple[bytes, bytes | None]:
    """The core metadata in the file, and the same if it may be served beside it."""
    if not filename.endswith(".whl"):
        return sdist_metadata(file, size, filename), None
    folder, core = wheel_metadata(file, size, filename)
    name, _, version = folder.removesuffix(".dist-info").partition("-")
    expected = parse_filename(filename)
    if (canonicalize_name(name), _normalised(version)) != expected:
        raise DistributionError(
            f"{filename}: expected the metadata folder of {'-'.join(expected)}, got {folder!r}"
        )
    return core, core


def _normalised(version: str) -> str | None:
    try:
        return str(Version(version))
    except ValueError:  # InvalidVersion, or too many digits for an int
        return None


def _check(core: bytes, project: NormalizedName, version: str, filename: str) -> str | None:
    """Compare METADATA or PKG-INFO with the file name; returns Requires-Python."""
    raw = _parsed(core, filename)
    # Off-spec: the other fields are not validated. Many files on PyPI have a field that their
    # Metadata-Version does not know, and no installer minds.
    metadata = Metadata.from_raw(raw, validate=False)
    try:
        stated = canonicalize_name(metadata.name), str(metadata.version)
        specifier = metadata.requires_python
    except ValueError as error:  # InvalidMetadata, or a version of too many digits for an int
        raise DistributionError(f"{filename}: {str(error)[:400]}") from None
    if stated != (project, version):
        raise DistributionError(
            f"{filename}: expected the metadata of {project} {version}, "
            f"got that of {stated[0][:200]!r} {stated[1][:200]}"
        )
    requires_python = str(specifier) if specifier is not None else ""
    if not is_plain_text(requires_python):
        raise DistributionError(
            f"{filename}: expected a Requires-Python of at most {MAX_TEXT} printable characters "
            f"in NFC, got {requires_python[:200]!a}"
        )
    return requires_python or None


def _parsed(core: bytes, filename: str) -> RawMetadata:
    """The fields of METADATA or PKG-INFO, those that count given once."""
    try:
        raw, unparsed = parse_email(core)
    except RecursionError:
        raise DistributionError(f"{filename}: the metadata is nested too deeply") from None
    for field in ("metadata-version", "name", "version", "requires-python"):
        if field in unparsed:  # also: given twice
            raise DistributionError(
                f"{filename}: metadata field {field!r} is not given once, plain"
            )
    if not _METADATA_VERSION.fullmatch(raw.get("metadata_version", "")):
        raise DistributionError(
            f"{filename}: expected Metadata-Version 1.x or 2.x, "
            f"got {raw.get('metadata_version', '')[:40]!r}"
        )
    return raw
