"""Zip archives that every reader reads alike, whether it starts at the end or at the front.

A zip file tells its story three times: in the central directory at the end, in a local header
before each member, and in the data itself (a deflate stream knows its own end). Readers differ
in whom they believe, and in what they do with bytes nobody mentions (CVE-2025-54368). Here all
three must agree, byte by byte: members lie one behind another from the first byte to the
central directory; each is unpacked once, and its end, length and CRC must be those that every
header states.

Source: APPNOTE 4.3 and 4.5.
"""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from indextrust.repository.members import CHUNK, MAX_METADATA, Kind, Names, Unpacked, refuse

__all__ = ["ZipMember", "read_directory", "read_members"]

_END = struct.Struct("<4sHHHHLLH")  # end of central directory
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQHHLLQQQQ")
_CENTRAL = struct.Struct("<4s4xHH4xLLLHHHH2xLL")
_LOCAL = struct.Struct("<4s2xHH4xLLLHH")
_SENTINEL = 0xFFFFFFFF
_SENTINELS = (0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, _SENTINEL, _SENTINEL)
_MAX_DIRECTORY = 64 * 1024 * 1024
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _DESCRIPTOR, _UTF8 = 0x0001, 0x0008, 0x0800
_KNOWN_FLAGS = 0x0006 | _DESCRIPTOR | _UTF8
_ZIP64, _UNICODE_PATH = 0x0001, 0x7075


@dataclass(frozen=True)
class ZipMember:
    """One member, as the central directory describes it.

    Args:
        name: with a slash at the end if it is a folder.
        flags: general purpose bits.
        method: 0 (stored) or 8 (deflated).
        crc: CRC-32 of the unpacked data.
        packed: bytes in the archive.
        size: bytes unpacked.
        offset: of its local header, from the start of the file.
    """

    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int


def read_directory(
    file: BinaryIO, size: int, names: Names, where: str
) -> tuple[list[ZipMember], int]:
    """Read the central directory.

    Args:
        file: the archive, seekable.
        size: its bytes.
        names: gets every member's name.
        where: the archive's file name, for messages.

    Returns:
        The members in the order of their data, and the offset at which the directory starts.

    Raises:
        DistributionError: no zip archive, or one that readers read differently.
    """
    count, length, start = _end_record(file, size, where)
    file.seek(start)
    directory = file.read(length)
    members: list[ZipMember] = []
    seen: set[str] = set()
    at = 0
    while at < length:
        member, at = _entry(directory, at, where)
        if member.name in seen:
            refuse(where, f"the member {member.name[:200]!r} is there twice")
        seen.add(member.name)
        names.add(member.name, Kind.FOLDER if member.name.endswith("/") else Kind.FILE)
        members.append(member)
    if len(members) != count:
        refuse(where, f"the end record counts {count} members, the directory {len(members)}")
    return sorted(members, key=lambda member: member.offset), start


def read_members(
    file: BinaryIO,
    members: list[ZipMember],
    end: int,
    wanted: str,
    unpacked: Unpacked,
    where: str,
) -> bytes | None:
    """Unpack every member once, in order, and compare it with all that is said of it.

    Args:
        file: the archive, seekable.
        members: in the order of their data.
        end: offset of the central directory.
        wanted: name of the member whose bytes are returned; at most `MAX_METADATA`.
        unpacked: counts what it unpacks to.
        where: the archive's file name, for messages.

    Returns:
        The bytes of the member `wanted`, None if there is none.

    Raises:
        DistributionError: readers would read it differently; it does not unpack; a bomb.
    """
    found: bytes | None = None
    expected = 0
    for number, member in enumerate(members):
        if member.offset != expected:
            refuse(where, f"bytes of no listed member lie before {member.name!r}")
        expected = members[number + 1].offset if number + 1 < len(members) else end
        header, wide = _local_header(file, member, where)
        gap = expected - (member.offset + header + member.packed)
        if gap < 0 or (gap and not member.flags & _DESCRIPTOR):
            refuse(where, f"unlisted or shared bytes follow {member.name!r}")
        data = _check_data(file, member, member.name == wanted, unpacked, where)
        found = data if member.name == wanted else found
        if member.flags & _DESCRIPTOR:
            _check_descriptor(file.read(gap) if gap <= 24 else b"", member, wide, where)
    if expected != end or not members:
        refuse(where, "an empty archive")
    return found


# -- the central directory -------------------------------------------------------------------


