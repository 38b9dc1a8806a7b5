"""The drills: each from the theft to the last client's convergence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from indextrust.cli import app
from indextrust.cli.drills import play as drills
from indextrust.cli.drills.every_role import refused_by_all, refused_in_every_role
from indextrust.cli.drills.followers import at_work
from indextrust.cli.drills.stage import KEYHOLDERS, THRESHOLD, Stage
from indextrust.cli.genesis import ONLINE
from indextrust.cli.output import Output
from tests.cli.place import Place
from tests.cli.quick_stage import QuickStage

NUMBERS = range(1, 7)


def test_there_are_six() -> None:
    assert set(drills.DRILLS) == set(NUMBERS)


@pytest.mark.parametrize("number", NUMBERS)
def test_every_act_goes_as_written(number: int, tmp_path: Path) -> None:
    """In the short form: without processes, with a small store."""
    acts = drills.play(number, tmp_path, Output(), QuickStage)
    assert [act.name for act in acts if not act.ok] == []


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", NUMBERS)
def test_the_command_plays_it_with_real_pip(number: int, place: Place) -> None:
    done = place.run("drill", str(number), "--json", timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["ok"]
    assert [act["name"] for act in told["acts"][-3:-1]][-1] == "what the thief has, in every role"


def test_an_act_that_does_not_go_as_written_fails_the_drill(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def differs(stage: Stage) -> tuple[str, bool]:
        return "another thing", False

    def never(stage: Stage) -> tuple[str, bool]:
        raise OSError("the disk is full")

    scenes = (("one", "a thing", differs), ("two", "a thing", never), ("three", "a thing", differs))
    monkeypatch.setitem(drills.DRILLS, 2, scenes)
    assert app.run(["drill", "2", "--json"]) == 3
    acts = json.loads(capsys.readouterr().out)["acts"]
    assert [act["observed"] for act in acts[:3]] == [
        "another thing",
        "OSError: the disk is full",
        "not reached",
    ]


def test_keys_that_are_in_force_are_told_from_stolen_ones(tmp_path: Path) -> None:
    """The act that tries a thief's keys in every role says so where one is believed."""
    stage = QuickStage(tmp_path)
    try:
        assert at_work(stage)[1]
        honest = [stage.signer(name) for name in KEYHOLDERS]
        assert refused_by_all(stage, "root", honest[: THRESHOLD - 1])[0]
        believed, line = refused_by_all(stage, "root", honest[:THRESHOLD])
        assert not believed
        assert line.startswith("COUNTS for python-tuf; the signature is refused by 0 of 8 clients")
        stage.stolen = [stage.signer(ONLINE)]  # nobody has replaced it
        told, ok = refused_in_every_role(stage)
        assert not ok
        verdicts = [line.split(" for python-tuf")[0] for line in told.splitlines()]
        assert [verdict.partition(": ")[2] for verdict in verdicts] == [
            "does not count",
            *["COUNTS"] * 2,
            *["does not count"] * 2,
            "COUNTS",
        ]
    finally:
        stage.close()


def test_a_number_that_is_no_drill_is_a_usage_error(place: Place) -> None:
    assert place.run("drill", "7").returncode == 2
