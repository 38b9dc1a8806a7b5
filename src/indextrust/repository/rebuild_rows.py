"""Rows of a state that is made anew, whatever they are read from, and what there is to say of them.

Both ways to make one (`rebuild_served`, `rebuild_checkpoint`) find targets, projects and files, and
put them here. What makes no sense is named and left as it is: nothing is invented.

Whether the bytes of a file are served by the operator himself, no signature says. So it is taken
for every file that has no private copy, and those are named: they can't be restored either.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from indextrust.distribution import DistributionFile
from indextrust.names import Layout, NormalizedName
from indextrust.repository import bulk, schema
from indextrust.repository.faults import Faults
from indextrust.repository.objects import ObjectStore
from indextrust.repository.plan import TargetFile, public_files
from indextrust.repository.schema import Database

__all__ = ["NewRows", "has_sha512"]

_NAMED = 100
"""How many of a kind are named."""

_UNLISTED_FILES = sa.text(
    "SELECT project, filename FROM files LEFT JOIN targets "
    "ON path = 'files/' || project || '/' || filename WHERE path IS NULL "
    "OR files.sha256 <> targets.sha256 OR size <> length "
    "OR files.sha512 IS NOT targets.sha512"
)
_UNLISTED_METADATA = sa.text(
    "SELECT project, filename FROM files LEFT JOIN targets "
    "ON path = 'files/' || project || '/' || filename || '.metadata' "
    "WHERE metadata_sha256 IS NOT NULL AND (path IS NULL OR metadata_sha256 <> targets.sha256 "
    "OR metadata_sha512 IS NOT targets.sha512)"
)
_FILES = sa.text("SELECT count(*) + count(metadata_sha256) FROM files")
_ANY_SHA512 = sa.text("SELECT EXISTS (SELECT 1 FROM targets WHERE sha512 IS NOT NULL)")
_FILE_TARGETS = sa.text("SELECT count(*) FROM targets WHERE path >= 'files/' AND path < 'files0'")


class NewRows:
    """The rows of a new state.

    Args:
        database: made by `State.create`; without targets, projects and files.
        objects: the private copies.

    Attributes:
        database: the same.
        faults: what is signed and makes no sense together.
        missing: files and core metadata without a private copy.
    """

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self.database = database
        self._objects = objects
        self.faults = Faults(_NAMED)
        self.missing = Faults(_NAMED)

    def store(
        self,
        targets: Iterable[tuple[str, str, TargetFile]],
        projects: Iterable[NormalizedName],
        files: Sequence[DistributionFile],
    ) -> None:
        """Insert some rows; each is given once.

        Args:
            targets: bin, target path, and what is signed for it.
            projects: that have a document.
            files: that documents list.

        Raises:
            RepositoryError: a file name stands for two digests.
            StoreError: the disk refused.
        """
        rows = [{"bin": name, "path": path, **target._asdict()} for name, path, target in targets]
        elsewhere = [{**vars(file), "elsewhere": not self._is_kept(file)} for file in files]
        with self.database.begin() as db:
            bulk.insert(db, schema.targets, rows)
            bulk.insert(db, schema.projects, [{"name": name} for name in projects])
            bulk.insert(db, schema.files, elsewhere)
            bulk.use(db, files)

    def compare(self, db: sa.Connection, layout: Layout) -> None:
        """Compare files with targets, when all are there: where files are targets, a file has to
        be in both. What is not is a fault.

        Args:
            db: the transaction.
            layout: what is a target.

        Raises:
            StoreError: the disk refused.
        """
        if layout != "pep458":
            return
        for statement in (_UNLISTED_FILES, _UNLISTED_METADATA):
            for project, filename in db.execute(statement):
                self.faults.add(
                    f"{filename}: the document of {project} and the bins differ about it"
                )
        files = db.scalar(_FILES) or 0
        targets = db.scalar(_FILE_TARGETS) or 0
        if targets > files:
            self.faults.add(f"{targets - files} targets of files that no document lists")

    def _is_kept(self, file: DistributionFile) -> bool:
        """Whether there is a private copy of a file, by its size; of its core metadata too."""
        kept = True
        for path, (sha256, _) in public_files(file).items():
            try:
                size = self._objects.path(sha256).lstat().st_size
            except OSError:
                size = -1
            if size < 0 or (sha256 == file.sha256 and size != file.size):
                self.missing.add(f"{path}: no private copy with sha256 {sha256}")
                kept = False
        return kept


def has_sha512(db: sa.Connection) -> bool:
    """Whether a SHA-512 is listed beside the SHA-256 of any target. Raises StoreError."""
    return bool(db.scalar(_ANY_SHA512))
