"""The record says what was changed and from where, and nothing that was not done."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from indextrust.ceremony.event import Event
from indextrust.ceremony.finish import outputs
from indextrust.ceremony.judge import judge
from indextrust.ceremony.proposal import Change
from tests.ceremony.event_room import NOW, genesis_of, next_of, person, server, signed

ANN, BOB, CID = (person(name) for name in ("Ann", "Bob", "Cid"))


def transcript(event: Event) -> str:
    return outputs(judge(event), now=NOW, tools={})["transcript.md"].decode()


def test_who_came_and_went_and_which_root_was_in_force_is_on_record() -> None:
    first = signed(genesis_of([ANN, BOB], 2, server()), [ANN, BOB])
    event = signed(next_of(first.roles, Change(add=[CID.holder], remove=["Bob"])), [ANN, BOB, CID])
    text = transcript(event)
    assert f"+ keyholder Cid (key {CID.keyid[:8]})" in text
    assert f"- keyholder Bob (key {BOB.keyid[:8]})" in text
    assert hashlib.sha256(first.root_file).hexdigest() in text


def test_a_genesis_was_not_followed_from_a_root_in_force() -> None:
    assert "from the root in force" not in transcript(
        signed(genesis_of([ANN, BOB], 2, server()), [ANN, BOB])
    )


def test_who_proposed_writes_no_markdown() -> None:
    event = genesis_of([ANN, BOB], 2, server())
    event = replace(event, proposed=replace(event.proposed, by="[x](http://evil) <b>**y"))
    text = transcript(signed(event, [ANN, BOB]))
    assert "[x](" not in text
    assert "<b>" not in text
