"""Queue rows: what goes in comes out, and what was altered is noticed."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import NormalizedName

from indextrust.distribution import DistributionFile
from indextrust.errors import InputError, StoreError
from indextrust.repository.changes import Add, Change, Remove, Yank, decode, encode, yank_reason

DEMO = NormalizedName("demo")
FILE = DistributionFile(
    DEMO, "demo-1.0.tar.gz", "1.0", 9, "a" * 64, "2026-01-31T12:00:00Z", metadata_sha256="b" * 64
)
SDIST = replace(FILE, metadata_sha256=None)


@pytest.mark.parametrize(
    "change",
    [
        Add(FILE, 17),
        Add(SDIST),
        Remove(DEMO, FILE.filename),
        Yank(DEMO, FILE.filename, 'why \\ "not"'),
        Yank(DEMO, FILE.filename, ""),
        Yank(DEMO, FILE.filename, None),
    ],
)
def test_a_change_survives_the_queue(change: Change) -> None:
    assert decode(encode(change)) == change
    assert encode(decode(encode(change))) == encode(change)


def test_a_row_is_canonical_json() -> None:
    assert encode(Remove(DEMO, FILE.filename)) == (
        '{"filename":"demo-1.0.tar.gz","kind":"remove","project":"demo"}'
    )


@pytest.mark.parametrize(
    "row",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"kind":"grant"}',
        '{"kind":"remove","project":"demo"}',
        '{"kind":"remove","project":"demo","filename":"x","more":1}',
        '{"kind":"add","file":{},"metadata_size":null}',
        '{"kind":"add","file":[],"metadata_size":null}',
        encode(Add(SDIST)).replace("a" * 64, "A" * 64),
        encode(Add(SDIST)).replace('"demo"', '"De.Mo"'),
        encode(Add(SDIST)).replace('"metadata_size":null', '"metadata_size":5'),
        encode(Add(FILE, 5)).replace('"metadata_size":5', '"metadata_size":null'),
        "[" * 100_000,
    ],
)
def test_a_damaged_row_is_our_own_damage(row: str) -> None:
    with pytest.raises(StoreError, match="queue row is damaged"):
        decode(row)


@given(st.text(max_size=100))
def test_a_yank_reason_is_one_plain_line_in_nfc_or_refused(text: str) -> None:
    try:
        reason = yank_reason(text)
    except InputError:
        assert not unicodedata.normalize("NFC", text).isprintable()
    else:
        assert reason == unicodedata.normalize("NFC", reason)
        assert reason.isprintable()


@pytest.mark.parametrize("reason", ["a\nb", "a\0b", "a\x1b[2Jb", "a\u202eb", "a" * 501, "\ud800"])
def test_a_reason_with_control_characters_or_without_end_is_refused(reason: str) -> None:
    with pytest.raises(InputError, match="expected a yank reason"):
        yank_reason(reason)


def test_a_decomposed_reason_is_composed() -> None:
    assert yank_reason("broken fu\u0308r Windows") == "broken f\u00fcr Windows"
