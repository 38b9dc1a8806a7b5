"""The layout ``projects``: documents alone are targets, and their hashes vouch for the files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from securesystemslib.signer import CryptoSigner
from tuf.ngclient import Updater

from indextrust.ceremony import BinScheme, check_event, genesis
from indextrust.ceremony.root import Plan
from indextrust.ceremony.signing_event import _sign
from indextrust.client import Client, FileMetadataStore, SqliteMemory, Urllib3Fetcher
from indextrust.errors import (
    CeremonyError,
    ChangedArtifactError,
    HashMismatchError,
    InputError,
    LengthError,
    RemovedArtifactError,
    RepositoryError,
    UnreachableError,
)
from indextrust.names import layout_of
from indextrust.testing import OnlineKeyThief, TamperingServer, malicious_wheel
from indextrust.trust import Policy
from tests.repository.place import Clock, Place, everything

WHEEL = "demo-1.0-py3-none-any.whl"
DOCUMENT = "simple/demo/index.json"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An index of this layout, with one wheel in it."""
    place = Place(tmp_path, Clock(datetime.now(UTC)), layout="projects")
    place.publish(place.wheel("demo", "1.0"))
    return place


@pytest.fixture
def server(place: Place) -> Iterator[TamperingServer]:
    with TamperingServer(place.public) as server:
        yield server


def client(place: Place, server: TamperingServer, *, offline: bool = False) -> Client:
    """A run of one user's client."""
    home = place.folder / "ann"
    home.mkdir(exist_ok=True)
    return Client(
        server.url,
        root=place.roles.root[0],
        store=FileMetadataStore(home / "metadata"),
        memory=SqliteMemory(home / "memory.sqlite"),
        fetcher=Urllib3Fetcher(seconds=20),
        name="index",
        policy=Policy(offline_for=timedelta(days=1)) if offline else None,
    )


def listed(place: Place) -> set[str]:
    """Every target path in the bins that are served."""
    return {
        path
        for name, version in place.versions().items()
        if name.startswith("bin-")
        for path in place.signed(f"{version}.{name}.json")["targets"]
    }


def names(place: Place, folder: str) -> set[str]:
    """The files in a folder below the public one."""
    return {path.name for path in (place.public / folder).iterdir()}


# -- what is served ------------------------------------------------------------------------------


def test_targets_tells_the_layout_and_documents_alone_are_targets(place: Place) -> None:
    (delegation,) = place.signed("1.targets.json")["delegations"]["roles"]
    assert delegation["paths"] == ["simple/*/*"]
    assert listed(place) == {DOCUMENT}
    assert place.repository.expected_targets().keys() == {DOCUMENT}
    assert place.repository.published_targets() == place.repository.expected_targets()
    assert place.repository.audit().clean
    assert names(place, "files/demo") == {WHEEL, f"{WHEEL}.metadata"}, "their plain names alone"
    sha256 = place.repository.expected_targets()[DOCUMENT].sha256
    assert names(place, "simple/demo") == {"index.json", f"{sha256}.index.json", "index.html"}


def test_a_publication_signs_one_bin_however_many_files_it_has(place: Place) -> None:
    place.repository.add(*(place.wheel("demo", f"2.{minor}") for minor in range(8)))
    published = place.repository.publish()
    assert (published.added, len(published.bins)) == (8, 1)


def test_a_removed_file_leaves_and_comes_back_with_its_own_bytes_only(place: Place) -> None:
    wheel = (place.public / "files/demo" / WHEEL).read_bytes()
    place.repository.remove("demo", WHEEL)
    published = place.repository.publish()
    assert (published.removed, len(published.bins)) == (1, 1)
    assert names(place, "files/demo") == set()
    assert place.document("demo")["files"] == []
    with pytest.raises(RepositoryError, match="the name is taken"):
        place.repository.add(place.wheel("demo", "1.0", content="evil = 1"))
    place.publish(place.wheel("demo", "1.0"))
    assert (place.public / "files/demo" / WHEEL).read_bytes() == wheel


