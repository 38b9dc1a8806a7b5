"""After a theft of the online keys: what clients that saw the bad state do by themselves.

The thief drove timestamp, snapshot and bins to versions above 2^31. The operator replaces the
keys of all three and drops the old ones, and goes on with the version numbers he had.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner, Signer
from tuf.ngclient import Updater

from indextrust.client import AiohttpFetcher, AsyncTufClient, Project, Refreshed
from indextrust.errors import (
    ChangedArtifactError,
    RefusedError,
    RollbackError,
    SignatureError,
    UnreachableError,
)
from indextrust.trust import FirstSeen, Policy, TargetEntry, Unchanged
from tests.client.pages import WHL, put, sha256
from tests.client.stage import Stage
from tests.client.test_incidents import announce, record
from tests.client.test_index import EVIL, GOOD, User

ROLES = ("timestamp", "snapshot", "bins")
FAR = 2**31
PATH = f"files/demo/{WHL}"


def versions(stage: Stage) -> dict[str, int]:
    repository = stage.repository
    return {
        "timestamp": repository.timestamp.signed.version,
        "snapshot": repository.snapshot.signed.version,
        "bins": repository.targets["bins"].signed.version,
    }


def set_versions(stage: Stage, numbers: dict[str, int]) -> None:
    repository = stage.repository
    repository.timestamp.signed.version = numbers["timestamp"]
    repository.snapshot.signed.version = numbers["snapshot"]
    repository.targets["bins"].signed.version = numbers["bins"]


def steal(stage: Stage) -> tuple[dict[str, int], dict[str, list[Signer]]]:
    """The thief re-signs the wheel, far ahead. Returns the honest versions, and his keys."""
    honest = versions(stage)
    set_versions(stage, dict.fromkeys(ROLES, FAR))
    put(stage, {WHL: EVIL})
    return honest, {role: list(stage.repository.signers[role]) for role in ROLES}


def recover(stage: Stage, honest: dict[str, int]) -> None:
    """Keys of timestamp, snapshot, targets and bins replaced and dropped; the good wheel back."""
    repository = stage.repository
    for role in ("timestamp", "snapshot", "targets"):
        repository.rotate(role)
    delegations = repository.targets["targets"].signed.delegations
    assert delegations is not None
    assert delegations.roles is not None
    for keyid in list(delegations.roles["bins"].keyids):
        repository.targets["targets"].signed.revoke_key(keyid, "bins")
    signer = CryptoSigner.generate_ed25519()
    repository.targets["targets"].signed.add_key(signer.public_key, "bins")
    repository.signers["bins"] = [signer]
    repository.publish_root()
    set_versions(stage, honest)
    put(stage, {WHL: GOOD})
    announce(stage, record("stolen-key", [EVIL], GOOD))


@pytest.fixture
def honest(stage: Stage) -> Stage:
    put(stage, {WHL: GOOD})
    return stage


# -- the clients ----------------------------------------------------------------------------------


def plain(stage: Stage) -> tuple[Refreshed, TargetEntry]:
    client = stage.client()
    refreshed, entry = client.refresh(), client.target(PATH)
    assert isinstance(entry, TargetEntry)
    return refreshed, entry


def asynchronous(stage: Stage) -> tuple[Refreshed, TargetEntry]:
    async def ask() -> tuple[Refreshed, TargetEntry]:
        async with AiohttpFetcher(seconds=20) as fetcher:
            client = AsyncTufClient(
                stage.server.url + "metadata/",
                root=stage.repository.files["1.root.json"],
                store=stage.store(),
                fetcher=fetcher,
                clock=lambda: stage.now,
            )
            refreshed, entry = await client.refresh(), await client.target(PATH)
            assert isinstance(entry, TargetEntry)
            return refreshed, entry

    return asyncio.run(ask())


@pytest.mark.parametrize("ask", [plain, asynchronous])
def test_versions_of_a_stolen_key_bind_nobody_after_it_was_replaced(
    honest: Stage, ask: Callable[[Stage], tuple[Refreshed, TargetEntry]]
) -> None:
    numbers, _ = steal(honest)
    refreshed, entry = ask(honest)
    assert (refreshed.timestamp_version, entry.hashes["sha256"]) == (FAR + 1, sha256(EVIL))
    assert entry.role_version == FAR + 1
    recover(honest, numbers)
    refreshed, entry = ask(honest)
    assert refreshed.root_version == 2
    assert refreshed.timestamp_version < FAR
    assert refreshed.snapshot_version < FAR
    assert (entry.role_version < FAR, entry.hashes["sha256"]) == (True, sha256(GOOD))
    stored = {path.name: path.read_bytes() for path in (honest.folder / "cache").glob("*.json")}
    assert not [name for name, data in stored.items() if str(FAR + 1).encode() in data]


def test_without_new_keys_the_versions_bind(honest: Stage) -> None:
    """The attack that the replacement of keys is for: nothing but it heals."""
    numbers, _ = steal(honest)
    plain(honest)
    set_versions(honest, numbers)
    put(honest, {WHL: GOOD})
    with pytest.raises(RollbackError):
        plain(honest)


@pytest.mark.parametrize("lives_on", [True, False])
def test_three_clients_converge_and_the_memory_of_each_is_kept(
    honest: Stage, lives_on: bool
) -> None:
    early, misled = User(honest, "early"), User(honest, "misled")
    early.project()
    numbers, _ = steal(honest)
    living = misled.client()
    assert living.file(WHL).file.sha256 == sha256(EVIL)
    with pytest.raises(ChangedArtifactError):
        early.client().download(early.client().file(WHL), early.downloads)
    recover(honest, numbers)
    honest.now += timedelta(minutes=6)  # a client that lives on asks again
    late = User(honest, "late")
    told = {}
    for user in (early, misled, late):
        client = living if lives_on and user is misled else user.client()
        told[user] = [n.message for n in client.refresh().notices if n.kind == "incident"]
        assert client.download(client.file(WHL), user.downloads).read_bytes() == GOOD
        project = client.project("demo")
        assert isinstance(project, Project)
        assert isinstance(project.file(WHL).verdict, (FirstSeen, Unchanged))
    assert [len(told[user]) for user in (early, misled, late)] == [0, 1, 0]
    updater = Updater(
        str(_folder(honest.folder / "updater")),
        honest.server.url + "metadata/",
        bootstrap=honest.repository.files["1.root.json"],
    )
    updater._trusted_set.reference_time = honest.now
    updater.refresh()
    info = updater.get_targetinfo(PATH)
    assert info is not None
    assert info.hashes == {"sha256": sha256(GOOD)}


def test_a_stolen_key_is_refused_in_every_role_afterwards(honest: Stage) -> None:
    numbers, stolen = steal(honest)
    plain(honest)
    recover(honest, numbers)
    plain(honest)
    good = honest.stored()
    now = {role: honest.repository.signers[role] for role in ROLES}
    for role in ROLES:
        for keys in stolen.values():
            honest.repository.signers[role] = keys
            honest.publish()
            with pytest.raises(SignatureError):
                plain(honest)
        honest.repository.signers[role] = now[role]
    assert honest.stored()["root.json"] == good["root.json"]
    honest.publish()
    assert plain(honest)[1].hashes == {"sha256": sha256(GOOD)}


def test_offline_what_the_old_keys_signed_is_used_no_more_once_the_new_root_is_known(
    honest: Stage,
) -> None:
    """The network ends right after the root: what is stored is the thief's, and it is not used."""
    numbers, _ = steal(honest)
    user = User(honest, "user")
    client = user.client()
    client.download(client.file(WHL), user.downloads)
    wheel = user.downloads / WHL
    offline = Policy(offline_for=timedelta(days=1)).offline_for
    assert user.client(offline_for=offline).verify(wheel).sha256 == sha256(EVIL)  # who asks nobody
    recover(honest, numbers)
    honest.server.tamper("metadata/timestamp.json", 404)
    with pytest.raises(UnreachableError):
        user.client().refresh()
    with pytest.raises((RefusedError, UnreachableError)):
        user.client(offline_for=offline).verify(wheel)
    honest.server.be_honest()
    client = user.client()
    good = client.download(client.file(WHL), user.downloads)
    assert user.client(offline_for=offline).verify(good).sha256 == sha256(GOOD)
    wheel.write_bytes(EVIL)
    with pytest.raises(RefusedError):
        user.client(offline_for=offline).verify(wheel)


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
