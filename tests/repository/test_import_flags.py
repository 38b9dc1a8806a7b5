"""Imported yanks: a flag is a flag, a reason a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.repository.place import Place
from tests.repository.test_imports import csv_table, entry, files_of, page, row


@pytest.mark.parametrize(("flag", "expected"), [(False, False), (True, True)])
def test_a_flag_as_python_writes_it_into_a_table_is_a_flag(
    place: Place, flag: bool, expected: object
) -> None:
    path = csv_table(place, [row(yanked=flag)])
    assert f",{flag}" in path.read_text()
    place.repository.import_files(path)
    place.repository.publish()
    assert files_of(place, "demo")[0]["yanked"] is expected


def test_a_reason_on_a_page_is_never_taken_for_a_flag(place: Place, tmp_path: Path) -> None:
    """PEP 691: a text is a reason, whatever it says. Else the file is not yanked any more."""
    place.repository.import_files(page(tmp_path / "simple", "demo", entry(yanked="false")))
    place.repository.publish()
    assert files_of(place, "demo")[0]["yanked"] == "false"
