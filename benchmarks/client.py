"""`make bench-client`: the client's cost beside tuf's own `Updater`, on one repository.

16,384 succinct bins, made with python-tuf. Both clients read the same bytes from memory and keep
their metadata in a folder, so what is measured is CPU time of verifying, parsing and storing.
Runs are interleaved; figures are medians of 7 with the spread. Peak memory and import time are
taken in processes of their own. The last columns are the same without `cryptography`.

"new": a new client over a warm folder, as a command-line tool makes one. "same": the same client
object again, as a proxy or an installer's session has it; `Updater` can't refresh twice, so it
stands there with a new object too.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

RUNS = 7
BITS = 14
LOOKUPS = [f"files/p{n}/p{n}-1.0.tar.gz" for n in range(50)]


class Published:
    """A repository of 2**14 succinct bins, made with python-tuf; `change` publishes once more."""

    def __init__(self) -> None:
        from securesystemslib.signer import CryptoSigner
        from tuf.api.metadata import (
            DelegatedRole,
            Delegations,
            Metadata,
            MetaFile,
            Root,
            Snapshot,
            SuccinctRoles,
            Targets,
            Timestamp,
        )
        from tuf.api.serialization.json import JSONSerializer

        self.files: dict[str, bytes] = {}
        expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
        signer = CryptoSigner.generate_ed25519()
        key = signer.public_key
        self._meta_file = MetaFile

        def put(name: str, signed: Any) -> None:
            metadata: Metadata[Any] = Metadata(signed)
            metadata.sign(signer)
            self.files[name] = metadata.to_bytes(JSONSerializer(compact=True))

        self._put = put
        root = Root(expires=expires)
        for role in ("root", "timestamp", "snapshot", "targets"):
            root.add_key(key, role)
        succinct = SuccinctRoles([key.keyid], 1, BITS, "bin")
        delegation = DelegatedRole("bins", [key.keyid], 1, True, ["files/*/*"])
        put("1.root.json", root)
        delegations = Delegations({key.keyid: key}, {"bins": delegation})
        put("1.targets.json", Targets(expires=expires, delegations=delegations))
        delegations = Delegations({key.keyid: key}, None, succinct)
        put("1.bins.json", Targets(expires=expires, delegations=delegations))
        self.snapshot = Snapshot(expires=expires)
        names = list(succinct.get_roles())
        self.snapshot.meta = {f"{name}.json": MetaFile(1) for name in (*names, "bins", "targets")}
        self._bins = names
        wanted = {succinct.get_role_for_target(path) for path in LOOKUPS}
        for name in wanted:
            put(f"1.{name}.json", Targets(expires=expires))
        put("1.snapshot.json", self.snapshot)
        self.timestamp = Timestamp(expires=expires)
        put("timestamp.json", self.timestamp)

    def change(self) -> None:
        """Publish a snapshot in which one bin that nobody asks for has a new version."""
        name = f"{self._bins[0]}.json"
        self.snapshot.meta[name] = self._meta_file(self.snapshot.meta[name].version + 1)
        self.snapshot.version += 1
        self._put(f"{self.snapshot.version}.snapshot.json", self.snapshot)
        self.timestamp.version += 1
        self.timestamp.snapshot_meta = self._meta_file(self.snapshot.version)
        self._put("timestamp.json", self.timestamp)


class Ours:
    """`TufClient` over a folder."""

    def __init__(self, files: dict[str, bytes], folder: Path) -> None:
        from indextrust.client.files import FileMetadataStore
        from indextrust.client.updater import TufClient
        from indextrust.trust import ABSENT, Absent

        class Memory:
            def fetch(self, url: str, *, max_length: int) -> bytes | Absent:
                return files.get(url.rpartition("/")[2], ABSENT)

            @contextmanager
            def stream(self, url: str, *, max_length: int) -> Iterator[Iterator[bytes] | Absent]:
                yield ABSENT

        def make() -> TufClient:
            store, memory = FileMetadataStore(folder), Memory()
            root = files["1.root.json"]
            return TufClient("http://repository/", root=root, store=store, fetcher=memory)

        self._make = make
        self.new()

    def new(self) -> None:
        self._client = self._make()

    def refresh(self) -> None:
        self._client.refresh()

    def look_up(self) -> None:
        for path in LOOKUPS:
            self._client.target(path)


class Theirs:
    """tuf's `Updater` over a folder, always a new one."""

    def __init__(self, files: dict[str, bytes], folder: Path) -> None:
        from tuf.api.exceptions import DownloadHTTPError
        from tuf.ngclient import FetcherInterface, Updater

        class Memory(FetcherInterface):
            def _fetch(self, url: str) -> Iterator[bytes]:
                data = files.get(url.rpartition("/")[2])
                if data is None:
                    raise DownloadHTTPError("absent", 404)
                return iter([data])

        folder.mkdir(exist_ok=True)

        def make() -> Updater:
            root = files["1.root.json"]
            return Updater(str(folder), "http://repository/", fetcher=Memory(), bootstrap=root)

        self._make = make
        self.new()

    def new(self) -> None:
        self._updater = self._make()

    def refresh(self) -> None:
        self.new()
        self._updater.refresh()

    def look_up(self) -> None:
        for path in LOOKUPS:
            self._updater.get_targetinfo(path)


