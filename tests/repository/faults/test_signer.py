"""A signer that fails or hangs: nothing becomes visible, and the next one completes it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from indextrust.errors import SigningError
from indextrust.repository import Repository, signing
from tests.repository.faults.jobs import load_online
from tests.repository.faults.scenes import Scene, check_recovery, look
from tests.repository.faults.signers import TROUBLES, TroubledSigner
from tests.repository.faults.workshop import Workshop
from tests.repository.place import Clock

NEVER = 10**6
HANGING = """
import sys
from datetime import datetime
from pathlib import Path
from indextrust.repository import Repository
from tests.repository.faults.jobs import load_online
from tests.repository.faults.signers import TroubledSigner
from tests.repository.place import Clock

folder, at, now = Path(sys.argv[1]), int(sys.argv[2]), datetime.fromisoformat(sys.argv[3])
signer = TroubledSigner(load_online(folder), at, "hangs")
Repository.open(folder / "index", online=signer, clock=Clock(now)).publish()
"""


def signatures(scene: Scene) -> int:
    """How often the publication asks the signer."""
    signer = TroubledSigner(load_online(scene.folder), NEVER)
    Repository.open(scene.index, online=signer, clock=lambda: scene.job.now).publish()
    return signer.asked


@pytest.mark.parametrize("trouble", TROUBLES)
def test_06_a_signer_that_fails_at_any_signature_makes_nothing_visible(
    trouble: str,
    scene_of: Callable[[str], Scene],
    copied: Callable[[Scene], Scene],
    workshop: Workshop,
) -> None:
    """The signer is gone, refuses, or gives what is no signature of its key: at the first, the
    second, ... the last signature. The publisher raises `SigningError`, readers see the old
    index, and once the signer is well a publication completes it."""
    count = signatures(copied(scene_of("mixed")))
    assert count >= 5
    for at in range(1, count + 1) if trouble == "gone" else (1, count):
        scene = copied(scene_of("mixed"))
        signer = TroubledSigner(load_online(scene.folder), at, trouble)
        repository = Repository.open(scene.index, online=signer, clock=Clock(scene.job.now))
        timestamp = (scene.public / "metadata" / "timestamp.json").read_bytes()
        with pytest.raises(SigningError):
            repository.publish()
        assert (scene.public / "metadata" / "timestamp.json").read_bytes() == timestamp
        seen = look(scene)
        assert seen.index is not None
        assert seen.index.targets == scene.before
        if at % 2:  # the same process, once the device is well
            signer.at = NEVER
            repository.publish()
        check_recovery(scene, workshop, seen)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_06_a_signer_that_hangs_holds_up_publishers_and_no_reader(
    end: signal.Signals,
    scene_of: Callable[[str], Scene],
    copied: Callable[[Scene], Scene],
    workshop: Workshop,
) -> None:
    """The signer never answers. Readers go on reading the old index; another publisher gives up
    with a conflict after its time; and when the one that hangs is ended, the other completes the
    publication."""
    count = signatures(copied(scene_of("mixed")))
    for at in (1, count):
        scene = copied(scene_of("mixed"))
        arguments = [str(scene.folder), str(at), scene.job.now.isoformat()]
        child = subprocess.Popen(
            [sys.executable, "-c", HANGING, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": ":".join([str(Path(__file__).parents[3]), *sys.path])},
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "hanging\n"
        seen = look(scene)
        assert seen.index is not None
        assert seen.index.targets == scene.before
        ended = workshop.run(scene.again("publish", patience=0.3))
        assert ended.kinds[0] == "ConflictError"
        child.send_signal(end)
        child.communicate()
        assert child.returncode != 0
        check_recovery(scene, workshop, seen)


def test_06_a_signer_that_hangs_has_so_many_seconds_for_each_signature(
    scene_of: Callable[[str], Scene],
    copied: Callable[[Scene], Scene],
    workshop: Workshop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody ends the process: after its time the publisher says which key gave no signature,
    gives the lock back, and the same process goes on once the device is well."""
    monkeypatch.setattr(signing, "SECONDS", 0.2)
    count = signatures(copied(scene_of("mixed")))
    for at in (1, count):
        scene = copied(scene_of("mixed"))
        signer = TroubledSigner(load_online(scene.folder), at, "hangs")
        repository = Repository.open(scene.index, online=signer, clock=Clock(scene.job.now))
        with pytest.raises(SigningError, match=r"no signature within 0\.2 seconds"):
            repository.publish()
        seen = look(scene)
        assert seen.index is not None
        assert seen.index.targets == scene.before
        signer.at = NEVER
        repository.publish()
        check_recovery(scene, workshop, seen)
