"""Private keys where the server can read them: found, named, and nothing else called one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from indextrust.ceremony import generate_key, load_signer, public_path
from indextrust.repository.care import exposed_keys
from tests.repository.place import Place

PASSPHRASE = "a passphrase"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ann's root key, the online key, and the one before it."""
    folder = tmp_path_factory.mktemp("keys")
    generate_key(folder / "ann.pem", PASSPHRASE, keyholder="Ann Árvai")
    generate_key(folder / "online.pem", PASSPHRASE)
    generate_key(folder / "old.pem", PASSPHRASE)
    return folder


@pytest.fixture
def keys(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "keys"))


@pytest.fixture
def online(made: Path) -> str:
    return load_signer(made / "online.pem", PASSPHRASE).public_key.keyid


def test_the_online_key_belongs_there_and_the_others_do_not(keys: Path, online: str) -> None:
    found = exposed_keys([keys], online)
    assert found == [
        f"{keys / 'ann.pem'} is the root key of Ann Árvai, and this server can read it: take it "
        f"off this machine",
        f"{keys / 'old.pem'} is an online key that is not the one in force, and this server can "
        f"read it: take it off this machine",
    ]


def test_keys_that_were_taken_away_are_no_longer_warned_of(keys: Path, online: str) -> None:
    for name in ("ann.pem", "old.pem"):
        (keys / name).unlink()  # the public halves stay
    assert exposed_keys([keys, keys / "nowhere"], online) == []


@pytest.mark.parametrize("below", ["", "backup", "."])
def test_one_folder_further_down_is_looked_into(keys: Path, online: str, below: str) -> None:
    place = keys / below
    place.mkdir(exist_ok=True)
    for file in (keys / "ann.pem", public_path(keys / "ann.pem")):
        file.rename(place / f"x{file.name}")
    assert any("xann.pem is the root key of Ann" in text for text in exposed_keys([keys], online))


def test_a_key_file_of_another_tool_is_one_too(keys: Path, online: str) -> None:
    plain = Ed25519PrivateKey.generate().private_bytes(
        ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption()
    )
    (keys / "id").write_bytes(b"a note before it\n" + plain)
    (keys / "notes.txt").write_text("where is the PRIVATE KEY----- of Ann?\n")
    found = [text for text in exposed_keys([keys], online) if "public half is not beside" in text]
    assert [text.split()[0] for text in found] == [str(keys / "id")]


def test_a_folder_is_looked_through_once_by_whatever_names_it_goes(keys: Path, online: str) -> None:
    link = keys.with_name("link")
    link.symlink_to(keys)
    assert len(exposed_keys([keys, link], online)) == 2


@pytest.mark.parametrize("kind", ["pipe", "loop", "endless"])
def test_odd_files_are_passed_over(keys: Path, online: str, kind: str) -> None:
    path = keys / "odd.pem"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    else:
        path.write_bytes(b"-----BEGIN PRIVATE KEY-----\n" * 10_000)
    assert len(exposed_keys([keys], online)) == 2


def test_status_warns_of_a_keyholders_key_in_the_repository_and_beside_the_online_key(
    tmp_path: Path, keys: Path
) -> None:
    place = Place(tmp_path, bins=2)
    assert not any("take it off" in text for text in place.repository.status().warnings)
    shutil.copy2(keys / "ann.pem", place.repository.folder)
    warnings = place.repository.status(keys=keys).warnings
    assert sum("take it off this machine" in text for text in warnings) == 4
