"""``indextrust recover``: from a stolen online key to a thawed index, by commands alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata, Root

from indextrust.ceremony import generate_key
from indextrust.cli.app import run
from indextrust.repository.checkpoint_make import make_checkpoint
from indextrust.repository.storage import FolderStorage
from indextrust.testing import OnlineKeyThief
from tests.cli.place import Place

DEMO = "demo-1.0-py3-none-any.whl"
SUMMARY = "The online key was stolen. Run indextrust scan."


class Operator:
    """Types commands, and reads what they print."""

    def __init__(self, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
        self.place = place
        self._capsys = capsys

    def says(self, *words: str | Path, code: int = 0) -> str:
        got = run([str(word) for word in words])
        captured = self._capsys.readouterr()
        assert got == code, captured.err
        return captured.out + captured.err

    def answers(self, *words: str | Path) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.says(*words, "--json"))
        return answer


@pytest.fixture
def operator(
    index: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Operator:
    monkeypatch.chdir(index.folder)
    return Operator(index, capsys)


def checkpoint(place: Place) -> list[str]:
    storage = FolderStorage(place.public, place.folder / "no", place.folder / "no")
    root = (place.public / "metadata" / "1.root.json").read_bytes()
    made = make_checkpoint(storage, root, place.folder / "good", datetime.now(UTC))
    return ["--good", str(made.path), "--digest", made.digest]


def test_a_stolen_online_key_from_the_theft_to_the_thaw(operator: Operator) -> None:
    place, good = operator.place, checkpoint(operator.place)
    honest = (place.public / "files" / "demo" / DEMO).read_bytes()
    phrase = (place.folder / "phrases" / "online").read_text().strip()
    stolen = (place.keys / "online.pem").read_bytes()
    thief = OnlineKeyThief(place.public, stolen, phrase.encode(), now=datetime.now(UTC))
    thief.replace_file("demo", DEMO, b"evil")
    for number in range(3):
        (place.public / "metadata" / f"{number + 7}.bin-ffff.json").write_bytes(b"many")

    planned = operator.says("recover", "plan", place.repository, "--compromised=timestamp", *good)
    assert "trusted for" in planned
    assert "2 keyholders of the root in force" in planned
    words: list[str | Path] = ["recover", "start", place.repository, "--compromised=timestamp"]
    begun = operator.says(*words, *good, "--summary", SUMMARY)
    assert "next step: audit" in begun
    assert "FROZEN" in operator.says("status", place.repository)

    def after(*words: str | Path) -> str:
        return operator.says("recover", "next", place.repository, *words)

    assert f"restore  files/demo/{DEMO}" in after()
    assert "next step: propose" in after("--record", "2026-online-key")
    (place.folder / "new").mkdir()
    generate_key(place.folder / "new" / "online.pem", "correct-horse-staple")
    assert "next step: sign" in after("--online", place.folder / "new" / "online.pub.json")
    event = place.repository / "recovery" / "event.json"
    shown = operator.says("ceremony", "show", event)
    for said in (SUMMARY, DEMO, "a record of an incident; another online key"):
        assert said in shown
    digest = operator.answers("ceremony", "status", event)["event"]["digest"]
    assert "signatures are missing" in operator.says("recover", "next", place.repository, code=30)
    for name in ("ada", "hedy"):
        operator.says(
            *("ceremony", "sign", str(event), "--keyholder", name, "--digest", digest),
            *(f"--key=file2:{place.keys / name}.pem", *place.passphrases(name)),
        )
    assert "next step: install" in after()
    (place.folder / "phrases" / "new").write_text("correct-horse-staple\n")
    (place.folder / "phrases" / "new").chmod(0o600)
    with_key = [
        f"--keys={place.folder / 'new'}",
        f"--passphrase-file=online={place.folder / 'phrases' / 'new'}",
    ]
    installed = after(*with_key)
    assert "next step: verify" in installed
    assert f"repaired: files/demo/{DEMO} was not as it should be" in installed
    assert "set aside: 3 files of bins that nothing lists, as metadata/7.bin" in installed
    assert "8.bin-ffff" not in installed
    assert "next step: thaw" in after()
    assert "--reason TEXT" in operator.says("recover", "next", place.repository, code=2)
    assert "FROZEN" in operator.says("status", place.repository)
    assert "the recovery is done" in after("--reason", "all is well")
    assert operator.answers("recover", "status", place.repository)["recovery"]["step"] == "done"
    assert "is done" in operator.says("recover", "next", place.repository, code=2)
    assert "FROZEN" not in operator.says("status", place.repository)
    assert (place.public / "files" / "demo" / DEMO).read_bytes() == honest
    assert (place.public / "incidents" / "2026-online-key.json").is_file()
    root = Metadata[Root].from_file(str(place.public / "metadata" / "2.root.json")).signed
    assert thief.keyid not in root.keys
    assert "nothing to do" in operator.says("publish", place.repository, *with_key)


def test_a_plan_changes_nothing_and_needs_words_that_mean_something(operator: Operator) -> None:
    place = operator.place
    before = place.digest()
    threshold = ["--compromised=ada", "--compromised=hedy"]
    planned = operator.answers("recover", "plan", place.repository, *threshold)["plan"]
    assert planned["cure"] == "out of band"
    assert [step["name"] for step in planned["steps"]][-1] == "fingerprint"
    said = operator.says("recover", "plan", place.repository, "--compromised=online", code=30)
    assert "no key, keyholder or role in force" in said
    assert "The online key is meant by 'timestamp'" in said
    refused = operator.says(
        "recover", "start", place.repository, *threshold, "--summary=All is lost.", code=30
    )
    assert "no event helps" in refused
    assert "give --digest" in operator.says(
        "recover", "plan", place.repository, "--compromised=ada", "--good=x", code=2
    )
    assert "no recovery was started" in operator.says(
        "recover", "status", place.repository, code=30
    )
    assert place.digest() == before
