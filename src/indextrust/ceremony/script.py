"""What a runbook is written from: an event that is there, or one that is only planned.

Before a proposal can be made, people make keys and bring their public halves together. So there is
a script of an event that does not exist yet: it knows the names of those who come and go, and the
thresholds, and leaves what nobody knows (fingerprints, the digest) to be written in by hand.

Pure.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from securesystemslib.signer import Key

from indextrust.ceremony.check import OfflineRoles
from indextrust.ceremony.judged import Judged, whose
from indextrust.ceremony.keyholders import KEYHOLDER_FIELD, Profile, check_holder, profile_of
from indextrust.ceremony.proposal import find_key
from indextrust.ceremony.words import reasons, refuse_if, title, title_of
from indextrust.errors import CeremonyError
from indextrust.names import REHEARSAL_ROOT, ROOT

__all__ = ["Maker", "Script", "Signer", "Threshold", "file_name", "plan", "script_of"]


_RECOVERS = {"incident", "keyholders", "online-key"}
"""Kinds of the events that a recovery proposes."""


@dataclass(frozen=True)
class Signer:
    """Somebody who may sign.

    Args:
        label: as people call them and their key.
        name: for ``--keyholder``; None if it has to be the id of a key that nobody made yet.
        counts: which thresholds the signature counts for, in words.
        file: name of the private key's file; None if it is not known.
    """

    label: str
    name: str | None
    counts: str
    file: str | None = None


@dataclass(frozen=True)
class Maker:
    """Somebody who makes a key first.

    Args:
        who: a keyholder's name, or ``the operator``.
        name: of the key's files, without what they end in.
        options: of ``key generate``; those of ``key import`` are the same, but for ``--type``.
    """

    who: str
    name: str
    options: tuple[str, ...]

    @property
    def serves(self) -> bool:
        """Whether the key is the server's."""
        return self.options[0] == "--role"


@dataclass(frozen=True)
class Threshold:
    """How many of whom must sign for one of the two roots: ``old`` or ``new``."""

    which: str
    needed: int
    keys: int


@dataclass(frozen=True)
class Script:
    """All that a runbook says of its event.

    Args:
        title: what the event is, in one line.
        root: version of the root that is signed.
        event: name of the event's file.
        out: name of the folder that `finish` makes.
        digest: of the event; None if it is not proposed yet.
        rehearsal: made to practise.
        follows: whether there is a root in force.
        signers: everybody who may sign, in order.
        thresholds: to be met, all of them.
        reasons: what would make a careful keyholder refuse.
        makers: who makes a key first; empty if the event is there.
        propose: the words that propose it; empty if it is there.
        recovers: whether a recovery after a theft may have proposed it.
    """

    title: str
    root: int
    event: str
    out: str
    digest: str | None
    rehearsal: bool
    follows: bool
    signers: Sequence[Signer]
    thresholds: Sequence[Threshold]
    reasons: Sequence[str]
    makers: Sequence[Maker] = ()
    propose: Sequence[str] = ()
    recovers: bool = False


def script_of(judged: Judged, *, event: str) -> Script:
    """The script of an event that is there.

    Args:
        judged: as it is when the runbook is printed.
        event: name of its file on everybody's medium.
    """
    groups = judged.groups
    keys = sorted(judged.signers.values(), key=whose)
    names = [_owner(key) for key in keys]
    return Script(
        title(judged),
        judged.new.root.version,
        event,
        _out(judged.new.root.version, follows=judged.old is not None),
        judged.event.digest,
        judged.event.rehearsal,
        judged.old is not None,
        [
            _signer(key, [group.which for group in groups if key in group.keys], names)
            for key in keys
        ],
        [Threshold(group.which, group.threshold, len(group.keys)) for group in groups],
        refuse_if(judged),
        recovers=judged.old is not None and not _RECOVERS.isdisjoint(judged.event.kinds),
    )


