"""What `plan` says of an index, held against indexes that were really built."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from functools import cache
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.ngclient import UpdaterConfig

from indextrust.ceremony import BinScheme, genesis
from indextrust.client import FileMetadataStore, TufClient, Urllib3Fetcher
from indextrust.distribution import DistributionFile
from indextrust.errors import InputError
from indextrust.names import (
    LAYOUTS,
    Layout,
    NormalizedName,
    document_path,
    file_path,
    metadata_path,
)
from indextrust.repository.advice import Plan, plan
from indextrust.repository.changes import Add
from indextrust.repository.plan import (
    RoleFile,
    bin_edits,
    bin_role,
    plan_project,
    snapshot_role,
    timestamp_role,
)
from indextrust.repository.samples import WHEEL_SHARE, Mix, Size, bin_line, name, versions_only
from indextrust.repository.signing import sign_role
from indextrust.repository.sizing import Download, Index, Shape, Sizes, occupancy, sizes
from indextrust.testing import TamperingServer
from indextrust.trust import TargetEntry
from tests.repository.place import NOW, Place
from tests.support.wheels import make_sdist, make_wheel

# Seventy names drawn at random from PyPI's 886,324.
NAMES = Path(__file__).with_name("pypi_names.txt").read_text().split()
PLATFORM = "cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64"
TIME = "2026-01-31T12:00:00Z"
SCHEME = BinScheme.of(16)
INSTALLS = 12
USERS = 10

KEYHOLDERS = [CryptoSigner.generate_ed25519() for _ in range(3)]
ONLINE = CryptoSigner.generate_ed25519()


def offline(scheme: BinScheme, layout: Layout = "pep458") -> Mapping[str, bytes]:
    """The roles of a genesis: what `Place` holds too."""
    roles = genesis(KEYHOLDERS, 2, ONLINE.public_key, bins=scheme, now=NOW, layout=layout)
    return {"root": roles.root[-1], "targets": roles.targets, "bins": roles.bins}


def close(estimate: float, real: float, tolerance: float = 0.1) -> bool:
    return abs(estimate - real) <= tolerance * real


def both_close(estimate: Size, data: bytes) -> bool:
    return close(estimate.raw, len(data), 0.03) and close(
        estimate.gzip, len(gzip.compress(data, 6))
    )


# -- an index built by Repository, and its users -------------------------------------------------


class Built:
    """Seventy real names with four files each in 16 bins, on a server; and the estimate."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        self.folder = folder
        self.layout = layout
        self.place = Place(folder, bins=SCHEME.count, layout=layout)
        self.place.repository.add(
            *(self.distribution(project, n) for n, project in enumerate(NAMES * 4))
        )
        self.place.repository.publish()
        self.server = TamperingServer(self.place.public)
        self._users = count()

    def distribution(self, project: str, number: int) -> Path:
        """Of ten files, four sdists, four wheels for any platform, two for one."""
        upload = self.place.uploads / str(len(list(self.place.uploads.iterdir())))
        upload.mkdir()
        version = f"1.{number // len(NAMES)}.{number % 7}"
        kind = (number + number // len(NAMES)) % 5
        if kind < 2:
            return make_sdist(upload, project, version, requires_python=">=3.9")
        wheel = make_wheel(upload, project, version, requires_python=">=3.9")
        if kind == 4:
            return wheel.rename(wheel.with_name(wheel.name.replace("py3-none-any", PLATFORM)))
        return wheel

    def estimate(self) -> Sizes:
        index = Index(len(NAMES), 4 * len(NAMES), INSTALLS, 1)
        return sizes(
            index,
            Shape(self.layout, SCHEME, listed=True),
            lambda scheme: offline(scheme, self.layout),
        )

    def metadata(self) -> dict[str, bytes]:
        """The metadata files that are in force, by role."""
        folder = self.place.public / "metadata"
        versions = {**self.place.versions(), "root": 1}
        return {
            role: (
                folder / (f"{role}.json" if role == "timestamp" else f"{version}.{role}.json")
            ).read_bytes()
            for role, version in versions.items()
        }

    def client(self) -> TufClient:
        return TufClient(
            self.server.url + "metadata/",
            root=self.place.roles.root[0],
            store=FileMetadataStore(self.folder / f"user-{next(self._users)}"),
            fetcher=Urllib3Fetcher(seconds=20),
            clock=self.place.clock,
        )

    def wheels_of(self, project: str) -> list[str]:
        files = self.place.document(project)["files"]
        return [file["filename"] for file in files if file["filename"].endswith(".whl")]

    def install(self, client: TufClient, projects: list[str]) -> tuple[int, int]:
        """Look everything up that an installer asks for; bytes and requests it took."""
        self.server.requests.clear()
        client.refresh()
        for project in map(NormalizedName, projects):
            wheel = self.wheels_of(project)[0]
            assert isinstance(client.target(document_path(project)), TargetEntry)
            for path in (file_path(project, wheel), metadata_path(project, wheel)):
                assert isinstance(client.target(path), TargetEntry) == (self.layout == "pep458")
        asked = [self.place.public / path for path in self.server.requests]
        return sum(path.stat().st_size for path in asked if path.exists()), len(asked)


@pytest.fixture(scope="module", params=LAYOUTS)
def built(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Built:
    return Built(tmp_path_factory.mktemp("built"), request.param)


def test_every_file_of_a_built_index_has_the_size_that_was_planned(built: Built) -> None:
    files, planned = built.metadata(), built.estimate()
    assert both_close(planned.root, files["root"])
    assert both_close(planned.timestamp, files["timestamp"])
    assert both_close(planned.snapshot, files["snapshot"])
    assert both_close(planned.targets_role, files["targets"])
    assert both_close(planned.bins_role, files["bins"])
    bins = [files[role] for role in SCHEME.names()]
    assert close(planned.bins.mean_bytes.raw, sum(map(len, bins)) / len(bins), 0.03)
    packed = sum(len(gzip.compress(data, 6)) for data in bins) / len(bins)
    assert close(planned.bins.mean_bytes.gzip, packed)
    assert close(planned.stored.raw, sum(map(len, files.values())), 0.03)
    documents = [
        (built.place.public / document_path(NormalizedName(project))).read_bytes()
        for project in NAMES
    ]
    assert close(planned.document.raw, sum(map(len, documents)) / len(documents))


def test_users_of_a_built_index_download_what_was_planned(built: Built) -> None:
    """New, at once again, and the next day after everything was renewed."""
    planned = built.estimate()
    most = 0.05 if built.layout == "pep458" else 0.1  # seventy targets fall less evenly than 420
    users = [(built.client(), random.Random(seed).sample(NAMES, INSTALLS)) for seed in range(USERS)]

    def all_install() -> tuple[float, float]:
        done = [built.install(client, projects) for client, projects in users]
        return (
            sum(size for size, _ in done) / USERS,
            sum(requests for _, requests in done) / USERS,
        )

    def as_planned(download: Download) -> bool:
        size, requests = all_install()
        others = [path for path in built.server.requests if ".bin-" not in path]  # the last user's
        assert len(others) == pytest.approx(download.requests - download.bins)
        return close(download.size.raw, size, most) and close(download.requests, requests, most)

    assert as_planned(planned.new_user)
    assert as_planned(planned.same_snapshot)
    built.place.clock.sleep(hours=20)
    assert built.place.repository.renew() is not None
    assert as_planned(planned.next_day)


def test_publishing_and_renewing_write_what_was_planned(built: Built) -> None:
    planned = built.estimate()
    folder = built.place.public / "metadata"

    def written_by(act: object) -> tuple[int, int]:
        before = {path.name for path in folder.iterdir()}
        assert callable(act)
        act()
        new = [path for path in folder.iterdir() if path.name not in before]
        timestamp = folder / "timestamp.json"  # replaced
        return sum(path.stat().st_size for path in (*new, timestamp)), len(new) + 1

    published = []
    for number in range(10):
        built.place.repository.add(built.distribution(NAMES[7 * number], 5 * 70 + number))
        published.append(written_by(built.place.repository.publish))
    assert close(planned.publish.bytes, sum(size for size, _ in published) / 10)
    assert close(planned.publish.files, sum(files for _, files in published) / 10)
    assert planned.publish.signatures == planned.publish.files
    built.place.clock.sleep(hours=20)
    size, files = written_by(built.place.repository.renew)
    assert close(planned.renew.bytes, size)
    assert planned.renew.files == planned.renew.signatures == files == SCHEME.count + 2


# -- a larger index, from the pure parts that publish --------------------------------------------

PROJECTS, FILES_EACH = 3_000, 8
LARGE = BinScheme.of(512)


def project_names() -> list[NormalizedName]:
    """As long as PyPI's, and of random letters."""
    draw = random.Random(458)
    names: set[str] = set()
    while len(names) < PROJECTS:
        length = max(3, len(draw.choice(NAMES)))
        names.add("".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=length)))
    return [NormalizedName(one) for one in sorted(names)]


