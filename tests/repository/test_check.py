"""The check: what differs is told of, where it is; and nothing is changed by looking."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from indextrust.errors import StoreError
from indextrust.repository import Checked
from tests.repository.place import Place, everything
from tests.repository.test_rebuild import rebuild

WHEEL = "demo-1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A few projects; one file was yanked, one removed, everything renewed once."""
    place = Place(tmp_path_factory.mktemp("founded"))
    place.publish(*(place.wheel(f"demo{number}", "1.0") for number in range(3)))
    place.publish(place.wheel("demo", "1.0"), place.wheel("demo", "2.0"), place.wheel("gone", "1"))
    place.repository.yank("demo", WHEEL, "why")
    place.repository.remove("gone", "gone-1-py3-none-any.whl")
    place.repository.publish()
    place.clock.sleep(hours=20)
    place.repository.renew()
    return place


@pytest.fixture
def shop(founded: Place, tmp_path: Path) -> Place:
    """One of one's own."""
    return founded.copied(tmp_path / "own")


def found(checked: Checked) -> set[tuple[str, str]]:
    return {(difference.kind, difference.where) for difference in checked.differences}


def test_an_index_as_it_should_be_is_clean_and_stays_as_it_is(shop: Place) -> None:
    before = everything(shop.folder)
    checked = shop.reopen().check()
    assert checked.clean, checked.differences
    assert everything(shop.folder) == before
    (entries,) = shop.sql("SELECT count(*) FROM log")
    assert (checked.entries, checked.bins, checked.projects) == (entries[0], 4, 5)
    # public: 5 documents, 5 pages, 5 wheels, 5 core metadata; private: these 10 again
    assert checked.files == 30


def test_an_index_of_the_other_layout_is_clean_too(tmp_path: Path) -> None:
    place = Place(tmp_path, layout="projects", bins=512)
    place.publish(place.wheel("demo", "1.0"))
    assert place.repository.check().clean


def test_after_a_collection_and_after_a_rebuild_it_is_clean(shop: Place) -> None:
    shop.clock.sleep(hours=2)
    shop.repository.collect()
    assert shop.repository.check().clean
    rebuild(shop)
    assert shop.repository.check().clean


def test_what_waits_in_the_queue_is_no_difference(shop: Place) -> None:
    shop.repository.add(shop.wheel("demo", "3.0"))
    assert shop.repository.check().clean


# -- the public folder -----------------------------------------------------------------------


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()  # the other name of the same file stays as it is
    path.write_bytes(data)


@pytest.mark.parametrize("how", [flip, Path.unlink, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize(
    "name",
    [
        "simple/demo/index.json",
        "simple/demo/index.html",
        f"files/demo/{WHEEL}",
        f"files/demo/{WHEEL}.metadata",
    ],
)
def test_a_public_file_of_other_bytes_is_named(
    shop: Place, name: str, how: Callable[[Path], object]
) -> None:
    how(shop.public / name)
    checked = shop.repository.check()
    named = {where for kind, where in found(checked) if kind == "public"}
    assert name in named
    assert all(where.rpartition("/")[2].endswith(name.rpartition("/")[2]) for where in named)
    assert {kind for kind, _ in found(checked)} == {"public"}


def test_a_private_copy_of_other_bytes_is_named(shop: Place) -> None:
    (file,) = [file for file in shop.repository.files("demo") if file.filename == WHEEL]
    flip(shop.repository.folder / "objects" / file.sha256[:2] / file.sha256)
    assert found(shop.repository.check()) == {("private", file.sha256)}


def test_a_link_is_no_file(shop: Place, tmp_path: Path) -> None:
    path = shop.public / "files" / "demo" / WHEEL
    shutil.copy(path, tmp_path / "copy")
    path.unlink()
    path.symlink_to(tmp_path / "copy")
    assert found(shop.repository.check()) == {("public", f"files/demo/{WHEEL}")}


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "bins", "bin-2"])
def test_metadata_that_a_client_refuses_is_named(shop: Place, role: str) -> None:
    name = "timestamp.json" if role == "timestamp" else f"{shop.versions()[role]}.{role}.json"
    flip(shop.public / "metadata" / name)
    checked = shop.repository.check()
    assert {kind for kind, _ in found(checked)} == {"metadata"}
    assert role in checked.differences[0].what + checked.differences[0].where


def test_an_index_that_expired_is_told_of(shop: Place) -> None:
    shop.clock.sleep(days=2)
    checked = shop.repository.check()
    assert "expired" in checked.differences[0].what


# -- the state -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "kind", "where"),
    [
        ("UPDATE targets SET length = length + 1 WHERE path = ?", "state", f"files/demo/{WHEEL}"),
        ("DELETE FROM targets WHERE path = ?", "state", f"files/demo/{WHEEL}"),
        ("UPDATE targets SET bin = 'bin-x' WHERE path = ?", "state", f"files/demo/{WHEEL}"),
        ("UPDATE files SET yanked = NULL WHERE filename = ?", "state", "simple/demo/index.json"),
        ("DELETE FROM files WHERE filename = ?", "state", "simple/demo/index.json"),
        ("UPDATE files SET project = 'nobody' WHERE filename = ?", "state", "nobody"),
        ("DELETE FROM used_filenames WHERE filename = ?", "state", WHEEL),
        ("UPDATE roles SET version = version + 1 WHERE name = 'bin-1' OR 0 = ?", "state", "bin-1"),
        ("UPDATE roles SET mac = '' WHERE name = 'bin-1' OR 0 = ?", "state", "bin-1"),
        ("UPDATE roles SET expires = '' WHERE name = 'snapshot' OR 0 = ?", "state", "snapshot"),
        ("UPDATE log SET who = 'nobody' WHERE number = 3 OR 0 = ?", "log", "log"),
        ("DELETE FROM log WHERE number = (SELECT max(number) FROM log) OR 0 = ?", "log", "log"),
    ],
)
def test_a_row_of_an_attacker_is_named(shop: Place, statement: str, kind: str, where: str) -> None:
    shop.sql(statement, where if "path =" in statement else WHEEL)
    before = everything(shop.folder)
    checked = shop.reopen().check()
    assert (kind, where) in found(checked)
    assert everything(shop.folder) == before


def test_all_differences_are_counted(shop: Place) -> None:
    shutil.rmtree(shop.public / "files")
    checked = shop.repository.check()
    assert checked.count == len(checked.differences) == 20  # two names of ten files
    shutil.rmtree(shop.repository.folder / "objects")
    with pytest.raises(StoreError):  # not even the offline roles are there
        shop.reopen().check()


def test_publications_meanwhile_are_no_difference(shop: Place) -> None:
    """Twenty publications while it is checked again and again: each time it is clean."""
    wheels = [shop.wheel("demo", str(number)) for number in range(3, 23)]
    operator, done = shop.reopen(), threading.Event()

    def operate() -> None:
        try:
            for wheel in wheels:
                operator.add(wheel)
                operator.publish()
        finally:
            done.set()

    thread = threading.Thread(target=operate)
    thread.start()
    checks = 0
    while not done.is_set() or checks == 0:
        checked = shop.repository.check()
        assert checked.clean, checked.differences
        checks += 1
    thread.join()
    assert shop.repository.check().clean
