"""`make bench-repository`: what it costs to publish, beside python-tuf's Metadata API.

16,384 succinct bins and a snapshot of versions only, as PEP 458 has it. The index is synthetic: its
files are rows and its targets have no bytes, which publishing never reads again anyway. (The files
that a measured publication adds are real ones of a few bytes.) A publication of a file changes two
targets, the file and its project's document: on both sides, and so does `FLOOR`.

python-tuf is used as its own examples of hashed bins use it (``examples/manual_repo``): every role
a `Metadata` object in memory, changed, given a new version, signed, serialised as indented JSON,
written. A user who knows his way would ask for compact JSON, as long as ours: that is measured as
well, in a column of its own. All write through one storage of ours, so they have one policy of
durability: everything durable, then the timestamp.

Ours signs and writes many bins with a process for each core, as the product does; python-tuf has
nothing of the kind. The floor signs, writes and makes durable the very bytes that ours wrote,
encoded before, in one process. The bound is what no arrangement of these parts gets below: the
same bytes signed, written, read again and verified on all cores, made durable, and nothing else.

The index is built in a process of its own for each run and side, which tells the peak memory,
that of its own processes included. All runs are interleaved; figures are wall-clock medians with
the spread. `ROWS` says what each row is. Nothing is deleted before the end, for a file system that
has just deleted many files takes longer to make new ones, whoever makes them: at a million files
each long run leaves some 1.5 GB.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import hashlib
import itertools
import json
import os
import pickle
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from indextrust.ceremony import BinScheme, genesis
from indextrust.distribution import DistributionFile
from indextrust.names import ROOT, SNAPSHOT, TIMESTAMP, NormalizedName, document_path, file_path
from indextrust.repository import Repository, encode, plan, schema, signing
from indextrust.repository.bins import BinTask, make_all
from indextrust.repository.changes import Add
from indextrust.repository.disk import NEW, sweep
from indextrust.repository.documents import document_bytes
from indextrust.repository.objects import ObjectStore
from indextrust.repository.offline import verify
from indextrust.repository.provenance import NOTHING
from indextrust.repository.seal import Seal, make_key
from indextrust.repository.state import State
from indextrust.repository.storage import FolderStorage
from indextrust.repository.workers import Workers, cores

SCHEME = BinScheme.of(16_384)
PER_PROJECT = 20
BATCH, BATCH_PROJECTS = 1_000, 400
START = datetime(2026, 1, 31, 12, tzinfo=UTC)
SIZE = 10_000

ROWS: dict[str, tuple[float | None, str]] = {
    "one publish": (10, "encode, sign and write: a new file"),
    "1,000 files": (4, "the same for 1,000 new files in 400 projects"),
    "renew all": (10, "the same for every bin, its targets unchanged"),
    "first build": (2.5, "from a list of files to all bins, written; ours reads it from SQLite"),
    "first build, peak MiB": (2, "memory of that process"),
    "one publish, whole": (
        4,
        "`Repository.publish`: database, log, documents, pages, gate as well",
    ),
    "1,000 files, whole": (3, "the same"),
    "renew all, whole": (8, "`Repository.renew`"),
    "one publish, gate": (None, "part of the whole: reading it as a client does"),
    "1,000 files, gate": (None, "the same"),
    "renew all, gate": (None, "the same"),
    "one publish, floor": (None, "sign, write and sync the same bytes; no encoding, no checks"),
    "1,000 files, floor": (None, "the same"),
    "renew all, floor": (None, "the same"),
    "1,000 files, bound": (
        None,
        "sign, write, read, verify and sync the same bytes on all cores, and nothing else",
    ),
    "renew all, bound": (None, "the same"),
}
"""Row: how many times less than python-tuf is wanted (None: no claim), and what is measured."""

DONE = b"done\n"
"""What a process says that did its `share`."""

BESIDE = (", whole", ", bound")
"""Ends of the names of rows that stand beside python-tuf's figure of the row without."""


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def listing(files: int) -> Iterator[DistributionFile]:
    """The files of the index: 20 for each project."""
    for number in range(files):
        project = NormalizedName(f"project-{number // PER_PROJECT:06d}")
        version = f"{number % PER_PROJECT}.0"
        name = f"{project.replace('-', '_')}-{version}.tar.gz"
        yield DistributionFile(
            project, name, version, SIZE, digest(name), "2026-01-01T00:00:00Z", None, None, None
        )


