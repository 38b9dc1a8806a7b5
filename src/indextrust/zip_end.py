"""How long the central directory of a zip archive is, before anybody reads it into memory."""

from __future__ import annotations

from typing import IO

__all__ = ["directory_length"]

_END, _END_LENGTH = b"PK\x05\x06", 22
_LOCATOR, _LOCATOR_LENGTH = b"PK\x06\x07", 20
_LONGEST = _LOCATOR_LENGTH + _END_LENGTH + 65_535  # with the comment


def directory_length(file: IO[bytes]) -> int | None:
    """Bytes of the central directory that `zipfile` would read.

    The length stands in the record that ends an archive (APPNOTE.TXT, 4.3.16), unless a zip64
    locator before that record (4.3.15) leads to another one: `zipfile` follows it, whatever the
    first one says.

    Args:
        file: an archive, maybe a hostile one, that can seek.

    Returns:
        None if there is no end record, or a zip64 one. No wheel needs that for its directory.

    Raises:
        OSError: it can't be read.
    """
    length = file.seek(0, 2)
    file.seek(max(0, length - _LONGEST))
    end = file.read(_LONGEST)
    at = end.rfind(_END)
    before = max(0, at - _LOCATOR_LENGTH)
    if at < 0 or len(end) < at + _END_LENGTH or end.startswith(_LOCATOR, before):
        return None
    return int.from_bytes(end[at + 12 : at + 16], "little")
