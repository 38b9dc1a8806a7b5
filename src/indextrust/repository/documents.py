"""The pages of the index: what a project document says, byte for byte. PURE.

One project has three pages: the canonical document (PEP 691 JSON, signed as a target), its HTML
twin (PEP 503), and a line in the list of all projects (PEP 503, not a target). The same files
give the same bytes, whatever the order they come in.

Off-PEP: a document lists exactly one hash for each file, the sha256 (uv mishandles mixed ones).
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from packaging.version import Version

from indextrust.canonical import canonical
from indextrust.distribution import DistributionFile
from indextrust.names import NormalizedName

__all__ = ["API_VERSION", "document_bytes", "file_url", "html_index", "html_page"]

API_VERSION = "1.4"
"""Of the simple repository API: PEP 691 with PEP 592, 629, 658/714, 700, 740, 792."""

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
    return canonical(
        {
            "files": [_entry(file) for file in ordered],
            "meta": {"api-version": API_VERSION},
            "name": project,
            "versions": sorted({file.version for file in ordered}, key=lambda v: (Version(v), v)),
        }
    )


def _entry(file: DistributionFile) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "core-metadata": {"sha256": file.metadata_sha256} if file.metadata_sha256 else False,
        "filename": file.filename,
        "hashes": {"sha256": file.sha256},
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
    attributes = {"href": f"{file_url(file)}#sha256={file.sha256}"}
    if file.requires_python is not None:
        attributes["data-requires-python"] = file.requires_python
    if file.metadata_sha256 is not None:
        attributes["data-core-metadata"] = f"sha256={file.metadata_sha256}"
    if file.yanked is not None:
        attributes["data-yanked"] = file.yanked
    inside = " ".join(f'{name}="{escape(value)}"' for name, value in attributes.items())
    return f"<a {inside}>{escape(file.filename)}</a><br>\n"


def html_index(projects: Iterable[NormalizedName]) -> bytes:
    """The PEP 503 list of all projects."""
    links = [f'<a href="{escape(name)}/">{escape(name)}</a><br>\n' for name in sorted(projects)]
    return (_HEAD.format(title="Simple index") + "".join(links) + _FOOT).encode()
