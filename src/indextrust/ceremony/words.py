"""A signing event in plain words: what would I sign, what does it change, when must I refuse.

Every text here is made from a `Judged` event, so it says what was verified and not what somebody
wrote into a file about it. Pure: lines of text come out.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from securesystemslib.signer import Key

from indextrust.ceremony.judged import Group, Judged, whose
from indextrust.ceremony.keyholders import (
    KEYHOLDER_FIELD,
    SERIAL_FIELD,
    Profile,
    fingerprint,
    profile_of,
    spoken,
)
from indextrust.incidents import parse
from indextrust.names import ROOT, BinScheme

__all__ = [
    "REHEARSAL",
    "changes",
    "expiry",
    "markdown",
    "missing",
    "reasons",
    "refuse_if",
    "show",
    "tally",
    "title",
    "title_of",
]

REHEARSAL = "REHEARSAL: made to practise. Nothing that comes out of it is real."

_TITLES = {
    "genesis": "the first root of a new index",
    "renewal": "a renewal: nothing changes but the time",
    "keyholders": "other keyholders",
    "threshold": "another threshold",
    "online-key": "another online key",
    "bins": "another number of bins",
    "incident": "a record of an incident",
}


def markdown(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in text)


def title(judged: Judged) -> str:
    """What the event is, in one line."""
    return title_of(judged.event.kinds)


def title_of(kinds: Iterable[str]) -> str:
    """What an event of these kinds is (`indextrust.ceremony.judged.KINDS`), in one line."""
    return "; ".join(_TITLES[kind] for kind in kinds)


def expiry(judged: Judged, now: datetime) -> str:
    """When root, targets and bins expire, and in how many days."""
    expires = judged.new.root.expires
    days = round((expires - now) / timedelta(days=1))
    when = f"EXPIRED {-days} days ago" if expires <= now else f"in {days} days"
    return f"{expires:%Y-%m-%d %H:%M} UTC, {when}"


def show(judged: Judged, now: datetime) -> list[str]:
    """All that a keyholder should read before signing."""
    event = judged.event
    lines = [REHEARSAL, ""] if event.rehearsal else []
    lines += [
        f"Signing event: {title(judged)}",
        f"proposed by {event.proposed.by} at {event.proposed.at:%Y-%m-%d %H:%M:%S} UTC "
        f"with {event.proposed.software}",
        "",
        "Digest of this event. Everybody who signs has the same one; read it to each other:",
        *_digest(event.digest),
        "",
        f"You would sign: root {judged.new.root.version}",
        *_follows(judged),
        "",
        "What changes",
        *changes(judged),
        f"  targets {judged.new.targets.version} and bins {judged.new.bins.version} are signed "
        f"already, by four keys that were made for it and are gone",
        f"  all three expire {expiry(judged, now)}",
        "",
        "For whom",
        *_for_whom(judged),
        "",
        "Do not sign if",
        *(f"  - {reason}" for reason in refuse_if(judged)),
    ]
    return lines


def refuse_if(judged: Judged) -> list[str]:
    """What would make a careful keyholder refuse."""
    return reasons(
        added=bool(judged.added),
        follows=judged.old is not None,
        rehearsal=judged.event.rehearsal,
        incident="incident" in judged.event.kinds,
    )


def reasons(*, added: bool, follows: bool, rehearsal: bool, incident: bool = False) -> list[str]:
    """`refuse_if`, for an event with new keys, one that follows a root in force, a rehearsal, or
    one that brings an incident record."""
    found = [
        "the digest is not, group by group, the one that the others read",
        "one of the keyholders is new to you, or one is missing who should be there",
        "the online key is not the one that the operator reads from the server",
        "the threshold or the expiry is not what was agreed",
    ]
    if incident:
        found.append(
            "a digest in the incident record is not the one in the audit that was read out: what "
            "it calls right, clients will take in the place of what they saw"
        )
    if added:
        found.insert(
            1,
            "a new key (+) has another beginning of what is read aloud than its holder reads from "
            "their own (indextrust key show)",
        )
    if follows:
        found.insert(
            1, "the root in force has another SHA-256 than the note that you took home last time"
        )
    if rehearsal:
        found.append("the key in your hands is one that you use in earnest")
    return found


def tally(judged: Judged) -> list[str]:
    """Who signed, and what is missing for each threshold, by name."""
    times = {one.keyid: one.at for one in judged.event.signatures}
    lines = []
    for group in judged.groups:
        lines.append(
            f"{group.which} root {group.version}: {len(group.signed)} of {group.threshold} needed, "
            f"of {len(group.keys)} keyholders"
        )
        lines += [
            f"  signed   {whose(key)}  {times[key.keyid]:%Y-%m-%d %H:%M} UTC"
            for key in group.signed
        ]
        lines += [f"  not yet  {whose(key)}" for key in group.waiting]
    met = "the threshold is met" if judged.old is None else "both thresholds are met"
    lines.append(f"complete: {met}" if judged.complete else missing(judged))
    return lines


def missing(judged: Judged) -> str:
    """What is missing, in one sentence; by name."""
    parts = [
        f"{group.missing} more for the {group.which} root {group.version}, out of "
        f"{', '.join(whose(key) for key in group.waiting)}"
        for group in judged.groups
        if group.missing
    ]
    return f"signatures are missing: {'; '.join(parts)}" if parts else "no signature is missing"


def _digest(digest: str) -> list[str]:
    groups = spoken(digest).split()
    return [f"    {' '.join(groups[:8])}", f"    {' '.join(groups[8:])}"]


def _follows(judged: Judged) -> list[str]:
    before = judged.event.before
    if before is None or judged.old is None:
        return ["  It is the first: clients start from it."]
    digest = hashlib.sha256(before.root[-1]).hexdigest()
    return [
        f"  It follows root {judged.old.root.version}. Compare its SHA-256 with your own note:",
        *_digest(digest),
    ]


def changes(judged: Judged) -> Iterator[str]:
    """What is different afterwards: a line for each key, the threshold, the bins."""
    old, new = judged.old, judged.new
    added = {key.keyid for key in judged.added}
    for key in sorted(new.root_keys, key=whose):
        yield f"  {'+' if key.keyid in added else '='} keyholder {_in_full(key)}"
    for first, second in _alike(new.root_keys):
        yield f"  ! {whose(first)} and {whose(second)} look alike: are they two people?"
    for key in judged.removed:
        yield f"  - keyholder {_in_full(key)}: counts no more"
    groups = {group.which: group for group in judged.groups}
    after = _of(groups["new"])
    before = _of(groups["old"]) if "old" in groups else None
    same = before in (None, after)
    yield f"  threshold: {after} sign a root" + ("" if same else f" (before: {before})")
    if groups["new"].threshold == 1:
        yield "    one stolen key is a stolen index: PEP 458 asks for two or more"
    if old is not None and old.online_keys[0].keyid != judged.online.keyid:
        yield f"  - online key {_online(old.online_keys[0])}: signs no more"
        yield f"  + online key {_online(judged.online)}"
    else:
        yield f"  {'+' if old is None else '='} online key {_online(judged.online)}"
    bins = new.scheme
    was = "" if old is None or old.scheme == bins else f" (before: {_bins(old.scheme)})"
    yield f"  bins: {_bins(bins)}{was}; layout {new.layout}"
    yield from _incidents(judged)


def _incidents(judged: Judged) -> Iterator[str]:
    """The incident records that come: all of what they say."""
    before = set(judged.old.targets.targets) if judged.old else set()
    for path, data in sorted(judged.event.incidents.items()):
        if path in before:
            continue
        incident = parse(data, path=path)
        yield f"  + incident record {incident.id} of {incident.date:%Y-%m-%d %H:%M} UTC, for good:"
        yield f"    {incident.summary}"
        for file in incident.files:
            bad = ", ".join(found.sha256 for found in file.bad)
            right = "nothing is right under this name" if file.good is None else file.good.sha256
            yield f"    {file.filename}"
            yield f"      bad, refused by every client: {bad}"
            yield f"      right: {right}"


def _bins(scheme: BinScheme) -> str:
    return f"{scheme.count}{' (succinct)' if scheme.succinct else ''}"


def _alike(keys: Sequence[Key]) -> Iterator[tuple[Key, Key]]:
    """Keys whose holders' names can be taken for each other."""
    ordered = sorted(keys, key=whose)
    for number, first in enumerate(ordered):
        for second in ordered[number + 1 :]:
            if _looks(first) == _looks(second):
                yield first, second


