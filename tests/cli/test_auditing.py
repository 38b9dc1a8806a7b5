"""checkpoint, audit and repair, as the operator types them."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pexpect
import pytest

from indextrust.ceremony import load_signer
from indextrust.cli.app import run
from indextrust.repository.checkpoints import kept_in, prune, to_keep
from indextrust.testing import TamperingServer
from tests.cli.place import Place
from tests.repository.forger import Forger, put
from tests.support.wheels import make_wheel

WHEEL = "files/demo/demo-1.0-py3-none-any.whl"
ODD = "files/<b>x|*`\x1b[2J/evil"

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command here: its exit code, and what it printed."""

    def call(*words: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run([str(word) for word in words])
        return (code, *capsys.readouterr())

    return call


@pytest.fixture
def made(index: Place, call: Call) -> tuple[Path, str]:
    """A checkpoint of the index, and its digest on paper; the first root lies there too."""
    into = index.folder / "elsewhere"
    into.mkdir()
    shutil.copy(index.public / "metadata" / "1.root.json", into / "root.json")
    words = ("checkpoint", "make", index.repository, "--root", into / "root.json", "--into", into)
    code, printed, _ = call(*words, "--json")
    assert code == 0
    answer = json.loads(printed)["made"]
    return Path(answer["path"]), answer["digest"]


def forger(index: Place) -> Forger:
    phrase = (index.folder / "phrases" / "online").read_text().strip()
    online = load_signer(index.keys / "online.pem", phrase)
    return Forger(index.public, online, datetime.now(UTC).replace(microsecond=0))


def test_a_checkpoint_is_made_listed_verified_and_carried_away(
    index: Place, made: tuple[Path, str], call: Call
) -> None:
    path, digest = made
    assert re.fullmatch(r"\d{8}T\d{6}Z-snapshot-2\.checkpoint", path.name)
    code, printed, _ = call("checkpoint", "list", path.parent, "--json")
    (listed,) = json.loads(printed)["checkpoints"]
    assert (code, listed["digest"], listed["files"]) == (0, digest, 1)
    code, printed, _ = call("checkpoint", "verify", path, "--digest", digest)
    assert (code, "whole; snapshot 2, 1 projects, 1 files" in printed) == (0, True)

    sheet, copy = index.folder / "sheet.txt", index.folder / "stick.checkpoint"
    assert call("checkpoint", "export", path, sheet, "--digest", digest, "--sheet")[0] == 0
    assert call("checkpoint", "export", path, copy, "--digest", sheet)[0] == 0  # by file
    assert copy.read_bytes() == path.read_bytes()
    code, _, error = call("checkpoint", "export", path, copy, "--digest", digest)
    assert (code, "never overwritten" in error) == (15, True)


def test_a_copy_of_the_public_folder_gives_the_same_digest(
    index: Place, made: tuple[Path, str], call: Call
) -> None:
    """Somebody else, on another machine, can say what he saw."""
    path, digest = made
    mirror, mine = index.folder / "mirror", index.folder / "mine"
    shutil.copytree(index.public, mirror)
    mine.mkdir()
    words = ("checkpoint", "make", mirror, "--root", path.with_name("root.json"), "--into", mine)
    code, printed, _ = call(*words)
    assert code == 0
    groups = " ".join(digest[n : n + 4] for n in range(0, 64, 4))
    assert groups in printed.splitlines()


@pytest.mark.parametrize("digest", ["0" * 64, "nonsense", None])
def test_another_digest_or_none_is_refused(
    index: Place, made: tuple[Path, str], call: Call, digest: str | None
) -> None:
    path, _ = made
    given = [] if digest is None else ["--digest", digest]
    for words in (
        ["checkpoint", "verify", path],
        ["checkpoint", "export", path, index.folder / "copy"],
        ["audit", index.repository, "--since", path],
        ["repair", index.repository, "--since", path],
    ):
        code, _, error = call(*words, *given)
        assert code == (10 if digest == "0" * 64 else 2)
        assert "digest" in error or "another checkpoint" in error
    assert not (index.folder / "copy").exists()


@pytest.mark.parametrize("right", [True, False])
def test_at_a_terminal_some_groups_of_the_digest_are_asked_from_paper(
    index: Place, made: tuple[Path, str], right: bool
) -> None:
    path, digest = made
    words = ["-m", "indextrust", "checkpoint", "verify", str(path)]
    child = pexpect.spawn(sys.executable, words, encoding="utf-8", timeout=60)
    child.setwinsize(40, 250)
    child.expect(r"type the groups (\d+), (\d+) and (\d+) of the digest")
    assert isinstance(child.match, re.Match)
    numbers = [int(child.match[n]) for n in (1, 2, 3)]
    groups = [digest[n : n + 4] for n in range(0, 64, 4)]
    child.sendline(" ".join(groups[n - 1] if right else "0000" for n in numbers))
    child.expect("whole" if right else "not the checkpoint on your paper")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == (0 if right else 10)


def test_the_audit_tells_what_was_queued_from_what_was_not(
    index: Place, made: tuple[Path, str], call: Call
) -> None:
    path, digest = made
    words = ["audit", index.repository, "--since", path, "--digest", digest]
    code, printed, _ = call(*words)
    assert (code, "No difference from the checkpoint." in printed) == (0, True)

    call("add", index.repository, make_wheel(index.dist, "demo", "2.0"), "--by", "uploads")
    assert call(*index.publish)[0] == 0
    code, printed, _ = call(*words)
    assert code == 50
    assert "2 added, 1 changed, 0 removed; 0 not queued by anybody." in printed
    assert "by uploads (entry " in printed

    forger(index).sign({WHEEL: b"malicious", ODD: b"x"}, version=2**31)
    code, printed, _ = call(*words, "--json")
    answer = json.loads(printed)["audit"]
    assert (code, answer["unqueued"], answer["snapshot"]["now"]) == (51, 2, 2**31)
    nobody = {each["path"] for each in answer["differences"] if each["queued"] is None}
    assert nobody == {WHEEL, ODD}
    assert {role["published"] for role in answer["roles"] if role["now"] == 2**31} == {False}

    reports = [index.folder / "report.md", index.folder / "report.html"]
    code, printed, _ = call(*words, *(w for r in reports for w in ("--report", r)))
    assert code == 51
    assert "not queued by anybody" in printed
    assert "\x1b" not in printed
    markdown, page = (report.read_text() for report in reports)
    assert "files/\\<b\\>x\\|\\*\\`\\\\x1b" in markdown
    assert "files/&lt;b&gt;x|*`\\x1b" in page
    for text in (markdown, page):
        assert "<b>" not in text
        assert "\x1b" not in text
        assert "not queued by anybody" in text


def test_the_audit_needs_no_database(index: Place, made: tuple[Path, str], call: Call) -> None:
    path, digest = made
    forger(index).sign({WHEEL: b"malicious"})
    (index.repository / "state.sqlite").unlink()
    words = ["audit", index.repository, "--since", path, "--digest", digest, "--store"]
    code, printed, _ = call(*words, "--json")
    answer = json.loads(printed)["audit"]
    assert code == 51
    assert "state.sqlite" in answer["log"]
    assert [each["path"] for each in answer["differences"]] == [WHEEL]
    assert [each["path"] for each in answer["stored"]["damages"]] == [WHEEL]


@pytest.mark.parametrize("over", ["folder", "http"])
def test_damaged_files_are_found_and_put_back_from_a_mirror(
    index: Place, made: tuple[Path, str], call: Call, over: str
) -> None:
    path, digest = made
    mirror = index.folder / "mirror"
    shutil.copytree(index.public, mirror)
    shutil.rmtree(index.repository / "objects" / _sha256(index)[:2])
    for name in (index.public / "files" / "demo").glob("*demo-1.0-py3-none-any.whl"):
        name.write_bytes(b"altered")
    words = ["--since", path, "--digest", digest]
    code, printed, _ = call("audit", index.repository, *words, "--store", "--sample", "9", "--json")
    (damage,) = json.loads(printed)["audit"]["stored"]["damages"]
    assert (code, damage["path"], damage["kind"]) == (51, WHEEL, "altered")

    code, printed, _ = call("repair", index.repository, *words)
    assert (code, f"lost {WHEEL}" in printed) == (51, True)
    before = _metadata(index)
    with TamperingServer(mirror) as server:
        source = server.url if over == "http" else str(mirror)
        code, printed, _ = call("repair", index.repository, *words, "--from", source)
    assert (code, f"restored {WHEEL}" in printed) == (0, True)
    assert _metadata(index) == before
    code, printed, _ = call("audit", index.repository, *words, "--store")
    assert (code, "none damaged" in printed) == (0, True)


@pytest.mark.parametrize("over", ["folder", "http"])
def test_a_mirror_is_a_second_witness(
    index: Place, made: tuple[Path, str], call: Call, over: str
) -> None:
    path, digest = made
    mirror = index.folder / "mirror"
    shutil.copytree(index.public, mirror)
    with TamperingServer(mirror) as server:
        source = server.url if over == "http" else str(mirror)
        words = ["audit", index.repository, "--since", path, "--digest", digest]
        words += ["--against", source]
        code, printed, _ = call(*words)
        assert (code, "Both say the same." in printed) == (0, True)
        forger(index).sign({WHEEL: b"malicious"})
        code, printed, _ = call(*words, "--json")
        found = json.loads(printed)["audit"]["mirror"]
        assert (code, [each["path"] for each in found["differences"]]) == (51, [WHEEL])
        put(mirror / "metadata" / "timestamp.json", b"{}")
        code, printed, _ = call(*words, "--json")
        found = json.loads(printed)["audit"]["mirror"]
        assert found["snapshot"]["there"] is None
        assert "the mirror" in found["faults"]["named"][0]


def test_two_checkpoints_are_compared(index: Place, made: tuple[Path, str], call: Call) -> None:
    path, digest = made
    call("add", index.repository, make_wheel(index.dist, "new", "1.0"))
    call(*index.publish)
    root, into = path.with_name("root.json"), index.folder / "later"
    into.mkdir()
    words = ("checkpoint", "make", index.repository, "--root", root, "--into", into, "--json")
    later = json.loads(call(*words)[1])["made"]
    both = ["--digest", digest, "--digest", later["digest"]]
    code, printed, _ = call("checkpoint", "compare", path, later["path"], *both)
    assert code == 51
    assert "added simple/new/index.json" in printed
    assert "3 added, 0 changed, 0 removed" in printed
    twice = ["--digest", digest, "--digest", digest]
    assert call("checkpoint", "compare", path, path, *twice)[0] == 0
    assert call("checkpoint", "compare", path, path, "--digest", digest)[0] == 2


@pytest.mark.parametrize(
    "options",
    [
        ["--sample", "5"],
        ["--report", "report.pdf"],
        ["--report", "nowhere/report.md"],
        ["--against", "nowhere"],
        ["--against", "http://user:sesame@host/"],
    ],
)
def test_what_can_not_be_done_is_said_before_anything_is_read(
    index: Place, made: tuple[Path, str], call: Call, options: list[str]
) -> None:
    path, digest = made
    code, printed, error = call(
        "audit", index.repository, "--since", path, "--digest", digest, *options
    )
    assert (code, printed) == (2, "")
    assert "Traceback" not in error
    assert "sesame" not in error


def test_checkpoints_are_kept_by_day_and_by_week(
    index: Place, made: tuple[Path, str], call: Call
) -> None:
    first, _ = made
    path = first.rename(first.with_name("20250101T000000Z-snapshot-2.checkpoint"))
    for name in ("20250101T120000Z", "20250106T120000Z", "20250107T120000Z"):
        shutil.copy(path, path.with_name(f"{name}-snapshot-2.checkpoint"))
    (path.parent / "20251399T990000Z-snapshot-2.checkpoint").write_bytes(b"no date")
    root = path.with_name("root.json")
    words = ("checkpoint", "make", index.repository, "--root", root, "--into", path.parent)
    code, printed, _ = call(*words, "--keep-daily", "2", "--keep-weekly", "3", "--json")
    gone = [Path(name).name[:16] for name in json.loads(printed)["removed"]]
    assert code == 0
    assert gone[:2] == ["20250101T000000Z", "20250106T120000Z"]
    left = {kept.path.name[:16] for kept in kept_in(path.parent)}
    assert {"20250101T120000Z", "20250107T120000Z"} < left
    assert len(left) == 3
    assert (path.parent / "20251399T990000Z-snapshot-2.checkpoint").exists()
    assert root.exists()


def test_the_last_of_each_of_the_latest_days_and_weeks_is_kept() -> None:
    def time(day: int, hour: int) -> datetime:
        return datetime(2026, 1, day, hour, tzinfo=UTC)

    times = [time(day, hour) for day in (1, 2, 5, 6, 12) for hour in (3, 9)]
    assert to_keep(times, 1, 0) == {time(12, 9)}
    assert to_keep(times, 3, 0) == {time(12, 9), time(6, 9), time(5, 9)}
    assert to_keep(times, 1, 3) == {time(12, 9), time(6, 9), time(2, 9)}
    assert to_keep(times, 99, 99) == {time(day, 9) for day in (1, 2, 5, 6, 12)}


def test_what_is_pruned_is_never_everything(made: tuple[Path, str]) -> None:
    path, _ = made
    with pytest.raises(ValueError, match="one day or more"):
        prune(path.parent, daily=0, weekly=0)
    assert path.exists()


def _sha256(index: Place) -> str:
    (name,) = (index.public / "files" / "demo").glob("*.demo-1.0-py3-none-any.whl")
    return name.name[:64]


def _metadata(index: Place) -> dict[str, Any]:
    return {path.name: path.read_bytes() for path in (index.public / "metadata").iterdir()}
