"""A re-binning that was cut short, and somebody who writes the database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner

from indextrust.ceremony import BinScheme, rotate
from indextrust.errors import AlteredStateError, SigningError
from tests.repository.place import Place, everything
from tests.repository.test_publish import client

TABLES = ("roles", "roots", "targets", "retired")


class Broken:
    """A signer that fails: the re-binning has begun, and nothing of it is out."""

    def __init__(self, key: CryptoSigner) -> None:
        self.public_key = key.public_key

    def sign(self, payload: bytes) -> Any:
        raise OSError("unplugged")


def put_back(place: Place, rows: dict[str, list[tuple[Any, ...]]]) -> None:
    for name, before in rows.items():
        place.sql(f"DELETE FROM {name}")  # noqa: S608
        for row in before:
            marks = ", ".join("?" * len(row))
            place.sql(f"INSERT INTO {name} VALUES ({marks})", *row)  # noqa: S608


def rows(place: Place) -> dict[str, list[tuple[Any, ...]]]:
    return {name: place.sql(f"SELECT * FROM {name}") for name in TABLES}  # noqa: S608


def test_it_is_not_finished_under_the_roles_before_it(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.publish(*(place.wheel(f"p{number}", "1.0") for number in range(6)))
    before = rows(place)
    roles = rotate(
        place.roles,
        place.keyholders[:2],
        place.online.public_key,
        now=place.clock.now,
        bins=BinScheme.of(8),
    )
    with pytest.raises(SigningError):
        place.repository.rebin(roles, Broken(place.online))  # type: ignore[arg-type]
    adopted = rows(place)
    put_back(place, before)
    public = everything(place.public)
    for operation in (place.reopen().publish, place.reopen().renew):
        with pytest.raises(AlteredStateError, match="re-binning"):
            operation()
    assert everything(place.public) == public
    put_back(place, adopted)
    place.reopen().publish()
    assert place.versions()["bins"] == 2
    client(place).refresh()


def test_it_may_be_finished_under_later_roles_that_the_operator_installs(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.publish(*(place.wheel(f"p{number}", "1.0") for number in range(6)))
    event = (place.keyholders[:2], place.online.public_key)
    place.roles = rotate(place.roles, *event, now=place.clock.now, bins=BinScheme.of(8))
    with pytest.raises(SigningError):
        place.repository.rebin(place.roles, Broken(place.online))  # type: ignore[arg-type]
    place.roles = rotate(place.roles, *event, now=place.clock.now)
    place.reopen().install(place.roles, place.online)
    assert place.versions()["bins"] == 3
    client(place).refresh()
