"""What could stop a recovery, or leave a gap in its record: by a thief's hand, or by none."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from indextrust.ceremony import findings
from indextrust.ceremony.decisions import Item
from indextrust.ceremony.event import MAX_BYTES
from indextrust.ceremony.findings import IN_ALL, IN_ONE, records_of
from indextrust.ceremony.incidents import read_incident
from indextrust.ceremony.recoverer import Recovery
from indextrust.cli.app import run
from indextrust.errors import CeremonyError
from indextrust.incidents import MAX_FILES, MAX_LENGTH, Fingerprint, Incident
from indextrust.repository import Repository, audited
from indextrust.repository.checkpoint import read_checkpoint
from indextrust.repository.records import key_of
from tests.ceremony.recovery_room import DEMO, LATER, NEW, Shop, open_shop, replaced, rob
from tests.repository.forger import encoded, listed, put


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return open_shop(tmp_path_factory.mktemp("attacks") / "shop")


@pytest.fixture
def shop(opened: Shop, tmp_path: Path) -> Shop:
    return opened.copied(tmp_path / "copy")


def test_who_queued_has_a_name_of_any_letters(shop: Shop) -> None:
    place = shop.place
    folder, wheel = place.folder / "index", place.wheel("demo", "5.0")
    theirs = Repository.open(folder, online=place.online, clock=place.clock, by="Jürgen Ł")
    theirs.add(wheel)
    theirs.publish()
    recovery = shop.start().audit()
    assert "Jürgen Ł" in (recovery.folder / "decisions.txt").read_text("utf-8")
    recovery.decide()


BAD, GOOD = "a" * 64, "b" * 64


def records(items: list[Item]) -> tuple[list[Incident], list[str]]:
    return records_of(
        *(items, lambda _, sha256: Fingerprint(sha256, sha256), {}),
        name="x",
        summary="y",
        date=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_a_thief_who_lists_more_files_than_a_record_holds_stops_no_recovery(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is put back is in a record, however many files he listed."""
    monkeypatch.setattr(findings, "IN_ONE", 10)
    monkeypatch.setattr(findings, "IN_ALL", 35)
    items = [
        Item(f"files/evil/evil-{n}.tar.gz", "added", None, None, BAD, None, True, decision="remove")
        for n in range(40)
    ]
    path = "files/zzz/zzz-1.0.tar.gz"
    items.append(Item(path, "changed", GOOD, GOOD, BAD, None, True, decision="restore"))
    made, left = records(items)
    assert [(one.id, len(one.files)) for one in made] == [
        *(("x", 10), ("x-2", 10)),
        *(("x-3", 10), ("x-4", 5)),
    ]
    assert made[-1].files[-1].filename == "zzz-1.0.tar.gz"
    assert len(left) == 6


def test_records_of_the_longest_names_fit_into_what_carries_them() -> None:
    name = "evil" * 40
    path = f"files/{name}/{name}-{'1' * 20}.tar.gz"
    ((record,), _) = records(
        [Item(path, "changed", GOOD, GOOD, BAD, None, True, decision="restore")]
    )
    entry = record.encode()
    assert len(entry) * IN_ONE < MAX_LENGTH
    assert len(json.dumps(entry.decode())) * IN_ALL < MAX_BYTES
    assert IN_ONE < MAX_FILES


@pytest.mark.parametrize("word", ["restore", "keep"])
def test_core_metadata_alone_that_was_altered_is_in_the_record(shop: Shop, word: str) -> None:
    """To keep a file of ours keeps what the wheel says of itself, and not what the thief said."""
    forger, path = shop.forger, f"files/demo/{DEMO}.metadata"
    honest = hashlib.sha256((shop.place.public / path).read_bytes()).hexdigest()
    evil = hashlib.sha256(b"evil").hexdigest()
    demo = forger.document("demo")
    demo["files"][0]["core-metadata"] = {"sha256": evil}
    forger.sign({path: b"evil", "simple/demo/index.json": encoded(demo)})
    recovery = shop.start().audit()
    text = (recovery.folder / "decisions.txt").read_text()
    assert f"restore  files/demo/{DEMO}\n" in text
    (recovery.folder / "decisions.txt").write_text(text.replace("\nrestore ", f"\n{word} "))
    recovery = recovery.decide()
    (name,) = recovery.progress.records
    (file,) = read_incident(recovery.folder / f"{name}.json").files
    assert (file.filename, file.bad[0].sha256) == (f"{DEMO}.metadata", evil)
    assert file.good is not None
    assert file.good.sha256 == honest


