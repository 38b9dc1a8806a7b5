"""The freeze: from one moment on nothing is signed here, until a person says so.

Whoever suspects that the online key is stolen has no time: no passphrase to look for, no lock to
wait for. So a freeze is one file in the repository folder, ``frozen``. *That it is there* is the
freeze; what is in it says why. It is made by one ``open`` and one ``write``, durably, with no key
and no lock, while a publication is under way or while its process hangs. Killed between the two,
or with the disk full, it leaves an empty file, and the repository is frozen all the same.

Everything that signs asks (`Freeze.check`): before it begins, before each signature, and last
before ``timestamp.json`` is replaced. So a publication that is under way stops before its next
signature (where other processes sign, after the bins that they have been given, at most 128 each),
and nothing of it becomes visible. What it had begun is completed by the first publication after
the thaw, like any that was interrupted.

A recovery signs under a freeze: timers must not. It holds the `Frozen` that it began under, and
may sign while the file says exactly that. Another `freeze` adds a line to the file and so stops
the recovery too.

Left to others: the transaction log, which is told of freezes when it can be (`log`); stopping who
has the key elsewhere, for no file here binds a thief. Source: PEP 458, "In the Event of a Key
Compromise".
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indextrust.errors import FrozenError, InputError, StoreError
from indextrust.repository.disk import read_bounded, storing
from indextrust.repository.durable import fsync_folder

__all__ = ["FILE", "Freeze", "FreezeNote", "Frozen", "stated_reason"]

FILE = "frozen"
"""Its name in the repository folder."""

_MAX_REASON = 500
_MAX_FILE = 1_000_000
_FIELDS = ("time", "who", "reason")


@dataclass(frozen=True)
class FreezeNote:
    """Who froze, when and why; as it was said, not authenticated.

    Args:
        time: ``YYYY-MM-DDTHH:MM:SSZ``.
        who: the user, or the name that was given.
        reason: one line.
    """

    time: str
    who: str
    reason: str

    def __str__(self) -> str:
        return f"by {self.who} at {self.time}: {self.reason}"


@dataclass(frozen=True)
class Frozen:
    """A freeze that is in force.

    Args:
        content: of the file, byte for byte.
        notes: what it says, in order; empty if whoever froze was cut short.
    """

    content: bytes
    notes: tuple[FreezeNote, ...]

    def __str__(self) -> str:
        said = "; ".join(map(str, self.notes)) or "the reason was not written to the end"
        return f"the repository is frozen, {said}"


class Freeze:
    """The freeze of one repository.

    Args:
        folder: the repository's.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._allowed: Frozen | None = None

    def found(self) -> Frozen | None:
        """The freeze that is in force; None if there is none.

        Whatever lies in the place of the file freezes, also what can't be read.
        """
        if not os.path.lexists(self.path):
            return None
        content = read_bounded(self.path, _MAX_FILE) or b""
        return Frozen(content, tuple(filter(None, map(_note, content.splitlines()))))

    def check(self) -> None:
        """Refuse to go on if the repository is frozen.

        Raises:
            FrozenError: it is; by another freeze than the one that was allowed.
        """
        frozen = self.found()
        if frozen is not None and frozen != self._allowed:
            raise FrozenError(f"{frozen}. Nothing is signed until `indextrust thaw`")

    def allow(self, frozen: Frozen | None) -> None:
        """Let this process sign under `frozen`, and no other freeze; None: under none."""
        self._allowed = frozen

    def set(self, note: FreezeNote) -> Frozen:
        """Freeze, durably. Needs no lock.

        Raises:
            StoreError: the disk refused. If the file could be made, it is frozen all the same,
                and the message says so.
        """
        line = json.dumps(dict(zip(_FIELDS, (note.time, note.who, note.reason), strict=True)))
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        while True:
            with storing(f"write {self.path}"):
                descriptor = os.open(self.path, flags, 0o644)
            try:
                with storing(f"write {self.path}, but it is there: the repository is frozen"):
                    os.write(descriptor, f"\n{line}\n".encode("ascii"))
                    os.fsync(descriptor)
                    fsync_folder(self.path.parent)
                    if self._is_there(descriptor):
                        break
            finally:
                os.close(descriptor)
        frozen = self.found()
        if frozen is None:
            raise StoreError(f"{self.path} is gone again: somebody thawed at this moment")
        return frozen

    def lift(self, frozen: Frozen, before: Callable[[], object]) -> None:
        """End a freeze.

        Args:
            frozen: the one that the person knew of who said so.
            before: is called when everything was checked; the file is there until it returns.

        Raises:
            FrozenError: another freeze was added since.
            StoreError: the disk refused.
        """
        before()
        if (now := self.found()) != frozen:
            raise FrozenError(f"{now or 'the freeze was lifted'}: this was said meanwhile")
        with storing(f"remove {self.path}"):
            self.path.unlink()
            fsync_folder(self.path.parent)

    def _is_there(self, descriptor: int) -> bool:
        """Whether the file that was written has its name: it may have been thawed meanwhile."""
        try:
            named = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(descriptor))


def stated_reason(reason: str) -> str:
    """A reason as it is written down. Raises InputError: none, too long, or not printable."""
    if not reason.strip() or not reason.isprintable() or len(reason) > _MAX_REASON:
        raise InputError(
            f"expected a reason of 1 to {_MAX_REASON} printable characters on one line, "
            f"got {reason[: _MAX_REASON + 1]!r}"
        )
    return reason.strip()


def _note(line: bytes) -> FreezeNote | None:
    """A line of the file; None if it was not written to the end, or by somebody else."""
    try:
        tree: dict[str, Any] = json.loads(line)
        values = [tree[name] for name in _FIELDS]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return FreezeNote(*values) if all(isinstance(value, str) for value in values) else None