def adds_of(project: NormalizedName) -> list[Add]:
    draw = random.Random(project)
    adds = []
    for number in range(FILES_EACH):
        version = f"{draw.randrange(4)}.{number}.{draw.randrange(12)}"
        kind = draw.choices(("sdist", "py3-none-any", PLATFORM), (4, 4, 2))[0]
        stem = f"{project}-{version}"
        filename = f"{stem}.tar.gz" if kind == "sdist" else f"{stem}-{kind}.whl"
        digest = hashlib.sha256(filename.encode()).hexdigest()
        core = None if kind == "sdist" else digest[::-1]
        size = int(10 ** draw.uniform(3, 7))
        file = DistributionFile(
            project, filename, version, size, digest, TIME, ">=3.9", metadata_sha256=core
        )
        adds.append(Add(file, None if core is None else draw.randrange(500, 20_000)))
    return adds


@pytest.fixture(scope="module")
def large() -> SimpleNamespace:
    plans = [plan_project(project, {}, adds_of(project), None) for project in project_names()]
    edits = bin_edits(plans, LARGE)
    targets = {role: edits[role].put if role in edits else {} for role in LARGE.names()}
    bins = {
        role: sign_role(bin_role(1, TIME, listed), [ONLINE]) for role, listed in targets.items()
    }
    index = Index(PROJECTS, PROJECTS * FILES_EACH, 50, 100)
    shape = Shape("pep458", LARGE, listed=True)
    return SimpleNamespace(
        plans=plans, targets=targets, bins=bins, planned=sizes(index, shape, offline)
    )


