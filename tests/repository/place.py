"""One operator's table: a clock to set, keyholders, an online key, a small index."""

from __future__ import annotations

import copy
import json
import sqlite3
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner

from indextrust.ceremony import BinScheme, genesis, rotate
from indextrust.names import Layout
from indextrust.repository import Repository, SignedRoles
from indextrust.repository.schema import Database
from indextrust.repository.seal import KEY, Seal, read_key
from indextrust.repository.state import State
from tests.support.wheels import make_wheel

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


class Clock:
    """A clock that goes when told to."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, **time: float) -> None:
        self.now += timedelta(**time)


@dataclass
class Place:
    """A folder, the people and keys, and the repository in it.

    Args:
        folder: temporary.
        clock: the repository's.
        bins: number of bins.
        layout: what is a target.
        succinct: how the bins are delegated; None for the default.
    """

    folder: Path
    clock: Clock = field(default_factory=Clock)
    bins: int = 4
    keyholders: list[CryptoSigner] = field(
        default_factory=lambda: [CryptoSigner.generate_ed25519() for _ in range(3)]
    )
    online: CryptoSigner = field(default_factory=CryptoSigner.generate_ed25519)
    layout: Layout = "pep458"
    succinct: bool | None = None

    def __post_init__(self) -> None:
        self.roles = genesis(
            self.keyholders,
            2,
            self.online.public_key,
            bins=BinScheme.of(self.bins, succinct=self.succinct),
            now=self.clock.now,
            layout=self.layout,
        )
        self.uploads = self.folder / "uploads"
        self.uploads.mkdir()
        self.repository = Repository.create(
            self.folder / "index", self.roles, online=self.online, clock=self.clock
        )

    def copied(self, folder: Path) -> Place:
        """The same in another folder that does not exist yet, with a clock of its own."""
        copied = copy.copy(self)
        subprocess.run(["cp", "-a", self.folder, folder], check=True)  # hard links stay
        copied.folder = folder
        copied.uploads = folder / "uploads"
        copied.clock = Clock(self.clock.now)
        copied.repository = Repository.open(
            folder / "index", online=self.online, clock=copied.clock
        )
        return copied

    @property
    def public(self) -> Path:
        return self.repository.public

    def wheel(self, name: str, version: str, **more: Any) -> Path:
        """A new wheel to upload; the same arguments give the same bytes."""
        folder = self.uploads / str(len(list(self.uploads.iterdir())))
        folder.mkdir()
        return make_wheel(folder, name, version, **more)

    def publish(self, *wheels: Path) -> None:
        self.repository.add(*wheels)
        self.repository.publish()

    def reopen(self) -> Repository:
        """Another process opens the folder."""
        return Repository.open(self.repository.folder, online=self.online, clock=self.clock)

    def state(self) -> State:
        """The repository's state, to be looked at and written to without the lock."""
        folder = self.repository.folder
        seal = Seal(read_key(folder / KEY), folder, folder / "incoming")
        return State(Database(folder / "state.sqlite"), seal, "ada")

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """What an attacker does to the database, who knows SQL and has no key."""
        return sql(self.repository.folder, statement, *values)

    def rotation(self, online: CryptoSigner) -> SignedRoles:
        """The keyholders meet and replace the online key."""
        return rotate(self.roles, self.keyholders[:2], online.public_key, now=self.clock.now)

    def signed(self, filename: str) -> dict[str, Any]:
        """The signed part of a served metadata file."""
        tree = json.loads((self.public / "metadata" / filename).read_bytes())
        signed: dict[str, Any] = tree["signed"]
        return signed

    def document(self, project: str) -> dict[str, Any]:
        """A served project document."""
        tree: dict[str, Any] = json.loads(
            (self.public / "simple" / project / "index.json").read_bytes()
        )
        return tree

    def versions(self) -> dict[str, int]:
        """Role name to version, as the served timestamp and snapshot have them."""
        timestamp = self.signed("timestamp.json")
        number = timestamp["meta"]["snapshot.json"]["version"]
        meta: Mapping[str, Any] = self.signed(f"{number}.snapshot.json")["meta"]
        listed = {name.removesuffix(".json"): entry["version"] for name, entry in meta.items()}
        return {**listed, "snapshot": number, "timestamp": timestamp["version"]}


def sql(folder: Path, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Run a statement on the database of the repository in `folder`."""
    db = sqlite3.connect(folder / "state.sqlite")
    try:
        with db:
            return db.execute(statement, values).fetchall()
    finally:
        db.close()


def everything(folder: Path) -> dict[str, bytes | None]:
    """Every file below `folder` with its bytes, and every folder: to compare before and after.

    But for the database's journal while its head is empty: what stands behind that is not read.
    """
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if path.name != "state.sqlite-journal" or path.read_bytes()[:8].strip(b"\0")
    }
