"""How workers start: whatever the operator's script did to its process before."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from indextrust.errors import SigningError
from indextrust.repository import workers as module
from indextrust.repository.bins import BinTask, make_all
from indextrust.repository.workers import Hello, Workers
from tests.repository.test_workers import COUNT, TIME, pids, storage


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cores", lambda: 2)
    monkeypatch.setattr(module, "_LEAST", 256)


def made(folder: Path, signer: CryptoSigner) -> tuple[int, int]:
    """How many bins were made, and by how many workers."""
    place = storage(folder)
    workers = Workers(place)
    try:
        tasks = [BinTask(f"bin-{n}", 1, TIME) for n in range(COUNT)]
        return len(dict(make_all(place, signer, workers, tasks, COUNT))), len(pids(workers))
    finally:
        workers.close()


@pytest.fixture
def _default_timeout() -> Iterator[None]:
    socket.setdefaulttimeout(30)
    yield
    socket.setdefaulttimeout(None)


@pytest.mark.usefixtures("_default_timeout")
def test_a_default_timeout_of_sockets_does_not_matter(tmp_path: Path) -> None:
    assert made(tmp_path, CryptoSigner.generate_ed25519()) == (COUNT, 2)


def test_a_search_path_that_is_no_text_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [Path("/nowhere"), *sys.path])
    assert made(tmp_path, CryptoSigner.generate_ed25519()) == (COUNT, 2)


@pytest.mark.parametrize("executable", [None, "", "/bin/true", "/nowhere/python"])
def test_without_python_the_work_is_done_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executable: str | None
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    assert made(tmp_path, CryptoSigner.generate_ed25519()) == (COUNT, 0)


class Remote:
    """A private key that signs and can't be read, as `cryptography` lets services offer it."""

    def __init__(self) -> None:
        self.inner = Ed25519PrivateKey.generate()
        self.sign, self.public_key = self.inner.sign, self.inner.public_key

    def private_bytes(self, **_: object) -> bytes:
        raise NotImplementedError("the key stays where it is")


Ed25519PrivateKey.register(Remote)


def test_a_key_that_can_not_be_read_signs_here(tmp_path: Path) -> None:
    assert made(tmp_path, CryptoSigner(Remote())) == (COUNT, 0)  # type: ignore[arg-type]


def test_nothing_is_imported_from_the_folder_that_the_process_is_in(tmp_path: Path) -> None:
    """A session of ``python -c`` has '' in its path; all that it needs it has imported."""
    script = textwrap.dedent(
        f"""
        import os, sys
        from pathlib import Path
        from tests.repository import test_worker_start as story
        from securesystemslib.signer import CryptoSigner
        story.module.cores = lambda: 2
        story.module._LEAST = 256
        os.chdir({str(tmp_path / "shared")!r})
        assert sys.path[0] == ""
        print(story.made(Path({str(tmp_path / "place")!r}), CryptoSigner.generate_ed25519()))
        """
    )
    (tmp_path / "shared/indextrust").mkdir(parents=True)
    for name in ("cryptography.py", "securesystemslib.py", "indextrust/__init__.py"):
        (tmp_path / "shared" / name).write_text(f"open({str(tmp_path / 'owned')!r}, 'w')")
    here = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (here, here / "src")))}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment, cwd=here, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not (tmp_path / "owned").exists()
    assert done.stdout == f"({COUNT}, 2)\n", done.stderr


@pytest.mark.parametrize(
    "answer",
    [b"nonsense", b"", pickle.dumps(None), pickle.dumps((None, None, None))],
)
def test_nonsense_is_a_failure_of_the_signer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    place, signer = storage(tmp_path), CryptoSigner.generate_ed25519()
    workers = Workers(place)
    tasks = [BinTask(f"bin-{n}", 1, TIME) for n in range(COUNT)]
    assert workers.are_worth(COUNT, signer)
    exactly = module._exactly
    monkeypatch.setattr(
        module,
        "_exactly",
        lambda link, size: exactly(link, size) if size == 8 else exactly(link, size) and answer,
    )
    with pytest.raises(SigningError, match="a worker process failed"):
        dict(make_all(place, signer, workers, tasks, COUNT))
    assert pids(workers) == []


def test_the_key_is_not_in_what_a_report_of_a_failure_prints() -> None:
    hello = Hello("public", "scratch", "quarantine", b"PRIVATE KEY", None)
    assert "PRIVATE" not in repr(hello)
    assert "PRIVATE" not in str(hello)
    assert "PRIVATE" not in f"{hello}"


def test_workers_end_with_us_also_if_somebody_was_forked(tmp_path: Path) -> None:
    """Such as a child of `multiprocessing`, which would hold our end of the link."""
    script = textwrap.dedent(
        f"""
        import os, time
        from pathlib import Path
        from tests.repository import test_worker_start as story
        story.module.cores = lambda: 2
        workers = story.Workers(story.storage(Path({str(tmp_path / "place")!r})))
        assert workers.are_worth(9999, story.CryptoSigner.generate_ed25519())
        child = os.fork()
        if child == 0:
            time.sleep(60)
        print(child, *story.pids(workers), flush=True)
        os._exit(0)
        """
    )
    here = Path(__file__).parents[2]
    done = subprocess.Popen(
        [sys.executable, "-c", script], cwd=here, stdout=subprocess.PIPE, text=True
    )
    assert done.stdout is not None
    child, *others = map(int, done.stdout.readline().split())
    try:
        done.wait()
        for pid in others:
            for _ in range(200):
                if not _runs(pid):
                    break
                time.sleep(0.02)
            assert not _runs(pid)
    finally:
        os.kill(child, signal.SIGKILL)
        for pid in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        done.stdout.close()


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
