"""A wheel's three stories (directory, local headers, data) must be one (CVE-2025-54368)."""

from __future__ import annotations

import struct
import unicodedata
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from indextrust.errors import DistributionError
from indextrust.repository import read_distribution
from tests.support.wheels import core_metadata, write_zip

TIME = "2026-01-31T12:00:00Z"
WHEEL = "demo-1.0-py3-none-any.whl"
INFO = "demo-1.0.dist-info/METADATA"
GOOD = core_metadata("demo", "1.0")
HONEST = b"honest = 1\n" * 40


def deflated(data: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush()


@dataclass(frozen=True)
class Raw:
    """One member as it is written, byte by byte; what is None tells the truth."""

    name: str
    data: bytes = HONEST
    method: int = 8
    packed: bytes | None = None
    flags: int = 0x800
    size: int | None = None
    crc: int | None = None
    local_crc: int | None = None
    local_extra: bytes = b""
    extra: bytes = b""
    descriptor: bytes = b""
    comment: bytes = b""


def raw_zip(*members: Raw, end64: bytes = b"", end: dict[int, int] | None = None) -> bytes:
    """A zip archive of exactly these bytes; `end` overrides fields of the end record."""
    body = directory = b""
    for member in members:
        packed = member.packed
        if packed is None:
            packed = deflated(member.data) if member.method == 8 else member.data
        size = len(member.data) if member.size is None else member.size
        crc = zlib.crc32(member.data) if member.crc is None else member.crc
        local_crc = crc if member.local_crc is None else member.local_crc
        name, offset = member.name.encode(), len(body)
        head = (20, member.flags, member.method, 0, 0)
        body += struct.pack("<4s5H3L", b"PK\3\4", *head, local_crc, len(packed), size)
        body += struct.pack("<HH", len(name), len(member.local_extra)) + name
        body += member.local_extra + packed + member.descriptor
        directory += struct.pack("<4sH5H3L", b"PK\1\2", 20, *head, crc, len(packed), size)
        lengths = (len(name), len(member.extra), len(member.comment))
        directory += struct.pack("<5H2L", *lengths, 0, 0, 0, offset)
        directory += name + member.extra + member.comment
    fields = [0, 0, len(members), len(members), len(directory), len(body)]
    if end64:
        end64 = struct.pack("<4sQHHLL", b"PK\6\6", 44, 45, 45, 0, 0) + end64
        end64 += struct.pack("<4sLQL", b"PK\6\7", 0, len(body + directory), 1)
    for index, value in (end or {}).items():
        fields[index] = value
    return body + directory + end64 + struct.pack("<4s4H2LH", b"PK\5\6", *fields, 0)


CORE = Raw(INFO, GOOD)
DEMO = Raw("demo.py")


def reason(tmp_path: Path, data: bytes) -> str:
    (tmp_path / WHEEL).write_bytes(data)
    with pytest.raises(DistributionError) as caught:
        read_distribution(tmp_path / WHEEL, upload_time=TIME)
    return str(caught.value)


def accepted(tmp_path: Path, data: bytes) -> bool:
    (tmp_path / WHEEL).write_bytes(data)
    return read_distribution(tmp_path / WHEEL, upload_time=TIME)[1] == GOOD


def described(member: Raw, signature: bytes = b"PK\7\x08", sizes: str = "LL") -> Raw:
    """The member with a true data descriptor behind it."""
    numbers = (zlib.crc32(member.data), len(deflated(member.data)), len(member.data))
    descriptor = signature + struct.pack(f"<L{sizes}", *numbers)
    return replace(member, flags=0x808, descriptor=descriptor)


def zip64_end(*members: Raw) -> tuple[bytes, int, int]:
    """The true fields of a zip64 end record, and length and offset of the directory."""
    _, _, count, _, length, offset, _ = struct.unpack("<4H2LH", raw_zip(*members)[-18:])
    return struct.pack("<4Q", count, count, length, offset), length, offset


@pytest.mark.parametrize(
    "member",
    [
        DEMO,
        replace(DEMO, method=0),
        described(DEMO),
        described(DEMO, signature=b""),
        Raw("demo/", b"", method=0),
        Raw("demo/café.py"),
    ],
)
def test_what_agrees_with_itself_is_read(tmp_path: Path, member: Raw) -> None:
    assert accepted(tmp_path, raw_zip(member, CORE))


@pytest.mark.parametrize("method", [0, 8])
@pytest.mark.parametrize(
    ("lie", "reason_given"),
    [
        ({"size": 7, "method": 8}, "'demo.py' unpacks to other bytes than its headers say"),
        ({"crc": 7}, "'demo.py' unpacks to other bytes than its headers say"),
        ({"local_crc": 7}, "'demo.py' has two sizes or two checksums"),
    ],
)
def test_headers_that_lie_about_the_data_are_refused(
    tmp_path: Path, method: int, lie: dict[str, int], reason_given: str
) -> None:
    member = replace(DEMO, **{"method": method, **lie})  # type: ignore[arg-type]
    assert reason_given in reason(tmp_path, raw_zip(member, CORE))


@pytest.mark.parametrize(
    ("packed", "reason_given"),
    [
        (deflated(HONEST) + b"PK\3\4 hidden", "bytes follow the end of its deflate stream"),
        (deflated(HONEST) + b"\0" * 70_000, "bytes follow the end of its deflate stream"),
        (deflated(HONEST)[:-3], "its deflate stream does not end"),
        (b"", "its deflate stream does not end"),
    ],
)
def test_a_stream_that_ends_elsewhere_than_its_member_is_refused(
    tmp_path: Path, packed: bytes, reason_given: str
) -> None:
    data = raw_zip(replace(DEMO, packed=packed), CORE)
    assert reason_given in reason(tmp_path, data)


def test_a_data_descriptor_must_say_what_the_directory_says(tmp_path: Path) -> None:
    honest = described(DEMO)
    for at in (4, 8, 12):
        lying = bytearray(honest.descriptor)
        lying[at] ^= 1
        data = raw_zip(replace(honest, descriptor=bytes(lying)), CORE)
        assert "data descriptor differ on 'demo.py'" in reason(tmp_path, data)
    for other in (described(DEMO, sizes="QQ").descriptor, b""):
        data = raw_zip(replace(honest, descriptor=other), CORE)
        assert "data descriptor differ on 'demo.py'" in reason(tmp_path, data)


def test_stored_data_that_only_a_descriptor_ends_is_refused(tmp_path: Path) -> None:
    member = replace(described(DEMO), method=0)
    assert "its end can't be told from its data" in reason(tmp_path, raw_zip(member, CORE))


def test_a_bomb_that_claims_to_be_small_is_refused_as_a_bomb(tmp_path: Path) -> None:
    bomb = deflated(b"\0" * 80_000_000)
    data = raw_zip(replace(DEMO, packed=bomb, size=10), CORE)
    assert "decompression bomb" in reason(tmp_path, data)


def test_a_second_name_in_an_extra_field_is_refused_wherever_it_is(tmp_path: Path) -> None:
    field = b"\x01" + struct.pack("<L", zlib.crc32(b"demo.py")) + b"evil.py"
    extra = struct.pack("<HH", 0x7075, len(field)) + field
    for member in (replace(DEMO, local_extra=extra), replace(DEMO, extra=extra)):
        assert "a second name" in reason(tmp_path, raw_zip(member, CORE))


@pytest.mark.parametrize("extra", [b"\1\0", b"\x55\x55\x09\0abc", struct.pack("<4H", 9, 0, 9, 0)])
def test_extra_fields_that_do_not_add_up_are_refused(tmp_path: Path, extra: bytes) -> None:
    for member in (replace(DEMO, local_extra=extra), replace(DEMO, extra=extra)):
        assert "damaged or a double extra field" in reason(tmp_path, raw_zip(member, CORE))


def test_a_zip64_size_that_nobody_asked_for_is_refused(tmp_path: Path) -> None:
    extra = struct.pack("<HHQQ", 1, 16, 7, 7)
    for member in (replace(DEMO, local_extra=extra), replace(DEMO, extra=extra)):
        assert "zip64 extra field that does not fit" in reason(tmp_path, raw_zip(member, CORE))


def test_a_link_in_a_wheel_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("demo.py")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / WHEEL, "w") as archive:
        archive.writestr(link, b"/etc/passwd")
        archive.writestr(INFO, GOOD)
    assert "'demo.py' is a link or a device" in reason(tmp_path, (tmp_path / WHEEL).read_bytes())


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_rare_compression_in_a_wheel_is_refused(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / WHEEL, "w", method) as archive:
        archive.writestr(INFO, GOOD)
    assert "neither stored nor deflated" in reason(tmp_path, (tmp_path / WHEEL).read_bytes())


