"""Any order of operations and accidents is one snapshot after the other, for every reader.

Hypothesis makes the story up: uploads, removals and yanks are queued; publications, renewals,
repairs, collections and steps of the hash transition run undisturbed, are killed, meet a failing
disk or lose power at some system call; a second publisher comes along; readers come by when they
like. At every moment

* what is served is a complete snapshot,
* which is that of the changes up to some publication, later than the one before or the same,
* versions never fall, and no number or hash ever stands for two contents.
"""

from __future__ import annotations

import errno
import json
import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from indextrust.repository import Repository
from tests.repository.faults.power import Record, read_disk
from tests.repository.faults.readers import Index, Reader, numbered, whole
from tests.repository.faults.scenes import Scene, copy
from tests.repository.faults.syscalls import Choice
from tests.repository.faults.workshop import Workshop
from tests.support.wheels import make_wheel

Files = dict[str, str | bool]
"""File name to what its project's document says of a yank."""

KINDS = (*["publish"] * 4, "renew-all", "renew-all", "restore", "collect", "collect", "rehash")
FAULTS = [Choice("fail", errno.ENOSPC), Choice("late", errno.EIO), Choice("fail", errno.EIO)]
CALLS = 250
"""More than most operations make: some are not reached by the accident."""


class Machine(RuleBasedStateMachine):
    """One index, and all that may happen to it."""

    def __init__(self, scene: Scene, workshop: Workshop, folder: Path) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=folder))
        self.scene = copy(scene, self.folder / "scene")
        self.workshop = workshop
        self.job = replace(self.scene.job, patience=0.3)
        self.files: list[Files] = [self.served(whole(self.scene.public, scene.root))]
        self.boundaries = {0}
        self.visible = 0
        self.versions: dict[str, int] = {}
        self.names: dict[str, str] = {}
        self.made = 0
        self.readers = [Reader(self.folder / f"reader{n}", scene.root) for n in range(2)]

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    # -- what people queue -------------------------------------------------------------------

    def repository(self) -> Repository:
        return Repository.open(self.scene.index, clock=lambda: self.job.now)

    @rule(project=st.sampled_from(["demo", "other", "third"]))
    def add(self, project: str) -> None:
        self.made += 1
        wheel = make_wheel(self.folder, project, f"9.{self.made}")
        self.repository().add(wheel)
        self.files.append({**self.files[-1], wheel.name: False})

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if self.files[-1]:
            name = data.draw(st.sampled_from(sorted(self.files[-1])))
            self.repository().remove(name.partition("-")[0], name)
            self.files.append({**self.files[-1]})
            del self.files[-1][name]

    @rule(data=st.data(), reason=st.sampled_from(["", "broken", "worse"]))
    def yank(self, data: st.DataObject, reason: str) -> None:
        if self.files[-1]:
            name = data.draw(st.sampled_from(sorted(self.files[-1])))
            self.repository().yank(name.partition("-")[0], name, reason)
            self.files.append({**self.files[-1], name: reason or True})

    @rule(minutes=st.integers(1, 90))
    def time_passes(self, minutes: int) -> None:
        self.job = replace(self.job, now=self.job.now + timedelta(minutes=minutes))

    # -- what the operator does, and what happens to him -------------------------------------

    def begin(self, what: str) -> Any:
        """The operation; a publication may make visible what is queued now."""
        if what == "publish":
            self.boundaries.add(len(self.files) - 1)
        return replace(self.job, what=what)

    def done(self, what: str) -> None:
        """After success: a publication has made all visible."""
        if what == "publish":
            assert self.served_now() == self.files[-1]
            self.visible = len(self.files) - 1

    @rule(what=st.sampled_from(KINDS))
    def operate(self, what: str) -> None:
        ended = self.workshop.run(self.begin(what))
        assert ended.how == "returned", ended.trace
        self.done(what)

    @rule(what=st.sampled_from(KINDS), at=st.integers(1, CALLS))
    def killed(self, what: str, at: int) -> None:
        ended = self.workshop.kill(self.begin(what), at).ended
        assert ended.how in ("returned", "killed"), ended.trace
        if ended.how == "returned":
            self.done(what)

    @rule(what=st.sampled_from(KINDS), at=st.integers(1, CALLS), fault=st.sampled_from(FAULTS))
    def disk_fails(self, what: str, at: int, fault: Choice) -> None:
        ended = self.workshop.disturb(self.begin(what), at, fault).ended
        assert ended.how == "returned" or "StoreError" in ended.kinds, ended.trace
        if ended.how == "returned":
            self.done(what)

    @rule(what=st.sampled_from(KINDS), part=st.floats(0, 1), seed=st.integers(0, 10**6))
    def power_fails(self, what: str, part: float, seed: int) -> None:
        before = read_disk(self.scene.index)
        run = self.workshop.record(self.begin(what))
        assert run.ended.how == "returned", run.ended.trace
        record = Record(before, run.effects)
        disk = record.after_power_loss(round(part * record.length), random.Random(seed))
        shutil.rmtree(self.scene.index)
        disk.write_to(self.scene.index)
        if part == 1:
            self.done(what)

    @rule(at=st.integers(1, CALLS), kill=st.booleans())
    def second_publisher(self, at: int, kill: bool) -> None:
        ended = self.workshop.hold(self.begin("publish"), at).ended
        if ended.how == "held":
            with Workshop() as other:
                second = other.run(self.begin("renew-all"))
            assert second.how == "returned" or "ConflictError" in second.kinds, second.trace
            ended = self.workshop.kill_held() if kill else self.workshop.go_on()
        if ended.how == "returned":
            self.done("publish")

    @rule(reader=st.integers(0, 1))
    def read(self, reader: int) -> None:
        index = whole(self.scene.public, self.scene.root)
        paths = [path for path in index.targets if path.endswith("index.json")]
        read = self.readers[reader].read(self.scene.public, paths)
        assert read.versions.items() <= index.versions.items()
        assert read.targets.items() <= index.targets.items()
        assert len(read.targets) == len(paths)

    # -- what holds at every moment ----------------------------------------------------------

    @invariant()
    def is_one_snapshot_after_the_other(self) -> None:
        index = whole(self.scene.public, self.scene.root)
        served = self.served(index)
        self.visible = next(
            number
            for number in sorted(self.boundaries)
            if number >= self.visible and self.files[number] == served
        )
        for name, version in self.versions.items():
            assert index.versions[name] >= version, name
        self.versions = index.versions
        names = numbered(self.scene.public)
        for name in names.keys() & self.names.keys():
            assert names[name] == self.names[name], name
        self.names |= {name: digest for name, digest in names.items() if self.reachable(name)}

    def reachable(self, name: str) -> bool:
        """Whether readers may have been given it: what lies there unreferenced may be torn."""
        version, _, role = Path(name).name.removesuffix(".json").partition(".")
        return not name.startswith("metadata/") or version == str(self.versions.get(role, 0))

    def served_now(self) -> Files:
        return self.served(whole(self.scene.public, self.scene.root))

    def served(self, index: Index) -> Files:
        """What the documents say."""
        files: Files = {}
        for path, digest in index.targets.items():
            if path.startswith("simple/"):
                folder = self.scene.public / Path(path).parent
                for file in json.loads((folder / f"{digest}.index.json").read_bytes())["files"]:
                    files[file["filename"]] = file.get("yanked", False)
        return files


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("examples", "steps"), [(5, 10), pytest.param(60, 30, marks=pytest.mark.long)]
)
def test_any_order_of_operations_and_accidents_is_one_snapshot_after_the_other(
    examples: int,
    steps: int,
    scene_of: Callable[[str], Scene],
    workshop: Workshop,
    memory: Path,
) -> None:
    """See the module."""
    scene = scene_of("published")

    class Story(Machine):
        def __init__(self) -> None:
            super().__init__(scene, workshop, memory)

    run_state_machine_as_test(
        Story,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
