"""Rows to import, read from files: what another index, or a table, says of its files.

Three kinds of file, told by their names:

* ``.jsonl``: one JSON object on each line, in UTF-8;
* ``.csv``: a header, then rows; an empty field is one that is not given;
* ``.json``, ``.v1_json``: a project's page of another index (PEP 691), or a folder of such pages
  as mirrors lay them out (``simple/<project>/index.v1_json``, ``index.json``).

Tables have the fields of `FIELDS`, and no other: a misspelt name would be lost unnoticed. A row
is held to what `add` asks of a file: its project and version are those in its name. Pages may have
more fields, as PEP 691 says; files on them that no installer takes (eggs, installers of old) are
left out and counted.

A row may have the SHA-512 of its file, which is listed where the index lists both: `add` computes
it, here it is the operator's word as the SHA-256 is. A row without stays without.

Nothing is remembered from one row to the next, so memory is bounded by the longest line or page.

Sources: PEP 691, 700 (sizes, upload times), 592 (yanks), 658 and 714 (core metadata).
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

from packaging.utils import canonicalize_name

from indextrust.distribution import DistributionFile, is_plain_text
from indextrust.errors import InputError, StoreError
from indextrust.names import Layout, has_room_for_sha512, parse_filename
from indextrust.repository.changes import Add, yank_reason
from indextrust.repository.disk import open_regular
from indextrust.repository.inspect import MAX_SIZE

__all__ = ["FIELDS", "LeftOut", "Row", "Source", "sources"]

FIELDS = (
    *("filename", "sha256", "size", "upload_time", "name", "project"),
    *("requires_python", "metadata_sha256", "metadata_size", "yanked"),
    *("sha512", "metadata_sha512"),
)
"""Of a row; the first four are needed."""

_KNOWN = frozenset(FIELDS)
_NEEDED = frozenset(FIELDS[:4])
_NUMBERS = ("size", "metadata_size")
_MAX_LINE = 1 << 20
_MAX_PAGE = 1 << 28
_MAX_METADATA = 1 << 28
_PAGES = (".v1_json", ".json")


class Row(NamedTuple):
    """A file to be listed, and where it was read.

    Args:
        add: the file.
        position: in its source (`Source.where`).
    """

    add: Add
    position: int


class LeftOut(NamedTuple):
    """A file on a page that no installer would take; `position` as in `Row`."""

    position: int


class Source:
    """One file to import.

    Args:
        path: a regular file.
        layout: whether core metadata are targets, so that their sizes are needed.
        both: whether the index lists SHA-512.

    Raises:
        InputError: a name of no known kind.
    """

    def __init__(self, path: Path, layout: Layout, *, both: bool = False) -> None:
        self.path = path
        self._file: BufferedReader | None = None
        self._size = 0
        self._layout = layout
        self._both = both
        self._is_page = path.name.endswith(_PAGES)
        if not self._is_page and path.suffix not in (".jsonl", ".csv"):
            raise InputError(f"{path}: expected a .jsonl, .csv, .json or .v1_json file")

    def where(self, position: int) -> str:
        """A position in words: ``files.jsonl, line 3``."""
        return f"{self.path}, {f'files[{position}]' if self._is_page else f'line {position}'}"

    @property
    def at(self) -> int:
        """Bytes that were read, more or less."""
        return self._size if self._file is None or self._file.closed else self._file.tell()

    def rows(self) -> Iterator[Row | LeftOut]:
        """The rows in the order of the file.

        Raises:
            InputError: with the place of the first row that can't be imported.
            DistributionError: not a regular file.
            StoreError: it can't be read.
        """
        with open_regular(self.path) as file:
            self._file, self._size = file, os.fstat(file.fileno()).st_size
            try:
                if self._is_page:
                    yield from self._page(file)
                else:
                    trees = _csv(file) if self.path.suffix == ".csv" else _jsonl(file)
                    for position, tree in trees:
                        yield Row(self._add(tree, position), position)
            except _BadRowError as error:
                raise InputError(f"{self.where(error.position)}: {error}") from None
            except OSError as error:
                raise StoreError(f"can't read {self.path}: {error.strerror}") from error

    def _add(self, tree: Any, position: int) -> Add:
        try:
            return _file(tree, self._layout, self._both)
        except InputError as error:
            raise _BadRowError(position, str(error)) from None

    def _page(self, file: BufferedReader) -> Iterator[Row | LeftOut]:
        data = file.read(_MAX_PAGE + 1)
        if len(data) > _MAX_PAGE:
            raise InputError(f"{self.path}: a page of more than {_MAX_PAGE} bytes")
        try:
            page = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self.path}: not JSON: {error}") from None
        if isinstance(page, dict) and "projects" in page and "files" not in page:
            return  # the list of all projects, which mirrors keep beside the pages
        name, files = _page_head(page, self.path)
        for position, entry in enumerate(files):
            filename = entry.get("filename") if isinstance(entry, dict) else None
            if isinstance(filename, str) and not _is_distribution(filename):
                yield LeftOut(position)
            else:
                try:
                    tree = _fields(name, entry, self._layout)
                except InputError as error:
                    raise _BadRowError(position, str(error)) from None
                yield Row(self._add(tree, position), position)


def sources(paths: Sequence[Path], layout: Layout, *, both: bool = False) -> Iterator[Source]:
    """The files to import, those of a folder in the order of their names.

    Raises:
        InputError: no such file, a name of no known kind, or a folder without a page.
    """
    for path in paths:
        if not path.is_dir():
            yield Source(path, layout, both=both)
            continue
        found = False
        for folder, folders, names in os.walk(path, onerror=_raise):
            folders.sort()
            for name in sorted(names):
                twin = name == "index.json" and "index.v1_json" in names
                if name.endswith(_PAGES) and not twin:
                    found = True
                    yield Source(Path(folder, name), layout, both=both)
        if not found:
            raise InputError(f"{path}: a folder without a page (.json, .v1_json)")


def _raise(error: OSError) -> None:
    raise StoreError(f"can't read {error.filename}: {error.strerror}") from error


class _BadRowError(Exception):
    """A row that can't be imported, by its position."""

    def __init__(self, position: int, message: str) -> None:
        super().__init__(message)
        self.position = position


