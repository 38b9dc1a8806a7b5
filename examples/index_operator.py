"""What an index operator does: create, add, publish, look, renew.

In earnest, the roles come from a ceremony on another machine (see ceremony.py), the files from
uploads, and a timer runs `publish` and `renew`. Here all of it happens in one folder.

(Not named operator.py: that would hide the standard library's `operator` from every script
beside it.)
"""

import sys
import tempfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

from indextrust.ceremony import BinScheme, generate_key, genesis, load_signer
from indextrust.repository import Repository


def upload(folder: Path, name: str, version: str) -> Path:
    """Somebody uploads a wheel."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        wheel.writestr(f"{name}-{version}.dist-info/METADATA", metadata)
    return path


def main(folder: Path) -> None:
    # Three keyholders sign the roles once; the server gets those and the online key.
    for name in ("ann", "bob", "eve", "online"):
        generate_key(folder / f"{name}.pem", f"the passphrase of {name}")
    ann, bob, eve, online = (
        load_signer(folder / f"{name}.pem", f"the passphrase of {name}")
        for name in ("ann", "bob", "eve", "online")
    )
    bins = BinScheme.of(256)
    roles = genesis([ann, bob, eve], 2, online.public_key, bins=bins, now=datetime.now(UTC))
    repository = Repository.create(folder / "index", roles, online=online)
    print("serve this folder, and nothing else:", repository.public)

    # Everything is queued first, and published together.
    repository.add(upload(folder, "demo", "1.0"), upload(folder, "demo", "1.1"))
    repository.yank("demo", "demo-1.0-py3-none-any.whl", "loses data on Tuesdays")
    published = repository.publish()
    print(f"snapshot {published.snapshot_version}: {published.added} files added")

    # Later, in another process: look, and renew what expires soon.
    repository = Repository.open(folder / "index", online=online)
    for warning in repository.status().warnings:
        print("warning:", warning, file=sys.stderr)
    print("nothing to renew yet" if repository.renew() is None else "renewed")
    print("as published:", repository.audit().clean)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
