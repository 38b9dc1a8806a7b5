"""Collection: what goes, what stays, and who does not notice."""

from __future__ import annotations

import contextlib
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.ngclient import Updater

from indextrust.client import FileMetadataStore, TufClient, Urllib3Fetcher
from indextrust.errors import ConflictError, RepositoryError, StoreError
from indextrust.repository import Repository
from indextrust.testing import TamperingServer
from indextrust.trust import NotListed, TargetEntry
from tests.repository.place import Clock, Place, everything
from tests.repository.test_publish import client, reaches_only
from tests.repository.test_restart import prepare, run

WHEEL = "demo-1.0-py3-none-any.whl"
DOCUMENT = "simple/demo/index.json"


def versions(place: Place, role: str) -> list[int]:
    """Which versions of a role lie in the public folder."""
    found = [
        re.fullmatch(rf"(\d+)\.{role}\.json", path.name)
        for path in (place.public / "metadata").iterdir()
    ]
    return sorted(int(match[1]) for match in found if match)


def prefixed(place: Place, folder: str) -> list[str]:
    """The hash-prefixed names in a folder."""
    names = (path.name for path in (place.public / folder).iterdir())
    return sorted(name for name in names if re.match("[0-9a-f]{64}[.]", name))


def is_whole(place: Place) -> None:
    """What a client finds that starts now: every listed target, under both names."""
    place.repository.publish()
    for project in place.repository.projects():
        files = [file.filename for file in place.repository.files(project)]
        reaches_only(place, project, files)


# -- what goes and what stays ----------------------------------------------------------------


