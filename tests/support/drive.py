"""A driver for `indextrust.trust` in a few lines: dictionaries for the network and the disk."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from indextrust.trust import (
    ABSENT,
    STORED,
    Done,
    Fetch,
    Known,
    Limits,
    Load,
    Lookup,
    NotListed,
    Persist,
    Policy,
    Session,
    TargetEntry,
    Times,
)


class Driver:
    """Drives sessions over `files` (file name to bytes, as served).

    What is trusted stays in `stored` from one refresh to the next, roots in `history`, what is
    remembered of time in `times`; every request is in `requests`, in order.
    """

    def __init__(self, files: Mapping[str, bytes], bootstrap: bytes, now: datetime) -> None:
        self.files = files
        self.bootstrap = bootstrap
        self.now = now
        self.limits = Limits()
        self.known = Known()
        self.policy = Policy()
        self.times: Times | None = None
        self.stored: dict[str, bytes] = {}
        self.history: dict[int, bytes] = {}
        self.requests: list[str] = []
        self.session: Session | None = None

    def refresh(self) -> Session:
        session = Session(
            self.bootstrap,
            now=self.now,
            limits=self.limits,
            known=self.known,
            policy=self.policy,
            times=self.times,
        )
        self._drive(session)
        self.session = session
        self.times = session.times
        return session

    def find(self, path: str) -> TargetEntry | NotListed:
        session = self.session or self.refresh()
        found: TargetEntry | NotListed = self._drive(session.lookup(path))
        return found

    def _drive(self, machine: Session | Lookup) -> Any:
        while True:
            want = machine.wants()
            if isinstance(want, Done):
                return want.result
            if isinstance(want, Load):
                held: Mapping[Any, bytes] = self.history if want.version else self.stored
                machine.feed(held.get(want.version or want.role, ABSENT))
            elif isinstance(want, Fetch):
                self.requests.append(want.filename)
                machine.feed(self.files.get(want.filename, ABSENT))
            else:
                self._persist(want)
                machine.feed(STORED)

    def _persist(self, want: Persist) -> None:
        held = self.stored.get(want.role)
        assert want.replaces == (None if held is None else hashlib.sha256(held).hexdigest())
        self.stored[want.role] = want.data
        if want.role == "root":
            self.history[want.version] = want.data
