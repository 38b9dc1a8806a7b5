"""Making a proposal: root, targets and bins of the next event, ready to be signed.

A proposal says everything that will change, for everybody to read before anybody signs. Making it
needs no keyholder's key. It makes the one-time keys, signs targets and bins with them, and drops
them: so a proposal that is altered is void, and another one takes its place.

Pure, but for the one-time keys. Sources: see `indextrust.ceremony.root`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from securesystemslib.signer import Key

from indextrust.ceremony.check import OfflineRoles, read_below, read_roles
from indextrust.ceremony.event import Event, Proposed
from indextrust.ceremony.incidents import with_new
from indextrust.ceremony.judge import judge, unsigned_root
from indextrust.ceremony.judged import kinds_of, whose
from indextrust.ceremony.keyholders import (
    KEYHOLDER_FIELD,
    Keyholder,
    Profile,
    check_duplicates,
    check_profile,
    profile_of,
)
from indextrust.ceremony.prepare import next_plan, prepare
from indextrust.ceremony.root import Plan, check_keys
from indextrust.errors import CeremonyError
from indextrust.incidents import Incident
from indextrust.names import REHEARSAL_ROOT, ROOT, TARGETS, BinScheme, Layout
from indextrust.repository.roles import SignedRoles

__all__ = ["Change", "find_key", "propose_genesis", "propose_next"]

_SHORTEST_ID = 8


@dataclass(frozen=True)
class Change:
    """What is to be different after the next event. Nothing given: a renewal.

    Args:
        add: keyholders that come.
        remove: keyholders that go, by name or by the first 8 or more digits of the key id.
        threshold: how many must sign from now on; None keeps the number.
        online: the online key from now on; None keeps it.
        bins: how target paths are spread from now on; None keeps it.
        incidents: incident records that come; those that there were stay.
    """

    add: Sequence[Keyholder] = ()
    remove: Sequence[str] = ()
    threshold: int | None = None
    online: Keyholder | None = None
    bins: BinScheme | None = None
    incidents: Sequence[Incident] = ()


def propose_genesis(
    keyholders: Sequence[Keyholder],
    threshold: int,
    online: Keyholder,
    *,
    bins: BinScheme,
    layout: Layout,
    profile: Profile,
    proposed: Proposed,
    rehearsal: bool = False,
    incidents: Sequence[Incident] = (),
) -> Event:
    """Propose root 1, targets 1 and bins 1 of a new index.

    Args:
        keyholders: who will hold the root keys.
        threshold: how many of them must sign this root, and every later one.
        online: the key of timestamp, snapshot and all bins.
        bins, layout: how the index is laid out.
        profile: which clients must be able to verify it.
        proposed: by whom, when.
        rehearsal: made to practise.
        incidents: incident records of the index that this one takes the place of.

    Raises:
        CeremonyError: keys or a threshold that a root must not have; a key that a client of
            the profile could not verify; a key brought as a root key that is an online key, or
            the other way round; a rehearsal's key in earnest, or the other way round.
    """
    _check_keyholders(keyholders, online)
    plan = Plan(
        *(REHEARSAL_ROOT if rehearsal else 1, 1, 1),
        root_keys=[holder.key for holder in keyholders],
        threshold=threshold,
        online=online.key,
        scheme=bins,
        now=proposed.at,
        layout=layout,
        incidents=with_new({}, incidents),
    )
    check_keys(plan.root_keys, plan.threshold, plan.online)
    return _event(plan, None, None, profile, proposed, rehearsal)


def propose_next(
    current: SignedRoles, change: Change, *, profile: Profile | None = None, proposed: Proposed
) -> Event:
    """Propose the roles that follow `current`: a renewal, or one with changes.

    A rehearsal is followed by a rehearsal, and nothing else is.

    Args:
        current: the roles in force, best with every root since the first.
        change: what is to be different.
        profile: which clients must be able to verify the index; None for those that can verify
            the keys in force, so that none is lost without a word.
        proposed: by whom, when.

    Raises:
        CeremonyError: as `propose_genesis`; roles in force that do not verify; a keyholder to
            remove who is not there, or whose name two keys have; somebody added who is there.
    """
    old = read_roles(current)
    if len(old.online_keys) != 1:
        raise CeremonyError("the roles in force have several online keys: they are not ours")
    gone = [find_key(old.root_keys, name).keyid for name in change.remove]
    stay = [key for key in old.root_keys if key.keyid not in gone]
    _check_keyholders(change.add, change.online)
    for holder in change.add:
        if holder.key.keyid in {key.keyid for key in stay}:
            raise CeremonyError(f"{whose(holder.key)} is a keyholder already")
    plan = next_plan(
        old,
        root_keys=[*stay, *(holder.key for holder in change.add)],
        threshold=change.threshold,
        online=None if change.online is None else change.online.key,
        bins=change.bins,
        incidents=with_new(current.incidents, change.incidents),
        now=proposed.at,
    )
    profile = profile or profile_of([*old.root_keys, *old.online_keys])
    return _event(plan, old, current, profile, proposed, old.rehearsal)


def find_key(keys: Sequence[Key], name: str) -> Key:
    """The one key of `keys` that is meant by `name`: a holder's name, or a key id's beginning.

    Raises:
        CeremonyError: none of them, or several.
    """
    found = [
        key
        for key in keys
        if name == key.unrecognized_fields.get(KEYHOLDER_FIELD)
        or (len(name) >= _SHORTEST_ID and key.keyid.startswith(name))
    ]
    if len(found) == 1:
        return found[0]
    there = ", ".join(sorted(whose(key) for key in found or keys))
    if found:
        raise CeremonyError(f"{name!r} has several keys: {there}. Give the key id instead")
    raise CeremonyError(f"no keyholder {name!r}: there are {there}")


def _check_keyholders(keyholders: Sequence[Keyholder], online: Keyholder | None) -> None:
    check_duplicates(keyholders)
    for holder in keyholders:
        if holder.role != ROOT:
            raise CeremonyError(f"{whose(holder.key)} was made as an {holder.role} key, not root")
    if online is not None and online.role != "online":
        raise CeremonyError(f"{whose(online.key)} was made as a {online.role} key, not online")


def _event(
    plan: Plan,
    old: OfflineRoles | None,
    current: SignedRoles | None,
    profile: Profile,
    proposed: Proposed,
    rehearsal: bool,
) -> Event:
    check_profile([*plan.root_keys, plan.online], profile)
    made = prepare(plan, rehearsal=rehearsal)
    new = read_below(unsigned_root(made.root), made.targets, made.bins)
    targets = tuple(sorted(new.root.roles[TARGETS].keyids))
    event = Event(
        kinds=kinds_of(old, new),
        rehearsal=rehearsal,
        profile=profile,
        proposed=proposed,
        before=None if current is None else replace(current, incidents={}),
        root=made.root,
        targets=made.targets,
        bins=made.bins,
        incidents=plan.incidents,
        one_time_keys={
            "targets": targets,
            "bins": tuple(
                sorted(key.keyid for key in new.one_time_keys if key.keyid not in targets)
            ),
        },
    )
    judge(event)
    return event
