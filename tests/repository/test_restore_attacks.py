"""What `restore` and `install` believe, when an attacker prepared for them.

He has the database, and knows SQL; in some stories he writes to the public folder too. He has no
key. An operator calls `install` every year whatever happens, and `restore` when something did: so
these are the moments he waits for.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from indextrust.ceremony import rotate
from indextrust.distribution import DistributionFile
from indextrust.errors import AlteredStateError, IndextrustError, RepositoryError
from indextrust.names import NormalizedName
from indextrust.repository.documents import document_bytes
from indextrust.repository.plan import describe
from indextrust.repository.results import Published
from tests.repository.place import Place, everything
from tests.repository.test_queue_attacks import BAD, is_listed, put_back, rows

WHEEL = "demo-1.0-py3-none-any.whl"
EVIL = hashlib.sha256(b"evil").hexdigest()


def yearly(place: Place) -> Published:
    """The yearly renewal: new offline roles, the same online key."""
    roles = rotate(place.roles, place.keyholders[:2], place.online.public_key, now=place.clock.now)
    return place.reopen().install(roles, place.online)


def restore(place: Place) -> Published:
    return place.reopen().restore()


Operation = Callable[[Place], Published]
both = pytest.mark.parametrize("operation", [yearly, restore])


def damage_bins(place: Place) -> None:
    for path in (place.public / "metadata").glob("*.bin-*.json"):
        path.write_bytes(path.read_bytes() + b"\n")


def lose_snapshot(place: Place) -> None:
    (place.public / "metadata" / f"{place.versions()['snapshot']}.snapshot.json").unlink()


def tell_lies(place: Place) -> None:
    """The wheel has other bytes, and all tables agree; those bytes lie ready to be served."""
    place.sql(
        "UPDATE targets SET sha256 = ?, length = 4 WHERE path = ?", EVIL, f"files/demo/{WHEEL}"
    )
    place.sql("UPDATE files SET sha256 = ?, size = 4 WHERE filename = ?", EVIL, WHEEL)
    (row,) = rows(place, "files")
    document = document_bytes(NormalizedName("demo"), [DistributionFile(*row[:-1])])
    place.sql(
        "UPDATE targets SET length = ?, sha256 = ? WHERE path = 'simple/demo/index.json'",
        *describe(document)[:2],
    )
    for name in (WHEEL, f"{EVIL}.{WHEEL}"):
        (place.public / "files" / "demo" / name).unlink(missing_ok=True)
        (place.public / "files" / "demo" / name).write_bytes(b"evil")


@both
def test_tables_are_not_signed_because_files_are_damaged(
    place: Place, operation: Operation
) -> None:
    """One byte of a bin's public file is altered before the yearly renewal."""
    place.publish(place.wheel("demo", "1.0"))
    tell_lies(place)
    damage_bins(place)
    public = everything(place.public)
    with pytest.raises(AlteredStateError, match=r"bin-.: its file .* is damaged, and the tables"):
        operation(place)
    assert everything(place.public) == public


@both
@pytest.mark.parametrize("damage", [damage_bins, lose_snapshot])
@pytest.mark.parametrize("bins", [4, 512])
def test_damaged_files_are_made_good_from_tables_that_say_what_was_signed(
    tmp_path: Any, operation: Operation, damage: Callable[[Place], None], bins: int
) -> None:
    place = Place(tmp_path, bins=bins)
    place.publish(place.wheel("demo", "1.0"), place.wheel("other", "1.0"))
    before = place.repository.published_targets()
    damage(place)
    operation(place)
    assert place.repository.published_targets() == before
    assert place.repository.audit().clean
    place.publish(place.wheel("demo", "2.0"))


@both
@pytest.mark.parametrize("tables", ["nothing", "older"])
def test_a_lost_snapshot_drops_or_rolls_back_no_bin(
    place: Place, operation: Operation, tables: str
) -> None:
    """Rows of nothing would have every bin signed empty; older ones, with the HMACs that they had
    then, an older bin again."""
    place.publish(place.wheel("demo", "1.0"))
    place.publish(place.wheel("demo", "2.0"))
    old = {table: rows(place, table) for table in ("roles", "targets", "files")}
    place.repository.remove("demo", BAD)
    place.repository.publish()
    lose_snapshot(place)
    if tables == "nothing":
        place.sql(
            "UPDATE roles SET version = 0, length = 0, sha256 = '', mac = '', entries = '' "
            "WHERE name LIKE 'bin-%'"
        )
        for statement in ("DELETE FROM targets", "DELETE FROM files", "DELETE FROM projects"):
            place.sql(statement)
    else:
        bins = [row for row in old["roles"] if row[0].startswith("bin-")]
        put_back(place, "roles", bins, "name LIKE 'bin-%'")
        put_back(place, "targets", old["targets"])
        put_back(place, "files", old["files"])
    public = everything(place.public)
    with pytest.raises(AlteredStateError, match="roles are not those that it listed"):
        operation(place)
    assert everything(place.public) == public


# -- an older copy of the database ---------------------------------------------------------------


