"""The state made anew from what is signed: what comes back, what is lost, what is refused."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from securesystemslib.signer import CryptoSigner

from indextrust.errors import (
    AlteredStateError,
    HashMismatchError,
    IndextrustError,
    RefusedError,
    RepositoryError,
    SignatureError,
)
from indextrust.names import BinScheme, Layout
from indextrust.repository import Repository
from indextrust.repository.storage import FolderStorage
from tests.repository.place import Place, everything
from tests.repository.test_publish import client
from tests.repository.test_rebin import Index
from tests.repository.test_restart import run

LAYOUTS: tuple[Layout, ...] = ("pep458", "projects")
TABLES = ("roles", "roots", "targets", "projects", "files", "used_filenames", "retired")
WHEEL = "demo-1.0-py3-none-any.whl"


def tables(place: Place) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table but the log."""
    return {name: sorted(place.sql(f"SELECT * FROM {name}"), key=repr) for name in TABLES}  # noqa: S608


def rebuild(place: Place, **more: Any) -> Any:
    root = more.pop("root", place.roles.root[0])
    made = Repository.rebuild(place.repository.folder, root, clock=place.clock, **more)
    place.repository = place.reopen()
    return made


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Place]:
    """For each layout an index with everything in it: yanked, removed, published, renewed."""
    places: dict[str, Place] = {}
    for layout in LAYOUTS:
        place = Place(tmp_path_factory.mktemp(layout), layout=layout)
        place.publish(*(place.wheel(f"demo{number}", "1.0") for number in range(6)))
        place.publish(
            *(place.wheel("demo", "1.0"), place.wheel("demo", "2.0"), place.wheel("gone", "1"))
        )
        place.repository.yank("demo", WHEEL, "a reason — of sorts")
        place.repository.remove("gone", "gone-1-py3-none-any.whl")
        place.repository.publish()
        place.clock.sleep(hours=20)
        place.repository.renew()
        places[layout] = place
    return places


@pytest.fixture
def shop(founded: dict[str, Place], tmp_path: Path) -> Place:
    """One of one's own."""
    return founded["pep458"].copied(tmp_path / "own")


