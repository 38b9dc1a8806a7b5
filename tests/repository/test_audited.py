"""The audit: what a thief of the online key signed, and who queued the rest."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from indextrust.names import LAYOUTS
from indextrust.repository import Repository
from indextrust.repository.audited import Audited, audit
from indextrust.repository.checkpoint import Checkpoint, read_checkpoint
from indextrust.repository.checkpoint_make import make_checkpoint
from indextrust.repository.comparison import compare_checkpoints
from indextrust.repository.log import Log
from indextrust.repository.storage import FolderStorage
from tests.repository.forger import Forger, encoded, listed, put
from tests.repository.place import NOW, Place

DEMO = "demo-1.0-py3-none-any.whl"
DEMO_FILE, DEMO_DOCUMENT = f"files/demo/{DEMO}", "simple/demo/index.json"
FAR = 2**31


def storage(public: Path) -> FolderStorage:
    return FolderStorage(public, public / "nowhere", public / "nowhere")


@dataclass
class Case:
    """An index, its checkpoint, and copies of it for thieves."""

    place: Place
    good: Checkpoint
    before: dict[str, Any]

    def copy(self, folder: Path) -> Place:
        return self.place.copied(folder)


@pytest.fixture(scope="module", params=LAYOUTS)
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    place = Place(tmp_path_factory.mktemp(request.param), layout=request.param)
    place.publish(
        *(place.wheel("demo", f"{n}.0", requires_python=">=3.9") for n in (1, 2)),
        place.wheel("other", "1.0"),
    )
    path = place.folder / "good.checkpoint"
    made = make_checkpoint(storage(place.public), place.roles.root[0], path, NOW)
    with read_checkpoint(made.path, made.digest) as good:
        yield Case(place, good, naive(place.public))


def audited(case: Case, public: Path, log: Log | str = "no log") -> Audited:
    return audit(case.good, storage(public), log, NOW)


def log_of(place: Place) -> Log:
    return place.state().queue.log


def naive(public: Path) -> dict[str, Any]:
    """What is signed for each path, by somebody who believes everything that he reads."""
    found: dict[str, Any] = {}
    folder = public / "metadata"

    def signed(name: str) -> dict[str, Any]:
        tree: dict[str, Any] = json.loads((folder / name).read_bytes())["signed"]
        return tree

    version = signed("timestamp.json")["meta"]["snapshot.json"]["version"]
    for name, entry in signed(f"{version}.snapshot.json")["meta"].items():
        if name.startswith("bin-"):
            for path, target in signed(f"{entry['version']}.{name}")["targets"].items():
                found[path] = [target["length"], target["hashes"]["sha256"]]
    for path in [path for path in found if path.startswith("simple/")]:
        folder_of, _, name = path.rpartition("/")
        document = json.loads((public / folder_of / f"{found[path][1]}.{name}").read_bytes())
        for file in document["files"]:
            core = file.pop("core-metadata")
            place = f"files/{document['name']}/{file['filename']}"
            found[place] = [found.get(place), file]
            if core:
                found[f"{place}.metadata"] = [found.get(f"{place}.metadata"), core]
    return found


def naive_difference(before: dict[str, Any], now: dict[str, Any]) -> set[tuple[str, str]]:
    return {
        ("added" if p not in before else "removed" if p not in now else "changed", p)
        for p in before.keys() | now.keys()
        if before.get(p) != now.get(p)
    }


def differences(found: Audited) -> set[tuple[str, str]]:
    return {(f.difference.kind, f.difference.path) for f in found.findings}


# -- the attacks ------------------------------------------------------------------------------


def test_what_is_as_it_was_is_clean_whatever_was_renewed(case: Case, tmp_path: Path) -> None:
    place = case.copy(tmp_path / "copy")
    assert audited(case, place.public).clean
    place.clock.sleep(hours=20)
    place.repository.renew()
    found = audit(case.good, storage(place.public), log_of(place), place.clock.now)
    assert found.clean
    assert found.log == ""
    assert {"snapshot", "timestamp"} <= {role.name for role in found.roles}
    assert found.strange == ()


def test_a_thief_at_two_to_the_thirty_first_is_listed_exactly(case: Case, tmp_path: Path) -> None:
    """One existing file malicious, one new release, one file removed, one project added."""
    place = case.copy(tmp_path / "copy")
    forger = Forger(place.public, place.online, NOW)
    demo = forger.document("demo")
    demo["files"][0] = listed("demo", DEMO, b"malicious")
    demo["files"] = [demo["files"][0], listed("demo", "demo-3.0-py3-none-any.whl", b"new")]
    demo["versions"] = ["1.0", "3.0"]
    new = forger.document("evil")
    new["files"], new["versions"] = [listed("evil", "evil-1.0.tar.gz", b"evil")], ["1.0"]
    targets = {DEMO_DOCUMENT: encoded(demo), "simple/evil/index.json": encoded(new)}
    files: dict[str, bytes | None] = {
        DEMO_FILE: b"malicious",
        "files/demo/demo-3.0-py3-none-any.whl": b"new",
        "files/demo/demo-2.0-py3-none-any.whl": None,
        "files/evil/evil-1.0.tar.gz": b"evil",
    }
    forger.sign({**targets, **(files if place.layout == "pep458" else {})}, version=FAR)
    found = audited(case, place.public, log_of(place))
    gone = ["files/demo/demo-2.0-py3-none-any.whl", f"{DEMO_FILE}.metadata"]
    expected = {
        ("changed", DEMO_DOCUMENT),
        ("changed", DEMO_FILE),
        ("added", "files/demo/demo-3.0-py3-none-any.whl"),
        ("removed", "files/demo/demo-2.0-py3-none-any.whl"),
        ("removed", "files/demo/demo-2.0-py3-none-any.whl.metadata"),
        ("added", "simple/evil/index.json"),
        ("added", "files/evil/evil-1.0.tar.gz"),
    }
    kind = "changed" if place.layout == "pep458" else "removed"  # its target is still there
    expected = {e for e in expected if not e[1].endswith(".metadata")} | {
        (kind, f"{DEMO_FILE}.metadata"),
        (kind, f"{gone[0]}.metadata"),
    }
    assert differences(found) == expected
    assert found.unqueued == found.count == len(expected)
    assert (found.before, found.now) == (2, FAR)
    assert not found.explained
    assert {"snapshot", "timestamp"} <= {role.name for role in found.strange}
    assert all(role.now == FAR for role in found.strange)


def test_what_was_queued_is_told_from_what_was_not(case: Case, tmp_path: Path) -> None:
    place = case.copy(tmp_path / "copy")
    place.clock.sleep(hours=1)
    place.repository.yank("demo", DEMO, "broken")
    place.repository.remove("demo", "demo-2.0-py3-none-any.whl")
    place.publish(place.wheel("demo", "3.0"), place.wheel("new", "1.0"))
    honest = audited(case, place.public, log_of(place))
    assert honest.explained
    assert not honest.clean
    assert honest.strange == ()
    assert differences(honest) == naive_difference(case.before, naive(place.public))
    assert {f.queued.time for f in honest.findings if f.queued} == {"2026-01-31T13:00:00Z"}
    assert len({f.queued.who for f in honest.findings if f.queued}) == 1

    forger = Forger(place.public, place.online, NOW)
    document = forger.document("demo")
    document["files"][1]["yanked"] = "by the thief"
    forger.sign({DEMO_DOCUMENT: encoded(document)})
    found = audited(case, place.public, log_of(place))
    nobody = {f.difference.path for f in found.findings if f.queued is None}
    assert nobody == {DEMO_DOCUMENT, "files/demo/demo-3.0-py3-none-any.whl"}
    assert found.unqueued == 2


def test_without_the_log_nobody_is_blamed(case: Case, tmp_path: Path) -> None:
    place = case.copy(tmp_path / "copy")
    place.publish(place.wheel("new", "1.0"))
    found = audited(case, place.public)
    assert found.log == "no log"
    assert found.count
    assert not found.explained
    assert {role.published for role in found.roles} == {None}


def test_an_altered_log_explains_nothing(case: Case, tmp_path: Path) -> None:
    """Whoever writes the database, and not the queue key, explains nothing away."""
    place = case.copy(tmp_path / "copy")
    place.publish(place.wheel("new", "1.0"))
    place.sql("UPDATE log SET who = 'mallory' WHERE kind = 'change' AND project = 'new'")
    found = audited(case, place.public, log_of(place))
    assert "log entry" in found.log
    assert not found.explained
    assert all(finding.queued is None for finding in found.findings)


def test_the_database_is_not_asked(case: Case, tmp_path: Path) -> None:
    place = case.copy(tmp_path / "copy")
    place.sql("UPDATE targets SET sha256 = ?", "0" * 64)
    place.sql("UPDATE files SET sha256 = ?", "0" * 64)
    place.sql("UPDATE roles SET version = 77")
    assert audited(case, place.public, log_of(place)).clean


def test_a_log_that_begins_later_is_said_to(case: Case, tmp_path: Path) -> None:
    """The state was made anew since: the old log, and who queued what until then, is lost."""
    place = case.copy(tmp_path / "copy")
    place.publish(place.wheel("new", "1.0"))
    Repository.rebuild(place.repository.folder, place.roles.root[0], clock=place.clock)
    repository = place.reopen()
    repository.add(place.wheel("newer", "1.0"))
    repository.publish()
    found = audited(case, place.public, log_of(place))
    assert "begins after snapshot 2" in found.log
    assert not found.explained
    told = {f.difference.project: f.queued is not None for f in found.findings}
    assert told == {"new": False, "newer": True}


# -- what no client could read ------------------------------------------------------------------


def test_a_bin_that_is_garbage_hides_what_is_in_it(case: Case, tmp_path: Path) -> None:
    place = case.copy(tmp_path / "copy")
    versions = place.versions()
    name = next(
        name
        for name in ("bin-0", "bin-1", "bin-2", "bin-3")
        if place.signed(f"{versions[name]}.{name}.json")["targets"]
    )
    hidden = place.signed(f"{versions[name]}.{name}.json")["targets"]
    (place.public / "metadata" / f"{versions[name]}.{name}.json").write_bytes(b"garbage")
    found = audited(case, place.public)
    assert found.fault_count == 1
    assert found.faults[0].startswith(f"{name}: ")
    assert set(hidden) <= {finding.difference.path for finding in found.findings}
    assert not found.clean


def test_a_document_is_believed_for_its_hash_alone(case: Case, tmp_path: Path) -> None:
    """The thief signs another document, and leaves the honest bytes where it should lie."""
    place = case.copy(tmp_path / "copy")
    honest = (place.public / DEMO_DOCUMENT).read_bytes()
    Forger(place.public, place.online, NOW).sign({DEMO_DOCUMENT: b"{}"})
    for path in (place.public / "simple" / "demo").glob("*index.json"):
        put(path, honest)
    found = audited(case, place.public)
    assert found.fault_count == 1
    assert "no such bytes" in found.faults[0]
    assert ("changed", DEMO_DOCUMENT) in differences(found)
    hidden = "changed" if place.layout == "pep458" else "removed"
    assert (hidden, DEMO_FILE) in differences(found)


def test_a_timestamp_that_no_client_takes_is_told_and_not_a_million_removals(
    case: Case, tmp_path: Path
) -> None:
    place = case.copy(tmp_path / "copy")
    (place.public / "metadata" / "timestamp.json").write_bytes(b"{}")
    found = audited(case, place.public)
    assert (found.now, found.count, found.fault_count) == (None, 0, 1)
    assert "no client takes what is served" in found.faults[0]
    assert not found.clean
    assert not found.explained


def test_a_spoilt_old_root_is_told_and_does_not_stop_the_audit(case: Case, tmp_path: Path) -> None:
    place = case.copy(tmp_path / "copy")
    (place.public / "metadata" / "1.root.json").write_bytes(b"garbage")
    found = audited(case, place.public)
    assert found.faults == ("metadata/1.root.json: not the one in the checkpoint",)
    assert found.count == 0


def test_entries_that_no_client_follows_hide_no_others(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.publish(place.wheel("demo", "1.0"))
    path = tmp_path / "good.checkpoint"
    made = make_checkpoint(storage(place.public), place.roles.root[0], path, NOW)
    forger = Forger(place.public, place.online, NOW)
    forger.sign({DEMO_FILE: b"malicious"})
    forger.sign({DEMO_FILE + ".metadata": b"only md5"}, hashes=("md5",))
    forger.sign({"elsewhere": b"x", "simple/Demo/index.json": b"{}", "files/a/b/c": b"x"})
    with read_checkpoint(made.path, made.digest) as good:
        found = audit(good, storage(place.public), "no log", NOW)
    assert ("changed", DEMO_FILE) in differences(found)
    assert ("added", "simple/Demo/index.json") in differences(found)
    assert ("changed", f"{DEMO_FILE}.metadata") in differences(found)
    assert found.fault_count == len(found.faults) == 4  # md5, two paths, and the document of Demo


# -- two checkpoints -----------------------------------------------------------------------------


def test_two_checkpoints_are_compared_without_the_index(case: Case, tmp_path: Path) -> None:
    place = case.copy(tmp_path / "copy")
    place.repository.remove("other", "other-1.0-py3-none-any.whl")
    place.publish(place.wheel("new", "1.0"))
    path = tmp_path / "later.checkpoint"
    made = make_checkpoint(storage(place.public), place.roles.root[0], path, NOW)
    with read_checkpoint(made.path, made.digest) as later:
        found = {(each.kind, each.path) for each in compare_checkpoints(case.good, later)}
        assert list(compare_checkpoints(later, later)) == []
    assert found == naive_difference(case.before, naive(place.public))


# -- any sequence of writes ----------------------------------------------------------------------

PROJECTS = ("demo", "other", "evil", "more-evil")
VERSIONS = ("1.0", "2.0", "3.0")
versions = st.one_of(st.none(), st.sampled_from([FAR, FAR + 5, 2**40]))
writes = st.lists(
    st.tuples(
        st.sampled_from(["file", "remove", "yank", "drop", "resign", "target", "replay", "same"]),
        st.sampled_from(PROJECTS),
        st.sampled_from(VERSIONS),
        versions,
    ),
    min_size=1,
    max_size=6,
)


def write(forger: Forger, layout: str, step: tuple[str, str, str, int | None]) -> None:
    """One write of the thief."""
    what, project, version, number = step
    name = f"{project.replace('-', '_')}-{version}-py3-none-any.whl"
    path, page = f"files/{project}/{name}", f"simple/{project}/index.json"
    document = forger.document(project)
    data = f"{what} {version}".encode()
    others = [file for file in document["files"] if file["filename"] != name]
    targets: dict[str, bytes | None] = {}
    if what == "file":
        entry = listed(project, name, data, **{"core-metadata": version == "1.0"})
        if entry["core-metadata"]:
            entry["core-metadata"] = {"sha256": entry["hashes"]["sha256"]}
        document["files"] = sorted([*others, entry], key=lambda file: str(file["filename"]))
        targets = {page: encoded(document), path: data}
    elif what == "remove":
        document["files"] = others
        targets = {page: encoded(document), path: None}
    elif what == "yank":
        for file in document["files"]:
            file["yanked"] = not file["yanked"]
        targets = {page: encoded(document)}
    elif what == "drop":
        targets = {page: None, path: None}
        (forger.public / page).unlink(missing_ok=True)
    elif what == "target":
        targets = {path: data}
    elif what == "same":
        there = forger.public / page
        targets = {page: there.read_bytes()} if there.exists() else {}
    if layout == "projects":
        targets = {key: value for key, value in targets.items() if key == page}
    if what == "replay":
        shutil.copy(forger.public / "honest.json", forger.public / "metadata" / "timestamp.json")
    else:
        forger.sign(targets, bins=("bin-0", "bin-3") if what == "resign" else (), version=number)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(writes)
@example([("drop", "demo", "1.0", FAR), ("resign", "demo", "1.0", FAR + 5)])
@example([("file", "demo", "1.0", 2**40), ("replay", "demo", "1.0", None)])
def test_the_audit_reports_exactly_the_difference(
    case: Case, steps: list[tuple[str, str, str, int | None]]
) -> None:
    """ "`audit` reports exactly the difference from the checkpoint", whatever a thief signs."""
    with tempfile.TemporaryDirectory() as folder:
        public = Path(folder) / "public"
        shutil.copytree(case.place.public, public)
        shutil.copy(public / "metadata" / "timestamp.json", public / "honest.json")
        forger = Forger(public, case.place.online, NOW)
        for step in steps:
            write(forger, case.place.layout, step)
        found = audited(case, public)
        assert differences(found) == naive_difference(case.before, naive(public))
        assert found.faults == ()
        assert found.clean == (not found.findings)
