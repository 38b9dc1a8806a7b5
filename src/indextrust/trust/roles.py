"""Targets roles, the top level and the delegated (TUF specification 5.6.1 to 5.6.6).

A refresh asks for the top level, a lookup for each delegated role on its way; both by these steps:

| step              | wants                   | on an acceptable answer    | otherwise           |
|-------------------|-------------------------|----------------------------|---------------------|
| in the snapshot   |                         |                            | refused             |
| `Known`           |                         | the one listed: use it     |                     |
| stored            | Load(role)              | the one listed: use it     | forget it           |
| fetched           | Fetch(role)             | trust it, Persist          | refused             |

Guarantees: a role is given back only if the keys of its delegator signed it, if it is the version
that the trusted snapshot lists (length and hashes too, where it lists them), if it has not
expired, and, where the snapshot lists no hashes, if it names no target of another bin. What was
fetched is stored before it is given back, and remembered in `Known` after that.

Left to others: which role is asked for, and by whose keys (`indextrust.trust.search`,
`indextrust.trust.session`).
"""

from __future__ import annotations

from datetime import datetime
from functools import partial

from indextrust.errors import MissingRoleError, RefusedError
from indextrust.trust import checks
from indextrust.trust.keys import RoleKeys
from indextrust.trust.known import Known
from indextrust.trust.limits import Allowance, Limits
from indextrust.trust.machine import Steps
from indextrust.trust.metadata import FileInfo, Root, Snapshot, Targets, parse
from indextrust.trust.steps import (
    as_bytes,
    checked_digest,
    digest,
    fetch_present,
    unless_refused,
)
from indextrust.trust.wants import Load, Persist

__all__ = ["Roles"]


class Roles:
    """Targets roles, the top level and the delegated, as one refresh or lookup needs them.

    Args:
        root: the trusted root.
        snapshot: the trusted snapshot.
        now: the reference time.
        known: what earlier sessions verified, to save work.
        limits: upper bounds.
        allowance: what this refresh or lookup may still fetch.
    """

    def __init__(
        self,
        root: Root,
        snapshot: Snapshot,
        now: datetime,
        known: Known,
        limits: Limits,
        allowance: Allowance,
    ) -> None:
        self._known = known
        self._limits = limits
        self._root = root
        self._snapshot = snapshot
        self._now = now
        self._allowance = allowance

    def role(
        self, role: str, keys: RoleKeys, delegator: str, parent: Targets | None
    ) -> Steps[Targets]:
        """5.6.1 to 5.6.6 for `role`, verified with the keys that `delegator` gives it.

        `parent` is the delegator's metadata, None for the root.
        """
        info = self._snapshot.info(f"{role}.json")
        if info is None:
            raise MissingRoleError("delegated to, and not in the snapshot", where=role)
        bins = None if info.hashes or parent is None else parent  # a hash says which bin it is
        by = (keys, None if bins is None else bins.delegation_of(role))
        known = self._known.listed(role, info, by, Targets)
        if known is not None and self._now < known.expires:
            return known

        def verify(data: bytes, most: int) -> Targets:
            envelope = parse(data, where=role, max_length=most)
            targets = checks.verified_targets(envelope, role, keys, delegator)
            if bins is not None:
                checks.in_its_bin(targets, role, bins)
            return targets

        stored = yield Load(role)
        held = digest(stored)
        trusted = unless_refused(partial(verify, most=self._limits.ceiling), stored)
        if trusted is not None and _is_current(trusted, as_bytes(stored), info, self._now, role):
            self._known.learn(role, held, len(as_bytes(stored)), by, trusted)
            return trusted
        version = info.version if self._root.consistent_snapshot else None
        limit = self._limits.recorded(self._limits.targets_length, info.length)
        data = yield from fetch_present(role, version, limit, self._allowance)
        checks.vouched_for(data, info, role)
        new = verify(data, limit)
        checks.version_is(info.version, new, role)
        if trusted is not None and trusted.version == new.version:
            checks.not_equivocated(as_bytes(stored), data, new.version, role)
        checks.not_expired(new, self._now, role)
        yield Persist(role, new.version, data, held, self._root.version)
        self._known.learn(role, checked_digest(data, info), len(data), by, new)
        return new


def _is_current(targets: Targets, data: bytes, info: FileInfo, now: datetime, where: str) -> bool:
    try:
        checks.version_is(info.version, targets, where)
        checks.vouched_for(data, info, where)
        checks.not_expired(targets, now, where)
    except RefusedError:
        return False
    return True
