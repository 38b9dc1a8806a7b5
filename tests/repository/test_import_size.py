"""An import that no client could read is refused at the door, and does not block the queue."""

from __future__ import annotations

import json

import pytest

from indextrust.errors import RepositoryError
from tests.repository.place import Place


def test_few_files_with_long_texts_are_refused_at_the_door(place: Place) -> None:
    path = place.folder / "files.jsonl"
    with path.open("w") as file:
        for number in range(4_600):
            row = {
                "filename": f"demo-{number}.tar.gz",
                "sha256": f"{number:064x}",
                "size": 1,
                "upload_time": "2026-01-31T12:00:00Z",
                "requires_python": "\U00020000" * 2_000,
            }
            file.write(json.dumps(row) + "\n")
    with pytest.raises(RepositoryError, match="a client would refuse its document"):
        place.repository.import_files(path)
    place.repository.publish()