def test_bins_are_filled_as_planned_from_the_average_to_the_largest(large: SimpleNamespace) -> None:
    planned: Sizes = large.planned
    filled = sorted(len(listed) for listed in large.targets.values())
    real = sorted(len(data) for data in large.bins.values())
    assert close(planned.targets.total, sum(filled), 0.01)
    assert close(planned.bins.mean, sum(filled) / len(filled), 0.01)
    assert close(planned.bins.p99, filled[int(0.99 * len(filled))], 0.05)
    assert close(planned.bins.largest, filled[-1])
    assert close(planned.bins.mean_bytes.raw, sum(real) / len(real), 0.03)
    assert close(planned.bins.p99_bytes.raw, real[int(0.99 * len(real))], 0.05)
    assert close(planned.bins.largest_bytes.raw, real[-1])
    packed = [len(gzip.compress(data, 6)) for data in list(large.bins.values())[:40]]
    assert close(planned.bins.mean_bytes.gzip, sum(packed) / len(packed))


@pytest.mark.parametrize("listed", [True, False], ids=["length and sha256", "versions only"])
def test_snapshot_and_timestamp_of_a_larger_index(large: SimpleNamespace, listed: bool) -> None:
    roles = {role: RoleFile.of(1, data) for role, data in large.bins.items()}
    for role in ("targets", "bins"):
        roles[role] = RoleFile.of(1, offline(LARGE)[role])
    tree = snapshot_role(1, TIME, roles)
    snapshot = sign_role(tree if listed else versions_only(tree), [ONLINE])
    timestamp = timestamp_role(1, TIME, RoleFile.of(1, snapshot))
    planned = sizes(large.planned.index, replace(large.planned.shape, listed=listed), offline)
    assert both_close(planned.snapshot, snapshot)
    assert close(planned.snapshot.raw, len(snapshot), 0.01)
    assert both_close(planned.timestamp, sign_role(timestamp, [ONLINE]))