def _end_record(file: BinaryIO, size: int, where: str) -> tuple[int, int, int]:
    """Count, length and offset of the central directory, which must reach to the file's end."""
    tail_start = max(0, size - _END.size - 0xFFFF)
    file.seek(tail_start)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + _END.size:
        refuse(where, "not a zip archive: no end of central directory")
    _, *classic, comment = _END.unpack_from(tail, at)
    end = tail_start + at
    if end + _END.size + comment != size:
        refuse(where, "bytes follow the end of the zip archive")
    fields = tuple(classic)
    if at >= 20 and tail[at - 20 : at - 16] == b"PK\x06\x07":
        end, fields = _end64_record(file, tail[at - 20 : at], end - 20, where)
        for stated, real, sentinel in zip(classic, fields, _SENTINELS, strict=True):
            if stated not in (real, sentinel):
                refuse(where, "the zip archive's two end records differ")
    elif any(stated == none for stated, none in zip(classic, _SENTINELS, strict=True)):
        refuse(where, "not a zip archive: its zip64 end of central directory is missing")
    disk, first_disk, on_disk, count, length, offset = fields
    if disk or first_disk or on_disk != count or offset + length != end:
        refuse(where, "the zip archive's central directory is not where its end record says")
    if length > _MAX_DIRECTORY:
        refuse(where, f"a central directory of more than {_MAX_DIRECTORY} bytes")
    if tail.find(b"PK\x05\x06", max(0, offset - tail_start)) != at:
        refuse(where, "a second end of central directory")
    return count, length, offset


def _end64_record(
    file: BinaryIO, locator: bytes, at: int, where: str
) -> tuple[int, tuple[int, ...]]:
    """Offset of the zip64 end record, right before its locator, and its six fields."""
    _, disk, end, disks = _END64_LOCATOR.unpack(locator)
    if disk or disks != 1 or end + _END64.size != at:
        refuse(where, "not a zip archive: damaged zip64 end of central directory")
    file.seek(end)
    signature, length, _, _, *fields = _END64.unpack(file.read(_END64.size))
    if signature != b"PK\x06\x06" or length != _END64.size - 12:
        refuse(where, "not a zip archive: damaged zip64 end of central directory")
    return end, tuple(fields)


