"""The hash transition: SHA-512 beside SHA-256, of what is new at once, of the rest step by step."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tuf.ngclient import Updater

from indextrust.errors import AlteredStateError, InputError, RepositoryError
from indextrust.names import LONGEST_WITH_SHA512, BinScheme, Layout, hash_prefixed
from indextrust.repository import Repository
from indextrust.testing import TamperingServer
from tests.repository.place import Clock, Place, everything
from tests.repository.test_restart import prepare, run

FILES = {
    "demo": ["demo-1.0-py3-none-any.whl", "demo-2.0-py3-none-any.whl"],
    "other": ["other-1.0-py3-none-any.whl"],
}


def shelf(folder: Path, layout: Layout = "pep458", clock: Clock | None = None) -> Place:
    """An index of three files in two projects that lists SHA-256 alone."""
    place = Place(folder, clock or Clock(), layout=layout)
    place.publish(
        place.wheel("demo", "1.0"), place.wheel("demo", "2.0"), place.wheel("other", "1.0")
    )
    return place


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Place]:
    return {
        layout: shelf(tmp_path_factory.mktemp(layout), layout) for layout in ("pep458", "projects")
    }


@pytest.fixture
def place(made: dict[str, Place], tmp_path: Path) -> Place:
    return made["pep458"].copied(tmp_path / "copy")


@pytest.fixture(params=["pep458", "projects"])
def either(made: dict[str, Place], tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    return made[request.param].copied(tmp_path / "copy")


def digests(data: bytes) -> dict[str, str]:
    return {name: hashlib.new(name, data).hexdigest() for name in ("sha256", "sha512")}


def listed(place: Place) -> Iterator[tuple[str, dict[str, str], bytes]]:
    """Every place where a hash of a target is signed: where, the hashes, and the bytes."""
    versions = place.versions()
    for name in versions:
        if name.startswith("bin-"):
            targets = place.signed(f"{versions[name]}.{name}.json")["targets"]
            for path, entry in targets.items():
                named = hash_prefixed(path, entry["hashes"]["sha256"])  # a plain name runs ahead
                yield path, entry["hashes"], (place.public / named).read_bytes()
    for project in place.repository.projects():
        for file in place.document(project)["files"]:
            path = place.public / "files" / project / file["filename"]
            yield f"{project}: {path.name}", file["hashes"], path.read_bytes()
            beside = path.with_name(f"{path.name}.metadata")
            yield f"{project}: {beside.name}", file["core-metadata"], beside.read_bytes()


def both(place: Place) -> set[str]:
    """Where both hashes are listed. All that is listed is right, and lies under its names."""
    found = set()
    for where, hashes, data in listed(place):
        expected = digests(data)
        assert hashes.items() <= expected.items(), where
        assert "sha256" in hashes, where
        if "sha512" in hashes:
            found.add(where)
        if ":" not in where:
            folder, _, name = where.rpartition("/")
            there = {path.name for path in (place.public / folder).glob(f"*.{name}")}
            prefixed = {one for one in there if re.fullmatch(r"[0-9a-f]+", one.partition(".")[0])}
            assert {f"{digest}.{name}" for digest in hashes.values()} <= prefixed
            for one in hashes.values():
                assert (place.public / folder / f"{one}.{name}").read_bytes() == data
    return found


def everywhere(place: Place) -> set[str]:
    return {where for where, _, _ in listed(place)}


# -- the normal course -----------------------------------------------------------------------


def test_step_by_step_all_files_and_documents_get_both(either: Place) -> None:
    assert both(either) == set()
    first = either.repository.rehash(2)
    assert (first.files, first.projects, first.more, first.elsewhere) == (2, 1, True, None)
    assert both(either) == set()  # nothing is signed before it is published
    assert either.repository.publish().rehashed == 2
    done = both(either)
    assert {where for where in done if "other" in where} == set()
    assert {f"demo: {name}" for name in FILES["demo"]} < done
    status = either.repository.status()
    assert (status.hashes, status.sha256_only) == ("both", 1)

    second = either.reopen().rehash(2)
    assert (second.files, second.more, second.left_out, second.elsewhere) == (1, False, (), 0)
    assert either.repository.publish().rehashed == 1
    assert both(either) == everywhere(either)
    third = either.repository.rehash()
    assert (third.files, third.projects, third.more, third.elsewhere) == (0, 0, False, 0)
    assert either.repository.publish().nothing_to_do
    assert either.repository.status().sha256_only == 0
    assert either.repository.check().clean
    assert either.repository.audit().clean


def test_two_steps_before_one_publication_take_nothing_twice(place: Place) -> None:
    assert [place.repository.rehash(2).files for _ in range(3)] == [2, 1, 0]
    assert place.repository.publish().rehashed == 3
    assert both(place) == everywhere(place)


def test_a_file_may_be_yanked_in_the_publication_that_lists_its_sha512(place: Place) -> None:
    place.repository.yank("demo", FILES["demo"][0], "broken")
    place.repository.rehash()
    place.repository.yank("other", FILES["other"][0])
    published = place.repository.publish()
    assert (published.changed, published.rehashed) == (2, 3)
    assert both(place) == everywhere(place)
    assert place.document("demo")["files"][0]["yanked"] == "broken"
    assert place.repository.check().clean


def test_what_is_new_has_both_from_the_first_step_on(place: Place) -> None:
    place.repository.rehash(1)
    place.reopen().add(place.wheel("new", "1.0"))
    place.repository.publish()
    new = {"simple/new/index.json", "new: new-1.0-py3-none-any.whl"}
    assert new < both(place)
    assert "simple/other/index.json" not in both(place)
    place.repository.yank("other", FILES["other"][0])  # a document that is signed anew has both
    place.repository.publish()
    assert "simple/other/index.json" in both(place)
    assert f"files/other/{FILES['other'][0]}" not in both(place)


def test_an_index_lists_both_from_its_first_day_if_asked_to(tmp_path: Path) -> None:
    made = Place(tmp_path)
    index = Repository.create(
        tmp_path / "both", made.roles, online=made.online, clock=made.clock, hashes="both"
    )
    place = copy.copy(made)
    place.repository = index
    place.publish(place.wheel("demo", "1.0"))
    assert both(place) == everywhere(place)
    assert place.repository.status().hashes == "both"
    what = [entry.what for entry in place.repository.log()]
    assert what[:2] == ["create", "hashes"]


def test_the_log_tells_the_steps(place: Place) -> None:
    before = sum(1 for _ in place.repository.log())
    place.repository.rehash()
    place.repository.publish()
    new = list(place.repository.log())[before:]
    assert [(entry.what, entry.project, entry.files) for entry in new] == [
        ("hashes", None, None),
        ("rehash", "demo", 2),
        ("rehash", "other", 1),
        ("begin", None, None),
        ("publish", None, None),
    ]
    place.repository.rehash()
    assert sum(1 for _ in place.repository.log()) == before + 5  # said once


def test_a_file_that_was_removed_meanwhile_is_left_out_and_comes_back_with_both(
    place: Place,
) -> None:
    wheel = place.wheel("demo", "1.0")
    place.repository.rehash(1)
    place.repository.remove("demo", wheel.name)
    place.repository.rehash(3)
    place.repository.publish()
    assert both(place) == everywhere(place)
    assert [file["filename"] for file in place.document("demo")["files"]] == FILES["demo"][1:]
    place.publish(wheel)
    assert both(place) == everywhere(place)
    assert place.repository.check().clean


def test_an_empty_project_s_document_gets_both_too(place: Place) -> None:
    place.repository.remove("other", FILES["other"][0])
    place.repository.publish()
    assert place.repository.rehash(1).more
    step = place.repository.rehash(1)
    assert (step.files, step.projects, step.more) == (1, 2, False)
    assert place.repository.rehash(2).projects == 0
    place.repository.publish()
    assert "simple/other/index.json" in both(place)


def test_an_index_of_sha256_alone_is_written_as_ever(place: Place) -> None:
    place.repository.yank("demo", FILES["demo"][0])
    place.publish(place.wheel("new", "1.0"))
    assert b"sha512" not in b"".join(path.read_bytes() for path in place.public.rglob("*.json"))
    assert not [body for (body,) in place.sql("SELECT body FROM log") if "sha512" in body]
    names = [path.name for path in place.public.rglob("*") if path.is_file()]
    assert not [name for name in names if re.match("[0-9a-f]{128}[.]", name)]


# -- files elsewhere, long names, damage -----------------------------------------------------


def row(filename: str, **more: Any) -> str:
    hashes = digests(filename.encode())
    fields = {
        "filename": filename,
        "sha256": hashes["sha256"],
        "size": len(filename),
        "upload_time": "2026-01-01T00:00:00Z",
    }
    return json.dumps(fields | more) + "\n"


def test_rows_bring_their_sha512_or_stay_as_they_are_and_are_counted(place: Place) -> None:
    table = place.folder / "rows.jsonl"
    names = [f"far-{number}.0.tar.gz" for number in (1, 2)]
    sha512 = digests(names[0].encode())["sha512"]
    table.write_text(row(names[0], sha512=sha512) + row(names[1]))
    place.repository.rehash()
    assert place.repository.import_files(table).files == 2
    place.repository.publish()
    one, two = place.document("far")["files"]
    assert one["hashes"] == digests(names[0].encode())
    assert set(two["hashes"]) == {"sha256"}
    step = place.repository.rehash()
    assert (step.files, step.more, step.elsewhere) == (0, False, 1)
    assert place.repository.status().sha256_only == 1
    assert place.repository.check().clean


def test_a_row_s_sha512_is_passed_over_where_sha256_alone_is_listed(place: Place) -> None:
    table = place.folder / "rows.jsonl"
    table.write_text(row("far-1.0.tar.gz", sha512="0" * 128))
    place.repository.import_files(table)
    place.repository.publish()
    assert set(place.document("far")["files"][0]["hashes"]) == {"sha256"}


@pytest.mark.parametrize("sha512", ["0" * 127, "A" * 128, 5])
def test_a_row_s_sha512_that_is_none_is_refused(place: Place, sha512: object) -> None:
    place.repository.rehash()
    table = place.folder / "rows.jsonl"
    table.write_text(row("far-1.0.tar.gz", sha512=sha512))
    before = everything(place.folder)
    with pytest.raises(InputError, match=r"line 1: .*sha512"):
        place.repository.import_files(table)
    assert everything(place.folder) == before


def test_a_name_without_room_for_a_sha512_keeps_its_sha256_alone(place: Place) -> None:
    """A client may ask by any hash that is listed, so none may be listed that can't be a name."""
    for characters, project in ((LONGEST_WITH_SHA512, "fits"), (LONGEST_WITH_SHA512 + 1, "over")):
        version = "1." + "0" * (characters - len(f"{project}-1.-py3-none-any.whl"))
        wheel = place.wheel(project, version)
        assert len(wheel.name) == characters
        place.repository.add(wheel)
    place.repository.publish()
    step = place.repository.rehash()
    assert (step.files, step.more, step.elsewhere) == (4, False, 1)
    place.publish(place.wheel("over", version.replace("0", "1", 1)))
    assert {set(file["hashes"]) == {"sha256"} for file in place.document("over")["files"]} == {True}
    assert set(place.document("fits")["files"][0]["hashes"]) == {"sha256", "sha512"}
    assert "simple/over/index.json" in both(place)


