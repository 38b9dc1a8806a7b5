"""Wheels and sdists as archives: the one metadata file inside, from an archive that every tool
reads alike.

An index that serves an archive which two tools unpack differently has served two archives under
one hash. So an archive is refused here when

* it names a member twice, or a member outside its own folder;
* (zip) its central directory and its local headers tell different stories, or bytes lie between,
  before or behind them (CVE-2025-54368);
* (tar) it links out of its own folder, writes through a link, or holds anything else than files,
  folders and links (CVE-2025-8869), or has more content behind its end;
* it unpacks to absurdly more than its size (the bounds are PyPI's: 50 times, beyond 64 MiB).

Nothing is unpacked to disk, and no more than one member is read into memory. Every function
raises `DistributionError`.

Source: APPNOTE 4.3 (zip); PEP 427; PEP 625 and PEP 721 (sdists).
"""

from __future__ import annotations

import gzip
import io
import posixpath
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NoReturn

from indextrust.errors import DistributionError

__all__ = ["MAX_METADATA", "sdist_metadata", "wheel_metadata"]

MAX_METADATA = 2 * 1024 * 1024
"""Bytes of a METADATA or PKG-INFO. The largest on PyPI have some hundred kilobytes."""

_MAX_MEMBERS = 100_000
_MAX_DIRECTORY = 64 * 1024 * 1024
_MAX_HEADER = 1024 * 1024
_BOMB_SIZE = 64 * 1024 * 1024
_BOMB_RATIO = 50
_CHUNK = 1 << 16
_BAD_NAME = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]|^[A-Za-z]:")

_END = struct.Struct("<4s4xHHLLH")  # end of central directory
_END64_LOCATOR = struct.Struct("<4s4xQ4x")
_END64 = struct.Struct("<4s20xQQQQ")
_LOCAL = struct.Struct("<4s2xHH8xLLHH")
_SENTINEL = 0xFFFFFFFF
_DESCRIPTOR_SIZES = (12, 16, 20, 24)


def wheel_metadata(file: BinaryIO, size: int, where: str) -> tuple[str, bytes]:
    """The name of a wheel's ``.dist-info`` folder and the bytes of the METADATA in it.

    Args:
        file: the wheel, seekable.
        size: its bytes.
        where: its name, for messages.
    """
    with _zip(file, size, where) as archive:
        folders = {
            name.partition("/")[0]
            for name in archive.namelist()
            if name.partition("/")[0].endswith(".dist-info")
        }
        if len(folders) != 1:
            _refuse(where, f"expected one .dist-info folder, got {sorted(folders)[:4]}")
        folder = folders.pop()
        return folder, _member(archive, f"{folder}/METADATA", where)


def sdist_metadata(file: BinaryIO, size: int, where: str) -> bytes:
    """The bytes of an sdist's PKG-INFO. Arguments as for `wheel_metadata`."""
    if not where.endswith(".zip"):
        return _tar_metadata(file, size, where)
    with _zip(file, size, where) as archive:
        top = _top_folder(archive.namelist(), where)
        return _member(archive, f"{top}/PKG-INFO", where)


def _refuse(where: str, what: str) -> NoReturn:
    raise DistributionError(f"{where}: {what}")


# -- names -----------------------------------------------------------------------------------


def _check_names(names: Iterable[str], where: str) -> None:
    """Each name once, relative, and inside; a folder's name may end with one slash."""
    seen: set[str] = set()
    for name in names:
        path = name.removesuffix("/")
        if _BAD_NAME.search(path) or any(part in ("", ".", "..") for part in path.split("/")):
            _refuse(where, f"a member's name leaves the archive or is not plain: {name[:200]!r}")
        if path in seen:
            _refuse(where, f"the member {name[:200]!r} is there twice")
        seen.add(path)


def _top_folder(names: Iterable[str], where: str) -> str:
    tops = {name.partition("/")[0] for name in names}
    if len(tops) != 1:
        _refuse(where, f"expected one folder at the top, got {sorted(tops)[:4]}")
    return tops.pop()


def _check_ratio(unpacked: int, size: int, where: str) -> None:
    if unpacked > max(_BOMB_SIZE, _BOMB_RATIO * size):
        _refuse(where, f"{size} bytes unpack to {unpacked} or more: a decompression bomb")


