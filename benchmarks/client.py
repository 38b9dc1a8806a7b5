"""`make bench-client`: the client's cost beside tuf's own `Updater`, on one repository.

16,384 succinct bins and a snapshot of versions only, made with python-tuf. Both clients read the
same bytes from memory and keep their metadata in a folder, so what is measured is the CPU time of
verifying, parsing and storing. Runs are interleaved; figures are medians of 7 with the spread.
Each row is measured with `cryptography` and without it (`ROWS` says what each row means).

"same": the same client object again, as a proxy or an installer's session has it. `Updater` can't
refresh twice: there it is a new object. "new": a new object over a warm folder, as a command-line
tool makes one in each process; nothing is remembered but the files, and all is verified again.

Both are imported from compiled files, as installed packages are.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
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
ROWS: dict[str, tuple[float | None, str]] = {
    "nothing changed, same": (20, "a refresh that finds the timestamp it knows"),
    "nothing changed, new": (20, "the same; the folder's files are read and verified again"),
    "snapshot changed, same": (6, "a refresh with a new timestamp and snapshot, both stored"),
    "snapshot changed, new": (6, "the same, and the old snapshot is read for comparison"),
    "50 look-ups, same": (5, "paths in 50 bins, looked up before, after an unchanged refresh"),
    "50 look-ups, new": (None, "the same; 51 signatures are verified again on both sides"),
    "import": (1, "what a refresh needs, with a fetcher of one's own"),
    "import with HTTP": (1, "TufClient, FileMetadataStore and Urllib3Fetcher; tuf.ngclient"),
    "import and refresh": (1, "start to end of a process whose folder is warm, HTTP imported"),
    "first refresh": (None, "with an empty folder"),
    "peak memory, MiB": (1, "of a process: import, first refresh, one more with a new snapshot"),
}
"""Row: how many times less than `Updater` is wanted (None: no claim), and what is measured."""


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
            def fetch(
                self, url: str, *, max_length: int, seconds: float | None = None
            ) -> bytes | Absent:
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

        folder.mkdir(parents=True, exist_ok=True)

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


Figures = dict[str, dict[str, list[float]]]


def steps(states: list[dict[str, bytes]], folder: Path) -> Figures:
    """CPU milliseconds of each run of each step for each client, interleaved."""
    files = dict(states[0])
    clients = {"ours": Ours(files, folder / "ours"), "updater": Theirs(files, folder / "theirs")}
    taken: Figures = {}

    def run(step: str | None, act: Callable[[Any], None]) -> None:
        for name, client in clients.items():
            before = time.process_time()
            act(client)
            spent = (time.process_time() - before) * 1000
            if step is not None:
                taken.setdefault(step, {}).setdefault(name, []).append(spent)

    def refresh(client: Ours | Theirs) -> None:
        client.refresh()

    def refresh_new(client: Ours | Theirs) -> None:
        client.new()
        client.refresh()

    def look_up(client: Ours | Theirs) -> None:
        client.look_up()

    run(None, refresh)
    run(None, look_up)
    for number in range(RUNS):
        run("nothing changed, new", refresh_new)
        run("50 look-ups, new", look_up)
        run("nothing changed, same", refresh)
        run("50 look-ups, same", look_up)
        files.update(states[2 * number + 1])
        run("snapshot changed, same", refresh)
        files.update(states[2 * number + 2])
        run("snapshot changed, new", refresh_new)
    return taken


def alone(which: str, states: list[dict[str, bytes]], folder: Path) -> dict[str, float]:
    """A refresh into `folder` (CPU ms), one more with a new snapshot, and the peak memory (MiB)."""
    files = dict(states[0])
    made = Ours(files, folder) if which == "ours" else Theirs(files, folder)
    before = time.process_time()
    made.refresh()
    first = (time.process_time() - before) * 1000
    files.update(states[1])
    made.new()
    made.refresh()
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    return {"first refresh": first, "peak memory, MiB": peak}


def warm(which: str, states: list[dict[str, bytes]], folder: Path, imported: float) -> float:
    """CPU ms of one refresh that finds nothing changed, and of what was `imported` for it."""
    before = time.process_time()
    (Ours(states[1], folder) if which == "ours" else Theirs(states[1], folder)).refresh()
    return imported + (time.process_time() - before) * 1000


# A process of its own, in which nothing that is to be measured was imported before.
_CHILD = """
import sys, time
task, which, blocked, here, folder = sys.argv[1:]
if blocked == "yes":
    sys.modules["cryptography"] = None
before = time.process_time()
if which == "updater":
    import tuf.ngclient
elif task == "import":
    import indextrust.client.files, indextrust.client.updater
else:
    from indextrust.client import FileMetadataStore, TufClient, Urllib3Fetcher
imported = (time.process_time() - before) * 1000
import json, pathlib, pickle
sys.path.insert(0, here)
import client
states = pickle.loads(pathlib.Path(folder, "states").read_bytes())
states = states if task == "steps" else states[:2]
store = pathlib.Path(folder, which + blocked)
if task == "import":
    figures = {"import": imported}
elif task == "alone":
    figures = client.alone(which, states, store) | {"import with HTTP": imported}
elif task == "warm":
    figures = {"import and refresh": client.warm(which, states, store, imported)}
else:
    figures = client.steps(states, store)
print(json.dumps(figures))
"""


def measure(folder: Path) -> dict[bool, Figures]:
    """All rows, with `cryptography` (True) and without it."""
    published = Published()
    states = [dict(published.files)]
    for _ in range(2 * RUNS):
        published.change()
        states.append(dict(published.files))
    (folder / "states").write_bytes(pickle.dumps(states))
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    taken: dict[bool, Figures] = {True: {}, False: {}}

    def child(task: str, which: str, cryptography: bool) -> Any:
        command = [sys.executable, "-c", _CHILD, task, which, "no" if cryptography else "yes"]
        command += [str(Path(__file__).parent), str(folder)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return json.loads(ran.stdout)

    for run in range(RUNS + 1):
        for cryptography, figures in taken.items():
            for which in ("ours", "updater"):
                shutil.rmtree(folder / f"{which}{'no' if cryptography else 'yes'}", True)
                for task in ("alone", "warm", "import"):
                    for row, value in child(task, which, cryptography).items():
                        if run > 0:  # the first one compiles
                            figures.setdefault(row, {}).setdefault(which, []).append(value)
    for cryptography, figures in taken.items():
        figures.update(child("steps", "both", cryptography))
    return taken


def main() -> None:
    """Print the table, what its rows mean, and the raw runs as one line of JSON."""
    with tempfile.TemporaryDirectory() as folder:
        taken = measure(Path(folder))
    for cryptography, figures in taken.items():
        title = "with cryptography" if cryptography else "without cryptography"
        print(f"{title + ', CPU ms':28} {'ours':>20} {'Updater':>20} {'ratio':>7} wanted")
        for row, (wanted, _) in ROWS.items():
            by = [figures[row]["ours"], figures[row]["updater"]]
            ours, theirs = (statistics.median(runs) for runs in by)
            spread = [f"{statistics.median(v):.1f} ({min(v):.1f}-{max(v):.1f})" for v in by]
            claim = "" if wanted is None else f"{wanted:g}x"
            print(f"{row:28} {spread[0]:>20} {spread[1]:>20} {theirs / ours:>6.1f}x {claim:>6}")
        print()
    for row, (_, meaning) in ROWS.items():
        print(f"{row}: {meaning}")
    print(json.dumps([taken[True], taken[False]]))


if __name__ == "__main__":
    main()
