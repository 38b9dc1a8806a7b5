"""People with keys in memory, and signing events among them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from securesystemslib.signer import CryptoSigner, Key

from indextrust.ceremony import BinScheme, SignedRoles
from indextrust.ceremony.event import Event, Proposed, decode, encode
from indextrust.ceremony.gather import add_signature
from indextrust.ceremony.judge import judge
from indextrust.ceremony.keyholders import Keyholder, KeyRole, Profile
from indextrust.ceremony.proposal import Change, propose_genesis, propose_next
from indextrust.incidents import Incident
from indextrust.repository.public_keys import keyholder_of

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
PROPOSED = Proposed("Lea", NOW, "indextrust 1")
FOUR_BINS = BinScheme.of(4)


@dataclass(frozen=True)
class Person:
    """Somebody, or a server, with a key."""

    signer: CryptoSigner
    holder: Keyholder

    @property
    def keyid(self) -> str:
        return self.holder.key.keyid


def person(
    name: str | None, role: KeyRole = "root", serial: str | None = None, *, rehearsal: bool = False
) -> Person:
    signer = CryptoSigner.generate_ed25519()
    holder = keyholder_of(signer.public_key, name, serial, role, rehearsal=rehearsal)
    return Person(signer, holder)


def practising(one: Person) -> Person:
    """The same key, marked as one to practise with: what nobody should do with a real one."""
    holder = one.holder
    key = Key.from_dict(one.keyid, {**holder.key.to_dict()})
    owner = None if holder.role == "online" else holder.owner
    marked = keyholder_of(key, owner, holder.serial, holder.role, rehearsal=True)
    return Person(one.signer, marked)


def server(*, rehearsal: bool = False) -> Person:
    return person(None, "online", rehearsal=rehearsal)


def genesis_of(
    people: Sequence[Person],
    threshold: int,
    online: Person,
    *,
    rehearsal: bool = False,
    incidents: Sequence[Incident] = (),
) -> Event:
    return propose_genesis(
        [one.holder for one in people],
        threshold,
        online.holder,
        bins=FOUR_BINS,
        layout="pep458",
        profile=Profile.PORTABLE,
        proposed=PROPOSED,
        rehearsal=rehearsal,
        incidents=incidents,
    )


def next_of(current: SignedRoles, change: Change) -> Event:
    return propose_next(current, change, profile=Profile.PORTABLE, proposed=PROPOSED)


def signed(event: Event, people: Iterable[Person]) -> Event:
    """As it is after these have signed, one after the other; each gets it as a file."""
    for one in people:
        judged = judge(decode(encode(event)), now=NOW)
        event = add_signature(judged, one.signer, at=NOW).event
    return event


def altered(event: Event, change: Callable[[dict[str, Any]], None]) -> bytes:
    """What somebody makes of the file with a text editor, minding its form."""
    tree = json.loads(encode(event))
    change(tree)
    return (json.dumps(tree, indent=1, sort_keys=True) + "\n").encode()
