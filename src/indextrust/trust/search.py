"""Look-up: the search for one target path in what a finished refresh trusts (5.6.7).

`indextrust.trust.lookup` walks through the delegations and says which role it needs next;
`indextrust.trust.roles` gets and verifies that role. A `Lookup` lets the one ask the other, as a
machine of its own: several may be driven at once.

Guarantees:

* A delegated role is verified with the keys that its delegator on this walk gives it, and no other.
* "Not listed" is said only when the walk ended without an entry; whatever could not be asked for
  or was refused is an error.
* Nothing of an entry is shared with what is remembered: a caller may change it.

Left to others: whether the refresh may still be used at this time, and whether the path is safe to
ask for (`indextrust.trust.session.Session.lookup`); what a file's bytes are compared with
(`indextrust.trust.verdict`).
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime

from indextrust.errors import MissingRoleError
from indextrust.names import TARGETS
from indextrust.trust.known import Known
from indextrust.trust.limits import Allowance, Limits
from indextrust.trust.lookup import NotListed, walk
from indextrust.trust.machine import Machine, Steps
from indextrust.trust.metadata import Root, Snapshot, Targets, Timestamp
from indextrust.trust.roles import Roles
from indextrust.trust.verdict import TargetEntry

__all__ = ["Lookup", "Trusted", "entry_of"]


@dataclass
class Trusted:
    """What a finished refresh trusts.

    Args:
        root: the root; its keys verified all the others.
        timestamp: its version and expiry say how fresh the rest is.
        snapshot: versions of all targets roles.
        targets: the top-level targets.
    """

    root: Root
    timestamp: Timestamp
    snapshot: Snapshot
    targets: Targets

    @property
    def expires(self) -> datetime:
        """When the first of the four expires; from then on none of it may be used."""
        roles = (self.root, self.timestamp, self.snapshot, self.targets)
        return min(role.expires for role in roles)


class Lookup(Machine[TargetEntry | NotListed]):
    """The search for one target path (5.6 for each delegated role, 5.6.7).

    Made by `Session.lookup`. A result is `TargetEntry`, or `NotListed` if the trusted metadata
    says so; everything else is an error.
    """

    def __init__(
        self, trusted: Trusted, path: str, now: datetime, known: Known, limits: Limits
    ) -> None:
        roles = Roles(trusted.root, trusted.snapshot, now, known, limits, Allowance(limits))
        super().__init__(self._search(roles, trusted, path, limits.delegations))

    @staticmethod
    def _search(
        asked: Roles, trusted: Trusted, path: str, most: int
    ) -> Steps[TargetEntry | NotListed]:
        roles: dict[str, Targets] = {TARGETS: trusted.targets}
        search = walk(path, most=most)
        try:
            visit = next(search)
            while True:
                if visit.role != TARGETS:
                    parent = roles[visit.delegator]
                    keys = parent.keys_of(visit.role)
                    if keys is None:  # pragma: no cover - the walk names only delegated roles
                        raise MissingRoleError("not delegated to", where=visit.role)
                    roles[visit.role] = yield from asked.role(
                        visit.role, keys, visit.delegator, parent
                    )
                visit = search.send(roles[visit.role])
        except StopIteration as stop:
            found: tuple[str, Targets] | None = stop.value
        if found is None:
            return NotListed(path, trusted.snapshot.version)
        role, targets = found
        return entry_of(path, role, targets, trusted.snapshot)


def entry_of(path: str, role: str, targets: Targets, snapshot: Snapshot) -> TargetEntry:
    """What `targets`, the verified metadata of `role`, lists for `path`."""
    entry = targets.targets[path]
    return TargetEntry(
        path,
        entry["length"],
        dict(entry["hashes"]),  # copies: what is `Known` serves later sessions too
        role,
        targets.version,
        snapshot.version,
        deepcopy(entry.get("custom")),
    )
