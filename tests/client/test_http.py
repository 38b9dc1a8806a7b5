"""The fetcher against servers that don't play by the rules.

Each server is a raw socket. Deadlines are short and no test measures time: a fetch that doesn't
end by itself runs into the test runner's timeout.
"""

from __future__ import annotations

import gzip
import ipaddress
import socket
import ssl
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from indextrust.client import Urllib3Fetcher
from indextrust.errors import (
    BudgetExceededError,
    IndextrustError,
    InputError,
    LengthError,
    MalformedError,
    UnreachableError,
)
from indextrust.trust import ABSENT, Absent
from tests.client.hostile import RawServer, drip, endless, ok, raw, silence

pytestmark = pytest.mark.timeout(60)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNBOUNDED = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.fixture
def fetcher() -> Iterator[Urllib3Fetcher]:
    fetcher = Urllib3Fetcher(seconds=0.5, slowest=1 << 30)
    yield fetcher
    fetcher.close()


def _refused(
    fetcher: Urllib3Fetcher,
    url: str,
    kind: type[IndextrustError] | tuple[type[IndextrustError], ...],
    match: str | None = None,
    *,
    max_length: int = 100,
) -> str:
    """Fetching `url` raises `kind`; gives the message."""
    with pytest.raises(kind, match=match) as caught:
        fetcher.fetch(url, max_length=max_length)
    return str(caught.value)


# -- honest servers ------------------------------------------------------------------------------


def test_a_file_arrives_whole_and_its_connection_is_used_again(fetcher: Urllib3Fetcher) -> None:
    with RawServer(raw(ok(b"metadata")), keep=True) as server:
        for _ in range(3):
            assert fetcher.fetch(server.url + "timestamp.json", max_length=100) == b"metadata"
        assert server.requests == ["GET /timestamp.json HTTP/1.1"] * 3
        assert server.connections == 1


def test_a_chunked_file_arrives_whole(fetcher: Urllib3Fetcher) -> None:
    with RawServer(raw(CHUNKED + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: x\r\n\r\n")) as server:
        assert fetcher.fetch(server.url, max_length=5) == b"abcde"


def test_a_stream_comes_in_pieces_and_may_be_left_early(fetcher: Urllib3Fetcher) -> None:
    with RawServer(raw(ok(b"x" * 1_000_000))) as server:
        with fetcher.stream(server.url, max_length=1_000_000) as body:
            assert not isinstance(body, Absent)
            assert next(body) == b"x" * 65_536
        with fetcher.stream(server.url, max_length=1_000_000) as body:
            assert not isinstance(body, Absent)
            assert sum(map(len, body)) == 1_000_000


@pytest.mark.parametrize("status", [403, 404])
def test_the_server_says_that_there_is_no_such_file(fetcher: Urllib3Fetcher, status: int) -> None:
    """The answer to every request for the next root: the connection must survive it."""
    page = f"HTTP/1.1 {status} No\r\nContent-Length: 4\r\n\r\ngone".encode()
    with RawServer(raw(page), keep=True) as server:
        assert fetcher.fetch(server.url + "2.root.json", max_length=100) is ABSENT
        assert fetcher.fetch(server.url + "2.root.json", max_length=100) is ABSENT
        assert server.connections == 1


def test_a_kept_connection_that_the_server_closed_costs_nothing(fetcher: Urllib3Fetcher) -> None:
    """A server may close an idle connection in the very moment in which it is used again."""
    answers = [ok(b"first"), b"", ok(b"second")]
    with RawServer(lambda peer: peer.sendall(answers.pop(0)), keep=True) as server:

        def answer(peer: socket.socket) -> None:
            data = answers.pop(0)
            if data:
                peer.sendall(data)
            else:
                peer.shutdown(socket.SHUT_RDWR)

        server.answer = answer
        assert fetcher.fetch(server.url, max_length=100) == b"first"
        assert fetcher.fetch(server.url, max_length=100) == b"second"
        assert len(server.requests) == 3


def test_many_threads_share_one_fetcher() -> None:
    fetcher = Urllib3Fetcher(seconds=30)
    with RawServer(raw(ok(b"x" * 5000)), keep=True) as server, ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(lambda _: fetcher.fetch(server.url, max_length=5000), range(200)))
    assert set(bodies) == {b"x" * 5000}


def test_proxies_from_the_environment_are_not_used(
    fetcher: Urllib3Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawServer(raw(ok(b"a proxy's word"))) as proxy, RawServer(raw(ok(b"direct"))) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        assert fetcher.fetch(server.url, max_length=100) == b"direct"
        assert proxy.connections == 0


# -- too much ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(endless(UNBOUNDED, b"x" * 65_536), id="endless body"),
        pytest.param(endless(CHUNKED, b"10000\r\n" + b"x" * 65_536 + b"\r\n"), id="endless chunks"),
        pytest.param(endless(CHUNKED, b"1" * 65_536), id="endless chunk size"),
        pytest.param(endless(CHUNKED, b"1\r\nx\r\n" * 9000), id="chunks of one byte"),
        pytest.param(endless(CHUNKED + b"-1\r\n", b"x" * 65_536), id="negative chunk size"),
        pytest.param(endless(CHUNKED + b"FFFFFFFFFFFFF\r\n", b"x" * 65_536), id="vast chunk"),
        pytest.param(endless(CHUNKED + b"0\r\n", b"Trailer: x\r\n" * 5000), id="endless trailers"),
        pytest.param(endless(CHUNKED + b"0\r\n", b"x" * 65_536), id="endless trailer"),
        pytest.param(endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2000), id="endless 100s"),
        pytest.param(endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 9000), id="endless headers"),
        pytest.param(endless(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 65_536), id="endless header"),
        pytest.param(endless(b"", b"H" * 65_536), id="endless status line"),
    ],
)
def test_endless_data_is_refused_in_bounded_memory(fetcher: Urllib3Fetcher, answer: object) -> None:
    """The attacker sends as fast as he can; the client stops, and holds less than 10 MB."""
    with RawServer(answer) as server:  # type: ignore[arg-type]
        tracemalloc.start()
        message = _refused(
            fetcher,
            server.url + "timestamp.json",
            (LengthError, UnreachableError),
            max_length=16_384,
        )
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 10_000_000
    assert f"{server.url}timestamp.json" in message


