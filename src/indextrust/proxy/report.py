"""What a proxy verified and what it refused, for the summary at the end of a run.

`Report` is written to by the proxy's thread and read by others; `Summary` is a value.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

from indextrust.proxy.refusals import Problem

__all__ = ["Failure", "Kind", "RemovedFile", "Report", "Summary", "VerifiedFile"]

Kind = Literal["page", "file", "metadata"]
T = TypeVar("T", bound=Hashable)

_MOST = 100_000  # notes of one kind: whoever can reach the port can have some written


@dataclass(frozen=True)
class VerifiedFile:
    """A distribution file that was verified and then handed out.

    Args:
        project: normalised name.
        filename: the file's name.
        sha256: lower-case hex.
        size: bytes.
    """

    project: str
    filename: str
    sha256: str
    size: int


@dataclass(frozen=True)
class RemovedFile:
    """A distribution file that was listed when it was first seen, and is listed no more.

    Args:
        project: normalised name.
        filename: the file's name.
        first_seen: when, ISO 8601 in UTC, to the second.
    """

    project: str
    filename: str
    first_seen: str


@dataclass(frozen=True)
class Failure:
    """Something the installer asked for and did not get.

    Args:
        kind: what it was.
        project: normalised name.
        filename: the distribution file's name; empty for a page.
        status: the HTTP status it was answered with.
        error: the class of the error.
        title: the kind of failure, a few words.
        detail: the full message.
    """

    kind: Kind
    project: str
    filename: str
    status: int
    error: str
    title: str
    detail: str


@dataclass(frozen=True)
class Summary:
    """What happened, up to the moment it was asked for. Every tuple is in order of time.

    Args:
        pages: projects whose page was verified.
        files: distribution files that were verified.
        refusals: what was refused, or could not be verified on this machine.
        unreachable: what could not be had from the index.
        not_listed: what the trusted metadata does not list.
        alarms: about listed files that are not what was seen first, whether asked for or not.
        removed: files seen before that a verified page lists no more, with the day they were
            first seen. To know of; nothing was refused.
        notices: what the refresh accepted and a person should know of.
        outside: hosts other than the index that the child tried to reach, as ``host:port``.
    """

    pages: tuple[str, ...]
    files: tuple[VerifiedFile, ...]
    refusals: tuple[Failure, ...]
    unreachable: tuple[Failure, ...]
    not_listed: tuple[Failure, ...]
    alarms: tuple[str, ...]
    removed: tuple[RemovedFile, ...]
    notices: tuple[str, ...]
    outside: tuple[str, ...]

    @property
    def refused(self) -> bool:
        """Whether anything was refused: something from the index, or a way around it.

        An alarm counts, though the installer may have asked for another file.
        """
        return bool(self.refusals or self.alarms or self.outside)

    def to_dict(self) -> dict[str, Any]:
        """The same as a JSON tree."""
        return asdict(self)


class Report:
    """Collects what a proxy does. Each thing is kept once. Safe for use by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Dictionaries for their order and their quick look-up; the values mean nothing.
        self._pages: dict[str, None] = {}
        self._files: dict[VerifiedFile, None] = {}
        self._failures: dict[Failure, None] = {}
        self._alarms: dict[str, None] = {}
        self._removed: dict[RemovedFile, None] = {}
        self._notices: dict[str, None] = {}
        self._outside: dict[str, None] = {}

    def page(self, project: str) -> None:
        """A project's page was verified."""
        self._note(self._pages, project)

    def file(self, file: VerifiedFile) -> None:
        """A distribution file was verified."""
        self._note(self._files, file)

    def failure(self, kind: Kind, project: str, filename: str, problem: Problem) -> None:
        """Something was asked for and `problem` was the answer."""
        self._note(
            self._failures,
            Failure(
                kind,
                project,
                filename,
                problem.status,
                problem.error,
                problem.title,
                problem.detail,
            ),
        )

    def alarm(self, message: str) -> None:
        """A verified page lists a file that is not what was seen first."""
        self._note(self._alarms, message)

    def removed(self, file: RemovedFile) -> None:
        """A verified page lists a file no more."""
        self._note(self._removed, file)

    def notice(self, message: str) -> None:
        """The refresh accepted what a person should know of."""
        self._note(self._notices, message)

    def outside(self, host: str) -> None:
        """The child tried to reach another host than the index."""
        self._note(self._outside, host)

    def summary(self) -> Summary:
        """All of it, as a value."""
        with self._lock:
            failures = list(self._failures)
            return Summary(
                pages=tuple(self._pages),
                files=tuple(self._files),
                refusals=tuple(f for f in failures if f.status not in (404, 504)),
                unreachable=tuple(f for f in failures if f.status == 504),
                not_listed=tuple(f for f in failures if f.status == 404),
                alarms=tuple(self._alarms),
                removed=tuple(self._removed),
                notices=tuple(self._notices),
                outside=tuple(self._outside),
            )

    def _note(self, notes: dict[T, None], note: T) -> None:
        with self._lock:
            if len(notes) < _MOST:
                notes[note] = None