# -- the three kinds -----------------------------------------------------------------------------


def _jsonl(file: BufferedReader) -> Iterator[tuple[int, Any]]:
    number = 0
    while line := file.readline(_MAX_LINE + 1):
        number += 1
        if len(line) > _MAX_LINE:
            raise _BadRowError(number, f"a line of more than {_MAX_LINE} bytes")
        if line.isspace():
            continue
        try:
            tree = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise _BadRowError(number, f"not JSON: {error}") from None
        if not isinstance(tree, dict):
            raise _BadRowError(number, f"expected an object, got {type(tree).__name__}")
        yield number, tree


class _Lines:
    """The lines of a table; those of one record are not endless."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self._read = 0

    def record(self) -> None:
        """A record begins."""
        self._read = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._file.readline(_MAX_LINE + 1)
        self._read += len(line)
        if self._read > _MAX_LINE:
            raise csv.Error(f"a record of more than {_MAX_LINE} bytes")
        if not line:
            raise StopIteration
        return line.decode("utf-8")


def _csv(file: BufferedReader) -> Iterator[tuple[int, Any]]:
    lines = _Lines(file)
    reader = csv.reader(lines, strict=True)
    header: list[str] | None = None
    try:
        for row in reader:
            lines.record()
            if header is None:
                header = row
                if len(set(header)) < len(header) or not _NEEDED <= {*header} <= _KNOWN:
                    raise _BadRowError(
                        1, f"expected a header of {', '.join(FIELDS)}, got {header!r:.300}"
                    )
            elif len(row) != len(header):
                raise _BadRowError(
                    reader.line_num, f"expected {len(header)} fields, as the header, got {len(row)}"
                )
            else:
                tree: dict[str, Any] = {k: v for k, v in zip(header, row, strict=True) if v}
                for name in _NUMBERS:
                    text = tree.get(name, "x")
                    if text.isascii() and text.isdigit() and len(text) < 20:
                        tree[name] = int(text)
                if (flag := tree.get("yanked", "").lower()) in ("true", "false"):
                    tree["yanked"] = flag == "true"  # a table has no other way to write one
                yield reader.line_num, tree
    except (csv.Error, UnicodeDecodeError) as error:
        raise _BadRowError(reader.line_num + 1, f"not CSV in UTF-8: {error}") from None


def _page_head(page: Any, path: Path) -> tuple[str, list[Any]]:
    """Name and files of a project's page. Raises InputError."""
    if isinstance(page, dict):
        meta, name, files = page.get("meta"), page.get("name"), page.get("files")
        version = meta.get("api-version") if isinstance(meta, dict) else None
        is_known = isinstance(version, str) and version.partition(".")[0] == "1"
        if is_known and isinstance(name, str) and isinstance(files, list):
            return name, files
    raise InputError(f"{path}: expected the page of a project (PEP 691, api-version 1.x)")