def test_no_more_than_one_chunk_beyond_the_limit_is_read(fetcher: Urllib3Fetcher) -> None:
    """The attacker counts what he got rid of: the limit, a chunk, and what the kernels buffer."""
    sent = 0

    def answer(peer: socket.socket) -> None:
        nonlocal sent
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        peer.sendall(UNBOUNDED)
        while True:
            sent += peer.send(b"x" * 65_536)

    with RawServer(answer) as server:
        _refused(
            fetcher,
            server.url,
            LengthError,
            match="expected at most 16384 bytes",
            max_length=16_384,
        )
    assert sent < 16_000_000


def test_a_length_announced_beyond_the_limit_is_refused_unread(fetcher: Urllib3Fetcher) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 16385\r\n\r\n"
    with RawServer(drip(head)) as server:
        _refused(
            fetcher, server.url, LengthError, match="got Content-Length: 16385", max_length=16_384
        )


def test_a_length_of_four_thousand_digits_is_refused(fetcher: Urllib3Fetcher) -> None:
    """Longer than what Python converts to an integer."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1" + b"0" * 5000 + b"\r\n\r\n"
    with RawServer(drip(head)) as server, pytest.raises((LengthError, UnreachableError)):
        fetcher.fetch(server.url, max_length=16_384)


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "br", "zstd", "x-unknown"])
def test_a_body_in_another_encoding_is_refused_unopened(
    fetcher: Urllib3Fetcher, encoding: str
) -> None:
    """The attacker sends a decompression bomb, which nobody asked for."""
    bomb = gzip.compress(gzip.compress(bytes(10_000_000)))
    with RawServer(raw(ok(bomb, f"Content-Encoding: {encoding}"))) as server:
        tracemalloc.start()
        _refused(
            fetcher,
            server.url,
            MalformedError,
            match=r"expected no Content-Encoding; got .*",
            max_length=100_000_000,
        )
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 5_000_000


def test_identity_is_no_encoding(fetcher: Urllib3Fetcher) -> None:
    with RawServer(raw(ok(b"x", "Content-Encoding: identity"))) as server:
        assert fetcher.fetch(server.url, max_length=10) == b"x"


# -- too slow ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(drip(b"", b"H"), id="status line"),
        pytest.param(drip(b"HTTP/1.1 200 OK\r\nX: ", b"y"), id="one header"),
        pytest.param(drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), id="headers"),
        pytest.param(drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), id="100 Continue"),
        pytest.param(drip(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"), id="body"),
        pytest.param(drip(UNBOUNDED), id="body without length"),
        pytest.param(drip(CHUNKED, b"1\r\nx\r\n"), id="chunks"),
        pytest.param(drip(CHUNKED + b"0\r\n", b"X: y\r\n"), id="trailers"),
        pytest.param(drip(b"HTTP/1.1 404 No\r\nContent-Length: 999\r\n\r\n"), id="error page"),
        pytest.param(silence, id="nothing at all"),
    ],
)
def test_dripped_data_ends_at_the_total_deadline(fetcher: Urllib3Fetcher, answer: object) -> None:
    """No single wait is long: a read timeout would never strike."""
    with RawServer(answer) as server:  # type: ignore[arg-type]
        message = _refused(
            fetcher, server.url + "timestamp.json", BudgetExceededError, max_length=100_000
        )
    assert f"{server.url}timestamp.json" in message


def test_a_stalled_download_does_not_last_as_long_as_a_slow_one_may() -> None:
    """A large file may take long; a server that says nothing for a while is given up."""
    fetcher = Urllib3Fetcher(seconds=0.3, slowest=1)
    with RawServer(silence) as server:
        _refused(fetcher, server.url, BudgetExceededError, r"nothing came for 0\.3 seconds")


def test_a_redirect_does_not_begin_the_time_anew(fetcher: Urllib3Fetcher) -> None:
    head = b"HTTP/1.1 302 Found\r\nLocation: /again\r\nX: "
    with RawServer(drip(head)) as server:
        _refused(fetcher, server.url, BudgetExceededError)
        assert len(server.requests) == 1


def test_a_resolver_that_never_answers_counts_against_the_deadline(
    fetcher: Urllib3Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: never.wait())
    with pytest.raises(BudgetExceededError, match=r"index\.example was not resolved in time"):
        fetcher.fetch("http://index.example/timestamp.json", max_length=100)
    never.set()


def test_a_host_that_takes_no_connection_counts_against_the_deadline(
    fetcher: Urllib3Fetcher,
) -> None:
    """A queue of length 0 that is full: the kernel drops every further SYN."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        _refused(
            fetcher, f"http://127.0.0.1:{address[1]}/", UnreachableError, match=r"127\.0\.0\.1"
        )
        for one in waiting:
            one.close()


