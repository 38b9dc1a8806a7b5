"""Somebody else's client: tuf's own `Updater`, given only the root, over loopback HTTP."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tuf.ngclient import Updater

from indextrust.testing import TamperingServer
from tests.repository.place import Clock, Place


def updater(place: Place, server: TamperingServer, home: Path) -> Updater:
    (home / "targets").mkdir(parents=True, exist_ok=True)
    return Updater(
        str(home / "metadata"),
        server.url + "metadata/",
        str(home / "targets"),
        server.url,
        bootstrap=place.roles.root[0],
    )


@pytest.mark.parametrize("bins", [256, 512])  # classic prefixes, succinct roles
def test_tufs_updater_downloads_a_document_and_a_wheel(tmp_path: Path, bins: int) -> None:
    place = Place(tmp_path, Clock(datetime.now(UTC)), bins=bins)
    delegations = place.signed("1.bins.json")["delegations"]
    assert ("succinct_roles" in delegations) == (bins == 512)
    wheel = place.wheel("demo", "1.0")
    place.publish(wheel)

    with TamperingServer(place.public) as server:
        client = updater(place, server, tmp_path / "home")
        info = client.get_targetinfo("simple/demo/index.json")
        assert info is not None
        document = json.loads(Path(client.download_target(info)).read_bytes())
        (file,) = document["files"]
        path = "files/demo/" + file["filename"]
        entry = client.get_targetinfo(path)
        assert entry is not None
        assert entry.hashes == file["hashes"]
        assert Path(client.download_target(entry)).read_bytes() == wheel.read_bytes()
        beside = client.get_targetinfo(path + ".metadata")
        assert beside is not None
        assert beside.hashes == file["core-metadata"]
        client.download_target(beside)
        assert client.get_targetinfo("files/demo/other-1.0.tar.gz") is None
        assert f"files/demo/{file['hashes']['sha256']}.{file['filename']}" in server.requests

        place.publish(place.wheel("demo", "2.0"))
        place.repository.remove("demo", file["filename"])
        place.repository.publish()
        again = updater(place, server, tmp_path / "home")
        assert again.get_targetinfo(path) is None
        assert again.get_targetinfo("files/demo/demo-2.0-py3-none-any.whl") is not None


def test_tufs_updater_follows_a_rotation_of_the_online_key(tmp_path: Path) -> None:
    place = Place(tmp_path, Clock(datetime.now(UTC)))
    place.publish(place.wheel("demo", "1.0"))
    with TamperingServer(place.public) as server:
        updater(place, server, tmp_path / "home").refresh()
        new = type(place.online).generate_ed25519()
        place.repository.install(place.rotation(new), new)
        for home in ("home", "fresh"):
            client = updater(place, server, tmp_path / home)
            assert client.get_targetinfo("files/demo/demo-1.0-py3-none-any.whl") is not None
