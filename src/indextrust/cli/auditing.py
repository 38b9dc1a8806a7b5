"""The commands for the day after: checkpoint, audit, repair. None of them signs.

``checkpoint make`` is for a timer; its digest is for paper. ``audit`` compares with a checkpoint
and says who queued what differs. ``repair`` puts damaged files back by their hash.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indextrust.cli.consent import checkpoint_digest_option, trusted_checkpoint
from indextrust.cli.exit_codes import AUDIT_ALARM, AUDIT_QUEUED
from indextrust.cli.options import FOLDER, common, output, queue_key_option
from indextrust.cli.output import on_one_line
from indextrust.errors import IndextrustError, InputError, StoreError

if TYPE_CHECKING:
    from indextrust.cli.audit_report import Report
    from indextrust.repository import Checkpoint, Repository
    from indextrust.repository.log import Log

__all__ = ["COMMANDS"]

_LARGEST_ROOT = 512_000


@click.group()
def checkpoint() -> None:
    """What was known to be good, to be kept off the server: make, list, verify, export, compare."""


@checkpoint.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--root",
    type=FOLDER,
    required=True,
    metavar="FILE",
    help="A root file of this index that is trusted, best the first one.",
)
@click.option(
    "--into", type=FOLDER, required=True, metavar="DIR", help="The folder that it is written to."
)
@click.option(
    "--keep-daily",
    type=click.IntRange(1),
    metavar="N",
    help="Remove older ones: keep the last of N days.  [default: keep all]",
)
@click.option(
    "--keep-weekly",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="With --keep-daily: keep the last of N weeks, too.",
)
@common
def make(folder: Path, root: Path, into: Path, keep_daily: int | None, keep_weekly: int) -> None:
    """Make a checkpoint of what FOLDER serves, and print its digest for paper.

    FOLDER: a repository, its public folder, or a copy of that on another machine. The same signed
    metadata gives the same digest everywhere.
    """
    from indextrust.repository.checkpoint_make import make_checkpoint
    from indextrust.repository.checkpoints import prune
    from indextrust.repository.disk import read_bounded
    from indextrust.repository.mirrors import FolderMirror

    out = output()
    data = read_bounded(root, _LARGEST_ROOT)
    if data is None:
        raise StoreError(f"{root}: no file of at most {_LARGEST_ROOT} bytes that can be read")
    if keep_weekly and keep_daily is None:
        raise InputError("--keep-weekly needs --keep-daily")
    if not into.is_dir():
        raise InputError(f"expected a folder for checkpoints, got {into}")
    with out.progress("projects") as step:
        made = make_checkpoint(FolderMirror(folder), data, into, datetime.now(UTC), step.advance)
    gone = []
    if keep_daily is not None:
        gone = prune(into, daily=keep_daily, weekly=keep_weekly)
    out.say(f"{made.path}: {made.size} bytes")
    _sheet(made.digest, made.snapshot_version, made.projects, made.files)
    for name in made.expired:
        out.say(f"warning: {name} has expired; a later set may be withheld")
    for path in gone:
        out.say(f"removed {path}")
    described = {**dataclasses.asdict(made), "path": str(made.path)}
    out.data({"made": described, "removed": [str(path) for path in gone]})


def _sheet(digest: str, snapshot: int, projects: int, files: int) -> None:
    for line in _sheet_lines(digest, snapshot, projects, files):
        output().say(line)


def _sheet_lines(digest: str, snapshot: int, projects: int, files: int) -> list[str]:
    from indextrust.ceremony.keyholders import spoken

    groups = spoken(digest)
    return [
        f"snapshot {snapshot}, {projects} projects, {files} files",
        "digest, for paper; whoever uses the checkpoint is asked for it:",
        groups,
    ]


@checkpoint.command("list")
@click.argument("folder", type=FOLDER)
@common
def list_(folder: Path) -> None:
    """List the checkpoints in FOLDER. Compare digests with paper, do not copy them from here."""
    from indextrust.ceremony.keyholders import spoken
    from indextrust.repository.checkpoints import kept_in

    found = kept_in(folder)
    for kept in found:
        files = "can't be read" if kept.files is None else f"{kept.files} files"
        output().say(
            f"{kept.made:%Y-%m-%d %H:%M}  snapshot {kept.snapshot_version}  {files}  "
            f"{kept.path.name}"
        )
        if kept.digest is not None:
            output().say(f"    {spoken(kept.digest)}")
    output().data(
        {
            "checkpoints": [
                {
                    **dataclasses.asdict(kept),
                    "path": str(kept.path),
                    "made": kept.made.isoformat(),
                }
                for kept in found
            ]
        }
    )


@checkpoint.command()
@click.argument("path", type=FOLDER, metavar="CHECKPOINT")
@checkpoint_digest_option
@common
def verify(path: Path, digest: str | None) -> None:
    """Read all of CHECKPOINT: it has this digest, and every document can be made of it."""
    with trusted_checkpoint(path, digest) as good, output().progress("verifying"):
        good.check()
        _whole(good)


def _whole(good: Checkpoint) -> None:
    output().say(
        f"{good.path}: whole; snapshot {good.snapshot_version}, {good.project_count} projects, "
        f"{good.file_count} files"
    )
    output().data(
        {
            "checkpoint": {
                "path": str(good.path),
                "digest": good.digest,
                "snapshot_version": good.snapshot_version,
                "projects": good.project_count,
                "files": good.file_count,
            }
        }
    )


@checkpoint.command()
@click.argument("path", type=FOLDER, metavar="CHECKPOINT")
@click.argument("target", type=FOLDER)
@checkpoint_digest_option
@click.option("--sheet", is_flag=True, help="Write the sheet with the digest, and nothing else.")
@common
def export(path: Path, target: Path, digest: str | None, sheet: bool) -> None:
    """Copy CHECKPOINT to TARGET, a stick or another machine's disk, and read the copy whole."""
    from indextrust.repository.checkpoint_make import place_new
    from indextrust.repository.checkpoints import export as copy

    with trusted_checkpoint(path, digest) as good, output().progress("exporting"):
        if sheet:
            counts = (good.snapshot_version, good.project_count, good.file_count)
            lines = _sheet_lines(good.digest, *counts)
            with place_new(target) as file:
                file.write("\n".join([path.name, *lines, ""]).encode())
        else:
            copy(good, target)
    output().say(f"{target}: written, and read again")
    output().data({"exported": str(target)})


