"""The hash transition and the day after: checkpoints, audits and repair where some files have
SHA-512."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner

from indextrust.errors import FrozenError, StoreError
from indextrust.names import LAYOUTS, project_name
from indextrust.repository import Checkpoint, Repository, emergency, read_checkpoint
from indextrust.repository.audited import Audited, Finding
from indextrust.repository.comparison import compare_checkpoints
from indextrust.repository.disk import copy_bytes
from indextrust.repository.emergency import Wanted
from indextrust.repository.mirrors import FolderMirror
from tests.repository.forger import Forger, encoded, put
from tests.repository.place import NOW, Place, everything
from tests.repository.test_rehash import both, digests, everywhere, row, shelf

DEMO, OTHER = "files/demo/demo-1.0-py3-none-any.whl", "files/other/other-1.0-py3-none-any.whl"
DEMO_DOCUMENT, OTHER_DOCUMENT = "simple/demo/index.json", "simple/other/index.json"
DAMAGED = (DEMO, f"{DEMO}.metadata", DEMO_DOCUMENT)


@pytest.fixture(scope="module", params=LAYOUTS)
def halfway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Two of three files have both hashes; there is a checkpoint of before, and one of now."""
    place = shelf(tmp_path_factory.mktemp(request.param), request.param)
    make(place, "before")
    place.repository.rehash(2)
    place.repository.publish()
    make(place, "now")
    return place


@pytest.fixture
def place(halfway: Place, tmp_path: Path) -> Place:
    return halfway.copied(tmp_path / "copy")


def make(place: Place, name: str) -> None:
    made = place.repository.checkpoint(place.roles.root[0], place.folder / name)
    (place.folder / f"{name}.digest").write_text(made.digest)


@contextmanager
def good(place: Place, name: str) -> Iterator[Checkpoint]:
    with read_checkpoint(place.folder / name, (place.folder / f"{name}.digest").read_text()) as it:
        yield it


def audit(place: Place, since: str) -> Audited:
    with good(place, since) as checkpoint:
        return place.repository.audit_since(checkpoint)


def found(audited: Audited) -> dict[str, Finding]:
    return {finding.difference.path: finding for finding in audited.findings}


def fields(audited: Audited) -> dict[str, tuple[str, ...]]:
    return {path: finding.difference.fields for path, finding in found(audited).items()}


# -- checkpoints -----------------------------------------------------------------------------


def test_a_checkpoint_makes_every_entry_and_document_again_whichever_hashes_they_have(
    halfway: Place,
) -> None:
    with good(halfway, "now") as checkpoint:
        checkpoint.check()
        assert dict(checkpoint.entries()) == halfway.repository.expected_targets()
        for record in checkpoint.projects():
            document = halfway.public / "simple" / record.name / "index.json"
            assert record.document_bytes() == document.read_bytes()
            assert list(record.files.values()) == halfway.repository.files(record.name)
        kinds = {tuple(target.hashes) for _, target in checkpoint.entries()}
        assert kinds == {("sha256",), ("sha256", "sha512")}
    make(halfway, "again")
    assert (halfway.folder / "again").read_bytes() == (halfway.folder / "now").read_bytes()


def test_what_has_sha256_alone_takes_as_little_room_as_before_the_transition(
    halfway: Place,
) -> None:
    with good(halfway, "before") as before, good(halfway, "now") as now:
        text, _, binary = before.block(0).partition(b"\0")
        later, _, more = now.block(0).partition(b"\0")
    for line in text.splitlines():
        count, name, _, _, files = json.loads(line)
        assert count == 2 * len(files)
        assert {len(file) for file in files} == {6}
        assert (line in later.splitlines()) == (name == "other")
    assert len(binary) == 32 * 6
    assert len(more) == 32 * 6 + 64 * (2 * 2 + 1)  # two files, their core metadata, a document


def test_two_checkpoints_say_what_a_step_did(halfway: Place) -> None:
    with good(halfway, "before") as before, good(halfway, "now") as now:
        differences = list(compare_checkpoints(before, now))
        assert list(compare_checkpoints(now, now)) == []
    changed = {each.path: each.fields for each in differences}
    assert changed.pop(DEMO_DOCUMENT) == ("target", "sha512 added")
    assert set(changed.values()) == {("sha512 added",)}
    assert len(changed) == 4  # two files of demo, and their core metadata


# -- audits ----------------------------------------------------------------------------------


def test_a_step_is_explained_by_whoever_asked_for_it(place: Place) -> None:
    audited = audit(place, "before")
    assert audited.counts == {"changed": 5}
    assert (audited.clean, audited.explained, audited.strange) == (False, True, ())
    entries = {entry.number: entry for entry in place.repository.log()}
    for finding in audited.findings:
        assert finding.queued is not None
        assert finding.queued.who == entries[finding.queued.number].who
    while place.repository.rehash().more:
        pass
    place.repository.publish()
    for since in ("before", "now"):
        assert audit(place, since).explained
    assert both(place) == everywhere(place)


