"""The log of the online key: every publication is in it, and no line leaves or moves unnoticed."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from indextrust.canonical import canonical
from indextrust.errors import AlteredStateError, SigningError, StoreError
from indextrust.names import SNAPSHOT, TIMESTAMP
from indextrust.repository import Repository
from indextrust.repository.plan import describe
from indextrust.repository.usage import FILE
from tests.repository.place import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An index with four publications: the empty one, two of a wheel each, and a renewal."""
    place = Place(tmp_path, bins=2)
    for version in ("1.0", "2.0"):
        place.clock.sleep(hours=20)
        place.publish(place.wheel("demo", version))
    place.clock.sleep(hours=20)
    place.repository.renew()
    return place


def log(place: Place) -> Path:
    return place.repository.folder / FILE


def lines(place: Place) -> list[bytes]:
    return log(place).read_bytes().splitlines(keepends=True)


def warned(place: Place) -> str:
    """What `status` says of the log."""
    status = place.repository.status()
    assert (status.uses is None) == any(FILE in warning for warning in status.warnings)
    return "\n".join(status.warnings)


def test_each_publication_is_one_entry_that_public_metadata_bears_out(place: Place) -> None:
    entries = [json.loads(line) for line in lines(place)]
    assert [entry["number"] for entry in entries] == [1, 2, 3, 4]
    assert [entry["bins"] for entry in entries] == [2, 2, 2, 2]
    assert {entry["keyid"] for entry in entries} == {place.online.public_key.keyid}
    last = entries[-1]
    public = place.public / "metadata"
    timestamp = (public / "timestamp.json").read_bytes()
    versions = place.versions()
    assert (last["timestamp"], last["snapshot"]) == (versions[TIMESTAMP], versions[SNAPSHOT])
    assert last["sha256"] == hashlib.sha256(timestamp).hexdigest()
    signed = {TIMESTAMP: (versions[TIMESTAMP], timestamp)} | {
        name: (versions[name], (public / f"{versions[name]}.{name}.json").read_bytes())
        for name in (SNAPSHOT, "bin-0", "bin-1")
    }
    text = "".join(
        f"{name} {version} {describe(data).sha256}\n"
        for name, (version, data) in sorted(signed.items())
    )
    assert last["batch"] == hashlib.sha256(text.encode()).hexdigest()
    assert stat.S_IMODE(log(place).stat().st_mode) == 0o600


def test_status_counts_uses_and_tells_the_rate(place: Place) -> None:
    place.repository.check_uses()
    uses = place.repository.status().uses
    assert uses is not None
    assert (uses.count, uses.last_day, uses.last_week) == (4, 2, 4)
    place.clock.sleep(days=6)
    uses = place.repository.status().uses
    assert uses is not None
    assert (uses.count, uses.last_day, uses.last_week) == (4, 0, 2)


def test_nothing_to_sign_is_no_use(place: Place) -> None:
    before = log(place).read_bytes()
    assert place.repository.publish().nothing_to_do
    assert place.repository.renew() is None
    assert log(place).read_bytes() == before


def test_the_log_may_lie_elsewhere(tmp_path: Path) -> None:
    place = Place(tmp_path, bins=2)
    elsewhere = tmp_path / "elsewhere" / "uses.log"
    elsewhere.parent.mkdir()
    log(place).rename(elsewhere)
    repository = Repository.open(
        place.repository.folder, online=place.online, clock=place.clock, online_log=elsewhere
    )
    repository.add(place.wheel("demo", "1.0"))
    repository.publish()
    uses = repository.status().uses
    assert uses is not None
    assert (uses.place, uses.count) == (str(elsewhere), 2)
    assert not log(place).exists()
    assert "the log was kept elsewhere" in warned(place)


