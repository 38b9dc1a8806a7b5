"""Stored files that were tampered with: found one by one, and put back by their hash."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from indextrust.errors import StoreError, UnreachableError
from indextrust.names import LAYOUTS, hash_prefixed
from indextrust.repository import Checkpoint, read_checkpoint
from indextrust.repository.mirrors import FolderMirror
from indextrust.repository.stored import Stored
from tests.repository.forger import Forger, encoded, listed, put
from tests.repository.place import NOW, Place, everything


def stock(place: Place, projects: int, files: int) -> list[str]:
    """An index of raw files, written and signed in one go; their paths."""
    forger = Forger(place.public, place.online, NOW)
    targets: dict[str, bytes | None] = {}
    paths = []
    for number in range(projects):
        name = f"p{number}"
        document = forger.document(name)
        for version in range(files):
            filename, data = f"{name}-{version}.tar.gz", f"{name} {version}".encode() * 9
            document["files"].append(listed(name, filename, data))
            path = f"files/{name}/{filename}"
            paths.append(path)
            if place.layout == "pep458":
                targets[path] = data
            else:
                (place.public / path).parent.mkdir(parents=True, exist_ok=True)
                put(place.public / path, data)
            sha256 = hashlib.sha256(data).hexdigest()
            private = place.repository.folder / "objects" / sha256[:2] / sha256
            private.parent.mkdir(parents=True, exist_ok=True)
            private.write_bytes(data)
        document["files"].sort(key=lambda file: file["filename"])
        document["versions"] = [str(version) for version in range(files)]
        targets[f"simple/{name}/index.json"] = encoded(document)
    forger.sign(targets)
    return paths


def checkpoint(place: Place, name: str = "good.checkpoint") -> Checkpoint:
    made = place.repository.checkpoint(place.roles.root[0], place.folder / name)
    return read_checkpoint(made.path, made.digest)


def look(place: Place, good: Checkpoint, sample: int | None = None) -> Stored:
    return place.repository.check_stored(good, place.repository.audit_since(good), sample=sample)


def private(place: Place, path: str) -> Path:
    """Where the private copy of a public file lies."""
    sha256 = hashlib.sha256((place.public / path).read_bytes()).hexdigest()
    return place.repository.folder / "objects" / sha256[:2] / sha256


def names(place: Place, path: str) -> list[Path]:
    """Every public name of a file."""
    sha256 = hashlib.sha256((place.public / path).read_bytes()).hexdigest()
    both = [place.public / path, place.public / hash_prefixed(path, sha256)]
    return [name for name in both if name.exists()]


@pytest.fixture(scope="module", params=LAYOUTS)
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("store"), layout=request.param)
    stock(place, 2, 5)
    return place


@pytest.fixture
def place(original: Place, tmp_path: Path) -> Place:
    return original.copied(tmp_path / "copy")


@pytest.fixture
def good(place: Place) -> Iterator[Checkpoint]:
    with checkpoint(place) as good:
        yield good


def test_of_1000_files_7_altered_3_deleted_2_swapped_exactly_12_are_listed_and_put_back(
    tmp_path: Path,
) -> None:
    (tmp_path / "place").mkdir()
    place = Place(tmp_path / "place")
    paths = stock(place, 20, 50)
    mirror = tmp_path / "mirror"
    shutil.copytree(place.public, mirror)
    with checkpoint(place) as good:
        clean = look(place, good)
        assert (clean.clean, clean.files, clean.looked_at) == (True, 1020, 1020)

        picked = paths[::83][:12]
        for path in picked:  # he reaches the private copies too
            private(place, path).write_bytes(b"nothing")
        for path in picked[:7]:
            for name in names(place, path):
                name.write_bytes(name.read_bytes()[:-1] + b"X")
        for path in picked[7:10]:
            for name in names(place, path):
                name.unlink()
        one, other = (place.public / path for path in picked[10:])
        for there, back in ((one, other), (other, one)):
            shutil.copy(there, tmp_path / back.name)
        os.replace(tmp_path / one.name, one)
        os.replace(tmp_path / other.name, other)

        found = look(place, good)
        assert found.count == 12
        assert sorted(damage.path for damage in found.damages) == sorted(picked)
        assert Counter(damage.kind for damage in found.damages) == {
            "altered": 7,
            "missing": 3,
            "swapped": 2,
        }
        owners = {damage.path: damage.owner for damage in found.damages if damage.owner}
        assert owners == {picked[10]: picked[11], picked[11]: picked[10]}

        metadata = everything(place.public / "metadata")
        done = place.repository.refill(good, found.damages, mirror=FolderMirror(mirror))
        assert sorted(done.restored) == sorted(picked)
        assert done.lost == ()
        assert look(place, good).clean
        assert everything(place.public / "metadata") == metadata  # no version, no byte
        assert everything(place.public / "files") == everything(mirror / "files")


def test_what_is_in_public_alone_is_missing_altered_or_swapped(
    place: Place, good: Checkpoint
) -> None:
    files = place.public / "files" / "p0"
    for name in names(place, "files/p0/p0-0.tar.gz"):
        name.unlink()
    (files / "p0-1.tar.gz").write_bytes(b"altered")
    put(files / "p0-2.tar.gz", (files / "p0-3.tar.gz").read_bytes())
    document = place.public / "simple" / "p1" / "index.json"
    put(document, b"{}")
    kinds = {damage.path: damage.kind for damage in look(place, good).damages}
    assert kinds == {
        "files/p0/p0-0.tar.gz": "missing",
        "files/p0/p0-1.tar.gz": "altered",
        "files/p0/p0-2.tar.gz": "swapped",
        "simple/p1/index.json": "altered",
    }


def test_all_is_put_back_from_here_if_it_is_here(place: Place, good: Checkpoint) -> None:
    """Public files from private copies, private copies from public files, documents from the
    checkpoint."""
    before = everything(place.public)
    kept = everything(place.repository.folder / "objects")
    (place.public / "files" / "p0" / "p0-1.tar.gz").unlink()
    private(place, "files/p0/p0-2.tar.gz").unlink()
    for path in (place.public / "simple" / "p1").glob("*index.json"):
        path.write_bytes(b"{}")
    found = look(place, good)
    assert found.count == 3
    done = place.repository.refill(good, found.damages)
    assert len(done.restored) == 3
    assert look(place, good).clean
    assert everything(place.public) == before
    assert everything(place.repository.folder / "objects") == kept
    quarantine = place.repository.folder / "quarantine" / done.incident
    assert (quarantine / "simple" / "p1" / "index.json").read_bytes() == b"{}"


class Lying(FolderMirror):
    """A mirror that has other bytes, or more of them, or none."""

    def __init__(self, folder: Path, pieces: list[bytes] | None) -> None:
        super().__init__(folder)
        self.asked: list[str] = []
        self._pieces = pieces

    def stream(self, name: str, most: int) -> Answer:  # type: ignore[override]
        self.asked.append(name)
        return Answer(self._pieces)


class Answer:
    def __init__(self, pieces: list[bytes] | None) -> None:
        self._pieces = pieces

    def __enter__(self) -> Iterator[bytes]:
        if self._pieces is None:
            raise UnreachableError("no network")
        return self._endless() if not self._pieces else iter(self._pieces)

    def __exit__(self, *_: object) -> None: ...

    def _endless(self) -> Iterator[bytes]:
        for _ in range(10):
            yield bytes(1 << 20)
        raise AssertionError("read on for ever")


@pytest.mark.parametrize("pieces", [[b"other"], [], None])
def test_a_mirror_is_believed_for_hashes_alone(
    place: Place, good: Checkpoint, pieces: list[bytes] | None
) -> None:
    path = "files/p0/p0-1.tar.gz"
    private(place, path).unlink()
    for name in names(place, path):
        name.write_bytes(b"altered")
    before = everything(place.repository.folder)
    mirror = Lying(place.public, pieces)
    done = place.repository.refill(good, look(place, good).damages, mirror=mirror)
    assert done.restored == ()
    ((lost, why),) = done.lost
    assert lost == path
    assert ("no network" in why) == (pieces is None)
    assert path in mirror.asked
    assert everything(place.repository.folder) == before


def test_a_sample_says_how_much_was_looked_at(place: Place, good: Checkpoint) -> None:
    shutil.rmtree(place.public / "files")
    found = look(place, good, sample=5)
    assert (found.files, found.looked_at) == (12, 5)
    assert 3 <= found.count <= 5  # two are documents
    assert look(place, good, sample=100).looked_at == 12


def test_what_was_queued_since_is_expected_and_what_was_not_is_not(
    place: Place, good: Checkpoint
) -> None:
    fresh = Place(place.folder / "uploads", layout=place.layout)
    fresh.publish(fresh.wheel("demo", "1.0"), fresh.wheel("demo", "2.0"))
    with checkpoint(fresh) as before:
        fresh.repository.remove("demo", "demo-1.0-py3-none-any.whl")
        fresh.publish(fresh.wheel("demo", "3.0"))
        assert look(fresh, before).clean
        (fresh.public / "files/demo/demo-3.0-py3-none-any.whl").unlink()
        found = look(fresh, before)
        assert [(d.path, d.kind) for d in found.damages] == [
            ("files/demo/demo-3.0-py3-none-any.whl", "missing")
        ]


def test_files_that_are_kept_elsewhere_are_not_missing(place: Place, tmp_path: Path) -> None:
    table = tmp_path / "files.jsonl"
    table.write_text(
        '{"filename": "far-1.0.tar.gz", "sha256": "%s", "size": 7, '
        '"upload_time": "2026-01-31T12:00:00Z"}\n' % ("a" * 64)
    )
    (tmp_path / "fresh").mkdir()
    fresh = Place(tmp_path / "fresh", layout=place.layout)
    fresh.repository.import_files(table)
    fresh.publish(fresh.wheel("demo", "1.0"))
    with checkpoint(fresh) as good:
        found = look(fresh, good)
    assert (found.clean, found.elsewhere, found.files) == (True, 1, found.looked_at + 1)


def test_a_symbolic_link_is_no_file_and_is_not_written_through(
    place: Place, good: Checkpoint
) -> None:
    outside = place.folder / "outside"
    outside.write_bytes(b"precious")
    path = place.public / "files" / "p0" / "p0-1.tar.gz"
    path.unlink()
    path.symlink_to(outside)
    found = look(place, good)
    assert [damage.kind for damage in found.damages] == ["missing"]
    place.repository.refill(good, found.damages)
    assert look(place, good).clean
    assert outside.read_bytes() == b"precious"


def test_a_full_disk_is_said_and_nothing_is_half_written(
    place: Place, good: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "files/p0/p0-1.tar.gz"
    private(place, path).unlink()
    damages = look(place, good).damages

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space"):
        place.repository.refill(good, damages)
    monkeypatch.undo()
    assert list((place.repository.folder / "incoming").iterdir()) == []
    place.repository.refill(good, damages)
    assert look(place, good).clean
