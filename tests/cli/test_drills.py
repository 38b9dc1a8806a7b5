"""The drills: each from the theft to the last client's convergence."""

from __future__ import annotations

import json
import runpy
import tempfile
from pathlib import Path

import pytest

from indextrust.cli import app
from indextrust.cli.drills import play as drills
from indextrust.cli.drills.every_role import refused_by_all, refused_in_every_role
from indextrust.cli.drills.followers import at_work
from indextrust.cli.drills.stage import KEYHOLDERS, THRESHOLD, Stage
from indextrust.cli.genesis import ONLINE
from indextrust.cli.output import Output
from indextrust.repository import Repository
from tests.cli.place import Place
from tests.cli.quick_stage import QuickStage
from tests.support.examples import EXAMPLES, output_of

NUMBERS = range(1, 7)


def test_there_are_six() -> None:
    assert set(drills.DRILLS) == set(NUMBERS)


@pytest.mark.parametrize("number", NUMBERS)
def test_every_act_goes_as_written(number: int, tmp_path: Path) -> None:
    """In the short form: without processes, with a small store."""
    acts = drills.play(number, tmp_path, Output(), QuickStage)
    assert [act.name for act in acts if not act.ok] == []


@pytest.mark.long
@pytest.mark.parametrize("number", NUMBERS)
def test_the_command_plays_it_with_real_pip(number: int, place: Place) -> None:
    done = place.run("drill", str(number), "--json", timeout=None)
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


def test_a_recovery_that_leaves_clients_behind_fails_the_drill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server comes back from its backup, and goes on under numbers that were used."""
    restore = Repository.restore
    monkeypatch.setattr(Repository, "restore", lambda self, *, above: restore(self))
    acts = drills.play(6, tmp_path, Output(), QuickStage)
    assert [act.name for act in acts if not act.ok][:2] == [
        "restored above what was ever served",
        "all converge",
    ]
    assert "RollbackError" in acts[5].observed


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


EXAMPLES_SAY = {
    "01_online_key": ["FrozenError", "restore  files/lantern/", "under root 2", "SignatureError"],
    "02_one_root_key": ["shown a root by 3 keys: SignatureError: root: not signed", "under root 2"],
    "03_root_threshold": ["nothing marks it", "ChangedArtifactError", "BadFingerprintError"],
    "04_stored_files": ["HashMismatchError", "2 restored, 0 lost", "signed anew: False"],
    "05_state_database": ["AlteredStateError: log entry", "check: 0 differences"],
    "06_old_backup": ["RollbackError: timestamp: older than before", "above: True"],
}


@pytest.mark.parametrize("name", EXAMPLES_SAY)
def test_the_example_of_a_drill_goes_as_written_and_leaves_nothing(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.syspath_prepend(str(EXAMPLES / "drills"))
    runpy.run_path(str(EXAMPLES / "drills" / f"{name}.py"), run_name="__main__")
    printed = capsys.readouterr().out
    for words in EXAMPLES_SAY[name]:
        assert words in printed
    assert printed.startswith("the user: gets lantern-1.0-py3-none-any.whl, under root 1\n")
    assert list(tmp_path.iterdir()) == []


def test_an_example_runs_as_it_stands(tmp_path: Path) -> None:
    assert "RollbackError" in output_of(EXAMPLES / "drills" / "06_old_backup.py", tmp_path)


def test_every_drill_has_a_page_an_example_and_its_line_in_both_lists() -> None:
    pages = EXAMPLES.parent / "docs" / "drills"
    for folder, names in (
        (pages, {path.name for path in pages.glob("[0-9]*.md")}),
        (EXAMPLES / "drills", {f"{name}.py" for name in EXAMPLES_SAY}),
    ):
        assert {path.name for path in folder.glob("[0-9]*")} == names
        assert len(names) == len(NUMBERS)
        text = (folder / "README.md").read_text()
        assert all(f"]({name})" in text for name in names)
