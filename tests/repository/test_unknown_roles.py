"""A row of a role that nobody delegated to is no reason to sign it.

(That of a bin to come would be an empty one for a thief to keep; one that comes last in the
snapshot is even published, and missed by the next process: then nothing can be published at all.)
"""

from __future__ import annotations

import pytest

from indextrust.errors import AlteredStateError
from tests.repository.place import Place


@pytest.mark.parametrize("name", ["zzz-1", "bin-4", "bin-00ff", "../evil"])
def test_a_role_that_is_not_of_this_index_is_not_signed(place: Place, name: str) -> None:
    before = place.versions()
    place.sql("INSERT INTO roles VALUES (?, 0, 0, 0, '', '', '', '')", name)
    place.repository.add(place.wheel("demo", "1.0"))
    with pytest.raises(AlteredStateError, match="is none of this index"):
        place.repository.publish()
    assert place.versions() == before
    assert not (place.public / "metadata" / f"1.{name}.json").exists()
    place.sql("DELETE FROM roles WHERE name = ?", name)
    place.reopen().publish()


def test_a_row_that_came_and_went_does_not_stop_publications_for_ever(place: Place) -> None:
    place.sql("INSERT INTO roles VALUES ('zzz-1', 0, 0, 0, '', '', '', '')")
    place.repository.add(place.wheel("demo", "1.0"))
    with pytest.raises(AlteredStateError, match="is none of this index"):
        place.repository.publish()
    place.sql("DELETE FROM roles WHERE name = 'zzz-1'")
    place.repository.add(place.wheel("demo", "2.0"))
    place.reopen().publish()
