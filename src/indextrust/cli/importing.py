"""``indextrust import``: another index's files, or a table of files, into the queue at once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from indextrust.cli.options import FOLDER, by_option, common, output, queue_key_option

__all__ = ["import_command"]


@click.command("import")
@click.argument("folder", type=FOLDER)
@click.argument("sources", type=FOLDER, nargs=-1, required=True, metavar="SOURCE...")
@by_option
@queue_key_option
@common
def import_command(
    folder: Path, sources: tuple[Path, ...], queue_key: Path | None, by: str | None
) -> None:
    """Queue many files whose bytes you serve yourself. All of them, or on an error none.

    SOURCE: a .jsonl or .csv file with filename, sha256, size and upload_time of each, and
    optionally name, requires_python, metadata_sha256, metadata_size, yanked, sha512 and
    metadata_sha512; a JSON page of another index (PEP 691); or a folder of such pages.
    """
    from indextrust.repository import Repository

    out = output()
    repository = Repository.open(folder, queue_key=queue_key, by=by)
    with out.progress("importing", _size(sources)) as step:
        imported = repository.import_files(*sources, progress=step.advance)
    out.say(
        f"{imported.files} files of {imported.projects} projects queued, "
        f"{imported.present} were there already; `indextrust publish` signs them"
    )
    if imported.left_out:
        out.say(f"{imported.left_out} left out: no wheels or sdists, installers pass over them")
    out.data({"imported": dataclasses.asdict(imported)})


def _size(sources: tuple[Path, ...]) -> int | None:
    """Bytes to be read; None if there is a folder among them."""
    if not all(source.is_file() for source in sources):
        return None
    return sum(source.stat().st_size for source in sources)
