"""Rebuilding beside an old database that an attacker made: it must not stop the rebuilding."""

from __future__ import annotations

import pytest

from tests.repository.place import Place
from tests.repository.test_rebuild import rebuild

ENDLESS = (
    "CREATE VIEW {} AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
    "SELECT i AS folded, i AS filename, i AS sha256, i AS number, 'end' AS kind, 'p' AS project, "
    "'' AS body, '' AS time, '' AS who, '' AS mac FROM n"
)


@pytest.mark.parametrize(
    "statements",
    [
        [
            "DROP TABLE log",
            "CREATE TABLE log (number, kind, project, body, time, who, mac)",
            "INSERT INTO log VALUES ('x', 'end', 5, 5, 5, 5, 5)",
        ],
        [
            "DROP TABLE used_filenames",
            "CREATE TABLE used_filenames (folded, filename, sha256)",
            "INSERT INTO used_filenames VALUES (5, 5, 5), ('x', 1.5, x'00'), (x'ff', 'a', 'b')",
        ],
        ["DROP TABLE used_filenames", ENDLESS.format("used_filenames")],
        ["DROP TABLE log", ENDLESS.format("log")],
    ],
    ids=["log of other types", "names of other types", "endless names", "endless log"],
)
@pytest.mark.timeout(60)
def test_a_hostile_old_database_does_not_stop_it(place: Place, statements: list[str]) -> None:
    place.publish(place.wheel("demo", "1.0"))
    for statement in statements:
        place.sql(statement)
    rebuild(place)
    assert place.repository.check().clean
    place.publish(place.wheel("demo", "2.0"))
