"""A proposer makes two events whose digests begin alike: one to be read aloud, one on a stick."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import click
import pytest

from indextrust.ceremony.event import Event, encode
from indextrust.ceremony.judge import judge
from indextrust.cli import ceremony
from indextrust.errors import CeremonyError
from tests.ceremony.event_room import genesis_of, person, server

VARIANTS = 1 << 18  # 2 ** 36 pairs, of which 16 have the first 32 bits in common


def beginnings(event: Event) -> dict[bytes, str]:
    """How the digest would begin, by who could be said to have proposed it."""
    mark = "Lea-0000000"
    data = encode(replace(event, proposed=replace(event.proposed, by=mark)))
    before, _, after = data.partition(mark[4:].encode())
    start, found = hashlib.sha256(before), {}
    for number in range(VARIANTS):
        one = start.copy()
        one.update(b"%07d" % number + after)
        found[one.digest()[:4]] = f"Lea-{number:07d}"
    return found


def test_an_event_that_begins_like_the_one_that_was_read_aloud_is_not_agreed_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ann, bob, eve, online = person("Ann"), person("Bob"), person("Bob"), server()
    honest, false = genesis_of([ann, bob], 2, online), genesis_of([ann, eve], 2, online)
    one, other = beginnings(honest), beginnings(false)
    common = one.keys() & other.keys()
    assert common, "by bad luck: 1 in 10 million"
    same = common.pop()
    honest = replace(honest, proposed=replace(honest.proposed, by=one[same]))
    false = replace(false, proposed=replace(false.proposed, by=other[same]))
    assert honest.digest[:8] == false.digest[:8]
    read_aloud = [honest.digest[at : at + 4] for at in range(0, 64, 4)]

    def typed(text: str, **_: object) -> str:
        """What Ann types: what is asked for, of what the others read to her."""
        numbers = [int(word.strip(",")) for word in text.split() if word.strip(",").isdigit()]
        if "first 8" in text:
            return honest.digest[:8]
        return " ".join(read_aloud[number - 1] for number in numbers)

    monkeypatch.setattr(click, "prompt", typed)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    ceremony._consent(judge(honest), "Ann", None)
    with pytest.raises(CeremonyError, match="not signed"):
        ceremony._consent(judge(false), "Ann", None)
