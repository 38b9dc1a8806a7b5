"""What a file says of itself decides; what contradicts itself stays outside."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indextrust.distribution import DistributionFile
from indextrust.errors import DistributionError, InputError, StoreError
from indextrust.repository import members as archive_members
from indextrust.repository import read_distribution
from indextrust.repository.archives import MAX_METADATA
from tests.support.wheels import core_metadata, make_sdist, make_wheel, write_tar, write_zip

TIME = "2026-01-31T12:00:00Z"
WHEEL = "demo-1.0-py3-none-any.whl"
INFO = "demo-1.0.dist-info/METADATA"
SDIST = "demo-1.0.tar.gz"
TOP = "demo-1.0/PKG-INFO"
GOOD = core_metadata("demo", "1.0")
LONG_SPECIFIER = ",".join(f"!=3.{minor}" for minor in range(400))


def refusal(path: Path) -> str:
    """The reason for which `path` is refused."""
    with pytest.raises(DistributionError) as caught:
        read_distribution(path, upload_time=TIME)
    return str(caught.value)


# -- what is read ----------------------------------------------------------------------------


def test_a_wheel_says_everything_itself(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "Zope.Inter_face", "1.0rc1", requires_python=" >=3.9, !=3.10.* ")
    file, core = read_distribution(path, upload_time=TIME)
    assert core is not None
    data = path.read_bytes()
    assert file == DistributionFile(
        project="zope-inter-face",  # type: ignore[arg-type]
        filename="zope_inter_face-1.0rc1-py3-none-any.whl",
        version="1.0rc1",
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        upload_time=TIME,
        requires_python="!=3.10.*,>=3.9",
        metadata_sha256=hashlib.sha256(core).hexdigest(),
    )
    with zipfile.ZipFile(path) as archive:
        assert core == archive.read("zope_inter_face-1.0rc1.dist-info/METADATA")


def test_an_sdist_says_the_same_but_its_metadata_is_not_served_beside_it(tmp_path: Path) -> None:
    file, core = read_distribution(make_sdist(tmp_path, "demo", "1.0"), upload_time=TIME)
    assert (file.project, file.version, file.requires_python) == ("demo", "1.0", None)
    assert (core, file.metadata_sha256) == (None, None)


def test_an_old_zip_sdist_is_read_too(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "demo-1.0.zip", {TOP: GOOD, "demo-1.0/demo.py": b""})
    assert read_distribution(path, upload_time=TIME)[0].project == "demo"


def test_a_file_name_may_keep_the_spelling_of_the_project(tmp_path: Path) -> None:
    path = write_zip(
        tmp_path / "backports.tarfile-1.2-py3-none-any.whl",
        {"backports.tarfile-1.2.dist-info/METADATA": core_metadata("backports.tarfile", "1.2")},
    )
    assert read_distribution(path, upload_time=TIME)[0].project == "backports-tarfile"


# -- contradictions --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        (core_metadata("other", "1.0"), "expected the metadata of demo 1.0, got that of 'other'"),
        (core_metadata("demo", "1.1"), "expected the metadata of demo 1.0, got that of 'demo' 1.1"),
        (core_metadata("", "1.0"), "name"),
        (core_metadata("-demo-", "1.0"), "name"),
        (core_metadata("demo", ""), "version"),
        (core_metadata("demo", "one"), "version"),
        (core_metadata("demo", "1.0", requires_python="3 or more"), "requires-python"),
        (core_metadata("demo", "1.0", requires_python=LONG_SPECIFIER), "Requires-Python"),
        (GOOD.replace(b"2.2", b"3.0"), "expected Metadata-Version 1.x or 2.x, got '3.0'"),
        (GOOD.replace(b"Metadata-Version: 2.2\n", b""), "expected Metadata-Version"),
        (b"Name: demo\n" + GOOD, "'name' is not given once"),
        (GOOD.replace(b"Version: 1.0", b"Version: 1.0\nVersion: 1.0"), "'version' is not given"),
        (b"", "expected Metadata-Version"),
        (b"\xff\xfe\x00", "expected Metadata-Version"),
        (b"x" * (MAX_METADATA + 1), "bytes"),
    ],
)
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_metadata_that_contradicts_the_file_name_is_refused(
    tmp_path: Path, kind: str, metadata: bytes, reason: str
) -> None:
    if kind == "wheel":
        path = write_zip(tmp_path / WHEEL, {INFO: metadata})
    else:
        path = write_tar(tmp_path / SDIST, {TOP: metadata})
    assert reason in refusal(path)


@pytest.mark.parametrize("specifier", ["===\x01", "===e\u0301", "===\u202e", "===" + "x" * 1_998])
def test_a_requires_python_that_clients_refuse_is_refused_here(
    tmp_path: Path, specifier: str
) -> None:
    # signed once, it would take the whole project off every client
    metadata = core_metadata("demo", "1.0", requires_python=specifier)
    assert "expected a Requires-Python of at most" in refusal(
        write_zip(tmp_path / WHEEL, {INFO: metadata})
    )


def test_metadata_that_breaks_its_parser_is_refused(tmp_path: Path) -> None:
    nested = GOOD.strip() + b"".join(
        b"\nContent-Type: multipart/mixed; boundary=b%d\n\n--b%d" % (depth, depth)
        for depth in range(2_000)
    )
    assert "nested too deeply" in refusal(write_zip(tmp_path / WHEEL, {INFO: nested}))
    digits = core_metadata("demo", "1" * 5_000)
    assert "digits" in refusal(write_zip(tmp_path / WHEEL, {INFO: digits}))
    folder = f"demo-{'1' * 200}.dist-info/METADATA"
    assert "metadata folder" in refusal(write_zip(tmp_path / WHEEL, {folder: GOOD}))


@pytest.mark.parametrize("folder", ["a\0b", "a\ud800b"])
def test_a_path_that_no_file_can_have_is_refused(tmp_path: Path, folder: str) -> None:
    with pytest.raises(InputError, match="expected the path of a file"):
        read_distribution(tmp_path / folder / WHEEL, upload_time=TIME)


def test_the_versions_must_be_spelled_alike(tmp_path: Path) -> None:
    # 1.0 and 1.0.0 are one version to an installer; a document must not list it twice
    assert "got that of 'demo' 1.0.0" in refusal(
        write_zip(tmp_path / WHEEL, {INFO: core_metadata("demo", "1.0.0")})
    )


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([], "expected one .dist-info folder"),
        (["demo.py"], "expected one .dist-info folder"),
        (["demo-1.0.dist-info/WHEEL"], "no demo-1.0.dist-info/METADATA"),
        ([INFO, "other-1.0.dist-info/METADATA"], "expected one .dist-info folder"),
        (["other-1.0.dist-info/METADATA"], "expected the metadata folder of demo-1.0"),
        (["demo-2.0.dist-info/METADATA"], "expected the metadata folder of demo-1.0"),
        (["demo-x.dist-info/METADATA"], "expected the metadata folder of demo-1.0"),
        ([INFO, "../evil.py"], "leaves the archive"),
        ([INFO, "/etc/evil.py"], "leaves the archive"),
        ([INFO, "demo/../../evil.py"], "leaves the archive"),
        ([INFO, "./demo.py"], "not plain"),
        ([INFO, "demo//x.py"], "not plain"),
        ([INFO, "demo\\x.py"], "not plain"),
        ([INFO, "C:evil.py"], "not plain"),
        ([INFO, "demo\x1b[2J.py"], "not plain"),
        ([INFO, INFO], "is there twice"),
        ([INFO, "demo.py", "demo.py"], "is there twice"),
    ],
)
def test_a_wheel_of_the_wrong_shape_is_refused(
    tmp_path: Path, members: list[str], reason: str
) -> None:
    path = tmp_path / WHEEL
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # zipfile's, on duplicates
        for name in members:
            archive.writestr(name, GOOD)
    assert reason in refusal(path)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({}, "expected one folder at the top"),
        ({"PKG-INFO": GOOD}, "no PKG-INFO/PKG-INFO"),
        ({"demo-1.0/setup.py": b""}, "no demo-1.0/PKG-INFO"),
        ({"demo-1.0/sub/PKG-INFO": GOOD}, "no demo-1.0/PKG-INFO"),
        ({TOP: GOOD, "other/x.py": b""}, "expected one folder at the top"),
        ({TOP: GOOD, "demo-1.0/../../evil": b""}, "leaves the archive"),
        ({TOP: GOOD, "/etc/evil": b""}, "leaves the archive"),
        ({TOP: GOOD, "demo-1.0//x": b""}, "not plain"),
    ],
)
def test_an_sdist_of_the_wrong_shape_is_refused(
    tmp_path: Path, members: dict[str, bytes], reason: str
) -> None:
    assert reason in refusal(write_tar(tmp_path / SDIST, members))


@pytest.mark.parametrize(
    "filename",
    [
        "notes.txt",
        "demo.whl",
        "demo-1.0.exe",
        "demo-1.0-py3.whl",
        "-1.0.tar.gz",
        "demo-one.tar.gz",
        ".demo-1.0.tar.gz",
        "démo-1.0.tar.gz",
        "de mo-1.0.tar.gz",
    ],
)
def test_a_file_that_is_not_named_like_a_distribution_is_refused(
    tmp_path: Path, filename: str
) -> None:
    (tmp_path / filename).write_bytes(b"")
    assert "file name" in refusal(tmp_path / filename) or "wheel or an sdist" in refusal(
        tmp_path / filename
    )


@pytest.mark.parametrize("filename", [WHEEL, SDIST, "demo-1.0.zip"])
@pytest.mark.parametrize("data", [b"", b"not an archive", b"PK\x05\x06" + b"\0" * 18])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, filename: str, data: bytes) -> None:
    (tmp_path / filename).write_bytes(data)
    assert filename in refusal(tmp_path / filename)


@pytest.mark.parametrize(
    "time",
    [
        "yesterday",
        "2026-01-31T12:00:00",
        "2026-99-99T99:99:99Z",
        "2026-02-29T12:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T23:59:60Z",
        "0000-01-31T12:00:00Z",
    ],
)
def test_an_upload_time_that_is_none_is_refused(tmp_path: Path, time: str) -> None:
    with pytest.raises(InputError, match="expected an upload time like"):
        read_distribution(make_wheel(tmp_path, "demo", "1.0"), upload_time=time)


# -- what lies at the path -------------------------------------------------------------------


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    real = make_wheel(tmp_path, "demo", "1.0")
    (tmp_path / "link").mkdir()
    link = tmp_path / "link" / real.name
    link.symlink_to(real)
    assert "symbolic link" in refusal(link)


def test_a_folder_and_a_pipe_are_refused_without_waiting(tmp_path: Path) -> None:
    (tmp_path / WHEEL).mkdir()
    assert "not a regular file" in refusal(tmp_path / WHEEL)
    os.mkfifo(tmp_path / SDIST)
    assert "not a regular file" in refusal(tmp_path / SDIST)


def test_a_missing_file_is_a_problem_of_this_machine(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        read_distribution(tmp_path / WHEEL, upload_time=TIME)


# -- archives that tools read differently ----------------------------------------------------


def honest_zip(path: Path) -> bytes:
    return write_zip(path, {"demo.py": b"honest = 1\n" * 40, INFO: GOOD}).read_bytes()


def hidden_local_entry(data: bytes) -> bytes:
    """A second demo.py that only a streaming reader sees (CVE-2025-54368)."""
    directory = data.index(b"PK\x01\x02")
    first = data[: data.index(b"PK\x03\x04", 4)]
    end = bytearray(data[directory:])
    struct.pack_into("<L", end, len(end) - 6, directory + len(first))
    return data[:directory] + first + bytes(end)


def other_local_name(data: bytes) -> bytes:
    return data.replace(b"demo.py", b"evil.py", 1)


def other_local_size(data: bytes) -> bytes:
    changed = bytearray(data)
    struct.pack_into("<L", changed, 22, 7)
    return bytes(changed)


def other_method(data: bytes) -> bytes:
    changed = bytearray(data)
    struct.pack_into("<H", changed, 8, 0)
    return bytes(changed)


def prefixed(data: bytes) -> bytes:
    return b"#!/bin/sh\nexit\n" + data


def suffixed(data: bytes) -> bytes:
    return data + b"\0"


def two_archives(data: bytes) -> bytes:
    return data + data


def encrypted(data: bytes) -> bytes:
    changed = bytearray(data)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.index(signature) + offset
        changed[at] |= 1
    return bytes(changed)


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        (hidden_local_entry, "unlisted or shared bytes follow 'demo-1.0.dist-info/METADATA'"),
        (other_local_name, "local header and central directory differ on 'demo.py'"),
        (other_local_size, "'demo.py' has two sizes"),
        (other_method, "local header and central directory differ on 'demo.py'"),
        (prefixed, "central directory is not where its end record says"),
        (suffixed, "bytes follow the end of the zip archive"),
        (two_archives, "central directory is not where its end record says"),
        (encrypted, "'demo.py' is encrypted"),
    ],
)
def test_a_wheel_that_two_tools_would_unpack_differently_is_refused(
    tmp_path: Path, attack: Callable[[bytes], bytes], reason: str
) -> None:
    honest = honest_zip(tmp_path / WHEEL)
    read_distribution(tmp_path / WHEEL, upload_time=TIME)
    (tmp_path / WHEEL).write_bytes(attack(honest))
    assert reason in refusal(tmp_path / WHEEL)


def test_a_wheel_written_to_a_pipe_has_data_descriptors_and_is_fine(tmp_path: Path) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            chunk = bytes(data)  # type: ignore[call-overload]
            self.data += chunk
            return len(chunk)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("demo.py", b"x = 1\n")
        archive.writestr(INFO, GOOD)
    (tmp_path / WHEEL).write_bytes(pipe.data)
    assert read_distribution(tmp_path / WHEEL, upload_time=TIME)[1] == GOOD


def test_a_wheel_with_zip64_sizes_is_fine(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / WHEEL, "w") as archive:
        with archive.open("demo.py", "w", force_zip64=True) as member:
            member.write(b"x = 1\n")
        archive.writestr(INFO, GOOD)
    assert read_distribution(tmp_path / WHEEL, upload_time=TIME)[1] == GOOD


def test_metadata_that_does_not_unpack_is_refused(tmp_path: Path) -> None:
    data = bytearray(honest_zip(tmp_path / WHEEL))
    at = data.index(b"PK\x03\x04", 4) + 30 + len(INFO)
    data[at : at + 8] = b"\xff" * 8
    (tmp_path / WHEEL).write_bytes(data)
    assert "can't be unpacked" in refusal(tmp_path / WHEEL)


@pytest.mark.parametrize(
    ("name", "kind", "target", "reason"),
    [
        ("demo-1.0/a", tarfile.SYMTYPE, "../../etc/passwd", "links out of the archive"),
        ("demo-1.0/a", tarfile.SYMTYPE, "/etc/passwd", "links out of the archive"),
        ("demo-1.0/a", tarfile.LNKTYPE, "../evil", "links out of the archive"),
        ("demo-1.0/a", tarfile.FIFOTYPE, "", "neither a file nor a folder nor a link"),
        ("demo-1.0/a", tarfile.CHRTYPE, "", "neither a file nor a folder nor a link"),
    ],
)
def test_an_sdist_that_reaches_out_is_refused(
    tmp_path: Path, name: str, kind: bytes, target: str, reason: str
) -> None:
    with tarfile.open(tmp_path / SDIST, "w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        archive.addfile(member)
        core = tarfile.TarInfo(TOP)
        core.size = len(GOOD)
        archive.addfile(core, io.BytesIO(GOOD))
    assert reason in refusal(tmp_path / SDIST)


def test_an_sdist_may_link_inside_and_not_write_through_the_link(tmp_path: Path) -> None:
    def sdist(through: bool) -> Path:
        with tarfile.open(tmp_path / SDIST, "w:gz") as archive:
            link = tarfile.TarInfo("demo-1.0/docs/readme")
            link.type, link.linkname = tarfile.SYMTYPE, "../README"
            archive.addfile(link)
            for name in [TOP] + ["demo-1.0/docs/readme/x"] * through:
                member = tarfile.TarInfo(name)
                member.size = len(GOOD)
                archive.addfile(member, io.BytesIO(GOOD))
        return tmp_path / SDIST

    read_distribution(sdist(False), upload_time=TIME)
    assert "lies behind a link" in refusal(sdist(True))


def test_a_second_tar_archive_behind_the_first_is_refused(tmp_path: Path) -> None:
    honest = gzip.decompress(write_tar(tmp_path / SDIST, {TOP: GOOD}).read_bytes())
    hidden = gzip.decompress(write_tar(tmp_path / SDIST, {"demo-1.0/x.py": b"x"}).read_bytes())
    (tmp_path / SDIST).write_bytes(gzip.compress(honest + hidden))
    assert "bytes follow the end" in refusal(tmp_path / SDIST)


@given(
    kind=st.sampled_from(["wheel", "sdist", "tar"]),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4)), min_size=1, max_size=4),
    cut=st.one_of(st.just(1.0), st.floats(0, 1)),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_broken_only_documented_errors_escape(
    tmp_path: Path, kind: str, edits: list[tuple[float, bytes]], cut: float
) -> None:
    path = tmp_path / (WHEEL if kind == "wheel" else SDIST)
    members = {"demo-1.0/demo.py": b"x = 1\n" * 9, TOP: GOOD}
    if kind == "wheel":
        members = {"demo.py": b"x = 1\n" * 9, INFO: GOOD}
    sound = (write_zip if kind == "wheel" else write_tar)(path, members).read_bytes()
    broken = bytearray(gzip.decompress(sound) if kind == "tar" else sound)
    for place, patch in edits:
        at = int(place * len(broken))
        broken[at : at + len(patch)] = patch
    broken = broken[: int(cut * len(broken))]
    path.write_bytes(gzip.compress(broken) if kind == "tar" else broken)
    with contextlib.suppress(DistributionError):
        file, _ = read_distribution(path, upload_time=TIME)
        assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


# -- bombs -----------------------------------------------------------------------------------


def test_a_wheel_that_unpacks_to_a_thousand_times_its_size_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / WHEEL, {"demo.py": b"\0" * 80_000_000, INFO: GOOD})
    assert "decompression bomb" in refusal(path)


def test_an_sdist_that_unpacks_to_a_thousand_times_its_size_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / SDIST, {"demo-1.0/big": b"\0" * 80_000_000, TOP: GOOD})
    assert "decompression bomb" in refusal(path)


def test_a_tar_header_that_claims_megabytes_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / SDIST, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo(TOP)
        member.pax_headers = {"comment": "x" * 5_000_000}
        archive.addfile(member)
    assert "a header of more than" in refusal(tmp_path / SDIST)


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_more_members_than_any_distribution_has_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(archive_members, "_MAX_MEMBERS", 10)  # 100,000 take seconds to write
    if kind == "wheel":
        path = write_zip(tmp_path / WHEEL, {INFO: GOOD, **{f"{n}": b"" for n in range(10)}})
    else:
        path = write_tar(tmp_path / SDIST, {TOP: GOOD, **{f"demo-1.0/{n}": b"" for n in range(10)}})
    assert "more than 10 members" in refusal(path)
