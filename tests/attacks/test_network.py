"""Who sits on the network, in the CDN or on a mirror, and holds no key at all.

He can withhold, delay, replay and garble. He never gets anything accepted that was not signed,
never takes the client back, never holds it for ever, and never fills its memory.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from indextrust.client import TufClient, Urllib3Fetcher
from indextrust.errors import (
    BudgetExceededError,
    ExpiredError,
    HashMismatchError,
    IndextrustError,
    LengthError,
    MalformedError,
    RollbackError,
    SignatureError,
    UnreachableError,
)
from indextrust.trust import Absent, TargetEntry
from tests.attacks.story import (
    ROLES,
    Wire,
    newest,
    recover,
    refused,
)
from tests.client.hostile import Answer, drip, endless, ok, raw, silence
from tests.client.pages import sha256
from tests.client.processes import visible
from tests.client.stage import BYTES, WHEEL, Stage

pytestmark = pytest.mark.timeout(60)
ARTIFACT = f"files/demo/{sha256(BYTES)}.demo-1.0-py3-none-any.whl"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNBOUNDED = b"HTTP/1.1 200 OK\r\n\r\n"
MEGABYTES = 1_000_000


CHUNK = 65_536 + 8_192
"""What the client may read beyond a limit: one chunk, and a buffer of what frames it."""


@dataclass
class Received:
    """Bytes that came over each of the client's connections, headers and framing included."""

    by_socket: dict[socket.socket, int]

    @property
    def most(self) -> int:
        """Over one connection."""
        return max(self.by_socket.values())


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Received:
    """Count what every `recv_into` gives: the client's only way to read a socket."""
    counted = Received({})
    original = socket.socket.recv_into

    def counting(self: socket.socket, *args: Any) -> int:
        count = original(self, *args)
        counted.by_socket[self] = counted.by_socket.get(self, 0) + count
        return count

    monkeypatch.setattr(socket.socket, "recv_into", counting)
    return counted


@dataclass
class Memory:
    """The most bytes that Python held at once within a `watched` block."""

    peak: int = 0


@contextlib.contextmanager
def watched() -> Iterator[Memory]:
    """Watch what is allocated, by the client and the attacker's thread together."""
    memory = Memory()
    tracemalloc.start()
    try:
        yield memory
    finally:
        memory.peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


def _download(client: TufClient, folder: Path) -> None:
    """What an installer does."""
    folder.mkdir(exist_ok=True)
    entry = client.target(WHEEL)
    assert isinstance(entry, TargetEntry)
    client.download(entry, folder / "demo.whl")


def _news(stage: Stage) -> None:
    """The operator publishes a new root and a new set, so that the client asks for every role."""
    stage.repository.publish_root()
    stage.publish()


def _stored_before(role: str) -> tuple[str, ...]:
    """What of the news is stored before the client comes to `role`."""
    return ROLES[: ROLES.index(role)]


