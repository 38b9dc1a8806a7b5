"""What it would take for pip itself to verify an index: pip's own session, with a gate in it.

    python examples/inside_pip.py --root ROOT.json -- install --index-url URL PROJECT

It is run by the interpreter of an environment that has an unmodified pip, which is imported and
given another session class in memory. Beside the standard library and what pip vendors, it needs
`indextrust.trust` and its vocabulary (`names`, `errors`, `distribution`), with their two pure
dependencies, securesystemslib and packaging. Nothing compiled: Ed25519 is verified in Python.

* `Gate` stands where pip's HTTP adapters stood. A page is rendered from the project's verified
  document, with links to this index only; a file is complete, and has the length and the sha256
  that were vouched for, before pip sees its first byte. A project that is not listed is a 404.
  All else that can't be vouched for ends the run with the reason, as pip's own errors do: it is
  never passed over in favour of another index or version.
* `Index` drives the sessions of `indextrust.trust`. It decides nothing about trust.
* `Store` keeps what is trusted from one run to the next.
* `PipSession` fetches by pip's own adapters: proxies, certificates and credentials are pip's.

What it bounds: bytes by Content-Length (an answer without one is refused); seconds in total, with
headers, by fetching in a thread that is abandoned at the deadline. requests can't interrupt a
server that drips its headers, so such a thread lives until that server or pip ends. Redirects
are not followed, nothing is retried, and pip's HTTP cache is not used.

What it leaves out, and `indextrust.client` has: first-seen memory, evidence, the memory of time,
a second look at an index that was publishing, a lock for Windows; give each index a ``--store`` of
its own. Whatever would start another pip, without the gate, is refused: build requirements, and
``--python``. What the user names on his own disk (paths, folders for ``--find-links``) is his own,
as are code that runs in a build and git behind a VCS URL.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import io
import json
import os
import tempfile
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import pip._internal.build_env as pip_build
import pip._internal.cli.main_parser as pip_parser
import pip._internal.network.session as pip_network
from pip._internal.cli.main import main as run_pip
from pip._internal.exceptions import InstallationError
from pip._vendor.platformdirs import user_data_dir
from pip._vendor.requests import PreparedRequest, Request, Response
from pip._vendor.requests.adapters import BaseAdapter, HTTPAdapter
from pip._vendor.requests.exceptions import RequestException
from pip._vendor.urllib3 import Retry
from pip._vendor.urllib3.exceptions import HTTPError

from indextrust import errors, names, trust
from indextrust.distribution import DistributionFile
from indextrust.trust.machine import Machine
from indextrust.trust.verdict import check_digests, check_hashes, check_length

T = TypeVar("T")
PAGE = "application/vnd.pypi.simple.v1+json"
CHUNK = 65_536
SECONDS = 30.0  # for one fetch, and one more for each SLOWEST bytes
SLOWEST = 32_768
TRIES = 8  # sessions, where other processes change the store meanwhile
MOST_METADATA = 8_000_000  # bytes of a PEP 658 file
LIMITS = trust.Limits()


class Store:
    """Trusted metadata in a folder: `load` for Load, `persist` for Persist."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, role: str, version: int | None = None) -> bytes | None:
        """What was persisted, None if nothing was; for root, `version` asks the history."""
        try:
            return self._place(role, version).read_bytes()
        except FileNotFoundError:
            return None

    def persist(self, want: trust.Persist) -> bool:
        """Store ``want.data``; False if another process changed the role, or root, meanwhile."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            held = self.load(want.role)
            if held != want.data and _digest(held) != want.replaces:
                return False
            if want.role == names.ROOT:
                _write(self._place(names.ROOT, want.version), want.data)
            elif _version(self.load(names.ROOT)) != want.root_version:
                return False
            _write(self._place(want.role), want.data)
        return True

    def _place(self, role: str, version: int | None = None) -> Path:
        folder = self._folder if version is None else self._folder / "root_history"
        return folder / names.metadata_filename(role, version)


def _write(path: Path, data: bytes) -> None:
    """All or nothing, and durable."""
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name("new.tmp")  # one writer at a time, by the lock
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _digest(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()


def _version(root: bytes | None) -> object:
    """Not a check: the session verifies what it loads."""
    try:
        return json.loads(root or b"")["signed"]["version"]
    except (ValueError, LookupError, TypeError):
        return None


class Index:
    """One index: its documents and files, verified. `base` ends with a slash."""

    def __init__(self, base: str, root: bytes, store: Store, upstream: PipSession) -> None:
        self._base = base
        self._root = root
        self._store = store
        self._upstream = upstream
        self._session: trust.Session | None = None
        self._documents: dict[str, trust.ProjectDocument] = {}

    def document(self, project: str) -> trust.ProjectDocument:
        """A project's verified document, the same for the whole run.

        Raises:
            NotListedError: there is no such project.
        """
        if project not in self._documents:
            name = names.project_name(project)
            entry = self._find(names.document_path(name))
            if isinstance(entry, trust.NotListed):
                raise errors.NotListedError(
                    f"{project} is not listed in snapshot {entry.snapshot_version}"
                )
            with self._verified(entry, LIMITS.document_length) as file:
                data = file.read()
            self._documents[project] = trust.parse_document(name, data, max_length=len(data))
        return self._documents[project]

    def file(self, project: str, filename: str) -> IO[bytes]:
        """A listed file, or the core metadata beside one, in a nameless temporary file.

        Raises:
            NotListedError: the project's page lists no such file.
        """
        for file in self.document(project).files.values():
            path = names.file_path(file.project, file.filename)
            if filename == file.filename:
                return self._vouched(path, file.sha256, file.size)
            if filename == f"{file.filename}.metadata" and file.metadata_sha256:
                return self._vouched(f"{path}.metadata", file.metadata_sha256, None)
        raise errors.NotListedError(f"{filename} is not on the verified page of {project}")

    def _vouched(self, path: str, sha256: str, length: int | None) -> IO[bytes]:
        """A file's bytes, as its page and, if it is a target, its own entry describe it."""
        most = MOST_METADATA if length is None else length
        entry = self._find(path)
        if isinstance(entry, trust.NotListed):  # the page's word will do; the name is the plain one
            return self._received(path, path, length, most, {"sha256": sha256})
        if entry.hashes.get("sha256") != sha256:
            raise errors.ProfileError("not the target that its page lists", where=path, got=entry)
        return self._verified(entry, most)

    def _verified(self, entry: trust.TargetEntry, max_length: int) -> IO[bytes]:
        """A target's bytes, complete and judged."""
        path, where, length = entry.path, entry.path, entry.length
        if length > max_length:
            raise errors.LengthError("too long", where=where, expected=max_length, got=length)
        if "sha256" not in entry.hashes:
            raise errors.ProfileError("no sha256", where=where)
        if self._refreshed().trusted.root.consistent_snapshot:
            path = names.hash_prefixed(where, entry.hashes["sha256"])
        return self._received(path, where, length, length, entry.hashes)

    def _received(
        self, path: str, where: str, length: int | None, most: int, hashes: Mapping[str, str]
    ) -> IO[bytes]:
        """A file's bytes, complete and judged, at the beginning of the file."""
        digests = {
            name: hashlib.new(name, usedforsecurity=False)
            for name in check_hashes(hashes, where=where)
        }
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        try:
            if self._upstream.fetch(self._base + quote(path), most, file) is trust.ABSENT:
                raise errors.UnreachableError(f"{where}: listed, and the server has no such file")
            got = file.seek(0)
            while piece := file.read(CHUNK):
                got += len(piece)
                for digest in digests.values():
                    digest.update(piece)
            if length is not None:
                check_length(length, got, where=where)
            got_digests = {name: digest.hexdigest() for name, digest in digests.items()}
            check_digests(hashes, got_digests, where=where)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return file

    def _find(self, path: str) -> trust.TargetEntry | trust.NotListed:
        for _ in range(TRIES):
            found = self._drive(self._refreshed().lookup(path, now=_now()))
            if found is not None:
                return found
            self._session = None
        raise errors.ConflictError(f"others changed the trusted metadata {TRIES} times meanwhile")

    def _refreshed(self) -> trust.Session:
        """This run's session; a new one only where what it trusts has expired."""
        for _ in range(TRIES):
            if self._session is not None and _now() < self._session.trusted.expires:
                return self._session
            session = trust.Session(self._root, now=_now(), limits=LIMITS)
            if self._drive(session) is not None:
                self._session = session
        raise errors.ConflictError(f"others changed the trusted metadata {TRIES} times meanwhile")

    def _drive(self, machine: Machine[T]) -> T | None:
        """Do what `machine` wants until it is done; None if another process was faster."""
        while True:
            want = machine.wants()
            answer: bytes | trust.Absent | trust.Stored = trust.STORED
            if isinstance(want, trust.Done):
                return want.result
            if isinstance(want, trust.Load):
                stored = self._store.load(want.role, want.version)
                answer = trust.ABSENT if stored is None else stored
            elif isinstance(want, trust.Fetch):
                sink = io.BytesIO()
                url = f"{self._base}metadata/{want.filename}"
                answer = self._upstream.fetch(url, want.max_length, sink) or sink.getvalue()
            elif not self._store.persist(want):
                return None
            machine.feed(answer)