# -- zip -------------------------------------------------------------------------------------


def _zip(file: BinaryIO, size: int, where: str) -> zipfile.ZipFile:
    """Open a zip file that central directory and local headers describe alike."""
    try:
        start = _central_directory(file, size, where)
        archive = zipfile.ZipFile(file)
        members = archive.infolist()
        _check_names([member.filename for member in members], where)
        _check_ratio(sum(member.file_size for member in members), size, where)
        _check_layout(file, sorted(members, key=lambda member: member.header_offset), start, where)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OSError) as error:
        _refuse(where, f"not a zip archive: {error}")
    return archive


def _central_directory(file: BinaryIO, size: int, where: str) -> int:
    """Offset of the central directory; it, and the end record, must reach to the file's end.

    Read before `zipfile` does, which loads a directory of any size into memory.
    """
    tail_start = max(0, size - _END.size - 0xFFFF)
    file.seek(tail_start)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0:
        _refuse(where, "not a zip archive: no end of central directory")
    _, on_disk, count, length, offset, comment = _END.unpack_from(tail, at)
    end = tail_start + at
    if end + _END.size + comment != size:
        _refuse(where, "bytes follow the end of the zip archive")
    if at >= 20 and tail[at - 20 : at - 16] == b"PK\x06\x07":
        end = _END64_LOCATOR.unpack_from(tail, at - 20)[1]
        file.seek(end)
        signature, on_disk, count, length, offset = _END64.unpack(file.read(_END64.size))
        if signature != b"PK\x06\x06" or end + _END64.size != tail_start + at - 20:
            _refuse(where, "not a zip archive: damaged zip64 end of central directory")
    if on_disk != count or offset + length != end:
        _refuse(where, "the zip archive's central directory is not where its end record says")
    if count > _MAX_MEMBERS or length > _MAX_DIRECTORY:
        _refuse(where, f"more than {_MAX_MEMBERS} members, or {_MAX_DIRECTORY} bytes of names")
    return int(offset)


def _check_layout(
    file: BinaryIO, members: list[zipfile.ZipInfo], directory: int, where: str
) -> None:
    """From the first byte to the central directory: exactly the listed members, one by one."""
    expected = 0
    for number, member in enumerate(members):
        _check_member(member, where)
        if member.header_offset != expected:
            _refuse(where, f"bytes of no listed member lie before {member.filename!r}")
        end = member.header_offset + _local_length(file, member, where)
        following = members[number + 1].header_offset if number + 1 < len(members) else directory
        gap = following - end
        if gap and not (member.flag_bits & 0x08 and gap in _DESCRIPTOR_SIZES):
            _refuse(where, f"unlisted or shared bytes follow {member.filename!r}")
        expected = following
    if expected != directory:
        _refuse(where, "an empty archive")


