"""What an installer's author would copy runs as it stands, and refuses what it should."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from tests.client.pages import WHL, put, sha256
from tests.client.stage import Stage
from tests.support.examples import EXAMPLES, output_of

EXAMPLE = EXAMPLES / "installer.py"


def test_the_example_runs_without_arguments_and_leaves_nothing(tmp_path: Path) -> None:
    printed = output_of(EXAMPLE, tmp_path)
    lines = printed.splitlines()
    assert lines[0].startswith("signed metadata, good until ")
    assert re.fullmatch(rf"{WHL} [0-9a-f]{{64}} FirstSeen", lines[1])
    assert lines[2].endswith(f"/downloads/{WHL}")


def test_what_would_be_copied_refuses_and_says_why(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.repository.timestamp.signed.expires = stage.repository.root.signed.expires
    stage.repository.snapshot.signed.expires = stage.repository.root.signed.expires
    put(stage, {WHL: b"good"})
    install = runpy.run_path(str(EXAMPLE))["install"]
    folder = tmp_path / "downloads"
    folder.mkdir()

    def run(project: str = "demo") -> None:
        root = stage.repository.files["1.root.json"]
        install(tmp_path / "home", stage.server.url, root, project, folder)

    with pytest.raises(SystemExit, match="other is not in snapshot 2"):
        run("other")
    stage.server.tamper(f"files/demo/{sha256(b'good')}.{WHL}", b"evil")
    with pytest.raises(SystemExit, match=r"refused, nothing was installed: .*wrong sha256"):
        run()
    stage.server.tamper("metadata/timestamp.json", 503)
    with pytest.raises(SystemExit, match=r"try again later: .*503"):
        run()
    assert list(folder.iterdir()) == []
    stage.server.be_honest()
    run()
    assert (folder / WHL).read_bytes() == b"good"
    stage.server.close()


def test_the_example_is_short_and_uses_public_names_only() -> None:
    text = EXAMPLE.read_text()
    assert len(text.splitlines()) < 60
    modules = re.findall(r"^(?:from|import) (indextrust\S*)", text, re.MULTILINE)
    assert all(module.count(".") == 1 for module in modules)