# -- artifacts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(b"x" * len(BYTES), id="all bytes"),
        pytest.param(BYTES[:-1] + b"!", id="the last byte"),
        pytest.param(bytes([BYTES[0] ^ 1]) + BYTES[1:], id="the first bit"),
        pytest.param(BYTES[::-1], id="the same bytes in another order"),
    ],
)
def test_attack_01_another_artifact_of_the_same_length(
    stage: Stage, tmp_path: Path, lie: bytes
) -> None:
    """A mirror serves its own wheel, as long as the one that is listed. The client computes the
    hash, refuses it, and no file with the wheel's name appears."""
    stage.server.tamper(ARTIFACT, lie)
    with refused(stage, HashMismatchError, match=sha256(BYTES), last=ARTIFACT):
        _download(stage.client(), tmp_path / "downloads")
    assert visible(tmp_path / "downloads") == set()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(raw(ok(BYTES + b"x")), id="one byte more"),
        pytest.param(raw(UNBOUNDED + BYTES + b"x"), id="one byte more, unannounced"),
        pytest.param(raw(ok(BYTES * 2)), id="twice"),
        pytest.param(endless(UNBOUNDED + BYTES, b"x" * 65_536), id="endless"),
        pytest.param(endless(CHUNKED, b"10000\r\n" + b"x" * 65_536 + b"\r\n"), id="endless chunks"),
        pytest.param(
            endless(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n", BYTES),
            id="a length of thirty digits",
        ),
    ],
)
def test_attack_02_an_artifact_that_is_longer_than_listed_or_never_ends(
    wire: Wire, tmp_path: Path, received: Received, answer: Answer
) -> None:
    """The CDN sends the honest wheel and goes on sending. The client stops reading at the length
    that is listed, and one chunk."""
    wire.lies[ARTIFACT] = answer
    with refused(wire.stage, LengthError, match=f"at most {len(BYTES)}", last=ARTIFACT):
        _download(wire.client(), tmp_path / "downloads")
    assert received.most < len(BYTES) + CHUNK
    assert visible(tmp_path / "downloads") == set()


# -- broken HTTP ---------------------------------------------------------------------------------


def reset(start: bytes) -> Answer:
    """Send `start` and reset the connection."""

    def answer(peer: socket.socket) -> None:
        peer.sendall(start)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return answer


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param(raw(b""), UnreachableError, id="hung up"),
        pytest.param(reset(b""), UnreachableError, id="reset"),
        pytest.param(reset(b"HTTP/1.1 200 OK\r\n"), UnreachableError, id="reset in the headers"),
        pytest.param(
            reset(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"),
            UnreachableError,
            id="reset in the body",
        ),
        pytest.param(
            raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"),
            UnreachableError,
            id="truncated body",
        ),
        pytest.param(
            raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{}"),
            MalformedError,
            id="a length that is too small",
        ),
        pytest.param(
            raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), MalformedError, id="length 0"
        ),
        pytest.param(
            raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}"),
            UnreachableError,
            id="two lengths",
        ),
        pytest.param(
            raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n{}"),
            UnreachableError,
            id="two lengths in one header",
        ),
        pytest.param(
            raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1" + b"0" * 5000 + b"\r\n\r\n{}"),
            LengthError,
            id="a length of 5,001 digits",
        ),
        pytest.param(raw(CHUNKED), UnreachableError, id="no chunk"),
        pytest.param(raw(CHUNKED + b"5\r\n{}"), UnreachableError, id="truncated chunk"),
        pytest.param(raw(CHUNKED + b"2\r\n{}\r\n"), UnreachableError, id="no last chunk"),
        pytest.param(raw(CHUNKED + b"-2\r\n{}\r\n"), UnreachableError, id="negative chunk size"),
        pytest.param(raw(CHUNKED + b"xyz\r\n{}\r\n"), UnreachableError, id="chunk size xyz"),
        pytest.param(raw(CHUNKED + b"\r\n{}\r\n"), UnreachableError, id="empty chunk size"),
        pytest.param(
            raw(CHUNKED + b"f" * 4000 + b"\r\n{}\r\n"), UnreachableError, id="vast chunk size"
        ),
        pytest.param(
            raw(CHUNKED + b"2\r\n{}XX0\r\n\r\n"), MalformedError, id="chunk without its end"
        ),
        pytest.param(raw(b"\x16\x03\x01\x02\x00\x01"), UnreachableError, id="TLS"),
        pytest.param(raw(b"SSH-2.0-OpenSSH_9.6\r\n"), UnreachableError, id="SSH"),
        pytest.param(raw(b"{}"), UnreachableError, id="a body alone, as HTTP/0.9 had it"),
        pytest.param(raw(b"HTTP/1.1 OK\r\n\r\n{}"), UnreachableError, id="status OK"),
        pytest.param(raw(b"HTTP/1.1 2000 OK\r\n\r\n{}"), UnreachableError, id="status 2000"),
        pytest.param(raw(b"HTTP/1.1 -200 OK\r\n\r\n{}"), UnreachableError, id="status -200"),
        pytest.param(raw(b"HTTP/1.1 \xd9\xa2\xd9\xa0\xd9\xa0 OK\r\n\r\n{}"), UnreachableError,
                     id="Arabic digits"),
        pytest.param(raw(b"HTTP/9.9 200 OK\r\n\r\n{}"), UnreachableError, id="HTTP/9.9"),
        pytest.param(
            raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n{}"),
            UnreachableError,
            id="200 headers",
        ),
        pytest.param(
            raw(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n{}"),
            UnreachableError,
            id="a header of 70,000 bytes",
        ),
        pytest.param(
            raw(b"HTTP/1.1 302 No\r\nLocation: http://[::1/\r\n\r\n"),
            UnreachableError,
            id="a redirect to no URL",
        ),
        pytest.param(
            raw(b"HTTP/1.1 302 No\r\nLocation: http://127.0.0.1:1/\r\n\r\n"),
            UnreachableError,
            id="a redirect elsewhere",
        ),
    ],
)  # fmt: skip
def test_attack_03_an_answer_that_is_no_complete_http(
    wire: Wire, answer: Answer, kind: type[IndextrustError]
) -> None:
    """Somebody breaks the connection, or the protocol. No error of a library underneath escapes,
    and nothing is said of what the repository holds."""
    wire.lies["metadata/timestamp.json"] = answer
    with refused(wire.stage, kind, match=r"timestamp", last="timestamp.json"):
        wire.client().refresh()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("break_off", [raw, reset], ids=["hung up", "reset"])
