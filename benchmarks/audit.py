"""`make bench-audit`: what a checkpoint and an audit of a million files cost.

The index is made as an operator makes it who keeps the files in a store of his own: rows are
imported and published, in the layout `pep458`, where every file is a target, and 16,384 bins. No
artifact has bytes here. Then, each in a process of its own, whose peak memory is what the kernel
says (VmHWM):

* a checkpoint is made: every bin and every document is read, and each document made again;
* the index is audited against it, unchanged;
* a thief of the online key yanks a file in one document, and it is audited again: exactly that must
  be found;
* files are yanked in a hundred projects and published, and a second checkpoint is made;
* the two are compared.

    python benchmarks/audit.py --folder /var/tmp/audit               # a million files
    python benchmarks/audit.py --folder /var/tmp/audit --scale 10    # a tenth

The folder needs some 4 KB for each file. It is emptied afterwards.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from indextrust.ceremony import BinScheme, genesis
from indextrust.names import NormalizedName, document_path
from indextrust.repository import Repository, read_checkpoint
from indextrust.repository.comparison import compare_checkpoints
from indextrust.repository.storage import FolderStorage
from indextrust.repository.verified import EVER, ServedSet

FILES, PER_PROJECT, BINS = 1_000_000, 20, 16_384
CHANGED = 100
"""Projects that change between the two checkpoints."""

LABELS = {
    "checkpoint": "make a checkpoint",
    "audit": "audit, nothing differs",
    "theft": "audit after a theft",
    "compare": "compare two checkpoints",
}


def rows(files: int) -> Iterator[str]:
    """The table to import: a third sdists, the others wheels with core metadata."""
    for number in range(files):
        project, k = divmod(number, PER_PROJECT)
        wheel = k % 3 != 0
        end = "-py3-none-any.whl" if wheel else ".tar.gz"
        name = f"project_{project:06d}-{k // 3}.{k % 3}{end}"
        digest = sha256(name)
        core = f', "metadata_sha256": "{digest[::-1]}", "metadata_size": 2345' if wheel else ""
        yield (
            f'{{"filename": "{name}", "sha256": "{digest}", "size": {1000 + k}, '
            f'"upload_time": "2026-01-31T12:{k:02d}:00.{number % 1_000_000:06d}Z", '
            f'"requires_python": ">=3.9"{core}}}\n'
        )


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# -- the steps, each in a process of its own -----------------------------------------------------


def build(folder: Path, files: int) -> None:
    """The index, published."""
    online = CryptoSigner.generate_ed25519()
    keyholders = [CryptoSigner.generate_ed25519() for _ in range(2)]
    pem = online._private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "online.pem").write_bytes(pem)
    roles = genesis(
        keyholders, 2, online.public_key, bins=BinScheme.of(BINS), now=datetime.now(UTC)
    )
    (folder / "root.json").write_bytes(roles.root[0])
    repository = Repository.create(folder / "index", roles, online=online)
    table = folder / "files.jsonl"
    with table.open("w") as file:
        file.writelines(rows(files))
    repository.import_files(table)
    repository.publish()


def opened(folder: Path) -> Repository:
    online = CryptoSigner(load_pem_private_key((folder / "online.pem").read_bytes(), None))
    return Repository.open(folder / "index", online=online)


def checkpoint(folder: Path, _: int, name: str = "good") -> None:
    made = opened(folder).checkpoint((folder / "root.json").read_bytes(), folder / name)
    (folder / f"{name}.digest").write_text(made.digest)


def audit(folder: Path, _: int) -> None:
    expect_found(folder, 0)


def theft(folder: Path, _: int) -> None:
    expect_found(folder, 2)  # the document, and the file that it yanks


def expect_found(folder: Path, count: int) -> None:
    with read_checkpoint(folder / "good", (folder / "good.digest").read_text()) as good:
        found = opened(folder).audit_since(good)
    if found.count != count or found.unqueued != count:
        sys.exit(f"{count} differences expected: {found}")


def steal(folder: Path, _: int) -> None:
    """The thief: another document for one project, in which a file is yanked."""
    public = folder / "index" / "public"
    key = CryptoSigner(load_pem_private_key((folder / "online.pem").read_bytes(), None))
    metadata = public / "metadata"
    root = (folder / "root.json").read_bytes()
    served = ServedSet(FolderStorage(public, public, public), root, EVER)
    keyid = served.offline.online_keyid
    public_key = cast(SSlibKey, Metadata[Root].from_bytes(root).signed.keys[keyid])
    signer = CryptoSigner(key._private_key, public_key)
    path = document_path(NormalizedName("project-000001"))
    name = served.offline.scheme.bin_of(path)
    number = served.trusted.snapshot.version
    targets = Metadata[Targets].from_file(str(metadata / f"{served.version(name)}.{name}.json"))
    snapshot = Metadata[Snapshot].from_file(str(metadata / f"{number}.snapshot.json"))
    timestamp = Metadata[Timestamp].from_file(str(metadata / "timestamp.json"))
    document = json.loads((public / path).read_bytes())
    document["files"][0]["yanked"] = "by the thief"
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    digest = hashlib.sha256(data).hexdigest()
    (public / path).with_name(f"{digest}.index.json").write_bytes(data)
    targets.signed.targets[path] = TargetFile(len(data), {"sha256": digest}, path)
    shutil.copy(metadata / "timestamp.json", folder / "timestamp.json")
    for each, filename in (
        (targets, f"{2**31}.{name}.json"),
        (snapshot, f"{2**31}.snapshot.json"),
        (timestamp, "timestamp.json"),
    ):
        each.signed.version = 2**31
        if each is snapshot:
            snapshot.signed.meta[f"{name}.json"] = MetaFile(2**31)
        if each is timestamp:
            timestamp.signed.snapshot_meta = MetaFile(2**31)
        each.sign(signer)
        (metadata / filename).write_bytes(each.to_bytes(JSONSerializer(compact=True)))


def heal(folder: Path, files: int) -> None:
    """The thief's timestamp goes; then some honest changes, and a second checkpoint."""
    shutil.copy(folder / "timestamp.json", folder / "index" / "public" / "metadata")
    repository = opened(folder)
    projects = files // PER_PROJECT
    for number in range(0, projects, max(projects // CHANGED, 1)):
        repository.yank(f"project-{number:06d}", f"project_{number:06d}-0.0.tar.gz", "bench")
    repository.publish()
    checkpoint(folder, files, "later")


def compare(folder: Path, files: int) -> None:
    paths = [folder / "good", folder / "later"]
    digests = [path.with_name(f"{path.name}.digest").read_text() for path in paths]
    with read_checkpoint(paths[0], digests[0]) as a, read_checkpoint(paths[1], digests[1]) as b:
        found = sum(1 for _ in compare_checkpoints(a, b))
    projects = files // PER_PROJECT
    if found != 2 * len(range(0, projects, max(projects // CHANGED, 1))):
        sys.exit(f"{found} differences")


STEPS: dict[str, Callable[[Path, int], None]] = {
    "build": build,
    "checkpoint": checkpoint,
    "audit": audit,
    "steal": steal,
    "theft": theft,
    "heal": heal,
    "compare": compare,
}


def run_step(name: str, folder: Path, files: int) -> None:
    """Run a step here; print its seconds and peak memory."""
    begin = time.perf_counter()
    STEPS[name](folder, files)
    seconds = time.perf_counter() - begin
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            print(json.dumps({"seconds": seconds, "peak": int(line.split()[1]) * 1024}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, required=True, help="for everything; must not exist")
    parser.add_argument("--scale", type=int, default=1, help="measure a Nth of a million files")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder, files = arguments.folder, FILES // arguments.scale
    if arguments.step:
        run_step(arguments.step, folder, files)
        return
    folder.mkdir(parents=True)
    try:
        print(f"{files:,} files of {files // PER_PROJECT:,} projects in {BINS:,} bins", flush=True)
        for name in STEPS:
            words = [sys.executable, __file__, "--folder", str(folder), "--step", name]
            words += ["--scale", str(arguments.scale)]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{name}: {done.stderr}")
            answer = json.loads(done.stdout.splitlines()[-1])
            if name in LABELS:
                print(
                    f"  {LABELS[name]:<26} {answer['seconds']:>8.1f} s"
                    f" {answer['peak'] / 2**20:>6.0f} MiB peak",
                    flush=True,
                )
        size = (folder / "good").stat().st_size
        print(f"  a checkpoint has {size / 2**20:.1f} MiB: {size / files:.1f} bytes a file")
        print(f"  of 20 million files it would have {size / files * 20e6 / 2**30:.2f} GiB")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
