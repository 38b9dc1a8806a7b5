"""What people decide on, and what follows from their decisions. PURE.

From an investigation come items to decide on; from the decisions, incident records, and what has
to be served in the end.

Nothing of what a thief wrote is believed but its digests: names that no client of ours would take
can be decided on (they go), and do not get into the record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from indextrust.ceremony.decisions import Item
from indextrust.distribution import DistributionFile
from indextrust.errors import CeremonyError, InputError
from indextrust.incidents import Fingerprint, Incident, IncidentFile
from indextrust.names import METADATA_SUFFIX, NormalizedName, file_path, project_name
from indextrust.repository.audited import Finding
from indextrust.repository.blame import Queued
from indextrust.repository.comparison import SHA512_ADDED
from indextrust.repository.investigation import Investigation

__all__ = [
    "Describe",
    "check_decided",
    "check_sound",
    "items_of",
    "names_of",
    "notes_of",
    "records_of",
]

Describe = Callable[[str, str], Fingerprint]
"""Gives by what a file is recognised, from its path and SHA-256; of one that nobody has, that."""

IN_ONE = 8_000
"""Files in one record: it stays below `incidents.MAX_LENGTH`, however long their names are."""

IN_ALL = 16_000
"""Files in all records of one recovery: the signing event that carries them is not too long."""


def check_sound(found: Investigation) -> None:
    """Refuse to have anything decided by a log or a state that somebody else wrote to.

    Raises:
        CeremonyError: one of them was altered; `Repository.rebuild` has to come first.
    """
    if wrong := found.audited.log or found.altered:
        raise CeremonyError(
            f"{wrong}. The state can't be believed: make it anew from the checkpoint "
            f"(`indextrust rebuild --good`), then go on"
        )


def notes_of(found: Investigation) -> list[str]:
    """What people should know before they decide, one sentence each."""
    notes = [*found.audited.faults]
    if unnamed := found.audited.count - len(found.audited.findings):
        notes.append(
            f"{unnamed} differences more than can be named: what nobody queued of them is "
            f"undone, and in no incident record"
        )
    if found.rebuilt:
        notes.append(
            "the log was begun anew when the state was rebuilt: what was queued before is not "
            "known, and looks as if nobody had queued it"
        )
    elif not found.believed:
        notes.append(
            "the log does not reach back to the checkpoint: what was queued since is not known"
        )
    return notes


def items_of(found: Investigation) -> list[Item]:
    """What has to be decided on, sorted by path.

    That is not a page which follows from its files and was queued with them, nor a file that the
    hash transition gave a SHA-512, as the log says.
    """
    by_file: dict[str, dict[str, Finding]] = {}
    pages: dict[str, Finding] = {}
    for finding in found.audited.findings:
        path = finding.difference.path
        if finding.queued is not None and (
            finding.difference.fields == (SHA512_ADDED,) or not path.startswith("files/")
        ):
            continue
        if path.startswith("files/"):
            by_file.setdefault(path.removesuffix(METADATA_SUFFIX), {})[path] = finding
        else:
            pages[path] = finding
    items = [_file(path, both, found) for path, both in by_file.items()]
    items += _undone(found, set(by_file))
    explained = {item.path.split("/")[1] for item in items}
    rest = [_page(path, finding, found) for path, finding in pages.items()]
    rest += _undone_pages(found)
    items += [item for item in rest if item.path.split("/")[1] not in explained]
    return sorted(items, key=lambda item: item.path)


def records_of(
    items: Iterable[Item],
    describe: Describe,
    own: Mapping[str, str | None],
    *,
    name: str,
    summary: str,
    date: datetime,
) -> tuple[list[Incident], list[str]]:
    """The incident records: what was served and must not be used.

    A thief lists as many files as he likes, so they may be more than one record holds, and more
    than all may hold. Those with a good file in their place come first: a client that saw the bad
    one does not take the good one without the record.

    Args:
        items: with their decisions.
        describe: tells by what a file is recognised.
        own: SHA-256 of the core metadata that is in a file, by its path, for files that have to be
            added; what is listed beside them will be that.
        name: id of the first record; those after it have ``-2``, ``-3`` … behind it.
        summary: what happened, for users.
        date: aware, whole seconds.

    Returns:
        The records, none if nothing bad was served under a name that a client takes; and the paths
        that are in none: names too odd for one, and what is too much for all.

    Raises:
        InputError: an id, a summary or a date that a record can't have.
    """
    files: list[IncidentFile] = []
    odd: list[str] = []
    for item in items:
        _, project, filename = item.path.split("/", 2)
        good_core, _, served_core = item.core
        right_core = item.core[1] if item.believed else good_core  # a file of ours has its own
        if item.decision == "keep" and item.ours != item.outcome:
            right_core = own.get(item.path)
        listed = item.outcome is not None
        for suffix, bad, good in (
            ("", item.served, item.outcome),
            (METADATA_SUFFIX, served_core, right_core if listed else None),
        ):
            if not item.is_file or item.kind == "undone" or bad in (None, good):
                continue
            path = f"{item.path}{suffix}"
            right = None if good is None else describe(path, good)
            try:
                owner = project_name(project)
                wrong = (describe(path, bad),)
                files.append(IncidentFile(owner, f"{filename}{suffix}", wrong, right))
            except InputError:
                odd.append(path)
    files.sort(key=lambda file: (file.good is None, file.project, file.filename))
    odd += [file_path(file.project, file.filename) for file in files[IN_ALL:]]
    files = sorted(files[:IN_ALL], key=lambda file: (file.project, file.filename))
    parts = [tuple(files[at : at + IN_ONE]) for at in range(0, len(files), IN_ONE)]
    ids = [name, *(f"{name}-{number}" for number in range(2, len(parts) + 1))]
    return [Incident(own, date, summary, part) for own, part in zip(ids, parts, strict=False)], odd


def check_decided(items: Iterable[Item], found: Investigation) -> None:
    """Refuse what is served if a file of it is not as it was decided.

    Args:
        items: with their decisions.
        found: against the checkpoint of the items, after the decisions were carried out.

    Raises:
        CeremonyError: it names the file; or what is served can't be read.
    """
    if found.audited.faults:
        raise CeremonyError(found.audited.faults[0])
    decided = {item.path: item.decision for item in items}
    for item in filter(lambda item: item.is_file, items_of(found)):
        word = decided.get(item.path)
        as_decided = word == "keep" or (word == "remove" and item.served is None)
        if item.queued is None and not as_decided:
            raise CeremonyError(f"{item.path} is not as it was decided: {item.words()}")


def _file(path: str, both: Mapping[str, Finding], found: Investigation) -> Item:
    """The item of a distribution file, from the differences of itself and of its core metadata."""
    ours = _ours(path, found)
    own, beside = both.get(path), both.get(f"{path}{METADATA_SUFFIX}")
    good, served = _digests(own) if own else (_sha256(ours), _sha256(ours))
    core = _digests(beside) if beside else (None, None)
    core_ours = ours.metadata_sha256 if ours is not None and beside else None
    queued = [finding.queued for finding in (own, beside) if finding is not None]
    return Item(
        *(path, own.difference.kind if own else "changed", good, _sha256(ours), served),
        None if None in queued else _words(queued[0]),
        found.believed,
        (core[0], core_ours, core[1]),
        taken=_taken(path, found),
    )


def _page(path: str, finding: Finding, found: Investigation) -> Item:
    good, served = _digests(finding)
    kind, queued = finding.difference.kind, finding.queued
    return Item(path, kind, good, None, served, _words(queued), found.believed)


def _undone(found: Investigation, there: set[str]) -> list[Item]:
    """Files whose change was queued, and undone by somebody else."""
    items = []
    for path, target in found.undone.items():
        if path.startswith("files/") and not path.endswith(METADATA_SUFFIX) and path not in there:
            served = None if target is None else target.sha256
            ours = _sha256(_ours(path, found))
            item = Item(path, "undone", served, ours, served, None, found.believed)
            items.append(replace(item, taken=_taken(path, found)))
    return items


def _undone_pages(found: Investigation) -> Iterator[Item]:
    """Pages that say again what they said in the checkpoint: a yank that was taken back, or, where
    files are no targets, an upload."""
    for path, target in found.undone.items():
        if not path.startswith("files/"):
            served = None if target is None else target.sha256
            yield Item(path, "undone", served, None, served, None, found.believed)


def _ours(path: str, found: Investigation) -> DistributionFile | None:
    _, project, filename = path.split("/", 2)
    return found.ours.get(NormalizedName(project), {}).get(filename)


def _taken(path: str, found: Investigation) -> str | None:
    return found.taken.get(path.rpartition("/")[2].lower())


def _sha256(file: DistributionFile | None) -> str | None:
    return None if file is None else file.sha256


def _digests(finding: Finding) -> tuple[str | None, str | None]:
    """In the checkpoint, and served."""
    before, now = finding.difference.before, finding.difference.now
    return (
        None if before is None else before.sha256,
        None if now is None else now.sha256,
    )


def _words(queued: Queued | None) -> str | None:
    return None if queued is None else f"{queued.who} at {queued.time}, log entry {queued.number}"


def names_of(items: Sequence[Item]) -> list[tuple[NormalizedName, str]]:
    """Project and file name of items."""
    return [(NormalizedName(item.path.split("/")[1]), item.path.split("/", 2)[2]) for item in items]
