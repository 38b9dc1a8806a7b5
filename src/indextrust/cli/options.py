"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from indextrust.cli.output import Output

__all__ = [
    "FOLDER",
    "by_option",
    "common",
    "duration",
    "good_option",
    "index_option",
    "keys_folder",
    "keys_option",
    "online_log_option",
    "output",
    "queue_key_option",
]

F = TypeVar("F", bound=Callable[..., Any])

FOLDER = click.Path(path_type=Path, file_okay=True, dir_okay=True)
"""A path that a room of the library judges, not click: the rooms' errors are the clearer ones."""

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def duration(text: str) -> timedelta:
    """A number and its unit: ``90s``, ``10m``, ``12h``, ``30d``. The type of an option.

    Raises:
        click.BadParameter: anything else.
    """
    number, unit = text[:-1], _UNITS.get(text[-1:])
    if unit is None or not (number.isascii() and number.isdigit() and len(number) <= 6):
        raise click.BadParameter(
            f"expected a number and a unit, such as 90s, 10m, 12h or 30d, got {text!r}"
        )
    return timedelta(**{unit: int(number)})


def output() -> Output:
    """The running command's `Output`."""
    found = click.get_current_context().find_object(Output)
    assert found is not None  # noqa: S101 - run() gives every context one
    return found


def _set(attribute: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        found = ctx.find_object(Output)
        if found is not None and value:
            setattr(found, attribute, value)

    return callback


def common(function: F) -> F:
    """``--json``, ``-v`` and ``-q``, which every command has."""
    for option in (
        click.option(
            "--json",
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_set("json"),
            help="Print the result as one JSON object.",
        ),
        click.option(
            "-v",
            "--verbose",
            count=True,
            is_eager=True,
            expose_value=False,
            callback=_set("verbosity"),
            help="Say more on stderr; twice: tracebacks.",
        ),
        click.option(
            "-q",
            "--quiet",
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_set("quiet"),
            help="Print errors only.",
        ),
    ):
        function = option(function)
    return function


def keys_option(function: F) -> F:
    """``--keys DIR``: where the key files lie."""
    return click.option(
        "--keys",
        type=FOLDER,
        metavar="DIR",
        help="Folder of the key files.  [default: FOLDER-keys, beside the repository]",
    )(function)


def queue_key_option(function: F) -> F:
    """``--queue-key FILE``: where the key that vouches for the queue lies."""
    return click.option(
        "--queue-key",
        type=FOLDER,
        metavar="FILE",
        help="File of the key that vouches for the queue.  [default: queue.key in FOLDER]",
    )(function)


def online_log_option(function: F) -> F:
    """``--online-log FILE``: where each use of the online key is logged."""
    return click.option(
        "--online-log",
        type=FOLDER,
        metavar="FILE",
        help="File that each use of the online key is logged in.  [default: as the last time, or "
        "online.log in FOLDER]",
    )(function)


def good_option(function: F) -> F:
    """``--good CHECKPOINT``: what is known to be good."""
    return click.option(
        "--good", type=FOLDER, metavar="CHECKPOINT", help="What is known to be good: a checkpoint."
    )(function)


def by_option(function: F) -> F:
    """``--by NAME``: who is named in the log."""
    return click.option(
        "--by", metavar="NAME", help="Who is named in the log.  [default: the user of the system]"
    )(function)


def keys_folder(repository: Path, keys: Path | None) -> Path:
    """The folder given, or the default beside the repository (never inside it)."""
    if keys is not None:
        return keys
    absolute = repository.absolute()
    return absolute.with_name(f"{absolute.name}-keys")


def index_option(function: F) -> F:
    """``--index NAME``: which trusted index; needless with one."""
    return click.option(
        "--index",
        "index",
        metavar="NAME",
        help="The trusted index to use.  [default: the only one]",
    )(function)
