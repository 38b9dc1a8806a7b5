"""An incident record is part of a signing event: shown, signed, published, and kept for good."""

from __future__ import annotations

import dataclasses
import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner

from indextrust.ceremony import BinScheme, SignedRoles, genesis, rotate
from indextrust.ceremony.event import Event, decode, encode
from indextrust.ceremony.finish import check_finished, outputs
from indextrust.ceremony.judge import judge
from indextrust.ceremony.proposal import Change
from indextrust.ceremony.words import show
from indextrust.errors import CeremonyError, RepositoryError
from indextrust.incidents import Fingerprint, Incident, IncidentFile, parse
from indextrust.names import NormalizedName
from indextrust.repository import Repository
from tests.ceremony.event_room import (
    NOW,
    Person,
    altered,
    genesis_of,
    next_of,
    person,
    server,
    signed,
)
from tests.ceremony.parties import targets_of, tuf_client

BAD, GOOD = "b" * 64, "a" * 64
WHEEL = "demo-1.0-py3-none-any.whl"


def record(name: str = "2026-01-online-key", bad: str = BAD) -> Incident:
    file = IncidentFile(NormalizedName("demo"), WHEEL, (Fingerprint(bad),), Fingerprint(GOOD))
    return Incident(name, NOW, "The online key was stolen on 30 January.", (file,))


@pytest.fixture
def people() -> list[Person]:
    return [person("Ann"), person("Bob"), person("Eve")]


@pytest.fixture
def first(people: list[Person]) -> SignedRoles:
    return signed(genesis_of(people, 2, server()), people).roles


def finished(event: Event, people: list[Person]) -> dict[str, bytes]:
    judged = judge(signed(event, people), now=NOW)
    check_finished(judged, now=NOW)
    return outputs(judged, now=NOW, tools={})


def test_a_record_is_shown_signed_and_taken_along_by_every_later_event(
    first: SignedRoles, people: list[Person], tmp_path: Path
) -> None:
    event = next_of(first, Change(incidents=[record()]))
    assert event.kinds == ("incident",)
    assert decode(encode(event)) == event
    words = "\n".join(show(judge(event), NOW))
    for said in ("The online key was stolen on 30 January.", WHEEL, BAD, GOOD):
        assert said in words
    files = finished(event, people[:2])
    data = files["public/incidents/2026-01-online-key.json"]
    assert parse(data, path=record().path) == record()
    listed = targets_of(files["public/2.targets.json"]).targets[record().path]
    assert listed.hashes == {"sha256": hashlib.sha256(data).hexdigest()}
    for name, content in files.items():
        if name.startswith("full-backup/roles/"):
            place = tmp_path / name.removeprefix("full-backup/roles/")
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(content)
    current = SignedRoles.load(tmp_path)
    later = next_of(current, Change(incidents=[record("another", "c" * 64)]))
    assert sorted(targets_of(later.targets).targets) == [
        "incidents/2026-01-online-key.json",
        "incidents/another.json",
    ]
    assert BAD not in "\n".join(show(judge(later), NOW))  # it was shown before
    with pytest.raises(CeremonyError, match="there is an incident '2026-01-online-key' already"):
        next_of(current, Change(incidents=[record(bad="c" * 64)]))
    renewal = next_of(current, Change())
    assert renewal.kinds == ("renewal",)
    assert "public/incidents/2026-01-online-key.json" in finished(renewal, people[:2])


def test_a_new_index_can_begin_with_the_record_of_the_old_one(people: list[Person]) -> None:
    event = genesis_of(people, 2, server(), incidents=[record()])
    assert event.kinds == ("genesis", "incident")
    assert record().path in finished(event, people)["public/1.targets.json"].decode()


def other_bytes(tree: dict[str, Any]) -> None:
    path = record().path
    tree["incidents"][path] = tree["incidents"][path].replace(GOOD, "d" * 64)


def unlisted(tree: dict[str, Any]) -> None:
    tree["incidents"]["incidents/more.json"] = record("more").encode().decode()


