"""How an index gets more bins while people use it: a signing event, and one call on the server.

In earnest the event is held on another machine, by keyholders who bring their keys (ceremony.py),
and `indextrust plan` says how many bins an index of your size should have. Here two bins become
eight, in one folder, and a client that was there before finds everything.
"""

import tempfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from indextrust.ceremony import BinScheme, genesis, rotate
from indextrust.client import FileMetadataStore, TufClient, Urllib3Fetcher
from indextrust.repository import Repository
from indextrust.testing import TamperingServer
from indextrust.trust import TargetEntry

PAGE = "simple/demo/index.json"


def bin_of(client: TufClient) -> str:
    """The role that vouches for the page, as this client finds it."""
    found = client.target(PAGE)
    assert isinstance(found, TargetEntry)
    return found.role


def main(folder: Path) -> None:
    ann, bob, eve, online = (CryptoSigner.generate_ed25519() for _ in range(4))
    roles = genesis(
        [ann, bob, eve], 2, online.public_key, bins=BinScheme.of(2), now=datetime.now(UTC)
    )
    repository = Repository.create(folder / "index", roles, online=online)
    wheel = folder / "demo-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        metadata = "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"
        archive.writestr("demo-1.0.dist-info/METADATA", metadata)
    repository.add(wheel)
    repository.publish()

    with TamperingServer(repository.public) as server:
        client = TufClient(
            server.url + "metadata/",
            root=roles.root[0],
            store=FileMetadataStore(folder / "client"),
            fetcher=Urllib3Fetcher(),
        )
        print("before:", bin_of(client))

        # The keyholders sign root, targets and bins for eight bins; two of the three are enough.
        current = repository.signed_roles()
        eight = BinScheme.of(8)
        roles = rotate(current, [ann, eve], online.public_key, bins=eight, now=datetime.now(UTC))

        # The operator spreads what is published over them. Readers see the old bins until it is
        # done. If this is killed, the next `publish` completes it.
        repository.rebin(roles, online)
        client.refresh()
        print("after:", bin_of(client))

    # Clients need the old names in the snapshot until the online key is replaced. Here every old
    # name is a new one too, so none is left over.
    status = repository.status()
    print(
        f"{status.bins} bins, {status.retired} old names; as published:", repository.audit().clean
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
