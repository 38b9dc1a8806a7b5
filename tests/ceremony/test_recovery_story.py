"""The online key is stolen, and the index comes back: every client sees the good state again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError as TufError

from indextrust.ceremony.proposal import Change
from indextrust.ceremony.recoverer import Recovery
from indextrust.errors import CeremonyError, CheckpointError, FrozenError, InputError
from indextrust.incidents import parse
from indextrust.names import LAYOUTS, Layout
from indextrust.repository import Repository
from indextrust.repository.checkpoint import read_checkpoint
from indextrust.repository.public_keys import keyholder_of
from indextrust.testing import TamperingServer
from tests.ceremony.recovery_room import (
    DEMO,
    DEMO_2,
    FAR,
    LATER,
    NEW,
    OTHER,
    SUMMARY,
    Client,
    Shop,
    open_shop,
    replaced,
    rob,
)
from tests.repository.forger import encoded, listed


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return open_shop(tmp_path_factory.mktemp("recovery") / "shop")


@pytest.fixture
def shop(opened: Shop, tmp_path: Path) -> Shop:
    return opened.copied(tmp_path / "copy")


def test_all_clients_see_the_good_state_and_the_thief_is_out(shop: Shop, tmp_path: Path) -> None:
    good = shop.served()
    honest = (shop.place.public / f"files/demo/{DEMO}").read_bytes()
    with TamperingServer(shop.place.public) as server:
        saw_good, saw_bad, fresh = (Client(shop, server, tmp_path / n) for n in "abc")
        assert saw_good.sees(f"files/demo/{DEMO}") == honest
        bad = rob(shop)
        for path, data in bad.items():
            assert saw_bad.sees(path) == data
        thief = shop.forger

        recovery = shop.recover(CryptoSigner.generate_ed25519())

        assert recovery.step == "done"
        assert shop.served() == good
        assert shop.repository.frozen() is None
        versions = shop.place.versions()
        assert versions["timestamp"] > FAR
        assert versions["snapshot"] > FAR
        assert max(versions[name] for name in versions if name.startswith("bin-")) > FAR
        for client in (saw_good, saw_bad, fresh):
            assert client.sees(f"files/demo/{DEMO}") == honest
            assert client.sees(f"files/demo/{DEMO_2}") is not None
            assert client.sees(f"files/demo/{LATER}") is not None  # queued after the checkpoint
            for path in (f"files/demo/{NEW}", "files/evil/evil-1.0.tar.gz"):
                assert client.sees(path) is None
        (name,) = recovery.progress.records
        path = f"incidents/{name}.json"
        record = parse(saw_bad.sees(path) or b"", path=path)
        assert record.summary == SUMMARY
        said = {
            f.filename: (f.bad[0].sha256, f.good.sha256 if f.good else None) for f in record.files
        }
        assert said == {
            DEMO: (sha256(b"altered"), sha256(honest)),
            NEW: (sha256(b"new release"), None),
            "evil-1.0.tar.gz": (sha256(b"evil"), None),
        }
        assert record.files[0].good is not None
        assert record.files[0].good.installed is not None
        thief.sign({}, bins=("bin-0",))
        for client in (saw_good, saw_bad, Client(shop, server, tmp_path / "d")):
            with pytest.raises(TufError):
                client.sees(f"files/other/{OTHER}")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_timers_keep_still_until_it_is_over(shop: Shop) -> None:
    rob(shop)
    new = CryptoSigner.generate_ed25519()
    recovery = shop.start().audit().decide().propose(replaced(new))
    for operation in (shop.place.repository.publish, shop.place.repository.renew):
        with pytest.raises(FrozenError, match="recovery: timestamp"):
            operation()
    shop.sign()
    recovery = recovery.finish().install(new)
    shop.place.online = new
    with pytest.raises(FrozenError):
        shop.place.reopen().renew()
    recovery.verify().thaw()
    assert shop.place.reopen().publish().nothing_to_do


def test_people_keep_what_nobody_queued_and_remove_what_somebody_did(shop: Shop) -> None:
    """A publisher whose upload was lost is believed; an upload that a person regrets is not."""
    wheel = shop.place.wheel("demo", "4.0")
    rob(shop)
    demo = shop.forger.document("demo")
    demo["files"][-1] = listed("demo", NEW, wheel.read_bytes())
    shop.forger.sign(
        {f"files/demo/{NEW}": wheel.read_bytes(), "simple/demo/index.json": encoded(demo)}
    )
    new = CryptoSigner.generate_ed25519()
    recovery = shop.start().audit()
    path = recovery.folder / "decisions.txt"
    text = path.read_text()
    assert f"remove   files/demo/{NEW}" in text
    assert f"keep     files/demo/{LATER}" in text
    assert f"restore  files/demo/{DEMO}" in text
    text = text.replace(f"remove   files/demo/{NEW}", f"keep files/demo/{NEW}")
    text = text.replace(f"keep     files/demo/{LATER}", f"remove files/demo/{LATER}")
    path.write_text(text)
    recovery = recovery.decide().propose(replaced(new))
    shop.sign()
    recovery.finish().install(new).verify().thaw()
    files = {path for path in shop.served() if path.endswith(".whl")}
    names = (f"demo/{DEMO}", f"demo/{DEMO_2}", f"demo/{NEW}", f"other/{OTHER}")
    assert files == {f"files/{name}" for name in names}
    log = [(entry.what, entry.filename) for entry in shop.repository.log() if entry.filename]
    assert log[-2:] == [("remove", LATER), ("add", NEW)]


def test_what_was_queued_and_undone_comes_back(shop: Shop) -> None:
    """The thief puts back exactly what the checkpoint has: no difference from that."""
    forger = shop.forger
    demo = forger.document("demo")
    demo["files"] = [entry for entry in demo["files"] if entry["filename"] != LATER]
    demo["versions"] = ["1.0", "2.0"]
    forger.sign(
        {
            f"files/demo/{LATER}": None,
            f"files/demo/{LATER}.metadata": None,
            "simple/demo/index.json": encoded(demo),
        }
    )
    recovery = shop.start().audit()
    (item,) = (item for item in recovery.items if item.is_file)
    assert (item.path, item.kind, item.proposed) == (f"files/demo/{LATER}", "undone", "restore")
    new = CryptoSigner.generate_ed25519()
    recovery = recovery.decide()
    assert not recovery.progress.records  # nothing bad was served
    recovery.propose(replaced(new))
    shop.sign()
    shop.found().finish().install(new).verify().thaw()
    assert f"files/demo/{LATER}" in shop.served()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_was_undone_in_a_page_alone_is_told_too(tmp_path: Path, layout: Layout) -> None:
    """A yank is in no bin; nor is an upload, where files are no targets."""
    shop = open_shop(tmp_path / "shop", layout=layout)
    page = "simple/other/index.json"
    before = (shop.place.public / page).read_bytes()
    shop.place.repository.yank("other", OTHER, "it deletes files")
    if layout == "projects":
        shop.place.repository.add(shop.place.wheel("other", "2.0"))
    shop.place.repository.publish()
    after = (shop.place.public / page).read_bytes()
    shop.forger.sign({page: before})
    recovery = shop.start().audit()
    told = [(item.path, item.kind, item.proposed) for item in recovery.items if not item.is_file]
    assert told == [(page, "undone", "restore")]
    new = CryptoSigner.generate_ed25519()
    recovery.decide().propose(replaced(new))
    shop.sign()
    shop.found().finish().install(new).verify().thaw()
    assert (shop.place.public / page).read_bytes() == after


def test_a_thief_who_goes_on_writing_holds_nothing_up(shop: Shop) -> None:
    good = shop.served()
    rob(shop)
    new = CryptoSigner.generate_ed25519()
    recovery = shop.start().audit().decide().propose(replaced(new))
    shop.sign()
    recovery = recovery.finish()
    rob(shop, version=FAR + 5)
    shop.forger.sign({f"files/other/{OTHER}": b"later"}, version=FAR + 9)
    recovery.install(new).verify().thaw()
    assert shop.served() == good
    assert shop.place.versions()["timestamp"] > FAR + 9


@pytest.mark.parametrize("summary", ["", "two\nlines"])
def test_what_users_are_told_is_one_line(shop: Shop, summary: str) -> None:
    with pytest.raises(InputError, match="summary"):
        Recovery.start(shop.repository, ["timestamp"], summary=summary, checkpoint=shop.checkpoint)
    with pytest.raises(InputError, match="a checkpoint and its digest are needed"):
        Recovery.start(shop.repository, ["timestamp"], summary=SUMMARY)
    assert shop.repository.frozen() is None


def test_without_the_checkpoint_of_the_paper_nothing_begins(shop: Shop) -> None:
    path, digest = shop.checkpoint
    shop.checkpoint = (path, "0" * 64)
    with pytest.raises(CheckpointError):
        shop.start()
    assert shop.repository.frozen() is None
    with pytest.raises(CeremonyError, match="no recovery was started"):
        shop.found()
    shop.checkpoint = (path, digest)
    recovery = shop.start()
    with pytest.raises(CeremonyError, match="a recovery is under way"):
        shop.start()
    with pytest.raises(CeremonyError, match="the next step of this recovery is 'audit'"):
        recovery.decide()


def test_somebody_who_freezes_again_stops_the_recovery(shop: Shop) -> None:
    rob(shop)
    new = CryptoSigner.generate_ed25519()
    recovery = shop.start().audit().decide().propose(replaced(new))
    shop.sign()
    recovery = recovery.finish()
    before = shop.place.signed("timestamp.json")
    shop.repository.freeze(shop.repository.folder, "wait, the new key is gone too", by="bob")
    with pytest.raises(FrozenError, match="wait, the new key is gone too"):
        recovery.install(new)
    assert shop.place.signed("timestamp.json") == before


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: "", "no decision on"),
        (lambda text: text.replace("\nrestore ", "\npardon ", 1), "expected restore, keep or rem"),
        (lambda text: text + f"keep files/demo/{DEMO}\n", "is no difference, or comes twice"),
        (lambda text: text + "keep files/x/x\n", "'files/x/x' is no difference"),
        (
            lambda text: text.replace(f"restore  files/demo/{DEMO}", f"keep files/demo/{DEMO}"),
            "stands for sha256 [0-9a-f]{64} for good",
        ),
    ],
)
def test_a_decision_that_makes_no_sense_is_refused_with_its_line(
    shop: Shop, change: object, reason: str
) -> None:
    rob(shop)
    recovery = shop.start().audit()
    path = recovery.folder / "decisions.txt"
    path.write_text(change(path.read_text()))  # type: ignore[operator]
    with pytest.raises(CeremonyError, match=reason):
        recovery.decide()
    assert shop.found().step == "decide"


def test_the_old_online_key_is_no_new_one_and_signatures_are_counted(shop: Shop) -> None:
    rob(shop)
    recovery = shop.start().audit().decide()
    with pytest.raises(CeremonyError, match=r"the stolen key .* would stay"):
        recovery.propose(replaced(shop.place.online))
    with pytest.raises(CeremonyError, match="give a new one, --online"):
        recovery.propose(Change())
    recovery = recovery.propose(replaced(CryptoSigner.generate_ed25519()))
    shop.sign(2)
    with pytest.raises(CeremonyError, match="signatures are missing: 1 more"):
        recovery.finish()


def test_one_stolen_root_key_is_replaced_and_no_more_is_touched(shop: Shop, tmp_path: Path) -> None:
    """One of three, of which two are needed: nothing could be signed, so nothing is frozen."""
    holders = shop.place.keyholders
    good = shop.served()
    recovery = shop.start(holders[2].public_key.keyid)
    assert (recovery.step, shop.repository.frozen()) == ("propose", None)
    shop.place.reopen().publish()  # timers go on
    with pytest.raises(CeremonyError, match="the next step"):
        recovery.audit()
    zoe = CryptoSigner.generate_ed25519()
    recovery = recovery.propose(Change(add=[keyholder_of(zoe.public_key, "Zoe", None, "root")]))
    shop.sign()
    with TamperingServer(shop.place.public) as server:
        client = Client(shop, server, tmp_path / "client")
        assert client.sees(f"files/demo/{DEMO}") is not None
        assert recovery.finish().install(shop.place.online).verify().step == "done"
        assert shop.served() == good
        for each in (client, Client(shop, server, tmp_path / "fresh")):
            assert each.sees(f"files/demo/{DEMO}") is not None
    root = shop.place.signed("2.root.json")
    assert holders[2].public_key.keyid not in root["keys"]
    assert zoe.public_key.keyid in root["roles"]["root"]["keyids"]
    assert root["roles"]["root"]["threshold"] == 2
    again = shop.start("timestamp")  # another theft, another recovery: the last one is kept
    assert again.step == "audit"
    assert any(path.name.startswith("before-") for path in again.folder.iterdir())


def test_with_the_key_stolen_and_the_database_lost_the_checkpoint_comes_back(shop: Shop) -> None:
    """What is served is the thief's, so the state is made of the checkpoint."""
    path, digest = shop.checkpoint
    rob(shop)
    (shop.repository.folder / "state.sqlite").write_bytes(b"gone")
    with read_checkpoint(path, digest) as good:
        expected = {name: target.sha256 for name, target in good.entries()}
        root = shop.place.roles.root[0]
        clock = shop.place.clock
        Repository.rebuild(shop.place.folder / "index", root, clock=clock, good=good)
    warned = " ".join(shop.repository.status().warnings)
    assert "timestamp is to be signed anew" in warned
    assert "has expired" not in warned  # nobody slept, and `renew` refuses
    new = CryptoSigner.generate_ed25519()
    recovery = shop.start().audit()
    assert any("the log was begun anew" in note for note in recovery.progress.notes)
    proposed = {item.path: item.proposed for item in recovery.items}
    assert proposed == {
        f"files/demo/{DEMO}": "restore",
        f"files/demo/{DEMO_2}": "restore",
        f"files/demo/{LATER}": "remove",  # nobody can tell any more
        f"files/demo/{NEW}": "remove",
        "files/evil/evil-1.0.tar.gz": "remove",
    }
    recovery = recovery.decide().propose(replaced(new))
    shop.sign()
    recovery.finish().install(new).verify().thaw()
    assert {path: sha for path, sha in shop.served().items() if "evil" not in path} == expected
    assert shop.repository.check().clean