def _looks(key: Key) -> str:
    name = str(key.unrecognized_fields.get(KEYHOLDER_FIELD))
    plain = unicodedata.normalize("NFKD", name.translate(_LATIN)).casefold()
    return "".join(c for c in plain if c.isalnum())


_LATIN = str.maketrans(  # Cyrillic and Greek letters that have a Latin shape
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425\u0406\u0408\u0405"
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455"
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03bf\u03bd",
    "ABEKMHOPCTXIJSaeopcyxijsABEZHIKMNOPTYXov",
)


def _of(group: Group) -> str:
    return f"{group.threshold} of {len(group.keys)}"


def _in_full(key: Key) -> str:
    return f"{whose(key)}, {key.keytype}, read aloud {spoken(fingerprint(key))[:19]} …"


def _online(key: Key) -> str:
    named = key.unrecognized_fields.keys() & {KEYHOLDER_FIELD, SERIAL_FIELD}
    name = whose(key) if named else key.keyid[:8]
    return f"{name}, {key.keytype}, read aloud {spoken(fingerprint(key))[:19]} …"


def _for_whom(judged: Judged) -> list[str]:
    lines = []
    if judged.old is None:
        lines.append("  people who install: start from this root; tell them its SHA-256")
    else:
        lines.append("  people who install: nothing to do; the next refresh follows this root")
    if judged.event.profile == Profile.PORTABLE:
        lines.append("  their clients: every client can verify these keys (profile portable)")
    elif profile_of([*judged.new.root_keys, judged.online]) is Profile.PORTABLE:
        lines.append(
            "  their clients: every client can verify these keys; the profile is hsm, so a later "
            "event may have keys that pip alone can't verify"
        )
    else:
        lines.append(
            "  their clients: only clients with 'cryptography' can verify these keys (profile "
            "hsm); pip alone can't"
        )
    if judged.old is None or judged.old.online_keys[0].keyid != judged.online.keyid:
        lines.append("  the operator: publishes with the new online key from now on")
    else:
        lines.append("  the operator: publishes with the same online key as before")
    if judged.removed:
        gone = ", ".join(whose(key) for key in judged.removed)
        lines.append(f"  {gone}: signs this one as an old keyholder if needed, and none later")
    keyholders = judged.new.root.roles[ROOT].threshold
    lines.append(f"  keyholders: {keyholders} of them are needed again before it expires")
    return lines
