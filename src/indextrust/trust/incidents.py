"""What the operator said after an attack, held against what an index offers now.

`Incidents` is the sum of all records that the top-level targets role lists at this moment
(`indextrust.incidents`). The rules, with what each one stops:

* Bad is bad: a digest that any record calls bad is refused under that file's name, whoever signs
  for it now and whatever was remembered. One record's good that another calls bad is bad, in
  whichever order they were written: an old record can't be played against a newer one.
* What is remembered and bad gives way to what is good, and to nothing else. The two may come
  from two records. Every other difference is an alarm as before: a thief can't use a record of
  an attack to bring in a third digest.
* A bad file of which no record has a good one was withdrawn: that it is listed no more is no
  alarm. What is offered under its name later, with yet another digest, is one.
* Nothing is remembered of a record itself. One that the role lists no more says nothing any
  more; what was accepted by it stays accepted.

Another spelling of a file's name is that file.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from indextrust.incidents import Incident, IncidentFile
from indextrust.names import METADATA_SUFFIX, file_identity
from indextrust.trust.memory import Acknowledged, Changed, KnownBad, Remembered, Verdict, judge

__all__ = ["Incidents"]


@dataclass
class _Said:
    """Of one file: digest to the record that says so."""

    bad: dict[str, Incident] = field(default_factory=dict)
    good: dict[str, Incident] = field(default_factory=dict)


class Incidents:
    """All records together.

    Args:
        records: each read from a target that the top-level targets role lists.
    """

    def __init__(self, records: Iterable[Incident] = ()) -> None:
        self.records: tuple[Incident, ...] = tuple(records)
        self._files: dict[str, list[tuple[Incident, IncidentFile]]] = {}
        for incident in self.records:
            for file in incident.files:
                self._files.setdefault(file.project, []).append((incident, file))
        self._said: dict[str, dict[Hashable, _Said]] = {}  # of the projects that were asked for

    @property
    def projects(self) -> tuple[str, ...]:
        """The projects that any record names, sorted."""
        return tuple(sorted(self._files))

    def bad(self, project: str, filename: str, sha256: str) -> Incident | None:
        """The record that calls this digest bad, if any does.

        Args:
            project: normalised.
            filename: a distribution file's, or its core metadata's (``….metadata``).
            sha256: lower-case hex.
        """
        said = self._of(project, filename)
        return None if said is None else said.bad.get(sha256)

    def withdrawn(self, remembered: Remembered) -> Incident | None:
        """The record that calls what is remembered bad, if no record has a good one for it."""
        said = self._of(remembered.project, remembered.filename)
        if said is None or said.good.keys() - said.bad.keys():
            return None
        return said.bad.get(remembered.sha256)

    def judge(
        self, project: str, filename: str, remembered: Remembered | None, sha256: str
    ) -> Verdict:
        """`indextrust.trust.judge`, with what the operator said.

        Args:
            project: normalised.
            filename: as listed now.
            remembered: what was seen first under this name, if anything was.
            sha256: what is vouched for now, lower-case hex.
        """
        incident = self.bad(project, filename, sha256)
        if incident is not None:
            return KnownBad(filename, sha256, incident)
        verdict = judge(remembered, sha256)
        if isinstance(verdict, Changed):
            said = self._of(project, filename)
            if said is not None and verdict.remembered.sha256 in said.bad and sha256 in said.good:
                return Acknowledged(verdict.remembered, sha256, said.good[sha256])
        return verdict

    def _of(self, project: str, filename: str) -> _Said | None:
        if project not in self._files:
            return None
        if project not in self._said:  # names are costly to take apart
            self._said[project] = _said(self._files[project])
        return self._said[project].get(_key(filename))


def _said(files: list[tuple[Incident, IncidentFile]]) -> dict[Hashable, _Said]:
    found: dict[Hashable, _Said] = {}
    for incident, file in files:
        said = found.setdefault(_key(file.filename), _Said())
        for bad in file.bad:
            said.bad.setdefault(bad.sha256, incident)
        if file.good is not None:
            said.good.setdefault(file.good.sha256, incident)
    return found


def _key(filename: str) -> Hashable:
    own = filename.removesuffix(METADATA_SUFFIX)
    return file_identity(own), own == filename
