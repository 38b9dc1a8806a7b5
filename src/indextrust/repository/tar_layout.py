"""Gzipped tar archives that every reader reads alike.

Tar has grown by headers that correct the next header, and readers differ in which they obey and
when (CVE-2025-62518: a size in a PAX header that one reader skips by and another does not).
Here a member has at most one PAX header and at most one long name of GNU tar's, and none of
them may touch what decides where the next header lies.

Links are judged by their text alone, which is safe under three rules: no member lies behind a
link; ``..`` comes only at the front of a symbolic link's target, so it leads through folders
that are no links, and not above the top folder; a hard link names a file that is there already.
Every hop of a chain then stays inside (CVE-2025-4517 and others show what happens otherwise).

Source: POSIX.1-2008 pax; GNU tar manual, "Basic Tar Format"; PEP 721.
"""

from __future__ import annotations

import re
import tarfile
import zlib
from typing import BinaryIO

from indextrust.repository.members import (
    CHUNK,
    MAX_METADATA,
    Kind,
    Names,
    Unpacked,
    check_text,
    refuse,
)

__all__ = ["read_tar"]

_BLOCK = tarfile.BLOCKSIZE
_MAX_HEADER = 64 * 1024
_NUMBER = re.compile(rb" *[0-7]*[ \0]*")
_RECORD = re.compile(rb"([1-9][0-9]{0,5}) ([^=\n]+)=")
_CORE = re.compile(r"[^/]+/PKG-INFO")
_KINDS = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.AREGTYPE: Kind.FILE,
    tarfile.LNKTYPE: Kind.FILE,
    tarfile.SYMTYPE: Kind.LINK,
    tarfile.DIRTYPE: Kind.FOLDER,
}
_LONG = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}


def read_tar(file: BinaryIO, names: Names, unpacked: Unpacked, where: str) -> bytes | None:
    """Read every member once.

    Args:
        file: the archive, at its start.
        names: gets every member's name.
        unpacked: counts what it unpacks to.
        where: the archive's file name, for messages.

    Returns:
        The bytes of the top folder's PKG-INFO, at most `MAX_METADATA`; None if it has none.

    Raises:
        DistributionError: no gzipped tar archive, or one that readers read differently; a bomb.
    """
    stream = _Stream(file, unpacked, where)
    found: bytes | None = None
    try:
        while member := _next_member(stream, where):
            _check_member(member, names, where)
            names.add(member.name, _KINDS[member.type])
            if member.isreg() and _CORE.fullmatch(member.name):
                if member.size > MAX_METADATA:
                    refuse(where, f"{member.name} has more than {MAX_METADATA} bytes")
                names.top()  # so that only one is ever held
                found = stream.content(member.size)
            else:
                stream.skip(member.size)
        while rest := stream.read(CHUNK):
            if rest.strip(b"\0"):
                refuse(where, "bytes follow the end of the tar archive")
    except (tarfile.HeaderError, zlib.error, EOFError, ValueError) as error:
        refuse(where, f"not a gzipped tar archive: {error}")
    return found


class _Stream:
    """One gzip stream, unpacked forwards; nothing may follow it.

    Args:
        file: at the start of the stream.
        unpacked: counts what comes out.
        where: the archive's file name, for messages.
    """

    def __init__(self, file: BinaryIO, unpacked: Unpacked, where: str) -> None:
        self._file = file
        self._unpacked = unpacked
        self._where = where
        self._stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self._packed = b""
        self._data = b""
        self._at = 0

    def read(self, most: int) -> bytes:
        """At most `most` bytes, and fewer only at the end of the stream; most <= 64 KiB."""
        while len(self._data) - self._at < most and self._more():
            pass
        data = self._data[self._at : self._at + most]
        self._at += len(data)
        return data

    def content(self, size: int) -> bytes:
        """A member's data of `size` bytes; the padding behind it is skipped."""
        blocks: list[bytes] = []
        left = size
        while left:
            blocks.append(self._exactly(min(left, CHUNK)))
            left -= len(blocks[-1])
        self._exactly(-size % _BLOCK)
        return b"".join(blocks)

    def skip(self, size: int) -> None:
        """Skip a member's data of `size` bytes and the padding."""
        left = size + -size % _BLOCK
        while left:
            left -= len(self._exactly(min(left, CHUNK)))

    def _exactly(self, count: int) -> bytes:
        data = self.read(count)
        if len(data) < count:
            raise EOFError("it is cut off")
        return data

    def _more(self) -> bool:
        """Unpack some more; False at the end of the stream."""
        if self._stream.eof:
            if self._stream.unused_data or self._file.read(1):
                refuse(self._where, "bytes follow the end of the gzip stream")
            return False
        packed = self._packed or self._file.read(CHUNK)
        data = self._stream.decompress(packed, CHUNK)
        self._packed = self._stream.unconsumed_tail
        if not packed and not data and not self._stream.eof:
            raise EOFError("the gzip stream is cut off")
        self._unpacked.add(len(data))
        self._data = self._data[self._at :] + data
        self._at = 0
        return True