def test_a_damaged_private_copy_is_named_and_stops_no_other_file(place: Place) -> None:
    """Nobody signs the SHA-512 of bytes that are not those of the signed SHA-256."""
    name = FILES["demo"][0]
    file = place.repository.files("demo")[0]
    path = place.repository.folder / "objects" / file.sha256[:2] / file.sha256
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b"!")
    step = place.repository.rehash()
    assert (step.files, step.left_out, step.more) == (2, (name,), False)
    place.repository.publish()
    assert f"files/demo/{name}" not in both(place)
    path.write_bytes(good)
    assert place.repository.rehash().files == 1
    place.repository.publish()
    assert both(place) == everywhere(place)


def test_files_of_a_document_that_no_client_would_read_are_left_out(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else no publication would get past them: a document may have 32 MB, and grows by the half."""
    from indextrust.repository import rehash
    from indextrust.trust import Limits, parse_document

    size = len((place.public / "simple" / "demo" / "index.json").read_bytes())
    limit = Limits(document_length=size + 100)
    monkeypatch.setattr(
        rehash,
        "parse_document",
        lambda project, data: parse_document(project, data, max_length=limit.document_length),
    )
    monkeypatch.setattr(rehash, "_LARGE", 1)
    for files in (1, 0):  # a step of one file is not used up by those
        step = place.repository.rehash(1)
        assert (step.files, step.left_out, step.more) == (files, tuple(FILES["demo"]), False)
    place.repository.publish()
    assert "simple/other/index.json" in both(place)
    assert not {where for where in both(place) if where.startswith("demo:")}


def test_a_step_ends_when_it_has_read_much(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from indextrust.repository import rehash

    monkeypatch.setattr(rehash, "_MOST", 1)
    assert [(step.files, step.more) for step in (place.repository.rehash() for _ in range(3))] == [
        (1, True),
        (1, True),
        (1, False),
    ]
    with pytest.raises(InputError, match="positive number"):
        place.repository.rehash(0)


def test_what_has_to_be_left_out_ends_no_step(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each step would read the same damaged file, and no other one ever."""
    from indextrust.repository import rehash

    file = place.repository.files("demo")[0]
    path = place.repository.folder / "objects" / file.sha256[:2] / file.sha256
    path.write_bytes(bytes(file.size))
    monkeypatch.setattr(rehash, "_MOST", 1)
    steps = [place.repository.rehash() for _ in range(2)]
    assert [(step.files, step.more) for step in steps] == [(1, True), (1, False)]
    assert {step.left_out for step in steps} == {(FILES["demo"][0],)}


def test_a_private_copy_without_end_is_not_read(place: Place) -> None:
    """A step holds the lock."""
    file = place.repository.files("demo")[0]
    path = place.repository.folder / "objects" / file.sha256[:2] / file.sha256
    with path.open("wb") as sparse:
        sparse.truncate(1 << 42)
    step = place.repository.rehash()
    assert (step.files, step.left_out, step.more) == (2, (FILES["demo"][0],), False)


# -- who writes the database -----------------------------------------------------------------


def test_a_sha512_in_the_tables_is_not_signed_unless_it_was_published(place: Place) -> None:
    place.repository.rehash(2)
    place.repository.publish()
    lies = (
        ("UPDATE files SET sha512 = '{}' WHERE filename = '{}'", FILES["demo"][0]),
        ("UPDATE files SET sha512 = '{}' WHERE filename = '{}'", FILES["other"][0]),
        ("UPDATE files SET metadata_sha512 = '{}' WHERE filename = '{}'", FILES["demo"][0]),
        ("UPDATE targets SET sha512 = '{}' WHERE path = 'files/demo/{}'", FILES["demo"][0]),
        ("UPDATE targets SET sha512 = '{}' WHERE path = 'files/other/{}'", FILES["other"][0]),
        ("UPDATE targets SET sha512 = NULL WHERE path = '{1}'", "simple/demo/index.json"),
    )
    for number, (lie, where) in enumerate(lies):
        twin = place.copied(place.folder.with_name(f"twin-{number}"))
        twin.sql(lie.format("f" * 128, where))
        before = everything(twin.public)
        twin.repository.add(twin.wheel("demo", "3.0"), twin.wheel("other", "3.0"))
        with pytest.raises(AlteredStateError):
            twin.repository.publish()
        assert everything(twin.public) == before


def test_a_file_is_not_hidden_from_the_transition_by_its_row(place: Place) -> None:
    place.sql("UPDATE files SET sha512 = ? WHERE project = 'other'", "f" * 128)
    with pytest.raises(AlteredStateError, match="project other"):
        place.repository.rehash()


def test_a_file_s_row_can_t_make_a_step_hash_another_object(place: Place) -> None:
    """Else the signed SHA-512 would be that of other bytes, and nobody could take the file."""
    one, two = place.repository.files("demo")
    place.sql(
        "UPDATE files SET sha256 = ?, size = ? WHERE filename = ?",
        two.sha256,
        two.size,
        one.filename,
    )
    before = everything(place.folder)
    with pytest.raises(AlteredStateError, match="project demo"):
        place.repository.rehash()
    assert everything(place.folder) == before


def test_a_queued_sha512_is_of_the_sha256_that_it_was_computed_with(place: Place) -> None:
    """An older program, or a bug, queued the SHA-512 of other bytes: it is not published."""
    from indextrust.repository.changes import FileDigests, Rehash

    one, two = place.repository.files("demo")
    wrong = FileDigests(one.filename, two.sha256, "f" * 128)
    place.state().queue.rehash([Rehash(one.project, (wrong,))], "2026-01-31T12:00:00Z")
    before = everything(place.public)
    with pytest.raises(RepositoryError, match=f"sha256 {two.sha256} is queued, and listed is"):
        place.reopen().publish()
    assert everything(place.public) == before


def test_an_entry_that_nobody_appended_is_no_transition(place: Place) -> None:
    """Without the key nobody switches the index, puts a digest into the log, or alters one."""
    place.repository.rehash(1)
    (number, body) = place.sql("SELECT number, body FROM log WHERE project = 'demo'")[-1]
    place.sql(
        "UPDATE log SET body = ? WHERE number = ?",
        re.sub("[0-9a-f]{128}", "f" * 128, str(body), count=1),
        number,
    )
    before = everything(place.public)
    with pytest.raises(AlteredStateError, match="log entry"):
        place.reopen().publish()
    assert everything(place.public) == before


def test_a_document_that_is_none_is_not_invented_by_a_step(place: Place) -> None:
    place.sql(
        "INSERT INTO targets (bin, path, length, sha256) "
        "SELECT bin, 'simple/evil/index.json', 1, sha256 FROM targets WHERE path = ?",
        "simple/demo/index.json",
    )
    before = everything(place.folder)
    with pytest.raises(AlteredStateError):
        place.repository.rehash()
    assert everything(place.folder) == before


def test_a_project_that_is_none_gets_no_document_from_a_queued_step(place: Place) -> None:
    from indextrust.names import project_name
    from indextrust.repository.changes import Rehash

    place.state().queue.rehash([Rehash(project_name("evil"), ())], "2026-01-31T12:00:00Z")
    with pytest.raises(RepositoryError, match="which has no document"):
        place.reopen().publish()
    assert not (place.public / "simple" / "evil").exists()


# -- the other operations --------------------------------------------------------------------


def test_what_was_listed_with_both_is_collected_under_both_names(place: Place) -> None:
    place.repository.rehash()
    place.repository.publish()
    place.repository.remove("other", FILES["other"][0])
    place.repository.publish()
    place.clock.sleep(hours=2)
    before = everything(place.public)
    place.repository.collect()
    gone = sorted(before.keys() - everything(place.public).keys())
    wheels = [name for name in gone if name.startswith("files/other/")]
    assert {len(name.split("/")[2].partition(".")[0]) for name in wheels} == {64, 128}
    assert len(wheels) == 4  # the wheel and its core metadata
    assert both(place) == everywhere(place)
    assert place.repository.check().clean
    place.publish(place.wheel("other", "1.0"))
    assert both(place) == everywhere(place)


def test_restore_writes_every_name_again_and_check_finds_what_differs(place: Place) -> None:
    place.repository.rehash(2)
    place.repository.publish()
    name = FILES["demo"][0]
    folder = place.public / "files" / "demo"
    sha512 = digests((folder / name).read_bytes())["sha512"]
    (folder / f"{sha512}.{name}").unlink()
    document = place.public / "simple" / "demo" / "index.json"
    named = document.with_name(f"{digests(document.read_bytes())['sha512']}.index.json")
    named.unlink()
    named.write_bytes(b"{}")
    found = {one.where for one in place.repository.check().differences}
    assert found == {f"files/demo/{sha512}.{name}", f"simple/demo/{named.name}"}
    repaired = place.repository.restore().repaired
    assert f"simple/demo/{named.name}" in repaired
    assert {f"demo: {one}" for one in FILES["demo"]} < both(place)
    assert place.repository.check().clean


def test_the_state_is_rebuilt_in_the_middle_of_the_transition(place: Place) -> None:
    place.repository.rehash(2)
    place.repository.publish()
    before = place.repository.expected_targets()
    root = place.roles.root[0]
    rebuilt = Repository.rebuild(place.repository.folder, root, clock=place.clock)
    assert (rebuilt.faults, rebuilt.missing) == (0, 0)
    again = place.reopen()
    assert again.expected_targets() == before
    assert again.status().hashes == "both"  # what is signed says so
    assert again.rehash().files == 1
    again.publish()
    assert both(place) == everywhere(place)


def test_a_re_binning_takes_both_hashes_along(place: Place) -> None:
    from indextrust.ceremony import rotate

    place.repository.rehash(2)
    place.repository.publish()
    before = place.repository.expected_targets()
    roles = rotate(
        place.roles,
        place.keyholders[:2],
        place.online.public_key,
        now=place.clock.now,
        bins=BinScheme.of(8),
    )
    place.repository.rebin(roles, place.online)
    assert place.repository.published_targets() == before
    place.repository.rehash()
    place.repository.publish()
    assert both(place) == everywhere(place)


# -- cut short -------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.1, 0.35, 0.6, 0.9])
def test_a_step_that_was_killed_is_queued_or_not_and_the_next_ones_complete_it(
    tmp_path: Path, steps: int, fraction: float
) -> None:
    place = prepare("rehash", tmp_path)
    stop = max(1, round(fraction * steps))
    assert run("rehash", tmp_path, stop).startswith("stopped before")
    both(place)  # what is listed is right, and lies under its names
    place.repository = place.reopen()
    while place.repository.rehash().more:
        pass
    place.repository.publish()
    assert both(place) == everywhere(place)
    assert place.repository.check().clean


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many changes a step and its publication make when nobody stops them."""
    folder = tmp_path_factory.mktemp("rehash")
    prepare("rehash", folder)
    return int(run("rehash", folder, 10**9).split()[-1])


# -- somebody else's client ------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["pep458", "projects"])
def test_tufs_updater_follows_in_the_middle_of_the_transition(
    tmp_path: Path, layout: Layout
) -> None:
    place = shelf(tmp_path, layout, Clock(datetime.now(UTC)))
    place.repository.rehash(1)
    place.repository.publish()
    assert both(place)
    assert both(place) != everywhere(place)
    with TamperingServer(place.public) as server:
        (tmp_path / "home" / "targets").mkdir(parents=True)
        client = Updater(
            str(tmp_path / "home" / "metadata"),
            server.url + "metadata/",
            str(tmp_path / "home" / "targets"),
            server.url,
            bootstrap=place.roles.root[0],
        )
        kinds = set()
        for path, target in place.repository.expected_targets().items():
            info = client.get_targetinfo(path)
            assert info is not None
            assert info.hashes == target.hashes
            kinds.add(tuple(sorted(info.hashes)))
            expected = (place.public / path).read_bytes()
            for algorithm in info.hashes:  # by whichever hash a client asks
                info.hashes = {algorithm: target.hashes[algorithm]}
                got = tmp_path / "home" / algorithm
                assert Path(client.download_target(info, str(got))).read_bytes() == expected
                got.unlink()
        assert kinds == {("sha256",), ("sha256", "sha512")}
