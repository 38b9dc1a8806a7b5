"""The two signing events of the offline roles: genesis, and rotation.

A signing event makes root, targets and bins together. Keyholders sign the root. Targets and bins
are signed with keys that are made for that one signature, in this process' memory, and then
dropped: nobody can be robbed of them, and nobody can sign a second targets or bins with them,
the operator included. (Python does not wipe memory: hold a ceremony on a machine that is switched
off afterwards, as PEP 458 asks.)

Guarantees: nothing is signed before all that can be checked was checked; nothing is returned that
`indextrust.ceremony.check` refuses. Left to others: that `current` is the true root (compare its
SHA-256 with the keyholders' own note: whoever can slip in another root here gets his keys signed
along), and that what comes out is published (`Repository.create`, `Repository.install`).

Sources: PEP 458, "Number and Type Of Keys Recommended", "Managing offline keys", "In the Event of
a Key Compromise"; TUF specification 5.3.4, 6.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from securesystemslib.signer import Key, Signer

from indextrust.ceremony.check import check_event, read_roles
from indextrust.ceremony.incidents import with_new
from indextrust.ceremony.prepare import next_plan, prepare, signed
from indextrust.ceremony.root import Plan, check_keys, material
from indextrust.errors import CeremonyError
from indextrust.incidents import Incident
from indextrust.names import ROOT, BinScheme, Layout
from indextrust.repository.roles import SignedRoles

__all__ = ["genesis", "rotate"]


def genesis(
    keyholders: Sequence[Signer],
    threshold: int,
    online: Key,
    *,
    bins: BinScheme,
    now: datetime,
    layout: Layout = "pep458",
) -> SignedRoles:
    """Make root 1, targets 1 and bins 1 of a new index.

    Args:
        keyholders: one signer for each root key; all of them sign.
        threshold: how many of them must sign every later root. PEP 458 asks for 2 or more: with
            1, a single stolen key is a stolen index.
        online: public key of timestamp, snapshot and all bins; none of the root keys.
        bins: how target paths are spread; a later change of it is a signing event (`rotate`).
        now: aware; the three roles expire a year later.
        layout: what is a target; it stays for good.

    Raises:
        CeremonyError: a threshold or a set of keys that a root must not have; a signer that
            fails.
        InputError: a time without a time zone, or no such layout.
    """
    root_keys = [keyholder.public_key for keyholder in keyholders]
    check_keys(root_keys, threshold, online)
    roles = _sign(Plan(1, 1, 1, root_keys, threshold, online, bins, now, layout), keyholders)
    check_event(roles, None, now=now)
    return roles


def rotate(
    current: SignedRoles,
    keyholders: Sequence[Signer],
    online: Key,
    *,
    new_root_keys: Sequence[Key] | None = None,
    new_threshold: int | None = None,
    bins: BinScheme | None = None,
    incidents: Sequence[Incident] = (),
    now: datetime,
) -> SignedRoles:
    """Make the next root, targets and bins: the yearly renewal, every change of keys, and of bins.

    The keys of targets and bins are always new. What is not named in the arguments is not in the
    new roles: an online key or a root key that was left out is revoked.

    Args:
        current: the roles in force; its last root must be the newest there is. Give every root
            since the first: a key that one of them listed and a later one did not is refused.
        keyholders: those who sign, in any order: enough of the old root's keys *and* enough of
            the new one's. Somebody whose key is being removed may still sign as an old one.
        online: public key of timestamp, snapshot and all bins from now on; the same as before
            to keep it, another to replace it.
        new_root_keys: all root keys from now on; None keeps them.
        new_threshold: how many must sign from now on; None keeps the number.
        bins: how target paths are spread from now on; None keeps it. (What comes out is then for
            `Repository.rebin`.)
        incidents: incident records that are new; those that there were stay.
        now: aware; the three roles expire a year later.

    Returns:
        One new root, targets and bins, each one version up; the layout is as before.

    Raises:
        CeremonyError: `current` does not verify; either threshold is not met; a signer whose
            key is in neither root, or who fails; keys that a root must not have; a replaced key
            that would stay in force, or come back, under whatever key id.
        InputError: a time without a time zone.
    """
    old = read_roles(current)
    plan = next_plan(
        old,
        root_keys=new_root_keys,
        threshold=new_threshold,
        online=online,
        bins=bins,
        incidents=with_new(current.incidents, incidents),
        now=now,
    )
    _check_signers(keyholders, old.root_keys, old.root.roles[ROOT].threshold, plan)
    roles = _sign(plan, keyholders, rehearsal=old.rehearsal)
    check_event(roles, current, now=now)
    return roles


def _check_signers(
    keyholders: Sequence[Signer], old: Sequence[Key], old_threshold: int, plan: Plan
) -> None:
    """Refuse before anybody signs: a stranger, somebody twice, or too few for either root."""

    def identity(key: Key) -> tuple[str, str]:
        return key.keyid, material(key)

    present = [identity(keyholder.public_key) for keyholder in keyholders]
    known = {identity(key) for key in (*old, *plan.root_keys)}
    for signer in present:
        if signer not in known:
            raise CeremonyError(f"key {signer[0]} is neither in the old root nor in the new one")
        if present.count(signer) > 1:
            raise CeremonyError(f"expected each keyholder once, got key {signer[0]} twice")
    for which, keys, threshold in (
        ("old", old, old_threshold),
        ("new", plan.root_keys, plan.threshold),
    ):
        count = len({identity(key) for key in keys}.intersection(present))
        if count < threshold:
            raise CeremonyError(
                f"expected signatures by {threshold} of the {len(keys)} keys of the {which} "
                f"root, got keyholders for {count}"
            )


def _sign(plan: Plan, keyholders: Sequence[Signer], *, rehearsal: bool = False) -> SignedRoles:
    """Build and sign the three."""
    made = prepare(plan, rehearsal=rehearsal)
    root = signed(made.root, keyholders)
    return SignedRoles((root,), made.targets, made.bins, dict(plan.incidents))
