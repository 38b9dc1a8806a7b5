"""Gathering signatures: one keyholder at a time, in any order, on any number of copies.

Signing adds one signature to an event that was judged first, and changes nothing else. Copies of
one event (same digest) are merged by the union of their signatures, whatever way they went; copies
of another event are refused with the names of what differs.

Pure, but for the signer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from securesystemslib.signer import Signer

from indextrust.ceremony.event import Event, RootSignature
from indextrust.ceremony.judge import check_signature, judge
from indextrust.ceremony.judged import Judged, whose
from indextrust.ceremony.root import material
from indextrust.errors import CeremonyError

__all__ = ["add_signature", "check_may_sign", "merge"]


def check_may_sign(judged: Judged, keyid: str) -> None:
    """Refuse a second signature by one keyholder, before anybody is asked for a passphrase.

    Raises:
        CeremonyError: they signed already; they hold no key of the old or the new root.
    """
    if keyid not in judged.signers:
        raise CeremonyError(f"key {keyid} is no keyholder's of the old or the new root")
    for one in judged.event.signatures:
        if one.keyid == keyid:
            raise CeremonyError(
                f"{whose(judged.signers[keyid])} has signed already, at {one.at.isoformat()}"
            )


def add_signature(judged: Judged, signer: Signer, *, at: datetime) -> Judged:
    """Sign the event's root as one keyholder.

    Args:
        judged: what the keyholder was shown, and agreed to.
        signer: with the keyholder's key.
        at: aware; noted beside the signature.

    Raises:
        CeremonyError: see `check_may_sign`; a signer with another key than the keyholder's; a
            signer that failed, or gave an invalid signature.
    """
    mine = signer.public_key
    check_may_sign(judged, mine.keyid)
    key = judged.signers[mine.keyid]
    if material(mine) != material(key):
        raise CeremonyError(f"the signer holds another key than {whose(key)}")
    try:
        made = signer.sign(judged.event.payload)
    except Exception as error:  # securesystemslib: "signer implementations may raise" anything
        raise CeremonyError(
            f"the signer of {whose(key)} failed: {type(error).__name__}: {error}"
        ) from error
    at = at.astimezone(UTC).replace(microsecond=0)
    signature = RootSignature(key.keyid, made.signature, at)
    check_signature(judged, signature)
    return replace(judged, event=judged.event.signed_by(signature))


def merge(first: Event, *others: Event) -> Event:
    """The union of the signatures of copies of one event.

    Where one keyholder's signature is in several copies the earliest is kept, so the order in
    which copies are merged does not matter.

    Raises:
        CeremonyError: a copy of another event: it says what differs. A copy that `judge`
            refuses.
    """
    found: dict[str, RootSignature] = {}
    for event in (first, *others):
        if event.digest != first.digest:
            raise CeremonyError(
                f"that is another event: {', '.join(_differences(first, event))} differ. Merge "
                f"copies of one event only (same digest)"
            )
        judge(event)
        for one in event.signatures:
            known = found.setdefault(one.keyid, one)
            found[one.keyid] = min(known, one, key=lambda each: (each.at, each.sig))
    return replace(first, signatures=()).signed_by(*found.values())


def _differences(first: Event, second: Event) -> list[str]:
    """What two events differ in, in words."""
    pairs: dict[str, tuple[Any, Any]] = {
        "the kind": (first.kinds, second.kinds),
        "rehearsal or not": (first.rehearsal, second.rehearsal),
        "the profile": (first.profile, second.profile),
        "who proposed it and when": (first.proposed, second.proposed),
        "the roles in force": (first.before, second.before),
        **{
            f"the new root's {field}": (first.root.get(field), second.root.get(field))
            for field in sorted({*first.root, *second.root})
        },
        "targets": (first.targets, second.targets),
        "bins": (first.bins, second.bins),
        "the incident records": (dict(first.incidents), dict(second.incidents)),
        "the one-time keys": (_ids(first.one_time_keys), _ids(second.one_time_keys)),
    }
    return [name for name, (a, b) in pairs.items() if a != b]


def _ids(keys: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return dict(keys)
