"""What an installer does with an index: trust it, refresh, list a project, get a verified wheel.

`install` is what you would copy. The index is made on the spot, in a temporary folder.
"""

import tempfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from indextrust.ceremony import BinScheme, genesis
from indextrust.client import TrustedIndexes
from indextrust.errors import RefusedError, UnreachableError
from indextrust.repository import Repository
from indextrust.testing import TamperingServer
from indextrust.trust import NotListed

METADATA = "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"


def install(home: Path, url: str, root: bytes, project: str, folder: Path) -> Path:
    """Put the newest wheel of `project` into `folder`, verified."""
    indexes = TrustedIndexes(home)
    if not indexes.list():
        indexes.add("internal", url, root)  # the root came with the installer, not from `url`
    client = indexes.client("internal")
    try:
        print("signed metadata, good until", client.refresh().expires)
        page = client.project(project)
        if isinstance(page, NotListed):  # an answer: neither a refusal nor a network error
            raise SystemExit(f"{project} is not in snapshot {page.snapshot_version}")
        for listed in page.files:
            print(listed.file.filename, listed.file.sha256, type(listed.verdict).__name__)
        wheels = [listed for listed in page.files if listed.file.filename.endswith(".whl")]
        return client.download(wheels[-1], folder)
    except RefusedError as error:  # an AlarmError among them wants a person
        raise SystemExit(f"refused, nothing was installed: {error}") from error
    except UnreachableError as error:
        raise SystemExit(f"try again later: {error}") from error


def main(folder: Path) -> None:
    with zipfile.ZipFile(wheel := folder / "demo-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("demo-1.0.dist-info/METADATA", METADATA)
    *holders, online = (CryptoSigner.generate_ed25519() for _ in range(4))
    roles = genesis(holders, 2, online.public_key, bins=BinScheme.of(4), now=datetime.now(UTC))
    repository = Repository.create(folder / "index", roles, online=online)
    repository.add(wheel)
    repository.publish()
    (folder / "downloads").mkdir()
    with TamperingServer(repository.public) as index:
        print(install(folder / "home", index.url, roles.root[0], "demo", folder / "downloads"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
