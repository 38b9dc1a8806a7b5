"""`Client`: projects, files and first-seen memory, against an index made by hand."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

import pytest
from tuf.api.metadata import TargetFile

from indextrust.client import Client, FileMetadataStore, Project, SqliteMemory, Urllib3Fetcher
from indextrust.errors import (
    AlarmError,
    ChangedArtifactError,
    HashMismatchError,
    IndextrustError,
    InputError,
    LengthError,
    MalformedError,
    NotListedError,
    ProfileError,
    RefusedError,
    StoreError,
    UnreachableError,
)
from indextrust.trust import Changed, FirstSeen, NotListed, Policy, Unchanged
from tests.client.pages import SDIST, WHL, listing, page, put, sha256
from tests.client.processes import without_rights
from tests.client.stage import NOW, Stage

GOOD, OTHER, EVIL = b"good wheel" * 100, b"good sdist" * 100, b"evil wheel" * 100


class User:
    """Somebody with a cache and a memory of their own."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.stage = stage
        self.home = stage.folder / name
        self.downloads = self.home / "downloads"
        self.downloads.mkdir(parents=True)

    def client(self, *, offline_for: timedelta | None = None) -> Client:
        """A new run of the client."""
        return Client(
            self.stage.server.url,
            root=self.stage.repository.files["1.root.json"],
            store=FileMetadataStore(self.home / "metadata"),
            memory=SqliteMemory(self.home / "memory.sqlite"),
            fetcher=Urllib3Fetcher(seconds=20),
            name="internal",
            clock=lambda: self.stage.now,
            policy=Policy(offline_for=offline_for),
        )

    def project(self) -> Project:
        project = self.client().project("demo")
        assert isinstance(project, Project)
        return project

    def verdicts(self) -> dict[str, type]:
        return {listed.file.filename: type(listed.verdict) for listed in self.project().files}


@pytest.fixture
def user(stage: Stage) -> User:
    put(stage, {WHL: GOOD, SDIST: OTHER})
    return User(stage, "user")


# -- honest days ---------------------------------------------------------------------------------


def test_list_and_download(stage: Stage, user: User) -> None:
    client = user.client()
    assert client.refresh().snapshot_version == 2
    project = client.project("demo")
    assert isinstance(project, Project)
    assert (project.name, project.versions, project.snapshot_version) == ("demo", ("1.0",), 2)
    assert [listed.file.filename for listed in project.files] == [WHL, SDIST]
    for listed, data in zip(project.files, (GOOD, OTHER), strict=True):
        assert isinstance(listed.verdict, FirstSeen)
        path = client.download(listed, user.downloads)
        assert path == user.downloads / listed.file.filename
        assert path.read_bytes() == data
        assert client.verify(path).sha256 == listed.file.sha256


def test_an_honest_index_changes_nothing_that_was_seen(stage: Stage, user: User) -> None:
    assert user.verdicts() == {WHL: FirstSeen, SDIST: FirstSeen}
    put(stage, {WHL: GOOD, SDIST: OTHER, "demo-2.0.tar.gz": b"new"})
    assert user.verdicts() == {WHL: Unchanged, SDIST: Unchanged, "demo-2.0.tar.gz": FirstSeen}


def test_no_such_project_is_an_answer_and_no_such_file_an_error(user: User) -> None:
    client = user.client()
    assert client.project("unknown") == NotListed("simple/unknown/index.json", 2)
    with pytest.raises(NotListedError, match="may be awaiting publication"):
        client.file("unknown-1.0.tar.gz")
    with pytest.raises(NotListedError, match=r"demo-9\.0\.tar\.gz: not listed in snapshot 2"):
        client.file("demo-9.0.tar.gz")


@pytest.mark.parametrize("name", ["Demo", "de_mo", "de.mo", "", "../demo", "demo/", "démo", "a--b"])
def test_a_project_has_one_spelling(stage: Stage, user: User, name: str) -> None:
    with pytest.raises(InputError, match="expected a normalised project name"):
        user.client().project(name)
    assert stage.requests() == []


@pytest.mark.parametrize("name", ["demo", "demo-1.0", "../demo-1.0.tar.gz", "demo-1.0.exe", ""])
def test_a_file_that_is_no_distribution(stage: Stage, user: User, name: str) -> None:
    with pytest.raises(InputError):
        user.client().file(name)
    assert stage.requests() == []