def targets_of(files: Iterable[DistributionFile], salt: str = "") -> dict[str, plan.TargetFile]:
    """Targets of `files`, and a document of each project, of which only the hash is made up."""
    found = {}
    for file in files:
        found[file_path(file.project, file.filename)] = plan.TargetFile(file.size, file.sha256)
        path = document_path(file.project)
        found.setdefault(path, plan.TargetFile(SIZE, digest(path + salt)))
    return found


def additions(run: str, count: int, projects: int) -> list[DistributionFile]:
    """New files for a measured publication; their bytes are their names."""
    made = []
    for number in range(count):
        project = NormalizedName(f"project-{number % projects:06d}")
        version = f"{100 + number // projects}.{run}"
        name = f"{project.replace('-', '_')}-{version}.tar.gz"
        time_ = "2026-01-31T12:00:00Z"
        made.append(
            DistributionFile(
                project, name, version, len(name), digest(name), time_, None, None, None
            )
        )
    return made


def by_bin(targets: dict[str, plan.TargetFile]) -> dict[str, dict[str, plan.TargetFile]]:
    found: dict[str, dict[str, plan.TargetFile]] = {}
    for path, target in targets.items():
        found.setdefault(SCHEME.bin_of(path), {})[path] = target
    return found


class Disk:
    """Where a side writes: ours, its policy of durability included."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        sweep(folder / "incoming")
        self.storage = FolderStorage(folder / "public", folder / "incoming", folder / "quarantine")

    def write(self, name: str, version: int, data: bytes) -> None:
        self.storage.write_numbered(f"metadata/{version}.{name}.json", data)

    def publish(self, timestamp: bytes) -> None:
        prepared = self.storage.prepare("metadata/timestamp.json", timestamp)
        self.storage.sync()
        self.storage.replace_prepared("metadata/timestamp.json", prepared)
        self.storage.sync()


class Theirs:
    """An index in python-tuf's objects."""

    def __init__(
        self, files: int, signer: CryptoSigner, folder: Path, *, compact: bool = False
    ) -> None:
        self.signer, self.disk = signer, Disk(folder)
        self.serializer = JSONSerializer(compact=compact)
        self.expires = START.replace(tzinfo=UTC) + timedelta(days=1)
        succinct = SuccinctRoles([signer.public_key.keyid], 1, SCHEME.bits, "bin")
        self.bins = {name: Metadata(Targets(expires=self.expires)) for name in succinct.get_roles()}
        self.bin_of = succinct.get_role_for_target
        self.snapshot = Metadata(Snapshot(expires=self.expires))
        self.snapshot.signed.meta |= {f"{name}.json": MetaFile(1) for name in self.bins}
        self.timestamp = Metadata(Timestamp(expires=self.expires))
        signed = (self.snapshot.signed, self.timestamp.signed)
        for role in (*signed, *(metadata.signed for metadata in self.bins.values())):
            role.version = 0
        self.add(targets_of(listing(files)))

    def add(self, targets: dict[str, plan.TargetFile]) -> set[str]:
        touched = set()
        for path, target in targets.items():
            name = self.bin_of(path)
            hashes = {"sha256": target.sha256}
            self.bins[name].signed.targets[path] = TargetFile(target.length, hashes, path)
            touched.add(name)
        return touched

    def _sign(self, metadata: Metadata[Any]) -> bytes:
        metadata.signed.version += 1
        metadata.signed.expires = self.expires
        metadata.sign(self.signer)
        return metadata.to_bytes(self.serializer)

    def publish(self, touched: Iterable[str]) -> None:
        for name in touched:
            data = self._sign(self.bins[name])
            version = self.bins[name].signed.version
            self.disk.write(name, version, data)
            self.snapshot.signed.meta[f"{name}.json"].version = version
        data = self._sign(self.snapshot)
        self.disk.write(SNAPSHOT, self.snapshot.signed.version, data)
        self.timestamp.signed.snapshot_meta = MetaFile(
            self.snapshot.signed.version, len(data), {"sha256": hashlib.sha256(data).hexdigest()}
        )
        self.disk.publish(self._sign(self.timestamp))


