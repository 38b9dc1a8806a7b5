"""`DistributionFile`: what is known of one distribution file, wherever it travels.

It is made once, where the bytes are read (an upload, an import), and carries their hash from
there to the queue, the plan, the signed document and the client's verdict.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from datetime import datetime

from indextrust.errors import InputError
from indextrust.names import NormalizedName, check_filename, project_name

__all__ = ["MAX_TEXT", "SHA256_HEX", "SHA512_HEX", "DistributionFile", "is_plain_text"]

MAX_TEXT = 2_000
"""Characters of any text in a project's document."""

SHA256_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
SHA512_HEX = re.compile(r"[0-9a-f]{128}", re.ASCII)
_UPLOAD_TIME = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d(?:\.\d{1,6})?Z", re.ASCII)


def is_plain_text(text: str) -> bool:
    """Whether `text` may stand in a project's document.

    That is: printable, in NFC, of at most `MAX_TEXT` characters. The repository asks before it
    signs, the client before it believes.
    """
    return len(text) <= MAX_TEXT and text.isprintable() and unicodedata.is_normalized("NFC", text)


@dataclass(frozen=True)
class DistributionFile:
    """One wheel or sdist.

    Args:
        project: normalised project name.
        filename: the file's own name, one path component.
        version: PEP 440 version as the file's METADATA or PKG-INFO states it.
        size: bytes, 0 or more.
        sha256: lower-case hex.
        upload_time: ``YYYY-MM-DDTHH:MM:SS[.ffffff]Z`` (PEP 700).
        requires_python: the Requires-Python specifier, if any.
        metadata_sha256: lower-case hex of the core metadata beside the file (PEP 658), if any.
        yanked: None, or the reason (may be empty) (PEP 592).
        sha512: lower-case hex, where the index lists both.
        metadata_sha512: likewise of the core metadata; never alone.

    Raises:
        InputError: a field that is not of its form.
    """

    project: NormalizedName
    filename: str
    version: str
    size: int
    sha256: str
    upload_time: str
    requires_python: str | None = None
    metadata_sha256: str | None = None
    yanked: str | None = None
    sha512: str | None = None
    metadata_sha512: str | None = None

    def __post_init__(self) -> None:
        project_name(self.project)
        check_filename(self.filename)
        if not SHA256_HEX.fullmatch(self.sha256):
            raise InputError(
                f"{self.filename}: expected a lower-case hex sha256, got {self.sha256!r}"
            )
        if self.size < 0:
            raise InputError(f"{self.filename}: expected a size of 0 or more, got {self.size}")
        if not _is_time(self.upload_time):
            raise InputError(
                f"{self.filename}: expected an upload time like 2026-01-31T12:00:00Z, "
                f"got {self.upload_time!r}"
            )
        if self.metadata_sha256 is not None and not SHA256_HEX.fullmatch(self.metadata_sha256):
            raise InputError(
                f"{self.filename}: expected a lower-case hex sha256 of the core metadata, "
                f"got {self.metadata_sha256!r}"
            )

        for digest in (self.sha512, self.metadata_sha512):
            if digest is not None and not SHA512_HEX.fullmatch(digest):
                raise InputError(
                    f"{self.filename}: expected a lower-case hex sha512, got {digest!r}"
                )
        if self.metadata_sha512 is not None and self.metadata_sha256 is None:
            raise InputError(f"{self.filename}: a sha512 of core metadata without their sha256")

    def with_sha512(self, sha512: str | None, metadata_sha512: str | None) -> DistributionFile:
        """The same file with its SHA-512 and that of its core metadata, or with None."""
        return replace(self, sha512=sha512, metadata_sha512=metadata_sha512)

    def with_yank(self, reason: str | None) -> DistributionFile:
        """The same file yanked for `reason`, or un-yanked with None."""
        return replace(self, yanked=reason)


def _is_time(text: str) -> bool:
    """Whether `text` has the form of an upload time, and is one that a clock can show."""
    if not _UPLOAD_TIME.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
