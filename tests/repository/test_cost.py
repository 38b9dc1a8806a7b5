"""A publication costs what it touches, and one snapshot: statements, reads and writes counted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from indextrust.ceremony import BinScheme
from indextrust.errors import RepositoryError
from indextrust.names import BINS, SNAPSHOT, TARGETS, TIMESTAMP
from indextrust.repository import encode
from indextrust.repository import place as place_module
from indextrust.repository.objects import ObjectStore
from indextrust.repository.storage import FolderStorage
from tests.repository.place import Place
from tests.repository.test_publish import client, reaches_only

LIST = "simple/index.html"


@contextmanager
def statements() -> Iterator[list[str]]:
    """Every SQL statement that is executed in the block."""
    seen: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


@contextmanager
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of all public files that are read in the block."""
    seen: list[str] = []
    read = FolderStorage.read

    def note(self: FolderStorage, name: str, limit: int) -> bytes | None:
        seen.append(name)
        return read(self, name, limit)

    with monkeypatch.context() as patch:
        patch.setattr(FolderStorage, "read", note)
        yield seen


def bins_read(names: list[str]) -> set[str]:
    """The bins among the metadata files."""
    roles = {name.split(".")[1] for name in names if name.startswith("metadata/")}
    return roles - {BINS, TARGETS, SNAPSHOT, TIMESTAMP, "root", "json"}


def test_many_files_ask_the_database_as_many_questions_as_one(tmp_path: Path) -> None:
    at = Place(tmp_path, bins=256)
    at.publish(*(at.wheel(f"demo{number}", "1.0") for number in range(20)))
    counts = []
    for version, count in (("2.0", 1), ("3.0", 20)):
        at.repository.add(*(at.wheel(f"demo{number}", version) for number in range(count)))
        with statements() as seen:
            at.repository.publish()
        counts.append(len([text for text in seen if " log" not in text]))
    assert counts[0] == counts[1]


