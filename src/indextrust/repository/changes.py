"""What an operator asks for: the changes that wait in the queue. PURE.

A change is one row of the queue. Its JSON form is canonical, so that a row can be
authenticated as it stands; it carries everything that publishing needs, above all the hash that
was computed when the file came in. Nothing is hashed, looked up or guessed again later.

Files that come by the million (`indextrust.repository.imports`) share a row: an `Import` holds
many files of one project, each as a short array, and stands for as many `Add`. A `Rehash` says
the SHA-512 of files that are listed with their SHA-256.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from indextrust.canonical import canonical, canonical_without_floats
from indextrust.distribution import DistributionFile
from indextrust.errors import InputError, StoreError
from indextrust.names import NormalizedName

__all__ = [
    "PER_ENTRY",
    "Add",
    "Change",
    "FileDigests",
    "Import",
    "Rehash",
    "Remove",
    "Yank",
    "count",
    "decode",
    "encode",
    "encode_import",
    "import_row",
    "read_import_row",
    "spread",
    "yank_reason",
]

PER_ENTRY = 1_000
"""Files in one entry of the log, at most."""

_MAX_REASON = 500
_COUNT = re.compile(r'\{"count":([1-9][0-9]{0,8}),', re.ASCII)


@dataclass(frozen=True)
class Add:
    """List a file. Its bytes, and its core metadata's, are in the object store already.

    Args:
        file: all that was read from it.
        metadata_size: bytes of the core metadata beside it (PEP 658); None if there is none, or
            the size of one that is elsewhere and no target is not known.
        elsewhere: the bytes are not in the object store: the operator serves them himself.

    Raises:
        InputError: a size without core metadata, or core metadata in the store without a size.
    """

    file: DistributionFile
    metadata_size: int | None = None
    elsewhere: bool = False

    def __post_init__(self) -> None:
        sized, core = self.metadata_size is not None, self.file.metadata_sha256 is not None
        if sized != core and not (core and self.elsewhere):
            raise InputError(f"{self.filename}: core metadata needs both a sha256 and a size")

    @property
    def project(self) -> NormalizedName:
        """The project it belongs to."""
        return self.file.project

    @property
    def filename(self) -> str:
        """The file's own name."""
        return self.file.filename


@dataclass(frozen=True)
class Remove:
    """List a file no more.

    Args:
        project: normalised project name.
        filename: the file's own name.
    """

    project: NormalizedName
    filename: str


@dataclass(frozen=True)
class Yank:
    """Yank a file (PEP 592), or take that back.

    Args:
        project: normalised project name.
        filename: the file's own name.
        reason: why, possibly empty; None takes an earlier yank back.
    """

    project: NormalizedName
    filename: str
    reason: str | None


@dataclass(frozen=True)
class Import:
    """List many files of a project, whose bytes are elsewhere.

    Args:
        project: normalised project name.
        files: one or more.

    Raises:
        InputError: no file, one of another project, or one whose bytes are here.
    """

    project: NormalizedName
    files: tuple[Add, ...]

    def __post_init__(self) -> None:
        if not self.files or any(
            add.project != self.project or not add.elsewhere for add in self.files
        ):
            raise InputError(f"expected files of project {self.project} that are kept elsewhere")


class FileDigests(NamedTuple):
    """SHA-512 of a file and of its core metadata, and what they were computed of.

    Args:
        filename: the file's own name.
        sha256: of the same bytes.
        sha512: of the file.
        metadata_sha256: of the core metadata, of the same bytes; None if there is none.
        metadata_sha512: likewise.
        metadata_size: bytes of the core metadata; None if there is none.
    """

    filename: str
    sha256: str
    sha512: str
    metadata_sha256: str | None = None
    metadata_sha512: str | None = None
    metadata_size: int | None = None

    @property
    def of(self) -> tuple[str, str | None]:
        """The bytes that they are of, by SHA-256."""
        return self.sha256, self.metadata_sha256


@dataclass(frozen=True)
class Rehash:
    """List the SHA-512 of files that are listed already, and of the project's document.

    Args:
        project: normalised project name.
        files: of the project; none if the document alone has no SHA-512 yet.
    """

    project: NormalizedName
    files: tuple[FileDigests, ...]


