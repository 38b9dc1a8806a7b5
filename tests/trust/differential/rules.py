"""The rules of `specs/client.md` by which our verdict may differ from `Updater`'s.

Each rule is a predicate of its own on what the attacker served and what was trusted: it reads raw
JSON with the standard library, and asks no code of ours. That our error is of the rule's kind is
necessary and never enough, so that a refusal too many can't hide behind its message.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from urllib.parse import quote

from indextrust.errors import (
    BudgetExceededError,
    EquivocationError,
    ExpiredError,
    HashMismatchError,
    IndextrustError,
    LengthError,
    MalformedError,
    OutdatedRootError,
    RollbackError,
    SignatureError,
    UnsafePathError,
    UnsupportedKeyError,
)
from indextrust.trust import Limits
from indextrust.trust.freshness import Policy
from tests.trust.differential.forging import role_of, version_in_name

__all__ = ["RULES", "Case", "Rule", "explain"]

L = 2**252 + 27742317777372353535851937790883648493
P = 2**255 - 19
SMALL_ORDER = {0, 1, P - 1}
KEY_KINDS = {("ed25519", "ed25519"), ("ecdsa", "ecdsa-sha2-nistp256")}
STRONG = {"sha256", "sha384", "sha512"}


@dataclass(frozen=True)
class Case:
    """A step in which the two clients differ.

    Args:
        error: our refusal, or None if we accepted.
        theirs_refused: whether `Updater` refused.
        name: the file that we got last, the one that we refused if we refused a file.
        data: its bytes.
        before: what we trusted before the step, by role.
        after: what we trust after it.
        requests: what we asked for.
        paths: what was looked up.
        limits: our bounds.
        their_roots: how many roots `Updater` follows.
        served: the names of all files served.
        now: the reference time.
        last_seen: the latest time at which we trusted something, if we did.
        policy: our user's.
        fetched: bytes of all that we were given.
    """

    error: IndextrustError | None
    theirs_refused: bool
    name: str
    data: bytes
    before: Mapping[str, bytes]
    after: Mapping[str, bytes]
    requests: tuple[str, ...]
    paths: tuple[str, ...]
    limits: Limits
    their_roots: int
    served: tuple[str, ...]
    now: datetime
    last_seen: datetime | None
    policy: Policy
    fetched: int

    @property
    def role(self) -> str:
        """The role of the file that we got last."""
        return role_of(self.name)

    @cached_property
    def tree(self) -> Any:
        """That file as a lenient reader sees it; an empty object if there is no JSON in it."""
        return _lenient(self.data)

    @property
    def signed(self) -> dict[str, Any]:
        """What is signed in it."""
        signed = self.tree.get("signed") if isinstance(self.tree, dict) else None
        return signed if isinstance(signed, dict) else {}

    def trusted(self, role: str, *, before: bool = False) -> dict[str, Any]:
        """What is signed in the file that we trust for `role` (or trusted before)."""
        signed = _lenient((self.before if before else self.after).get(role, b"{}"))
        found: dict[str, Any] = signed.get("signed", {})
        return found

    def listed_keys(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every key with its id that the file, or one that we trust, lists."""
        for signed in (self.signed, *(self.trusted(role) for role in self.after)):
            for holder in (signed, signed.get("delegations") or {}):
                yield from holder.get("keys", {}).items()

    def signatures(self) -> list[Any]:
        """The entries under ``signatures``."""
        found = self.tree.get("signatures") if isinstance(self.tree, dict) else None
        return found if isinstance(found, list) else []

    def listed(self) -> Iterator[dict[str, Any]]:
        """Every entry of ``meta`` in the file, and in the timestamp and snapshot we trust."""
        for signed in (self.signed, self.trusted("timestamp"), self.trusted("snapshot")):
            yield from signed.get("meta", {}).values()


def _lenient(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return {}


# -- reading --------------------------------------------------------------------------------------


def _ambiguous(case: Case) -> bool:
    odd: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in items}) != len(items):
            odd.append("duplicate key")
        return dict(items)

    def integer(digits: str) -> int:
        if digits == "-0" or len(digits.lstrip("-")) > 18:
            odd.append(digits)
        return 0

    try:
        tree = json.loads(
            case.data,
            object_pairs_hook=pairs,
            parse_int=integer,
            parse_float=odd.append,
            parse_constant=odd.append,
        )
        json.dumps(tree, ensure_ascii=False).encode()
    except UnicodeError:
        return True
    except (ValueError, RecursionError):
        return False  # nobody can read it
    return bool(odd)


def _depth(value: Any) -> int:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, items), default=0) if isinstance(value, dict | list) else 0


