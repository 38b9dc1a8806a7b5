"""``indextrust import``: another index's files, by their digests alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pexpect
import pytest

from tests.cli.place import Place


def table(place: Place, *names: str, filename: str = "files.jsonl") -> Path:
    rows = [
        {"filename": name, "sha256": f"{n:064x}", "size": n, "upload_time": "2026-01-31T12:00:00Z"}
        for n, name in enumerate(names)
    ]
    path = place.folder / filename
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_table_is_imported_published_and_told_of(index: Place) -> None:
    path = table(index, "flask-3.0.tar.gz", "flask-3.1.tar.gz", "six-1.0.tar.gz")
    said = index.must("import", index.repository, path, "--by", "the mirror")
    assert "3 files of 2 projects queued, 0 were there already" in said
    tree = json.loads(index.must("import", index.repository, path, "--json"))
    assert tree["imported"] == {"files": 0, "projects": 0, "present": 3, "left_out": 0}
    lines = index.must("log", index.repository, "--project", "flask").splitlines()
    assert [line.split("  ")[2:] for line in lines] == [
        ["the mirror", "import", "2 files of flask", "waits"]
    ]
    index.must(*index.publish)
    assert "  2 files of flask  snapshot " in index.must("log", index.repository)
    document = json.loads((index.public / "simple/flask/index.json").read_bytes())
    assert [file["hashes"] for file in document["files"]] == [
        {"sha256": f"{n:064x}"} for n in range(2)
    ]
    assert not (index.public / "files/flask").exists()


def test_a_folder_of_pages_is_imported_and_what_nobody_installs_is_counted(index: Place) -> None:
    files = [
        {
            "filename": f"flask-3.0{end}",
            "hashes": {"sha256": "ab" * 32},
            "size": 5,
            "upload-time": "2026-01-31T12:00:00Z",
        }
        for end in (".tar.gz", ".exe")
    ]
    folder = index.folder / "simple" / "flask"
    folder.mkdir(parents=True)
    page = {"meta": {"api-version": "1.1"}, "name": "flask", "files": files}
    (folder / "index.v1_json").write_text(json.dumps(page))
    said = index.must("import", index.repository, folder.parent)
    assert "1 files of 1 projects queued" in said
    assert "1 left out: no wheels or sdists" in said


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("demo.txt", 2, "files.jsonl, line 2: expected the name of a wheel or an sdist"),
        ("demo-1.0-py3-none-any.whl", 20, "files.jsonl, line 2: demo-1.0-py3-none-any.whl (sha256"),
    ],
)
def test_a_bad_row_is_named_with_its_line_and_nothing_has_changed(
    index: Place, name: str, code: int, says: str
) -> None:
    path = table(index, "flask-3.0.tar.gz", name)
    before = index.digest()
    done = index.run("import", index.repository, path)
    assert done.returncode == code
    assert says in done.stderr
    assert done.stdout == ""
    assert index.digest() == before


def test_progress_is_for_a_terminal_alone(index: Place) -> None:
    path = table(index, *[f"a{n % 50}-{n}.tar.gz" for n in range(30_000)])
    done = index.run("import", index.repository, path, "--json")
    assert done.stderr == ""
    assert json.loads(done.stdout)["imported"]["files"] == 30_000
    path = table(index, *[f"b{n % 50}-{n}.tar.gz" for n in range(30_000)])
    words = ["-m", "indextrust", "import", str(index.repository), str(path)]
    child = pexpect.spawn(sys.executable, words, encoding="utf-8", timeout=120, cwd=index.folder)
    child.expect("importing: .*files (read|queued)")
    child.expect("30000 files of 50 projects queued")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
