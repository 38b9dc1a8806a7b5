"""An index in its hash transition: every hash that is listed is checked, wherever it is listed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import TargetFile

from indextrust.client import Client
from indextrust.errors import (
    HashMismatchError,
    IndextrustError,
    MalformedError,
    ProfileError,
)
from tests.client.pages import WHL, listing, page
from tests.client.stage import Stage
from tests.client.test_index import User

GOOD, CORE = b"a wheel" * 100, b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"
PATH = f"files/demo/{WHL}"
OTHER = "f" * 128


def both(data: bytes, **other: str) -> dict[str, str]:
    return {name: hashlib.new(name, data).hexdigest() for name in ("sha256", "sha512")} | other


class Index:
    """A page, and where they are targets the file and its core metadata, with hashes as told."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def publish(self, *, targets: bool, **hashes: dict[str, str]) -> None:
        signed = self.stage.repository.targets["bins"].signed.targets
        signed.clear()
        beside = hashes.get("core", both(CORE))
        entry = listing(WHL, GOOD, **{"core-metadata": beside})
        entry["hashes"] = hashes.get("page", both(GOOD))
        for path, data, name in ((PATH, GOOD, "target"), (f"{PATH}.metadata", CORE, "core_target")):
            self.stage.add(path, data)
            signed[path] = TargetFile(len(data), hashes.get(name, both(data)), path)
            if not targets:
                del signed[path]
        self.stage.add("simple/demo/index.json", page("demo", [entry]))
        self.stage.publish()


@pytest.fixture
def index(stage: Stage) -> Index:
    return Index(stage)


@pytest.fixture
def client(stage: Stage) -> Client:
    return User(stage, "ann").client()


@pytest.mark.parametrize("targets", [True, False])
def test_both_are_checked_and_the_file_is_asked_for_by_its_sha256(
    index: Index, client: Client, tmp_path: Path, targets: bool
) -> None:
    index.publish(targets=targets)
    listed = client.file(WHL)
    assert (listed.file.sha256, listed.file.sha512) == tuple(both(GOOD).values())
    path = client.download(listed, tmp_path)
    assert path.read_bytes() == GOOD
    assert client.metadata(listed) == CORE
    assert client.verify(path).sha256 == both(GOOD)["sha256"]
    assert not [path for path in index.stage.requests() if both(GOOD)["sha512"] in path]


CASES: list[Any] = [
    pytest.param(True, {"target": both(GOOD, sha512=OTHER)}, ProfileError, id="target"),
    pytest.param(True, {"page": both(GOOD, sha512=OTHER)}, ProfileError, id="page"),
    pytest.param(
        True,
        {"page": both(GOOD, sha512=OTHER), "target": both(GOOD, sha512=OTHER)},
        HashMismatchError,
        id="both of them",
    ),
    pytest.param(
        True,
        {"page": both(GOOD, sha512=OTHER), "target": {"sha256": both(GOOD)["sha256"]}},
        HashMismatchError,
        id="the page alone has one",
    ),
    pytest.param(False, {"page": both(GOOD, sha512=OTHER)}, HashMismatchError, id="no target"),
]


@pytest.mark.parametrize(("targets", "hashes", "refusal"), CASES)
def test_a_sha512_of_other_bytes_is_refused_though_the_sha256_is_right(
    index: Index,
    client: Client,
    tmp_path: Path,
    targets: bool,
    hashes: dict[str, dict[str, str]],
    refusal: type[IndextrustError],
) -> None:
    index.publish(targets=targets, **hashes)
    listed = client.file(WHL)
    with pytest.raises(refusal, match="sha512"):
        client.download(listed, tmp_path)
    assert list(tmp_path.glob("demo*")) == []
    (tmp_path / WHL).write_bytes(GOOD)
    with pytest.raises(refusal, match="sha512"):
        client.verify(tmp_path / WHL)


@pytest.mark.parametrize(
    ("targets", "hashes", "refusal"),
    [
        (True, {"core": both(CORE, sha512=OTHER)}, ProfileError),
        (
            True,
            {"core": both(CORE, sha512=OTHER), "core_target": both(CORE, sha512=OTHER)},
            HashMismatchError,
        ),
        (False, {"core": both(CORE, sha512=OTHER)}, HashMismatchError),
    ],
)
def test_so_is_one_of_other_core_metadata(
    index: Index,
    client: Client,
    targets: bool,
    hashes: dict[str, dict[str, str]],
    refusal: type[IndextrustError],
) -> None:
    index.publish(targets=targets, **hashes)
    with pytest.raises(refusal, match="sha512"):
        client.metadata(client.file(WHL))


@pytest.mark.parametrize("sha512", ["f" * 127, "F" * 128, 5, None])
@pytest.mark.parametrize("field", ["page", "core"])
def test_a_page_whose_sha512_is_none_is_refused(
    index: Index, client: Client, field: str, sha512: Any
) -> None:
    index.publish(targets=False, **{field: {"sha256": both(GOOD)["sha256"], "sha512": sha512}})
    with pytest.raises((ProfileError, MalformedError), match="sha512"):
        client.project("demo")
