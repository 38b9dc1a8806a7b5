"""What publishing does, and what it leaves alone."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner, Signature

from indextrust.ceremony import BinScheme
from indextrust.errors import ConflictError, InputError, RepositoryError, SigningError, StoreError
from indextrust.names import document_path, file_path, hash_prefixed, metadata_path
from indextrust.repository import Repository, lock
from tests.repository.place import NOW, Place, everything
from tests.support.drive import Driver
from tests.support.wheels import make_sdist

DEMO = "demo-1.0-py3-none-any.whl"


def client(place: Place) -> Driver:
    """A client that refreshes from the public folder, at the repository's time."""
    metadata = place.public / "metadata"

    class Served(dict[str, bytes]):
        def get(self, name: str, default: object = None) -> object:  # type: ignore[override]
            path = metadata / name
            return path.read_bytes() if path.exists() else default

    return Driver(Served(), place.roles.root[0], place.clock.now)


def reaches_only(place: Place, project: str, filenames: list[str]) -> None:
    """A client that starts from the first root finds these files of the project."""
    driver = client(place)
    driver.refresh()
    assert [file["filename"] for file in place.document(project)["files"]] == filenames
    paths = [document_path(project)] + [file_path(project, name) for name in filenames]  # type: ignore[arg-type]
    for path in paths:
        entry = driver.find(path)
        assert entry.path == path
        digest = entry.hashes["sha256"]  # type: ignore[union-attr]
        for name in (path, hash_prefixed(path, digest)):
            assert hashlib.sha256((place.public / name).read_bytes()).hexdigest() == digest


# -- the normal course -----------------------------------------------------------------------


def test_a_new_index_is_published_empty_with_every_bin(place: Place) -> None:
    client(place).refresh()
    assert place.versions() == {
        **dict.fromkeys(("targets", "bins", "snapshot", "timestamp"), 1),
        **{f"bin-{number}": 1 for number in range(4)},
    }
    assert (place.public / "simple" / "index.html").exists()
    status = place.repository.status()
    assert (status.projects, status.files, status.queued, status.bins) == (0, 0, 0, 4)
    assert (status.warnings, status.interrupted) == ((), False)
    assert status.root_version == status.targets_version == status.snapshot_version == 1


def test_what_is_added_is_served_under_all_its_names_after_publishing(place: Place) -> None:
    wheel = place.wheel("demo", "1.0", requires_python=">=3.9")
    before = everything(place.public)
    (file,) = place.repository.add(wheel)
    assert everything(place.public) == before
    assert place.repository.status().queued == 1
    wheel.unlink()  # the repository has its own copy
    published = place.repository.publish()
    assert (published.added, published.removed, published.changed) == (1, 0, 0)
    reaches_only(place, "demo", [DEMO])
    core = place.public / metadata_path(file.project, file.filename)
    assert hashlib.sha256(core.read_bytes()).hexdigest() == file.metadata_sha256
    assert core.read_bytes().startswith(b"Metadata-Version: 2.2\nName: demo\n")
    page = (place.public / "simple/demo/index.html").read_text()
    assert f'href="../../files/demo/{DEMO}#sha256={file.sha256}"' in page
    assert '<a href="demo/">demo</a>' in (place.public / "simple/index.html").read_text()
    assert place.document("demo")["files"][0]["upload-time"] == "2026-01-31T12:00:00Z"
    assert place.repository.files("demo") == [file]
    assert place.repository.projects() == ["demo"]


def test_publishing_touches_the_bins_of_what_changed_and_nothing_else(tmp_path: Path) -> None:
    place = Place(tmp_path, bins=256)
    place.publish(place.wheel("demo", "1.0"), place.wheel("other", "1.0"))
    before, versions = everything(place.public), place.versions()
    place.repository.add(make_sdist(place.uploads, "demo", "2.0"))
    published = place.repository.publish()
    scheme = BinScheme.of(256)
    paths = (document_path("demo"), file_path("demo", "demo-2.0.tar.gz"))  # type: ignore[arg-type]
    touched = {scheme.bin_of(path) for path in paths}
    assert set(published.bins) == touched
    assert set(published.signed) == touched | {"snapshot", "timestamp"}
    now = place.versions()
    assert {name for name in now if now[name] != versions[name]} == set(published.signed)
    assert {n for n, v in now.items() if v == versions[n] + 1} == set(published.signed)
    after = everything(place.public)
    changed = {name for name, data in after.items() if before.get(name) != data}
    assert {name for name in changed if name in before} == {
        "metadata/timestamp.json",
        "simple/demo/index.html",
        "simple/demo/index.json",
    }
    assert before.keys() <= after.keys()