def test_yank_and_renewal_are_as_in_the_other_layout(place: Place) -> None:
    place.repository.yank("demo", WHEEL, "broken")
    assert len(place.repository.publish().bins) == 1
    assert place.document("demo")["files"][0]["yanked"] == "broken"
    place.clock.sleep(hours=20)
    renewed = place.repository.renew()
    assert renewed is not None
    assert len(renewed.bins) == place.bins
    assert listed(place) == {DOCUMENT}


# -- clients -------------------------------------------------------------------------------------


def test_a_client_fetches_one_bin_for_a_project_and_none_for_its_files(
    place: Place, server: TamperingServer
) -> None:
    wheel = (place.public / "files/demo" / WHEEL).read_bytes()
    ann = client(place, server)
    found = ann.file(WHEEL)
    assert sum(".bin-" in path for path in server.requests) == 1
    server.requests.clear()
    assert ann.download(found, place.folder).read_bytes() == wheel
    assert b"Name: demo" in ann.metadata(found)
    assert server.requests == [f"files/demo/{WHEEL}", f"files/demo/{WHEEL}.metadata"]


@pytest.mark.parametrize("what", [WHEEL, f"{WHEEL}.metadata"])
def test_other_bytes_than_the_page_vouches_for_are_refused(
    place: Place, server: TamperingServer, what: str
) -> None:
    server.tamper(f"files/demo/{what}", lambda data: data[:-1] + b"!")
    ann = client(place, server)
    found = ann.file(WHEEL)
    with pytest.raises(HashMismatchError, match=f"{what}: wrong sha256"):
        ann.download(found, place.folder) if what == WHEEL else ann.metadata(found)
    assert not (place.folder / WHEEL).exists()


def test_core_metadata_without_an_end_is_cut_short(place: Place, server: TamperingServer) -> None:
    server.tamper(f"files/demo/{WHEEL}.metadata", b"x" * 8_000_001)
    ann = client(place, server)
    found = ann.file(WHEEL)
    with pytest.raises(LengthError, match="8000000"):
        ann.metadata(found)
    server.tamper(f"files/demo/{WHEEL}.metadata", 404)
    with pytest.raises(UnreachableError, match="the server has no such file"):
        ann.metadata(found)


def test_a_local_file_is_verified_by_the_page_and_offline_by_nothing(
    place: Place, server: TamperingServer
) -> None:
    """Pages are not stored, so offline nothing vouches for a file: the answer says so, and is
    neither "verified" nor "refused"."""
    ann = client(place, server)
    path = ann.download(ann.file(WHEEL), place.folder)
    assert ann.verify(path).entry.role.startswith("bin-")
    assert ann.verify_deeply(path).size == path.stat().st_size
    before = everything(place.folder / "ann")
    server.requests.clear()
    with pytest.raises(UnreachableError, match="its project's page alone vouches for it"):
        client(place, server, offline=True).verify(path)
    assert server.requests == []
    assert everything(place.folder / "ann") == before


def test_tufs_updater_reads_documents_and_finds_no_file(
    place: Place, server: TamperingServer
) -> None:
    home = place.folder / "somebody"
    home.mkdir()
    updater = Updater(
        str(home / "metadata"),
        server.url + "metadata/",
        str(home),
        server.url,
        bootstrap=place.roles.root[0],
    )
    info = updater.get_targetinfo(DOCUMENT)
    assert info is not None
    document = json.loads(Path(updater.download_target(info)).read_bytes())
    assert [file["filename"] for file in document["files"]] == [WHEEL]
    server.requests.clear()
    assert updater.get_targetinfo(f"files/demo/{WHEEL}") is None
    assert server.requests == [], "the walk ends at targets"


