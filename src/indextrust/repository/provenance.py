"""Provenance: what is signed next follows from what was signed last, and from the log. PURE.

The tables of the state are a working copy that whoever writes the database can make say anything.
So nothing is signed because a table says it:

1. The log's last `END` entry, which was verified, names the snapshot and the timestamp that were
   published (`ledger.Ledger.published`).
2. That snapshot's file, which must have the named bytes, names every bin's version, and in a
   small index its hash (`read_snapshot`).
3. The row of a bin must have that version and hash (`check_rows`). Where the snapshot has none,
   the row carries an HMAC under the key of the log: a version stands for one file for good, so
   the row can't be of an older state either. A bin's file, which must have the row's bytes, says
   what its targets are (`read_bin`).
4. A bin that is signed anew must have those targets and the edits of verified changes: what the
   tables say of it, before the edits, must be the same (`check_bin`).
5. A project's new document is made from its files: what the tables say of them must give the
   document that is a target now, and their versions be those in their names (`check_project`).
6. No number may be used up that the log does not account for (`check_rows`), and none is used
   twice: the next one is above all that the log knows of (`Origin.numbers`). Rows of bins that
   stay as they are must say what the last snapshot lists (`check_listed`), and targets and bins
   be those that it lists (`check_offline`): older ones verify as well.

An attacker who has the database can't make an entry or a row that passes; one who has the public
folder can't make a file with a given hash; nor can one who has both. Before the first publication
there is nothing, and the tables must say so.

What this does not cover. ``used_filenames``: an entry that was deleted lets an operator queue
other bytes under an old name, which the intake would have refused; they are still what was
queued. ``projects``: the list of projects is no target. ``elsewhere``: whose bytes are looked for
by `restore`, and by a step of the hash transition, not what is signed for them. ``expires``: when
a role is signed anew, not what is in it. A bin that a re-binning brings back may have any number
up to 2^52.

After `restore` or `install` (`Ledger.restored`) versions may have jumped to those that the log
names, and offline roles may be newer. Files that are damaged by then are no reason to stop: the
log has a digest of what the last snapshot listed of bins, and a bin's row one of its targets, under
its HMAC; tables that say otherwise are refused (`known_targets`).

Sources: TUF specification 4.4 to 4.6 (what a snapshot and a bin say).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from indextrust.distribution import DistributionFile
from indextrust.errors import AlteredStateError, InputError
from indextrust.names import SNAPSHOT, NormalizedName, parse_filename
from indextrust.repository.documents import document_bytes
from indextrust.repository.encode import decoded, listed
from indextrust.repository.plan import RoleFile, TargetFile, describe

__all__ = [
    "NOTHING",
    "Listed",
    "Recorded",
    "as_listed",
    "check_bin",
    "check_listed",
    "check_offline",
    "check_project",
    "check_rows",
    "known_targets",
    "least_used",
    "read_bin",
    "read_snapshot",
]

_JUMP = 2**52
"""No number is believed beyond: `served.VERSION_LIMIT`."""

NOTHING = RoleFile(0, 0, "")
"""What the ``roles`` table says of a role that was never published."""


class Recorded(NamedTuple):
    """What the ``roles`` table says of a role.

    Args:
        file: what was published.
        allotted: the highest number used up.
        sealed: whether the row carries the right HMAC of `file` (`Seal.vouches`).
    """

    file: RoleFile
    allotted: int
    sealed: bool


class Listed(NamedTuple):
    """What a snapshot lists of a role; None for what it does not list."""

    version: int
    length: int | None
    sha256: str | None


def as_listed(file: RoleFile) -> Listed:
    """A file as a snapshot of a small index lists it."""
    return Listed(file.version, file.length, file.sha256)


def read_snapshot(data: bytes | None, published: RoleFile | None) -> dict[str, Listed]:
    """What the last published snapshot lists, by role name.

    Args:
        data: bytes of its file; None if it can't be read.
        published: what the log says of it; None before the first publication.

    Raises:
        AlteredStateError: not the bytes that were published.
    """
    if published is None:
        return {}
    meta: Mapping[str, Any] = _signed(SNAPSHOT, data, published)["meta"]
    return {
        name.removesuffix(".json"): Listed(
            entry["version"], entry.get("length"), entry.get("hashes", {}).get("sha256")
        )
        for name, entry in meta.items()
    }


def read_bin(name: str, data: bytes | None, file: RoleFile) -> dict[str, TargetFile]:
    """The targets of a bin as it was published last: target path to what is signed for it.

    Args:
        name: of the bin.
        data: bytes of its file; None if it can't be read.
        file: its row, which `check_rows` accepted; `NOTHING` before the first publication.

    Raises:
        AlteredStateError: not the bytes that were published.
    """
    if file == NOTHING:
        return {}
    targets: Mapping[str, Any] = _signed(name, data, file)["targets"]
    return {path: listed(entry) for path, entry in targets.items()}


def known_targets(name: str, row: Recorded, entries: bytes) -> dict[str, TargetFile]:
    """The targets of a bin as it was published last, when its file is damaged.

    Args:
        name: of the bin.
        row: its row, which `check_rows` accepted.
        entries: what the ``targets`` table says of it, as it stands in a bin (`encode`).

    Raises:
        AlteredStateError: not the entries that were published, or the row is without its HMAC.
    """
    if not row.sealed or describe(entries).sha256 != row.file.entries:
        raise AlteredStateError(
            f"the state was altered: {name}: its file in the public folder is damaged, and the "
            f"tables say other targets than were published; nothing is signed"
        )
    return decoded(entries)


def check_bin(
    name: str, targets: Mapping[str, TargetFile], published: Mapping[str, TargetFile]
) -> None:
    """Refuse to sign a bin from tables that differ from what is published.

    Args:
        name: of the bin.
        targets: what the ``targets`` table says of it, before the edits of this publication.
        published: from `read_bin`.

    Raises:
        AlteredStateError: with the first target path that differs, in the order of the text.
    """
    if targets == published:
        return
    for path in sorted(targets.keys() | published.keys()):
        expected, got = published.get(path), targets.get(path)
        if expected != got:
            raise AlteredStateError(
                f"the state was altered: {name}: {path!r:.200}: expected {_target(expected)}, as "
                f"published, got {_target(got)}; nothing is signed"
            )


def check_project(
    project: NormalizedName, files: Iterable[DistributionFile], document: TargetFile | None
) -> None:
    """Refuse to write a document from rows that do not give the published one.

    Args:
        project: normalised name.
        files: what the ``files`` table says, before the changes of this publication.
        document: what is signed for its document, from `read_bin`; None if there is none.

    Raises:
        AlteredStateError: they give another document.
    """
    files = list(files)
    if document is None and not files:
        return
    if wrong := [file for file in files if not _is_stated(file)]:
        raise AlteredStateError(
            f"the state was altered: version {wrong[0].version!r:.80} is not the one in the file "
            f"name {wrong[0].filename!r:.300}; nothing is signed"
        )
    try:
        both = document is not None and document.sha512 is not None
        found = describe(document_bytes(project, files), both=both)
    except (TypeError, ValueError):
        found = None  # fields that no document can have
    if found is None or found != document:
        raise AlteredStateError(
            f"the state was altered: the files of project {project} give a document with "
            f"{_target(found)}, expected {_target(document)}, as published; nothing is signed"
        )


def check_rows(
    rows: Mapping[str, Recorded],
    published: Mapping[str, RoleFile],
    listed: Mapping[str, Listed],
    *,
    begun: int,
    above: Mapping[str, int],
    rebinning: bool,
) -> None:
    """Refuse to sign from rows of the ``roles`` table that the log does not account for.

    Args:
        rows: those of the online roles that will be signed or listed anew, snapshot and timestamp
            always among them.
        published: snapshot and timestamp, from the log.
        listed: from `read_snapshot`, or what is known to have been in it.
        begun: publications that began since (`Ledger.begun`): each used up at most one number of
            a role.
        above: numbers that were found to be served since, and are used up (`Ledger.above`).
        rebinning: bins that the snapshot does not list may have been out of use: their rows carry
            the HMAC, and their numbers may have jumped.

    Raises:
        AlteredStateError: with the first role that differs, in the order of the text.
    """
    for name in sorted(rows):
        file, allotted, sealed = rows[name]
        expected = as_listed(published[name]) if name in published else listed.get(name)
        if expected is None and not (sealed and rebinning):
            expected = as_listed(NOTHING)
        hashed = expected is not None and expected.sha256 is not None
        if (expected and not _same(file, expected)) or not (hashed or sealed):
            raise AlteredStateError(
                f"the state was altered: role {name}: expected {_role(expected)}, as published, "
                f"got {_role(as_listed(file))}{'' if sealed else ' without its HMAC'}; "
                f"nothing is signed"
            )
        least = least_used(rows[name], above.get(name, 0))
        most = _JUMP if rebinning and name not in published else least + begun
        if not least <= allotted <= most:
            raise AlteredStateError(
                f"the state was altered: role {name}: expected a number from {least} to "
                f"{most} to be the last one used up, got {allotted}; nothing is signed"
            )


def least_used(row: Recorded, above: int) -> int:
    """The least that may be the highest number used up: `above` was found to be served."""
    return max(row.file.version, above)


def check_listed(rows: Mapping[str, RoleFile], listed: Mapping[str, Listed]) -> None:
    """Refuse to list files in a new snapshot that the last one does not list.

    Args:
        rows: of the online roles that stay as they are.
        listed: from `read_snapshot`.

    Raises:
        AlteredStateError: with the first role that differs, in the order of the text.
    """
    for name in sorted(rows):
        expected = listed.get(name, as_listed(NOTHING))
        if not _same(rows[name], expected):
            raise AlteredStateError(
                f"the state was altered: role {name}: expected {_role(expected)}, as published, "
                f"got {_role(as_listed(rows[name]))}; nothing is signed"
            )


def check_offline(
    files: Mapping[str, RoleFile], listed: Mapping[str, Listed], *, newer: bool
) -> None:
    """Refuse to list other offline roles than those that are published.

    Args:
        files: targets and bins, as the state has them.
        listed: from `read_snapshot`.
        newer: whether newer ones will do: an operator installed some since.

    Raises:
        AlteredStateError: one differs, such as an older one.
    """
    for name in sorted(files.keys() & listed.keys()):
        if newer and files[name].version > listed[name].version:
            continue
        if not _same(files[name], listed[name]):
            raise AlteredStateError(
                f"the state was altered: role {name}: expected {_role(listed[name])}, as "
                f"published, got {_role(as_listed(files[name]))}; nothing is signed"
            )


def _is_stated(file: DistributionFile) -> bool:
    """Whether a row's version is the one in its file name: a document does not tell for each."""
    name, version = file.filename, file.version
    if type(name) is not str or type(version) is not str:
        return False
    stem = name.removesuffix(".tar.gz").removesuffix(".zip")
    plain = name.split("-", 2)[1:2] if stem == name else [stem.rpartition("-")[2]]
    try:
        return plain == [version] or parse_filename(name)[1] == version
    except InputError:
        return False


