"""Many processes on one cache, and a repository that publishes under them."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.client.stage import NOW, WHEEL, Stage

PROCESSES, ROUNDS = 8, 40

_WORKER = """
import sys
from datetime import datetime
from pathlib import Path
from indextrust.client import FileMetadataStore, TufClient, Urllib3Fetcher
from indextrust.trust import TargetEntry

url, root, cache, now, rounds, wheel = sys.argv[1:]
fetcher = Urllib3Fetcher(seconds=60)
versions = []
for _ in range(int(rounds)):
    client = TufClient(
        url,
        root=Path(root).read_bytes(),
        store=FileMetadataStore(Path(cache)),
        fetcher=fetcher,
        clock=lambda: datetime.fromisoformat(now),
    )
    versions.append(client.refresh().snapshot_version)
    assert isinstance(client.target(wheel), TargetEntry)
assert versions == sorted(versions), versions
"""


class Publisher:
    """Publishes one set after the other, each file at once and the timestamp last; now and then
    with new online keys under a new root."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.served: set[str] = set()
        self.stopped = threading.Event()
        self.serve()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        repository = self.stage.repository
        number = 0
        while not self.stopped.wait(0.05):
            number += 1
            if number % 60 == 0:
                repository.rotate("timestamp")
                repository.rotate("snapshot")
                repository.publish_root()
            repository.publish()
            self.serve()

    def serve(self) -> None:
        files = self.stage.repository.files
        new = sorted(set(files) - self.served - {"timestamp.json"}, key=lambda n: "root" in n)
        for name in [*new, "timestamp.json"]:
            self.stage.server.tamper(f"metadata/{name}", files[name])
        self.served |= set(new)

    def stop(self) -> None:
        self.stopped.set()
        self.thread.join()


@pytest.mark.timeout(280)
def test_eight_processes_refresh_one_cache_while_the_repository_publishes(
    stage: Stage, tmp_path: Path
) -> None:
    """Not one of them fails, none ever goes back, and the cache is whole afterwards."""
    root = tmp_path / "bootstrap.json"
    root.write_bytes(stage.repository.files["1.root.json"])
    publisher = Publisher(stage)
    url, cache = stage.server.url + "metadata/", str(stage.folder / "cache")
    command = [sys.executable, "-c", _WORKER]
    command += [url, str(root), cache, NOW.isoformat(), str(ROUNDS), WHEEL]
    workers = [
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(PROCESSES)
    ]
    failures = [worker.communicate()[1] for worker in workers]
    publisher.stop()
    assert "".join(failures) == ""
    last = stage.client().refresh()
    assert last.snapshot_version == stage.repository.snapshot.signed.version
    assert last.root_version == stage.repository.root.signed.version
    files = stage.repository.files
    assert stage.stored()["timestamp.json"] == files["timestamp.json"]
    assert list((stage.folder / "cache" / "tmp").iterdir()) == []