def _now() -> datetime:
    return datetime.now(UTC)


class Gate(BaseAdapter):
    """Answers every request of pip's session from the verified index, or ends the run."""

    def __init__(self, base: str, index: Index) -> None:
        super().__init__()
        self._base = base
        self._index = index
        self._lock = threading.Lock()

    def send(self, request: PreparedRequest, *_: Any, **__: Any) -> Response:
        """See `requests.adapters.BaseAdapter.send`."""
        url = str(request.url)
        try:
            if request.method not in ("GET", "HEAD") or not url.startswith(self._base):
                raise errors.NotListedError("outside the verified index")
            match [unquote(part) for part in url.removeprefix(self._base).split("/")]:
                case ["simple", project, ""]:
                    with self._lock:
                        return self._page(request, project)
                case ["files", project, filename]:
                    with self._lock:
                        return _response(request, self._index.file(project, filename))
            raise errors.NotListedError("neither a project's page nor a file")
        except errors.IndextrustError as error:
            raise InstallationError(f"indextrust: {_kind(error)}: {error} ({url})") from error

    def close(self) -> None:
        """See `requests.adapters.BaseAdapter.close`."""

    def _page(self, request: PreparedRequest, project: str) -> Response:
        """PEP 691, of what was verified alone."""
        try:
            document = self._index.document(project)
        except errors.NotListedError as error:
            return _response(request, io.BytesIO(), status=404, reason=f"indextrust: {error}")
        page = {
            "meta": {"api-version": "1.1"},
            "name": document.name,
            "versions": document.versions,
            "files": [_entry(file) for file in document.files.values()],
        }
        return _response(request, io.BytesIO(json.dumps(page).encode()), PAGE)


