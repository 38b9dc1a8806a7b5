"""A real pip that verifies: `examples/inside_pip.py` run by an environment with nothing compiled.

The index is made with python-tuf, the pip is the one that Python brings. Of our own needs the
environment sees indextrust, securesystemslib and packaging; nothing else can be imported there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import packaging
import pytest
import securesystemslib

import indextrust
from indextrust.testing import MetadataRepository, TamperingServer
from tests.client.hostile import Answer, RawServer, drip, endless, ok, raw, silence
from tests.client.pages import listing, page, sha256
from tests.support.examples import EXAMPLES
from tests.support.wheels import core_metadata, make_sdist, make_wheel, write_tar

EXAMPLE = EXAMPLES / "inside_pip.py"
ALPHA = "alpha-1.0-py3-none-any.whl"
BETA = "beta-1.5-py3-none-any.whl"
GAMMA = "gamma-2.0.tar.gz"
DELTA = "delta-1.0.tar.gz"
TOP = ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json", "1.bins.json"]
# written by every process of the environment when it ends
RECORD_IMPORTS = """
import atexit, os, sys

def record():
    with open(os.environ["IMPORTED"], "a") as file:
        file.writelines(f"{name}\\n" for name in sys.modules)

atexit.register(record)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the pip that comes with this Python."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(folder, with_pip=True)
    return folder


