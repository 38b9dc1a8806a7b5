"""Re-binning: other bins under an index that people use, up and down."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.ngclient import Updater

from indextrust.ceremony import BinScheme, SignedRoles, rotate
from indextrust.client import FileMetadataStore, TufClient, Urllib3Fetcher
from indextrust.errors import (
    AlteredStateError,
    RepositoryError,
    SigningError,
)
from indextrust.names import Layout
from indextrust.repository.rebin import sources
from indextrust.testing import TamperingServer
from indextrust.trust import NotListed, TargetEntry
from tests.repository.place import Clock, Place, everything

CLASSIC_UP = (BinScheme(1, False), BinScheme(3, False))
CLASSIC_DOWN = (BinScheme(5, False), BinScheme(2, False))
SAME_NAMES = (BinScheme(2, False), BinScheme(4, False))  # bin-0 to bin-3 are in both
OTHER_FORM = (BinScheme(2, False), BinScheme(2, True))
SUCCINCT_UP = (BinScheme(2, True), BinScheme(6, True))
SUCCINCT_DOWN = (BinScheme(6, True), BinScheme(4, True))
HASHES_GO = (BinScheme(8, False), BinScheme(9, True))
HASHES_COME = (BinScheme(9, True), BinScheme(8, False))
WAYS = {
    "classic, up": CLASSIC_UP,
    "classic, down": CLASSIC_DOWN,
    "names in both": SAME_NAMES,
    "to succinct roles": OTHER_FORM,
    "succinct, up": SUCCINCT_UP,
    "succinct, down": SUCCINCT_DOWN,
    "hashes leave the snapshot": HASHES_GO,
    "hashes come to the snapshot": HASHES_COME,
}


class Index(Place):
    """An index with six projects, and people who use it."""

    def __init__(self, folder: Path, scheme: BinScheme, layout: Layout = "pep458") -> None:
        clock = Clock(datetime.now(UTC))
        super().__init__(folder, clock, scheme.count, layout=layout, succinct=scheme.succinct)
        self.publish(*(self.wheel(f"p{number}", "1.0") for number in range(6)))
        self.server = TamperingServer(self.public)

    def ann(self) -> TufClient:
        """Our client, one run of it."""
        return TufClient(
            self.server.url + "metadata/",
            root=self.roles.root[0],
            store=FileMetadataStore(self.folder / "ann"),
            fetcher=Urllib3Fetcher(seconds=20),
            targets_url=self.server.url,
            clock=self.clock,
        )

    def bob(self) -> Updater:
        """tuf's own client, one run of it."""
        (self.folder / "bob" / "targets").mkdir(parents=True, exist_ok=True)
        return Updater(
            str(self.folder / "bob" / "metadata"),
            self.server.url + "metadata/",
            str(self.folder / "bob" / "targets"),
            self.server.url,
            bootstrap=self.roles.root[0],
        )

    def everybody_finds(self, *gone: str) -> None:
        """Whoever refreshed before, and whoever did not, finds every target, and none of `gone`."""
        expected = self.repository.expected_targets()
        assert self.repository.published_targets() == expected
        ann, bob = self.ann(), self.bob()
        for path, target in expected.items():
            found, info = ann.target(path), bob.get_targetinfo(path)
            assert isinstance(found, TargetEntry), path
            assert info is not None, path
            assert (found.length, found.hashes) == (target.length, target.hashes)
            assert (info.length, info.hashes) == (target.length, target.hashes)
        for path in gone:
            assert isinstance(ann.target(path), NotListed)
            assert bob.get_targetinfo(path) is None

    def event(self, scheme: BinScheme, online: CryptoSigner | None = None) -> SignedRoles:
        """The keyholders meet and sign for other bins."""
        key = (online or self.online).public_key
        current = self.repository.signed_roles()
        return rotate(current, self.keyholders[:2], key, bins=scheme, now=self.clock.now)

    def rebin(self, scheme: BinScheme, online: CryptoSigner | None = None) -> None:
        self.repository.rebin(self.event(scheme, online), online or self.online)
        self.online = online or self.online

    def listed_bins(self) -> set[str]:
        """The bins that the served snapshot lists."""
        return {name for name in self.versions() if name.startswith("bin-")}


