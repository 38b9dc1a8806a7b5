"""What `Repository.status` says when the rows that it reads make no sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from indextrust.errors import AlteredStateError
from tests.repository.place import Place


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM roles WHERE name = 'bin-2'", "no row of role bin-2"),
        ("DELETE FROM roles WHERE name = 'snapshot'", "no row of role snapshot"),
        ("UPDATE roles SET expires = '2026-01-3' WHERE name = 'root'", "role root: .* '2026-01-3'"),
        ("UPDATE roles SET expires = x'ff' WHERE name = 'timestamp'", "expected an expiry like"),
    ],
)
def test_a_role_whose_row_is_lost_or_damaged_is_named(
    tmp_path: Path, statement: str, said: str
) -> None:
    place = Place(tmp_path)
    place.sql(statement)
    with pytest.raises(AlteredStateError, match=said):
        place.repository.status()