def test_the_yearly_renewal_goes_on_from_no_older_copy(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"))
    place.publish(place.wheel("demo", "2.0"))
    database = place.repository.folder / "state.sqlite"
    old = database.read_bytes()
    place.repository.remove("demo", BAD)
    place.repository.publish()
    database.write_bytes(old)
    before = everything(place.public)
    with pytest.raises(AlteredStateError, match="the state is an old backup"):
        yearly(place)
    assert everything(place.public) == before


def test_the_yearly_renewal_loses_no_queued_change(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"), place.wheel("demo", "2.0"))
    place.repository.remove("demo", BAD)
    place.sql("DELETE FROM log WHERE number = (SELECT max(number) FROM log)")
    with pytest.raises(AlteredStateError, match="entries were deleted"):
        yearly(place)


def test_what_an_operator_loses_who_restores_an_older_copy_is_told(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"))
    database = place.repository.folder / "state.sqlite"
    old = database.read_bytes()
    place.publish(place.wheel("demo", "2.0"))
    database.write_bytes(old)
    assert restore(place).lost == 3
    told = [entry.lost for entry in place.repository.log() if entry.what == "restore"]
    assert told == [3]
    assert restore(place).lost == 0
    (place.repository.folder / "queue.head").unlink()
    assert restore(place).lost is None


# -- tables alone --------------------------------------------------------------------------------


@both
def test_nothing_is_put_aside_on_the_word_of_tables(place: Place, operation: Operation) -> None:
    """The tables forget a project, and the row of the timestamp is another."""
    place.publish(place.wheel("demo", "1.0"), place.wheel("other", "1.0"))
    place.sql("DELETE FROM projects WHERE name = 'demo'")
    place.sql("DELETE FROM files WHERE project = 'demo'")
    place.sql("DELETE FROM targets WHERE path LIKE '%/demo/%'")
    place.sql("UPDATE roles SET sha256 = ? WHERE name = 'timestamp'", EVIL)
    before = everything(place.public)
    with pytest.raises(AlteredStateError):
        operation(place)
    assert everything(place.public) == before


@both
@pytest.mark.parametrize(
    "lie",
    [
        "DELETE FROM projects WHERE name = 'demo'",
        "UPDATE projects SET name = 'memo' WHERE name = 'demo'",
        "DELETE FROM files WHERE project = 'demo'",
        "INSERT INTO files SELECT 'demo', 'demo-3.0-py3-none-any.whl', '3.0', size, sha256, "
        "upload_time, NULL, NULL, NULL, NULL, NULL, 0 FROM files WHERE project = 'demo'",
    ],
)
def test_projects_and_files_are_put_back_as_they_were_published(
    place: Place, operation: Operation, lie: str
) -> None:
    place.publish(place.wheel("demo", "1.0"), place.wheel("other", "1.0"))
    place.sql(lie)
    before = everything(place.public)
    with pytest.raises(AlteredStateError):
        operation(place)
    assert everything(place.public) == before


@both
def test_the_database_alone_uses_up_no_numbers(place: Place, operation: Operation) -> None:
    place.publish(place.wheel("demo", "1.0"))
    place.sql(
        "UPDATE roles SET allotted = ? WHERE name NOT IN ('root', 'targets', 'bins')", 2**53 - 3
    )
    with pytest.raises(AlteredStateError, match="to be the last one used up, got 90071"):
        operation(place)
    assert max(place.versions().values()) == 2


@both
def test_numbers_go_on_above_what_was_served_and_no_further(
    place: Place, operation: Operation
) -> None:
    """They are in the log; after it, the table may say no other."""
    place.publish(place.wheel("demo", "1.0"))
    (place.public / "metadata" / "77.bin-0.json").write_bytes(b"{}")
    place.sql(
        "CREATE TRIGGER stop BEFORE INSERT ON log WHEN NEW.kind = 'begin' "
        "BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END"
    )
    with pytest.raises(IndextrustError, match="disk I/O error"):
        operation(place)
    place.sql("DROP TRIGGER stop")
    for number in (76, 78):
        place.sql("UPDATE roles SET allotted = ? WHERE name = 'bin-0'", number)
        with pytest.raises(AlteredStateError, match="role bin-0: expected a number from 77 to 77"):
            place.reopen().publish()
    place.sql("UPDATE roles SET allotted = 77 WHERE name = 'bin-0'")
    place.reopen().publish()
    assert place.versions()["bin-0"] == 78


def test_offline_roles_do_not_go_back(place: Place) -> None:
    """The tables name targets and bins of an earlier ceremony, under the same online key; then the
    public folder forgets what would tell."""
    roots = rows(place, "roots")
    offline = [row for row in rows(place, "roles") if row[0] in ("root", "targets", "bins")]
    place.publish(place.wheel("demo", "1.0"))
    yearly(place)
    assert place.versions()["targets"] == 2
    put_back(place, "roots", roots)
    put_back(place, "roles", offline, "name IN ('root', 'targets', 'bins')")
    place.repository.add(place.wheel("demo", "2.0"))
    with pytest.raises(AlteredStateError, match="role bins: expected version 2"):
        place.reopen().publish()
    (place.public / "metadata" / "2.root.json").unlink()
    for operation in (Place.reopen(place).publish, Place.reopen(place).restore):
        with pytest.raises(RepositoryError, match="role bins: expected version 2"):
            operation()
    assert place.versions()["targets"] == 2
    assert not is_listed(place)


def test_a_restore_that_was_refused_has_believed_nothing(place: Place) -> None:
    """It is in the log that an operator began; a renewal by a timer finds the same lies."""
    place.publish(place.wheel("demo", "1.0"))
    tell_lies(place)
    damage_bins(place)
    with contextlib.suppress(AlteredStateError):
        restore(place)
    timestamp = (place.public / "metadata" / "timestamp.json").read_bytes()
    with pytest.raises(AlteredStateError, match=r"bin-.: its file .* is damaged, and the tables"):
        place.reopen().renew()
    assert (place.public / "metadata" / "timestamp.json").read_bytes() == timestamp
