"""The stored files hashed again: what is altered, missing, or in the place of another.

What a file should be is what the checkpoint says, and for a file that was queued since what is
signed now. Every name that it has in the public folder is read, and its private copy; names that
are one file on disk are hashed once. Of a sample as much is known as a sample tells: the answer
says how many files there were, and how many were looked at.

A file is *swapped* if its bytes are those that another file should have: then it was put there by
somebody who knows the store, and a client that looks at sizes alone would not notice.

Files whose bytes the operator keeps elsewhere are neither here nor missing; by the state's word.

Sources: PEP 458, "Auditing Snapshots" (hashes of every target, compared).
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from indextrust.errors import DistributionError, StoreError
from indextrust.names import Layout
from indextrust.repository.audited import Audited
from indextrust.repository.checkpoint import Checkpoint
from indextrust.repository.checkpoint_make import Progress, silent
from indextrust.repository.comparison import Signed
from indextrust.repository.disk import CHUNK, open_regular
from indextrust.repository.place import names_of
from indextrust.repository.plan import Digests, TargetFile

__all__ = ["Damage", "Entry", "Stored", "check_stored", "expected_files"]

NAMED = 100_000
"""How many damaged files are named; the others are counted."""

Entry = tuple[str, TargetFile]
"""Where a file lies below the public folder, and what it should be. A length of -1 is not known."""


@dataclass(frozen=True)
class Damage:
    """One file that is not as it should be.

    Args:
        path: where it lies below the public folder.
        kind: ``swapped``, ``altered`` or ``missing``; the first of these that is true of its
            public names, or of its private copy if those are as they should be.
        expected: SHA-256 that it should have.
        length: bytes that it should have; -1 if that is not known.
        sha512: SHA-512 that is listed of it too, which is in a name of it; None if none is.
        found: SHA-256 that one of its names has; None if there is nothing to be read.
        owner: path of the file whose bytes were found there, of one that was swapped.
        names: the names, public and private, that are not as they should be.
    """

    path: str
    kind: Literal["swapped", "altered", "missing"]
    expected: str
    length: int
    sha512: str | None
    found: str | None
    owner: str | None
    names: tuple[str, ...]

    @property
    def digests(self) -> Digests:
        """The hashes that are listed of it."""
        return Digests(self.expected, self.sha512)


@dataclass(frozen=True)
class Stored:
    """What a look at the stored files found.

    Args:
        files: how many there are: documents, distribution files, core metadata.
        looked_at: how many of them were hashed; fewer, if a sample was asked for.
        elsewhere: how many the operator keeps elsewhere, by the state's word.
        size: bytes that were read.
        count: how many are damaged.
        damages: the first of them.
    """

    files: int
    looked_at: int
    elsewhere: int
    size: int
    count: int
    damages: tuple[Damage, ...] = field(repr=False)

    @property
    def clean(self) -> bool:
        """Whether everything that was looked at is as it should be."""
        return self.count == 0


def expected_files(good: Checkpoint, audited: Audited) -> Iterator[Entry]:
    """Every file that should be there.

    Args:
        good: the checkpoint.
        audited: what differs from it, and which of that was queued.

    Raises:
        CheckpointError: while it runs, at the first block that was altered.
    """
    queued = {
        finding.difference.path: finding.difference.now
        for finding in audited.findings
        if finding.queued is not None
    }
    for record in good.projects():
        document = f"simple/{record.name}/index.json"
        for path, target in ((document, record.document), *record.stored()):
            if path not in queued:
                yield path, target
            elif (now := queued.pop(path)) is not None:
                yield path, _signed(now)
    for path, now in queued.items():
        if now is not None:
            yield path, _signed(now)


def _signed(now: Signed) -> TargetFile:
    size = dict(now.listing or ()).get("size", -1)
    return now.target or TargetFile(int(size or 0), now.sha256, now.sha512)


class _Hashes:
    """Digests of files, each read once while its names are looked at."""

    def __init__(self) -> None:
        self.size = 0
        self._known: dict[tuple[int, int], TargetFile] = {}

    def forget(self) -> None:
        """The next file comes."""
        self._known.clear()

    def of(self, path: Path) -> TargetFile | None:
        """Length and SHA-256 of a regular file; None if there is none that can be read."""
        digest, length = hashlib.sha256(), 0
        try:
            with open_regular(path) as file:
                status = os.fstat(file.fileno())
                inode = status.st_dev, status.st_ino
                if inode not in self._known:
                    while chunk := file.read(CHUNK):
                        digest.update(chunk)
                        length += len(chunk)
                    self._known[inode] = TargetFile(length, digest.hexdigest())
                    self.size += length
                return self._known[inode]
        except (DistributionError, StoreError, OSError):
            return None


def check_stored(
    entries: Callable[[], Iterable[Entry]],
    layout: Layout,
    public: Path,
    private: Callable[[str], Path] | None = None,
    *,
    elsewhere: Callable[[str], bool] = lambda _path: False,
    sample: int | None = None,
    progress: Progress = silent,
) -> Stored:
    """Hash stored files and compare.

    Args:
        entries: gives what should be there; called again to find out whose bytes were found.
        layout: which names a file has.
        public: the public folder.
        private: where the private copy of a SHA-256 lies; None to look at the public folder alone.
        elsewhere: whether the operator keeps a file elsewhere.
        sample: how many files, chosen at random; None for all.
        progress: is told of every file.
    """
    hashes, total, left_out, looked = _Hashes(), 0, 0, 0
    found: list[Damage] = []
    damaged = 0
    chosen: Iterable[Entry]
    if sample is None:
        chosen = entries()
    else:
        chosen, total = _sample(entries(), sample)
    for path, expected in chosen:
        total += sample is None
        progress(path, 1)
        hashes.forget()
        damage = _look(path, expected, layout, public, private, hashes)
        if damage is not None and damage.found is None and elsewhere(path):
            left_out += 1
            continue
        looked += 1
        if damage is not None:
            damaged += 1
            if len(found) < NAMED:
                found.append(damage)
    named = tuple(_owners(found, entries))
    return Stored(total, looked, left_out, hashes.size, damaged, named)


def _sample(entries: Iterable[Entry], size: int) -> tuple[list[Entry], int]:
    """So many of the entries, each as likely as every other (reservoir), and how many there are."""
    chance, chosen, number = random.SystemRandom(), list[Entry](), 0
    for number, entry in enumerate(entries, start=1):
        if len(chosen) < size:
            chosen.append(entry)
        elif (place := chance.randrange(number)) < size:
            chosen[place] = entry
    return chosen, number


def _look(
    path: str,
    expected: TargetFile,
    layout: Layout,
    public: Path,
    private: Callable[[str], Path] | None,
    hashes: _Hashes,
) -> Damage | None:
    """What is wrong with one file; None if nothing."""
    wrong: dict[str, TargetFile | None] = {}
    for name in names_of(path, expected, layout):
        there = hashes.of(public / name)
        if there is None or there.sha256 != expected.sha256:
            wrong[name] = there
    found = next((each.sha256 for each in wrong.values() if each is not None), None)
    if private is not None and not path.startswith("simple/"):  # documents have none: they are made
        there = hashes.of(private(expected.sha256))
        if there is None or there.sha256 != expected.sha256:
            found = found if wrong or there is None else there.sha256
            wrong[f"private copy {expected.sha256}"] = there
    if not wrong:
        return None
    kind: Literal["altered", "missing"] = "missing" if found is None else "altered"
    length, sha256, sha512 = expected
    return Damage(path, kind, sha256, length, sha512, found, None, tuple(wrong))


def _owners(found: list[Damage], entries: Callable[[], Iterable[Entry]]) -> Iterator[Damage]:
    """The damages, those swapped with the file whose bytes are there."""
    wanted = {damage.found for damage in found if damage.found is not None}
    owners: dict[str, str] = {}
    if wanted:
        for path, target in entries():
            if target.sha256 in wanted:
                owners.setdefault(target.sha256, path)
    for damage in found:
        owner = None if damage.found is None else owners.get(damage.found)
        yield damage if owner is None else replace(damage, kind="swapped", owner=owner)
