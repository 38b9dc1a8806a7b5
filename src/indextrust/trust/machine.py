"""The `wants()`/`feed()` shell around a generator of steps."""

from __future__ import annotations

from collections.abc import Generator
from typing import Generic, TypeVar

from indextrust.errors import InputError
from indextrust.trust.wants import STORED, Absent, Done, Fetch, Load, Persist, Stored

__all__ = ["Answer", "Machine", "Steps", "Want"]

T = TypeVar("T")
Want = Load | Fetch | Persist
Answer = bytes | Absent | Stored
Steps = Generator[Want, Answer, T]


class Machine(Generic[T]):
    """Runs `steps` from want to want; what they return is the result."""

    def __init__(self, steps: Steps[T]) -> None:
        self._steps = steps
        self._want: Want | Done[T] | None = None
        self._advance(None)

    def wants(self) -> Want | Done[T]:
        """What the driver should do next; the same until `feed` is called.

        Raises:
            InputError: the machine ended with an error before.
        """
        if self._want is None:
            raise InputError("this session ended with an error; make a new one")
        return self._want

    def feed(self, answer: Answer) -> None:
        """Give the answer to what `wants()` asked for.

        Raises:
            RefusedError: the answer is not acceptable; the machine is finished.
            UnreachableError: it cannot go on without a file that the server lacks, or a budget
                ran out.
            UnsupportedKeyError: a signature can't be verified here.
            InputError: not an answer to what was asked.
        """
        want = self.wants()
        if isinstance(want, Done):
            raise InputError("nothing was asked for")
        if (answer is STORED) != isinstance(want, Persist):
            raise InputError(f"not an answer to {type(want).__name__}: {type(answer).__name__}")
        self._advance(answer)

    def _advance(self, answer: Answer | None) -> None:
        self._want = None
        try:
            # a fresh generator takes None, which its type can't say
            self._want = self._steps.send(answer)  # type: ignore[arg-type]
        except StopIteration as stop:
            self._want = Done(stop.value)