def test_attack_03_whichever_file_breaks_off_in_the_middle(
    wire: Wire, role: str, break_off: Callable[[bytes], Answer]
) -> None:
    """Half of a file comes: it counts as nothing, and above all not as "no newer root"."""
    _news(wire.stage)
    name = newest(wire.stage, role)
    whole = ok(wire.stage.repository.files[name])
    wire.lies[f"metadata/{name}"] = break_off(whole[: len(whole) // 2])
    with refused(
        wire.stage, UnreachableError, match=rf"{name}.*HTTP", last=name, stored=_stored_before(role)
    ):
        wire.client().target(WHEEL)


@pytest.mark.parametrize("break_off", [raw, reset], ids=["hung up", "reset"])
def test_attack_03_an_artifact_that_breaks_off(
    wire: Wire, tmp_path: Path, break_off: Callable[[bytes], Answer]
) -> None:
    """Half of the wheel comes. No file with its name appears."""
    wire.lies[ARTIFACT] = break_off(ok(BYTES)[:9000])
    with refused(wire.stage, UnreachableError, match="complete HTTP answer", last=ARTIFACT):
        _download(wire.client(), tmp_path / "downloads")
    assert visible(tmp_path / "downloads") == set()


# -- unsigned and old timestamps -----------------------------------------------------------------


def _without_signatures(stage: Stage, tree: Any) -> None:
    tree["signatures"] = []


def _by_a_stranger(stage: Stage, tree: Any) -> None:
    tree["signatures"] = [_signature(CryptoSigner.generate_ed25519(), tree)]


def _by_a_stranger_in_our_name(stage: Stage, tree: Any) -> None:
    forged = _signature(CryptoSigner.generate_ed25519(), tree)
    tree["signatures"][0]["sig"] = forged["sig"]


def _by_another_role(stage: Stage, tree: Any) -> None:
    tree["signatures"] = [_signature(stage.repository.signers["snapshot"][0], tree)]


def _of_an_older_version(stage: Stage, tree: Any) -> None:
    older = stage.stored()["timestamp.json"]
    tree["signatures"] = json.loads(older)["signatures"]


def _after_signing(stage: Stage, tree: Any) -> None:
    tree["signed"]["expires"] = "2036-01-01T00:00:00Z"


def _with_zeros(stage: Stage, tree: Any) -> None:
    tree["signatures"][0]["sig"] = "00" * 64


def _with_nothing(stage: Stage, tree: Any) -> None:
    tree["signatures"][0]["sig"] = ""


def _signature(signer: CryptoSigner | Any, tree: Any) -> dict[str, Any]:
    signed: Metadata[Any] = Metadata.from_dict(json.loads(json.dumps(tree)))
    return dict(signer.sign(signed.signed_bytes).to_dict())


@pytest.mark.parametrize(
    "forge",
    [
        _without_signatures,
        _by_a_stranger,
        _by_a_stranger_in_our_name,
        _by_another_role,
        _of_an_older_version,
        _after_signing,
        _with_zeros,
        _with_nothing,
    ],
    ids=lambda forge: forge.__name__.strip("_"),
)
def test_attack_04_a_timestamp_that_the_timestamp_key_did_not_sign(
    stage: Stage, forge: Callable[[Stage, Any], None]
) -> None:
    """Somebody on the way writes a timestamp of his own. It is signed by none of the keys that
    root lists for it, and the client stays with what it had."""
    stage.publish()
    tree = json.loads(stage.repository.files["timestamp.json"])
    forge(stage, tree)
    stage.server.tamper("metadata/timestamp.json", json.dumps(tree).encode())
    with refused(stage, SignatureError, match="got 0 valid signatures", last="timestamp.json"):
        stage.client().refresh()


@pytest.mark.parametrize(
    "signatures", [None, {}, "", 0, [[]], [{}], [{"keyid": "x"}], [{"keyid": 1, "sig": ""}], [None]]
)
def test_attack_04_signatures_that_have_no_shape(stage: Stage, signatures: object) -> None:
    """The same, with something else where the list of signatures should be."""
    tree = json.loads(stage.repository.files["timestamp.json"])
    tree["signatures"] = signatures
    stage.server.tamper("metadata/timestamp.json", json.dumps(tree).encode())
    with refused(stage, MalformedError, match="timestamp: ", last="timestamp.json"):
        stage.client().refresh()


@pytest.mark.parametrize("later", [timedelta(0), timedelta(days=2)], ids=["fresh", "expired"])
def test_attack_05_an_old_timestamp(stage: Stage, later: timedelta) -> None:
    """A mirror serves the timestamp of yesterday to a client that has today's. It is refused for
    its version; that what the client has may be expired itself doesn't help the attacker."""
    old = stage.repository.files["timestamp.json"]
    stage.publish()
    stage.client().target(WHEEL)
    stage.now += later
    stage.server.tamper("metadata/timestamp.json", old)
    with refused(
        stage,
        RollbackError,
        match="timestamp: older than before; expected >= 2; got 1",
        last="timestamp.json",
        heal=lambda: recover(stage),
    ):
        stage.client().refresh()


@pytest.mark.parametrize("later", [timedelta(0), timedelta(days=2)], ids=["fresh", "expired"])
def test_attack_05_a_whole_repository_of_yesterday(
    stage: Stage, tmp_path: Path, later: timedelta
) -> None:
    """The mirror replays the complete set of yesterday, each file in itself valid."""
    stage.repository.write(tmp_path / "yesterday")
    stage.add("files/demo/new.whl", b"new")
    stage.publish()
    stage.client().target(WHEEL)
    stage.now += later
    stage.server.replay("metadata/", tmp_path / "yesterday" / "metadata")
    with refused(
        stage,
        RollbackError,
        match="older than before",
        last="timestamp.json",
        heal=lambda: recover(stage),
    ):
        stage.client().refresh()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param(304, UnreachableError, id="not modified"),
        pytest.param(204, UnreachableError, id="no content"),
        pytest.param(206, UnreachableError, id="partial"),
        pytest.param(404, UnreachableError, id="missing"),
        pytest.param(403, UnreachableError, id="forbidden"),
        pytest.param(b"", MalformedError, id="empty"),
        pytest.param(b"\n", MalformedError, id="a line end"),
        pytest.param(b"null", MalformedError, id="null"),
        pytest.param(b"{}", MalformedError, id="an empty object"),
    ],
)
def test_attack_05_an_answer_that_means_nothing_has_changed(
    stage: Stage, answer: bytes | int, kind: type[IndextrustError]
) -> None:
    """Not an old timestamp but none: the client doesn't go on with the one that it has, though
    that one is not expired yet."""
    stage.server.tamper("metadata/timestamp.json", answer)
    with refused(stage, kind, match="timestamp", last="timestamp.json"):
        stage.client().refresh()