def test_what_was_queued_and_is_not_out_is_no_difference(place: Place) -> None:
    place.repository.rehash()
    assert audit(place, "now").clean


def test_an_upload_of_the_transition_and_a_document_alone_are_explained(place: Place) -> None:
    table = place.folder / "rows.jsonl"
    table.write_text(row("far-1.0.tar.gz"))
    place.repository.import_files(table)
    place.publish(place.wheel("other", "2.0"))
    make(place, "uploaded")
    assert audit(place, "now").explained
    assert audit(place, "uploaded").clean


def test_a_document_that_gains_its_sha512_alone_is_explained(tmp_path: Path) -> None:
    place = Place(tmp_path)
    table = tmp_path / "rows.jsonl"
    table.write_text(row("far-1.0.tar.gz"))
    place.repository.import_files(table)
    place.repository.publish()
    make(place, "before")
    assert place.repository.rehash().projects == 1
    place.repository.publish()
    audited = audit(place, "before")
    path = "simple/far/index.json"
    assert fields(audited) == {path: ("sha512 added",)}
    assert audited.explained
    make(place, "now")
    place.repository.yank("far", "far-1.0.tar.gz", "broken")
    place.repository.publish()
    assert audit(place, "now").explained
    data = (place.public / path).read_bytes()
    Forger(place.public, place.online, NOW).sign({path: data})  # the yank was queued, this not
    robbed = audit(place, "now")
    assert fields(robbed)[path] == ("target", "sha512 removed")
    assert found(robbed)[path].queued is None


def altered(place: Place, project: str, hashes: dict[str, str] | None) -> dict[str, Any]:
    """The document of a project in which its first file has other hashes."""
    document = Forger(place.public, place.online, NOW).document(project)
    file = document["files"][0]
    file["hashes"] = hashes or {"sha256": file["hashes"]["sha256"]}
    return document


def test_a_sha512_that_nobody_queued_is_reported(place: Place) -> None:
    forger = Forger(place.public, place.online, NOW)
    data = (place.public / OTHER).read_bytes()
    document = altered(place, "other", digests(data))
    targets: dict[str, bytes | None] = {OTHER_DOCUMENT: encoded(document)}
    if place.layout == "pep458":
        targets[OTHER] = data
    forger.sign(targets, hashes=("sha256", "sha512"))
    for name in (OTHER, OTHER_DOCUMENT):
        folder, _, filename = name.rpartition("/")
        sha512 = digests((place.public / name).read_bytes())["sha512"]
        put(place.public / folder / f"{sha512}.{filename}", (place.public / name).read_bytes())
    audited = audit(place, "now")
    assert fields(audited)[OTHER] == ("sha512 added",)
    assert fields(audited)[OTHER_DOCUMENT] == ("target", "sha512 added")
    assert all(finding.queued is None for finding in audited.findings)
    assert (audited.unqueued, audited.explained) == (2, False)


@pytest.mark.parametrize("since", ["before", "now"])
@pytest.mark.parametrize("false", [False, True])
def test_a_sha512_that_a_thief_takes_away_or_replaces_is_reported(
    place: Place, since: str, false: bool
) -> None:
    """Queued was the right one. With a false one no client takes the file that asks for it."""
    forger = Forger(place.public, place.online, NOW)
    sha256 = digests((place.public / DEMO).read_bytes())["sha256"]
    hashes = {"sha256": sha256, "sha512": "0" * 128} if false else None
    document = encoded(altered(place, "demo", hashes))
    forger.sign({DEMO_DOCUMENT: document}, hashes=("sha256",))
    audited = audit(place, since)
    told = found(audited)
    assert told[DEMO_DOCUMENT].queued is None
    if false or since == "now" or place.layout == "pep458":
        assert told[DEMO].queued is None
        expected = "sha512 added" if since == "before" else "sha512" if false else "sha512 removed"
        assert expected in told[DEMO].difference.fields
    assert not audited.explained


def test_a_document_that_lost_its_sha512_alone_is_reported(place: Place) -> None:
    data = (place.public / DEMO_DOCUMENT).read_bytes()
    Forger(place.public, place.online, NOW).sign({DEMO_DOCUMENT: data})
    audited = audit(place, "now")
    assert fields(audited) == {DEMO_DOCUMENT: ("sha512 removed",)}
    assert audited.unqueued == 1
    assert found(audit(place, "before"))[DEMO_DOCUMENT].queued is None


# -- stored files ----------------------------------------------------------------------------


