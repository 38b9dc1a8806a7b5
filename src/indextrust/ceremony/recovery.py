"""What has to happen after keys were stolen: the plan, and whether an event carries it out. PURE.

Which keys are gone decides everything (`Cure`):

* *online*: timestamp, snapshot and every bin are the thief's. Root N+1 gives timestamp, snapshot
  and targets other keys, targets gives bins other keys, bins gives every bin another key, and the
  old ones are listed nowhere. Measured with python-tuf: a root that *adds* keys and leaves the old
  ones leaves the thief in, and so does one that replaces the key of one of these roles. Clients
  forget timestamp and snapshot when their keys change, and so every version number of the thief's.
* *keyholders*: some root keys, fewer than the threshold. Nothing was signed with them. Root N+1,
  signed by the old threshold and the new one, does not list them.
* *one-time*: a key of targets or bins. It is gone after its signature; if it was copied in the
  ceremony, the next event, which makes new ones, has the thief out.
* *out of band*: as many root keys as the threshold. Whoever has them signs the next root, and
  no client can tell it from the operator's. No event helps: there is a new first root, and every
  user is told its fingerprint by another way than the index.

`check_cured` reads the roles of an event as a client would follow them, for every role on every
path, and refuses any in which a stolen key is left, whether or not it would be needed to sign.

Sources: PEP 458, "In the Event of a Key Compromise"; TUF specification 5.3.11, 6.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from securesystemslib.signer import Key

from indextrust.ceremony.check import OfflineRoles
from indextrust.ceremony.judged import whose
from indextrust.ceremony.keyholders import KEYHOLDER_FIELD
from indextrust.ceremony.root import material
from indextrust.errors import CeremonyError
from indextrust.names import BINS, ROOT, SNAPSHOT, TARGETS, TIMESTAMP, TOP_LEVEL_ROLES

__all__ = ["Cure", "PlannedStep", "RecoveryPlan", "Stolen", "check_cured", "make_plan"]

_SHORTEST_ID = 8
_ONLINE = (TIMESTAMP, SNAPSHOT, "bin-*")


class Cure(Enum):
    """What helps."""

    ONLINE = "online"
    KEYHOLDERS = "keyholders"
    ONE_TIME = "one-time"
    OUT_OF_BAND = "out of band"


@dataclass(frozen=True)
class Stolen:
    """A key that is not its holder's alone any more.

    Args:
        key: as it is listed.
        roles: that trust it.
    """

    key: Key
    roles: tuple[str, ...]

    def __str__(self) -> str:
        return f"{whose(self.key)}, trusted for {', '.join(self.roles)}"


@dataclass(frozen=True)
class PlannedStep:
    """One step of a plan.

    Args:
        name: short; that of the step of `recover next`, if it is one.
        what: what happens, in one sentence.
        needs: what has to be at hand: people, files, keys.
    """

    name: str
    what: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class RecoveryPlan:
    """How to recover.

    Args:
        cure: what helps.
        stolen: the keys.
        steps: in order.
    """

    cure: Cure
    stolen: tuple[Stolen, ...]
    steps: tuple[PlannedStep, ...]

    @property
    def audited(self) -> bool:
        """Whether somebody may have signed targets: then the index is frozen and audited."""
        return self.cure is Cure.ONLINE

    def lines(self) -> list[str]:
        """The plan in words."""
        lines = ["Stolen", *(f"  {stolen}" for stolen in self.stolen), ""]
        for number, step in enumerate(self.steps, start=1):
            lines.append(f"{number}. {step.name}: {step.what}")
            lines += [f"   needs {needed}" for needed in step.needs]
        return lines


def make_plan(current: OfflineRoles, words: Sequence[str]) -> RecoveryPlan:
    """What to do when these keys were stolen.

    Args:
        current: the roles in force.
        words: each a key id, or its first 8 or more digits; a keyholder's name; or a role whose
            keys were stolen: ``timestamp``, ``snapshot``, ``bin``, ``targets``, ``bins``, ``root``
            (all keyholders). One online key has three roles, and goes as a whole.

    Raises:
        CeremonyError: no word, or one that means no key, or several.
    """
    if not words:
        raise CeremonyError("name at least one key, keyholder or role that was compromised")
    listed = list(_listed(current))
    found: dict[str, Key] = {}
    for word in words:
        for key in _meant(listed, word):
            found[material(key)] = key
    stolen = tuple(
        Stolen(key, tuple(role for role, other in listed if material(other) == value))
        for value, key in sorted(found.items(), key=lambda pair: whose(pair[1]))
    )
    cure = _cure(current, stolen)
    return RecoveryPlan(cure, stolen, tuple(_STEPS[cure](current, stolen)))


def check_cured(old: OfflineRoles, new: OfflineRoles, plan: RecoveryPlan) -> None:
    """Refuse roles under which a stolen key is trusted by any path, or that cure nothing.

    Args:
        old: the roles in force.
        new: those that would follow. Nothing but what they list is looked at: they may be made
            with other software.
        plan: for the roles in force.

    Raises:
        CeremonyError: it names the key, and the role that trusts it.
    """
    if plan.cure is Cure.OUT_OF_BAND:
        raise CeremonyError(_NO_CURE)
    gone = {material(stolen.key): stolen for stolen in plan.stolen}
    for role, key in _listed(new):
        if (stolen := gone.get(material(key))) is not None:
            raise CeremonyError(
                f"the stolen key {stolen.key.keyid} would stay: {role} lists it as {key.keyid}. "
                f"Adding a key without removing the old one leaves the thief in"
            )
    if plan.cure is Cure.KEYHOLDERS:
        return
    renewed = (TARGETS, BINS) if plan.cure is Cure.ONE_TIME else (TIMESTAMP, SNAPSHOT, TARGETS)
    before, after = _by_role(old), _by_role(new)
    for name in dict.fromkeys((*renewed, TARGETS, BINS)):
        if both := before.get(name, set()) & after.get(name, set()):
            raise CeremonyError(
                f"{name} would keep {len(both)} of its keys: with one role alone replaced clients "
                f"keep what the thief signed. Replace the keys of timestamp, snapshot, targets "
                f"and bins together"
            )


_NO_CURE = (
    "a threshold of root keys was stolen: no event helps, because whoever has them signs the next "
    "root as well. Make a new first root, and tell every user its fingerprint by another way"
)


def _listed(roles: OfflineRoles) -> Iterator[tuple[str, Key]]:
    """Every key that is listed, with each role that trusts it; unused ones with their list."""
    trusts: dict[str, Sequence[str]] = {
        name: roles.root.roles[name].keyids for name in TOP_LEVEL_ROLES if name in roles.root.roles
    }
    yield from _of_table(roles.root.keys, trusts, ROOT)
    for name, role in ((TARGETS, roles.targets), (BINS, roles.bins)):
        delegations = role.delegations
        if delegations is None:
            continue
        trusts = {}
        if delegations.succinct_roles is not None:
            trusts["bin-*"] = delegations.succinct_roles.keyids
        for each in (delegations.roles or {}).values():
            of_a_bin = name == BINS
            keyids = [*trusts.get("bin-*", ()), *each.keyids] if of_a_bin else each.keyids
            trusts["bin-*" if of_a_bin else each.name] = list(dict.fromkeys(keyids))
        yield from _of_table(delegations.keys, trusts, name)


def _of_table(
    keys: Mapping[str, Key], trusts: Mapping[str, Sequence[str]], table: str
) -> Iterator[tuple[str, Key]]:
    used = set()
    for role, keyids in trusts.items():
        for keyid in keyids:
            used.add(keyid)
            if keyid in keys:
                yield role, keys[keyid]
    for keyid in sorted(keys.keys() - used):
        yield f"the key table of {table}", keys[keyid]


def _by_role(roles: OfflineRoles) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for role, key in _listed(roles):
        found.setdefault(role, set()).add(material(key))
    return found


def _meant(listed: Sequence[tuple[str, Key]], word: str) -> list[Key]:
    role = "bin-*" if word == "bin" or word.startswith("bin-") else word
    of_role = {material(key): key for name, key in listed if name == role}
    named = {
        material(key): key
        for _, key in listed
        if word == key.unrecognized_fields.get(KEYHOLDER_FIELD)
        or (len(word) >= _SHORTEST_ID and key.keyid.startswith(word))
    }
    if of_role and not named:
        return list(of_role.values())
    if len(named) == 1:
        return list(named.values())
    there = ", ".join(sorted({whose(key) for key in (named or dict(_unique(listed))).values()}))
    what = "means several keys" if named else "is no key, keyholder or role in force"
    raise CeremonyError(
        f"{word!r:.80} {what}: there are {there}. The online key is meant by 'timestamp', too"
    )


def _unique(listed: Sequence[tuple[str, Key]]) -> Iterator[tuple[str, Key]]:
    for _, key in listed:
        yield material(key), key


def _cure(current: OfflineRoles, stolen: Sequence[Stolen]) -> Cure:
    root = [one for one in stolen if ROOT in one.roles]
    if len(root) >= current.root.roles[ROOT].threshold:
        return Cure.OUT_OF_BAND
    if any(role in one.roles for one in stolen for role in _ONLINE):
        return Cure.ONLINE
    return Cure.KEYHOLDERS if root else Cure.ONE_TIME


def _signers(current: OfflineRoles, stolen: Sequence[Stolen]) -> tuple[str, ...]:
    """Who signs the next root."""
    threshold = current.root.roles[ROOT].threshold
    gone = {material(one.key) for one in stolen}
    honest = sorted(whose(key) for key in current.root_keys if material(key) not in gone)
    robbed = [whose(one.key) for one in stolen if ROOT in one.roles]
    needed = [f"{threshold} keyholders of the root in force, of {', '.join(honest)}"]
    if len(honest) < threshold:
        needed[0] = (
            f"{threshold} keyholders of the root in force: {', '.join(honest)}, and "
            f"{threshold - len(honest)} of {', '.join(robbed)}, for the last time"
        )
    if len(honest) < threshold:
        needed.append(f"{threshold - len(honest)} new keyholders at least, or a lower threshold")
    elif robbed:
        needed.append(f"new keyholders for {', '.join(robbed)}, if there are to be as many again")
    return tuple(needed)


def _ceremony(current: OfflineRoles, stolen: Sequence[Stolen], what: str) -> list[PlannedStep]:
    return [
        PlannedStep("propose", what, _proposal_needs(stolen)),
        PlannedStep(
            "sign",
            f"keyholders sign root {current.root.version + 1}, each where their key is, by the "
            f"old threshold and the new one",
            _signers(current, stolen),
        ),
    ]


def _proposal_needs(stolen: Sequence[Stolen]) -> tuple[str, ...]:
    needs = []
    if any(role in one.roles for one in stolen for role in _ONLINE):
        needs.append("the public key of a new online key (NAME.pub.json), made on a clean machine")
    if any(ROOT in one.roles for one in stolen):
        needs.append("the public keys (NAME.pub.json) of keyholders who come")
    return tuple(needs)


def _online(current: OfflineRoles, stolen: Sequence[Stolen]) -> Iterator[PlannedStep]:
    yield PlannedStep("freeze", "nothing is signed here any more; done by `recover start`")
    yield PlannedStep(
        "close", "find how the thief came in, and take the old key off every machine", ("people",)
    )
    yield PlannedStep(
        "audit",
        "what is served is compared with the checkpoint, and each difference with the log",
        ("the checkpoint, and its digest from another place than the server",),
    )
    yield PlannedStep(
        "decide", "for each difference: restore, keep or remove, in a file", ("people who know",)
    )
    yield from _ceremony(
        current,
        stolen,
        f"root {current.root.version + 1}, targets and bins: new keys for timestamp, snapshot, "
        "targets, bins and every bin, the old ones removed; targets lists the incident record",
    )
    yield PlannedStep(
        "install",
        "the served folder is restored, the decisions are carried out, everything is signed anew "
        "under version numbers above all that were served; the timestamp comes last",
        ("the new online key",),
    )
    yield PlannedStep("verify", "what is served is audited again, as a client sees it")
    yield PlannedStep("thaw", "timers may sign again, with the new key", ("a reason",))


def _keyholders(current: OfflineRoles, stolen: Sequence[Stolen]) -> Iterator[PlannedStep]:
    yield from _ceremony(
        current,
        stolen,
        f"root {current.root.version + 1} without {', '.join(whose(one.key) for one in stolen)}; "
        "new one-time keys for targets and bins",
    )
    yield PlannedStep("install", "everything is signed under the new root", ("the online key",))
    yield PlannedStep("verify", "no stolen key is listed in what is served")


def _out_of_band(current: OfflineRoles, stolen: Sequence[Stolen]) -> Iterator[PlannedStep]:
    yield PlannedStep("freeze", "nothing is signed here any more (`indextrust freeze`)")
    yield PlannedStep(
        "tell",
        f"say publicly, by another way than the index: {_NO_CURE}",
        ("the index's other channels: its web page elsewhere, mail, printed paper",),
    )
    yield PlannedStep(
        "audit",
        "compare what is served with a checkpoint (`indextrust audit`)",
        ("the checkpoint, and its digest from another place than the server",),
    )
    yield PlannedStep(
        "genesis",
        "a new root 1 with new keys for everybody, in a ceremony from the beginning "
        "(`ceremony propose` without --from, with --incident for the files that were altered)",
        ("every keyholder, with a new key", "a new online key"),
    )
    yield PlannedStep(
        "found",
        "a new repository folder from that ceremony (`indextrust install`), the files of the "
        "checkpoint added to it, published in the place of the old one",
        ("the private copies, or the files by their digests from elsewhere",),
    )
    yield PlannedStep(
        "fingerprint",
        "every user runs `indextrust trust reset --fingerprint SHA256` with the SHA-256 of the "
        "new root 1; what they saw first stays remembered",
        ("the SHA-256 of the new root 1, published by another way than the index",),
    )


_STEPS: Mapping[Cure, Any] = {
    Cure.ONLINE: _online,
    Cure.KEYHOLDERS: _keyholders,
    Cure.ONE_TIME: _keyholders,
    Cure.OUT_OF_BAND: _out_of_band,
}