@pytest.fixture
def index(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Index]:
    index = Index(tmp_path, getattr(request, "param", SAME_NAMES[0]))
    yield index
    index.server.close()


def served_by(index: Index) -> dict[str, bytes | None]:
    return everything(index.public)


# -- people who use it ---------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "new"), WAYS.values(), ids=WAYS.keys())
def test_people_who_refreshed_before_follow(tmp_path: Path, old: BinScheme, new: BinScheme) -> None:
    """They go on before and after the next changes, and after the next online key, which is when
    the old names leave the snapshot."""
    index = Index(tmp_path, old)
    with index.server:
        index.everybody_finds()
        before = index.versions()
        index.rebin(new)
        after = index.versions()
        assert index.listed_bins() == {*old.names(), *new.names()}
        for name in {*old.names()} - {*new.names()}:
            assert after[name] == before[name], "listed as it was"
        for name in {*old.names()} & {*new.names()}:
            assert after[name] > before[name], "its versions go on"
        listed = index.signed(f"{after['snapshot']}.snapshot.json")["meta"]
        assert all(("hashes" in entry) == (new.count <= 256) for entry in listed.values())
        index.everybody_finds()

        index.repository.remove("p0", "p0-1.0-py3-none-any.whl")
        index.publish(index.wheel("p1", "2.0"))
        index.everybody_finds("files/p0/p0-1.0-py3-none-any.whl")
        index.repository = index.reopen()
        index.clock.sleep(hours=-1)
        index.publish(index.wheel("p2", "2.0"))
        assert index.listed_bins() == {*old.names(), *new.names()}
        index.everybody_finds()
        assert index.repository.audit().clean
        assert index.repository.status().bins == new.count

        key = CryptoSigner.generate_ed25519()
        roles = rotate(
            index.repository.signed_roles(),
            index.keyholders[1:],
            key.public_key,
            now=index.clock.now,
        )
        index.repository.install(roles, key)
        index.online = key
        assert index.listed_bins() == {*new.names()}
        index.everybody_finds("files/p0/p0-1.0-py3-none-any.whl")
        index.repository = index.reopen()
        index.publish(index.wheel("p3", "2.0"))
        assert index.listed_bins() == {*new.names()}
        index.everybody_finds()


def test_a_new_online_key_in_the_same_event_needs_no_old_name(index: Index) -> None:
    index.everybody_finds()
    index.rebin(BinScheme(5, True), CryptoSigner.generate_ed25519())
    assert index.listed_bins() == {*BinScheme(5, True).names()}
    index.everybody_finds()
    index.publish(index.wheel("p1", "2.0"))
    index.everybody_finds()


def test_there_and_back_again_no_number_is_used_twice(index: Index) -> None:
    """Up, down to the old names, up again; with the names dropped in between by a new key."""
    seen: dict[str, bytes] = {}

    def remember() -> None:
        for path in (index.public / "metadata").iterdir():
            if path.name != "timestamp.json":
                assert seen.setdefault(path.name, path.read_bytes()) == path.read_bytes()

    small, large = BinScheme(2, False), BinScheme(5, False)
    for scheme, key in ((large, None), (small, None), (large, CryptoSigner.generate_ed25519())):
        remember()
        index.rebin(scheme, key)
        index.everybody_finds()
        index.publish(index.wheel("p4", f"{len(seen)}.0"))
        index.everybody_finds()
    assert index.listed_bins() == {*large.names()}
    index.rebin(small)
    index.everybody_finds()
    remember()
    assert index.listed_bins() == {*large.names(), *small.names()}
    assert min(version for name, version in index.versions().items() if name in small.names()) > 2


def test_only_the_documents_move_in_the_other_layout(tmp_path: Path) -> None:
    index = Index(tmp_path, BinScheme(3, True), "projects")
    with index.server:
        index.everybody_finds()
        index.rebin(BinScheme(1, True))
        index.everybody_finds("files/p0/p0-1.0-py3-none-any.whl")
        assert len(index.repository.expected_targets()) == 6


def test_what_waits_in_the_queue_waits_and_is_published_after(index: Index) -> None:
    index.repository.add(index.wheel("p0", "2.0"))
    index.rebin(SAME_NAMES[1])
    assert index.repository.status().queued == 1
    index.everybody_finds("files/p0/p0-2.0-py3-none-any.whl")
    assert index.repository.publish().added == 1
    index.everybody_finds()


