"""The worked examples in `specs/profile.md` are one index that verifies, file by file."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from indextrust.canonical import canonical
from indextrust.errors import ExpiredError
from indextrust.names import document_path, file_path, metadata_path, project_name
from indextrust.trust import NotListed, TargetEntry, parse_document
from indextrust.trust.verdict import algorithms, check
from tests.support.drive import Driver

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
_EXAMPLE = re.compile(r"^`(\S+)`:\n\n```json\n(.*?)\n```$", re.DOTALL | re.MULTILINE)


@pytest.fixture
def examples() -> dict[str, bytes]:
    text = (Path(__file__).parent.parent / "specs" / "profile.md").read_text("utf-8")
    return {name: canonical(json.loads(tree)) for name, tree in _EXAMPLE.findall(text)}


def _client(examples: dict[str, bytes]) -> Driver:
    files = {name.rpartition("/")[2]: data for name, data in examples.items()}
    return Driver(files, files["1.root.json"], NOON)


def test_the_examples_verify_down_to_the_document_and_its_files(examples: dict[str, bytes]) -> None:
    client, demo = _client(examples), project_name("demo")
    entry = client.find(document_path(demo))
    assert isinstance(entry, TargetEntry)
    data = examples[document_path(demo)]
    check(
        entry, len(data), {name: hashlib.new(name, data).hexdigest() for name in algorithms(entry)}
    )
    (file,) = parse_document(demo, data).files.values()
    target = client.find(file_path(demo, file.filename))
    assert isinstance(target, TargetEntry)
    assert (target.length, target.hashes) == (file.size, {"sha256": file.sha256})
    core = client.find(metadata_path(demo, file.filename))
    assert isinstance(core, TargetEntry)
    assert core.hashes == {"sha256": file.metadata_sha256}
    assert isinstance(client.find("files/demo/demo-2.0.tar.gz"), NotListed)


def test_the_examples_expire(examples: dict[str, bytes]) -> None:
    client = _client(examples)
    client.now = NOON.replace(day=23)
    with pytest.raises(ExpiredError, match="timestamp"):
        client.refresh()
