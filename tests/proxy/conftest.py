"""A published index to install from, and installers to do it with."""

from __future__ import annotations

import contextlib
import shutil
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from securesystemslib.signer import CryptoSigner

from indextrust.ceremony import BinScheme, genesis
from indextrust.names import LAYOUTS, Layout
from indextrust.repository import Repository
from indextrust.testing import TamperingServer
from tests.proxy.place import Place
from tests.support.wheels import make_sdist, make_wheel


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with alpha-lib 1.0, which needs beta, beta 1.5, and gamma 2.0 as an sdist."""
    return make_index(tmp_path_factory.mktemp("published"), "pep458")


@pytest.fixture(scope="session", params=LAYOUTS)
def published_in(
    request: pytest.FixtureRequest,
    published: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The same in each layout."""
    if request.param == "pep458":
        return published
    return make_index(tmp_path_factory.mktemp("published-projects"), request.param)


def make_index(folder: Path, layout: Layout) -> Path:
    """Publish the three in a new index."""
    keyholders = [CryptoSigner.generate_ed25519() for _ in range(2)]
    online = CryptoSigner.generate_ed25519()
    scheme = BinScheme.of(4)
    now = datetime.now(UTC)
    roles = genesis(keyholders, 2, online.public_key, bins=scheme, now=now, layout=layout)
    repository = Repository.create(folder / "index", roles, online=online)
    repository.add(
        make_wheel(folder, "alpha-lib", "1.0", requires=["beta>=1"]),
        make_wheel(folder, "beta", "1.5"),
        make_sdist(folder, "gamma", "2.0"),
    )
    repository.publish()
    repository.rehash(1)  # in the middle of the hash transition: no installer may mind
    repository.publish()
    (folder / "stolen.pem").write_bytes(
        online._private_key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"stolen too")
        )
    )
    (folder / "root.json").write_bytes(roles.root[-1])
    return folder


@pytest.fixture
def place(published: Path, tmp_path: Path) -> Iterator[Place]:
    """A copy of the published index of one's own, served."""
    with served_copy(published, tmp_path / "place") as place:
        yield place


@pytest.fixture
def either(published_in: Path, tmp_path: Path) -> Iterator[Place]:
    """`place`, in each layout."""
    with served_copy(published_in, tmp_path / "place") as place:
        yield place


@contextlib.contextmanager
def served_copy(published: Path, folder: Path) -> Iterator[Place]:
    """Copy a published index to `folder` and serve it."""
    shutil.copytree(published, folder)
    with TamperingServer(folder / "index" / "public") as server:
        yield Place(folder, (folder / "root.json").read_bytes(), server)


@dataclass(frozen=True)
class Tool:
    """An installer and a folder to install into.

    Args:
        command: what comes before the requirements.
        target: where packages go.
    """

    command: tuple[str, ...]
    target: Path

    def installed(self) -> list[str]:
        """The modules that are there."""
        return sorted(path.stem for path in self.target.glob("*.py"))


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the pip that comes with this Python."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(folder, with_pip=True)
    return folder


@pytest.fixture(params=["pip", "uv"])
def tool(request: pytest.FixtureRequest, environment: Path, tmp_path: Path) -> Tool:
    """Each installer in turn."""
    target = tmp_path / "target"
    if request.param == "uv":
        beside = Path(sys.executable).with_name("uv")
        uv = str(beside) if beside.exists() else shutil.which("uv")
        assert uv is not None, "uv is a development dependency"
        python = str(environment / "bin" / "python")
        return Tool((uv, "pip", "install", "--python", python, "--target", str(target)), target)
    pip = str(environment / "bin" / "pip")
    return Tool((pip, "install", "--target", str(target)), target)
