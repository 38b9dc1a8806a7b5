"""Several processes on one folder, and readers meanwhile."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from indextrust.repository import Repository
from tests.repository.place import Place
from tests.repository.test_publish import client, reaches_only


def test_many_uploads_and_publications_at_once_lose_nothing(place: Place) -> None:
    wheels = [place.wheel(f"demo{number}", "1.0") for number in range(8)]

    def upload(number: int) -> int:
        repository = place.reopen()  # as another process would
        repository.add(wheels[number])
        return repository.publish().added

    with ThreadPoolExecutor(4) as pool:
        added = list(pool.map(upload, range(8)))
    assert sum(added) == 8
    status = place.repository.status()
    assert (status.projects, status.files, status.queued) == (8, 8, 0)
    for number in range(8):
        reaches_only(place, f"demo{number}", [f"demo{number}-1.0-py3-none-any.whl"])
    assert place.repository.audit().clean


def test_a_reader_always_sees_one_whole_index(place: Place) -> None:
    place.publish(place.wheel("demo", "0"))
    wheels = [place.wheel("demo", str(number)) for number in range(1, 9)]
    done = threading.Event()

    def operate(repository: Repository) -> None:
        try:
            for wheel in wheels:
                repository.add(wheel)
                repository.publish()
        finally:
            done.set()

    operator = threading.Thread(target=operate, args=(place.reopen(),))
    reader = client(place)
    operator.start()
    versions = []
    while not done.is_set():
        versions.append(reader.refresh().trusted.snapshot.version)
        entry = reader.find("simple/demo/index.json")
        data = (place.public / f"simple/demo/{entry.hashes['sha256']}.index.json").read_bytes()  # type: ignore[union-attr]
        assert len(data) == entry.length  # type: ignore[union-attr]
    operator.join()
    assert versions == sorted(versions)
    assert reader.refresh().trusted.snapshot.version == 10
