"""What the offline roles say: builders of the ``signed`` parts of root, targets and bins.

Pure: keys and a time in, JSON trees out; nothing is signed, read or written here.

The three belong together. The root lists the two one-time keys of targets; targets lists the two
one-time keys of bins; bins hands every bin to the online key. As the one-time keys are gone
after their one signature, a change in any of the three makes all three anew. The builders list
the keys that are in use and no other: a key that was replaced is not carried along.

Sources: PEP 458, "PyPI and TUF Metadata", "Metadata Expiry Times", "Number and Type Of Keys
Recommended"; TUF specification 4.3 (root) and 4.5 (targets, delegations).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from securesystemslib.signer import Key

from indextrust.canonical import canonical
from indextrust.errors import CeremonyError, InputError
from indextrust.names import (
    BINS,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    BinScheme,
    Layout,
    target_paths,
)
from indextrust.repository.plan import SPEC_VERSION, utc

__all__ = [
    "LIFETIME",
    "ONE_TIME_KEYS",
    "Plan",
    "bins_role",
    "check_keys",
    "material",
    "root_role",
    "targets_role",
]

LIFETIME = timedelta(days=365)
"""How long root, targets and bins are valid (PEP 458: one year)."""

ONE_TIME_KEYS = 2
"""Keys of targets, and of bins; all of them sign: (2, 2) in PEP 458."""


def material(key: Key) -> str:
    """What tells one key from another, whatever key id and scheme it goes by: its public value."""
    public = key.keyval.get("public")
    if not isinstance(public, str):
        return canonical(key.keyval).decode()
    public = "".join(public.split())
    return public.lower() if key.keytype == "ed25519" else public  # hex has two spellings


def check_keys(root_keys: Sequence[Key], threshold: int, online: Key) -> None:
    """Refuse a set of keys that a root must not list.

    Args:
        root_keys: the keyholders' public keys.
        threshold: how many of them must sign a root.
        online: public key of timestamp, snapshot and the bins.

    Raises:
        CeremonyError: a threshold below 1 or above the number of keys; one key twice, also
            under two key ids; two keys under one key id; the online key among the root keys.
    """
    if not 1 <= threshold <= len(root_keys):
        raise CeremonyError(
            f"expected a threshold from 1 to the number of root keys ({len(root_keys)}), "
            f"got {threshold}"
        )
    for what, values in (
        ("key id", [key.keyid for key in root_keys]),
        ("public key", [material(key) for key in root_keys]),
    ):
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise CeremonyError(
                f"expected each {what} once among the root keys, got twice: {twice}"
            )
    for key in root_keys:
        if material(key) == material(online) or key.keyid == online.keyid:
            raise CeremonyError(
                f"key {key.keyid} can't be a root key: it is the online key, which whoever "
                f"breaks into the server holds"
            )


@dataclass(frozen=True)
class Plan:
    """What a signing event is to say.

    Args:
        root_version, targets_version, bins_version: 1 at genesis, then one more than before.
        root_keys: the keyholders' public keys.
        threshold: how many of them must sign the next root.
        online: public key of timestamp, snapshot and the bins.
        scheme: how many bins, and in which form they are written down.
        now: aware; the roles expire `LIFETIME` later.
        layout: what is a target.
        incidents: every incident record that targets will list, by target path.
    """

    root_version: int
    targets_version: int
    bins_version: int
    root_keys: Sequence[Key]
    threshold: int
    online: Key
    scheme: BinScheme
    now: datetime
    layout: Layout
    incidents: Mapping[str, bytes] = field(default_factory=dict)


def root_role(plan: Plan, targets_keys: Sequence[Key]) -> dict[str, Any]:
    """The root: the keyholders' keys, the one-time keys of targets, and the online key.

    Args:
        plan: its keys as checked by `check_keys`.
        targets_keys: the one-time public keys of targets; all of them must sign it.

    Raises:
        InputError: the plan's time has no time zone.
    """

    def role(keys: Iterable[Key], threshold: int) -> dict[str, Any]:
        return {"keyids": sorted(key.keyid for key in keys), "threshold": threshold}

    return {
        "_type": "root",
        "spec_version": SPEC_VERSION,
        "version": plan.root_version,
        "expires": _expiry(plan.now),
        "consistent_snapshot": True,
        "keys": _key_table([*plan.root_keys, *targets_keys, plan.online]),
        "roles": {
            ROOT: role(plan.root_keys, plan.threshold),
            TIMESTAMP: role([plan.online], 1),
            SNAPSHOT: role([plan.online], 1),
            TARGETS: role(targets_keys, len(targets_keys)),
        },
    }


def targets_role(plan: Plan, bins_keys: Sequence[Key]) -> dict[str, Any]:
    """The top-level targets: incident records, and all paths of the layout handed to bins.

    Args:
        plan: gives the version, the layout, the records and the time.
        bins_keys: the one-time public keys of bins; all of them must sign it.

    Raises:
        InputError: the plan's time has no time zone, or there is no such layout.
    """
    delegation = {
        "name": BINS,
        "keyids": sorted(key.keyid for key in bins_keys),
        "threshold": len(bins_keys),
        "terminating": True,
        "paths": target_paths(plan.layout),
    }
    return {
        "_type": "targets",
        "spec_version": SPEC_VERSION,
        "version": plan.targets_version,
        "expires": _expiry(plan.now),
        "targets": {
            path: {"length": len(data), "hashes": {"sha256": hashlib.sha256(data).hexdigest()}}
            for path, data in plan.incidents.items()
        },
        "delegations": {"keys": _key_table(bins_keys), "roles": [delegation]},
    }


def bins_role(plan: Plan) -> dict[str, Any]:
    """The bins role: every bin handed to the online key.

    Raises:
        InputError: the plan's time has no time zone.
    """
    return {
        "_type": "targets",
        "spec_version": SPEC_VERSION,
        "version": plan.bins_version,
        "expires": _expiry(plan.now),
        "targets": {},
        "delegations": {
            "keys": _key_table([plan.online]),
            **plan.scheme.delegation([plan.online.keyid], 1),
        },
    }


def _key_table(keys: Sequence[Key]) -> dict[str, Any]:
    return {key.keyid: key.to_dict() for key in keys}


def _expiry(now: datetime) -> str:
    if now.tzinfo is None:
        raise InputError(f"expected a time with a time zone, got {now.isoformat()}")
    return utc(now.astimezone(UTC) + LIFETIME)
