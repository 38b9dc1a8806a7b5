"""First-seen memory: the decision, apart from where it is kept.

For each index, project and file name the digest that was seen first is remembered. A file
seen again with another digest is `Changed`, whoever signed it: the rule that still holds when
the online keys are stolen. It protects who saw the file before, nobody else.

Only an acknowledgement changes what is remembered: a person's, naming the digest, or that of an
incident record under the operator's offline keys (`indextrust.trust.incidents`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from indextrust.errors import ChangedArtifactError, KnownBadArtifactError
from indextrust.incidents import Incident

__all__ = [
    "Acknowledged",
    "Changed",
    "FirstSeen",
    "KnownBad",
    "Remembered",
    "Unchanged",
    "Verdict",
    "judge",
]


@dataclass(frozen=True)
class Remembered:
    """What was seen first under a file name.

    Args:
        project: normalised project name.
        filename: distribution file name.
        sha256: lower-case hex.
        first_seen: aware, UTC.
        snapshot_version: the snapshot under which it was seen; 0 for an index without TUF.
        incident: id of the incident record by which this digest was accepted; None if it was
            seen first, or accepted by a person.
    """

    project: str
    filename: str
    sha256: str
    first_seen: datetime
    snapshot_version: int
    incident: str | None = None


@dataclass(frozen=True)
class FirstSeen:
    """Never seen before: nothing to compare with."""


@dataclass(frozen=True)
class Unchanged:
    """As remembered."""

    remembered: Remembered


@dataclass(frozen=True)
class Changed:
    """Another digest than the one remembered."""

    remembered: Remembered
    offered: str

    def error(self) -> ChangedArtifactError:
        """The alarm to raise when somebody wants to use the file."""
        return ChangedArtifactError(
            self.remembered.filename,
            remembered=self.remembered.sha256,
            offered=self.offered,
            first_seen=f"{self.remembered.first_seen.isoformat(timespec='seconds')}, "
            f"snapshot {self.remembered.snapshot_version}",
        )


@dataclass(frozen=True)
class Acknowledged:
    """Another digest than the one remembered; an incident record calls that one bad, and the
    one offered good."""

    remembered: Remembered
    offered: str
    incident: Incident


@dataclass(frozen=True)
class KnownBad:
    """A digest that an incident record calls bad, whether it was seen before or not."""

    filename: str
    offered: str
    incident: Incident

    def error(self) -> KnownBadArtifactError:
        """The alarm to raise when somebody wants to use the file."""
        return KnownBadArtifactError(
            self.filename,
            offered=self.offered,
            incident=self.incident.id,
            summary=self.incident.summary,
        )


Verdict = FirstSeen | Unchanged | Changed | Acknowledged | KnownBad


def judge(remembered: Remembered | None, sha256: str) -> Verdict:
    """Compare a vouched-for digest (lower-case hex) with what was seen first, if anything was."""
    if remembered is None:
        return FirstSeen()
    if remembered.sha256 == sha256:
        return Unchanged(remembered)
    return Changed(remembered, sha256)
