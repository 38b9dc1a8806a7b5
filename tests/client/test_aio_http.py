"""The asyncio fetcher on the stages of the blocking one: the same hostile servers, the same ends.

The stories are those of `test_http`; here they are played with another fetcher.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indextrust.client.aio_http import AiohttpFetcher
from indextrust.errors import (
    BudgetExceededError,
    IndextrustError,
    InputError,
    LengthError,
)
from indextrust.trust import ABSENT, Absent
from tests.client.hostile import Answer, RawServer, drip, endless, ok, raw, silence
from tests.client.test_http import (  # noqa: F401 - collected here, with our `fetcher`
    CHUNKED,
    UNBOUNDED,
    certificate,
    test_a_body_in_another_encoding_is_refused_unopened,
    test_a_broken_answer_is_unreachable_never_a_raw_error,
    test_a_certificate_that_nobody_vouches_for_is_refused,
    test_a_chunked_file_arrives_whole,
    test_a_dripped_tls_handshake_ends_at_the_deadline,
    test_a_file_arrives_whole_and_its_connection_is_used_again,
    test_a_host_that_does_not_exist,
    test_a_host_that_takes_no_connection_counts_against_the_deadline,
    test_a_kept_connection_that_the_server_closed_costs_nothing,
    test_a_length_announced_beyond_the_limit_is_refused_unread,
    test_a_length_of_four_thousand_digits_is_refused,
    test_a_redirect_does_not_begin_the_time_anew,
    test_a_redirect_out_of_the_origin_is_not_followed,
    test_a_redirect_to_another_port_is_not_followed,
    test_a_redirect_within_the_origin_is_followed,
    test_a_url_that_is_not_asked_for,
    test_endless_data_is_refused_in_bounded_memory,
    test_every_other_status_is_unreachable,
    test_identity_is_no_encoding,
    test_no_more_than_one_chunk_beyond_the_limit_is_read,
    test_nobody_listens,
    test_proxies_from_the_environment_are_not_used,
    test_redirects_without_end_are_given_up,
    test_the_server_says_that_there_is_no_such_file,
    tls,
)

pytestmark = pytest.mark.timeout(60)
T = TypeVar("T")


class Blocking:
    """A fetcher for asyncio, as one that blocks: its event loop runs in a thread."""

    def __init__(self, fetcher: AiohttpFetcher) -> None:
        self._fetcher = fetcher
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def fetch(self, url: str, *, max_length: int, seconds: float | None = None) -> bytes | Absent:
        return self._run(self._fetcher.fetch(url, max_length=max_length, seconds=seconds))

    def close(self) -> None:
        self._run(self._fetcher.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, steps: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(steps, self._loop).result()


@pytest.fixture
def fetcher() -> Iterator[Blocking]:
    fetcher = Blocking(AiohttpFetcher(seconds=0.5, slowest=1 << 30))
    yield fetcher
    fetcher.close()


# -- too slow ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(drip(b"HTTP/1.1 200 ", b"O"), id="status line"),
        pytest.param(drip(b"HTTP/1.1 200 OK\r\nX: ", b"y"), id="one header"),
        pytest.param(drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), id="headers"),
        pytest.param(drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), id="100 Continue"),
        pytest.param(drip(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"), id="body"),
        pytest.param(drip(UNBOUNDED), id="body without length"),
        pytest.param(drip(CHUNKED, b"1\r\nx\r\n"), id="chunks"),
        pytest.param(drip(CHUNKED + b"1;", b"x"), id="chunk extension"),
        pytest.param(drip(CHUNKED + b"0\r\n", b"X: y\r\n"), id="trailers"),
        pytest.param(drip(b"HTTP/1.1 404 No\r\nContent-Length: 999\r\n\r\n"), id="error page"),
        pytest.param(silence, id="nothing at all"),
    ],
)
def test_attacks_16_17_dripped_data_ends_at_the_total_deadline(
    fetcher: Blocking, answer: Answer
) -> None:
    """No single wait is long: a read timeout would never strike."""
    with RawServer(answer) as server, pytest.raises(BudgetExceededError, match=server.url):
        fetcher.fetch(server.url + "timestamp.json", max_length=100_000)


def test_a_stalled_download_does_not_last_as_long_as_a_slow_one_may() -> None:
    """A large file may take long; a server that says nothing for a while is given up."""
    fetcher = Blocking(AiohttpFetcher(seconds=0.3, slowest=1))

    def one_byte(peer: socket.socket) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nx")
        silence(peer)

    for answer in (silence, one_byte):
        with (
            RawServer(answer) as server,
            pytest.raises(BudgetExceededError, match=r"nothing came for 0\.3 seconds"),
        ):
            fetcher.fetch(server.url, max_length=100_000)
    fetcher.close()


def test_what_the_caller_has_left_bounds_a_fetch() -> None:
    fetcher = Blocking(AiohttpFetcher(seconds=1000, slowest=1))
    with RawServer(drip(UNBOUNDED)) as server, pytest.raises(BudgetExceededError):
        fetcher.fetch(server.url, max_length=100_000, seconds=0.3)
    fetcher.close()


def test_a_resolver_that_never_answers_counts_against_the_deadline(
    fetcher: Blocking, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: never.wait())
    with pytest.raises(BudgetExceededError, match=r"index\.example"):
        fetcher.fetch("http://index.example/timestamp.json", max_length=100)
    never.set()


# -- whatever comes ------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
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

    async def get() -> bytes | Absent:
        async with AiohttpFetcher(seconds=5) as fetcher:
            return await fetcher.fetch(server.url, max_length=50)

    with RawServer(raw(answer)) as server:
        try:
            body = asyncio.run(get())
        except IndextrustError:
            return
    assert body is ABSENT or len(body) <= 50


# -- the rest ------------------------------------------------------------------------------------


def test_a_stream_comes_in_pieces_and_may_be_left_early() -> None:
    async def story() -> None:
        async with AiohttpFetcher(seconds=5) as fetcher:
            async with fetcher.stream(server.url, max_length=1_000_000) as body:
                assert not isinstance(body, Absent)
                assert 0 < len(await anext(body)) < 1_000_000
            async with fetcher.stream(server.url, max_length=1_000_000) as body:
                assert not isinstance(body, Absent)
                assert sum([len(piece) async for piece in body]) == 1_000_000

    with RawServer(raw(ok(b"x" * 1_000_000))) as server:
        asyncio.run(story())


def test_many_tasks_share_one_fetcher() -> None:
    async def story() -> set[bytes | Absent]:
        async with AiohttpFetcher(seconds=30) as fetcher:
            fetches = [fetcher.fetch(server.url, max_length=5000) for _ in range(200)]
            return set(await asyncio.gather(*fetches))

    with RawServer(raw(ok(b"x" * 5000)), keep=True) as server:
        assert asyncio.run(story()) == {b"x" * 5000}
        assert len(server.requests) == 200


def test_cookies_are_not_kept() -> None:
    """A server could tell its users apart, and show each another index."""
    seen: list[bytes] = []

    def answer(peer: socket.socket) -> None:
        peer.sendall(ok(b"x", "Set-Cookie: you=1"))
        seen.append(peer.recv(4096))

    with RawServer(answer, keep=True) as server:

        async def story() -> None:
            async with AiohttpFetcher(seconds=5) as fetcher:
                await fetcher.fetch(server.url, max_length=5)
                with contextlib.suppress(IndextrustError):
                    await fetcher.fetch(server.url, max_length=5, seconds=0.2)

        asyncio.run(story())
    assert seen[0].startswith(b"GET / HTTP/1.1\r\n")
    assert b"cookie" not in seen[0].lower()


@pytest.mark.parametrize("limits", [{"seconds": 0}, {"seconds": -1}, {"slowest": 0}])
def test_limits_must_be_positive(limits: dict[str, int]) -> None:
    with pytest.raises(InputError, match="expected positive limits"):
        AiohttpFetcher(**limits)  # type: ignore[arg-type]


def test_over_tls_the_same_bounds_hold(tls: ssl.SSLContext, certificate: Path) -> None:  # noqa: F811
    context = ssl.create_default_context(cafile=str(certificate))
    fetcher = Blocking(AiohttpFetcher(seconds=0.5, slowest=1 << 30, ssl_context=context))
    with RawServer(raw(ok(b"x" * 100_000)), tls=tls, keep=True) as server:
        for _ in range(2):
            assert fetcher.fetch(server.url, max_length=100_000) == b"x" * 100_000
        assert server.connections == 1
    with (
        RawServer(drip(b"HTTP/1.1 200 OK\r\nX: ", b"y"), tls=tls) as server,
        pytest.raises(BudgetExceededError),
    ):
        fetcher.fetch(server.url, max_length=100)
    with (
        RawServer(endless(UNBOUNDED, b"x" * 65_536), tls=tls) as server,
        pytest.raises(LengthError),
    ):
        fetcher.fetch(server.url, max_length=100)
    fetcher.close()


def test_without_aiohttp_the_error_names_the_extra() -> None:
    """And who brings a fetcher of his own needs none."""
    program = (
        "import sys; sys.modules['aiohttp'] = None\n"
        "import indextrust.client.aio\n"
        "try:\n    import indextrust.client.aio_http\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr == ""
    assert "pip install 'indextrust[proxy]'" in done.stdout