@checkpoint.command()
@click.argument("good", type=FOLDER)
@click.argument("later", type=FOLDER)
@click.option(
    "--digest",
    "digests",
    multiple=True,
    metavar="SHA256|FILE",
    help="The digest of GOOD; a second time: of LATER.  [default: asked]",
)
@common
def compare(good: Path, later: Path, digests: tuple[str, ...]) -> int:
    """List what differs between two checkpoints, GOOD and LATER."""
    from indextrust.repository.comparison import compare_checkpoints

    if len(digests) not in (0, 2):
        raise InputError("give --digest twice, first that of GOOD, or not at all")
    first, second = digests or (None, None)
    out, counts = output(), {"added": 0, "changed": 0, "removed": 0}
    found: list[dict[str, str]] = []
    with trusted_checkpoint(good, first) as old, trusted_checkpoint(later, second) as new:
        for each in compare_checkpoints(old, new):
            counts[each.kind] += 1
            out.say(on_one_line(f"{each.kind} {each.path}"))
            if out.json:
                found.append({"kind": each.kind, "path": each.path})
    out.say(", ".join(f"{count} {kind}" for kind, count in counts.items()))
    out.data({"compared": {**counts, "differences": found}})
    return AUDIT_ALARM if any(counts.values()) else 0


_since_option = click.option(
    "--since",
    type=FOLDER,
    required=True,
    metavar="CHECKPOINT",
    help="The checkpoint that is known to be good.",
)


@click.command()
@click.argument("folder", type=FOLDER)
@_since_option
@checkpoint_digest_option
@click.option("--store", is_flag=True, help="Hash the stored files again, too.")
@click.option(
    "--sample",
    type=click.IntRange(1),
    metavar="N",
    help="With --store: hash N files, chosen at random.  [default: all]",
)
@click.option("--against", metavar="MIRROR", help="Compare with a mirror, too: a folder, or a URL.")
@click.option(
    "--report",
    type=FOLDER,
    multiple=True,
    metavar="FILE",
    help="Write a report: FILE.md or FILE.html; may be given twice.",
)
@queue_key_option
@common
def audit(
    folder: Path,
    since: Path,
    digest: str | None,
    store: bool,
    sample: int | None,
    against: str | None,
    report: tuple[Path, ...],
    queue_key: Path | None,
) -> int:
    """Compare what FOLDER serves with a checkpoint, and say who queued what differs.

    Changes nothing, and believes nothing of the database but entries of the log that the queue
    key vouches for.
    """
    from indextrust.cli.audit_report import verdict
    from indextrust.cli.mirrors import open_mirror

    if sample is not None and not store:
        raise InputError("--sample needs --store")
    for path in report:
        _check_report(path)
    mirror = None if against is None else open_mirror(against)
    with trusted_checkpoint(since, digest) as good:
        made = _audit(folder, good, queue_key, store, sample)
        if mirror is not None:
            from indextrust.repository.mirrored import compare_mirror
            from indextrust.repository.mirrors import FolderMirror

            with output().progress("mirror") as step:
                mirrored = compare_mirror(good, FolderMirror(folder), mirror, step.advance)
            made = dataclasses.replace(made, mirrored=mirrored, mirror=str(against))
    for path in report:
        _write_report(path, made)
    _show(made)
    output().say(verdict(made))
    return 0 if made.clean else AUDIT_QUEUED if made.explained else AUDIT_ALARM


