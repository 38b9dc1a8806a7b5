"""The online key is stolen while the index adds SHA-512 to what it signs: it comes back, and goes
on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from indextrust.repository import Repository
from indextrust.repository.checkpoint import read_checkpoint
from indextrust.repository.checkpoint_make import make_checkpoint
from indextrust.repository.storage import FolderStorage
from indextrust.testing import TamperingServer
from tests.ceremony.recovery_room import (
    DEMO,
    DEMO_2,
    LATER,
    NEW,
    OTHER,
    Client,
    Shop,
    open_shop,
    rob,
)

Hashes = Mapping[str, Mapping[str, str]]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The checkpoint is from before the transition; two files were rehashed since."""
    shop = open_shop(tmp_path_factory.mktemp("recovery") / "shop")
    shop.place.repository.rehash(2)
    shop.place.repository.publish()
    return shop


@pytest.fixture
def shop(opened: Shop, tmp_path: Path) -> Shop:
    return opened.copied(tmp_path / "copy")


def hashes(shop: Shop) -> Hashes:
    """Target path to what is signed for it."""
    found = {}
    for name, version in shop.place.versions().items():
        if name.startswith("bin-"):
            for path, target in shop.place.signed(f"{version}.{name}.json")["targets"].items():
                found[path] = target["hashes"]
    return found


def kinds(served: Hashes) -> dict[str, int]:
    """How many files, by their names, have how many hashes."""
    return {path.rpartition("/")[2]: len(one) for path, one in served.items() if "/demo" in path}


def all_see(shop: Shop, clients: list[Client], expected: Hashes) -> None:
    for client in clients:
        for path in expected:
            assert client.sees(path) == (shop.place.public / path).read_bytes()


def finish(shop: Shop) -> None:
    """The transition goes on where it was."""
    shop.place.repository = shop.place.reopen()
    while shop.place.repository.rehash().more:
        shop.place.repository.publish()
    shop.place.repository.publish()
    assert {len(one) for path, one in hashes(shop).items() if "incidents/" not in path} == {2}
    assert shop.place.repository.check().clean


def test_every_hash_that_was_queued_comes_back_and_clients_converge(
    shop: Shop, tmp_path: Path
) -> None:
    good = hashes(shop)
    assert set(kinds(good).values()) == {1, 2}
    with TamperingServer(shop.place.public) as server:
        saw_good, saw_bad, fresh = (Client(shop, server, tmp_path / n) for n in "abc")
        all_see(shop, [saw_good], good)
        bad = rob(shop)
        assert saw_bad.sees(f"files/demo/{DEMO}") == bad[f"files/demo/{DEMO}"]
        # He also takes away what a step added, without a new digest.
        document = (shop.place.public / "simple/other/index.json").read_bytes()
        shop.forger.sign({"simple/other/index.json": document})

        recovery = shop.recover(CryptoSigner.generate_ed25519())

        decided = {item.path for item in recovery.items}
        assert decided >= {f"files/demo/{name}" for name in (DEMO, DEMO_2, LATER, NEW)}
        assert f"files/other/{OTHER}" not in decided
        assert hashes(shop) == good
        all_see(shop, [saw_good, saw_bad, fresh], good)
        for client in (saw_good, saw_bad, fresh):
            assert client.sees(f"files/demo/{NEW}") is None
        finish(shop)
        all_see(shop, [saw_good, saw_bad, fresh], hashes(shop))


def test_nobody_is_asked_about_files_that_were_rehashed(shop: Shop) -> None:
    recovery = shop.start().audit()
    assert [item.path for item in recovery.items] == [f"files/demo/{LATER}"]
    assert recovery.decide().step == "propose"


@pytest.mark.parametrize("halfway", [False, True])
def test_without_the_database_the_checkpoint_comes_back_and_the_transition_is_done_again(
    shop: Shop, tmp_path: Path, halfway: bool
) -> None:
    """From a checkpoint of before, files have SHA-256 alone until they are rehashed again."""
    if halfway:
        path = tmp_path / "halfway.checkpoint"
        storage = FolderStorage(shop.place.public, tmp_path / "nowhere", tmp_path / "nowhere")
        made = make_checkpoint(storage, shop.place.roles.root[0], path, shop.place.clock.now)
        shop = Shop(shop.place, (path, made.digest))
        shop.place.repository.rehash()  # what is served is further
        shop.place.repository.publish()
    with TamperingServer(shop.place.public) as server:
        saw_bad, fresh = (Client(shop, server, tmp_path / n) for n in "bc")
        bad = rob(shop)
        assert saw_bad.sees(f"files/demo/{DEMO}") == bad[f"files/demo/{DEMO}"]
        (shop.repository.folder / "state.sqlite").write_bytes(b"gone")
        root, clock = shop.place.roles.root[0], shop.place.clock
        with read_checkpoint(*shop.checkpoint) as good:
            expected = {name: target.hashes for name, target in good.entries()}
            Repository.rebuild(shop.place.folder / "index", root, clock=clock, good=good)
        assert {len(one) for one in expected.values()} == ({1, 2} if halfway else {1})
        assert shop.recover(CryptoSigner.generate_ed25519()).step == "done"
        served = hashes(shop)
        assert {path: one["sha256"] for path, one in served.items() if "evil" not in path} == {
            path: one["sha256"] for path, one in expected.items()
        }
        assert {path: served[path] for path in expected} == expected
        all_see(shop, [saw_bad, fresh], expected)
        assert shop.repository.check().clean
        finish(shop)
        all_see(shop, [saw_bad, fresh], expected)