def test_a_publication_that_cannot_be_logged_is_not_published(place: Place) -> None:
    served = (place.public / "metadata" / "timestamp.json").read_bytes()
    saved = log(place).read_bytes()
    log(place).unlink()
    log(place).mkdir()
    place.repository.add(place.wheel("demo", "3.0"))
    with pytest.raises(StoreError, match=FILE):
        place.repository.publish()
    assert (place.public / "metadata" / "timestamp.json").read_bytes() == served
    log(place).rmdir()
    log(place).write_bytes(saved)
    place.repository.publish()
    assert "3.0" in place.document("demo")["versions"]
    place.repository.check_uses()


def test_a_signer_that_fails_leaves_no_entry(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object) -> None:
        raise ConnectionError("no key today")

    before = log(place).read_bytes()
    place.repository.add(place.wheel("demo", "3.0"))
    with monkeypatch.context() as broken:
        broken.setattr(CryptoSigner, "sign", offline)
        with pytest.raises(SigningError):
            place.repository.publish()
    assert log(place).read_bytes() == before
    place.repository.publish()
    place.repository.check_uses()


def test_a_half_written_entry_is_none_and_the_next_one_takes_its_place(place: Place) -> None:
    before = log(place).read_bytes()
    log(place).write_bytes(before + lines(place)[-1][:100])
    place.repository.check_uses()
    place.publish(place.wheel("demo", "3.0"))
    assert log(place).read_bytes().startswith(before + b'{"batch"')
    place.repository.check_uses()


def _altered(entries: list[bytes]) -> list[bytes]:
    return [entries[0], entries[1].replace(b'"bins":2', b'"bins":1'), *entries[2:]]


def _last_altered(entries: list[bytes]) -> list[bytes]:
    return [*entries[:-1], entries[-1].replace(b'"bins":2', b'"bins":0')]


def _swapped(entries: list[bytes]) -> list[bytes]:
    return [entries[0], entries[2], entries[1], entries[3]]


def _twice(entries: list[bytes]) -> list[bytes]:
    return [*entries, entries[-1]]


def _chained(entries: list[bytes]) -> list[bytes]:
    """What who can write the file makes of it: numbers and digests fit again."""
    done: list[bytes] = []
    for number, line in enumerate(entries, 1):
        previous = hashlib.sha256(done[-1]).hexdigest() if done else "0" * 64
        tree = {**json.loads(line), "number": number, "previous": previous}
        done.append(canonical(tree) + b"\n")
    return done


def _other_digest(entries: list[bytes]) -> list[bytes]:
    tree = {**json.loads(entries[1]), "sha256": "0" * 64}
    return _chained([entries[0], canonical(tree), *entries[2:]])


TAMPERING: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "altered": _altered,
    "one left out": lambda entries: [entries[0], *entries[2:]],
    "moved": _swapped,
    "the end cut off": lambda entries: entries[:-1],
    "the beginning cut off": lambda entries: entries[1:],
    "all gone": lambda _: [],
    "one twice": _twice,
    "left out, and chained anew": lambda entries: _chained([entries[0], *entries[2:]]),
    "the beginning cut off, and chained anew": lambda entries: _chained(entries[1:]),
    "moved, and chained anew": lambda entries: _chained(_swapped(entries)),
    "another timestamp, and chained anew": _other_digest,
    "the last newline gone": lambda entries: [*entries[:-1], entries[-1][:-1]],
    "a stranger's line": lambda entries: [*entries, b"{}\n"],
    "blanks": lambda entries: [*entries[:-1], entries[-1].replace(b":", b": ")],
    "no end": lambda entries: [*entries, b"x" * 100_000],
}


@pytest.mark.parametrize("how", TAMPERING)
def test_a_log_that_was_tampered_with_is_found_by_status_and_by_the_check(
    place: Place, how: str
) -> None:
    changed = TAMPERING[how](lines(place))
    assert changed != lines(place)
    log(place).write_bytes(b"".join(changed))
    with pytest.raises(AlteredStateError, match=FILE):
        place.repository.check_uses()
    assert FILE in warned(place)


