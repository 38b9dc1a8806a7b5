"""Which role answers for a target path: the pre-order walk over delegations.

The walk asks for one role after the other (`Visit`) and gets verified `Targets` back; it never
knows where they come from. The first role in pre-order that lists the path decides, and a
terminating delegation ends the walk (TUF specification 5.6.7).

Running out of the budget of roles is `BudgetExceededError`, never "not listed"
(CVE-2026-42501: "no entry" taken for an answer).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from indextrust.errors import BudgetExceededError, UnsafePathError
from indextrust.names import ROOT, TARGETS
from indextrust.trust.metadata import Delegation, SuccinctDelegation, Targets

__all__ = [
    "NotListed",
    "Visit",
    "Work",
    "check_target_path",
    "delegations_for",
    "matches",
    "walk",
]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff]")
_SPECIAL = re.compile(r"[*?\[]")
_MAX_PATH = 4096


@dataclass(frozen=True)
class NotListed:
    """The trusted metadata answers: no such target under this snapshot."""

    path: str
    snapshot_version: int


@dataclass(frozen=True)
class Visit:
    """The walk needs `role`, verified with the keys that `delegator` gives it."""

    role: str
    delegator: str


def check_target_path(path: str) -> str:
    """Return `path` if it stays below its base: the one rule for what may go into a request.

    Stops path traversal (CVE-2021-41131, CVE-2026-6968, CVE-2026-24686).

    Raises:
        UnsafePathError: empty, absolute, with an empty, ``.`` or ``..`` component, a backslash,
            a control character (category Cc) or a lone surrogate, or over 4,096 characters.
    """
    if (
        len(path) > _MAX_PATH
        or _CONTROL.search(path)
        or any(part in {"", ".", ".."} for part in path.split("/"))
    ):
        raise UnsafePathError(
            "unsafe target path", where="target path", expected="relative, no '.' or '..'", got=path
        )
    return path


def walk(path: str, *, most: int) -> Generator[Visit, Targets, tuple[str, Targets] | None]:
    """Visit the roles responsible for `path`, most trusted first.

    Args:
        path: target path.
        most: delegated roles to visit at the most.

    Returns:
        The role that lists `path` and its metadata, or None if no role does.

    Raises:
        BudgetExceededError: roles were left to visit, or patterns to match.
    """
    work = Work()
    to_visit = [Visit(TARGETS, ROOT)]
    visited: set[str] = set()
    while to_visit:
        visit = to_visit.pop()
        if visit.role in visited:
            continue
        if len(visited) > most:
            raise BudgetExceededError(f"{path}: more than {most} delegated roles to ask")
        targets = yield visit
        if path in targets.targets:
            return visit.role, targets
        visited.add(visit.role)
        children: list[Visit] = []
        for name, terminating in delegations_for(targets, path, work):
            children.append(Visit(name, visit.role))
            if terminating:
                to_visit = []
                break
        to_visit.extend(reversed(children))
    return None


class Work:
    """Steps of pattern matching that one lookup may take, all its roles together.

    Args:
        steps: characters compared; the default takes well under a second.
    """

    def __init__(self, steps: int = 2_000_000) -> None:
        self._left = steps

    def take(self, steps: int) -> None:
        """Use up `steps`.

        Raises:
            BudgetExceededError: none are left.
        """
        self._left -= steps
        if self._left < 0:
            raise BudgetExceededError("the delegations' path patterns take too long to match")


def delegations_for(targets: Targets, path: str, work: Work) -> Iterator[tuple[str, bool]]:
    """Names of the roles that `targets` trusts with `path`, in order, and if they terminate.

    Succinct roles count as terminating (TAP 15).
    """
    if not targets.delegations:
        return
    digest = hashlib.sha256(path.encode("utf-8"))
    if isinstance(targets.delegations, SuccinctDelegation):
        succinct = targets.delegations
        number = int.from_bytes(digest.digest()[:4], "big") >> (32 - succinct.bit_length)
        yield succinct.role_of(number), True
        return
    parts, hexdigest = path.split("/"), digest.hexdigest()
    for delegation in targets.delegations:
        if _is_responsible(delegation, parts, hexdigest, work):
            yield delegation.name, delegation.terminating


def _is_responsible(delegation: Delegation, parts: list[str], hexdigest: str, work: Work) -> bool:
    if delegation.path_hash_prefixes is not None:
        return hexdigest.startswith(delegation.path_hash_prefixes)
    assert delegation.paths is not None  # noqa: S101 - one of the two, by parsing
    return any(_matches(parts, pattern, work) for pattern in delegation.paths)


def matches(path: str, pattern: str, work: Work | None = None) -> bool:
    """Whether `path` matches `pattern`, component by component: no ``*`` crosses a slash.

    Case-sensitive on every platform (TUF specification 4.5, "PATHPATTERN").

    Raises:
        BudgetExceededError: `work` ran out.
    """
    return _matches(path.split("/"), pattern, work or Work())


def _matches(parts: list[str], pattern: str, work: Work) -> bool:
    globs = pattern.split("/")
    return len(globs) == len(parts) and all(
        _glob(part, glob, work) for part, glob in zip(parts, globs, strict=True)
    )


def _glob(text: str, glob: str, work: Work) -> bool:
    """``fnmatch.fnmatchcase``, with every step counted and nothing compiled or cached.

    One star is tried at a time; whatever a pattern makes of that, `work` bounds it
    (ATTACK: 30,000 delegations with patterns of many stars, or of sets a megabyte long).
    """
    if glob == "*":
        return True
    if glob[:1] not in ("", "*", "?", "[") and text[:1] != glob[0]:
        return False  # the usual case among many delegations
    work.take(len(glob))
    if not _SPECIAL.search(glob):
        return text == glob
    pieces = list(_pieces(glob))
    at = mark = 0
    star = retry = -1
    while at < len(text):
        piece = pieces[mark] if mark < len(pieces) else ""
        work.take(1 + len(piece))
        if piece == "*":
            star, retry = mark, at
            mark += 1
        elif piece and _one(text[at], piece):
            at, mark = at + 1, mark + 1
        elif star >= 0:
            retry += 1
            at, mark = retry, star + 1
        else:
            return False
    return all(piece == "*" for piece in pieces[mark:])


def _pieces(glob: str) -> Iterator[str]:
    """Split a pattern into ``*``, ``?``, sets with their brackets, and single characters.

    A literal character that would read as one of these comes as a set: ``[`` as ``[[]``.
    """
    at, last_close = 0, glob.rfind("]")
    while at < len(glob):
        end = at + 1
        if glob[at] == "[":
            body = at + 2 if glob.startswith("!", at + 1) else at + 1
            # a "]" that comes first belongs to the set
            close = glob.find("]", body + 1) if body < last_close else -1
            end = close + 1 if close >= 0 else at + 1
        yield "[[]" if glob[at:end] == "[" else glob[at:end]
        at = end


def _one(character: str, piece: str) -> bool:
    if len(piece) == 1:
        return piece in ("?", character)
    negated = piece[1] == "!"
    body = piece[2:-1] if negated else piece[1:-1]
    at, found = 0, False
    while at < len(body) and not found:
        if body[at + 1 : at + 2] == "-" and at + 2 < len(body):
            found = body[at] <= character <= body[at + 2]
            at += 3
        else:
            found = body[at] == character
            at += 1
    return found != negated