class Ours:
    """The same with our encoder, signing and storage, from what was written last; its floor."""

    def __init__(self, files: int, signer: CryptoSigner, folder: Path) -> None:
        self.signer, self.disk = signer, Disk(folder)
        self.expires = plan.utc(START + timedelta(days=1))
        self.workers = Workers(self.disk.storage)
        nothing = dict.fromkeys(SCHEME.names(), NOTHING)
        self.files: dict[str, plan.RoleFile] = {**nothing, SNAPSHOT: NOTHING, TIMESTAMP: NOTHING}
        self.listed = encode.SnapshotList(nothing, hashes=False)
        self.signed: dict[str, plan.RoleFile] = {}
        first = by_bin(targets_of(listing(files)))
        self.publish([self.task(name)._replace(put=first.get(name, {})) for name in nothing])

    def task(self, name: str) -> BinTask:
        old = self.files[name]
        return BinTask(name, old.version + 1, self.expires, old)

    def publish(self, tasks: Sequence[BinTask]) -> None:
        """Make bins anew, then snapshot and timestamp."""
        storage, count = self.disk.storage, len(tasks)
        made = dict(make_all(storage, self.signer, self.workers, tasks, count))
        self.signed = {name: file for name, file in made.items() if file is not None}
        assert len(self.signed) == count  # noqa: S101
        self.listed = self.listed.changed(self.signed)
        version = self.files[SNAPSHOT].version + 1
        data = signing.sign_payload(self.listed.payload(version, self.expires), self.signer)
        self.disk.write(SNAPSHOT, version, data)
        self.signed[SNAPSHOT] = plan.RoleFile.of(version, data)
        version = self.files[TIMESTAMP].version + 1
        tree = plan.timestamp_role(version, self.expires, self.signed[SNAPSHOT])
        self.disk.publish(signing.sign_role(tree, [self.signer]))
        self.files |= {**self.signed, TIMESTAMP: plan.RoleFile(version, 0, "")}

    def add(self, targets: dict[str, plan.TargetFile]) -> list[BinTask]:
        return [self.task(name)._replace(put=new) for name, new in by_bin(targets).items()]

    def renew(self) -> list[BinTask]:
        return [self.task(name) for name in SCHEME.names()]

    def payloads(self) -> dict[str, bytes]:
        """What was signed last."""
        found = {}
        for name, file in self.signed.items():
            data = self.disk.storage.read(f"metadata/{file.version}.{name}.json", file.length)
            assert data is not None  # noqa: S101
            found[name] = data[data.index(b'"signed":') + 9 : -1]
        return found

    def floor(self, disk: Disk, run: int, payloads: dict[str, bytes]) -> None:
        """Sign and write these to another folder."""
        for name, payload in payloads.items():
            signature = self.signer.sign(payload).signature.encode()
            disk.write(name, run + 1, signature + payload)
        disk.publish(self.signer.sign(b"x" * 300).signature.encode())


def bound(disk: Disk, run: int, payloads: dict[str, bytes]) -> float:
    """Have these signed, written, read and verified on all cores, then durable: the seconds."""
    seed = Ed25519PrivateKey.generate().private_bytes_raw()
    paths = {f"metadata/{run}.{name}.json": payload for name, payload in payloads.items()}
    (disk.storage.public / "metadata").mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, "--share"]
    parts = []
    for number in range(cores()):
        part = {disk.storage.public / path: paths[path] for path in list(paths)[number :: cores()]}
        parts.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        pickle.dump((seed, part), wanted(parts[-1].stdin))
        wanted(parts[-1].stdin).flush()
    for process in parts:
        wanted(process.stdout).readline()
    before = time.perf_counter()
    with disk.storage.written_elsewhere("metadata"):
        for process in parts:
            wanted(process.stdin).close()
        said = [wanted(process.stdout).readline() for process in parts]
    for path in paths:
        disk.storage.wrote_elsewhere(path)
    disk.publish(b"x" * 300)
    seconds = time.perf_counter() - before
    for process in parts:  # to end takes a Python longer than to sign a hundred bins
        process.wait()
    assert said == [DONE] * len(parts)  # noqa: S101
    return seconds


