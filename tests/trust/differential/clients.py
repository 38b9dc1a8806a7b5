"""Two clients over the same files: a bare session of ours, and tuf's own `Updater`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from indextrust.errors import IndextrustError
from indextrust.trust import TargetEntry
from tests.support.drive import Driver
from tests.trust.differential.histories import PATHS
from tests.trust.differential.rules import Case, explain

__all__ = ["Pair", "Step"]

_FAST = next((folder for folder in ("/dev/shm",) if Path(folder).is_dir()), None)  # noqa: S108
Found = dict[str, tuple[int, dict[str, str]] | None]


@dataclass(frozen=True)
class Step:
    """One refresh of both, with the look-ups after it.

    Args:
        ours: our refusal, or None.
        theirs: `Updater`'s, or None.
        rules: ids of the rules by which they differ; empty if they agree in everything.
    """

    ours: IndextrustError | None
    theirs: Exception | None
    rules: frozenset[str]


class Pair:
    """Both clients, each with a store of its own, over `files`, which the caller changes.

    They agree if both accept or both refuse, both find the same entries, and both trust the same
    bytes of every role afterwards. Where they don't, a rule of `specs/client.md` must say so, and
    both start anew from the bootstrap root, as their histories have parted.

    Args:
        files: file name to bytes, as served.
        bootstrap: root v1.
        now: reference time.
        paths: what is looked up after each refresh.
        config: `Updater`'s bounds.
    """

    def __init__(
        self,
        files: Mapping[str, bytes],
        bootstrap: bytes,
        now: datetime,
        *,
        paths: Iterable[str] = PATHS,
        config: UpdaterConfig | None = None,
    ) -> None:
        self.files = dict(files)
        self.now = now
        self.paths = tuple(paths)
        self._bootstrap = bootstrap
        self._config = config or UpdaterConfig()
        self._folder = tempfile.TemporaryDirectory(dir=_FAST)
        self.driver = Driver(self.files, bootstrap, now)

    def close(self) -> None:
        """Remove what `Updater` stored."""
        self._folder.cleanup()

    def serve(self, files: Mapping[str, bytes]) -> None:
        """Let `files`, and nothing else, be what both clients are given."""
        self.files.clear()
        self.files.update(files)

    def step(self) -> Step:
        """Let both refresh and look up.

        Raises:
            AssertionError: they differ, and by no rule.
        """
        before, times = dict(self.driver.stored), self.driver.times
        self.driver.requests.clear()
        ours, our_entries = self._ours()
        theirs, their_entries = self._theirs()
        stored = self._their_store()
        agreed = (ours is None) == (theirs is None) and stored == self.driver.stored
        if agreed and (ours is not None or our_entries == their_entries):
            return Step(ours, theirs, frozenset())
        names = [name for name in self.driver.requests if name in self.files]
        case = Case(
            error=ours,
            theirs_refused=theirs is not None,
            name=names[-1] if names else "",
            data=self.files[names[-1]] if names else b"",
            before=before,
            after=dict(self.driver.stored),
            requests=tuple(self.driver.requests),
            paths=self.paths,
            limits=self.driver.limits,
            their_roots=self._config.max_root_rotations,
            served=tuple(self.files),
            now=self.now,
            last_seen=times.last_seen if times else None,
            policy=self.driver.policy,
            fetched=sum(len(self.files[name]) for name in names),
        )
        rules = explain(case)
        assert rules, (ours, theirs, our_entries, their_entries, case.name)
        self._start_anew()
        return Step(ours, theirs, rules)

    def _start_anew(self) -> None:
        shutil.rmtree(self._folder.name)
        Path(self._folder.name).mkdir()
        limits, policy = self.driver.limits, self.driver.policy
        self.driver = Driver(self.files, self._bootstrap, self.now)
        self.driver.limits, self.driver.policy = limits, policy

    def _ours(self) -> tuple[IndextrustError | None, Found]:
        self.driver.now = self.now
        found: Found = {}
        try:
            self.driver.refresh()
            for path in self.paths:
                entry = self.driver.find(path)
                found[path] = (
                    (entry.length, dict(entry.hashes)) if isinstance(entry, TargetEntry) else None
                )
        except IndextrustError as error:
            return error, found
        return None, found

    def _theirs(self) -> tuple[Exception | None, Found]:
        found: Found = {}
        try:
            updater = Updater(
                self._folder.name,
                "http://repository/",
                fetcher=_Fetcher(self.files),
                config=self._config,
                bootstrap=self._bootstrap,
            )
            updater._trusted_set.reference_time = self.now
            updater.refresh()
            for path in self.paths:
                info = updater.get_targetinfo(path)
                found[path] = None if info is None else (info.length, info.hashes)
        except (RepositoryError, DownloadError, OSError) as error:
            return error, found
        return None, found

    def _their_store(self) -> dict[str, bytes]:
        return {file.stem: file.read_bytes() for file in Path(self._folder.name).glob("*.json")}


class _Fetcher(FetcherInterface):
    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files

    def _fetch(self, url: str) -> Any:
        name = url.rpartition("/")[2]
        if name not in self.files:
            raise DownloadHTTPError("absent", 404)
        return iter([self.files[name]])
