"""The one builder under every signing event: root as it will be signed, targets and bins signed.

Targets and bins are signed with keys that are made for that one signature, in this process'
memory, and then dropped. What is left of them is their key ids. The root is only said here;
keyholders sign it, at once (`indextrust.ceremony.signing_event`) or one after the other, each
where his key is (`indextrust.ceremony.event`).

Source: PEP 458, "Number and Type Of Keys Recommended", "Managing offline keys".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from securesystemslib.signer import CryptoSigner, Key, Signer

from indextrust.ceremony.check import OfflineRoles
from indextrust.ceremony.keyholders import check_rehearsal
from indextrust.ceremony.root import (
    ONE_TIME_KEYS,
    Plan,
    bins_role,
    check_keys,
    root_role,
    targets_role,
)
from indextrust.errors import CeremonyError, SigningError
from indextrust.names import REHEARSAL_FIELD, ROOT, BinScheme
from indextrust.repository.signing import sign_role

__all__ = ["Prepared", "next_plan", "prepare", "signed"]


@dataclass(frozen=True)
class Prepared:
    """Root, targets and bins of one event, before the keyholders sign.

    Args:
        root: the ``signed`` part of the root.
        targets: the file, signed by one-time keys that are gone.
        bins: likewise.
    """

    root: dict[str, Any]
    targets: bytes
    bins: bytes


def next_plan(
    old: OfflineRoles,
    *,
    root_keys: Sequence[Key] | None,
    threshold: int | None,
    online: Key | None,
    bins: BinScheme | None,
    incidents: Mapping[str, bytes],
    now: datetime,
) -> Plan:
    """What follows `old`: every version one up, and as before what is None.

    `incidents` are all records that targets will list, those included that it listed before.

    Raises:
        CeremonyError: keys or a threshold that a root must not have; roles of another profile.
    """
    plan = Plan(
        old.root.version + 1,
        old.targets.version + 1,
        old.bins.version + 1,
        root_keys=old.root_keys if root_keys is None else list(root_keys),
        threshold=old.root.roles[ROOT].threshold if threshold is None else threshold,
        online=old.online_keys[0] if online is None else online,
        scheme=old.scheme if bins is None else bins,
        now=now,
        layout=old.layout,
        incidents=incidents,
    )
    check_keys(plan.root_keys, plan.threshold, plan.online)
    return plan


def prepare(plan: Plan, *, rehearsal: bool = False) -> Prepared:
    """Build the three, and sign targets and bins. The one-time keys live and die in this call.

    Args:
        plan: its keys as checked by `indextrust.ceremony.root.check_keys`.
        rehearsal: mark the root as one that was made to practise.

    Raises:
        CeremonyError: a signature failed; a rehearsal's key in earnest, or the other way round.
        InputError: the plan's time has no time zone, or there is no such layout.
    """
    check_rehearsal([*plan.root_keys, plan.online], rehearsal=rehearsal)
    targets_signers = [CryptoSigner.generate_ed25519() for _ in range(ONE_TIME_KEYS)]
    bins_signers = [CryptoSigner.generate_ed25519() for _ in range(ONE_TIME_KEYS)]
    root = root_role(plan, [signer.public_key for signer in targets_signers])
    if rehearsal:
        root[REHEARSAL_FIELD] = True
    targets = targets_role(plan, [signer.public_key for signer in bins_signers])
    return Prepared(root, signed(targets, targets_signers), signed(bins_role(plan), bins_signers))


def signed(role: dict[str, Any], signers: Sequence[Signer]) -> bytes:
    """`sign_role`, failing as a step of a ceremony does. Raises CeremonyError."""
    try:
        return sign_role(role, signers)
    except SigningError as error:
        raise CeremonyError(str(error)) from error
