"""A file name that was queued stands for its digest, also when it was removed since."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from indextrust.errors import RepositoryError
from indextrust.repository import Repository
from tests.repository.place import Place

WHEEL = "demo-1.0-py3-none-any.whl"


def table(place: Place, name: str, *rows: dict[str, object]) -> Path:
    path = place.folder / f"{name}.jsonl"
    base = {"filename": WHEEL, "sha256": "a" * 64, "size": 7, "upload_time": "2026-01-31T12:00:00Z"}
    path.write_text("".join(json.dumps({**base, **row}) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("window", [1, 100])
def test_a_queued_name_stands_for_its_digest_also_after_a_removal(
    place: Place, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    monkeypatch.setattr(Repository, "WINDOW", window)
    place.repository.import_files(table(place, "one", {}))
    place.repository.remove("demo", WHEEL)
    for name in (WHEEL, WHEEL.replace("demo", "Demo")):
        with pytest.raises(RepositoryError, match="is taken by"):
            place.repository.import_files(
                table(place, "two", {"filename": name, "sha256": "b" * 64})
            )
    with pytest.raises(RepositoryError, match="is taken by"):
        place.repository.add(place.wheel("demo", "1.0"))
    place.repository.import_files(table(place, "three", {}))  # the same bytes
    place.repository.publish()
    assert place.document("demo")["files"][0]["hashes"]["sha256"] == "a" * 64
