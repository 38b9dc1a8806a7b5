"""The core metadata beside a wheel: what dependencies are resolved by."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from indextrust.client import Client, FileMetadataStore, SqliteMemory, Urllib3Fetcher
from indextrust.errors import LengthError, MalformedError, ProfileError, StoreError
from tests.client.pages import WHL, listing, page, sha256
from tests.client.stage import Stage
from tests.support.wheels import core_metadata

INFO = "demo-1.0.dist-info"
HONEST = core_metadata("demo", "1.0")
LYING = HONEST + b"Requires-Dist: evil\n"


def _wheel(members: list[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)  # of no time
    return out.getvalue()


def _serve(stage: Stage, wheel: bytes, beside: bytes | None) -> Client:
    """The bin's key signs `wheel`, and `beside` as its core metadata."""
    digest: object = False if beside is None else {"sha256": sha256(beside)}
    entries = [listing(WHL, wheel, **{"core-metadata": digest})]
    stage.add("simple/demo/index.json", page("demo", entries))
    stage.add(f"files/demo/{WHL}", wheel)
    if beside is not None:
        stage.add(f"files/demo/{WHL}.metadata", beside)
    stage.publish()
    return Client(
        stage.server.url,
        root=stage.repository.files["1.root.json"],
        store=FileMetadataStore(stage.folder / "cache"),
        memory=SqliteMemory(stage.folder / "memory.sqlite"),
        fetcher=Urllib3Fetcher(seconds=20),
        name="index",
        clock=lambda: stage.now,
    )


def _downloaded(client: Client, folder: Path) -> Path:
    return client.download(client.file(WHL), folder)


def test_attack_45_core_metadata_that_is_not_the_wheels_own(stage: Stage, tmp_path: Path) -> None:
    """A thief of the bin's key signs an honest wheel and, beside it, core metadata with one
    dependency more: installers resolve by it, and install what he likes. All is validly signed,
    so an ordinary verification passes; a deep one compares the two."""
    client = _serve(stage, _wheel([(f"{INFO}/METADATA", HONEST)]), LYING)
    path = _downloaded(client, tmp_path)
    assert client.verify(path).sha256 == sha256(path.read_bytes())
    with pytest.raises(ProfileError, match="not the wheel's own") as caught:
        client.verify_deeply(path)
    assert sha256(HONEST) in str(caught.value)
    assert sha256(LYING) in str(caught.value)
    assert stage.requests()[-1] == f"files/demo/{sha256(LYING)}.{WHL}.metadata"

    client = _serve(stage, _wheel([(f"{INFO}/METADATA", HONEST)]), HONEST)
    client.acknowledge(f"{WHL}.metadata", sha256(HONEST))  # the other one was seen first
    assert client.verify_deeply(path).path == path


def test_attack_45_nothing_beside_the_wheel_is_nothing_to_compare(
    stage: Stage, tmp_path: Path
) -> None:
    client = _serve(stage, _wheel([(f"{INFO}/METADATA", HONEST)]), None)
    path = _downloaded(client, tmp_path)
    assert client.verify_deeply(path).sha256 == sha256(path.read_bytes())


@pytest.mark.parametrize(
    "members",
    [
        [],
        [(f"{INFO}/METADATA", HONEST), (f"{INFO}/METADATA", LYING)],
        [(f"{INFO}/METADATA", HONEST), ("other-2.dist-info/METADATA", LYING)],
        [(f"{INFO}/METADATA", HONEST), (f"{INFO.upper()}/metadata", LYING)],
        [(f"lib/{INFO}/METADATA", HONEST)],
        *(
            [(f"{INFO}/METADATA", HONEST), (f"{before}{INFO}{after}METADATA", LYING)]
            for before, after in [
                ("demo-1.0.data/purelib/", "/"),
                ("demo-1.0.data/platlib/x/", "/"),
                ("./", "/"),
                ("x/../", "/"),
                ("", "//"),
                ("", "/./"),
                ("", "\\"),
            ]
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_attack_45_a_wheel_with_any_number_but_one_of_metadata_files(
    stage: Stage, tmp_path: Path, members: list[tuple[str, bytes]]
) -> None:
    """What one reader takes for the wheel's METADATA another may not: it is not compared."""
    client = _serve(stage, _wheel([("demo.py", b""), *members]), HONEST)
    path = _downloaded(client, tmp_path)
    with pytest.raises(MalformedError, match="expected one"):
        client.verify_deeply(path)


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lambda wheel: b"no archive", MalformedError),
        (lambda wheel: wheel[:40] + b"\xff" * 40 + wheel[80:], MalformedError),
    ],
    ids=["no archive", "damaged inside"],
)
def test_attack_45_a_wheel_that_can_not_be_read(
    stage: Stage, tmp_path: Path, spoil: Callable[[bytes], bytes], kind: type[Exception]
) -> None:
    client = _serve(stage, spoil(_wheel([(f"{INFO}/METADATA", HONEST * 20)])), HONEST)
    path = _downloaded(client, tmp_path)
    with pytest.raises(kind):
        client.verify_deeply(path)


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_attack_45_metadata_packed_in_a_way_that_has_no_bound(
    stage: Stage, tmp_path: Path, packing: int
) -> None:
    """Python unpacks bz2 and lzma whole, however little is asked for. No wheel needs them."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packing) as archive:
        archive.writestr(f"{INFO}/METADATA", HONEST)
    client = _serve(stage, out.getvalue(), HONEST)
    path = _downloaded(client, tmp_path)
    with pytest.raises(MalformedError, match="not stored or deflated"):
        client.verify_deeply(path)


def test_attack_45_a_directory_of_a_million_files(stage: Stage, tmp_path: Path) -> None:
    """Its size is read before it is."""
    wheel = bytearray(_wheel([(f"{INFO}/METADATA", HONEST)]))
    at = wheel.rfind(b"PK\x05\x06")
    wheel[at + 12 : at + 16] = (80_000_000).to_bytes(4, "little")
    client = _serve(stage, bytes(wheel), HONEST)
    path = _downloaded(client, tmp_path)
    with pytest.raises(LengthError, match="directory is too long"):
        client.verify_deeply(path)


def test_attack_45_a_directory_whose_length_stands_elsewhere(stage: Stage, tmp_path: Path) -> None:
    """zipfile follows a zip64 locator, whatever the end record says."""
    wheel = _wheel([(f"{INFO}/METADATA", HONEST)])
    end = wheel[-22:]
    *_, count, _, length, offset, _ = struct.unpack("<4s4H2LH", end)
    fields = (44, 45, 45, 0, 0, count, count, length, offset)
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", *fields)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(wheel) - len(end), 1)
    hostile = wheel[: -len(end)] + record + locator + end
    with zipfile.ZipFile(io.BytesIO(hostile)) as archive:
        assert archive.read(f"{INFO}/METADATA") == HONEST
    client = _serve(stage, hostile, HONEST)
    path = _downloaded(client, tmp_path)
    with pytest.raises(MalformedError, match="no zip64"):
        client.verify_deeply(path)


def test_attack_45_a_bomb_in_metadatas_place(stage: Stage, tmp_path: Path) -> None:
    """Nine megabytes of METADATA in a few kilobytes of wheel: given up at eight."""
    client = _serve(stage, _wheel([(f"{INFO}/METADATA", b"a" * 9_000_000)]), HONEST)
    path = _downloaded(client, tmp_path)
    assert path.stat().st_size < 100_000
    with pytest.raises(LengthError, match="METADATA is too long"):
        client.verify_deeply(path)
    path.unlink()
    with pytest.raises(StoreError):
        client.verify_deeply(path)
