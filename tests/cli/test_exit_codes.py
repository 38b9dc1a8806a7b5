"""The table of exit codes: one code for each kind of error, the same in the docs."""

from __future__ import annotations

from pathlib import Path

import pytest

from indextrust import errors
from indextrust.cli.exit_codes import BUG, TABLE, exit_code

DOCS = Path(__file__).parents[2] / "docs" / "command-line.md"


def test_the_documentation_has_the_table_as_it_is() -> None:
    rows = [line for line in DOCS.read_text().splitlines() if line.startswith("| ")]
    documented = [row for row in rows if row.split("|")[1].strip().isdigit()]
    assert documented == [
        f"| {row.code} | {row.meaning} | {f'`{row.error.__name__}`' if row.error else ''} |"
        for row in TABLE
    ]


def test_codes_are_distinct_and_in_order() -> None:
    codes = [row.code for row in TABLE]
    assert codes == sorted(set(codes))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InputError("x"), 2),
        (errors.RollbackError("x"), 10),
        (errors.EquivocationError("x"), 11),
        (errors.BudgetExceededError("x"), 12),
        (errors.NotListedError("x"), 13),
        (errors.StoreError("x"), 15),
        (errors.ConflictError("x"), 16),
        (errors.RepositoryVersionError("x"), 21),
        (errors.PassphraseError("x"), 32),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError(), BUG),
    ],
)
def test_an_error_takes_the_code_of_its_nearest_kind(error: BaseException, code: int) -> None:
    assert exit_code(error) == code


def test_every_error_of_ours_has_a_kind() -> None:
    ours = [getattr(errors, name) for name in errors.__all__ if name != "IndextrustError"]
    uncoded = [
        cls for cls in ours if not any(row.error and issubclass(cls, row.error) for row in TABLE)
    ]
    assert uncoded == []
