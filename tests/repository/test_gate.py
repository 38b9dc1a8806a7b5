"""Between the last write and the publication: what a client would refuse is found there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner, Signature

from indextrust.errors import RepositoryError, SigningError
from indextrust.repository import bins, encode
from indextrust.repository import workers as workers_module
from indextrust.repository.encode import Payload, SnapshotList
from indextrust.repository.gate import Reader
from indextrust.repository.plan import RoleFile
from indextrust.repository.signing import opened, sign_payload
from indextrust.repository.storage import FolderStorage
from tests.repository.place import Place
from tests.repository.test_publish import client

SOON = "2026-01-31T12:30:00Z"


def _flip(data: bytes, _: bytes) -> bytes:
    at = data.index(b'"sig":"') + 20
    return data[:at] + (b"0" if data[at : at + 1] != b"0" else b"1") + data[at + 1 :]


def _another_length(data: bytes, _: bytes) -> bytes:
    return data.replace(b'"length":', b'"length":1')


def _the_one_before(_: bytes, old: bytes) -> bytes:
    return old


ALTERED: list[Callable[[bytes, bytes], bytes]] = [_flip, _another_length, _the_one_before]


@pytest.mark.parametrize("alter", ALTERED)
@pytest.mark.parametrize("projects", [1, 100])
def test_a_bin_that_was_altered_after_it_was_written_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    alter: Callable[[bytes, bytes], bytes],
    projects: int,
) -> None:
    """Whichever bin it is, and whoever reads it: 100 projects are read by other processes."""
    monkeypatch.setattr(workers_module, "cores", lambda: 2)
    monkeypatch.setattr(workers_module, "_LEAST", 256)
    place = Place(tmp_path, bins=512)
    place.publish(*(place.wheel(f"demo{number}", "1.0") for number in range(projects)))
    returning = client(place)
    returning.refresh()
    before = (place.public / "metadata/timestamp.json").read_bytes()
    old = place.versions()
    place.repository.add(*(place.wheel(f"demo{number}", "2.0") for number in range(projects)))
    sync = FolderStorage.sync
    altered: list[Path] = []

    def hostile(self: FolderStorage) -> None:
        sync(self)
        written = sorted((place.public / "metadata").glob("*.bin-*.json"))
        new = [
            path for path in written if int(path.name.split(".")[0]) > old[path.name.split(".")[1]]
        ]
        if new and not altered:
            path = new[len(new) // 2]
            altered.append(path)
            name = path.name.split(".")[1]
            last = place.public / "metadata" / f"{old[name]}.{name}.json"
            path.write_bytes(alter(path.read_bytes(), last.read_bytes()))

    with monkeypatch.context() as patch:
        patch.setattr(FolderStorage, "sync", hostile)
        with pytest.raises(RepositoryError, match="not published, a client would"):
            place.repository.publish()
    assert altered
    assert (place.public / "metadata/timestamp.json").read_bytes() == before
    returning.refresh()
    assert place.reopen().publish().added == projects


@pytest.mark.parametrize("role", ["bin", "snapshot"])
def test_what_expires_sooner_than_was_thought_is_refused(
    place: Place, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    """Valid now, and not for long: an encoder gone wrong, or a clock in another zone."""
    place.publish(place.wheel("demo", "1.0"))
    before = (place.public / "metadata/timestamp.json").read_bytes()
    place.repository.add(place.wheel("demo", "2.0"))
    edited, payload = encode.edited_payload, SnapshotList.payload
    with monkeypatch.context() as patch:
        if role == "bin":

            def soon(entries: bytes, version: int, _: str, *more: Any) -> Any:
                return edited(entries, version, SOON, *more)

            patch.setattr(bins, "edited_payload", soon)
        else:
            patch.setattr(SnapshotList, "payload", lambda self, n, _: payload(self, n, SOON))
        with pytest.raises(RepositoryError, match=f"a client would refuse it: {role}.* expired"):
            place.repository.publish()
    assert (place.public / "metadata/timestamp.json").read_bytes() == before
    assert place.repository.publish().added == 1


def test_offline_roles_that_end_soon_stop_nothing(place: Place) -> None:
    """The second look is no later than they live: the keyholders are asked in time elsewhere."""
    ends = min(role.expires for role in place.repository._offline(None).roles.values())
    place.clock.now = place.clock.now.fromisoformat(ends)
    place.clock.sleep(seconds=-30)
    assert place.repository.renew() is not None
    client(place).refresh()


@pytest.mark.parametrize("alter", ALTERED)
@pytest.mark.parametrize("least", [4, 10**6])
def test_a_bin_that_was_renewed_and_altered_before_it_is_published_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    alter: Callable[[bytes, bytes], bytes],
    least: int,
) -> None:
    """None of its targets is looked up, and other processes read it, or this one."""
    monkeypatch.setattr(workers_module, "cores", lambda: 2)
    monkeypatch.setattr(workers_module, "_LEAST", least)
    monkeypatch.setattr(workers_module, "_LEAST_STARTED", least)
    place = Place(tmp_path, bins=16)
    place.publish(*(place.wheel(f"demo{number}", "1.0") for number in range(20)))
    before = (place.public / "metadata/timestamp.json").read_bytes()
    old = place.versions()
    place.clock.sleep(hours=23)
    sync = FolderStorage.sync
    altered: list[Path] = []

    def hostile(self: FolderStorage) -> None:
        sync(self)
        path = place.public / "metadata" / f"{old['bin-7'] + 1}.bin-7.json"
        if path.exists() and not altered:
            altered.append(path)
            last = place.public / "metadata" / f"{old['bin-7']}.bin-7.json"
            path.write_bytes(alter(path.read_bytes(), last.read_bytes()))

    with monkeypatch.context() as patch:
        patch.setattr(FolderStorage, "sync", hostile)
        with pytest.raises(RepositoryError, match="a client would get another"):
            place.repository.renew()
    assert altered
    assert (place.public / "metadata/timestamp.json").read_bytes() == before
    renewed = place.reopen().renew()
    assert renewed is not None
    assert len(renewed.bins) == 16


def test_a_renewed_bin_that_another_key_signed_is_refused(place: Place) -> None:
    """A process that helped to sign had another key, or none: the file is what it wrote, and so
    nothing but the signature tells."""
    place.publish(place.wheel("demo", "1.0"))
    path = place.public / "metadata" / f"{place.versions()['bin-1']}.bin-1.json"
    _, payload = opened(path.read_bytes(), where=path.name)
    online = place.online.public_key
    key = (online.keyid, online.to_dict())
    storage = FolderStorage(place.public, place.folder / "scratch", place.folder / "aside")
    version = place.versions()["bin-1"]

    def check() -> None:
        written = RoleFile.of(version, path.read_bytes())
        Reader(storage).check_signed(key, [("bin-1", written)])

    check()
    stranger = CryptoSigner.generate_ed25519()
    path.write_bytes(sign_payload(Payload(payload), stranger))
    with pytest.raises(SigningError, match="a client would refuse it: bin-1: not signed by enough"):
        check()
    stranger.public_key.keyid = online.keyid  # it says that it was the right one
    path.write_bytes(sign_payload(Payload(payload), stranger))
    with pytest.raises(SigningError, match="a client would refuse it: bin-1: not signed by enough"):
        check()
    path.write_bytes(b'{"signatures":[],"signed":%b}' % payload)
    with pytest.raises(SigningError, match=f"{path.name}: expected a file with one signature"):
        check()


@given(st.text(), st.text())
def test_the_signature_in_a_file_is_read_as_json_whatever_its_key_is_called(
    keyid: str, signature: str
) -> None:
    entry = json.dumps({"keyid": keyid, "sig": signature}, separators=(",", ":"))
    data = b'{"signatures":[%b],"signed":{"x":1}}' % entry.encode()
    assert opened(data, where="x") == (Signature(keyid, signature), b'{"x":1}')


@pytest.mark.parametrize("odd", [b"\xff", b"\xc3", b"\n", b"\\x", b'"', b"\\"])
def test_a_signature_that_is_no_string_is_none(odd: bytes) -> None:
    entries = [b'{"keyid":"%b","sig":"ab"}', b'{"keyid":"ab","sig":"%b"}']
    data = [b'{"signatures":[%b],"signed":{}}' % (entry % odd) for entry in entries]
    for each in data:
        with pytest.raises(SigningError, match="x: expected a file with one signature"):
            opened(each, where="x")