def wanted(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # noqa: S101
    return pipe


def share() -> None:
    """What one process does for `bound`: when it is told to, and what it was told before."""
    seed, part = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that started this
    private = Ed25519PrivateKey.from_private_bytes(seed)
    public = private.public_key()
    print("ready", flush=True)
    sys.stdin.buffer.read()
    for path, payload in part.items():
        file = os.open(path, NEW, 0o644)
        os.write(file, private.sign(payload) + payload)
        os.close(file)
        file = os.open(path, os.O_RDONLY)
        data = os.read(file, len(payload) + 65)
        os.close(file)
        public.verify(data[:64], data[64:])
    sys.stdout.buffer.write(DONE)
    sys.stdout.flush()


class Clock:
    """Says when it is, and goes on when told to."""

    now = START

    def __call__(self) -> datetime:
        return self.now


def fill(database: Path, files: int) -> None:
    """A database with the rows of the whole index, each table in the order of its key."""
    engine = schema.open_engine(database)
    schema.tables.create_all(engine)
    rows: list[tuple[str, str, int, str]] = []
    with sqlite3.connect(database) as db:
        for project, group in itertools.groupby(listing(files), lambda file: file.project):
            members = sorted(group, key=lambda file: file.filename)
            paths = {document_path(project): plan.describe(document_bytes(project, members))}
            paths |= targets_of(members) | paths
            rows += [(SCHEME.bin_of(path), path, *target[:2]) for path, target in paths.items()]
            db.execute("INSERT INTO projects VALUES (?)", (project,))
            db.executemany(
                "INSERT INTO files (project, filename, version, size, sha256, upload_time, "
                "elsewhere) VALUES (?, ?, ?, ?, ?, ?, 0)",
                [dataclasses.astuple(file)[:6] for file in members],
            )
        query = "INSERT INTO targets (bin, path, length, sha256) VALUES (?, ?, ?, ?)"
        db.executemany(query, sorted(rows))


def copy_rows(source: Path, database: Path) -> None:
    """The rows of a filled database, straight into a new state."""
    with contextlib.closing(sqlite3.connect(database)) as db:
        db.execute("ATTACH ? AS rows", (str(source),))
        for table in ("projects", "files", "targets"):
            db.execute(f"INSERT INTO {table} SELECT * FROM rows.{table}")  # noqa: S608
        db.commit()


def build_ours(rows: Path, signer: CryptoSigner, folder: Path) -> tuple[float, float]:
    """A published repository in `folder`; the seconds after its rows were there, and the peak
    memory in MiB of the processes that helped.

    The steps are those of `Publisher`, without a queue of a million changes before them.
    """
    disk, now, expires = Disk(folder), plan.utc(START), plan.utc(START + timedelta(days=1))
    keyholders = [CryptoSigner.generate_ed25519() for _ in range(2)]
    roles = genesis(keyholders, 2, signer.public_key, bins=SCHEME, now=START)
    offline = verify(roles, {}, START)
    objects = ObjectStore(folder / "objects", folder / "incoming")
    listed = {}
    for name, role in offline.roles.items():
        objects.keep_bytes(role.data)
        disk.write(name, role.version, role.data)
        if name != ROOT:
            listed[name] = plan.RoleFile.of(role.version, role.data)
    seal = Seal(make_key(folder / "queue.key"), folder, folder / "incoming")
    path = folder / "state.sqlite"
    state = State.create(path, folder / "incoming", offline, seal, "bench", now)
    copy_rows(rows, path)
    workers = Workers(disk.storage)
    before = time.perf_counter()
    names = SCHEME.names()
    with state.connected():
        numbers = dict.fromkeys((*names, SNAPSHOT, TIMESTAMP), 1)
        publication = state.allot(numbers, [], 0, now)
        tasks = (BinTask(name, 1, expires, put=put) for name, put in state.bins(names))
        made = dict(make_all(disk.storage, signer, workers, tasks, len(names)))
        signed = {name: file for name, file in made.items() if file is not None}
        snapshot = encode.SnapshotList({**listed, **signed}, hashes=encode.lists_hashes(SCHEME))
        data = signing.sign_payload(snapshot.payload(1, expires), signer)
        disk.write(SNAPSHOT, 1, data)
        signed[SNAPSHOT] = plan.RoleFile.of(1, data)
        tree = plan.timestamp_role(1, expires, signed[SNAPSHOT])
        timestamp = signing.sign_role(tree, [signer])
        disk.publish(timestamp)
        signed[TIMESTAMP] = plan.RoleFile.of(1, timestamp)
        dated = {name: (file, expires) for name, file in signed.items()}
        digest = snapshot.digest(names)
        state.finish(publication, dated, [], SCHEME.bin_of, now, digest)
    seconds = time.perf_counter() - before
    helpers = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    memory = sum(peak(int(number)) for number in helpers)
    workers.close()
    return seconds, memory


def peak(process: int) -> float:
    """MiB that a process had at the most. (getrusage counts those of its parent too.)"""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def build_theirs(files: int, signer: CryptoSigner, folder: Path, *, compact: bool) -> float:
    """The same files as python-tuf's objects, all signed and written."""
    before = time.perf_counter()
    theirs = Theirs(files, signer, folder, compact=compact)
    theirs.publish(theirs.bins)
    return time.perf_counter() - before


class Whole:
    """`Repository` over a built index."""

    def __init__(self, rows: Path, folder: Path) -> None:
        signer, self.clock, self.gate = CryptoSigner.generate_ed25519(), Clock(), 0.0
        build_ours(rows, signer, folder)
        self.repository = Repository.open(folder, online=signer, clock=self.clock)
        self.objects = ObjectStore(folder / "objects", folder / "incoming")
        gate = self.repository._warm.gate
        check = gate.check

        def timed(*arguments: Any) -> None:
            before = time.perf_counter()
            check(*arguments)
            self.gate = time.perf_counter() - before

        gate.check = timed  # type: ignore[assignment, method-assign]

    def queue(self, files: list[DistributionFile]) -> None:
        """What `Repository.add` leaves behind, without waiting for the disk each time."""
        for file in files:
            path = self.objects.path(file.sha256)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.filename)
        changes = [Add(file) for file in files]
        self.repository._state.queue.enqueue(changes, plan.utc(self.clock.now))

    def renew(self) -> None:
        self.clock.now += timedelta(hours=13)
        self.repository.renew()


