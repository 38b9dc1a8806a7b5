"""What the proxy needs of a client: the port between this room and `indextrust.client`."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from indextrust.client import ListedFile, Project, Refreshed
from indextrust.trust import NotListed

__all__ = ["Source"]


class Source(Protocol):
    """One index, every answer verified. `indextrust.client.Client` is one.

    The calls block, and are made by several threads at once. Whatever they return is verified;
    they raise `RefusedError` for what came and is not acceptable, `UnreachableError` if nothing
    usable came, and other `IndextrustError`s for what this machine can't do.
    """

    def state(self) -> Refreshed:
        """What is trusted now; the index is asked if the user's policy wants it. Called once,
        before anything else."""

    def project(self, name: str) -> Project | NotListed:
        """A project and its files.

        Args:
            name: normalised.
        """

    def download(self, listed: ListedFile, folder: Path) -> Path:
        """Put a distribution file into `folder`, which exists, under its own name.

        No byte of it is under the returned path before all of it was verified.

        Raises:
            ChangedArtifactError: it is not what was seen first under this name.
        """

    def metadata(self, listed: ListedFile) -> bytes:
        """The verified core metadata beside a distribution file (PEP 658).

        Raises:
            ChangedArtifactError: the file is not what was seen first under this name.
            NotListedError: there is none.
        """