def _fields(name: str, entry: Any, layout: Layout) -> Mapping[str, Any]:
    """The fields of a row, from a file on a page. Raises InputError.

    A page does not tell the size of core metadata. Where these are targets the file is listed
    without them.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("hashes"), dict):
        raise InputError("expected a file with its hashes")
    core = entry.get("core-metadata", entry.get("dist-info-metadata"))
    if not isinstance(core, dict) or layout == "pep458":
        core = {}
    tree = {
        "filename": entry.get("filename"),
        "sha256": entry["hashes"].get("sha256"),
        "size": entry.get("size"),
        "upload_time": entry.get("upload-time"),
        "name": name,
        "requires_python": entry.get("requires-python"),
        "metadata_sha256": core.get("sha256"),
        "yanked": entry.get("yanked"),
        "sha512": entry["hashes"].get("sha512"),
        "metadata_sha512": core.get("sha512"),
    }
    return {key: value for key, value in tree.items() if value is not None}


def _is_distribution(filename: str) -> bool:
    """Whether `filename` is that of a wheel or an sdist: installers pass over others."""
    try:
        parse_filename(filename)
    except InputError:
        return False
    return True


# -- one row -------------------------------------------------------------------------------------


def _file(tree: Mapping[str, Any], layout: Layout, both: bool) -> Add:
    """The file that a row describes; `both`: with its SHA-512. Raises InputError."""
    if not tree.keys() <= _KNOWN:
        unknown = sorted(tree.keys() - _KNOWN)
        raise InputError(f"expected the fields {', '.join(FIELDS)}, got {unknown[0]!r:.100} too")
    filename, sha256 = _text(tree, "filename"), _text(tree, "sha256")
    project, version = parse_filename(filename)
    for field in ("name", "project"):
        name = tree.get(field)
        if name not in (None, project) and not (
            isinstance(name, str) and canonicalize_name(name) == project
        ):
            raise InputError(f"{filename} is a file of project {project}, not of {name!r:.200}")
    requires_python = tree.get("requires_python") or None
    if requires_python is not None and not (
        isinstance(requires_python, str) and is_plain_text(requires_python)
    ):
        raise InputError(f"{filename}: expected a plain requires_python, got {requires_python!a}")
    core, core_size = tree.get("metadata_sha256"), tree.get("metadata_size")
    if core is not None and not isinstance(core, str):
        raise InputError(f"{filename}: expected a text as metadata_sha256, got {core!r:.100}")
    if core_size is not None:
        _number(tree, "metadata_size", _MAX_METADATA)
    if (core is None and core_size is not None) or (
        core is not None and core_size is None and layout == "pep458"
    ):
        raise InputError(f"{filename}: expected metadata_sha256 and metadata_size, or neither")
    file = DistributionFile(
        *(project, filename, version, _number(tree, "size", MAX_SIZE), sha256),
        *(_text(tree, "upload_time"), requires_python, core, _yanked(tree.get("yanked"))),
        *(_sha512(tree, filename) if both else ()),
    )
    return Add(file, core_size, elsewhere=True)


def _text(tree: Mapping[str, Any], field: str) -> str:
    text = tree.get(field)
    if not isinstance(text, str):
        raise InputError(f"expected a text as {field}, got {text!r:.100}")
    return text


def _sha512(tree: Mapping[str, Any], filename: str) -> tuple[str | None, str | None]:
    """The SHA-512 of a file and of its core metadata: both, or none where one is not given."""
    digests = tree.get("sha512"), tree.get("metadata_sha512")
    for digest in digests:
        if digest is not None and not isinstance(digest, str):
            raise InputError(f"{filename}: expected a text as sha512, got {digest!r:.100}")
    whole = digests[0] is not None and (digests[1] is not None or "metadata_sha256" not in tree)
    return digests if whole and has_room_for_sha512(filename) else (None, None)


def _number(tree: Mapping[str, Any], field: str, most: int) -> int:
    number = tree.get(field)
    if type(number) is not int or not 0 <= number <= most:
        raise InputError(f"expected a number from 0 to {most} as {field}, got {number!r:.100}")
    return number


def _yanked(value: object) -> str | None:
    """The reason of a yank; None if it is none (PEP 592, 691: a flag, or the reason)."""
    if value is None or value is False:
        return None
    if value is True:
        return ""
    if not isinstance(value, str):
        raise InputError(f"expected a flag or a reason as yanked, got {value!r:.100}")
    return yank_reason(value)
