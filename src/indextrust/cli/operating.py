"""The operator's commands: add, import, remove, yank, publish, renew, restore, status, log.

``add``, ``import``, ``remove`` and ``yank`` queue changes and need no key. ``publish``, ``renew``
and ``restore`` sign, with the online key alone. A repository that one of them could not change is
as it was before.
"""

from __future__ import annotations

import dataclasses
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from indextrust.cli.genesis import init
from indextrust.cli.importing import import_command
from indextrust.cli.options import (
    FOLDER,
    by_option,
    common,
    keys_folder,
    keys_option,
    online_log_option,
    output,
    queue_key_option,
)
from indextrust.cli.signing import Signing, signing
from indextrust.names import project_of_filename

if TYPE_CHECKING:
    from indextrust.repository import LogEntry, Published

__all__ = ["COMMANDS", "report"]


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("files", type=FOLDER, nargs=-1, required=True, metavar="FILE...")
@by_option
@queue_key_option
@common
def add(folder: Path, files: tuple[Path, ...], queue_key: Path | None, by: str | None) -> None:
    """Queue wheels and sdists for the next publish. All of them, or on an error none."""
    from indextrust.repository import Repository

    out = output()
    repository = Repository.open(folder, queue_key=queue_key, by=by)
    with out.progress("reading files"):
        added = repository.add(*files)
    for file in added:
        out.say(f"{file.filename}  {file.project} {file.version}  sha256 {file.sha256}")
    out.say(f"{len(added)} queued; `indextrust publish` signs them")
    out.data({"added": [dataclasses.asdict(file) for file in added]})


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("filename")
@by_option
@queue_key_option
@common
def remove(folder: Path, filename: str, queue_key: Path | None, by: str | None) -> None:
    """Queue the removal of the file FILENAME from the index."""
    from indextrust.repository import Repository

    project = project_of_filename(filename)
    Repository.open(folder, queue_key=queue_key, by=by).remove(project, filename)
    out = output()
    out.say(f"{filename}: listed no more after the next publish")
    out.data({"removed": {"project": project, "filename": filename}})


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("filename")
@click.option("--reason", default="", metavar="TEXT", help="Shown to people who pin the file.")
@click.option("--undo", is_flag=True, help="Take an earlier yank back.")
@by_option
@queue_key_option
@common
def yank(
    folder: Path, filename: str, reason: str, undo: bool, queue_key: Path | None, by: str | None
) -> None:
    """Queue the yank of FILENAME (PEP 592): installed only where it is pinned exactly."""
    from indextrust.repository import Repository

    project = project_of_filename(filename)
    repository = Repository.open(folder, queue_key=queue_key, by=by)
    out = output()
    if undo:
        repository.unyank(project, filename)
        out.say(f"{filename}: yanked no more after the next publish")
    else:
        repository.yank(project, filename, reason)
        out.say(f"{filename}: yanked after the next publish")
    yanked = None if undo else reason
    out.data({"yanked": {"project": project, "filename": filename, "reason": yanked}})


@click.command()
@click.argument("folder", type=FOLDER)
@signing
@common
def publish(desk: Signing) -> None:
    """Sign and publish what is queued."""
    repository = desk.opened_to_sign()
    with output().progress("publishing"):
        published = repository.publish()
    report(published)


@click.command()
@click.argument("folder", type=FOLDER)
@signing
@common
def renew(desk: Signing) -> None:
    """Sign again what expires soon. To be run every few hours, by a timer."""
    repository = desk.opened_to_sign()
    with output().progress("renewing"):
        published = repository.renew()
    if published is None:
        output().say("nothing expires soon")
        output().data({"published": None})
    else:
        report(published)


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--above",
    type=click.IntRange(min=0),
    default=0,
    metavar="VERSION",
    help="Go on above this version too: the highest that a mirror or a client has seen.",
)
@signing
@common
def restore(desk: Signing, above: int) -> None:
    """Bring the public folder back to the state, and sign everything anew. Reads all of it.

    For a folder that somebody tampered with, and, with --above, for a server that was put back
    from a backup. If the online key was stolen: `recover`.
    """
    repository = desk.opened_to_sign()
    with output().progress("restoring"):
        published = repository.restore(above=above)
    report(published)


