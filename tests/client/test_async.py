"""`AsyncTufClient` against a repository made with python-tuf and a server that may lie."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import runpy
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import pytest

from indextrust.client import FileMetadataStore, MetadataStore, Refreshed
from indextrust.client.aio import AsyncFetcher, AsyncTufClient
from indextrust.client.aio_http import AiohttpFetcher
from indextrust.client.durable import replacing
from indextrust.errors import (
    BudgetExceededError,
    ExpiredError,
    HashMismatchError,
    InputError,
    LengthError,
    RollbackError,
    UnreachableError,
    UnsafePathError,
)
from indextrust.testing import MetadataRepository, TamperingServer
from indextrust.trust import ABSENT, Absent, Limits, NotListed, Policy, TargetEntry
from tests.client.stage import BYTES, NOW, WHEEL, Stage
from tests.support.examples import EXAMPLES, output_of

DIGEST = hashlib.sha256(BYTES).hexdigest()
PREFIXED = f"files/demo/{DIGEST}.demo-1.0-py3-none-any.whl"
BINS = [f"bin-{number}" for number in range(5)]
PATHS = [f"many/{name}/{number}" for number in range(8) for name in BINS]


@contextlib.asynccontextmanager
async def client_of(
    stage: Stage,
    *,
    store: MetadataStore | None = None,
    fetcher: AsyncFetcher | None = None,
    policy: Policy | None = None,
    limits: Limits | None = None,
    parallel: int = 8,
) -> AsyncIterator[AsyncTufClient]:
    """A new client on the stage's cache."""
    async with AiohttpFetcher(seconds=100) as over_http:
        yield AsyncTufClient(
            stage.server.url + "metadata/",
            root=stage.repository.files["1.root.json"],
            store=store or stage.store(),
            fetcher=fetcher or over_http,
            targets_url=stage.server.url,
            clock=lambda: stage.now,
            policy=policy,
            limits=limits,
            parallel=parallel,
        )


async def entry_of(client: AsyncTufClient, path: str = WHEEL) -> TargetEntry:
    entry = await client.target(path)
    assert isinstance(entry, TargetEntry)
    return entry


def with_bins(stage: Stage) -> None:
    """Forty targets more, in five roles."""
    for name in BINS:
        stage.repository.delegate("targets", name, [f"many/{name}/*"], terminating=True)
    for path in PATHS:
        stage.repository.add_target(path, path.encode(), role=path.split("/")[1])
    stage.publish()


def answering(stage: Stage, path: str, meanwhile: Callable[[], object]) -> None:
    """Serve `path` honestly, after `meanwhile` returned."""

    def answer(data: bytes) -> bytes:
        meanwhile()
        return data

    stage.server.tamper(path, answer)


# -- honest days ---------------------------------------------------------------------------------


def test_refresh_look_up_download(stage: Stage, tmp_path: Path) -> None:
    async def story() -> None:
        async with client_of(stage) as client:
            refreshed = await client.refresh()
            assert refreshed == Refreshed(1, 1, 1, 1, NOW + timedelta(days=1), NOW, ())
            entry = await entry_of(client)
            assert (entry.length, entry.hashes) == (len(BYTES), {"sha256": DIGEST})
            path = await client.download(entry, tmp_path / "demo.whl")
            assert path.read_bytes() == BYTES
            assert len(stage.requests()) == 6
            await client.download(entry, tmp_path / "demo.whl")
            assert stage.requests() == [], "what is there and matches is not fetched again"

    asyncio.run(story())


def test_a_file_that_is_no_target_is_asked_for_by_its_plain_name(
    stage: Stage, tmp_path: Path
) -> None:
    """As in the layout of documents alone: a verified page says what its bytes have to be."""

    async def story() -> None:
        async with client_of(stage) as client:
            entry = await entry_of(client)
            stage.requests()
            await client.download(entry, tmp_path / "demo.whl", plain=True)
            assert [request.rpartition("/")[2] for request in stage.requests()] == [
                Path(WHEEL).name
            ]

    (stage.public / WHEEL).write_bytes(BYTES)
    asyncio.run(story())
    assert (tmp_path / "demo.whl").read_bytes() == BYTES