# -- headers ---------------------------------------------------------------------------------


def _next_member(stream: _Stream, where: str) -> tarfile.TarInfo | None:
    """The next member with its corrections applied; None at the end of the archive."""
    texts: dict[str, str] = {}
    kinds: set[bytes] = set()
    while header := stream.read(_BLOCK):
        if not kinds and not header.strip(b"\0"):
            return None
        member = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        _check_header(header, member, where)
        if member.type in _KINDS:
            member.name = texts.get("path", member.name)
            member.linkname = texts.get("linkpath", member.linkname)
            if member.isdir():
                member.name = member.name.removesuffix("/")
            return member
        if member.type in kinds:
            refuse(where, f"two headers of one kind correct one member: {member.name[:200]!r}")
        if member.type == tarfile.XGLTYPE and kinds:
            refuse(where, "a global PAX header between another header and its member")
        if member.size > _MAX_HEADER:
            refuse(where, f"a header of more than {_MAX_HEADER} bytes")
        corrections = _corrections(member.type, stream.content(member.size), where)
        if corrections.keys() & texts.keys():
            refuse(where, f"a member is named twice: {corrections}"[:300])
        texts.update(corrections)
        if member.type != tarfile.XGLTYPE:
            kinds.add(member.type)
    if kinds:
        raise EOFError("it is cut off")
    return None


def _check_header(header: bytes, member: tarfile.TarInfo, where: str) -> None:
    """Refuse what readers read differently in the fixed part of a header."""
    kind = member.type
    if kind not in _KINDS and kind not in _LONG and kind not in (b"x", b"g"):
        refuse(where, f"{member.name!r} is neither a file nor a folder nor a link")
    if not _NUMBER.fullmatch(header[124:136]):
        refuse(where, f"the size of {member.name!r} is not a plain number")
    if member.size and kind in _KINDS and not member.isreg():
        refuse(where, f"{member.name!r} has content, and is a folder or a link")
    if header[257:265] != tarfile.POSIX_MAGIC and header[345:500].strip(b"\0"):
        refuse(where, f"the name of {member.name!r} has a prefix that not all readers know")


def _corrections(kind: bytes, data: bytes, where: str) -> dict[str, str]:
    """What a PAX header or a long name says of the next member's name and target."""
    if kind in _LONG:
        text, _, rest = data.partition(b"\0")
        if rest.strip(b"\0"):
            refuse(where, f"bytes follow the end of a long name: {text[:200]!r}")
        return {_LONG[kind]: text.decode()}
    texts: dict[str, str] = {}
    at = 0
    while at < len(data):
        record = _RECORD.match(data, at)
        end = at + int(record[1]) if record else 0
        if record is None or not record.end() < end <= len(data) or data[end - 1] != 0x0A:
            refuse(where, "a damaged PAX header")
        key, at = record[2].decode(), end
        if key in texts or key in ("size", "hdrcharset") or key.startswith("GNU.sparse."):
            refuse(where, f"a PAX header that readers read differently: {key!r}")
        if key in ("path", "linkpath"):
            texts[key] = data[record.end() : end - 1].decode()
    if texts and kind == tarfile.XGLTYPE:
        refuse(where, f"a PAX header that names all members alike: {texts}"[:300])
    return texts


# -- links -----------------------------------------------------------------------------------


def _check_member(member: tarfile.TarInfo, names: Names, where: str) -> None:
    """Refuse a link that leads out of its archive, itself or through another link."""
    target = member.linkname
    if not (member.issym() or member.islnk()):
        return
    check_text(target, where)
    if member.islnk():
        inside = names.kind(target) is Kind.FILE
    else:
        parts = [part for part in target.split("/") if part not in ("", ".")]
        up = next((depth for depth, part in enumerate(parts) if part != ".."), len(parts))
        depth = member.name.count("/")
        inside = not target.startswith("/") and up < depth and ".." not in parts[up:]
    if not inside:
        refuse(where, f"{member.name!r} links out of the archive, to {target[:200]!r}")
