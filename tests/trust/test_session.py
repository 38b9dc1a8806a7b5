"""The client workflow, told as stories of a repository, an attacker and a client.

The repository and the attacker are python-tuf (`MetadataRepository`); the client is a bare
`Session` over dictionaries. After each refusal: what was verified before it stayed, the refused
role and all after it are byte-identical, and one honest refresh afterwards succeeds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Delegations, Key, Metadata, MetaFile, SuccinctRoles
from tuf.api.metadata import Targets as TufTargets

from indextrust.errors import (
    AlarmError,
    BudgetExceededError,
    EquivocationError,
    ExpiredError,
    HashMismatchError,
    InputError,
    LengthError,
    MalformedError,
    MissingRoleError,
    RefusedError,
    RollbackError,
    SignatureError,
    UnreachableError,
    UnsafePathError,
    WrongVersionError,
)
from indextrust.testing import MetadataRepository
from indextrust.trust import Known, Limits, NotListed, Session, TargetEntry
from indextrust.trust import session as session_module
from indextrust.trust.metadata import FileInfo, Snapshot, Targets, parse
from tests.support.drive import Driver

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ORDER = ("root", "timestamp", "snapshot", "targets")


@pytest.fixture
def repository() -> MetadataRepository:
    repository = MetadataRepository(now=NOW)
    repository.delegate("targets", "bins", ["files/*/*"], terminating=True)
    repository.add_target("files/demo/demo-1.0.tar.gz", b"demo", role="bins")
    repository.publish()
    return repository


def _client(repository: MetadataRepository) -> Driver:
    return Driver(repository.files, repository.files["1.root.json"], NOW)


def _versions(client: Driver) -> dict[str, int]:
    return {role: json.loads(data)["signed"]["version"] for role, data in client.stored.items()}


def _refused(client: Driver, kind: type[Exception], *, kept_until: str) -> Exception:
    """One refresh is refused; from the role after `kept_until` on, the disk is as before."""
    before = dict(client.stored)
    with pytest.raises(kind) as caught:
        client.refresh()
    after = ORDER[ORDER.index(kept_until) + 1 :] if kept_until else ORDER
    for role in after:
        assert client.stored.get(role) == before.get(role), role
    return caught.value


def _resign(repository: MetadataRepository, name: str, change: Callable[[Any], None]) -> None:
    """Change the published file `name` and sign it anew with its role's own keys."""
    tree = json.loads(repository.files[name])
    change(tree["signed"])
    metadata: Metadata[Any] = Metadata.from_dict(tree)
    role = name.removesuffix(".json").split(".")[-1]
    metadata.signatures.clear()
    for signer in repository.signers[role]:
        metadata.sign(signer, append=True)
    repository.files[name] = metadata.to_bytes()


def test_a_fresh_client_asks_for_each_role_once_and_trusts_it(
    repository: MetadataRepository,
) -> None:
    client = _client(repository)
    client.refresh()
    assert client.requests == ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]
    assert _versions(client) == dict.fromkeys(ORDER, 1)
    for role, name in zip(ORDER, ["1.root.json", *client.requests[1:]], strict=True):
        assert client.stored[role] == repository.files[name]


def test_a_returning_client_asks_only_for_root_and_timestamp(
    repository: MetadataRepository,
) -> None:
    client = _client(repository)
    client.refresh()
    client.requests.clear()
    client.refresh()
    assert client.requests == ["2.root.json", "timestamp.json"]


def test_a_delegated_target_is_found_once_and_then_from_the_store(
    repository: MetadataRepository,
) -> None:
    client = _client(repository)
    client.refresh()
    found = client.find("files/demo/demo-1.0.tar.gz")
    assert isinstance(found, TargetEntry)
    assert (found.role, found.length, found.snapshot_version) == ("bins", 4, 1)
    assert client.requests[-1] == "1.bins.json"
    assert client.find("files/demo/demo-2.0.tar.gz") == NotListed("files/demo/demo-2.0.tar.gz", 1)
    client.refresh()
    assert isinstance(client.find("files/demo/demo-1.0.tar.gz"), TargetEntry)
    assert client.requests.count("1.bins.json") == 1