# -- broken --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", id="truncated body"),
        pytest.param(CHUNKED + b"5\r\nabc", id="truncated chunk"),
        pytest.param(CHUNKED + b"3\r\nabc\r\n", id="no last chunk"),
        pytest.param(CHUNKED + b"xyz\r\nabc\r\n", id="chunk size that is no number"),
        pytest.param(CHUNKED + b"-5\r\nabc\r\n", id="negative chunk size"),
        pytest.param(CHUNKED, id="no chunk"),
        pytest.param(b"", id="hung up"),
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", id="another protocol"),
        pytest.param(b"HTTP/1.1 OK 200\r\n\r\n", id="status that is no number"),
        pytest.param(b"HTTP/9.9 200 OK\r\n\r\nbody", id="unknown HTTP version"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
            id="two lengths",
        ),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01", id="TLS on a plain port"),
    ],
)
def test_a_broken_answer_is_unreachable_never_a_raw_error(
    fetcher: Urllib3Fetcher, answer: bytes
) -> None:
    with RawServer(raw(answer)) as server:
        _refused(fetcher, server.url, UnreachableError, match="expected a complete HTTP answer")


@pytest.mark.parametrize("status", [204, 206, 304, 400, 401, 410, 429, 500, 502, 503])
def test_every_other_status_is_unreachable(fetcher: Urllib3Fetcher, status: int) -> None:
    """Above all 5xx: it must never end the search for a newer root."""
    page = f"HTTP/1.1 {status} \x1b[31mOdd\r\nContent-Length: 0\r\n\r\n".encode()
    with RawServer(raw(page)) as server:
        message = _refused(
            fetcher, server.url, UnreachableError, match=f"expected status 200, got {status}"
        )
    assert "\x1b" not in message
    assert len(server.requests) == 1, "no retry hides behind the deadline"


def test_nobody_listens(fetcher: Urllib3Fetcher) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(UnreachableError, match=r"no connection \(127.0.0.1: .*refused"):
        fetcher.fetch(f"http://127.0.0.1:{port}/", max_length=100)


def test_a_host_that_does_not_exist(fetcher: Urllib3Fetcher) -> None:
    with pytest.raises(UnreachableError, match=r"index\.invalid"):
        fetcher.fetch("http://index.invalid/", max_length=100)


@settings(max_examples=80, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.builds(lambda rest: b"HTTP/1.1 200 OK\r\n" + rest, st.binary(max_size=200)),
        st.builds(lambda rest: CHUNKED + rest, st.binary(max_size=100)),
        st.builds(
            lambda at, byte: ok(b"0123456789", "X: y")[:at] + byte + ok(b"0123456789", "X: y")[at:],
            st.integers(0, 70),
            st.binary(min_size=1, max_size=3),
        ),
    )
)
def test_whatever_comes_only_documented_errors_escape(answer: bytes) -> None:
    """'Only documented exceptions escape.'"""
    fetcher = Urllib3Fetcher(seconds=5)
    with RawServer(raw(answer)) as server:
        try:
            body = fetcher.fetch(server.url, max_length=50)
        except IndextrustError:
            return
    assert body is ABSENT or len(body) <= 50


