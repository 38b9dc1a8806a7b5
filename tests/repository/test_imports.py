"""Bulk import: a table or another index's pages come into the queue at once, or not at all.

The bytes of what is imported are not here. It is listed and signed as every other file, and never
looked for: not when it is published, not when the public folder is repaired.
"""

from __future__ import annotations

import csv
import hashlib
import json
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from indextrust.errors import (
    AlteredStateError,
    DistributionError,
    InputError,
    RepositoryError,
    StoreError,
)
from indextrust.repository import Imported
from indextrust.repository.plan import TargetFile
from tests.repository.place import Place, everything

WHEEL = "demo-1.0-py3-none-any.whl"
NOW = "2026-01-31T12:00:00Z"


def row(filename: str = WHEEL, **more: object) -> dict[str, Any]:
    sha256 = hashlib.sha256(filename.encode()).hexdigest()
    fields = {"filename": filename, "sha256": sha256, "size": 7, "upload_time": NOW, **more}
    return {name: value for name, value in fields.items() if value != "-"}


def rows(count: int, per_project: int = 20) -> Iterable[dict[str, Any]]:
    for n in range(count):
        yield row(f"p{n // per_project}-{n % per_project}.0-py3-none-any.whl")


def table(place: Place, content: Iterable[dict[str, Any]], name: str = "files.jsonl") -> Path:
    path = place.folder / name
    path.write_text("".join(json.dumps(fields) + "\n" for fields in content))
    return path


def csv_table(place: Place, content: Iterable[dict[str, Any]]) -> Path:
    path = place.folder / "files.csv"
    content = list(content)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for f in content for key in f)))
        writer.writeheader()
        writer.writerows(content)
    return path


