"""The pages of the index, byte for byte."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import NormalizedName
from securesystemslib.formats import encode_canonical

from indextrust.distribution import DistributionFile
from indextrust.repository.changes import yank_reason
from indextrust.repository.documents import document_bytes, html_index, html_page
from indextrust.trust.document import parse_document

DEMO = NormalizedName("demo")
WHEEL = DistributionFile(
    project=DEMO,
    filename="demo-1.10-py3-none-any.whl",
    version="1.10",
    size=1000,
    sha256="a" * 64,
    upload_time="2026-01-31T12:00:00Z",
    requires_python="<4,>=3.9",
    metadata_sha256="b" * 64,
)
SDIST = DistributionFile(
    project=DEMO,
    filename="demo-1.9.tar.gz",
    version="1.9",
    size=900,
    sha256="c" * 64,
    upload_time="2026-01-30T12:00:00.5Z",
    yanked="",
)


def test_the_canonical_document_is_golden() -> None:
    assert document_bytes(DEMO, [SDIST, WHEEL]).decode() == (
        '{"files":['
        '{"core-metadata":{"sha256":"' + "b" * 64 + '"},"filename":"demo-1.10-py3-none-any.whl",'
        '"hashes":{"sha256":"' + "a" * 64 + '"},"requires-python":"<4,>=3.9","size":1000,'
        '"upload-time":"2026-01-31T12:00:00Z","url":"../../files/demo/demo-1.10-py3-none-any.whl",'
        '"yanked":false},'
        '{"core-metadata":false,"filename":"demo-1.9.tar.gz",'
        '"hashes":{"sha256":"' + "c" * 64 + '"},"size":900,'
        '"upload-time":"2026-01-30T12:00:00.5Z","url":"../../files/demo/demo-1.9.tar.gz",'
        '"yanked":true}],'
        '"meta":{"api-version":"1.4"},"name":"demo","versions":["1.9","1.10"]}'
    )


def test_both_hashes_stand_in_the_document_and_the_sha256_alone_on_the_html_page() -> None:
    both = WHEEL.with_sha512("d" * 128, "e" * 128)
    sdist = SDIST.with_sha512("f" * 128, None)
    text = document_bytes(DEMO, [sdist, both]).decode()
    for sha256, sha512 in (("a", "d"), ("b", "e"), ("c", "f")):
        assert '{"sha256":"' + sha256 * 64 + '","sha512":"' + sha512 * 128 + '"}' in text
    assert parse_document(DEMO, text.encode()).files == {f.filename: f for f in (both, sdist)}
    assert html_page(DEMO, [both, sdist]) == html_page(DEMO, [WHEEL, SDIST])


def test_the_html_page_is_golden() -> None:
    assert html_page(DEMO, [WHEEL, SDIST]).decode() == (
        "<!DOCTYPE html>\n<html>\n<head>\n"
        '<meta name="pypi:repository-version" content="1.4">\n'
        "<title>Links for demo</title>\n</head>\n<body>\n<h1>Links for demo</h1>\n"
        f'<a href="../../files/demo/demo-1.10-py3-none-any.whl#sha256={"a" * 64}" '
        f'data-requires-python="&lt;4,&gt;=3.9" data-core-metadata="sha256={"b" * 64}">'
        "demo-1.10-py3-none-any.whl</a><br>\n"
        f'<a href="../../files/demo/demo-1.9.tar.gz#sha256={"c" * 64}" data-yanked="">'
        "demo-1.9.tar.gz</a><br>\n</body>\n</html>\n"
    )


def test_the_list_of_projects_is_sorted_and_links_to_the_pages() -> None:
    text = html_index([NormalizedName("zope"), DEMO]).decode()
    assert '<a href="demo/">demo</a><br>\n<a href="zope/">zope</a><br>\n' in text


def test_a_project_without_files_has_a_document_too() -> None:
    document = parse_document(DEMO, document_bytes(DEMO, []))
    assert (document.versions, dict(document.files)) == ((), {})


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "a":
            self.links.append(dict(attrs))


def reasons() -> st.SearchStrategy[str]:
    plain = st.text(st.sampled_from("<>&\"'/= abcöé😀-->"), max_size=40)
    return plain.map(yank_reason)


@given(reasons())
def test_no_reason_breaks_out_of_a_page_and_a_client_reads_it_back(reason: str) -> None:
    file = SDIST.with_yank(reason)
    page = Links()
    page.feed(html_page(DEMO, [file]).decode())
    assert page.tags == ["html", "head", "meta", "title", "body", "h1", "a", "br"]
    assert page.links[0]["data-yanked"] == reason
    document = parse_document(DEMO, document_bytes(DEMO, [file]))
    assert document.files[file.filename] == file


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.lists(st.tuples(st.none() | TEXT, st.none() | TEXT, st.booleans()), max_size=4))
def test_a_document_is_canonical_whatever_the_texts_in_it(
    parts: list[tuple[str | None, str | None, bool]],
) -> None:
    files = [
        replace(
            *(SDIST if number % 2 else WHEEL,),
            filename=f"demo-{number}.tar.gz",
            requires_python=requires,
            yanked=yanked,
            metadata_sha256="d" * 64 if core else None,
            sha512="e" * 128 if number % 2 else None,
            metadata_sha512="f" * 128 if core and number % 2 else None,
        )
        for number, (requires, yanked, core) in enumerate(parts)
    ]
    data = document_bytes(DEMO, files)
    if not any(character < " " for character in data.decode()):  # else it is no JSON
        assert str(encode_canonical(json.loads(data))).encode() == data
        assert [f["filename"] for f in json.loads(data)["files"]] == [f.filename for f in files]


@given(st.integers(), st.sets(st.integers(0, 40), max_size=20))
def test_the_order_of_the_files_does_not_matter(seed: int, numbers: set[int]) -> None:
    files = [
        DistributionFile(DEMO, f"demo-{n}.tar.gz", str(n), n, f"{n:064x}", "2026-01-01T00:00:00Z")
        for n in sorted(numbers)
    ]
    shuffled = random.Random(seed).sample(files, len(files))
    assert document_bytes(DEMO, shuffled) == document_bytes(DEMO, files)
    assert html_page(DEMO, shuffled) == html_page(DEMO, files)
    versions = parse_document(DEMO, document_bytes(DEMO, shuffled)).versions
    assert list(versions) == [str(n) for n in sorted(numbers)]