def test_who_saw_a_file_is_told_when_a_thief_replaces_it(
    place: Place, server: TamperingServer
) -> None:
    """The thief of the online key signs a new document; and a target that nobody looks up."""
    client(place, server).file(WHEEL)
    evil = malicious_wheel((place.public / "files/demo" / WHEEL).read_bytes(), "demo.py", "EVIL=1")
    key = place.online._private_key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"stolen")
    )
    OnlineKeyThief(place.public, key, b"stolen", now=place.clock.now).replace_file(
        "demo", WHEEL, evil
    )
    ann = client(place, server)
    with pytest.raises(ChangedArtifactError):
        ann.download(ann.file(WHEEL), place.folder)
    found = place.repository.audit()
    assert found.changed == (DOCUMENT,)
    (fault,) = found.faults
    assert f"no client follows its entry of 'files/demo/{WHEEL}'" in fault

    place.clock.sleep(minutes=1)
    restored = place.repository.restore()
    assert f"files/demo/{WHEEL}" in restored.repaired
    assert place.repository.audit().clean
    ann = client(place, server)
    assert ann.download(ann.file(WHEEL), place.folder).exists()


def test_a_file_that_left_after_its_page_was_read_is_no_attack(
    place: Place, server: TamperingServer
) -> None:
    ann = client(place, server)
    found = ann.file(WHEEL)
    place.repository.remove("demo", WHEEL)
    place.repository.publish()
    with pytest.raises(UnreachableError, match="the server has no such file"):
        ann.download(found, place.folder)
    with pytest.raises(RemovedArtifactError):
        client(place, server).file(WHEEL)


# -- repair, keys, time --------------------------------------------------------------------------


def test_restore_brings_back_every_file_and_sets_strangers_aside(place: Place) -> None:
    before = everything(place.public / "files")
    (place.public / "files/demo" / WHEEL).write_bytes(b"evil")
    (place.public / "files/demo" / f"{WHEEL}.metadata").unlink()
    stranger = f"files/demo/{'0' * 64}.{WHEEL}"
    (place.public / stranger).write_bytes(b"no hash-prefixed name belongs here")
    assert {*place.repository.restore().repaired} >= {
        f"files/demo/{WHEEL}",
        f"files/demo/{WHEEL}.metadata",
        stranger,
    }
    assert everything(place.public / "files") == before
    assert place.repository.audit().clean
    place.publish(place.wheel("demo", "2.0"))


def test_a_rotation_keeps_the_layout(place: Place, server: TamperingServer) -> None:
    client(place, server).refresh()
    new = CryptoSigner.generate_ed25519()
    place.repository.install(place.rotation(new), new)
    (delegation,) = place.signed("2.targets.json")["delegations"]["roles"]
    assert delegation["paths"] == ["simple/*/*"]
    place.publish(place.wheel("demo", "2.0"))
    assert listed(place) == {DOCUMENT}
    ann = client(place, server)
    assert ann.download(ann.file("demo-2.0-py3-none-any.whl"), place.folder).exists()


def test_an_index_keeps_its_layout(tmp_path: Path) -> None:
    """Keyholders who sign for another layout are stopped in the room; what they signed elsewhere
    is refused, and nothing has changed."""
    place = Place(tmp_path)
    keys = [keyholder.public_key for keyholder in place.keyholders]
    online, scheme = place.online.public_key, BinScheme.of(place.bins)
    event = Plan(2, 2, 2, keys, 2, online, scheme, place.clock.now, "projects")
    roles = _sign(event, place.keyholders)
    with pytest.raises(CeremonyError, match="expected the layout 'pep458' as before"):
        check_event(roles, place.roles, now=place.clock.now)
    before = everything(place.public)
    with pytest.raises(RepositoryError, match="expected the layout 'pep458' as before"):
        place.repository.install(roles, place.online)
    assert everything(place.public) == before


@pytest.mark.parametrize("paths", [["files/*/*"], ["simple/*/*", "*/*"], []])
def test_paths_of_no_layout_are_refused(tmp_path: Path, paths: list[str]) -> None:
    place = Place(tmp_path)
    with pytest.raises(InputError, match="expected the path patterns of a layout"):
        layout_of(paths)
    with pytest.raises(InputError, match="expected one of the layouts pep458, projects, got 'x'"):
        genesis(
            place.keyholders,
            2,
            place.online.public_key,
            bins=BinScheme.of(2),
            now=place.clock.now,
            layout="x",  # type: ignore[arg-type]
        )
