"""The commands of people who install: run, get, verify, scan."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from indextrust.cli.exit_codes import AFFECTED, REFUSED_IN_RUN
from indextrust.cli.options import FOLDER, common, duration, index_option, output
from indextrust.errors import IndextrustError, InputError, NotListedError
from indextrust.names import parse_filename, project_name

if TYPE_CHECKING:
    from indextrust.client import Client, ListedFile, Project
    from indextrust.names import NormalizedName
    from indextrust.proxy import RunResult

__all__ = ["COMMANDS"]


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("child", nargs=-1, type=click.UNPROCESSED, required=True, metavar="-- CHILD...")
@index_option
@common
def run(child: tuple[str, ...], index: str | None) -> int:
    """Run a pip or `uv pip` command with everything that it installs verified.

    For example: indextrust run -- pip install flask. Exits with the child's code, or with 90 if
    something was refused or an alarm was raised. With --json the child's stdout goes to stderr.
    """
    from indextrust.client import TrustedIndexes
    from indextrust.proxy import run_child

    out = output()
    client = TrustedIndexes.default().client(index)
    result = run_child(client, child, output=sys.stderr.buffer if out.json else None)
    _summarise(result)
    return REFUSED_IN_RUN if result.refused else result.exit_code


@click.command()
@click.argument("release", metavar="PROJECT==VERSION")
@click.option(
    "--to",
    "folder",
    type=FOLDER,
    default=Path(),
    metavar="DIR",
    help="Where to put them.  [default: here]",
)
@index_option
@common
def get(release: str, folder: Path, index: str | None) -> None:
    """Download the files of a release, verified."""
    from indextrust.client import Project

    name, version = _release(release)
    out = output()
    client = _client(index)
    project = client.project(name)
    for notice in getattr(project, "notices", ()):
        out.notice(notice.message)
    wanted = [file for file in getattr(project, "files", ()) if _is_of(file, version)]
    if not wanted:
        if isinstance(project, Project):
            _refuse_removed(project, version)
        raise NotListedError(
            f"{release}: not listed in snapshot {project.snapshot_version}; it may be awaiting "
            f"publication"
        )
    folder.mkdir(parents=True, exist_ok=True)
    got: list[dict[str, Any]] = []
    with out.progress("downloading", total=len(wanted)) as step:
        for listed in wanted:
            path = client.download(listed, folder)
            step.advance(path.name)
            got.append({"path": str(path), "sha256": listed.file.sha256, "size": listed.file.size})
    for file in got:
        out.say(f"{file['path']}  sha256 {file['sha256']}")
    out.data({"downloaded": got})


@click.command()
@click.argument("files", type=FOLDER, nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--deep", is_flag=True, help="Compare a wheel's own METADATA with what the index serves, too."
)
@click.option(
    "--offline",
    type=duration,
    metavar="DURATION",
    help="Ask nobody: use what the last refresh trusted, if it is no longer ago, such as 7d. "
    "Weaker: what was revoked since goes unnoticed.",
)
@index_option
@common
def verify(
    files: tuple[Path, ...], deep: bool, offline: timedelta | None, index: str | None
) -> int:
    """Compare files of yours with what the index lists under their names.

    All of them are looked at; the exit code is that of the first that is not what is listed.
    """
    if deep and offline is not None:
        raise InputError("expected one of --deep and --offline: core metadata is not stored here")
    out = output()
    client = _client(index, offline_for=offline)
    compare = client.verify_deeply if deep else client.verify
    results: list[dict[str, Any]] = []
    code = 0
    with out.progress("verifying", total=len(files)) as step:
        for path in files:
            try:
                sha256 = compare(path).sha256
                results.append({"path": str(path), "sha256": sha256})
                out.say(f"{path}: as listed, sha256 {sha256}")
            except IndextrustError as error:
                described = out.complain(error)
                results.append({"path": str(path), "error": described})
                code = code or described["exit_code"]
            step.advance(path.name)
    out.data({"files": results})
    return code


@click.command()
@click.argument("environment", type=FOLDER)
@index_option
@common
def scan(environment: Path, index: str | None) -> int:
    """Say which distributions installed in ENVIRONMENT an incident record is about.

    ENVIRONMENT is a virtual environment, the Python in it, or a site-packages folder. Nothing in
    it is run. Files are compared with the digests in the index's incident records: a verdict on
    what lies there now. Code that ran may have changed anything; throw away what is affected.
    """
    client, out = _client(index, without="incident"), output()
    incidents = client.incidents().records
    found = client.scan(environment)
    for incident in incidents:
        out.say(f"incident {incident.id} ({incident.date:%Y-%m-%d}): {incident.summary}")
    for finding in found.findings:
        name = f"{finding.project} {finding.version}".strip()
        told = "".join(f" [{incident}]" for incident in finding.incidents)
        out.say(f"{finding.judgement}: {name}: {finding.reason}{told}")
        for line in finding.seen:
            out.say(f"  {line}")
    folders = ", ".join(map(str, found.folders))
    concerned = sum(finding.judgement != "not affected" for finding in found.findings)
    if incidents:
        out.say(
            f"{folders}: {concerned} of {found.distributions} distributions affected, or may be"
        )
    else:
        out.say(f"{folders}: {found.distributions} distributions; the index has no incident record")
    out.data(
        {
            "incidents": [
                {"id": one.id, "date": one.date.isoformat(), "summary": one.summary}
                for one in incidents
            ],
            "folders": [str(folder) for folder in found.folders],
            "distributions": found.distributions,
            "findings": [asdict(one) | {"folder": str(one.folder)} for one in found.findings],
        }
    )
    return AFFECTED if found.affected else 0


COMMANDS: tuple[click.Command, ...] = (run, get, verify, scan)


def _client(
    index: str | None, *, offline_for: timedelta | None = None, without: str = ""
) -> Client:
    """A refreshed client; what should be known of the refresh is told, `without` what the command
    tells itself (a kind of notice)."""
    from indextrust.client import TrustedIndexes

    client = TrustedIndexes.default().client(index, offline_for=offline_for)
    state, out = client.state(), output()
    for notice in state.notices:
        if notice.kind != without:
            out.notice(notice.message)
    if offline_for is not None:
        asked = state.asked.isoformat(timespec="seconds")
        out.notice(f"offline: judged by what the index said at {asked}")
    return client


def _release(text: str) -> tuple[NormalizedName, Version]:
    """Take ``flask==3.1.3`` apart. A name that is not normalised is refused, not corrected."""
    name, equals, version = text.partition("==")
    try:
        if not equals:
            raise InputError(f"expected PROJECT==VERSION, got {text!r}")
        return project_name(name), Version(version)
    except InvalidVersion:
        raise InputError(f"expected a version after '==', got {version!r}") from None
    except InputError as error:
        meant = None
        with contextlib.suppress(InputError):
            meant = project_name(canonicalize_name(name))
        if not equals or meant is None:
            raise
        raise InputError(f"{error}: write {meant}=={version}") from None


def _is_of(listed: ListedFile, version: Version) -> bool:
    return Version(listed.file.version) == version


def _refuse_removed(project: Project, version: Version) -> None:
    """Raise RemovedArtifactError if a file of this version was seen before and is gone."""
    for gone in project.removed:
        if Version(parse_filename(gone.filename)[1]) == version:
            project.file(gone.filename)


def _summarise(result: RunResult) -> None:
    """To stderr: stdout is the child's, and may be on its way into a file."""
    out, summary = output(), result.summary
    for name in result.removed:
        out.detail(f"removed from the child's environment: {name}")
    for file in summary.files:
        out.detail(f"verified: {file.filename}  sha256 {file.sha256}")
    size = sum(file.size for file in summary.files)
    out.note(f"{len(summary.files)} files verified, {size:,} bytes")
    for notice in summary.notices:
        out.note(notice, always=True)
    failures = [*summary.refusals, *summary.unreachable]
    if result.exit_code != 0:
        failures += summary.not_listed
    for failure in failures:
        out.note(f"{failure.title}: {failure.detail}", always=True)
    told = {failure.detail for failure in failures}
    for alarm in summary.alarms:
        if alarm not in told:
            out.note(f"alarm: {alarm}", always=True)
    for gone in summary.removed:
        out.note(f"listed no more: {gone.filename}, first seen {gone.first_seen}", always=True)
    for host in summary.outside:
        out.note(f"refused: the child tried to reach {host}, not the index", always=True)
    out.data(
        {"exit_code": result.exit_code, "refused": result.refused, "summary": summary.to_dict()}
    )
