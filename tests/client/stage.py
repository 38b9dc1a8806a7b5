"""A python-tuf repository on a server that may lie, and clients that have its root."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from indextrust.client import (
    Fetcher,
    FileMetadataStore,
    MetadataStore,
    TufClient,
    Urllib3Fetcher,
)
from indextrust.testing import MetadataRepository, TamperingServer
from indextrust.trust import Policy

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WHEEL = "files/demo/demo-1.0-py3-none-any.whl"
BYTES = b"the wheel's bytes" * 1000


class Stage:
    """One repository, published; its server; a folder for what clients keep."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.public = folder / "public"
        self._written: dict[str, bytes] = {}
        self.now = NOW
        self.repository = MetadataRepository(now=NOW)
        self.repository.delegate("targets", "bins", ["files/*/*", "simple/*/*"], terminating=True)
        self.add(WHEEL, BYTES)
        self.publish()
        self.server = TamperingServer(self.public)

    def add(self, path: str, data: bytes) -> None:
        """List a target in the delegated role."""
        self.repository.add_target(path, data, role="bins")

    def publish(self) -> None:
        """Publish every role but root, and write what is served."""
        self.repository.publish()
        self.write()

    def write(self) -> None:
        """Write what is served: targets at the base, beside ``metadata/``."""
        for path, data in self.repository.served().items():
            file = self.public / path.removeprefix("targets/")
            if self._written.get(path) != data or not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
                self._written[path] = data

    def client(
        self,
        *,
        store: MetadataStore | None = None,
        fetcher: Fetcher | None = None,
        root: bytes | None = None,
        policy: Policy | None = None,
    ) -> TufClient:
        """A new client on the same cache, unless it is given another."""
        return TufClient(
            self.server.url + "metadata/",
            root=root or self.repository.files["1.root.json"],
            store=store or self.store(),
            fetcher=fetcher or Urllib3Fetcher(seconds=20),
            targets_url=self.server.url,
            clock=lambda: self.now,
            policy=policy,
        )

    def store(self) -> FileMetadataStore:
        """The cache that this stage's clients share."""
        return FileMetadataStore(self.folder / "cache")

    def stored(self) -> dict[str, bytes]:
        """What the shared cache trusts: role file to bytes."""
        return {path.name: path.read_bytes() for path in (self.folder / "cache").glob("*.json")}

    def requests(self) -> list[str]:
        """What was asked for since the last call."""
        seen = list(self.server.requests)
        self.server.requests.clear()
        return seen
