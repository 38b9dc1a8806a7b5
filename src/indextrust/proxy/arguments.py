"""Reading an installer's command line for what would lead past the verified index. Pure.

The person at the keyboard is not the attacker here: an ``--index-url`` in a script, or a
``git+https`` requirement, would install something that nobody verified while the summary says
that all is well. So what is seen is refused, by name, before anything runs. What can't be seen
from here (a direct URL in a package's own metadata, a download in a build script) meets the
closed door instead; see `environment`.

What lies on this machine, a path or a ``file:`` URL, is the user's own and stays allowed.

Sources: the option tables of pip 26.3 and uv 0.13.9; pip's are read by optparse, which takes
unique beginnings of an option for the option.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from indextrust.client.urls import shown
from indextrust.errors import InputError

__all__ = ["Command", "Found", "Installer", "check_words", "read_command"]


class Installer(enum.Enum):
    """Who is run."""

    PIP = "pip"
    UV = "uv"


@dataclass(frozen=True)
class Command:
    """A command line in which nothing leads past the index.

    Args:
        argv: as it was given.
        installer: who is run.
        files: requirements and constraints files that it names, as written; not looked into.
            Those that the installer reads as a project (uv: a ``pyproject.toml``) are left out.
        directory: where the installer goes first (uv's ``--directory``), if anywhere.
    """

    argv: tuple[str, ...]
    installer: Installer
    files: tuple[str, ...]
    directory: str | None


@dataclass(frozen=True)
class Found:
    """What `check_words` came across.

    Args:
        files: requirements and constraints files, each with the long option that names it.
        positionals: what is not an option, and what could be the value of an unknown one.
    """

    files: tuple[tuple[str, str], ...]
    positionals: tuple[str, ...]


@dataclass(frozen=True)
class _Grammar:
    """What we know of an installer's options.

    Args:
        bypasses: long options that can't be let through, and what each would do.
        files: long options whose value is a requirements or constraints file.
        projects: file names that the options in `requirements`, on the command line, and no
            others take for another format than that of requirements files.
        requirements: see there.
        editable: the long option whose value is a requirement.
        values: other long options with a value, of those that may stand before the subcommand.
        short: short options with a value, as the long option they stand for; empty: any other.
        abbreviates: unique beginnings of long options are taken for them.
        subcommands: those that fetch something.
    """

    bypasses: Mapping[str, str]
    files: frozenset[str]
    projects: frozenset[str]
    requirements: frozenset[str]
    editable: str
    values: frozenset[str]
    short: Mapping[str, str]
    abbreviates: bool
    subcommands: frozenset[str]


_ELSEWHERE = "names another place to install from"
_NO_INDEX = "turns the index off"
_PROXY = "opens a way to other hosts"

_PIP = _Grammar(
    bypasses={
        "--index-url": _ELSEWHERE,
        "--pypi-url": _ELSEWHERE,
        "--extra-index-url": _ELSEWHERE,
        "--find-links": _ELSEWHERE,
        "--no-index": _NO_INDEX,
        "--isolated": "makes pip ignore the environment that names the verified index",
        "--proxy": _PROXY,
        "--no-proxy-env": _PROXY,
        "--trusted-host": "lets pip answer from its cache instead of asking",
    },
    files=frozenset({"--requirement", "--constraint", "--build-constraint"}),
    projects=frozenset(),
    requirements=frozenset(),
    editable="--editable",
    values=frozenset(
        {
            *("--python", "--log", "--log-file", "--local-log", "--keyring-provider", "--retries"),
            *("--resume-retries", "--timeout", "--default-timeout", "--exists-action", "--cert"),
            *("--client-cert", "--cache-dir", "--use-feature", "--use-deprecated"),
            *("--progress-bar", "--config-settings", "--refresh-package"),
        }
    ),
    short={
        "i": "--index-url",
        "f": "--find-links",
        "r": "--requirement",
        "c": "--constraint",
        "e": "--editable",
        **dict.fromkeys("tdwoC", ""),
    },
    abbreviates=True,
    subcommands=frozenset({"install", "download", "wheel", "index"}),
)
_UV = _Grammar(
    bypasses={
        "--index": _ELSEWHERE,
        "--default-index": _ELSEWHERE,
        "--index-url": _ELSEWHERE,
        "--extra-index-url": _ELSEWHERE,
        "--find-links": _ELSEWHERE,
        "--torch-backend": _ELSEWHERE,
        "--no-index": _NO_INDEX,
        "--config-file": "may name other indexes",
        "--allow-insecure-host": _PROXY,
        "--trusted-host": _PROXY,
    },
    files=frozenset(
        {
            *("--requirements", "--requirement", "--constraints", "--constraint"),
            *("--overrides", "--override", "--excludes", "--exclude"),
            *("--build-constraints", "--build-constraint"),
        }
    ),
    projects=frozenset({"pyproject.toml", "setup.py", "setup.cfg"}),
    requirements=frozenset({"--requirements", "--requirement"}),
    editable="--editable",
    values=frozenset(
        {
            *("--directory", "--project", "--cache-dir", "--color", "--cert"),
            *("--config-setting", "--config-settings", "--config-settings-package"),
        }
    ),
    short={
        "i": "--index-url",
        "f": "--find-links",
        "r": "--requirements",
        "c": "--constraints",
        "b": "--build-constraints",
        "e": "--editable",
        **dict.fromkeys("tpPoC", ""),
    },
    abbreviates=False,
    subcommands=frozenset({"install", "sync", "compile"}),
)
_GRAMMARS = {Installer.PIP: _PIP, Installer.UV: _UV}

_COMMAND_LINE = "command line"
_PYTHON = re.compile(r"(python|pypy)[\d.]*t?|py", re.ASCII)
_PIP_NAME = re.compile(r"pip[\d.]*", re.ASCII)
_PYTHON_VALUES = "XW"  # interpreter options with a value
# A VCS requirement, or any URL, alone or after the "name @" of a direct reference.
_REMOTE = re.compile(
    r"(?:[^@]*@\s*)?((?:git|hg|svn|bzr)\+.*|(?:https?|ftp|ssh):.*|[a-z][a-z0-9+.-]*://.*)",
    re.IGNORECASE | re.ASCII | re.DOTALL,
)
_LOCAL_FILE = re.compile(r"file:(///|//localhost/|/(?!/))", re.IGNORECASE)


def read_command(argv: Sequence[str]) -> Command:
    """Recognise pip or ``uv pip`` and look through the arguments.

    Known are ``pip`` and ``uv`` under their names and paths, ``python -m pip`` and
    ``python -m uv``.

    Raises:
        InputError: another program, a command of theirs that is not for this, an option or a
            requirement that would lead past the index. The message names it.
    """
    installer, arguments = _recognised(argv)
    grammar = _GRAMMARS[installer]
    before, subcommand, after = _at_positional(arguments, grammar)
    if installer is Installer.UV:
        if subcommand != "pip":
            raise InputError(
                f"expected 'uv pip ...', got 'uv {subcommand}': uv's project commands would write "
                f"the proxy's passing address into uv.lock"
            )
        between, subcommand, after = _at_positional(after, grammar)
        before = [*before, *between]
    if subcommand not in grammar.subcommands:
        raise InputError(
            f"expected {installer.value} with one of {sorted(grammar.subcommands)}, "
            f"got {subcommand!r}"
        )
    found = check_words([*before, *after], installer, where=_COMMAND_LINE)
    named = list(found.files)
    if installer is Installer.UV and subcommand in ("sync", "compile"):
        named.extend(("--requirements", name) for name in found.positionals)
    return Command(
        argv=tuple(argv),
        installer=installer,
        files=tuple(
            name
            for option, name in named
            if option not in grammar.requirements or PurePath(name).name not in grammar.projects
        ),
        directory=_value_of("--directory", [*before, *after]),
    )


def check_words(words: Iterable[str], installer: Installer, *, where: str) -> Found:
    """Look through options and requirements, of a command line or of a requirements file.

    A lone ``--`` is passed over: what stands behind it is looked at in the same way.

    Args:
        words: split as a shell would.
        installer: whose options they are.
        where: for the message.

    Raises:
        InputError: an option or a requirement that would lead past the index.
    """
    grammar = _GRAMMARS[installer]
    files: list[tuple[str, str]] = []
    positionals: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            continue
        if not word.startswith("-") or word == "-":
            _check_requirement(word, where)
            positionals.append(word)
            continue
        for option, value in _options(word, rest, grammar, where):
            if option in grammar.files:
                _check_requirement(value, where)
                files.append((option, value))
            elif option == grammar.editable:
                _check_requirement(value, where)
    return Found(tuple(files), tuple(positionals))


def _options(
    word: str, rest: Iterator[str], grammar: _Grammar, where: str
) -> Iterator[tuple[str, str]]:
    """Long names and values of the options in `word`; values are taken from `rest` if need be."""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        _check_option(name, name, grammar, where)
        if name in grammar.files or name == grammar.editable or name in grammar.values:
            yield name, value if equals else _next(rest, name, where)
        return
    for at, letter in enumerate(word[1:], start=1):
        if letter in grammar.short:
            name = grammar.short[letter]
            _check_option(name, f"-{letter}", grammar, where)
            value = word[at + 1 :].removeprefix("=")
            yield name, value or _next(rest, f"-{letter}", where)
            return


def _next(rest: Iterator[str], option: str, where: str) -> str:
    """The value of an option in the word after it. One that looks like an option is refused:
    whether it is one depends on the installer's version and subcommand."""
    value = next(rest, "")
    if value.startswith("-") and value != "-":
        raise InputError(f"{where}: expected a value after {option}, got {value!r}")
    return value


def _check_option(name: str, written: str, grammar: _Grammar, where: str) -> None:
    if name in grammar.bypasses:
        raise InputError(
            f"{where}: {written} {grammar.bypasses[name]}; leave it out, the verified index is "
            f"set for you"
        )
    if grammar.abbreviates and name not in grammar.values and len(name) > 2:
        watched = {*grammar.bypasses, *grammar.files, grammar.editable}
        meant = sorted(option for option in watched - {name} if option.startswith(name))
        if meant and name not in watched:
            raise InputError(f"{where}: {written} may be read as {meant[0]}; write options in full")


def _check_requirement(text: str, where: str) -> None:
    match = _REMOTE.fullmatch(text.strip())
    if match is None or _LOCAL_FILE.match(match[1]):
        return
    raise InputError(
        f"{where}: {shown(match[1])!r} would be fetched past the verified index; name the project "
        f"instead, or fetch it yourself and give its path"
    )


def _recognised(argv: Sequence[str]) -> tuple[Installer, list[str]]:
    """Who is run, and its own arguments."""
    if not argv:
        raise InputError("expected a pip or uv command to run, got nothing")
    program = _program(argv[0])
    arguments = list(argv[1:])
    if _PYTHON.fullmatch(program):
        program, arguments = _module(arguments)
    if _PIP_NAME.fullmatch(program):
        return Installer.PIP, arguments
    if program == "uv":
        return Installer.UV, arguments
    raise InputError(
        f"expected a pip or 'uv pip' command, got {argv[0]!r}: what else runs is not known"
    )


def _program(path: str) -> str:
    return PurePath(path).name.removesuffix(".exe")


def _module(arguments: list[str]) -> tuple[str, list[str]]:
    """What ``python ... -m MODULE`` runs, and its arguments; an empty name if it runs no module."""
    rest = iter(arguments)
    for word in rest:
        if not word.startswith("-") or word.startswith("--"):
            break
        for at, letter in enumerate(word[1:], start=1):
            if letter == "m":
                return word[at + 1 :] or next(rest, ""), list(rest)
            if letter == "c":
                return "", []
            if letter in _PYTHON_VALUES:
                if not word[at + 1 :]:
                    next(rest, "")
                break
    return "", []


def _at_positional(arguments: Sequence[str], grammar: _Grammar) -> tuple[list[str], str, list[str]]:
    """Split at the first argument that is neither an option nor an option's value.

    Raises:
        InputError: before it, an option that would lead past the index.
    """
    is_value = False
    for at, word in enumerate(arguments):
        if is_value:
            is_value = False
        elif word.startswith("-"):
            name = word.partition("=")[0]
            _check_option(name, name, grammar, _COMMAND_LINE)
            is_value = word in grammar.values
        else:
            return list(arguments[:at]), word, list(arguments[at + 1 :])
    return list(arguments), "", []


def _value_of(option: str, arguments: Sequence[str]) -> str | None:
    """The value of the last occurrence of a long option."""
    value = None
    for at, word in enumerate(arguments):
        if word.startswith(option + "="):
            value = word.partition("=")[2]
        elif word == option and at + 1 < len(arguments):
            value = arguments[at + 1]
    return value
