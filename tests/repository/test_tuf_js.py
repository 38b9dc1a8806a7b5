"""A client in another language: tuf-js reads what we publish, and refuses what was tampered with.

It needs node and npm (Debian: ``nodejs``, ``npm``); without them it fails. What npm installs is
pinned by ``tuf_js/package-lock.json``, with its hashes; no package's own scripts are run.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from indextrust.names import hash_prefixed
from indextrust.testing import TamperingServer
from tests.repository.faults.scenes import today
from tests.repository.place import Clock, Place

pytestmark = pytest.mark.long

HERE = Path(__file__).parent / "tuf_js"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script, in a folder where npm has installed what it needs."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.fail(f"there is no {program}: as root, apt-get install nodejs npm")
    folder = tmp_path_factory.mktemp("npm") / "tuf_js"
    shutil.copytree(HERE, folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "read.js"


def read(reader: Path, server: TamperingServer, home: Path, root: bytes, *paths: str) -> Any:
    """Let it refresh and download; its answer. A home that is there makes it a returning client."""
    for name in ("metadata", "targets"):
        (home / name).mkdir(parents=True, exist_ok=True)
    if not (home / "metadata/root.json").exists():
        (home / "metadata/root.json").write_bytes(root)
    arguments = [server.url, str(home / "metadata"), str(home / "targets"), *paths]
    done = subprocess.run(
        ["node", str(reader), *arguments], capture_output=True, text=True, timeout=120, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("bins", [4, 256, 512])  # classic prefixes twice, succinct roles
def test_tuf_js_reads_documents_and_files_and_refuses_tampered_ones(
    tmp_path: Path, reader: Path, bins: int
) -> None:
    place = Place(tmp_path, Clock(today()), bins=bins)
    delegations = place.signed("1.bins.json")["delegations"]
    assert ("succinct_roles" in delegations) == (bins > 256)
    wheel = place.wheel("demo", "1.0")
    place.publish(wheel)
    root = place.roles.root[0]
    document, file = "simple/demo/index.json", f"files/demo/{wheel.name}"
    home = tmp_path / "home"
    with TamperingServer(place.public) as server:
        answer = read(reader, server, home, root, document, file, "files/demo/other-1.0.tar.gz")
        found = answer["files"]
        assert Path(found[file]).read_bytes() == wheel.read_bytes()
        listed = json.loads(Path(found[document]).read_bytes())["files"]
        assert [entry["filename"] for entry in listed] == [wheel.name]
        assert found["files/demo/other-1.0.tar.gz"] is None

        place.publish(place.wheel("demo", "2.0"))  # it comes back, and goes on
        later = "files/demo/demo-2.0-py3-none-any.whl"
        assert read(reader, server, home, root, later)["files"][later] is not None

        evil = bytearray(wheel.read_bytes())
        evil[-1] ^= 1
        server.tamper(hash_prefixed(file, listed[0]["hashes"]["sha256"]), bytes(evil))
        answer = read(reader, server, tmp_path / "second", root, file)
        assert "hash" in answer["message"]
        assert not any((tmp_path / "second" / "targets").iterdir())
        server.be_honest()

        version = place.versions()["snapshot"]
        name = f"metadata/{version}.snapshot.json"
        server.tamper(name, lambda data: data.replace(b'"version":1', b'"version":9', 1))
        answer = read(reader, server, tmp_path / "third", root, file)
        assert "error" in answer
        server.be_honest()
        assert "files" in read(reader, server, tmp_path / "third", root, file)


def test_tuf_js_follows_a_rotation_of_the_online_key(tmp_path: Path, reader: Path) -> None:
    place = Place(tmp_path, Clock(today()))
    place.publish(place.wheel("demo", "1.0"))
    root, file = place.roles.root[0], "files/demo/demo-1.0-py3-none-any.whl"
    with TamperingServer(place.public) as server:
        assert "files" in read(reader, server, tmp_path / "home", root, file)
        new = type(place.online).generate_ed25519()
        place.repository.install(place.rotation(new), new)
        for home in ("home", "fresh"):
            assert read(reader, server, tmp_path / home, root, file)["files"][file] is not None
