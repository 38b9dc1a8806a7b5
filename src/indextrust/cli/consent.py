"""A person's word that a digest on the screen is the one on paper."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from indextrust.errors import CheckpointError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from indextrust.repository import Checkpoint

__all__ = ["checkpoint_digest_option", "trusted_checkpoint", "typed_groups"]

F = TypeVar("F", bound="Callable[..., Any]")

_GROUPS = 3
"""Groups of a digest that are typed to agree. Which ones, nobody knows before: two files whose
digests begin alike are made in seconds."""


def typed_groups(digest: str, text: str) -> bool:
    """Ask at the terminal for some groups of a digest.

    Args:
        digest: in groups, with blanks between them.
        text: the question; ``{groups}`` stands for the numbers of the groups.

    Returns:
        Whether they were typed.
    """
    groups = digest.split()
    picked = sorted(secrets.SystemRandom().sample(range(len(groups)), _GROUPS))
    *first, last = (str(number + 1) for number in picked)
    question = text.replace("{groups}", f"{', '.join(first)} and {last}")
    typed: str = click.prompt(question, err=True, default="", show_default=False)
    return "".join(typed.split()).lower() == "".join(groups[number] for number in picked)


def checkpoint_digest_option(function: F) -> F:
    """``--digest SHA256|FILE``: by what a checkpoint is trusted."""
    return click.option(
        "--digest",
        metavar="SHA256|FILE",
        help="The digest of the checkpoint, or a file that has it, from where the server is "
        "not.  [default: asked]",
    )(function)


def trusted_checkpoint(path: Path, digest: str | None) -> Checkpoint:
    """Open a checkpoint by the digest that a person has.

    Args:
        path: its file.
        digest: the digest, or the path of a file that has it; None to ask at the terminal.

    Raises:
        CheckpointError: another checkpoint, or none.
        InputError: no digest was given, and nobody can be asked.
        StoreError: it can't be read.
    """
    from indextrust.ceremony.keyholders import spoken
    from indextrust.repository import Checkpoint, read_checkpoint

    if digest is not None:
        return read_checkpoint(path, _digest(digest))
    if not sys.stdin.isatty():
        raise InputError(
            "a checkpoint is trusted by its digest alone: give --digest, or run this at a terminal"
        )
    opened = Checkpoint.open(path, None)
    name = path.name.replace("{", "").replace("}", "")
    question = (
        f"From your paper, type the groups {{groups}} of the digest of {name}; anything else stops"
    )
    if typed_groups(spoken(opened.digest), question):
        return opened
    opened.close()
    raise CheckpointError("this is not the checkpoint on your paper", where=str(path))


def _digest(text: str) -> str:
    """A digest, or that in a small file. Raises InputError."""
    from indextrust.repository.checkpoint import parse_digest
    from indextrust.repository.disk import read_bounded

    try:
        return parse_digest(text)
    except InputError:
        data = read_bounded(text, 10_000) if "\0" not in text else None
        if data is None:
            raise
    return parse_digest(_found(data.decode("ascii", "replace")))


def _found(text: str) -> str:
    """The digest on a sheet: its line that has nothing else; or all of a file."""
    for line in text.splitlines():
        if len(digits := "".join(line.split())) == 64 and digits.isalnum():
            return digits
    return text
