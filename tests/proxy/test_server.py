"""The proxy as whoever connects to it meets it: raw bytes over a socket."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indextrust.client import ListedFile, Project, Refreshed
from indextrust.distribution import DistributionFile
from indextrust.errors import HashMismatchError, StoreError, UnreachableError
from indextrust.names import project_name
from indextrust.proxy import VerifyingProxy
from indextrust.proxy.pages import HTML, JSON_V1
from indextrust.trust import FirstSeen, NotListed, TargetEntry
from tests.proxy.place import ALPHA, BETA, Place, one_byte_changed, raw_request

DATA = bytes(range(256)) * 2_000
NAME = "demo-1.0-py3-none-any.whl"
WHEN = datetime(2026, 1, 31, tzinfo=UTC)
NEVER = Refreshed(1, 1, 1, 1, WHEN, WHEN, ())


class Shelf:
    """A source with one project in memory; what a call does can be replaced."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.on_project: Callable[[], None] = lambda: None
        self.on_download: Callable[[], None] = lambda: None
        self._lock = threading.Lock()

    def state(self) -> Refreshed:
        self._called("state")
        return NEVER

    def project(self, name: str) -> Project | NotListed:
        self._called(f"project {name}")
        if name != "demo":
            return NotListed(f"simple/{name}/index.json", 1)
        self.on_project()
        file = DistributionFile(
            project_name("demo"),
            NAME,
            "1.0",
            len(DATA),
            hashlib.sha256(DATA).hexdigest(),
            "2026-01-31T12:00:00Z",
        )
        entry = TargetEntry("simple/demo/index.json", 1, {"sha256": "0" * 64}, "bin-0", 1, 1)
        listed = ListedFile(file, FirstSeen(), entry)
        return Project(project_name("demo"), ("1.0",), (listed,), (), 1)

    def download(self, listed: ListedFile, folder: Path) -> Path:
        self._called("download")
        self.on_download()
        path = folder / listed.file.filename
        path.write_bytes(DATA)
        return path

    def metadata(self, listed: ListedFile) -> bytes:
        self._called("metadata")
        return b"Metadata-Version: 2.1\n"

    def _called(self, call: str) -> None:
        with self._lock:
            self.calls.append(call)


