"""Carrying out what a machine of `indextrust.trust` wants: load, persist, fetch, feed.

`Attempt` does everything but the fetching, so that blocking and asynchronous clients share every
decision; `drive` is the blocking loop around it. It decides one thing: whether to give up on a
session and start with a new one, because what it was judging has changed under it.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Generic, Protocol, TypeVar

from indextrust.client.ports import MetadataStore
from indextrust.errors import (
    AlarmError,
    BudgetExceededError,
    ConflictError,
    InputError,
    RefusedError,
    SignatureError,
    UnreachableError,
)
from indextrust.names import ROOT, TIMESTAMP
from indextrust.trust.wants import ABSENT, STORED, Absent, Done, Fetch, Load, Persist, Stored

__all__ = ["Attempt", "Call", "drive", "from_store"]

T = TypeVar("T")
_TRIES = 32


class Machine(Protocol[T]):
    """A session or a lookup."""

    def wants(self) -> Load | Fetch | Persist | Done[T]: ...

    def feed(self, answer: bytes | Absent | Stored) -> None: ...


class Call:
    """What is left to one call of a client, however many sessions it takes: seconds, starts after
    a lost race, and one second look at the repository, which may have been publishing while we
    read it.

    Args:
        seconds: for everything that the call fetches.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = monotonic() + seconds
        self._tries = _TRIES
        self._second_look = True

    def seconds_left(self) -> float:
        """How long the next fetch may last.

        Raises:
            BudgetExceededError: the time is over.
        """
        left = self._until - monotonic()
        if left <= 0:
            raise BudgetExceededError(
                f"the metadata was not complete within {self._seconds:g} seconds in all"
            )
        return left

    def lost_race(self) -> None:
        """Use up a start.

        Raises:
            ConflictError: it was the last.
        """
        self._tries -= 1
        if self._tries == 0:
            raise ConflictError(
                f"other processes changed the same trusted metadata {_TRIES} times meanwhile"
            )

    def second_look(self) -> bool:
        """Whether there is one left; it is used up."""
        left, self._second_look = self._second_look, False
        return left


class Attempt(Generic[T]):
    """One machine on its way: give `answer` what the last step's `Fetch` asked for.

    A step is

    * a `Fetch`: get it, and give it to `answer`;
    * `Done`: the end;
    * None: a new session should start over:

      * another process changed a role before we could store it;
      * a refusal, if what it was judged against was replaced by another process since;
      * once, a listed file that the server lacks: the operator may have collected it since;
      * once, too few valid signatures: the operator may have published a new root since we
        asked for one. (Neither makes anything acceptable: all is judged again from the root.)

    Uses the store, and nothing else of the world. For one thread at a time.
    """

    def __init__(self, machine: Machine[T], store: MetadataStore, call: Call) -> None:
        self._machine = machine
        self._store = store
        self._call = call
        self._held: dict[str, bytes | None] = {}

    def begin(self) -> Fetch | Done[T] | None:
        """The first step.

        Raises:
            RefusedError, UnreachableError, UnsupportedKeyError, StoreError: from `feed` and the
                store. Bytes that raised an alarm were kept as evidence.
        """
        while True:
            want = self._machine.wants()
            answer: bytes | Absent | Stored
            match want:
                case Done() | Fetch():
                    return want
                case Load(role):
                    stored = self._store.load(role, want.version)
                    answer = ABSENT if stored is None else stored
                    self._held[role] = stored
                case Persist(role):
                    if not self._store.persist(want):
                        self._call.lost_race()
                        return None
                    self._held[role] = want.data
                    answer = STORED
            if not self._feed(want.role, answer):
                return None

    def answer(self, data: bytes | Absent) -> Fetch | Done[T] | None:
        """The step after a `Fetch`, whose answer is `data`.

        Raises: as `begin`.
        """
        want = self._machine.wants()
        if not isinstance(want, Fetch):
            raise InputError(f"nothing was to be fetched: expected no answer, wanted {want}")
        role = want.role
        if data is ABSENT and role not in (ROOT, TIMESTAMP) and self._call.second_look():
            return None
        return self.begin() if self._feed(role, data) else None

    def _feed(self, role: str, answer: bytes | Absent | Stored) -> bool:
        """Feed the machine; False to start over."""
        try:
            self._machine.feed(answer)
        except RefusedError as error:
            if isinstance(error, AlarmError) and isinstance(answer, bytes):
                self._store.keep_evidence(role, answer)
            held = self._held
            if any(self._store.load(name) != held[name] for name in held if name != ROOT):
                self._call.lost_race()
                return False
            if isinstance(error, SignatureError) and self._call.second_look():
                return False
            raise
        return True


def drive(attempt: Attempt[T], get: Callable[[Fetch], bytes | Absent]) -> Done[T] | None:
    """Take every step of `attempt`, with `get` for what is to be fetched.

    Returns:
        The end of it; None if a new session should start over.

    Raises: what `Attempt.begin` and `get` raise.
    """
    step = attempt.begin()
    while isinstance(step, Fetch):
        step = attempt.answer(get(step))
    return step


def from_store(want: Fetch, store: MetadataStore) -> bytes | Absent:
    """The answer of one who never asks: no newer root, the timestamp that is stored.

    Raises:
        UnreachableError: for every other file.
    """
    if want.role == ROOT:
        return ABSENT
    stored = store.load(TIMESTAMP) if want.role == TIMESTAMP else None
    if stored is None:
        raise UnreachableError(f"{want.filename}: not stored here, and the repository isn't asked")
    return stored
