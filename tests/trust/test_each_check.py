"""Checks that others stand beside, each told alone: the file is wrong in this one way only."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, MetaFile, SuccinctRoles
from tuf.api.metadata import Targets as TufTargets

from indextrust.canonical import canonical
from indextrust.errors import (
    EquivocationError,
    ExpiredError,
    HashMismatchError,
    MalformedError,
    RollbackError,
    SignatureError,
    WrongVersionError,
)
from indextrust.testing import MetadataRepository
from indextrust.trust import Known, NotListed, Session, TargetEntry
from indextrust.trust.checks import in_its_bin
from indextrust.trust.keys import RoleKeys
from indextrust.trust.metadata import (
    Delegation,
    SuccinctDelegation,
    Targets,
    parse,
    parse_targets,
)
from indextrust.trust.target_list import TargetList
from tests.support.drive import Driver

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
PATH = "files/demo/demo-1.0.tar.gz"


@pytest.fixture
def repository() -> MetadataRepository:
    repository = MetadataRepository(now=NOW)
    repository.delegate("targets", "bins", ["files/*/*"], terminating=True)
    repository.add_target(PATH, b"demo", role="bins")
    repository.publish()
    return repository


def _client(repository: MetadataRepository) -> Driver:
    return Driver(repository.files, repository.files["1.root.json"], NOW)


def _refused(client: Driver, kind: type[Exception], *, last: str) -> None:
    """Refused at the file asked for last; nothing is stored of it."""
    before = dict(client.stored)
    with pytest.raises(kind) as caught:
        client.refresh()
    assert type(caught.value) is kind
    assert client.requests[-1] == last
    assert client.stored.get(last.split(".")[-2]) == before.get(last.split(".")[-2])


def _versions_only(repository: MetadataRepository) -> None:
    """From now on snapshot and timestamp list no hashes."""
    meta = repository.snapshot.signed.meta
    for name in meta:
        meta[name] = MetaFile(meta[name].version)
    repository.publish_snapshot()
    repository.timestamp.signed.snapshot_meta = MetaFile(repository.snapshot.signed.version)
    repository.publish_again("timestamp")


def test_a_bootstrap_root_is_signed_by_itself(repository: MetadataRepository) -> None:
    tree = json.loads(repository.files["1.root.json"])
    tree["signatures"] = []
    with pytest.raises(SignatureError):
        Session(json.dumps(tree).encode(), now=NOW)


def test_a_timestamp_does_not_fall_even_if_its_snapshot_stays(
    repository: MetadataRepository,
) -> None:
    old = repository.files["timestamp.json"]
    repository.publish_timestamp(repository.files["1.snapshot.json"])
    client = _client(repository)
    client.refresh()
    repository.files["timestamp.json"] = old
    _refused(client, RollbackError, last="timestamp.json")


def test_a_timestamp_expires_before_its_snapshot(repository: MetadataRepository) -> None:
    """The server replays the timestamp that the client holds; all the rest is still valid."""
    repository.snapshot.signed.expires = NOW + timedelta(days=9)
    repository.publish()
    client = _client(repository)
    client.refresh()
    client.now = NOW + timedelta(days=2)
    _refused(client, ExpiredError, last="timestamp.json")


def test_a_snapshot_is_the_one_whose_hash_is_listed(repository: MetadataRepository) -> None:
    """The snapshot's key signs another version 1 of the same length."""
    client = _client(repository)
    expires = repository.snapshot.signed.expires
    repository.snapshot.signed.expires = expires + HOUR
    repository.publish_again("snapshot")
    _refused(client, HashMismatchError, last="1.snapshot.json")


def test_a_snapshot_has_the_version_that_is_listed(repository: MetadataRepository) -> None:
    _versions_only(repository)
    repository.files["2.snapshot.json"] = repository.files["1.snapshot.json"]
    _refused(_client(repository), WrongVersionError, last="2.snapshot.json")


def test_an_expired_snapshot_is_not_replaced_under_its_version(
    repository: MetadataRepository,
) -> None:
    repository.snapshot.signed.expires = NOW + HOUR
    _versions_only(repository)
    client = _client(repository)
    client.refresh()
    repository.snapshot.signed.expires = NOW + timedelta(days=1)
    repository.publish_again("snapshot")
    client.now = NOW + 2 * HOUR
    _refused(client, EquivocationError, last="2.snapshot.json")


def test_a_stored_role_of_an_older_version_is_not_used(repository: MetadataRepository) -> None:
    """Without hashes, the version alone says that there is something new."""
    _versions_only(repository)
    client = _client(repository)
    client.find(PATH)
    repository.add_target("files/demo/demo-2.0.tar.gz", b"new", role="bins")
    repository.publish()
    _versions_only(repository)
    client.refresh()
    assert isinstance(client.find("files/demo/demo-2.0.tar.gz"), TargetEntry)
    assert client.requests[-1] == "2.bins.json"


def test_a_stored_role_that_is_not_the_one_listed_is_not_used(
    repository: MetadataRepository,
) -> None:
    """Somebody puts another version 1, validly signed by the bin's key, into the cache."""
    client = _client(repository)
    client.refresh()
    honest = repository.files["1.bins.json"]
    repository.add_target("files/evil/evil-1.0.tar.gz", b"evil", role="bins")
    client.stored["bins"] = repository.publish_again("bins")
    repository.files["1.bins.json"] = honest
    with pytest.raises(EquivocationError):
        client.find("files/evil/evil-1.0.tar.gz")
    assert client.requests[-1] == "1.bins.json"


