"""A name is read on a screen: what can't be seen, or draws elsewhere, is in none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from indextrust.ceremony.event import decode, encode
from indextrust.ceremony.judge import judge
from indextrust.ceremony.words import show
from indextrust.errors import CeremonyError, InputError
from tests.ceremony.event_room import NOW, genesis_of, person, server

DECEIVING = {
    "another line on a terminal of 80": "Ann" + " " * 60 + "= keyholder Bob (key 0123abcd)",
    "hangul filler": "Ann\u3164",
    "hangul choseong filler": "Ann\u115f",
    "halfwidth filler": "Ann\uffa0",
    "braille blank": "\u2800Ann",
    "grapheme joiner": "A\u034fnn",
    "variation selector": "Ann\ufe0f",
    "supplementary selector": "Ann\U000e0100",
    "khmer inherent vowel": "Ann\u17b4",
    "marks over the lines above": "A" + "\u0301" * 40,
}


BESIDE = {"another key": "Ann (key 1c4e1234), ed25519, read aloud 1111 2222 3333 4444"}
"""What stands beside a name, as if it were said of it."""


@pytest.mark.parametrize("name", (DECEIVING | BESIDE).values(), ids=DECEIVING | BESIDE)
def test_nobody_is_a_keyholder_under_such_a_name(name: str) -> None:
    with pytest.raises(InputError, match="printable"):
        person(name)
    with pytest.raises(InputError, match="printable"):
        person("Ann", serial=name)


@pytest.mark.parametrize("name", DECEIVING.values(), ids=DECEIVING)
def test_nobody_proposes_under_such_a_name(name: str) -> None:
    """`proposed.by` stands above the digest: with blanks it draws a false one there."""
    event = genesis_of([person("Ann"), person("Bob")], 2, server())
    for proposed in (replace(event.proposed, by=name), replace(event.proposed, software=name)):
        with pytest.raises(CeremonyError, match="printable"):
            decode(encode(replace(event, proposed=proposed)))


@pytest.mark.parametrize("twin", ["Ann", "ANN", "\uff21nn", "\u0410nn"])
def test_two_keyholders_whose_names_look_alike_are_pointed_out(twin: str) -> None:
    """Somebody's second key under another's name: `you know every name` would not notice."""
    event = genesis_of([person("Ann"), person(twin), person("Zoe")], 2, server())
    shown = "\n".join(show(judge(event), NOW))
    assert "look alike" in shown
    honest = genesis_of(
        [person("Ann"), person("J\u00fcrgen"), person("\u0410\u043d\u043d\u0430")], 2, server()
    )
    assert "look alike" not in "\n".join(show(judge(honest), NOW))
