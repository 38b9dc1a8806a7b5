"""kill -9 in every step of a recovery: the next process goes on, and the end is the same.

A child does the steps. An audit hook stops it before a change to the file system, and there it is
killed from outside.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner

from indextrust.ceremony.recoverer import Recovery
from indextrust.ceremony.recovery_file import STEPS
from tests.ceremony.recovery_room import Shop, open_shop, replaced, rob

CHILD = """
import os, signal, sys
from datetime import datetime
from pathlib import Path
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner
from indextrust.ceremony.proposal import Change
from indextrust.ceremony.recoverer import Recovery
from indextrust.repository import Repository
from indextrust.repository.public_keys import keyholder_of

folder, time, checkpoint, digest, until, stop = sys.argv[1:]
now, place = datetime.fromisoformat(time), Path(folder)
new = CryptoSigner(load_pem_private_key((place / "new.pem").read_bytes(), None))
online = keyholder_of(new.public_key, None, None, "online")
repository = Repository.open(place / "index", clock=lambda: now)
count = 0

def hook(event, args):
    global count
    writing = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
    if writing or event in ("os.rename", "os.link", "os.remove", "os.mkdir"):
        count += 1
        if count == int(stop):
            print("stopped", flush=True)
            signal.pause()

sys.addaudithook(hook)
if (place / "index/recovery/recovery.json").exists():
    recovery = Recovery.found(repository, now=now)
else:
    recovery = Recovery.start(repository, ["snapshot"], summary="Stolen.", now=now,
                              checkpoint=(Path(checkpoint), digest))
steps = {
    "audit": Recovery.audit, "decide": Recovery.decide,
    "propose": lambda recovery: recovery.propose(Change(online=online)),
    "sign": Recovery.finish, "install": lambda recovery: recovery.install(new),
    "verify": Recovery.verify, "thaw": Recovery.thaw,
}
while recovery.step != until:
    recovery = steps[recovery.step](recovery)
print("left off", flush=True)
"""


def go_on(shop: Shop, until: str, stop: int) -> str:
    """Another process does steps up to one of them, and is killed before its n-th change."""
    path, digest = shop.checkpoint
    arguments = [str(shop.place.folder), shop.place.clock.now.isoformat(), str(path), digest]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments, until, str(stop)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.stdout is not None
    said = child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert said, "the child failed"
    return said.strip()


@pytest.fixture(scope="module")
def robbed(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = open_shop(tmp_path_factory.mktemp("killed") / "shop")
    new = CryptoSigner.generate_ed25519()
    pem = new._private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (shop.place.folder / "new.pem").write_bytes(pem)
    return shop


def run(shop: Shop, stops: range) -> None:
    """Each step is begun again and again, and killed each time but the last."""
    good = shop.served()
    rob(shop)
    key = load_pem_private_key((shop.place.folder / "new.pem").read_bytes(), None)
    new = CryptoSigner(cast(Any, key))
    steps: dict[str, Callable[[Recovery], Recovery]] = {
        "audit": Recovery.audit,
        "decide": Recovery.decide,
        "propose": lambda recovery: recovery.propose(replaced(new)),
        "sign": Recovery.finish,
        "install": lambda recovery: recovery.install(new),
        "verify": Recovery.verify,
        "thaw": Recovery.thaw,
    }
    for until in STEPS:
        for stop in stops:
            if go_on(shop, until, stop) != "stopped":
                break
        recovery = shop.start() if until == "audit" and not begun(shop) else shop.found()
        while recovery.step != until:
            recovery = steps[recovery.step](recovery)
        if until == "sign":
            shop.sign()
    assert shop.served() == good
    assert shop.repository.frozen() is None
    assert shop.repository.check().clean


def begun(shop: Shop) -> bool:
    return (shop.repository.folder / "recovery" / "recovery.json").exists()


def test_killed_in_every_step_the_next_process_goes_on(robbed: Shop, tmp_path: Path) -> None:
    run(robbed.copied(tmp_path / "copy"), range(3, 4))


@pytest.mark.long
@pytest.mark.parametrize("first", range(1, 90, 3))
def test_killed_anywhere_in_every_step(robbed: Shop, tmp_path: Path, first: int) -> None:
    run(robbed.copied(tmp_path / "copy"), range(first, first + 3))
    shutil.rmtree(tmp_path / "copy")
