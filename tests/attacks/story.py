"""How each attack is told, and what every story must show.

A story is one `refused` block. It holds the attack's promise in one place:

    with refused(stage, RollbackError, match="older than before",
                 stored=("timestamp",), last="3.snapshot.json", heal=lambda: recover(stage)):
        stage.client().refresh()

(a) the client refuses with exactly this type, and says why;
(b) on disk exactly the roles in `stored` changed; every other role, the refused one and all
    after it above all, is byte for byte as before, or as absent;
(c) the attacker's file was the `last` that was asked for: nothing is built on a refused file;
(d) once the server is honest again, one refresh of a new client on the same cache finds and
    downloads the honest target.

Whoever attacks is python-tuf or raw bytes: `stolen_keys_sign` signs anything with the keys of a
role, `Wire` says anything on a socket.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from tuf.api.metadata import Metadata, MetaFile

from indextrust.client import Fetcher, TufClient, Urllib3Fetcher
from indextrust.errors import IndextrustError
from indextrust.trust import TargetEntry
from tests.client.hostile import Answer, RawServer, ok
from tests.client.pages import sha256
from tests.client.stage import BYTES, WHEEL, Stage

ROLES = ("root", "timestamp", "snapshot", "targets", "bins")
"""In the order in which a client verifies them."""

Rewrite = Callable[[bytes], bytes]


# -- what every refusal must show ----------------------------------------------------------------


@contextlib.contextmanager
def refused(
    stage: Stage,
    kind: type[IndextrustError],
    *,
    match: str,
    last: str | None,
    stored: Sequence[str] = (),
    evidence: Sequence[bytes] = (),
    heal: Callable[[], object] | None = None,
    honest: Callable[[], object] | None = None,
    cache: Path | None = None,
) -> Iterator[pytest.ExceptionInfo[IndextrustError]]:
    """The block is refused, nothing else happens, and one honest refresh puts all right.

    Args:
        stage: the repository and its server.
        kind: the error's type, exactly.
        match: a regular expression found in its message.
        last: the last file asked for: a metadata file's name, or a target's path as it is
            requested; None if there was no request at all.
        stored: the roles that were verified before the refusal and are new on disk. Exactly
            these change.
        evidence: bytes that are kept for a person to look at. Exactly these are new.
        heal: what the operator does once the attacker is gone, `recover` mostly; None where
            it is enough that the server is honest again.
        honest: what a client does then, and what it must find; None for `one_honest_refresh`.
        cache: where the client keeps its trusted metadata; None for the stage's shared cache.

    Yields:
        The refusal; its ``value`` is there after the block.
    """
    folder = stage.folder / "cache" if cache is None else cache
    before, kept = trusted_files(folder), _evidence(folder)
    stage.requests()
    with pytest.raises(kind, match=match) as caught:
        yield caught
    asked = [path.removeprefix("metadata/") for path in stage.requests()]
    after = trusted_files(folder)
    assert type(caught.value) is kind
    assert asked[-1:] == ([] if last is None else [last])
    assert _changed_roles(before, after) == set(stored)
    new = [data for name, data in _evidence(folder).items() if name not in kept]
    assert sorted(new) == sorted(evidence)

    stage.server.be_honest()
    if heal is not None:
        heal()
    if honest is None:
        one_honest_refresh(stage)
    else:
        honest()


def one_honest_refresh(stage: Stage) -> None:
    """A new client on the same cache trusts the newest metadata, and gets the honest target."""
    client = stage.client()
    client.refresh()
    entry = client.target(WHEEL)
    assert isinstance(entry, TargetEntry)
    assert client.read(entry, max_length=len(BYTES)) == BYTES
    published = stage.repository.files
    for role in ROLES:
        assert stage.stored()[f"{role}.json"] == published[newest(stage, role)], role


def recover(stage: Stage) -> None:
    """The operator puts his own root back and publishes anew, above what the thief signed.

    Timestamp and snapshot are good for another day.
    """
    stage.repository.publish_again("root")
    for metadata in (stage.repository.timestamp, stage.repository.snapshot):
        metadata.signed.expires = stage.now + timedelta(days=1)
    stage.publish()


def trusted_files(cache: Path) -> dict[str, bytes]:
    """What a cache folder trusts: path below it to bytes, the history of roots included."""
    files = [*cache.glob("*.json"), *cache.glob("root_history/*.json")]
    return {str(path.relative_to(cache)): path.read_bytes() for path in files}


def _changed_roles(before: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    """The roles of which any file is new or other; none may vanish, and no old root change."""
    assert before.keys() <= after.keys(), "a trusted file was removed"
    changed = {name for name in after if before.get(name) != after[name]}
    assert not {name for name in changed & before.keys() if name.startswith("root_history/")}
    return {
        "root" if name.startswith("root_history/") else unquote(name.removesuffix(".json"))
        for name in changed
    }


def _evidence(cache: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in cache.glob("evidence/*")}


# -- the thief of keys ---------------------------------------------------------------------------


def stolen_keys_sign(
    stage: Stage,
    role: str,
    rewrite: Rewrite = bytes,
    *,
    envelope: Rewrite = bytes,
    hashes: bool = True,
) -> str:
    """The thief serves the next version of `role`, rewritten, and what must vouch for it.

    All roles go up one version first. Then the bytes under ``signed`` are rewritten and signed as
    they are, so that the forgery has no flaw but the one that the story is about; snapshot and
    timestamp are signed anew over it.

    Args:
        stage: the repository; its own objects stay honest, so `recover` heals it.
        role: ``root``, ``timestamp``, ``snapshot``, ``targets`` or ``bins``.
        rewrite: changes what is signed, in canonical form (keys sorted, no blanks).
        envelope: changes the finished file.
        hashes: whether snapshot and timestamp list length and hash of what is below them.

    Returns:
        The forged file's name.
    """
    repository = stage.repository
    if role == "root":
        repository.publish_root()
    repository.publish()
    name = newest(stage, role)
    honest: Metadata[Any] = Metadata.from_bytes(repository.files[name])
    forged = envelope(signed_by(stage, role, rewrite(honest.signed_bytes)))
    meta = repository.snapshot.signed.meta
    if not hashes:
        for file in meta:
            meta[file] = MetaFile(meta[file].version)
    repository.files[name] = forged
    if role == "snapshot":
        repository.publish_timestamp(forged)
    elif role not in ("root", "timestamp"):
        listed = meta[f"{role}.json"]
        if hashes:
            meta[f"{role}.json"] = MetaFile(listed.version, len(forged), {"sha256": sha256(forged)})
        repository.publish_timestamp(repository.publish_snapshot())
    if not hashes and role != "timestamp":
        repository.timestamp.signed.snapshot_meta = MetaFile(repository.snapshot.signed.version)
        repository.publish_again("timestamp")
    stage.write()
    return name


def signed_by(stage: Stage, role: str, payload: bytes) -> bytes:
    """A metadata file around `payload` as it stands, signed with all keys of `role`."""
    signatures = [signer.sign(payload).to_dict() for signer in stage.repository.signers[role]]
    return b'{"signatures":' + json.dumps(signatures).encode() + b',"signed":' + payload + b"}"


def newest(stage: Stage, role: str) -> str:
    """The name of the newest file of `role` that is published."""
    if role == "timestamp":
        return "timestamp.json"
    names = [name for name in stage.repository.files if name.endswith(f".{role}.json")]
    return max(names, key=lambda name: int(name.partition(".")[0]))


def verified_before(role: str) -> tuple[str, ...]:
    """What a client that knew the older set stores before it comes to `role`."""
    return ROLES[1 : max(1, ROLES.index(role))]


# -- the network ---------------------------------------------------------------------------------


_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody; the system's takes long to load


class Wire(RawServer):
    """The network between the client and the stage's server, in an attacker's hands.

    It says what `lies` has for a path (``metadata/timestamp.json``), on a raw socket, and passes
    on what the stage's server answers for every other. All requests are in `Stage.requests`.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.lies: dict[str, Answer] = {}
        super().__init__(self._speak)

    def client(self, *, fetcher: Fetcher | None = None) -> TufClient:
        """A new client on the stage's cache, whose every byte comes over this wire."""
        return TufClient(
            self.url + "metadata/",
            root=self.stage.repository.files["1.root.json"],
            store=self.stage.store(),
            fetcher=fetcher or Urllib3Fetcher(seconds=20, ssl_context=_NO_TLS),
            targets_url=self.url,
            clock=lambda: self.stage.now,
        )

    def _speak(self, peer: socket.socket) -> None:
        path = unquote(self.requests[-1].split(" ")[1]).removeprefix("/")
        if path in self.lies:
            self.stage.server.requests.append(path)
            self.lies[path](peer)
            return
        answer = self.stage.server.answer(path)
        if isinstance(answer, bytes):
            peer.sendall(ok(answer, "Connection: close"))
        else:
            peer.sendall(f"HTTP/1.1 {answer} No\r\nContent-Length: 0\r\n\r\n".encode())