def measure() -> dict[str, dict[str, list[float]]]:
    """CPU milliseconds of each run of each step for each client, interleaved."""
    published = Published()
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(published.files, Path(folder, "ours"))
        theirs = Theirs(published.files, Path(folder, "theirs"))
        clients: dict[str, Ours | Theirs] = {"ours": ours, "updater": theirs}
        for client in clients.values():
            client.refresh()
            client.look_up()
        taken: dict[str, dict[str, list[float]]] = {}

        def run(step: str, act: Callable[[Ours | Theirs], None]) -> None:
            for name, client in clients.items():
                before = time.process_time()
                act(client)
                spent = (time.process_time() - before) * 1000
                taken.setdefault(step, {}).setdefault(name, []).append(spent)

        def fresh(client: Ours | Theirs) -> None:
            client.new()
            client.refresh()

        for _ in range(RUNS):
            run("nothing changed, new", fresh)
            run("50 look-ups after it, new", lambda client: client.look_up())
            run("nothing changed, same", lambda client: client.refresh())
            run("50 look-ups after it, same", lambda client: client.look_up())
            published.change()
            run("snapshot changed, same", lambda client: client.refresh())
            published.change()
            run("snapshot changed, new", fresh)
    return taken


_ALONE = """
import sys, time, tempfile, pathlib
blocked, which, folder = sys.argv[1] == "1", sys.argv[2], pathlib.Path(sys.argv[3])
sys.path.insert(0, folder.as_posix())
if blocked:
    sys.modules["cryptography"] = None
start = time.process_time()
if which == "ours":
    import indextrust.client.updater
else:
    import tuf.ngclient
imported = (time.process_time() - start) * 1000
import pickle
files = pickle.loads(pathlib.Path(sys.argv[4]).read_bytes())
import client
with tempfile.TemporaryDirectory() as store:
    made = (client.Ours if which == "ours" else client.Theirs)(files, pathlib.Path(store, "x"))
    before = time.process_time()
    made.refresh()
    cold = (time.process_time() - before) * 1000
    made.new()
    before = time.process_time()
    made.refresh()
    warm = (time.process_time() - before) * 1000
status = pathlib.Path("/proc/self/status").read_text()
peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
print(imported, cold, warm, peak)
"""


def alone() -> dict[str, dict[str, list[float]]]:
    """Import, first refresh, second refresh (CPU ms) and peak memory (MiB) in new processes."""
    import pickle

    published = Published()
    taken: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        pickled = Path(folder, "files")
        pickled.write_bytes(pickle.dumps(published.files))
        for _ in range(RUNS):
            for blocked in (False, True):
                for which in ("ours", "updater"):
                    command = [sys.executable, "-c", _ALONE, str(int(blocked)), which]
                    command += [str(Path(__file__).parent), str(pickled)]
                    ran = subprocess.run(command, capture_output=True, text=True, check=True)
                    names = ("import", "first refresh", "second refresh", "peak memory, MiB")
                    suffix = ", without cryptography" if blocked else ", new process"
                    for name, value in zip(names, ran.stdout.split(), strict=True):
                        by = taken.setdefault(name + suffix, {})
                        by.setdefault(which, []).append(float(value))
    return taken


def main() -> None:
    """Print a table, and the raw runs as one line of JSON."""
    taken = measure() | alone()
    print(f"{'CPU ms, median of ' + str(RUNS):40} {'ours':>18} {'Updater':>18} {'ratio':>7}")
    for step, by in taken.items():
        ours, theirs = statistics.median(by["ours"]), statistics.median(by["updater"])
        spread = [f"{statistics.median(v):.1f} ({min(v):.0f}-{max(v):.0f})" for v in by.values()]
        print(f"{step:40} {spread[0]:>18} {spread[1]:>18} {theirs / ours:>6.1f}x")
    print(json.dumps(taken))


if __name__ == "__main__":
    main()
