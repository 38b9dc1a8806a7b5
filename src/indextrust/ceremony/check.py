"""The last look before a signing event leaves the room: would a client follow it?

Independent of the code that built and signed: the files are read back by python-tuf, and every
signature is verified again, as a client verifies it. Beyond what a client checks, this also asks
what only a keyholder cares about: that no key that was replaced is listed anywhere any more, that
none comes back later, and that no one-time key was used twice.

Pure: bytes and a time in; nothing, or a refusal, out.

Sources: TUF specification 5.3 (root chain), 5.6 (targets), 6.1 (key management); PEP 458,
"In the Event of a Key Compromise".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from securesystemslib.signer import Key
from tuf.api.exceptions import RepositoryError as TufError
from tuf.api.metadata import Metadata, Root, Targets
from tuf.api.serialization import DeserializationError, SerializationError

from indextrust.ceremony.incidents import check_kept, check_listed
from indextrust.ceremony.root import check_keys, material
from indextrust.errors import CeremonyError, InputError, RepositoryError
from indextrust.names import (
    BINS,
    REHEARSAL_FIELD,
    REHEARSAL_ROOT,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    BinScheme,
    Layout,
    layout_of,
)
from indextrust.repository.offline import scheme_of
from indextrust.repository.roles import SignedRoles

__all__ = ["OfflineRoles", "check_content", "check_event", "read_below", "read_roles"]

T = TypeVar("T", Root, Targets)


@dataclass(frozen=True)
class OfflineRoles:
    """Root, targets and bins that verify one by the other.

    Args:
        root: the latest root.
        targets: verified by the keys in `root`.
        bins: verified by the keys in `targets`.
    """

    root: Root
    targets: Targets
    bins: Targets

    @property
    def root_keys(self) -> list[Key]:
        """The keyholders' keys."""
        return [self.root.keys[keyid] for keyid in self.root.roles[ROOT].keyids]

    @property
    def online_keys(self) -> list[Key]:
        """The keys of timestamp, snapshot and the bins, each once."""
        keyids = {*self.root.roles[TIMESTAMP].keyids, *self.root.roles[SNAPSHOT].keyids}
        keys = {keyid: self.root.keys[keyid] for keyid in keyids}
        return list({**keys, **self._delegations(self.bins).keys}.values())

    @property
    def one_time_keys(self) -> list[Key]:
        """The keys of targets and bins."""
        keys = [self.root.keys[keyid] for keyid in self.root.roles[TARGETS].keyids]
        return [*keys, *self._delegations(self.targets).keys.values()]

    @property
    def listed_keys(self) -> list[Key]:
        """Every key that is listed anywhere, used or not."""
        below = (self._delegations(role).keys for role in (self.targets, self.bins))
        return [*self.root.keys.values(), *(key for keys in below for key in keys.values())]

    @property
    def layout(self) -> Layout:
        """What is a target. Raises CeremonyError: targets doesn't delegate the paths of one."""
        roles = self._delegations(self.targets).roles or {}
        try:
            return layout_of(roles[BINS].paths or () if BINS in roles else ())
        except InputError as error:
            raise CeremonyError(f"'targets': {error}") from None

    @property
    def scheme(self) -> BinScheme:
        """How target paths are spread. Raises CeremonyError: not in the profile's form."""
        try:
            return scheme_of(self.bins.to_dict().get("delegations", {}))[0]
        except RepositoryError as error:
            raise CeremonyError(str(error)) from error

    @property
    def rehearsal(self) -> bool:
        """Whether the root was made to practise."""
        return self.root.unrecognized_fields.get(REHEARSAL_FIELD) is True

    @staticmethod
    def _delegations(role: Targets) -> Any:
        if role.delegations is None:
            raise CeremonyError("targets and bins must delegate; one of them doesn't")
        return role.delegations


def read_roles(roles: SignedRoles) -> OfflineRoles:
    """Parse root, targets and bins, and verify the chain of signatures through them.

    The first root is verified by its own keys only: that it is the right one is for the caller
    to know. Expiry is not looked at.

    Raises:
        CeremonyError: no root; a file that isn't the role it should be; roots that don't follow
            each other by one version under both thresholds; a threshold that isn't met.
    """
    if not roles.root:
        raise CeremonyError("expected at least one root file, got none")
    previous: Metadata[Root] | None = None
    for data in roles.root:
        previous = _next_root(previous, data)
    assert previous is not None  # noqa: S101  (the loop ran: for mypy)
    return read_below(previous.signed, roles.targets, roles.bins)


def read_below(root: Root, targets: bytes, bins: bytes) -> OfflineRoles:
    """Parse targets and bins, and verify them by `root`, which is the caller's to judge.

    Raises:
        CeremonyError: a file that isn't the role it should be; a threshold that isn't met.
    """
    below = _parse(targets, TARGETS, Targets)
    _verify(root, TARGETS, below)
    last = _parse(bins, BINS, Targets)
    _verify(below.signed, BINS, last)
    return OfflineRoles(root, below.signed, last.signed)