def _kind(error: errors.IndextrustError) -> str:
    if isinstance(error, errors.AlarmError):
        return "ALARM, refused"
    if isinstance(error, errors.UnreachableError):
        return "could not reach the index"
    refused = isinstance(error, errors.RefusedError | errors.NotListedError)
    return "refused" if refused else "could not verify"


def _entry(file: DistributionFile) -> dict[str, Any]:
    """A file on a page; the link is made from its name."""
    entry = {
        "filename": file.filename,
        "url": f"../../{names.file_path(file.project, file.filename)}",
        "hashes": {"sha256": file.sha256},
        "size": file.size,
        "upload-time": file.upload_time,
        "yanked": False if file.yanked is None else file.yanked or True,
    }
    if file.metadata_sha256 is not None:
        entry["core-metadata"] = {"sha256": file.metadata_sha256}
    if file.requires_python is not None:
        entry["requires-python"] = file.requires_python
    return entry


def _response(
    request: PreparedRequest,
    body: IO[bytes],
    content_type: str = "application/octet-stream",
    *,
    status: int = 200,
    reason: str = "OK",
) -> Response:
    response = Response()
    response.request, response.url = request, str(request.url)
    response.status_code, response.reason = status, reason
    length = body.seek(0, os.SEEK_END)
    response.headers.update({"Content-Type": content_type, "Content-Length": str(length)})
    body.seek(0)
    response.raw = body
    response.close = body.close  # type: ignore[method-assign]
    return response


