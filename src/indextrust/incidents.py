"""The incident record: what the operator says of an attack, under his offline keys.

After a compromise the operator lists the distribution files that were tampered with, by their
digests, in a target ``incidents/<id>.json``. It counts only where the top-level targets role
itself lists it, whose keys are offline: a thief of the online keys can't pardon himself. For
each file it says which digests are bad, and which one is good, if there is one.

A client refuses what is bad, for ever. It accepts what is good in the place of what is bad, and
says so. It finds what is installed of a bad wheel by the `indextrust.installed` form. Everything
that a record doesn't say stays as it was.

A record has exactly one byte form: canonical JSON with sorted lists, and `parse` refuses every
other one, unknown fields included. A later form gets another ``format``.

::

    {"date": "2026-11-23T08:00:00Z",
     "files": [{"bad": [{"installed": "5e1f…", "sha256": "9b3a…"}],
                "filename": "demo-1.0-py3-none-any.whl",
                "good": {"installed": "77aa…", "sha256": "c0de…"},
                "project": "demo"}],
     "format": 1,
     "id": "2026-11-online-key",
     "summary": "The online key was stolen on 20 November. …"}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from indextrust.canonical import canonical
from indextrust.distribution import SHA256_HEX, is_plain_text
from indextrust.errors import InputError, LengthError, MalformedError, ProfileError
from indextrust.names import METADATA_SUFFIX, NormalizedName, parse_filename, project_name

__all__ = [
    "FOLDER",
    "FORMAT",
    "MAX_FILES",
    "MAX_LENGTH",
    "MAX_RECORDS",
    "Fingerprint",
    "Incident",
    "IncidentFile",
    "incident_path",
    "parse",
]

FORMAT = 1
FOLDER = "incidents/"
"""How the target paths of incident records begin."""

MAX_LENGTH = 8_000_000
"""Bytes of one record."""
MAX_RECORDS = 256
"""Records that one targets role may list."""
MAX_FILES = 16_384
"""Files in one record; more files take more records."""
MAX_BAD = 64
"""Bad digests of one file."""

_MAX_VALUES = 400_000
_MAX_ID = 64
_ID = re.compile(r"[a-z0-9](?:[a-z0-9]|-(?=[a-z0-9]))*", re.ASCII)
_DATE = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Fingerprint:
    """By what a distribution file is recognised.

    Args:
        sha256: of the file itself, lower-case hex.
        installed: of its installed form (`indextrust.installed`), lower-case hex; None where
            there is none or it isn't known: an sdist, core metadata, a wheel that nobody kept.

    Raises:
        InputError: not a digest.
    """

    sha256: str
    installed: str | None = None

    def __post_init__(self) -> None:
        for digest in (self.sha256, self.installed):
            if digest is not None and not SHA256_HEX.fullmatch(digest):
                raise InputError(f"expected a lower-case hex sha256, got {digest[:80]!r}")


@dataclass(frozen=True)
class IncidentFile:
    """What a record says of one file name.

    Args:
        project: normalised project name.
        filename: a wheel's or sdist's, or that with ``.metadata``: the core metadata beside it.
        bad: what was offered under the name and must not be used; at least one, sorted by sha256.
        good: what belongs there; None if nothing does: the file never existed, or was removed.

    Raises:
        InputError: against these rules.
    """

    project: NormalizedName
    filename: str
    bad: tuple[Fingerprint, ...]
    good: Fingerprint | None

    def __post_init__(self) -> None:
        project_name(self.project)
        owner, _ = parse_filename(self.filename.removesuffix(METADATA_SUFFIX))
        if owner != self.project:
            raise InputError(f"{self.filename}: expected a file of {self.project}, got {owner}'s")
        if not 1 <= len(self.bad) <= MAX_BAD:
            raise InputError(
                f"{self.filename}: expected 1 to {MAX_BAD} bad digests, got {len(self.bad)}"
            )
        digests = [bad.sha256 for bad in self.bad]
        if digests != sorted(set(digests)):
            raise InputError(f"{self.filename}: expected bad digests sorted, each once")
        if self.good is not None and self.good.sha256 in digests:
            raise InputError(f"{self.filename}: sha256 {self.good.sha256} is both bad and good")


@dataclass(frozen=True)
class Incident:
    """An incident record.

    Args:
        id: lower-case letters, digits and single hyphens, at most 64 characters.
        date: of the record, aware, UTC, whole seconds.
        summary: what happened and what to do, for people: printable, in NFC, one line, at most
            2,000 characters.
        files: at least one, at most `MAX_FILES`, sorted by project and filename.

    Raises:
        InputError: against these rules.
    """

    id: str
    date: datetime
    summary: str
    files: tuple[IncidentFile, ...]

    def __post_init__(self) -> None:
        _check_id(self.id)
        if self.date.utcoffset() != timedelta(0) or self.date.microsecond or self.date.year < 1000:
            raise InputError(f"date: expected whole seconds in UTC, got {self.date}")
        if not self.summary or not is_plain_text(self.summary):
            raise InputError(f"summary: expected printable text in NFC, got {self.summary[:80]!a}")
        if not 1 <= len(self.files) <= MAX_FILES:
            raise InputError(f"expected 1 to {MAX_FILES} files, got {len(self.files)}")
        names = [(file.project, file.filename) for file in self.files]
        if names != sorted(set(names)):
            raise InputError("files: expected them sorted by project and filename, each once")

    @property
    def path(self) -> str:
        """The target path of this record."""
        return incident_path(self.id)

    def encode(self) -> bytes:
        """The one byte form of this record.

        Raises:
            InputError: longer than `MAX_LENGTH`: give its files to several records.
        """
        data = canonical(
            {
                "format": FORMAT,
                "id": self.id,
                "date": self.date.strftime(_DATE),
                "summary": self.summary,
                "files": [
                    {
                        "project": file.project,
                        "filename": file.filename,
                        "bad": [_tree(bad) for bad in file.bad],
                        "good": None if file.good is None else _tree(file.good),
                    }
                    for file in self.files
                ],
            }
        )
        if len(data) > MAX_LENGTH:
            raise InputError(
                f"incident {self.id}: expected at most {MAX_LENGTH} bytes, got {len(data)}"
            )
        return data


def incident_path(incident: str) -> str:
    """The target path of the record with this id.

    Raises:
        InputError: not an id.
    """
    return f"{FOLDER}{_check_id(incident)}.json"


def parse(data: bytes, *, path: str) -> Incident:
    """Read a record.

    Args:
        data: the target's bytes, verified against its entry.
        path: the target path it was listed under; its id must be that.

    Raises:
        LengthError: more than `MAX_LENGTH` bytes.
        MalformedError: not JSON of a record's shape, of another format, or not in its byte form.
        ProfileError: of that shape, and against the rules of `Incident`.
    """
    if len(data) > MAX_LENGTH:
        raise LengthError(
            "too long", where=path, expected=f"at most {MAX_LENGTH} bytes", got=len(data)
        )
    tree = _json(data, path)
    number = _field(tree, "format", int, path)
    if number != FORMAT:
        raise MalformedError(
            "an incident record that this version of indextrust can't read: upgrade it",
            where=f"{path}: format",
            expected=FORMAT,
            got=number,
        )
    files = []
    for position, entry in enumerate(_field(tree, "files", list, path)):
        where = f"{path}: files[{position}]"
        files.append(_file(entry, where))
    text = _field(tree, "date", str, path)
    try:
        date = datetime.strptime(text, _DATE).replace(tzinfo=UTC)
    except ValueError:
        raise MalformedError(
            "not a date", where=f"{path}: date", expected="YYYY-MM-DDTHH:MM:SSZ", got=text
        ) from None
    try:
        incident = Incident(
            _field(tree, "id", str, path), date, _field(tree, "summary", str, path), tuple(files)
        )
        encoded = incident.encode()
    except InputError as error:
        raise ProfileError("against the rules", where=path, got=str(error)) from None
    if incident.path != path:
        raise ProfileError("under another path", where=path, expected=incident.path)
    if encoded != data:
        raise MalformedError("not in its canonical byte form, or with fields unknown", where=path)
    return incident


# -- parts -----------------------------------------------------------------------------------


def _check_id(incident: str) -> str:
    if len(incident) > _MAX_ID or not _ID.fullmatch(incident):
        raise InputError(
            f"incident: expected an id of lower-case letters, digits and single hyphens, at most "
            f"{_MAX_ID}, got {incident[: _MAX_ID + 1]!a}"
        )
    return incident


def _tree(fingerprint: Fingerprint) -> Mapping[str, str | None]:
    return {"sha256": fingerprint.sha256, "installed": fingerprint.installed}


def _json(data: bytes, path: str) -> Any:
    """JSON with bounded work. What else is odd (a key twice) is not canonical either."""
    values = data.count(b",") + data.count(b"[") + data.count(b"{")
    if values > _MAX_VALUES:
        raise MalformedError("too many values", where=path, expected=_MAX_VALUES, got=values)
    try:
        return json.loads(data.decode("utf-8"), parse_float=_no_number, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise MalformedError("not JSON", where=path, got=str(error)) from None


def _no_number(digits: str) -> NoReturn:
    raise ValueError(f"{digits[:20]} is no number that a record has")


def _field(tree: Any, name: str, kind: type, where: str) -> Any:
    value = tree.get(name) if isinstance(tree, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise MalformedError(
            "missing or of the wrong type",
            where=f"{where}: {name}",
            expected=kind.__name__,
            got=value,
        )
    return value


def _file(tree: Any, where: str) -> IncidentFile:
    bad = [
        _fingerprint(entry, f"{where}: bad[{number}]")
        for number, entry in enumerate(_field(tree, "bad", list, where))
    ]
    good = tree.get("good")
    try:
        return IncidentFile(
            _field(tree, "project", str, where),
            _field(tree, "filename", str, where),
            tuple(bad),
            None if good is None else _fingerprint(good, f"{where}: good"),
        )
    except InputError as error:
        raise ProfileError("against the rules", where=where, got=str(error)) from None


def _fingerprint(tree: Any, where: str) -> Fingerprint:
    sha256 = _field(tree, "sha256", str, where)
    installed = None if tree.get("installed") is None else _field(tree, "installed", str, where)
    try:
        return Fingerprint(sha256, installed)
    except InputError as error:
        raise ProfileError("against the rules", where=where, got=str(error)) from None