Figures = dict[str, dict[str, list[float]]]


class Bench:
    """All sides, side by side."""

    def __init__(self, files: int, folder: Path) -> None:
        self.files, self.folder, self.taken = files, folder, Figures()
        self.projects = files // PER_PROJECT
        signer = CryptoSigner.generate_ed25519()
        self.theirs = Theirs(files, signer, folder / "theirs")
        self.theirs.publish(self.theirs.bins)
        self.ours = Ours(files, signer, folder / "ours")
        self.floor, self.bound = Disk(folder / "floor"), Disk(folder / "bound")
        self.rows = folder / "rows.sqlite"
        fill(self.rows, files)
        self.whole = Whole(self.rows, folder / "whole")
        self.publications = 0
        gc.collect()
        gc.freeze()  # neither side shall wait for the other's objects to be looked through

    def time(self, row: str, side: str, run: Callable[[], object]) -> None:
        before = time.perf_counter()
        run()
        self.take(row, side, (time.perf_counter() - before) * 1000)

    def take(self, row: str, side: str, figure: float) -> None:
        self.taken.setdefault(row, {}).setdefault(side, []).append(figure)

    def publish(self, row: str, count: int, projects: int) -> None:
        """A publication of new files on every side."""
        self.publications += 1
        new = additions(str(self.publications), count, min(projects, self.projects))
        targets = targets_of(new, salt=str(self.publications))
        self.both(row, lambda: self.theirs.publish(self.theirs.add(targets)))
        self.time(row, "ours", lambda: self.ours.publish(self.ours.add(targets)))
        self.lower(row)
        self.whole.queue(new)
        self.time(f"{row}, whole", "ours", self.whole.repository.publish)
        self.take(f"{row}, gate", "ours", self.whole.gate * 1000)

    def renew(self) -> None:
        self.publications += 1
        self.both("renew all", lambda: self.theirs.publish(self.theirs.bins))
        self.time("renew all", "ours", lambda: self.ours.publish(self.ours.renew()))
        self.lower("renew all")
        self.time("renew all, whole", "ours", self.whole.renew)
        self.take("renew all, gate", "ours", self.whole.gate * 1000)

    def both(self, row: str, run: Callable[[], object]) -> None:
        """One thing in python-tuf's both forms of JSON."""
        for side, compact in (("theirs", False), ("compact", True)):
            self.theirs.serializer = JSONSerializer(compact=compact)
            self.time(row, side, run)

    def lower(self, row: str) -> None:
        payloads = self.ours.payloads()
        floor = lambda: self.ours.floor(self.floor, self.publications, payloads)  # noqa: E731
        self.time(f"{row}, floor", "ours", floor)
        if f"{row}, bound" in ROWS:
            seconds = bound(self.bound, self.publications, payloads)
            self.take(f"{row}, bound", "ours", seconds * 1000)

    def build(self) -> None:
        """The index from nothing, each side in a process of its own."""
        for side in ("theirs", "compact", "ours"):
            folder = self.folder / f"build-{side}-{self.publications}"
            command = [sys.executable, __file__, "--files", str(self.files), "--build", side]
            command += ["--folder", str(folder), "--rows", str(self.rows)]
            ran = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds, memory = json.loads(ran.stdout)
            self.take("first build", side, seconds * 1000)
            self.take("first build, peak MiB", side, memory)

    def run(self, runs: int, long_runs: int) -> Figures:
        """Everything; the first publication of each side warms it up and does not count."""
        for row, count, projects in (("one publish", 1, 1), ("1,000 files", BATCH, BATCH_PROJECTS)):
            self.publish(row, count, projects)
        self.taken.clear()
        for number in range(runs):
            self.publish("one publish", 1, 1)
            self.publish("1,000 files", BATCH, BATCH_PROJECTS)
            if number < long_runs:
                self.renew()
                self.build()
        return self.taken


