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
from indextrust.trust.lookup import Work, check_target_path, delegations_for, matches, walk
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
            found = list(delegations_for(Targets(1, LATER, {}, classic), path, Work()))
            assert found == [(scheme.bin_of(path), True)]
            assert list(delegations_for(Targets(1, LATER, {}, succinct), path, Work())) == found


def test_only_names_that_the_scheme_makes_are_delegated_to() -> None:
    keys = RoleKeys(("k",), 1, {})
    targets = Targets(1, LATER, {}, SuccinctDelegation(4, "bin", keys))
    assert targets.keys_of("bin-f") is keys
    for stranger in ("bin-0f", "bin-F", "bin-10", "bin-+1", "bin- 1", "bin-g", "bin", "nib-0", ""):
        assert targets.keys_of(stranger) is None, stranger


def test_a_role_is_delegated_to_with_its_own_keys() -> None:
    one, other = RoleKeys(("k",), 1, {}), RoleKeys(("l",), 1, {})
    targets = _targets(
        Delegation("a", one, True, ("*",), None), Delegation("b", other, True, (), None)
    )
    assert targets.keys_of("a") is one
    assert targets.keys_of("b") is other
    assert targets.keys_of("c") is None


@pytest.mark.parametrize(
    "path",
    ["", "/", "/etc/x", "../../etc/x", "a/../b", "a/..", "./a", "a//b", "a/", "a\\b", "..\\x",
     "a\nb", "a\x00", "a\x7f", "a\x85", "\udc80", "a" * 4097],
)  # fmt: skip
def test_a_path_that_could_leave_its_base_is_refused(path: str) -> None:
    with pytest.raises(UnsafePathError):
        check_target_path(path)


@pytest.mark.parametrize("path", ["a", "a b", "path/to/a/file.txt", "...", "a..b", "é?#%2e%2e"])
def test_other_paths_are_fine(path: str) -> None:
    assert check_target_path(path) == path


@pytest.mark.parametrize(
    "patterns",
    [
        ["*a" * 20 + "b"] * 30_000,
        ["*[" + "#" * 1_000_000 + "]"],
        ["[" * 290_000 + "a" * 1_000_000] * 2,
        ["*" * 4_000_000 + "b"],
        ["?" * 50 + "*" * 100 + "c"] * 10_000,
    ],
    ids=["stars", "a long set", "open brackets", "only stars", "marks and stars"],
)
def test_attack_43_hostile_patterns_run_out_of_steps_and_are_no_answer(patterns: list[str]) -> None:
    """Counted, not timed: every character compared is a step."""
    delegations = tuple(_to(f"r{n}", pattern) for n, pattern in enumerate(patterns))
    tree = {"targets": _targets(*delegations)}
    with pytest.raises(BudgetExceededError, match="too long to match"):
        _ask(tree, "a" * 60)


def test_thirty_thousand_honest_patterns_are_far_from_the_bound() -> None:
    delegations = [_to(f"r{n}", f"files/project-{n}/*") for n in range(30_000)]
    tree = {"targets": _targets(*delegations), "r29999": _targets(lists=("files/project-29999/x",))}
    assert _ask(tree, "files/project-29999/x") == (["targets", "r29999"], "r29999")


def test_no_more_steps_are_taken_than_allowed() -> None:
    work = Work(steps=100)
    assert matches("a" * 10, "a*", work)
    with pytest.raises(BudgetExceededError):
        matches("a" * 60, "*a*a*a*a*b", work)
