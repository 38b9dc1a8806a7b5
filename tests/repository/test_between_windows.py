"""Somebody writes the public folder between two windows of one publication."""

from __future__ import annotations

import pytest

from indextrust.errors import RepositoryError
from indextrust.repository import Repository
from indextrust.repository.publish import Publisher
from indextrust.repository.results import Published
from tests.repository.place import Place


def test_a_foreign_timestamp_stops_the_next_window(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Repository, "WINDOW", 1)
    old = (place.public / "metadata/timestamp.json").read_bytes()
    publish = Publisher.publish
    count = 0

    def publishing(self: Publisher, *args: object) -> Published:
        nonlocal count
        done = publish(self, *args)  # type: ignore[arg-type]
        count += 1
        (place.public / "metadata/timestamp.json").write_bytes(old)
        return done

    monkeypatch.setattr(Publisher, "publish", publishing)
    place.repository.add(place.wheel("demo", "1.0"), place.wheel("other", "1.0"))
    with pytest.raises(RepositoryError, match="is not the one that was published"):
        place.repository.publish()
    assert count == 1
