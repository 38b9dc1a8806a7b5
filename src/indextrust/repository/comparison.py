"""What differs between a checkpoint and what is served, or between two checkpoints. PURE.

The question after a compromise is not whether the served metadata verifies (a thief with the online
key signs well), but whether it says what it said when it was known to be good. A file is *added*,
*changed* or *removed*: the project's document, a distribution file, or its core metadata. What is
signed for a file stands in two places, its entry in a bin (in the layout ``pep458``) and the
project's document; a difference in either is one.

In PEP 458's hash transition a file gains a SHA-512 beside its SHA-256. That is a change, and told
apart from others: ``sha512 added``.

What no client could read counts as removed: a bin or a document that a client refuses hides what is
in it.

Both sides come project by project in the order of `records.key_of`, so any number is compared in
the memory of one. A project whose document has the digest that it had is not looked into further
than its entries.

Left to others: reading either side (`checkpoint`, `walk`); who asked for it (`blame`).

Source: PEP 458, "Auditing Snapshots".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple, Protocol

from indextrust.distribution import DistributionFile
from indextrust.repository.checkpoint import Checkpoint
from indextrust.repository.plan import TargetFile
from indextrust.repository.records import decode_block, key_of, lines_of

__all__ = [
    "SHA512_ADDED",
    "FileDifference",
    "Kind",
    "Project",
    "Signed",
    "compare",
    "compare_checkpoints",
    "differences",
    "name_of",
    "pairs",
]

Kind = Literal["added", "changed", "removed"]

SHA512_ADDED = "sha512 added"
"""What changed of a file in the hash transition, in `FileDifference.fields`."""


class Project(Protocol):
    """One project on either side."""

    @property
    def name(self) -> str:
        """As the target paths have it."""

    @property
    def targets(self) -> Mapping[str, TargetFile]:
        """Target path to what is signed for it."""

    @property
    def files(self) -> Mapping[str, DistributionFile]:
        """What the document lists, by file name."""


class Signed(NamedTuple):
    """What is signed for one path.

    Args:
        target: its entry in a bin; None if it has none.
        listing: what the document says of it: field of the simple API to its value; None if it
            lists no such file, and for the document itself.
    """

    target: TargetFile | None
    listing: tuple[tuple[str, str | int | bool | None], ...] | None

    @classmethod
    def of(cls, file: DistributionFile, target: TargetFile | None) -> Signed:
        """What a document says of a distribution file, and its entry in a bin."""
        listing = (
            ("sha256", file.sha256),
            ("size", file.size),
            ("upload-time", file.upload_time),
            ("requires-python", file.requires_python),
            ("yanked", file.yanked),
            ("sha512", file.sha512),
        )
        return cls(target, listing)

    @classmethod
    def of_core(cls, file: DistributionFile, target: TargetFile | None) -> Signed:
        """The same of its core metadata, which it has."""
        listing = (("sha256", file.metadata_sha256), ("sha512", file.metadata_sha512))
        return cls(target, listing)

    @property
    def sha256(self) -> str:
        """What a client takes it for: the entry's digest, or else that in the document."""
        if self.target is not None:
            return self.target.sha256
        return str(dict(self.listing or ())["sha256"])

    @property
    def sha512(self) -> str | None:
        """The SHA-512 beside it, if there is one."""
        if self.target is not None:
            return self.target.sha512
        found = dict(self.listing or ()).get("sha512")
        return None if found is None else str(found)


class FileDifference(NamedTuple):
    """One file that is not as it was.

    Args:
        kind: what happened to it.
        project: its project, as the target paths have it.
        path: where it lies below the public folder; a target path, where files are targets.
        before: what was signed for it; None if nothing.
        now: what is signed now.
    """

    kind: Kind
    project: str
    path: str
    before: Signed | None
    now: Signed | None

    @property
    def relisted(self) -> bool:
        """Whether the document says something else of it."""
        return _listing(self.before) != _listing(self.now)

    @property
    def fields(self) -> tuple[str, ...]:
        """What changed: ``target`` for its entry, and fields of the simple API; and ``sha512``,
        with ``added`` or ``removed`` if it was on one side only, for that in either place."""
        if self.before is None or self.now is None:
            return ()
        there, here = self.before.target, self.now.target
        names = ["target"] if _without_sha512(there) != _without_sha512(here) else []
        old, new = dict(self.before.listing or ()), dict(self.now.listing or ())
        changed = (n for n in old.keys() | new.keys() if old.get(n) != new.get(n))
        names += sorted(name for name in changed if name != "sha512")
        both = (
            (there and there.sha512, here and here.sha512),
            (old.get("sha512"), new.get("sha512")),
        )
        names += dict.fromkeys(_change(*pair) for pair in both if pair[0] != pair[1])
        return tuple(names)


