"""The offline roles, verified before the repository takes them. PURE.

`verify` refuses what no client would follow (a root that is not signed by the one before and by
itself, a threshold that is not met, something expired) and what this repository could not serve
(another layout than the profile's, more than one online key, a target of targets itself that is
no incident record). It reads the files with
python-tuf, and so shares no code with the ceremony that made them.

Sources: TUF specification 5.3 (root chain), 4.5 (delegations); PEP 458, "PyPI and TUF Metadata".
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from securesystemslib.signer import Signer
from tuf.api.exceptions import RepositoryError as TufError
from tuf.api.metadata import Metadata, Root, Targets
from tuf.api.serialization import DeserializationError, SerializationError

from indextrust.errors import InputError, RefusedError, RepositoryError
from indextrust.incidents import MAX_RECORDS, parse
from indextrust.names import (
    BINS,
    REHEARSAL_FIELD,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    BinScheme,
    Layout,
    layout_of,
)
from indextrust.repository.plan import utc
from indextrust.repository.roles import SignedRoles

__all__ = [
    "Offline",
    "OfflineRole",
    "check_expiry",
    "check_followers",
    "check_online_key",
    "check_successor",
    "read_layout",
    "scheme_of",
    "verify",
]

T = TypeVar("T", Root, Targets)


@dataclass(frozen=True)
class OfflineRole:
    """One verified file.

    Args:
        version: its version.
        expires: as TUF writes it.
        data: the file.
    """

    version: int
    expires: str
    data: bytes


@dataclass(frozen=True)
class Offline:
    """Root, targets and bins that verify one by the other.

    Args:
        roots: every root file, by version, without a gap.
        roles: the latest root, targets and bins, by role name.
        scheme: how target paths are spread over bins.
        online_keyid: the one key of timestamp, snapshot and all bins.
        layout: what is a target.
        incidents: the incident records that targets lists, by target path.
    """

    roots: Mapping[int, bytes]
    roles: Mapping[str, OfflineRole]
    scheme: BinScheme
    online_keyid: str
    layout: Layout
    incidents: Mapping[str, bytes]


def verify(roles: SignedRoles, known: Mapping[int, bytes], now: datetime | None) -> Offline:
    """Verify what came out of a ceremony.

    Args:
        roles: its files. Roots that are known already may be among them.
        known: the roots that were verified before, by version; empty for a new repository,
            whose first root (version 1) is then taken on its own word.
        now: aware; nothing may be expired then. None to leave expiry to the caller.

    Raises:
        RepositoryError: they do not verify, or can't be served by this repository.
    """
    roots = _chain(roles, known)
    root = _parse(roots[max(roots)], ROOT, Root).signed
    targets = _parse(roles.targets, TARGETS, Targets)
    bins = _parse(roles.bins, BINS, Targets)
    _verify(root, TARGETS, targets)
    _verify(targets.signed, BINS, bins)
    found: dict[str, OfflineRole] = {}
    for name, signed, data in (
        (ROOT, root, roots[max(roots)]),
        (TARGETS, targets.signed, roles.targets),
        (BINS, bins.signed, roles.bins),
    ):
        found[name] = OfflineRole(signed.version, utc(signed.expires), data)
    profile = _profile(root, targets.signed, bins.signed)
    offline = Offline(roots, found, *profile, _incidents(targets.signed, roles.incidents))
    if now is not None:
        check_expiry(offline, now)
    return offline


def check_expiry(offline: Offline, now: datetime) -> None:
    """Refuse offline roles of which one has expired.

    Raises:
        RepositoryError: one expired at `now` or before.
    """
    for name, role in offline.roles.items():
        if role.expires <= utc(now):
            raise RepositoryError(f"{name!r} version {role.version} expired {role.expires}")


def _chain(roles: SignedRoles, known: Mapping[int, bytes]) -> dict[int, bytes]:
    """The known roots and those that follow them (specification 5.3.4 and 5.3.5)."""
    roots = dict(known)
    for data in roles.root:
        root = _parse(data, ROOT, Root)
        version = root.signed.version
        if REHEARSAL_FIELD in root.signed.unrecognized_fields:
            raise RepositoryError(
                f"'root' version {version} is a rehearsal: it was made to practise, and no "
                f"index is made of it"
            )
        _refuse_rehearsed(root.signed)
        if version in roots:
            if roots[version] != data:
                raise RepositoryError(f"'root' version {version} has other bytes than before")
            continue
        expected = max(roots, default=0) + 1
        if version != expected:
            raise RepositoryError(f"'root': expected version {expected}, got {version}")
        if roots:
            _verify(_parse(roots[expected - 1], ROOT, Root).signed, ROOT, root)
        _verify(root.signed, ROOT, root)
        roots[version] = data
        if known:  # only here is every earlier root sure to be looked at
            _check_dropped(roots, version)
    if not roots:
        raise RepositoryError("expected at least one root, got none")
    return roots


def _refuse_rehearsed(root: Root) -> None:
    """Refuse a root that lists a key which was made to practise. Raises RepositoryError."""
    for key in root.keys.values():
        if REHEARSAL_FIELD in key.unrecognized_fields:
            raise RepositoryError(
                f"'root' version {root.version} lists key {key.keyid:.64}, which was made in a "
                f"rehearsal, to practise"
            )


def _check_dropped(roots: Mapping[int, bytes], version: int) -> None:
    """Refuse a root that lists a key which an earlier one listed and the last one did not.

    Whoever made the event may have had the last root alone, or a forged history before it.
    """
    listed = {number: _listed(data) for number, data in roots.items()}
    for keyid in listed[version].keys() - listed[version - 1].keys():
        for number in range(1, version - 1):
            if keyid in listed[number]:
                raise RepositoryError(
                    f"'root' version {version}: key {listed[version][keyid]} was dropped after "
                    f"version {number} and must not come back"
                )


def _listed(data: bytes) -> dict[str, str]:
    """The keys of a root: public value in one spelling, to key id."""
    keys = _parse(data, ROOT, Root).signed.keys
    return {
        "".join(str(key.keyval["public"]).split()).lower(): keyid for keyid, key in keys.items()
    }


def _profile(root: Root, targets: Targets, bins: Targets) -> tuple[BinScheme, str, Layout]:
    """The bins, the key id of the one online key, and the layout.

    Raises:
        RepositoryError: a form that this repository does not serve.
    """
    if not root.consistent_snapshot:
        raise RepositoryError("'root': expected consistent_snapshot to be true")
    if bins.targets:
        raise RepositoryError("'bins' must list no target of its own")
    layout = read_layout(targets)
    scheme, keyids, threshold = scheme_of(bins.to_dict().get("delegations", {}))
    for name, role in ((TIMESTAMP, root.roles[TIMESTAMP]), (SNAPSHOT, root.roles[SNAPSHOT])):
        if role.threshold != 1 or role.keyids != keyids:
            raise RepositoryError(
                f"{name!r}: expected one signature by the key of the bins ({keyids}), "
                f"got {role.threshold} by {role.keyids}"
            )
    if threshold != 1 or len(keyids) != 1:
        raise RepositoryError(f"bins: expected one signature by one key, got {threshold} {keyids}")
    return scheme, keyids[0], layout


def _incidents(targets: Targets, records: Mapping[str, bytes]) -> dict[str, bytes]:
    """The records that targets lists, each as it is listed.

    Args:
        targets: verified.
        records: their bytes, by target path.

    Raises:
        RepositoryError: a target that is no incident record, or a record that is missing.
    """
    found = {}
    for path, target in targets.targets.items():
        data = records.get(path)
        if data is None:
            raise RepositoryError(f"'targets': it lists {path!r:.200}, and no such record is there")
        there = {"sha256": hashlib.sha256(data).hexdigest()}
        if (target.length, target.hashes) != (len(data), there):
            raise RepositoryError(
                f"{path}: expected {target.length} bytes with {target.hashes}, "
                f"got {len(data)} with {there}"
            )
        try:
            parse(data, path=path)
        except RefusedError as error:
            raise RepositoryError(f"'targets': {error}") from error
        found[path] = data
    if len(found) > MAX_RECORDS:
        raise RepositoryError(f"expected at most {MAX_RECORDS} incident records, got {len(found)}")
    return found


def read_layout(targets: Targets) -> Layout:
    """The layout, from what targets hands to bins.

    Raises:
        RepositoryError: not a terminating delegation of the paths of a layout.
    """
    to_bins = targets.delegations.roles if targets.delegations else None
    delegation = (to_bins or {}).get(BINS)
    if delegation is not None and delegation.terminating:
        with contextlib.suppress(InputError):
            return layout_of(delegation.paths or ())
    raise RepositoryError(
        "'targets': expected a terminating delegation of simple/*/* and files/*/*, or of "
        "simple/*/* alone, to 'bins'"
    )


def check_online_key(offline: Offline, online: Signer) -> None:
    """Refuse a signer whose key is not the online key of the roles.

    Raises:
        RepositoryError: another key.
    """
    keyid = online.public_key.keyid
    if keyid != offline.online_keyid:
        raise RepositoryError(f"expected the online key {offline.online_keyid}, got {keyid}")


def check_successor(current: Offline, offline: Offline) -> None:
    """Refuse roles that can't replace the current ones: as `check_followers`, or other bins.

    Raises:
        RepositoryError: `offline` can't replace `current`.
    """
    if offline.scheme != current.scheme:
        raise RepositoryError(
            f"expected {current.scheme.count} bins by {current.scheme.form} as before, got "
            f"{offline.scheme.count} by {offline.scheme.form}: rebin takes roles that change them"
        )
    check_followers(current, offline)


def check_followers(current: Offline, offline: Offline) -> None:
    """Refuse targets and bins that are older than the current ones, or another layout.

    Raises:
        RepositoryError: `offline` can't follow `current`.
    """
    if offline.layout != current.layout:
        raise RepositoryError(
            f"expected the layout {current.layout!r} as before, got {offline.layout!r}: an index "
            f"keeps its layout"
        )
    for name in (TARGETS, BINS):
        old, new = current.roles[name], offline.roles[name]
        if new.version < old.version or (new.version == old.version and new.data != old.data):
            raise RepositoryError(
                f"{name!r}: expected a version above {old.version}, got {new.version}"
            )


def scheme_of(delegations: Mapping[str, Any]) -> tuple[BinScheme, list[str], int]:
    """Read the bins back from ``delegations`` of the ``bins`` role.

    Returns:
        The scheme, and the key ids and the threshold that all bins share.

    Raises:
        RepositoryError: not what `BinScheme.delegation` writes.
    """
    stated = {name: value for name, value in delegations.items() if name != "keys"}
    try:
        if "succinct_roles" in stated:
            part = stated["succinct_roles"]
            scheme = BinScheme(part["bit_length"], succinct=True)
        else:
            part = stated["roles"][0]
            scheme = BinScheme(len(stated["roles"]).bit_length() - 1, succinct=False)
        keyids, threshold = part["keyids"], part["threshold"]
        if type(scheme.bits) is int and scheme.delegation(keyids, threshold) == stated:
            return scheme, keyids, threshold
    except (KeyError, IndexError, TypeError, InputError):
        pass
    raise RepositoryError("'bins': expected delegations to bins in the profile's form")


def _parse(data: bytes, name: str, kind: type[T]) -> Metadata[T]:
    try:
        metadata: Metadata[T] = Metadata.from_bytes(data)
    except DeserializationError as error:
        raise RepositoryError(f"{name!r}: not TUF metadata: {error}") from error
    if not isinstance(metadata.signed, kind):
        raise RepositoryError(f"{name!r}: expected that role, got a {metadata.signed.type!r} file")
    return metadata


def _verify(delegator: Root | Targets, name: str, role: Metadata[T]) -> None:
    try:
        delegator.verify_delegate(name, role.signed_bytes, role.signatures)
    except (TufError, SerializationError, ValueError) as error:
        raise RepositoryError(
            f"{name!r} version {role.signed.version} does not verify by {delegator.type!r} "
            f"version {delegator.version}: {error}"
        ) from error
