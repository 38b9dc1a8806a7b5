"""Our session and tuf's own `Updater` give the same verdict on the same history.

A state machine makes histories with python-tuf: publications, key rotations, thresholds,
delegations, and an attacker who replays, mixes, truncates, drops and re-signs. After every change
both clients refresh, each over its own store. Where we refuse and `Updater` does not, the error
must be of a rule listed in `specs/client.md`; the other way round is never right.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.api.metadata import MetaFile
from tuf.ngclient import FetcherInterface, Updater

from indextrust.errors import (
    EquivocationError,
    IndextrustError,
    RefusedError,
    RollbackError,
    UnreachableError,
)
from indextrust.testing import MetadataRepository
from indextrust.trust import TargetEntry
from tests.support.drive import Driver

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROLES = ("root", "timestamp", "snapshot", "targets")
PATHS = ("files/a/1", "files/b/1", "simple/a/1", "other")
STRICTER = (EquivocationError,)


class _Fetcher(FetcherInterface):
    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def _fetch(self, url: str) -> Any:
        name = url.rpartition("/")[2]
        if name not in self.files:
            raise DownloadHTTPError("absent", 404)
        return iter([self.files[name]])


class Histories(RuleBasedStateMachine):
    counts: ClassVar[Counter[str]] = Counter()

    @initialize()
    def begin(self) -> None:
        self.repository = MetadataRepository(now=NOW)
        self.repository.delegate("targets", "bins", ["files/*/*"], terminating=True)
        self.repository.delegate("targets", "rest", ["*/*/*"], terminating=False)
        self.repository.delegate("bins", "inner", ["files/b/*"], terminating=True)
        self.repository.add_target("files/a/1", b"a", role="bins")
        self.repository.add_target("files/b/1", b"b", role="inner")
        self.repository.publish()
        self.served = dict(self.repository.files)
        self.past = [dict(self.served)]
        self.now = NOW
        self.reused = False  # whether a version number was published with other bytes
        self._fresh_clients()

    def _fresh_clients(self) -> None:
        self.cache = tempfile.TemporaryDirectory()
        self.driver = Driver(self.served, self.repository.files["1.root.json"], self.now)

    def teardown(self) -> None:
        if hasattr(self, "cache"):
            self.cache.cleanup()

    # -- what the repository does --------------------------------------------------------------

    @rule()
    def publish(self) -> None:
        self.repository.publish()
        self._serve()

    @rule(role=st.sampled_from(ROLES))
    def rotate(self, role: str) -> None:
        self.repository.rotate(role)
        self.repository.publish_root()
        self.repository.publish()
        self._serve()

    @rule(role=st.sampled_from(ROLES), threshold=st.integers(1, 2))
    def more_keys(self, role: str, threshold: int) -> None:
        self.repository.add_key(role)
        self.repository.root.signed.roles[role].threshold = threshold
        self.repository.publish_root()
        self.repository.publish()
        self._serve()

    @rule(hashes=st.booleans())
    def record_hashes(self, hashes: bool) -> None:
        self.repository.publish()
        if not hashes:
            meta = self.repository.snapshot.signed.meta
            for name in meta:
                meta[name] = MetaFile(meta[name].version)
            self.repository.publish_snapshot()
            self.repository.timestamp.signed.snapshot_meta = MetaFile(
                self.repository.snapshot.signed.version
            )
            self.repository.publish_again("timestamp")
            self.reused = True
        self._serve()

    @rule(role=st.sampled_from(["timestamp", "snapshot", "targets", "bins"]))
    def fast_forward(self, role: str) -> None:
        top: dict[str, Any] = {
            "timestamp": self.repository.timestamp,
            "snapshot": self.repository.snapshot,
        }
        signed = (top.get(role) or self.repository.targets[role]).signed
        self.reused |= signed.version > 2**20
        signed.version = 1 if signed.version > 2**20 else signed.version + 2**20
        self.repository.publish()
        self._serve()

    @rule(hours=st.integers(1, 30))
    def time_passes(self, hours: int) -> None:
        self.now += timedelta(hours=hours)
        self._compare()

    @rule()
    def renew(self) -> None:
        for metadata in (self.repository.timestamp, self.repository.snapshot):
            metadata.signed.expires = self.now + timedelta(days=1)
        self.publish()

    # -- what the attacker does ----------------------------------------------------------------

    @rule(name=st.sampled_from(["timestamp.json", "all"]), index=st.integers(0, 20))
    def replay(self, name: str, index: int) -> None:
        old = self.past[index % len(self.past)]
        self._attack(old if name == "all" else {name: old[name]})

    @rule(index=st.integers(0, 200), other=st.integers(0, 200))
    def swap(self, index: int, other: int) -> None:
        names = sorted(self.served)
        self._attack({names[index % len(names)]: self.served[names[other % len(names)]]})

    @rule(index=st.integers(0, 200))
    def drop(self, index: int) -> None:
        name = sorted(self.served)[index % len(self.served)]
        held = self.served.pop(name)
        self._compare()
        self.served[name] = held

    @rule(index=st.integers(0, 200), at=st.integers(0, 10_000), bit=st.integers(0, 7))
    def flip(self, index: int, at: int, bit: int) -> None:
        name = sorted(self.served)[index % len(self.served)]
        data = bytearray(self.served[name])
        data[at % len(data)] ^= 1 << bit
        self._attack({name: bytes(data)})

    @rule(role=st.sampled_from(["timestamp", "snapshot", "targets"]), keep=st.integers(0, 1))
    def strip_signatures(self, role: str, keep: int) -> None:
        name = max((n for n in self.served if n.endswith(f"{role}.json")), key=_number)
        tree = json.loads(self.served[name])
        tree["signatures"] = tree["signatures"][:keep]
        self._attack({name: json.dumps(tree).encode()})

    @rule(role=st.sampled_from(["timestamp", "snapshot", "targets", "bins"]))
    def resign_with_a_strangers_key(self, role: str) -> None:
        signers = self.repository.signers[role]
        self.repository.signers[role] = [CryptoSigner.generate_ed25519()]
        self.repository.publish()
        self._attack(dict(self.repository.files))
        self.repository.signers[role] = signers
        self.repository.publish()
        self._serve()

    @rule(role=st.sampled_from(["snapshot", "bins"]))
    def same_version_other_bytes(self, role: str) -> None:
        self.reused = True
        metadata: Any = self.repository.targets.get(role, self.repository.snapshot)
        metadata.signed.unrecognized_fields["x-twin"] = len(self.past)
        self.repository.publish_again(role)
        if role == "snapshot":
            self.repository.publish_timestamp(self.repository.files[_newest(self, role)])
        self._serve()

    # -- the comparison --------------------------------------------------------------------------

    def _serve(self) -> None:
        self.served.clear()
        self.served.update(self.repository.files)
        self.past.append(dict(self.served))
        self._compare()

    def _attack(self, changed: dict[str, bytes]) -> None:
        before = dict(self.served)
        self.served.update(changed)
        self._compare()
        self.served.clear()
        self.served.update(before)

    def _compare(self) -> None:
        theirs = self._updater()
        ours = self._ours()
        Histories.counts["accepted" if ours is None else "refused"] += 1
        if isinstance(ours, STRICTER) or (theirs is None and _own_snapshot_fell(ours)):
            assert self.reused, repr(ours)
            Histories.counts[f"stricter: {type(ours).__name__}"] += 1
            self.cache.cleanup()
            self._fresh_clients()  # the two histories have parted
            return
        assert (ours is None) == (theirs is None), (ours, theirs)
        assert self._their_versions() == {
            role: json.loads(data)["signed"]["version"] for role, data in self.driver.stored.items()
        }

    def _ours(self) -> IndextrustError | None:
        self.driver.now = self.now
        try:
            self.driver.refresh()
            self.found = [self.driver.find(path) for path in PATHS]
        except (RefusedError, UnreachableError) as error:
            return error
        return None

    def _updater(self) -> Exception | None:
        try:
            updater = Updater(
                self.cache.name,
                "http://repository/",
                fetcher=_Fetcher(self.served),
                bootstrap=self.repository.files["1.root.json"],
            )
            updater._trusted_set.reference_time = self.now
            updater.refresh()
            for path in PATHS:
                updater.get_targetinfo(path)
        except (RepositoryError, DownloadError) as error:
            return error
        return None

    def _their_versions(self) -> dict[str, int]:
        return {
            file.stem: json.loads(file.read_bytes())["signed"]["version"]
            for file in Path(self.cache.name).glob("*.json")
        }


def _number(name: str) -> int:
    head = name.split(".")[0]
    return int(head) if head.isdigit() else 0


def _newest(machine: Histories, role: str) -> str:
    return max((n for n in machine.served if n.endswith(f"{role}.json")), key=_number)


def _own_snapshot_fell(error: Exception | None) -> bool:
    return isinstance(error, RollbackError) and error.where == "snapshot"


def test_the_verdicts_are_those_of_the_reference_client() -> None:
    Histories.counts.clear()
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=40,
            stateful_step_count=12,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(dict(Histories.counts))
    total = Histories.counts["accepted"] + Histories.counts["refused"]
    assert Histories.counts["accepted"] > total / 4
    assert Histories.counts["refused"] > total / 4
    assert Histories.counts["stricter: EquivocationError"] > 0


def test_the_entries_found_are_those_of_the_reference_client(tmp_path: Path) -> None:
    repository = MetadataRepository(now=datetime.now(UTC))
    repository.delegate("targets", "bins", ["files/*/*"], terminating=True)
    repository.add_target("files/a/1", b"aaa", role="bins")
    repository.publish()
    driver = Driver(repository.files, repository.files["1.root.json"], datetime.now(UTC))
    updater = Updater(
        str(tmp_path),
        "http://repository/",
        fetcher=_Fetcher(repository.files),
        bootstrap=repository.files["1.root.json"],
    )
    info, entry = updater.get_targetinfo("files/a/1"), driver.find("files/a/1")
    assert info is not None
    assert isinstance(entry, TargetEntry)
    assert (info.length, info.hashes) == (entry.length, entry.hashes)
    assert updater.get_targetinfo("files/a/2") is None
    assert not isinstance(driver.find("files/a/2"), TargetEntry)