# -- redirects -----------------------------------------------------------------------------------


def _redirect(status: int, location: str) -> bytes:
    return f"HTTP/1.1 {status} Go\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_within_the_origin_is_followed(fetcher: Urllib3Fetcher, status: int) -> None:
    answers = [_redirect(status, "/new/place"), ok(b"here")]
    with RawServer(lambda peer: peer.sendall(answers.pop(0))) as server:
        assert fetcher.fetch(server.url + "old", max_length=100) == b"here"
        assert server.requests == ["GET /old HTTP/1.1", "GET /new/place HTTP/1.1"]


def test_a_redirect_to_another_port_is_not_followed(fetcher: Urllib3Fetcher) -> None:
    with RawServer(raw(ok(b"the attacker's"))) as attacker:
        with RawServer(raw(_redirect(302, attacker.url))) as server:
            _refused(fetcher, server.url, UnreachableError, match="must keep scheme, host and port")
        assert attacker.connections == 0


@pytest.mark.parametrize(
    "location",
    [
        "https://127.0.0.1:{port}/",
        "//localhost:{port}/",
        "//127.0.0.1/",
        "http://user:secret@127.0.0.1:{port}/",
        "file:///etc/passwd",
        "ftp://127.0.0.1:{port}/",
        "http://[::1]:{port}/",
        "http://[broken/",
        "http://127.0.0.1:99999999/",
        "/\x01",
    ],
)
def test_a_redirect_out_of_the_origin_is_not_followed(
    fetcher: Urllib3Fetcher, location: str
) -> None:
    with RawServer(raw(b"")) as server:
        server.answer = raw(_redirect(302, location.format(port=server.port)))
        message = _refused(fetcher, server.url, UnreachableError)
        assert len(server.requests) == 1
    assert "secret" not in message


def test_redirects_without_end_are_given_up(fetcher: Urllib3Fetcher) -> None:
    with RawServer(raw(_redirect(302, "/again"))) as server:
        _refused(fetcher, server.url, UnreachableError, match="more than 3 redirects")
        assert len(server.requests) == 4


# -- URLs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "ftp://index.example/",
        "file:///etc/passwd",
        "index.example",
        "http:///path",
        "",
        "http://user:secret@index.example/",
        "http://:secret@index.example/",
        "http://index.example:0/",
        "http://index.example:70000/",
        "http://index.example/a b",
        "http://index.example/\r\nHost: evil",
        "http://index.example/\x00",
        "http://indéx.example/",
        "http://[::1/",
    ],
)
def test_a_url_that_is_not_asked_for(fetcher: Urllib3Fetcher, url: str) -> None:
    with pytest.raises(InputError) as caught:
        fetcher.fetch(url, max_length=100)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("limits", [{"seconds": 0}, {"seconds": -1}, {"slowest": 0}])
def test_limits_must_be_positive(limits: dict[str, int]) -> None:
    with pytest.raises(InputError, match="expected positive limits"):
        Urllib3Fetcher(**limits)  # type: ignore[arg-type]


# -- TLS -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_a_certificate_that_nobody_vouches_for_is_refused(
    fetcher: Urllib3Fetcher, tls: ssl.SSLContext
) -> None:
    with RawServer(raw(ok(b"secret")), tls=tls) as server:
        _refused(
            fetcher, server.url, UnreachableError, match="no TLS connection that can be trusted"
        )
        assert server.requests == []


def test_over_tls_the_same_bounds_hold(tls: ssl.SSLContext, certificate: Path) -> None:
    context = ssl.create_default_context(cafile=str(certificate))
    fetcher = Urllib3Fetcher(seconds=0.5, slowest=1 << 30, ssl_context=context)
    with RawServer(raw(ok(b"x" * 100_000)), tls=tls, keep=True) as server:
        for _ in range(2):
            assert fetcher.fetch(server.url, max_length=100_000) == b"x" * 100_000
        assert server.connections == 1
    with RawServer(drip(b"HTTP/1.1 200 OK\r\nX: ", b"y"), tls=tls) as server:
        _refused(fetcher, server.url, BudgetExceededError)
    with RawServer(endless(UNBOUNDED, b"x" * 65_536), tls=tls) as server:
        _refused(fetcher, server.url, LengthError)


def test_a_dripped_tls_handshake_ends_at_the_deadline(fetcher: Urllib3Fetcher) -> None:
    """A raw socket that sends a TLS record of 16 KB, byte by byte."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            try:
                drip(b"\x16\x03\x03\x40\x00", b"\x02")(peer)
            except OSError:
                peer.close()

        threading.Thread(target=serve, daemon=True).start()
        _refused(fetcher, f"https://127.0.0.1:{listener.getsockname()[1]}/", UnreachableError)
