"""`TufClient` against a repository made with python-tuf and a server that may lie."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest

from indextrust.client import FileMetadataStore, Refreshed, TufClient, Urllib3Fetcher
from indextrust.errors import (
    ConflictError,
    ExpiredError,
    HashMismatchError,
    InputError,
    LengthError,
    RefusedError,
    SignatureError,
    StoreError,
    UnreachableError,
)
from indextrust.testing import MetadataRepository
from indextrust.trust import Known, NotListed, Persist, Policy, TargetEntry
from indextrust.trust.metadata import Targets
from tests.client.processes import killed_before_step, on_a_full_disk, visible, without_rights
from tests.client.stage import BYTES, NOW, WHEEL, Stage

DIGEST = hashlib.sha256(BYTES).hexdigest()
PREFIXED = f"files/demo/{DIGEST}.demo-1.0-py3-none-any.whl"


def _entry(client: TufClient, path: str = WHEEL) -> TargetEntry:
    entry = client.target(path)
    assert isinstance(entry, TargetEntry)
    return entry


# -- honest days ---------------------------------------------------------------------------------


def test_refresh_look_up_download(stage: Stage, tmp_path: Path) -> None:
    client = stage.client()
    assert client.refresh() == Refreshed(1, 1, 1, 1, NOW + timedelta(days=1), NOW, ())
    entry = _entry(client)
    assert (entry.length, entry.hashes, entry.role) == (len(BYTES), {"sha256": DIGEST}, "bins")
    path = client.download(entry, tmp_path / "demo.whl")
    assert path.read_bytes() == BYTES
    assert stage.requests() == [
        "metadata/2.root.json",
        "metadata/timestamp.json",
        "metadata/1.snapshot.json",
        "metadata/1.targets.json",
        "metadata/1.bins.json",
        PREFIXED,
    ]


def test_the_next_run_asks_for_what_is_new_and_no_more(stage: Stage) -> None:
    _entry(stage.client())
    stage.requests()
    _entry(stage.client())
    assert stage.requests() == ["metadata/2.root.json", "metadata/timestamp.json"]
    stage.add("files/demo/new.whl", b"new")
    stage.publish()
    assert isinstance(stage.client().target("files/demo/new.whl"), TargetEntry)
    assert stage.requests() == [
        "metadata/2.root.json",
        "metadata/timestamp.json",
        "metadata/2.snapshot.json",
        "metadata/2.targets.json",
        "metadata/2.bins.json",
    ]


def test_a_target_that_nobody_lists_is_an_answer(stage: Stage) -> None:
    assert stage.client().target("files/demo/other.whl") == NotListed("files/demo/other.whl", 1)


def test_a_lookup_refreshes_once_and_then_keeps_its_view(stage: Stage) -> None:
    """One client shows one snapshot until it is told to refresh."""
    client = stage.client()
    _entry(client)
    stage.add("files/demo/new.whl", b"new")
    stage.publish()
    assert client.target("files/demo/new.whl") == NotListed("files/demo/new.whl", 1)
    client.refresh()
    assert _entry(client, "files/demo/new.whl").snapshot_version == 2


def test_a_new_root_is_followed_and_kept(stage: Stage) -> None:
    stage.client().refresh()
    stage.repository.rotate("timestamp")
    stage.repository.publish_root()
    stage.publish()
    assert stage.client().refresh().root_version == 2
    stage.requests()
    assert stage.client().refresh().root_version == 2
    assert stage.requests()[0] == "metadata/3.root.json", "root 2 came from the history"


def test_without_consistent_snapshots_plain_names_are_asked_for(
    stage: Stage, tmp_path: Path
) -> None:
    stage.repository.root.signed.consistent_snapshot = False
    root = stage.repository.publish_root()
    files = stage.repository.files
    for role in ("snapshot", "targets", "bins"):
        files[f"{role}.json"] = files[f"1.{role}.json"]
    stage.write()
    client = stage.client(root=root)
    client.download(_entry(client), tmp_path / "demo.whl")
    assert stage.requests()[1:] == [
        "metadata/timestamp.json",
        "metadata/snapshot.json",
        "metadata/targets.json",
        "metadata/bins.json",
        WHEEL,
    ]


@pytest.mark.parametrize(
    "path", ["a b", "ü/é.whl", "q?x=1#f", "100%25", "a+b!c~d", "deep/er/and/deeper", "'\"<>|*"]
)
def test_any_harmless_path_is_asked_for_percent_encoded(
    stage: Stage, tmp_path: Path, path: str
) -> None:
    stage.repository.add_target(path, BYTES)
    stage.publish()
    client = stage.client()
    assert client.download(_entry(client, path), tmp_path / "out").read_bytes() == BYTES
    folder, slash, name = path.rpartition("/")
    assert stage.requests()[-1] == f"{folder}{slash}{DIGEST}.{name}"
    assert quote(path)  # what the server unquoted


# -- paths and entries that could do harm --------------------------------------------------------


# -- artifacts from a lying server ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("lie", "refusal"),
    [
        pytest.param(b"x" * len(BYTES), HashMismatchError, id="same length, other bytes"),
        pytest.param(BYTES[:-1], LengthError, id="shorter"),
        pytest.param(b"", LengthError, id="empty"),
        pytest.param(BYTES + b"x", LengthError, id="longer"),
        pytest.param(404, UnreachableError, id="gone"),
        pytest.param(500, UnreachableError, id="server error"),
    ],
)
def test_a_refused_artifact_leaves_nothing_and_destroys_nothing(
    stage: Stage, tmp_path: Path, lie: bytes | int, refusal: type[Exception]
) -> None:
    client = stage.client()
    entry = _entry(client)
    folder = tmp_path / "downloads"
    folder.mkdir()
    (folder / "old.whl").write_bytes(b"an older file")
    stage.server.tamper(PREFIXED, lie)
    for name in ("new.whl", "old.whl"):
        with pytest.raises(refusal):
            client.download(entry, folder / name)
    with pytest.raises(refusal):
        client.open(entry)
    with pytest.raises(refusal):
        client.read(entry, max_length=1_000_000)
    assert visible(folder) == {"old.whl"}
    assert (folder / "old.whl").read_bytes() == b"an older file"
    stage.server.be_honest()
    assert client.download(entry, folder / "old.whl").read_bytes() == BYTES


def test_open_and_read_give_verified_bytes(stage: Stage) -> None:
    client = stage.client()
    with client.open(_entry(client)) as file:
        assert file.read() == BYTES
    assert client.read(_entry(client), max_length=len(BYTES)) == BYTES
    stage.requests()
    with pytest.raises(LengthError, match="too long"):
        client.read(_entry(client), max_length=len(BYTES) - 1)
    assert stage.requests() == []


def test_a_file_that_is_there_is_not_fetched_again_unless_it_differs(
    stage: Stage, tmp_path: Path
) -> None:
    client = stage.client()
    entry, path = _entry(client), tmp_path / "demo.whl"
    client.download(entry, path)
    stage.requests()
    client.download(entry, path)
    assert stage.requests() == []
    path.write_bytes(b"x" * len(BYTES))
    client.download(entry, path)
    assert stage.requests() == [PREFIXED]
    assert path.read_bytes() == BYTES


def test_a_link_at_the_destination_is_replaced_not_followed(stage: Stage, tmp_path: Path) -> None:
    """A local attacker wants a download to overwrite, or to be taken from, another file."""
    victim, link = tmp_path / "victim", tmp_path / "demo.whl"
    for content in (b"precious", BYTES):
        victim.write_bytes(content)
        link.unlink(missing_ok=True)
        link.symlink_to(victim)
        client = stage.client()
        client.download(_entry(client), link)
        assert victim.read_bytes() == content
        assert not link.is_symlink()
        assert link.read_bytes() == BYTES


def test_a_destination_that_can_not_be_written(stage: Stage, tmp_path: Path) -> None:
    client = stage.client()
    entry = _entry(client)
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", tmp_path / "missing" / "demo.whl"):
        with pytest.raises(StoreError, match=f"can't write {path}"):
            client.download(entry, path)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert without_rights(lambda: client.download(entry, closed / "x")).startswith("StoreError")


def test_a_full_disk_leaves_the_old_artifact(stage: Stage, tmp_path: Path) -> None:
    client = stage.client()
    entry, path = _entry(client), tmp_path / "downloads" / "demo.whl"
    path.parent.mkdir()
    path.write_bytes(b"old")
    answer = on_a_full_disk(5000, lambda: client.download(entry, path))
    assert answer.startswith(f"StoreError: can't write {path}: File too large")
    assert visible(path.parent) == {"demo.whl"}
    assert path.read_bytes() == b"old"


def test_killed_while_downloading_no_half_file_has_its_name(stage: Stage, tmp_path: Path) -> None:
    client = stage.client()
    entry, path = _entry(client), tmp_path / "downloads" / "demo.whl"
    path.parent.mkdir()
    number, reached = 0, True
    while reached:
        number += 1
        path.write_bytes(b"old")
        reached = killed_before_step(number, lambda: client.download(entry, path))
        assert path.read_bytes() in (b"old", BYTES)
    assert number > 2


def test_without_a_url_for_targets_nothing_is_downloaded(stage: Stage) -> None:
    client = TufClient(
        stage.server.url + "metadata",
        root=stage.repository.files["1.root.json"],
        store=stage.store(),
        fetcher=Urllib3Fetcher(seconds=20),
        clock=lambda: NOW,
    )
    with pytest.raises(InputError, match="without a URL for targets"):
        client.open(_entry(client))


# -- metadata from a lying server ----------------------------------------------------------------


def test_a_refused_refresh_leaves_the_client_with_what_it_had(stage: Stage) -> None:
    client = stage.client()
    _entry(client)
    stage.server.tamper("metadata/timestamp.json", b"{}")
    with pytest.raises(RefusedError):
        client.refresh()
    assert _entry(client).snapshot_version == 1


def test_a_bootstrap_that_is_no_root_is_refused_unasked(stage: Stage) -> None:
    with pytest.raises(RefusedError):
        stage.client(root=stage.repository.files["1.targets.json"]).refresh()
    assert stage.requests() == []


def test_two_timestamps_of_one_version_are_kept_as_evidence(stage: Stage) -> None:
    stage.client().refresh()
    stage.repository.timestamp.signed.unrecognized_fields["other"] = "face"
    other = stage.repository.publish_again("timestamp")
    stage.write()
    (notice,) = stage.client().refresh().notices
    assert notice.kind == "same-version-other-bytes"
    (evidence,) = (stage.folder / "cache" / "evidence").iterdir()
    assert evidence.read_bytes() == other
    assert stage.stored()["timestamp.json"] != other


# -- others at the same time ---------------------------------------------------------------------


def test_a_snapshot_collected_on_the_way_costs_one_more_round(stage: Stage) -> None:
    """Between our timestamp and our snapshot the operator publishes, and collects the old one."""

    def collect(_: bytes) -> bytes:
        stage.server.tamper("metadata/1.snapshot.json", 404)
        data = stage.repository.files["timestamp.json"]
        stage.publish()
        stage.server.tamper("metadata/timestamp.json", lambda now: now)
        return data

    stage.server.tamper("metadata/timestamp.json", collect)
    assert stage.client().refresh().snapshot_version == 2
    assert stage.requests() == [
        "metadata/2.root.json",
        "metadata/timestamp.json",
        "metadata/1.snapshot.json",
        "metadata/2.root.json",
        "metadata/timestamp.json",
        "metadata/2.snapshot.json",
        "metadata/2.targets.json",
    ]


def test_a_bin_collected_on_the_way_costs_one_more_round(stage: Stage) -> None:
    client = stage.client()
    client.refresh()
    stage.publish()
    stage.server.tamper("metadata/1.bins.json", 404)
    assert _entry(client).snapshot_version == 2


@pytest.mark.parametrize("role", ["snapshot", "targets", "bins"])
def test_a_file_that_stays_missing_is_named(stage: Stage, role: str) -> None:
    stage.server.tamper(f"metadata/1.{role}.json", 404)
    with pytest.raises(UnreachableError, match=rf"1\.{role}\.json"):
        stage.client().target(WHEEL)
    asked = stage.requests()
    assert asked[-1] == f"metadata/1.{role}.json"
    assert asked.count(f"metadata/1.{role}.json") == 2


def test_a_missing_timestamp_is_not_asked_for_twice(stage: Stage) -> None:
    stage.server.tamper("metadata/timestamp.json", 404)
    with pytest.raises(UnreachableError, match=r"timestamp\.json"):
        stage.client().refresh()
    assert stage.requests() == ["metadata/2.root.json", "metadata/timestamp.json"]


def test_many_threads_share_one_client(stage: Stage, tmp_path: Path) -> None:
    """While one of them refreshes, and with a switch of threads at every turn."""
    paths = [f"files/demo/{number}.whl" for number in range(20)]
    for path in paths:
        stage.add(path, path.encode())
    stage.publish()
    client = stage.client()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            refreshed = pool.submit(client.refresh)
            entries = list(pool.map(lambda path: _entry(client, path), paths * 5))
            bodies = list(pool.map(lambda entry: client.read(entry, max_length=99), entries[:20]))
    finally:
        sys.setswitchinterval(before)
    assert refreshed.result().snapshot_version == 2
    assert bodies == [path.encode() for path in paths]


def test_what_was_verified_is_remembered_safely_by_many_threads() -> None:
    known = Known(most=8)
    targets = Targets(1, NOW, {}, ())

    def work(_: int) -> None:
        for number in range(3000):
            role = f"role {number % 12}"
            if known.recall(role, "sha256", "by", Targets) is None:
                known.learn(role, "sha256", 2, "by", targets)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
    finally:
        sys.setswitchinterval(before)
    assert known.recall("role 11", "sha256", "by", Targets) is targets  # the last one of each


class Meddling(FileMetadataStore):
    """A store that lets another process be faster, just before it persists a role."""

    def __init__(self, folder: Path, role: str, other: Callable[[], object], races: int) -> None:
        super().__init__(folder)
        self.role, self.other, self.races = role, other, races

    def persist(self, want: Persist) -> bool:
        if want.role == self.role and self.races:
            self.races -= 1
            self.other()
        return super().persist(want)


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets", "bins"])
def test_another_process_was_faster(stage: Stage, role: str) -> None:
    """It publishes nothing older: the slower one starts over and ends with the newer set."""
    stage.client().target(WHEEL)
    stage.repository.publish_root()
    stage.publish()

    def other() -> None:
        stage.repository.publish_root()
        stage.publish()
        stage.client().target(WHEEL)

    client = stage.client(store=Meddling(stage.folder / "cache", role, other, 1))
    assert _entry(client).snapshot_version == 3
    assert client.refresh().root_version == 3


def test_others_who_never_stop_are_a_conflict_in_the_end(stage: Stage) -> None:
    def other() -> None:
        stage.publish()
        stage.client().refresh()
        stage.publish()

    client = stage.client(store=Meddling(stage.folder / "cache", "timestamp", other, 1000))
    with pytest.raises(ConflictError, match="32 times"):
        client.refresh()
    assert stage.client().refresh().snapshot_version > 30


class Lagging(FileMetadataStore):
    """A store whose process is put to sleep right after it persisted the timestamp."""

    def __init__(self, folder: Path, other: Callable[[], object]) -> None:
        super().__init__(folder)
        self.other: Callable[[], object] | None = other

    def persist(self, want: Persist) -> bool:
        stored = super().persist(want)
        if want.role == "timestamp" and self.other is not None:
            other, self.other = self.other, None
            other()
        return stored


def test_a_refusal_judged_against_what_was_replaced_is_judged_again(stage: Stage) -> None:
    """We stored timestamp 2 and sleep; another process stores all of set 3. Then snapshot 2
    looks rolled back, though nobody did anything wrong."""
    stage.client().refresh()
    stage.publish()

    def other() -> None:
        stage.publish()
        stage.client().target(WHEEL)

    client = stage.client(store=Lagging(stage.folder / "cache", other))
    assert client.refresh().snapshot_version == 3
    assert "metadata/2.snapshot.json" in stage.requests(), "it was fetched, and refused"


def test_new_online_keys_between_our_root_and_our_timestamp_cost_one_more_round(
    stage: Stage,
) -> None:
    """The operator publishes root 2 just after we were told that there is none."""
    stage.client().refresh()

    def rotate(_: bytes) -> bytes:
        stage.server.be_honest()
        stage.repository.rotate("timestamp")
        stage.repository.publish_root()
        stage.publish()
        return stage.repository.files["timestamp.json"]

    stage.requests()
    stage.server.tamper("metadata/timestamp.json", rotate)
    assert stage.client().refresh().root_version == 2
    assert stage.requests() == [
        "metadata/2.root.json",
        "metadata/timestamp.json",
        "metadata/2.root.json",
        "metadata/3.root.json",
        "metadata/timestamp.json",
        "metadata/2.snapshot.json",
        "metadata/2.targets.json",
    ]


def test_a_bad_signature_gets_one_second_look_and_no_third(stage: Stage) -> None:
    stage.repository.signers["timestamp"].clear()
    stage.publish()
    with pytest.raises(SignatureError):
        stage.client().refresh()
    assert stage.requests() == ["metadata/2.root.json", "metadata/timestamp.json"] * 2


@pytest.mark.parametrize("url", ["", "index.example", "ftp://x/", "http://u:p@x/", "http://x/?q"])
def test_a_url_that_can_not_be_used(stage: Stage, url: str) -> None:
    with pytest.raises(InputError):
        TufClient(url, root=b"", store=stage.store(), fetcher=Urllib3Fetcher())


def test_the_cache_folder_can_not_be_written(stage: Stage) -> None:
    """Nothing is trusted that can't be remembered: else a rollback would go unnoticed."""
    os.mkdir(stage.folder / "cache", 0o555)
    stage.folder.chmod(0o755)
    client = stage.client()
    assert without_rights(client.refresh).startswith("StoreError: ")


