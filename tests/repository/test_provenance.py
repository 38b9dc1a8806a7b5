"""An attacker makes every table agree with him; what is signed follows from elsewhere.

He knows SQL and has no key: not the online key, not the key of the log. In the second part he
can write to the public folder as well.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indextrust.distribution import DistributionFile
from indextrust.errors import AlteredStateError
from indextrust.names import NormalizedName
from indextrust.repository.documents import document_bytes
from indextrust.repository.encode import encoded
from indextrust.repository.plan import RoleFile, TargetFile, describe
from indextrust.repository.provenance import (
    NOTHING,
    Listed,
    Recorded,
    as_listed,
    check_bin,
    check_listed,
    check_project,
    check_rows,
    known_targets,
    read_bin,
    read_snapshot,
)
from tests.repository.place import Place, everything

DEMO = NormalizedName("demo")
EVIL = hashlib.sha256(b"evil").hexdigest()
WHEEL = "demo-1.0-py3-none-any.whl"


@pytest.fixture
def shop(place: Place) -> Place:
    """demo has one file, other had two; an addition to demo waits."""
    place.publish(place.wheel("demo", "1.0"), place.wheel("other", "1.0"))
    place.publish(place.wheel("other", "2.0"))
    place.repository.add(place.wheel("demo", "2.0"))
    return place


def _targets(place: Place) -> None:
    place.sql("UPDATE targets SET sha256 = ? WHERE path = ?", EVIL, f"files/demo/{WHEEL}")


def _new_target(place: Place) -> None:
    place.sql(
        "INSERT INTO targets (path, bin, length, sha256) "
        "SELECT 'files/demo/demo-9.0-py3-none-any.whl', bin, 9, ? FROM targets "
        "WHERE path = 'simple/demo/index.json'",
        EVIL,
    )


def _removed_target(place: Place) -> None:
    place.sql("DELETE FROM targets WHERE path = ?", f"files/demo/{WHEEL}")


def _other_bin(place: Place) -> None:
    place.sql("UPDATE targets SET bin = 'bin-0'")
    place.sql("UPDATE targets SET bin = 'bin-1' WHERE path LIKE 'files/%'")


def _files(place: Place) -> None:
    place.sql("UPDATE files SET sha256 = ? WHERE filename = ?", EVIL, WHEEL)


def _unyanked_or_yanked(place: Place) -> None:
    place.sql("UPDATE files SET yanked = 'gone' WHERE filename = ?", WHEEL)


def _size_that_is_none(place: Place) -> None:
    place.sql("UPDATE files SET size = 'nine' WHERE filename = ?", WHEEL)


def _text_that_is_none(place: Place) -> None:
    place.sql("UPDATE files SET upload_time = x'ff' WHERE filename = ?", WHEEL)


def _requires(place: Place) -> None:
    place.sql("UPDATE files SET requires_python = '<3' WHERE filename = ?", WHEEL)


def _more_files(place: Place) -> None:
    place.sql(
        "INSERT INTO files SELECT project, 'demo-9.0-py3-none-any.whl', '9.0', 9, ?, upload_time, "
        "NULL, NULL, NULL, NULL, NULL, 0 FROM files WHERE filename = ?",
        EVIL,
        WHEEL,
    )


def _versions(place: Place) -> None:
    """The document lists the same versions; the next one would not."""
    place.sql("UPDATE files SET version = '2.0' WHERE filename = 'other-1.0-py3-none-any.whl'")
    place.sql("UPDATE files SET version = '1.0' WHERE filename = 'other-2.0-py3-none-any.whl'")
    place.repository.yank("other", "other-1.0-py3-none-any.whl")


def _everything_of_a_project(place: Place) -> None:
    """Files, targets and used names say the same: the wheel has other bytes."""
    _files(place)
    place.sql("UPDATE used_filenames SET sha256 = ? WHERE filename = ?", EVIL, WHEEL)
    _targets(place)
    db = sqlite3.connect(place.repository.folder / "state.sqlite")
    db.row_factory = sqlite3.Row
    (row,) = db.execute("SELECT * FROM files WHERE filename = ?", (WHEEL,)).fetchall()
    db.close()
    document = document_bytes(DEMO, [DistributionFile(*tuple(row)[:-1])])
    length, sha256, _ = describe(document)
    place.sql(
        "UPDATE targets SET length = ?, sha256 = ? WHERE path = 'simple/demo/index.json'",
        length,
        sha256,
    )


def _older_bins(place: Place) -> None:
    """Every bin's row says what the first publication left: file, hash and number exist."""
    for path in sorted((place.public / "metadata").glob("1.bin-*.json")):
        length, sha256, _ = describe(path.read_bytes())
        place.sql(
            "UPDATE roles SET version = 1, length = ?, sha256 = ? WHERE name = ?",
            *(length, sha256, path.name.split(".")[1]),
        )
    place.sql("DELETE FROM targets")
    place.sql("DELETE FROM files")


