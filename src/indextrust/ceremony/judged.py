"""A signing event that was judged: who must sign it, who did, and what it changes.

Values made by `indextrust.ceremony.judge` and by nobody else; everything that is shown, signed or
written is made from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from securesystemslib.signer import Key

from indextrust.ceremony.check import OfflineRoles
from indextrust.ceremony.event import Event
from indextrust.ceremony.keyholders import KEYHOLDER_FIELD, SERIAL_FIELD
from indextrust.names import ROOT
from indextrust.repository.public_keys import names_plainly

__all__ = ["KINDS", "Group", "Judged", "kinds_of", "whose"]

KINDS = ("bins", "genesis", "incident", "keyholders", "online-key", "renewal", "threshold")
"""What an event can be: ``genesis``, or ``renewal`` (nothing but time changes), or some changes.
``incident``: it brings an incident record, as any of them may."""

_MAX_NAME = 200


@dataclass(frozen=True)
class Group:
    """One of the two roots whose threshold the new root has to meet.

    Args:
        which: ``old`` or ``new``.
        version: of that root.
        keys: its keyholders' keys.
        threshold: how many of them must sign.
        signed: those of `keys` that did.
    """

    which: str
    version: int
    keys: tuple[Key, ...]
    threshold: int
    signed: tuple[Key, ...]

    @property
    def missing(self) -> int:
        """How many more must sign."""
        return max(0, self.threshold - len(self.signed))

    @property
    def waiting(self) -> tuple[Key, ...]:
        """Those who have not signed."""
        there = {key.keyid for key in self.signed}
        return tuple(key for key in self.keys if key.keyid not in there)


@dataclass(frozen=True)
class Judged:
    """An event that `judge` found nothing wrong with.

    Args:
        event: as it was read.
        old: the roles in force; None at genesis.
        new: the roles that it makes.
    """

    event: Event
    old: OfflineRoles | None
    new: OfflineRoles

    @property
    def groups(self) -> tuple[Group, ...]:
        """The thresholds to meet: the old root's (unless this is genesis) and the new one's."""
        roots = [("new", self.new.root)]
        if self.old is not None:
            roots.insert(0, ("old", self.old.root))
        signed = {one.keyid for one in self.event.signatures}
        groups = []
        for which, root in roots:
            keys = tuple(sorted((root.keys[keyid] for keyid in root.roles[ROOT].keyids), key=whose))
            there = tuple(key for key in keys if key.keyid in signed)
            groups.append(Group(which, root.version, keys, root.roles[ROOT].threshold, there))
        return tuple(groups)

    @property
    def complete(self) -> bool:
        """Whether every threshold is met: both, or at genesis the one there is."""
        return not any(group.missing for group in self.groups)

    @property
    def signers(self) -> Mapping[str, Key]:
        """By key id: everybody whose signature counts for one of the two."""
        return {key.keyid: key for group in self.groups for key in group.keys}

    @property
    def added(self) -> list[Key]:
        """Keyholders' keys that are new."""
        before = {key.keyid for key in self.old.root_keys} if self.old else set()
        return [key for key in self.new.root_keys if key.keyid not in before]

    @property
    def removed(self) -> list[Key]:
        """Keyholders' keys that are gone."""
        after = {key.keyid for key in self.new.root_keys}
        return [key for key in (self.old.root_keys if self.old else []) if key.keyid not in after]

    @property
    def online(self) -> Key:
        """The one key of timestamp, snapshot and the bins."""
        return self.new.online_keys[0]


def whose(key: Key) -> str:
    """A key by its holder's name and device, as people call it."""
    owner = key.unrecognized_fields.get(KEYHOLDER_FIELD)
    serial = key.unrecognized_fields.get(SERIAL_FIELD)
    name = _printable(owner) or "nobody named"
    device = f"serial {_printable(serial)}, " if _printable(serial) else ""
    return f"{name} ({device}key {key.keyid[:8]})"


def _printable(text: object) -> str:
    """A name from a root that somebody else may have made, without what a terminal obeys."""
    if not isinstance(text, str):
        return ""
    return text if names_plainly(text) and len(text) <= _MAX_NAME else ascii(text)[:_MAX_NAME]


def kinds_of(old: OfflineRoles | None, new: OfflineRoles) -> tuple[str, ...]:
    """What changes, in the words of `KINDS`, sorted."""
    records = set(new.targets.targets) - set(old.targets.targets if old else ())
    if old is None:
        return ("genesis", "incident") if records else ("genesis",)

    def ids(keys: Sequence[Key]) -> set[str]:
        return {key.keyid for key in keys}

    differ = {
        "keyholders": ids(old.root_keys) != ids(new.root_keys),
        "online-key": ids(old.online_keys) != ids(new.online_keys),
        "threshold": old.root.roles[ROOT].threshold != new.root.roles[ROOT].threshold,
        "bins": old.scheme != new.scheme,
        "incident": bool(records),
    }
    return tuple(sorted(kind for kind, differs in differ.items() if differs)) or ("renewal",)