def test_the_same_files_are_asked_for_in_the_same_order_as_by_the_blocking_client(
    stage: Stage,
) -> None:
    async def story() -> None:
        async with client_of(stage) as client:
            await entry_of(client)

    asyncio.run(story())
    asked = stage.requests()
    stage.folder /= "blocking"
    stage.client().target(WHEEL)
    assert asked == stage.requests()


def test_the_next_run_asks_for_what_is_new_and_no_more(stage: Stage) -> None:
    async def story() -> None:
        async with client_of(stage) as client:
            await entry_of(client)

    asyncio.run(story())
    stage.requests()
    stage.now += timedelta(hours=1)
    asyncio.run(story())
    assert stage.requests() == ["metadata/2.root.json", "metadata/timestamp.json"]


def test_a_new_root_is_followed_and_kept(stage: Stage) -> None:
    async def refresh() -> int:
        async with client_of(stage) as client:
            return (await client.refresh()).root_version

    assert asyncio.run(refresh()) == 1
    stage.repository.rotate("timestamp")
    stage.repository.publish_root()
    stage.publish()
    assert asyncio.run(refresh()) == 2
    stage.requests()
    assert asyncio.run(refresh()) == 2
    assert stage.requests()[0] == "metadata/3.root.json", "root 2 came from the history"


def test_a_target_that_nobody_lists_is_an_answer(stage: Stage) -> None:
    async def story() -> None:
        async with client_of(stage) as client:
            assert await client.target("files/x/y") == NotListed("files/x/y", 1)
            assert await client.targets([WHEEL, "files/x/y", WHEEL]) == {
                WHEEL: await client.target(WHEEL),
                "files/x/y": NotListed("files/x/y", 1),
            }

    asyncio.run(story())


def test_offline_nothing_is_asked_for(stage: Stage, tmp_path: Path) -> None:
    async def story() -> None:
        async with client_of(stage) as client:
            entry = await entry_of(client)
        stage.requests()
        async with client_of(stage, policy=Policy(offline_for=timedelta(days=7))) as client:
            await client.refresh()
            assert await client.target(WHEEL) == entry
            with pytest.raises(UnreachableError, match="offline"):
                await client.download(entry, tmp_path / "demo.whl")
        assert stage.requests() == []

    asyncio.run(story())


# -- side by side --------------------------------------------------------------------------------


def test_refreshes_at_the_same_time_are_one(stage: Stage) -> None:
    async def story() -> None:
        async with client_of(stage) as client:
            refreshed = await asyncio.gather(*(client.refresh() for _ in range(10)))
            assert set(refreshed) == {refreshed[0]}
            assert len(stage.requests()) == 4
            await client.refresh()
            assert stage.requests() == ["metadata/2.root.json", "metadata/timestamp.json"]

    asyncio.run(story())


def test_many_look_ups_fetch_each_bin_once(stage: Stage) -> None:
    with_bins(stage)

    async def story() -> None:
        async with client_of(stage) as client:
            found = await client.targets(PATHS)
            assert list(found) == PATHS
            assert {path: getattr(entry, "role", None) for path, entry in found.items()} == {
                path: path.split("/")[1] for path in PATHS
            }

    asyncio.run(story())
    asked = stage.requests()
    assert sorted(asked[4:]) == [f"metadata/1.{name}.json" for name in BINS]


def test_a_bin_that_came_between_loading_and_fetching_is_not_fetched_again(stage: Stage) -> None:
    """The second look-up finds nothing stored, and is slow to say so; the first is done by then."""
    loaded, go = threading.Event(), threading.Event()
    loads = iter(range(100))

    class Slow(FileMetadataStore):
        def load(self, role: str, version: int | None = None) -> bytes | None:
            data = super().load(role, version)
            if role == "bins" and next(loads) == 1:
                loaded.set()
                go.wait(30)
            return data

    answering(stage, "metadata/1.bins.json", lambda: loaded.wait(30))

    async def story() -> None:
        async with client_of(stage, store=Slow(stage.folder / "cache")) as client:
            tasks = [asyncio.create_task(client.target(WHEEL)) for _ in range(2)]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            assert len(done) == 1
            go.set()
            assert len(set(map(repr, await asyncio.gather(*tasks)))) == 1

    asyncio.run(story())
    assert stage.requests().count("metadata/1.bins.json") == 1


