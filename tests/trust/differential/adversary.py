"""A network that answers as it likes, and a driver that keeps account of what it led to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hypothesis import strategies as st

from indextrust.trust import Persist
from tests.support.drive import Driver
from tests.trust.differential.forging import ENVELOPE, role_of
from tests.trust.differential.histories import NOW, Files

__all__ = ["Adversary", "Logged"]


class Logged(Driver):
    """A driver that keeps an account of what was asked for and stored, in order."""

    def __init__(self, files: Mapping[str, bytes], bootstrap: bytes) -> None:
        super().__init__(files, bootstrap, NOW)
        self.events: list[tuple[str, str]] = []

    def _persist(self, want: Persist) -> None:
        super()._persist(want)
        self.events.append(("stored", want.role))


class Adversary(Mapping[str, bytes]):
    """The network: every request is answered as the adversary chooses.

    Args:
        data: where his choices come from.
        view: the set of files that he mostly serves.
        pool: every file that he ever saw or made.
        events: account of the requests.
    """

    def __init__(
        self, data: st.DataObject, view: Files, pool: list[Files], events: list[tuple[str, str]]
    ) -> None:
        self._draw = data.draw
        self._view = view
        self._pool = pool
        self._events = events

    def __getitem__(self, name: str) -> bytes:
        self._events.append(("asked", role_of(name)))
        others = ["moment", "moment", "any", "damaged", "none"]
        answer = self._draw(st.sampled_from(["view"] * 75 + others))
        if answer == "none":
            raise KeyError(name)
        files = self._view
        if answer == "moment":
            files = self._pool[self._draw(st.integers(0, len(self._pool) - 1))]
        if answer == "any":
            name = self._draw(st.sampled_from(sorted(files)))
        found = files[name]
        if answer == "damaged":
            how = self._draw(st.sampled_from(sorted(ENVELOPE)))
            found = ENVELOPE[how](found, self._draw(st.integers(0, 9999)))
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._view)

    def __len__(self) -> int:
        return len(self._view)