def test_attack_09_a_replay_is_accepted_until_it_expires(stage: Stage, tmp_path: Path) -> None:
    """The mirror stands still while the index goes on. Until the timestamp expires nobody can
    tell this from an index without news; the client shows until when it is good. From that very
    second on it is refused."""
    stage.repository.write(tmp_path / "frozen")
    frozen = stage.repository.timestamp.signed.expires
    stage.publish()
    stage.server.replay("metadata/", tmp_path / "frozen" / "metadata")
    stage.now = frozen - timedelta(seconds=1)
    accepted = stage.client().refresh()
    assert (accepted.timestamp_version, accepted.expires) == (1, frozen)
    stage.now = frozen
    with refused(
        stage,
        ExpiredError,
        match=f"timestamp: version 1 expired; .*{frozen:%Y-%m-%d}",
        last="timestamp.json",
        heal=lambda: recover(stage),
    ):
        stage.client().refresh()


@pytest.mark.parametrize("days", [1, 30, 300])
def test_attack_09_a_new_client_is_not_caught_in_an_old_replay(
    stage: Stage, tmp_path: Path, days: int
) -> None:
    """A client that never saw this repository has nothing to compare with, but it has a clock."""
    stage.now += timedelta(days=days)
    empty = stage.folder / "new client"
    stage.folder = empty
    with refused(
        stage,
        ExpiredError,
        match="timestamp: version 1 expired",
        last="timestamp.json",
        stored=("root",),
        heal=lambda: recover(stage),
    ):
        stage.client().refresh()