@pytest.mark.parametrize("layout", ["pep458", "projects"])
def test_what_many_users_of_a_larger_index_download(large: SimpleNamespace, layout: str) -> None:
    """Fifty users, each with fifty projects of their own choice: bins and bytes on average."""
    if layout == "pep458":
        bins = large.bins
        planned = large.planned
    else:
        documents: dict[str, dict[str, object]] = {role: {} for role in LARGE.names()}
        for listed in large.targets.values():
            for path, target in listed.items():
                if path.startswith("simple/"):
                    documents[LARGE.bin_of(path)][path] = target
        bins = {
            role: sign_role(bin_role(1, TIME, listed), [ONLINE])  # type: ignore[arg-type]
            for role, listed in documents.items()
        }
        planned = sizes(large.planned.index, Shape("projects", LARGE, listed=True), offline)
    size = hit = 0
    for user in range(50):
        needed: set[str] = set()
        for one in random.Random(user).sample(large.plans, 50):
            paths = [document_path(one.project)]
            if layout == "pep458":
                paths += [path for path in one.put if path.startswith("files/")][-2:]
            needed |= {LARGE.bin_of(path) for path in paths}
        hit += len(needed)
        size += sum(len(bins[role]) for role in needed)
    heads = planned.timestamp.raw + planned.snapshot.raw
    assert close(planned.next_day.bins, hit / 50, 0.03)
    assert close(planned.next_day.size.raw - heads, size / 50, 0.05)


# -- what decides chance -------------------------------------------------------------------------


@pytest.mark.parametrize(("targets", "bins"), [(1, 2), (7, 4), (60, 16), (300, 2)])
@pytest.mark.parametrize("tail", [0.5, 0.01, 1e-6])
def test_occupancy_is_the_binomial_quantile(targets: int, bins: int, tail: float) -> None:
    def above(k: int) -> float:
        ways = sum(
            math.comb(targets, n) * (bins - 1) ** (targets - n) for n in range(k + 1, targets + 1)
        )
        return float(Fraction(ways, bins**targets))

    found = occupancy(targets, bins, tail)
    assert above(found) <= tail * (1 + 1e-9)
    assert found == 0 or above(found - 1) > tail * (1 - 1e-9)


def test_paths_fall_into_bins_as_chance_has_it() -> None:
    scheme, filled = BinScheme.of(1024), dict.fromkeys(BinScheme.of(1024).names(), 0)
    for number in range(50_000):
        filled[scheme.bin_of(f"simple/project-{number}/index.json")] += 1
    real = sorted(filled.values())
    assert close(occupancy(50_000, 1024, 0.01), real[int(0.99 * 1024)], 0.05)
    assert close(occupancy(50_000, 1024, 0.5), real[512], 0.05)


# -- PEP 458's own table -------------------------------------------------------------------------


def test_pep_458s_figures_come_out_where_its_assumptions_are_ours() -> None:
    """Table 2 and 3: C8 targets in C10 bins; V3 of them in a bin; V7 from hash, path and length.

    The PEP counts the values alone. With its formula, our hash (64 digits, not 128) and our
    paths, what is left is the JSON around them. Its snapshot (V11) counts the digits of the
    versions alone: the role names beside them make it 4.9 times as large.
    """
    c7, c8, c10 = 6, 2_273_539, 16_384
    shape = Shape("projects", BinScheme.of(c10), listed=False)
    planned = sizes(Index(c8, c8, 1, 0), shape, offline)
    assert math.ceil(planned.bins.mean) == 139  # V3
    projects = [name(number) for number in range(1000)]
    paths = sum(len(document_path(project)) for project in projects) / len(projects)
    line = bin_line(Mix(1, 0, 0), 5_000, 1, 139)
    around = len('"":{"hashes":{"sha256":""},"length":},')
    pep = 139 * (64 + paths + 4)  # V4 + V5 + V6
    assert close(line.at(139).raw, line.base.raw + pep + 139 * around, 0.001)
    six_digits = sizes(Index(c8, c8, 1, 0, days=50_000), shape, offline)
    v11 = c10 * c7
    assert v11 == 98_304
    names = c10 * len('"bin-0000.json":{"version":},')
    assert close(six_digits.snapshot.raw, v11 + names, 0.001)
    assert six_digits.snapshot.raw > 5 * v11