class PipSession(pip_network.PipSession):
    """pip's session behind a gate. `root` and `store` are set by `main`, before pip runs."""

    root: bytes
    store: Path | None

    def __init__(self, *args: Any, index_urls: list[str] | None = None, **options: Any) -> None:
        super().__init__(*args, index_urls=index_urls, **options)
        if index_urls is None or len(index_urls) != 1:
            raise InstallationError("indextrust: expected exactly one index")
        base = _base(index_urls[0])
        name = hashlib.sha256(base.encode() + self.root).hexdigest()[:32]
        folder = self.store or Path(user_data_dir("indextrust-inside-pip"), name)
        for adapter in self.adapters.values():
            if isinstance(adapter, HTTPAdapter):
                adapter.max_retries = Retry(0, read=False)
        self.gate = Gate(base, Index(base, self.root, Store(folder), self))

    def get_adapter(self, url: str | bytes) -> BaseAdapter:
        """The gate, wherever a request of pip's goes."""
        return self.gate

    def fetch(self, url: str, max_length: int, sink: IO[bytes]) -> trust.Absent | None:
        """Write a file of the index to `sink`; it is not verified. trust.ABSENT for 403 and 404.

        Raises:
            LengthError, MalformedError: longer than `max_length` bytes, or encoded.
            UnreachableError: not the complete file, or not in time.
        """
        answer: Future[trust.Absent | None] = Future()

        def run() -> None:
            try:
                answer.set_result(self._receive(url, max_length, sink))
            except BaseException as error:
                answer.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        try:
            return answer.result(SECONDS + max_length / SLOWEST)
        except FutureTimeoutError:
            raise errors.BudgetExceededError(f"{url}: not complete in time") from None

    def _receive(self, url: str, max_length: int, sink: IO[bytes]) -> trust.Absent | None:
        headers = {"Accept-Encoding": "identity", "Cache-Control": "no-cache, no-store"}
        request = self.prepare_request(Request("GET", url, headers=headers))
        settings = self.merge_environment_settings(url, self.proxies, True, None, None)
        try:
            with super().get_adapter(url).send(request, timeout=SECONDS, **settings) as response:
                if response.status_code in (403, 404):
                    return trust.ABSENT
                left = _announced(response, max_length)
                while left:
                    piece = response.raw.read(min(left, CHUNK), decode_content=False)
                    if not piece:
                        raise errors.UnreachableError(f"{url}: ended {left} bytes too early")
                    sink.write(piece)
                    left -= len(piece)
        except (RequestException, HTTPError, ValueError) as error:
            what = f"{type(error).__name__}: {str(error)[:300]}"
            raise errors.UnreachableError(f"{url}: {what}") from error
        return None


def _announced(response: Response, max_length: int) -> int:
    """The body's length, if the headers are acceptable."""
    url, headers = str(response.url), response.headers
    if response.status_code != 200:
        raise errors.UnreachableError(f"{url}: expected status 200, got {response.status_code}")
    if headers.get("Content-Encoding", "identity") != "identity":
        raise errors.MalformedError("encoded, though that was not asked for", where=url)
    length = headers.get("Content-Length", "")
    # http.client reads a chunk of negative size without end
    if "Transfer-Encoding" in headers or not (length.isascii() and length.isdecimal()):
        raise errors.UnreachableError(f"{url}: expected a Content-Length, got {length[:100]!r}")
    if len(length) > 18 or int(length) > max_length:
        raise errors.LengthError(
            "too long", where=url, expected=f"at most {max_length}", got=length
        )
    return int(length)


def _base(index_url: str) -> str:
    """The index's URL above ``simple/``, without credentials, as requests writes it."""
    parts = urlsplit(index_url)
    folder, _, last = parts.path.rstrip("/").rpartition("/")
    if last != "simple" or parts.query or parts.fragment:
        raise InstallationError("indextrust: expected an index URL that ends in /simple/")
    host = parts.netloc.rpartition("@")[2]
    bare = urlunsplit((parts.scheme, host, f"{folder}/", "", ""))
    return str(Request("GET", bare).prepare().url)


def _no_other_pip(*_: Any, **__: Any) -> None:
    """Instead of whatever would start another pip, which has no gate. To deny it the index is not
    enough: it would follow ``--find-links`` and ``name @ URL``."""
    raise InstallationError("indextrust: refused: another pip would have no gate")


def _no_build_requirements(
    self: object, _: object, requirements: Any, *__: Any, **___: Any
) -> None:
    if requirements:
        _no_other_pip()


def main() -> int:
    """Run pip with one index verified."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--root", type=Path, required=True, help="the bootstrap root file")
    parser.add_argument("--store", type=Path, help="folder for trusted metadata")
    parser.add_argument("pip", nargs="+", metavar="-- ARGUMENT", help="what pip is asked")
    arguments = parser.parse_args()
    try:
        PipSession.root = arguments.root.read_bytes()
    except OSError as error:
        parser.error(f"can't read the bootstrap root: {error}")
    PipSession.store = arguments.store
    pip_network.PipSession = PipSession  # type: ignore[misc]
    pip_build.BuildEnvironment.install_requirements = _no_build_requirements  # type: ignore[assignment]
    pip_parser.identify_python_interpreter = _no_other_pip
    return run_pip(arguments.pip)


if __name__ == "__main__":
    raise SystemExit(main())
