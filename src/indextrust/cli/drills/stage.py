"""The stage: which folder holds what, who is there, and what the acts hand to one another."""

from __future__ import annotations

import functools
import hashlib
import json
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from indextrust.cli.genesis import ONLINE, fingerprint, key_path
from indextrust.cli.stagecraft.commands import Answer, indextrust
from indextrust.cli.stagecraft.people import Environment, Person
from indextrust.names import BinScheme
from indextrust.testing import TamperingServer, make_wheel

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, Signer
    from tuf.ngclient import Updater

    from indextrust.client import Client
    from indextrust.repository import Repository, SignedRoles

__all__ = ["INDEX", "KEYHOLDERS", "PROJECT", "THRESHOLD", "Stage", "served_versions"]

KEYHOLDERS = ("ada", "grace", "hedy", "joan", "mary")
THRESHOLD = 3
INDEX = "shop"
"""The name under which everybody trusts the index."""

PROJECT = "lantern"
"""The project that everybody installs."""

_BINS = 16


class Stage:
    """Everything lies below `folder`.

    Args:
        folder: empty at the beginning.
    """

    store_size = 1000
    """Wheels in the index whose store is tampered with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = datetime.now(UTC)
        self.repository = folder / "index"
        self.keys = folder / "keys"
        self.announced = b""
        """The root whose fingerprint the operator tells by a way that is not the index."""
        self.good: dict[str, str] = {}
        """Target path to SHA-256 of what is honest."""
        self.stolen: list[Signer] = []
        """What the thief signs with."""
        self.tampered: list[str] = []
        """The target paths that he changed."""
        self.good_checkpoint: list[str] = []
        """The words by which commands are given the last checkpoint, and its digest."""
        self.environments: dict[str, Environment] = {}
        """Into what each person installed last."""
        self._keys: dict[str, tuple[Path, str]] = {}
        self._signers: dict[str, CryptoSigner] = {}
        self._people: dict[str, Person] = {}
        self._server: TamperingServer | None = None
        for made in (self.keys, folder / "wheels", folder / "environments", folder / "tuf"):
            made.mkdir()

    @property
    def public(self) -> Path:
        """The part of the repository that is served."""
        return self.repository / "public"

    @property
    def metadata(self) -> Path:
        """The metadata in it."""
        return self.public / "metadata"

    @property
    def cdn(self) -> TamperingServer:
        """The server between the operator and everybody else."""
        if self._server is None:
            self._server = TamperingServer(self.public)
        return self._server

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.close()

    # -- the operator ------------------------------------------------------------------------

    def found(self, folder: Path, keyholders: tuple[str, ...], online: str) -> SignedRoles:
        """Hold a genesis ceremony with new keys, and publish an empty index in `folder`."""
        from indextrust.ceremony import genesis
        from indextrust.repository import Repository

        holders = [self.new_key(name) for name in keyholders]
        key = self.new_key(online)
        bins = BinScheme.of(_BINS)
        roles = genesis(holders, THRESHOLD, key.public_key, bins=bins, now=self.now)
        Repository.create(folder, roles, online=key)
        self.announced = roles.root[0]
        return roles

    def opened(self, online: str = ONLINE) -> Repository:
        """The repository, with an online key to sign with."""
        from indextrust.repository import Repository

        return Repository.open(self.repository, online=self.signer(online))

    def publish(self, *wheels: Path, online: str = ONLINE) -> None:
        """Add these, publish, and remember that what is published now is honest."""
        repository = self.opened(online)
        repository.add(*wheels)
        repository.publish()
        self.good = {path: file.sha256 for path, file in repository.published_targets().items()}

    def wheel(self, project: str, version: str, content: str = "") -> Path:
        """A small wheel of this project, which pip installs."""
        folder = self.folder / "wheels" / hashlib.sha256(content.encode()).hexdigest()[:8]
        folder.mkdir(exist_ok=True)
        return make_wheel(folder, project, version, content=content)

    def new_key(self, name: str, path: Path | None = None) -> CryptoSigner:
        """Make key `name`, in the folder of all keys or at `path`, and open it."""
        from indextrust.ceremony import generate_key

        self._keys[name] = path or key_path(self.keys, name), secrets.token_urlsafe(12)
        keyholder = None if name.startswith(ONLINE) else name
        generate_key(*self._keys[name], keyholder=keyholder)
        return self.signer(name)

    def signer(self, name: str) -> CryptoSigner:
        """Open key `name`; its passphrase takes a while, so once."""
        from indextrust.ceremony import load_signer

        if name not in self._signers:
            self._signers[name] = load_signer(*self._keys[name])
        return self._signers[name]

    def passphrase_of(self, name: str, called: str | None = None) -> list[str]:
        """The option that brings a command the passphrase of key `name`, which it calls so."""
        path, passphrase = self._keys[name]
        phrase = path.with_suffix(".phrase")
        phrase.touch(0o600)
        phrase.write_text(passphrase)
        return ["--passphrase-file", f"{called or name}={phrase}"]

    def checkpoint(self) -> list[str]:
        """Make a checkpoint of what is served, to be kept elsewhere: its file, ``--digest``, and
        the digest, which somebody writes on paper."""
        folder = self.folder / "kept-elsewhere"
        folder.mkdir(exist_ok=True)
        made = self.opened().checkpoint(self.announced, folder)
        return [str(made.path), "--digest", made.digest]

    def key_file(self, name: str) -> tuple[Path, str]:
        """The file of key `name`, and its passphrase: what a thief of it has."""
        return self._keys[name]

    def command(self, *arguments: str | Path) -> Answer:
        """Run one of indextrust's own commands."""
        return indextrust(*arguments)

    # -- those who use the index -------------------------------------------------------------

    @functools.cached_property
    def tools(self) -> Environment:
        """A fresh environment with pip: its pip is used on others."""
        return self.environment("pip", pip=True)

    def environment(self, name: str, *, pip: bool = False) -> Environment:
        """A fresh environment."""
        return Environment(self.folder / "environments" / name, pip=pip)

    def newcomer(self, home: Path) -> Person:
        """Somebody who trusts no index yet."""
        return Person(home, self.tools, INDEX)

    def person(self, name: str) -> Person:
        """Somebody who installs; at first sight they learn the root's fingerprint by a safe way."""
        if name not in self._people:
            person = self.newcomer(self.home(name))
            person.trust(self.cdn.url, fingerprint(self.announced))
            self._people[name] = person
        return self._people[name]

    def home(self, name: str) -> Path:
        """What this person's indextrust remembers."""
        return self.folder / "people" / name

    def client(self, home: Path) -> Client:
        """The client of a person's home, or of a copy of it."""
        from indextrust.client import TrustedIndexes

        return TrustedIndexes(home).client(INDEX)

    def updater(self, cache: Path) -> Updater:
        """python-tuf's own client, which trusts the announced root and has this cache."""
        from tuf.ngclient import Updater

        downloads = cache / "downloads"
        downloads.mkdir(parents=True, exist_ok=True)
        return Updater(
            str(cache / "metadata"),
            f"{self.cdn.url}metadata/",
            str(downloads),
            self.cdn.url,
            bootstrap=self.announced,
        )

    def cache(self, name: str) -> Path:
        """What an `updater` called so remembers."""
        return self.folder / "tuf" / name

    def filename(self, project: str = PROJECT, version: str = "1.0") -> str:
        """The file name of a project's wheel."""
        return f"{project}-{version}-py3-none-any.whl"

    def target(self, project: str = PROJECT, version: str = "1.0") -> str:
        """The target path of a project's wheel."""
        return f"files/{project}/{self.filename(project, version)}"


def served_versions(metadata: Path) -> dict[str, int]:
    """Timestamp, snapshot and every bin, as the served timestamp and snapshot have them."""
    timestamp = json.loads((metadata / "timestamp.json").read_bytes())["signed"]
    number = timestamp["meta"]["snapshot.json"]["version"]
    meta = json.loads((metadata / f"{number}.snapshot.json").read_bytes())["signed"]["meta"]
    bins = {name.removesuffix(".json"): entry["version"] for name, entry in meta.items()}
    found = {name: version for name, version in bins.items() if name.startswith("bin-")}
    return {**found, "snapshot": number, "timestamp": timestamp["version"]}
