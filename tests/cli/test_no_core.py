"""A process that is given a passphrase leaves no memory image behind, and shows none."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pexpect

from tests.cli.place import new_place


def test_whoever_asks_for_a_passphrase_dumps_no_core(tmp_path: Path) -> None:
    place = new_place(tmp_path / "place")
    child = pexpect.spawn(
        "/bin/sh",
        [
            "-c",
            f"ulimit -c $(ulimit -Hc); exec {sys.executable} -m indextrust key generate a.pem "
            "--keyholder Ann",
        ],
        cwd=str(place.folder),
        env=dict(os.environ),
        encoding="utf-8",
        timeout=60,
    )
    child.expect("Passphrase for the new key")
    limits = (Path("/proc") / str(child.pid) / "limits").read_text()
    (core,) = (line.split() for line in limits.splitlines() if "core file" in line)
    child.sendintr()
    child.close(force=True)
    assert core[4] == "0"
