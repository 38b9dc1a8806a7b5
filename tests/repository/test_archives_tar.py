"""An sdist whose headers correct each other, or whose links lead astray, stays outside."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from indextrust.errors import DistributionError
from indextrust.repository import members as archive_members
from indextrust.repository import read_distribution
from tests.support.wheels import core_metadata, make_sdist

TIME = "2026-01-31T12:00:00Z"
SDIST = "demo-1.0.tar.gz"
TOP = "demo-1.0/PKG-INFO"
GOOD = core_metadata("demo", "1.0")


def block(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, target: str = "") -> bytes:
    """A header and its data, in USTAR."""
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = len(data), kind, target
    return member.tobuf(tarfile.USTAR_FORMAT) + data + b"\0" * (-len(data) % 512)


def record(key: str, value: str) -> bytes:
    """One record of a PAX header."""
    text = f" {key}={value}\n".encode()
    length = len(text) + 1
    while len(str(length)) + len(text) != length:
        length += 1
    return str(length).encode() + text


def pax(key: str, value: str, kind: bytes = tarfile.XHDTYPE) -> bytes:
    return block("pax", record(key, value), kind)


def long_name(name: str, kind: bytes = tarfile.GNUTYPE_LONGNAME) -> bytes:
    return block("././@LongLink", name.encode() + b"\0", kind)


CORE = block(TOP, GOOD)
FILE = block("demo-1.0/demo.py", b"x = 1\n")
END = b"\0" * 1024


def reason(tmp_path: Path, *blocks: bytes) -> str:
    (tmp_path / SDIST).write_bytes(gzip.compress(b"".join(blocks) + END))
    with pytest.raises(DistributionError) as caught:
        read_distribution(tmp_path / SDIST, upload_time=TIME)
    return str(caught.value)


def accepted(tmp_path: Path, *blocks: bytes) -> bool:
    (tmp_path / SDIST).write_bytes(gzip.compress(b"".join(blocks) + END))
    return read_distribution(tmp_path / SDIST, upload_time=TIME)[0].project == "demo"


@pytest.mark.parametrize("style", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_every_tar_writes_is_read(tmp_path: Path, style: int) -> None:
    with tarfile.open(tmp_path / SDIST, "w:gz", format=style) as archive:
        for name in ("demo-1.0", "demo-1.0/" + "deep/" * 25 + "x.py", TOP):
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE if name == "demo-1.0" else tarfile.REGTYPE
            member.mtime = 1 if style == tarfile.USTAR_FORMAT else 1.5
            member.size = len(GOOD) if name == TOP else 0
            archive.addfile(member, io.BytesIO(GOOD))
    assert read_distribution(tmp_path / SDIST, upload_time=TIME)[0].project == "demo"


def test_what_git_archive_writes_is_read(tmp_path: Path) -> None:
    assert accepted(tmp_path, pax("comment", "a" * 40, tarfile.XGLTYPE), CORE, FILE)


# -- headers that correct headers ------------------------------------------------------------


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE])
@pytest.mark.parametrize("key", ["size", "GNU.sparse.size", "GNU.sparse.map", "hdrcharset"])
def test_a_pax_header_must_not_move_the_next_header(tmp_path: Path, kind: bytes, key: str) -> None:
    hidden = block("demo-1.0/evil.py", b"x")
    attack = pax(key, "0", kind) + block("demo-1.0/data", hidden)
    assert "a PAX header that readers read differently" in reason(tmp_path, CORE, attack)


@pytest.mark.parametrize(
    ("headers", "reason_given"),
    [
        (pax("path", "demo-1.0/a") + long_name("demo-1.0/b"), "named twice"),
        (long_name("demo-1.0/a") + long_name("demo-1.0/b"), "two headers of one kind"),
        (pax("path", "demo-1.0/a") + pax("path", "demo-1.0/b"), "two headers of one kind"),
        (pax("path", "demo-1.0/a", tarfile.XGLTYPE), "names all members alike"),
        (pax("mtime", "1") + pax("comment", "", tarfile.XGLTYPE), "between another header"),
        (block("x", record("path", "a") * 2, tarfile.XHDTYPE), "read differently: 'path'"),
        (block("x", b"9 path=a\n\n", tarfile.XHDTYPE), "damaged PAX header"),
        (block("x", b"99 path=a\n", tarfile.XHDTYPE), "damaged PAX header"),
        (long_name("demo-1.0/a\0b"), "bytes follow the end of a long name"),
        (pax("comment", "x" * 70_000), "a header of more than 65536 bytes"),
    ],
)
def test_headers_that_readers_read_differently_are_refused(
    tmp_path: Path, headers: bytes, reason_given: str
) -> None:
    assert reason_given in reason(tmp_path, CORE, headers, FILE)


def test_a_thousand_long_names_of_one_member_do_not_exhaust_the_stack(tmp_path: Path) -> None:
    assert "two headers of one kind" in reason(tmp_path, CORE, long_name("x") * 5_000, FILE)


@pytest.mark.parametrize("size", [b"0o7", b"1_0", b"\x80" + b"\0" * 10 + b"\1", b"-1"])
def test_a_size_that_is_no_plain_number_is_refused(tmp_path: Path, size: bytes) -> None:
    header = bytearray(block("demo-1.0/x"))
    header[124:136] = size.ljust(12, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    assert SDIST in reason(tmp_path, CORE, bytes(header))


def test_a_cut_archive_is_refused(tmp_path: Path) -> None:
    for whole in (CORE + FILE[:700], CORE + FILE[:300], CORE + pax("mtime", "1")):
        (tmp_path / SDIST).write_bytes(gzip.compress(whole))
        with pytest.raises(DistributionError, match="not a gzipped tar archive"):
            read_distribution(tmp_path / SDIST, upload_time=TIME)


# -- links -----------------------------------------------------------------------------------


def link(name: str, target: str) -> bytes:
    return block(name, kind=tarfile.SYMTYPE, target=target)


def hard(name: str, target: str) -> bytes:
    return block(name, kind=tarfile.LNKTYPE, target=target)


@pytest.mark.parametrize(
    "links",
    [
        [link("demo-1.0/b/s", "../.."), link("demo-1.0/b/l", "s/../../etc/passwd")],
        [link("demo-1.0/b/s", ".."), link("demo-1.0/b/l", "s/../../etc/passwd")],
        [link("demo-1.0/b/s", "."), link("demo-1.0/b/l", "s/../x")],
        [link("demo-1.0/b", "../demo-1.0/x")],
        [link("demo-1.0/b", "/etc/passwd")],
        [link("demo-1.0", "x")],
        [hard("demo-1.0/b", "demo-1.0/../etc/passwd")],
        [hard("demo-1.0/b", "demo-1.0/missing")],
        [hard("demo-1.0/b", "/etc/passwd")],
        # a hard link to a symbolic link moves it to where its target means something else
        [link("demo-1.0/b/c/s", "../../x"), hard("demo-1.0/s", "demo-1.0/b/c/s")],
    ],
)
def test_no_chain_of_links_leaves_the_top_folder(tmp_path: Path, links: list[bytes]) -> None:
    assert "links out of the archive" in reason(tmp_path, CORE, *links)


def test_links_that_stay_inside_are_fine(tmp_path: Path) -> None:
    assert accepted(
        tmp_path,
        CORE,
        link("demo-1.0/docs/a/readme", "../../PKG-INFO"),
        link("demo-1.0/docs/again", "./a/readme"),
        hard("demo-1.0/copy", TOP),
    )


def test_a_link_must_not_take_the_place_of_a_folder(tmp_path: Path) -> None:
    attack = [block("demo-1.0/d/x", b"x"), link("demo-1.0/D", "e")]
    assert "is a folder and a link" in reason(tmp_path, CORE, *attack)
    assert "lies behind a link" in reason(tmp_path, CORE, *reversed(attack))


# -- what follows the gzip stream ------------------------------------------------------------


@pytest.mark.parametrize(
    "behind",
    [b"\0", b"x" * 100_000, gzip.compress(END, mtime=0)],
    ids=["a zero", "a lot", "another stream"],
)
def test_nothing_may_follow_the_gzip_stream(tmp_path: Path, behind: bytes) -> None:
    path = make_sdist(tmp_path, "demo", "1.0")
    path.write_bytes(path.read_bytes() + behind)
    with pytest.raises(DistributionError, match="bytes follow the end of the gzip stream"):
        read_distribution(path, upload_time=TIME)


def test_a_cut_gzip_stream_is_refused(tmp_path: Path) -> None:
    path = make_sdist(tmp_path, "demo", "1.0")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DistributionError, match="the gzip stream is cut off"):
        read_distribution(path, upload_time=TIME)


# -- cost ------------------------------------------------------------------------------------


def test_a_name_of_120_kilobytes_is_refused_before_it_is_looked_at(tmp_path: Path) -> None:
    name = "demo-1.0" + "/d" * 30_000
    assert "a name of 60008 characters" in reason(tmp_path, CORE, pax("path", name), FILE)


def test_a_folder_named_again_and_again_counts_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_members, "_MAX_MEMBERS", 10)
    folder = block("demo-1.0/", kind=tarfile.DIRTYPE)
    assert accepted(tmp_path, CORE, folder * 9)
    assert "more than 10 members" in reason(tmp_path, CORE, folder * 10)


def test_the_names_of_an_archive_are_bounded_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_members, "_MAX_NAMES", 1_000)
    assert accepted(tmp_path, CORE, block("demo-1.0/" + "d/" * 10 + "x"))
    deep = pax("path", "demo-1.0/" + "d/" * 40 + "x")
    assert "more than 1000 characters of names" in reason(tmp_path, CORE, deep, FILE)


# -- the fixed part of a header --------------------------------------------------------------


def test_content_behind_a_folder_is_refused(tmp_path: Path) -> None:
    folder = block("demo-1.0/d/", FILE, tarfile.DIRTYPE)
    assert "has content, and is a folder or a link" in reason(tmp_path, CORE, folder)


def test_a_prefix_that_gnu_tar_does_not_know_is_refused(tmp_path: Path) -> None:
    header = bytearray(block("x"))
    header[257:265], header[345:353] = tarfile.GNU_MAGIC, b"demo-1.0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    assert "a prefix that not all readers know" in reason(tmp_path, CORE, bytes(header))


# -- twins -----------------------------------------------------------------------------------


def test_names_that_differ_by_case_are_two_files_of_an_sdist(tmp_path: Path) -> None:
    both = block("demo-1.0/Makefile", b"all:"), block("demo-1.0/makefile", b"all:")
    assert accepted(tmp_path, CORE, *both)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("demo-1.0/pkg-info", ""),
        ("demo-1.0/caf\u00e9", "demo-1.0/cafe\u0301"),
        ("demo-1.0/a", "demo-1.0/a"),
    ],
)
def test_twins_are_refused(tmp_path: Path, first: str, second: str) -> None:
    blocks = [block(name, b"x") for name in (first, second) if name]
    assert "is there twice" in reason(tmp_path, CORE, *blocks)