def check_event(roles: SignedRoles, current: SignedRoles | None, *, now: datetime) -> None:
    """Refuse what a client, or a careful keyholder, would refuse.

    Args:
        roles: the output of a signing event.
        current: what is published until now; None at genesis.
        now: aware reference time for expiry.

    Raises:
        CeremonyError: the chain does not verify from `current` on; a version that isn't the
            next one; something expired; another layout than before, or none; keys that a root
            must not list; a replaced online key or a used one-time key that is still listed; a
            key that a root in `current` once listed and a later one did not; targets that list
            other incident records than come along, or lost one.
    """
    chain = roles if current is None else _joined(current, roles)
    new = read_roles(chain)
    check_listed(new.targets, roles.incidents)
    check_content(new, current, now=now, roots=len(roles.root))


def check_content(
    new: OfflineRoles, current: SignedRoles | None, *, now: datetime, roots: int = 1
) -> None:
    """`check_event` without the signatures: for roles of which the root is not signed yet.

    Args:
        new: what the event says.
        current: what is published until now; None at genesis.
        now: aware reference time for expiry.
        roots: how many roots the event makes.

    Raises:
        CeremonyError: as `check_event`.
    """
    for name, signed in ((ROOT, new.root), (TARGETS, new.targets), (BINS, new.bins)):
        if signed.is_expired(now):
            raise CeremonyError(f"{name!r} {signed.version}: expired {signed.expires.isoformat()}")
    if len(new.online_keys) != 1:
        raise CeremonyError(
            f"expected one online key for timestamp, snapshot and bins, got "
            f"{sorted(key.keyid for key in new.online_keys)}"
        )
    check_keys(new.root_keys, new.root.roles[ROOT].threshold, new.online_keys[0])
    old = None if current is None else read_roles(current)
    apart = REHEARSAL_ROOT - 1 if new.rehearsal else 0  # below: the first of a rehearsal
    for name, version, before in (
        (ROOT, new.root.version - roots + 1, old.root.version if old else apart),
        (TARGETS, new.targets.version, old and old.targets.version),
        (BINS, new.bins.version, old and old.bins.version),
    ):
        if version != (before or 0) + 1:
            raise CeremonyError(f"{name!r}: expected version {(before or 0) + 1}, got {version}")
    layout = new.layout
    if current is not None and old is not None:
        if layout != old.layout:
            raise CeremonyError(f"expected the layout {old.layout!r} as before, got {layout!r}")
        check_kept(old.targets, new.targets)
        _check_replaced(old, new)
        _check_returned(current, new)


def _check_replaced(old: OfflineRoles, new: OfflineRoles) -> None:
    """Every key that is out of use must be out of the lists, under whatever key id."""
    listed = {material(key): key.keyid for key in new.listed_keys}
    for what, before, after in (
        ("online", old.online_keys, new.online_keys),
        ("root", old.root_keys, new.root_keys),
        ("one-time", old.one_time_keys, []),
    ):
        stays = {key.keyid for key in after}
        for key in before:
            if key.keyid not in stays and material(key) in listed:
                raise CeremonyError(
                    f"the old {what} key {key.keyid} would stay in force: it is listed "
                    f"as {listed[material(key)]}"
                )


def _check_returned(current: SignedRoles, new: OfflineRoles) -> None:
    """A key that was dropped at any time stays out, as far back as the roots in `current` go."""
    dropped: dict[str, tuple[str, int]] = {}
    before: dict[str, str] = {}
    for data in current.root:
        root = _parse(data, ROOT, Root).signed
        listed = {material(key): key.keyid for key in root.keys.values()}
        gone = {value: (keyid, root.version - 1) for value, keyid in before.items()}
        dropped = {k: v for k, v in {**gone, **dropped}.items() if k not in listed}
        before = listed
    for key in new.listed_keys:
        if material(key) in dropped:
            keyid, version = dropped[material(key)]
            raise CeremonyError(
                f"the old key {keyid}, last listed by root {version}, would come back: it is "
                f"listed as {key.keyid}"
            )


def _joined(current: SignedRoles, roles: SignedRoles) -> SignedRoles:
    """The new roles, with the root that clients trust by now in front of the new roots."""
    return replace(roles, root=(*current.root[-1:], *roles.root))


def _next_root(previous: Metadata[Root] | None, data: bytes) -> Metadata[Root]:
    """Parse one root and verify it by itself and by the one before (specification 5.3.4)."""
    root = _parse(data, ROOT, Root)
    if previous is not None:
        expected = previous.signed.version + 1
        if root.signed.version != expected:
            raise CeremonyError(f"'root': expected version {expected}, got {root.signed.version}")
        _verify(previous.signed, ROOT, root)
    _verify(root.signed, ROOT, root)
    return root


def _parse(data: bytes, name: str, kind: type[T]) -> Metadata[T]:
    try:
        metadata: Metadata[T] = Metadata.from_bytes(data)
    except DeserializationError as error:
        raise CeremonyError(f"{name!r}: expected TUF metadata: {error}") from error
    if not isinstance(metadata.signed, kind):
        raise CeremonyError(
            f"{name!r}: expected a {kind.__name__.lower()} role, got {metadata.signed.type!r}"
        )
    return metadata


def _verify(delegator: Root | Targets, name: str, role: Metadata[T]) -> None:
    try:
        delegator.verify_delegate(name, role.signed_bytes, role.signatures)
    except (TufError, SerializationError, ValueError) as error:
        raise CeremonyError(
            f"{name!r} {role.signed.version} does not verify by "
            f"{delegator.type!r} {delegator.version}: {error}"
        ) from error
