"""The repository in memory is one that the reference client believes, until it is broken."""

from __future__ import annotations

from pathlib import Path

import pytest
from tuf.api.exceptions import ExpiredMetadataError, UnsignedMetadataError
from tuf.ngclient import Updater

from indextrust.testing import MetadataRepository, TamperingServer

DEMO = "files/demo/demo-1.0.tar.gz"


def updater(server: TamperingServer, repository: MetadataRepository, folder: Path) -> Updater:
    """The reference client, knowing root v1 and nothing else."""
    (folder / "cache").mkdir()
    (folder / "got").mkdir()
    return Updater(
        metadata_dir=str(folder / "cache"),
        metadata_base_url=server.url + "metadata/",
        target_base_url=server.url + "targets/",
        target_dir=str(folder / "got"),
        bootstrap=repository.files["1.root.json"],
    )


def test_the_reference_client_downloads_a_delegated_target(tmp_path: Path) -> None:
    repository = MetadataRepository()
    repository.delegate("targets", "files", ["files/*/*"], terminating=True)
    repository.add_target(DEMO, b"the bytes", role="files")
    repository.publish()
    repository.write(tmp_path / "served")
    with TamperingServer(tmp_path / "served") as server:
        client = updater(server, repository, tmp_path)
        found = client.get_targetinfo(DEMO)
        assert found is not None
        assert Path(client.download_target(found)).read_bytes() == b"the bytes"
    assert server.requests[:4] == [
        "metadata/2.root.json",
        "metadata/timestamp.json",
        "metadata/1.snapshot.json",
        "metadata/1.targets.json",
    ]


def test_after_a_rotation_the_new_key_signs_and_the_old_one_does_not(tmp_path: Path) -> None:
    repository = MetadataRepository()
    repository.publish()
    (old,) = repository.signers["timestamp"]
    repository.rotate("timestamp")
    repository.publish_root()
    repository.publish()
    repository.write(tmp_path / "served")
    with TamperingServer(tmp_path / "served") as server:
        client = updater(server, repository, tmp_path)
        client.refresh()
    assert "2.root.json" in repository.files
    repository.timestamp.sign(old)
    server_files = tmp_path / "served" / "metadata"
    repository.timestamp.to_file(str(server_files / "timestamp.json"))
    (tmp_path / "other").mkdir()
    with (
        TamperingServer(tmp_path / "served") as server,
        pytest.raises(UnsignedMetadataError),
    ):
        updater(server, repository, tmp_path / "other").refresh()


def test_a_test_can_publish_what_no_honest_repository_would(tmp_path: Path) -> None:
    repository = MetadataRepository()
    repository.snapshot.signed.expires = repository.snapshot.signed.expires.replace(year=2001)
    repository.publish()
    repository.write(tmp_path / "served")
    with (
        TamperingServer(tmp_path / "served") as server,
        pytest.raises(ExpiredMetadataError),
    ):
        updater(server, repository, tmp_path).refresh()