def test_an_altered_last_entry_is_found_by_the_next_one(place: Place) -> None:
    """Its own digest stands in the next entry; until then, in nobody's."""
    log(place).write_bytes(b"".join(_last_altered(lines(place))))
    place.repository.check_uses()
    place.publish(place.wheel("demo", "3.0"))
    entry = json.loads(lines(place)[-2])
    assert entry["bins"] == 0


def test_no_entry_follows_a_strangers_line(place: Place) -> None:
    served = (place.public / "metadata" / "timestamp.json").read_bytes()
    with log(place).open("ab") as file:
        file.write(b"not an entry\n")
    place.repository.add(place.wheel("demo", "3.0"))
    with pytest.raises(AlteredStateError, match="move the file away"):
        place.repository.publish()
    assert (place.public / "metadata" / "timestamp.json").read_bytes() == served


def test_a_new_online_key_goes_on_in_the_same_log(place: Place) -> None:
    new = CryptoSigner.generate_ed25519()
    place.repository.install(place.rotation(new), new)
    keyids = [json.loads(line)["keyid"] for line in lines(place)]
    assert keyids[-2:] == [place.online.public_key.keyid, new.public_key.keyid]
    place.repository.check_uses()


# -- another place -------------------------------------------------------------------------------


def opened(place: Place, online_log: Path | None = None) -> Repository:
    return Repository.open(
        place.repository.folder, online=place.online, clock=place.clock, online_log=online_log
    )


def test_the_place_is_remembered_when_the_log_is_written_there_and_not_before(
    tmp_path: Path,
) -> None:
    place = Place(tmp_path, bins=2)
    elsewhere = tmp_path / "elsewhere.log"
    assert opened(place, elsewhere).status().uses is None
    opened(place).check_uses()  # nobody published: the usual one still
    log(place).rename(elsewhere)
    repository = opened(place, elsewhere)
    repository.add(place.wheel("demo", "1.0"))
    repository.publish()
    later = opened(place)
    assert later.status().uses.place == str(elsewhere)  # type: ignore[union-attr]
    later.add(place.wheel("demo", "2.0"))
    later.publish()
    assert not log(place).exists()
    assert opened(place).check().clean

    elsewhere.rename(log(place))  # and back again
    repository = opened(place, log(place))
    repository.add(place.wheel("demo", "3.0"))
    repository.publish()
    assert opened(place).check().clean
    assert not elsewhere.exists()


def test_a_thief_who_points_it_elsewhere_is_found_out_by_the_check(tmp_path: Path) -> None:
    """He writes the folder's files, and has no key of the queue."""
    place = Place(tmp_path, bins=2)
    place.publish(place.wheel("demo", "1.0"))
    empty = tmp_path / "empty.log"
    empty.touch()
    remembered = place.repository.folder / "online.place"
    remembered.write_text(f"{empty}\n")
    (found,) = opened(place).check().differences
    assert (found.kind, found.where) == ("uses", str(empty))
    assert "is not in it as it was published" in found.what
    assert opened(place, log(place)).check().clean


@pytest.mark.parametrize("noted", [b"", b"uses.log\n", b"/a\n/b\n", b"/a\0b\n"])
def test_a_place_that_is_none_is_told_of(noted: bytes, tmp_path: Path) -> None:
    place = Place(tmp_path, bins=2)
    (place.repository.folder / "online.place").write_bytes(noted)
    with pytest.raises(StoreError, match=r"expected the path of the log .* by --online-log"):
        opened(place)
    assert opened(place, log(place)).check().clean


@pytest.mark.timeout(20)
def test_a_place_that_is_a_pipe_keeps_nobody_waiting(tmp_path: Path) -> None:
    place = Place(tmp_path, bins=2)
    os.mkfifo(tmp_path / "pipe")
    (place.repository.folder / "online.place").write_text(f"{tmp_path / 'pipe'}\n")
    (found,) = opened(place).check().differences
    assert "expected a regular file" in found.what
    warnings = opened(place).status().warnings
    assert any("expected a regular file" in line for line in warnings)