# -- "no newer root" -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status",
    [201, 204, 206, 301, 302, 304, 308, 400, 401, 405, 408, 410, 429, 451, 500, 502, 503, 504, 999],
)  # fmt: skip
def test_attack_12_a_server_error_is_never_no_newer_root(stage: Stage, status: int) -> None:
    """The index has a new root, which takes stolen keys out of use. Whoever holds those keys makes
    the request for it fail. The client stops there and asks for nothing else."""
    stage.repository.rotate("timestamp")
    _news(stage)
    stage.server.tamper("metadata/2.root.json", status)
    with refused(
        stage,
        UnreachableError,
        match=rf"2\.root\.json: expected status 200, got {status}",
        last="2.root.json",
    ):
        stage.client().refresh()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", MalformedError),
        (b"{}", MalformedError),
        (b"<html>404 Not Found</html>", MalformedError),
        (b'{"signed":{},"signatures":[]}', SignatureError),
    ],
)
def test_attack_12_neither_is_a_page_that_says_so(
    stage: Stage, body: bytes, kind: type[IndextrustError]
) -> None:
    """Status 200 and an error page: something came, and it is no root."""
    stage.repository.rotate("timestamp")
    _news(stage)
    stage.server.tamper("metadata/2.root.json", body)
    with refused(stage, kind, match="root", last="2.root.json"):
        stage.client().refresh()


