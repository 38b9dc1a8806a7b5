"""What an operator's process does, in a child of its own: one operation on the index in a folder.

The folder holds ``index`` (the repository), ``online.pem`` (the online key) and ``roles`` (what
the last ceremony signed).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner

from indextrust.errors import IndextrustError
from indextrust.repository import Repository, SignedRoles, lock
from tests.repository.place import Clock

__all__ = ["NOTHING", "Job", "load_online"]


@dataclass(frozen=True)
class Job:
    """One operation, to be called in the child.

    Args:
        folder: of the scene.
        what: ``publish``, ``renew``, ``renew-all``, ``restore``, ``collect``, ``install``,
            ``rebin``, ``create``, ``rehash`` (of one file); ``mend`` (create, install or publish,
            whatever is needed); ``retry`` (publish, and again if that fails).
        now: the clock's time.
        patience: seconds to wait for another operation.
    """

    folder: Path
    what: str
    now: datetime
    patience: float = 60.0

    @property
    def index(self) -> Path:
        """The repository."""
        return self.folder / "index"

    def __call__(self) -> Any:
        lock.TIMEOUT = self.patience
        online, clock = load_online(self.folder), Clock(self.now)
        made = (self.index / "state.sqlite").exists()
        if self.what == "create" or (self.what == "mend" and not made):
            Repository.create(
                self.index, SignedRoles.load(self.folder / "roles"), online=online, clock=clock
            )
            return None
        if self.what in ("install", "rebin", "mend"):
            repository = Repository.open(self.index, clock=clock)
            roles = SignedRoles.load(self.folder / "roles")
            newest = json.loads(roles.root[-1])["signed"]["version"]
            if self.what == "rebin":
                return repository.rebin(roles, online)
            if self.what == "install" or repository.status().root_version < newest:
                return repository.install(roles, online)
        repository = Repository.open(self.index, online=online, clock=clock)
        if self.what == "retry":
            try:
                return repository.publish()
            except IndextrustError as error:
                return type(error).__name__, repository.publish()
        operations: dict[str, Callable[[], Any]] = {
            "publish": repository.publish,
            "mend": repository.publish,
            "renew": repository.renew,
            "renew-all": lambda: repository.renew(timedelta(days=2)),
            "restore": repository.restore,
            "collect": repository.collect,
            "rehash": lambda: repository.rehash(1),
        }
        return operations[self.what]()


NOTHING = Job(Path(), "nothing", datetime.min)  # noqa: DTZ901 - never run


def load_online(folder: Path) -> CryptoSigner:
    """The online key of a scene."""
    key = load_pem_private_key((folder / "online.pem").read_bytes(), None)
    return CryptoSigner(key)
