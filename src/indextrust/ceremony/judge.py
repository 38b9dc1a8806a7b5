"""What a signing event says, and whether it may be signed: everything but the thresholds.

An event comes from whoever carried it. `judge` believes none of its words: it builds the proposed
root, targets and bins anew from what they say and compares, so that nothing can stand in them that
the builders don't write; it verifies the roles in force, the one-time signatures and every
keyholder's signature; and it works out what changes.

It refuses, by name: a signature that is invalid or made for another proposal, one by a stranger,
one key in the place of two, a keyholder under another name than before, a key that comes back, a
kind that is not what really changes, a key that the event's profile does not allow, a rehearsal
that continues no rehearsal (so no rehearsal can follow a root in force), or has a key that was not
made for one, and the other way round.

It can't know whether the roles in force are *yours*, nor whether the change is wanted: keyholders
compare the fingerprint of the root in force with their own note, and the event's digest with each
other.

Pure. Sources: TUF specification 5.3 and 6.1; PEP 458, "Managing offline keys".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import datetime
from typing import Any

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signature
from tuf.api.metadata import Root

from indextrust.canonical import canonical
from indextrust.ceremony.check import OfflineRoles, check_content, read_below, read_roles
from indextrust.ceremony.event import Event, RootSignature
from indextrust.ceremony.incidents import check_listed
from indextrust.ceremony.judged import Judged, kinds_of, whose
from indextrust.ceremony.keyholders import Profile, check_profile, check_rehearsal
from indextrust.ceremony.root import (
    ONE_TIME_KEYS,
    Plan,
    bins_role,
    check_keys,
    material,
    root_role,
    targets_role,
)
from indextrust.errors import CeremonyError, KeyFileError
from indextrust.names import REHEARSAL_FIELD, REHEARSAL_ROOT, ROOT, TARGETS
from indextrust.repository.public_keys import decode as decode_public

__all__ = ["check_signature", "judge", "unsigned_root"]


_MAX_ROOT = 512_000
_HEX = re.compile(r"(?:[0-9a-f]{2})+", re.ASCII)


def judge(event: Event, *, now: datetime | None = None) -> Judged:
    """Look at everything in an event; whether enough have signed is left to `Judged.complete`.

    Args:
        event: as `indextrust.ceremony.event.decode` read it.
        now: aware, to refuse what has expired; None to leave that out.

    Raises:
        CeremonyError: see the module.
    """
    _check_sizes(event)
    old = _old(event)
    root = unsigned_root(event.root)
    _check_listed(root)
    new = read_below(root, event.targets, event.bins)
    check_content(new, event.before, now=now or event.proposed.at)
    check_listed(new.targets, event.incidents)
    _check_rebuilt(event, new)
    _check_one_time_keys(event, new)
    _check_holders(old, new)
    _check_rehearsal(event)
    keys = [*new.root_keys, *new.online_keys]
    check_rehearsal(keys, rehearsal=event.rehearsal)
    check_profile(keys, _profile(event))
    expected = kinds_of(old, new)
    if event.kinds != expected:
        raise CeremonyError(
            f"the event says that it is of the kind {', '.join(event.kinds)}, and what it "
            f"changes makes it {', '.join(expected)}"
        )
    judged = Judged(event, old, new)
    for signature in event.signatures:
        check_signature(judged, signature)
    return judged


def check_signature(judged: Judged, signature: RootSignature) -> None:
    """Refuse a signature that does not count for this event's root.

    Raises:
        CeremonyError: it says whose it is, and why.
    """
    key = judged.signers.get(signature.keyid)
    if key is None:
        known = [*judged.new.listed_keys, *(judged.old.listed_keys if judged.old else [])]
        other = {one.keyid for one in known}
        what = "a key of another role" if signature.keyid in other else "a stranger's key"
        raise CeremonyError(
            f"foreign signature: {signature.keyid} is {what}, and no keyholder's of the old or "
            f"the new root"
        )
    try:
        if not _HEX.fullmatch(signature.sig):
            raise UnverifiedSignatureError("expected lower-case hex")
        key.verify_signature(Signature(key.keyid, signature.sig), judged.event.payload)
    except UnverifiedSignatureError:
        raise CeremonyError(
            f"invalid signature of {whose(key)}: it is not one on this event's root; the event "
            f"was altered after they signed, or the signature belongs to another event or was "
            f"damaged"
        ) from None


def _check_sizes(event: Event) -> None:
    before = () if event.before is None else event.before.root
    largest = max(len(data) for data in (event.payload, *before))
    if largest > _MAX_ROOT:
        raise CeremonyError(
            f"expected roots of at most {_MAX_ROOT} bytes, which is what clients take, "
            f"got {largest}"
        )


def _profile(event: Event) -> Profile:
    try:
        return Profile(event.profile)
    except ValueError:
        raise CeremonyError(
            f"'profile': expected one of {', '.join(Profile)}, got {event.profile!r:.60}"
        ) from None


def _old(event: Event) -> OfflineRoles | None:
    """The roles in force. Raises CeremonyError: they do not verify, or are none of ours."""
    if event.before is None:
        return None
    try:
        old = read_roles(event.before)
        every = old.root.version - (REHEARSAL_ROOT - 1 if old.rehearsal else 0)
        if len(event.before.root) != every:  # a dropped key would look like a new one
            raise CeremonyError(
                f"expected every root since the first, {every} of them, got "
                f"{len(event.before.root)}: without them nobody can tell which keys were dropped"
            )
        _check_listed(old.root)
        if len(old.online_keys) != 1:
            raise CeremonyError(f"expected one online key, got {len(old.online_keys)}")
        check_keys(old.root_keys, old.root.roles[ROOT].threshold, old.online_keys[0])
    except CeremonyError as error:
        raise CeremonyError(f"the roles in force in this event: {error}") from error
    return old


def _check_listed(root: Root) -> None:
    for name, role in root.roles.items():
        for keyid in role.keyids:
            if keyid not in root.keys:
                raise CeremonyError(
                    f"'root' {root.version}: {name} is to be signed by key {keyid!r:.80}, which is "
                    f"not listed"
                )


def unsigned_root(tree: Mapping[str, Any]) -> Root:
    """The ``signed`` part of a root as python-tuf has it. Raises CeremonyError: it is none."""
    try:
        return Root.from_dict(deepcopy(dict(tree)))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CeremonyError(
            f"'root': expected the signed part of a root, got {type(error).__name__}: {error}"
        ) from None


def _check_rebuilt(event: Event, new: OfflineRoles) -> None:
    """The three say what the builders write for what they mean, and not a field more."""
    root = new.root
    plan = Plan(
        root_version=root.version,
        targets_version=new.targets.version,
        bins_version=new.bins.version,
        root_keys=new.root_keys,
        threshold=root.roles[ROOT].threshold,
        online=new.online_keys[0],
        scheme=new.scheme,
        now=event.proposed.at,
        layout=new.layout,
        incidents=event.incidents,
    )
    targets_keys = [root.keys[keyid] for keyid in root.roles[TARGETS].keyids]
    bins_keys = [key for key in new.one_time_keys if key not in targets_keys]
    expected = root_role(plan, targets_keys)
    if event.rehearsal:
        expected[REHEARSAL_FIELD] = True
    for name, built, came in (
        ("root", expected, dict(event.root)),
        ("targets", targets_role(plan, bins_keys), _signed_part(event.targets, "targets")),
        ("bins", bins_role(plan), _signed_part(event.bins, "bins")),
    ):
        odd = sorted(
            field
            for field in {*built, *came}
            if field not in built
            or field not in came
            or canonical(built[field]) != canonical(came[field])
        )
        if odd:
            raise CeremonyError(
                f"{name!r}: {', '.join(odd)!s:.200} is not what a proposal of "
                f"{event.proposed.at.isoformat()} says there: it was not made by "
                f"`ceremony propose`, or was altered"
            )


def _signed_part(data: bytes, name: str) -> dict[str, Any]:
    """``signed`` of a file that is signed by its one-time keys and holds nothing besides."""
    tree = json.loads(data)
    form = json.dumps(tree, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    entries = tree["signatures"]
    if (
        form.encode("utf-8") != data
        or tree.keys() != {"signatures", "signed"}
        or len(entries) != ONE_TIME_KEYS
        or any(entry.keys() != {"keyid", "sig"} for entry in entries)
    ):
        raise CeremonyError(
            f"{name!r}: expected compact metadata with {ONE_TIME_KEYS} signatures and no more"
        )
    signed: dict[str, Any] = tree["signed"]
    return signed


def _check_one_time_keys(event: Event, new: OfflineRoles) -> None:
    targets = sorted(new.root.roles[TARGETS].keyids)
    bins = sorted(key.keyid for key in new.one_time_keys if key.keyid not in targets)
    expected = {"targets": tuple(targets), "bins": tuple(bins)}
    if dict(event.one_time_keys) != expected:
        raise CeremonyError(
            "'one_time_keys_gone': expected the key ids that sign targets and bins here, "
            f"got {dict(event.one_time_keys)!r:.300}"
        )
    for key in new.one_time_keys:
        _check_plain(key)
    keys = [*new.one_time_keys, *new.root_keys, *new.online_keys]
    distinct = len({material(key) for key in keys})
    if (len(targets), len(bins), distinct) != (ONE_TIME_KEYS, ONE_TIME_KEYS, len(keys)):
        raise CeremonyError(
            f"expected {ONE_TIME_KEYS} one-time keys for targets and {ONE_TIME_KEYS} for bins, "
            f"used for nothing else, got {len(targets)} and {len(bins)}"
        )


def _check_plain(key: Key) -> None:
    """A one-time key is Ed25519, which every client verifies, and nothing stands beside it."""
    tree = {"keyid": key.keyid, "role": "online", **key.to_dict()}
    try:
        holder = decode_public(json.dumps(tree).encode(), "a one-time key")
    except KeyFileError as error:
        raise CeremonyError(str(error)) from None
    if key.keytype != "ed25519" or holder.key.unrecognized_fields:
        raise CeremonyError(
            f"one-time key {key.keyid!r:.80}: expected a plain Ed25519 key, "
            f"got {key.keytype!r:.80} with {sorted(key.unrecognized_fields)!r:.200}"
        )


def _check_holders(old: OfflineRoles | None, new: OfflineRoles) -> None:
    """Who stays, stays as they were; who comes has a name and a well-formed key."""
    before = {} if old is None else old.root.keys
    for key, role in (*((key, "root") for key in new.root_keys), (new.online_keys[0], "online")):
        if (known := before.get(key.keyid)) is not None:
            if known.to_dict() != key.to_dict():
                raise CeremonyError(
                    f"key {key.keyid} is another one than before: it was {whose(known)}, and is "
                    f"{whose(key)} here"
                )
            continue
        tree = {"keyid": key.keyid, "role": role, **key.to_dict()}
        try:
            decode_public(json.dumps(tree).encode(), f"the new {role} key")
        except KeyFileError as error:
            raise CeremonyError(str(error)) from None


def _check_rehearsal(event: Event) -> None:
    roots: Sequence[bytes] = () if event.before is None else event.before.root
    for data in roots:
        practised = json.loads(data)["signed"].get(REHEARSAL_FIELD) is True
        if practised and not event.rehearsal:
            raise CeremonyError("the roles in force are a rehearsal: nothing real follows them")
        if event.rehearsal and not practised:
            raise CeremonyError(
                "this rehearsal would follow a root that is no rehearsal: clients could take it "
                "for real. Rehearse from a genesis of its own"
            )
