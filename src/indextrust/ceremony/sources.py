"""Where the bytes of files are, for decisions: private copies, the public folder, the checkpoint.

What lies in these places is believed by its hash alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from indextrust.ceremony.decisions import Item
from indextrust.ceremony.findings import names_of
from indextrust.errors import CeremonyError, DistributionError, IndextrustError, InputError
from indextrust.incidents import Fingerprint
from indextrust.installed import describe_wheel
from indextrust.names import hash_prefixed
from indextrust.repository.checkpoint import read_checkpoint
from indextrust.repository.disk import copy_bytes, fresh_file, open_regular, storing
from indextrust.repository.emergency import Wanted
from indextrust.repository.inspect import MAX_SIZE, read_distribution
from indextrust.repository.objects import ObjectStore

__all__ = ["Sources"]

_ANY_TIME = "1970-01-01T00:00:00Z"


class Sources:
    """The places of one repository.

    Args:
        folder: the repository's.
        public: the folder that is served.
        checkpoint: path and digest of the checkpoint; None if there is none.
    """

    def __init__(self, folder: Path, public: Path, checkpoint: tuple[str, str] | None) -> None:
        self._folder = folder
        self._public = public
        self._checkpoint = checkpoint

    def places(self, path: str, sha256: str) -> list[Path]:
        """Where the bytes of a file may be."""
        names = (hash_prefixed(path, sha256), path)
        objects = self._folder / "objects" / sha256[:2] / sha256
        return [objects, *(self._public / name for name in names)]

    def describe(self, path: str, sha256: str) -> Fingerprint:
        """By what a file is recognised; of one that nobody has, its SHA-256."""
        for place in self.places(path, sha256):
            try:
                with open_regular(place) as file:
                    found = describe_wheel(file)
            except (IndextrustError, OSError):
                continue
            if found.sha256 == sha256:
                return found
        return Fingerprint(sha256)

    def take(self, items: Sequence[Item]) -> dict[str, str | None]:
        """Have a private copy of all that is to be listed: what lies in the public folder now,
        somebody may take away until it is needed.

        Returns:
            By the path of each such file, the SHA-256 of the core metadata that it has itself; None
            if none is listed beside it.

        Raises:
            CeremonyError: nobody has the bytes, or this index would not take them; it names the
                file, and where they would be found.
            StoreError: the disk refused.
        """
        own = {}
        for item in items:
            wanted = self.wanted(item) if item.is_file else None
            if wanted is None:
                continue
            if not self._is_taken(item.path, wanted.sha256):
                raise CeremonyError(
                    f"{item.path} is to be listed with sha256 {wanted.sha256}, and its bytes are "
                    f"nowhere: put them at {self.places(item.path, wanted.sha256)[0]}"
                )
            own[item.path] = self._own_core(item.path, wanted)
        return own

    def _own_core(self, path: str, wanted: Wanted) -> str | None:
        """As `take` gives it, of a file of which there is a private copy."""
        private = self.places(path, wanted.sha256)[0]
        with TemporaryDirectory(dir=self._folder / "recovery") as folder:
            named = Path(folder) / wanted.filename
            try:
                with storing(f"write {named}"):
                    _give_name(private, named)
                return read_distribution(named, upload_time=_ANY_TIME)[0].metadata_sha256
            except (DistributionError, InputError) as error:
                raise CeremonyError(f"{path} can't be listed, restored or kept: {error}") from error

    def _is_taken(self, path: str, sha256: str) -> bool:
        """Whether there is a private copy, by now."""
        scratch = self._folder / "recovery"
        private, *others = self.places(path, sha256)
        with contextlib.suppress(IndextrustError), open_regular(private) as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                return True
        for place in others:
            try:
                file = open_regular(place)
            except IndextrustError:
                continue
            with file, storing(f"copy {place}"):
                if os.fstat(file.fileno()).st_size > MAX_SIZE:
                    continue
                with fresh_file(scratch, durable=True) as (fresh, copy):
                    found = copy_bytes(file, copy)
            if found == sha256:
                ObjectStore(self._folder / "objects", scratch).keep(fresh, sha256)
                return True
            fresh.unlink()
        return False

    def wanted(self, item: Item) -> Wanted | None:
        """What has to be added for this outcome; None if it is there."""
        restored = item.decision == "restore" and not item.believed
        if item.outcome is None or (item.ours == item.outcome and not restored):
            return None
        ((project, filename),) = names_of([item])
        known = None
        if item.outcome == item.good and self._checkpoint is not None:
            path, digest = self._checkpoint
            with read_checkpoint(Path(path), digest) as good:
                record = good.project(project)
            known = None if record is None else record.files.get(filename)
        return Wanted(project, filename, item.outcome, known)


def _give_name(path: Path, named: Path) -> None:
    """A second name for a file, or a copy where files have one name. Raises OSError."""
    try:
        os.link(path, named, follow_symlinks=False)
    except OSError:
        shutil.copyfile(path, named, follow_symlinks=False)