@pytest.mark.parametrize(("project", "links"), [("demo", True), ("evil", True), ("demo", False)])
def test_core_metadata_that_the_thief_listed_of_a_file_that_is_kept_is_in_the_record(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, project: str, links: bool
) -> None:
    """Else who saw them has an alarm when those in the wheel come, which no record explains."""
    if not links:  # a file system on which a file has one name

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(errno.EPERM, "no hard links")

        monkeypatch.setattr(os, "link", refuse)
    forger, name = shop.forger, f"{project}-4.0-py3-none-any.whl"
    wheel = shop.place.wheel(project, "4.0").read_bytes()
    evil = hashlib.sha256(b"evil").hexdigest()
    document, path = forger.document(project), f"files/{project}/{name}"
    document["files"].append(listed(project, name, wheel, **{"core-metadata": {"sha256": evil}}))
    document["versions"].append("4.0")
    page = f"simple/{project}/index.json"
    forger.sign({path: wheel, f"{path}.metadata": b"evil", page: encoded(document)})
    recovery = shop.start().audit()
    text = (recovery.folder / "decisions.txt").read_text()
    (recovery.folder / "decisions.txt").write_text(text.replace("\nremove ", "\nkeep "))
    recovery = recovery.decide()
    (record,) = recovery.progress.records
    (file,) = read_incident(recovery.folder / f"{record}.json").files
    assert (file.filename, file.bad[0].sha256) == (f"{name}.metadata", evil)
    new = CryptoSigner.generate_ed25519()
    recovery = recovery.propose(replaced(new))
    shop.sign()
    recovery.finish().install(new).verify().thaw()
    assert file.good is not None
    assert shop.served()[f"{path}.metadata"] == file.good.sha256


def test_what_this_index_would_not_take_is_not_kept(shop: Shop) -> None:
    """Else install refuses it when the keyholders have signed."""
    rob(shop)
    recovery = shop.start().audit()
    text = (recovery.folder / "decisions.txt").read_text()
    (recovery.folder / "decisions.txt").write_text(
        text.replace(f"remove   files/demo/{NEW}", f"keep     files/demo/{NEW}")
    )
    with pytest.raises(CeremonyError, match=f"files/demo/{NEW} can't be listed"):
        recovery.decide()
    (recovery.folder / "decisions.txt").write_text(text)
    assert recovery.decide().step == "propose"


def installed(shop: Shop) -> Recovery:
    """The recovery, installed under a new key, which is the shop's then."""
    rob(shop)
    new = CryptoSigner.generate_ed25519()
    recovery = shop.start().audit().decide().propose(replaced(new))
    shop.sign()
    recovery = recovery.finish().install(new)
    shop.place.online = new
    return recovery


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("timestamp.json", None),
        ("timestamp.json", b"garbage"),
        ("3.root.json", b"garbage"),
        ("3.root.json", "his own"),
        ("2.root.json", b"garbage"),
        ("3.root.json", "a pipe"),
    ],
)
def test_who_writes_after_it_was_installed_holds_nothing_up(
    shop: Shop, name: str, data: bytes | str | None
) -> None:
    good, metadata = shop.served(), shop.place.public / "metadata"
    old = metadata.joinpath("1.root.json").read_bytes()
    recovery, path = installed(shop), metadata / name
    path.unlink(missing_ok=True)
    if data == "his own":  # with his key again, and signed by nobody who counts
        root = Metadata[Root].from_bytes(old)
        root.signed.version = 3
        path.write_bytes(root.to_bytes())
    elif data == "a pipe":
        os.mkfifo(path)
    elif isinstance(data, bytes):
        path.write_bytes(data)
    with pytest.raises(CeremonyError, match="`recover next` installs again"):
        recovery.verify()
    recovery = shop.found().install(shop.place.online)
    assert recovery.verify().thaw().step == "done"
    assert shop.served() == good
    assert not (metadata / "3.root.json").exists()


@pytest.mark.parametrize("when", ["before it is decided", "afterwards"])
def test_bytes_that_are_to_be_kept_are_taken_in_when_that_is_decided(shop: Shop, when: str) -> None:
    wheel = shop.place.wheel("demo", "4.0").read_bytes()
    demo, path = shop.forger.document("demo"), f"files/demo/{NEW}"
    demo["files"].append(listed("demo", NEW, wheel))
    demo["versions"].append("4.0")
    shop.forger.sign({path: wheel, "simple/demo/index.json": encoded(demo)})
    recovery = shop.start().audit()
    text = (recovery.folder / "decisions.txt").read_text()
    (recovery.folder / "decisions.txt").write_text(text.replace("\nremove ", "\nkeep "))

    def rob_again() -> None:
        prefixed = f"files/demo/{hashlib.sha256(wheel).hexdigest()}.{NEW}"
        for name in (path, prefixed):
            put(shop.place.public / name, b"other bytes")

    if when != "afterwards":
        rob_again()
        with pytest.raises(CeremonyError, match="its bytes are nowhere"):
            recovery.decide()
        return
    new = CryptoSigner.generate_ed25519()
    recovery = recovery.decide().propose(replaced(new))
    rob_again()
    shop.sign()
    recovery.finish().install(new).verify().thaw()
    assert (shop.place.public / path).read_bytes() == wheel


