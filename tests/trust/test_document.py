"""The project document is signed by an online key, so its content is not believed either."""

from __future__ import annotations

import json
from typing import Any

import pytest

from indextrust.errors import IndextrustError, MalformedError, ProfileError
from indextrust.names import project_name
from indextrust.trust.document import parse_document

NAME = project_name("zope-interface")
FILE: dict[str, Any] = {
    "core-metadata": {"sha256": "a" * 64},
    "filename": "zope_interface-6.0-py3-none-any.whl",
    "hashes": {"sha256": "b" * 64},
    "requires-python": ">=3.8, <4",
    "size": 12,
    "upload-time": "2026-01-01T00:00:00Z",
    "url": "https://evil.example/other.whl",
    "yanked": False,
}


def _document(*files: Any, **fields: Any) -> bytes:
    tree = {
        "files": list(files),
        "meta": {"api-version": "1.4"},
        "name": "zope-interface",
        "versions": ["6.0"],
    }
    return json.dumps(tree | fields).encode()


def test_a_document_gives_files_by_name_with_what_is_vouched_for() -> None:
    sdist = FILE | {
        "filename": "zope.interface-6.0.tar.gz",
        "core-metadata": False,
        "yanked": "bad",
    }
    del sdist["requires-python"]
    parsed = parse_document(NAME, _document(FILE, sdist))
    wheel, source = parsed.files.values()
    assert (wheel.filename, wheel.version, wheel.size) == (FILE["filename"], "6.0", 12)
    assert (wheel.sha256, wheel.metadata_sha256) == ("b" * 64, "a" * 64)
    assert (wheel.requires_python, wheel.yanked) == (">=3.8, <4", None)
    assert (source.requires_python, source.metadata_sha256, source.yanked) == (None, None, "bad")
    assert (
        parse_document(NAME, _document(FILE | {"yanked": True})).files[FILE["filename"]].yanked
        == ""
    )


@pytest.mark.parametrize(
    "change",
    [
        {"filename": "flask-6.0-py3-none-any.whl"},
        {"filename": "../zope_interface-6.0-py3-none-any.whl"},
        {"filename": "zope_interface-6.0-py3-none-any.whl/x"},
        {"filename": "zope_interface-6.0-py3-none-any.WHL"},
        {"filename": "zope_interface-6.0.exe"},
        {"filename": "zope\u2024interface-6.0.tar.gz"},
        {"filename": "zope_interface-6.0.tar.gz\n"},
        {"filename": ""},
        {"filename": None},
        {"hashes": {}},
        {"hashes": {"md5": "a" * 32}},
        {"hashes": {"sha256": "B" * 64}},
        {"hashes": {"sha256": "b" * 63}},
        {"hashes": {"sha256": "\u0661" * 64}},
        {"hashes": []},
        {"size": -1},
        {"size": True},
        {"size": "12"},
        {"upload-time": "yesterday"},
        {"upload-time": None},
        {"requires-python": 3},
        {"requires-python": ">=3\x1b[2J"},
        {"yanked": "cafe\u0301"},
        {"yanked": 0},
        {"core-metadata": True},
        {"core-metadata": {"sha256": "zz"}},
        {"core-metadata": {"md5": "a" * 32}},
    ],
)
def test_a_file_against_the_profile_refuses_the_document(change: dict[str, Any]) -> None:
    with pytest.raises((ProfileError, MalformedError), match=r"files\[0\]"):
        parse_document(NAME, _document(FILE | change))


@pytest.mark.parametrize(
    "fields",
    [{"name": "flask"}, {"name": "Zope-Interface"}, {"meta": {"api-version": "2.0"}}, {"meta": {}},
     {"versions": [6]}, {"versions": ["6\x1b[2J"]}, {"versions": None}, {"files": {}}],
)  # fmt: skip
def test_a_document_of_another_shape_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises((ProfileError, MalformedError)):
        parse_document(NAME, _document(FILE, **fields))


def test_attack_39_case_twins_are_refused() -> None:
    twin = FILE | {"filename": "Zope_Interface-6.0-py3-none-any.whl"}
    with pytest.raises(ProfileError, match="listed twice"):
        parse_document(NAME, _document(FILE, twin))
    with pytest.raises(ProfileError, match="listed twice"):
        parse_document(NAME, _document(FILE, FILE))


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{}", b"\xff", b'{"name":"x","name":"x"}'])
def test_what_is_no_document_is_a_typed_refusal(data: bytes) -> None:
    with pytest.raises(IndextrustError):
        parse_document(NAME, data)