def _entry(directory: bytes, at: int, where: str) -> tuple[ZipMember, int]:
    """The central directory's entry at `at`, and where the next one starts."""
    if len(directory) < at + _CENTRAL.size:
        refuse(where, "not a zip archive: the central directory is cut off")
    fields = _CENTRAL.unpack_from(directory, at)
    signature, flags, method, crc, packed, size = fields[:6]
    name_length, extra_length, comment_length, disk, attributes, offset = fields[6:]
    extra_at = at + _CENTRAL.size + name_length
    following = extra_at + extra_length + comment_length
    if signature != b"PK\x01\x02" or following > len(directory):
        refuse(where, "not a zip archive: the central directory is cut off")
    name = _name(directory[extra_at - name_length : extra_at], flags, where)
    extras = _extras(directory[extra_at : extra_at + extra_length], name, where)
    size, packed, offset = _wide((size, packed, offset), extras, name, where)
    if flags & _ENCRYPTED:
        refuse(where, f"{name!r} is encrypted")
    if flags & ~_KNOWN_FLAGS or disk:
        refuse(where, f"{name!r} uses a rare feature of zip (flags {flags:#x}, disk {disk})")
    if method not in (_STORED, _DEFLATED):
        refuse(where, f"{name!r} is neither stored nor deflated")
    if method == _STORED and (packed != size or (flags & _DESCRIPTOR and size)):
        refuse(where, f"{name!r} is stored, and its end can't be told from its data")
    if stat.S_IFMT(attributes >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        refuse(where, f"{name!r} is a link or a device")
    if name.endswith("/") and size:
        refuse(where, f"{name!r} is a folder with content")
    return ZipMember(name, flags, method, crc, packed, size, offset), following


def _name(raw: bytes, flags: int, where: str) -> str:
    try:
        return raw.decode("utf-8" if flags & _UTF8 else "ascii")
    except UnicodeDecodeError:
        refuse(where, f"a member's name is neither ASCII nor UTF-8: {raw[:200]!r}")


def _extras(extra: bytes, name: str, where: str) -> dict[int, bytes]:
    """The extra fields by kind: each once, and nothing between or behind them."""
    fields: dict[int, bytes] = {}
    at = 0
    while at < len(extra):
        kind, length = struct.unpack_from("<HH", extra, at) if len(extra) >= at + 4 else (0, CHUNK)
        at += 4 + length
        if at > len(extra) or kind in fields:
            refuse(where, f"{name!r} has a damaged or a double extra field")
        fields[kind] = extra[at - length : at]
    if _UNICODE_PATH in fields:
        refuse(where, f"{name!r} has a second name (Unicode Path extra field)")
    return fields


def _wide(
    stated: tuple[int, ...], extras: dict[int, bytes], name: str, where: str
) -> tuple[int, ...]:
    """The stated numbers, those that are sentinels taken from the zip64 extra field."""
    data = extras.get(_ZIP64, b"")
    if len(data) != 8 * stated.count(_SENTINEL):
        refuse(where, f"{name!r} has a zip64 extra field that does not fit its sizes")
    wide = iter(struct.unpack(f"<{len(data) // 8}Q", data))
    return tuple(next(wide) if number == _SENTINEL else number for number in stated)


# -- the members -----------------------------------------------------------------------------


def _local_header(file: BinaryIO, member: ZipMember, where: str) -> tuple[int, bool]:
    """Compare a local header with the directory.

    Returns:
        Its length, and whether it has a zip64 extra field.
    """
    file.seek(member.offset)
    fixed = file.read(_LOCAL.size)
    if len(fixed) < _LOCAL.size:
        refuse(where, f"the local header of {member.name!r} is cut off")
    signature, flags, method, crc, packed, size, name_length, extra_length = _LOCAL.unpack(fixed)
    name, extra = file.read(name_length), file.read(extra_length)
    if (
        signature != b"PK\x03\x04"
        or name != member.name.encode()
        or method != member.method
        or (flags ^ member.flags) & ~0x0006
    ):
        refuse(where, f"local header and central directory differ on {member.name!r}")
    extras = _extras(extra, member.name, where)
    size, packed = _wide((size, packed), extras, member.name, where)
    empty = (0, 0, 0) if flags & _DESCRIPTOR else (member.crc, member.packed, member.size)
    if any(
        stated not in allowed
        for stated, *allowed in zip(
            (crc, packed, size), (member.crc, member.packed, member.size), empty, strict=True
        )
    ):
        refuse(where, f"{member.name!r} has two sizes or two checksums")
    return _LOCAL.size + len(name) + len(extra), _ZIP64 in extras


def _check_data(
    file: BinaryIO, member: ZipMember, keep: bool, unpacked: Unpacked, where: str
) -> bytes:
    """Unpack a member; its bytes if they are to be kept."""
    crc = size = 0
    kept: list[bytes] = []
    unpack = _stored if member.method == _STORED else _inflated
    try:
        for data in unpack(file, member.packed):
            crc = zlib.crc32(data, crc)
            size += len(data)
            unpacked.add(len(data))
            if keep and size > MAX_METADATA:
                refuse(where, f"{member.name} has more than {MAX_METADATA} bytes")
            if keep:
                kept.append(data)
    except (zlib.error, EOFError) as error:
        refuse(where, f"{member.name!r} can't be unpacked: {error}")
    if (crc, size) != (member.crc, member.size):
        refuse(where, f"{member.name!r} unpacks to other bytes than its headers say")
    return b"".join(kept)


def _stored(file: BinaryIO, packed: int) -> Iterator[bytes]:
    while packed:
        data = file.read(min(CHUNK, packed))
        if not data:
            raise EOFError("it is cut off")
        packed -= len(data)
        yield data


def _inflated(file: BinaryIO, packed: int) -> Iterator[bytes]:
    """Unpack a deflate stream that must end exactly after `packed` bytes."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    source = _stored(file, packed)
    waiting = b""
    while not stream.eof:
        data = waiting or next(source, b"")
        unpacked = stream.decompress(data, CHUNK)
        waiting = stream.unconsumed_tail
        if not data and not unpacked and not stream.eof:
            raise EOFError("its deflate stream does not end")
        yield unpacked
    if stream.unused_data or waiting or next(source, b""):
        raise EOFError("bytes follow the end of its deflate stream")


def _check_descriptor(data: bytes, member: ZipMember, wide: bool, where: str) -> None:
    """A data descriptor, with or without its signature, says what the directory says."""
    expected = struct.pack("<LQQ" if wide else "<LLL", member.crc, member.packed, member.size)
    if data not in (expected, b"PK\x07\x08" + expected):
        refuse(where, f"directory and data descriptor differ on {member.name!r}")
