"""The stage of the drills without processes: for tests that can't wait for pip.

People install through `Client` and unpack what they get; commands run in this process. All else is
as `indextrust drill` has it: the repository, the thief, the server, python-tuf's `Updater`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from packaging.utils import parse_wheel_filename
from securesystemslib.signer import CryptoSigner, SSlibKey

from indextrust.ceremony import public_path
from indextrust.cli import app
from indextrust.cli.drills.stage import Stage
from indextrust.cli.exit_codes import REFUSED_IN_RUN
from indextrust.cli.genesis import ONLINE, key_path
from indextrust.cli.stagecraft.commands import Answer
from indextrust.cli.stagecraft.people import Environment, Installation, Person
from indextrust.client import TrustedIndexes
from indextrust.errors import RefusedError
from indextrust.repository.public_keys import KeyRole, encode, keyholder_of
from indextrust.trust import NotListed


class QuickEnvironment(Environment):
    """A site-packages folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "site-packages"
        self.folder.mkdir(parents=True)

    def installed(self) -> list[str]:
        return sorted(path.name.split("-")[0] for path in self.folder.glob("*.dist-info"))

    def origin(self, module: str) -> str:
        found: dict[str, object] = {}
        exec((self.folder / f"{module}.py").read_text(), found)  # noqa: S102 - our own wheels
        return str(found.get("STOLEN", "honest"))


class QuickPerson(Person):
    """Somebody who installs the newest wheel."""

    def pip_install(self, project: str, into: Environment) -> Installation:
        try:
            self._install(project, into.folder)
        except RefusedError as error:
            refusal = {"error": type(error).__name__, "detail": str(error)}
            return Installation(REFUSED_IN_RUN, str(error), {"refusals": [refusal]})
        return Installation(0, "", {})

    def _install(self, project: str, folder: Path) -> None:
        client = TrustedIndexes(self.home).client(self.index)
        page = client.project(project)
        assert not isinstance(page, NotListed)
        newest = max(page.files, key=lambda listed: parse_wheel_filename(listed.file.filename)[1])
        with (
            tempfile.TemporaryDirectory() as downloads,
            zipfile.ZipFile(client.download(newest, Path(downloads))) as wheel,
        ):
            wheel.extractall(folder)

    def _indextrust(self, *arguments: str) -> Answer:
        return in_process(*arguments, env={"INDEXTRUST_HOME": str(self.home)})


class QuickStage(Stage):
    """A stage for impatient people, with a small store."""

    store_size = 120

    def new_key(self, name: str, path: Path | None = None) -> CryptoSigner:
        """Its file is encrypted, and quick to open."""
        path = path or key_path(self.keys, name)
        self._keys[name] = path, "sesame"
        private = Ed25519PrivateKey.generate()
        encryption = BestAvailableEncryption(b"sesame")
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        path.touch(0o600)
        path.write_bytes(pem)
        holder = None if name.startswith(ONLINE) else name
        role: KeyRole = "root" if holder else "online"
        key = SSlibKey.from_crypto(private.public_key())
        public_path(path).write_bytes(encode(keyholder_of(key, holder, None, role)))
        return self.signer(name)

    def environment(self, name: str, *, pip: bool = False) -> Environment:
        return QuickEnvironment(self.folder / "environments" / name)

    def newcomer(self, home: Path) -> Person:
        return QuickPerson(home, self.tools, "shop")

    def command(self, *arguments: str | Path) -> Answer:
        return in_process(*arguments)


def in_process(*arguments: str | Path, env: Mapping[str, str] | None = None) -> Answer:
    """``indextrust ARGUMENTS --json`` here."""
    out, err = io.StringIO(), io.StringIO()
    with (
        _environment(env or {}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = app.run([*map(str, arguments), "--json"])
    return Answer(code, json.loads(out.getvalue().splitlines()[-1]), err.getvalue())


@contextlib.contextmanager
def _environment(env: Mapping[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setitem(os.environ, name, value)
        yield
