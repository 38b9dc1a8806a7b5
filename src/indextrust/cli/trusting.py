"""``indextrust trust``: which indexes this user trusts, and from which root.

An index is trusted from a root file that came by another way than the index itself, from the
fingerprint of one, or, where a person says so, from whatever the index shows first.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indextrust.cli.options import FOLDER, common, index_option, output
from indextrust.errors import InputError

if TYPE_CHECKING:
    from indextrust.client import TrustedIndex

__all__ = ["trust"]

_MAX_ROOT = 1_000_000

_root_option = click.option(
    "--root", type=FOLDER, metavar="FILE", help="A root file that reached you by a safe way."
)
_fingerprint_option = click.option(
    "--fingerprint", metavar="SHA256", help="The SHA-256 of the index's root, from its operator."
)


@click.group()
def trust() -> None:
    """Which indexes are trusted, and from which root."""


@trust.command()
@click.argument("name")
@click.argument("url")
@_root_option
@_fingerprint_option
@click.option(
    "--first-use",
    is_flag=True,
    help="Believe the root that the server shows now: safe only if nobody interferes today.",
)
@common
def add(name: str, url: str, root: Path | None, fingerprint: str | None, first_use: bool) -> None:
    """Trust the index at URL from now on, under NAME."""
    if sum((root is not None, fingerprint is not None, first_use)) != 1:
        raise InputError("expected exactly one of --root, --fingerprint and --first-use")
    from indextrust.client import TrustedIndexes

    indexes = TrustedIndexes.default()
    if root is not None:
        index = indexes.add(name, url, _read_root(root))
    elif fingerprint is not None:
        index = indexes.add_by_fingerprint(name, url, fingerprint)
    else:
        index = indexes.add_first_use(name, url)
    out = output()
    out.say(f"{index.name}: {index.url} is trusted from the root with sha256")
    out.say(f"  {index.fingerprint}")
    if first_use:
        out.say("compare it with what the operator publishes elsewhere")
    out.data({"trusted": _describe(index)})


@trust.command(name="list")
@common
def list_() -> None:
    """List the trusted indexes."""
    from indextrust.client import TrustedIndexes

    found = TrustedIndexes.default().list()
    out = output()
    if not found:
        out.say("no index is trusted yet: indextrust trust add NAME URL --root FILE")
    for index in found:
        out.say(f"{index.name}  {index.url}\n  root sha256 {index.fingerprint}")
    out.data({"indexes": [_describe(index) for index in found]})


@trust.command()
@click.argument("name")
@_root_option
@_fingerprint_option
@common
def reset(name: str, root: Path | None, fingerprint: str | None) -> None:
    """Start again from another root, after an incident.

    The metadata remembered for NAME is dropped. What was first seen of its files is kept: a
    changed file still raises the alarm.
    """
    if (root is None) == (fingerprint is None):
        raise InputError("expected exactly one of --root and --fingerprint")
    from indextrust.client import TrustedIndexes

    indexes = TrustedIndexes.default()
    index = indexes.reset(name, root=_read_root(root) if root else None, fingerprint=fingerprint)
    output().say(f"{index.name}: starts again from the root with sha256\n  {index.fingerprint}")
    output().data({"trusted": _describe(index)})


@trust.command()
@click.argument("filename")
@click.option(
    "--sha256",
    required=True,
    metavar="DIGEST",
    help="The digest to accept from now on, which you have compared with the operator's word.",
)
@index_option
@common
def acknowledge(filename: str, sha256: str, index: str | None) -> None:
    """Accept that FILENAME has another digest than the one first seen.

    Only for a change that the operator explains by a way that is not the index. What was seen
    before is kept on record.
    """
    from indextrust.client import TrustedIndexes

    TrustedIndexes.default().client(index).acknowledge(filename, sha256)
    output().say(f"{filename}: sha256 {sha256} is accepted from now on")
    output().data({"acknowledged": {"filename": filename, "sha256": sha256}})


def _read_root(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_ROOT + 1)
    except OSError as error:
        raise InputError(f"{path}: can't read the root file: {error.strerror}") from error
    if len(data) > _MAX_ROOT:
        raise InputError(f"{path}: expected a root file, got more than {_MAX_ROOT} bytes")
    return data


def _describe(index: TrustedIndex) -> dict[str, Any]:
    return {"name": index.name, "url": index.url, "fingerprint": index.fingerprint}
