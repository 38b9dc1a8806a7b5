"""What an installer is shown of a project."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
from packaging.utils import parse_sdist_filename, parse_wheel_filename

from indextrust.distribution import DistributionFile
from indextrust.names import project_name
from indextrust.proxy.pages import (
    HTML,
    HTML_V1,
    JSON_V1,
    negotiate,
    project_page,
    refused_page,
)

PIP = (
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, "
    "text/html; q=0.01"
)
UV = (
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, "
    "text/html;q=0.01"
)
FILES = (
    DistributionFile(
        project_name("zope-interface"),
        "zope.interface-1.0+local.1-py3-none-any.whl",
        "1.0+local.1",
        10,
        "a" * 64,
        "2026-01-31T12:00:00Z",
        requires_python='>=3.9,<"4&',
        metadata_sha256="b" * 64,
        sha512="e" * 128,  # installers are given the sha256 alone
        metadata_sha512="f" * 128,
    ),
    DistributionFile(
        project_name("zope-interface"),
        "zope_interface-2.0.tar.gz",
        "2.0",
        0,
        "c" * 64,
        "2026-01-31T12:00:00.5Z",
        yanked="",
    ),
    DistributionFile(
        project_name("zope-interface"),
        "zope_interface-3.0.tar.gz",
        "3.0",
        1,
        "d" * 64,
        "2026-01-31T12:00:00Z",
        yanked='broken <b>"badly"</b>',
    ),
)


class Anchors(HTMLParser):
    """Collects the attributes of every link, and whatever else a page would make of its text."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: list[dict[str, str | None]] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "a":
            self.anchors.append(dict(attrs))


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (PIP, JSON_V1),
        (UV, JSON_V1),
        ("", HTML),
        ("*/*", HTML),
        ("text/*", HTML),
        ("text/html", HTML),
        ("application/vnd.pypi.simple.v1+html", HTML_V1),
        ("application/vnd.pypi.simple.latest+json", JSON_V1),
        ("application/*", JSON_V1),
        ("text/html;q=0.5, application/vnd.pypi.simple.v1+json;q=0.4", HTML),
        ("text/html ; q=0.1 , Application/vnd.pypi.simple.v1+JSON", JSON_V1),
        ("text/html;q=0, */*;q=0.1", JSON_V1),
        ("text/html;q=0", None),
        ("text/html;q=nonsense", None),
        ("text/html;q=nan", None),
        ("image/png", None),
    ],
)
def test_the_type_with_the_greatest_weight_is_chosen(accept: str, chosen: str | None) -> None:
    assert negotiate(accept) == chosen


def test_json_says_what_the_verified_document_says_and_links_to_the_proxy() -> None:
    page = json.loads(project_page("zope-interface", ("1.0+local.1", "2.0", "3.0"), FILES, JSON_V1))
    assert page == {
        "meta": {"api-version": "1.4"},
        "name": "zope-interface",
        "versions": ["1.0+local.1", "2.0", "3.0"],
        "files": [
            {
                "filename": "zope.interface-1.0+local.1-py3-none-any.whl",
                "url": "../../files/zope-interface/zope.interface-1.0+local.1-py3-none-any.whl",
                "hashes": {"sha256": "a" * 64},
                "size": 10,
                "upload-time": "2026-01-31T12:00:00Z",
                "yanked": False,
                "core-metadata": {"sha256": "b" * 64},
                "requires-python": '>=3.9,<"4&',
            },
            {
                "filename": "zope_interface-2.0.tar.gz",
                "url": "../../files/zope-interface/zope_interface-2.0.tar.gz",
                "hashes": {"sha256": "c" * 64},
                "size": 0,
                "upload-time": "2026-01-31T12:00:00.5Z",
                "yanked": True,
                "core-metadata": False,
            },
            {
                "filename": "zope_interface-3.0.tar.gz",
                "url": "../../files/zope-interface/zope_interface-3.0.tar.gz",
                "hashes": {"sha256": "d" * 64},
                "size": 1,
                "upload-time": "2026-01-31T12:00:00Z",
                "yanked": 'broken <b>"badly"</b>',
                "core-metadata": False,
            },
        ],
    }


@pytest.mark.parametrize("content_type", [HTML, HTML_V1])
def test_html_says_the_same_and_escapes_what_a_publisher_wrote(content_type: str) -> None:
    parser = Anchors()
    parser.feed(project_page("zope-interface", (), FILES, content_type).decode("utf-8"))
    wheel = "../../files/zope-interface/zope.interface-1.0+local.1-py3-none-any.whl"
    sdist = "../../files/zope-interface/zope_interface"
    assert parser.anchors == [
        {
            "href": f"{wheel}#sha256={'a' * 64}",
            "data-requires-python": '>=3.9,<"4&',
            "data-core-metadata": f"sha256={'b' * 64}",
        },
        {"href": f"{sdist}-2.0.tar.gz#sha256={'c' * 64}", "data-yanked": ""},
        {
            "href": f"{sdist}-3.0.tar.gz#sha256={'d' * 64}",
            "data-yanked": 'broken <b>"badly"</b>',
        },
    ]
    assert "b" not in parser.tags


def test_a_page_without_files_is_a_page() -> None:
    assert json.loads(project_page("demo", (), (), JSON_V1))["files"] == []
    assert b"<a " not in project_page("demo", (), (), HTML)


def test_a_refused_page_offers_files_of_the_project_whose_versions_name_the_cause() -> None:
    page = json.loads(refused_page("zope-interface", "indextrust.refused", JSON_V1))
    names = [file["filename"] for file in page["files"]]
    wheels = [parse_wheel_filename(name) for name in names if name.endswith(".whl")]
    sdists = [parse_sdist_filename(name) for name in names if name.endswith(".tar.gz")]
    for parsed in (wheels, sdists):
        assert {name for name, *_ in parsed} == {"zope-interface"}
        assert [str(version) for _, version, *_ in parsed] == [
            "0+indextrust.refused",
            "99999999+indextrust.refused",
        ]
    parser = Anchors()
    parser.feed(refused_page("zope-interface", "indextrust.refused", HTML).decode("utf-8"))
    assert [anchor["href"] for anchor in parser.anchors] == [file["url"] for file in page["files"]]
