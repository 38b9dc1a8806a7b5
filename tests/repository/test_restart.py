"""kill -9: the process that publishes is gone; the next one completes, and no reader minds.

A child process publishes. An audit hook stops it before its n-th change to the file system or
connection to the database; there it is killed from outside, as a power button or an
out-of-memory killer would. (A handful of points here; later all of them.)
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from securesystemslib.signer import CryptoSigner

from indextrust.repository import Repository, SignedRoles
from indextrust.trust import NotListed, TargetEntry
from tests.repository.place import Place
from tests.repository.test_publish import client, reaches_only

CHILD = """
import os, signal, sys
from pathlib import Path
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner
from indextrust.repository import Repository, SignedRoles
from tests.repository.place import Clock

operation, folder, stop = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
online = CryptoSigner(load_pem_private_key((folder / "online.pem").read_bytes(), None))
roles = SignedRoles.load(folder / "roles") if (folder / "roles").exists() else None
if operation != "create":
    clock = Clock()
    repository = Repository.open(folder / "index", clock=clock)
    if operation in ("publish", "rehash"):
        repository = Repository.open(folder / "index", online=online, clock=Clock())
count = 0

def hook(event, args):
    global count
    writing = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
    if writing or event in ("os.rename", "os.link", "os.remove", "os.mkdir", "sqlite3.connect"):
        count += 1
        if count == stop:
            print("stopped before", event, flush=True)
            signal.pause()

sys.addaudithook(hook)
if operation == "create":
    Repository.create(folder / "index", roles, online=online, clock=Clock())
elif operation == "publish":
    repository.publish()
elif operation == "rehash":
    repository.rehash()
    repository.publish()
elif operation == "rebuild":
    Repository.rebuild(folder / "index", (folder / "root.json").read_bytes(), clock=clock)
elif operation == "collect":
    clock.sleep(hours=2)
    repository.collect()
elif operation == "rebin":
    repository.rebin(roles, online)
else:
    repository.install(roles, online)
print("finished after", count, flush=True)
"""


def run(operation: str, folder: Path, stop: int) -> str:
    """Run the operation and kill it before change number `stop`; returns how it ended."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, operation, str(folder), str(stop)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])},
    )
    assert child.stdout is not None
    line = child.stdout.readline()
    if line.startswith("stopped"):
        child.send_signal(signal.SIGKILL)
    child.stdout.close()
    assert child.wait() == (-signal.SIGKILL if line.startswith("stopped") else 0)
    return line


def prepare(operation: str, folder: Path) -> Place:
    """Everything that the operation needs, up to the moment before it."""
    place = Place(folder)
    place.publish(place.wheel("demo", "1.0"))
    if operation == "publish":
        place.repository.add(place.wheel("demo", "2.0"), place.wheel("new", "1.0"))
        place.repository.remove("demo", "demo-1.0-py3-none-any.whl")
    elif operation == "rehash":
        place.publish(place.wheel("other", "1.0"))
    elif operation == "install":
        place.online = CryptoSigner.generate_ed25519()
        place.rotation(place.online).save(folder / "roles")
    else:
        place.roles.save(folder / "roles")
        shutil.rmtree(place.repository.folder)
    pem = place.online._private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "online.pem").write_bytes(pem)
    return place


@pytest.fixture(scope="module")
def changes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """How many changes each operation makes when nobody stops it."""
    counts = {}
    for operation in ("publish", "install", "create"):
        folder = tmp_path_factory.mktemp(operation)
        prepare(operation, folder)
        counts[operation] = int(run(operation, folder, 10**9).split()[-1])
    return counts


def kill(operation: str, folder: Path, changes: dict[str, int], fraction: float) -> None:
    """Kill the operation after this part of its changes."""
    stop = max(1, round(fraction * changes[operation]))
    assert run(operation, folder, stop).startswith("stopped before")


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.4, 0.6, 0.8, 0.9, 0.96, 1.0])
def test_a_publication_that_was_killed_is_completed_by_the_next(
    tmp_path: Path, changes: dict[str, int], fraction: float
) -> None:
    place = prepare("publish", tmp_path)
    returning = client(place)
    returning.refresh()
    timestamp = (place.public / "metadata/timestamp.json").read_bytes()
    kill("publish", tmp_path, changes, fraction)

    returning.refresh()  # the old index or the new one, whole
    visible = (place.public / "metadata/timestamp.json").read_bytes() != timestamp
    entry = returning.find("files/demo/demo-2.0-py3-none-any.whl")
    assert hasattr(entry, "hashes") == visible

    repository = place.reopen()
    repository.publish()
    assert repository.status().queued == 0
    assert not repository.status().interrupted
    returning.refresh()
    reaches_only(place, "demo", ["demo-2.0-py3-none-any.whl"])
    reaches_only(place, "new", ["new-1.0-py3-none-any.whl"])
    assert not (place.public / "files/demo/demo-1.0-py3-none-any.whl").exists()
    assert list((repository.folder / "incoming").iterdir()) == []
    assert repository.audit().clean
    assert repository.publish().nothing_to_do


@pytest.mark.parametrize("fraction", [0.5, 0.93])
def test_renewing_after_a_killed_publication_takes_nothing_back(
    tmp_path: Path, changes: dict[str, int], fraction: float
) -> None:
    place = prepare("publish", tmp_path)
    returning = client(place)
    returning.refresh()
    kill("publish", tmp_path, changes, fraction)
    returning.refresh()
    seen = returning.find("files/demo/demo-2.0-py3-none-any.whl")
    repository = place.reopen()
    repository.add(place.wheel("later", "1.0"))
    assert repository.status().interrupted
    renewed = repository.renew()
    assert renewed is not None
    assert renewed.added == 2
    returning.refresh()
    assert type(returning.find("files/demo/demo-2.0-py3-none-any.whl")) is TargetEntry
    assert type(seen) is (TargetEntry if fraction > 0.9 else NotListed)
    assert repository.status().queued == 1  # what came later waits for a publication


@pytest.mark.parametrize("fraction", [0.02, 0.1, 0.3, 0.7, 0.95])
def test_a_repository_whose_creation_was_killed_is_created_or_completed(
    tmp_path: Path, changes: dict[str, int], fraction: float
) -> None:
    place = prepare("create", tmp_path)
    kill("create", tmp_path, changes, fraction)
    if (place.repository.folder / "state.sqlite").exists():
        repository = place.reopen()
        repository.publish()
    else:
        repository = Repository.create(
            place.repository.folder, place.roles, online=place.online, clock=place.clock
        )
    assert repository.audit().clean
    assert (place.public / "simple" / "index.html").exists()
    client(place).refresh()


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("again", ["install", "publish"])
def test_a_rotation_that_was_killed_is_completed(
    tmp_path: Path, changes: dict[str, int], fraction: float, again: str
) -> None:
    place = prepare("install", tmp_path)
    returning = client(place)
    returning.refresh()
    kill("install", tmp_path, changes, fraction)
    roles = SignedRoles.load(tmp_path / "roles")
    repository = Repository.open(place.repository.folder, clock=place.clock)
    if again == "publish" and repository.status().root_version == 2:
        place.reopen().publish()
    else:
        repository.install(roles, place.online)
    assert returning.refresh().trusted.root.version == 2
    reaches_only(place, "demo", ["demo-1.0-py3-none-any.whl"])
    assert repository.status().warnings == ()
