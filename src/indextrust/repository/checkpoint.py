"""A checkpoint: what was known to be good, in a file that a person carries away.

After a theft of the online key everything that is served verifies. What was good can then be told
only by what was written down before and kept where the thief was not. A checkpoint is that: the
signed metadata above the bins, byte for byte, and every project as its document and the bins say
(`indextrust.repository.records`).

*What it proves.* Nothing, by itself: nobody signs it. It is trusted by its digest, one SHA-256 that
a person wrote on paper or keeps in a place of another owner. The digest covers every byte that is
believed, and `read_checkpoint` believes none before the digest is right.

*One digest for one set.* There is no time, no author and nothing of chance in it: whoever makes a
checkpoint of the same signed metadata, on any machine, gets the same digest. So two people can
tell each other what they saw.

The file::

    indextrust checkpoint 1
    {"bits":2,"layout":"pep458","metadata":[["1.root.json",1609,"9b05…"],…]}
    a table: of each of 2**bits blocks its length (8 bytes), how many projects and how many
    distribution files it has (4 bytes each), and its SHA-256 (32 bytes)
    the metadata files in their order, then the blocks: each zlib-compressed, after its length
    in the file (4 bytes)

The digest is the SHA-256 of the first two lines and the table. Hashes are those of what was
compressed, because compressors differ. A block is some hundred projects. Numbers are big-endian.

*Cost.* Some 60 to 80 bytes a file, and 64 more for each SHA-512 that is listed. Two checkpoints are
compared block by block, equal ones are skipped, and of others only the lines that differ are looked
at: memory is that of two blocks.

Left to others: making one (`checkpoint_make`), comparing (`audit`), keeping them (`checkpoints`).

Source: PEP 458, "Auditing Snapshots".
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from indextrust.distribution import SHA256_HEX
from indextrust.errors import CheckpointError, InputError
from indextrust.names import Layout
from indextrust.repository.checkpoint_frame import (
    MAGIC,
    MAX_BLOCK,
    MAX_HEAD,
    METADATA_NAME,
    PART_SIZE,
    TABLE_ROW,
    Block,
    Head,
    block_count,
    most_compressed,
)
from indextrust.repository.disk import open_regular, storing
from indextrust.repository.plan import TargetFile
from indextrust.repository.records import ProjectRecord, block_of, decode_block
from indextrust.repository.roles import SignedRoles

__all__ = ["Checkpoint", "parse_digest", "read_checkpoint"]


class Checkpoint:
    """An opened checkpoint. Made by `read_checkpoint`; a context manager.

    Args:
        path: its file, for messages.
        file: open for reading; closed by `close`.
        expected: as for `open`.
    """

    def __init__(self, path: Path, file: BufferedReader, expected: str | None) -> None:
        self.path = path
        self._file = file
        digest = hashlib.sha256()
        with storing(f"read {path}"):
            begin, line = file.read(len(MAGIC)), file.readline(MAX_HEAD)
            if begin != MAGIC:
                raise CheckpointError("no checkpoint, or one of another version", where=str(path))
            digest.update(begin + line)
            count = block_count(line)
            table = file.read(TABLE_ROW.size * count)
            digest.update(table)
        self.digest = digest.hexdigest()
        if expected is not None and self.digest != expected:
            raise CheckpointError(
                "another checkpoint, or an altered one",
                where=str(path),
                expected=expected,
                got=self.digest,
            )
        self.head = Head.parse(line)
        if len(table) != TABLE_ROW.size * count:
            raise CheckpointError("cut short", where=str(path))
        self.blocks = [Block(*row) for row in TABLE_ROW.iter_unpack(table)]
        if any(block.length > MAX_BLOCK for block in self.blocks):
            raise CheckpointError(f"a block of more than {MAX_BLOCK} bytes", where=str(path))
        self._parts = [file for _, file in self.head.metadata]
        self._parts += [TargetFile(block.length, block.sha256.hex()) for block in self.blocks]
        self._places = self._find_parts()
        self._names = self._check_names()
        self._last: tuple[int, dict[str, ProjectRecord]] | None = None

    @classmethod
    def open(cls, path: Path, expected: str | None) -> Checkpoint:
        """Open a file.

        Args:
            path: a regular file.
            expected: the digest that a person gave; None only to find out which digest a file has.

        Raises:
            CheckpointError: not a checkpoint, or not this one.
            DistributionError, StoreError: it can't be read.
        """
        file = open_regular(path)
        try:
            return cls(path, file, expected)
        except BaseException:
            file.close()
            raise

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    # -- the signed metadata -----------------------------------------------------------------

    @property
    def layout(self) -> Layout:
        """What is a target."""
        return self.head.layout

    @property
    def snapshot_version(self) -> int:
        """Version of the snapshot."""
        return self._names["snapshot"]

    @property
    def timestamp_version(self) -> int:
        """Version of the timestamp. Raises CheckpointError."""
        try:
            version = json.loads(self.timestamp)["signed"]["version"]
        except (ValueError, TypeError, KeyError, RecursionError):
            version = None
        if type(version) is not int:
            raise CheckpointError("a timestamp without a version", where=str(self.path))
        return version

    @property
    def root_version(self) -> int:
        """Version of the latest root."""
        return self._names["root"]

    @property
    def root(self) -> bytes:
        """The latest root. Raises CheckpointError."""
        return self.metadata(f"{self.root_version}.root.json")

    @property
    def roles(self) -> SignedRoles:
        """Every root, targets and bins. Raises CheckpointError."""
        names = [name for name, _ in self.head.metadata]
        roots = tuple(self.metadata(name) for name in names if name.endswith(".root.json"))
        targets, bins = (self.metadata(self._versioned(name)) for name in ("targets", "bins"))
        return SignedRoles(roots, targets, bins)

    @property
    def snapshot(self) -> bytes:
        """The snapshot's own bytes. Raises CheckpointError."""
        return self.metadata(self._versioned("snapshot"))

    @property
    def timestamp(self) -> bytes:
        """The timestamp's own bytes. Raises CheckpointError."""
        return self.metadata("timestamp.json")

    def metadata(self, name: str) -> bytes:
        """One of the metadata files, by its name.

        Raises:
            CheckpointError: altered.
            InputError: there is none of that name.
            StoreError: it can't be read.
        """
        for number, (there, _) in enumerate(self.head.metadata):
            if there == name:
                return self._part(number)
        raise InputError(f"the checkpoint has no {name:.80}")

    # -- projects ----------------------------------------------------------------------------

    @property
    def project_count(self) -> int:
        """How many projects there are."""
        return sum(block.projects for block in self.blocks)

    @property
    def file_count(self) -> int:
        """How many distribution files there are."""
        return sum(block.files for block in self.blocks)

    def projects(self) -> Iterator[ProjectRecord]:
        """All projects, in the order of the SHA-256 of their names.

        Raises:
            CheckpointError: while it runs, at the first block that was altered.
            StoreError: it can't be read.
        """
        for number in range(len(self.blocks)):
            yield from self.records(number)

    def project(self, name: str) -> ProjectRecord | None:
        """One project; None if there is none of that name. Raises as `projects`."""
        number = block_of(name, self.head.bits)
        if self._last is None or self._last[0] != number:
            self._last = number, {record.name: record for record in self.records(number)}
        return self._last[1].get(name)

    def entries(self) -> Iterator[tuple[str, TargetFile]]:
        """Every target: path, and what is signed for it. Raises as `projects`."""
        for record in self.projects():
            yield from record.targets.items()

    def records(self, number: int) -> Iterator[ProjectRecord]:
        """The projects in one block. Raises as `projects`."""
        for record in decode_block(self.block(number), self.layout):
            if block_of(record.name, self.head.bits) != number:
                raise CheckpointError("in another block", where=record.name)
            yield record

    def block(self, number: int) -> bytes:
        """The bytes of one block. Raises as `projects`."""
        return self._part(len(self.head.metadata) + number)

    def check(self) -> None:
        """Read all of it: every block, every document made again, and the counts.

        Raises:
            CheckpointError: with the first thing that is wrong.
            StoreError: it can't be read.
        """
        for name, _ in self.head.metadata:
            self.metadata(name)
        for number, block in enumerate(self.blocks):
            projects = files = 0
            for record in self.records(number):
                record.check()
                projects += 1
                files += len(record.rows)
            if (projects, files) != (block.projects, block.files):
                raise CheckpointError(
                    "another number of projects and files in a block",
                    expected=(block.projects, block.files),
                    got=(projects, files),
                )

    # -- parts of the file -------------------------------------------------------------------

    def _versioned(self, role: str) -> str:
        return f"{self._names[role]}.{role}.json"

    def _check_names(self) -> dict[str, int]:
        """Version of each role that has one: roots without a gap, and one of each other."""
        found: dict[str, list[int]] = {}
        for name, _ in self.head.metadata:
            if match := METADATA_NAME.fullmatch(name):
                found.setdefault(match[2] or "timestamp", []).append(int(match[1] or 0))
        roots = found.pop("root", [])
        whole = roots == list(range(1, len(roots) + 1)) and bool(roots)
        if not whole or sorted(map(len, found.values())) != [1, 1, 1, 1]:
            raise CheckpointError(
                "expected every root, targets, bins, snapshot and timestamp",
                where=str(self.path),
                got=[name for name, _ in self.head.metadata][-8:],
            )
        return {"root": len(roots), **{role: versions[0] for role, versions in found.items()}}

    def _find_parts(self) -> list[int]:
        """Where each part begins. Raises CheckpointError: cut short, or there is more."""
        places = []
        with storing(f"read {self.path}"):
            end, at = self._file.seek(0, 2), len(MAGIC)
            at += len(self.head.line()) + TABLE_ROW.size * len(self.blocks)
            for _ in self._parts:
                places.append(at)
                self._file.seek(at)
                size = self._file.read(PART_SIZE.size)
                if len(size) < PART_SIZE.size:
                    break
                at += PART_SIZE.size + PART_SIZE.unpack(size)[0]
        if at != end or len(places) != len(self._parts):
            raise CheckpointError("cut short, or longer than it says", where=str(self.path))
        return places

    def _part(self, number: int) -> bytes:
        """What was compressed, of the length and hash that the digest covers."""
        expected = self._parts[number]
        with storing(f"read {self.path}"):
            self._file.seek(self._places[number])
            size = PART_SIZE.unpack(self._file.read(PART_SIZE.size))[0]
            packed = self._file.read(min(size, most_compressed(expected.length)))
        stream = zlib.decompressobj()
        try:
            data = stream.decompress(packed, expected.length + 1)
        except zlib.error as error:
            raise CheckpointError(f"damaged: {error}", where=str(self.path)) from None
        if (
            len(data) != expected.length
            or not stream.eof
            or stream.unused_data
            or hashlib.sha256(data).hexdigest() != expected.sha256
        ):
            raise CheckpointError(
                "a part was altered",
                where=str(self.path),
                expected=f"sha256 {expected.sha256}",
            )
        return data


def parse_digest(text: str) -> str:
    """A digest as people write it, in groups and in any case.

    Raises:
        InputError: not 64 hexadecimal digits.
    """
    digest = "".join(text.split()).lower()
    if not SHA256_HEX.fullmatch(digest):
        raise InputError(f"expected the 64 hexadecimal digits of a digest, got {text[:100]!r}")
    return digest


def read_checkpoint(path: Path, digest: str) -> Checkpoint:
    """Open a checkpoint.

    Args:
        path: a regular file.
        digest: its digest, 64 hexadecimal digits, in groups or not: as a person has it, who did
            not get it from the file nor from the server.

    Raises:
        CheckpointError: not a checkpoint, or not the one with this digest.
        InputError: a digest of another form.
        DistributionError, StoreError: it can't be read.
    """
    return Checkpoint.open(path, parse_digest(digest))