def test_core_metadata_is_verified(stage: Stage, user: User) -> None:
    text = b"Metadata-Version: 2.4\nName: demo\n"
    entries = [listing(WHL, GOOD, **{"core-metadata": {"sha256": sha256(text)}})]
    stage.add("simple/demo/index.json", page("demo", entries))
    stage.add(f"files/demo/{WHL}.metadata", text)
    stage.publish()
    client = user.client()
    assert client.metadata(client.file(WHL)) == text
    stage.server.tamper(f"files/demo/{sha256(text)}.{WHL}.metadata", text.replace(b"demo", b"evil"))
    with pytest.raises(HashMismatchError):
        client.metadata(client.file(WHL))
    stage.add(f"files/demo/{WHL}.metadata", b"signed, and not what the page says")
    stage.publish()
    client = user.client()
    with pytest.raises(ProfileError, match="disagree"):
        client.metadata(client.file(WHL))


def test_core_metadata_that_is_not_there(stage: Stage, user: User) -> None:
    client = user.client()
    with pytest.raises(NotListedError, match="no core metadata"):
        client.metadata(client.file(WHL))
    entries = [listing(WHL, GOOD, **{"core-metadata": {"sha256": "0" * 64}})]
    stage.add("simple/demo/index.json", page("demo", entries))
    stage.publish()
    client = user.client()
    with pytest.raises(UnreachableError, match="the server has no such file"):
        client.metadata(client.file(WHL))


def test_where_a_file_is_no_target_the_page_vouches_for_it_and_what_is_beside_it(
    stage: Stage, user: User
) -> None:
    """Though files are delegated to bins here: the page is signed by the same key as they are."""
    text = b"Metadata-Version: 2.4\nName: demo\n"
    put(stage, {WHL: GOOD}, as_targets=False)
    entries = [listing(WHL, GOOD, **{"core-metadata": {"sha256": sha256(text)}})]
    stage.add("simple/demo/index.json", page("demo", entries))
    stage.publish()
    stage.server.tamper(f"files/demo/{WHL}.metadata", text)
    client = user.client()
    listed = client.file(WHL)
    assert client.metadata(listed) == text
    assert client.download(listed, user.downloads).read_bytes() == GOOD
    assert stage.requests()[-2:] == [f"files/demo/{WHL}.metadata", f"files/demo/{WHL}"]
    stage.server.tamper(f"files/demo/{WHL}.metadata", text.replace(b"demo", b"evil"))
    with pytest.raises(HashMismatchError):
        client.metadata(client.file(WHL))


# -- a lying CDN ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lie", "refusal"),
    [(b"x" * len(GOOD), HashMismatchError), (GOOD[1:], LengthError), (GOOD + b"x", LengthError)],
)
def test_a_cdn_can_not_substitute_a_file(
    stage: Stage, user: User, lie: bytes, refusal: type[Exception]
) -> None:
    stage.server.tamper(f"files/demo/{sha256(GOOD)}.{WHL}", lie)
    client = user.client()
    with pytest.raises(refusal):
        client.download(client.file(WHL), user.downloads)
    assert list(user.downloads.iterdir()) == []


def test_a_cdn_can_not_substitute_a_page(stage: Stage, user: User) -> None:
    """The document is the target; the HTML page beside it is not looked at."""
    document = stage.repository.contents["simple/demo/index.json"]
    evil = document.replace(sha256(GOOD).encode(), sha256(EVIL).encode())
    stage.server.tamper(f"simple/demo/{sha256(document)}.index.json", evil)
    with pytest.raises(HashMismatchError):
        user.client().project("demo")
    assert SqliteMemory(user.home / "memory.sqlite").remembered("internal", "demo") == {}


# -- a thief of the online key: everything he signs is valid -------------------------------------


def test_a_file_that_was_seen_and_changed_is_an_alarm(stage: Stage, user: User) -> None:
    """The returning user is warned and gets nothing; a fresh one cannot know."""
    assert user.verdicts()[WHL] is FirstSeen
    put(stage, {WHL: EVIL, SDIST: OTHER})
    client = user.client()
    listed = client.file(WHL)
    assert isinstance(listed.verdict, Changed)
    for use in (client.metadata, lambda file: client.download(file, user.downloads)):
        with pytest.raises(ChangedArtifactError) as caught:
            use(listed)
        assert caught.value.remembered == sha256(GOOD)
        assert caught.value.offered == sha256(EVIL)
        assert "snapshot 2" in str(caught.value)
        assert isinstance(caught.value, AlarmError)
    assert list(user.downloads.iterdir()) == []
    assert client.download(client.file(SDIST), user.downloads).read_bytes() == OTHER

    fresh = User(stage, "fresh").client()
    assert fresh.download(fresh.file(WHL), user.downloads).read_bytes() == EVIL


