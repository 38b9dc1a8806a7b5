"""Two publishers on one folder: one after the other, never at once, and nothing is lost."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.repository.faults.readers import numbered, whole
from tests.repository.faults.scenes import Scene, check_recovery, look
from tests.repository.faults.test_crash import TIMESTAMP
from tests.repository.faults.workshop import Workshop
from tests.repository.place import everything
from tests.support.wheels import make_wheel

PUBLISHER = """
import sys
from pathlib import Path
from indextrust.errors import ConflictError
from indextrust.repository import Repository
from tests.repository.faults.jobs import load_online
from tests.repository.faults.scenes import today

folder, conflicts = Path(sys.argv[1]), 0
for line in sys.stdin:
    while True:
        try:
            repository = Repository.open(folder / "index", online=load_online(folder), clock=today)
            repository.add(Path(line.strip()))
            repository.publish()
            break
        except ConflictError:
            conflicts += 1
    print("done", flush=True)
"""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("rounds", [10, pytest.param(200, marks=pytest.mark.long)])
def test_04_two_publishers_lose_nothing_and_use_no_number_twice(
    rounds: int, scene_of: Callable[[str], Scene], copied: Callable[[Scene], Scene], tmp_path: Path
) -> None:
    """Two processes upload and publish at the same time, round after round. Neither meets an
    error but a conflict, every file is published, and every name that was ever seen keeps its
    bytes."""
    scene = copied(scene_of("add"))
    children = [
        subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, str(scene.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": ":".join([str(Path(__file__).parents[3]), *sys.path])},
        )
        for _ in range(2)
    ]

    def upload(child: subprocess.Popen[str], wheel: Path) -> str:
        assert child.stdin is not None
        assert child.stdout is not None
        print(wheel, file=child.stdin, flush=True)
        return child.stdout.readline()

    names: dict[str, str] = {}
    last = 0
    with ThreadPoolExecutor(2) as pool:
        for number in range(rounds):
            wheels = []
            for who in range(2):
                (tmp_path / f"{number}.{who}").mkdir()
                made = make_wheel(tmp_path / f"{number}.{who}", f"shop{who}", f"{number}")
                wheels.append(made)
            assert list(pool.map(upload, children, wheels)) == ["done\n"] * 2
            now = numbered(scene.public)
            assert {name: now.get(name, digest) for name, digest in names.items()} == names
            names |= now
            index = whole(scene.public, scene.root)
            assert index.versions["timestamp"] > last
            last = index.versions["timestamp"]
            for wheel in wheels:
                project = wheel.name.partition("-")[0]
                assert f"files/{project}/{wheel.name}" in index.targets
    for child in children:
        child.communicate()
        assert child.returncode == 0
    assert sum(path.endswith(".whl") for path in index.targets) == 2 * rounds + 2
    assert all(f"files/shop{who}/shop{who}-0-py3-none-any.whl" in index.targets for who in (0, 1))


def points(calls: int, visible: int, count: int) -> list[int]:
    return [visible, visible + 1, *random.Random(count).sample(range(20, calls), count)]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("count", [1, pytest.param(40, marks=pytest.mark.long)])
def test_04_a_publisher_that_stands_still_keeps_the_other_out(
    count: int,
    scene_of: Callable[[str], Scene],
    copied: Callable[[Scene], Scene],
    workshop: Workshop,
) -> None:
    """A publisher stands still in the middle of a publication, as under SIGSTOP. The other one
    waits, and gives up with a conflict, having changed nothing. Then the first one goes on, or is
    killed; either way the other one finds its turn, and nobody's number or file is lost."""
    run = workshop.watch(copied(scene_of("mixed")).job)
    locked = next(n for n, mark in enumerate(run.marks, 1) if "journal" in mark[1])
    with Workshop() as other:
        for at in points(run.calls, run.marks.index(TIMESTAMP) + 1, count):
            for killed in (True, False):
                scene = copied(scene_of("mixed"))
                assert workshop.hold(scene.job, at).ended.how == "held"
                before, seen = everything(scene.index), look(scene)
                ended = other.run(scene.again("publish", patience=0.3))
                assert at < locked or "ConflictError" in ended.kinds, ended.trace
                assert everything(scene.index) == before
                if killed:
                    assert workshop.kill_held().how == "killed"
                    check_recovery(scene, other, seen)
                    continue
                waiting: list[object] = []
                job = scene.again("publish", patience=30)
                thread = threading.Thread(target=lambda j=job, w=waiting: w.append(other.run(j)))
                thread.start()
                assert workshop.go_on().how == "returned"
                thread.join()
                assert waiting[0].how == "returned"  # type: ignore[attr-defined]
                assert waiting[0].value.nothing_to_do  # type: ignore[attr-defined]
                check_recovery(scene, other, seen)
