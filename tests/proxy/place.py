"""A really published index with a server in front of it, clients of it, and what is in it."""

from __future__ import annotations

import hashlib
import socket
from dataclasses import dataclass
from pathlib import Path

from indextrust.client import Client, FileMetadataStore, SqliteMemory, Urllib3Fetcher
from indextrust.testing import TamperingServer

ALPHA = "alpha_lib-1.0-py3-none-any.whl"  # needs beta
BETA = "beta-1.5-py3-none-any.whl"
GAMMA = "gamma-2.0.tar.gz"  # an sdist: no core metadata beside it


@dataclass(frozen=True)
class Place:
    """An index folder of one's own, and the server that a client meets.

    Args:
        folder: everything lies below it.
        root: the bootstrap root.
        server: serves the index, and tampers when told to.
    """

    folder: Path
    root: bytes
    server: TamperingServer

    @property
    def public(self) -> Path:
        return self.folder / "index" / "public"

    def client(self, name: str = "ann") -> Client:
        """A client with trusted metadata and first-seen memory of its own, kept by its name."""
        home = self.folder / name
        home.mkdir(exist_ok=True)
        return Client(
            self.server.url,
            root=self.root,
            store=FileMetadataStore(home / "metadata"),
            memory=SqliteMemory(home / "memory.sqlite"),
            fetcher=Urllib3Fetcher(seconds=5),
            name="test",
        )

    def sha256(self, path: str) -> str:
        """Digest of what is published under a target path."""
        return hashlib.sha256((self.public / path).read_bytes()).hexdigest()

    def served(self, path: str) -> str:
        """The path that clients ask for: with the target's digest, if it is one."""
        folder, _, name = path.rpartition("/")
        prefixed = f"{folder}/{self.sha256(path)}.{name}"
        return prefixed if (self.public / prefixed).exists() else path


def one_byte_changed(data: bytes) -> bytes:
    """The same length, another middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def raw_request(port: int, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes, read until the server closes; status, headers (lower case) and body."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(request)
        received = b""
        while piece := connection.recv(65_536):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return int(first.split(" ")[1]), headers, body