def test_core_metadata_that_changed_under_an_unchanged_file_is_an_alarm(
    stage: Stage, user: User
) -> None:
    """The wheel is the same; what pip resolves by now asks for another package as well."""
    good, evil = b"Metadata-Version: 2.1\n", b"Metadata-Version: 2.1\nRequires-Dist: evil\n"
    for text in (good, evil):
        entries = [listing(WHL, GOOD, **{"core-metadata": {"sha256": sha256(text)}})]
        stage.add(f"files/demo/{WHL}.metadata", text)
        stage.add("simple/demo/index.json", page("demo", entries))
        stage.publish()
        client = user.client()
        listed = client.file(WHL)
        if text is good:
            assert client.metadata(listed) == good
    assert isinstance(listed.verdict, Unchanged)
    with pytest.raises(ChangedArtifactError, match=r"\.whl\.metadata: changed"):
        client.metadata(listed)
    client.acknowledge(f"{WHL}.metadata", sha256(evil))
    assert client.metadata(listed) == evil


def test_the_restored_file_is_silent_for_who_saw_the_good_one(stage: Stage, user: User) -> None:
    assert user.verdicts()[WHL] is FirstSeen
    put(stage, {WHL: EVIL})
    assert user.verdicts() == {WHL: Changed}
    put(stage, {WHL: GOOD, SDIST: OTHER})
    assert user.verdicts() == {WHL: Unchanged, SDIST: Unchanged}


def test_who_saw_the_bad_one_goes_on_after_an_acknowledgement(stage: Stage, user: User) -> None:
    put(stage, {WHL: EVIL})
    assert user.verdicts() == {WHL: FirstSeen}
    put(stage, {WHL: GOOD})
    client = user.client()
    with pytest.raises(ChangedArtifactError):
        client.download(client.file(WHL), user.downloads)
    client.acknowledge(WHL, sha256(GOOD))
    assert client.download(client.file(WHL), user.downloads).read_bytes() == GOOD
    put(stage, {WHL: EVIL})
    assert user.verdicts() == {WHL: Changed}, "an acknowledgement is for one digest"


def test_only_what_was_seen_can_be_acknowledged(user: User) -> None:
    client = user.client()
    for filename, digest in ((WHL, sha256(GOOD)), ("demo.txt", sha256(GOOD)), (WHL, "x")):
        with pytest.raises(InputError):
            client.acknowledge(filename, digest)


def test_two_runs_that_see_two_pages_agree_on_who_was_first(stage: Stage, user: User) -> None:
    """A thief shows two users of one home two pages at once. Whatever was recorded first wins,
    and the other run is warned though it had read the memory before."""
    memory = SqliteMemory(user.home / "memory.sqlite")

    class Late(SqliteMemory):
        def record(self, index: str, project: str, files: Any, **more: Any) -> None:
            memory.record(index, project, {WHL: sha256(EVIL)}, **more)
            super().record(index, project, files, **more)

    client = Client(
        stage.server.url,
        root=stage.repository.files["1.root.json"],
        store=FileMetadataStore(user.home / "metadata"),
        memory=Late(user.home / "memory.sqlite"),
        fetcher=Urllib3Fetcher(seconds=20),
        name="internal",
        clock=lambda: NOW,
    )
    assert isinstance(client.file(WHL).verdict, Changed)


@pytest.mark.parametrize(
    ("document", "refusal"),
    [
        pytest.param(page("other", []), ProfileError, id="another project's page"),
        pytest.param(
            page("demo", [listing("other-1.0.tar.gz", GOOD)]), ProfileError, id="foreign file"
        ),
        pytest.param(page("demo", [listing(WHL, GOOD)] * 2), ProfileError, id="listed twice"),
        pytest.param(
            page("demo", [listing("../../x-1.0.tar.gz", GOOD)]), ProfileError, id="a path"
        ),
        pytest.param(page("demo", [listing(WHL, GOOD, hashes={})]), MalformedError, id="no hash"),
        pytest.param(
            page("demo", [listing(WHL, GOOD, hashes={"md5": "0" * 32})]), MalformedError, id="md5"
        ),
        pytest.param(b"<html></html>", MalformedError, id="no JSON"),
    ],
)
def test_a_signed_page_against_the_profile_is_refused(
    stage: Stage, user: User, document: bytes, refusal: type[Exception]
) -> None:
    stage.add("simple/demo/index.json", document)
    stage.publish()
    with pytest.raises(refusal):
        user.client().project("demo")