def test_repair_puts_a_file_back_under_its_names_with_either_hash(place: Place) -> None:
    mirror = place.folder / "mirror"
    before = everything(place.public)
    put_mirror(place, mirror)
    sha512 = {path: digests((place.public / path).read_bytes())["sha512"] for path in DAMAGED}
    sha256 = digests((place.public / DEMO).read_bytes())["sha256"]
    for path in DAMAGED:  # a name with the SHA-512 alone is damaged, or all of them
        folder, _, name = path.rpartition("/")
        named = place.public / folder / f"{sha512[path]}.{name}"
        if named.exists():
            put(named, b"altered")
        else:
            (place.public / path).unlink()
    (place.repository.folder / "objects" / sha256[:2] / sha256).unlink()
    (place.public / DEMO).unlink(missing_ok=True)
    with good(place, "now") as checkpoint:
        audited = place.repository.audit_since(checkpoint)
        stored = place.repository.check_stored(checkpoint, audited)
        assert {damage.path for damage in stored.damages} == set(DAMAGED)
        done = place.repository.refill(checkpoint, stored.damages, mirror=FolderMirror(mirror))
        assert (set(done.restored), done.lost) == (set(DAMAGED), ())
        assert place.repository.check_stored(checkpoint, audited).clean
    assert everything(place.public) == before
    assert place.repository.check().clean


def put_mirror(place: Place, folder: Path) -> None:
    """A mirror that has files under their names with a SHA-512 alone."""
    for path in DAMAGED:
        data = (place.public / path).read_bytes()
        parent, _, name = path.rpartition("/")
        (folder / parent).mkdir(parents=True, exist_ok=True)
        (folder / parent / f"{digests(data)['sha512']}.{name}").write_bytes(data)


def test_a_file_that_was_rehashed_since_is_looked_for_under_both_names(place: Place) -> None:
    folder, _, name = DEMO.rpartition("/")
    sha512 = digests((place.public / DEMO).read_bytes())["sha512"]
    named = place.public / folder / f"{sha512}.{name}"
    (named if place.layout == "pep458" else place.public / DEMO).unlink()
    with good(place, "before") as checkpoint:
        audited = place.repository.audit_since(checkpoint)
        stored = place.repository.check_stored(checkpoint, audited)
        assert {damage.path for damage in stored.damages} == {DEMO}
        place.repository.refill(checkpoint, stored.damages)
    both(place)
    assert place.repository.check().clean


# -- the worst day ---------------------------------------------------------------------------


def test_a_freeze_lets_steps_be_queued_and_none_be_published(place: Place) -> None:
    Repository.freeze(place.repository.folder, "a drill", clock=place.clock)
    before = everything(place.public)
    assert place.repository.rehash().files == 1
    with pytest.raises(FrozenError):
        place.repository.publish()
    assert everything(place.public) == before
    place.repository.thaw("it was one")
    place.repository.publish()
    assert both(place) == everywhere(place)


def test_a_file_restored_from_before_the_transition_is_queued_once(place: Place) -> None:
    """The checkpoint has its SHA-256 alone; it is added with both, and so it is there."""
    name = DEMO.rpartition("/")[2]
    project = project_name("demo")
    place.repository.remove(project, name)
    place.repository.publish()
    with good(place, "before") as checkpoint:
        record = checkpoint.project("demo")
    assert record is not None
    known = record.files[name]
    assert known.sha512 is None
    new = CryptoSigner.generate_ed25519()
    roles, wanted = place.rotation(new), [Wanted(project, name, known.sha256, known)]
    for changes in (1, 0):  # the second time, after it was cut short
        count = len(list(place.repository.log("demo")))
        assert place.repository.recover(roles, new, None, add=wanted).added == changes
        assert len(list(place.repository.log("demo"))) == count + changes
    assert f"demo: {name}" in both(place)
    assert place.repository.check().clean


def test_bytes_that_no_file_can_have_are_not_copied_to_be_hashed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody put a file without end in the place of the last copy. It is put right, as the
    message says, and the recovery goes on."""
    name, data = DEMO.rpartition("/")[2], (place.public / DEMO).read_bytes()
    project, sha256 = project_name("demo"), digests(data)["sha256"]
    place.repository.remove(project, name)
    place.repository.publish()
    private = place.repository.folder / "objects" / sha256[:2] / sha256
    put(private, data + b"more")
    for left in (place.public / DEMO).parent.glob(f"*{name}"):
        left.unlink()
    monkeypatch.setattr(emergency, "MAX_SIZE", len(data))
    copied: list[int] = []

    def counted(source: BufferedReader, target: BufferedWriter) -> str:
        copied.append(os.fstat(source.fileno()).st_size)
        return copy_bytes(source, target)

    monkeypatch.setattr(emergency, "copy_bytes", counted)
    new = CryptoSigner.generate_ed25519()
    wanted = Wanted(project, name, sha256, None)
    roles = place.rotation(new)
    with pytest.raises(StoreError, match=f"no bytes with sha256 {sha256}.*put them at {private}"):
        place.repository.recover(roles, new, None, add=[wanted])
    assert copied == []
    put(private, data)
    assert place.repository.recover(roles, new, None, add=[wanted]).added == 1
    assert copied == [len(data)]
