"""With -v -v too, what stands in somebody's file draws on no terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from indextrust.cli.app import run
from tests.ceremony.event_room import altered, genesis_of, person, server


def test_a_traceback_holds_no_control_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    event = genesis_of([person("Ann"), person("Bob")], 2, server())
    path = tmp_path / "event.json"
    evil = "\x1b[2J\x1b]0;owned\x07"
    path.write_bytes(altered(event, lambda tree: tree["root"].update(spec_version=evil)))
    assert json.loads(path.read_text())["root"]["spec_version"] == evil
    assert run(["ceremony", "show", str(path), "-vv"]) == 30
    shown = capsys.readouterr()
    assert "Traceback" in shown.err
    assert "\x1b" not in shown.err + shown.out