@pytest.mark.parametrize("change", ["hash", "length", "algorithm"])
def test_a_file_target_must_agree_with_the_page(stage: Stage, user: User, change: str) -> None:
    path = f"files/demo/{WHL}"
    targets = stage.repository.targets["bins"].signed.targets
    if change == "algorithm":
        digest = hashlib.sha512(GOOD).hexdigest()
        targets[path] = TargetFile(len(GOOD), {"sha512": digest}, path)
    else:
        data = EVIL if change == "hash" else GOOD + b"x"
        targets[path] = TargetFile(len(data), {"sha256": sha256(data)}, path)
    stage.publish()
    client = user.client()
    listed = client.file(WHL)
    with pytest.raises(ProfileError):
        client.download(listed, user.downloads)
    (user.downloads / WHL).write_bytes(GOOD)
    with pytest.raises(ProfileError):
        client.verify(user.downloads / WHL)


def test_where_files_are_no_targets_the_page_vouches(stage: Stage, user: User) -> None:
    """The layout `projects`."""
    put(stage, {WHL: GOOD, SDIST: OTHER}, as_targets=False)
    client = user.client()
    assert client.download(client.file(WHL), user.downloads).read_bytes() == GOOD
    stage.server.tamper(f"files/demo/{SDIST}", b"x" * len(OTHER))
    with pytest.raises(HashMismatchError):
        client.download(client.file(SDIST), user.downloads)


# -- a local file --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "refusal"),
    [
        (WHL, b"x" * len(GOOD), HashMismatchError),
        (WHL, GOOD[:-1], LengthError),
        (WHL, b"", LengthError),
        ("demo-9.0.tar.gz", GOOD, NotListedError),
        ("other-1.0.tar.gz", GOOD, NotListedError),
        ("notes.txt", GOOD, InputError),
    ],
)
def test_a_local_file_that_the_index_does_not_know(
    user: User, name: str, data: bytes, refusal: type[IndextrustError]
) -> None:
    (user.downloads / name).write_bytes(data)
    with pytest.raises(refusal):
        user.client().verify(user.downloads / name)


def test_a_local_file_whose_listing_changed_is_an_alarm(stage: Stage, user: User) -> None:
    """Even the good file on disk is not "verified" while the index says something else."""
    path = user.downloads / WHL
    path.write_bytes(GOOD)
    assert user.client().verify(path).path == path
    put(stage, {WHL: EVIL})
    with pytest.raises(ChangedArtifactError):
        user.client().verify(path)


def test_a_local_file_that_can_not_be_read(user: User) -> None:
    with pytest.raises(StoreError, match="can't read"):
        user.client().verify(user.downloads / WHL)
    with pytest.raises(InputError, match="expected a file"):
        user.client().verify(user.downloads)


def test_without_a_memory_nothing_is_shown(stage: Stage, user: User) -> None:
    """A memory that breaks is an error, never an empty memory."""
    client = user.client()
    (user.home / "memory.sqlite").write_bytes(b"x" * 8192)
    with pytest.raises(StoreError):
        user.client()
    assert without_rights(user.client).startswith("StoreError: ")
    with pytest.raises((StoreError, RefusedError)):
        client.project("demo")


def test_offline_another_spelling_of_a_file_that_was_seen_is_that_file(
    stage: Stage, user: User
) -> None:
    """A thief lists other bytes under a name that installs the same."""
    user.project()
    evil = "Demo-1.0-py3-none-any.whl"
    stage.add(f"files/demo/{evil}", EVIL)
    stage.publish()
    path = user.downloads / evil
    path.write_bytes(EVIL)
    client = user.client()
    client.refresh()
    client._tuf.target(f"files/demo/{evil}")
    with pytest.raises(ChangedArtifactError):
        user.client(offline_for=timedelta(days=1)).verify(path)
