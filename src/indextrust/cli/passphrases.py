"""Passphrases: asked at the terminal, or read from files named key by key.

A passphrase is never an argument nor an environment value: both are visible to others on the
machine. A file that holds one must be readable by its owner alone; a pipe
(``--passphrase-file online=<(pass show index)``) has no such mode and is read as it is.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from indextrust.cli.options import output
from indextrust.errors import InputError, KeyFileError, PassphraseError

__all__ = ["Passphrases", "passphrase_option"]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
_MAX_LENGTH = 4096


class Passphrases:
    """Where each key's passphrase comes from.

    Args:
        files: key name to the file whose first line is its passphrase.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = dict(files)

    def only_for(self, names: list[str]) -> None:
        """Refuse files for keys that the command does not use: a typing error, most likely.

        Raises:
            InputError: a name that is not among `names`.
        """
        for name in self._files:
            if name not in names:
                raise InputError(f"--passphrase-file {name}=…: expected one of {', '.join(names)}")

    def of(self, name: str, *, create: bool = False) -> str:
        """The passphrase of key `name`.

        Args:
            name: the key's name, as in ``NAME.pem``.
            create: it protects a new key, so at a terminal it is asked twice.

        Raises:
            PassphraseError: none given and no terminal to ask at, or an empty one.
            KeyFileError: a passphrase file that can't be read or that others can read.
        """
        if name in self._files:
            passphrase = _first_line(self._files[name])
        elif sys.stdin.isatty():
            kind = "the new key" if create else "key"
            passphrase = _hidden(f"Passphrase for {kind} {name!r}", twice=create)
        else:
            raise PassphraseError(
                f"no passphrase for key {name!r}: give --passphrase-file {name}=PATH, "
                f"or run this at a terminal"
            )
        if not passphrase:
            raise PassphraseError(f"expected a passphrase for key {name!r}, got an empty one")
        return passphrase

    def attempt(self, name: str, action: Callable[[Callable[[str], str]], T]) -> T:
        """Do what needs a passphrase or PIN; at a terminal, ask again after a wrong one.

        How often is left to the person, who ends it with Ctrl-C, and to the token, which locks
        itself.

        Args:
            name: the key's name, for ``--passphrase-file``.
            action: is given a function that asks: it takes what is wanted (``PIN of token 'ann'``)
                and returns what was typed.

        Raises:
            PassphraseError: a wrong one from a file, or no terminal to ask at.
            KeyFileError: as `of`.
        """

        def ask(what: str) -> str:
            if name in self._files:
                return _first_line(self._files[name])
            if not sys.stdin.isatty():
                raise PassphraseError(
                    f"no {what}: give --passphrase-file {name}=PATH, or run this at a terminal"
                )
            return _hidden(f"Enter the {what}")

        while True:
            try:
                return action(ask)
            except PassphraseError as error:
                if name in self._files or not sys.stdin.isatty():
                    raise
                output().complain(error)


def _hidden(text: str, *, twice: bool = False) -> str:
    """What a person types without an echo. Raises KeyboardInterrupt: Ctrl-C or Ctrl-D."""
    _leave_no_core()
    try:
        typed: str = click.prompt(
            text,
            hide_input=True,
            confirmation_prompt=twice,
            err=True,
            default="",
            show_default=False,
        )
    except click.Abort:  # an error like others: whoever called us must not take it for one
        raise KeyboardInterrupt from None
    return typed


def _leave_no_core() -> None:
    """A crash of this process writes no memory image: a secret will be in it from now on."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _first_line(path: Path) -> str:
    _leave_no_core()
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_ISREG(mode) and mode & 0o077:
                raise KeyFileError(
                    f"{path}: expected a passphrase file that its owner alone can read, "
                    f"got mode {stat.S_IMODE(mode):04o}:  chmod 600 {path}"
                )
            data = file.readline(_MAX_LENGTH)
    except OSError as error:
        raise KeyFileError(f"{path}: can't read the passphrase: {error.strerror}") from error
    try:
        return data.rstrip(b"\r\n").decode("utf-8")
    except UnicodeDecodeError:
        # The bytes are a secret: nothing of them goes into the message.
        raise KeyFileError(f"{path}: expected a passphrase in UTF-8") from None


def _parse(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> Passphrases:
    files: dict[str, Path] = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not name or not equals or not path:
            # The value may be a passphrase typed in the wrong place: it is not repeated.
            raise InputError("--passphrase-file: expected NAME=PATH")
        files[name] = Path(path)
    return Passphrases(files)


def passphrase_option(function: F) -> F:
    """``--passphrase-file NAME=PATH``, once for each key."""
    return click.option(
        "--passphrase-file",
        "passphrases",
        multiple=True,
        metavar="NAME=PATH",
        callback=_parse,
        help="Read the passphrase of key NAME from the first line of a file. "
        "Otherwise it is asked.",
    )(function)
