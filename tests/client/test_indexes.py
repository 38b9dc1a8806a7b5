"""`TrustedIndexes`: trust begins explicitly, ends explicitly, and survives what happens between."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from indextrust.client import Client, Project, TrustedIndex, TrustedIndexes, Urllib3Fetcher
from indextrust.errors import (
    BadFingerprintError,
    ChangedArtifactError,
    InputError,
    ProfileError,
    RefusedError,
    StoreError,
    UnreachableError,
)
from indextrust.testing import MetadataRepository
from tests.client.pages import SDIST, WHL, put
from tests.client.processes import killed_before_step, visible, without_rights
from tests.client.stage import Stage

GOOD, EVIL = b"good" * 10, b"evil" * 10


def _fingerprint(root: bytes) -> str:
    return hashlib.sha256(root).hexdigest()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def indexes(stage: Stage, home: Path) -> TrustedIndexes:
    put(stage, {WHL: GOOD, SDIST: GOOD})
    return _indexes(stage, home)


def _indexes(stage: Stage, home: Path) -> TrustedIndexes:
    return TrustedIndexes(home, fetcher=Urllib3Fetcher(seconds=20), clock=lambda: stage.now)


def _root(stage: Stage, version: int = 1) -> bytes:
    return stage.repository.files[f"{version}.root.json"]


def _download(client: Client, folder: Path) -> bytes:
    return client.download(client.file(WHL), folder).read_bytes()


def test_a_root_that_was_made_to_practise_is_no_index_to_trust(
    stage: Stage, indexes: TrustedIndexes
) -> None:
    """However it comes: from a file, by its fingerprint, by first use, or in a reset."""
    index = indexes.add("real", stage.server.url, _root(stage))
    root = stage.repository.root
    root.signed.unrecognized_fields["x-indextrust-rehearsal"] = True
    root.signatures.clear()
    for signer in stage.repository.signers["root"]:
        root.sign(signer, append=True)
    practised = root.to_bytes()
    (stage.public / "metadata" / "1.root.json").write_bytes(practised)
    ways: list[Callable[[], object]] = [
        lambda: indexes.add("practice", stage.server.url, practised),
        lambda: indexes.add_by_fingerprint("practice", stage.server.url, _fingerprint(practised)),
        lambda: indexes.add_first_use("practice", stage.server.url),
        lambda: indexes.reset("real", root=practised),
    ]
    for way in ways:
        with pytest.raises(ProfileError, match="made in a rehearsal"):
            way()
    assert indexes.list() == [index]


# -- three ways to begin -------------------------------------------------------------------------


def test_trust_by_a_root_file(
    stage: Stage, indexes: TrustedIndexes, home: Path, tmp_path: Path
) -> None:
    index = indexes.add("internal", stage.server.url, _root(stage))
    assert index == TrustedIndex("internal", stage.server.url, _fingerprint(_root(stage)))
    assert stage.requests() == [], "nothing is asked of the index"
    again = _indexes(stage, home)
    assert again.list() == [index]
    assert again.get("internal") == index
    assert _download(again.client("internal"), tmp_path) == GOOD
    assert again.client().refresh().root_version == 1, "the only index needs no name"


def test_trust_by_fingerprint_finds_the_root_whatever_its_version(
    stage: Stage, indexes: TrustedIndexes, tmp_path: Path
) -> None:
    for _ in range(3):
        stage.repository.publish_root()
    stage.write()
    fingerprint = _fingerprint(_root(stage, 3))
    index = indexes.add_by_fingerprint("internal", stage.server.url, fingerprint.upper())
    assert index.fingerprint == fingerprint
    assert stage.requests() == [f"metadata/{n}.root.json" for n in (1, 2, 3)]
    assert indexes.client("internal").refresh().root_version == 4


def test_a_wrong_fingerprint_is_refused_and_nothing_is_trusted(
    stage: Stage, indexes: TrustedIndexes, home: Path
) -> None:
    with pytest.raises(BadFingerprintError) as caught:
        indexes.add_by_fingerprint("internal", stage.server.url, "0" * 64)
    assert caught.value.expected == "0" * 64
    assert _fingerprint(_root(stage)) in str(caught.value)
    assert indexes.list() == []
    assert not home.exists()


def test_a_server_that_swaps_the_root_is_refused_by_fingerprint(
    stage: Stage, indexes: TrustedIndexes
) -> None:
    attacker = MetadataRepository(now=stage.now)
    stage.server.tamper("metadata/1.root.json", attacker.files["1.root.json"])
    with pytest.raises(BadFingerprintError):
        indexes.add_by_fingerprint("internal", stage.server.url, _fingerprint(_root(stage)))
    assert indexes.list() == []


def test_first_use_trusts_what_is_there_and_says_what_it_was(
    stage: Stage, indexes: TrustedIndexes
) -> None:
    index = indexes.add_first_use("internal", stage.server.url)
    assert index.fingerprint == _fingerprint(_root(stage))
    assert stage.requests() == ["metadata/1.root.json"]


def test_a_server_without_metadata_is_unreachable_not_trusted(
    stage: Stage, indexes: TrustedIndexes
) -> None:
    stage.server.tamper("metadata/1.root.json", 404)
    with pytest.raises(UnreachableError, match=r"no metadata/1\.root\.json"):
        indexes.add_first_use("internal", stage.server.url)
    with pytest.raises(BadFingerprintError, match="no root at all"):
        indexes.add_by_fingerprint("internal", stage.server.url, "0" * 64)
    stage.server.tamper("metadata/1.root.json", 500)
    with pytest.raises(UnreachableError):
        indexes.add_by_fingerprint("internal", stage.server.url, "0" * 64)
    assert indexes.list() == []


# -- what can't be used --------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b"x" * 600_000])
def test_what_is_no_root_is_not_trusted(stage: Stage, indexes: TrustedIndexes, data: bytes) -> None:
    with pytest.raises(RefusedError):
        indexes.add("internal", stage.server.url, data)
    stage.server.tamper("metadata/1.root.json", data)
    with pytest.raises(RefusedError):
        indexes.add_first_use("internal", stage.server.url)
    with pytest.raises(RefusedError):
        indexes.add("internal", stage.server.url, stage.repository.files["1.targets.json"])
    assert indexes.list() == []


@pytest.mark.parametrize(
    "name", ["", "Internal", "..", ".hidden", "-x", "a/b", "a b", "a\n", "é", "x" * 65]
)
def test_a_name_that_can_not_be_used(stage: Stage, indexes: TrustedIndexes, name: str) -> None:
    with pytest.raises(InputError, match="expected an index name"):
        indexes.add(name, stage.server.url, _root(stage))
    with pytest.raises(InputError, match="expected an index name"):
        indexes.get(name)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "index.example",
        "ftp://index.example/",
        "http://u:secret@x/",
        "http://x/?q=1",
        "http://x/#f",
    ],
)
def test_a_url_that_can_not_be_used(stage: Stage, indexes: TrustedIndexes, url: str) -> None:
    with pytest.raises(InputError) as caught:
        indexes.add("internal", url, _root(stage))
    with pytest.raises(InputError):
        indexes.add_first_use("internal", url)
    assert "secret" not in str(caught.value)
    assert indexes.list() == []


@pytest.mark.parametrize("fingerprint", ["", "sha256", "0" * 63, "0" * 65, "g" * 64])
def test_a_fingerprint_that_is_none(
    stage: Stage, indexes: TrustedIndexes, fingerprint: str
) -> None:
    with pytest.raises(InputError, match="expected a sha256 in hex"):
        indexes.add_by_fingerprint("internal", stage.server.url, fingerprint)
    assert stage.requests() == []


def test_a_slash_is_added_to_the_url(stage: Stage, indexes: TrustedIndexes) -> None:
    index = indexes.add("internal", "https://index.example/team/stable", _root(stage))
    assert index.url == "https://index.example/team/stable/"


def test_an_index_is_not_trusted_twice(stage: Stage, indexes: TrustedIndexes) -> None:
    """A second `add` must not be a way around `reset`."""
    index = indexes.add("internal", stage.server.url, _root(stage))
    attacker = MetadataRepository(now=stage.now)
    with pytest.raises(InputError, match="trusted already"):
        indexes.add("internal", "http://attacker.example/", attacker.files["1.root.json"])
    assert indexes.list() == [index]


def test_which_index_is_meant_must_be_clear(stage: Stage, indexes: TrustedIndexes) -> None:
    with pytest.raises(InputError, match="trusted are none"):
        indexes.client()
    with pytest.raises(InputError, match="no index called 'internal'"):
        indexes.client("internal")
    indexes.add("b", stage.server.url, _root(stage))
    indexes.add("a", stage.server.url, _root(stage))
    assert [index.name for index in indexes.list()] == ["a", "b"]
    with pytest.raises(InputError, match="trusted are a, b"):
        indexes.client()


# -- starting again ------------------------------------------------------------------------------


def test_a_reset_drops_the_metadata_and_keeps_what_was_first_seen(
    stage: Stage, indexes: TrustedIndexes, home: Path, tmp_path: Path
) -> None:
    """A threshold of root keys was stolen; the operator starts again under new ones. Whoever
    swapped a file meanwhile is found out by the memory."""
    indexes.add("internal", stage.server.url, _root(stage))
    assert isinstance(indexes.client("internal").project("demo"), Project)
    old = indexes.get("internal")

    other = Stage(tmp_path / "new")
    put(other, {WHL: EVIL, SDIST: GOOD})
    stage.server.replay("", other.public)
    with pytest.raises(RefusedError):
        indexes.client("internal").refresh()
    index = indexes.reset("internal", root=_root(other))
    assert index.fingerprint == _fingerprint(_root(other)) != old.fingerprint
    assert not any(old.fingerprint in path for path in visible(home))
    client = indexes.client("internal")
    assert _download_named(client, SDIST, tmp_path) == GOOD
    with pytest.raises(ChangedArtifactError):
        _download(client, tmp_path)
    other.server.close()


def _download_named(client: Client, name: str, folder: Path) -> bytes:
    return client.download(client.file(name), folder).read_bytes()


def test_a_reset_to_the_same_root_drops_the_metadata_too(
    stage: Stage, indexes: TrustedIndexes, home: Path
) -> None:
    index = indexes.add("internal", stage.server.url, _root(stage))
    indexes.client("internal").refresh()
    assert any("metadata/timestamp.json" in path for path in visible(home))
    assert indexes.reset("internal", fingerprint=index.fingerprint) == index
    assert not any("metadata/" in path for path in visible(home))


def test_a_reset_that_is_refused_changes_nothing(
    stage: Stage, indexes: TrustedIndexes, home: Path
) -> None:
    index = indexes.add("internal", stage.server.url, _root(stage))
    indexes.client("internal").refresh()
    before = visible(home)
    with pytest.raises(BadFingerprintError):
        indexes.reset("internal", fingerprint="0" * 64)
    with pytest.raises(RefusedError):
        indexes.reset("internal", root=b"{}")
    for wrong in ({}, {"root": _root(stage), "fingerprint": index.fingerprint}):
        with pytest.raises(InputError, match="exactly one"):
            indexes.reset("internal", **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no index called"):
        indexes.reset("other", root=_root(stage))
    assert visible(home) == before
    assert indexes.get("internal") == index


# -- on disk -------------------------------------------------------------------------------------


def test_killed_while_adding_and_resetting_it_is_done_or_not(stage: Stage, home: Path) -> None:
    indexes = _indexes(stage, home)
    other = MetadataRepository(now=stage.now).files["1.root.json"]
    number, reached = 0, True
    while reached:
        number += 1
        name = f"add{number}"
        reached = killed_before_step(
            number,
            lambda name=name: indexes.add(name, stage.server.url, _root(stage)),  # type: ignore[misc]
        )
        if name not in [index.name for index in indexes.list()]:
            indexes.add(name, stage.server.url, _root(stage))
        indexes.client(name).refresh()
    number, reached = 0, True
    while reached:
        number += 1
        reached = killed_before_step(number, lambda: indexes.reset("add1", root=other))
        assert indexes.client("add1")
        indexes.reset("add1", root=_root(stage))
        indexes.client("add1").refresh()


@pytest.mark.parametrize(
    "damage",
    [b"", b"[]", b"{}", b'{"url":1,"fingerprint":2}', b'{"url":"ftp://x","fingerprint":""}'],
)
def test_a_damaged_description_is_named(
    stage: Stage, indexes: TrustedIndexes, home: Path, damage: bytes
) -> None:
    indexes.add("internal", stage.server.url, _root(stage))
    path = home / "indexes" / "internal" / "index.json"
    path.write_bytes(damage)
    for ask in (indexes.list, indexes.client):
        with pytest.raises(StoreError, match=f"{path} is damaged"):
            ask()


def test_a_root_swapped_on_disk_is_noticed(
    stage: Stage, indexes: TrustedIndexes, home: Path
) -> None:
    index = indexes.add("internal", stage.server.url, _root(stage))
    path = home / "indexes" / "internal" / index.fingerprint / "root.json"
    path.write_bytes(MetadataRepository(now=stage.now).files["1.root.json"])
    with pytest.raises(StoreError, match="its fingerprint is another"):
        indexes.client("internal")
    path.unlink()
    with pytest.raises(StoreError, match="No such file"):
        indexes.client("internal")


def test_a_home_that_can_not_be_used(stage: Stage, home: Path) -> None:
    indexes = _indexes(stage, home)
    answer = without_rights(lambda: indexes.add("internal", stage.server.url, _root(stage)))
    assert answer.startswith("StoreError: ")


def test_the_home_folder_comes_from_the_environment(tmp_path: Path) -> None:
    code = "from indextrust.client import TrustedIndexes as T; print(T.default()._home)"

    def home(**more: str) -> str:
        env = {k: v for k, v in os.environ.items() if k not in ("INDEXTRUST_HOME", "XDG_DATA_HOME")}
        return subprocess.check_output([sys.executable, "-c", code], env=env | more, text=True)

    assert home(INDEXTRUST_HOME=str(tmp_path)) == f"{tmp_path}\n"
    assert home(XDG_DATA_HOME=str(tmp_path)) == f"{tmp_path / 'indextrust'}\n"


def test_what_is_stored_is_json_for_people(
    stage: Stage, indexes: TrustedIndexes, home: Path
) -> None:
    index = indexes.add("internal", stage.server.url, _root(stage))
    stored = json.loads((home / "indexes/internal/index.json").read_bytes())
    assert stored == {"url": index.url, "fingerprint": index.fingerprint}
