"""The operator's side: what is in the index, signed and published as static files.

* `Repository`: create, add, import, remove, yank, publish, renew, install, restore, collect,
  rehash, rebuild, check, checkpoint, audit, refill, status;
* `Checkpoint`, `read_checkpoint`: what was known to be good, by its digest;
* `SignedRoles`: what a ceremony hands over;
* `read_distribution`: what a wheel or sdist says of itself;
* `Published`, `Imported`, `Collected`, `Rehashed`, `Rebuilt`, `Checked`, `Difference`, `Status`,
  `RoleStatus`, `LogEntry`, `Audit`: what the operations answer.

`Repository` needs the ``repository`` extra (SQLAlchemy). It is imported when it is first asked
for, so that the rest of this package (signing, key files, `SignedRoles`) works without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indextrust.errors import MissingExtraError
from indextrust.repository.audit import Audit
from indextrust.repository.checkpoint import Checkpoint, read_checkpoint
from indextrust.repository.freeze import FreezeNote, Frozen
from indextrust.repository.inspect import read_distribution
from indextrust.repository.plan import TargetFile
from indextrust.repository.results import (
    Checked,
    Collected,
    Difference,
    Imported,
    LogEntry,
    Published,
    Rebuilt,
    Rehashed,
    RoleStatus,
    Status,
)
from indextrust.repository.roles import SignedRoles

if TYPE_CHECKING:
    from indextrust.repository.repository import Repository

__all__ = [
    "Audit",
    "Checked",
    "Checkpoint",
    "Collected",
    "Difference",
    "FreezeNote",
    "Frozen",
    "Imported",
    "LogEntry",
    "Published",
    "Rebuilt",
    "Rehashed",
    "Repository",
    "RoleStatus",
    "SignedRoles",
    "Status",
    "TargetFile",
    "read_checkpoint",
    "read_distribution",
]


def __getattr__(name: str) -> Any:
    if name != "Repository":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from indextrust.repository.repository import Repository
    except ModuleNotFoundError as error:
        if error.name != "sqlalchemy":
            raise
        raise MissingExtraError("repository", error.name) from None
    return Repository
