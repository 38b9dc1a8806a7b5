"""A wheel's own METADATA, read from an archive that was verified and may be hostile all the same:
its signer may be a thief.
"""

from __future__ import annotations

import posixpath
import zipfile
import zlib
from pathlib import Path

from indextrust.errors import LengthError, MalformedError, StoreError
from indextrust.zip_end import directory_length

__all__ = ["wheel_metadata"]

_MOST_DIRECTORY = 8_000_000  # bytes: some 100,000 files


def wheel_metadata(path: Path, *, max_length: int) -> bytes:
    """The bytes of ``NAME-VERSION.dist-info/METADATA``.

    Args:
        path: the wheel.
        max_length: bytes of METADATA, unpacked.

    Raises:
        LengthError: more than `max_length` bytes.
        MalformedError: not a zip archive, or not exactly one METADATA in it.
        StoreError: the file can't be read.
    """
    try:
        _check_directory(path)
        with zipfile.ZipFile(path) as archive:
            found = [info for info in archive.infolist() if _is_metadata(info.filename)]
            if len(found) != 1:
                raise MalformedError(
                    "not a wheel",
                    where=path.name,
                    expected="one .dist-info/METADATA",
                    got=[info.filename for info in found][:4],
                )
            if found[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # zipfile unpacks bz2 and lzma without bound, whatever is asked of read()
                raise MalformedError(
                    "not stored or deflated", where=path.name, got=found[0].compress_type
                )
            with archive.open(found[0]) as file:
                data = file.read(max_length + 1)
    except OSError as error:
        raise StoreError(f"can't read {path}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise MalformedError("not a zip archive", where=path.name, got=str(error)) from error
    except zlib.error as error:
        raise MalformedError("damaged inside", where=path.name, got=str(error)) from error
    if len(data) > max_length:
        raise LengthError("METADATA is too long", where=path.name, expected=max_length, got="more")
    return data


def _is_metadata(name: str) -> bool:
    """Whether installers would read this as the wheel's METADATA, on any file system."""
    parts = posixpath.normpath(name.replace("\\", "/").lower()).strip("/").split("/")
    if len(parts) > 2 and parts[0].endswith(".data"):  # purelib, platlib, data: anywhere
        parts = parts[-2:]
    return len(parts) == 2 and parts[0].endswith(".dist-info") and parts[1] == "metadata"


def _check_directory(path: Path) -> None:
    """Refuse a central directory that zipfile would make gigabytes of."""
    with path.open("rb") as file:
        length = directory_length(file)
    if length is None:
        expected = "an end record, and no zip64 one"
        raise MalformedError("not a zip archive of a wheel", where=path.name, expected=expected)
    if length > _MOST_DIRECTORY:
        raise LengthError(
            "its directory is too long", where=path.name, expected=_MOST_DIRECTORY, got=length
        )