@pytest.fixture(params=LAYOUTS)
def either(founded: dict[str, Place], tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    """One of one's own, of each layout."""
    return founded[request.param].copied(tmp_path / "own")


@pytest.mark.parametrize("lost", ["state.sqlite", "queue.head", "queue.key", None])
def test_what_was_published_is_what_is_rebuilt_table_by_table(
    either: Place, lost: str | None
) -> None:
    before, served = tables(either), everything(either.public)
    if lost is not None:
        (either.repository.folder / lost).unlink()
    made = rebuild(either)
    after = tables(either)
    if lost == "state.sqlite":
        assert (made.taken_over, made.lost_changes, made.aside is None) == (None, None, False)
        names = {row for row in before["used_filenames"] if row[0].startswith("gone")}
        before["used_filenames"] = [r for r in before["used_filenames"] if r not in names]
    else:
        assert made.taken_over == 1
        assert (made.aside / "state.sqlite").exists()
    if lost == "queue.key":  # another key vouches for the rows of roles
        before["roles"], after["roles"] = (
            [row[:6] + row[7:] for row in rows["roles"]] for rows in (before, after)
        )
    assert after == before
    assert everything(either.public) == served
    assert (made.missing, made.faults, made.expired) == (0, 0, ())
    assert (made.projects, made.files) == (8, 8)
    assert either.repository.audit().clean
    assert either.repository.status().warnings == ()


def test_the_next_publication_works_and_clients_go_on(either: Place) -> None:
    returning = client(either)
    returning.refresh()
    (either.repository.folder / "state.sqlite").unlink()
    rebuild(either)
    assert either.repository.publish().nothing_to_do
    either.publish(either.wheel("demo", "3.0"), either.wheel("new", "1.0"))
    either.repository.unyank("demo", WHEEL)
    assert either.repository.publish().changed == 1
    returning.now = either.clock.now
    returning.refresh()
    assert type(returning.find("simple/new/index.json")).__name__ == "TargetEntry"
    either.repository.restore()  # the private copies are where they were
    assert either.repository.audit().clean


def test_the_log_says_where_it_comes_from(shop: Place) -> None:
    shop.repository.add(shop.wheel("waiting", "1.0"), shop.wheel("waiting", "2.0"))
    made = rebuild(shop, by="grace")
    assert made.lost_changes == 2
    entries = [(entry.what, entry.who) for entry in shop.repository.log()]
    assert entries[:2] == [("create", "grace"), ("rebuild", "grace")]
    (body,) = shop.sql("SELECT body FROM log WHERE kind = 'rebuild'")
    assert json.loads(body[0]) == {"lost": 2, "snapshot": made.snapshot_version}
    assert shop.repository.status().queued == 0


def test_a_removed_name_stays_taken_if_the_old_database_can_be_read(shop: Place) -> None:
    rebuild(shop)
    with pytest.raises(RepositoryError, match="the name is taken"):
        shop.repository.add(shop.wheel("gone", "1", content="other"))


def test_names_are_not_taken_over_from_rows_that_are_none(shop: Place) -> None:
    for row in (("x", "../x", "0" * 64), ("y", "Y", "nothing"), ("z", "Other", "0" * 64)):
        shop.sql("INSERT INTO used_filenames VALUES (?, ?, ?)", *row)
    assert rebuild(shop).taken_over == 1


def test_numbers_go_on_above_what_an_interrupted_publication_wrote(shop: Place) -> None:
    versions = shop.versions()
    for name in ("bin-0", "snapshot"):
        leftover = shop.public / "metadata" / f"{versions[name] + 7}.{name}.json"
        leftover.write_bytes(b"half of a fi")
    (shop.repository.folder / "state.sqlite").unlink()
    rebuild(shop)
    published = shop.repository.publish()  # they are due, for whoever saw the numbers
    assert published.snapshot_version == versions["snapshot"] + 8
    assert shop.versions()["bin-0"] == versions["bin-0"] + 8
    assert client(shop).refresh()


@pytest.mark.parametrize("log", ["whole", "altered", "none"])
def test_a_timestamp_that_was_signed_and_never_out_keeps_its_number(
    shop: Place, monkeypatch: pytest.MonkeyPatch, log: str
) -> None:
    """The power fails before the timestamp is replaced: it is in the log of the key alone."""

    def power_failure(*_: object) -> None:
        raise KeyboardInterrupt

    shop.repository.add(shop.wheel("demo", "3.0"))
    with monkeypatch.context() as failing:
        failing.setattr(FolderStorage, "replace_prepared", power_failure)
        with pytest.raises(KeyboardInterrupt):
            shop.repository.publish()
    served = shop.versions()["timestamp"]
    (shop.repository.folder / "state.sqlite").unlink()
    uses = shop.repository.folder / "online.log"
    if log == "altered":
        uses.write_bytes(uses.read_bytes().replace(b'"bins":', b'"bin":', 1))
    elif log == "none":
        uses.unlink()
    rebuild(shop)
    shop.publish(shop.wheel("demo", "3.0"))
    assert shop.versions()["timestamp"] == served + (2 if log == "whole" else 1)
    if log == "whole":
        assert shop.repository.check().clean


def test_missing_private_copies_are_reported_and_the_public_ones_kept(shop: Place) -> None:
    for path in (shop.repository.folder / "objects").rglob("*"):
        if path.is_file():
            path.unlink()
    made = rebuild(shop)
    assert made.missing == 16  # 8 wheels and their core metadata
    assert all("no private copy" in text for text in made.named)
    before = everything(shop.public / "files")
    shop.repository.restore()
    assert everything(shop.public / "files") == before


def test_an_index_that_slept_is_rebuilt_and_the_answer_says_what_expired(shop: Place) -> None:
    shop.clock.sleep(days=30)
    assert rebuild(shop).expired == ("snapshot", "timestamp")
    shop.repository.publish()
    assert client(shop).refresh()


def test_a_document_that_was_lost_is_named_and_nothing_is_invented(shop: Place) -> None:
    for path in (shop.public / "simple" / "demo").iterdir():
        path.write_bytes(b"{}")
    made = rebuild(shop)
    assert made.faults > 0
    assert "simple/demo/index.json" in made.named[0]
    assert shop.repository.files("demo") == []
    shop.publish(shop.wheel("demo1", "2.0"))
    shop.repository.add(shop.wheel("demo", "3.0"))
    with pytest.raises(AlteredStateError, match="expected sha256"):
        shop.repository.publish()  # or its signed files would be gone


# -- hostile hands ---------------------------------------------------------------------------


def damage(place: Place, name: str, old: bytes, new: bytes) -> None:
    path = place.public / "metadata" / name
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "bins", "bin-1", "root"])
def test_metadata_that_no_client_takes_is_refused_and_nothing_changes(
    shop: Place, role: str
) -> None:
    version = {**shop.versions(), "root": 1}[role]
    name = "timestamp.json" if role == "timestamp" else f"{version}.{role}.json"
    damage(shop, name, b'"expires":"202', b'"expires":"203')
    before = everything(shop.repository.folder)
    with pytest.raises((SignatureError, HashMismatchError, RepositoryError)):
        Repository.rebuild(shop.repository.folder, shop.roles.root[0], clock=shop.clock)
    assert everything(shop.repository.folder) == before


