"""The commands that keep a repository in order: collect, check, rehash, rebuild. None signs.

``collect`` is for a timer, as ``renew`` is; ``check`` for whenever one wants to know; ``rehash``
for the months in which an index goes over to another hash; ``rebuild`` for the day on which the
database is lost.
"""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import click

from indextrust.cli.consent import checkpoint_digest_option, trusted_checkpoint
from indextrust.cli.exit_codes import exit_code
from indextrust.cli.options import (
    FOLDER,
    by_option,
    common,
    good_option,
    online_log_option,
    output,
    queue_key_option,
)
from indextrust.errors import AlteredStateError, StoreError

__all__ = ["COMMANDS"]

_LARGEST_ROOT = 512_000


@click.command()
@click.argument("folder", type=FOLDER)
@queue_key_option
@common
def collect(folder: Path, queue_key: Path | None) -> None:
    """Remove superseded metadata and targets, an hour after they were. To be run every hour."""
    from indextrust.repository import Repository

    out = output()
    with out.progress("collecting"):
        collected = Repository.open(folder, queue_key=queue_key).collect()
    out.say(
        f"{collected.metadata} metadata files and {collected.targets} target files removed; "
        f"snapshots from version {collected.oldest_snapshot} on are kept"
    )
    out.data({"collected": dataclasses.asdict(collected)})


@click.command()
@click.argument("folder", type=FOLDER)
@queue_key_option
@online_log_option
@common
def check(folder: Path, queue_key: Path | None, online_log: Path | None) -> int:
    """Compare state, signed metadata, logs and stored files. Reads everything, changes nothing."""
    from indextrust.repository import Repository

    out = output()
    with out.progress("checking"):
        checked = Repository.open(folder, queue_key=queue_key, online_log=online_log).check()
    for difference in checked.differences:
        out.say(f"{difference.kind}: {difference.where}: {difference.what}")
    if (more := checked.count - len(checked.differences)) > 0:
        out.say(f"and {more} more")
    out.say(
        f"{checked.entries} entries of the log, {checked.bins} bins, {checked.projects} projects, "
        f"{checked.files} files of {checked.size} bytes: {checked.count or 'no'} differences"
    )
    out.data({"checked": dataclasses.asdict(checked)})
    return 0 if checked.clean else exit_code(AlteredStateError())


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--root",
    type=FOLDER,
    required=True,
    metavar="FILE",
    help="A root file of this index that is trusted, best the first one.",
)
@good_option
@checkpoint_digest_option
@by_option
@queue_key_option
@common
def rebuild(
    folder: Path,
    root: Path,
    good: Path | None,
    digest: str | None,
    queue_key: Path | None,
    by: str | None,
) -> None:
    """Make the state database anew from the signed metadata in the public folder.

    What was queued and not published is lost. The old database is kept in the quarantine. With
    --good, where a thief may have signed: the state is made of the checkpoint; then `recover`.
    """
    from indextrust.repository import Repository
    from indextrust.repository.disk import read_bounded

    out = output()
    data = read_bounded(root, _LARGEST_ROOT)
    if data is None:
        raise StoreError(f"{root}: no file of at most {_LARGEST_ROOT} bytes that can be read")
    with contextlib.ExitStack() as stack:
        opened = None if good is None else stack.enter_context(trusted_checkpoint(good, digest))
        with out.progress("rebuilding"):
            rebuilt = Repository.rebuild(folder, data, queue_key=queue_key, by=by, good=opened)
    out.say(
        f"rebuilt from snapshot {rebuilt.snapshot_version} (timestamp "
        f"{rebuilt.timestamp_version}): {rebuilt.projects} projects, {rebuilt.files} files"
    )
    lost = "unknown" if rebuilt.lost_changes is None else rebuilt.lost_changes
    out.say(f"lost: changes that were queued and not published: {lost}")
    if rebuilt.taken_over is None:
        out.say("lost: which file names removed files had: they could be used for other bytes")
    for name in rebuilt.expired:
        out.say(f"warning: {name} has expired; a later set may be withheld")
    for text in rebuilt.named:
        out.say(f"warning: {text}")
    if rebuilt.aside is not None:
        out.say(f"what was there of the old state is kept in {rebuilt.aside}")
    if good is None:
        out.say("compare with a checkpoint before the next publish, if there is one")
    else:
        out.say("what came after the checkpoint is not in it: `recover` asks about each file")
    aside = None if rebuilt.aside is None else str(rebuilt.aside)
    out.data({"rebuilt": {**dataclasses.asdict(rebuilt), "aside": aside}})


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--files",
    type=click.IntRange(min=1),
    default=1_000,
    show_default=True,
    metavar="N",
    help="How many published files to read in this step, at most.",
)
@by_option
@queue_key_option
@common
def rehash(folder: Path, files: int, queue_key: Path | None, by: str | None) -> int:
    """List SHA-512 beside SHA-256: of all that is new from now on, and of N more files.

    One step of PEP 458's hash transition. Repeat it, and publish, until it says that nothing is
    left. There is no way back to SHA-256 alone.
    """
    from indextrust.repository import Repository

    out = output()
    with out.progress("reading files"):
        step = Repository.open(folder, queue_key=queue_key, by=by).rehash(files)
    out.say(
        f"{step.files} files of {step.projects} projects queued, {step.size} bytes read; "
        f"`indextrust publish` signs them"
    )
    for name in step.left_out:
        out.say(
            f"left out: {name}: its private copy is missing or damaged, or its project's document "
            f"would be too large for clients"
        )
    if step.more:
        out.say("there are more: run it again")
    else:
        out.say("nothing is left" + (" but those left out" if step.left_out else ""))
    if step.elsewhere:
        out.say(
            f"{step.elsewhere} files keep SHA-256 alone: their bytes are served elsewhere, or "
            f"their names are too long"
        )
    out.data({"rehashed": dataclasses.asdict(step)})
    return exit_code(StoreError()) if step.left_out else 0


COMMANDS: tuple[click.Command, ...] = (collect, check, rehash, rebuild)
