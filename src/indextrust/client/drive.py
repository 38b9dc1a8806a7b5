"""Carrying out what a machine of `indextrust.trust` wants: fetch, load, persist, feed.

The only loop around a session or a lookup. It decides one thing: whether to give up on this
session and start with a new one, because what it was judging has changed under it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from indextrust.client.ports import Fetcher, MetadataStore
from indextrust.errors import AlarmError, ConflictError, RefusedError, SignatureError
from indextrust.names import ROOT, TIMESTAMP
from indextrust.trust.wants import ABSENT, STORED, Absent, Done, Fetch, Load, Persist, Stored

__all__ = ["Retry", "World", "drive"]

T = TypeVar("T")
_TRIES = 32


class Machine(Protocol[T]):
    """A session or a lookup."""

    def wants(self) -> Load | Fetch | Persist | Done[T]: ...

    def feed(self, answer: bytes | Absent | Stored) -> None: ...


@dataclass(frozen=True)
class World:
    """Where wants are carried out. `metadata_url` ends with a slash."""

    metadata_url: str
    store: MetadataStore
    fetcher: Fetcher


@dataclass
class Retry:
    """What is left to one call: starts after a lost race, and one second look at the repository,
    which may have been publishing while we read it."""

    tries: int = _TRIES
    second_look: bool = True

    def lost_race(self) -> None:
        """Use up a try.

        Raises:
            ConflictError: it was the last.
        """
        self.tries -= 1
        if self.tries == 0:
            raise ConflictError(
                f"other processes changed the same trusted metadata {_TRIES} times meanwhile"
            )


def drive(machine: Machine[T], world: World, retry: Retry) -> Done[T] | None:
    """Do what `machine` wants until it is done.

    Returns:
        The end of it; None if a new session should start over:

        * another process changed a role before we could store it;
        * a refusal, if what it was judged against was replaced by another process since;
        * once, a listed file that the server lacks: the operator may have collected it since;
        * once, too few valid signatures: the operator may have published a new root since we
          asked for one. (Neither makes anything acceptable: all is judged again from the root.)

    Raises:
        RefusedError, UnreachableError, UnsupportedKeyError, StoreError: from `feed` and the
            ports. Bytes that raised an alarm were kept as evidence.
    """
    held: dict[str, bytes | None] = {}
    while True:
        want = machine.wants()
        answer: bytes | Absent | Stored
        match want:
            case Done():
                return want
            case Load(role):
                stored = world.store.load(role, want.version)
                answer = ABSENT if stored is None else stored
                held[role] = stored
            case Fetch(role):
                url = world.metadata_url + want.filename
                answer = world.fetcher.fetch(url, max_length=want.max_length)
                if answer is ABSENT and role not in (ROOT, TIMESTAMP) and retry.second_look:
                    retry.second_look = False
                    return None
            case Persist(role):
                if not world.store.persist(want):
                    retry.lost_race()
                    return None
                held[role] = want.data
                answer = STORED
        try:
            machine.feed(answer)
        except RefusedError as error:
            if isinstance(error, AlarmError) and isinstance(answer, bytes):
                world.store.keep_evidence(want.role, answer)
            if any(world.store.load(name) != held[name] for name in held if name != ROOT):
                retry.lost_race()
                return None
            if isinstance(error, SignatureError) and retry.second_look:
                retry.second_look = False
                return None
            raise
