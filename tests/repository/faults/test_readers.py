"""A thousand clients of somebody else's making, while the index is published all the time."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import Updater

from indextrust.testing import TamperingServer
from tests.repository.faults.scenes import today
from tests.repository.place import Clock, Place

READERS = """
import collections, json, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tuf.ngclient import Updater

url, home, root, number = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
bootstrap = root.read_bytes()

def read(reader):
    base = home / str(reader)
    (base / "targets").mkdir(parents=True, exist_ok=True)
    try:
        updater = Updater(
            str(base / "metadata"), url + "metadata/", str(base / "targets"), url,
            bootstrap=bootstrap,
        )
        reasons = []
        for project in ("left", "right"):
            entry = updater.get_targetinfo(f"simple/{project}/index.json")
            (file,) = json.loads(Path(updater.download_target(entry)).read_bytes())["files"]
            reasons.append(file["yanked"])
        answer = reasons if reasons[0] != reasons[1] else reasons[0]
    except Exception as error:
        answer = [type(error).__name__, str(error)]
    print(json.dumps(answer), flush=True)

with ThreadPoolExecutor(16) as pool:
    for line in sys.stdin:  # the number of reads that may begin now
        first, last = map(int, line.split())
        list(pool.map(read, (turn % number for turn in range(first, last))))
"""
READS_EACH = 3
PROCESSES = 2
SLOWEST = 3
"""Publications that a reader may take for one reading."""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("readers", "publications"), [(20, 10), pytest.param(1000, 200, marks=pytest.mark.long)]
)
def test_10_12_readers_during_publications_and_collections_meet_no_error_and_no_mixed_set(
    tmp_path: Path, readers: int, publications: int
) -> None:
    """Every publication yanks one file in each of two projects, which lie in two bins, with its
    own number for a reason. Readers, each with a home of its own, refresh over HTTP at any moment
    of it and read both projects: no request fails, and both say the same number always.

    The repository's clock goes ten minutes with each publication, and what is an hour old is
    collected. Nobody reads for longer than three publications, but one client at the end: he
    meets a missing file, and begins again."""
    place = Place(tmp_path, Clock(today()), bins=16)
    wheels = {name: place.wheel(name, "1.0") for name in ("left", "right")}
    place.repository.add(*wheels.values())
    entries = {name: wheel.name for name, wheel in wheels.items()}
    publish(place, entries, 0)
    root = place.roles.root[0]
    (tmp_path / "root.json").write_bytes(root)
    answers: list[str] = []
    with TamperingServer(place.public) as server:
        children = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    READERS,
                    server.url,
                    str(tmp_path / f"homes{number}"),
                    str(tmp_path / "root.json"),
                    str(readers // PROCESSES),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={"PYTHONPATH": ":".join(sys.path)},
            )
            for number in range(PROCESSES)
        ]
        threads = [threading.Thread(target=collect, args=(child, answers)) for child in children]
        for thread in threads:
            thread.start()
        each = READS_EACH * readers // PROCESSES
        for number in range(1, publications + 1):
            for child in children:
                assert child.stdin is not None
                span = (each * (number - 1) // publications, each * number // publications)
                print(*span, file=child.stdin, flush=True)
            released = PROCESSES * (each * (number - SLOWEST) // publications)
            while len(answers) < released:
                time.sleep(0.001)
            publish(place, entries, number)
            place.repository.collect()
            if number == 1:
                slow = Updater(*arguments(server.url, tmp_path / "slow"), bootstrap=root)
                slow.refresh()
        for child in children:
            assert child.stdin is not None
            child.stdin.close()
        for thread in threads:
            thread.join()
        assert [child.wait() for child in children] == [0] * PROCESSES
        with pytest.raises(DownloadHTTPError):
            slow.get_targetinfo("simple/left/index.json")
        again = Updater(*arguments(server.url, tmp_path / "slow"), bootstrap=root)
        assert again.get_targetinfo("simple/left/index.json") is not None
    assert len(answers) == PROCESSES * each
    numbers = {f'"{number}"\n' for number in range(publications + 1)}
    assert [answer for answer in answers if answer not in numbers] == []
    assert len(set(answers)) > publications // 4  # they did read while it was published
    snapshots = [path.name for path in (place.public / "metadata").glob("*.snapshot.json")]
    assert len(snapshots) <= 8
    assert (place.public / "metadata" / "1.root.json").exists()


def publish(place: Place, entries: dict[str, str], number: int) -> None:
    for project, filename in entries.items():
        place.repository.yank(project, filename, str(number))
    place.clock.sleep(minutes=10)
    place.repository.publish()


def arguments(url: str, home: Path) -> tuple[str, str, str, str]:
    """Of an `Updater`."""
    (home / "targets").mkdir(parents=True, exist_ok=True)
    return str(home / "metadata"), url + "metadata/", str(home / "targets"), url


def collect(child: subprocess.Popen[str], answers: list[str]) -> None:
    assert child.stdout is not None
    answers.extend(child.stdout)
