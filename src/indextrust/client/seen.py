"""What was seen before, and what the operator said since, held against a verified page.

New files are remembered as soon as they are listed; one that an incident record calls bad never
is. Where a record lets what is good take the place of what is bad (`indextrust.trust.incidents`),
that is remembered with the record's id, and said: in the verdict, and as a notice.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from datetime import datetime

from indextrust.client.listing import ListedFile, Project
from indextrust.client.ports import Clock, MemoryStore
from indextrust.distribution import DistributionFile
from indextrust.errors import AlarmError
from indextrust.incidents import Incident
from indextrust.names import METADATA_SUFFIX, TARGETS, NormalizedName, file_identity
from indextrust.trust import (
    Acknowledged,
    Changed,
    FirstSeen,
    Incidents,
    KnownBad,
    Notice,
    Remembered,
    TargetEntry,
    Unchanged,
)
from indextrust.trust.memory import Verdict

__all__ = ["Seen", "refusal"]


class Seen:
    """First-seen memory of one index.

    Args:
        memory: where it is kept.
        name: the index's name on this machine.
        clock: gives the time.
    """

    def __init__(self, memory: MemoryStore, name: str, clock: Clock) -> None:
        self._memory = memory
        self._name = name
        self._clock = clock

    def page(
        self,
        project: NormalizedName,
        versions: tuple[str, ...],
        files: list[DistributionFile],
        entry: TargetEntry,
        incidents: Incidents,
    ) -> Project:
        """A verified page, every file of it judged. Remembers what is new.

        Raises:
            StoreError: the memory can't be read or written.
        """
        known = self._memory.remembered(self._name, project)
        names = _spelled(_distributions(known), [file.filename for file in files])
        listed = _listed(files, names)
        bad = {name for name, sha256 in listed if incidents.bad(project, name, sha256) is not None}
        bad |= {name + METADATA_SUFFIX for name in bad}  # what came with it is no first sight
        new = {name: sha256 for name, sha256 in listed if name not in known and name not in bad}
        if new:
            self._memory.record(
                self._name,
                project,
                new,
                when=self._clock(),
                snapshot_version=entry.snapshot_version,
            )
            # another process may have been first, with another digest
            known = self._memory.remembered(self._name, project)
        verdicts = [
            incidents.judge(project, name, known.get(name), sha256) for name, sha256 in listed
        ]
        notices = tuple(
            self._accept(verdict) for verdict in verdicts if isinstance(verdict, Acknowledged)
        )
        for number, (name, _) in enumerate(listed):
            if name in new and isinstance(verdicts[number], Unchanged):
                verdicts[number] = FirstSeen()
        return Project(
            project,
            versions,
            tuple(
                ListedFile(file, verdict, entry)
                for file, verdict in zip(files, verdicts, strict=False)  # core metadata comes after
            ),
            self._removed(known, set(names.values()), incidents),
            entry.snapshot_version,
            notices,
        )

    def remembered(self, project: str) -> Mapping[str, Remembered]:
        """All that is remembered of a project, by file name. Raises StoreError."""
        return self._memory.remembered(self._name, project)

    def removed(self, project: NormalizedName, incidents: Incidents) -> tuple[Remembered, ...]:
        """The files remembered of a project that is listed no more, those left out that the
        operator withdrew. Raises StoreError."""
        return self._removed(self._memory.remembered(self._name, project), set(), incidents)

    def verdict(
        self, project: NormalizedName, filename: str, sha256: str, incidents: Incidents
    ) -> Verdict:
        """The verdict on one file, or on core metadata; nothing is remembered.

        Args:
            project: normalised.
            filename: as listed, in any spelling.
            sha256: vouched for, lower-case hex.
            incidents: what the operator said.

        Raises:
            StoreError: the memory can't be read.
        """
        known = self._memory.remembered(self._name, project)
        own = filename.removesuffix(METADATA_SUFFIX)
        name = _spelled(_distributions(known), [own])[own] + filename[len(own) :]
        return incidents.judge(project, name, known.get(name), sha256)

    def acknowledge(self, project: NormalizedName, filename: str, sha256: str) -> None:
        """A person accepts another digest. Raises as `MemoryStore.acknowledge`."""
        self._memory.acknowledge(self._name, project, filename, sha256, when=self._clock())

    def notices(self, incidents: Incidents) -> tuple[Notice, ...]:
        """One for each record that calls bad what is remembered here. Raises StoreError."""
        seen: dict[str, list[Remembered]] = {}
        for project in incidents.projects:
            known = self._memory.remembered(self._name, project)
            bad = _bad(known, incidents)
            accepted = {name for name in known.keys() - bad.keys() if known[name].incident}
            given_up = _other_spellings(bad, accepted)  # that was told
            for name in sorted(bad.keys() - given_up):
                seen.setdefault(bad[name].id, []).append(known[name])
        return tuple(
            _notice(_told(incident.id, incident.date, incident.summary, seen[incident.id]))
            for incident in incidents.records
            if incident.id in seen
        )

    def _accept(self, verdict: Acknowledged) -> Notice:
        remembered, incident = verdict.remembered, verdict.incident
        self._memory.acknowledge(
            self._name,
            remembered.project,
            remembered.filename,
            verdict.offered,
            when=self._clock(),
            incident=incident.id,
        )
        return _notice(
            f"{remembered.filename}: sha256 {verdict.offered} is accepted in the place of "
            f"{remembered.sha256}, which incident record {incident.id} calls bad"
        )

    @staticmethod
    def _removed(
        known: Mapping[str, Remembered], listed: set[str], incidents: Incidents
    ) -> tuple[Remembered, ...]:
        gone = {name: seen for name, seen in _distributions(known).items() if name not in listed}
        given_up = _other_spellings(_bad(gone, incidents), listed)
        return tuple(
            seen
            for name, seen in sorted(gone.items())
            if name not in given_up and incidents.withdrawn(seen) is None
        )


def refusal(verdict: Verdict) -> AlarmError | None:
    """The alarm that a verdict is, if it is one."""
    return verdict.error() if isinstance(verdict, (Changed, KnownBad)) else None


def _notice(message: str) -> Notice:
    return Notice("incident", TARGETS, message, b"")


def _told(incident: str, date: datetime, summary: str, seen: list[Remembered]) -> str:
    first = min(seen, key=lambda remembered: remembered.first_seen)
    more = f" and {len(seen) - 1} more" if len(seen) > 1 else ""
    return (
        f"incident {incident} ({date:%Y-%m-%d}): {summary} This machine saw the bad "
        f"{first.filename} on {first.first_seen:%Y-%m-%d}{more}: run `indextrust scan` on every "
        f"environment that may have it. What the record calls good is accepted in its place."
    )


def _listed(files: list[DistributionFile], names: Mapping[str, str]) -> list[tuple[str, str]]:
    """What a page vouches for, by the names it is remembered under: first each file with its
    digest, in order, then the core metadata beside them."""
    return [(names[file.filename], file.sha256) for file in files] + [
        (names[file.filename] + METADATA_SUFFIX, file.metadata_sha256)
        for file in files
        if file.metadata_sha256
    ]


def _distributions(remembered: Mapping[str, Remembered]) -> dict[str, Remembered]:
    """What is remembered of distribution files, without their core metadata."""
    return {name: seen for name, seen in remembered.items() if not name.endswith(METADATA_SUFFIX)}


def _bad(known: Mapping[str, Remembered], incidents: Incidents) -> dict[str, Incident]:
    """Which of the remembered files records call bad."""
    said = {name: incidents.bad(seen.project, name, seen.sha256) for name, seen in known.items()}
    return {name: incident for name, incident in said.items() if incident is not None}


def _other_spellings(bad: Iterable[str], names: Iterable[str]) -> set[str]:
    """Those of `bad` of which another spelling is among `names`: a thief listed one file twice,
    and what took its place did so under one name."""
    if not (bad := set(bad)):
        return bad
    spelled = {_identity(name) for name in names}
    return {name for name in bad if _identity(name) in spelled}


def _identity(filename: str) -> Hashable:
    own = filename.removesuffix(METADATA_SUFFIX)
    return file_identity(own), own == filename


def _spelled(seen: Iterable[str], filenames: Iterable[str]) -> dict[str, str]:
    """Under which name each file is remembered: another spelling of one that was seen is that."""
    names, seen = {name: name for name in filenames}, set(seen)
    if new := names.keys() - seen:  # names are costly to take apart
        spelled = {file_identity(name): name for name in sorted(seen)}
        names |= {name: spelled.get(file_identity(name), name) for name in new}
    return names