def _fast_forward(place: Place) -> None:
    place.sql("UPDATE roles SET allotted = 2147483647 WHERE name NOT IN ('root', 'targets')")


def _numbers_again(place: Place) -> None:
    place.sql("UPDATE roles SET allotted = 0 WHERE name = 'snapshot'")


def _snapshot(place: Place) -> None:
    place.sql("UPDATE roles SET sha256 = ? WHERE name = 'snapshot'", EVIL)


def _a_bin_gone(place: Place) -> None:
    place.sql("DELETE FROM roles WHERE name = 'bin-3'")


ATTACKS = [
    (_targets, r"'files/demo/demo-1.0-py3-none-any.whl': expected sha256 .*, got sha256 " + EVIL),
    (_new_target, r"'files/demo/demo-9.0-py3-none-any.whl': expected none, as published"),
    (_removed_target, r"'files/demo/demo-1.0-py3-none-any.whl': expected .*, got none"),
    (_other_bin, "the state was altered: bin-"),
    (_files, "the files of project demo give a document with"),
    (_unyanked_or_yanked, "the files of project demo give a document with"),
    (_requires, "the files of project demo give a document with"),
    (_size_that_is_none, "the files of project demo give a document with none"),
    (_text_that_is_none, "the files of project demo give a document with none"),
    (_versions, "version '[12].0' is not the one in the file name 'other-[12].0-py3"),
    (_more_files, "the files of project demo give a document with"),
    (_everything_of_a_project, "the state was altered: bin-"),
    (_older_bins, r"the state was altered: role bin-\d: expected version [23]"),
    (_fast_forward, "expected a number from .* to be the last one used up, got 2147483647"),
    (_numbers_again, "role snapshot: expected a number from"),
    (_snapshot, "role snapshot: expected version 3"),
    (_a_bin_gone, "it has no row of role bin-3"),
]


@pytest.mark.parametrize(("attack", "says"), ATTACKS)
def test_nothing_is_signed_that_the_tables_alone_say(
    shop: Place, attack: Callable[[Place], None], says: str
) -> None:
    attack(shop)
    before = everything(shop.folder)
    for repository in (shop.repository, shop.reopen()):  # one that remembers, one that reads
        with pytest.raises(AlteredStateError, match=says):
            repository.publish()
    assert everything(shop.folder) == before


def test_offline_roles_that_were_replaced_do_not_come_back(shop: Place) -> None:
    """Older ones verify as well, by their root; their files are in the object store."""
    roots = shop.sql("SELECT * FROM roots")
    query = "SELECT version, length, sha256, name FROM roles WHERE name IN ('targets', 'bins')"
    rows = shop.sql(query)
    shop.clock.sleep(hours=1)
    shop.repository.install(shop.rotation(shop.online), shop.online)
    shop.publish(shop.wheel("demo", "3.0"))  # else it is the operator's word that counts
    shop.repository.yank("demo", WHEEL)
    shop.sql("DELETE FROM roots WHERE version > ?", len(roots))
    for row in rows:
        change = "UPDATE roles SET version = ?, length = ?, sha256 = ?, allotted = 1 WHERE name = ?"
        shop.sql(change, *row)
    before = everything(shop.folder)
    for repository in (shop.repository, shop.reopen()):
        with pytest.raises(AlteredStateError, match=r"role bins: expected version 2, .* version 1"):
            repository.publish()
    assert everything(shop.folder) == before


