"""The command line as people have it: a process, its streams, its exit code."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.wheels import core_metadata, write_zip

KEYS = ("ada", "grace", "hedy", "online")


@dataclass(frozen=True)
class Place:
    """A folder with an operator's repository, its keys, and a home for a client.

    Args:
        folder: everything lies below it.
    """

    folder: Path

    @property
    def repository(self) -> Path:
        return self.folder / "index"

    @property
    def public(self) -> Path:
        return self.repository / "public"

    @property
    def keys(self) -> Path:
        return self.folder / "index-keys"

    @property
    def dist(self) -> Path:
        return self.folder / "dist"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def publish(self) -> list[str]:
        """The words of ``publish``, as this operator says them."""
        return ["publish", str(self.repository), *self.passphrases("online")]

    def init(self, *options: str) -> list[str]:
        """The words of ``init`` with three keyholders."""
        holders = [f"--keyholder={name}" for name in KEYS if name != "online"]
        return ["init", str(self.repository), *holders, "--threshold=2", *options]

    def passphrases(self, *names: str) -> list[str]:
        """The options that bring the passphrases of these keys."""
        return [f"--passphrase-file={name}={self.folder / 'phrases' / name}" for name in names]

    def run(
        self,
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        timeout: float | None = 120,
    ) -> subprocess.CompletedProcess[str]:
        """``indextrust ARGUMENTS`` without a terminal."""
        return subprocess.run(
            [sys.executable, "-m", "indextrust", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**os.environ, "INDEXTRUST_HOME": str(self.home), **(env or {})},
            timeout=timeout,
            check=False,
        )

    def must(self, *arguments: str | Path) -> str:
        """The same, succeeding; what it prints."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def digest(self) -> dict[str, str]:
        """Every path below the folder with a digest of what is there: the state, to compare.

        Left out are locks and SQLite's helper files, which come and go with a reader.
        """
        return {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            if path.is_file()
            else "folder"
            for path in sorted(self.folder.rglob("*"))
            if not path.name.endswith(("-shm", "-wal", "lock"))
        }


def new_place(folder: Path) -> Place:
    phrases = folder / "phrases"
    phrases.mkdir(parents=True, mode=0o700)
    (folder / "dist").mkdir()
    for name in KEYS:
        (phrases / name).write_text(f"the passphrase of {name}\n")
        (phrases / name).chmod(0o600)
    return Place(folder)


def lying_wheel(folder: Path, name: str, version: str, *, says: str) -> Path:
    """A wheel whose METADATA gives another name than its file name and its dist-info."""
    info = f"{name}-{version}.dist-info"
    members = {
        f"{name}.py": b"",
        f"{info}/METADATA": core_metadata(says, version),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    return write_zip(folder / f"{name}-{version}-py3-none-any.whl", members)