def test_attack_12_nor_an_error_on_a_later_root(stage: Stage) -> None:
    """The first new root comes and is kept, the second fails: the client stops between them."""
    _news(stage)
    stage.repository.rotate("timestamp")
    _news(stage)
    stage.server.tamper("metadata/3.root.json", 503)
    with refused(stage, UnreachableError, match="got 503", last="3.root.json", stored=("root",)):
        stage.client().refresh()


# -- too much ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "framing"),
    [
        pytest.param(endless(UNBOUNDED, b" " * 65_536), 1, id="blanks"),
        pytest.param(endless(UNBOUNDED, b"[" * 65_536), 1, id="brackets"),
        pytest.param(endless(UNBOUNDED + b'{"signed":"', b"x" * 65_536), 1, id="a string"),
        pytest.param(endless(CHUNKED, b"10000\r\n" + b" " * 65_536 + b"\r\n"), 1, id="chunks"),
        pytest.param(endless(CHUNKED, b"1\r\n \r\n" * 9000), 6, id="chunks of one byte"),
    ],
)
def test_attack_13_an_endless_timestamp(
    wire: Wire, received: Received, answer: Answer, framing: int
) -> None:
    """The CDN sends a timestamp without end. The client has read 16 KiB and one chunk at most
    when it gives up. (A chunk of one byte is six on the wire.)"""
    wire.lies["metadata/timestamp.json"] = answer
    with refused(
        wire.stage, LengthError, match="expected at most 16384 bytes", last="timestamp.json"
    ):
        wire.client().refresh()
    assert received.most <= framing * (16_384 + CHUNK)


@pytest.mark.parametrize("role", ROLES)
def test_attack_13_any_other_endless_file(wire: Wire, received: Received, role: str) -> None:
    """The honest file, and blanks for ever after it. Snapshot, targets and bins have their length
    recorded; a root may have 512,000 bytes."""
    _news(wire.stage)
    name = newest(wire.stage, role)
    honest = wire.stage.repository.files[name]
    limit = {"root": 512_000, "timestamp": 16_384}.get(role, len(honest))
    wire.lies[f"metadata/{name}"] = endless(UNBOUNDED + honest, b" " * 65_536)
    with refused(
        wire.stage,
        LengthError,
        match=f"expected at most {limit} bytes",
        last=name,
        stored=_stored_before(role),
    ):
        wire.client().target(WHEEL)
    assert received.most <= limit + CHUNK


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(endless(b"", b"H" * 65_536), id="status line"),
        pytest.param(endless(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 65_536), id="header"),
        pytest.param(endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 9000), id="headers"),
        pytest.param(endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2000), id="100 Continue"),
        pytest.param(endless(CHUNKED, b"1" * 65_536), id="chunk size"),
        pytest.param(endless(CHUNKED + b"0\r\n", b"X: y\r\n" * 9000), id="trailers"),
    ],
)
def test_attack_13_endless_framing_of_a_timestamp(
    wire: Wire, received: Received, answer: Answer
) -> None:
    """Not the body is endless but what stands around it, where no length of a file counts."""
    wire.lies["metadata/timestamp.json"] = answer
    with pytest.raises(UnreachableError) as caught:
        wire.client().refresh()
    kind = type(caught.value)  # a budget's, or the protocol's: whichever ends first
    assert kind in (BudgetExceededError, UnreachableError)
    with refused(wire.stage, kind, match="timestamp", last="timestamp.json"):
        wire.client().refresh()
    assert received.most <= 2 * 16_384 + 262_144 + CHUNK


# -- decompression bombs -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bombs() -> dict[str, bytes]:
    """100 MB of blanks, packed once and twice."""
    single = gzip.compress(b" " * 100_000_000, compresslevel=9)
    return {"single": single, "double": gzip.compress(single, compresslevel=9)}


