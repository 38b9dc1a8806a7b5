"""What the check used to call clean."""

from __future__ import annotations

from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from indextrust.repository import Repository
from indextrust.repository import place as placing
from tests.repository.place import Place

WHEEL = "demo-1.0-py3-none-any.whl"
NAMES = (f"files/demo/{WHEEL}", f"files/demo/{WHEEL}.metadata")


@pytest.fixture
def shop(place: Place) -> Place:
    place.publish(place.wheel("demo", "1.0"), place.wheel("other", "1.0"))
    assert place.reopen().check().clean
    return place


def where(repository: Repository) -> set[tuple[str, str]]:
    return {(found.kind, found.where) for found in repository.check().differences}


def test_a_project_that_is_gone_from_the_state_with_all_its_files(shop: Place) -> None:
    shop.sql("DELETE FROM files WHERE project = 'demo'")
    shop.sql("DELETE FROM projects WHERE name = 'demo'")
    (shop.public / "simple" / "demo" / "index.json").unlink()  # nobody would look
    assert ("state", "demo") in where(shop.reopen())


def test_files_that_a_row_says_are_elsewhere_and_are_here(shop: Place) -> None:
    shop.sql("UPDATE files SET elsewhere = 1 WHERE project = 'demo'")
    assert shop.reopen().check().clean
    for path in (shop.public / "files" / "demo").iterdir():
        path.unlink()
        path.write_bytes(b"evil")
    assert {("public", name) for name in NAMES} < where(shop.reopen())


def test_files_elsewhere_may_be_links_to_the_right_bytes(shop: Place, tmp_path: Path) -> None:
    shop.sql("UPDATE files SET elsewhere = 1 WHERE project = 'demo'")
    for name in NAMES:
        path = shop.public / name
        path.rename(tmp_path / path.name)
        path.symlink_to(tmp_path / path.name)
    assert shop.reopen().check().clean
    (tmp_path / WHEEL).unlink()
    (tmp_path / WHEEL).write_bytes(b"evil")
    assert where(shop.reopen()) == {("public", NAMES[0])}


def test_the_list_of_projects(shop: Place) -> None:
    listing = shop.public / "simple" / "index.html"
    listing.write_text(listing.read_text().replace("demo/", "https://evil.example/"))
    assert where(shop.reopen()) == {("public", "simple/index.html")}
    listing.unlink()
    assert where(shop.reopen()) == {("public", "simple/index.html")}


def test_a_long_list_may_lack_the_latest_and_nothing_else(
    shop: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "_SHORT", 10)
    shop.publish(shop.wheel("later", "1.0"))
    listing = shop.public / "simple" / "index.html"
    assert "later" not in listing.read_text()
    assert shop.reopen().check().clean
    listing.write_text(listing.read_text().replace("other/", "evil/"))
    assert where(shop.reopen()) == {("public", "simple/index.html")}


@pytest.mark.parametrize("name", ["metadata", "simple", "files", "simple/demo", "files/demo"])
def test_a_link_in_the_place_of_a_folder(shop: Place, tmp_path: Path, name: str) -> None:
    (shop.public / name).rename(tmp_path / "outside")
    (shop.public / name).symlink_to(tmp_path / "outside")
    assert ("public", name) in where(shop.reopen())


def test_an_old_root_of_other_bytes(shop: Place) -> None:
    shop.online = CryptoSigner.generate_ed25519()
    shop.repository.install(shop.rotation(shop.online), shop.online)
    shop.roles = shop.repository.signed_roles()
    shop.online = CryptoSigner.generate_ed25519()
    shop.repository.install(shop.rotation(shop.online), shop.online)
    root = shop.public / "metadata" / "2.root.json"
    data = root.read_bytes()
    root.unlink()
    root.write_bytes(data + b"\n")
    assert where(shop.reopen()) == {("metadata", "2.root")}