Change = Add | Remove | Yank | Rehash
_KINDS: Mapping[str, type[Add] | type[Remove] | type[Yank]] = {
    "add": Add,
    "remove": Remove,
    "yank": Yank,
}
_SHA512 = ("sha512", "metadata_sha512")
"""Fields that are left out where an index lists no sha512."""


def encode(change: Change) -> str:
    """The change as one line of canonical JSON: ``{"kind": "remove", "project": …}``."""
    if isinstance(change, Rehash):
        rows = [list(digests) for digests in change.files]
        tree = {"count": max(len(rows), 1), "files": rows, "kind": "rehash"}
        return canonical({**tree, "project": change.project}).decode("utf-8")
    kind = next(kind for kind, cls in _KINDS.items() if type(change) is cls)
    tree = {"kind": kind, **vars(change)}
    if isinstance(change, Add):
        fields = vars(change.file).items()
        tree["file"] = {k: v for k, v in fields if v is not None or k not in _SHA512}
    return canonical(tree).decode("utf-8")


def encode_import(project: NormalizedName, rows: Sequence[str]) -> str:
    """An `Import` as one line of canonical JSON, from rows of `import_row`, one or more."""
    return (
        f'{{"count":{len(rows)},"files":[{",".join(rows)}],"kind":"import","project":"{project}"}}'
    )


def import_row(add: Add) -> str:
    """One file of an `Import`: an array in canonical JSON."""
    file = add.file
    row = [
        *(file.filename, file.version, file.size, file.sha256, file.upload_time),
        *(file.requires_python, file.metadata_sha256, add.metadata_size, file.yanked),
    ]
    if file.sha512 is not None:
        row += [file.sha512, file.metadata_sha512]
    return canonical_without_floats(row).decode("utf-8")


def read_import_row(project: NormalizedName, text: str) -> Add:
    """The file that `import_row` wrote."""
    return _imported(project, *json.loads(text))


def decode(text: str) -> Change | Import:
    """The change that `encode` or `encode_import` wrote.

    Raises:
        StoreError: not the JSON of a change: the state was altered.
    """
    try:
        tree: dict[str, Any] = json.loads(text)
        if tree["kind"] == "import":
            project, rows = tree["project"], tree["files"]
            if tree["count"] != len(rows):
                raise ValueError(f"{tree['count']} files expected, {len(rows)} there")
            return Import(project, tuple(_imported(project, *row) for row in rows))
        if tree["kind"] == "rehash":
            return Rehash(tree["project"], tuple(FileDigests(*row) for row in tree["files"]))
        kind = _KINDS[tree.pop("kind")]
        if kind is Add:
            file = DistributionFile(**tree["file"])
            return Add(file, tree["metadata_size"], tree["elsewhere"])
        return kind(**tree)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StoreError(f"a queue row is damaged ({error}): {text[:200]!r}") from None


def spread(change: Change | Import) -> tuple[Change, ...]:
    """The changes that it stands for, one for each file."""
    return change.files if isinstance(change, Import) else (change,)


def count(text: str) -> int:
    """How many changes an encoded change stands for, without reading all of it."""
    match = _COUNT.match(text)
    return 1 if match is None else int(match[1])


def _imported(
    project: NormalizedName,
    filename: str,
    version: str,
    size: int,
    sha256: str,
    upload_time: str,
    requires_python: str | None,
    metadata_sha256: str | None,
    metadata_size: int | None,
    yanked: str | None,
    *digests: str | None,
) -> Add:
    """What `import_row` made a row of."""
    more = (requires_python, metadata_sha256, yanked, *digests)
    file = DistributionFile(project, filename, version, size, sha256, upload_time, *more)
    return Add(file, metadata_size, elsewhere=True)


def yank_reason(reason: str) -> str:
    """`reason` in the one form that goes into a document: NFC, printable, at most 500 characters.

    Raises:
        InputError: control or other unprintable characters, or too long.
    """
    text = unicodedata.normalize("NFC", reason)
    if not text.isprintable() or len(text) > _MAX_REASON:
        raise InputError(
            f"expected a yank reason of at most {_MAX_REASON} printable characters on one line, "
            f"got {reason[: _MAX_REASON + 1]!r}"
        )
    return text
