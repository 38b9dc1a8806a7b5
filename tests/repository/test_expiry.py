"""Renewal: what expires soon and nothing else, spread over the day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner, Signature

from indextrust.names import BinScheme
from indextrust.repository import Repository
from indextrust.repository.expiry import AHEAD, expiry
from tests.repository.place import Place
from tests.repository.test_publish import client

SPREAD = timedelta(hours=12)
MOMENTS = st.integers(0, 10**11).map(
    lambda number: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=number)
)


class Counting(CryptoSigner):
    """The online key, and how often it signed."""

    def __init__(self, signer: CryptoSigner) -> None:
        self.inner, self.count = signer, 0

    @property
    def public_key(self):  # type: ignore[no-untyped-def]
        return self.inner.public_key

    def sign(self, payload: bytes) -> Signature:
        self.count += 1
        return self.inner.sign(payload)


def read(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


@given(now=MOMENTS, bits=st.integers(1, 16), share=st.floats(0, 1, exclude_max=True))
def test_a_bin_lives_for_half_a_day_to_a_day_and_ends_at_its_own_slot(
    now: datetime, bits: int, share: float
) -> None:
    scheme = BinScheme(bits, succinct=True)
    number = int(share * scheme.count)
    expires = read(expiry(scheme.name(number), scheme.count, now))
    assert now + SPREAD - timedelta(seconds=1) < expires <= now + 2 * SPREAD
    slot = (expires - datetime(1970, 1, 1, tzinfo=UTC)) % SPREAD
    assert slot == timedelta(seconds=SPREAD.total_seconds() * number // scheme.count)


@given(now=MOMENTS)
def test_timestamp_and_snapshot_live_for_a_day(now: datetime) -> None:
    for role in ("timestamp", "snapshot"):
        assert read(expiry(role, 4, now)) == (now + 2 * SPREAD).replace(microsecond=0)


@given(now=MOMENTS, number=st.integers(0, 255), late=st.integers(0, 3600))
def test_who_renews_every_hour_signs_each_bin_twice_a_day(
    now: datetime, number: int, late: int
) -> None:
    expires = read(expiry(f"bin-{number:02x}", 256, now))
    signed = expires - AHEAD + timedelta(seconds=late)  # at the first run that finds it due
    after = read(expiry(f"bin-{number:02x}", 256, signed))
    assert after == expires + SPREAD
    assert after - AHEAD > signed  # not due again at once


@pytest.mark.parametrize("publishes", [False, True])
def test_an_hourly_renewal_signs_an_even_share_over_two_days(
    tmp_path: Path, publishes: bool
) -> None:
    """64 bins, founded at once: a twelfth of them an hour, from the second hour on, for ever."""
    place = Place(tmp_path, bins=64)
    signer = Counting(place.online)
    repository = Repository.open(place.repository.folder, online=signer, clock=place.clock)
    reader, shares = client(place), []
    for hour in range(1, 25 if publishes else 49):
        place.clock.sleep(hours=1)
        if publishes:
            repository.add(place.wheel("demo", str(hour)))
            repository.publish()
        signer.count = 0
        renewed = repository.renew()
        bins = 0 if renewed is None else len(renewed.bins)
        if renewed is not None:
            assert signer.count == len(renewed.signed) == bins + 2
        shares.append(bins)
        reader.now = place.clock.now
        reader.refresh()
        assert repository.status().warnings == ()
    if publishes:  # what was published an hour before is not due, or due once more
        assert max(shares) <= 6
        assert sum(shares) > 90
    else:
        assert shares[0] == 0
        assert set(shares[1:]) <= {5, 6}  # 64 / 12 = 5.3
        assert sum(shares[12:36]) == 128  # twice a day each


def test_nothing_served_ever_has_less_than_ten_hours_left(tmp_path: Path) -> None:
    place = Place(tmp_path, bins=16)
    for _ in range(30):
        place.clock.sleep(minutes=59)
        place.repository.renew()
        left = [
            read(row[0]) - place.clock.now
            for row in place.sql("SELECT expires FROM roles WHERE name LIKE 'bin-%'")
        ]
        assert min(left) >= timedelta(hours=10)


def test_an_index_that_slept_for_thirty_days_is_healed_by_one_publication(tmp_path: Path) -> None:
    place = Place(tmp_path, bins=16)
    place.publish(place.wheel("demo", "1.0"))
    returning = client(place)
    returning.refresh()
    place.clock.sleep(days=30)
    place.repository.add(place.wheel("demo", "2.0"))
    assert len(place.repository.publish().bins) == 16
    for reader in (returning, client(place)):
        reader.now = place.clock.now
        reader.refresh()
        assert type(reader.find("files/demo/demo-2.0-py3-none-any.whl")).__name__ == "TargetEntry"
    place.clock.sleep(hours=1)
    renewed = place.repository.renew()
    assert renewed is None or len(renewed.bins) <= 2  # and they are spread again