def test_a_server_put_back_from_a_backup_goes_on_above_what_was_seen(
    shop: Shop, tmp_path: Path
) -> None:
    """The whole folder is a week old, head and public folder included: nothing here can tell."""
    with TamperingServer(shop.place.public) as server:
        client = Client(shop, server, tmp_path / "client")
        backup = shop.copied(tmp_path / "backup")
        for version in ("5.0", "6.0", "7.0"):
            shop.place.publish(shop.place.wheel("demo", version))
        assert client.sees("files/demo/demo-7.0-py3-none-any.whl") is not None
        seen = max(shop.place.versions().values())
    with TamperingServer(backup.place.public) as server:
        client.moved_to(server)
        backup.place.publish(backup.place.wheel("demo", "5.0"))
        with pytest.raises(TufError):  # what the naive operator gets: a rollback
            client.sees(f"files/demo/{DEMO}")
        for wrong in (-1, 2**53):
            with pytest.raises(InputError, match="expected a version up to"):
                backup.place.repository.restore(above=wrong)
        backup.place.repository.restore(above=seen)
        versions = backup.place.versions()
        assert {
            n: v for n, v in versions.items() if n not in ("targets", "bins") and v <= seen
        } == {}
        assert client.sees(f"files/demo/{DEMO}") is not None
        assert client.sees("files/demo/demo-7.0-py3-none-any.whl") is None
        backup.place.publish(backup.place.wheel("demo", "7.0"))
        assert client.sees("files/demo/demo-7.0-py3-none-any.whl") is not None
        assert Client(shop, server, tmp_path / "fresh").sees(f"files/demo/{DEMO}") is not None


def test_a_thief_who_altered_the_database_too_has_nothing_of_it_signed(shop: Shop) -> None:
    rob(shop)
    shop.place.sql("UPDATE files SET sha256 = ? WHERE filename = ?", "e" * 64, OTHER)
    shop.place.sql("DELETE FROM log WHERE number = (SELECT max(number) FROM log)")
    recovery = shop.start()
    with pytest.raises(CeremonyError, match=r"log entry \d+ is missing.* make it anew from the ch"):
        recovery.audit()
    path, digest = shop.checkpoint
    with read_checkpoint(path, digest) as good:
        expected = {name: target.sha256 for name, target in good.entries()}
        root, clock = shop.place.roles.root[0], shop.place.clock
        Repository.rebuild(shop.place.folder / "index", root, clock=clock, good=good)
    new = CryptoSigner.generate_ed25519()
    shop.found().audit().decide().propose(replaced(new))
    shop.sign()
    shop.found().finish().install(new).verify().thaw()
    assert {path: sha for path, sha in shop.served().items() if "evil" not in path} == expected
