"""`TrustedIndexes`: which indexes this user trusts, and from which root.

    HOME/memory.sqlite                                first-seen memory, for all indexes
    HOME/indexes.lock                                 held while an index is added or reset
    HOME/indexes/NAME/index.json                      URL, the root's fingerprint, the policy
    HOME/indexes/NAME/FINGERPRINT/root.json           the bootstrap root
    HOME/indexes/NAME/FINGERPRINT/metadata/           trusted metadata (`FileMetadataStore`)

Trust begins with a root file, and always explicitly: its bytes, its fingerprint (the SHA-256 of
the file), or a person's word that whatever the server shows first will do. The cached metadata
is never an anchor by itself: each refresh walks from the bootstrap root.

``index.json`` is written last, by rename: adding and resetting happen entirely or not at all.
A reset drops the metadata and keeps the first-seen memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock, Timeout

from indextrust.client.durable import replacing
from indextrust.client.files import FileMetadataStore
from indextrust.client.http import Urllib3Fetcher
from indextrust.client.index import Client
from indextrust.client.memory import SqliteMemory
from indextrust.client.ports import Clock, Fetcher
from indextrust.client.updater import utc_now
from indextrust.client.urls import base_url
from indextrust.distribution import SHA256_HEX
from indextrust.errors import (
    BadFingerprintError,
    InputError,
    ProfileError,
    StoreError,
    UnreachableError,
)
from indextrust.names import REHEARSAL_FIELD, ROOT, metadata_filename
from indextrust.trust import Absent, Limits, Policy, Session, Times

__all__ = ["TrustedIndex", "TrustedIndexes"]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_LOCK_SECONDS = 60.0


@dataclass(frozen=True)
class TrustedIndex:
    """An index that is trusted.

    Args:
        name: on this machine.
        url: its base URL, with a slash at the end.
        fingerprint: SHA-256 of the bootstrap root file, lower-case hex.
        policy: what the user asks of freshness beyond expiry.
    """

    name: str
    url: str
    fingerprint: str
    policy: Policy = field(default_factory=Policy)


class TrustedIndexes:
    """The trusted indexes below one home folder.

    Args:
        home: made when the first index is added.
        fetcher: None for a `Urllib3Fetcher`.
        clock: gives the reference time.
    """

    def __init__(
        self, home: Path, *, fetcher: Fetcher | None = None, clock: Clock = utc_now
    ) -> None:
        self._home = home
        self._folder = home / "indexes"
        self._fetcher = fetcher or Urllib3Fetcher()
        self._clock = clock

    @classmethod
    def default(cls) -> TrustedIndexes:
        """Those of this user: below ``INDEXTRUST_HOME``, or the platform's data folder."""
        home = os.environ.get("INDEXTRUST_HOME")
        return cls(Path(home) if home else platformdirs.user_data_path("indextrust"))

    def add(self, name: str, url: str, root: bytes) -> TrustedIndex:
        """Trust an index from a root file that came by another way than the index itself.

        Raises:
            InputError: a bad name or URL, or the name is taken.
            RefusedError: not a root file signed by itself.
            StoreError: it could not be stored.
        """
        index = self._described(name, url, root)
        with self._changing(name) as folder:
            if (folder / "index.json").exists():
                raise InputError(f"{name!r} is trusted already; reset it to change its root")
            self._store(index, root)
        return index

    def add_by_fingerprint(self, name: str, url: str, fingerprint: str) -> TrustedIndex:
        """Trust an index from that of its root files whose SHA-256 a person was given.

        Raises:
            BadFingerprintError: the index has no such root.
            UnreachableError: it could not be asked.
            and what `add` raises.
        """
        return self.add(name, url, self._root_with(url, fingerprint))

    def add_first_use(self, name: str, url: str) -> TrustedIndex:
        """Trust whatever the server shows as its first root. The result's `fingerprint` is what
        a person should compare elsewhere: an attacker who is there now is not noticed.

        Raises:
            UnreachableError: it could not be asked, or has no root.
            and what `add` raises.
        """
        root = self._fetch_root(base_url(url), 1)
        if root is None:
            raise UnreachableError(f"{base_url(url)}: there is no metadata/1.root.json")
        return self.add(name, url, root)

    def list(self) -> list[TrustedIndex]:
        """All of them, by name. Raises StoreError."""
        with _errors(self._folder):
            if not self._folder.exists():
                return []
            found = (path.parent.name for path in self._folder.glob("*/index.json"))
            names = sorted(name for name in found if _NAME.fullmatch(name))
        return [self.get(name) for name in names]

    def get(self, name: str) -> TrustedIndex:
        """The index called `name`.

        Raises:
            InputError: no such index is trusted.
            StoreError: its description can't be read.
        """
        path = self._folder / _checked(name) / "index.json"
        with _errors(path):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                raise InputError(f"no index called {name!r} is trusted") from None
        try:
            tree = json.loads(data)
            index = TrustedIndex(
                name,
                base_url(tree["url"]),
                _fingerprint(tree["fingerprint"]),
                _policy(tree.get("policy", {})),
            )
        except (
            ArithmeticError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            RecursionError,
        ) as error:
            raise StoreError(f"{path} is damaged: {error}") from error
        return index

    def reset(
        self, name: str, *, root: bytes | None = None, fingerprint: str | None = None
    ) -> TrustedIndex:
        """Start again from another root, after its keys were lost or stolen.

        Cached metadata is dropped, and the policy's least root version. First-seen memory stays:
        what changed since is an alarm.

        Raises:
            InputError: not exactly one of `root` and `fingerprint`, or no such index.
            and what `add` and `add_by_fingerprint` raise.
        """
        if (root is None) == (fingerprint is None):
            raise InputError("expected exactly one of root and fingerprint")
        before = self.get(name)
        if root is None:
            root = self._root_with(before.url, fingerprint or "")
        # another line of roots has versions of its own
        policy = replace(before.policy, minimum_root_version=1)
        index = replace(self._described(name, before.url, root), policy=policy)
        with self._changing(name) as folder:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(folder / index.fingerprint / "metadata")
            self._store(index, root)
            for old in folder.iterdir():
                if old.is_dir() and old.name != index.fingerprint:
                    shutil.rmtree(old, ignore_errors=True)
        return index

    def set_policy(self, name: str, policy: Policy) -> TrustedIndex:
        """From now on ask `policy` of the index called `name`. Its `offline_for` is not kept:
        the weaker mode is asked for each time.

        Raises:
            InputError: no such index is trusted.
            StoreError: it could not be stored.
        """
        with self._changing(_checked(name)):
            index = replace(self.get(name), policy=replace(policy, offline_for=None))
            self._describe(index)
        return index

    def reset_clock(self, name: str) -> TrustedIndex:
        """Forget what was remembered of time for an index, after this machine's clock was wrong.
        The least time that expiry is judged by begins anew with the next refresh, and so does the
        age of the root.

        Raises:
            InputError: no such index is trusted.
            StoreError: it could not be forgotten.
        """
        index = self.get(name)
        self._metadata(index).forget_times()
        return index

    def times(self, name: str) -> Times | None:
        """What is remembered of time for an index; None if it was never refreshed.

        Raises:
            InputError: no such index is trusted.
            StoreError: it can't be read.
        """
        return self._metadata(self.get(name)).times()

    def client(self, name: str | None = None, *, offline_for: timedelta | None = None) -> Client:
        """A client of an index.

        Args:
            name: None for the only one.
            offline_for: None to ask the index; otherwise what the last refresh trusted is used,
                if it is no longer ago than this (the weaker mode, see `Policy`).

        Raises:
            InputError: no such index, or not exactly one.
            StoreError: what is stored for it can't be read.
        """
        index = self._only() if name is None else self.get(name)
        path = self._folder / index.name / index.fingerprint / "root.json"
        with _errors(path):
            root = path.read_bytes()
        if hashlib.sha256(root).hexdigest() != index.fingerprint:
            raise StoreError(f"{path} is damaged: its fingerprint is another")
        return Client(
            index.url,
            root=root,
            store=self._metadata(index),
            memory=SqliteMemory(self._home / "memory.sqlite"),
            fetcher=self._fetcher,
            name=index.name,
            clock=self._clock,
            policy=replace(index.policy, offline_for=offline_for),
        )

    # -- parts -------------------------------------------------------------------------------

    def _metadata(self, index: TrustedIndex) -> FileMetadataStore:
        return FileMetadataStore(self._folder / index.name / index.fingerprint / "metadata")

    def _only(self) -> TrustedIndex:
        indexes = self.list()
        if len(indexes) != 1:
            names = ", ".join(index.name for index in indexes) or "none"
            raise InputError(f"name one index: trusted are {names}")
        return indexes[0]

    def _described(self, name: str, url: str, root: bytes) -> TrustedIndex:
        index = TrustedIndex(_checked(name), base_url(url), hashlib.sha256(root).hexdigest())
        Session(root, now=self._clock())  # refuses what is not a root signed by itself
        if REHEARSAL_FIELD in json.loads(root)["signed"]:
            raise ProfileError("made in a rehearsal, to practise, and for no index", where=ROOT)
        return index

    def _root_with(self, url: str, fingerprint: str) -> bytes:
        """The index's root file with this SHA-256, whichever version it is."""
        wanted, base = _fingerprint(fingerprint), base_url(url)
        newest = "no root at all"
        for version in range(1, Limits().root_updates + 1):
            root = self._fetch_root(base, version)
            if root is None:
                break
            newest = hashlib.sha256(root).hexdigest()
            if newest == wanted:
                return root
        raise BadFingerprintError(
            "no root file with this fingerprint",
            where=base,
            expected=wanted,
            got=f"{newest} (the newest)",
        )

    def _fetch_root(self, base: str, version: int) -> bytes | None:
        url = f"{base}metadata/{metadata_filename(ROOT, version)}"
        root = self._fetcher.fetch(url, max_length=Limits().root_length)
        return None if isinstance(root, Absent) else root

    @contextlib.contextmanager
    def _changing(self, name: str) -> Iterator[Path]:
        folder = self._folder / name
        with _errors(folder):
            self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
            with FileLock(self._home / "indexes.lock", timeout=_LOCK_SECONDS):
                folder.mkdir(parents=True, exist_ok=True)
                yield folder

    def _store(self, index: TrustedIndex, root: bytes) -> None:
        folder = self._folder / index.name
        (folder / index.fingerprint).mkdir(exist_ok=True)
        with replacing(folder / index.fingerprint / "root.json") as file:
            file.write(root)
        self._describe(index)

    def _describe(self, index: TrustedIndex) -> None:
        tree: dict[str, Any] = {"fingerprint": index.fingerprint, "url": index.url}
        if index.policy != Policy():
            tree["policy"] = _policy_tree(index.policy)
        with replacing(self._folder / index.name / "index.json") as file:
            file.write(json.dumps(tree, indent=1).encode() + b"\n")


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InputError(
            f"expected an index name of lower-case letters, digits, '.', '_' and '-', at most 64, "
            f"got {name[:80]!r}"
        )
    return name


