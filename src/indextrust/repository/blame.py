"""Who asked for what differs: the transaction log read for the projects that changed.

From a project's files in the checkpoint and the changes that the log has of it since, it follows
which files it may have now, and who asked for each. What is signed for a file is *queued* if it is
what it was after some change of the log, word for word: its digest, its size, its yank. Everything
else was queued by nobody, whoever signed it.

A document is queued if it is the document of the files that it lists, and what it says of each of
them is as it was or queued. Its SHA-512 is if the log says that both hashes are listed, and has a
change of the project: every document that is signed anew gets it then, and none loses it.

What this proves is what the log proves (`indextrust.repository.log`): that a holder of the queue
key appended the entry. ``who`` is a record, no proof. And a thief who undoes a change since the
checkpoint makes no difference to that: `Repository.audit` compares with the state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from indextrust.distribution import DistributionFile
from indextrust.errors import InputError
from indextrust.names import SNAPSHOT, TIMESTAMP, NormalizedName, document_path, project_name
from indextrust.repository.changes import Add, Change, Rehash, Remove, decode, spread
from indextrust.repository.comparison import FileDifference, Project, Signed
from indextrust.repository.documents import document_bytes
from indextrust.repository.log import CHANGE, HASHES, Entry, Log
from indextrust.repository.plan import RoleFile, TargetFile, describe

__all__ = ["Blame", "Queued"]


class Queued(NamedTuple):
    """An entry of the log that explains a difference.

    Args:
        number: of the entry.
        time: when it was queued, ``YYYY-MM-DDTHH:MM:SSZ``.
        who: the name in the log.
    """

    number: int
    time: str
    who: str


class Blame:
    """The log since a checkpoint.

    Attributes:
        published: the snapshot and the timestamp of the last publication.
        reaches_back: whether the log has the publication that the checkpoint was made of; if not,
            it was begun anew since, and does not know who asked for what before.

    Args:
        log: of the repository.
        snapshot: that of the checkpoint.

    Raises:
        AlteredStateError: the log was altered, or lacks entries.
    """

    def __init__(self, log: Log, snapshot: RoleFile) -> None:
        self._log = log
        self.published: dict[str, RoleFile] = {}
        self.reaches_back = False
        self._since, self._done, self._both = 0, 0, False
        for end in log.ends():
            fields = end.fields()
            for name in (SNAPSHOT, TIMESTAMP):
                if (file := fields[name]) is not None:
                    self.published[name] = RoleFile(file["version"], file["length"], file["sha256"])
            self._done = fields["upto"]
            if self.published.get(SNAPSHOT) == snapshot:
                self._since, self.reaches_back = fields["upto"], True
            self._both = self._both or fields.get("hashes") == "both"
        for entry in log.verified(since=self._since):
            self._both = self._both or entry.kind == HASHES

    def of(
        self, before: Project | None, found: Iterable[FileDifference], now: Project | None
    ) -> list[Queued | None]:
        """Who queued each of the differences of one project.

        Args:
            before: the project in the checkpoint; None if it is not there.
            found: its differences.
            now: the project as it is served; None if it is not.

        Returns:
            For each difference the entry that explains it; None: nobody queued it.

        Raises:
            AlteredStateError: an entry was altered meanwhile.
        """
        found = list(found)
        try:
            name = project_name(found[0].project)
        except InputError:  # no project of ours was ever called that
            return [None] * len(found)
        entries = [
            entry
            for entry in self._log.of_projects([name], since=self._since)
            if entry.kind == CHANGE
        ]
        states = _states(entries, {} if before is None else before.files)
        queued = [_explained(each, states) for each in found]
        relisted = [each for each in found if each.relisted]
        listed = [_explained(each, states, listed=True) for each in relisted]
        known = [each for each in listed if each is not None]
        for number, each in enumerate(found):
            if each.path == document_path(name) and known == listed and self._remade(each, now):
                last = None if known or not entries else _queued(entries[-1])
                queued[number] = max(known, default=last)
        return queued

    def altered(
        self,
        name: NormalizedName,
        good: Mapping[str, DistributionFile],
        ours: Mapping[str, DistributionFile],
    ) -> str:
        """What somebody says of the published files of a project, and the log does not give it.

        Args:
            name: of the project.
            good: its files in the checkpoint.
            ours: its files, by somebody's word.

        Returns:
            What he says of the first file that is not as it should be; empty if all are.

        Raises:
            AlteredStateError: an entry was altered meanwhile.
        """
        entries = self._log.of_projects([name], since=self._since)
        published = (e for e in entries if e.kind == CHANGE and e.number <= self._done)
        expected: dict[str, DistributionFile | None] = dict(good)
        for filename, states in _states(published, good).items():
            expected[filename] = states[-1][1]
        for filename in sorted(expected.keys() | ours.keys()):
            file, there = expected.get(filename), ours.get(filename)
            if there is None and file is not None:
                return f"it lacks {filename}"
            if there is not None and (file is None or file.sha256 != there.sha256):
                return f"it has {filename} with sha256 {there.sha256}"
            if file and there and replace(file, version=there.version) != there:
                return f"of {filename} it says something else"
        return ""

    def _remade(self, found: FileDifference, now: Project | None) -> bool:
        """Whether a document is the one that its files give, with the hashes it should have."""
        if found.now is None or now is None or (target := found.now.target) is None:
            return False
        both = target.sha512 is not None
        had = found.before is not None and found.before.sha512 is not None
        needs = had or any(file.sha512 is not None for file in now.files.values())
        if not (both if needs else self._both or not both):
            return False
        name = NormalizedName(found.project)
        return target == describe(document_bytes(name, now.files.values()), both=both)


def _queued(entry: Entry) -> Queued:
    return Queued(entry.number, entry.time, entry.who)


def _states(
    entries: Iterable[Entry], files: Mapping[str, DistributionFile]
) -> dict[str, list[tuple[Queued, DistributionFile | None]]]:
    """What each file of a project was after each change of it, in order; None: removed.

    Args:
        entries: of the log, changes of this project.
        files: before them.
    """
    states: dict[str, list[tuple[Queued, DistributionFile | None]]] = {}
    current: dict[str, DistributionFile | None] = dict(files)
    for entry in entries:
        for change in spread(decode(entry.body)):
            for name, after in _after(change, current):
                current[name] = after
                states.setdefault(name, []).append((_queued(entry), after))
    return states


def _after(
    change: Change, current: Mapping[str, DistributionFile | None]
) -> list[tuple[str, DistributionFile | None]]:
    """The files that a change is about, as they are after it."""
    if isinstance(change, Rehash):
        found: list[tuple[str, DistributionFile | None]] = []
        for digests in change.files:
            file = current.get(digests.filename)
            if file is not None and (file.sha256, file.metadata_sha256) == digests.of:
                again = file.with_sha512(digests.sha512, digests.metadata_sha512)
                found.append((digests.filename, again))
        return found
    present = current.get(change.filename)
    if isinstance(change, Add):
        return [(change.filename, present or change.file)]
    if isinstance(change, Remove) or present is None:
        return [(change.filename, None)]
    return [(change.filename, present.with_yank(change.reason))]


def _explained(
    found: FileDifference,
    states: Mapping[str, list[tuple[Queued, DistributionFile | None]]],
    *,
    listed: bool = False,
) -> Queued | None:
    """The last change after which the file was what it is now; `listed`: in the document."""
    filename = found.path.rpartition("/")[2]
    core = filename.endswith(".metadata")  # no distribution file does
    for queued, file in reversed(states.get(filename.removesuffix(".metadata"), [])):
        now = found.now
        if listed and now is not None:
            now = None if now.listing is None else Signed(None, now.listing)
        if _agrees(now, file, core):
            return queued
    return None


def _agrees(now: Signed | None, file: DistributionFile | None, core: bool) -> bool:
    """Whether what is signed is what a file, or its core metadata, should be."""
    if file is None or (core and file.metadata_sha256 is None):
        return now is None
    if now is None or now.listing is None:
        return False
    if core:
        digests = (file.metadata_sha256, file.metadata_sha512)
        good = now == Signed.of_core(file, now.target)
        return good and (now.target is None or now.target[1:] == digests)
    return now == Signed.of(file, now.target) and now.target in (
        None,
        TargetFile(file.size, file.sha256, file.sha512),
    )
