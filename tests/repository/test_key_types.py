"""Keys of other kinds: an ECDSA key on the server, a keyholder with an RSA key."""

from __future__ import annotations

from pathlib import Path

from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from indextrust.ceremony import BinScheme, genesis, rotate
from indextrust.repository import Repository
from tests.repository.place import NOW, Clock
from tests.support.drive import Driver
from tests.support.wheels import make_wheel


def test_both_clients_follow_an_index_of_ecdsa_and_rsa_keys(tmp_path: Path) -> None:
    keyholders = [CryptoSigner.generate_rsa(), CryptoSigner.generate_ed25519()]
    old, online = CryptoSigner.generate_ecdsa(), CryptoSigner.generate_ecdsa()
    assert isinstance(online.public_key, SSlibKey)
    assert "\n" in online.public_key.keyval["public"]
    roles = genesis(keyholders, 2, old.public_key, bins=BinScheme.of(2), now=NOW)
    repository = Repository.create(tmp_path / "index", roles, online=old, clock=Clock())
    repository.add(make_wheel(tmp_path, "demo", "1.0"))
    repository.publish()
    second = rotate(roles, keyholders, online.public_key, now=NOW)
    repository.install(second, online)

    files = {p.name: p.read_bytes() for p in (repository.public / "metadata").iterdir()}
    ours = Driver(dict(files), roles.root[0], NOW)
    assert ours.refresh().trusted.root.version == 2
    assert ours.find("simple/demo/index.json").path == "simple/demo/index.json"

    theirs = TrustedMetadataSet(roles.root[0], EnvelopeType.METADATA)
    theirs.reference_time = NOW
    theirs.update_root(files["2.root.json"])
    timestamp = theirs.update_timestamp(files["timestamp.json"])
    number = timestamp.snapshot_meta.version
    snapshot = theirs.update_snapshot(files[f"{number}.snapshot.json"])
    theirs.update_targets(files["2.targets.json"])
    theirs.update_delegated_targets(files["2.bins.json"], "bins", "targets")
    for name in ("bin-0", "bin-1"):
        version = snapshot.meta[f"{name}.json"].version
        theirs.update_delegated_targets(files[f"{version}.{name}.json"], name, "bins")