def test_an_unsafe_path_is_refused_without_a_request(repository: MetadataRepository) -> None:
    client = _client(repository)
    client.refresh()
    client.requests.clear()
    with pytest.raises(UnsafePathError):
        client.find("../../etc/x")
    assert client.requests == []


def test_attack_04_an_unsigned_timestamp_is_refused(repository: MetadataRepository) -> None:
    client = _client(repository)
    client.refresh()
    repository.publish()
    honest = repository.files["timestamp.json"]
    tree = json.loads(honest)
    tree["signatures"] = []
    repository.files["timestamp.json"] = json.dumps(tree).encode()
    _refused(client, SignatureError, kept_until="root")
    assert client.requests[-1] == "timestamp.json"
    repository.files["timestamp.json"] = honest
    client.refresh()
    assert _versions(client)["timestamp"] == 2


def test_attack_05_an_older_timestamp_is_refused_even_if_the_stored_one_is_expired(
    repository: MetadataRepository,
) -> None:
    client = _client(repository)
    old = repository.files["timestamp.json"]
    repository.publish()
    client.refresh()
    newest = repository.files["timestamp.json"]
    repository.files["timestamp.json"] = old
    _refused(client, RollbackError, kept_until="root")
    client.now = NOW + timedelta(days=2)
    _refused(client, RollbackError, kept_until="root")
    client.now = NOW
    repository.files["timestamp.json"] = newest
    client.refresh()


def test_attack_09_a_replay_is_accepted_until_it_expires_and_then_refused(
    repository: MetadataRepository,
) -> None:
    client = _client(repository)
    client.refresh()
    client.now = NOW + timedelta(hours=23, minutes=59, seconds=59)
    client.refresh()
    client.now = NOW + timedelta(days=1)
    _refused(client, ExpiredError, kept_until="root")


@pytest.mark.parametrize("role", ["root", "snapshot", "targets"])
def test_each_expired_role_is_refused_at_its_step(
    repository: MetadataRepository, role: str
) -> None:
    client = _client(repository)
    signed: Any = {"root": repository.root, "snapshot": repository.snapshot}.get(
        role, repository.targets["targets"]
    )
    signed.signed.expires = NOW
    repository.publish_root()
    repository.publish()
    kept = {"root": "root", "snapshot": "timestamp", "targets": "snapshot"}[role]
    _refused(client, ExpiredError, kept_until=kept)
    assert _versions(client)["root"] == 2
    signed.signed.expires = NOW + timedelta(days=9)
    repository.publish_root()
    repository.publish()
    client.refresh()
    assert _versions(client)["root"] == 3


def test_attack_07_a_bin_version_that_falls_is_refused(repository: MetadataRepository) -> None:
    client = _client(repository)
    repository.publish()
    client.refresh()
    repository.publish()
    honest = dict(repository.files)
    repository.snapshot.signed.meta["bins.json"] = MetaFile(1)
    repository.publish_timestamp(repository.publish_snapshot())
    _refused(client, RollbackError, kept_until="timestamp")
    assert client.requests[-1] == "4.snapshot.json"
    repository.files.clear()
    repository.files.update(honest)
    repository.publish()
    client.refresh()


def test_a_role_dropped_from_the_snapshot_is_refused(repository: MetadataRepository) -> None:
    client = _client(repository)
    client.refresh()
    del repository.snapshot.signed.meta["bins.json"]
    repository.publish_timestamp(repository.publish_snapshot())
    _refused(client, MissingRoleError, kept_until="timestamp")


def test_absent_ends_the_search_for_roots_and_nothing_else_does(
    repository: MetadataRepository,
) -> None:
    repository.publish_root()
    repository.publish_root()
    client = _client(repository)
    client.refresh()
    assert client.requests[:3] == ["2.root.json", "3.root.json", "4.root.json"]
    assert client.requests[3:] == ["timestamp.json", "1.snapshot.json", "1.targets.json"]


def test_an_unchanged_snapshot_that_expired_is_asked_for_again_and_refused(
    repository: MetadataRepository,
) -> None:
    client = _client(repository)
    client.refresh()
    repository.timestamp.signed.expires += timedelta(days=7)
    repository.publish_timestamp(repository.files["1.snapshot.json"])
    client.now = NOW + timedelta(days=2)
    _refused(client, ExpiredError, kept_until="timestamp")
    assert client.requests[-1] == "1.snapshot.json"
    repository.snapshot.signed.expires += timedelta(days=7)
    repository.publish()
    client.refresh()