def test_the_figures_that_were_measured_at_pypis_size() -> None:
    """16,384 bins, PyPI of 2026: a snapshot of 0.5 MB, 2.2 MB with lengths and hashes; a bin of 8
    kB where documents alone are targets; the bins role of under a kilobyte."""
    index = Index(886_324, 20_000_000, 50, 20_000)
    scheme = BinScheme.of(16_384)
    versions = sizes(index, Shape("projects", scheme, listed=False), offline)
    listed = sizes(index, Shape("projects", scheme, listed=True), offline)
    assert close(versions.snapshot.raw, 490_000)
    assert close(listed.snapshot.raw, 2_200_000)
    assert close(versions.bins.mean_bytes.raw, 8_000)
    assert versions.bins_role.raw < 1_000
    files = sizes(index, Shape("pep458", scheme, listed=False), offline)
    assert files.next_day.size.raw > 30 * versions.next_day.size.raw


# -- the advice ----------------------------------------------------------------------------------


@cache
def advised(projects: int, files: int, **more: float) -> Plan:
    return plan(projects, files, offline, **more)  # type: ignore[arg-type]


def test_a_small_index_gets_what_every_client_reads() -> None:
    made = advised(60, 600)
    assert made.shape == Shape("pep458", BinScheme(8, succinct=False), listed=True)
    assert made.outgrown == ()
    assert made.now.index.installs_of == 50
    assert advised(3, 3).now.index.installs_of == 3


def test_pypi_gets_project_documents_in_16384_bins_and_versions_only() -> None:
    made = advised(886_324, 20_000_000)
    assert made.shape == Shape("projects", BinScheme(14, succinct=True), listed=False)
    assert made.later.next_day.size.raw < 0.03 * made.installed_bytes
    assert made.listing_bytes > 1_500_000


def test_the_bins_are_the_fewest_that_are_tolerably_close_to_the_best() -> None:
    made = advised(20_000, 300_000)
    ours = [one for one in made.candidates if one.layout == made.shape.layout]
    assert [one.bins for one in ours] == [256 << more for more in range(9)]
    best = min(one.next_day_bytes for one in ours)
    fits = [one.bins for one in ours if one.next_day_bytes <= best + made.tolerable_bytes]
    assert made.shape.scheme.count == min(fits)
    assert min(fits) > 256


def test_the_plan_looks_five_years_ahead_and_says_what_it_assumes() -> None:
    made = advised(2_000, 20_000)
    assert made.later.index.days == 5 * 365
    assert made.later.index.files == round(20_000 * 1.37**5)
    assert made.now.index.publishes_per_day == pytest.approx(7_400 / 365)
    busy = advised(2_000, 20_000, publishes_per_day=1_000)
    assert busy.later.index.files == 20_000 + 1_000 * 5 * 365
    # 1,828,651 publications by then: six digits more, in the timestamp twice.
    assert busy.later.timestamp.raw >= busy.now.timestamp.raw + 2 * 6


def test_a_snapshot_that_outgrows_pythons_tuf_client_needs_its_length_recorded() -> None:
    made = advised(100_000, 1_000_000)
    (outgrown,) = made.outgrown
    assert (outgrown.role, outgrown.recorded_in) == ("snapshot", "timestamp")
    assert outgrown.size_bytes == made.later.snapshot.raw > outgrown.cap_bytes == 2_000_000
    assert UpdaterConfig().snapshot_max_length == outgrown.cap_bytes


