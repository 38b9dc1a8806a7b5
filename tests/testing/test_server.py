"""The tampering server: honest when left alone, a liar when told, and never out of its folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import urllib3

from indextrust.errors import PortInUseError
from indextrust.testing import TamperingServer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    served = tmp_path / "served"
    (served / "simple" / "demo").mkdir(parents=True)
    (served / "simple" / "demo" / "index.html").write_text("a page")
    (served / "simple" / "demo" / "index.json").write_text("{}")
    (served / "wheel.whl").write_bytes(b"honest bytes")
    (tmp_path / "secret").write_text("not served")
    return served


def get(server: TamperingServer, path: str) -> urllib3.BaseHTTPResponse:
    return urllib3.PoolManager().request("GET", server.url + path, retries=False)


def test_left_alone_it_serves_the_files_as_they_are(folder: Path) -> None:
    with TamperingServer(folder) as server:
        assert get(server, "wheel.whl").data == b"honest bytes"
        page = get(server, "simple/demo/")
        document = get(server, "simple/demo/index.json")
        assert get(server, "absent").status == 404
        assert get(server, "simple/demo/%2e%2e/%2e%2e/%2e%2e/secret").status == 404
    assert (page.data, page.headers["Content-Type"]) == (b"a page", "text/html; charset=utf-8")
    assert document.headers["Content-Type"] == "application/vnd.pypi.simple.v1+json"
    assert server.requests[:2] == ["wheel.whl", "simple/demo/"]


def test_it_lies_per_path_and_stops_lying(folder: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    (old / "demo").mkdir(parents=True)
    (old / "demo" / "index.json").write_text("old")
    with TamperingServer(folder) as server:
        server.tamper("wheel.whl", lambda honest: honest[:-1] + b"!")
        server.tamper("gone", 503)
        server.tamper("made-up", b"out of thin air")
        server.replay("simple/", old)
        assert get(server, "wheel.whl").data == b"honest byte!"
        assert get(server, "gone").status == 503
        assert get(server, "made-up").data == b"out of thin air"
        assert get(server, "simple/demo/index.json").data == b"old"
        server.be_honest()
        assert get(server, "wheel.whl").data == b"honest bytes"
        assert get(server, "simple/demo/index.json").data == b"{}"
    assert (folder / "wheel.whl").read_bytes() == b"honest bytes"


def test_a_taken_port_has_its_own_error(folder: Path) -> None:
    with TamperingServer(folder) as server:
        port = int(server.url.rsplit(":", 1)[1].rstrip("/"))
        with pytest.raises(PortInUseError, match=f"127.0.0.1:{port} is taken"):
            TamperingServer(folder, port=port)


def test_no_path_leads_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "served").mkdir()
    with TamperingServer(tmp_path / "served") as server:
        absolute = f"{tmp_path}/secret"
        for path in (f"%2F{absolute}", f"/{absolute}", "..%2Fsecret", "%2e%2e/secret"):
            answer = urllib3.request("GET", server.url + path, retries=False)
            assert (answer.status, answer.data) == (404, b""), path
