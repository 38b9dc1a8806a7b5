"""The installed form of a wheel: what of it can be found again on a machine.

Installers keep no hash of the wheel they installed. What they leave is the wheel's files, under
``site-packages``. The installed form is one digest over the paths and the sha256 of those that
every installer leaves as they were:

* taken: the wheel's members that its RECORD names, and of them what lies below
  ``NAME.data/purelib`` and ``NAME.data/platlib`` by the path it is installed under;
* left out, for installers write or change them: other parts of ``.data`` (scripts get another
  first line), byte code in ``__pycache__``, and in ``.dist-info`` the files ``RECORD`` (and its
  signatures), ``INSTALLER``, ``REQUESTED``, ``direct_url.json``, ``provenance_url.json``, and uv's
  ``uv_cache.json`` and ``uv_build.json``.

A member that RECORD doesn't name is installed all the same, and some installers add it to the
RECORD that they leave, others (uv 0.8) don't. A bad wheel could so be the good one to the latter,
with a file more. Left out, it makes the form of the two the same, and so nobody is acquitted.

It is made from the bytes themselves, never from the digests in a RECORD: installers copy those
from the wheel without a look at the files, so a malicious wheel may carry those of a good one.

It has one size, whatever the wheel is: its author may be a thief. Two wheels that differ only in
what is left out have one form. Nothing here opens a file.
"""

from __future__ import annotations

import csv
import hashlib
import posixpath
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from io import BytesIO, StringIO
from typing import IO

from indextrust.incidents import Fingerprint
from indextrust.zip_end import directory_length

__all__ = ["counted_path", "describe_wheel", "form_of", "recorded"]

_WRITTEN_BY_INSTALLERS = frozenset(
    {
        "RECORD",
        "RECORD.jws",
        "RECORD.p7s",
        "INSTALLER",
        "REQUESTED",
        "direct_url.json",
        "provenance_url.json",
        "uv_build.json",
        "uv_cache.json",
    }
)
_RECORD = re.compile(r"[^/]+\.dist-info/RECORD")
_DATA = re.compile(r"[^/]+\.data/(?:(?:purelib|platlib)/(?P<path>.+)|.*)", re.DOTALL)
_MOST_FILES = 50_000
_MOST_BYTES = 4 * 2**30  # unpacked
_MOST_DIRECTORY = 16_000_000  # bytes
_MOST_LINES = 100_000  # of a RECORD
_MOST_RECORD = 16_000_000  # bytes
_CHUNK = 1 << 20
_NO_WHEEL = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    RuntimeError,  # encrypted; NotImplementedError too
    csv.Error,
    ValueError,  # names that can't be decoded, offsets that can't be
)


def counted_path(path: str) -> str | None:
    """Under which path a file counts in the installed form; None if it doesn't.

    Args:
        path: relative to the wheel's top, or to ``site-packages``; with forward slashes.
    """
    found = _DATA.fullmatch(path)
    if found:
        path = found["path"]
        if path is None:
            return None
    if path.startswith("/") or path.endswith("/"):
        return None
    path = posixpath.normpath(path)  # as installers write it down
    parts = path.split("/")
    if parts[0] in (".", ".."):
        return None
    if "__pycache__" in parts[:-1] and path.endswith(".pyc"):
        return None
    if len(parts) == 2 and parts[0].endswith(".dist-info") and parts[1] in _WRITTEN_BY_INSTALLERS:
        return None
    return path


def recorded(record: bytes) -> Iterator[str]:
    """The paths in a RECORD, as it names them.

    Raises:
        ValueError, csv.Error: too many lines, or none that can be read.
    """
    text = StringIO(record.decode("utf-8", "surrogateescape"), newline="")
    for number, row in enumerate(csv.reader(text)):
        if number >= _MOST_LINES:
            raise ValueError(f"more than {_MOST_LINES} lines")
        if row:
            yield row[0]


def form_of(files: Mapping[str, str]) -> str | None:
    """The installed form.

    Args:
        files: path, as `counted_path` gave it, to sha256 (lower-case hex) of the bytes.

    Returns:
        Lower-case hex; None for no files at all: that would recognise nothing.
    """
    if not files:
        return None
    digest = hashlib.sha256(b"indextrust installed form 1\n")
    for path in sorted(files):
        name = path.encode("utf-8", "surrogateescape")
        digest.update(b"%d:%s %s\n" % (len(name), name, files[path].encode("ascii")))
    return digest.hexdigest()


def describe_wheel(wheel: bytes | IO[bytes]) -> Fingerprint:
    """By what a wheel, or any other distribution file, is recognised.

    Never fails on what is in it: what is no wheel that installers would take (an sdist, a
    damaged archive, one of more than 50,000 files or 4 GiB unpacked) has no installed form. Of
    two members for one path the later one counts, and those of ``.data`` come last.

    Args:
        wheel: its bytes, or an open file that can seek.

    Raises:
        OSError: the file can't be read.
    """
    file = BytesIO(wheel) if isinstance(wheel, bytes) else wheel
    file.seek(0)
    whole = hashlib.sha256()
    while piece := file.read(_CHUNK):
        whole.update(piece)
    try:
        return Fingerprint(whole.hexdigest(), _form(file))
    except _NO_WHEEL:
        return Fingerprint(whole.hexdigest())


def _form(file: IO[bytes]) -> str | None:
    length = directory_length(file)
    if length is None or length > _MOST_DIRECTORY:
        return None
    files: dict[str, str] = {}
    left = _MOST_BYTES
    with zipfile.ZipFile(file) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) > _MOST_FILES:
            return None
        records = [member for member in members if _RECORD.fullmatch(member.filename)]
        if len({member.filename for member in records}) != 1 or not _is_plain(records[-1]):
            return None
        with archive.open(records[-1]) as opened:
            listed = set(map(counted_path, recorded(opened.read(_MOST_RECORD))))
        members.sort(key=lambda member: bool(_DATA.fullmatch(member.filename)))  # as installers do
        for member in members:
            path = counted_path(member.filename)
            if path is None or path not in listed:
                continue
            if not _is_plain(member):
                return None
            digest = hashlib.sha256()
            with archive.open(member) as opened:
                while piece := opened.read(min(_CHUNK, left + 1)):
                    left -= len(piece)
                    if left < 0:
                        return None
                    digest.update(piece)
            files[path] = digest.hexdigest()
    return form_of(files)


def _is_plain(member: zipfile.ZipInfo) -> bool:
    """Whether it is unpacked with bounds: not so bz2 and lzma."""
    return member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
