"""The demo: the whole story, as a process, with real pip and real uv."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from indextrust.cli import app
from indextrust.cli.demo import story
from indextrust.cli.demo.attacks import stolen_key
from indextrust.cli.demo.opening import genesis_ceremony, publication
from indextrust.cli.demo.stage import Stage
from tests.cli.place import Place

ACTS = [
    "genesis ceremony",
    "publication",
    "installation",
    "a CDN alters one byte of a wheel",
    "a CDN replays last week's metadata",
    "a thief of the online key signs a malicious flask wheel",
    "the operator recovers",
    "clients converge",
    "summary",
]


@pytest.mark.timeout(600)
def test_the_whole_story_goes_as_written(place: Place) -> None:
    done = place.run("demo", "--json", "--keep", "kept", timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert [act["name"] for act in told["acts"]] == ACTS
    assert {frozenset(act) for act in told["acts"]} == {
        frozenset({"name", "expected", "observed", "ok"})
    }
    assert all(act["ok"] for act in told["acts"])
    kept = place.folder / "kept" / "index" / "public" / "metadata"
    assert (kept / "2.root.json").exists()
    assert not (kept / "3.root.json").exists()


def test_an_act_that_does_not_go_as_written_fails_the_demo(place: Place) -> None:
    """Nothing can be fetched: the second act falls, and what builds on it is not reached."""
    nowhere = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple/",
        "PIP_FIND_LINKS": "",
        "PIP_RETRIES": "0",
    }
    done = place.run("demo", "--json", env=nowhere)
    assert done.returncode == 3
    acts = json.loads(done.stdout)["acts"]
    assert [act["name"] for act in acts] == ACTS
    assert [act["ok"] for act in acts] == [True, *[False] * 8]
    assert "pip could not fetch" in acts[1]["observed"]


CREDULOUS = """
try:
    from indextrust.trust import incidents, memory
except ImportError:  # a Python without indextrust: pip's own
    pass
else:
    incidents.judge = lambda remembered, sha256: memory.FirstSeen()
"""


def seen_before(stage: Stage) -> tuple[str, bool]:
    """In the place of act 3: the client that will come back sees flask."""
    run = stage.person("returning").pip_install("flask", stage.environment("seen"))
    return f"exit code {run.code}", run.code == 0


@pytest.mark.timeout(600)
def test_an_attack_that_succeeds_fails_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every client is one whose first-seen memory accepts whatever comes."""
    (tmp_path / "sitecustomize.py").write_text(CREDULOUS)
    paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    acts = (genesis_ceremony, publication, seen_before, stolen_key)
    monkeypatch.setattr(story, "_ACTS", tuple((act.__name__, "as written", act) for act in acts))
    assert app.run(["demo", "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert [act["ok"] for act in told["acts"]] == [True, True, True, False, False]
    assert "returning client: exit code 0, nothing refused" in told["acts"][3]["observed"]
    assert told["ok"] is False


def test_a_folder_with_something_in_it_is_left_alone(place: Place) -> None:
    (place.folder / "kept").mkdir()
    (place.folder / "kept" / "mine").write_text("mine")
    before = place.digest()
    done = place.run("demo", "--keep", "kept")
    assert (done.returncode, "empty folder" in done.stderr) == (15, True)
    assert place.digest() == before
