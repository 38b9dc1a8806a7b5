"""Checkpoints: what is in them, what they are trusted by, and what is refused."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from indextrust.errors import (
    CheckpointError,
    DistributionError,
    InputError,
    RefusedError,
    StoreError,
    UnreachableError,
)
from indextrust.names import LAYOUTS
from indextrust.repository import checkpoint_make
from indextrust.repository.checkpoint import Checkpoint, read_checkpoint
from indextrust.repository.checkpoint_frame import MAGIC
from indextrust.repository.checkpoint_make import Made, make_checkpoint
from indextrust.repository.storage import FolderStorage
from tests.repository.forger import Forger
from tests.repository.place import NOW, Place


def make(place: Place, name: str = "good.checkpoint") -> Made:
    path = place.folder / name
    return make_checkpoint(storage(place.public), place.roles.root[0], path, place.clock.now)


def storage(public: Path) -> FolderStorage:
    return FolderStorage(public, public / "nowhere", public / "nowhere")


@pytest.fixture(scope="module", params=LAYOUTS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp(request.param), layout=request.param)
    wheels = [place.wheel("demo", f"{n}.0", requires_python=">=3.9") for n in range(3)]
    place.publish(*wheels, place.wheel("other", "1.0"), place.wheel("gone", "1.0"))
    place.repository.yank("demo", "demo-1.0-py3-none-any.whl", 'broken "here", \\ \u00e9')
    place.repository.remove("gone", "gone-1.0-py3-none-any.whl")
    place.repository.publish()
    return place


@pytest.fixture(scope="module")
def made(place: Place) -> Made:
    return make(place)


@pytest.fixture
def good(made: Made) -> Iterator[Checkpoint]:
    with read_checkpoint(made.path, made.digest) as good:
        yield good


def test_it_holds_every_target_and_the_signed_metadata_above_the_bins(
    place: Place, made: Made, good: Checkpoint
) -> None:
    assert dict(good.entries()) == place.repository.expected_targets()
    assert (good.project_count, good.file_count) == (made.projects, made.files) == (3, 4)
    assert good.snapshot_version == made.snapshot_version == place.versions()["snapshot"]
    assert good.roles == place.roles
    assert good.root == place.roles.root[-1]
    metadata = place.public / "metadata"
    assert good.timestamp == (metadata / "timestamp.json").read_bytes()
    assert good.snapshot == (metadata / f"{made.snapshot_version}.snapshot.json").read_bytes()
    good.check()


def test_every_document_can_be_made_again_byte_for_byte(place: Place, good: Checkpoint) -> None:
    names = [record.name for record in good.projects()]
    assert sorted(names) == place.repository.projects() == ["demo", "gone", "other"]
    for name in names:
        record = good.project(name)
        assert record is not None
        served = (place.public / "simple" / name / "index.json").read_bytes()
        assert record.document_bytes() == served
        assert list(record.files.values()) == place.repository.files(name)
    assert good.project("missing") is None


def test_the_lengths_of_core_metadata_are_there_where_they_are_signed(
    place: Place, good: Checkpoint
) -> None:
    record = good.project("other")
    assert record is not None
    (size,) = record.metadata_sizes.values() or [None]
    assert size == (None if place.layout == "projects" else 49)


def test_the_same_set_gives_the_same_digest_and_another_one_another(
    place: Place, made: Made, tmp_path: Path
) -> None:
    again = make(place, "again.checkpoint")
    assert again.digest == made.digest
    assert again.path.read_bytes() == made.path.read_bytes()
    later = place.copied(tmp_path / "later")
    later.publish(later.wheel("new", "1.0"))
    assert make(later, "later.checkpoint").digest != made.digest


def test_it_is_made_of_what_is_signed_and_not_of_the_database(
    place: Place, made: Made, tmp_path: Path
) -> None:
    altered = place.copied(tmp_path / "altered")
    altered.sql("UPDATE files SET sha256 = ?", "0" * 64)
    altered.sql("UPDATE targets SET sha256 = ?", "0" * 64)
    assert make(altered, "altered.checkpoint").digest == made.digest


def test_many_blocks_hold_what_one_holds(
    place: Place, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_make, "_PER_BLOCK", {"pep458": 1, "projects": 1})
    many = make(place, f"many-{place.layout}.checkpoint")
    with read_checkpoint(many.path, many.digest) as read:
        assert len(read.blocks) > 1
        read.check()
        assert dict(read.entries()) == place.repository.expected_targets()
        found = read.project("demo")
        assert found is not None
        assert len(found.files) == 3


# -- who is trusted --------------------------------------------------------------------------


def test_a_digest_may_be_typed_in_groups_and_in_any_case(made: Made) -> None:
    typed = " ".join(made.digest[n : n + 4] for n in range(0, 64, 4)).upper()
    read_checkpoint(made.path, typed).close()


@pytest.mark.parametrize("typed", ["", "abcd", "g" * 64, "a" * 65])
def test_what_is_no_digest_is_the_callers_mistake(made: Made, typed: str) -> None:
    with pytest.raises(InputError, match="64 hexadecimal digits"):
        read_checkpoint(made.path, typed)


def test_a_checkpoint_with_another_digest_is_refused_whatever_it_holds(made: Made) -> None:
    with pytest.raises(CheckpointError, match="another checkpoint") as refused:
        read_checkpoint(made.path, "0" * 64)
    assert refused.value.expected == "0" * 64
    assert refused.value.got == made.digest


def test_each_byte_is_covered(made: Made, tmp_path: Path) -> None:
    """Whatever bit is altered: refused, or one that a compressed stream has no use for."""
    data = made.path.read_bytes()
    with read_checkpoint(made.path, made.digest) as read:
        whole = list(read.projects())
    path = tmp_path / "altered"
    refused = harmless = 0
    for place in range(0, len(data), 29):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        try:
            with read_checkpoint(path, made.digest) as read:
                read.check()
                assert list(read.projects()) == whole
                harmless += 1
        except CheckpointError:
            refused += 1
    assert refused > 100 > 10 > harmless


@pytest.mark.parametrize("change", [lambda d: d[:-1], lambda d: d + b"x", lambda d: d[:100]])
def test_one_that_is_cut_short_or_longer_is_refused(
    made: Made, tmp_path: Path, change: object
) -> None:
    path = tmp_path / "altered"
    assert callable(change)
    path.write_bytes(change(made.path.read_bytes()))
    with pytest.raises(CheckpointError):
        read_checkpoint(path, made.digest)


# -- hostile files, with a digest that somebody was talked into --------------------------------


def hostile(path: Path, head: bytes, table: bytes = b"", parts: bytes = b"") -> tuple[Path, str]:
    path.write_bytes(MAGIC + head + table + parts)
    return path, hashlib.sha256(MAGIC + head + table).hexdigest()


NAMES = ["1.root.json", "1.targets.json", "1.bins.json", "1.snapshot.json", "timestamp.json"]
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def head_of(**changes: object) -> bytes:
    tree = {"bits": 0, "layout": "pep458", "metadata": [[n, 0, EMPTY] for n in NAMES], **changes}
    return json.dumps(tree, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def part(data: bytes) -> bytes:
    packed = zlib.compress(data)
    return struct.pack(">I", len(packed)) + packed


def row_of(data: bytes, length: int | None = None) -> bytes:
    length = len(data) if length is None else length
    return struct.pack(">QII32s", length, 0, 0, hashlib.sha256(data).digest())


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\n",
        b"[]\n",
        b"null\n",
        b"{}\n",
        b"[" * 100_000 + b"\n",
        b"1" * 5_000 + b"\n",
        b'{"bits":NaN}\n',
        head_of(bits=17),
        head_of(bits=-1),
        head_of(bits=True),
        head_of(layout="other"),
        head_of(layout=["pep458"]),
        head_of(more=1),
        head_of(metadata=[["../../etc/passwd", 0, EMPTY]]),
        head_of(metadata=[["1.root.json", 10**12, EMPTY]]),
        head_of(metadata=[["1.root.json", 0, EMPTY]]),
        head_of(metadata=[[n, 0, EMPTY] for n in NAMES[1:]]),
        head_of(metadata=[[n, 0, EMPTY] for n in [*NAMES, "3.root.json"]]),
        head_of(metadata=7),
        b" " + head_of(),
    ],
)
def test_a_head_that_is_none_is_refused(tmp_path: Path, head: bytes) -> None:
    table = row_of(b"\0")
    path, digest = hostile(tmp_path / "c", head, table, part(b"") * 5 + part(b"\0"))
    with pytest.raises(CheckpointError):
        read_checkpoint(path, digest)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"no digests",
        b"{}\0",
        b"[]\0",
        b'["demo",1]\0',
        b'[1,"demo",1]\0',
        b'[9999999999,"demo",1]\0',
        b'[0,"demo",1,"' + EMPTY.encode() + b'",[]]\0more',
        b'[0,"Demo",1,"' + EMPTY.encode() + b'",[]]\0',
        b'[0,"../x",1,"' + EMPTY.encode() + b'",[]]\0',
        b'[0,"\\ud800",1,"' + EMPTY.encode() + b'",[]]\0',
        b'[0,{},1,"' + EMPTY.encode() + b'",[]]\0',
        b'[0,"demo",1.5,"' + EMPTY.encode() + b'",[]]\0',
        b'[1,"demo",1,"' + EMPTY.encode() + b'",[["a",1,"t",null,false,null]]]\0short',
        b'[2,"demo",1,"' + EMPTY.encode() + b'",[["a",1,"t",null,true,null]]]\0' + bytes(64),
        b'[2,"demo",1,"' + EMPTY.encode() + b'",[["a",1,"t",null,-1,null]]]\0' + bytes(64),
        b'[1,"demo",1,"' + EMPTY.encode() + b'",[["a",1,"t",null,false,null]]]\0' + bytes(32),
        b'[0,"demo",1,"' + EMPTY.encode() + b'",[]]\n[0,"demo",1,"' + EMPTY.encode() + b'",[]]\0',
        b"[" * 100_000 + b"\0",
        *(
            b'[%d,"demo",1,"%s",[["a",1,"t",null,%s,null%s]]%s]\0%s'
            % (count, EMPTY.encode(), core, more, last, bytes(32 * count))
            for count, core, more, last in (
                (3, b"false", b",true", b""),  # a SHA-512 that is said in another way
                (1, b"false", b",0", b""),
                (3, b"false", b",2", b""),  # or of core metadata that there is none of
                (5, b"false", b",3", b""),
                (6, b"3", b",4", b""),
                (4, b"3", b",1,1", b""),
                (3, b"3", b",1", b""),  # or is missing
                (3, b"false", b',"1"', b""),
                (3, b"false", b"", b",1"),  # of a document
                (1, b"false", b"", b",false"),
                (3, b"false", b"", b",true,true"),
                (2, b"false", b"", b",true"),
            )
        ),
    ],
)
def test_a_block_that_is_none_is_refused(tmp_path: Path, block: bytes) -> None:
    parts = part(b"") * 5 + part(block)
    path, digest = hostile(tmp_path / "c", head_of(), row_of(block), parts)
    with read_checkpoint(path, digest) as read, pytest.raises(CheckpointError):
        read.check()


@pytest.mark.parametrize("length", [1 << 40, 1000, 0])
def test_a_decompression_bomb_is_not_decompressed(tmp_path: Path, length: int) -> None:
    bomb = bytes(10_000_000)
    path, digest = hostile(
        tmp_path / "c", head_of(), row_of(bomb, length), part(b"") * 5 + part(bomb)
    )
    with pytest.raises(CheckpointError), read_checkpoint(path, digest) as read:
        read.check()


@pytest.mark.parametrize("kind", ["folder", "link", "pipe", "missing"])
def test_what_is_no_file_is_refused(made: Made, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "c"
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(made.path)
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises((DistributionError, StoreError)):
        read_checkpoint(path, made.digest)


# -- making ----------------------------------------------------------------------------------


def test_nothing_is_overwritten_and_a_full_disk_leaves_nothing(
    place: Place, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = made.path.read_bytes()
    with pytest.raises(StoreError, match="never overwritten"):
        make(place, made.path.name)
    assert made.path.read_bytes() == before

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space"):
        make_checkpoint(storage(place.public), place.roles.root[0], tmp_path / "c", NOW)
    assert list(tmp_path.iterdir()) == []


def test_another_root_makes_none(place: Place, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Place(tmp_path / "other")
    with pytest.raises(RefusedError):
        make_checkpoint(storage(place.public), other.roles.root[0], tmp_path / "c", NOW)
    assert not (tmp_path / "c").exists()


def test_a_missing_document_or_a_contradiction_makes_none(place: Place, tmp_path: Path) -> None:
    broken = place.copied(tmp_path / "broken")
    for path in (broken.public / "simple" / "demo").glob("*index.json"):
        path.unlink()
    with pytest.raises(UnreachableError, match=r"simple/demo/index\.json: no such bytes"):
        make(broken, "never.checkpoint")
    assert not (broken.folder / "never.checkpoint").exists()


def test_what_a_thief_signed_against_the_document_makes_none(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.publish(place.wheel("demo", "1.0"))
    forger = Forger(place.public, place.online, NOW)
    forger.sign({"files/demo/demo-1.0-py3-none-any.whl": b"malicious"})
    with pytest.raises(CheckpointError, match="not known to be good"):
        make(place)
