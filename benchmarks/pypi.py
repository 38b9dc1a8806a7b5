"""PyPI's size, in the layout ``projects``: 886,000 projects with 20 million files.

The rows are synthetic, and no artifact has bytes here: they are imported, as an operator would do
who keeps the files in a store of his own. Everything else is the product: `Repository.create`,
`import_files`, `publish`, `add`, `renew`, each in a process of its own, whose peak memory is what
the kernel says (VmHWM).

Two indexes are made, one of a tenth of the other's size, and the growth of each step (the seconds
that it keeps processors busy, which other processes do not change) is printed beside the growth of
the index: ten means linear. A publication signs bins that are touched, and renewal all of them,
however little is in them: their growth is less.

    python benchmarks/pypi.py --folder /var/tmp/pypi            # 2 and 20 million files
    python benchmarks/pypi.py --folder /var/tmp/pypi --scale 100     # a hundredth of both

The folder needs some 3 KB for each file of the larger index. It is emptied afterwards.

Source: PyPI's own counts of 2026 (projects, files); half of its projects have at most five files,
and the largest have thousands.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import NormalDist

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner

from indextrust.ceremony import BinScheme, genesis
from indextrust.repository import Repository

PROJECTS, FILES, BINS = 886_000, 20_000_000, 16_384
LARGEST = 4_000
"""Files of the largest project."""

MEMORY_LIMIT = 2 << 30
NORMAL = NormalDist()
LABELS = {
    "import": "import of all files",
    "publish": "first publish",
    "one": "one more publish (one file)",
    "renew": "renewal of everything",
}


def counts(projects: int, files: int) -> Iterator[int]:
    """How many files each project has: log-normal, `files` in all, one to `LARGEST` each.

    The spread is PyPI's: half of the projects have at most five files, one in a hundred hundreds.
    """
    sigma = 1.6
    mean = files / projects
    median = mean / math.exp(sigma * sigma / 2)
    left = files
    for n in range(projects):
        draw = int.from_bytes(hashlib.sha256(b"%d" % n).digest()[:6], "big")
        share = (draw + 0.5) / (1 << 48)
        wanted = median * math.exp(sigma * NORMAL.inv_cdf(share))
        others = projects - n - 1
        number = min(max(1, round(wanted)), LARGEST, left - others)
        if n == projects - 1:
            number = left
        elif left - number > others * LARGEST:
            number = left - others * LARGEST
        left -= number
        yield number


def write_rows(path: Path, projects: int, files: int) -> None:
    """The table to import: a third sdists, the others wheels with core metadata."""
    with path.open("w") as file:
        for n, number in enumerate(counts(projects, files)):
            for k in range(number):
                wheel = k % 3 != 0
                end = "-py3-none-any.whl" if wheel else ".tar.gz"
                name = f"project_{n:06d}-{k // 3}.{k % 3}{end}"
                digest = hashlib.sha256(name.encode()).hexdigest()
                core = ""
                if wheel:
                    core = f', "metadata_sha256": "{digest[::-1]}", "metadata_size": 2345'
                file.write(
                    f'{{"filename": "{name}", "sha256": "{digest}", "size": {1000 + k}, '
                    f'"upload_time": "2026-01-31T12:00:00.123456Z", '
                    f'"requires_python": ">=3.9"{core}}}\n'
                )


# -- one step, in a process of its own -----------------------------------------------------------


def open_index(folder: Path, hours: float = 0) -> Repository:
    online = CryptoSigner(load_pem_private_key((folder / "online.pem").read_bytes(), None))
    return Repository.open(
        folder / "index",
        online=online,
        clock=lambda: datetime.now(UTC) + timedelta(hours=hours),
    )


def found(folder: Path) -> None:
    """An empty index of the layout ``projects``, and its online key."""
    folder.mkdir(parents=True)
    online = CryptoSigner.generate_ed25519()
    keyholders = [CryptoSigner.generate_ed25519() for _ in range(2)]
    pem = online._private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "online.pem").write_bytes(pem)
    scheme, now = BinScheme.of(BINS), datetime.now(UTC)
    roles = genesis(keyholders, 2, online.public_key, bins=scheme, now=now, layout="projects")
    Repository.create(folder / "index", roles, online=online)


def import_all(folder: Path) -> None:
    open_index(folder).import_files(folder / "files.jsonl")


def publish(folder: Path) -> None:
    open_index(folder).publish()


def publish_one(folder: Path) -> None:
    path = folder / "upload" / "latecomer-1.0-py3-none-any.whl"
    path.parent.mkdir()
    info = "latecomer-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("latecomer.py", "")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: latecomer\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    repository = open_index(folder)
    repository.add(path)
    if repository.publish().added != 1:
        sys.exit("the file was not published")


def renew(folder: Path) -> None:
    done = open_index(folder, hours=48).renew()
    if done is None or len(done.signed) != BINS + 2:
        sys.exit("not everything was renewed")


STEPS: dict[str, Callable[[Path], None]] = {
    "found": found,
    "import": import_all,
    "publish": publish,
    "one": publish_one,
    "renew": renew,
}


def run_step(name: str, folder: Path) -> None:
    """Run a step here; print its seconds and peak memory, that of its workers included."""
    begin = time.perf_counter()
    STEPS[name](folder)
    seconds = time.perf_counter() - begin
    me = os.getpid()
    workers = Path(f"/proc/{me}/task/{me}/children").read_text().split()
    peak = sum(peak_of(process) for process in (str(me), *workers))
    print(json.dumps({"seconds": seconds, "peak": peak}))


def peak_of(process: str) -> int:
    """The most memory that a process ever had, in bytes."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def processor_seconds() -> float:
    """Of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# -- all of them ---------------------------------------------------------------------------------


def disk(folder: Path) -> int:
    """Bytes on disk below a folder; a file with two names counts once."""
    done = subprocess.run(
        ["/usr/bin/du", "--block-size=1", "-s", str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.split()[0])


def measure(folder: Path, projects: int, files: int) -> dict[str, tuple[float, int]]:
    """Processor seconds and peak bytes of each step; bytes on disk under names with a colon."""
    results: dict[str, tuple[float, int]] = {}
    for name in STEPS:
        if name == "import":
            write_rows(folder / "files.jsonl", projects, files)
        words = [sys.executable, __file__, "--folder", str(folder), "--step", name]
        before = processor_seconds()
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        cpu = processor_seconds() - before
        if done.returncode:
            sys.exit(f"{name}: {done.stderr}")
        answer = json.loads(done.stdout.splitlines()[-1])
        if name == "import":
            (folder / "files.jsonl").unlink()
        if name in LABELS:
            seconds, peak = answer["seconds"], answer["peak"]
            results[name] = (cpu, peak)
            print(
                f"  {LABELS[name]:<28} {seconds:>9.1f} s {cpu:>9.1f} s of processors"
                f" {peak / 2**20:>6.0f} MiB peak",
                flush=True,
            )
        if name == "publish":
            for part in ("state.sqlite", "public/metadata", "public"):
                size = disk(folder / "index" / part)
                results[f":{part}"] = (float(size), 0)
                print(f"  {part:<28} {size / 2**30:>9.2f} GiB on disk", flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, required=True, help="for everything; must not exist")
    parser.add_argument("--scale", type=int, default=1, help="measure a Nth of PyPI's size")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        run_step(arguments.step, arguments.folder)
        return
    folder: Path = arguments.folder
    folder.mkdir(parents=True)
    try:
        results = []
        for part in (10 * arguments.scale, arguments.scale):
            projects, files = PROJECTS // part, FILES // part
            print(f"{files:,} files of {projects:,} projects in {BINS:,} bins", flush=True)
            results.append(measure(folder / str(files), projects, files))
        tell_growth(*results)
    finally:
        shutil.rmtree(folder)


def tell_growth(small: dict[str, tuple[float, int]], large: dict[str, tuple[float, int]]) -> None:
    """Print what grew how much, and the peak memory."""
    print("growth, where the index grows 10 times:")
    for name, (amount, _) in large.items():
        print(f"  {LABELS.get(name, name.lstrip(':')):<28} {amount / small[name][0]:>9.1f} times")
    worst = max(peak for _, peak in large.values())
    verdict = "under" if worst < MEMORY_LIMIT else "OVER"
    print(
        f"peak memory {worst / 2**20:.0f} MiB: {verdict} {MEMORY_LIMIT / 2**20:.0f} MiB", flush=True
    )


if __name__ == "__main__":
    main()
