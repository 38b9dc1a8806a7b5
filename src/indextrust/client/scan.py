"""Which installed distributions an incident record is about.

Three verdicts, by what can be known from the outside:

* *affected*: the files are those of a bad wheel (by the installed form that the record carries),
  or an installer wrote down that a bad file was installed.
* *may be affected*: the version is that of a bad file, and the files can't tell: the bad one was
  an sdist, or the files are neither those of the bad wheel nor those of the good one (changed
  since, or from another wheel of the version), or good and bad can't be told apart.
* *not affected*: the files are those of the good wheel, or no bad file has this version.

It compares what lies there now. Code that ran may have changed anything, this environment and
others too, and put the good files back: a verdict on files, not on the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from packaging.version import Version

from indextrust.client.environments import (
    Installed,
    form_in,
    installed_in,
    metadata_was_replaced,
    site_packages,
)
from indextrust.incidents import IncidentFile
from indextrust.names import METADATA_SUFFIX, parse_filename
from indextrust.trust import Incidents, Remembered

__all__ = ["Finding", "Judgement", "Scan", "scan"]

Judgement = Literal["affected", "may be affected", "not affected"]


@dataclass(frozen=True)
class Finding:
    """What is known of one installed distribution of a project that a record names.

    Args:
        folder: the ``site-packages`` it lies in.
        project: normalised name.
        version: PEP 440; empty where it says none.
        judgement: the verdict.
        reason: by what, for people.
        incidents: ids of the records that it is about; none if it is not affected.
        seen: what this machine remembers of the bad files' names, for people.
    """

    folder: Path
    project: str
    version: str
    judgement: Judgement
    reason: str
    incidents: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scan:
    """The end of a scan.

    Args:
        folders: what was looked at.
        distributions: how many are installed there.
        findings: one for each of a project that a record names, in order of folder and name.
    """

    folders: tuple[Path, ...]
    distributions: int
    findings: tuple[Finding, ...]

    @property
    def affected(self) -> bool:
        """Whether anything is affected, or may be."""
        return any(finding.judgement != "not affected" for finding in self.findings)


@dataclass
class _Said:
    """Of one project. Digest, form or version (``1.0`` is ``1.0.0``) to the record's id and the
    file's name."""

    bad: dict[str, tuple[str, str]] = field(default_factory=dict)
    bad_forms: dict[str, tuple[str, str]] = field(default_factory=dict)
    bad_versions: dict[Version, list[tuple[str, str]]] = field(default_factory=dict)
    good_forms: dict[str, str] = field(default_factory=dict)
    formless: set[str] = field(default_factory=set)


def scan(
    environment: Path,
    incidents: Incidents,
    remembered: Callable[[str], Mapping[str, Remembered]],
) -> Scan:
    """Look for what incident records are about.

    Args:
        environment: as for `indextrust.client.environments.site_packages`.
        incidents: what the operator said.
        remembered: project to what is remembered of its files.

    Raises:
        InputError: no environment.
        StoreError: it can't be read, or the memory can't.
    """
    said = _by_project(incidents)
    findings: list[Finding] = []
    count = 0
    with site_packages(environment) as folders:
        for path, site in folders:
            hashed: dict[str, tuple[str, int]] = {}
            for installed in installed_in(site):
                count += 1
                for project in sorted(installed.accepted_as & said.keys()):
                    seen = _seen(incidents, remembered(project))
                    found = _finding(path, site, hashed, installed, project, said[project], seen)
                    if project in installed.projects or found.incidents:
                        findings.append(found)
        return Scan(tuple(path for path, _ in folders), count, tuple(findings))


def _by_project(incidents: Incidents) -> dict[str, _Said]:
    files = [
        (incident.id, file)
        for incident in incidents.records
        for file in incident.files
        if not file.filename.endswith(METADATA_SUFFIX)
    ]
    found: dict[str, _Said] = {}
    for incident, file in files:
        _add_bad(found.setdefault(file.project, _Said()), incident, file)
    for _, file in files:  # what any record calls bad is good in none
        said, good = found[file.project], file.good
        if good is not None and good.installed is not None and good.sha256 not in said.bad:
            said.good_forms[good.installed] = file.filename
    return found


def _add_bad(said: _Said, incident: str, file: IncidentFile) -> None:
    source = (incident, file.filename)
    version = Version(parse_filename(file.filename)[1])
    said.bad_versions.setdefault(version, []).append(source)
    for bad in file.bad:
        said.bad.setdefault(bad.sha256, source)
        if bad.installed is None:
            said.formless.add(file.filename)
        else:
            said.bad_forms.setdefault(bad.installed, source)


def _finding(
    path: Path,
    site: int,
    hashed: dict[str, tuple[str, int]],
    installed: Installed,
    project: str,
    said: _Said,
    seen: tuple[str, ...],
) -> Finding:
    version = ", ".join(sorted(installed.versions))

    def affected(judgement: Judgement, reason: str, *incidents: str) -> Finding:
        ids = tuple(sorted(set(incidents)))
        return Finding(path, project, version, judgement, reason, ids, seen)

    for digest in sorted(installed.archives & said.bad.keys()):
        incident, filename = said.bad[digest]
        return affected("affected", f"installed from the bad {filename}", incident)
    form = form_in(site, installed.info, hashed)
    if form in said.bad_forms:
        incident, filename = said.bad_forms[form]
        if form in said.good_forms:
            reason = f"good and bad {filename} can't be told apart once installed"
            return affected("may be affected", reason, incident)
        return affected("affected", f"its files are those of the bad {filename}", incident)
    if form in said.good_forms:
        reason = f"its files are those of the good {said.good_forms[form]}"
        return Finding(path, project, version, "not affected", reason)
    versions = map(Version, installed.versions)
    sources = [source for name in versions for source in said.bad_versions.get(name, ())]
    is_clear = installed.clear and not metadata_was_replaced(site, installed.info)
    if is_clear and (not sources or project not in installed.projects):
        return Finding(path, project, version, "not affected", "no bad file has this version")
    names = sorted({filename for _, filename in sources})
    ids = [incident for incident, _ in sources] or [incident for incident, _ in said.bad.values()]
    return affected("may be affected", _uncertain(names, said, form), *ids)


def _uncertain(names: list[str], said: _Said, form: str | None) -> str:
    if not names:
        return "it doesn't say what it is, or what it said was replaced when it was installed"
    if all(name in said.formless for name in names):
        return f"{', '.join(names)}: of its version, and leaves nothing that could be compared"
    if form is None:
        return f"{', '.join(names)}: of its version, and its files can't all be read"
    return f"{', '.join(names)}: of its version, and its files are neither the bad nor the good"


def _seen(incidents: Incidents, remembered: Mapping[str, Remembered]) -> tuple[str, ...]:
    """What was listed to this machine: for people to judge by, no proof of what was installed."""
    lines = []
    for name, known in sorted(remembered.items()):
        if name.endswith(METADATA_SUFFIX):
            continue
        when = f"{known.first_seen:%Y-%m-%d}"
        if incidents.bad(known.project, name, known.sha256) is not None:
            lines.append(f"the bad {name} was listed to this machine on {when}")
        elif known.incident is not None:
            lines.append(f"{name}: what was listed to this machine before {when} was bad")
    return tuple(lines)