def test_bins_are_fetched_side_by_side_once_the_snapshot_is_trusted(stage: Stage) -> None:
    """Each bin is served only when all five were asked for."""
    with_bins(stage)
    together = threading.Barrier(len(BINS), timeout=30)
    for name in BINS:
        answering(stage, f"metadata/1.{name}.json", together.wait)

    async def story() -> None:
        async with client_of(stage) as client:
            assert len(await client.targets(PATHS[:5])) == 5

    asyncio.run(story())
    assert not together.broken


class Crowd:
    """Counts who is served at once; holds each until a third comes, for a while."""

    def __init__(self) -> None:
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()
        self._third = threading.Event()

    def __call__(self) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            if self._now == 3:
                self._third.set()
        self._third.wait(0.3)  # time enough for one too many to come
        with self._lock:
            self._now -= 1


def test_no_more_are_under_way_than_was_asked_for(stage: Stage, tmp_path: Path) -> None:
    with_bins(stage)
    bins, files = Crowd(), Crowd()
    for name in BINS:
        answering(stage, f"metadata/1.{name}.json", bins)
    for path in PATHS[:5]:
        folder, _, name = path.rpartition("/")
        answering(stage, f"{folder}/{hashlib.sha256(path.encode()).hexdigest()}.{name}", files)

    async def story() -> None:
        async with client_of(stage, parallel=2) as client:
            found = await client.targets(PATHS)
            assert bins.most == 2
            entries = [entry for entry in found.values() if isinstance(entry, TargetEntry)]
            await asyncio.gather(
                *(client.download(entry, tmp_path / entry.role) for entry in entries[:5])
            )
            assert files.most == 2

    asyncio.run(story())
    with pytest.raises(InputError, match="expected 1 or more, got 0"):
        asyncio.run(client_of(stage, parallel=0).__aenter__())


def test_files_the_operator_collected_meanwhile_cost_one_refresh_for_all(stage: Stage) -> None:
    """Eight look-ups find that their bins are gone: they were replaced since the refresh.

    The repository is asked, though the policy would call what is stored fresh.
    """
    with_bins(stage)

    async def story() -> None:
        policy = Policy(fresh_for=timedelta(minutes=5))
        async with client_of(stage, policy=policy) as client:
            await client.refresh()
            stage.publish()
            for name in BINS:
                stage.server.tamper(f"metadata/1.{name}.json", 404)
            stage.requests()
            found = await client.targets(PATHS)
            assert {entry.snapshot_version for entry in found.values()} == {3}

    asyncio.run(story())
    asked = stage.requests()
    assert asked.count("metadata/timestamp.json") == 1
    for name in BINS:
        assert asked.count(f"metadata/1.{name}.json") <= 1
        assert asked.count(f"metadata/2.{name}.json") == 1


def test_downloads_side_by_side(stage: Stage, tmp_path: Path) -> None:
    with_bins(stage)

    async def story() -> None:
        async with client_of(stage) as client:
            found = await client.targets(PATHS)
            await asyncio.gather(
                *(
                    client.download(entry, tmp_path / path.replace("/", "-"))
                    for path, entry in found.items()
                    if isinstance(entry, TargetEntry)
                )
            )

    asyncio.run(story())
    for path in PATHS:
        assert (tmp_path / path.replace("/", "-")).read_text() == path


# -- given up ------------------------------------------------------------------------------------


def test_who_gives_up_a_shared_refresh_does_not_end_it_for_others(stage: Stage) -> None:
    asked, go = threading.Event(), threading.Event()

    def hold() -> None:
        asked.set()
        go.wait(30)

    answering(stage, "metadata/timestamp.json", hold)

    async def story() -> None:
        async with client_of(stage) as client:
            first = asyncio.create_task(client.refresh())
            second = asyncio.create_task(client.refresh())
            await asyncio.to_thread(asked.wait, 30)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            go.set()
            assert (await second).timestamp_version == 1

    asyncio.run(story())
    assert stage.requests().count("metadata/timestamp.json") == 1


def test_a_look_up_that_is_given_up_does_not_stop_who_waited_for_its_bin(stage: Stage) -> None:
    asked, go = threading.Event(), threading.Event()

    def hold() -> None:
        asked.set()
        go.wait(30)

    answering(stage, "metadata/1.bins.json", hold)

    async def story() -> None:
        async with client_of(stage) as client:
            first = asyncio.create_task(client.target(WHEEL))
            await asyncio.to_thread(asked.wait, 30)
            second = asyncio.create_task(client.target(WHEEL))
            await asyncio.sleep(0.1)
            first.cancel()
            go.set()
            assert isinstance(await second, TargetEntry)

    asyncio.run(story())
    assert stage.requests().count("metadata/1.bins.json") == 2