def test_old_bins_are_not_renewed(index: Index) -> None:
    index.rebin(BinScheme(5, False))
    before = index.versions()
    for _ in range(4):
        index.clock.sleep(hours=11)
        assert index.repository.renew() is not None
    after = index.versions()
    for name in SAME_NAMES[0].names():
        assert after[name] == before[name]
    for name in BinScheme(5, False).names():
        assert after[name] > before[name]


@pytest.mark.parametrize("lost", ["timestamp.json", "*.snapshot.json", "*.bin-*.json"])
def test_restore_keeps_the_old_names(index: Index, lost: str) -> None:
    index.everybody_finds()
    index.rebin(BinScheme(5, False))
    index.everybody_finds()
    before = index.listed_bins()
    for path in (index.public / "metadata").glob(lost):
        path.unlink()
    index.repository.restore()
    assert index.listed_bins() == before
    index.everybody_finds()
    index.repository = index.reopen()
    index.publish(index.wheel("p1", "2.0"))
    assert index.listed_bins() == before
    index.everybody_finds()


@pytest.mark.parametrize("lost", ["timestamp.json", "*.snapshot.json", "*.bin-2.json"])
def test_restore_in_the_middle_of_it_goes_on_to_the_new_bins(index: Index, lost: str) -> None:
    """Of an old bin whose file is lost the tables are believed, as by every restore."""
    index.everybody_finds()
    with pytest.raises(SigningError):
        index.repository.rebin(index.event(SUCCINCT_UP[1]), Broken(index.online, 7))
    for path in (index.public / "metadata").glob(lost):
        path.unlink()
    index.repository = index.reopen()
    index.repository.restore()
    assert index.listed_bins() == {*SUCCINCT_UP[1].names(), *SAME_NAMES[0].names()}
    index.everybody_finds()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE retired SET version = version + 1 WHERE name = 'bin-1'",
        "UPDATE retired SET sha256 = 'x' WHERE name = 'bin-1'",
        "UPDATE retired SET length = 0 WHERE name = 'bin-1'",
        "UPDATE retired SET mac = '' WHERE name = 'bin-1'",
    ],
)
@pytest.mark.parametrize("scheme", [BinScheme(5, False), BinScheme(9, True)], ids=["hashed", "not"])
def test_old_names_are_listed_as_they_were_whatever_the_database_says(
    index: Index, scheme: BinScheme, statement: str
) -> None:
    index.rebin(scheme)
    before = index.versions()
    index.sql(statement)
    index.repository = index.reopen()
    index.repository.add(index.wheel("p1", "2.0"))
    if "mac" in statement and scheme.count <= 256:
        index.repository.publish()  # the snapshot vouches for it by its hash
        assert index.versions()["bin-1"] == before["bin-1"]
    else:
        with pytest.raises(AlteredStateError, match="role bin-1: expected"):
            index.repository.publish()
        assert index.versions() == before


def test_an_old_name_that_is_taken_from_the_database_stops_the_publication(index: Index) -> None:
    """Clients would refuse the snapshot: so does the gate."""
    index.rebin(BinScheme(5, False))
    before = index.versions()
    index.sql("DELETE FROM retired WHERE name = 'bin-1'")
    index.repository = index.reopen()
    index.repository.add(index.wheel("p1", "2.0"))
    with pytest.raises(RepositoryError, match="a client would refuse it"):
        index.repository.publish()
    assert index.versions() == before


def test_the_log_tells_of_it(index: Index) -> None:
    index.rebin(SAME_NAMES[1])
    assert [entry.what for entry in index.repository.log()][-3:] == ["rebin", "begin", "publish"]


# -- refusals ------------------------------------------------------------------------------------


def test_roles_that_are_for_something_else_are_refused(index: Index) -> None:
    before = served_by(index)
    with pytest.raises(RepositoryError, match="install takes roles that keep them"):
        index.rebin(SAME_NAMES[0])
    with pytest.raises(RepositoryError, match="rebin takes roles that change them"):
        index.repository.install(index.event(SAME_NAMES[1]), index.online)
    stranger = CryptoSigner.generate_ed25519()
    with pytest.raises(RepositoryError, match="expected the online key"):
        index.repository.rebin(index.event(SAME_NAMES[1]), stranger)
    index.rebin(SAME_NAMES[1])
    assert served_by(index) != before
    with pytest.raises(RepositoryError):
        index.repository.rebin(index.roles, index.online)
    index.everybody_finds()


