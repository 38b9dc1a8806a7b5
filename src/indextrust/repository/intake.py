"""Intake: what gets into the queue, and what is refused at the door.

A change that is queued can be published: the file was read and hashed, its bytes and its core
metadata are in the object store, the name is free or stands for the same bytes, and the file
that is to be removed or yanked is there. Everything is asked of the published files *and* of
what waits in the queue before it.

A file name stands for one digest for good. It can be added again after a removal, with the same
bytes; other bytes are another version. Names that differ in case only are one name (there are
file systems that think so too).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from indextrust.distribution import DistributionFile
from indextrust.errors import RepositoryError
from indextrust.names import NormalizedName
from indextrust.repository.changes import Add, Change
from indextrust.repository.inspect import MAX_SIZE, check_path, read_distribution
from indextrust.repository.objects import ObjectStore
from indextrust.repository.plan import replay
from indextrust.repository.state import State

__all__ = ["Intake"]


class Intake:
    """The door to the queue. The caller holds the lock.

    Args:
        state: where the queue is.
        objects: where the bytes go.
    """

    def __init__(self, state: State, objects: ObjectStore) -> None:
        self._state = state
        self._objects = objects

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
        known: dict[NormalizedName, dict[str, DistributionFile]] = {}
        answers: list[DistributionFile] = []
        new: list[tuple[Add, Path, bytes | None]] = []
        for path in paths:
            check_path(path)
            copy = self._objects.take_in(path, MAX_SIZE)
            file, core = read_distribution(copy, upload_time=upload_time)
            files = known.setdefault(file.project, self.files(file.project))
            self._check_name(file, files)
            if file.filename not in files:
                files[file.filename] = file
                new.append((Add(file, None if core is None else len(core)), copy, core))
            answers.append(files[file.filename])
        for change, copy, core in new:
            self._objects.keep(copy, change.file.sha256)
            if core is not None:
                self._objects.keep_bytes(core)
        self._state.queue.enqueue([change for change, _, _ in new], now)
        return answers

    def change(self, change: Change, now: str) -> None:
        """Queue a removal or a yank.

        Raises:
            RepositoryError: no such file.
        """
        if change.filename not in self.files(change.project):
            raise RepositoryError(f"project {change.project} has no file {change.filename}")
        self._state.queue.enqueue([change], now)

    def files(self, project: NormalizedName) -> dict[str, DistributionFile]:
        """The files of a project as they will be when the queue is published."""
        return replay(self._state.files(project), self._state.queue.pending_of(project))

    def _check_name(self, file: DistributionFile, files: Mapping[str, DistributionFile]) -> None:
        """Refuse a name that stands for other bytes, or whose twin in other case is taken."""
        waiting = {name.lower(): (name, there.sha256) for name, there in files.items()}
        for used in (self._state.used(file.filename), waiting.get(file.filename.lower())):
            if used is not None and used != (file.filename, file.sha256):
                raise RepositoryError(
                    f"{file.filename} (sha256 {file.sha256}) can't be added: the name is taken by "
                    f"{used[0]} with sha256 {used[1]}, for good; other bytes need a new version"
                )
