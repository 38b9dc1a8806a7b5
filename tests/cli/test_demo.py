"""The demo: the whole story, as a process, with real pip and real uv."""

from __future__ import annotations

import json
import os

import pytest

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


def test_a_folder_with_something_in_it_is_left_alone(place: Place) -> None:
    (place.folder / "kept").mkdir()
    (place.folder / "kept" / "mine").write_text("mine")
    before = place.digest()
    done = place.run("demo", "--keep", "kept")
    assert (done.returncode, "empty folder" in done.stderr) == (15, True)
    assert place.digest() == before
