"""Looking into requirements and constraints files for what would lead past the verified index.

They may hold options (``--index-url``, nested ``-r``) and direct URLs, and installers obey them.
A file is read here as pip reads it: continued lines joined, comments cut, ``${VARIABLES}``
expanded. It is read before the child reads it; whoever changes it in between is its owner.
"""

from __future__ import annotations

import codecs
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urljoin, urlsplit
from urllib.request import url2pathname

from indextrust.errors import InputError
from indextrust.proxy.arguments import Installer, check_words

__all__ = ["check_files"]

_COMMENT = re.compile(r"(^|\s+)#.*$")
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}", re.ASCII)
_CODING = re.compile(rb"^#.*?coding[:=]\s*([-\w.]+)")
_PYLOCK = re.compile(r"pylock\.([^.]+\.)?toml")
_SCRIPT = re.compile(r"^# /// script\s*$", re.MULTILINE)


def check_files(
    files: Iterable[str], installer: Installer, *, folder: Path, env: Mapping[str, str]
) -> None:
    """Look into requirements files, and into those that they name.

    What a name ends in does not matter: installers read ``x.cfg`` as any other file. What they
    read as a project, such as uv's ``-r pyproject.toml``, is not for this: `read_command` leaves
    it out. Its sources and indexes are turned off by the environment, and a direct URL in it
    meets the closed door. A file that does not exist is left to the installer to complain about.

    Args:
        files: paths or ``file:`` URLs, absolute or relative to `folder`.
        installer: who will read them.
        folder: the directory the installer runs in.
        env: its environment, for the variables in them.

    Raises:
        InputError: a file that holds such an option or URL, that can't be read, that is not in
            UTF-8, a lock file, or a script with requirements of its own (PEP 723).
    """
    seen: set[tuple[bool, Path]] = set()
    to_read = [_beside(f"{folder}/", name) for name in files]
    while to_read:
        place = to_read.pop()
        path = _path(place)
        # Read twice, it means the same if its folder is the same, by whatever way.
        known = (_is_url(place), path.parent.resolve() / path.name)
        if known in seen or not path.exists():
            continue
        seen.add(known)
        if _PYLOCK.fullmatch(path.name):
            raise InputError(
                f"{path}: a lock file names the addresses to fetch from, past the verified index"
            )
        text = _read(path)
        if _is_url(place) and not text.isascii():
            raise InputError(f"{path}: expected ASCII in what is named by a URL; give its path")
        if installer is Installer.UV and _SCRIPT.search(text):
            raise InputError(f"{path}: expected a requirements file, got a script (PEP 723)")
        for number, line in _lines(text, env):
            where = f"{path}, line {number}"
            found = check_words(_words(line, where), installer, where=where)
            to_read.extend(_beside(place, name) for _, name in found.files)


def _beside(place: str, name: str) -> str:
    """What `name` means in the file at `place`: a path, or a URL where either is one (as pip)."""
    if name == "-":
        raise InputError("expected requirements in a file, got standard input: it is read once")
    if _is_url(name):
        return name
    if _is_url(place):
        return urljoin(place, name)
    return os.path.join(os.path.dirname(place), name)


def _is_url(place: str) -> bool:
    return place.lower().startswith("file:")


def _path(place: str) -> Path:
    return Path(url2pathname(urlsplit(place).path) if _is_url(place) else place)


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
            pending += line.strip("\\")  # at both ends: so does pip's join_lines
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
