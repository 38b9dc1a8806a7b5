"""Real pip and real uv install from a really published index through the proxy."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from indextrust.proxy import RunResult, run_child
from indextrust.proxy.source import Source
from indextrust.testing import (
    MetadataRepository,
    OnlineKeyThief,
    TamperingServer,
    malicious_wheel,
)
from tests.proxy.conftest import Tool
from tests.proxy.place import ALPHA, BETA, GAMMA, Place, one_byte_changed
from tests.support.wheels import make_wheel


class Installation:
    """One run of an installer, and what was seen of it."""

    def __init__(
        self,
        tool: Tool,
        client: Source,
        *requirements: str,
        env: Mapping[str, str] | None = None,
    ) -> None:
        folder = tool.target.parent
        home = folder / "home"
        home.mkdir(exist_ok=True)
        with (folder / "output").open("w+b") as output:
            self.result: RunResult = run_child(
                client,
                [*tool.command, *requirements],
                env={"PATH": os.environ["PATH"], "HOME": str(home), **(env or {})},
                folder=folder,
                output=output,
            )
            output.seek(0)
            self.output = output.read().decode()
        self.installed = tool.installed()

    @property
    def refusals(self) -> list[tuple[str, str, str]]:
        return [(one.kind, one.project, one.error) for one in self.result.summary.refusals]


def test_a_wheel_and_what_it_needs_are_installed_verified(either: Place, tool: Tool) -> None:
    done = Installation(tool, either.client(), "alpha-lib")
    assert done.result.exit_code == 0, done.output
    assert not done.result.refused
    assert done.installed == ["alpha_lib", "beta"]
    summary = done.result.summary
    assert summary.pages == ("alpha-lib", "beta")
    assert {(file.filename, file.sha256) for file in summary.files} == {
        (ALPHA, either.sha256(f"files/alpha-lib/{ALPHA}")),
        (BETA, either.sha256(f"files/beta/{BETA}")),
    }
    assert (summary.refusals, summary.unreachable, summary.not_listed) == ((), (), ())


def test_an_sdist_is_built_from_verified_bytes(either: Place, tool: Tool) -> None:
    done = Installation(tool, either.client(), "gamma==2.0")
    assert done.result.exit_code == 0, done.output
    assert done.installed == ["gamma"]
    assert [file.filename for file in done.result.summary.files] == [GAMMA]


def test_a_wheel_with_one_byte_changed_is_refused_and_nothing_is_installed(
    either: Place, tool: Tool
) -> None:
    path = f"files/beta/{BETA}"
    either.server.tamper(either.served(path), one_byte_changed)
    done = Installation(tool, either.client(), "alpha-lib")
    assert done.result.exit_code != 0
    assert done.result.refused
    assert done.installed == []
    assert "indextrust: refused" in done.output
    assert f"wrong sha256; expected {either.sha256(path)}; got " in done.output
    assert done.refusals == [("file", "beta", "HashMismatchError")]


def test_core_metadata_with_one_byte_changed_is_refused(either: Place, tool: Tool) -> None:
    path = f"files/alpha-lib/{ALPHA}.metadata"
    either.server.tamper(either.served(path), one_byte_changed)
    done = Installation(tool, either.client(), "alpha-lib")
    assert done.result.exit_code != 0
    assert done.installed == []
    assert f"expected {either.sha256(path)}" in done.output
    assert done.refusals == [("metadata", "alpha-lib", "HashMismatchError")]


@pytest.mark.parametrize("requirement", ["beta", "beta>=1", "beta<2", "alpha-lib"])
def test_a_changed_page_is_refused_in_words_and_not_passed_over(
    place: Place, tool: Tool, requirement: str
) -> None:
    path = "simple/beta/index.json"
    place.server.tamper(place.served(path), one_byte_changed)
    done = Installation(tool, place.client(), requirement)
    assert done.result.exit_code != 0
    assert done.installed == []
    assert f"wrong sha256; expected {place.sha256(path)}; got " in done.output
    assert done.refusals == [("page", "beta", "HashMismatchError")]


def test_a_changed_page_of_a_pinned_project_is_named_as_refused(place: Place, tool: Tool) -> None:
    place.server.tamper(place.served("simple/beta/index.json"), one_byte_changed)
    done = Installation(tool, place.client(), "beta==1.5")
    assert done.result.exit_code != 0
    assert "refused" in done.output
    assert done.refusals == [("page", "beta", "HashMismatchError")]


def thief_of(place: Place) -> OnlineKeyThief:
    key = (place.folder / "stolen.pem").read_bytes()
    return OnlineKeyThief(place.public, key, b"stolen too", now=datetime.now(UTC))


def test_yesterdays_timestamp_is_refused(place: Place, tool: Tool) -> None:
    stale = (place.public / "metadata" / "timestamp.json").read_bytes()
    thief_of(place).sign_timestamp(9)
    client = place.client()
    client.refresh()
    place.server.tamper("metadata/timestamp.json", stale)
    done = Installation(tool, place.client(), "beta")
    assert done.result.exit_code != 0
    assert done.installed == []
    assert "indextrust: refused: timestamp" in done.output.replace("'", "")
    assert done.refusals == [("page", "beta", "RollbackError")]


def test_a_file_replaced_by_a_thief_alarms_who_saw_it_before_and_nobody_else(
    either: Place, tool: Tool
) -> None:
    before = either.sha256(f"files/beta/{BETA}")
    either.client("returning").project("beta")
    wheel = malicious_wheel(
        (either.public / "files/beta" / BETA).read_bytes(), "beta.py", "STOLEN=1"
    )
    thief = OnlineKeyThief(
        either.public,
        (either.folder / "stolen.pem").read_bytes(),
        b"stolen too",
        now=datetime.now(UTC),
    )
    thief.replace_file("beta", BETA, wheel)
    after = either.sha256(f"files/beta/{BETA}")

    done = Installation(tool, either.client("returning"), "beta")
    assert done.result.exit_code != 0
    assert done.installed == []
    assert "ALARM" in done.output
    assert before in done.output
    assert after in done.output
    assert len(done.result.summary.alarms) == 1
    assert {error for _, _, error in done.refusals} == {"ChangedArtifactError"}

    fresh = Installation(tool, either.client("fresh"), "beta")
    assert fresh.result.exit_code == 0, "the limit of the model"
    assert fresh.installed == ["beta"]


def test_an_unreachable_index_is_not_called_an_attack(place: Place, tool: Tool) -> None:
    place.server.close()
    done = Installation(tool, place.client(), "beta")
    assert done.result.exit_code != 0
    assert "indextrust: could not reach the index" in done.output
    assert "retries" not in done.output, "the proxy has tried again already"
    assert not done.result.refused
    assert [(one.kind, one.status) for one in done.result.summary.unreachable] == [("page", 504)]


class Stumbling(TamperingServer):
    """Answers the first request for one path with status 503."""

    stone = ""

    def answer(self, path: str) -> bytes | int:
        answer = super().answer(path)
        return 503 if path == self.stone and self.requests.count(path) == 1 else answer


def test_an_index_that_stumbles_once_is_asked_again(place: Place, tool: Tool) -> None:
    with Stumbling(place.public) as server:
        server.stone = place.served(f"files/beta/{BETA}")
        done = Installation(tool, replace(place, server=server).client(), "beta")
        assert done.result.exit_code == 0, done.output
        assert done.installed == ["beta"]
        assert server.requests.count(server.stone) == 2


def test_an_unknown_project_is_not_listed_rather_than_refused(place: Place, tool: Tool) -> None:
    done = Installation(tool, place.client(), "nonesuch")
    assert done.result.exit_code != 0
    assert not done.result.refused
    (missing,) = done.result.summary.not_listed
    assert (missing.kind, missing.project, missing.status) == ("page", "nonesuch", 404)
    assert "may be awaiting publication" in missing.detail


def index_with_foreign_urls(folder: Path, wheel: Path, url: str) -> bytes:
    """An index, made with python-tuf, whose signed page sends for beta's files elsewhere.

    Returns:
        Its root.
    """
    data = wheel.read_bytes()
    entry = {
        "filename": wheel.name,
        "hashes": {"sha256": hashlib.sha256(data).hexdigest()},
        "size": len(data),
        "upload-time": "2026-01-31T12:00:00Z",
        "url": url,
    }
    page = {"meta": {"api-version": "1.4"}, "name": "beta", "versions": ["1.5"], "files": [entry]}
    repository = MetadataRepository()
    repository.add_target("simple/beta/index.json", json.dumps(page).encode())
    repository.add_target(f"files/beta/{wheel.name}", data)
    repository.publish()
    for path, content in repository.served().items():
        file = folder / path.removeprefix("targets/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return repository.files["1.root.json"]


def test_urls_to_another_host_on_a_signed_page_lead_nowhere(tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "decoy").mkdir()
    wheel = make_wheel(tmp_path / "decoy", "beta", "1.5")
    with (
        TamperingServer(tmp_path / "decoy") as decoy,
        TamperingServer(tmp_path / "index") as server,
    ):
        for folder, url in enumerate(
            [f"{decoy.url}{wheel.name}", f"//{decoy.url[7:]}{wheel.name}"]
        ):
            root = index_with_foreign_urls(tmp_path / "index", wheel, url)
            place = Place(tmp_path / f"client {folder}", root, server)
            place.folder.mkdir()
            done = Installation(tool, place.client(), "beta")
            assert done.result.exit_code == 0, done.output
            assert done.installed == ["beta"]
            shutil.rmtree(tool.target)
            assert any(path.endswith(wheel.name) for path in server.requests)
        assert decoy.requests == []
        assert done.result.summary.outside == ()


def write_configuration(folder: Path, decoy: str) -> None:
    """Every configuration file we know of that names another index, where they are looked for."""
    home = folder / "home"
    for path, text in {
        home
        / ".config/pip/pip.conf": f"[global]\nindex-url = {decoy}\nextra-index-url = {decoy}\n",
        home / ".pip/pip.conf": f"[install]\nextra-index-url = {decoy}\nfind-links = {decoy}\n",
        home / ".config/uv/uv.toml": f'[[index]]\nname = "decoy"\nurl = "{decoy}"\n',
        folder
        / "uv.toml": f'[[index]]\nname = "decoy"\nurl = "{decoy}"\n[pip]\nfind-links=["{decoy}"]\n',
        folder / "pyproject.toml": (
            '[project]\nname = "here"\nversion = "1"\ndependencies = ["beta"]\n'
            f'[[tool.uv.index]]\nname = "decoy"\nurl = "{decoy}"\ndefault = true\n'
            f'[tool.uv.sources]\nbeta = {{ url = "{decoy}beta-99.0-py3-none-any.whl" }}\n'
            f'[tool.uv.pip]\nextra-index-url = ["{decoy}"]\n'
        ),
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_no_configuration_leads_to_another_index(place: Place, tool: Tool, tmp_path: Path) -> None:
    """The decoy offers a newer beta; whoever asks it, gets that."""
    decoy_folder = tmp_path / "decoy" / "beta"
    decoy_folder.mkdir(parents=True)
    newer = make_wheel(decoy_folder, "beta", "99.0")
    (decoy_folder / "index.html").write_text(f'<a href="{newer.name}">{newer.name}</a>')
    with TamperingServer(tmp_path / "decoy") as decoy:
        write_configuration(tmp_path, decoy.url)
        env = {
            "PIP_EXTRA_INDEX_URL": decoy.url,
            "PIP_INDEX_URL": decoy.url,
            "PIP_FIND_LINKS": f"{decoy.url}beta/",
            "PIP_CONFIG_FILE": str(tmp_path / "home/.pip/pip.conf"),
            "PIP_TRUSTED_HOST": "127.0.0.1",
            "UV_INDEX": f"decoy={decoy.url}",
            "UV_DEFAULT_INDEX": decoy.url,
            "UV_INDEX_URL": decoy.url,
            "UV_EXTRA_INDEX_URL": decoy.url,
            "UV_FIND_LINKS": f"{decoy.url}beta/",
            "UV_CONFIG_FILE": str(tmp_path / "uv.toml"),
            "NO_PROXY": "*",
            "no_proxy": "127.0.0.1",
        }
        done = Installation(tool, place.client(), "beta", env=env)
        assert done.result.exit_code == 0, done.output
        assert "1.5" in (tool.target / "beta.py").read_text()
        assert decoy.requests == []
        assert done.result.summary.outside == ()
    assert set(done.result.removed) >= {"PIP_EXTRA_INDEX_URL", "UV_INDEX", "UV_FIND_LINKS"}


@pytest.mark.parametrize("tool", ["uv"], indirect=True)
def test_uv_takes_requirements_of_a_pyproject_from_the_verified_index(
    place: Place, tool: Tool, tmp_path: Path
) -> None:
    with TamperingServer(tmp_path) as decoy:
        write_configuration(tmp_path, decoy.url)
        done = Installation(tool, place.client(), "-r", "pyproject.toml")
        assert done.result.exit_code == 0, done.output
        assert done.installed == ["beta"]
        assert decoy.requests == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NO_PROXY", "*"),
        ("No_Proxy", "*"),
        ("REQUEST_METHOD", "GET"),
        ("http://127.0.0.1_proxy", ""),
    ],
)
def test_a_direct_url_in_a_packages_own_metadata_meets_the_closed_door(
    place: Place, tool: Tool, tmp_path: Path, name: str, value: str
) -> None:
    """The index vouches for delta, which asks for a wheel from another host."""
    decoy_folder = tmp_path / "decoy"
    decoy_folder.mkdir()
    newer = make_wheel(decoy_folder, "beta", "99.0")
    with TamperingServer(decoy_folder) as decoy:
        url = f"{decoy.url}{newer.name}"
        local = make_wheel(tmp_path, "delta", "1.0", requires=[f"beta @ {url}"])
        env = {name: value or decoy.url}  # a proxy that serves the wheel itself
        done = Installation(tool, place.client(), str(local), env=env)
        assert done.result.exit_code != 0
        assert done.installed == []
        assert decoy.requests == []
    assert done.result.refused
    assert done.result.summary.outside == (decoy.url.split("/")[2],)


def test_caches_of_earlier_runs_can_not_stand_in(place: Place, tool: Tool, tmp_path: Path) -> None:
    """What was installed and cached when all was well is asked for and judged anew."""
    env = {"PIP_CACHE_DIR": str(tmp_path / "cache"), "UV_CACHE_DIR": str(tmp_path / "cache")}
    client = place.client()
    first = Installation(tool, client, "gamma", "beta", env=env)
    assert first.result.exit_code == 0, first.output
    shutil.rmtree(tool.target)
    for path in (f"files/gamma/{GAMMA}", f"files/beta/{BETA}"):
        place.server.tamper(place.served(path), one_byte_changed)
    for project in ("gamma", "beta"):
        done = Installation(tool, client, project, env=env)
        assert done.result.exit_code != 0
        assert done.installed == []
        assert done.refusals == [("file", project, "HashMismatchError")]
    assert not (tmp_path / "cache").exists()
    assert not (tmp_path / "home" / ".cache").exists(), "caches keyed by passing URLs only grow"