def cell(figures: Sequence[float]) -> str:
    """Median, spread, number of runs."""
    if not figures:
        return ""
    return (
        f"{statistics.median(figures):,.1f} ({min(figures):,.1f}-{max(figures):,.1f}) "
        f"{len(figures)}"
    )


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> str:
    return f"{statistics.median(theirs) / statistics.median(ours):.1f}x" if theirs else ""


def table(taken: Figures) -> str:
    head = ("milliseconds", "ours", "python-tuf", "ratio", "wanted", "its compact JSON", "ratio")
    line = "{:24} {:>30} {:>30} {:>7} {:>6} {:>30} {:>7}"
    lines = [line.format(*head)]
    for row, (wanted, _) in ROWS.items():
        sides = taken.get(row.removesuffix(BESIDE[0]).removesuffix(BESIDE[1]), {})
        ours, theirs, compact = (
            taken[row]["ours"],
            sides.get("theirs", []),
            sides.get("compact", []),
        )
        claim = "" if wanted is None else f"{wanted:g}x"
        cells = (cell(ours), cell(theirs), ratio(theirs, ours), claim, cell(compact))
        lines.append(line.format(row, *cells, ratio(compact, ours)).rstrip())
    return "\n".join([*lines, "", *(f"{row}: {meaning}" for row, (_, meaning) in ROWS.items())])


def main() -> None:
    """Print the table, what its rows mean, and the raw runs as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=1_000_000, help="files in the index")
    parser.add_argument("--runs", type=int, default=7, help="of the publications")
    parser.add_argument("--long-runs", type=int, default=7, help="of renewals and builds")
    parser.add_argument("--build", choices=("ours", "theirs", "compact"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help="where to work; by default the system's")
    parser.add_argument("--share", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.share:
        share()
        return
    if options.build:
        options.folder.mkdir()
        signer = CryptoSigner.generate_ed25519()
        if options.build == "ours":
            seconds, memory = build_ours(options.rows, signer, options.folder)
        else:
            compact = options.build == "compact"
            seconds = build_theirs(options.files, signer, options.folder, compact=compact)
            memory = 0.0
        print(json.dumps([seconds, memory + peak(os.getpid())]))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        taken = Bench(options.files, Path(folder)).run(options.runs, options.long_runs)
    print(table(taken))
    print(json.dumps(taken))


if __name__ == "__main__":
    main()
