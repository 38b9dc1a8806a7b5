"""`indextrust scan`: what real pip and real uv installed, held against an incident record."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from indextrust.client import Scan, TrustedIndexes
from indextrust.client.scan import Judgement
from indextrust.errors import InputError, StoreError
from indextrust.incidents import Fingerprint, Incident, IncidentFile
from indextrust.installed import describe_wheel
from indextrust.names import NormalizedName
from indextrust.testing import MetadataRepository, TamperingServer, malicious_wheel
from tests.cli.place import Place, new_place
from tests.client.pages import listing, page, sha256
from tests.support.wheels import make_sdist, make_wheel

DEMO = NormalizedName("demo")
WHEEL = "demo-1.0-py3-none-any.whl"
CORE = b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"


@dataclass(frozen=True)
class Scene:
    """An index under python-tuf, a user who trusts it, and wheels good and bad."""

    place: Place
    repository: MetadataRepository
    good: bytes
    bad: bytes

    def publish(self, wheel: bytes, incident: Incident | None = None) -> None:
        """List `wheel` as demo 1.0, and an incident record beside it."""
        bins = self.repository.targets["bins"].signed.targets
        bins.clear()
        self.repository.add_target(f"files/demo/{WHEEL}", wheel, role="bins")
        document = page("demo", [listing(WHEEL, wheel)])
        self.repository.add_target("simple/demo/index.json", document, role="bins")
        if incident is not None:
            self.repository.add_target(incident.path, incident.encode())
        self.repository.publish()
        for path, data in self.repository.served().items():
            file = self.place.folder / "served" / path.removeprefix("targets/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)

    def scan(self, environment: Path) -> Scan:
        """The same as the command, without a process of its own."""
        return TrustedIndexes(self.place.home).client().scan(environment)

    def judged(self, environment: Path) -> Judgement:
        """The one verdict."""
        [finding] = self.scan(environment).findings
        return finding.judgement


def incident(*files: IncidentFile) -> Incident:
    ordered = tuple(sorted(files, key=lambda file: (file.project, file.filename)))
    when = datetime.now(UTC).replace(microsecond=0)
    return Incident("stolen-key", when, "The online key was stolen. Reinstall demo.", ordered)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    place = new_place(tmp_path_factory.mktemp("scan") / "place")
    good = _with_script(make_wheel(place.dist, "demo", "1.0").read_bytes())
    bad = malicious_wheel(good, "demo.py", "OWNED = True")
    repository = MetadataRepository()
    repository.delegate("targets", "bins", ["files/*/*", "simple/*/*"], terminating=True)
    scene = Scene(place, repository, good, bad)
    scene.publish(bad)
    root = place.folder / "root.json"
    root.write_bytes(repository.files["1.root.json"])
    with TamperingServer(place.folder / "served") as server:
        place.must("trust", "add", "internal", server.url, "--root", root)
        place.must("get", "demo==1.0", "--to", place.folder / "got")  # he sees the bad state
        file = IncidentFile(DEMO, WHEEL, (describe_wheel(bad),), describe_wheel(good))
        scene.publish(good, incident(file))
        yield scene


def _with_script(wheel: bytes) -> bytes:
    """With a script that installers rewrite, and a module that they move."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        files = {info.filename: archive.read(info) for info in archive.infolist()}
    files["demo-1.0.data/scripts/demo-run"] = b"#!python\nprint(1)\n"
    files["demo-1.0.data/purelib/demo_more.py"] = b"MORE = 1\n"
    files["demo-1.0.dist-info/entry_points.txt"] = b"[console_scripts]\ndemo = demo:VERSION\n"
    files["demo-1.0.dist-info/RECORD"] += (
        b"demo-1.0.data/scripts/demo-run,,\ndemo-1.0.data/purelib/demo_more.py,,\n"
        b"demo-1.0.dist-info/entry_points.txt,,\n"
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return out.getvalue()


def install(scene: Scene, folder: Path, wheel: bytes, tool: str) -> Path:
    """A new virtual environment with this wheel in it, as from an index."""
    links = folder / "links"
    links.mkdir(parents=True)
    (links / WHEEL).write_bytes(wheel)
    environment = folder / "environment"
    env = {**os.environ, "UV_CACHE_DIR": str(folder / "cache")}
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    commands: dict[str, list[str | Path]] = {
        "pip": [sys.executable, "-m", "pip", "--python", environment, "install"],
        "uv": [uv, "pip", "install", "--python", environment],
    }
    new: list[str | Path] = [uv, "venv", "--python", sys.executable, environment]
    for command in (new, [*commands[tool], "--no-index", "--find-links", links, "demo"]):
        subprocess.run(command, capture_output=True, check=True, env=env)
    return environment


def site_of(environment: Path) -> Path:
    [site] = environment.glob("lib/python*/site-packages")
    return site


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_the_bad_wheel_is_found_and_the_good_one_is_not(
    scene: Scene, tmp_path: Path, tool: str
) -> None:
    bad = install(scene, tmp_path / "bad", scene.bad, tool)
    good = install(scene, tmp_path / "good", scene.good, tool)
    for environment in (bad, bad / "bin" / "python", site_of(bad)):
        [finding] = scene.scan(environment).findings
        assert finding.judgement == "affected"
        assert (finding.project, finding.version, finding.folder) == ("demo", "1.0", site_of(bad))
        assert finding.reason == f"its files are those of the bad {WHEEL}"
        assert finding.incidents == ("stolen-key",)
    scan = scene.scan(good)
    assert not scan.affected
    [finding] = scan.findings
    assert (finding.judgement, finding.incidents) == ("not affected", ())
    with (site_of(good) / "demo.py").open("a") as module:
        module.write("# changed since: neither of the two\n")
    assert scene.judged(good) == "may be affected"


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_a_record_that_lies_does_not_help_the_bad_wheel(
    scene: Scene, tmp_path: Path, tool: str
) -> None:
    """It carries the RECORD of the good one, which installers copy, and a note that the good one
    was installed."""
    with zipfile.ZipFile(io.BytesIO(scene.bad)) as archive:
        files = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(io.BytesIO(scene.good)) as archive:
        files["demo-1.0.dist-info/RECORD"] = archive.read("demo-1.0.dist-info/RECORD")
    note = {"url": "https://x/", "archive_info": {"hashes": {"sha256": sha256(scene.good)}}}
    files["demo-1.0.dist-info/direct_url.json"] = json.dumps(note).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    lying = out.getvalue()
    file = IncidentFile(DEMO, WHEEL, (describe_wheel(lying),), describe_wheel(scene.good))
    scene.publish(scene.good, incident(file))
    found = scene.judged(install(scene, tmp_path, lying, tool))
    file = IncidentFile(DEMO, WHEEL, (describe_wheel(scene.bad),), describe_wheel(scene.good))
    scene.publish(scene.good, incident(file))
    assert found == "affected"


# -- environments made by hand ---------------------------------------------------------------------


def made(folder: Path, **files: str | bytes) -> Path:
    """A site-packages with a demo 1.0 in it: files of its .dist-info, with ``_`` for the dot."""
    info = folder / "site-packages" / "demo-1.0.dist-info"
    info.mkdir(parents=True)
    for name, data in files.items():
        text = data.encode() if isinstance(data, str) else data
        (info / name.replace("_json", ".json")).write_bytes(text)
    return info.parent


def test_what_an_installer_wrote_down_proves_the_bad_and_not_the_good(
    scene: Scene, tmp_path: Path
) -> None:
    bad, good = sha256(scene.bad), sha256(scene.good)
    for number, (name, archive, judgement) in enumerate(
        [
            ("direct_url_json", {"hashes": {"sha256": bad}}, "affected"),
            ("direct_url_json", {"hash": f"sha256={bad}"}, "affected"),
            ("provenance_url_json", {"hashes": {"sha256": bad}}, "affected"),
            ("direct_url_json", {"hashes": {"sha256": good}}, "may be affected"),
        ]
    ):
        site = made(tmp_path / str(number), **{name: json.dumps({"archive_info": archive})})
        assert scene.judged(site) == judgement


def test_a_hostile_environment_is_no_error_and_no_pardon(scene: Scene, tmp_path: Path) -> None:
    hostile: list[dict[str, str | bytes]] = [
        {"RECORD": b"\xff\xfe\x00,,\n"},
        {"RECORD": "../../../../etc/passwd,,\n/etc/passwd,,\nmissing.py,,\n"},
        {"RECORD": "a/" * 5_000 + "b,,\n"},
        {"RECORD": '"' + "x" * 200_000},
        {"RECORD": b"," * 17_000_000},
        {"RECORD": "x,,\n" * 100_001},
        {"METADATA": "Name: demo\nVersion: " + "9" * 100_000},
        {"METADATA": b"Name: \xff\nName: demo\n" * 1_000},
        {"direct_url_json": "[" * 100_000},
        {"direct_url_json": '{"archive_info": {"hashes": [1], "hash": 3}}'},
        {"provenance_url_json": b"\xff\x00"},
    ]
    for number, files in enumerate(hostile):
        assert scene.judged(made(tmp_path / str(number), **files)) == "may be affected"


def test_no_link_is_followed_and_nothing_outside_is_read(scene: Scene, tmp_path: Path) -> None:
    """Each name leads to the very bytes of the good wheel's files, outside; or to a pipe."""
    good = install(scene, tmp_path / "good", scene.good, "pip")
    real = site_of(good)
    for name in ("demo.py", "demo-1.0.dist-info/METADATA"):
        linked = tmp_path / name.replace("/", "-")
        shutil.copytree(real, linked, symlinks=True)
        (linked / name).unlink()
        (linked / name).symlink_to(real / name)
        assert scene.judged(linked) == "may be affected"
    whole = tmp_path / "linked"
    whole.mkdir()
    (whole / "demo-1.0.dist-info").symlink_to(real / "demo-1.0.dist-info")
    assert scene.judged(whole) == "may be affected"
    pipe = made(tmp_path / "pipe", RECORD="demo.py,,\n")
    os.mkfifo(pipe / "demo.py")
    os.mkfifo(pipe / "demo-1.0.dist-info" / "METADATA")
    assert scene.judged(pipe) == "may be affected"
    outside = tmp_path / "environment"
    (outside / "lib").mkdir(parents=True)
    (outside / "lib" / "python3").symlink_to(real.parent)
    with pytest.raises(InputError, match="expected a virtual environment"):
        scene.scan(outside)


def test_one_large_file_is_read_once(scene: Scene, tmp_path: Path) -> None:
    """A wheel can carry thousands of .dist-info, and one file that all their RECORDs name."""
    site = made(tmp_path, RECORD="large,,\n")
    with (site / "large").open("wb") as file:
        file.truncate(64_000_000)  # a tenth of a second, each time
    for number in range(300):
        info = site / f"demo-1.0.post{number}.dist-info"
        info.mkdir()
        (info / "RECORD").write_text("large,,\n")
    start = time.monotonic()
    assert len(scene.scan(site).findings) == 301
    assert time.monotonic() - start < 10
    with (site / "large").open("wb") as file:
        file.truncate(2**40)
    assert scene.scan(site).affected


def test_what_can_not_be_read_is_said(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="can't read"):
        scene.scan(tmp_path / ("x" * 300))


def test_nothing_of_the_environment_is_run(scene: Scene, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    site = environment / "lib" / "python3.13" / "site-packages"
    (site / "other-1.0.dist-info").mkdir(parents=True)
    trap = f"#!/bin/sh\ntouch {tmp_path / 'sprung'}\n"
    (environment / "bin").mkdir()
    (environment / "bin" / "python").write_text(trap)
    (environment / "bin" / "python").chmod(0o755)
    (site / "x.pth").write_text(f"import os; os.mknod({str(tmp_path / 'sprung')!r})\n")
    scan = scene.scan(environment / "bin" / "python")
    assert (scan.folders, scan.distributions, scan.findings) == ((site,), 1, ())
    assert not (tmp_path / "sprung").exists()


def test_what_leaves_no_form_is_judged_by_its_version(scene: Scene, tmp_path: Path) -> None:
    """A bad sdist, and a release that should never have been; then a version nobody speaks of."""
    sdist = make_sdist(scene.place.dist, "demo", "2.0")
    files = (
        IncidentFile(DEMO, sdist.name, (describe_wheel(sdist.read_bytes()),), None),
        IncidentFile(DEMO, "demo-3.0-py3-none-any.whl", (Fingerprint("c" * 64, "d" * 64),), None),
        IncidentFile(DEMO, WHEEL, (describe_wheel(scene.bad),), describe_wheel(scene.good)),
    )
    scene.publish(scene.good, incident(*files))
    for info, judgement in {
        "demo-2.0.dist-info": "may be affected",
        "Demo-3.0.0.dist-info": "may be affected",
        "demo-4.0.dist-info": "not affected",
        "demo-5.0.dist-info": "may be affected",  # it doesn't say so in METADATA
        "demo-x.dist-info": "may be affected",  # it doesn't say which version it is
        "demo-2.0-py3.11.egg-info": "may be affected",
    }.items():
        site = tmp_path / info / "site-packages"
        (site / info).mkdir(parents=True)
        if info == "demo-4.0.dist-info":
            (site / info / "METADATA").write_text("Name: demo\nVersion: 4.0\n")
        assert scene.judged(site) == judgement
    renamed = made(tmp_path, METADATA="Name: demo\nVersion: 2.0\n")  # its folder says 1.0
    (renamed / "demo-1.0.dist-info").rename(renamed / "other-7.dist-info")
    assert scene.judged(renamed) == "may be affected"
    scene.publish(scene.good, incident(files[2]))


def test_what_a_person_reads(scene: Scene, tmp_path: Path) -> None:
    """The notice comes with every command that refreshes, until the good file took its place."""
    environment = made(tmp_path, RECORD="")
    done = scene.place.run("scan", environment)
    assert done.returncode == 91
    assert "The online key was stolen. Reinstall demo." in done.stdout
    assert f"may be affected: demo 1.0: {WHEEL}" in done.stdout
    assert f"the bad {WHEEL} was listed to this machine" in done.stdout
    assert "1 of 1 distributions affected, or may be" in done.stdout
    assert done.stderr == ""
    done = scene.place.run("verify", scene.place.folder / "got" / WHEEL)
    assert done.returncode == 11
    assert "incident record stolen-key calls it bad" in done.stderr
    told = json.loads(scene.place.run("verify", tmp_path / "none.whl", "--json").stdout)
    assert [f"indextrust: {notice}" in done.stderr for notice in told["notices"]] == [True]
    done = scene.place.run("get", "demo==1.0", "--to", tmp_path / "got")
    assert done.returncode == 0
    assert "indextrust: incident stolen-key" in done.stderr
    assert f"is accepted in the place of {sha256(scene.bad)}" in done.stderr
    assert (tmp_path / "got" / WHEEL).read_bytes() == scene.good
    done = scene.place.run("scan", "--json", environment)
    assert (done.returncode, done.stderr) == (91, "")
    [finding] = json.loads(done.stdout)["findings"]
    assert finding["judgement"] == "may be affected"
    assert "before" in finding["seen"][0]
    assert scene.place.run("scan", tmp_path / "nowhere").returncode == 2


def with_files(wheel: bytes, more: dict[str, bytes], *, listed: bool = True) -> bytes:
    """The wheel with other files added to it or in the place of its own."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        files = {info.filename: archive.read(info) for info in archive.infolist()}
    if listed:
        record = "demo-1.0.dist-info/RECORD"
        files[record] += b"".join(b"%s,,\n" % name.encode() for name in more if name not in files)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name, data in (files | more).items():
            packed.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_a_bad_wheel_does_not_lead_the_scan_elsewhere(
    scene: Scene, tmp_path: Path, tool: str
) -> None:
    """It puts a .dist-info beside bin and lib, as if that were a site-packages."""
    wheel = with_files(scene.bad, {"demo-1.0.data/data/x-1.dist-info/METADATA": b"Name: x\n"})
    environment = install(scene, tmp_path, wheel, tool)
    assert (environment / "x-1.dist-info").is_dir()
    scan = scene.scan(environment)
    assert scan.folders == (environment, site_of(environment))
    assert [finding.judgement for finding in scan.findings] == ["affected"]


@pytest.mark.parametrize(
    ("tool", "metadata", "later", "judgement"),
    [
        ("pip", b"Metadata-Version: 2.1\rName: demo\rVersion: 1.0\r", None, "affected"),
        ("uv", b"Metadata-Version: 2.1\nName: =?utf-8?q?demo?=\nVersion: 1.0\n", None, "affected"),
        ("pip", CORE, "demo-1.0.data/purelib/", "affected"),
        ("pip", CORE, "demo-1.0.data/data/lib/python*/site-packages/", "may be affected"),
        ("uv", CORE, "demox-9.data/data/lib/python*/site-packages/", "may be affected"),
    ],
)
def test_a_bad_wheel_does_not_hide_its_name(
    scene: Scene, tmp_path: Path, tool: str, metadata: bytes, later: str | None, judgement: str
) -> None:
    """Of its .dist-info installers ask how the name begins, and of METADATA what it says in the
    archive; there may be another one that is unpacked over it."""
    info = "demox-9.dist-info"
    files = {
        "demo.py": b"OWNED = True\n",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if later is not None:
        place = later.replace("*", f"{sys.version_info[0]}.{sys.version_info[1]}")
        files[f"{place}{info}/METADATA"] = b"Metadata-Version: 2.1\nName: demox\nVersion: 9\n"
    files[f"{info}/RECORD"] = b"".join(b"%s,,\n" % name.encode() for name in files)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    hidden = out.getvalue()
    file = IncidentFile(DEMO, WHEEL, (describe_wheel(hidden),), describe_wheel(scene.good))
    scene.publish(scene.good, incident(file))
    found = scene.judged(install(scene, tmp_path, hidden, tool))
    file = IncidentFile(DEMO, WHEEL, (describe_wheel(scene.bad),), describe_wheel(scene.good))
    scene.publish(scene.good, incident(file))
    assert found == judgement


@pytest.mark.parametrize("tool", ["pip", "uv", "uv 0.8"])
def test_a_file_that_no_record_names_acquits_nobody(
    scene: Scene, tmp_path: Path, tool: str
) -> None:
    """The good wheel with a file more. Most installers name it in the RECORD they leave; uv 0.8
    doesn't."""
    with zipfile.ZipFile(io.BytesIO(scene.good)) as archive:
        files = {info.filename: archive.read(info) for info in archive.infolist()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name, data in (files | {"demo_evil.pth": b"import demo\n"}).items():
            packed.writestr(name, data)
    more = out.getvalue()
    environment = install(scene, tmp_path, more, tool.removesuffix(" 0.8"))
    if tool == "uv 0.8":
        record = site_of(environment) / "demo-1.0.dist-info" / "RECORD"
        lines = record.read_text().splitlines(keepends=True)
        record.write_text("".join(line for line in lines if "demo_evil" not in line))
    file = IncidentFile(DEMO, WHEEL, (describe_wheel(more),), describe_wheel(scene.good))
    scene.publish(scene.good, incident(file))
    found = scene.judged(environment)
    file = IncidentFile(DEMO, WHEEL, (describe_wheel(scene.bad),), describe_wheel(scene.good))
    scene.publish(scene.good, incident(file))
    assert found == "may be affected"


def test_another_project_with_a_longer_name_is_not_concerned(scene: Scene, tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    info = site / "demo_tools-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: Demo.Tools\nVersion: 1.0\n\nName: demo\n")
    assert scene.scan(site).findings == ()
    (info / "RECORD").write_text("demo_tools-1.0.dist-info/METADATA,,\n" * 2)
    assert scene.judged(site) == "may be affected"
