"""What is wrong with an index, one sentence each: the first of them, and how many there are.

Whoever signs, or writes to a folder, makes as many faults as he likes, and an answer that names
them all is as long as he likes: so the others are counted.
"""

from __future__ import annotations

__all__ = ["Faults"]


class Faults:
    """Sentences of one kind.

    Args:
        most: how many are kept.

    Attributes:
        count: how many there are.
        named: those that are kept, in order.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.count = 0
        self.named: list[str] = []

    def add(self, text: str) -> None:
        """One more."""
        self.count += 1
        if self.count <= self._most:
            self.named.append(text)
