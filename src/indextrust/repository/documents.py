"""The pages of the index: what a project document says, byte for byte. PURE.

One project has three pages: the canonical document (PEP 691 JSON, signed as a target), its HTML
twin (PEP 503), and a line in the list of all projects (PEP 503, not a target). The same files
give the same bytes, whatever the order they come in.

Off-PEP: a document lists exactly one hash for each file, the sha256 (uv mishandles mixed ones).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from html import escape
from json.encoder import encode_basestring as _quote
from typing import Any

from packaging.version import Version

from indextrust.canonical import canonical
from indextrust.distribution import DistributionFile
from indextrust.names import NormalizedName

__all__ = ["API_VERSION", "document_bytes", "file_url", "html_index", "html_page"]

API_VERSION = "1.4"
"""Of the simple repository API: PEP 691 with PEP 592, 629, 658/714, 700, 740, 792."""

_NUMBER = re.compile(r"[0-9]+")
_HEAD = (
    "<!DOCTYPE html>\n<html>\n<head>\n"
    f'<meta name="pypi:repository-version" content="{API_VERSION}">\n'
    "<title>{title}</title>\n</head>\n<body>\n"
)
_FOOT = "</body>\n</html>\n"


def file_url(file: DistributionFile) -> str:
    """URL of a file, relative to its project's pages. A file name has no character to quote."""
    return f"../../files/{file.project}/{file.filename}"


def document_bytes(project: NormalizedName, files: Iterable[DistributionFile]) -> bytes:
    """The canonical document of a project.

    Args:
        project: normalised name.
        files: all its listed files, in any order; there may be none.

    Returns:
        PEP 691 JSON in canonical form, UTF-8.
    """
    ordered = sorted(files, key=lambda file: file.filename)
    versions = sorted({file.version for file in ordered}, key=_numbers)
    versions.sort(key=_order)  # of what is nearly in order it compares little, which is slow
    text = (
        f'{{"files":[{",".join(map(_entry_text, ordered))}],'
        f'"meta":{{"api-version":"{API_VERSION}"}},"name":{_quote(project)},'
        f'"versions":[{",".join(map(_quote, versions))}]}}'
    )
    if "\\" not in text:  # else the two ways of escaping differ
        return text.encode("utf-8")
    return canonical(
        {
            "files": [_entry(file) for file in ordered],
            "meta": {"api-version": API_VERSION},
            "name": project,
            "versions": versions,
        }
    )


@lru_cache(maxsize=65_536)
def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, _NUMBER.findall(version)))


@lru_cache(maxsize=65_536)
def _order(version: str) -> tuple[Version, str]:
    return Version(version), version


def _entry_text(file: DistributionFile) -> str:
    """`_entry` in canonical form, if no text in it needs an escape."""
    core = _hashes_text(file.metadata_sha256, file.metadata_sha512) or "false"
    requires = file.requires_python
    python = "" if requires is None else f'"requires-python":{_quote(requires)},'
    yanked = "false" if file.yanked is None else _quote(file.yanked) if file.yanked else "true"
    return (
        f'{{"core-metadata":{core},"filename":{_quote(file.filename)},'
        f'"hashes":{_hashes_text(file.sha256, file.sha512)},{python}"size":{file.size:d},'
        f'"upload-time":{_quote(file.upload_time)},"url":{_quote(file_url(file))},'
        f'"yanked":{yanked}}}'
    )


def _hashes_text(sha256: str | None, sha512: str | None) -> str:
    """`_hashes` in canonical form; empty if there are none."""
    if not sha256:
        return ""
    more = "" if sha512 is None else f',"sha512":{_quote(sha512)}'
    return f'{{"sha256":{_quote(sha256)}{more}}}'


def _hashes(sha256: str, sha512: str | None) -> dict[str, str]:
    return {"sha256": sha256} if sha512 is None else {"sha256": sha256, "sha512": sha512}


def _entry(file: DistributionFile) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "core-metadata": (
            _hashes(file.metadata_sha256, file.metadata_sha512) if file.metadata_sha256 else False
        ),
        "filename": file.filename,
        "hashes": _hashes(file.sha256, file.sha512),
        "size": file.size,
        "upload-time": file.upload_time,
        "url": file_url(file),
        "yanked": False if file.yanked is None else file.yanked or True,
    }
    if file.requires_python is not None:
        entry["requires-python"] = file.requires_python
    return entry


def html_page(project: NormalizedName, files: Iterable[DistributionFile]) -> bytes:
    """The PEP 503 page of a project: the same files, for clients that read HTML and verify
    nothing."""
    links = [_link(file) for file in sorted(files, key=lambda file: file.filename)]
    title = escape(f"Links for {project}")
    return (_HEAD.format(title=title) + f"<h1>{title}</h1>\n" + "".join(links) + _FOOT).encode()


def _link(file: DistributionFile) -> str:
    more = ""
    if file.requires_python is not None:
        more += f' data-requires-python="{escape(file.requires_python)}"'
    if file.metadata_sha256 is not None:
        more += f' data-core-metadata="sha256={file.metadata_sha256}"'
    if file.yanked is not None:
        more += f' data-yanked="{escape(file.yanked)}"'
    return f'<a href="{file_url(file)}#sha256={file.sha256}"{more}>{file.filename}</a><br>\n'


def html_index(projects: Iterable[NormalizedName]) -> bytes:
    """The PEP 503 list of all projects."""
    links = [f'<a href="{escape(name)}/">{escape(name)}</a><br>\n' for name in sorted(projects)]
    return (_HEAD.format(title="Simple index") + "".join(links) + _FOOT).encode()