@pytest.mark.parametrize("what", ["a bin", "its row", "a target"])
def test_an_index_that_was_altered_is_refused_and_stays_as_it_is(index: Index, what: str) -> None:
    roles = index.event(SAME_NAMES[1])
    name, version = next(
        (name, index.versions()[name])
        for (name,) in index.sql("SELECT bin FROM targets ORDER BY path LIMIT 1")
    )
    if what == "a bin":
        path = index.public / "metadata" / f"{version}.{name}.json"
        path.write_bytes(path.read_bytes().replace(b"simple", b"simplf"))
    elif what == "its row":
        index.sql("UPDATE roles SET sha256 = ? WHERE name = ?", "0" * 64, name)
    else:
        index.sql("UPDATE targets SET sha256 = ? WHERE bin = ?", "0" * 64, name)
    before, rows = served_by(index), index.sql("SELECT * FROM roles ORDER BY name")
    with pytest.raises(AlteredStateError):
        index.repository.rebin(roles, index.online)
    assert served_by(index) == before
    assert index.sql("SELECT * FROM roles ORDER BY name") == rows
    assert index.sql("SELECT * FROM retired") == []
    if what == "a bin":
        index.repository.restore()
        index.repository.rebin(roles, index.online)
        index.everybody_finds()


def test_a_table_that_was_altered_meanwhile_gets_nothing_signed(index: Index) -> None:
    """What is signed comes from the old files, not from the table that the attacker writes."""
    roles = index.event(SAME_NAMES[1])
    broken = Broken(index.online, after=3)
    with pytest.raises(SigningError):
        index.repository.rebin(roles, broken)
    good = index.repository.expected_targets()
    index.sql("UPDATE targets SET sha256 = ?", "0" * 64)
    index.reopen().publish()
    assert index.repository.published_targets() == good


class Broken(CryptoSigner):
    """A signer that fails after some signatures."""

    def __init__(self, signer: CryptoSigner, after: int) -> None:
        super().__init__(signer._private_key, signer.public_key)
        self.left = after

    def sign(self, payload: bytes):  # type: ignore[no-untyped-def]
        self.left -= 1
        if self.left < 0:
            raise OSError("the device is gone")
        return super().sign(payload)


@pytest.mark.parametrize(
    ("after", "then"),
    [(0, "publish"), (5, "renew"), (5, "rebin"), (5, "restore"), (16, "publish"), (17, "publish")],
)
def test_a_signer_that_fails_leaves_the_old_bins_until_the_next_call(
    index: Index, after: int, then: str
) -> None:
    index.everybody_finds()
    roles, before = index.event(SAME_NAMES[1]), index.versions()
    with pytest.raises(SigningError):
        index.repository.rebin(roles, Broken(index.online, after))
    assert index.versions() == before
    assert index.ann().refresh().snapshot_version == before["snapshot"]
    assert index.repository.status().interrupted
    index.repository = index.reopen()
    if then == "rebin":
        index.repository.rebin(roles, index.online)
    else:
        getattr(index.repository, then)()
    assert index.listed_bins() == {*SAME_NAMES[1].names()}
    assert not index.repository.status().interrupted
    index.everybody_finds()


def test_a_second_re_binning_waits_for_the_first(index: Index) -> None:
    with pytest.raises(SigningError):
        index.repository.rebin(index.event(SAME_NAMES[1]), Broken(index.online, 2))
    with pytest.raises(RepositoryError, match="publish first"):
        index.repository.rebin(index.event(BinScheme(6, True)), index.online)
    index.reopen().publish()
    index.rebin(BinScheme(6, True))
    index.everybody_finds()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_bin_comes_from_the_bins_that_held_its_paths(way: tuple[BinScheme, BinScheme]) -> None:
    old, new = way
    for number in range(200):
        path = f"simple/p{number}/index.json"
        assert old.bin_of(path) in sources(new.bin_of(path), new, old)
    every = [name for new_name in new.names() for name in sources(new_name, new, old)]
    assert set(every) == set(old.names())
    assert len(every) == max(old.count, new.count)