@pytest.mark.parametrize(
    "coding",
    ["gzip", "GZIP", "x-gzip", "gzip, gzip", "identity, gzip", "deflate", "br", "zstd", "*"],
)
def test_attack_14_a_decompression_bomb_under_any_name(
    wire: Wire, bombs: dict[str, bytes], coding: str
) -> None:
    """The CDN answers with 100 MB in few bytes, in a coding that nobody asked for. It is refused
    for the header alone, and never unpacked."""
    bomb = bombs["double" if "," in coding else "single"]
    wire.lies["metadata/timestamp.json"] = raw(ok(bomb, f"Content-Encoding: {coding}"))
    with (
        watched() as memory,
        refused(
            wire.stage, MalformedError, match="expected no Content-Encoding", last="timestamp.json"
        ),
    ):
        wire.client().refresh()
    assert memory.peak < 10 * MEGABYTES


@pytest.mark.parametrize("role", ROLES)
def test_attack_14_a_bomb_in_place_of_any_file(
    wire: Wire, bombs: dict[str, bytes], role: str
) -> None:
    """The same for each file of the metadata, packed twice, so that it is within its length."""
    _news(wire.stage)
    name = newest(wire.stage, role)
    wire.lies[f"metadata/{name}"] = raw(ok(bombs["double"], "Content-Encoding: gzip"))
    with (
        watched() as memory,
        refused(
            wire.stage,
            MalformedError,
            match="expected no Content-Encoding",
            last=name,
            stored=_stored_before(role),
        ),
    ):
        wire.client().target(WHEEL)
    assert memory.peak < 10 * MEGABYTES


@pytest.mark.parametrize("bomb", ["single", "double"])
@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"Content-Length: %d\r\n", id="Content-Length"),
        pytest.param(b"X-Length: %d\r\n", id="no Content-Length"),
        pytest.param(b"Content-Type: application/gzip\r\nX: %d\r\n", id="Content-Type"),
    ],
)
def test_attack_14_a_bomb_without_its_header(
    wire: Wire, bombs: dict[str, bytes], bomb: str, head: bytes
) -> None:
    """The header that would have the bomb unpacked is missing, or another one hints at it. The
    bytes are taken for what they are: too many, or no JSON."""
    body = bombs[bomb]
    wire.lies["metadata/timestamp.json"] = raw(
        b"HTTP/1.1 200 OK\r\n" + head % len(body) + b"\r\n" + body
    )
    kind, match = {
        "single": (LengthError, "expected at most 16384 bytes"),
        "double": (MalformedError, "not UTF-8|nested too deep"),
    }[bomb]
    with (
        watched() as memory,
        refused(wire.stage, kind, match=match, last="timestamp.json"),
    ):
        wire.client().refresh()
    assert memory.peak < 10 * MEGABYTES


def test_attack_14_a_bomb_in_a_transfer_coding(wire: Wire, bombs: dict[str, bytes]) -> None:
    """The other header that can name a coding. What it names is not undone either."""
    body = bombs["double"]
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n%x\r\n" % len(body)
    wire.lies["metadata/timestamp.json"] = raw(head + body + b"\r\n0\r\n\r\n")
    with (
        watched() as memory,
        refused(
            wire.stage, MalformedError, match="not UTF-8|nested too deep", last="timestamp.json"
        ),
    ):
        wire.client().refresh()
    assert memory.peak < 10 * MEGABYTES


@pytest.mark.parametrize(
    ("header", "kind"),
    [("Content-Encoding: gzip", MalformedError), ("X: y", HashMismatchError)],
    ids=["with its header", "without"],
)
def test_attack_14_a_bomb_in_place_of_an_artifact(
    wire: Wire, tmp_path: Path, header: str, kind: type[IndextrustError]
) -> None:
    """The honest wheel, packed, and blown up to its listed length with blanks."""
    packed = gzip.compress(BYTES)
    wire.lies[ARTIFACT] = raw(ok(packed + bytes(len(BYTES) - len(packed)), header))
    with refused(wire.stage, kind, match="demo-1.0", last=ARTIFACT):
        _download(wire.client(), tmp_path / "downloads")
    assert visible(tmp_path / "downloads") == set()