def test_what_was_superseded_stays_an_hour_and_then_goes(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"))
    place.clock.sleep(hours=3)
    place.publish(place.wheel("demo", "2.0"))
    before = everything(place.public)

    place.clock.sleep(minutes=59, seconds=59)
    collected = place.repository.collect()
    assert collected.oldest_snapshot == 2  # it was the current one until an hour ago
    assert versions(place, "snapshot") == [2, 3]
    gone = before.keys() - everything(place.public).keys()
    assert {name.partition("/")[0] for name in gone} == {"metadata"}

    place.clock.sleep(seconds=2)
    collected = place.repository.collect()
    assert (collected.oldest_snapshot, collected.targets) == (3, 1)
    assert versions(place, "snapshot") == [3]
    assert len(prefixed(place, "simple/demo")) == 1
    assert len(prefixed(place, "files/demo")) == 4  # two wheels and their core metadata
    is_whole(place)


def test_exactly_one_version_of_each_role_stays_in_an_index_at_rest(place: Place) -> None:
    for number in range(5):
        place.publish(place.wheel("demo", str(number)))
        place.clock.sleep(minutes=1)
    place.clock.sleep(hours=2)
    place.repository.collect()
    listed = place.versions()
    for role in ("snapshot", "targets", "bins", *(f"bin-{number}" for number in range(4))):
        assert versions(place, role) == [listed[role]]
    assert versions(place, "root") == [1]
    assert place.repository.collect() == type(place.repository.collect())(0, 0, 6)
    is_whole(place)


def test_a_removed_file_stays_for_clients_in_the_middle_and_then_goes(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"), place.wheel("demo", "2.0"))
    slow = client(place)
    slow.refresh()
    place.repository.remove("demo", WHEEL)
    place.repository.publish()
    place.clock.sleep(minutes=50)
    place.repository.collect()
    entry = slow.find(f"files/demo/{WHEEL}")
    assert isinstance(entry, TargetEntry)
    name = f"{entry.hashes['sha256']}.{WHEEL}"
    assert name in prefixed(place, "files/demo")
    place.clock.sleep(minutes=20)
    place.repository.collect()
    assert not [name for name in prefixed(place, "files/demo") if WHEEL in name]
    assert (place.repository.folder / "objects").is_dir()
    again = place.repository.add(place.wheel("demo", "1.0"))  # the private copy is still there
    assert again[0].sha256 == entry.hashes["sha256"]
    is_whole(place)


def test_bytes_that_are_nowhere_else_are_not_deleted(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"))
    (file,) = place.repository.files("demo")
    place.repository.remove("demo", WHEEL)
    place.repository.publish()
    (place.repository.folder / "objects" / file.sha256[:2] / file.sha256).unlink()
    place.clock.sleep(hours=2)
    assert place.repository.collect().targets == 2  # the old document, and core metadata
    assert prefixed(place, "files/demo") == [f"{file.sha256}.{WHEEL}"]


def test_a_project_that_is_never_quiet_is_collected_too(place: Place) -> None:
    for number in range(40):
        place.publish(place.wheel("demo", str(number)))
        place.clock.sleep(minutes=10)
        place.repository.collect()
    # six or seven sets are within the hour
    assert 6 <= len(versions(place, "snapshot")) <= 8
    assert 6 <= len(prefixed(place, "simple/demo")) <= 8
    is_whole(place)


def test_what_an_interrupted_publication_left_goes(tmp_path: Path) -> None:
    place = prepare("publish", tmp_path)
    count = int(run("publish", shutil.copytree(tmp_path, tmp_path / "x"), 10**9).split()[-1])
    shutil.rmtree(tmp_path / "x")
    run("publish", tmp_path, round(count * 0.8))
    left = everything(place.public)
    assert versions(place, "snapshot") == [1, 2, 3]  # 3 is what nobody will ever list
    place.repository = place.reopen()
    place.repository.add(place.wheel("demo", "3.0"))  # the documents will be others
    place.repository.publish()
    place.clock.sleep(hours=2)
    place.repository.collect()
    assert versions(place, "snapshot") == [4]
    assert len(prefixed(place, "simple/demo")) == 1
    assert len(left) > len(everything(place.public))
    is_whole(place)


def test_roots_quarantine_and_what_is_not_ours_are_not_touched(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"))
    place.online = CryptoSigner.generate_ed25519()
    place.repository.install(place.rotation(place.online), place.online)
    (place.repository.folder / "quarantine").mkdir(exist_ok=True)
    (place.repository.folder / "quarantine" / "evidence").write_text("kept")
    (place.public / "metadata" / "1.nobody.json").write_text("{}")
    (place.public / "files" / "demo" / f"{'0' * 64}.stranger").write_text("?")
    place.clock.sleep(hours=2)
    place.publish(place.wheel("demo", "2.0"))
    place.clock.sleep(hours=2)
    place.repository.collect()
    assert versions(place, "root") == [1, 2]
    assert versions(place, "targets") == versions(place, "bins") == [2]
    assert (place.repository.folder / "quarantine" / "evidence").exists()
    assert (place.public / "metadata" / "1.nobody.json").exists()
    reaches_only(place, "demo", [WHEEL, "demo-2.0-py3-none-any.whl"])


def test_a_plain_name_that_looks_like_a_prefixed_one_stays(place: Place) -> None:
    name = "a" * 64
    project = f"{name}-demo"
    place.publish(place.wheel(f"{name}.demo", "1.0"), place.wheel("other", "1.0"))
    place.clock.sleep(minutes=1)
    place.publish(place.wheel(f"{name}.demo", "2.0"))
    place.clock.sleep(hours=2)
    place.repository.collect()
    assert len(place.repository.files(project)) == 2
    is_whole(place)


def test_the_documents_alone_are_targets_in_the_other_layout(tmp_path: Path) -> None:
    place = Place(tmp_path, layout="projects")
    place.publish(place.wheel("demo", "1.0"))
    place.publish(place.wheel("demo", "2.0"))
    files = set((place.public / "files" / "demo").iterdir())
    place.clock.sleep(hours=2)
    assert place.repository.collect().targets == 1
    assert set((place.public / "files" / "demo").iterdir()) == files


# -- the clock -------------------------------------------------------------------------------


def test_a_clock_set_back_deletes_nothing_early(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"))
    place.clock.sleep(hours=2)
    place.publish(place.wheel("demo", "2.0"))
    before = everything(place.public)
    place.clock.sleep(hours=-40)  # the clock that collects is wrong
    assert place.repository.collect().oldest_snapshot == 1
    assert everything(place.public) == before


def test_a_publication_under_a_clock_that_was_behind_counts_from_the_next_one(
    place: Place,
) -> None:
    place.publish(place.wheel("demo", "1.0"))
    place.clock.sleep(days=-300)
    place.publish(place.wheel("demo", "2.0"))  # a minute ago in truth
    place.clock.sleep(days=300, minutes=1)
    place.repository.collect()
    assert versions(place, "snapshot") == [1, 2, 3]
    place.clock.sleep(hours=9)
    place.repository.renew(timedelta(days=1))  # now the log knows what time it is
    place.repository.collect()
    assert versions(place, "snapshot")[-3:] == [2, 3, 4]
    place.clock.sleep(hours=2)
    place.repository.collect()
    assert versions(place, "snapshot") == [4]
    is_whole(place)


def test_a_clock_that_was_ahead_for_ten_years_does_not_stop_collection(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"))
    place.clock.sleep(days=300)
    place.publish(place.wheel("demo", "2.0"))
    place.clock.sleep(days=-300)
    place.publish(place.wheel("demo", "3.0"))
    place.clock.sleep(minutes=59)
    place.repository.collect()
    assert versions(place, "snapshot") == [1, 2, 3, 4]
    place.clock.sleep(minutes=2)
    place.repository.collect()
    assert versions(place, "snapshot") == [4]
    is_whole(place)


# -- hostile hands ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE log SET time = '2020-01-01T00:00:00Z' WHERE kind = 'end'", "log entry"),
        ("UPDATE log SET body = replace(body, '2', '9') WHERE kind = 'end'", "log entry"),
        ("DELETE FROM log WHERE kind = 'end'", "log entry"),
        (
            "DELETE FROM log WHERE number = (SELECT max(number) FROM log WHERE kind = 'end')",
            "log entry",
        ),
    ],
)
def test_a_log_that_was_altered_makes_nothing_go(place: Place, statement: str, named: str) -> None:
    place.publish(place.wheel("demo", "1.0"))
    place.publish(place.wheel("demo", "2.0"))
    place.clock.sleep(hours=2)
    place.sql(statement)
    before = everything(place.public)
    with pytest.raises(RepositoryError, match=named):
        place.reopen().collect()
    assert everything(place.public) == before


@pytest.mark.parametrize("name", ["timestamp.json", "3.snapshot.json"])
def test_what_was_not_published_here_is_not_collected_by(place: Place, name: str) -> None:
    place.publish(place.wheel("demo", "1.0"))
    place.publish(place.wheel("demo", "2.0"))
    place.clock.sleep(hours=2)
    (place.public / "metadata" / name).write_bytes(b"{}")
    before = everything(place.public)
    with pytest.raises(RepositoryError, match=r"somebody else wrote it|not the file that was"):
        place.repository.collect()
    assert everything(place.public) == before


def test_rows_of_targets_that_were_deleted_do_not_make_served_files_go(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"))
    place.clock.sleep(minutes=1)
    place.publish(place.wheel("demo", "2.0"))
    place.clock.sleep(hours=2)
    place.sql("DELETE FROM targets")
    assert place.reopen().collect().targets == 1  # the old document; its hash is in no bin
    reaches_only(place, "demo", [WHEEL, "demo-2.0-py3-none-any.whl"])


def test_a_link_in_the_place_of_a_project_leads_to_no_deletion_outside(
    place: Place, tmp_path: Path
) -> None:
    place.publish(place.wheel("demo", "1.0"))
    place.publish(place.wheel("demo", "2.0"))
    place.clock.sleep(hours=2)
    outside = tmp_path / "outside"
    (place.public / "simple" / "demo").rename(outside)
    (place.public / "simple" / "demo").symlink_to(outside)
    before = everything(outside)
    with pytest.raises(StoreError, match="not a folder of ours"):
        place.repository.collect()
    assert everything(outside) == before


# -- killed, and with others -----------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
def test_a_collection_that_was_killed_took_nothing_that_is_needed(
    tmp_path: Path, fraction: float
) -> None:
    (tmp_path / "own").mkdir()
    place = prepare("publish", tmp_path / "own")
    place.repository.publish()
    place.clock.sleep(minutes=1)
    place.publish(place.wheel("demo", "3.0"))
    whole = shutil.copytree(tmp_path / "own", tmp_path / "whole")
    changes = int(run("collect", whole, 10**9).split()[-1])
    stop = max(1, round(changes * fraction))
    assert run("collect", place.folder, stop).startswith("stopped")
    reaches_only(place, "demo", ["demo-2.0-py3-none-any.whl", "demo-3.0-py3-none-any.whl"])
    place.clock.sleep(hours=2)
    place.repository.collect()
    left = everything(whole / "index" / "public").keys()
    assert everything(place.public).keys() == left
    assert not [name for name in left if re.search("/[0-9a-f]{64}[.]demo-1", name)]
    is_whole(place)


def test_clients_in_the_middle_of_a_refresh_finish_it_or_begin_again(tmp_path: Path) -> None:
    place = Place(tmp_path, Clock(datetime.now(UTC)))
    place.publish(place.wheel("demo", "1.0"))
    root = place.roles.root[0]
    with TamperingServer(place.public) as server:
        store = FileMetadataStore(tmp_path / "store")
        ours = TufClient(
            server.url + "metadata/",
            root=root,
            store=store,
            fetcher=Urllib3Fetcher(),
            targets_url=server.url,
        )
        ours.refresh()
        (tmp_path / "targets").mkdir()
        theirs = Updater(
            str(tmp_path / "theirs"),
            server.url + "metadata/",
            str(tmp_path / "targets"),
            server.url,
            bootstrap=root,
        )
        theirs.refresh()
        place.publish(place.wheel("demo", "2.0"))
        place.clock.sleep(minutes=30)
        place.repository.collect()
        info = theirs.get_targetinfo(DOCUMENT)  # half an hour later: its set is there
        assert info is not None
        assert len(Path(theirs.download_target(info)).read_bytes()) == info.length

        place.clock.sleep(minutes=31)
        assert place.repository.collect().metadata > 0
        server.requests.clear()
        entry = ours.target(DOCUMENT)  # an hour later: its bin is gone
        assert isinstance(entry, TargetEntry)
        assert b"demo-2.0" in ours.read(entry, max_length=10_000)
        asked = [name.rpartition("/")[2] for name in server.requests]
        assert asked.count("timestamp.json") == 1  # one second look
        assert not isinstance(ours.target(f"files/demo/{WHEEL}"), NotListed)


@pytest.mark.parametrize("publications", [160, pytest.param(10_000, marks=pytest.mark.long)])
def test_storage_is_bounded_and_readers_see_whole_sets_while_it_is_collected(
    tmp_path: Path, publications: int
) -> None:
    """A publication every 45 seconds, collections by two processes; readers all the time."""
    place = Place(tmp_path, Clock(datetime.now(UTC)))
    place.publish(*[place.wheel(f"demo{number}", "1.0") for number in range(8)])
    done = threading.Event()
    most = 0

    def read(number: int) -> int:
        rounds = 0
        while not done.is_set():
            client = TufClient(
                server.url + "metadata/",
                root=place.roles.root[0],
                store=FileMetadataStore(tmp_path / f"store{number}"),
                fetcher=Urllib3Fetcher(),
                targets_url=server.url,
            )
            entry = client.target("simple/demo3/index.json")
            assert isinstance(entry, TargetEntry)
            assert len(client.read(entry, max_length=10_000)) == entry.length
            rounds += 1
        return rounds

    def collect(repository: Repository) -> int:
        runs = 0
        while not done.wait(0.2):
            with contextlib.suppress(ConflictError):  # the publisher hardly ever lets go
                repository.collect()
                runs += 1
        return runs

    with TamperingServer(place.public) as server, ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read, number) for number in range(2)]
        collector = pool.submit(collect, place.reopen())
        try:
            for number in range(publications):
                change = place.repository.unyank if number // 8 % 2 else place.repository.yank
                change(f"demo{number % 8}", f"demo{number % 8}-1.0-py3-none-any.whl")
                place.repository.publish()
                place.clock.sleep(seconds=45)
                if number % 40 == 0:
                    place.repository.collect()
                    most = max(most, sum(1 for _ in place.public.rglob("*")))
        finally:
            done.set()
        assert all(reader.result() > 0 for reader in readers)
        assert collector.result() > 0
    # 80 publications are within the hour, up to 40 wait; of each a snapshot, a bin, a document
    assert most < 3 * (80 + 40) + 100
    place.clock.sleep(hours=2)
    place.repository.collect()
    assert len(versions(place, "snapshot")) == 1
    assert len(prefixed(place, "simple/demo3")) == 1
    is_whole(place)