def _bins(repository: MetadataRepository, kind: str) -> None:
    """Four bins with one key instead of one role."""
    signer = CryptoSigner.generate_ed25519()
    keyid = signer.public_key.keyid
    names = [f"bin-{number:x}" for number in range(4)]
    signed = repository.targets["bins"].signed
    signed.targets.clear()
    keys: dict[str, Any] = {keyid: signer.public_key}
    if kind == "succinct":
        signed.delegations = Delegations(keys, None, SuccinctRoles([keyid], 1, 2, "bin"))
    else:
        signed.delegations = Delegations(
            keys,
            {
                name: DelegatedRole(
                    name, [keyid], 1, True, None, [f"{4 * n + k:x}" for k in range(4)]
                )
                for n, name in enumerate(names)
            },
        )
    for name in names:
        repository.signers[name] = [signer]
        repository.targets[name] = Metadata(TufTargets(expires=NOW + timedelta(days=1)))
    for number in range(40):
        path = f"files/demo/{number}.whl"
        (role, _), *_ = signed.delegations.get_roles_for_target(path)
        repository.add_target(path, b"demo", role=role)


@pytest.mark.parametrize("kind", ["prefixes", "succinct"])
def test_a_bin_lists_what_falls_to_it_and_nothing_else(
    repository: MetadataRepository, kind: str
) -> None:
    """The network has no key, and serves bin 1 in the place of bin 0: both are version 1."""
    _bins(repository, kind)
    repository.publish()
    _versions_only(repository)
    client = _client(repository)
    for number in range(40):
        assert isinstance(client.find(f"files/demo/{number}.whl"), TargetEntry)
    honest = client.stored.pop("bin-0")
    client.known = Known()  # a new process
    client.files = {**repository.files, "1.bin-0.json": repository.files["1.bin-1.json"]}
    client.session = None
    refused = []
    for number in range(40):
        try:
            assert not isinstance(client.find(f"files/demo/{number}.whl"), NotListed)
        except MalformedError as error:
            refused.append(error.what)
    assert set(refused) == {"a target of another bin"}
    assert "bin-0" not in client.stored

    client.stored["bin-0"] = repository.files["1.bin-1.json"]  # nor from a cache
    client.files = repository.files
    for number in range(40):
        assert isinstance(client.find(f"files/demo/{number}.whl"), TargetEntry)
    assert client.stored["bin-0"] == honest


PATHS = [f"files/demo/{number}.whl" for number in range(60)]
PREFIXES = st.lists(st.text("0123456789abcdef", max_size=2), min_size=1, max_size=12)


@given(st.sets(st.sampled_from(PATHS)), PREFIXES, st.booleans(), st.booleans())
def test_a_target_is_of_a_bin_if_its_hash_begins_with_one_of_its_prefixes(
    paths: set[str], prefixes: list[str], full: bool, listed: bool
) -> None:
    """However the file was read, and however long the prefixes are."""
    digests = [hashlib.sha256(path.encode()).hexdigest() for path in paths]
    prefixes += digests if full else [f"{digest}0" for digest in digests]
    entries = {path: {"hashes": {"sha256": "0" * 64}, "length": 1} for path in sorted(paths)}
    fields = {"_type": "targets", "expires": "2030-01-01T00:00:00Z", "targets": entries}
    tree = {"signatures": [], "signed": {**fields, "spec_version": "1.0", "version": 1}}
    data = canonical(tree) if listed else json.dumps(tree, indent=1).encode()
    targets = parse_targets(parse(data, where="bin", max_length=10**6))
    assert isinstance(targets.targets, TargetList) == (listed and bool(paths))
    keys = RoleKeys(("0",), 1, {})
    parent = Targets(1, NOW, {}, (Delegation("bin", keys, True, None, tuple(prefixes)),))
    if all(digest.startswith(tuple(prefixes)) for digest in digests):
        in_its_bin(targets, "bin", parent)
    else:
        with pytest.raises(MalformedError, match="a target of another bin") as caught:
            in_its_bin(targets, "bin", parent)
        strange = hashlib.sha256(str(caught.value.got).encode()).hexdigest()
        assert not strange.startswith(tuple(prefixes))


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 8, 11, 14])
def test_the_share_of_a_succinct_bin_is_what_falls_to_it(bits: int) -> None:
    """The prefixes by which a bin is checked agree with python-tuf's choice of the bin."""
    theirs = SuccinctRoles(["0"], 1, bits, "bin")
    ours = Targets(1, NOW, {}, SuccinctDelegation(bits, "bin", RoleKeys(("0",), 1, {})))
    for number in range(200):
        path = f"files/demo/{number}"
        right = theirs.get_role_for_target(path)
        digest = hashlib.sha256(path.encode()).hexdigest()
        prefixes = ours.prefixes_of(right)
        assert prefixes is not None
        assert digest.startswith(prefixes)
        assert len(prefixes) * 16 ** -len(prefixes[0]) == 2**-bits
