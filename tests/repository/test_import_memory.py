"""Memory for a table of rows is bounded, also for one that has no rows."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from indextrust.errors import InputError
from indextrust.repository.import_rows import Source

MEGABYTE = 1 << 20
HEADER = "filename,sha256,size,upload_time\n"


@pytest.mark.parametrize("piece", ["x", '"\n",', "\r\n\r\n"], ids=["line", "record", "blank"])
@pytest.mark.parametrize("header", ["", HEADER])
def test_a_record_without_end_is_refused_before_it_is_in_memory(
    tmp_path: Path, piece: str, header: str
) -> None:
    path = tmp_path / "files.csv"
    path.write_text(header + piece * (40 * MEGABYTE // len(piece)), newline="")
    tracemalloc.start()
    try:
        with pytest.raises(InputError):
            list(Source(path, "pep458").rows())
        assert tracemalloc.get_traced_memory()[1] < 20 * MEGABYTE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_quoted_line_end_is_counted(tmp_path: Path, end: str) -> None:
    path = tmp_path / "files.csv"
    rows = [HEADER.strip(), f'"demo-1.0{end}.tar.gz",{"a" * 64},1,2026-01-31T12:00:00Z', ""]
    path.write_text(end.join(rows), newline="")
    with pytest.raises(InputError, match="line 3: "):
        list(Source(path, "pep458").rows())
