"""Each check has a test that fails when the check is taken out.

Every `raise` under a condition, and every call of a check, is taken out of a copy of the source,
one at a time; the tests of the trust core are run on each copy and must fail. What is tried is
found in the source, so a new check that nothing tests fails here.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import indextrust

SOURCE = Path(indextrust.__file__).parent
TESTS = Path(__file__).parent
CHECKING = {
    *("_threshold", "_info_not_rolled_back", "check_length", "check_digests", "check_root_age"),
    *("version_is", "not_expired", "vouched_for", "timestamp_not_rolled_back", "same_bytes"),
    *("snapshot_not_rolled_back", "not_equivocated", "in_its_bin"),
}
"""Functions that return nothing and refuse: a call of one is a check."""
STEPS = ("trust/session.py", "trust/search.py", "trust/roles.py", "trust/steps.py")
MODULES = ("trust/checks.py", *STEPS)


def _is_check(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return any(isinstance(inner, ast.Raise) for inner in node.body)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        function = node.value.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        return name in CHECKING
    return False


def _checks(module: str) -> Iterator[tuple[int, ast.AST, ast.Module]]:
    """The checks of a module: line, node, and the tree that it is in."""
    text = (SOURCE / module).read_text()
    count = sum(_is_check(node) for node in ast.walk(ast.parse(text)))
    for number in range(count):
        tree = ast.parse(text)
        node = [node for node in ast.walk(tree) if _is_check(node)][number]
        line: int = node.lineno  # type: ignore[attr-defined]
        if "pragma: no cover" not in text.splitlines()[line - 1]:  # it can't be reached
            yield line, node, tree


def _without(node: ast.AST, tree: ast.Module) -> str:
    """The module's text with this check taken out."""
    if isinstance(node, ast.If):
        node.test = ast.Constant(False)
    elif isinstance(node, ast.Expr):
        node.value = ast.Constant(None)
    return ast.unparse(tree)


CASES = [
    pytest.param(module, line, _without(node, tree), id=f"{module}:{line}")
    for module in MODULES
    for line, node, tree in _checks(module)
]


@pytest.mark.parametrize(("module", "line", "text"), CASES)
@pytest.mark.long
def test_a_check_that_is_taken_out_is_missed(
    tmp_path: Path, module: str, line: int, text: str
) -> None:
    shutil.copytree(SOURCE, tmp_path / "indextrust", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "indextrust" / module).write_text(text)
    suites = ("each_check", "session", "freshness", "metadata", "keys", "verdict", "reader")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"),
            *(str(TESTS / f"test_{name}.py") for name in suites),
        ],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTEST_XDIST_AUTO_NUM_WORKERS": "0"},
        cwd=TESTS.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, f"{module}:{line}: nothing missed it\n{done.stdout[-2000:]}"


def test_there_are_checks_to_take_out() -> None:
    """Else the test above would prove nothing."""
    assert len([case for case in CASES if "checks.py" in str(case.id)]) >= 14
    assert len([case for case in CASES if str(case.id).startswith(STEPS)]) >= 27