# -- end records -----------------------------------------------------------------------------


def test_both_end_records_must_agree(tmp_path: Path) -> None:
    end64, length, offset = zip64_end(DEMO, CORE)
    assert accepted(tmp_path, raw_zip(DEMO, CORE, end64=end64))
    sentinels = {2: 0xFFFF, 3: 0xFFFF, 4: 0xFFFFFFFF, 5: 0xFFFFFFFF}
    assert accepted(tmp_path, raw_zip(DEMO, CORE, end64=end64, end=sentinels))
    for lie in ({2: 1}, {3: 1}, {4: length - 1}, {5: offset - 1}, {0: 1}, {1: 1}):
        data = raw_zip(DEMO, CORE, end64=end64, end=lie)
        assert "two end records differ" in reason(tmp_path, data)


def test_a_zip64_record_that_is_announced_must_be_there(tmp_path: Path) -> None:
    for sentinel in ({3: 0xFFFF}, {4: 0xFFFFFFFF}, {5: 0xFFFFFFFF}):
        data = raw_zip(DEMO, CORE, end=sentinel)
        assert "its zip64 end of central directory is missing" in reason(tmp_path, data)


def test_the_count_must_be_that_of_the_members(tmp_path: Path) -> None:
    for count in (1, 3):
        data = raw_zip(DEMO, CORE, end={2: count, 3: count})
        assert f"counts {count} members, the directory 2" in reason(tmp_path, data)