def _without_sha512(target: TargetFile | None) -> TargetFile | None:
    return None if target is None else target._replace(sha512=None)


def _change(before: object, now: object) -> str:
    if before is None:
        return SHA512_ADDED
    return "sha512 removed" if now is None else "sha512"


def _listing(signed: Signed | None) -> object:
    return None if signed is None else signed.listing


def compare(good: Iterable[Project], served: Iterable[Project]) -> Iterator[FileDifference]:
    """Compare what is served with what was known to be good.

    Args:
        good, served: projects in the order of `records.key_of`.

    Returns:
        The differences, project by project, in the order of their paths.
    """
    for before, now in pairs(iter(good), iter(served)):
        yield from differences(before, now)


def compare_checkpoints(good: Checkpoint, later: Checkpoint) -> Iterator[FileDifference]:
    """Compare two checkpoints: only blocks that differ are read, and only lines that differ.

    Raises:
        CheckpointError: while it runs, at the first block that was altered.
        StoreError: one can't be read.
    """
    if good.head.bits != later.head.bits or good.layout != later.layout:
        yield from compare(good.projects(), later.projects())
        return
    for number, block in enumerate(good.blocks):
        if block.sha256 == later.blocks[number].sha256:
            continue
        old, new = good.block(number), later.block(number)
        here, there = set(lines_of(old)), set(lines_of(new))
        yield from compare(
            decode_block(old, good.layout, here - there),
            decode_block(new, later.layout, there - here),
        )


def name_of(before: Project | None, now: Project | None) -> str:
    """The name of a project that is there on one side at least."""
    return next(project.name for project in (before, now) if project is not None)


def differences(before: Project | None, now: Project | None) -> Iterator[FileDifference]:
    """The differences of one project; None where it is not there at all."""
    if before is not None and now is not None:
        document = f"simple/{before.name}/index.json"
        same = before.targets.get(document) == now.targets.get(document)
        if same and before.targets == now.targets:
            return
        old = _signed(before)
        new = _signed(now, before.files if same else None)
    else:
        old, new = _signed(before), _signed(now)
    project = name_of(before, now)
    for path in sorted(old.keys() | new.keys()):
        there, here = old.get(path), new.get(path)
        if there != here:
            kind: Kind = "added" if there is None else "removed" if here is None else "changed"
            yield FileDifference(kind, project, path, there, here)


def pairs(
    good: Iterator[Project], served: Iterator[Project]
) -> Iterator[tuple[Project | None, Project | None]]:
    """Projects of the same name side by side."""
    before, now = next(good, None), next(served, None)
    while before is not None or now is not None:
        old = None if before is None else key_of(before.name)
        new = None if now is None else key_of(now.name)
        if new is None or (old is not None and old < new):
            yield before, None
            before = next(good, None)
        elif old is None or new < old:
            yield None, now
            now = next(served, None)
        else:
            yield before, now
            before, now = next(good, None), next(served, None)


def _signed(
    project: Project | None, files: Mapping[str, DistributionFile] | None = None
) -> dict[str, Signed]:
    """What is signed for each path of a project; `files`: of its document, if they are known."""
    if project is None:
        return {}
    found = {path: Signed(target, None) for path, target in project.targets.items()}
    for file in (project.files if files is None else files).values():
        path = f"files/{file.project}/{file.filename}"
        found[path] = Signed.of(file, project.targets.get(path))
        if file.metadata_sha256 is not None:
            beside = f"{path}.metadata"
            found[beside] = Signed.of_core(file, project.targets.get(beside))
    return found
