"""An operator who looks after the online key: where its uses are logged, what lies beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.cli.place import KEYS, Place
from tests.support.wheels import make_wheel


def status(place: Place, *options: str | Path) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(place.must("status", place.repository, *options, "--json"))
    found: dict[str, Any] = tree["status"]
    return found


def test_uses_are_logged_where_the_operator_says_and_counted(place: Place) -> None:
    log = place.folder / "elsewhere" / "uses.log"
    log.parent.mkdir()
    logged = f"--online-log={log}"
    place.must(*place.init("--bins=2", logged, *place.passphrases(*KEYS)))
    place.must("add", place.repository, make_wheel(place.dist, "demo", "1.0"))
    place.must(*place.publish)  # the place is remembered
    assert [path.name for path in place.repository.glob("*.log")] == []
    shown = place.must("status", place.repository)
    assert "the online key was used 2 times, 2 in the last day and 2 in the last week" in shown

    first, last = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(first)
    assert "entries were cut off" in place.must("status", place.repository)
    done = place.run("check", place.repository)
    assert (done.returncode, f"uses: {log}: " in done.stdout) == (20, True)
    elsewhere = place.folder / "copy.log"
    elsewhere.write_bytes(first + last)
    place.must("check", place.repository, f"--online-log={elsewhere}")  # a copy kept elsewhere
    log.write_bytes(first + last)
    assert status(place)["uses"]["count"] == 2  # asking with another place changed nothing


def test_keyholders_keys_beside_the_online_key_are_warned_of_until_they_are_gone(
    index: Place,
) -> None:
    warnings = status(index)["warnings"]
    for name in ("ada", "grace", "hedy"):
        path = index.keys / f"{name}.pem"
        assert any(text.startswith(f"{path} is the root key of {name}") for text in warnings)
        path.unlink()
    assert not any("take it off" in text for text in status(index)["warnings"])
    assert "index-keys" not in str(status(index)["warnings"])
