"""A genesis ceremony for three keyholders, and a year later a new online key.

In earnest, each keyholder sits at the same offline machine, types a passphrase nobody else
knows, and takes home a medium with one key file. Here all of it happens in one folder.
"""

import hashlib
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from indextrust.ceremony import (
    BinScheme,
    SignedRoles,
    generate_key,
    genesis,
    load_public,
    load_signer,
    public_path,
    rotate,
)

PASSPHRASES = {"ann": "a passphrase of Ann", "bob": "one of Bob", "eve": "one of Eve"}


def main(folder: Path) -> None:
    now = datetime.now(UTC)

    # Everybody makes a key. A key file is encrypted and for its owner alone; NAME.pub.json
    # beside it is the public half.
    for name, passphrase in PASSPHRASES.items():
        generate_key(folder / f"{name}.pem", passphrase, keyholder=name)
    generate_key(folder / "online-1.pem", "one for the server")

    # All three sign root 1; from now on, two of the three are enough.
    people = [load_signer(folder / f"{name}.pem", PASSPHRASES[name]) for name in PASSPHRASES]
    online = load_public(public_path(folder / "online-1.pem"))
    roles = genesis(people, 2, online, bins=BinScheme.of(256), now=now)
    roles.save(folder / "genesis")  # for Repository.create, on the server
    print("Clients start from this root, sha256", hashlib.sha256(roles.root[0]).hexdigest())

    # The online key was stolen, or a year is over: Ann and Eve replace it. They first compare
    # the SHA-256 of the root in force with their own note: a wrong one must not be signed on.
    generate_key(folder / "online-2.pem", "another one for the server")
    current = SignedRoles.load(folder / "genesis")
    signers = [load_signer(folder / f"{name}.pem", PASSPHRASES[name]) for name in ("ann", "eve")]
    online = load_public(public_path(folder / "online-2.pem"))
    roles = rotate(current, signers, online, now=now + timedelta(days=364))
    roles.save(folder / "rotation")  # for Repository.install; clients follow by themselves
    print("Root 2 is signed, sha256", hashlib.sha256(roles.root[0]).hexdigest())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
