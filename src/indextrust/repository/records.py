"""What is kept of a project in a checkpoint, and how many of them make a block of bytes. PURE.

A record says what the bins and the project's document say: enough to make the document again byte
for byte (`ProjectRecord.document_bytes`), and its entries in the bins. Where the document follows
from something, that is left out: the version is in the file name, the digests of targets are those
in the document.

A block is a text and the digests it refers to, apart, because digests can't be compressed. The text
has a line of JSON for each project:

    [2,"demo",436,"50ff…",[["demo-1.0-py3-none-any.whl",844,"2026-11-22T12:00:00Z",">=3.11",72,null]]]

how many digests it has, name, length and SHA-256 of the document, files in the order of their
names; of each the file name, size, upload time, Requires-Python or null, the core metadata, the
reason of a yank or null. Core metadata is ``false``: there is none; its length; or ``true``: its
length is signed nowhere (layout ``projects``). After a NUL come the digests of the files, 32 bytes
each, in the order of the text, each followed by that of its core metadata if it has any.

Where a SHA-512 is signed beside the SHA-256 (PEP 458's hash transition), it follows that, 64 bytes,
which count as two digests; and the text says so: of a file there is one field more, 1 for its own,
2 for that of its core metadata, 3 for both. Of a document there is a last ``true``, and its SHA-512
comes before all others. What has a SHA-256 alone stands as above.

Equal lines are equal projects: a line holds the document's digest, and that covers the others.

Projects stand in the order of the SHA-256 of their names, and the leading bits of that tell the
block. So the order is the same whatever the number of blocks.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from indextrust.distribution import SHA256_HEX, DistributionFile
from indextrust.errors import CheckpointError, InputError
from indextrust.names import (
    Layout,
    NormalizedName,
    document_path,
    file_path,
    metadata_path,
    parse_filename,
)
from indextrust.repository.documents import document_bytes
from indextrust.repository.plan import TargetFile, describe

__all__ = ["ProjectRecord", "block_of", "decode_block", "encode_block", "key_of", "lines_of"]

_DIGEST, _SHA512 = 32, 64
_OWN, _CORE = 1, 2
"""Of what a file has a SHA-512: itself, its core metadata, or (the sum) both."""

_COUNT = re.compile(rb"\[([0-9]{1,9}),")


def key_of(project: str) -> bytes:
    """What projects are ordered by."""
    return hashlib.sha256(project.encode("utf-8")).digest()


def block_of(project: str, bits: int) -> int:
    """Number of the block of a project, of ``2 ** bits``."""
    return int.from_bytes(key_of(project)[:4], "big") >> (32 - bits)


@dataclass(frozen=True)
class ProjectRecord:
    """One project as it was signed.

    Args:
        name: normalised name.
        document: length and digests of its document.
        layout: what is a target.
        rows: of each file: name, size, upload time, Requires-Python, core metadata (false, true or
            its length), reason of a yank; and of what it has a SHA-512, if of anything.
        digests: SHA-512 of the document, if that is signed; of each file, SHA-256 and SHA-512 if it
            has one, and those of its core metadata if there is any.
    """

    name: NormalizedName
    document: TargetFile
    layout: Layout
    rows: list[list[Any]] = field(repr=False)
    digests: bytes = field(repr=False)

    @classmethod
    def of(
        cls,
        name: NormalizedName,
        files: Iterable[DistributionFile],
        targets: Mapping[str, TargetFile],
        layout: Layout,
    ) -> ProjectRecord:
        """The record of a project.

        Args:
            name: normalised name.
            files: as its document lists them.
            targets: what is signed at the paths of this project.
            layout: what is a target.

        Raises:
            CheckpointError: the targets are not those that follow from the document.
        """
        path = document_path(name)
        if path not in targets:
            raise CheckpointError("files without a document", where=name, got=sorted(targets)[:3])
        rows, digests = [], [bytes.fromhex(targets[path].sha512 or "")]
        for file in sorted(files, key=lambda file: file.filename):
            core: bool | int = file.metadata_sha256 is not None
            beside = targets.get(metadata_path(name, file.filename))
            if core and layout == "pep458":
                if beside is None:
                    raise CheckpointError("core metadata that is no target", where=file.filename)
                core = beside.length
            times = (file.size, file.upload_time, file.requires_python)
            has = _OWN * (file.sha512 is not None) + _CORE * (file.metadata_sha512 is not None)
            rows.append([file.filename, *times, core, file.yanked, *([has] if has else [])])
            both = (file.sha256, file.sha512, file.metadata_sha256, file.metadata_sha512)
            digests += [bytes.fromhex(digest or "") for digest in both]
        record = cls(name, targets[path], layout, rows, b"".join(digests))
        record.check()
        expected = record.targets
        for path in sorted(expected.keys() | targets.keys()):
            if expected.get(path) != targets.get(path):
                raise CheckpointError(
                    "the bins and the document differ, so this is not known to be good: audit it",
                    where=path,
                    expected=expected.get(path),
                    got=targets.get(path),
                )
        return record

    def check(self) -> None:
        """Refuse a record that does not make its document. Raises CheckpointError."""
        made = describe(self.document_bytes(), both=self.document.sha512 is not None)
        if made != self.document:
            raise CheckpointError(
                "the document made of the files is another one",
                where=self.name,
                expected=self.document.hashes,
                got=made.hashes,
            )

    @cached_property
    def targets(self) -> dict[str, TargetFile]:
        """Target path to what is signed for it."""
        found = {document_path(self.name): self.document}
        if self.layout == "pep458":
            found |= {path: target for path, target in self.stored() if target.length >= 0}
        return found

    def stored(self) -> Iterator[tuple[str, TargetFile]]:
        """Path of each distribution file and core metadata, whether it is a target or not, and its
        length and digests. A length of -1 is not known."""
        start = 0 if self.document.sha512 is None else _SHA512
        folder = f"files/{self.name}/"
        for filename, size, _, _, core, _, *more in self.rows:
            has = more[0] if more else 0
            digests, start = self._digests(start, has & _OWN)
            yield folder + filename, TargetFile(size, *digests)
            if core is not False:
                digests, start = self._digests(start, has & _CORE)
                yield (
                    f"{folder}{filename}.metadata",
                    TargetFile(-1 if core is True else core, *digests),
                )

    def _digests(self, start: int, both: int) -> tuple[tuple[str, str | None], int]:
        """SHA-256, and SHA-512 if there are both, and where they end."""
        middle = start + _DIGEST
        end = middle + (_SHA512 if both else 0)
        sha512 = self.digests[middle:end].hex() or None
        return (self.digests[start:middle].hex(), sha512), end

    @cached_property
    def files(self) -> dict[str, DistributionFile]:
        """File name to all that the document says of it.

        Raises:
            CheckpointError: what can't be a file.
        """
        stored = dict(self.stored())
        try:
            return {row[0]: _file(self.name, row, stored) for row in self.rows}
        except (InputError, TypeError, ValueError) as error:
            raise CheckpointError(f"can't be a file: {error}", where=self.name) from None

    @property
    def metadata_sizes(self) -> dict[str, int]:
        """File name to the bytes of its core metadata, where that is signed."""
        return {row[0]: row[4] for row in self.rows if type(row[4]) is int}

    def document_bytes(self) -> bytes:
        """The project's document."""
        return document_bytes(self.name, self.files.values())

    def line(self) -> bytes:
        """The record in the text of a block."""
        length, sha256, sha512 = self.document
        more = [] if sha512 is None else [True]
        return json.dumps(
            [len(self.digests) // _DIGEST, self.name, length, sha256, self.rows, *more],
            separators=(",", ":"),
            ensure_ascii=True,
        ).encode("ascii")


def _file(
    project: NormalizedName, row: list[Any], stored: Mapping[str, TargetFile]
) -> DistributionFile:
    filename, size, upload_time, requires_python, core, yanked, *_ = row
    owner, version = parse_filename(filename)
    if owner != project:
        raise InputError(f"{filename} belongs to {owner}")
    own = stored[file_path(project, filename)]
    beside = None if core is False else stored[metadata_path(project, filename)]
    sha256, sha512 = (None, None) if beside is None else (beside.sha256, beside.sha512)
    return DistributionFile(
        *(project, filename, version, size, own.sha256, upload_time, requires_python),
        *(sha256, yanked, own.sha512, sha512),
    )


def encode_block(records: Iterable[ProjectRecord]) -> bytes:
    """The block of these projects, which are in the order of `key_of`."""
    lines, digests = [], []
    for record in records:
        lines.append(record.line())
        digests.append(record.digests)
    return b"\n".join(lines) + b"\0" + b"".join(digests)


def lines_of(block: bytes) -> list[bytes]:
    """The lines of a block, in its order."""
    text = block[: block.find(b"\0")]
    return text.split(b"\n") if text else []


def decode_block(
    block: bytes, layout: Layout, wanted: Container[bytes] | None = None
) -> Iterator[ProjectRecord]:
    """The projects in a block.

    Args:
        block: what `encode_block` made.
        layout: what is a target.
        wanted: only those of these lines; None for all.

    Raises:
        CheckpointError: not what `encode_block` makes of records of this layout in their order.
    """
    start, before = block.find(b"\0") + 1, b""
    if start == 0:
        raise CheckpointError("a block without digests")
    for line in lines_of(block):
        count = _COUNT.match(line)
        end = start + _DIGEST * int(count[1]) if count else len(block) + 1
        if end > len(block):
            raise CheckpointError("no project, or digests are missing", got=line[:80])
        if wanted is None or line in wanted:
            record = _decode(line, block[start:end], layout)
            if (key := key_of(record.name)) <= before:
                raise CheckpointError("out of order", where=record.name)
            before = key
            yield record
        start = end
    if start != len(block):
        raise CheckpointError("a block of another length", expected=start, got=len(block))


def _decode(line: bytes, digests: bytes, layout: Layout) -> ProjectRecord:
    """The record of a line. Raises CheckpointError."""
    try:
        _, name, length, sha256, rows, *both = json.loads(line)
        last = ""
        expected = _SHA512 if both else 0
        for filename, size, _, _, core, _, *more in rows:
            has = more[0] if more else 0
            if not (
                isinstance(filename, str)
                and filename > last
                and type(size) is int
                and (core is False or core is True or (type(core) is int and core >= 0))
                and (core is False or (core is True) == (layout == "projects"))
                and (not more or (len(more) == 1 and type(has) is int and 1 <= has <= 3))
                and not (core is False and has & _CORE)
            ):
                raise ValueError(f"no file: {filename!r:.80}")
            last = filename
            expected += _DIGEST * (1 if core is False else 2) + _SHA512 * has.bit_count()
        right = type(length) is int and (not both or (len(both) == 1 and both[0] is True))
        if not right or not SHA256_HEX.fullmatch(sha256):
            raise ValueError("no document")
        if expected != len(digests):
            raise ValueError(f"{expected} bytes of digests expected")
        document_path(name)
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"no project: {error}", got=line[:80]) from None
    sha512 = digests[:_SHA512].hex() if both else None
    return ProjectRecord(name, TargetFile(length, sha256, sha512), layout, rows, digests)
