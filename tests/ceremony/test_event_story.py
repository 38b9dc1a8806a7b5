"""Six folders that share nothing but copied event files; tuf's own client follows the chain.

Five keyholders, 3 of them needed, and a coordinator. A genesis, a year's renewal with a lost
keyholder replaced, and a new online key with another threshold; by the commands people type.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from securesystemslib.signer import Signer
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata, MetaFile, Snapshot, Targets, Timestamp
from tuf.ngclient import FetcherInterface, Updater

from indextrust.ceremony import SignedRoles, load_signer
from indextrust.cli.app import run
from indextrust.names import BinScheme
from tests.ceremony.parties import root_of, targets_of

PEOPLE = ("ann", "bob", "cid", "dee", "eve")


class Folders:
    """Everybody's own folder."""

    def __init__(self, base: Path) -> None:
        self.base = base
        for name in (*PEOPLE, "fay", "lea"):
            (base / name).mkdir()

    def of(self, name: str) -> Path:
        return self.base / name

    def key(self, name: str, *options: str, folder: str | None = None) -> Path:
        """`name` makes a key at home; what is handed over is the public half."""
        home = self.of(folder or name)
        phrase = home / f"{name}.txt"
        phrase.write_text(f"the passphrase of {name}\n")
        phrase.chmod(0o600)
        made = home / f"{name}.pem"
        must("key", "generate", made, *options, f"--passphrase-file={name}={phrase}")
        return home / f"{name}.pub.json"

    def sign(self, event: Path, name: str) -> Path:
        """`name` gets a copy of the event, signs it at home, and hands the copy back."""
        home = self.of(name)
        mine = Path(shutil.copy2(event, home / "event.json"))
        digest = json.loads(self.out("ceremony", "show", mine, "--json"))["event"]["digest"]
        must(
            *("ceremony", "sign", mine, "--keyholder", name.title()),
            *("--key", f"file2:{home / name}.pem", "--digest", digest),
            f"--passphrase-file={name.title()}={home / name}.txt",
        )
        return mine

    capture: pytest.CaptureFixture[str]

    def out(self, *arguments: str | Path) -> str:
        self.capture.readouterr()
        must(*arguments)
        return self.capture.readouterr().out


def must(*arguments: object) -> None:
    assert run([str(one) for one in arguments]) == 0


@pytest.fixture
def folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Folders:
    made = Folders(tmp_path)
    made.capture = capsys
    return made


class _Folder(FetcherInterface):
    """tuf's client gets its files from a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = self.folder / Path(urlsplit(url).path).name
        if not path.is_file():
            raise DownloadHTTPError("not there", 404)
        yield path.read_bytes()


def serve(folder: Path, roles: SignedRoles, online: Signer, version: int) -> None:
    """What the server adds, by python-tuf: snapshot, timestamp and four empty bins."""
    roles.save(folder)
    expires = datetime.now(UTC) + timedelta(days=1)
    versions = {
        "targets": targets_of(roles.targets).version,
        "bins": targets_of(roles.bins).version,
        **dict.fromkeys(BinScheme.of(4).names(), version),
    }
    meta = {f"{name}.json": MetaFile(number) for name, number in versions.items()}
    made: dict[str, Targets | Snapshot | Timestamp] = {
        f"{version}.snapshot.json": Snapshot(version, expires=expires, meta=meta),
        "timestamp.json": Timestamp(version, expires=expires, snapshot_meta=MetaFile(version)),
        **{
            f"{version}.{name}.json": Targets(version, expires=expires)
            for name in BinScheme.of(4).names()
        },
    }
    for name, role in made.items():
        metadata: Metadata[Any] = Metadata(role)
        metadata.sign(online)
        (folder / name).write_bytes(metadata.to_bytes())


def finish(folders: Folders, event: Path, copies: list[Path], name: str) -> SignedRoles:
    """The coordinator brings the copies together and finishes."""
    must("ceremony", "merge", event, *copies)
    must("ceremony", "verify", event, "--days", "300")
    must("ceremony", "finish", event, folders.of("lea") / name)
    return SignedRoles.load(folders.of("lea") / name / "public")


def test_a_genesis_and_two_rotations_across_six_folders(folders: Folders, tmp_path: Path) -> None:
    lea, served = folders.of("lea"), tmp_path / "served"
    given = {name: folders.key(name, "--keyholder", name.title()) for name in PEOPLE}
    online = folders.key("online1", "--role=online", folder="lea")
    add = [f"--add={path}" for path in given.values()]

    # Genesis: 3 of 5, and two of them are absent.
    event = lea / "genesis.json"
    must(
        *("ceremony", "propose", event, *add, "--threshold=3", f"--online={online}", "--bins=4"),
        "--by=Lea",
    )
    copies = [folders.sign(event, name) for name in ("eve", "ann", "cid")]
    assert run(["ceremony", "finish", str(event), str(lea / "too-early")]) == 30
    assert not (lea / "too-early").exists()
    roles = finish(folders, event, copies, "first")
    signer = load_signer(lea / "online1.pem", "the passphrase of online1")
    serve(served, roles, signer, 1)
    client = tmp_path / "client"
    updater = Updater(
        str(client), "https://index/", fetcher=_Folder(served), bootstrap=roles.root[0]
    )
    updater.refresh()

    # A year later: Bob lost his key, Fay takes his place.
    fay = folders.key("fay", "--keyholder=Fay")
    event = lea / "fay.json"
    current = lea / "first" / "full-backup" / "roles"
    must("ceremony", "propose", event, f"--from={current}", f"--add={fay}", "--remove=Bob")
    copies = [folders.sign(event, name) for name in ("dee", "fay", "ann")]
    must("ceremony", "merge", event, *copies)
    shown = folders.out("ceremony", "status", event)
    assert "1 more for the old root 1, out of Bob" in shown
    assert run(["ceremony", "finish", str(event), str(lea / "too-early")]) == 30
    serve(served, finish(folders, event, [folders.sign(event, "eve")], "second"), signer, 2)

    # The online key was stolen, and four must sign from now on.
    online = folders.key("online2", "--role=online", folder="lea")
    event = lea / "online.json"
    current = lea / "second" / "full-backup" / "roles"
    must(
        *("ceremony", "propose", event, f"--from={current}"),
        *(f"--online={online}", "--threshold=4"),
    )
    copies = [folders.sign(event, name) for name in ("fay", "eve", "dee", "cid")]
    roles = finish(folders, event, copies, "third")
    signer = load_signer(lea / "online2.pem", "the passphrase of online2")
    serve(served, roles, signer, 3)

    # tuf's own client follows from the first root to the third.
    updater = Updater(str(client), "https://index/", fetcher=_Folder(served), bootstrap=None)
    updater.refresh()
    assert updater.get_targetinfo("simple/demo/index.json") is None  # bins were walked, all empty
    trusted = root_of((client / "root.json").read_bytes())
    assert trusted.version == 3
    assert trusted.roles["root"].threshold == 4
    names = {key.unrecognized_fields.get("x-indextrust-keyholder") for key in trusted.keys.values()}
    assert {"Ann", "Cid", "Dee", "Eve", "Fay"} <= names
    assert "Bob" not in names
