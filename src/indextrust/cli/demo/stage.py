"""The stage: which folder holds what, and what the acts hand to one another."""

from __future__ import annotations

import functools
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from indextrust.cli.genesis import ONLINE, fingerprint, key_path
from indextrust.cli.stagecraft.people import Environment, Person
from indextrust.testing import TamperingServer

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

    from indextrust.repository import Checkpoint, Repository

__all__ = ["KEYHOLDERS", "LAST_WEEK", "NEW_ONLINE", "THRESHOLD", "Stage"]

KEYHOLDERS = ("ada", "grace", "hedy")
THRESHOLD = 2
NEW_ONLINE = "online-2"
LAST_WEEK = timedelta(days=8)
"""How long before the demo its index is founded, so that there is old metadata to replay."""


@dataclass
class Stage:
    """Everything lies below `folder`.

    Args:
        folder: empty at the beginning.
        now: when the demo began, aware, UTC.
    """

    folder: Path
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    stolen_paths: tuple[str, ...] = ()
    """What the thief of act 6 changed."""
    malicious: str = ""
    """SHA-256 of the wheel that he put there."""

    def __post_init__(self) -> None:
        self._passphrases = {
            name: secrets.token_urlsafe(12) for name in (*KEYHOLDERS, ONLINE, NEW_ONLINE)
        }
        self._people: dict[str, Person] = {}
        self._server: TamperingServer | None = None
        for folder in (self.keys, self.checkpoint.parent, self.folder / "environments"):
            folder.mkdir()

    @property
    def repository(self) -> Path:
        """The operator's repository."""
        return self.folder / "index"

    @property
    def public(self) -> Path:
        """The part of it that is served."""
        return self.repository / "public"

    @property
    def keys(self) -> Path:
        """All key files."""
        return self.folder / "keys"

    @property
    def checkpoint(self) -> Path:
        """The last known good snapshot, kept where the server is not."""
        return self.folder / "kept-elsewhere" / "good.checkpoint"

    @property
    def last_week(self) -> Path:
        """A copy of the metadata as it was served eight days ago."""
        return self.folder / "last-week" / "metadata"

    @property
    def cdn(self) -> TamperingServer:
        """The server between the operator and everybody else."""
        if self._server is None:
            self._server = TamperingServer(self.public)
        return self._server

    @functools.cached_property
    def tools(self) -> Environment:
        """A fresh environment with pip: it fetches, it is installed into, its pip is used on."""
        return Environment(self.folder / "environments" / "pip", pip=True)

    def environment(self, name: str) -> Environment:
        """A fresh environment without pip."""
        return Environment(self.folder / "environments" / name)

    def person(self, name: str) -> Person:
        """Somebody who installs; at first sight they learn the root's fingerprint by a safe way."""
        if name not in self._people:
            person = Person(self.folder / "people" / name, self.tools, "demo")
            first_root = (self.public / "metadata" / "1.root.json").read_bytes()
            person.trust(self.cdn.url, fingerprint(first_root))
            self._people[name] = person
        return self._people[name]

    def remember_good(self, repository: Repository) -> None:
        """Keep a checkpoint of what is published now as the last known good, and its digest."""
        root = (self.last_week / "1.root.json").read_bytes()
        made = repository.checkpoint(root, self.checkpoint)
        self.checkpoint.with_name("digest.txt").write_text(made.digest)

    def good(self) -> Checkpoint:
        """The last known good checkpoint, by the digest that was written down."""
        from indextrust.repository import read_checkpoint

        return read_checkpoint(self.checkpoint, self.checkpoint.with_name("digest.txt").read_text())

    def flask(self) -> tuple[str, str]:
        """The honest flask wheel's file name, and its SHA-256."""
        with self.good() as good:
            project = good.project("flask")
            files = [] if project is None else list(project.files.values())
        return next((f.filename, f.sha256) for f in files if f.filename.endswith(".whl"))

    def passphrase(self, name: str) -> str:
        """What key `name` is encrypted with, made up for this demo."""
        return self._passphrases[name]

    def new_key(self, name: str) -> CryptoSigner:
        """Make key `name` and open it."""
        from indextrust.ceremony import generate_key

        keyholder = name if name in KEYHOLDERS else None
        generate_key(key_path(self.keys, name), self.passphrase(name), keyholder=keyholder)
        return self.signer(name)

    def signer(self, name: str) -> CryptoSigner:
        """Open key `name`."""
        from indextrust.ceremony import load_signer

        return load_signer(key_path(self.keys, name), self.passphrase(name))

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.close()