def plan(
    old: OfflineRoles | None,
    come: Sequence[str],
    go: Sequence[str],
    threshold: int | None,
    *,
    event: str,
    current: str | None,
    new_online: bool,
    profile: Profile | None,
    rehearsal: bool,
) -> Script:
    """The script of an event that is planned, from the making of its keys on.

    Args:
        old: the roles in force; None for a genesis.
        come: names of the keyholders who come.
        go: keyholders who go, as for `indextrust.ceremony.proposal.Change`.
        threshold: how many must sign from then on; None keeps the number.
        event: name of its file.
        current: name of the folder of the roles in force; None for a genesis.
        new_online: whether the server gets another key.
        profile: which clients must be able to verify; None for all, or as the keys in force.
        rehearsal: of a genesis; later events are what the first was.

    Raises:
        CeremonyError: nobody comes to a genesis, somebody comes twice, somebody who goes is not
            there, or a threshold that nobody or anybody could meet.
        InputError: a name that can't be printed.
    """
    before = [] if old is None else old.root_keys
    gone = [find_key(before, name) for name in go]
    stay = [key for key in before if key not in gone]
    rehearsal = rehearsal if old is None else old.rehearsal
    was = 0 if old is None else old.root.roles[ROOT].threshold
    needed = was if threshold is None else threshold
    _check(come, stay, needed)
    declared = profile or (Profile.PORTABLE if old is None else profile_of(before))
    root = (REHEARSAL_ROOT if rehearsal else 1) if old is None else old.root.version + 1
    online = "online" if old is None else f"online-{root}" if new_online else None
    makers = _makers(come, declared, online, rehearsal=rehearsal)
    thresholds = [] if old is None else [Threshold("old", was, len(before))]
    kinds = ["genesis"]
    if old is not None:
        kinds = _kinds(keyholders=bool(come or gone), threshold=needed != was, online=new_online)
    return Script(
        title_of(kinds),
        root,
        event,
        _out(root, follows=old is not None),
        None,
        rehearsal,
        old is not None,
        _signers(before, gone, come, makers),
        [*thresholds, Threshold("new", needed, len(stay) + len(come))],
        reasons(added=bool(come), follows=old is not None, rehearsal=rehearsal),
        makers,
        _propose(event, makers, go, threshold, current, profile, rehearsal=rehearsal),
    )


def _kinds(*, keyholders: bool, threshold: bool, online: bool) -> list[str]:
    """What changes after a root in force, as `indextrust.ceremony.judged.kinds_of` has it."""
    changes = {"keyholders": keyholders, "online-key": online, "threshold": threshold}
    return [kind for kind, differs in changes.items() if differs] or ["renewal"]


def _out(root: int, *, follows: bool) -> str:
    """A name for the folder that `finish` makes, beside those of earlier events."""
    return f"finished-{root}" if follows else "finished"


def file_name(name: str) -> str:
    """A name for files, made of a person's."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "keyholder"


def _check(come: Sequence[str], stay: Sequence[Key], needed: int) -> None:
    for name in come:
        check_holder(name, None, ROOT)
    names = [*come, *(str(key.unrecognized_fields.get(KEYHOLDER_FIELD)) for key in stay)]
    if twice := sorted({name for name in come if names.count(name) > 1}):
        raise CeremonyError(
            f"{', '.join(twice)} would be a keyholder twice: tell people apart by their names"
        )
    if not 1 <= needed <= len(names):
        raise CeremonyError(
            f"expected a threshold from 1 to the number of keyholders ({len(names)}), got {needed}"
        )


def _makers(
    come: Sequence[str], profile: Profile, online: str | None, *, rehearsal: bool
) -> list[Maker]:
    """Who makes a key, each with a file name of its own."""
    mark = ("--rehearsal",) if rehearsal else ()
    kind = () if profile is Profile.PORTABLE else ("--type", "ecdsa-p256")
    taken = [] if online is None else [online]
    makers = []
    for person in come:
        name = base = file_name(person)
        number = 1
        while name in taken:
            number += 1
            name = f"{base}-{number}"
        taken.append(name)
        makers.append(Maker(person, name, ("--keyholder", person, *kind, *mark)))
    if online is not None:
        makers.append(Maker("the operator", online, ("--role", "online", *mark)))
    return makers


def _signers(
    before: Sequence[Key], gone: Sequence[Key], come: Sequence[str], makers: Sequence[Maker]
) -> list[Signer]:
    names = [*(_owner(key) for key in before), *come]
    signers = [_signer(key, ["old"] if key in gone else ["old", "new"], names) for key in before]
    files = {maker.who: f"{maker.name}.pem" for maker in makers if not maker.serves}
    signers += [
        Signer(name, name if names.count(name) == 1 else None, _counts(["new"]), files[name])
        for name in come
    ]
    return sorted(signers, key=lambda signer: signer.label)


def _signer(key: Key, which: Sequence[str], names: Sequence[str]) -> Signer:
    """Who holds `key`; by its id, where it is one of several of that name (a key was replaced)."""
    name = _owner(key)
    return Signer(whose(key), name if names.count(name) == 1 else key.keyid, _counts(which))


def _owner(key: Key) -> str:
    return str(key.unrecognized_fields.get(KEYHOLDER_FIELD) or key.keyid)


def _counts(which: Sequence[str]) -> str:
    return " and ".join(f"the {one} root" for one in which)


def _propose(
    event: str,
    makers: Sequence[Maker],
    go: Sequence[str],
    threshold: int | None,
    current: str | None,
    profile: Profile | None,
    *,
    rehearsal: bool,
) -> list[str]:
    words = ["indextrust", "ceremony", "propose", event]
    words += [] if current is None else ["--from", current]
    for maker in makers:
        option = "--online" if maker.serves else "--add"
        words += [option, f"{maker.name}.pub.json"]
    for name in go:
        words += ["--remove", name]
    words += [] if threshold is None else ["--threshold", str(threshold)]
    words += [] if profile is None else ["--profile", profile.value]
    words += ["--rehearsal"] if rehearsal and current is None else []
    return [shlex.quote(word) for word in words]
