"""What is to become of each difference that an audit found: proposed here, decided by people. PURE.

An `Item` is a distribution file that is not as it was (with its core metadata), or a project whose
page says something else about the same files. Each has three digests: what is *good* (in the
checkpoint), *ours* (what our own state has, which follows from the log), and *served*.

Three decisions:

* ``restore``: what it should be. That is what the log gave it; where the log is not believed, or
  where a person wants to undo what was queued, what the checkpoint has.
* ``keep``: as it is. What was queued stays; what nobody queued is taken in as it is served.
* ``remove``: listed no more.

Proposed: what was queued is kept; what was queued by nobody is restored, and removed where there
is nothing to restore. Nothing that a thief signed stays unless a person wrote ``keep`` beside it.

The file of decisions is text, one line for each item, for an editor::

    restore  files/demo/demo-1.0-py3-none-any.whl
        # changed, queued by nobody; in the checkpoint c0de…, served 9b3a…

Every item has to be there, once, and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from indextrust.errors import CeremonyError

__all__ = ["WORDS", "Item", "from_trees", "read_decisions", "to_trees", "write_decisions"]

WORDS = ("restore", "keep", "remove")
"""The decisions."""

_HEADING = """\
# What is to become of each file that is not as it was. Change the first word of a line:
#   restore  what it should be by the log, or else by the checkpoint
#   keep     as it is: what nobody queued is taken in as it is served
#   remove   listed no more
# Leave every line in. What begins with # is not read.
"""


@dataclass(frozen=True)
class Item:
    """One difference to decide on.

    Args:
        path: of the distribution file, ``files/PROJECT/FILENAME``; or of a project's document.
        kind: ``added``, ``changed`` or ``removed``, against the checkpoint; or ``undone``: the
            same as there, but not what was queued since.
        good: SHA-256 in the checkpoint; None if it was not there.
        ours: SHA-256 in our state; None if it has none.
        served: SHA-256 that is signed for it now; None if nothing is.
        queued: who asked for what is served, and when; None if nobody did.
        believed: whether `ours` follows from a log that reaches back to the checkpoint.
        core: likewise good, ours and served of the core metadata beside it.
        taken: SHA-256 that the file name stands for by our state, for good; None if it is free.
        decision: one of `WORDS`.
    """

    path: str
    kind: str
    good: str | None
    ours: str | None
    served: str | None
    queued: str | None
    believed: bool
    core: tuple[str | None, str | None, str | None] = (None, None, None)
    taken: str | None = None
    decision: str = ""

    @property
    def is_file(self) -> bool:
        """Whether it is a distribution file, and not a page."""
        return self.path.startswith("files/")

    @property
    def right(self) -> str | None:
        """What ``restore`` brings back."""
        return self.ours if self.believed and self.queued is None else self.good

    @property
    def proposed(self) -> str:
        """The decision that is written into the file for a person to change."""
        if self.queued is not None:
            return "keep"
        return "restore" if self.right is not None or not self.is_file else "remove"

    @property
    def outcome(self) -> str | None:
        """SHA-256 of what will be listed; None if nothing will."""
        if self.decision == "remove":
            return None
        if self.decision == "restore":
            return self.right
        return self.ours if self.believed and self.queued is not None else self.served

    def words(self) -> str:
        """Why it is in the list, in one line."""
        who = f"queued by {self.queued}" if self.queued else "queued by nobody"
        parts = [f"{self.kind}, {who}"]
        for what, digest in (
            ("in the checkpoint", self.good),
            ("by the log", self.ours),
            ("served", self.served),
        ):
            parts.append(f"{what} {digest or 'nothing'}")
        return f"{parts[0]}; {', '.join(parts[1:])}"


def write_decisions(items: Sequence[Item]) -> str:
    """The file, with what is proposed."""
    lines = [_HEADING]
    for item in items:
        lines.append(f"{item.proposed:<8} {_spelled(item.path)}\n    # {item.words()}\n")
    return "\n".join(lines)


def read_decisions(text: str, items: Iterable[Item]) -> list[Item]:
    """The items with what people decided.

    Args:
        text: of the file.
        items: what the audit found.

    Raises:
        CeremonyError: it names the line: a word that is no decision, an item that is unknown,
            missing or there twice, or a decision that makes no sense.
    """
    waiting = {item.path: item for item in items}
    decided = []
    for number, word, path in _lines(text):
        if word not in WORDS:
            raise CeremonyError(
                f"line {number} of the decisions: expected restore, keep or remove, got {word!r}"
            )
        item = waiting.pop(path, None)
        if item is None:
            raise CeremonyError(
                f"line {number} of the decisions: {path!r:.200} is no difference, or comes twice"
            )
        item = replace(item, decision=word)
        _check(item, number)
        decided.append(item)
    if waiting:
        raise CeremonyError(f"no decision on {len(waiting)} files: {sorted(waiting)[0]} first")
    return sorted(decided, key=lambda item: item.path)


def _lines(text: str) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split(maxsplit=1)
        if words and not words[0].startswith("#"):
            path = words[1].strip() if len(words) > 1 else ""
            with contextlib.suppress(ValueError):
                path = str(json.loads(path)) if path.startswith('"') else path
            yield number, words[0], path


def _spelled(path: str) -> str:
    """A path on one line, in ASCII: a thief chose it, perhaps."""
    plain = path.isascii() and path.isprintable() and not re.search(r'[\s"]', path)
    return path if plain else json.dumps(path)


def _check(item: Item, number: int) -> None:
    where = f"line {number} of the decisions: {item.path:.200}"
    if not item.is_file and item.decision != "restore":
        raise CeremonyError(f"{where}: a page follows from its files, so it can only be restored")
    outcome = item.outcome
    if item.is_file and outcome is not None and item.taken not in (None, outcome):
        raise CeremonyError(
            f"{where}: this name stands for sha256 {item.taken} for good, and can't be listed "
            f"with {outcome}. (If the state was rebuilt: do it again with the checkpoint)"
        )


def to_trees(items: Iterable[Item]) -> list[Mapping[str, Any]]:
    """Items as JSON trees."""
    return [vars(item) for item in items]


def from_trees(trees: Iterable[Mapping[str, Any]]) -> list[Item]:
    """What `to_trees` gave. Raises TypeError, KeyError: something else."""
    return [Item(**{**tree, "core": tuple(tree["core"])}) for tree in trees]
