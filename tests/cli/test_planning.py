"""``indextrust plan``: what it advises, to a person and to a machine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.place import Place

SMALL = ("plan", "--projects=60", "--files=600")
PYPI = ("plan", "--projects=886324", "--files=20000000")


def answer(place: Place, *arguments: str) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(place.must(*arguments, "--json"))
    assert tree.keys() == {"plan"}
    plan: dict[str, Any] = tree["plan"]
    return plan


def numbers(tree: object, path: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a JSON tree with the keys that lead to it."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from numbers(value, f"{path}.{key}")
    elif isinstance(tree, list):
        for value in tree:
            yield from numbers(value, path)
    elif isinstance(tree, (int, float)):
        yield path, tree


def test_a_person_reads_the_advice_first_and_then_what_it_rests_on(place: Place) -> None:
    printed = place.must(*SMALL)
    assert printed.splitlines()[:3] == [
        "layout     pep458: documents and files are targets",
        "bins       256, by path-hash prefixes",
        "snapshot   lists length and sha256 of each role",
    ]
    rows = ["root", "timestamp", "snapshot", "targets", "bins", "a bin on average"]
    rows += ["the largest bin", "new", "the next day", "to publish one file", "65536"]
    for row in rows:
        assert re.search(rf"^{row} .*\d+(\.\d+)? [kMG]?B ", printed, re.MULTILINE), row
    assert "7 offline signatures on root, targets and bins" in printed
    assert "290 projects and 2,896 files" in printed
    assert "37% a year" in printed
    assert "level 6" in printed
    assert "ask for no compression" in printed


def test_every_number_for_a_machine_says_what_it_counts(place: Place) -> None:
    plan = answer(place, *PYPI)
    assert plan["recommended"] == {
        "layout": "projects",
        "bins": 16384,
        "delegation": "succinct_roles",
        "snapshot_lists": "version",
    }
    counts = {"projects", "files", "installs_of", "publishes_per_day", "days", "years", "requests"}
    counts |= {"targets", "documents", "metadata", "bins", "signatures", "offline_signatures"}
    counts |= {"written_files", "kept_names", "renewals_per_day", "gzip_level", "keyholders"}
    counts |= {"growth_per_year", "wheel_share"}  # shares of 1
    seen = list(numbers(plan))
    assert len(seen) > 100
    for path, number in seen:
        assert path.rpartition(".")[2] in counts or path.endswith("_bytes"), path
        assert number >= 0, path
    for when in ("now", "later"):
        sizes = plan[when]["metadata"]
        assert set(sizes) == {
            *("root", "timestamp", "snapshot", "targets", "bins"),
            *("bin_mean", "bin_p99", "bin_largest", "in_force"),
        }
        assert all(size["gzip_bytes"] < size["raw_bytes"] for size in sizes.values())
        users = plan[when]["downloads"]
        order = ["same_snapshot", "next_hour", "next_day", "new_user"]
        raw = [users[user]["raw_bytes"] for user in order]
        assert raw == sorted(raw)
    assert len(plan["candidates"]) == 18
    assert plan["rebinning"]["bins"] == 32768


def test_who_installs_and_publishes_more_is_told_other_numbers(place: Place) -> None:
    few, many = (answer(place, *SMALL, f"--installs-of={number}") for number in (1, 60))
    downloads = [plan["now"]["downloads"]["next_day"]["raw_bytes"] for plan in (few, many)]
    assert downloads[0] < downloads[1]
    busy = answer(place, *SMALL, "--publishes-per-day=250.5")
    assert busy["now"]["index"]["publishes_per_day"] == 250.5
    assert busy["later"]["index"]["files"] > few["later"]["index"]["files"]
    written = [plan["now"]["costs"]["per_day"]["written_bytes"] for plan in (few, busy)]
    assert written[0] < written[1]


def test_nothing_is_written_and_quiet_says_nothing(place: Place) -> None:
    before = place.digest()
    assert place.must(*SMALL, "-q") == ""
    assert place.digest() == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--projects=0", "--files=0"], "got 0"),
        (["--projects=0", "--files=5"], "expected projects from 1"),
        (["--projects=-3", "--files=5"], "got -3"),
        (["--projects=6", "--files=5"], "the number of files (5), got 6"),
        (["--projects=1", f"--files={10**400}"], "expected 1 to 1,000,000,000 files"),
        (["--projects=1", "--files=1000000000"], "in 5 years"),
        (["--projects=5", "--files=5", "--installs-of=0"], "got 0"),
        (["--projects=5", "--files=5", "--installs-of=6"], "all 5 projects, got 6"),
        (["--projects=5", "--files=5", "--publishes-per-day=-1"], "got -1"),
        (["--projects=5", "--files=5", "--publishes-per-day=nan"], "got nan"),
        (["--projects=5", "--files=5", "--publishes-per-day=1e300"], "publishes per day"),
        (["--projects=many", "--files=5"], "'many' is not a valid integer"),
        (["--projects=5"], "--files"),
        (["--files=5"], "--projects"),
    ],
)
def test_numbers_that_no_index_has_are_one_line_and_exit_code_2(
    place: Place, options: list[str], said: str
) -> None:
    done = place.run("plan", *options)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("indextrust: ")]
    assert said in line
    assert len(line) < 200


def test_for_a_machine_a_refusal_is_an_object(place: Place) -> None:
    done = place.run("plan", "--projects=6", "--files=5", "--json")
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["exit_code"], error["kind"]) == (2, 2, "InputError")
