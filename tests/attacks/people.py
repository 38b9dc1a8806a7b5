"""Who meets an index of our profile: real files on its pages, and somebody who installs them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from indextrust.client import Client, FileMetadataStore, Project, SqliteMemory, Urllib3Fetcher
from indextrust.errors import IndextrustError
from indextrust.testing import malicious_wheel
from indextrust.trust import Unchanged
from tests.attacks.story import ROLES, refused
from tests.client.pages import SDIST, WHL, page, put, sha256
from tests.client.stage import Stage
from tests.support.wheels import make_sdist, make_wheel

DOCUMENT = "simple/demo/index.json"
NEW_SET = ROLES[1:]
"""The roles of a newer set of which nothing was refused: the attack is on a page or a file."""


class Index:
    """The project ``demo``: a wheel and an sdist, which pip could install, on the stage."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        uploads = stage.folder / "uploads"
        uploads.mkdir()
        self.wheel = make_wheel(uploads, "demo", "1.0").read_bytes()
        self.evil = malicious_wheel(self.wheel, "demo.py", "import evil")
        self.files = {WHL: self.wheel, SDIST: make_sdist(uploads, "demo", "1.0").read_bytes()}
        self.publish()

    def publish(self) -> None:
        """The operator publishes his two files and no others."""
        put(self.stage, self.files)

    def publish_page(self, document: bytes) -> None:
        """A thief of the online keys signs another document for the project."""
        self.stage.add(DOCUMENT, document)
        self.stage.publish()

    def publish_entries(self, *entries: dict[str, object], name: str = "demo") -> None:
        """`publish_page` with a page of these entries."""
        self.publish_page(page(name, list(entries)))

    def page_request(self) -> str:
        """The path under which clients ask for the present document."""
        return f"simple/demo/{sha256(self.stage.repository.contents[DOCUMENT])}.index.json"


class Person:
    """Somebody with a cache, a first-seen memory and a folder for downloads.

    Args:
        index: what is installed from.
        name: of the home folder.
    """

    def __init__(self, index: Index, name: str = "ann") -> None:
        self.index = index
        self.home = index.stage.folder / name
        self.cache = self.home / "metadata"
        self.downloads = self.home / "downloads"
        self.downloads.mkdir(parents=True)
        self._fetcher = Urllib3Fetcher(seconds=20)

    def client(self) -> Client:
        """A new run of the client."""
        stage = self.index.stage
        return Client(
            stage.server.url,
            root=stage.repository.files["1.root.json"],
            store=FileMetadataStore(self.cache),
            memory=self.memory(),
            fetcher=self._fetcher,
            name="internal",
            clock=lambda: stage.now,
        )

    def memory(self) -> SqliteMemory:
        return SqliteMemory(self.home / "memory.sqlite")

    def remembered(self) -> dict[str, str]:
        """File name to digest, of what was seen first."""
        return {
            name: seen.sha256 for name, seen in self.memory().remembered("internal", "demo").items()
        }

    def verdicts(self) -> dict[str, type]:
        """What a new run says of each file on the page."""
        project = self.client().project("demo")
        assert isinstance(project, Project)
        return {listed.file.filename: type(listed.verdict) for listed in project.files}

    def installs(self, filename: str, folder: Path | None = None) -> bytes:
        """Look a file up and download it, as an installer does; its bytes."""
        client = self.client()
        return client.download(client.file(filename), folder or self.downloads).read_bytes()

    def gets_the_honest_files(self) -> None:
        """One run with an honest index: both files are there, as they were seen before."""
        client, before = self.client(), self.remembered()
        for filename, data in self.index.files.items():
            listed = client.file(filename)
            assert filename not in before or isinstance(listed.verdict, Unchanged)
            assert client.download(listed, self.downloads).read_bytes() == data

    @contextlib.contextmanager
    def refuses(
        self,
        kind: type[IndextrustError],
        *,
        match: str,
        last: str | None,
        stored: tuple[str, ...] = NEW_SET,
        evidence: tuple[bytes, ...] = (),
    ) -> Iterator[pytest.ExceptionInfo[IndextrustError]]:
        """`tests.attacks.story.refused` for this person: moreover nothing was remembered or
        downloaded, and once the operator publishes again both honest files are there."""
        remembered = self.remembered()
        downloaded = sorted(self.downloads.iterdir())

        def heal() -> None:
            assert self.remembered() == remembered
            assert sorted(self.downloads.iterdir()) == downloaded
            self.index.publish()

        with refused(
            self.index.stage,
            kind,
            match=match,
            last=last,
            stored=stored,
            evidence=evidence,
            heal=heal,
            honest=self.gets_the_honest_files,
            cache=self.cache,
        ) as caught:
            yield caught