def test_no_bin_outgrows_other_clients_even_where_users_install_everything() -> None:
    made = advised(50_000, 2_000_000, installs_of=50_000)
    cap = UpdaterConfig().targets_max_length
    assert made.later.bins.largest_bytes.raw < cap
    fewer = made.shape.scheme.count // 2
    half = sizes(made.later.index, replace(made.shape, scheme=BinScheme.of(fewer)), offline)
    assert half.bins.largest_bytes.raw > cap
    vast = advised(200_000_000, 200_000_000, installs_of=200_000_000)  # more than any number helps
    assert vast.shape.scheme.count == 65_536
    assert ("bin", cap, "snapshot") in [(o.role, o.cap_bytes, o.recorded_in) for o in vast.outgrown]


def test_other_bins_are_a_signing_event_and_every_users_metadata_anew() -> None:
    made = advised(60, 600)
    again = made.rebinning
    assert again is not None
    event = genesis(KEYHOLDERS, 2, ONLINE.public_key, bins=BinScheme.of(512), now=NOW)
    signed = [json.loads(data)["signatures"] for data in (event.root[0], event.targets, event.bins)]
    assert (again.bins, again.offline_signatures) == (512, sum(map(len, signed)))
    assert again.kept_names == 256  # of two digits, beside the new ones of three
    assert again.operator.signatures == 512 + 2
    after = sizes(made.now.index, Shape("pep458", BinScheme.of(512), listed=False), offline)
    downloaded = after.root.raw + after.new_user.size.raw + after.snapshot.raw * 256 / 512
    assert again.each_user.size.raw == pytest.approx(downloaded)
    assert again.each_user.requests == after.new_user.requests + 1
    largest = advised(100_000, 1_000_000)
    assert (largest.shape.scheme.count, largest.rebinning) == (65_536, None)


@pytest.mark.parametrize(
    ("projects", "files", "more", "said"),
    [
        (0, 0, {}, "1 to 1,000,000,000 files"),
        (0, 5, {}, "expected projects from 1"),
        (-1, 5, {}, "got -1"),
        (5, -5, {}, "got -5"),
        (6, 5, {}, "number of files (5), got 6"),
        (1, 10**4000, {}, "1,000,000,000 files, got a number of 25 digits or more"),
        (-(10**4000), 1, {}, "got a number of 25 digits or more"),
        (10, 10, {"installs_of": 10**4000}, "got a number of 25 digits or more"),
        (1, 10**9, {}, "in 5 years"),
        (10, 10, {"installs_of": 0}, "from 1 to all 10 projects, got 0"),
        (10, 10, {"installs_of": 11}, "got 11"),
        (10, 10, {"publishes_per_day": -0.5}, "publishes per day, got -0.5"),
        (10, 10, {"publishes_per_day": math.nan}, "got nan"),
        (10, 10, {"publishes_per_day": math.inf}, "got inf"),
        (10, 10, {"publishes_per_day": 1e9}, "in 5 years"),
    ],
)
def test_numbers_that_no_index_has(
    projects: int, files: int, more: dict[str, float], said: str
) -> None:
    with pytest.raises(InputError) as caught:
        advised(projects, files, **more)
    assert said in str(caught.value)


def test_a_number_too_long_to_be_printed_is_refused_all_the_same() -> None:
    with pytest.raises(InputError, match="got a number of 25 digits or more"):
        Index(1, 10**5000, 1, 1)


def test_an_hour_costs_a_user_more_than_nothing_and_less_than_a_day() -> None:
    made = advised(2_000, 20_000)
    for one in (made.now, made.later):
        smaller, hour, day = one.same_snapshot, one.next_hour, one.next_day
        assert smaller.size.raw < hour.size.raw < day.size.raw < one.new_user.size.raw
    quiet = advised(2_000, 20_000, publishes_per_day=0).now.next_hour
    assert made.now.next_hour.bins > quiet.bins == pytest.approx(made.now.next_day.bins / 12)
    assert timedelta(days=1) / timedelta(hours=12) == 2  # renewed twice a day: 1/12 in an hour
    assert WHEEL_SHARE == 0.6
