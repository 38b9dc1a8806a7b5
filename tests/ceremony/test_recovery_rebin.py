"""The online key is stolen while, or after, the index gets other bins than the checkpoint has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from indextrust.ceremony import rotate
from indextrust.errors import SigningError
from indextrust.names import BinScheme, Layout
from indextrust.repository import Repository
from indextrust.repository.checkpoint import read_checkpoint
from indextrust.testing import TamperingServer
from tests.ceremony.recovery_room import (
    DEMO,
    DEMO_2,
    FAR,
    LATER,
    NEW,
    OTHER,
    Client,
    Shop,
    open_shop,
    rob,
)
from tests.repository.forger import encoded, listed, put

DOCUMENT, UNTOUCHED = "simple/demo/index.json", "simple/other/index.json"
DECIDED = [f"files/demo/{name}" for name in (DEMO, DEMO_2, LATER, NEW)]
WAYS = [(8, 4, "pep458"), (4, 8, "projects")]


class Unplugged(CryptoSigner):
    """The re-binning has begun, and nothing of it is out."""

    def __init__(self, key: CryptoSigner) -> None:
        super().__init__(key._private_key, key.public_key)

    def sign(self, payload: bytes) -> object:  # type: ignore[override]
        raise OSError("unplugged")


def shop_of(folder: Path, bins: int, layout: Layout) -> Shop:
    """Two of the files have both hashes."""
    shop = open_shop(folder, bins=bins, layout=layout)
    shop.place.repository.rehash(2)
    shop.place.repository.publish()
    return shop


def rebin(shop: Shop, bins: int, *, cut_short: bool = False) -> None:
    place = shop.place
    now, key, scheme = place.clock.now, place.online.public_key, BinScheme.of(bins)
    roles = rotate(place.roles, place.keyholders[:2], key, now=now, bins=scheme)
    if cut_short:
        with pytest.raises(SigningError):
            place.repository.rebin(roles, Unplugged(place.online))
    else:
        place.repository.rebin(roles, place.online)
    place.repository = place.reopen()


def steal(shop: Shop) -> None:
    """As `rob`; in the layout ``projects`` the document is all that he has to sign."""
    if shop.repository.signed_roles().targets.count(b"files/*/*"):
        rob(shop)
        return
    forger, folder = shop.forger, shop.place.public / "files" / "demo"
    demo = forger.document("demo")
    demo["files"] = [entry for entry in demo["files"] if entry["filename"] != DEMO_2]
    demo["files"][0] = listed("demo", DEMO, b"altered")
    demo["files"].append(listed("demo", NEW, b"new release"))
    demo["versions"] = ["1.0", "3.0", "4.0"]
    for name, data in ((DEMO, b"altered"), (NEW, b"new release")):
        put(folder / name, data)
    forger.sign({DOCUMENT: encoded(demo)}, version=FAR)


def lose(shop: Shop) -> None:
    """The database is gone, and so is every file of a bin that is not served any more."""
    (shop.repository.folder / "state.sqlite").write_bytes(b"gone")
    served = {f"{version}.{name}.json" for name, version in shop.place.versions().items()}
    for path in (shop.place.public / "metadata").glob("*.bin-*.json"):
        if path.name not in served:
            path.unlink()
    root, clock = shop.place.roles.root[0], shop.place.clock
    with read_checkpoint(*shop.checkpoint) as good:
        Repository.rebuild(shop.place.folder / "index", root, clock=clock, good=good)


def converge(shop: Shop, clients: list[Client], bins: int) -> None:
    """Everybody sees one good state, under these bins, and it goes on."""
    place = shop.place
    assert {name for name in place.versions() if name.startswith("bin-")} == {
        *BinScheme.of(bins).names()
    }
    assert shop.repository.check().clean
    place.repository = place.reopen()
    place.publish(place.wheel("demo", "5.0"))
    for client in clients:
        for path in (DOCUMENT, UNTOUCHED):
            assert client.sees(path) == (place.public / path).read_bytes()


@pytest.mark.parametrize("cut_short", [False, True], ids=["complete", "cut short"])
@pytest.mark.parametrize(("before", "after", "layout"), WAYS)
def test_recovered_to_a_checkpoint_of_other_bins(
    tmp_path: Path, before: int, after: int, layout: Layout, cut_short: bool
) -> None:
    """What is served is read by the bins it has, and nothing is undone that nobody undid."""
    shop = shop_of(tmp_path / "shop", before, layout)
    rebin(shop, after, cut_short=cut_short)
    good = (shop.place.public / DOCUMENT).read_bytes()
    assert shop.repository.audit().clean
    with TamperingServer(shop.place.public) as server:
        saw_good, saw_bad, fresh = (Client(shop, server, tmp_path / name) for name in "abc")
        assert saw_good.sees(DOCUMENT) == good
        steal(shop)
        assert saw_bad.sees(DOCUMENT) != good

        recovery = shop.recover(CryptoSigner.generate_ed25519())

        demo = [item.path for item in recovery.items if "/evil" not in item.path]
        assert demo == DECIDED
        assert (shop.place.public / DOCUMENT).read_bytes() == good
        converge(shop, [saw_good, saw_bad, fresh], after)


@pytest.mark.parametrize("bits", [3, 1, 16, 3.0, 99, "3", None])
def test_who_has_the_one_time_keys_too_and_spreads_the_targets_anew_undoes_nothing(
    tmp_path: Path, bits: object
) -> None:
    """What is served is read by the bins role that is served, whoever signed it."""
    shop = open_shop(tmp_path / "shop")
    metadata = shop.place.public / "metadata"
    targets = shop.place.repository.published_targets()
    role = json.loads((metadata / "1.bins.json").read_bytes())
    stated = role["signed"]["delegations"]
    keyids = list(stated["keys"])
    parts = {"keyids": keyids, "threshold": 1, "name_prefix": "bin", "bit_length": bits}
    role["signed"]["delegations"] = {"keys": stated["keys"], "succinct_roles": parts}
    (metadata / "99.bins.json").write_text(json.dumps(role))
    snapshot = json.loads((metadata / "3.snapshot.json").read_bytes())
    snapshot["signed"]["meta"]["bins.json"]["version"] = 99
    good = bits in (1, 3, 16) and type(bits) is int
    scheme = BinScheme(bits if good else 2, succinct=True)  # type: ignore[arg-type]
    for name in {scheme.bin_of(path) for path in targets}:
        entries = {
            path: {"length": target.length, "hashes": target.hashes}
            for path, target in targets.items()
            if scheme.bin_of(path) == name
        }
        (metadata / f"99.{name}.json").write_text(json.dumps({"signed": {"targets": entries}}))
        snapshot["signed"]["meta"][f"{name}.json"] = {"version": 99}
    (metadata / "3.snapshot.json").write_text(json.dumps(snapshot))
    assert shop.repository.audit().added == ()
    assert shop.repository.audit().removed == ()


@pytest.mark.parametrize(("before", "after", "layout"), WAYS)
def test_a_state_is_made_of_a_checkpoint_of_other_bins(
    tmp_path: Path, before: int, after: int, layout: Layout
) -> None:
    shop = shop_of(tmp_path / "shop", before, layout)
    rebin(shop, after)
    with TamperingServer(shop.place.public) as server:
        saw_good, saw_bad, fresh = (Client(shop, server, tmp_path / name) for name in "abc")
        assert saw_good.sees(UNTOUCHED)
        steal(shop)
        assert saw_bad.sees(DOCUMENT)
        lose(shop)

        shop.recover(CryptoSigner.generate_ed25519())

        with read_checkpoint(*shop.checkpoint) as checkpoint:
            for path, target in checkpoint.entries():
                assert shop.repository.expected_targets()[path] == target
        assert OTHER in (shop.place.public / UNTOUCHED).read_text()
        converge(shop, [saw_good, saw_bad, fresh], after)
