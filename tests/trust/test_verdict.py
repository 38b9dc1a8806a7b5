"""Bytes are judged by length and by every hash that is listed, one of them strong."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from indextrust.errors import AlarmError, HashMismatchError, LengthError
from indextrust.trust import Changed, FirstSeen, Remembered, TargetEntry, Unchanged, judge
from indextrust.trust.verdict import algorithms, check

DATA = b"artifact"


def _entry(*names: str, length: int = len(DATA), **other: str) -> TargetEntry:
    hashes = {name: hashlib.new(name, DATA).hexdigest() for name in names} | other
    return TargetEntry("files/p/p-1.tar.gz", length, hashes, "bin-0", 1, 1)


def _check(entry: TargetEntry, data: bytes) -> None:
    digests = {name: hashlib.new(name, data).hexdigest() for name in algorithms(entry)}
    check(entry, len(data), digests)


@pytest.mark.parametrize(
    "names", [("sha256",), ("sha512",), ("sha256", "sha512"), ("md5", "sha256")]
)
def test_the_right_bytes_are_accepted_and_no_others(names: tuple[str, ...]) -> None:
    entry = _entry(*names)
    _check(entry, DATA)
    with pytest.raises(HashMismatchError):
        _check(entry, b"Artifact")
    for data in (DATA[:-1], DATA + b"!", b""):
        with pytest.raises(LengthError):
            _check(entry, data)


@pytest.mark.parametrize("names", [("md5",), ("sha1",), ("md5", "sha1"), ("sha224",)])
def test_attack_34_weak_hashes_alone_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(HashMismatchError, match="no usable hash"):
        algorithms(_entry(*names))


def test_an_unknown_algorithm_is_refused_even_beside_a_known_one() -> None:
    with pytest.raises(HashMismatchError, match="no usable hash"):
        algorithms(_entry("sha256", whirlpool="00"))


def test_every_listed_hash_must_match() -> None:
    with pytest.raises(HashMismatchError, match="wrong sha512"):
        _check(_entry("sha256", sha512="0" * 128), DATA)
    with pytest.raises(HashMismatchError, match="no sha256 in hex"):
        _check(_entry(sha256=hashlib.sha256(DATA).hexdigest().upper()), DATA)
    with pytest.raises(HashMismatchError, match="got none"):
        check(_entry("sha256"), len(DATA), {})


@pytest.mark.parametrize("digest", ["../../x", "", "zz", "AB", "ab\n", "\u0661"])
def test_a_digest_that_is_not_hex_steers_no_request(digest: str) -> None:
    with pytest.raises(HashMismatchError, match="no sha512 in hex"):
        algorithms(_entry("sha256", sha512=digest))


def test_first_seen_memory_alarms_on_another_digest_and_on_nothing_else() -> None:
    seen = Remembered("p", "p-1.tar.gz", "a" * 64, datetime(2026, 1, 1, tzinfo=UTC), 7)
    assert judge(None, "b" * 64) == FirstSeen()
    assert judge(seen, "a" * 64) == Unchanged(seen)
    changed = judge(seen, "b" * 64)
    assert isinstance(changed, Changed)
    alarm = changed.error()
    assert isinstance(alarm, AlarmError)
    for part in ("p-1.tar.gz", "a" * 64, "b" * 64, "2026-01-01", "snapshot 7"):
        assert part in str(alarm)