def test_a_role_whose_encoded_name_is_too_long_for_a_file_is_refused(
    repository: MetadataRepository,
) -> None:
    repository.delegate("targets", "\u00e9" * 60, ["long/*"], terminating=True)
    repository.publish()
    client = _client(repository)
    client.refresh()
    client.requests.clear()
    with pytest.raises(UnsafePathError, match="too long"):
        client.find("long/x")
    assert client.requests == []


def test_attack_13_a_timestamp_longer_than_its_cap_is_refused(
    repository: MetadataRepository,
) -> None:
    client = _client(repository)
    repository.files["timestamp.json"] += b" " * 16_384
    _refused(client, LengthError, kept_until="root")


def test_a_recorded_length_lifts_a_cap_only_to_the_ceiling(repository: MetadataRepository) -> None:
    client = _client(repository)
    client.limits = Limits(ceiling=100)
    client.limits = Limits(snapshot_length=10, ceiling=10_000)
    client.refresh()
    late = _client(repository)
    late.limits = Limits(snapshot_length=10, ceiling=50)
    _refused(late, LengthError, kept_until="timestamp")


def test_attack_24_fifteen_thousand_signatures_are_refused_unverified(
    repository: MetadataRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = _client(repository)
    tree = json.loads(repository.files["timestamp.json"])
    tree["signatures"] += [{"keyid": f"{n:064x}", "sig": "00" * 64} for n in range(180)]
    verified = 0

    def counting(key: Key, *args: Any) -> None:
        nonlocal verified
        verified += 1
        return original(key, *args)

    original = type(repository.signers["root"][0].public_key).verify_signature
    monkeypatch.setattr(
        type(repository.signers["root"][0].public_key), "verify_signature", counting
    )
    client.limits = Limits(timestamp_length=5_000_000)
    repository.files["timestamp.json"] = json.dumps(tree).encode()
    client.refresh()
    assert verified < 12, "signatures by strangers are not verified"
    tree["signatures"] += [{"keyid": f"{n:064x}", "sig": "00" * 64} for n in range(200, 15_000)]
    repository.files["timestamp.json"] = json.dumps(tree).encode()
    fresh = _client(repository)
    fresh.limits = client.limits
    verified = 0
    _refused(fresh, MalformedError, kept_until="root")
    assert verified < 4


@pytest.mark.parametrize(
    "version", ["true", "1.0", '"5"', "1" + "0" * 4000, "0", "-1", "null", "[1]"]
)
@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_attack_25_a_version_that_is_no_version_is_refused(
    repository: MetadataRepository, role: str, version: str
) -> None:
    client = _client(repository)
    name = "timestamp.json" if role == "timestamp" else f"1.{role}.json"
    _raw_version(repository, name, version)
    with pytest.raises(RefusedError):
        client.refresh()
    assert role not in client.stored


def _raw_version(repository: MetadataRepository, name: str, version: str) -> None:
    """The role's own key signs whatever `version` is, as raw bytes (canonical by hand)."""
    role = name.removesuffix(".json").split(".")[-1]
    tree = json.loads(repository.files[name])
    tree["signed"]["version"] = "@"
    payload = json.dumps(tree["signed"], sort_keys=True, separators=(",", ":"))
    payload = payload.replace('"@"', version)
    signer = repository.signers[role][0]
    signature = signer.sign(payload.encode()).to_dict()
    repository.files[name] = (
        '{"signatures":[' + json.dumps(signature) + '],"signed":' + payload + "}"
    ).encode()
    if role == "targets":
        repository.snapshot.signed.meta["targets.json"] = MetaFile(1)
        repository.publish_again("snapshot")
    if role != "timestamp":
        repository.timestamp.signed.snapshot_meta = MetaFile(1)
        repository.publish_again("timestamp")


@pytest.mark.parametrize(
    "expires",
    ["2026-06-01", "2026-06-01T00:00:00", "2026-06-01T00:00:00+00:00", "2026-06-01 00:00:00Z",
     "2026-6-1T00:00:00Z", "2026-06-01T00:00:00.0Z", "2026-13-01T00:00:00Z", "9999-99-99T99:99:99Z",
     "2026-06-01T00:00:00Z ", "\u0662026-06-01T00:00:00Z", "2026-06-01t00:00:00z", ""],
)  # fmt: skip
def test_a_date_has_exactly_one_form(repository: MetadataRepository, expires: str) -> None:
    client = _client(repository)
    tree = json.loads(repository.files["timestamp.json"])
    tree["signed"]["expires"] = expires
    from indextrust.canonical import canonical

    signer = repository.signers["timestamp"][0]
    tree["signatures"] = [signer.sign(canonical(tree["signed"])).to_dict()]
    repository.files["timestamp.json"] = json.dumps(tree).encode()
    _refused(client, MalformedError, kept_until="root")


def test_attack_27_the_same_snapshot_version_with_another_hash_is_an_alarm(
    repository: MetadataRepository,
) -> None:
    client = _client(repository)
    client.refresh()
    repository.snapshot.signed.expires += timedelta(days=1)
    repository.publish_timestamp(repository.publish_again("snapshot"))
    error = _refused(client, EquivocationError, kept_until="root")
    assert isinstance(error, AlarmError)
    repository.publish()
    client.refresh()


def test_a_snapshot_that_changed_while_the_timestamp_listed_no_hash_is_an_alarm(
    repository: MetadataRepository,
) -> None:
    repository.timestamp.signed.snapshot_meta = MetaFile(1)
    repository.publish_again("timestamp")
    client = _client(repository)
    client.refresh()
    repository.snapshot.signed.expires += timedelta(days=1)
    repository.publish_timestamp(repository.publish_again("snapshot"))
    _refused(client, EquivocationError, kept_until="timestamp")
    repository.publish()
    client.refresh()


def test_attack_29_the_same_bin_version_with_other_bytes_is_an_alarm(
    repository: MetadataRepository,
) -> None:
    """Hashes are off. The stored bin expired, and the thief signs another one under its version."""
    repository.targets["bins"].signed.expires = NOW + timedelta(hours=1)
    repository.publish()
    _without_hashes(repository)
    client = _client(repository)
    client.refresh()
    client.find("files/demo/demo-1.0.tar.gz")
    honest = client.stored["bins"]
    repository.targets["bins"].signed.expires = NOW + timedelta(days=9)
    repository.publish_again("bins")
    client.now = NOW + timedelta(hours=2)
    client.refresh()
    with pytest.raises(EquivocationError):
        client.find("files/demo/demo-1.0.tar.gz")
    assert client.stored["bins"] == honest


def test_attack_29_hashes_in_the_snapshot_stop_a_second_bin_at_once(
    repository: MetadataRepository,
) -> None:
    client = _client(repository)
    client.refresh()
    repository.targets["bins"].signed.expires += timedelta(hours=1)
    repository.publish_again("bins")
    with pytest.raises((HashMismatchError, LengthError)):
        client.find("files/demo/demo-1.0.tar.gz")
    assert "bins" not in client.stored


def _without_hashes(repository: MetadataRepository) -> None:
    meta = repository.snapshot.signed.meta
    for name in meta:
        meta[name] = MetaFile(meta[name].version)
    repository.publish_timestamp(repository.publish_again("snapshot"))


def test_attack_41_a_target_listed_in_the_wrong_bin_is_not_returned(
    repository: MetadataRepository,
) -> None:
    repository.add_target("simple/flask/index.json", b"evil", role="bins")
    repository.publish()
    client = _client(repository)
    assert isinstance(client.find("simple/flask/index.json"), NotListed)


def test_attack_49_an_old_bin_under_a_new_snapshot_is_refused(
    repository: MetadataRepository,
) -> None:
    client = _client(repository)
    old = repository.files["1.bins.json"]
    repository.publish()
    _without_hashes(repository)
    honest = repository.files["2.bins.json"]
    repository.files["2.bins.json"] = old
    client.refresh()
    with pytest.raises(WrongVersionError):
        client.find("files/demo/demo-1.0.tar.gz")
    repository.files["2.bins.json"] = honest
    assert isinstance(client.find("files/demo/demo-1.0.tar.gz"), TargetEntry)


def test_attack_50_root_2_signed_by_one_key_of_two_is_refused_then_all_is_well(
    repository: MetadataRepository,
) -> None:
    repository.add_key("root")
    repository.root.signed.roles["root"].threshold = 2
    repository.publish_root()
    client = Driver(repository.files, repository.files["2.root.json"], NOW)
    client.refresh()
    thief, honest = repository.signers["root"]
    repository.signers["root"] = [thief]
    repository.publish_root()
    _refused(client, SignatureError, kept_until="")
    assert _versions(client)["root"] == 2
    repository.signers["root"] = [thief, honest]
    repository.publish_again("root")
    client.refresh()
    assert _versions(client)["root"] == 3


def test_a_root_signed_only_by_its_own_new_keys_is_refused(repository: MetadataRepository) -> None:
    client = _client(repository)
    client.refresh()
    repository.rotate("root")
    old, new = repository.signers["root"]
    repository.signers["root"] = [new]
    repository.publish_root()
    _refused(client, SignatureError, kept_until="")
    repository.signers["root"] = [old]
    repository.publish_again("root")
    _refused(client, SignatureError, kept_until="")
    repository.signers["root"] = [old, new]
    repository.publish_again("root")
    client.refresh()
    assert _versions(client)["root"] == 2


def test_a_root_that_skips_a_version_is_refused(repository: MetadataRepository) -> None:
    client = _client(repository)
    client.refresh()
    repository.root.signed.version = 2
    repository.publish_root()
    repository.files["2.root.json"] = repository.files.pop("3.root.json")
    _refused(client, WrongVersionError, kept_until="")
    assert client.stored["root"] == client.bootstrap


def test_attack_53_a_client_that_embeds_the_first_of_301_roots_arrives(
    repository: MetadataRepository,
) -> None:
    for _ in range(300):
        repository.publish_root()
    client = _client(repository)
    client.limits = Limits(root_updates=120)
    for arrived in (121, 241):
        with pytest.raises(BudgetExceededError):
            client.refresh()
        assert _versions(client)["root"] == arrived
    client.refresh()
    assert _versions(client)["root"] == 301
    assert len([name for name in client.requests if name.endswith("root.json")]) == 300 + 1


def test_the_cache_is_no_anchor_a_foreign_chain_in_it_is_ignored(
    repository: MetadataRepository,
) -> None:
    """The stored roots, timestamp and all are another repository's, validly signed there."""
    foreign = MetadataRepository(now=NOW)
    foreign.publish_root()
    foreign.publish()
    client = _client(foreign)
    client.refresh()
    client.bootstrap, client.files = repository.files["1.root.json"], repository.files
    client.refresh()
    for role in ORDER:
        name = "timestamp.json" if role == "timestamp" else f"1.{role}.json"
        assert client.stored[role] == repository.files[name]


def test_fast_forward_is_healed_by_replacing_the_keys(repository: MetadataRepository) -> None:
    client = _client(repository)
    repository.timestamp.signed.version = repository.snapshot.signed.version = 2**31
    repository.publish()
    client.refresh()
    assert _versions(client)["timestamp"] == 2**31 + 1
    repository.timestamp.signed.version = repository.snapshot.signed.version = 5
    repository.publish()
    _refused(client, RollbackError, kept_until="root")
    repository.rotate("timestamp")
    repository.rotate("snapshot")
    repository.publish_root()
    repository.publish()
    client.refresh()
    assert (_versions(client)["timestamp"], _versions(client)["snapshot"]) == (7, 7)


@pytest.mark.parametrize("replaced", ["timestamp", "snapshot"])
def test_fast_forward_is_not_healed_by_replacing_one_key_alone(
    repository: MetadataRepository, replaced: str
) -> None:
    client = _client(repository)
    repository.timestamp.signed.version = repository.snapshot.signed.version = 2**31
    repository.publish()
    client.refresh()
    repository.timestamp.signed.version = repository.snapshot.signed.version = 5
    repository.rotate(replaced)
    repository.publish_root()
    repository.publish()
    with pytest.raises(RollbackError):
        client.refresh()


def test_a_timestamp_of_the_same_version_with_other_bytes_is_discarded_and_noticed(
    repository: MetadataRepository,
) -> None:
    client = _client(repository)
    client.refresh()
    trusted = client.stored["timestamp"]
    _resign(
        repository, "timestamp.json", lambda signed: signed.update(expires="2026-12-01T00:00:00Z")
    )
    session = client.refresh()
    assert client.stored["timestamp"] == trusted
    assert [(n.kind, n.evidence) for n in session.notices] == [
        ("same-version-other-bytes", repository.files["timestamp.json"])
    ]


def test_a_timestamp_of_the_same_version_that_lists_an_older_snapshot_is_discarded_too(
    repository: MetadataRepository,
) -> None:
    repository.publish()
    client = _client(repository)
    client.refresh()
    _resign(
        repository,
        "timestamp.json",
        lambda signed: signed["meta"]["snapshot.json"].update(version=1),
    )
    session = client.refresh()
    assert session.trusted.snapshot.version == 2
    assert [notice.kind for notice in session.notices] == ["same-version-other-bytes"]


def test_a_lost_history_does_not_let_a_server_withhold_the_root_that_is_stored(
    repository: MetadataRepository,
) -> None:
    client = _client(repository)
    repository.publish_root()
    client.refresh()
    client.history.clear()
    withheld = repository.files.pop("2.root.json")
    client.refresh()
    assert client.stored["root"] == withheld
    assert client.session is not None
    assert client.session.trusted.root.version == 2


def test_unknown_fields_are_kept_and_covered_by_the_signature(
    repository: MetadataRepository,
) -> None:
    client = _client(repository)
    _resign(
        repository, "timestamp.json", lambda signed: signed.update({"x-new": {"a": [1, "é\n"]}})
    )
    client.refresh()
    assert client.stored["timestamp"] == repository.files["timestamp.json"]
    tampered = client.stored["timestamp"].replace(b"x-new", b"x-old")
    repository.publish()
    repository.files["timestamp.json"] = tampered
    _refused(client, SignatureError, kept_until="root")


@pytest.mark.parametrize("missing", ["timestamp.json", "1.snapshot.json", "1.targets.json"])
def test_a_missing_file_is_unreachable_not_refused(
    repository: MetadataRepository, missing: str
) -> None:
    client = _client(repository)
    held = repository.files.pop(missing)
    with pytest.raises(UnreachableError, match=missing):
        client.refresh()
    assert client.requests[-1] == missing
    repository.files[missing] = held
    client.refresh()


def test_a_bin_that_the_snapshot_does_not_list_is_an_error_not_an_answer(
    repository: MetadataRepository,
) -> None:
    repository.delegate("bins", "bin-0", ["files/*/*"], terminating=True)
    keep = repository.targets.pop("bin-0")
    repository.publish()
    client = _client(repository)
    with pytest.raises(MissingRoleError):
        client.find("files/demo/other.tar.gz")
    repository.targets["bin-0"] = keep
    repository.publish()
    client.refresh()
    assert isinstance(client.find("files/demo/other.tar.gz"), NotListed)


def test_one_role_under_two_delegators_is_verified_with_each_ones_keys(
    repository: MetadataRepository,
) -> None:
    """A diamond: "shared" is signed with the key that "a" gives it, and not with the one of "b"."""
    repository.delegate("targets", "a", ["a/*"], terminating=True)
    repository.delegate("targets", "b", ["b/*"], terminating=True)
    repository.delegate("a", "shared", ["*/*"], terminating=True)
    repository.add_target("a/x", b"x", role="shared")
    repository.add_target("b/x", b"x", role="shared")
    other = CryptoSigner.generate_ed25519()
    b = repository.targets["b"].signed
    b.delegations = Delegations({}, {"shared": DelegatedRole("shared", [], 1, True, ["*/*"])})
    b.add_key(other.public_key, "shared")
    repository.publish()
    client = _client(repository)
    assert isinstance(client.find("a/x"), TargetEntry)
    with pytest.raises(SignatureError):
        client.find("b/x")
    assert isinstance(client.find("a/x"), TargetEntry)


def test_succinct_bins_are_walked_too(repository: MetadataRepository) -> None:
    signer = CryptoSigner.generate_ed25519()
    roles = SuccinctRoles([signer.public_key.keyid], 1, 10, "bin")
    bins = repository.targets["bins"].signed
    bins.delegations = Delegations({signer.public_key.keyid: signer.public_key}, None, roles)
    bins.targets.clear()
    for name in roles.get_roles():
        repository.signers[name] = [signer]
        repository.targets[name] = Metadata(TufTargets(expires=NOW + timedelta(days=1)))
    path = "files/demo/demo-1.0.tar.gz"
    repository.add_target(path, b"demo", role=roles.get_role_for_target(path))
    repository.publish()
    client = _client(repository)
    found = client.find(path)
    assert isinstance(found, TargetEntry)
    assert found.role == roles.get_role_for_target(path)
    assert client.requests[-2:] == ["2.bins.json", f"1.{found.role}.json"]


def test_a_bootstrap_that_is_no_root_makes_no_session() -> None:
    for bootstrap in (b"", b"{}", b"[]", b'{"signed":{},"signatures":[]}'):
        with pytest.raises(RefusedError):
            Session(bootstrap, now=NOW)


def test_a_session_says_when_it_is_driven_wrongly(repository: MetadataRepository) -> None:
    with pytest.raises(InputError, match="time zone"):
        Session(repository.files["1.root.json"], now=NOW.replace(tzinfo=None))
    session = Session(repository.files["1.root.json"], now=NOW)
    with pytest.raises(InputError, match="not finished"):
        _ = session.trusted
    from indextrust.trust import STORED

    with pytest.raises(InputError, match="not an answer to Load"):
        session.feed(STORED)
    client = _client(repository)
    done = client.refresh()
    with pytest.raises(InputError, match="nothing was asked"):
        done.feed(b"")
    repository.files["timestamp.json"] = b"{}"
    client = _client(repository)
    broken = Session(client.bootstrap, now=NOW)
    with pytest.raises(MalformedError):
        client._drive(broken)
    with pytest.raises(InputError, match="ended with an error"):
        broken.wants()


def test_what_was_verified_before_is_not_verified_again_and_decides_nothing(
    repository: MetadataRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second refresh of a process verifies root and timestamp only; expiry is still checked."""
    client = _client(repository)
    client.refresh()
    client.find("files/demo/demo-1.0.tar.gz")
    read: list[str] = []
    original = parse

    def counting(data: bytes, *, where: str, max_length: int) -> Any:
        read.append(where)
        return original(data, where=where, max_length=max_length)

    monkeypatch.setattr(session_module, "parse", counting)
    client.refresh()
    client.find("files/demo/demo-1.0.tar.gz")
    assert read == ["bootstrap root", "timestamp", "timestamp"]
    repository.timestamp.signed.expires += timedelta(days=9)
    repository.publish_timestamp(repository.files["1.snapshot.json"])
    client.now = NOW + timedelta(days=2)
    _refused(client, ExpiredError, kept_until="timestamp")


def test_what_is_known_by_other_keys_is_verified_again(repository: MetadataRepository) -> None:
    client = _client(repository)
    client.refresh()
    repository.rotate("snapshot")
    repository.publish_root()
    repository.publish_timestamp(repository.files["1.snapshot.json"])
    _refused(client, SignatureError, kept_until="timestamp")


def test_what_raised_an_alarm_is_not_known_afterwards(repository: MetadataRepository) -> None:
    """ATTACK 29: bins version 1 expires, and its key signs another version 1 that does not. Each
    look-up refuses it, not just the first one of the process."""
    repository.targets["bins"].signed.expires = NOW + timedelta(hours=1)
    repository.publish_again("bins")
    repository.snapshot.signed.meta["bins.json"] = MetaFile(1)
    repository.publish_timestamp(repository.publish_snapshot())
    client = _client(repository)
    client.refresh()
    client.find("files/demo/demo-1.0.tar.gz")
    held = client.stored["bins"]
    repository.targets["bins"].signed.expires = NOW + timedelta(days=1)
    repository.publish_again("bins")
    client.now += timedelta(hours=2)
    client.refresh()
    for _ in range(3):
        with pytest.raises(EquivocationError):
            client.find("files/demo/demo-1.0.tar.gz")
        assert client.stored["bins"] == held


def test_what_is_known_does_not_grow_without_bound() -> None:
    """Neither in roles nor in bytes; the role used least recently goes first."""
    role = Targets(1, NOW, {}, ())
    known = Known(most=3, most_bytes=100)
    for name in ("a", "b", "c"):
        known.learn(name, name, 10, "by", role)
    assert known.recall("a", "a", "by", Targets) is role
    known.learn("d", "d", 10, "by", role)
    assert known.recall("b", "b", "by", Targets) is None
    assert known.recall("a", "a", "by", Targets) is role
    known.learn("e", "e", 90, "by", role)
    held = [n for n in "abcde" if known.listed(n, FileInfo(1, None, {}), "by", Targets)]
    assert held == ["a", "e"]
    known.learn("a", "other", 10, "by", role)
    assert known.listed("e", FileInfo(1, 90, {}), "by", Targets) is role
    known.learn("e", "larger than all may be", 101, "by", role)
    held = [n for n in "abcde" if known.listed(n, FileInfo(1, None, {}), "by", Targets)]
    assert held == ["a"]


def test_what_is_known_is_taken_only_for_what_is_listed() -> None:
    role = Targets(2, NOW, {}, ())
    known = Known()
    digest = hashlib.sha256(b"data").hexdigest()
    known.learn("bins", digest, 4, "by", role)
    right = {"sha256": digest}
    for info in (FileInfo(2, None, {}), FileInfo(2, 4, {}), FileInfo(2, 4, right)):
        assert known.listed("bins", info, "by", Targets) is role
    for other in (
        FileInfo(1, None, {}),
        FileInfo(3, None, {}),
        FileInfo(2, 5, {}),
        FileInfo(2, 4, {"sha256": "0" * 64}),
        FileInfo(2, 4, right | {"sha512": "0" * 128}),
    ):
        assert known.listed("bins", other, "by", Targets) is None
    assert known.listed("bins", FileInfo(2, 4, right), "others", Targets) is None
    assert known.listed("bins", FileInfo(2, 4, right), "by", Snapshot) is None
    assert known.listed("other", FileInfo(2, 4, right), "by", Targets) is None
    assert known.recall("bins", "0" * 64, "by", Targets) is None
    assert known.recall("bins", digest, "others", Targets) is None
    assert known.recall("bins", digest, "by", Snapshot) is None


def test_a_refresh_and_a_look_up_may_fetch_only_so_many_bytes(
    repository: MetadataRepository,
) -> None:
    """Every file within its own cap, and together too many: a budget's answer, not a refusal."""
    client = _client(repository)
    sizes = [len(repository.files[n]) for n in ("timestamp.json", "1.snapshot.json")]
    client.limits = Limits(refresh_bytes=sum(sizes))
    with pytest.raises(BudgetExceededError, match=r"1\.targets\.json: not asked for"):
        client.refresh()
    assert client.requests[-1] == "1.snapshot.json"
    client.limits = Limits()
    client.refresh()
    client.limits = Limits(refresh_bytes=0)
    client.session = None
    with pytest.raises(BudgetExceededError):
        client.refresh()


def test_what_a_caller_does_to_an_entry_changes_nothing_that_is_known(
    repository: MetadataRepository,
) -> None:
    entry = repository.targets["bins"].signed.targets["files/demo/demo-1.0.tar.gz"]
    entry.unrecognized_fields["custom"] = {"a": [1]}
    repository.publish()
    client = _client(repository)
    found = client.find("files/demo/demo-1.0.tar.gz")
    assert isinstance(found, TargetEntry)
    honest = dict(found.hashes)
    found.hashes["sha256"] = "0" * 64  # type: ignore[index]
    found.custom["a"].append(2)
    client.session = None
    again = client.find("files/demo/demo-1.0.tar.gz")
    assert isinstance(again, TargetEntry)
    assert (again.hashes, again.custom) == (honest, {"a": [1]})


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_a_look_up_after_the_first_expiry_is_refused(
    repository: MetadataRepository, role: str
) -> None:
    """The session was made in time; it is used a year later."""
    late = NOW + timedelta(days=900)
    for name in ORDER:
        metadata = repository.targets[name] if name == "targets" else getattr(repository, name)
        metadata.signed.expires = late if name != role else NOW + timedelta(days=9)
    bootstrap = repository.publish_again("root")
    repository.publish()
    client = Driver(repository.files, bootstrap, NOW)
    session = client.refresh()
    with pytest.raises(ExpiredError, match=role):
        session.lookup("files/demo/demo-1.0.tar.gz", now=NOW + timedelta(days=10))