def _same(file: RoleFile, listed: Listed) -> bool:
    """Whether a row agrees with all that is listed of it."""
    pairs = zip(as_listed(file), listed, strict=True)
    return all(wanted is None or value == wanted for value, wanted in pairs)


def _signed(name: str, data: bytes | None, expected: RoleFile) -> dict[str, Any]:
    """The ``signed`` part of a file that was published. Raises AlteredStateError."""
    found = None if data is None else describe(data)
    if data is None or found != TargetFile(expected.length, expected.sha256):
        raise AlteredStateError(
            f"{expected.version}.{name}.json in the public folder is not the file that was "
            f"published: expected {_role(as_listed(expected))}, got "
            f"{'none' if found is None else _target(found)}; compare with an audit, then restore"
        )
    signed: dict[str, Any] = json.loads(data)["signed"]
    return signed


def _target(target: TargetFile | None) -> str:
    if target is None:
        return "none"
    more = "" if target.sha512 is None else f", sha512 {target.sha512}"
    return f"sha256 {target.sha256}{more} ({target.length} bytes)"


def _role(file: Listed | None) -> str:
    if file is None or not file.version:
        return "none"
    hashed = "" if file.sha256 is None else f", sha256 {file.sha256} ({file.length} bytes)"
    return f"version {file.version}{hashed}"