# -- too slow ------------------------------------------------------------------------------------


class Impatient:
    """A fetcher that gives 0.4 seconds to what `wire` lies about, and 20 to everything else."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._short = Urllib3Fetcher(seconds=0.4, slowest=1 << 30)
        self._long = Urllib3Fetcher(seconds=20)

    def _for(self, url: str) -> Urllib3Fetcher:
        return self._short if url.removeprefix(self._wire.url) in self._wire.lies else self._long

    def fetch(self, url: str, *, max_length: int, seconds: float | None = None) -> bytes | Absent:
        return self._for(url).fetch(url, max_length=max_length, seconds=seconds)

    def stream(
        self, url: str, *, max_length: int
    ) -> contextlib.AbstractContextManager[Iterator[bytes] | Absent]:
        return self._for(url).stream(url, max_length=max_length)


def _impatient(wire: Wire) -> TufClient:
    return wire.client(fetcher=Impatient(wire))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(drip(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"), id="with length"),
        pytest.param(drip(UNBOUNDED), id="without"),
        pytest.param(drip(CHUNKED, b"1\r\nx\r\n"), id="chunks"),
        pytest.param(drip(CHUNKED + b"10\r\n", b"x"), id="one chunk"),
        pytest.param(drip(CHUNKED + b"0\r\n", b"X: y\r\n"), id="trailers"),
    ],
)
def test_attack_16_a_body_that_drips(wire: Wire, answer: Answer) -> None:
    """A byte comes now and then, so no single wait is long; at this rate a timestamp would take
    days. The client's deadline is for all of it."""
    wire.lies["metadata/timestamp.json"] = answer
    with refused(
        wire.stage, BudgetExceededError, match="timestamp.*total time", last="timestamp.json"
    ):
        _impatient(wire).refresh()


@pytest.mark.parametrize("role", ROLES)
def test_attack_16_whichever_file_drips(wire: Wire, role: str) -> None:
    """The deadline holds for each file, and running out is never "no newer root"."""
    _news(wire.stage)
    name = newest(wire.stage, role)
    honest = wire.stage.repository.files[name]
    wire.lies[f"metadata/{name}"] = drip(ok(honest)[: -len(honest)], b"{")
    with refused(
        wire.stage,
        BudgetExceededError,
        match=f"{name}: not complete within the total time",
        last=name,
        stored=_stored_before(role),
    ):
        _impatient(wire).target(WHEEL)


def test_attack_16_an_artifact_that_drips(wire: Wire, tmp_path: Path) -> None:
    """An artifact's deadline grows with its length, and is one all the same."""
    wire.lies[ARTIFACT] = drip(ok(BYTES)[: -len(BYTES)])
    with refused(wire.stage, BudgetExceededError, match="total time", last=ARTIFACT):
        _download(_impatient(wire), tmp_path / "downloads")
    assert visible(tmp_path / "downloads") == set()


@pytest.mark.parametrize("name", ["2.root.json", "timestamp.json"])
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(drip(b"", b"H"), id="status line"),
        pytest.param(drip(b"HTTP/1.1 200 OK\r\nX: ", b"y"), id="one header"),
        pytest.param(drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), id="headers"),
        pytest.param(drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), id="100 Continue"),
        pytest.param(drip(b"HTTP/1.1 404 No\r\nX: ", b"y"), id="headers of a 404"),
        pytest.param(silence, id="nothing at all"),
    ],
)
def test_attack_17_headers_that_drip(wire: Wire, answer: Answer, name: str) -> None:
    """The same before the body begins, where a client that only watches bodies waits for ever."""
    wire.lies[f"metadata/{name}"] = answer
    with refused(wire.stage, BudgetExceededError, match=rf"{name}: no", last=name):
        _impatient(wire).refresh()