def _opened(folder: Path, queue_key: Path | None) -> tuple[Repository | None, Log | str]:
    """The repository and its log; or None and why it can't be opened: an audit goes on."""
    from indextrust.repository import Repository

    try:
        repository = Repository.open(folder, queue_key=queue_key)
    except IndextrustError as error:
        return None, str(error)
    return repository, repository.transaction_log


def _audit(
    folder: Path, good: Checkpoint, queue_key: Path | None, store: bool, sample: int | None
) -> Report:
    from indextrust.cli.audit_report import Report
    from indextrust.repository.audited import audit as compared
    from indextrust.repository.mirrors import FolderMirror
    from indextrust.repository.stored import check_stored, expected_files

    out, now = output(), datetime.now(UTC).replace(microsecond=0)
    repository, log = _opened(folder, queue_key)
    served = FolderMirror(folder)
    with out.progress("projects", good.project_count) as step:
        audited = compared(good, served, log, now, step.advance)
    stored = None
    if store:
        with out.progress("files", sample) as step:
            if repository is not None:
                stored = repository.check_stored(
                    good, audited, sample=sample, progress=step.advance
                )
            else:
                stored = check_stored(
                    lambda: expected_files(good, audited),
                    good.layout,
                    served.folder,
                    sample=sample,
                    progress=step.advance,
                )
    return Report(audited, stored, None, "", now)


def _show(made: Report) -> None:
    from indextrust.cli.audit_report import Table, data, parts

    out = output()
    sections = list(parts(made))
    for number, (heading, section) in enumerate(sections):
        if number:
            out.say(f"\n{heading}")
        for part in section[1 if number == 0 else 0 :]:  # the verdict comes last
            if isinstance(part, Table):
                for row in part.rows:
                    out.say(on_one_line("  " + "  ".join(filter(None, row))))
            else:
                out.say(on_one_line(part))
    out.say("")
    out.data({"audit": data(made)})


def _check_report(path: Path) -> None:
    """Refuse a report that could not be written, before hours of work. Raises InputError."""
    if path.suffix not in (".md", ".html"):
        raise InputError(f"expected a report named FILE.md or FILE.html, got {path}")
    if path.exists():
        raise StoreError(f"{path} exists, and is never overwritten")
    if not path.absolute().parent.is_dir():
        raise InputError(f"expected a folder for the report, got {path.parent}")


def _write_report(path: Path, made: Report) -> None:
    from indextrust.cli.audit_report import markdown, page
    from indextrust.repository.checkpoint_make import place_new

    text = page(made) if path.suffix == ".html" else markdown(made)
    with place_new(path) as file:
        file.write(text.encode())


@click.command()
@click.argument("folder", type=FOLDER)
@_since_option
@checkpoint_digest_option
@click.option(
    "--from",
    "mirror",
    metavar="MIRROR",
    help="Where bytes come from that are nowhere here: a folder, or a URL.",
)
@queue_key_option
@common
def repair(
    folder: Path, since: Path, digest: str | None, mirror: str | None, queue_key: Path | None
) -> int:
    """Hash the stored files of FOLDER again, and put damaged ones back by their hash.

    Nothing is signed and no version changes. Bytes are believed for their hash alone, wherever
    they come from; what was found in their place goes to the quarantine.
    """
    from indextrust.cli.mirrors import open_mirror
    from indextrust.repository import Repository

    out = output()
    source = None if mirror is None else open_mirror(mirror)
    repository = Repository.open(folder, queue_key=queue_key)
    with trusted_checkpoint(since, digest) as good:
        with out.progress("projects", good.project_count) as step:
            audited = repository.audit_since(good, progress=step.advance)
        with out.progress("files") as step:
            stored = repository.check_stored(good, audited, progress=step.advance)
        with out.progress("repairing"):
            done = repository.refill(good, stored.damages, mirror=source)
    for path in done.restored:
        out.say(on_one_line(f"restored {path}"))
    for path, why in done.lost:
        out.say(on_one_line(f"lost {path}: {why}"))
    out.say(f"{len(done.restored)} files restored, {len(done.lost)} lost")
    described: dict[str, Any] = dataclasses.asdict(done)
    out.data({"repaired": described})
    return AUDIT_ALARM if done.lost else 0


COMMANDS: tuple[click.Command, ...] = (checkpoint, audit, repair)
