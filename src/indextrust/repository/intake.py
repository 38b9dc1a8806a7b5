"""Intake: what gets into the queue, and what is refused at the door.

A change that is queued can be published: the file was read and hashed, its bytes and its core
metadata are in the object store, the name is free or stands for the same bytes, and the file
that is to be removed or yanked is there. Everything is asked of the published files *and* of
what waits in the queue before it. A file that is not queued because it is published is looked for
in the signed metadata, not in a table alone.

A file name stands for one digest for good. It can be added again after a removal, with the same
bytes; other bytes are another version. Names that differ in case only are one name (there are
file systems that think so too).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from indextrust.distribution import DistributionFile
from indextrust.errors import RepositoryError
from indextrust.names import NormalizedName
from indextrust.repository.changes import Add, Remove, Yank
from indextrust.repository.inspect import MAX_SIZE, check_path, read_distribution
from indextrust.repository.ledger import Ledger
from indextrust.repository.objects import ObjectStore
from indextrust.repository.plan import TargetFile, replay
from indextrust.repository.state import State

__all__ = ["Intake", "check_name"]


Check = Callable[
    [Mapping[NormalizedName, Mapping[str, DistributionFile]]],
    Mapping[NormalizedName, TargetFile | None],
]
"""Is given the files of projects, by file name; gives what is signed for their documents."""


class Known(NamedTuple):
    """What is known of a project.

    Args:
        files: as they will be when the queue is published, by file name.
        promised: by the name in lower case, spelling and digest of every file in the queue, also
            of one that is removed again behind it, if a publication may end in between: then
            clients see it.
    """

    files: dict[str, DistributionFile]
    promised: dict[str, tuple[str, str]]


class Intake:
    """The door to the queue. The caller holds the lock.

    Args:
        state: where the queue is.
        objects: where the bytes go.
        check: refuses files of projects, as the tables have them, that are not published.
        window: changes that one publication takes at most.
    """

    def __init__(self, state: State, objects: ObjectStore, check: Check, window: int) -> None:
        self._state = state
        self._objects = objects
        self._check = check
        self._window = window

    def add(self, paths: Sequence[Path], upload_time: str, now: str) -> list[DistributionFile]:
        """Queue files: all of them, or none.

        Args:
            paths: regular files under their own names.
            upload_time: ``YYYY-MM-DDTHH:MM:SSZ``.
            now: when they are queued.

        Returns:
            What is known of each, in order; of a file that was there already, what was known.

        Raises:
            DistributionError: no acceptable distribution.
            RepositoryError: the name is used for other bytes.
            InputError: an upload time of another form, or a path that no file can have.
            StoreError: the disk refused.
        """
        ledger = self._state.queue.ledger()
        known: dict[NormalizedName, Known] = {}
        answers: list[DistributionFile] = []
        new: list[tuple[Add, Path, bytes | None]] = []
        there: set[NormalizedName] = set()
        for path in paths:
            check_path(path)
            copy = self._objects.take_in(path, MAX_SIZE)
            file, core = read_distribution(copy, upload_time=upload_time, both=ledger.both)
            if file.project not in known:
                known |= self.known([file.project], ledger)
            files, promised = known[file.project]
            self._check_name(file, files, promised)
            if file.filename in files:
                there.add(file.project)
            else:
                files[file.filename] = file
                new.append((Add(file, None if core is None else len(core)), copy, core))
            answers.append(files[file.filename])
        self.check_there(there)
        for change, copy, core in new:
            self._objects.keep(copy, change.file.sha256)
            if core is not None:
                self._objects.keep_bytes(core)
        self._state.queue.enqueue([change for change, _, _ in new], now)
        return answers

    def check_there(self, projects: Iterable[NormalizedName]) -> None:
        """Refuse what the tables say of projects, if it is not what is published.

        For a file that is not queued because it is there already: a row alone, which may be gone
        again before the next publication, must not have it dropped.

        Raises:
            AlteredStateError: with the first thing that differs.
        """
        if files := self._state.files_of(projects):
            self._check(files)

    def documents(
        self, projects: Sequence[NormalizedName]
    ) -> Mapping[NormalizedName, TargetFile | None]:
        """What is signed for the document of each of some hundred projects. Raises as above."""
        return self._check(self._state.files_of(projects))

    def change(self, change: Remove | Yank, now: str) -> None:
        """Queue a removal or a yank.

        Raises:
            RepositoryError: no such file.
        """
        if change.filename not in self.files(change.project):
            raise RepositoryError(f"project {change.project} has no file {change.filename}")
        self._state.queue.enqueue([change], now)

    def files(self, project: NormalizedName) -> dict[str, DistributionFile]:
        """The files of a project as they will be when the queue is published."""
        return self.known([project])[project].files

    def known(
        self, projects: Sequence[NormalizedName], ledger: Ledger | None = None
    ) -> dict[NormalizedName, Known]:
        """The same of each of some hundred projects, and the names that the queue uses up.

        Args:
            projects: normalised names.
            ledger: of the queue; None to read it.

        Raises:
            AlteredStateError: the log was altered.
        """
        queue, files = self._state.queue, self._state.files_of(projects)
        ledger = ledger or queue.ledger()
        waiting, together = queue.pending_of(projects), ledger.is_one_window(self._window)
        return {
            name: Known(
                replay(files[name], waiting[name]),
                {
                    change.filename.lower(): (change.filename, change.file.sha256)
                    for change in waiting[name]
                    if isinstance(change, Add) and not together
                },
            )
            for name in projects
        }

    def _check_name(
        self,
        file: DistributionFile,
        files: Mapping[str, DistributionFile],
        promised: Mapping[str, tuple[str, str]],
    ) -> None:
        folded = file.filename.lower()
        waiting = {name.lower(): (name, there.sha256) for name, there in files.items()}
        taken = (self._state.used(file.filename), promised.get(folded), waiting.get(folded))
        check_name(file.filename, file.sha256, taken)


def check_name(filename: str, sha256: str, taken: Iterable[tuple[str, str] | None]) -> None:
    """Refuse a name that stands for other bytes, or whose twin in other case is taken.

    Args:
        filename: of a file to be listed.
        sha256: of the same.
        taken: names that differ from it in case at most, and their digests.

    Raises:
        RepositoryError: one of them is another name, or has another digest.
    """
    for there in taken:
        if there is not None and there != (filename, sha256):
            raise RepositoryError(
                f"{filename} (sha256 {sha256}) can't be added: the name is taken by "
                f"{there[0]} with sha256 {there[1]}, for good; other bytes need a new version"
            )
