"""What an installer is shown of a project: PEP 691 JSON and PEP 503 HTML, as pure functions.

A page is rendered anew from the verified project document; not one byte of what the server sent
is passed on. Every link is built from the project's name and the file's name alone and points
at this proxy, so a document with URLs to other hosts leads nowhere (ATTACKS, client 47). Each
file carries exactly one hash, its sha256: uv mishandles mixed and missing hashes.

Sources: PEP 503, 592 (yanked), 629 (versions), 658 and 714 (core metadata), 691 (JSON and content
negotiation), 700 (size, upload-time, versions).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from indextrust.distribution import DistributionFile

__all__ = ["HTML", "HTML_V1", "JSON_V1", "is_html", "negotiate", "project_page", "refused_page"]

JSON_V1 = "application/vnd.pypi.simple.v1+json"
HTML_V1 = "application/vnd.pypi.simple.v1+html"
HTML = "text/html"

_API_VERSION = "1.4"
_LATEST = {
    "application/vnd.pypi.simple.latest+json": JSON_V1,
    "application/vnd.pypi.simple.latest+html": HTML_V1,
}
# In the order of preference at equal weight: old HTML first, what a bare */* has always got.
_OFFERED = (HTML, JSON_V1, HTML_V1)


def negotiate(accept: str) -> str | None:
    """Choose the content type for an ``Accept`` header.

    Args:
        accept: the header's value; empty if it was not sent.

    Returns:
        `JSON_V1`, `HTML_V1` or `HTML`; None if nothing we have is acceptable (PEP 691: 406).
    """
    weights: dict[str, float] = {}
    for element in accept.split(","):
        media, *parameters = (part.strip().lower() for part in element.split(";"))
        if media:
            weights[_LATEST.get(media, media)] = _weight(parameters)
    if not weights:
        return HTML
    best, choice = 0.0, None
    for offered in _OFFERED:
        family = offered.partition("/")[0] + "/*"
        weight = next((weights[key] for key in (offered, family, "*/*") if key in weights), 0.0)
        if weight > best:
            best, choice = weight, offered
    return choice


def _weight(parameters: Iterable[str]) -> float:
    """The ``q`` among the parameters of one media range; 1 without one, 0 for a broken one."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                weight = float(value)
            except ValueError:
                return 0.0
            return weight if 0.0 <= weight <= 1.0 else 0.0
    return 1.0


def is_html(content_type: str) -> bool:
    """Whether a type that `negotiate` chose is one of the two spellings of HTML."""
    return content_type != JSON_V1


def project_page(
    project: str,
    versions: Sequence[str],
    files: Sequence[DistributionFile],
    content_type: str,
) -> bytes:
    """Render a verified project.

    Args:
        project: normalised name.
        versions: all its versions (PEP 700).
        files: in the order to show them.
        content_type: what `negotiate` chose.

    Returns:
        UTF-8 bytes, the same for the same arguments.
    """
    if is_html(content_type):
        return _html(project, [_anchor(file) for file in files])
    return _json(project, versions, [_entry(file) for file in files])


def refused_page(project: str, label: str, content_type: str) -> bytes:
    """Render a page that could not be verified, for pip.

    pip passes over a page it gets a 4xx for and says "no matching distribution". So it is given
    links instead, under versions that name the cause; whichever it follows is answered with the
    refusal. A requirement that neither version satisfies makes pip list them both.

    Args:
        project: normalised name.
        label: the cause as a PEP 440 local version label, letters, digits and single dots.
        content_type: what `negotiate` chose.
    """
    stem = project.replace("-", "_")
    versions = [f"{number}+{label}" for number in ("0", "99999999")]
    names = [
        f"{stem}-{version}{ending}"
        for version in versions
        for ending in ("-py3-none-any.whl", ".tar.gz")
    ]
    if is_html(content_type):
        return _html(project, [_link(project, name, {}) for name in names])
    files = [{"filename": name, "url": _url(project, name), "hashes": {}} for name in names]
    return _json(project, versions, files)


def _url(project: str, filename: str) -> str:
    """Where this proxy serves a file, relative to the page. No name has a character to quote."""
    return f"../../files/{project}/{filename}"


def _json(project: str, versions: Sequence[str], files: list[dict[str, Any]]) -> bytes:
    page = {
        "meta": {"api-version": _API_VERSION},
        "name": project,
        "versions": list(versions),
        "files": files,
    }
    return json.dumps(page, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def _entry(file: DistributionFile) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "filename": file.filename,
        "url": _url(file.project, file.filename),
        "hashes": {"sha256": file.sha256},
        "size": file.size,
        "upload-time": file.upload_time,
        "yanked": False if file.yanked is None else file.yanked or True,
        "core-metadata": False,
    }
    if file.metadata_sha256 is not None:
        entry["core-metadata"] = {"sha256": file.metadata_sha256}
    if file.requires_python is not None:
        entry["requires-python"] = file.requires_python
    return entry


def _html(project: str, anchors: Sequence[str]) -> bytes:
    lines = [
        "<!DOCTYPE html>",
        "<html>",
        "<head>",
        f'<meta name="pypi:repository-version" content="{_API_VERSION}">',
        f"<title>Links for {escape(project)}</title>",
        "</head>",
        "<body>",
        *(f"{anchor}<br>" for anchor in anchors),
        "</body>",
        "</html>",
        "",
    ]
    return "\n".join(lines).encode("utf-8")


def _anchor(file: DistributionFile) -> str:
    attributes: dict[str, str] = {}
    if file.requires_python is not None:
        attributes["data-requires-python"] = file.requires_python
    if file.metadata_sha256 is not None:
        attributes["data-core-metadata"] = f"sha256={file.metadata_sha256}"
    if file.yanked is not None:
        attributes["data-yanked"] = file.yanked
    return _link(file.project, file.filename, attributes, fragment=f"#sha256={file.sha256}")


def _link(project: str, filename: str, attributes: dict[str, str], *, fragment: str = "") -> str:
    shown = {"href": _url(project, filename) + fragment, **attributes}
    inside = " ".join(f'{name}="{escape(value)}"' for name, value in shown.items())
    return f"<a {inside}>{escape(filename)}</a>"