def _check_member(member: zipfile.ZipInfo, where: str) -> None:
    name = member.orig_filename
    if "\0" in name or not (name.isascii() or member.flag_bits & 0x800):
        _refuse(where, f"a member's name is neither ASCII nor UTF-8: {name[:200]!r}")
    if member.flag_bits & 0x01:
        _refuse(where, f"{name!r} is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        _refuse(where, f"{name!r} is neither stored nor deflated")
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        _refuse(where, f"{name!r} is a link or a device")
    if any(kind == 0x7075 for kind, _ in _extras(member.extra)):
        _refuse(where, f"{name!r} has a second name (Unicode Path extra field)")


def _local_length(file: BinaryIO, member: zipfile.ZipInfo, where: str) -> int:
    """Length of a member's local header and data, after comparing it with the directory."""
    file.seek(member.header_offset)
    signature, flags, method, packed, size, name_length, extra_length = _LOCAL.unpack(
        file.read(_LOCAL.size)
    )
    name, extra = file.read(name_length), file.read(extra_length)
    if _SENTINEL in (packed, size):
        for kind, data in _extras(extra):
            if kind == 1 and len(data) >= 16:
                size, packed = struct.unpack_from("<QQ", data)
    if not flags & 0x08 and (packed, size) != (member.compress_size, member.file_size):
        _refuse(where, f"{member.filename!r} has two sizes")
    if (
        signature != b"PK\x03\x04"
        or name != member.orig_filename.encode("utf-8")
        or method != member.compress_type
        or (flags ^ member.flag_bits) & 0x0809
    ):
        _refuse(where, f"local header and central directory differ on {member.filename!r}")
    return _LOCAL.size + len(name) + len(extra) + member.compress_size


def _extras(extra: bytes) -> Iterator[tuple[int, bytes]]:
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        yield kind, extra[4 : 4 + length]
        extra = extra[4 + length :]


def _member(archive: zipfile.ZipFile, name: str, where: str) -> bytes:
    try:
        with archive.open(name) as member:
            data = member.read(MAX_METADATA + 1)
    except KeyError:
        _refuse(where, f"no {name}")
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        _refuse(where, f"{name} can't be unpacked: {error}")
    if len(data) > MAX_METADATA:
        _refuse(where, f"{name} has more than {MAX_METADATA} bytes")
    return data


# -- tar.gz ----------------------------------------------------------------------------------


class _Unpacked(io.RawIOBase):
    """A gzip stream that ends with an error at the bound, and only runs forward."""

    def __init__(self, file: BinaryIO, size: int, where: str) -> None:
        self._stream = gzip.GzipFile(fileobj=file, mode="rb")
        self._size = size
        self._where = where
        self._at = 0

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or offset < self._at:
            raise OSError("a stream has no way back")
        while self._at < offset and self.read(min(_CHUNK, offset - self._at)):
            pass
        return self._at

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > _MAX_HEADER:  # tarfile reads headers in one go
            _refuse(self._where, f"a header of more than {_MAX_HEADER} bytes")
        data = self._stream.read(size)
        self._at += len(data)
        _check_ratio(self._at, self._size, self._where)
        return data


def _tar_metadata(file: BinaryIO, size: int, where: str) -> bytes:
    file.seek(0)
    stream = _Unpacked(file, size, where)
    links: set[str] = set()
    names: list[str] = []
    found: bytes | None = None
    try:
        with tarfile.open(fileobj=stream, mode="r:", encoding="utf-8", errors="strict") as archive:
            for member in archive:
                _check_tar_member(member, links, where)
                if not (member.isdir() and member.name in names[-1:]):
                    names.append(member.name)
                if len(names) > _MAX_MEMBERS:
                    _refuse(where, f"more than {_MAX_MEMBERS} members")
                if member.isreg() and re.fullmatch(r"[^/]+/PKG-INFO", member.name):
                    found = _tar_member(archive, member, where)
            while rest := stream.read(_CHUNK):
                if rest.strip(b"\0"):
                    _refuse(where, "bytes follow the end of the tar archive")
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError) as error:
        _refuse(where, f"not a gzipped tar archive: {error}")
    _check_names(names, where)
    top = _top_folder(names, where)
    if found is None:
        _refuse(where, f"no {top}/PKG-INFO")
    return found


def _tar_member(archive: tarfile.TarFile, member: tarfile.TarInfo, where: str) -> bytes:
    if member.size > MAX_METADATA:
        _refuse(where, f"{member.name} has more than {MAX_METADATA} bytes")
    content = archive.extractfile(member)
    return b"" if content is None else content.read(MAX_METADATA)


def _check_tar_member(member: tarfile.TarInfo, links: set[str], where: str) -> None:
    """A file, a folder, or a link that stays inside; and nothing below a link."""
    name = member.name
    if member.issparse() or not (
        member.isreg() or member.isdir() or member.issym() or member.islnk()
    ):
        _refuse(where, f"{name!r} is neither a file nor a folder nor a link")
    parents = name.split("/")[:-1]
    if any("/".join(parents[: depth + 1]) in links for depth in range(len(parents))):
        _refuse(where, f"{name!r} lies behind a link")
    if member.issym() or member.islnk():
        base = posixpath.dirname(name) if member.issym() else ""
        target = posixpath.normpath(posixpath.join(base, member.linkname))
        if (
            member.linkname.startswith("/")
            or _BAD_NAME.search(member.linkname)
            or target.split("/")[0] != name.split("/")[0]
        ):
            _refuse(where, f"{name!r} links out of the archive, to {member.linkname[:200]!r}")
        links.add(name)