def test_a_publication_reads_its_origin_in_one_transaction_and_the_log_once(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"))
    place.repository.add(place.wheel("demo", "2.0"))
    with statements() as seen:
        place.repository.publish()
    inserts = [at for at, text in enumerate(seen) if text.startswith("INSERT INTO log ")]
    before = seen[: inserts[0]]
    assert before.count("BEGIN") == 2  # one to read, and that of the numbers
    allotting = len(before) - before[::-1].index("BEGIN")
    chains = [text for text in before[:allotting] if "FROM log" in text]
    assert len(chains) == 2  # where it stands, and the changes that wait
    assert len([text for text in seen[allotting:] if "FROM log" in text]) == len(inserts)


def test_the_offline_roles_are_read_once_in_a_process_and_others_are_read_anew(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attacker names a file of his own in the database: it is no bins role, and is read."""
    place.publish(place.wheel("demo", "1.0"))
    seen: list[str] = []
    read = ObjectStore.read

    def note(self: ObjectStore, sha256: str) -> bytes:
        seen.append(sha256)
        return read(self, sha256)

    monkeypatch.setattr(ObjectStore, "read", note)
    place.publish(place.wheel("demo", "2.0"))
    assert not seen
    forged = hashlib.sha256(b"{}").hexdigest()
    path = place.repository.folder / "objects" / forged[:2] / forged
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"{}")
    place.sql("UPDATE roles SET sha256 = ? WHERE name = 'bins'", forged)
    place.repository.add(place.wheel("demo", "3.0"))
    with pytest.raises(RepositoryError, match="'bins': not TUF metadata"):
        place.repository.publish()
    assert forged in seen


def test_a_publication_reads_the_bins_that_it_touches_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = Place(tmp_path, bins=256)
    at.publish(at.wheel("demo", "1.0"), at.wheel("other", "1.0"))
    at.repository.add(at.wheel("demo", "2.0"))
    with reads(monkeypatch) as seen:
        published = at.repository.publish()
    assert bins_read(seen) <= set(published.bins)
    assert 1 <= len(published.bins) <= 3


def test_the_entries_of_the_snapshot_are_read_once_in_a_process(tmp_path: Path) -> None:
    at = Place(tmp_path, bins=256)
    at.publish(at.wheel("demo", "1.0"))
    repository = at.reopen()
    whole = []
    for version in ("2.0", "3.0", "4.0"):
        repository.add(at.wheel("demo", version))
        with statements() as seen:
            repository.publish()
        whole.append(max(t.count("?") for t in seen if "FROM roles" in t))
    assert whole[0] > 200
    assert max(whole[1:]) < 10


def test_what_another_process_published_meanwhile_is_in_the_next_snapshot(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"))
    other = place.reopen()
    other.add(place.wheel("other", "1.0"))
    other.publish()
    place.publish(place.wheel("demo", "2.0"))
    reaches_only(place, "other", ["other-1.0-py3-none-any.whl"])
    reaches_only(place, "demo", ["demo-1.0-py3-none-any.whl", "demo-2.0-py3-none-any.whl"])
    assert place.repository.audit().clean


def test_a_large_index_lists_versions_only_and_a_client_finds_its_way(tmp_path: Path) -> None:
    at = Place(tmp_path, bins=512)
    at.publish(at.wheel("demo", "1.0"))
    at.clock.sleep(hours=13)
    assert at.repository.renew() is not None
    snapshot = at.signed("3.snapshot.json")
    assert snapshot["meta"].keys() == {
        f"{name}.json" for name in (BINS, TARGETS, *BinScheme.of(512).names())
    }
    assert {tuple(entry) for entry in snapshot["meta"].values()} == {("version",)}
    reaches_only(at, "demo", ["demo-1.0-py3-none-any.whl"])


def test_a_renewed_bin_has_the_targets_it_had_and_only_its_head_changes(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"), place.wheel("demo", "2.0"))
    versions = place.versions()
    before = {n: place.signed(f"{v}.{n}.json") for n, v in versions.items() if "bin-" in n}
    place.clock.sleep(hours=13)
    with statements() as seen:
        place.repository.renew()
    assert not [text for text in seen if "FROM targets" in text]
    for name, signed in before.items():
        after = place.signed(f"{versions[name] + 1}.{name}.json")
        assert after.pop("expires") > signed.pop("expires")
        assert after.pop("version") == signed.pop("version") + 1
        assert after == signed


def test_a_short_list_of_projects_is_written_with_every_new_one(place: Place) -> None:
    for number in range(3):
        place.publish(place.wheel(f"demo{number}", "1.0"))
        assert f'<a href="demo{number}/">' in (place.public / LIST).read_text()
    before = (place.public / LIST).stat().st_ino
    place.publish(place.wheel("demo0", "2.0"))
    assert (place.public / LIST).stat().st_ino == before


def test_a_long_list_of_projects_is_written_once_an_hour(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place_module, "_SHORT", 0)
    place.publish(place.wheel("first", "1.0"))
    place.clock.sleep(minutes=1)
    place.publish(place.wheel("second", "1.0"))
    listed = (place.public / LIST).read_text()
    assert "first" not in listed  # created in the same hour, empty
    reaches_only(place, "second", ["second-1.0-py3-none-any.whl"])  # installed all the same
    place.clock.sleep(hours=1)
    place.publish(place.wheel("first", "2.0"))
    listed = (place.public / LIST).read_text()
    assert "first" in listed
    assert "second" in listed
    inode = (place.public / LIST).stat().st_ino
    place.clock.sleep(hours=13)
    place.repository.renew()
    assert (place.public / LIST).stat().st_ino == inode  # nothing new to list


def test_a_renewal_lists_what_no_publication_did(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place_module, "_SHORT", 0)
    place.publish(place.wheel("first", "1.0"))
    place.clock.sleep(hours=13)
    place.repository.renew()
    assert "first" in (place.public / LIST).read_text()


def test_the_gate_refuses_an_answer_that_was_not_planned(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An encoder gone wrong signs another hash than was planned: validly, and nobody sees it."""
    place.publish(place.wheel("demo", "1.0"))
    returning = client(place)
    returning.refresh()
    before = (place.public / "metadata/timestamp.json").read_bytes()
    real = encode.edited_payload

    def wrong(*arguments: Any) -> bytes:
        tree = json.loads(real(*arguments) or b"")
        for entry in tree["targets"].values():
            entry["hashes"]["sha256"] = "0" * 64
        return json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()

    place.repository.add(place.wheel("demo", "2.0"))
    with monkeypatch.context() as patch:
        patch.setattr("indextrust.repository.bins.edited_payload", wrong)
        with pytest.raises(RepositoryError, match="a client would not find what was planned"):
            place.repository.publish()
    assert (place.public / "metadata/timestamp.json").read_bytes() == before
    returning.refresh()
    assert place.reopen().publish().added == 1
