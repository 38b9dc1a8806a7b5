"""Queue rows: what goes in comes out, and what was altered is noticed."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import NormalizedName

from indextrust.canonical import canonical
from indextrust.distribution import DistributionFile
from indextrust.errors import InputError, StoreError
from indextrust.repository.changes import (
    Add,
    Change,
    FileDigests,
    Import,
    Rehash,
    Remove,
    Yank,
    count,
    decode,
    encode,
    encode_import,
    import_row,
    read_import_row,
    spread,
    yank_reason,
)

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
        Add(FILE.with_sha512("c" * 128, "d" * 128), 17),
        Rehash(DEMO, ()),
        Rehash(DEMO, (FileDigests(FILE.filename, "a" * 64, "c" * 128, "b" * 64, "d" * 128, 17),)),
    ],
)
def test_a_change_survives_the_queue(change: Change) -> None:
    assert decode(encode(change)) == change
    assert spread(change) == (change,)
    assert count(encode(change)) == 1


ELSEWHERE = (
    Add(FILE, 17, elsewhere=True),
    Add(replace(FILE, filename="demo-2.0.tar.gz", version="2.0", yanked='why "not"'), None, True),
    Add(replace(SDIST, filename="demo-3.0.zip", version="3.0", yanked=""), None, True),
    Add(replace(FILE, filename="demo-4.0.zip", version="4.0", sha512="e" * 128), 17, True),
)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_many_files_share_a_row(number: int) -> None:
    files = ELSEWHERE[:number]
    text = encode_import(DEMO, [import_row(add) for add in files])
    found = decode(text)
    assert found == Import(DEMO, files)
    assert spread(found) == files
    assert count(text) == number
    assert text == canonical(json.loads(text)).decode()
    assert read_import_row(DEMO, import_row(files[-1])) == files[-1]


@pytest.mark.parametrize("files", [(), (Add(SDIST),), (*ELSEWHERE, Add(FILE, 17))])
def test_an_import_is_of_files_that_are_elsewhere(files: tuple[Add, ...]) -> None:
    with pytest.raises(InputError, match="files of project demo that are kept elsewhere"):
        Import(DEMO, files)
    with pytest.raises(InputError, match="files of project other"):
        Import(NormalizedName("other"), ELSEWHERE)


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
        encode_import(DEMO, []),
        encode_import(DEMO, ["[]"]),
        encode_import(DEMO, ["5"]),
        encode_import(NormalizedName("De.Mo"), [import_row(ELSEWHERE[0])]),
        encode_import(DEMO, [import_row(ELSEWHERE[0])]).replace('"count":1', '"count":2'),
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
