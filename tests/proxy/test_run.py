"""Running a child: what is checked before, what is passed on, how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pexpect
import pytest

from indextrust.errors import InputError
from indextrust.proxy import run_child


class NoSource:
    """A source that must not be asked."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"{name} was called")


def fake_pip(folder: Path, script: str) -> str:
    """An executable that is called pip and runs a shell script."""
    path = folder / "pip"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def run(argv: list[str], folder: Path, env: dict[str, str] | None = None) -> tuple[int, str]:
    with (folder / "output").open("w+b") as output:
        result = run_child(
            NoSource(),  # type: ignore[arg-type]
            argv,
            env={"PATH": os.environ["PATH"], **(env or {})},
            folder=folder,
            output=output,
        )
        output.seek(0)
        return result.exit_code, output.read().decode()


@pytest.mark.parametrize("code", [0, 1, 2, 77, 255])
def test_the_childs_exit_code_is_kept(tmp_path: Path, code: int) -> None:
    assert run([fake_pip(tmp_path, f"exit {code}"), "install", "x"], tmp_path) == (code, "")


def test_a_signal_that_ended_the_child_is_told_as_shells_tell_it(tmp_path: Path) -> None:
    assert run([fake_pip(tmp_path, "kill -9 $$"), "install", "x"], tmp_path)[0] == 137


def test_the_child_has_the_arguments_the_environment_and_both_streams(tmp_path: Path) -> None:
    pip = fake_pip(tmp_path, 'pwd; echo "$@"; echo $PIP_INDEX_URL$SPECIAL$PIP_FIND_LINKS >&2')
    env = {"SPECIAL": "!", "PIP_FIND_LINKS": "wheels"}
    code, output = run([pip, "install", "--no-deps", "a b"], tmp_path, env)
    where, arguments, variables = output.splitlines()
    assert (code, where, arguments) == (0, str(tmp_path), "install --no-deps a b")
    assert variables.startswith("http://127.0.0.1:")
    assert variables.endswith("/simple/!")


def test_a_command_that_leads_past_the_index_is_not_started(tmp_path: Path) -> None:
    pip = fake_pip(tmp_path, "touch started")
    (tmp_path / "r.txt").write_text("--index-url https://example.com\n")
    (tmp_path / "c.txt").write_text("--find-links https://example.com\n")
    for argv, env in [
        ([pip, "install", "--index-url", "https://example.com", "x"], {}),
        ([pip, "install", "-r", "r.txt"], {}),
        ([pip, "install", "x"], {"PIP_CONSTRAINT": "c.txt"}),
        ([pip, "install", "git+https://example.com/x"], {}),
    ]:
        with pytest.raises(InputError):
            run(argv, tmp_path, env)
    assert not (tmp_path / "started").exists()


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing/pip' can't be run: No such file"):
        run(["missing/pip", "install", "x"], tmp_path)


def test_uv_reads_files_from_the_folder_it_is_sent_to(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "r.txt").write_text("-i https://example.com\n")
    for argv, env in [
        (["uv", "--directory", "there", "pip", "install", "-r", "r.txt"], {}),
        (["uv", "pip", "install", "-r", "r.txt"], {"UV_WORKING_DIR": "there"}),
        (["uv", "pip", "install", "-r", "r.txt"], {"UV_WORKING_DIRECTORY": "there"}),
        (
            ["uv", "pip", "install", "-r", "r.txt"],
            {"UV_WORKING_DIRECTORY": ".", "UV_WORKING_DIR": "there"},
        ),
    ]:
        with pytest.raises(InputError, match=r"there/r\.txt, line 1: -i "):
            run(argv, tmp_path, env)


RUNNER = """
import sys, threading
from pathlib import Path
from indextrust.proxy import run_child

class Hanging:
    def state(self):
        print("asked", flush=True)
        threading.Event().wait()

result = run_child(Hanging(), sys.argv[1:], folder=Path.cwd())
print("ended", result.exit_code, flush=True)
"""


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_signal_is_passed_on_and_the_proxy_goes_with_the_child(
    tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    """The child waits for a page that never comes; whoever sends us a signal means it."""
    (tmp_path / "tmp").mkdir()
    fetch = "import os, urllib.request; urllib.request.urlopen(os.environ['PIP_INDEX_URL'] + 'x/')"
    pip = fake_pip(tmp_path, f'exec {sys.executable} -c "{fetch}"')
    process = subprocess.Popen(
        [sys.executable, "-c", RUNNER, pip, "install", "x"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "asked\n"
        process.send_signal(sent)
        assert process.stdout.read() == f"ended {code}\n"
    assert process.returncode == 0
    assert list((tmp_path / "tmp").iterdir()) == []


APART = """
import os, signal
os.setpgid(0, 0)
awaited = {signal.SIGINT, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
print("ready", flush=True)
while (came := signal.sigwait(awaited)) != signal.SIGTERM:
    print(f"got {came}", flush=True)
print("terminated", flush=True)
"""


def test_control_c_on_a_terminal_is_not_passed_on_for_the_terminal_does_it(tmp_path: Path) -> None:
    """The child has left the terminal's foreground, so what it gets comes from us."""
    (tmp_path / "child.py").write_text(APART)
    pip = fake_pip(tmp_path, f"exec {sys.executable} {tmp_path}/child.py")
    terminal = pexpect.spawn(
        sys.executable,
        ["-c", RUNNER, pip, "install", "x"],
        cwd=str(tmp_path),
        timeout=30,
        encoding="ascii",
    )
    terminal.expect_exact("ready\r\n")
    terminal.sendintr()
    terminal.expect_exact("^C")  # the terminal has sent it by now
    terminal.kill(signal.SIGTERM)
    terminal.expect_exact("terminated\r\n")
    assert terminal.before == ""
    terminal.expect_exact("ended 0")


def test_without_aiohttp_the_extra_is_named() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.modules['aiohttp'] = None\n"
            "from indextrust.errors import MissingExtraError\n"
            "try: import indextrust.proxy\n"
            "except MissingExtraError as error: print(error.extra, error.missing)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "proxy aiohttp\n"


def test_verified_files_lie_where_nobody_else_can_enter_and_only_during_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "tmp"
    there.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(there))
    pip = fake_pip(tmp_path, f"ls -ld {there}/indextrust-* | cut -c1-10")
    assert run([pip, "install", "x"], tmp_path) == (0, "drwx------\n")
    assert list(there.iterdir()) == []
