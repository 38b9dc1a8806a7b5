"""The ports: what the client needs of the world, and what each implementer must keep.

Trust decisions are made elsewhere (`indextrust.trust`), on bytes. An implementation of a port
never decides whether something is trusted; but the decisions hold only if it keeps its duty.
Every port is used by several threads at once, and the stores by several processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from indextrust.trust.freshness import Times
from indextrust.trust.memory import Remembered
from indextrust.trust.wants import Absent, Persist

__all__ = ["Clock", "Fetcher", "MemoryStore", "MetadataStore"]

Clock = Callable[[], datetime]
"""The machine's time: an aware datetime in UTC, asked for at least once per refresh and lookup."""


class Fetcher(Protocol):
    """Gets files from a server that may be hostile.

    Every call is bounded in bytes (never more than `max_length` and one chunk are read) and in
    time, in total and whatever the server does: name resolution, connecting, headers and body
    together. A redirect may not leave scheme, host and port. The bytes are those that the
    server holds: no content encoding is asked for, and none is undone.

    `ABSENT` is an answer with meaning: it ends the search for a newer root. Give it only for
    status 403 or 404, never for any other status, an empty body or a failure.
    """

    def fetch(self, url: str, *, max_length: int, seconds: float | None = None) -> bytes | Absent:
        """Get one whole file.

        Args:
            url: absolute, http or https, already percent-encoded.
            max_length: bytes.
            seconds: what is left for this fetch, if that is less than the fetcher's own deadline.

        Raises:
            LengthError: the file is longer than `max_length`.
            MalformedError: the answer has a content encoding.
            BudgetExceededError: time ran out.
            UnreachableError: anything else that is not the complete file. No error of a
                library underneath may get through.
            InputError: not a URL that can be asked for; nothing was asked.
        """

    def stream(
        self, url: str, *, max_length: int
    ) -> AbstractContextManager[Iterator[bytes] | Absent]:
        """Get one file piece by piece; what comes is not verified.

        The iterator ends only when the file is complete, and raises what `fetch` raises.
        Leaving the context early gives up the rest.
        """


class MetadataStore(Protocol):
    """Keeps the trusted metadata of one repository, byte for byte.

    It is the memory against rollback: bytes that were persisted must survive a crash and a
    power loss, and must never be seen in part.
    """

    def load(self, role: str, version: int | None = None) -> bytes | None:
        """What was last persisted for `role`; for ``root``, `version` asks the history.

        None means that nothing was ever persisted. A file that is there and can't be read is
        not None: a store that forgets on a permission error forgets the rollback protection.

        Raises:
            StoreError: it is there and can't be read.
            UnsafePathError: a role name that the store can't hold.
        """

    def persist(self, want: Persist) -> bool:
        """Make ``want.data`` the role's bytes, durably, if nothing was changed meanwhile.

        The comparison and the write are one step for every process that shares the store:

        * what is stored for the role has the SHA-256 ``want.replaces`` (None: nothing is
          stored), or is ``want.data`` already;
        * for roles other than ``root``: the stored root has the version ``want.root_version``.

        A root is also kept under its version, for ever. The current root may fall: while a
        damaged history is filled again, or where what was stored is of no chain that the session
        trusts.

        Returns:
            False if another process was faster; nothing was written then.

        Raises:
            StoreError: it could not be written; what was stored is intact.
        """

    def times(self) -> Times | None:
        """What was last saved of time; None if nothing ever was.

        Raises:
            StoreError: it is there and can't be read. A store that forgets it forgets that the
                clock was set back.
        """

    def save_times(self, times: Times) -> None:
        """Remember `times`, durably. `last_seen` and `last_refresh` never go back: of two
        processes the later one counts. A store that can't be written to does nothing.

        Raises:
            StoreError: it could not be written; what was stored is intact.
        """

    def forget_times(self) -> None:
        """Forget what was remembered of time, for a person whose clock was once wrong.

        Raises:
            StoreError: it could not be removed.
        """

    def keep_evidence(self, name: str, data: bytes) -> None:
        """Keep bytes for a person to look at. Never read back, bounded in number, best effort.

        Args:
            name: what they are, for example ``timestamp``; not encoded.
            data: as received.
        """

    def kept_target(self, sha256: str) -> bytes | None:
        """What was kept by `keep_target`; None if it wasn't, or is no more. A cache: whoever reads
        it compares it with what vouches for it.

        Raises:
            StoreError: it is there and can't be read.
        """

    def keep_target(self, sha256: str, data: bytes) -> None:
        """Keep a small verified target (an incident record), to be had offline. Best effort: a
        store that can't be written to does nothing.

        Args:
            sha256: of `data`, lower-case hex.
            data: at most 8,000,000 bytes.
        """


class MemoryStore(Protocol):
    """Remembers the first digest seen under each file name, for each index by its name.

    It protects where signatures don't (a thief of the online key re-signs a file that existed),
    so it must outlive resets of the metadata. A first-seen digest is never overwritten.
    """

    def remembered(self, index: str, project: str) -> Mapping[str, Remembered]:
        """All that is remembered of a project's files, by file name.

        Raises:
            StoreError: it can't be read. Never an empty answer instead.
        """

    def record(
        self,
        index: str,
        project: str,
        files: Mapping[str, str],
        *,
        when: datetime,
        snapshot_version: int,
    ) -> None:
        """Remember files not seen before; those that are remembered stay as they are.

        Args:
            index: the index's name on this machine.
            project: normalised project name.
            files: file name to SHA-256 (lower-case hex).
            when: reference time of the refresh, aware, UTC.
            snapshot_version: the snapshot under which they were seen.

        Raises:
            StoreError: it could not be written.
        """

    def acknowledge(
        self,
        index: str,
        project: str,
        filename: str,
        sha256: str,
        *,
        when: datetime,
        incident: str | None = None,
    ) -> None:
        """`sha256` is accepted for a remembered file. What was accepted before is kept.

        Args:
            index: the index's name on this machine.
            project: normalised project name.
            filename: the file's name, as remembered.
            sha256: lower-case hex.
            when: now, aware, UTC.
            incident: id of the incident record by which; None: by a person.

        Raises:
            InputError: the file is not remembered.
            StoreError: it could not be written.
        """
