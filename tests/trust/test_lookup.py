"""Which role answers for a path, and in which order the roles are asked."""

from __future__ import annotations

from datetime import UTC, datetime
from fnmatch import fnmatchcase

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from indextrust.errors import BudgetExceededError, UnsafePathError
from indextrust.names import BinScheme
from indextrust.trust.keys import RoleKeys
from indextrust.trust.lookup import check_target_path, delegations_for, matches, walk
from indextrust.trust.metadata import Delegation, SuccinctDelegation, Targets

NOBODY = RoleKeys((), 1, {})
LATER = datetime(2100, 1, 1, tzinfo=UTC)


def _to(name: str, *paths: str, terminating: bool = False) -> Delegation:
    return Delegation(name, NOBODY, terminating, paths, None)


def _targets(*delegations: Delegation, lists: tuple[str, ...] = ()) -> Targets:
    return Targets(1, LATER, {path: {} for path in lists}, delegations)


def _ask(tree: dict[str, Targets], path: str, most: int = 32) -> tuple[list[str], str | None]:
    """Walk `tree`; the roles visited in order, and the role that lists the path."""
    steps = walk(path, most=most)
    visited: list[str] = []
    try:
        visit = next(steps)
        while True:
            visited.append(visit.role)
            visit = steps.send(tree.get(visit.role, _targets()))
    except StopIteration as stop:
        return visited, stop.value and stop.value[0]


GLOB = st.text("ab*?[]!-", max_size=8)


@given(st.text("ab[]!-*?", max_size=8), GLOB)
@example("a", "[!]a-]")
@example("]", "[]]")
@example("[", "[")
@example("a]", "[a]]")
@example("-", "[a-]")
@example("b", "[a-b-c]")
@example("!", "[!!]")
@example("[!]", "[!]")
def test_a_pattern_matches_as_fnmatch_says(text: str, glob: str) -> None:
    assert matches(text, glob) == fnmatchcase(text, glob)


def test_no_star_crosses_a_slash_and_case_counts() -> None:
    assert matches("simple/flask/index.json", "simple/*/*")
    assert not matches("simple/flask/extra/index.json", "simple/*/*")
    assert not matches("simple/flask", "simple/*/*")
    assert not matches("Simple/flask/index.json", "simple/*/*")


def test_the_first_role_in_preorder_decides() -> None:
    tree = {
        "targets": _targets(_to("a", "*"), _to("b", "*")),
        "a": _targets(_to("c", "*")),
        "b": _targets(lists=("x",)),
        "c": _targets(_to("a", "*"), _to("targets2", "*")),
    }
    assert _ask(tree, "x") == (["targets", "a", "c", "targets2", "b"], "b")


def test_a_terminating_delegation_ends_the_walk_even_for_roles_already_waiting() -> None:
    tree = {
        "targets": _targets(_to("a", "*"), _to("b", "*")),
        "a": _targets(_to("c", "*", terminating=True), _to("d", "*")),
        "b": _targets(lists=("x",)),
        "d": _targets(lists=("x",)),
    }
    assert _ask(tree, "x") == (["targets", "a", "c"], None)


def test_running_out_of_roles_is_not_the_answer_no() -> None:
    tree = {f"r{n}": _targets(_to(f"r{n + 1}", "*")) for n in range(50)}
    tree["targets"] = _targets(_to("r0", "*"))
    tree["r50"] = _targets(lists=("x",))
    assert _ask(tree, "x", most=51)[1] == "r50"
    with pytest.raises(BudgetExceededError):
        _ask(tree, "x", most=50)


def test_a_path_falls_into_the_bin_that_its_hash_names_however_bins_are_delegated() -> None:
    for bits in (1, 3, 4, 8):
        scheme = BinScheme(bits, succinct=False)
        classic = tuple(
            Delegation(r["name"], NOBODY, True, None, tuple(r["path_hash_prefixes"]))
            for r in scheme.delegation([], 1)["roles"]
        )
        succinct = SuccinctDelegation(bits, "bin", NOBODY)
        for n in range(40):
            path = f"files/p/p-{n}.tar.gz"
            found = list(delegations_for(Targets(1, LATER, {}, classic), path))
            assert found == [(scheme.bin_of(path), True)]
            assert list(delegations_for(Targets(1, LATER, {}, succinct), path)) == found


def test_only_names_that_the_scheme_makes_are_delegated_to() -> None:
    keys = RoleKeys(("k",), 1, {})
    targets = Targets(1, LATER, {}, SuccinctDelegation(4, "bin", keys))
    assert targets.keys_of("bin-f") is keys
    for stranger in ("bin-0f", "bin-F", "bin-10", "bin-+1", "bin- 1", "bin-g", "bin", "nib-0", ""):
        assert targets.keys_of(stranger) is None, stranger


@pytest.mark.parametrize(
    "path",
    ["", "/", "/etc/x", "../../etc/x", "a/../b", "a/..", "./a", "a//b", "a/", "a\\b", "..\\x",
     "a\nb", "a\x00", "a\x7f", "\udc80"],
)  # fmt: skip
def test_a_path_that_could_leave_its_base_is_refused(path: str) -> None:
    with pytest.raises(UnsafePathError):
        check_target_path(path)


@pytest.mark.parametrize("path", ["a", "a b", "path/to/a/file.txt", "...", "a..b", "é?#%2e%2e"])
def test_other_paths_are_fine(path: str) -> None:
    assert check_target_path(path) == path


def test_thirty_thousand_hostile_patterns_take_a_bounded_number_of_steps() -> None:
    """Counted, not timed: each pattern may compare at most len(text) * len(pattern) characters."""
    pattern = "*a" * 20 + "b"
    text = "a" * 60
    compared = 0

    class Counting(str):
        def __getitem__(self, key: object) -> str:
            nonlocal compared
            compared += 1
            return str.__getitem__(self, key)  # type: ignore[index]

        def split(self, *args: object) -> list[str]:
            return [self]

    assert not matches(Counting(text), pattern)
    assert 0 < compared <= len(text) * len(pattern)