@pytest.mark.parametrize("attack", [_targets, _older_bins, _everything_of_a_project])
def test_a_renewal_signs_no_more_than_it_signed_before(
    shop: Place, attack: Callable[[Place], None]
) -> None:
    signed = shop.repository.published_targets()
    attack(shop)
    shop.clock.sleep(hours=20)
    with contextlib.suppress(AlteredStateError):
        shop.reopen().renew()
    assert shop.repository.published_targets() == signed


def test_a_used_name_that_was_deleted_gets_nothing_signed_that_was_not_queued(
    shop: Place,
) -> None:
    """The limit: an operator may then queue other bytes under an old name, and only he."""
    shop.sql("DELETE FROM used_filenames")
    shop.sql("UPDATE projects SET name = 'evil-' || name")
    before = shop.repository.published_targets()
    assert shop.reopen().publish().added == 1
    after = shop.repository.published_targets()
    new = {path for path in after if before.get(path) != after[path]}
    assert new == {
        "simple/demo/index.json",
        "files/demo/demo-2.0-py3-none-any.whl",
        "files/demo/demo-2.0-py3-none-any.whl.metadata",
    }


# -- with the public folder in his hand ----------------------------------------------------------


def test_an_older_bin_in_the_place_of_the_last_one_is_not_signed_again(shop: Place) -> None:
    """A file with a good signature, and rows that agree with it: the snapshot's hash does not."""
    home = shop.versions()
    for path in sorted((shop.public / "metadata").glob("*.bin-*.json")):
        version, name, _ = path.name.split(".")
        if int(version) == home[name] and int(version) > 1:
            old = path.with_name(f"{int(version) - 1}.{name}.json").read_bytes()
            path.unlink()
            path.write_bytes(old)
            length, sha256, _ = describe(old)
            shop.sql("UPDATE roles SET length = ?, sha256 = ? WHERE name = ?", length, sha256, name)
    before = everything(shop.folder)
    with pytest.raises(AlteredStateError, match=r"role bin-\d: expected version"):
        shop.reopen().publish()
    assert everything(shop.folder) == before


def test_a_snapshot_that_is_not_the_last_one_is_no_origin(shop: Place) -> None:
    path: Path = shop.public / "metadata" / "3.snapshot.json"
    path.unlink()
    path.write_bytes((shop.public / "metadata" / "2.snapshot.json").read_bytes())
    before = everything(shop.folder)
    with pytest.raises(AlteredStateError, match=r"3\.snapshot\.json in the public folder is not"):
        shop.reopen().publish()
    assert everything(shop.folder) == before


def test_another_bins_file_under_the_same_number_is_not_signed_in_a_large_index(
    tmp_path: Path,
) -> None:
    """Above 256 bins the snapshot lists no hashes: the row's HMAC is in their place."""
    place = Place(tmp_path, bins=512)
    place.publish(place.wheel("demo", "1.0"))
    home = next(name for name, number in place.versions().items() if number == 2 and "-" in name)
    there = place.public / "metadata" / f"2.{home}.json"
    others = (place.public / "metadata").glob("2.bin-*.json")
    other = next(path for path in sorted(others) if path != there).read_bytes()
    there.unlink()
    there.write_bytes(other)  # well signed, and of version 2
    length, sha256, _ = describe(other)
    place.sql("UPDATE roles SET length = ?, sha256 = ? WHERE name = ?", length, sha256, home)
    place.clock.sleep(hours=20)
    before = everything(place.folder)
    with pytest.raises(AlteredStateError, match=f"role {home}: .* without its HMAC"):
        place.reopen().renew()
    assert everything(place.folder) == before


