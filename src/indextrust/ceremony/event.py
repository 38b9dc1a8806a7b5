"""The signing event as a file: what is proposed, and the signatures it has gathered so far.

One JSON file holds all that a keyholder needs on a machine without a network: the roles in force,
the root that is proposed, targets and bins that belong to it (signed already, by one-time keys
that are gone), and the signatures on that root. It is copied by hand; any number of copies may be
signed side by side and are merged later (`indextrust.ceremony.gather`).

Guarantees of this module: one event has one encoding, and whatever is not in it is refused: too
large, too deep, a key twice, an unknown or missing field. The digest of an event covers
everything but the signatures, so all copies of one event have the same one: it is what people
read to each other.

Not judged here: whether what the event says is true and wise. That is
`indextrust.ceremony.judge`, through which every command reads an event.

The format is specified in ``specs/ceremony.md``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NoReturn, cast

from indextrust.canonical import canonical
from indextrust.errors import CeremonyError
from indextrust.repository.plan import utc
from indextrust.repository.public_keys import reads_plainly
from indextrust.repository.roles import SignedRoles

__all__ = ["MAX_BYTES", "Event", "Proposed", "RootSignature", "decode", "encode"]

MAX_BYTES = 16_777_216
"""The largest event. A root is some kB, bins of path-hash prefixes some 41 kB; incident records
some 300 bytes for each file in them."""

_FORMAT, _VERSION = "indextrust-signing-event", 1
_MAX_DEPTH = 16
_MAX_TEXT = 200
_LAST_YEAR = 9000  # a year later there must still be a date
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", re.ASCII)


@dataclass(frozen=True)
class Proposed:
    """Who made the proposal.

    Args:
        by: a person, or an account of the machine; not authenticated.
        at: aware, whole seconds; the roles expire a year later.
        software: name and version.
    """

    by: str
    at: datetime
    software: str


@dataclass(frozen=True)
class RootSignature:
    """One keyholder's signature on the proposed root.

    Args:
        keyid: whose.
        sig: lower-case hex.
        at: aware, whole seconds, by the clock of the machine that signed; not authenticated.
    """

    keyid: str
    sig: str
    at: datetime


@dataclass(frozen=True)
class Event:
    """A signing event.

    Args:
        kinds: what it changes, sorted: see `indextrust.ceremony.judged.KINDS`.
        rehearsal: whether it was made to practise.
        profile: which clients must be able to verify what it makes: ``portable`` or ``hsm``
            (`indextrust.ceremony.keyholders.Profile`).
        proposed: by whom, and when.
        before: the roles in force; None at genesis. Their incident records are in `incidents`.
        root: the ``signed`` part of the proposed root.
        targets: its targets, signed.
        bins: its bins, signed.
        incidents: the incident records that its targets lists, by target path.
        one_time_keys: ids of the keys that signed targets, and bins, and are gone.
        signatures: on `root`, sorted by key id.
    """

    kinds: tuple[str, ...]
    rehearsal: bool
    profile: str
    proposed: Proposed
    before: SignedRoles | None
    root: Mapping[str, Any]
    targets: bytes
    bins: bytes
    incidents: Mapping[str, bytes]
    one_time_keys: Mapping[str, tuple[str, ...]]
    signatures: tuple[RootSignature, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256, in lower-case hex, of the event without its signatures."""
        return hashlib.sha256(encode(replace(self, signatures=()))).hexdigest()

    @property
    def payload(self) -> bytes:
        """What keyholders sign: the canonical form of the proposed root."""
        return canonical(dict(self.root))

    @property
    def root_file(self) -> bytes:
        """The root as a metadata file, with the signatures gathered so far."""
        envelope = {
            "signatures": [{"keyid": one.keyid, "sig": one.sig} for one in self.signatures],
            "signed": self.root,
        }
        text = json.dumps(envelope, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return text.encode("utf-8")

    @property
    def roles(self) -> SignedRoles:
        """The three files, as they are so far."""
        return SignedRoles((self.root_file,), self.targets, self.bins, self.incidents)

    def signed_by(self, *more: RootSignature) -> Event:
        """The same event with these signatures besides."""
        ordered = sorted((*self.signatures, *more), key=lambda one: one.keyid)
        return replace(self, signatures=tuple(ordered))


def encode(event: Event) -> bytes:
    """The one encoding of an event: JSON, ASCII, keys sorted, one space of indent, a line end."""
    before = event.before
    tree = {
        "format": _FORMAT,
        "version": _VERSION,
        "kinds": list(event.kinds),
        "rehearsal": event.rehearsal,
        "profile": event.profile,
        "proposed": {
            "by": event.proposed.by,
            "at": utc(event.proposed.at),
            "software": event.proposed.software,
        },
        "before": None
        if before is None
        else {
            "roots": [data.decode("utf-8") for data in before.root],
            "targets": before.targets.decode("utf-8"),
            "bins": before.bins.decode("utf-8"),
        },
        "root": event.root,
        "targets": event.targets.decode("utf-8"),
        "bins": event.bins.decode("utf-8"),
        "incidents": _texts(event.incidents),
        "one_time_keys_gone": {role: list(ids) for role, ids in event.one_time_keys.items()},
        "signatures": [
            {"keyid": one.keyid, "sig": one.sig, "at": utc(one.at)} for one in event.signatures
        ],
    }
    return (json.dumps(tree, indent=1, sort_keys=True) + "\n").encode("ascii")


def decode(data: bytes) -> Event:
    """Read what `encode` wrote, and nothing else.

    Raises:
        CeremonyError: anything else; the message says where.
    """
    tree = _tree(data)
    event = _event(tree)
    if encode(event) != data:
        raise CeremonyError(
            "the signing event is not in its one encoding (sorted keys, one space of indent, "
            "ASCII, no key twice): it was altered, or written by something else"
        )
    return event


def _tree(data: bytes) -> dict[str, Any]:
    """Bounded JSON. Raises CeremonyError."""
    if len(data) > MAX_BYTES:
        raise CeremonyError(
            f"expected a signing event of at most {MAX_BYTES} bytes, got {len(data)} or more"
        )
    try:
        text = data.decode("ascii")
        depth = deepest = 0
        for bracket in re.findall(r"[][{}]", _STRING.sub("", text)):
            depth += 1 if bracket in "[{" else -1
            deepest = max(deepest, depth)
        if deepest > _MAX_DEPTH:
            raise CeremonyError(
                f"expected a signing event nested at most {_MAX_DEPTH} deep, got {deepest}"
            )
        tree = json.loads(text, parse_float=_no_float, parse_constant=_no_float)
    except (ValueError, RecursionError) as error:
        raise CeremonyError(f"expected a signing event in JSON: {error}") from None
    if not isinstance(tree, dict) or tree.get("format") != _FORMAT:
        raise CeremonyError(f"expected a signing event: 'format' is not {_FORMAT!r}")
    if tree.get("version") != _VERSION or type(tree["version"]) is not int:
        raise CeremonyError(
            f"expected a signing event in version {_VERSION} of the format, "
            f"got {tree.get('version')!r:.40}: it needs another indextrust"
        )
    return tree


def _event(tree: dict[str, Any]) -> Event:
    where = "the signing event"
    _only(tree, _FIELDS, where)
    proposed = _only(tree["proposed"], {"by", "at", "software"}, "'proposed'")
    gone = _only(tree["one_time_keys_gone"], {"bins", "targets"}, "'one_time_keys_gone'")
    root = tree["root"]
    if not isinstance(root, dict) or not isinstance(tree["rehearsal"], bool):
        raise CeremonyError(f"{where}: expected an object in 'root', true or false in 'rehearsal'")
    return Event(
        kinds=tuple(_text(kind, "'kinds'") for kind in _list(tree["kinds"], "'kinds'")),
        rehearsal=tree["rehearsal"],
        profile=_text(tree["profile"], "'profile'"),
        proposed=Proposed(
            _text(proposed["by"], "'proposed.by'"),
            _time(proposed["at"], "'proposed.at'"),
            _text(proposed["software"], "'proposed.software'"),
        ),
        before=_before(tree["before"]),
        root=_signable(root),
        targets=_file(tree["targets"], "'targets'"),
        bins=_file(tree["bins"], "'bins'"),
        incidents=_files(tree["incidents"], "'incidents'"),
        one_time_keys={
            role: tuple(_text(keyid, f"'one_time_keys_gone.{role}'") for keyid in _list(ids, role))
            for role, ids in gone.items()
        },
        signatures=_signatures(tree["signatures"]),
    )


_FIELDS = {
    *("format", "version", "kinds", "rehearsal", "profile", "proposed", "before", "root"),
    *("targets", "bins", "incidents", "one_time_keys_gone", "signatures"),
}


def _before(tree: Any) -> SignedRoles | None:
    if tree is None:
        return None
    fields = _only(tree, {"roots", "targets", "bins"}, "'before'")
    roots = _list(fields["roots"], "'before.roots'")
    return SignedRoles(
        tuple(_file(text, f"'before.roots[{number}]'") for number, text in enumerate(roots)),
        _file(fields["targets"], "'before.targets'"),
        _file(fields["bins"], "'before.bins'"),
    )


def _signatures(tree: Any) -> tuple[RootSignature, ...]:
    found: dict[str, RootSignature] = {}
    for number, entry in enumerate(_list(tree, "'signatures'")):
        where = f"'signatures[{number}]'"
        fields = _only(entry, {"keyid", "sig", "at"}, where)
        one = RootSignature(
            _text(fields["keyid"], where),
            _file(fields["sig"], where).decode(),
            _time(fields["at"], where),
        )
        if one.keyid in found:
            raise CeremonyError(f"{where}: key {one.keyid} signs a second time")
        found[one.keyid] = one
    if list(found) != sorted(found):
        raise CeremonyError("'signatures': expected them sorted by key id")
    return tuple(found.values())


def _signable(root: dict[str, Any]) -> dict[str, Any]:
    try:
        canonical(root)
    except (TypeError, ValueError) as error:
        raise CeremonyError(f"'root': it has no canonical form: {error}") from None
    return root


def _only(tree: Any, fields: set[str], where: str) -> dict[str, Any]:
    if not isinstance(tree, dict) or set(tree) != fields:
        got = sorted(tree) if isinstance(tree, dict) else type(tree).__name__
        raise CeremonyError(
            f"{where}: expected an object with {', '.join(sorted(fields))}, got {got!s:.200}"
        )
    return tree


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise CeremonyError(f"{where}: expected a list, got {type(value).__name__}")
    return value


def _text(value: Any, where: str) -> str:
    if not (isinstance(value, str) and reads_plainly(value) and 1 <= len(value) <= _MAX_TEXT):
        raise CeremonyError(
            f"{where}: expected 1 to {_MAX_TEXT} printable characters, got {value!r:.60}"
        )
    return value


def _file(value: Any, where: str) -> bytes:
    try:
        return cast(str, value).encode("utf-8")
    except (AttributeError, UnicodeEncodeError):
        raise CeremonyError(f"{where}: expected text, got {value!r:.60}") from None


def _files(value: Any, where: str) -> dict[str, bytes]:
    if not isinstance(value, dict):
        raise CeremonyError(f"{where}: expected an object, got {type(value).__name__}")
    return {name: _file(text, where) for name, text in value.items()}


def _texts(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: data.decode("utf-8") for name, data in files.items()}


def _time(value: Any, where: str) -> datetime:
    if isinstance(value, str) and _TIME.fullmatch(value) and int(value[:4]) < _LAST_YEAR:
        with contextlib.suppress(ValueError):
            return datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    raise CeremonyError(f"{where}: expected a time as 2026-01-31T12:00:00Z, got {value!r:.60}")


def _no_float(digits: str) -> NoReturn:
    raise CeremonyError(f"a signing event holds no such number: {digits:.40}")