def left_out(tree: dict[str, Any]) -> None:
    tree["incidents"].clear()


def no_object(tree: dict[str, Any]) -> None:
    tree["incidents"] = []


def unsaid(tree: dict[str, Any]) -> None:
    tree["kinds"] = ["renewal"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (other_bytes, "targets lists other bytes than the record has"),
        (unlisted, "not listed, and among the incident records"),
        (left_out, "listed by targets, and not among the incident records"),
        (no_object, "'incidents': expected an object, got list"),
        (unsaid, "makes it incident"),
    ],
)
def test_who_carries_an_event_cannot_alter_its_record(
    first: SignedRoles, change: Any, reason: str
) -> None:
    event = next_of(first, Change(incidents=[record()]))
    with pytest.raises(CeremonyError, match=reason):
        judge(decode(altered(event, change)))


def test_a_proposal_that_forgets_a_record_is_refused_by_keyholders(
    first: SignedRoles, people: list[Person]
) -> None:
    """Whoever proposes from roles without their records would have the thief forgotten."""
    event = signed(next_of(first, Change(incidents=[record()])), people[:2])
    after = SignedRoles((*first.root, event.root_file), event.targets, event.bins)
    with pytest.raises(CeremonyError, match="was listed before, and is not as it was"):
        next_of(after, Change())


def test_the_repository_serves_the_record_and_takes_no_other_target(
    keyholders: list[CryptoSigner], online: CryptoSigner, tmp_path: Path
) -> None:
    roles = genesis(keyholders, 2, online.public_key, bins=BinScheme.of(4), now=NOW)
    folder = tmp_path / "index"
    repository = Repository.create(folder, roles, online=online, clock=lambda: NOW)
    new = rotate(roles, keyholders, online.public_key, incidents=[record()], now=NOW)
    bare = dataclasses.replace(new, incidents={})
    with pytest.raises(RepositoryError, match="and no such record is there"):
        repository.install(bare, online)
    new.save(tmp_path / "stick")
    assert SignedRoles.load(tmp_path / "stick") == new
    repository.install(SignedRoles.load(tmp_path / "stick"), online)
    assert SignedRoles.load(repository.public / "metadata").incidents == new.incidents
    assert repository.signed_roles().incidents == new.incidents
    data = record().encode()
    digest = hashlib.sha256(data).hexdigest()
    places = ["2026-01-online-key.json", f"{digest}.2026-01-online-key.json"]
    folder = repository.public / "incidents"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == dict.fromkeys(
        places, data
    )
    for place in places:
        (folder / place).unlink()
    (folder / "pardon.json").write_bytes(b"{}")
    repaired = repository.restore().repaired
    assert "incidents/pardon.json" in repaired
    assert {path.name for path in folder.iterdir()} == set(places)
    assert repository.check().clean
    rebuilt = Repository.rebuild(repository.folder, roles.root[0], clock=lambda: NOW)
    assert rebuilt.faults == 0
    again = Repository.open(repository.folder, online=online, clock=lambda: NOW)
    assert again.signed_roles().incidents == new.incidents


def test_tufs_own_client_takes_targets_with_a_record(
    keyholders: list[CryptoSigner], online: CryptoSigner
) -> None:
    roles = genesis(keyholders, 2, online.public_key, bins=BinScheme.of(4), now=NOW)
    new = rotate(roles, keyholders, online.public_key, incidents=[record()], now=NOW)
    client = tuf_client(roles.root[0])
    client.update_root(new.root[0])
    assert record().path in targets_of(new.targets).targets
    client.root.verify_delegate("targets", *_signed(new.targets))
    with pytest.raises(CeremonyError, match="there is an incident"):
        rotate(
            dataclasses.replace(new, root=(*roles.root, *new.root)),
            keyholders,
            online.public_key,
            incidents=[record()],
            now=NOW + timedelta(days=1),
        )


def _signed(data: bytes) -> tuple[bytes, Any]:
    from tuf.api.metadata import Metadata

    metadata: Metadata[Any] = Metadata.from_bytes(data)
    return metadata.signed_bytes, metadata.signatures
