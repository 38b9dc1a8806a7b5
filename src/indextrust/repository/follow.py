"""Would a client follow these offline roles? Asked of the client itself, before they are served.

The roles of a finished signing event are read as a client reads them, short of what the online key
signs: a refresh is driven up to the timestamp (so the chain of roots was followed, and the last
one is not expired), then targets and bins are verified with the client's own checks. The rest is
tried by the gate, when the repository takes the roles and signs its first timestamp.

Source: TUF specification 5.2, 5.3, 5.6.
"""

from __future__ import annotations

from datetime import datetime

from indextrust.errors import CeremonyError, RefusedError, UnsupportedKeyError
from indextrust.names import BINS, ROOT, TARGETS, TIMESTAMP
from indextrust.repository.roles import SignedRoles
from indextrust.trust import ABSENT, STORED, Fetch, Limits, Load, Session, checks
from indextrust.trust.metadata import parse

__all__ = ["check_followed"]


def check_followed(anchor: bytes, roles: SignedRoles, *, now: datetime) -> None:
    """Refuse what a client would refuse.

    Args:
        anchor: the root that the client trusts: one in force, or (a fresh start) the new one.
        roles: the new ones. Roots that the anchor needs to get there are among them.
        now: aware; the client's clock.

    Raises:
        CeremonyError: with the client's reason.
    """
    try:
        _follow_roots(anchor, roles.root, now)
        limit = Limits()
        envelope = parse(roles.root[-1], where=ROOT, max_length=limit.root_length)
        root = checks.verified_bootstrap(envelope)
        envelope = parse(roles.targets, where=TARGETS, max_length=limit.targets_length)
        targets = checks.verified_targets(envelope, TARGETS, root.roles[TARGETS], ROOT)
        keys = targets.keys_of(BINS)
        if keys is None:
            raise CeremonyError("a client would refuse it: 'targets' does not delegate to 'bins'")
        envelope = parse(roles.bins, where=BINS, max_length=limit.targets_length)
        bins = checks.verified_targets(envelope, BINS, keys, TARGETS)
        for name, role in ((TARGETS, targets), (BINS, bins)):
            checks.not_expired(role, now, name)
    except (RefusedError, UnsupportedKeyError) as error:
        raise CeremonyError(f"a client would refuse it: {error}") from error


def _follow_roots(anchor: bytes, roots: tuple[bytes, ...], now: datetime) -> None:
    """A refresh, up to where it asks for the timestamp. Raises RefusedError, CeremonyError."""
    limit = Limits().root_length
    by_version = {
        checks.verified_bootstrap(parse(data, where=ROOT, max_length=limit)).version: data
        for data in roots
    }
    session, newest = Session(anchor, now=now), anchor
    while True:
        want = session.wants()
        if isinstance(want, Fetch) and want.role == TIMESTAMP:
            break
        if isinstance(want, Fetch):
            data = by_version.get(want.version or 0)
            newest = data or newest
            session.feed(data or ABSENT)
        else:
            session.feed(ABSENT if isinstance(want, Load) else STORED)
    if newest != roots[-1]:
        raise CeremonyError("a client would not follow it: the new root is not what it ends with")
