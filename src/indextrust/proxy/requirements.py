"""Looking into requirements and constraints files for what would lead past the verified index.

They may hold options (``--index-url``, nested ``-r``) and direct URLs, and installers obey them.
A file is read here as pip reads it: continued lines joined, comments cut, ``${VARIABLES}``
expanded. It is read before the child reads it; whoever changes it in between is its owner.
"""

from __future__ import annotations

import codecs
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from indextrust.errors import InputError
from indextrust.proxy.arguments import Installer, check_words

__all__ = ["check_files"]

_COMMENT = re.compile(r"(^|\s+)#.*$")
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}", re.ASCII)
_CODING = re.compile(rb"^#.*?coding[:=]\s*([-\w.]+)")
_PYLOCK = re.compile(r"pylock\.([^.]+\.)?toml")
_OTHER_FORMATS = (".toml", ".py", ".cfg")


def check_files(
    files: Iterable[str], installer: Installer, *, folder: Path, env: Mapping[str, str]
) -> None:
    """Look into requirements files, and into those that they name.

    A ``pyproject.toml``, ``setup.py`` or script is not looked into: its sources and indexes are
    turned off by the environment, and a direct URL in it meets the closed door. A file that does
    not exist is left to the installer to complain about.

    Args:
        files: paths, absolute or relative to `folder`.
        installer: who will read them.
        folder: the directory the installer runs in.
        env: its environment, for the variables in them.

    Raises:
        InputError: a file that holds such an option or URL, that can't be read, that is not in
            UTF-8, or a lock file.
    """
    seen: set[Path] = set()
    to_read = [(folder, name) for name in files]
    while to_read:
        beside, name = to_read.pop()
        if name == "-":
            raise InputError("expected requirements in a file, got standard input: it is read once")
        path = beside / name
        if path in seen or not path.exists():
            continue
        seen.add(path)
        if _PYLOCK.fullmatch(path.name):
            raise InputError(
                f"{path}: a lock file names the addresses to fetch from, past the verified index"
            )
        if path.suffix in _OTHER_FORMATS:
            continue
        for number, line in _lines(_read(path), env):
            where = f"{path}, line {number}"
            found = check_words(_words(line, where), installer, where=where)
            to_read.extend((path.parent, name) for name in found.files)


def _read(path: Path) -> str:
    if not path.is_file():
        raise InputError(
            f"{path}: expected a regular file, so that it can be looked into before it is used"
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}") from error
    for line in data.split(b"\n")[:2]:
        named = _CODING.match(line)
        if named is not None and not _is_utf8(named[1].decode("ascii", "replace")):
            raise InputError(f"{path}: expected UTF-8, got a file that declares {named[1]!r}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected UTF-8: {error}") from None


def _is_utf8(encoding: str) -> bool:
    try:
        return codecs.lookup(encoding).name in ("utf-8", "ascii", "utf-8-sig")
    except LookupError:
        return False


def _lines(text: str, env: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Numbered logical lines: joined, without comments, variables expanded."""
    pending, start = "", 0
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        start = start if pending else number
        comment = _COMMENT.match(line)
        if line.endswith("\\") and not comment:
            pending += line.rstrip("\\")
            continue
        joined = _COMMENT.sub("", pending + (" " if comment else "") + line).strip()
        pending = ""
        if joined:
            yield start, _VARIABLE.sub(lambda match: env.get(match[1]) or match[0], joined)


def _words(line: str, where: str) -> list[str]:
    """Requirement words as they stand, then options split as a shell would (so does pip)."""
    words = line.split()
    options = next((at for at, word in enumerate(words) if word.startswith("-")), len(words))
    try:
        return [*words[:options], *shlex.split(" ".join(words[options:]))]
    except ValueError as error:
        raise InputError(f"{where}: can't be split into words: {error}") from None