def test_an_index_of_somebody_else_is_refused_by_the_root_given(
    shop: Place, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Place(tmp_path / "other")
    shutil.rmtree(shop.public)
    shutil.copytree(other.public, shop.public)
    before = everything(shop.repository.folder)
    with pytest.raises((RefusedError, RepositoryError)):
        Repository.rebuild(shop.repository.folder, shop.roles.root[0], clock=shop.clock)
    assert everything(shop.repository.folder) == before


def test_a_later_root_is_anchor_enough(shop: Place) -> None:
    shop.online = CryptoSigner.generate_ed25519()
    roles = shop.rotation(shop.online)
    shop.repository.install(roles, shop.online)
    before = tables(shop)
    rebuild(shop, root=roles.root[-1])
    assert tables(shop) == before
    rebuild(shop)  # and the first one too
    assert tables(shop) == before


@pytest.mark.parametrize("given", ["the first root", "the last root"])
def test_a_root_that_is_served_before_its_timestamp_is_named_with_the_way_out(
    shop: Place, tmp_path: Path, given: str
) -> None:
    """The online key is replaced; the new roles are out, and then server and database are lost."""
    new = CryptoSigner.generate_ed25519()
    roles = shop.rotation(new)
    roles.save(shop.public / "metadata")
    seen = client(shop)
    with pytest.raises(SignatureError):  # it has the new root from now on
        seen.refresh()
    timestamp = shop.public / "metadata" / "timestamp.json"
    aside = shop.repository.folder / "quarantine" / "1" / "metadata" / "timestamp.json"
    aside.parent.mkdir(parents=True)
    timestamp.rename(aside)  # as if a thief had signed it
    with pytest.raises(RepositoryError, match=f"timestamp.json is missing.*{aside}"):
        rebuild(shop)
    shutil.copy(aside, timestamp)
    before = everything(shop.repository.folder)
    with pytest.raises(RepositoryError) as refused:
        rebuild(shop, root=roles.root[-1] if given == "the last root" else shop.roles.root[0])
    assert everything(shop.repository.folder) == before
    for word in ("2.root.json is served", "never make another", "earlier root", "install"):
        assert word in str(refused.value)

    (shop.public / "metadata" / "2.root.json").rename(tmp_path / "2.root.json")
    rebuild(shop)
    shop.repository.install(roles, new)
    seen.refresh()
    assert seen.stored["root"] == roles.root[-1]
    assert seen.stored["timestamp"] == timestamp.read_bytes()
    assert shop.repository.check().clean


def test_a_database_in_the_middle_of_a_transaction_leaves_no_journal_to_the_new_one(
    shop: Place,
) -> None:
    before = tables(shop)
    folder = shop.repository.folder
    (folder / "state.sqlite").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    (folder / "state.sqlite-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + b"x" * 900)
    made = rebuild(shop)
    after = tables(shop)
    assert {**after, "used_filenames": []} == {**before, "used_filenames": []}
    assert not (folder / "state.sqlite-journal").exists()
    assert (made.aside / "state.sqlite").read_bytes().endswith(b"\xff")


# -- a flipped byte --------------------------------------------------------------------------


@pytest.mark.parametrize("flips", [24, pytest.param(1000, marks=pytest.mark.long)])
def test_a_flipped_byte_in_the_database_is_detected_or_harmless(tmp_path: Path, flips: int) -> None:
    """Whatever the byte: what is published next is what was asked for, or nothing at all."""
    (tmp_path / "origin").mkdir()
    origin = Place(tmp_path / "origin")
    origin.publish(origin.wheel("demo", "1.0"), origin.wheel("other", "1.0"))
    origin.repository.add(origin.wheel("demo", "2.0"))
    before = served(origin)
    asked_for = origin.copied(tmp_path / "asked-for")
    asked_for.repository.publish()
    after = served(asked_for)
    assert before != after
    data = (origin.repository.folder / "state.sqlite").read_bytes()
    endings = []
    for number in range(flips):
        at = (number * len(data) // flips + number * 7919) % len(data)
        place = origin.copied(tmp_path / "flipped")
        flipped = bytearray(data)
        flipped[at] ^= 1 << (number % 8)
        (place.repository.folder / "state.sqlite").write_bytes(bytes(flipped))
        try:
            place.reopen().publish()
            endings.append("published")
        except IndextrustError:
            endings.append("detected")
        assert served(place) in (before, after), f"byte {at}, bit {number % 8}"
        shutil.rmtree(tmp_path / "flipped")
    assert set(endings) == {"published", "detected"}


def served(place: Place) -> dict[str, Any]:
    """What a client finds in every bin."""
    client(place).refresh()
    found: dict[str, Any] = {}
    versions = place.versions()
    for number in range(4):
        signed = place.signed(f"{versions[f'bin-{number}']}.bin-{number}.json")
        found |= signed["targets"]
    for path in found:
        assert client(place).find(path).hashes == found[path]["hashes"]  # type: ignore[union-attr]
    return found


def test_a_rebuilt_database_is_sound_for_sqlite(shop: Place) -> None:
    rebuild(shop)
    db = sqlite3.connect(shop.repository.folder / "state.sqlite")
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()


# -- killed ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.5, 0.8, 0.95, 1.0])
def test_a_rebuilding_that_was_killed_is_done_again_and_loses_no_more(
    shop: Place, fraction: float, tmp_path: Path
) -> None:
    before, served_before = tables(shop), everything(shop.public)
    pem = shop.online._private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (shop.folder / "online.pem").write_bytes(pem)
    (shop.folder / "root.json").write_bytes(shop.roles.root[0])
    shutil.copytree(shop.folder, tmp_path / "whole")
    steps = int(run("rebuild", tmp_path / "whole", 10**9).split()[-1])
    assert run("rebuild", shop.folder, max(1, round(steps * fraction))).startswith("stopped")
    assert everything(shop.public) == served_before
    assert rebuild(shop).taken_over == 1
    assert tables(shop) == before
    kept = shop.repository.folder / "quarantine"
    assert {path.name for path in kept.rglob("state.sqlite")} == {"state.sqlite"}
    shop.publish(shop.wheel("demo", "3.0"))
    assert shop.repository.check().clean


# -- with other bins -------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "new"), [(3, 1), (1, 3)])
def test_an_index_with_other_bins_than_before_is_collected_checked_and_rebuilt(
    tmp_path: Path, old: int, new: int
) -> None:
    """Old names stay listed, so their last files stay; then the bins go back to what they were."""
    index = Index(tmp_path, BinScheme(old, False))
    with index.server:
        index.everybody_finds()
        index.publish(index.wheel("p0", "2.0"))
        index.rebin(BinScheme(new, False))
        index.publish(index.wheel("p1", "2.0"))
        index.repository.collect()
        index.everybody_finds()
        index.clock.sleep(hours=2)
        assert index.repository.collect().oldest_snapshot == index.versions()["snapshot"]
        for name, version in index.versions().items():
            if name != "timestamp":
                assert (index.public / "metadata" / f"{version}.{name}.json").exists()
        assert index.repository.check().clean
        index.everybody_finds()

        before = tables(index)
        assert rebuild(index).faults == 0
        assert tables(index) == before
        assert index.repository.check().clean
        index.publish(index.wheel("p2", "2.0"))
        index.everybody_finds()
        index.rebin(BinScheme(old, False))
        index.clock.sleep(hours=2)
        index.repository.collect()
        assert index.repository.check().clean
        index.everybody_finds()