@click.command()
@click.argument("folder", type=FOLDER)
@keys_option
@queue_key_option
@online_log_option
@common
def status(
    folder: Path, keys: Path | None, queue_key: Path | None, online_log: Path | None
) -> None:
    """Show versions, expiries, what is queued, and warnings."""
    from indextrust.repository import Repository

    repository = Repository.open(folder, queue_key=queue_key, online_log=online_log)
    found = repository.status(keys=keys_folder(folder, keys))
    out = output()
    if found.frozen is not None:
        out.say(f"FROZEN: {found.frozen}")
    out.table(
        ("role", "version", "expires"),
        [
            (role.name, str(role.version), _time(role.expires) or "to be signed")
            for role in found.roles
        ],
    )
    out.say(
        f"{found.projects} projects, {found.files} files in {found.bins} bins, "
        f"layout {found.layout}"
    )
    if found.retired:
        out.say(f"{found.retired} old bins are listed until the online key is replaced")
    if found.sha256_only is not None:
        out.say(f"SHA-512 is listed beside SHA-256, but for {found.sha256_only} files")
    out.say(f"{found.queued} changes queued")
    if found.interrupted:
        out.say("a publication was interrupted: the next one completes it")
    if (uses := found.uses) is not None:
        out.say(
            f"the online key was used {uses.count} times, {uses.last_day} in the last day and "
            f"{uses.last_week} in the last week"
        )
    for warning in found.warnings:
        out.say(f"warning: {warning}")
    roles = [
        {"name": role.name, "version": role.version, "expires": _time(role.expires)}
        for role in found.roles
    ]
    out.data({"status": {**dataclasses.asdict(found), "roles": roles}})


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--project", metavar="PROJECT", help="Only what was asked for this project.")
@click.option(
    "--since",
    type=click.IntRange(min=1),
    metavar="SNAPSHOT",
    help="Only what came after this version of the snapshot.",
)
@queue_key_option
@common
def log(folder: Path, project: str | None, since: int | None, queue_key: Path | None) -> None:
    """Show who asked for what, when, and with which snapshot it was published.

    Every entry is verified before it is shown. With --json: one object on each line.
    """
    from indextrust.repository import Repository

    out = output()
    for entry in Repository.open(folder, queue_key=queue_key).log(project, since):
        out.say(_line(entry))
        out.data({"entry": dataclasses.asdict(entry)})


COMMANDS: tuple[click.Command, ...] = (
    init,
    add,
    import_command,
    remove,
    yank,
    publish,
    renew,
    restore,
    status,
    log,
)


_OF_A_BIN = re.compile(r"metadata/[0-9]+\.bin-[0-9a-f]+\.json", re.ASCII)


def report(published: Published) -> None:
    out = output()
    if published.nothing_to_do:
        out.say("nothing to do")
    else:
        out.say(
            f"published snapshot {published.snapshot_version}: {published.added} files added, "
            f"{published.removed} removed, {published.changed} changed; "
            f"{len(published.signed)} roles signed"
        )
    if published.rehashed:
        out.say(f"{published.rehashed} files are listed with SHA-512 too from now on")
    bins = [path for path in published.repaired if _OF_A_BIN.fullmatch(path)]
    for path in sorted({*published.repaired}.difference(bins)):
        out.say(f"repaired: {path} was not as it should be")
    if bins:  # after a re-binning and a theft these are all old bins: they would hide the others
        out.say(f"set aside: {len(bins)} files of bins that nothing lists, as {bins[0]}")
    for warning in published.warnings:
        out.say(f"warning: {warning}")
    if published.lost != 0:
        lost = "an unknown number of" if published.lost is None else published.lost
        out.say(f"lost: the state was an older copy: {lost} entries of its log are missing")
    out.data({"published": dataclasses.asdict(published)})


def _line(entry: LogEntry) -> str:
    """An entry of the log as people read it."""
    parts = [str(entry.number), entry.time, entry.who, entry.what]
    if entry.filename is not None:
        parts.append(entry.filename)
        if entry.sha256 is not None:
            parts.append(f"sha256 {entry.sha256}")
        parts.append(_where(entry))
    elif entry.files is not None:
        parts += [f"{entry.files} files of {entry.project}", _where(entry)]
    elif entry.what in {"freeze", "thaw"}:
        parts.append(f"{entry.reason}")
    elif entry.what == "restore" and entry.lost != 0:
        parts.append(f"{'unknown' if entry.lost is None else entry.lost} entries lost")
    elif entry.publication is not None:
        numbers = {"snapshot": entry.snapshot, "timestamp": entry.timestamp}
        parts += [f"{role} {number}" for role, number in numbers.items() if number is not None]
    return "  ".join(parts)


def _where(entry: LogEntry) -> str:
    return "waits" if entry.publication is None else f"snapshot {entry.snapshot}"


def _time(when: datetime | None) -> str | None:
    return None if when is None else when.isoformat(timespec="seconds")