def test_a_client_that_lives_long_refreshes_when_what_it_trusts_expired(stage: Stage) -> None:
    client = stage.client(policy=Policy(refresh_every=timedelta(days=30)))
    client.refresh()
    stage.requests()
    stage.now += timedelta(hours=23)
    assert isinstance(client.target(WHEEL), TargetEntry)
    assert stage.requests() == ["metadata/1.bins.json"]
    stage.now += timedelta(hours=1)
    with pytest.raises(ExpiredError):
        client.target(WHEEL)
    for metadata in (stage.repository.timestamp, stage.repository.snapshot):
        metadata.signed.expires = stage.now + timedelta(days=1)
    stage.publish()
    assert isinstance(client.target(WHEEL), TargetEntry)


@pytest.mark.parametrize("forged", ["a foreign chain", "a version out of nowhere", "garbage"])
def test_a_cache_that_somebody_else_wrote_is_replaced_by_one_honest_refresh(
    stage: Stage, forged: str
) -> None:
    """The bootstrap root is the anchor, so a forged cache can neither be believed nor block."""
    cache = stage.folder / "cache"
    client = stage.client()
    client.refresh()
    foreign = MetadataRepository(now=NOW)
    foreign.publish_root()
    foreign.publish()
    (cache / "root.json").write_bytes(
        {
            "a foreign chain": foreign.files["2.root.json"],
            "a version out of nowhere": b'{"signatures":[],"signed":{"version":999}}',
            "garbage": b"\x00",
        }[forged]
    )
    (cache / "root_history" / "2.root.json").write_bytes(foreign.files["2.root.json"])
    (cache / "timestamp.json").write_bytes(foreign.files["timestamp.json"])
    (cache / "snapshot.json").write_bytes(foreign.files["1.snapshot.json"])
    stage.client().refresh()
    assert stage.stored()["root.json"] == stage.repository.files["1.root.json"]
    for role, name in (("timestamp", "timestamp.json"), ("snapshot", "1.snapshot.json")):
        assert stage.stored()[f"{role}.json"] == stage.repository.files[name]


def test_a_target_of_a_length_out_of_bounds_is_refused_unasked(
    stage: Stage, tmp_path: Path
) -> None:
    """The deadline grows with the signed length, so a thief would choose a huge one."""
    client = stage.client()
    entry = replace(_entry(client), length=10**17)
    stage.requests()
    with pytest.raises(LengthError, match="too long"):
        client.download(entry, tmp_path / "out")
    assert stage.requests() == []