def test_a_bin_that_nobody_touches_is_listed_as_before_in_a_large_index(tmp_path: Path) -> None:
    place = Place(tmp_path, bins=512)
    place.repository.add(place.wheel("demo", "1.0"))
    place.sql("UPDATE roles SET version = 7, allotted = 7 WHERE name = 'bin-1ff'")
    before = everything(place.folder)
    with pytest.raises(AlteredStateError, match="role bin-1ff: expected version 1"):
        place.reopen().publish()
    assert everything(place.folder) == before


# -- the rules themselves ------------------------------------------------------------------------

FILE = DistributionFile(DEMO, WHEEL, "1.0", 9, "a" * 64, "2026-01-31T12:00:00Z")
BIN = RoleFile(5, 700, "b" * 64)
SNAPSHOT = RoleFile(7, 900, "c" * 64)

paths = st.sampled_from(["simple/a/index.json", "files/a/a-1.tar.gz", "files/b/b-1.tar.gz"])
tables = st.dictionaries(paths, st.builds(TargetFile, st.integers(0, 2), st.just("d" * 64)))


@given(tables, tables)
def test_a_bin_is_signed_from_the_published_targets_or_not_at_all(
    table: dict[str, TargetFile], published: dict[str, TargetFile]
) -> None:
    if table == published:
        check_bin("bin-0", table, published)
    else:
        with pytest.raises(AlteredStateError, match="the state was altered: bin-0: "):
            check_bin("bin-0", table, published)


def test_a_project_is_new_or_its_files_give_its_document() -> None:
    document = describe(document_bytes(DEMO, [FILE]))
    check_project(DEMO, [], None)
    check_project(DEMO, [FILE], document)
    check_project(DEMO, [], describe(document_bytes(DEMO, [])))
    for files, target in (
        ([FILE], None),
        ([], document),
        ([dataclasses.replace(FILE, yanked="")], document),
    ):
        with pytest.raises(AlteredStateError, match="the files of project demo"):
            check_project(DEMO, files, target)


@pytest.mark.parametrize("data", [None, b"", b"{}", b'{"signed": {"targets": {}}}'])
def test_a_file_is_read_only_if_it_is_the_published_one(data: bytes | None) -> None:
    with pytest.raises(AlteredStateError, match=r"5\.bin-0\.json in the public folder is not"):
        read_bin("bin-0", data, BIN)
    with pytest.raises(AlteredStateError, match=r"7\.snapshot\.json in the public folder is not"):
        read_snapshot(data, SNAPSHOT)


def test_before_the_first_publication_there_is_nothing() -> None:
    assert read_bin("bin-0", None, NOTHING) == {}
    assert read_snapshot(None, None) == {}


ROWS = {"bin-0": Recorded(BIN, 5, True), "snapshot": Recorded(SNAPSHOT, 7, True)}
WITH_HASHES = {"bin-0": as_listed(BIN)}
VERSIONS_ONLY = {"bin-0": Listed(5, None, None)}


