"""From requests to questions for the desk, and from its answers to responses.

A page is rendered anew for each request, from the verified project. A distribution file is sent
from disk after all of it was verified; a range is cut from that verified file.
"""

from __future__ import annotations

import hashlib

from aiohttp import web
from packaging.utils import canonicalize_name

from indextrust.errors import InputError, StoreError
from indextrust.names import METADATA_SUFFIX, NormalizedName, project_name
from indextrust.proxy import pages
from indextrust.proxy.desk import Artifact, Desk
from indextrust.proxy.refusals import PROBLEM_JSON, Problem

__all__ = ["Front", "refusal"]

_CHUNK = 262_144
_PAGE_HEADERS = {"Cache-Control": "no-cache", "Vary": "Accept"}
_FILE_HEADERS = {"Cache-Control": "max-age=365000000, immutable", "Accept-Ranges": "bytes"}
_NO_LIST = Problem(
    409,
    "RefusedError",
    "could not verify",
    "the list of projects is not signed (PEP 458); ask for a project by its name",
)


class Front:
    """Turns requests into questions to the desk, and its answers into responses."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """What is served below the path `prefix`."""
        return [
            web.get(f"{prefix}/simple/", self.projects),
            web.get(f"{prefix}/simple/{{project}}", self.redirect),
            web.get(f"{prefix}/simple/{{project}}/", self.page),
            web.get(f"{prefix}/files/{{project}}/{{filename}}", self.file),
        ]

    async def projects(self, request: web.Request) -> web.StreamResponse:
        """The list of projects: it is not a target, so there is nothing to verify it by."""
        return refusal(_NO_LIST)

    async def redirect(self, request: web.Request) -> web.StreamResponse:
        """Relative links need the slash at the end (PEP 503)."""
        raise web.HTTPMovedPermanently(f"{request.rel_url.raw_path}/")

    async def page(self, request: web.Request) -> web.StreamResponse:
        """A project's page."""
        content_type = pages.negotiate(request.headers.get("Accept", ""))
        if content_type is None:
            raise web.HTTPNotAcceptable
        name = _project_of(request)
        project = await self._desk.project(name)
        if not isinstance(project, Problem):
            files = [listed.file for listed in project.files]
            body = pages.project_page(name, project.versions, files, content_type)
            return _page(request, body, content_type)
        if project.status != 404 and request.headers.get("User-Agent", "").startswith("pip/"):
            body = pages.refused_page(name, project.label, content_type)
            return _page(request, body, content_type)
        return refusal(project)

    async def file(self, request: web.Request) -> web.StreamResponse:
        """A distribution file, or the core metadata beside it."""
        name, filename = _project_of(request), request.match_info["filename"]
        answer: Artifact | bytes | Problem
        if filename.endswith(METADATA_SUFFIX):
            answer = await self._desk.metadata(name, filename.removesuffix(METADATA_SUFFIX))
        else:
            answer = await self._desk.file(name, filename)
        if isinstance(answer, Problem):
            return refusal(answer)
        if isinstance(answer, bytes):
            return web.Response(
                body=answer, content_type="application/octet-stream", headers=_FILE_HEADERS
            )
        return await _send(request, answer)


def _project_of(request: web.Request) -> NormalizedName:
    try:
        return project_name(canonicalize_name(request.match_info["project"]))
    except InputError as error:
        raise web.HTTPBadRequest(text=str(error)) from None


def refusal(problem: Problem) -> web.Response:
    """The response that says `problem`."""
    return web.Response(
        status=problem.status,
        reason=problem.reason,
        body=problem.body(),
        content_type=PROBLEM_JSON,
        headers={"Cache-Control": "no-store"},
    )


def _page(request: web.Request, body: bytes, content_type: str) -> web.Response:
    etag = f'"{hashlib.sha256(body).hexdigest()}"'
    headers = {**_PAGE_HEADERS, "ETag": etag}
    if _matches(request, etag):
        return web.Response(status=304, headers=headers)
    charset = "utf-8" if pages.is_html(content_type) else None
    return web.Response(body=body, content_type=content_type, charset=charset, headers=headers)


def _matches(request: web.Request, etag: str) -> bool:
    """Whether If-None-Match names `etag` (RFC 9110, 13.1.2: weak comparison)."""
    named = request.headers.get("If-None-Match", "").split(",")
    return any(tag.strip().removeprefix("W/") in (etag, "*") for tag in named)


async def _send(request: web.Request, artifact: Artifact) -> web.StreamResponse:
    """Send a verified file, or the range of it that was asked for."""
    etag = f'"{artifact.sha256}"'
    headers = {**_FILE_HEADERS, "ETag": etag}
    if _matches(request, etag):
        return web.Response(status=304, headers=headers)
    wanted = _range(request, etag)
    start, stop, _ = (wanted or slice(None)).indices(artifact.size)
    if wanted is not None and start >= stop:
        headers["Content-Range"] = f"bytes */{artifact.size}"
        return web.Response(status=416, headers=headers)
    if wanted is not None:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{artifact.size}"
    response = web.StreamResponse(status=200 if wanted is None else 206, headers=headers)
    response.content_type = "application/octet-stream"
    response.content_length = stop - start
    await response.prepare(request)
    if request.method != "HEAD":
        with artifact.path.open("rb") as file:
            file.seek(start)
            while start < stop:
                chunk = file.read(min(_CHUNK, stop - start))
                if not chunk:
                    raise StoreError(f"{artifact.path}: ends at byte {start}, expected {stop}")
                start += len(chunk)
                await response.write(chunk)
    return response


def _range(request: web.Request, etag: str) -> slice | None:
    """The one range that was asked for. Others may be ignored (RFC 9110, 14.2), and are."""
    if "Range" not in request.headers or request.headers.get("If-Range", etag) != etag:
        return None
    try:
        return request.http_range
    except ValueError:
        return None