def test_what_was_altered_is_not_hidden_behind_what_was_added(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project whose name has a small hash comes before all others, with as many files."""
    monkeypatch.setattr(audited, "NAMED", 5)
    first = min((f"evil{n}" for n in range(1000)), key=key_of)
    assert key_of(first) < min(key_of("demo"), key_of("other"))
    flood = {f"files/{first}/{first}-{n}.tar.gz": b"evil" for n in range(8)}
    shop.forger.sign({**flood, f"files/demo/{DEMO}": b"altered"})
    recovery = shop.start().audit()
    assert f"files/demo/{DEMO}" in {item.path for item in recovery.items if item.kind == "changed"}
    assert any("more than can be named" in note for note in recovery.progress.notes)
    recovery = recovery.decide()
    (name,) = recovery.progress.records
    files = read_incident(recovery.folder / f"{name}.json").files
    assert DEMO in {file.filename for file in files}


def test_a_state_that_the_log_does_not_explain_is_no_ground_for_decisions(shop: Shop) -> None:
    """Tables say what the thief signed; the log is sound. Told before anybody decides or signs."""
    good = shop.served()
    rob(shop)
    evil = hashlib.sha256(b"altered").hexdigest()
    for table in ("files", "used_filenames"):
        shop.place.sql(f"UPDATE {table} SET sha256 = ? WHERE filename = ?", evil, DEMO)  # noqa: S608
    recovery = shop.start()
    with pytest.raises(CeremonyError, match=f"has {DEMO} with sha256 {evil}, which neither"):
        recovery.audit()
    assert not (recovery.folder / "decisions.txt").exists()
    path, digest = shop.checkpoint
    with read_checkpoint(path, digest) as opened:
        root, clock = shop.place.roles.root[0], shop.place.clock
        Repository.rebuild(shop.place.folder / "index", root, clock=clock, good=opened)
    new = CryptoSigner.generate_ed25519()
    shop.found().audit().decide().propose(replaced(new))
    shop.sign()
    shop.found().finish().install(new).verify().thaw()
    assert shop.served()[f"files/demo/{DEMO}"] == good[f"files/demo/{DEMO}"]


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ("UPDATE files SET sha512 = 'f' || substr(sha512, 2) WHERE filename = ?", "says something"),
        ("UPDATE files SET yanked = '' WHERE filename = ?", "says something else"),
        ("UPDATE files SET size = 'x' WHERE filename = ?", ""),
        ("UPDATE files SET sha512 = 'none' WHERE filename = ?", "lower-case hex sha512"),
        ("DELETE FROM files WHERE filename = ?", f"lacks {DEMO}"),
    ],
)
def test_nor_is_one_that_is_altered_in_anything_else(shop: Shop, lie: str, said: str) -> None:
    """Else install refuses it when the keyholders have signed."""
    shop.place.repository.rehash()
    shop.place.repository.publish()
    rob(shop)
    shop.start().audit()
    shop.place.sql(lie, DEMO)
    with pytest.raises(CeremonyError, match=f"state was altered: .*{said}"):
        shop.found().audit()


def test_what_was_decided_is_not_lost_with_the_state(shop: Shop) -> None:
    """It is lost when all have signed. What came since the checkpoint is asked about again."""
    rob(shop)
    new = CryptoSigner.generate_ed25519()
    recovery = shop.start().audit().decide().propose(replaced(new))
    shop.sign()
    recovery = recovery.finish()
    (shop.repository.folder / "state.sqlite").write_bytes(b"gone")
    with read_checkpoint(*shop.checkpoint) as good:
        root, clock = shop.place.roles.root[0], shop.place.clock
        Repository.rebuild(shop.place.folder / "index", root, clock=clock, good=good)
    with pytest.raises(CeremonyError, match="made anew since the audit"):
        shop.found().install(new)
    recovery = shop.found().audit()
    text = (recovery.folder / "decisions.txt").read_text()
    assert f"remove   files/demo/{LATER}\n" in text
    signed = recovery.event.read_bytes()
    with pytest.raises(CeremonyError, match=r"on other decisions.*Change decisions\.txt"):
        recovery.decide().propose(replaced(new))
    assert (shop.found().step, recovery.event.read_bytes()) == ("decide", signed)
    (recovery.folder / "decisions.txt").write_text(
        text.replace(f"remove   files/demo/{LATER}", f"keep     files/demo/{LATER}")
    )
    recovery = shop.found().decide().propose(replaced(new)).finish()
    assert recovery.install(new).verify().thaw().step == "done"
    assert {f"files/demo/{DEMO}", f"files/demo/{LATER}"} <= shop.served().keys()


def test_a_name_with_a_newline_begins_no_line_of_an_answer(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.forger.sign({"files/demo/x\nNo difference from the checkpoint.": b"x"})
    shop.start().audit()
    path, digest = shop.checkpoint
    folder = str(shop.repository.folder)
    for words in (
        ["audit", folder, "--since", str(path), "--digest", digest],
        ["recover", "status", folder],
    ):
        run(words)
        said = capsys.readouterr().out
        assert "files/demo/x\\nNo difference" in said
        assert "\nNo difference" not in said