@pytest.mark.parametrize("listed", [WITH_HASHES, VERSIONS_ONLY])
@pytest.mark.parametrize(
    ("change", "begun", "above", "good"),
    [
        ({}, 0, 0, True),
        ({"allotted": 6}, 0, 0, False),
        ({"allotted": 6}, 1, 0, True),
        ({"allotted": 7}, 1, 0, False),
        ({"allotted": 99}, 0, 99, True),
        ({"allotted": 100}, 0, 99, False),
        ({"allotted": 100}, 1, 99, True),
        ({"allotted": 98}, 0, 99, False),
        ({"allotted": 4}, 9, 0, False),
        ({"file": RoleFile(4, 700, "b" * 64), "allotted": 4}, 0, 0, False),
        ({"file": RoleFile(6, 700, "b" * 64), "allotted": 6}, 0, 0, False),
        ({"file": NOTHING, "allotted": 0}, 0, 0, False),
        ({"file": RoleFile(5, 700, "e" * 64), "sealed": False}, 0, 0, False),
    ],
)
def test_a_row_follows_from_the_snapshot_and_the_log(
    listed: dict[str, Listed],
    change: dict[str, object],
    begun: int,
    above: int,
    good: bool,
) -> None:
    rows = {**ROWS, "bin-0": ROWS["bin-0"]._replace(**change)}  # type: ignore[arg-type]
    published = {"snapshot": SNAPSHOT}
    found = {"bin-0": above}
    if good:
        check_rows(rows, published, listed, begun=begun, above=found, rebinning=False)
    else:
        with pytest.raises(AlteredStateError, match="the state was altered: role bin-0"):
            check_rows(rows, published, listed, begun=begun, above=found, rebinning=False)


def test_a_row_that_no_snapshot_lists_is_new_or_comes_back_with_its_hmac() -> None:
    published = {"snapshot": SNAPSHOT}
    new = {"bin-0": Recorded(NOTHING, 1, False)}
    check_rows(new, published, {}, begun=1, above={}, rebinning=False)
    check_rows(ROWS, published, {}, begun=0, above={}, rebinning=True)
    for rows, rebinning in ((ROWS, False), ({"bin-0": Recorded(BIN, 5, False)}, True)):
        with pytest.raises(AlteredStateError, match="role bin-0: expected none"):
            check_rows(rows, published, {}, begun=0, above={}, rebinning=rebinning)


@pytest.mark.parametrize(("allotted", "good"), [(99, True), (2**52, True), (2**52 + 1, False)])
def test_the_number_of_a_bin_that_comes_back_leaves_room_for_more(
    allotted: int, good: bool
) -> None:
    rows = {"bin-0": Recorded(BIN, allotted, True)}
    with contextlib.nullcontext() if good else pytest.raises(AlteredStateError, match="bin-0"):
        check_rows(rows, {}, {}, begun=0, above={}, rebinning=True)


ENTRIES = encoded({"simple/demo/index.json": TargetFile(9, EVIL)})


@pytest.mark.parametrize(
    ("digest", "sealed", "entries", "good"),
    [
        (describe(ENTRIES).sha256, True, ENTRIES, True),
        (describe(ENTRIES).sha256, True, ENTRIES.replace(b"9", b"8"), False),
        (describe(ENTRIES).sha256, True, b"", False),
        (describe(ENTRIES).sha256, False, ENTRIES, False),
        (describe(b"").sha256, True, b"", True),
        ("", True, ENTRIES, False),
    ],
)
def test_the_targets_of_a_bin_whose_file_is_damaged_are_known_by_its_row(
    digest: str, sealed: bool, entries: bytes, good: bool
) -> None:
    row = Recorded(BIN._replace(entries=digest), 5, sealed)
    if good:
        targets = known_targets("bin-0", row, entries)
        assert encoded(targets) == entries
    else:
        with pytest.raises(AlteredStateError, match=r"bin-0: its file .* is damaged"):
            known_targets("bin-0", row, entries)


def test_a_bin_that_stays_is_listed_as_before_or_not_at_all() -> None:
    check_listed({"bin-0": BIN}, WITH_HASHES)
    check_listed({"bin-0": BIN}, VERSIONS_ONLY)
    check_listed({"bin-0": NOTHING}, {})
    for row, listed in (
        (RoleFile(4, 700, "b" * 64), VERSIONS_ONLY),
        (RoleFile(5, 700, "e" * 64), WITH_HASHES),
        (RoleFile(5, 701, "b" * 64), {"bin-0": Listed(5, 700, None)}),
        (BIN, {}),
    ):
        with pytest.raises(AlteredStateError, match="role bin-0: expected"):
            check_listed({"bin-0": row}, listed)
