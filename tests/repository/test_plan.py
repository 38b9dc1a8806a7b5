"""From changes to unsigned roles, without a disk, a key or a clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import NormalizedName
from tuf.api.metadata import Snapshot, Targets, Timestamp

from indextrust.distribution import DistributionFile
from indextrust.errors import InputError, RepositoryError
from indextrust.names import BinScheme
from indextrust.repository.changes import Add, Change, Remove, Yank
from indextrust.repository.plan import (
    RoleFile,
    TargetFile,
    bin_edits,
    bin_role,
    describe,
    plan_project,
    replay,
    snapshot_role,
    timestamp_role,
    utc,
)

DEMO = NormalizedName("demo")
TIME = "2026-01-31T12:00:00Z"


def file(number: int) -> DistributionFile:
    return DistributionFile(DEMO, f"demo-{number}.tar.gz", str(number), 7, f"{number:064x}", TIME)


def changes() -> st.SearchStrategy[list[Change]]:
    """A queue as intake makes them: changes of what is there, additions of what is not."""

    @st.composite
    def queue(draw: st.DrawFn) -> list[Change]:
        present: set[int] = set()
        result: list[Change] = []
        for number, wish in draw(
            st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=12)
        ):
            name = f"demo-{number}.tar.gz"
            if number not in present:
                present.add(number)
                result.append(Add(file(number)))
            elif wish:
                present.discard(number)
                result.append(Remove(DEMO, name))
            else:
                result.append(Yank(DEMO, name, draw(st.sampled_from([None, "", "why"]))))
        return result

    return queue()


@given(changes(), st.integers(0, 12))
def test_publishing_in_two_steps_ends_where_one_step_ends(queue: list[Change], cut: int) -> None:
    at_once = plan_project(DEMO, {}, queue, None)
    first = plan_project(DEMO, {}, queue[:cut], None)
    second = plan_project(DEMO, replay({}, queue[:cut]), queue[cut:], describe(first.document))
    assert second.document == at_once.document
    targets: dict[str, TargetFile] = {}
    for plan in (first, second):
        for edit in bin_edits([plan], BinScheme.of(4)).values():
            targets = edit.apply(targets)
    assert targets == dict(at_once.put)


@given(changes())
def test_every_target_goes_to_its_bin_and_no_other_bin_is_touched(queue: list[Change]) -> None:
    scheme = BinScheme.of(256)
    plan = plan_project(DEMO, {}, queue, None)
    edits = bin_edits([plan], scheme)
    assert {path for edit in edits.values() for path in edit.put} == set(plan.put)
    for name, edit in edits.items():
        assert {scheme.bin_of(path) for path in (*edit.put, *edit.drop)} == {name}


def test_a_yank_changes_the_document_and_no_file() -> None:
    before = {file(1).filename: file(1)}
    old = plan_project(DEMO, {}, [Add(file(1))], None)
    plan = plan_project(DEMO, before, [Yank(DEMO, "demo-1.tar.gz", "")], describe(old.document))
    assert set(plan.put) == {"simple/demo/index.json"}
    assert (plan.drop, plan.added, plan.removed) == ((), (), ())
    assert plan.changed == (replace(file(1), yanked=""),)


def test_core_metadata_is_a_target_of_its_own() -> None:
    wheel = replace(file(1), metadata_sha256="b" * 64)
    plan = plan_project(DEMO, {}, [Add(wheel, 99)], None)
    assert plan.put["files/demo/demo-1.tar.gz"] == TargetFile(7, wheel.sha256)
    assert plan.put["files/demo/demo-1.tar.gz.metadata"] == TargetFile(99, "b" * 64)
    gone = plan_project(DEMO, {wheel.filename: wheel}, [Remove(DEMO, wheel.filename)], None)
    assert gone.drop == ("files/demo/demo-1.tar.gz", "files/demo/demo-1.tar.gz.metadata")


def test_a_queue_that_does_not_fit_is_refused() -> None:
    other = replace(file(1), sha256="f" * 64)
    with pytest.raises(RepositoryError, match="is listed with sha256"):
        replay({}, [Add(file(1)), Add(other)])
    for change in (Remove(DEMO, "demo-1.tar.gz"), Yank(DEMO, "demo-1.tar.gz", "")):
        with pytest.raises(RepositoryError, match="is not listed"):
            replay({}, [change])


def test_the_roles_are_what_python_tuf_reads() -> None:
    role = RoleFile(3, 100, "a" * 64)
    targets = Targets.from_dict(bin_role(2, TIME, {"files/x/x": TargetFile(5, "b" * 64)}))
    assert (targets.version, targets.targets["files/x/x"].length) == (2, 5)
    assert targets.targets["files/x/x"].hashes == {"sha256": "b" * 64}
    snapshot = Snapshot.from_dict(snapshot_role(4, TIME, {"bins": role}))
    assert snapshot.meta["bins.json"].to_dict() == {
        "version": 3,
        "length": 100,
        "hashes": {"sha256": "a" * 64},
    }
    timestamp = Timestamp.from_dict(timestamp_role(5, TIME, role))
    assert timestamp.snapshot_meta.version == 3
    assert timestamp.expires == datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_times_are_written_in_utc() -> None:
    moscow = timezone(timedelta(hours=3))
    assert utc(datetime(2026, 1, 31, 15, tzinfo=moscow)) == TIME
    with pytest.raises(InputError, match="expected a time with a time zone"):
        utc(datetime(2026, 1, 31, 15))  # noqa: DTZ001