def test_publishing_nothing_does_nothing_and_says_so(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"))
    before = everything(place.folder)
    published = place.repository.publish()
    assert published.nothing_to_do
    assert (published.signed, published.snapshot_version, published.added) == ((), 2, 0)
    assert everything(place.folder) == before


def test_changes_that_cancel_each_other_are_done_without_a_new_snapshot(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"))
    versions = place.versions()
    place.repository.yank("demo", DEMO, "why")
    place.repository.unyank("demo", DEMO)
    place.repository.remove("demo", DEMO)
    place.repository.add(place.wheel("demo", "1.0"), upload_time="2026-01-31T12:00:00Z")
    assert place.repository.publish().nothing_to_do
    assert place.repository.status().queued == 0
    assert place.versions() == versions


def test_a_yank_is_in_the_document_and_on_the_page_and_can_be_taken_back(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"))
    place.repository.yank("demo", DEMO, 'it "eats" <data>')
    assert place.repository.publish().changed == 1
    assert place.document("demo")["files"][0]["yanked"] == 'it "eats" <data>'
    page = (place.public / "simple/demo/index.html").read_text()
    assert 'data-yanked="it &quot;eats&quot; &lt;data&gt;"' in page
    reaches_only(place, "demo", [DEMO])
    place.repository.yank("demo", DEMO)
    place.repository.publish()
    assert place.document("demo")["files"][0]["yanked"] is True
    place.repository.unyank("demo", DEMO)
    place.repository.publish()
    assert place.document("demo")["files"][0]["yanked"] is False


def test_a_removed_file_leaves_its_plain_name_and_keeps_its_hashed_one(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"), place.wheel("demo", "2.0"))
    (first, _) = place.repository.files("demo")
    place.repository.remove("demo", DEMO)
    assert (place.public / "files" / "demo" / DEMO).exists()  # until it is published
    assert place.repository.publish().removed == 1
    reaches_only(place, "demo", ["demo-2.0-py3-none-any.whl"])
    client_answer = client(place).find(file_path(first.project, DEMO))
    assert not hasattr(client_answer, "hashes")
    names = {path.name for path in (place.public / "files" / "demo").iterdir()}
    assert DEMO not in names
    assert f"{DEMO}.metadata" not in names
    assert f"{first.sha256}.{DEMO}" in names


def test_a_project_without_files_keeps_its_name(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"))
    place.repository.remove("demo", DEMO)
    place.repository.publish()
    reaches_only(place, "demo", [])
    assert place.repository.projects() == ["demo"]


def test_plain_names_of_a_file_are_one_file_on_disk(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"))
    (file,) = place.repository.files("demo")
    folder = place.public / "files" / "demo"
    assert (folder / DEMO).stat().st_ino == (folder / f"{file.sha256}.{DEMO}").stat().st_ino
    assert (folder / DEMO).stat().st_nlink == 2  # and the private copy is none of them


# -- file names are for good -----------------------------------------------------------------


def test_adding_the_same_bytes_again_changes_nothing(place: Place) -> None:
    (queued,) = place.repository.add(place.wheel("demo", "1.0"))
    place.clock.sleep(minutes=1)
    assert place.repository.add(place.wheel("demo", "1.0")) == [queued]
    assert place.repository.status().queued == 1
    place.repository.publish()
    assert place.repository.add(place.wheel("demo", "1.0")) == [queued]
    assert place.repository.publish().nothing_to_do


@pytest.mark.parametrize("when", ["queued", "published", "removed"])
def test_other_bytes_under_a_used_name_are_refused(place: Place, when: str) -> None:
    place.repository.add(place.wheel("demo", "1.0"))
    if when != "queued":
        place.repository.publish()
    if when == "removed":
        place.repository.remove("demo", DEMO)
        place.repository.publish()
    before = everything(place.folder)
    other = place.wheel("demo", "1.0", content="# other\n")
    with pytest.raises(RepositoryError, match=f"{DEMO} .* the name is taken by {DEMO}"):
        place.repository.add(other)
    other.unlink()
    other.parent.rmdir()
    assert everything(place.folder) == before


def test_a_removed_file_can_come_back_with_the_same_bytes(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"))
    place.repository.remove("demo", DEMO)
    place.repository.publish()
    place.repository.add(place.wheel("demo", "1.0"))
    assert place.repository.publish().added == 1
    reaches_only(place, "demo", [DEMO])


def test_a_wrong_file_that_nobody_saw_yet_can_be_taken_back(place: Place) -> None:
    place.repository.add(place.wheel("demo", "1.0", content="# oops\n"))
    place.repository.remove("demo", DEMO)
    place.repository.add(place.wheel("demo", "1.0"))
    place.repository.publish()
    reaches_only(place, "demo", [DEMO])


def test_a_twin_in_other_case_is_refused(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"))
    twin = make_sdist(place.uploads, "demo", "1.0").rename(place.uploads / "Demo-1.0.tar.gz")
    place.publish(twin)
    with pytest.raises(RepositoryError, match=r"the name is taken by Demo-1\.0\.tar\.gz"):
        place.repository.add(make_sdist(place.uploads, "demo", "1.0"))


def test_several_files_are_queued_together_or_not_at_all(place: Place) -> None:
    bad = place.uploads / "notes.txt"
    bad.write_text("not a distribution")
    good = place.wheel("demo", "1.0")
    before = everything(place.folder)
    with pytest.raises(RepositoryError, match="expected the name of a wheel or an sdist"):
        place.repository.add(good, bad)
    assert everything(place.folder) == before


def test_two_files_of_one_name_in_one_call_must_be_one_file(place: Place) -> None:
    one, same = place.wheel("demo", "1.0"), place.wheel("demo", "1.0")
    assert len(set(place.repository.add(one, same))) == 1
    with pytest.raises(RepositoryError, match="the name is taken"):
        place.repository.add(
            place.wheel("new", "1.0"), place.wheel("new", "1.0", content="# other\n")
        )
    assert place.repository.status().queued == 1


@pytest.mark.parametrize(
    ("project", "filename", "error"),
    [
        ("demo", "demo-9.9.tar.gz", RepositoryError),
        ("other", DEMO, RepositoryError),
        ("Demo", DEMO, InputError),
        ("", DEMO, InputError),
        ("demo", "../demo", InputError),
        ("demo", "", InputError),
    ],
)
def test_what_is_not_there_can_be_neither_removed_nor_yanked(
    place: Place, project: str, filename: str, error: type[Exception]
) -> None:
    place.publish(place.wheel("demo", "1.0"))
    for attempt in (place.repository.remove, place.repository.yank, place.repository.unyank):
        with pytest.raises(error):
            attempt(project, filename)
    with pytest.raises(InputError, match="expected a yank reason"):
        place.repository.yank("demo", DEMO, "a\nb")
    assert place.repository.status().queued == 0


def test_a_file_that_waits_in_the_queue_can_be_yanked_and_removed(place: Place) -> None:
    place.repository.add(place.wheel("demo", "1.0"), place.wheel("demo", "2.0"))
    place.repository.yank("demo", DEMO)
    place.repository.remove("demo", "demo-2.0-py3-none-any.whl")
    with pytest.raises(RepositoryError, match=r"has no file demo-2\.0"):
        place.repository.remove("demo", "demo-2.0-py3-none-any.whl")
    place.repository.publish()
    assert [(f["filename"], f["yanked"]) for f in place.document("demo")["files"]] == [(DEMO, True)]


# -- time ------------------------------------------------------------------------------------


def test_renewing_signs_what_expires_soon_and_nothing_else(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"))
    assert place.repository.renew() is None
    place.clock.sleep(hours=13)
    place.repository.add(place.wheel("demo", "2.0"))
    fresh = set(place.repository.publish().bins)
    assert 0 < len(fresh) < 4
    renewed = place.repository.renew()
    assert renewed is not None
    assert set(renewed.bins) == {f"bin-{number}" for number in range(4)} - fresh
    assert (renewed.added, renewed.snapshot_version) == (0, 4)
    assert place.repository.renew() is None
    reaches_only(place, "demo", [DEMO, "demo-2.0-py3-none-any.whl"])


def test_renewing_publishes_no_change(place: Place) -> None:
    place.repository.add(place.wheel("demo", "1.0"))
    place.clock.sleep(hours=20)
    assert place.repository.renew() is not None
    assert place.repository.status().queued == 1
    assert not (place.public / "simple" / "demo").exists()


def test_a_timestamp_that_expires_alone_is_signed_alone(place: Place) -> None:
    db = sqlite3.connect(place.repository.folder / "state.sqlite")
    with db:
        db.execute("UPDATE roles SET expires = '2026-01-31T13:00:00Z' WHERE name = 'timestamp'")
    db.close()
    before = place.versions()
    renewed = place.repository.renew(timedelta(hours=2))
    assert renewed is not None
    assert renewed.signed == ("timestamp",)
    assert place.versions() == {**before, "timestamp": 2}
    client(place).refresh()


@pytest.mark.parametrize("operation", ["publish", "renew"])
def test_an_index_that_slept_for_thirty_days_is_healed_by_one_call(
    place: Place, operation: str
) -> None:
    place.publish(place.wheel("demo", "1.0"))
    returning = client(place)
    returning.refresh()
    place.clock.sleep(days=30)
    assert re.search("bin-[0-3] has expired", " ".join(place.repository.status().warnings))
    published = getattr(place.reopen(), operation)()
    assert len(published.bins) == 4
    assert place.repository.status().warnings == ()
    returning.now = place.clock.now
    returning.refresh()
    reaches_only(place, "demo", [DEMO])


def test_publishing_a_change_also_signs_what_has_expired(place: Place) -> None:
    place.clock.sleep(days=2)
    place.repository.add(place.wheel("demo", "1.0"))
    assert len(place.repository.publish().bins) == 4


def test_versions_rise_even_if_the_clock_goes_back(place: Place) -> None:
    before = place.versions()
    place.clock.sleep(days=-300)
    place.publish(place.wheel("demo", "1.0"))
    after = place.versions()
    assert after["snapshot"] == before["snapshot"] + 1
    assert after["timestamp"] == before["timestamp"] + 1


def test_the_signing_event_is_announced_and_then_insisted_on(place: Place) -> None:
    for days, words in ((275, "within 90 days"), (60, "within 30 days"), (23, "within a week")):
        place.clock.sleep(days=days)
        place.repository.renew()
        assert [w for w in place.repository.status().warnings if words in w] != []
        assert len(place.repository.status().warnings) == 3
    place.clock.sleep(days=8)
    before = everything(place.folder)
    with pytest.raises(RepositoryError, match="'root' version 1 expired"):
        place.repository.renew()
    assert everything(place.folder) == before
    assert "hold the signing event now" in place.repository.status().warnings[0]


# -- what goes wrong -------------------------------------------------------------------------


class FailingSigner(CryptoSigner):
    """An online key in a device that fails after some signatures."""

    def __init__(self, signer: CryptoSigner, left: int) -> None:
        self.inner, self.left = signer, left

    @property
    def public_key(self):  # type: ignore[no-untyped-def]
        return self.inner.public_key

    def sign(self, payload: bytes) -> Signature:
        self.left -= 1
        if self.left < 0:
            raise OSError("the device is gone")
        return self.inner.sign(payload)


@pytest.mark.parametrize("left", range(5))
def test_a_signer_that_fails_makes_nothing_visible_and_the_next_publication_completes(
    place: Place, left: int
) -> None:
    place.publish(place.wheel("demo", "1.0"))
    returning = client(place)
    returning.refresh()
    timestamp = (place.public / "metadata/timestamp.json").read_bytes()
    place.repository.add(place.wheel("demo", "2.0"))
    signer = FailingSigner(place.online, left)
    broken = Repository.open(place.repository.folder, online=signer, clock=place.clock)
    with pytest.raises(SigningError, match="the device is gone"):
        broken.publish()
    assert (place.public / "metadata/timestamp.json").read_bytes() == timestamp
    returning.refresh()
    status = place.repository.status()
    assert (status.queued, status.interrupted) == (1, True)
    assert place.reopen().publish().added == 1
    returning.refresh()
    reaches_only(place, "demo", [DEMO, "demo-2.0-py3-none-any.whl"])


def test_a_publication_that_a_client_would_refuse_is_not_published(place: Place) -> None:
    # somebody plants a next root that is none: it would stop every client
    (place.public / "metadata" / "2.root.json").write_bytes(b"{}")
    place.repository.add(place.wheel("demo", "1.0"))
    before = (place.public / "metadata/timestamp.json").read_bytes()
    with pytest.raises(RepositoryError, match="not published, a client would refuse it: root"):
        place.repository.publish()
    assert (place.public / "metadata/timestamp.json").read_bytes() == before


@pytest.mark.parametrize("planted", [b"", b"{}", b"x" * 100_000, b'{"signed":{"version":1}}'])
def test_a_timestamp_of_somebody_else_stops_the_repository(place: Place, planted: bytes) -> None:
    place.repository.add(place.wheel("demo", "1.0"))
    (place.public / "metadata" / "timestamp.json").write_bytes(planted)
    before = everything(place.folder)
    for operation in (place.repository.publish, place.repository.renew):
        with pytest.raises(RepositoryError, match="somebody else wrote it"):
            operation()
    assert everything(place.folder) == before
    assert "somebody else wrote it" in place.repository.status().warnings[0]


def test_a_state_from_a_backup_is_noticed(place: Place) -> None:
    backup = (place.repository.folder / "state.sqlite").read_bytes()
    place.publish(place.wheel("demo", "1.0"))
    (place.repository.folder / "state.sqlite").write_bytes(backup)
    with pytest.raises(RepositoryError, match="or the state is an old backup"):
        place.reopen().publish()


def test_one_operation_at_a_time(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "TIMEOUT", 0.1)
    with (
        lock.locked(place.repository.folder / "lock"),
        pytest.raises(ConflictError, match="another operation held it"),
    ):
        place.repository.publish()
    assert place.repository.publish().nothing_to_do


def test_a_folder_that_has_something_in_it_is_left_alone(place: Place, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious").write_text("data")
    for folder, reason in ((other, "precious"), (place.repository.folder, "public")):
        before = {n: d for n, d in everything(folder).items() if n not in ("lock", "incoming")}
        with pytest.raises(RepositoryError, match=f"is not empty: it has .*{reason}"):
            Repository.create(folder, place.roles, online=place.online, clock=place.clock)
        after = {n: d for n, d in everything(folder).items() if n not in ("lock", "incoming")}
        assert after == before


def test_a_folder_that_cannot_be_made_is_named(place: Place, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"can't write .*file/index: Not a directory"):
        Repository.create(
            tmp_path / "file" / "index", place.roles, online=place.online, clock=place.clock
        )


def test_metadata_files_are_canonical_and_small(place: Place) -> None:
    place.publish(place.wheel("demo", "1.0"))
    for path in (place.public / "metadata").iterdir():
        data = path.read_bytes()
        tree = json.loads(data)
        assert json.dumps(tree, sort_keys=True, separators=(",", ":")).encode() == data
        assert set(tree) == {"signatures", "signed"}
    meta = place.signed("2.snapshot.json")["meta"]
    for name, entry in meta.items():
        data = (place.public / "metadata" / f"{entry['version']}.{name}").read_bytes()
        assert entry["length"] == len(data)
        assert entry["hashes"] == {"sha256": hashlib.sha256(data).hexdigest()}
    assert place.signed("timestamp.json")["expires"] == (NOW + timedelta(days=1)).strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )
