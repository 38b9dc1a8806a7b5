"""Attacks on an index of our profile: files that change, vanish or pretend, and their pages.

The attacker is a thief of the online keys. What he signs is valid TUF, so he is met by what was
seen before and by the profile's rules, and where neither applies, by nobody: that limit is a
story too. Files are real wheels; he is made of python-tuf.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from tuf.api.metadata import TargetFile

from indextrust.client import Project
from indextrust.errors import (
    AlarmError,
    ChangedArtifactError,
    InputError,
    MissingRoleError,
    NotListedError,
    ProfileError,
    RemovedArtifactError,
)
from indextrust.proxy import VerifyingProxy
from indextrust.testing import TamperingServer
from indextrust.trust import Changed, FirstSeen, NotListed, Unchanged
from tests.attacks.people import DOCUMENT, Index, Person
from tests.attacks.story import newest
from tests.client.pages import SDIST, WHL, listing, page, put, sha256
from tests.client.stage import NOW, Stage
from tests.proxy.place import raw_request


@pytest.fixture
def index(stage: Stage) -> Index:
    return Index(stage)


@pytest.fixture
def person(index: Index) -> Person:
    """Somebody who installed from the honest index before."""
    person = Person(index)
    person.gets_the_honest_files()
    return person


def _entry(filename: str, data: bytes) -> dict[str, object]:
    """An entry under any name, as a thief writes it."""
    return {**listing(WHL, data), "filename": filename}


# -- 30: an existing file, signed anew -----------------------------------------------------------

RESIGNED = [
    "page and target",
    "page alone",
    "where files are no targets",
    "another case",
    "another version spelling",
    "another separator in the version",
    "under new online keys",
]


def _resign(index: Index, how: str) -> str:
    """Put the malicious wheel where the honest one was; the name it is listed under."""
    evil, stage = index.evil, index.stage
    name = {
        "another case": "DEMO-1.0-py3-none-any.whl",
        "another version spelling": "demo-1.0.0-py3-none-any.whl",
        "another separator in the version": "demo-1-py3-none-any.whl",
    }.get(how, WHL)
    if how == "page alone":
        index.publish_entries(listing(WHL, evil), listing(SDIST, index.files[SDIST]))
        return name
    if how == "under new online keys":
        stage.repository.rotate("timestamp")
        stage.repository.rotate("snapshot")
        stage.repository.publish_root()
    files = {name: evil, SDIST: index.files[SDIST]}
    put(stage, files, as_targets=how != "where files are no targets")
    return name


@pytest.mark.parametrize("how", RESIGNED)
def test_attack_30_a_file_that_was_seen_and_is_signed_anew_is_an_alarm(
    index: Index, person: Person, how: str
) -> None:
    """The thief replaces the wheel that Ann installed last week and signs for it, under its own
    name or one that installs the same. Ann is told both digests and gets nothing; the malicious
    bytes are not even asked for. Her other file is fine. Somebody new can't know."""
    name = _resign(index, how)
    fresh = Person(index, "fresh")
    assert fresh.verdicts()[name] is FirstSeen
    assert person.verdicts() == {name: Changed, SDIST: Unchanged}
    assert person.installs(SDIST) == index.files[SDIST]
    index.stage.publish()
    with person.refuses(
        ChangedArtifactError,
        match=f"changed since it was first seen .*{sha256(index.wheel)}.*{sha256(index.evil)}",
        last=index.page_request(),
    ) as caught:
        person.installs(name)
    error = caught.value
    assert isinstance(error, ChangedArtifactError)
    assert isinstance(error, AlarmError)
    assert (error.remembered, error.offered) == (sha256(index.wheel), sha256(index.evil))


def test_attack_30_the_signed_page_that_raised_the_alarm_is_kept(
    index: Index, person: Person
) -> None:
    """An alarm keeps its evidence: the page with the other digest, which a stolen key signed and
    which is gone from the server tomorrow."""
    _resign(index, "page and target")
    document = index.stage.repository.contents[DOCUMENT]
    with pytest.raises(ChangedArtifactError):
        person.installs(WHL)
    kept = [path.read_bytes() for path in (person.cache / "evidence").glob("*")]
    assert document in kept


def test_attack_30_a_target_that_disagrees_with_its_page_is_refused(
    index: Index, person: Person
) -> None:
    """The thief of one bin's key re-signs the file's own target and can't reach the page's: the
    two don't agree, and neither is believed."""
    evil, path = index.evil, f"files/demo/{WHL}"
    targets = index.stage.repository.targets["bins"].signed.targets
    targets[path] = TargetFile(len(evil), {"sha256": sha256(evil)}, path)
    index.stage.publish()
    with person.refuses(ProfileError, match="disagree", last=index.page_request()):
        person.installs(WHL, index.stage.folder)


def test_attack_30_a_local_copy_is_not_vouched_for_by_a_page_that_changed(
    index: Index, person: Person
) -> None:
    """Ann verifies the honest wheel on her disk while the thief's page lists another digest."""
    _resign(index, "page and target")
    document = index.stage.repository.contents[DOCUMENT]
    with person.refuses(
        ChangedArtifactError,
        match="changed since it was first seen",
        last=index.page_request(),
        evidence=(document,),
    ):
        person.client().verify(person.downloads / WHL)


# -- 32: a file removed --------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["dropped", "an empty page", "renamed", "replaced by a newer one"])
def test_attack_32_a_file_that_vanished_is_removed_not_unknown(
    index: Index, person: Person, how: str
) -> None:
    """The thief takes the fixed release off the page, so that an older one is installed. Ann, who
    saw it, is told that it was removed, with its digest; it is no "not listed"."""
    sdist = index.files[SDIST]
    match how:
        case "dropped":
            put(index.stage, {SDIST: sdist})
        case "an empty page":
            put(index.stage, {})
        case "renamed":
            put(index.stage, {"demo-1.0-1-py3-none-any.whl": index.wheel, SDIST: sdist})
        case "replaced by a newer one":
            put(index.stage, {"demo-1.1-py3-none-any.whl": index.wheel, SDIST: sdist})
    project = person.client().project("demo")
    assert isinstance(project, Project)
    assert WHL in [gone.filename for gone in project.removed]
    index.stage.publish()
    with person.refuses(
        RemovedArtifactError,
        match=f"{WHL}: seen before .* and listed no more; expected sha256 {sha256(index.wheel)}",
        last=index.page_request(),
    ) as caught:
        person.client().file(WHL)
    assert isinstance(caught.value, AlarmError)


def test_attack_32_a_project_that_vanished_is_removed_not_unknown(
    index: Index, person: Person
) -> None:
    """The thief drops the project's page itself. The bin says so, and Ann knows better."""
    index.stage.repository.targets["bins"].signed.targets.clear()
    index.stage.publish()
    with person.refuses(
        RemovedArtifactError,
        match=f"demo: the project is listed no more .*{WHL}, {SDIST}",
        last=newest(index.stage, "bins"),
    ):
        person.client().project("demo")
    index.stage.repository.targets["bins"].signed.targets.clear()
    index.stage.publish()
    fresh = Person(index, "fresh")
    assert isinstance(fresh.client().project("demo"), NotListed), "who never saw it can't know"
    with pytest.raises(NotListedError):
        fresh.client().file(WHL)


def test_attack_32_a_bin_dropped_from_the_snapshot_is_refused(index: Index, person: Person) -> None:
    """The thief of the snapshot's key drops the whole bin. A role that was listed before may not
    vanish: the snapshot is refused, before any question about a project."""
    repository = index.stage.repository
    repository.publish()
    listed = repository.snapshot.signed.meta.pop("bins.json")
    repository.publish_timestamp(repository.publish_snapshot())
    index.stage.write()
    repository.snapshot.signed.meta["bins.json"] = listed
    with person.refuses(
        MissingRoleError,
        match="listed before and no more",
        stored=("timestamp",),
        last=newest(index.stage, "snapshot"),
    ):
        person.installs(WHL)


# -- 33: a new malicious file --------------------------------------------------------------------


def test_attack_33_a_new_malicious_file_is_accepted_and_listed_as_new(
    index: Index, person: Person
) -> None:
    """The limit of this model: the thief signs a release that never was, and nobody has seen
    anything else under its name. It is installed. What Ann can see is that it is new since she
    last looked: first seen now, under this snapshot, while all else is unchanged; and once the
    operator has thrown the thief out, that it is gone."""
    new, evil = "demo-9.9-py3-none-any.whl", index.evil
    index.stage.now = NOW + timedelta(hours=3)
    put(index.stage, {**index.files, new: evil})
    client = person.client()
    project = client.project("demo")
    assert isinstance(project, Project)
    verdicts = {listed.file.filename: type(listed.verdict) for listed in project.files}
    assert verdicts == {WHL: Unchanged, SDIST: Unchanged, new: FirstSeen}
    assert client.download(project.file(new), person.downloads).read_bytes() == evil
    seen = person.memory().remembered("internal", "demo")
    assert seen[new].sha256 == sha256(evil)
    assert (seen[new].first_seen, seen[WHL].first_seen) == (index.stage.now, NOW)
    assert seen[new].snapshot_version == project.snapshot_version > seen[WHL].snapshot_version

    index.publish()
    with pytest.raises(RemovedArtifactError, match=new):
        person.client().file(new)
    person.gets_the_honest_files()


# -- 34: a page without sha256 -------------------------------------------------------------------


@pytest.mark.parametrize(
    "algorithms", [["sha512"], ["sha384"], ["sha384", "sha512"], ["sha512", "md5"]], ids="+".join
)
def test_attack_34_a_page_listed_without_sha256_is_refused(
    index: Index, person: Person, algorithms: list[str]
) -> None:
    """Good TUF, and against the profile: installers and lock files have sha256 alone."""
    data = index.stage.repository.contents[DOCUMENT]
    hashes = {name: hashlib.new(name, data).hexdigest() for name in algorithms}
    targets = index.stage.repository.targets["bins"].signed.targets
    targets[DOCUMENT] = TargetFile(len(data), hashes, DOCUMENT)
    index.stage.publish()
    with person.refuses(ProfileError, match="no sha256", last=newest(index.stage, "bins")):
        person.client().project("demo")


# -- 39: one name in two spellings ---------------------------------------------------------------

TWINS = {
    "case": "Demo-1.0-py3-none-any.whl",
    "case of the ending": "demo-1.0-py3-none-any.WHL",
    "case of the tag": "demo-1.0-PY3-none-any.whl",
    "composed": "d\u00e9mo-1.0-py3-none-any.whl",
    "decomposed": "de\u0301mo-1.0-py3-none-any.whl",
    "fullwidth digit": "demo-\uff11.0-py3-none-any.whl",
    "fullwidth letter": "\uff44emo-1.0-py3-none-any.whl",
    "arabic digit": "demo-\u0661.0-py3-none-any.whl",
    "superscript digit": "demo-1.\u00b9-py3-none-any.whl",
    "dotless i": "demo-1.0-py3-none-any.wh\u0131",
    "long s": "demo-1.0-py3-none-any.whl\u017f",
    "kelvin sign": "demo-1.0+\u212a-py3-none-any.whl",
    "cyrillic": "d\u0435mo-1.0-py3-none-any.whl",
    "ligature": "demo-1.0+\ufb01-py3-none-any.whl",
    "zero width space": "demo\u200b-1.0-py3-none-any.whl",
    "zero width joiner": "demo-1.0\u200d-py3-none-any.whl",
    "byte order mark": "\ufeffdemo-1.0-py3-none-any.whl",
    "soft hyphen": "de\u00admo-1.0-py3-none-any.whl",
    "another hyphen": "demo\u20101.0-py3-none-any.whl",
    "right to left": "demo-1.0-py3-none-any\u202elhw.whl",
    "trailing dot": "demo-1.0-py3-none-any.whl.",
    "trailing blank": "demo-1.0-py3-none-any.whl ",
    "leading blank": " demo-1.0-py3-none-any.whl",
    "line end": "demo-1.0-py3-none-any.whl\n",
    "no-break space": "demo-1.0-py3-none-any.whl\u00a0",
    "nul": "demo-1.0-py3-none-any.whl\0",
    "the same": WHL,
}


@pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS)
def test_attack_39_a_twin_of_a_file_spoils_the_page(
    index: Index, person: Person, twin: str
) -> None:
    """The thief lists his wheel beside the honest one, under a name that a person, a file system
    or an installer may take for the same. The page is refused as a whole."""
    index.publish_entries(listing(WHL, index.wheel), _entry(twin, index.evil))
    with person.refuses(
        ProfileError,
        match="listed twice|not a distribution's file name|not plain text",
        last=index.page_request(),
    ):
        person.client().project("demo")


NAMES = {
    "case": "Demo",
    "upper case": "DEMO",
    "underscore": "de_mo",
    "dot": "de.mo",
    "two hyphens": "de--mo",
    "leading hyphen": "-demo",
    "trailing hyphen": "demo-",
    "trailing dot": "demo.",
    "trailing blank": "demo ",
    "line end": "demo\n",
    "composed": "d\u00e9mo",
    "decomposed": "de\u0301mo",
    "fullwidth": "\uff44emo",
    "digits": "demo\u0661",
    "dotless i": "dem\u0131",
    "kelvin sign": "\u212aemo",
    "cyrillic": "d\u0435mo",
    "zero width": "demo\u200b",
    "right to left": "\u202eomed",
    "path": "../demo",
    "slash": "de/mo",
    "encoded": "%64emo",
    "nul": "demo\0",
    "surrogate": "demo\ud800",
    "empty": "",
    "long": "d" * 201,
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_attack_39_a_project_is_asked_for_in_one_spelling(
    index: Index, person: Person, name: str
) -> None:
    """Somebody gets Ann to ask for a twin of the project's name. Nothing is requested."""
    index.stage.publish()
    with person.refuses(
        InputError, match="expected a normalised project name", stored=(), last=None
    ):
        person.client().project(name)


@pytest.mark.parametrize(
    "name", [name for name in NAMES.values() if name != "demo\ud800"], ids=ascii
)
def test_attack_39_a_page_carries_its_projects_name_in_one_spelling(
    index: Index, person: Person, name: str
) -> None:
    """The thief signs a page whose own name is a twin of the project's."""
    index.publish_entries(listing(WHL, index.wheel), name=name)
    with person.refuses(ProfileError, match="another project", last=index.page_request()):
        person.client().project("demo")


# -- 44: files that don't belong -----------------------------------------------------------------

FOREIGN = {
    "another project's wheel": "other-1.0-py3-none-any.whl",
    "another project's sdist": "other-1.0.tar.gz",
    "a longer name": "demo_extra-1.0-py3-none-any.whl",
    "a longer name, sdist": "demo-extra-1.0.tar.gz",
    "a shorter name": "dem-1.0-py3-none-any.whl",
    "a name cut in two": "de-mo-1.0.tar.gz",
    "a hyphen in a wheel's name": "de-mo-1.0-py3-none-any.whl",
    "separators swapped": "de_mo-1.0-py3-none-any.whl",
    "the version in the name": "demo_1.0-2-py3-none-any.whl",
    "an underscore at the end": "demo_-1.0-py3-none-any.whl",
    "two underscores": "de__mo-1.0-py3-none-any.whl",
    "no version": "demo.tar.gz",
    "an empty version": "demo-.tar.gz",
    "a version that is none": "demo-latest.tar.gz",
    "no name": "-1.0.tar.gz",
    "an option": "-rdemo-1.0.tar.gz",
    "too few tags": "demo-1.0-py3.whl",
    "too many tags": "demo-1.0-1-2-py3-none-any.whl",
    "tags that multiply": f"demo-1.0-{'.'.join(map(str, range(17)))}-{'.'.join('abcdefghijklmnop')}"
    "-any.whl",
    "a build tag that is none": "demo-1.0-x-py3-none-any.whl",
    "egg": "demo-1.0-py3.11.egg",
    "exe": "demo-1.0.win32.exe",
    "exe sdist": "demo-1.0.exe",
    "msi": "demo-1.0.msi",
    "rpm": "demo-1.0-1.noarch.rpm",
    "tar.bz2": "demo-1.0.tar.bz2",
    "tgz": "demo-1.0.tgz",
    "tar": "demo-1.0.tar",
    "core metadata": "demo-1.0-py3-none-any.whl.metadata",
    "a signature": "demo-1.0.tar.gz.asc",
    "no ending": "demo-1.0",
    "the page": "index.json",
    "html": "demo-1.0.html",
    "nested": "demo/demo-1.0.tar.gz",
    "nested in another project": "other/demo-1.0.tar.gz",
    "climbing": "../../etc/demo-1.0.tar.gz",
    "climbing at the end": "demo-1.0.tar.gz/../../../x",
    "absolute": "/demo-1.0.tar.gz",
    "backslash": "..\\demo-1.0.tar.gz",
    "encoded slash": "..%2fdemo-1.0.tar.gz",
    "query": "demo-1.0.tar.gz?x",
    "fragment": "demo-1.0.tar.gz#egg=demo",
    "a URL": "https://evil.example/demo-1.0.tar.gz",
    "hidden": ".demo-1.0.tar.gz",
    "empty": "",
    "dots": "..",
    "long": "demo-1.0+" + "x" * 300 + "-py3-none-any.whl",
}


@pytest.mark.parametrize("filename", FOREIGN.values(), ids=FOREIGN)
def test_attack_44_a_file_that_does_not_belong_spoils_the_page(
    index: Index, person: Person, filename: str
) -> None:
    """The thief lists on demo's page a file of another project (whose name an installer would
    take from the file, not from the page), something no installer should open, or a path. The
    page is refused as a whole: not one of its files is believed, remembered or asked for."""
    index.publish_entries(listing(WHL, index.wheel), _entry(filename, index.evil))
    with person.refuses(
        ProfileError,
        match="belongs to another project|not a distribution's file name",
        last=index.page_request(),
    ):
        person.client().project("demo")


def test_attack_44_one_projects_page_in_the_place_of_another_is_refused(
    index: Index, person: Person
) -> None:
    """The thief signs the page of a project of his own under demo's path."""
    index.publish_page(page("evil", [listing("evil-1.0.tar.gz", b"evil")]))
    with person.refuses(ProfileError, match="another project", last=index.page_request()):
        person.client().project("demo")


# -- 47: a page with URLs to another host --------------------------------------------------------


@pytest.fixture
def decoy(stage: Stage) -> Iterator[TamperingServer]:
    """Another host, with a file for every name."""
    folder = stage.folder / "decoy"
    folder.mkdir()
    for name in (WHL, SDIST):
        (folder / name).write_bytes(b"the decoy's")
    with TamperingServer(folder) as server:
        yield server


@pytest.mark.parametrize(
    "url",
    ["{decoy}{name}", "//{host}/{name}", "https://{host}/{name}", "HTTP://{host}/{name}",
     "http:/{host}/{name}", "\\\\\\\\{host}\\{name}", "http://internal@{host}/{name}",
     "http://{host}#@internal/{name}", "/{name}", "../../../../{name}", "file:///etc/passwd",
     "data:application/zip;base64,UEs=", "javascript:alert(1)", "ftp://{host}/{name}",
     "git+https://{host}/{name}", "{name}\"><base href='{decoy}'>", "", " "],
)  # fmt: skip
def test_attack_47_urls_to_another_host_are_rewritten_and_never_asked(
    index: Index, person: Person, decoy: TamperingServer, url: str
) -> None:
    """The thief's signed page sends installers to a host of his, which then knows who installs
    what, and serves what it likes to whoever doesn't check. The proxy doesn't pass on one URL of
    the page: every link leads to the proxy, which asks the index alone, and what it serves are
    the verified bytes. In JSON and in HTML."""
    host = decoy.url.removeprefix("http://").rstrip("/")
    entries = [
        listing(name, data, url=url.format(decoy=decoy.url, host=host, name=name))
        for name, data in index.files.items()
    ]
    index.publish_page(page("demo", entries, **{"project-status": {"url": decoy.url}}))
    index.stage.requests()
    with VerifyingProxy(person.client()) as proxy:
        base = urlsplit(proxy.index_url)
        assert base.port is not None
        html, document = (
            _ask(base.port, f"{base.path}demo/", accept)
            for accept in ("text/html", "application/vnd.pypi.simple.v1+json")
        )
        for text in (html, document):
            assert host.encode() not in text
            assert b"etc/passwd" not in text
        links = {file["filename"]: file["url"] for file in json.loads(document)["files"]}
        assert links.keys() == index.files.keys()
        for name, link in links.items():
            there = urlsplit(urljoin(f"{proxy.index_url}demo/", link))
            assert there.netloc == base.netloc
            assert f'href="{link}#sha256='.encode() in html
            assert _ask(base.port, there.path, "*/*") == index.files[name]
        assert proxy.report.summary().outside == ()
    assert decoy.requests == []
    assert index.stage.requests()[-1].startswith("files/demo/")
    index.publish()
    person.gets_the_honest_files()


def _ask(port: int, path: str, accept: str) -> bytes:
    request = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: {accept}\r\n"
        "Connection: close\r\n\r\n"
    )
    status, _, body = raw_request(port, request.encode())
    assert status == 200, body
    return body


def test_attack_47_whoever_follows_such_a_url_meets_the_closed_door(
    index: Index, person: Person, decoy: TamperingServer
) -> None:
    """An installer that learnt the other host's address elsewhere, from a package's own metadata,
    asks the proxy for it, as the environment tells it to. Nothing leaves."""
    index.stage.requests()
    with VerifyingProxy(person.client()) as proxy:
        port: Any = urlsplit(proxy.index_url).port
        host = decoy.url.removeprefix("http://").rstrip("/")
        for line in (f"GET {decoy.url}{WHL} HTTP/1.1", f"CONNECT {host} HTTP/1.1"):
            request = f"{line}\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            assert raw_request(port, request.encode())[0] == 403
        assert proxy.report.summary().outside == (host,)
        assert proxy.report.summary().refused
    assert decoy.requests == []
    assert index.stage.requests() == []