def _too_much(case: Case) -> bool:
    return _depth(case.tree) > 32 or case.data.count(b",") > 349_000


def _odd_date(case: Case) -> bool:
    text = case.signed.get("expires", "")
    digits = "".join("d" if c in "0123456789" else c for c in text)
    return digits != "dddd-dd-ddTdd:dd:ddZ"


KINDS = {
    "version": int,
    "threshold": int,
    "length": int,
    "terminating": bool,
    "consistent_snapshot": bool,
}


def _values(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from value.items()
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _values(item)


def _wrong_kind(case: Case) -> bool:
    return any(
        name in KINDS and value is not None and type(value) is not KINDS[name]
        for name, value in _values(case.signed)
    )


def _not_as_it_stands(case: Case) -> bool:
    """Python-tuf leaves these out when it writes again what it has read, and verifies that."""
    optional = {"hashes", "length", "delegations", "roles", "succinct_roles", "paths"}
    optional |= {"path_hash_prefixes", "consistent_snapshot"}
    nothing = any(value is None and name in optional for name, value in _values(case.signed))
    return nothing or (case.role == "timestamp" and len(case.signed.get("meta", ())) > 1)


def _odd_format(case: Case) -> bool:
    text = case.signed.get("spec_version", "")
    return not re.fullmatch(r"1\.[0-9]{1,6}(\.[0-9]{1,6})?", text)


def _long_name(case: Case) -> bool:
    roles = (case.signed.get("delegations") or {}).get("roles") or []
    return any(
        len(role["name"]) > 200 or len(f"1.{quote(role['name'], safe='')}.json") > 255
        for role in roles
    )


# -- signatures -----------------------------------------------------------------------------------


def _key_twice(case: Case) -> bool:
    found: dict[str, str] = {}
    return any(
        found.setdefault(key["keyval"]["public"].strip().lower(), keyid) != keyid
        for keyid, key in case.listed_keys()
    )


def _weak_point(text: str) -> bool:
    try:
        return int.from_bytes(bytes.fromhex(text)[:32], "little") % 2**255 in SMALL_ORDER
    except ValueError:
        return False


def _malleable(case: Case) -> bool:
    return any(_weak_point(key["keyval"]["public"]) for _, key in case.listed_keys()) or any(
        int.from_bytes(bytes.fromhex(entry["sig"])[32:], "little") >= L
        for entry in case.signatures()
        if re.fullmatch("[0-9a-f]{128}", entry["sig"])
    )


def _not_plain_hex(case: Case) -> bool:
    texts = [entry["sig"] for entry in case.signatures()]
    texts += [
        key["keyval"]["public"] for _, key in case.listed_keys() if key["keytype"] == "ed25519"
    ]
    return any(set(text.lower()) - set("0123456789abcdef") or len(text) % 2 for text in texts)


def _unknown_key(case: Case) -> bool:
    return any((key["keytype"], key["scheme"]) not in KEY_KINDS for _, key in case.listed_keys())


# -- history --------------------------------------------------------------------------------------


def _same_version_other_bytes(case: Case) -> bool:
    held = case.before.get(case.role)
    version = case.trusted(case.role, before=True).get("version")
    return held not in (None, case.data) and version == case.signed.get("version")


def _hash_replaced(case: Case) -> bool:
    if case.role == "timestamp":
        held = case.before.get("snapshot", b"")
        entry = case.signed["meta"]["snapshot.json"]
        same = case.trusted("snapshot", before=True).get("version") == entry["version"]
        listed = entry.get("hashes", {}).get("sha256")
        if same and listed not in (None, hashlib.sha256(held).hexdigest()):
            return True
    for name, entry in case.trusted(case.role, before=True).get("meta", {}).items():
        new = case.signed.get("meta", {}).get(name, {})
        if new.get("version") == entry["version"] and any(
            new.get("hashes", {}).get(algorithm, digest) != digest
            for algorithm, digest in entry.get("hashes", {}).items()
        ):
            return True
    return False


def _snapshot_fell(case: Case) -> bool:
    held = case.trusted("snapshot", before=True)
    return case.role == "snapshot" and case.signed["version"] < held.get("version", 0)


def _weak_hashes(case: Case) -> bool:
    return any(
        not STRONG & set(entry["hashes"])
        or set(entry["hashes"]) - STRONG - {"md5", "sha1", "sha224"}
        or any(re.search("[^0-9a-f]", digest) for digest in entry["hashes"].values())
        for entry in case.listed()
        if "hashes" in entry
    )


def _of_another_bin(case: Case) -> bool:
    """The file lists a path that falls to another bin, and nothing records its hash."""
    if "hashes" in case.trusted("snapshot").get("meta", {}).get(f"{case.role}.json", {}):
        return False
    prefixes: list[str] = []
    for holder in map(case.trusted, case.after):
        delegations = holder.get("delegations") or {}
        for role in delegations.get("roles") or []:
            if role["name"] == case.role:
                prefixes += role.get("path_hash_prefixes", [])
        if delegations.get("succinct_roles"):  # two of them, in these histories
            prefixes += {"bin-0": "01234567", "bin-1": "89abcdef"}.get(case.role, "")
    return any(
        not hashlib.sha256(path.encode()).hexdigest().startswith(tuple(prefixes))
        for path in case.signed.get("targets", {})
    )


# -- budgets and answers --------------------------------------------------------------------------


def _too_long(case: Case) -> bool:
    return any(entry.get("length", 0) > case.limits.ceiling for entry in case.listed())


def _many_roots(case: Case) -> bool:
    asked = [name for name in case.requests if name.endswith(".root.json")]
    return len(asked) >= case.limits.root_updates


def _many_roles(case: Case) -> bool:
    delegated = [name for name in case.requests if role_of(name).startswith("role-")]
    return len(delegated) >= case.limits.delegations


def _long_patterns(case: Case) -> bool:
    roles = (case.signed.get("delegations") or {}).get("roles") or []
    return sum(len(path) for role in roles for path in role.get("paths", ())) > 2_000_000


def _unsafe_path(case: Case) -> bool:
    return any({"", ".", ".."} & set(path.split("/")) for path in case.paths)


def _clock_set_back(case: Case) -> bool:
    seen = case.last_seen
    return seen is not None and case.now < seen and case.signed.get("expires", "") <= _text(seen)


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _outdated(case: Case) -> bool:
    return bool(case.trusted("root").get("version", 1) < case.policy.minimum_root_version)


def _many_bytes(case: Case) -> bool:
    return case.fetched >= case.limits.refresh_bytes


def _endless_roots(case: Case) -> bool:
    newest = max((version_in_name(n) for n in case.served if n.endswith(".root.json")), default=0)
    return newest > case.their_roots


@dataclass(frozen=True)
class Rule:
    """A row of the list.

    Args:
        errors: the kinds of error that it raises.
        holds: whether it is a reason to differ in this case.
    """

    errors: tuple[type[IndextrustError], ...]
    holds: Callable[[Case], bool]


RULES = {
    "R1": Rule((MalformedError,), _ambiguous),
    "R2": Rule((MalformedError,), _too_much),
    "R3": Rule((MalformedError,), lambda case: len(case.signatures()) > 256),
    "R4": Rule((MalformedError, SignatureError), _odd_date),
    "R5": Rule((MalformedError,), _wrong_kind),
    "R6": Rule((MalformedError, UnsafePathError), _long_name),
    "R7": Rule((MalformedError, SignatureError), _not_as_it_stands),
    "R8": Rule((MalformedError,), _odd_format),
    "S1": Rule((SignatureError,), _key_twice),
    "S2": Rule((SignatureError,), _malleable),
    "S3": Rule((SignatureError,), _not_plain_hex),
    "S4": Rule((UnsupportedKeyError,), _unknown_key),
    "H1": Rule((EquivocationError,), _same_version_other_bytes),
    "H2": Rule((EquivocationError,), _hash_replaced),
    "H3": Rule((RollbackError,), _snapshot_fell),
    "H4": Rule((HashMismatchError, EquivocationError), _weak_hashes),
    "H5": Rule((MalformedError,), _of_another_bin),
    "B1": Rule((LengthError,), _too_long),
    "B2": Rule((BudgetExceededError,), _many_roots),
    "B3": Rule((BudgetExceededError,), _many_roles),
    "B4": Rule((BudgetExceededError,), _long_patterns),
    "F1": Rule((ExpiredError,), _clock_set_back),
    "F2": Rule((OutdatedRootError,), _outdated),
    "B7": Rule((BudgetExceededError,), _many_bytes),
    "A2": Rule((UnsafePathError,), _unsafe_path),
}
"""Stricter than `Updater`, by the rule's id. The other rules of the list are about fetching,
storing and the index profile: they can't be met in a session over dictionaries."""


def explain(case: Case) -> frozenset[str]:
    """The ids of the rules that may be the reason for a difference; none is a bug.

    We refuse: a stricter rule. We go further: L1, the one rule by which we are looser.
    """
    if case.error is None:
        return frozenset({"L1"} if _endless_roots(case) else ())
    error = case.error
    return frozenset(
        rule_id
        for rule_id, rule in RULES.items()
        if isinstance(error, rule.errors) and rule.holds(case)
    )