@pytest.fixture(scope="module")
def vendored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pip would vendor, and nothing else."""
    folder = tmp_path_factory.mktemp("vendored")
    for package in (indextrust, securesystemslib, packaging):
        assert package.__file__ is not None
        (folder / package.__name__).symlink_to(Path(package.__file__).parent)
    (folder / "sitecustomize.py").write_text(RECORD_IMPORTS)
    return folder


@dataclass(frozen=True)
class Run:
    """How a pip ended, and what it asked the index for."""

    exit_code: int
    output: str
    requests: list[str]


class Place:
    """An index of four projects, and one person's pip."""

    def __init__(self, folder: Path, environment: Path, vendored: Path) -> None:
        self.folder = folder
        self.target = folder / "target"
        self.public = folder / "public"
        self._environment = environment
        self._vendored = vendored
        self.repository = MetadataRepository()
        self.repository.delegate("targets", "bins", ["files/*/*", "simple/*/*"], terminating=True)
        (folder / "root.json").write_bytes(self.repository.files["1.root.json"])
        made = [
            make_wheel(folder, "alpha", "1.0", requires=["beta>=1"]),
            make_wheel(folder, "beta", "1.5"),
            make_sdist(folder, "gamma", "2.0"),
            self._needs_beta_to_build(),
        ]
        for file in made:
            self.add(file.name, file.read_bytes())
        self.publish()
        self.server = TamperingServer(self.public)

    def _needs_beta_to_build(self) -> Path:
        pyproject = b'[build-system]\nrequires = ["beta"]\nbuild-backend = "beta"\n'
        members = {"PKG-INFO": core_metadata("delta", "1.0"), "pyproject.toml": pyproject}
        named = {f"delta-1.0/{name}": data for name, data in members.items()}
        return write_tar(self.folder / DELTA, named)

    def add(self, filename: str, data: bytes) -> None:
        """List a file and the page of its project, which has no other."""
        project = filename.partition("-")[0]
        more: dict[str, object] = {}
        if filename == ALPHA:
            core = core_metadata("alpha", "1.0", requires=["beta>=1"])
            self.repository.add_target(f"files/{project}/{filename}.metadata", core, role="bins")
            more = {"core-metadata": {"sha256": sha256(core)}}
        entry = listing(filename, data, **{**more, "url": "https://evil.example/" + filename})
        self.repository.add_target(f"files/{project}/{filename}", data, role="bins")
        self.repository.add_target(
            f"simple/{project}/index.json", page(project, [entry]), role="bins"
        )

    def publish(self) -> None:
        self.repository.publish()
        self.write()

    def write(self) -> None:
        """Write what is served: targets at the base, beside ``metadata/``."""
        for path, data in self.repository.served().items():
            file = self.public / path.removeprefix("targets/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)

    def served(self, path: str) -> str:
        """The path that is asked for: with the target's digest."""
        folder, _, name = path.rpartition("/")
        return f"{folder}/{sha256(self.repository.contents[path])}.{name}"

    def pip(self, *arguments: str) -> Run:
        """Run ``pip install`` behind the gate."""
        before = len(self.server.requests)
        command = [str(self._environment / "bin" / "python"), "-B", str(EXAMPLE)]
        ours = ["--root", str(self.folder / "root.json"), "--store", str(self.folder / "store")]
        index = ["--index-url", f"{self.server.url}simple/"]
        into = ["install", "--target", str(self.target), *index, *arguments]
        done = subprocess.run(
            [*command, *ours, "--", *into],
            cwd=self.folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder / "home"),
                "PYTHONPATH": str(self._vendored),
                "IMPORTED": str(self.folder / "imported"),
                "PIP_CONFIG_FILE": os.devnull,
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Run(done.returncode, done.stdout + done.stderr, self.server.requests[before:])

    def installed(self) -> list[str]:
        """The modules that are there."""
        return sorted(path.stem for path in self.target.glob("*.py"))

    def stored(self) -> dict[str, bytes]:
        """What is trusted: role file to bytes."""
        return {path.name: path.read_bytes() for path in (self.folder / "store").glob("*.json")}


@pytest.fixture
def place(tmp_path: Path, environment: Path, vendored: Path) -> Iterator[Place]:
    place = Place(tmp_path, environment, vendored)
    yield place
    place.server.close()


def metadata(*names: str) -> list[str]:
    return [f"metadata/{name}" for name in names]


# -- honest days ---------------------------------------------------------------------------------


def test_pip_installs_what_it_verified_itself(place: Place) -> None:
    """The pages lie about where the files are; nothing is asked for anywhere else."""
    run = place.pip("alpha")
    assert run.exit_code == 0, run.output
    assert place.installed() == ["alpha", "beta"]
    assert run.requests == [
        *metadata(*TOP),
        place.served("simple/alpha/index.json"),
        place.served(f"files/alpha/{ALPHA}.metadata"),
        place.served("simple/beta/index.json"),
        place.served(f"files/beta/{BETA}"),
        place.served(f"files/alpha/{ALPHA}"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", "import alpha, beta; print(alpha.VERSION, beta.VERSION)"],
        cwd=place.target,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1.0", "1.5"]


def test_where_files_are_no_targets_their_pages_vouch_for_them(place: Place) -> None:
    """The layout ``projects``: the same requests, under plain names."""
    targets = place.repository.targets["bins"].signed.targets
    for path in [path for path in targets if path.startswith("files/")]:
        del targets[path]
    place.publish()
    run = place.pip("alpha")
    assert run.exit_code == 0, run.output
    assert place.installed() == ["alpha", "beta"]
    files = [path for path in run.requests if path.startswith("files/")]
    plain = [f"files/alpha/{ALPHA}.metadata", f"files/beta/{BETA}", f"files/alpha/{ALPHA}"]
    assert files == plain
    place.server.tamper(f"files/beta/{BETA}", lambda data: data[:-1] + b"!")
    again = place.pip("--upgrade", "--force-reinstall", "beta")
    assert again.exit_code != 0
    assert "wrong sha256" in again.output


def test_nothing_is_imported_that_pip_could_not_vendor(place: Place) -> None:
    """No compiled library and no second HTTP library: Ed25519 was verified in Python."""
    assert place.pip("beta").exit_code == 0
    imported = set((place.folder / "imported").read_text().split())
    others = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names
    assert {name for name in others if not name.startswith("_")} == {
        "indextrust",
        "packaging",
        "pip",
        "securesystemslib",
        "sitecustomize",
    }
    rooms = {name for name in imported if name.startswith("indextrust.")}
    vendored = ("canonical", "distribution", "errors", "incidents", "names", "trust")
    assert {".".join(name.split(".")[:2]) for name in rooms} == {
        f"indextrust.{room}" for room in vendored
    }
    assert "securesystemslib._vendor.ed25519.ed25519" in imported


def test_the_next_run_asks_only_for_what_is_new(place: Place) -> None:
    place.pip("beta")
    run = place.pip("beta", "--upgrade")
    assert run.exit_code == 0, run.output
    assert run.requests == [
        *metadata("2.root.json", "timestamp.json"),
        place.served("simple/beta/index.json"),
        place.served(f"files/beta/{BETA}"),
    ]


def test_a_new_root_is_followed_and_an_sdist_is_built(place: Place) -> None:
    place.pip("beta")
    place.repository.rotate("timestamp")
    place.repository.publish_root()
    place.publish()
    run = place.pip("gamma")
    assert run.exit_code == 0, run.output
    assert place.installed() == ["beta", "gamma"]
    assert run.requests[:3] == metadata("2.root.json", "3.root.json", "timestamp.json")
    assert place.pip("gamma", "--upgrade").requests[0] == "metadata/3.root.json"


# -- what must not be installed ------------------------------------------------------------------


def test_attack_1_a_wheel_with_one_byte_changed_is_refused(place: Place) -> None:
    """The CDN changes a wheel in its middle; pip sees not one byte of it."""
    good = place.repository.contents[f"files/beta/{BETA}"]
    bad = good[:100] + bytes([good[100] ^ 1]) + good[101:]
    place.server.tamper(place.served(f"files/beta/{BETA}"), bad)
    run = place.pip("alpha")
    assert run.exit_code != 0
    assert place.installed() == []
    assert f"wrong sha256; expected {sha256(good)}; got {sha256(bad)}" in run.output
    assert "ERROR: indextrust: refused: files/beta" in run.output
    assert run.requests[-1] == place.served(f"files/beta/{BETA}"), "nothing was tried after it"


@pytest.mark.parametrize(
    ("path", "answer", "reason"),
    [
        ("simple/beta/index.json", b"{}", "refused: simple/beta/index.json: wrong length"),
        (f"files/beta/{BETA}", 404, f"could not reach the index: files/beta/{BETA}: listed"),
    ],
)
def test_what_can_not_be_verified_ends_the_run_with_the_reason(
    place: Place, path: str, answer: bytes | int, reason: str
) -> None:
    served = place.served(path)
    place.server.tamper(served, answer)
    run = place.pip("beta")
    assert run.exit_code != 0
    assert place.installed() == []
    assert f"ERROR: indextrust: {reason}" in run.output
    assert run.requests[-1] == served


def test_attack_5_yesterdays_timestamp_is_refused(place: Place) -> None:
    """The mirror replays the timestamp of before; what was trusted stays on disk."""
    old = place.repository.files["timestamp.json"]
    place.publish()
    place.pip("beta")
    trusted = place.stored()
    place.server.tamper("metadata/timestamp.json", old)
    run = place.pip("gamma")
    assert run.exit_code != 0
    assert place.installed() == ["beta"]
    assert "ERROR: indextrust: refused: timestamp" in run.output
    assert run.requests == metadata("2.root.json", "timestamp.json")
    assert place.stored() == trusted
    place.server.be_honest()
    assert place.pip("gamma").exit_code == 0


def test_attack_4_an_unsigned_timestamp_is_refused(place: Place) -> None:
    signed = place.repository.timestamp
    signed.signatures.clear()
    place.server.tamper("metadata/timestamp.json", signed.to_bytes())
    run = place.pip("beta")
    assert run.exit_code != 0
    assert place.installed() == []
    assert "not signed by enough keys" in run.output
    assert list(place.stored()) == ["root.json"], "what was verified before it stays"


def test_attack_12_an_error_for_the_next_root_does_not_end_the_search(place: Place) -> None:
    place.server.tamper("metadata/2.root.json", 500)
    run = place.pip("beta")
    assert run.exit_code != 0
    assert "could not reach the index" in run.output
    assert run.requests == ["metadata/2.root.json"]


def test_a_project_that_is_not_listed_is_an_answer(place: Place) -> None:
    run = place.pip("epsilon")
    assert run.exit_code != 0
    assert "No matching distribution found for epsilon" in run.output
    assert run.requests == metadata(*TOP)


def test_one_index_and_no_other(place: Place) -> None:
    run = place.pip("beta", "--extra-index-url", f"{place.server.url}simple/")
    assert run.exit_code != 0
    assert "expected exactly one index" in run.output
    assert run.requests == []


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        (f"{{other}}files/beta/{BETA}", "outside the verified index"),
        ("{url}files/beta/beta-9.9-py3-none-any.whl", "is not on the verified page of beta"),
    ],
)
def test_a_url_past_the_page_is_refused(place: Place, where: str, reason: str) -> None:
    """Direct references, links of other pages and redirects all end at the gate."""
    (place.public / BETA).write_bytes(place.repository.contents[f"files/beta/{BETA}"])
    with TamperingServer(place.public) as other:
        run = place.pip(where.format(url=place.server.url, other=other.url))
        assert other.requests == []
    assert run.exit_code != 0
    assert place.installed() == []
    assert reason in run.output
    assert BETA not in " ".join(run.requests)


def test_the_pip_that_pip_starts_for_a_build_gets_nothing_unverified(place: Place) -> None:
    """It is another process, without the gate: it must not reach the index at all."""
    run = place.pip("delta")
    assert run.exit_code != 0
    assert place.installed() == []
    assert run.requests[-1] == place.served(f"files/delta/{DELTA}")


# -- the fetcher ---------------------------------------------------------------------------------

FETCH = """
import io, sys
import inside_pip

inside_pip.SECONDS, inside_pip.SLOWEST = 0.5, 1 << 30
inside_pip.PipSession.root, inside_pip.PipSession.store = b"", None
session = inside_pip.PipSession(index_urls=["http://127.0.0.1/simple/"])
for url in sys.argv[1:]:
    sink = io.BytesIO()
    try:
        print(session.fetch(url, 20, sink) or sink.getvalue())
    except inside_pip.errors.IndextrustError as error:
        print(type(error).__name__)
"""
HEAD = b"HTTP/1.1 200 OK\r\n"
HOSTILE: list[tuple[Answer, str]] = [
    (raw(ok(b"metadata")), "b'metadata'"),
    (raw(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"), "Absent.ABSENT"),
    (raw(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"), "UnreachableError"),
    (raw(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"), "UnreachableError"),
    (raw(HEAD + b"Content-Length: 20\r\n\r\nshort"), "UnreachableError"),
    (endless(HEAD + b"Content-Length: 21\r\n\r\n", b"x" * 9000), "LengthError"),
    (endless(HEAD + b"\r\n", b"x" * 9000), "UnreachableError"),
    (endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", b"x" * 9000), "UnreachableError"),
    (endless(HEAD, b"X: y\r\n" * 9000), "UnreachableError"),
    (raw(ok(b"x" * 9, "Content-Encoding: gzip")), "MalformedError"),
    (raw(b""), "UnreachableError"),
    (drip(HEAD + b"X: "), "BudgetExceededError"),
    (silence, "BudgetExceededError|UnreachableError"),  # either deadline may be the first
]


def test_attacks_13_16_17_every_fetch_ends_and_says_how(environment: Path, vendored: Path) -> None:
    """Endless, dripped, encoded and broken answers, headers included."""
    with ExitStack() as stack:
        servers = [stack.enter_context(RawServer(answer)) for answer, _ in HOSTILE]
        done = subprocess.run(
            [str(environment / "bin" / "python"), "-B", "-c", FETCH, *(one.url for one in servers)],
            env={
                "PYTHONPATH": f"{vendored}{os.pathsep}{EXAMPLES}",
                "IMPORTED": os.devnull,
                "PATH": os.environ["PATH"],
            },
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    for (_, expected), got in zip(HOSTILE, done.stdout.splitlines(), strict=True):
        assert got in expected.split("|")
    assert [len(one.requests) for one in servers] == [1] * len(servers), "no hidden retry"