def test_a_download_that_is_given_up_leaves_nothing(stage: Stage, tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    asked, go = threading.Event(), threading.Event()

    def hold() -> None:
        asked.set()
        go.wait(30)

    answering(stage, PREFIXED, hold)

    async def story() -> None:
        async with client_of(stage) as client:
            download = asyncio.create_task(
                client.download(await entry_of(client), folder / "demo.whl")
            )
            await asyncio.to_thread(asked.wait, 30)
            assert len(list(folder.iterdir())) == 1
            download.cancel()
            with pytest.raises(asyncio.CancelledError):
                await download
            assert list(folder.iterdir()) == []
            go.set()

    asyncio.run(story())


def test_a_download_that_is_given_up_while_its_file_is_made_leaves_nothing(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is slow; the file is made when nobody wants it any more."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    begun, go = threading.Event(), threading.Event()

    @contextlib.contextmanager
    def slow(destination: Path) -> Iterator[BinaryIO]:
        begun.set()
        go.wait(30)
        with replacing(destination) as file:
            yield file

    monkeypatch.setattr("indextrust.client.aio.replacing", slow)

    async def story() -> None:
        async with client_of(stage) as client:
            download = asyncio.create_task(
                client.download(await entry_of(client), folder / "demo.whl")
            )
            await asyncio.to_thread(begun.wait, 30)
            download.cancel()
            await asyncio.sleep(0.1)
            download.cancel()  # and once more, impatiently
            await asyncio.sleep(0.1)
            assert not download.done(), "it waits for its thread"
            go.set()
            with pytest.raises(asyncio.CancelledError):
                await download

    asyncio.run(story())
    assert list(folder.iterdir()) == []
    assert PREFIXED not in stage.requests()


@pytest.mark.parametrize("held", ["timestamp.json", "1.bins.json"])
def test_the_time_of_a_call_runs_out(stage: Stage, held: str) -> None:
    go = threading.Event()
    answering(stage, f"metadata/{held}", lambda: go.wait(30))

    async def story() -> None:
        async with client_of(stage, limits=Limits(refresh_seconds=1)) as client:
            with pytest.raises(BudgetExceededError):
                await client.target(WHEEL)

    asyncio.run(story())
    go.set()


def test_a_fetcher_that_never_ends_does_not_hold_its_callers(stage: Stage) -> None:
    """One who breaks his promise to the port costs a call its time, and no more."""

    class Endless:
        async def fetch(
            self, url: str, *, max_length: int, seconds: float | None = None
        ) -> bytes | Absent:
            await asyncio.Event().wait()
            return ABSENT

        def stream(
            self, url: str, *, max_length: int
        ) -> contextlib.AbstractAsyncContextManager[AsyncIterator[bytes] | Absent]:
            raise AssertionError(url)

    async def story() -> None:
        limits = Limits(refresh_seconds=0.3)
        async with client_of(stage, fetcher=Endless(), limits=limits) as client:
            for call in (client.refresh(), client.target(WHEEL)):
                with pytest.raises(BudgetExceededError, match="not complete"):
                    await call

    asyncio.run(story())


# -- attackers -----------------------------------------------------------------------------------


def test_attack_5_an_old_timestamp_is_refused_and_the_store_stays(stage: Stage) -> None:
    """The mirror replays yesterday's timestamp; one honest refresh afterwards succeeds."""
    old = stage.repository.files["timestamp.json"]

    async def story() -> None:
        async with client_of(stage) as client:
            await client.refresh()
            stage.publish()
            await client.refresh()
            trusted = stage.stored()
            stage.server.tamper("metadata/timestamp.json", old)
            stage.requests()
            with pytest.raises(RollbackError):
                await client.refresh()
            assert stage.requests()[-1] == "metadata/timestamp.json"
            assert stage.stored() == trusted
            assert isinstance(await client.target(WHEEL), TargetEntry), "still in use"
            stage.server.be_honest()
            assert (await client.refresh()).timestamp_version == 2

    asyncio.run(story())


def test_everyone_who_shares_a_refresh_is_told_why_it_was_refused(stage: Stage) -> None:
    stage.now += timedelta(days=2)

    async def story() -> None:
        async with client_of(stage) as client:
            ends = await asyncio.gather(
                *(client.target(WHEEL) for _ in range(4)), return_exceptions=True
            )
            assert [type(end) for end in ends] == [ExpiredError] * 4

    asyncio.run(story())
    assert stage.requests() == ["metadata/2.root.json", "metadata/timestamp.json"]
    assert set(stage.stored()) == {"root.json"}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"x" * len(BYTES), HashMismatchError),
        (BYTES[:-1], LengthError),
        (BYTES + b"x", LengthError),
        (404, UnreachableError),
        (500, UnreachableError),
    ],
)
def test_attack_1_other_bytes_are_refused_and_what_was_there_stays(
    stage: Stage, tmp_path: Path, answer: bytes | int, kind: type[Exception]
) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    (folder / "demo.whl").write_bytes(b"older")
    stage.server.tamper(PREFIXED, answer)

    async def story() -> None:
        async with client_of(stage) as client:
            with pytest.raises(kind):
                await client.download(await entry_of(client), folder / "demo.whl")

    asyncio.run(story())
    assert [path.read_bytes() for path in folder.iterdir()] == [b"older"]