def _fingerprint(text: str) -> str:
    fingerprint = text.strip().lower()
    if not SHA256_HEX.fullmatch(fingerprint):
        raise InputError(f"expected a sha256 in hex (64 digits), got {text[:80]!r}")
    return fingerprint


def _policy_tree(policy: Policy) -> dict[str, Any]:
    """Durations in seconds; None as null."""
    age = policy.maximum_root_age
    return {
        "fresh_for": policy.fresh_for.total_seconds(),
        "maximum_root_age": None if age is None else age.total_seconds(),
        "minimum_root_version": policy.minimum_root_version,
        "refresh_every": policy.refresh_every.total_seconds(),
    }


def _policy(tree: Any) -> Policy:
    """What `_policy_tree` wrote. Raises ValueError, LookupError or TypeError for anything else."""
    if tree == {}:
        return Policy()
    age = tree["maximum_root_age"]
    return Policy(
        refresh_every=timedelta(seconds=tree["refresh_every"]),
        fresh_for=timedelta(seconds=tree["fresh_for"]),
        minimum_root_version=tree["minimum_root_version"],
        maximum_root_age=None if age is None else timedelta(seconds=age),
    )


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except Timeout:
        raise StoreError(f"another process is changing the trusted indexes: {path}") from None
    except OSError as error:
        raise StoreError(f"can't use {path}: {error.strerror or error}") from error
