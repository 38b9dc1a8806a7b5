"""What leaves the room."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from indextrust.ceremony import SignedRoles, generate_key
from indextrust.ceremony.event import Event
from indextrust.ceremony.event_file import create_event, create_folder, read_event, update_event
from indextrust.ceremony.finish import check_finished, outputs
from indextrust.ceremony.gather import merge
from indextrust.ceremony.judge import judge
from indextrust.ceremony.paper import markdown, page
from indextrust.ceremony.proposal import Change
from indextrust.ceremony.script import script_of
from indextrust.ceremony.words import show, tally
from indextrust.errors import CeremonyError, KeyFileError, RepositoryError, StoreError
from indextrust.repository import Repository
from indextrust.repository.public_keys import read_public
from tests.ceremony.event_room import (
    NOW,
    genesis_of,
    next_of,
    person,
    practising,
    server,
    signed,
)

ANN, BOB, DEE = person("Ann Árvai", serial="YK-17"), person("Bob <b>|`x`"), person("Dee")
ONLINE, NEW_ONLINE = server(), server()
FIRST = signed(genesis_of([ANN, BOB], 2, ONLINE), [ANN, BOB])
SECOND = next_of(
    FIRST.roles, Change(add=[DEE.holder], remove=["Ann Árvai"], online=NEW_ONLINE.holder)
)


def finished(event: Event, folder: Path) -> Path:
    judged = judge(event)
    check_finished(judged, now=NOW)
    create_folder(folder, outputs(judged, now=NOW, tools={"indextrust": "1"}))
    return folder


def test_a_keyholder_reads_what_changes_for_whom() -> None:
    text = "\n".join(show(judge(SECOND), NOW + timedelta(days=1)))
    digest = hashlib.sha256(FIRST.root_file).hexdigest()
    for words in (
        "Signing event: other keyholders; another online key",
        "You would sign: root 2",
        f"    {digest[:4]} {digest[4:8]} ",
        f"+ keyholder Dee (key {DEE.keyid[:8]})",
        f"- keyholder Ann Árvai (serial YK-17, key {ANN.keyid[:8]})",
        f"- online key {ONLINE.keyid[:8]}",
        f"+ online key {NEW_ONLINE.keyid[:8]}",
        "in 364 days",
        "another SHA-256 than the note",
    ):
        assert words in text


def test_a_threshold_of_one_is_told_for_what_it_is() -> None:
    def text(threshold: int) -> str:
        return "\n".join(show(judge(genesis_of([ANN, BOB], threshold, ONLINE)), NOW))

    assert "one stolen key is a stolen index" in text(1)
    assert "one stolen key is a stolen index" not in text(2)


def test_what_is_missing_is_told_by_name() -> None:
    lines = tally(judge(signed(SECOND, [BOB])))
    assert lines[0].startswith("old root 1: 1 of 2 needed")
    assert any(line.startswith("  not yet  Ann Árvai (serial YK-17") for line in lines)
    assert lines[-1].startswith("signatures are missing")


def test_a_genesis_has_one_threshold_and_says_so(tmp_path: Path) -> None:
    assert tally(judge(FIRST))[-1] == "complete: the threshold is met"
    assert "both" not in (finished(FIRST, tmp_path / "first") / "transcript.md").read_text()
    second = signed(SECOND, [ANN, BOB, DEE])
    assert tally(judge(second))[-1] == "complete: both thresholds are met"
    text = (finished(second, tmp_path / "second") / "transcript.md").read_text()
    assert "the chain of roots, both thresholds" in text


def test_a_finished_genesis_founds_a_repository(tmp_path: Path) -> None:
    folder = finished(FIRST, tmp_path / "out")
    roles = SignedRoles.load(folder / "public")
    repository = Repository.create(
        tmp_path / "index", roles, online=ONLINE.signer, clock=lambda: NOW
    )
    root = (repository.public / "metadata" / "1.root.json").read_bytes()
    assert root == FIRST.root_file


def test_a_rehearsal_is_marked_everywhere_and_founds_nothing(tmp_path: Path) -> None:
    people = [practising(ANN), practising(BOB)]
    event = signed(genesis_of(people, 2, practising(ONLINE), rehearsal=True), people)
    folder = finished(event, tmp_path / "out")
    for name in ("hash-sheet.txt", "transcript.md", "public/REHEARSAL.txt"):
        assert "REHEARSAL" in (folder / name).read_text()
    for backup in ("full-backup", "online-backup"):
        assert (folder / backup / "REHEARSAL.txt").is_file()
    assert "REHEARSAL" in show(judge(event), NOW)[0]
    script = script_of(judge(event), event="e.json")
    assert "REHEARSAL" in markdown(script)
    assert "REHEARSAL" in page(script)
    roles = SignedRoles.load(folder / "public")
    with pytest.raises(RepositoryError, match="'root' version 900000001 is a rehearsal"):
        Repository.create(tmp_path / "index", roles, online=ONLINE.signer, clock=lambda: NOW)
    assert not (tmp_path / "index").exists()


def test_the_sheet_is_checked_by_sha256sum_and_by_eye(tmp_path: Path) -> None:
    folder = finished(FIRST, tmp_path / "out")
    for sheet, place in (
        ("hash-sheet.txt", folder),
        ("SHA256SUMS", folder / "full-backup"),
        ("SHA256SUMS", folder / "online-backup"),
    ):
        done = subprocess.run(
            ["sha256sum", "--check", "--strict", sheet], cwd=place, capture_output=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")
    text = (folder / "hash-sheet.txt").read_text()
    assert len(text.splitlines()) < 20
    digest = hashlib.sha256((folder / "public" / "1.root.json").read_bytes()).hexdigest()
    assert digest[:4] + " " + digest[4:8] in text
    (folder / "public" / "1.root.json").write_bytes(b"{}")
    done = subprocess.run(
        ["sha256sum", "--check", "hash-sheet.txt"], cwd=folder, capture_output=True, check=False
    )
    assert done.returncode == 1


def test_the_full_backup_starts_the_next_event_and_the_server_gets_no_more_than_it_needs(
    tmp_path: Path,
) -> None:
    second = signed(SECOND, [ANN, BOB, DEE])
    folder = finished(second, tmp_path / "out")
    names = sorted(path.name for path in (folder / "full-backup" / "roles").iterdir())
    assert names == ["1.root.json", "2.bins.json", "2.root.json", "2.targets.json"]
    third = next_of(SignedRoles.load(folder / "full-backup" / "roles"), Change())
    check_finished(judge(signed(third, [BOB, DEE])), now=NOW)
    assert read_event(folder / "full-backup" / "event.json") == second
    keys = {read_public(path).owner for path in (folder / "full-backup" / "keys").iterdir()}
    assert keys == {"online", "Dee", "Bob <b>|`x`"}
    online = sorted(
        str(path.relative_to(folder / "online-backup"))
        for path in (folder / "online-backup").rglob("*")
        if path.is_file()
    )
    assert online == [
        "SHA256SUMS",
        "online.pub.json",
        *(f"roles/{name}" for name in names),
    ]
    for path in folder.rglob("*"):
        assert path.is_dir() or b"PRIVATE KEY" not in path.read_bytes()


def test_the_transcript_says_who_what_when_and_with_what(tmp_path: Path) -> None:
    text = (finished(FIRST, tmp_path / "out") / "transcript.md").read_text()
    for words in (
        "proposed by Lea at 2026-01-31T12:00:00Z",
        FIRST.digest,
        f"Ann Árvai (serial YK-17, key {ANN.keyid[:8]}) at 2026-01-31T12:00:00Z",
        *(f"targets: {keyid}" for keyid in FIRST.one_time_keys["targets"]),
        *(f"bins: {keyid}" for keyid in FIRST.one_time_keys["bins"]),
        hashlib.sha256(FIRST.root_file).hexdigest(),
        "- indextrust 1",
    ):
        assert words in text


# -- files ---------------------------------------------------------------------------------------


def test_an_event_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    create_event(path, SECOND)
    with pytest.raises(CeremonyError, match="never overwritten"):
        create_event(path, SECOND)
    half = signed(SECOND, [BOB])
    assert update_event(path, lambda there: merge(there, half)) == half
    with pytest.raises(CeremonyError, match="that is another event"):
        update_event(path, lambda there: merge(there, FIRST))
    assert read_event(path) == half
    assert sorted(os.listdir(tmp_path)) == [".e.json.lock", "e.json"]


def test_a_folder_is_made_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        create_folder(tmp_path / "out", {"a.txt": b"a", "b" * 300: b"b"})
    assert os.listdir(tmp_path) == []
    (tmp_path / "out").mkdir()
    with pytest.raises(CeremonyError, match="exists"):
        create_folder(tmp_path / "out", {"a.txt": b"a"})
    assert os.listdir(tmp_path / "out") == []


def test_a_medium_that_renames_nothing_and_says_it_did_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else `finish` would print hashes of files that are nowhere, and `sign` lose a signature."""
    path = tmp_path / "e.json"
    create_event(path, SECOND)

    def no_links(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "rename", lambda *_: None)
    monkeypatch.setattr(os, "replace", lambda *_: None)
    monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(StoreError, match="did not keep it"):
        create_folder(tmp_path / "out", {"a.txt": b"a"})
    with pytest.raises(StoreError, match="did not keep it"):
        update_event(path, lambda there: merge(there, signed(SECOND, [BOB])))
    with pytest.raises(KeyFileError, match="did not keep it"):
        generate_key(tmp_path / "ann.pem", "secret", keyholder="Ann")
    assert read_event(path) == SECOND
    assert sorted(os.listdir(tmp_path)) == [".e.json.lock", "e.json"]


def test_an_event_is_read_from_a_regular_file_only(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "missing", tmp_path / "pipe"):
        with pytest.raises((CeremonyError, StoreError)):
            read_event(path)