def test_one_error_ends_many_look_ups(stage: Stage) -> None:
    with_bins(stage)
    bad = stage.repository.files["1.bin-3.json"].replace(b"many", b"mani")
    stage.server.tamper("metadata/1.bin-3.json", bad)
    go = threading.Event()
    answering(stage, "metadata/1.bin-0.json", lambda: go.wait(300))

    async def story() -> None:
        async with client_of(stage) as client:
            with pytest.raises(HashMismatchError, match="bin-3"):
                await asyncio.wait_for(client.targets(PATHS), 60)
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(story())
    go.set()
    assert "bin-3.json" not in stage.stored()


def test_two_timestamps_of_one_version_are_kept_as_evidence(stage: Stage) -> None:
    async def story() -> None:
        async with client_of(stage) as client:
            await client.refresh()
            stage.repository.timestamp.signed.unrecognized_fields["other"] = "face"
            other = stage.repository.publish_again("timestamp")
            stage.write()
            (notice,) = (await client.refresh()).notices
            assert notice.kind == "same-version-other-bytes"
            (evidence,) = (stage.folder / "cache" / "evidence").iterdir()
            assert evidence.read_bytes() == other

    asyncio.run(story())


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../../etc/x", "a//b", "a\\b"])
def test_attack_36_an_unsafe_path_is_refused_and_nothing_is_requested(
    stage: Stage, path: str
) -> None:
    async def story() -> None:
        async with client_of(stage) as client:
            with pytest.raises(UnsafePathError):
                await client.target(path)
            with pytest.raises(UnsafePathError):
                await client.targets([WHEEL, path])

    asyncio.run(story())
    assert stage.requests() == []


# -- the example ---------------------------------------------------------------------------------


def test_the_example_runs_without_arguments_and_leaves_nothing(tmp_path: Path) -> None:
    first, last = output_of(EXAMPLES / "async_installer.py", tmp_path).splitlines()
    assert first.startswith("signed metadata, good until ")
    assert last == "20 files verified, for example part-0"


def test_what_would_be_copied_refuses_and_says_why(tmp_path: Path) -> None:
    fetch_all = runpy.run_path(str(EXAMPLES / "async_installer.py"))["fetch_all"]
    repository = MetadataRepository()
    repository.add_target("files/part-0", b"good")
    repository.publish()
    repository.write(tmp_path / "public")
    home = tmp_path / "home"
    home.mkdir()

    def run() -> list[Path]:
        root = repository.files["1.root.json"]
        files: list[Path] = asyncio.run(fetch_all(server.url, root, ["files/part-0"], home))
        return files

    with TamperingServer(tmp_path / "public") as server:
        server.tamper(f"targets/files/{hashlib.sha256(b'good').hexdigest()}.part-0", b"evil")
        with pytest.raises(SystemExit, match=r"refused: .*wrong sha256"):
            run()
        server.tamper("metadata/timestamp.json", 503)
        with pytest.raises(SystemExit, match=r"try again later: .*503"):
            run()
        assert [path.name for path in home.iterdir()] == ["metadata"]
        server.be_honest()
        (file,) = run()
    assert file.read_bytes() == b"good"