def test_a_second_end_record_in_a_comment_is_refused(tmp_path: Path) -> None:
    fake = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, 0, 0, 22)
    data = raw_zip(DEMO, replace(CORE, comment=fake))
    assert "a second end of central directory" in reason(tmp_path, data)


# -- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (INFO, INFO.replace("METADATA", "metadata")),
        ("demo/Straße.py", "demo/STRASSE.PY"),
        ("demo/café.py", unicodedata.normalize("NFD", "demo/café.py")),
        ("Demo/x.py", "demo/x.py"),
    ],
)
def test_twins_are_refused(tmp_path: Path, first: str, second: str) -> None:
    data = raw_zip(CORE, *(Raw(name) for name in (first, second) if name != INFO))
    assert "is there twice" in reason(tmp_path, data)


def test_a_file_that_is_also_a_folder_is_refused(tmp_path: Path) -> None:
    for names in (("demo", "Demo/x.py"), ("demo/x.py", "Demo"), ("demo", "demo/")):
        members = [Raw(name, b"", method=0) for name in names]
        assert "demo" in reason(tmp_path, raw_zip(CORE, *members))


def test_a_folder_with_content_is_refused(tmp_path: Path) -> None:
    assert "a folder with content" in reason(tmp_path, raw_zip(CORE, Raw("demo/")))


@pytest.mark.parametrize("name", ["d/" * 30_000 + "x", "d/" * 2_048 + "x", "x" * 256])
def test_a_name_that_no_file_system_has_is_refused(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / WHEEL, {INFO: GOOD, name: b""})
    assert "name" in reason(tmp_path, path.read_bytes())
