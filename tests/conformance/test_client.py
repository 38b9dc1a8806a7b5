"""The executable for the public conformance suite speaks the suite's protocol.

The suite itself is another project and is not run here: see CLIENT-CLI.md there. What it insists
on is held here: the commands, exit codes 0 and 1 and no others, and what lies where.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from indextrust.testing import MetadataRepository, TamperingServer

CLIENT = Path(__file__).with_name("client")


class Place:
    """A repository, its server, and the folders that the suite would hand over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = MetadataRepository()
        self.repository.add_target("path/to/a b.txt", b"content")
        self.repository.publish()
        self.write()
        self.server = TamperingServer(folder / "public")
        self.metadata, self.targets = folder / "metadata", folder / "targets"
        self.metadata.mkdir()
        self.targets.mkdir()
        self.root = folder / "initial_root.json"
        self.root.write_bytes(self.repository.files["1.root.json"])

    def write(self) -> None:
        self.repository.write(self.folder / "public")

    def run(self, *arguments: str | Path) -> int:
        """Run the executable as the suite does."""
        command = [sys.executable, CLIENT, "--metadata-dir", self.metadata, *arguments]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.run(command, env=env, check=False).returncode

    def refresh(self) -> int:
        return self.run("--metadata-url", self.server.url + "metadata", "refresh")

    def download(self, *names: str) -> int:
        urls = ["--metadata-url", self.server.url + "metadata"]
        urls += ["--target-base-url", self.server.url + "targets"]
        wanted = [argument for name in names for argument in ("--target-name", name)]
        return self.run(*urls, *wanted, "--target-dir", self.targets, "download")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.server.close()


def test_init_refresh_download(place: Place) -> None:
    assert place.run("init", place.root) == 0
    assert place.server.requests == [], "init asks nothing of the repository"
    assert place.refresh() == 0
    for role in ("root", "timestamp", "snapshot", "targets"):
        stored = (place.metadata / f"{role}.json").read_bytes()
        version = "" if role == "timestamp" else "1."
        assert stored == place.repository.files[f"{version}{role}.json"]
    assert len(list(place.metadata.glob("*.json"))) == 4, "each of them is a trusted role"
    assert place.download("path/to/a b.txt") == 0
    (artifact,) = place.targets.iterdir()
    assert artifact.read_bytes() == b"content"
    asked = len(place.server.requests)
    assert place.download("path/to/a b.txt") == 0
    again = place.server.requests[asked:]
    assert again == ["metadata/2.root.json", "metadata/timestamp.json"]


def test_the_first_target_that_fails_ends_it(place: Place) -> None:
    assert place.run("init", place.root) == 0
    assert place.download("nonexistent", "path/to/a b.txt") == 1
    assert list(place.targets.iterdir()) == []


def test_a_refusal_exits_with_1_and_keeps_what_was_trusted(place: Place) -> None:
    assert place.run("init", place.root) == 0
    assert place.refresh() == 0
    place.repository.signers["timestamp"].clear()
    place.repository.publish()
    place.write()
    before = (place.metadata / "timestamp.json").read_bytes()
    assert place.refresh() == 1
    assert (place.metadata / "timestamp.json").read_bytes() == before


@pytest.mark.parametrize(
    "arguments", [[], ["unknown"], ["init"], ["init", "/missing"], ["refresh"], ["--wrong", "init"]]
)
def test_no_other_exit_code_than_1_for_what_can_not_be_done(
    place: Place, arguments: list[str]
) -> None:
    assert place.run(*arguments) == 1