def page(folder: Path, name: str, *files: dict[str, Any], filename: str = "index.json") -> Path:
    """A project's page as another index has it (PEP 691)."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    path = folder / name / filename
    path.write_text(
        json.dumps({"meta": {"api-version": "1.1"}, "name": name, "versions": [], "files": files})
    )
    return path


def entry(filename: str = WHEEL, **more: object) -> dict[str, Any]:
    sha256 = hashlib.sha256(filename.encode()).hexdigest()
    fields = {
        "filename": filename,
        "url": f"https://files.example/{filename}",
        "hashes": {"sha256": sha256},
        "size": 7,
        "upload-time": "2024-05-06T07:08:09.123456Z",
        **more,
    }
    return {name: value for name, value in fields.items() if value != "-"}


def files_of(place: Place, project: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = place.document(project)["files"]
    return found


# -- what comes in -------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [table, csv_table])
def test_a_table_is_listed_and_signed_as_added_files_are(
    place: Place, write: Callable[[Place, Iterable[dict[str, Any]]], Path]
) -> None:
    full = row(
        name="Demo",
        requires_python=">=3.9",
        yanked="broken",
        metadata_sha256="ab" * 32,
        metadata_size=99,
    )
    path = write(place, [full, row("demo-0.9.tar.gz"), row("other-1.0.zip")])
    assert place.repository.import_files(path) == Imported(3, 2, 0, 0)
    assert place.repository.status().queued == 3
    assert place.repository.publish().added == 3
    sdist, wheel = files_of(place, "demo")
    assert wheel == {
        "core-metadata": {"sha256": "ab" * 32},
        "filename": WHEEL,
        "hashes": {"sha256": full["sha256"]},
        "requires-python": ">=3.9",
        "size": 7,
        "upload-time": NOW,
        "url": f"../../files/demo/{WHEEL}",
        "yanked": "broken",
    }
    assert (sdist["filename"], sdist["yanked"]) == ("demo-0.9.tar.gz", False)
    assert place.document("demo")["versions"] == ["0.9", "1.0"]
    targets = place.repository.published_targets()
    assert targets[f"files/demo/{WHEEL}"] == TargetFile(7, full["sha256"])
    assert targets[f"files/demo/{WHEEL}.metadata"] == TargetFile(99, "ab" * 32)


def test_a_mirror_s_folder_is_read_page_by_page(place: Place) -> None:
    simple = place.folder / "mirror" / "simple"
    page(simple, "demo", entry(), entry("demo-1.0-py2.7.egg"), entry("demo-1.1.tar.gz"))
    page(simple, "demo", entry("demo-9.0.tar.gz"), filename="index.v1_json")  # its twin: taken
    page(simple, "other", entry("other-1.0.zip", yanked=True, **{"core-metadata": True}))
    (simple / "index.json").write_text('{"meta": {"api-version": "1.0"}, "projects": []}')
    (simple / "index.html").write_text("<html>")
    assert place.repository.import_files(simple) == Imported(2, 2, 0, 0)
    one = page(place.folder / "pages", "third", entry("third-1.0.exe"), entry("third-1.0.tar.gz"))
    assert place.repository.import_files(one) == Imported(1, 1, 0, 1)
    place.repository.publish()
    assert [file["filename"] for file in files_of(place, "demo")] == ["demo-9.0.tar.gz"]
    (other,) = files_of(place, "other")
    assert (other["yanked"], other["core-metadata"]) == (True, False)
    assert other["upload-time"] == "2024-05-06T07:08:09.123456Z"


def test_core_metadata_of_unknown_size_is_listed_where_it_is_no_target(
    place: Place, tmp_path: Path
) -> None:
    core = {"sha256": "cd" * 32}
    more: dict[str, Any] = {"core-metadata": core}
    (tmp_path / "large").mkdir()
    large = Place(tmp_path / "large", layout="projects")
    for there, expected in ((place, False), (large, core)):
        source = page(there.folder / "pages", "demo", entry(**more))
        there.repository.import_files(source)
        there.repository.publish()
        assert files_of(there, "demo")[0]["core-metadata"] == expected
        assert there.repository.audit().clean


def test_the_log_has_one_entry_for_each_project_and_says_how_many_files(place: Place) -> None:
    place.repository.import_files(table(place, rows(45)))
    entries = [e for e in place.repository.log() if e.what == "import"]
    assert sorted((e.project, e.files) for e in entries) == [("p0", 20), ("p1", 20), ("p2", 5)]
    assert {e.publication for e in entries} == {None}
    place.repository.publish()
    entries = list(place.repository.log("p2"))
    assert [(e.what, e.files, e.snapshot, e.filename) for e in entries] == [("import", 5, 2, None)]


def test_a_project_of_many_files_has_several_entries(place: Place) -> None:
    place.repository.import_files(table(place, rows(2_300, per_project=2_300)))
    assert [e.files for e in place.repository.log("p0")] == [1_000, 1_000, 300]
    assert place.repository.publish().added == 2_300


def test_the_same_import_again_changes_nothing(place: Place) -> None:
    path = table(place, rows(30))
    place.repository.import_files(path)
    for _ in range(2):  # while it waits, and after it was published
        before = everything(place.folder)
        assert place.repository.import_files(path) == Imported(0, 0, 30, 0)
        assert everything(place.folder) == before
        place.repository.publish()
    path.write_text(path.read_text() + json.dumps(row()) + "\n\n")
    assert place.repository.import_files(path) == Imported(1, 1, 30, 0)


def test_what_was_added_stays_as_it_is_and_what_was_imported_can_be_yanked_and_removed(
    place: Place,
) -> None:
    wheel = place.wheel("demo", "1.0")
    (added,) = place.repository.add(wheel)
    path = table(place, [row(sha256=added.sha256, size=added.size, yanked=True), row("demo-2.zip")])
    assert place.repository.import_files(path) == Imported(1, 1, 1, 0)
    place.repository.publish()
    assert [file["yanked"] for file in files_of(place, "demo")] == [False, False]
    place.repository.yank("demo", "demo-2.zip", "broken")
    place.repository.publish()
    assert place.repository.restore().repaired == ()  # it is still known to be elsewhere
    place.repository.remove("demo", "demo-2.zip")
    place.repository.publish()
    assert [file["filename"] for file in files_of(place, "demo")] == [WHEEL]


# -- bytes that are elsewhere --------------------------------------------------------------------


def test_neither_publication_nor_restore_looks_for_bytes_that_are_elsewhere(place: Place) -> None:
    place.publish(place.wheel("own", "1.0"))
    place.repository.import_files(table(place, [row()]))
    place.repository.publish()
    assert not (place.public / "files" / "demo").exists()
    sha256 = row()["sha256"]
    store = place.public / "files" / "demo"  # the operator's file store may be this very folder
    store.mkdir()
    for name in (WHEEL, f"{sha256}.{WHEEL}"):
        (store / name).write_bytes(b"whatever he has there")
    (store / "stranger").write_bytes(b"")
    own = place.public / "files" / "own" / "own-1.0-py3-none-any.whl"
    own.unlink()
    repaired = place.repository.restore().repaired
    assert "files/demo/stranger" in repaired
    assert not [name for name in repaired if WHEEL in name and name.startswith("files/demo")]
    assert (store / WHEEL).read_bytes() == b"whatever he has there"
    assert own.exists()


# -- refusals: all or nothing --------------------------------------------------------------------

SHA = "0" * 64
REFUSED: list[tuple[dict[str, Any] | str, str]] = [
    ("{", "not JSON"),
    ("[1]", "expected an object, got list"),
    ("\udc80", "not JSON"),
    ("x" * 1_100_000, "a line of more than"),
    (row("-"), "expected a text as filename, got None"),
    (row("demo.txt"), "expected the name of a wheel or an sdist"),
    (row("../demo-1.0.tar.gz"), "expected a plain ASCII file name"),
    (row(name="other"), "is a file of project demo, not of 'other'"),
    (row(project=5), "is a file of project demo, not of 5"),
    (row(sha256="-"), "expected a text as sha256, got None"),
    (row(sha256="AB" * 32), "expected a lower-case hex sha256"),
    (row(size="-"), "expected a number from 0 to .* as size, got None"),
    (row(size=-1), "as size, got -1"),
    (row(size=True), "as size, got True"),
    (row(size=1.5), r"as size, got 1\.5"),
    (row(size=10**12), "as size, got 10"),
    (row(upload_time="-"), "expected a text as upload_time"),
    (row(upload_time="yesterday"), "expected an upload time like"),
    (row(requires_python=">=3\n"), "expected a plain requires_python"),
    (row(requires_python=3), "expected a plain requires_python"),
    (row(metadata_sha256="ab" * 32), "expected metadata_sha256 and metadata_size, or neither"),
    (row(metadata_size=5), "expected metadata_sha256 and metadata_size, or neither"),
    (row(metadata_sha256="x", metadata_size=5), "sha256 of the core metadata"),
    (row(metadata_sha256=5, metadata_size=5), "expected a text as metadata_sha256"),
    (row(yanked=3), "expected a flag or a reason as yanked"),
    (row(yanked="a\x1b[2J"), "expected a yank reason"),
    (row(require_python=">=3"), "got 'require_python' too"),
    (row("p0-0.0-py3-none-any.whl"), "is there twice: also .* line 1"),
    (row("P0-0.0-py3-none-any.whl"), "is there twice: also .* line [12]"),
]


@pytest.mark.parametrize(("bad", "says"), REFUSED)
def test_one_bad_row_and_nothing_is_queued(
    place: Place, bad: dict[str, Any] | str, says: str
) -> None:
    text = bad if isinstance(bad, str) else json.dumps(bad)
    path = table(place, rows(1))
    path.write_bytes(path.read_bytes() + text.encode("utf-8", "surrogateescape") + b"\n")
    before = everything(place.folder)
    with pytest.raises(InputError, match=f"files.jsonl, line [12]: .*{says}"):
        place.repository.import_files(path)
    assert everything(place.folder) == before
    assert place.repository.publish().nothing_to_do


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("filename,sha256,size\n", "line 1: expected a header of"),
        ("filename,sha256,size,upload_time,sha256\n", "line 1: expected a header of"),
        ("filename,sha256,size,upload_time,colour\n", "line 1: expected a header of"),
        ("filename,sha256,size,upload_time\na,b\n", "line 2: expected 4 fields, .* got 2"),
        (f"filename,sha256,size,upload_time\n{WHEEL},{SHA},x,{NOW}\n", "line 2: .* as size"),
        (f"filename,sha256,size,upload_time\n{WHEEL},{SHA},²,{NOW}\n", "line 2: .* as size"),
        (f"filename,sha256,size,upload_time\n{WHEEL},{SHA},,{NOW}\n", "line 2: .* got None"),
        ('filename,sha256,size,upload_time\n"a"b,c,d,e\n', "line [23]: not CSV in UTF-8"),
        ("filename,sha256,size,upload_time\n\udc80\n", "line [123]: not CSV in UTF-8"),
    ],
)
def test_a_csv_that_is_none_is_refused_with_its_line(place: Place, text: str, says: str) -> None:
    path = place.folder / "files.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    before = everything(place.folder)
    with pytest.raises(InputError, match=f"files.csv, {says}"):
        place.repository.import_files(path)
    assert everything(place.folder) == before


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "index.json: not JSON"),
        ("[]", r"index.json: expected the page of a project"),
        ('{"meta": {"api-version": "2.0"}, "name": "demo", "files": []}', "api-version 1.x"),
        (entry(hashes={"md5": "x"}), r"files\[0\]: expected a text as sha256, got None"),
        (entry(hashes=[]), r"files\[0\]: expected a file with its hashes"),
        (entry(size="-"), r"files\[0\]: expected a number from .* as size"),
        (entry(**{"upload-time": "-"}), r"files\[0\]: expected a text as upload_time"),
        (entry("other-1.0.tar.gz"), r"files\[0\]: .* of project other, not of 'demo'"),
    ],
)
def test_a_page_that_lacks_what_is_signed_is_refused(
    place: Place, content: dict[str, Any] | str, says: str
) -> None:
    folder = place.folder / "pages"
    path = page(folder, "demo", *([] if isinstance(content, str) else [content]))
    if isinstance(content, str):
        path.write_text(content)
    before = everything(place.folder)
    for source in (path, folder):
        with pytest.raises(InputError, match=says):
            place.repository.import_files(source)
    assert everything(place.folder) == before


def test_what_is_no_source_is_refused(place: Place) -> None:
    empty = place.folder / "empty"
    empty.mkdir()
    link = place.folder / "link.jsonl"
    link.symlink_to(table(place, [row()]))
    for path, error, says in (
        (place.folder / "files.xml", InputError, r"expected a \.jsonl, \.csv"),
        (place.folder / "none.jsonl", StoreError, "can't read"),
        (empty, InputError, "a folder without a page"),
        (link, DistributionError, "is a symbolic link"),
    ):
        before = everything(place.folder)
        with pytest.raises(error, match=says):
            place.repository.import_files(path)
        assert everything(place.folder) == before


def test_a_name_stands_for_one_digest_whether_it_waits_is_listed_or_was_removed(
    place: Place,
) -> None:
    wheel = place.wheel("demo", "1.0")
    (added,) = place.repository.add(wheel)
    other = table(place, [row("aaa-1.0.zip"), row(sha256=SHA)])
    twin = table(place, [row("Demo-1.0-py3-none-any.whl", sha256=added.sha256)], "twin.jsonl")
    size = table(place, [row(sha256=added.sha256, size=added.size + 1)], "size.jsonl")

    def refused(path: Path, says: str) -> None:
        before = everything(place.folder)
        with pytest.raises(RepositoryError, match=rf"{path.name}, line \d: .*{says}"):
            place.repository.import_files(path)
        assert everything(place.folder) == before

    for _ in range(2):
        refused(other, "the name is taken by demo-1.0-py3-none-any.whl with sha256 ")
        refused(twin, "the name is taken by demo-1.0-py3-none-any.whl with sha256 ")
        refused(size, f"has {added.size} bytes with this sha256, got {added.size + 1}")
        place.repository.publish()
    place.repository.remove("demo", wheel.name)
    place.repository.publish()
    refused(other, "the name is taken by demo-1.0-py3-none-any.whl with sha256 ")
    assert place.repository.import_files(
        table(place, [row(sha256=added.sha256, size=added.size)], "same.jsonl")
    ) == Imported(1, 1, 0, 0)


def test_a_document_that_no_client_would_read_is_refused_at_the_door(place: Place) -> None:
    long = {"requires_python": ">=3," * 490}
    path = table(place, ({**fields, **long} for fields in rows(17_000, per_project=17_000)))
    before = everything(place.folder)
    with pytest.raises(RepositoryError, match="would have 17000 files, and a client would refuse"):
        place.repository.import_files(path)
    assert everything(place.folder) == before


# -- as safe as every other change, and bounded --------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE log SET body = replace(body, '\"size', '\"size') || ' ' WHERE number = 4",
        "UPDATE log SET body = replace(body, 'p0-1.0', 'p0-7.7') WHERE number = 4",
        "UPDATE log SET body = replace(body, '\"count\":5', '\"count\":1') WHERE number = 4",
        "UPDATE log SET project = 'other' WHERE number = 4",
    ],
)
def test_an_entry_of_an_import_that_was_altered_is_not_signed(place: Place, statement: str) -> None:
    place.repository.import_files(table(place, rows(5)))
    place.sql(statement)
    before = everything(place.folder)
    for repository in (place.repository, place.reopen()):
        with pytest.raises(AlteredStateError, match=r"log entry [34] was not written"):
            repository.publish()
    assert everything(place.folder) == before


def test_memory_is_that_of_some_thousand_rows_however_many_there_are(place: Place) -> None:
    path = table(place, rows(35_000))
    assert path.stat().st_size > 5_000_000
    tracemalloc.start()
    assert place.repository.import_files(path).files == 35_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 9_000_000  # as objects, all at once, they take some 40 MB


def test_progress_tells_how_many_bytes_were_read(place: Place) -> None:
    told: list[tuple[str, int]] = []
    path = table(place, rows(25_000))
    place.repository.import_files(path, progress=lambda done, read: told.append((done, read)))
    assert [done for done, _ in told] == [
        *("10,000 files read", "20,000 files read"),
        *("10,000 files queued", "20,000 files queued"),
    ]
    assert 0 < sum(read for _, read in told) <= path.stat().st_size