class Connection:
    """Asks a running proxy."""

    def __init__(self, proxy: VerifyingProxy) -> None:
        parts = urlsplit(proxy.index_url)
        self.port = parts.port or 0
        self.base = parts.path.removesuffix("simple/")
        self.proxy = proxy

    def ask(
        self, path: str, *headers: str, method: str = "GET", host: str | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Request a path below the token, or one that starts with a slash, or a whole target."""
        target = path if path.startswith("/") or "://" in path else self.base + path
        return self.raw(method, target, host or f"127.0.0.1:{self.port}", *headers)

    def raw(
        self, method: str, target: str, host: str, *headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
        return raw_request(self.port, "\r\n".join([*lines, "", ""]).encode())


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def connection(shelf: Shelf) -> Iterator[Connection]:
    with VerifyingProxy(shelf) as proxy:
        yield Connection(proxy)


FILE = f"files/demo/{NAME}"


# -- pages -----------------------------------------------------------------------------------


def test_a_page_is_not_cached_without_asking_again(connection: Connection) -> None:
    status, headers, body = connection.ask("simple/demo/", f"Accept: {JSON_V1}")
    assert status == 200
    assert headers["content-type"] == JSON_V1
    assert headers["cache-control"] == "no-cache"
    assert headers["vary"] == "Accept"
    assert json.loads(body)["files"][0]["url"] == f"../../files/demo/{NAME}"
    tag = headers["etag"]
    for sent in (tag, f"W/{tag}", f'"other", {tag}'):
        status, headers, body = connection.ask(
            "simple/demo/", f"Accept: {JSON_V1}", f"If-None-Match: {sent}"
        )
        assert (status, headers["etag"], body) == (304, tag, b"")
    assert connection.ask("simple/demo/", f"If-None-Match: {tag}")[0] == 200, "that is HTML"


def test_the_form_of_a_page_follows_the_accept_header(connection: Connection) -> None:
    assert connection.ask("simple/demo/")[1]["content-type"] == f"{HTML}; charset=utf-8"
    assert connection.ask("simple/demo/", "Accept: image/png")[0] == 406


def test_another_spelling_of_a_project_gets_its_page(connection: Connection) -> None:
    assert connection.ask("simple/DEMO/")[0] == 200
    status, headers, _ = connection.ask("simple/demo")
    assert (status, headers["location"]) == (301, f"{connection.base}simple/demo/")
    assert connection.ask("simple/a%2Fb/")[0] == 400


def test_the_unsigned_list_of_projects_is_refused_not_missing(connection: Connection) -> None:
    status, _, body = connection.ask("simple/")
    assert status == 409
    assert "list of projects is not signed" in json.loads(body)["detail"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (HashMismatchError("wrong sha256", where="simple/demo/index.json"), 409),
        (UnreachableError("no connection"), 504),
        (StoreError("disk full"), 409),
        (RuntimeError("nobody foresaw this"), 409),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_could_not_be_verified_is_never_a_404(
    shelf: Shelf, connection: Connection, error: Exception, expected: int
) -> None:
    def fail() -> None:
        raise error

    shelf.on_project = fail
    status, headers, body = connection.ask("simple/demo/")
    assert (status, headers["content-type"]) == (expected, "application/problem+json")
    assert str(error) in json.loads(body)["detail"]
    assert connection.ask(FILE)[0] == expected
    # pip, which would pass over a 4xx, gets links to follow; whichever it takes is refused
    status, _, body = connection.ask(
        "simple/demo/", f"Accept: {JSON_V1}", "User-Agent: pip/26.3 {}"
    )
    assert status == 200
    for file in json.loads(body)["files"]:
        status, _, refusal = connection.ask(file["url"].removeprefix("../../"))
        assert status == expected
        assert str(error) in json.loads(refusal)["detail"]


def test_pip_is_told_of_an_unlisted_project_by_404(connection: Connection) -> None:
    status, _, body = connection.ask("simple/other/", "User-Agent: pip/26.3 {}")
    assert status == 404
    assert "may be awaiting publication" in json.loads(body)["detail"]
    assert connection.ask("files/demo/demo-2.0-py3-none-any.whl")[0] == 404


def test_a_refusal_is_remembered_for_the_run(shelf: Shelf, connection: Connection) -> None:
    def fail() -> None:
        raise HashMismatchError("wrong sha256")

    shelf.on_project = fail
    assert connection.ask("simple/demo/")[0] == 409
    shelf.on_project = lambda: None
    assert connection.ask("simple/demo/")[0] == 409
    assert shelf.calls == ["state", "project demo"]


# -- files -----------------------------------------------------------------------------------


def test_a_file_is_sent_whole_and_may_be_kept_for_ever(connection: Connection) -> None:
    status, headers, body = connection.ask(FILE, "Accept-Encoding: gzip, br, zstd")
    assert (status, body) == (200, DATA)
    assert headers["etag"] == f'"{hashlib.sha256(DATA).hexdigest()}"'
    assert "immutable" in headers["cache-control"]
    assert headers["accept-ranges"] == "bytes"
    assert headers["content-length"] == str(len(DATA))
    assert "content-encoding" not in headers
    assert connection.ask(FILE, f"If-None-Match: {headers['etag']}")[0] == 304


def test_head_is_get_without_the_body(shelf: Shelf, connection: Connection) -> None:
    status, headers, body = connection.ask(FILE, method="HEAD")
    assert (status, headers["content-length"], body) == (200, str(len(DATA)), b"")
    status, headers, body = connection.ask(FILE, "Range: bytes=5-9", method="HEAD")
    assert (status, headers["content-length"], body) == (206, "5", b"")
    assert connection.ask("simple/demo/", method="HEAD")[0] == 200
    assert shelf.calls.count("download") == 1


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=511999-", 511_999, 512_000),
        ("bytes=-22", 511_978, 512_000),
        ("bytes=-9999999", 0, 512_000),
        ("bytes=511990-9999999", 511_990, 512_000),
    ],
)
def test_a_range_is_cut_from_the_verified_file(
    connection: Connection, asked: str, start: int, stop: int
) -> None:
    status, headers, body = connection.ask(FILE, f"Range: {asked}")
    assert (status, body) == (206, DATA[start:stop])
    assert headers["content-range"] == f"bytes {start}-{stop - 1}/{len(DATA)}"


def test_a_range_outside_the_file_is_416(connection: Connection) -> None:
    status, headers, body = connection.ask(FILE, "Range: bytes=512000-")
    assert (status, headers["content-range"], body) == (416, "bytes */512000", b"")


@pytest.mark.parametrize(
    "headers",
    [
        ["Range: bytes=0-1,5-6"],
        ["Range: lines=1-2"],
        ["Range: bytes=9-5"],
        ["Range: bytes=0-1", 'If-Range: "another version"'],
    ],
)
def test_ranges_that_are_not_served_give_the_whole_file(
    connection: Connection, headers: list[str]
) -> None:
    status, _, body = connection.ask(FILE, *headers)
    assert (status, body) == (200, DATA)


def test_a_range_of_the_version_that_the_client_has_is_served(connection: Connection) -> None:
    tag = connection.ask(FILE, method="HEAD")[1]["etag"]
    status, _, body = connection.ask(FILE, "Range: bytes=0-1", f"If-Range: {tag}")
    assert (status, body) == (206, DATA[:2])


def test_metadata_beside_a_file_is_served(connection: Connection) -> None:
    assert connection.ask(f"{FILE}.metadata")[2] == b"Metadata-Version: 2.1\n"


def test_many_who_ask_at_once_cost_one_download(shelf: Shelf, connection: Connection) -> None:
    begun = threading.Barrier(6)
    bodies: list[bytes] = []

    def ask(number: int) -> None:
        begun.wait()
        bodies.append(connection.ask(FILE, f"Range: bytes={number}-{number}")[2])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(bodies) == [bytes([number]) for number in range(6)]
    assert sorted(shelf.calls) == ["download", "project demo", "state"]


def test_nothing_goes_out_while_a_file_is_not_yet_verified(shelf: Shelf) -> None:
    """Asked in the middle of the download: has the installer received anything?"""
    early: list[bytes] = []
    with VerifyingProxy(shelf) as proxy:
        connection = Connection(proxy)
        with socket.create_connection(("127.0.0.1", connection.port)) as asking:

            def look() -> None:
                asking.setblocking(False)
                with pytest.raises(BlockingIOError):
                    early.append(asking.recv(1))
                asking.setblocking(True)

            shelf.on_download = look
            request = f"GET {connection.base}{FILE} HTTP/1.1\r\nHost: 127.0.0.1:{connection.port}"
            asking.sendall(f"{request}\r\nConnection: close\r\n\r\n".encode())
            received = b""
            while piece := asking.recv(65_536):
                received += piece
    assert early == []
    assert received.endswith(DATA)


# -- invariant 15: the proxy emits no unverified artifact byte, ranges included ----------------


def test_of_a_tampered_file_not_one_byte_is_emitted(place: Place) -> None:
    path = f"files/beta/{BETA}"
    honest = (place.public / path).read_bytes()
    served = place.served(path)
    with VerifyingProxy(place.client()) as proxy:
        connection = Connection(proxy)

        @settings(
            deadline=None,
            max_examples=40,
            suppress_health_check=[HealthCheck.function_scoped_fixture],
        )
        @given(
            st.one_of(
                st.none(),
                st.tuples(st.integers(0, 9_000), st.integers(0, 9_000)).map(
                    lambda pair: f"Range: bytes={pair[0]}-{pair[1]}"
                ),
                st.integers(0, 9_000).map(lambda start: f"Range: bytes={start}-"),
                st.integers(0, 9_000).map(lambda length: f"Range: bytes=-{length}"),
            )
        )
        def no_byte(header: str | None) -> None:
            status, _, body = connection.ask(path, *([header] if header else []))
            assert status == 409
            assert json.loads(body)["title"] == "indextrust: refused"

        place.server.tamper(served, one_byte_changed(honest))
        no_byte()
    assert place.server.requests.count(served) == 1


@pytest.mark.parametrize(
    "tampered",
    [
        one_byte_changed,
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"",
        lambda data: b"\0" * len(data),
    ],
)
def test_any_other_bytes_than_the_listed_are_a_refusal(
    place: Place, tampered: Callable[[bytes], bytes]
) -> None:
    for path, target in {
        f"files/beta/{BETA}": f"files/beta/{BETA}",
        f"files/alpha-lib/{ALPHA}.metadata": f"files/alpha-lib/{ALPHA}.metadata",
    }.items():
        place.server.tamper(place.served(target), tampered)
        with VerifyingProxy(place.client()) as proxy:
            status, _, body = Connection(proxy).ask(path)
        assert status == 409
        assert json.loads(body)["title"] == "indextrust: refused"


# -- who may ask -----------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "localhost:{port}", "127.0.0.1", "127.0.0.1:1"])
def test_a_page_whose_name_was_rebound_to_loopback_gets_nothing(
    shelf: Shelf, connection: Connection, host: str
) -> None:
    assert connection.ask("simple/demo/", host=host.format(port=connection.port))[0] == 403
    assert shelf.calls == []


def test_without_the_token_there_is_nothing(shelf: Shelf, connection: Connection) -> None:
    for path in ("/", "/simple/demo/", "/guess/simple/demo/", "//simple/demo/", "/%2e/simple/"):
        assert connection.ask(path)[0] == 403
    assert shelf.calls == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_only_reading_is_possible(shelf: Shelf, connection: Connection, method: str) -> None:
    assert connection.ask("simple/demo/", method=method)[0] == 405
    assert shelf.calls == []


@pytest.mark.parametrize(
    "path", ["files/demo/../../simple/demo/", "files/demo/%2e%2e%2fx", "files/demo/a/b", "other"]
)
def test_other_paths_do_not_exist(shelf: Shelf, connection: Connection, path: str) -> None:
    assert connection.ask(path)[0] in (301, 404)
    assert "download" not in shelf.calls


def test_two_proxies_share_no_token(shelf: Shelf) -> None:
    with VerifyingProxy(shelf) as one, VerifyingProxy(shelf) as two:
        tokens = {urlsplit(proxy.index_url).path for proxy in (one, two)}
        assert len(tokens) == 2


# -- the closed door ---------------------------------------------------------------------------


def test_requests_for_other_hosts_are_refused_and_noted(
    shelf: Shelf, connection: Connection
) -> None:
    for method, target, host in [
        ("CONNECT", "files.example.com:443", "files.example.com:443"),
        ("GET", "http://evil.example/beta.whl", "evil.example"),
        ("GET", "http://ann:s3cret@evil.example:81/beta.whl", "evil.example:81"),
        ("GET", "http://127.0.0.1:1/simple/demo/", "127.0.0.1:1"),
    ]:
        status, _, body = connection.raw(method, target, host)
        assert status == 403
        assert b"outside the index" in body
    summary = connection.proxy.report.summary()
    assert summary.outside == (
        "files.example.com:443",
        "evil.example",
        "evil.example:81",
        "127.0.0.1:1",
    )
    assert summary.refused
    assert shelf.calls == []


def test_the_index_is_reached_through_the_proxy_as_well(connection: Connection) -> None:
    authority = f"127.0.0.1:{connection.port}"
    status, _, body = connection.raw("GET", f"http://{authority}{connection.base}{FILE}", authority)
    assert (status, body) == (200, DATA)
    assert connection.raw("GET", f"http://{authority}/guess/simple/demo/", authority)[0] == 403
    assert connection.proxy.report.summary().outside == ()


# -- coming and going --------------------------------------------------------------------------


def test_the_address_is_loopback_and_gone_afterwards(shelf: Shelf) -> None:
    with VerifyingProxy(shelf) as proxy:
        connection = Connection(proxy)
        assert connection.ask(FILE)[0] == 200
        assert urlsplit(proxy.index_url).hostname == "127.0.0.1"
    with pytest.raises(ConnectionRefusedError):
        connection.ask(FILE)


def test_a_download_that_nobody_waits_for_does_not_hold_up_the_end(shelf: Shelf) -> None:
    begun, never = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        never.wait()

    shelf.on_download = hang
    with VerifyingProxy(shelf) as proxy:
        connection = Connection(proxy)
        with socket.create_connection(("127.0.0.1", connection.port)) as asking:
            request = f"GET {connection.base}{FILE} HTTP/1.1\r\nHost: 127.0.0.1:{connection.port}"
            asking.sendall(f"{request}\r\n\r\n".encode())
            begun.wait()
    assert not proxy.report.summary().files
    never.set()
