"""What the scribe writes hangs together: he lacks the key, and nothing else."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path

import pytest

from indextrust.errors import AlteredStateError
from indextrust.repository.seal import HEAD, KEY
from indextrust.testing import Scribe, make_wheel
from tests.repository.place import Place

WHEEL = "demo-1.0-py3-none-any.whl"
EVIL = "demo-9.9-py3-none-any.whl"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.publish(made.wheel("demo", "1.0"))
    return made


def scribe(place: Place, *, with_key: bool) -> Scribe:
    folder = place.repository.folder
    key = (folder / KEY).read_bytes() if with_key else None
    return Scribe(folder / "state.sqlite", key=key)


def queue_evil(place: Place, *, with_key: bool) -> None:
    """Its bytes lie ready where the repository keeps them."""
    data = make_wheel(place.folder, "demo", "9.9", content="STOLEN = True").read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    private = place.repository.folder / "objects" / sha256[:2] / sha256
    private.parent.mkdir(exist_ok=True)
    private.write_bytes(data)
    writer = scribe(place, with_key=with_key)
    last = writer.last()
    writer.queue_file("demo", "9.9", EVIL, data)
    writer.seal_from(last + 1)


def test_with_the_key_what_he_queues_is_published(place: Place) -> None:
    queue_evil(place, with_key=True)
    assert place.reopen().publish().added == 1
    assert f"files/demo/{EVIL}" in place.repository.published_targets()


def test_without_it_nothing_is(place: Place) -> None:
    queue_evil(place, with_key=False)
    with pytest.raises(AlteredStateError, match="was not written by this repository"):
        place.reopen().publish()
    assert f"files/demo/{EVIL}" not in place.repository.published_targets()


@pytest.mark.parametrize("with_key", [True, False])
def test_the_history_he_writes_is_one_that_only_the_key_tells_from_the_true_one(
    place: Place, with_key: bool
) -> None:
    """He alters what was added, in every table and in the log, and has the head of the log too."""
    document = place.document("demo")
    document["files"][0]["hashes"]["sha256"] = hashlib.sha256(b"evil").hexdigest()
    document["files"][0]["size"] = 4
    text = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    writer = scribe(place, with_key=with_key)
    writer.replace_file("demo", WHEEL, b"evil", text)
    writer.seal_from(1)
    database = sqlite3.connect(place.repository.folder / "state.sqlite")
    number, mac = database.execute("SELECT number, mac FROM log ORDER BY 1 DESC").fetchone()
    database.close()
    (place.repository.folder / HEAD).write_text(f"{number} {mac}\n")
    if not with_key:
        with pytest.raises(AlteredStateError):
            list(place.reopen().log())
        return
    assert len(list(place.reopen().log())) > 0
    assert [file.sha256 for file in place.reopen().files("demo")] == [
        hashlib.sha256(b"evil").hexdigest()
    ]
    (found,) = {
        path for path, file in place.repository.expected_targets().items() if file.length == 4
    }
    assert found == f"files/demo/{WHEEL}"
