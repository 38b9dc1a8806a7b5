"""The index in which the examples of this folder are played: an operator, and a user.

Keys are held in memory here, so that each example shows the recovery and little else. How
keyholders keep theirs: ../ceremonies.
"""

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from indextrust.ceremony import BinScheme, genesis
from indextrust.client import Client, TrustedIndexes
from indextrust.errors import IndextrustError
from indextrust.repository import Repository
from indextrust.testing import TamperingServer, make_wheel

NOW = datetime.now(UTC)
WHEEL = "lantern-1.0-py3-none-any.whl"
FILE = f"files/lantern/{WHEEL}"


class Shop:
    """An index that serves two wheels, and a user who has seen them.

    Args:
        folder: empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "index"
        self.keyholders = [CryptoSigner.generate_ed25519() for _ in range(5)]
        self.online = CryptoSigner.generate_ed25519()
        self.roles = genesis(
            self.keyholders, 3, self.online.public_key, bins=BinScheme.of(4), now=NOW
        )
        self.root = self.roles.root[0]
        Repository.create(self.path, self.roles, online=self.online)
        self.publish(*(make_wheel(folder, name, "1.0") for name in ("lantern", "compass")))
        self.server = TamperingServer(self.public)
        self.indexes = TrustedIndexes(folder / "home")
        self.indexes.add("shop", self.server.url, self.root)
        self.say("the user", self.install)

    @property
    def public(self) -> Path:
        """What is served."""
        return self.path / "public"

    def open(self) -> Repository:
        """The repository, with its online key."""
        return Repository.open(self.path, online=self.online)

    def publish(self, *wheels: Path) -> None:
        """Add these, and publish."""
        repository = self.open()
        repository.add(*wheels)
        repository.publish()

    def client(self) -> Client:
        """The user's."""
        return self.indexes.client("shop")

    def install(self) -> str:
        """The user gets lantern 1.0."""
        client = self.client()
        root = client.refresh().root_version
        with tempfile.TemporaryDirectory() as downloads:
            client.download(client.file(WHEEL), Path(downloads))
        return f"gets {WHEEL}, under root {root}"

    @staticmethod
    def say(who: str, action: Callable[[], object]) -> None:
        """Print what came of it: what it returns, or why it was refused."""
        try:
            print(f"{who}: {action()}")
        except IndextrustError as error:
            print(f"{who}: {type(error).__name__}: {error}")


def play(story: Callable[[Shop], None]) -> None:
    """Play a story in a temporary folder."""
    with tempfile.TemporaryDirectory() as temporary:
        shop = Shop(Path(temporary))
        try:
            story(shop)
        finally:
            shop.server.close()
