"""Names and target paths: one spelling, and no way out of one's place."""

from __future__ import annotations

import hashlib
from collections import Counter
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from indextrust.distribution import DistributionFile
from indextrust.errors import InputError
from indextrust.names import (
    LAYOUTS,
    BinScheme,
    Layout,
    check_filename,
    document_path,
    file_path,
    hash_prefixed,
    is_target_path,
    layout_of,
    metadata_filename,
    metadata_path,
    parse_filename,
    project_name,
    project_of_filename,
    target_paths,
)


@pytest.mark.parametrize(
    "name",
    ["", "Flask", "zope.interface", "a--b", "a_b", "-a", "a-", "a b", "a\n", "é", "ﬂask", "..",
     "a/b", "a" * 201, "\u0661"],
)  # fmt: skip
def test_a_project_has_one_spelling(name: str) -> None:
    with pytest.raises(InputError, match="normalised project name"):
        project_name(name)


@given(st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", fullmatch=True))
def test_what_packaging_normalises_is_accepted(name: str) -> None:
    if len(canonicalize_name(name)) <= 200:
        assert project_name(canonicalize_name(name)) == canonicalize_name(name)


def test_paths_are_built_from_checked_names_only() -> None:
    flask = project_name("flask")
    assert document_path(flask) == "simple/flask/index.json"
    assert file_path(flask, "flask-3.tar.gz") == "files/flask/flask-3.tar.gz"
    assert metadata_path(flask, "f-1-py3-none-any.whl") == (
        "files/flask/f-1-py3-none-any.whl.metadata"
    )
    assert hash_prefixed("files/flask/x", "ab") == "files/flask/ab.x"
    assert hash_prefixed("x", "ab") == "ab.x"
    for filename in ("../x", "a/b", ".hidden", "", "a\\b", "a b", "é.whl", "x" * 256, "a\n"):
        with pytest.raises(InputError):
            check_filename(filename)
        with pytest.raises(InputError):
            file_path(flask, filename)
    with pytest.raises(InputError):
        document_path("../x")  # type: ignore[arg-type]


def test_a_file_name_says_whose_it_is() -> None:
    assert project_of_filename("zope.interface-6.0.tar.gz") == "zope-interface"
    assert (
        project_of_filename(
            "zope_interface-6.0-cp311-cp311-manylinux_2_5_x86_64.manylinux1_x86_64.whl"
        )
        == "zope-interface"
    )
    assert parse_filename("demo-1.0.0rc1.tar.gz") == ("demo", "1.0.0rc1")
    for filename in ("demo.whl", "demo-1.0.egg", "demo-1.0.exe", "demo-x.tar.gz", "README"):
        with pytest.raises(InputError):
            project_of_filename(filename)


def test_a_name_with_thousands_of_tags_is_refused_unexpanded() -> None:
    """Tags multiply: 39 * 39 * 39 of them in a name of 250 characters are 59,319."""
    many = ".".join("a" * 2 for _ in range(25))
    with pytest.raises(InputError, match="at most 256 tags, got 15625"):
        parse_filename(f"demo-1.0-{many}-{many}-{many}.whl")


@pytest.mark.parametrize(
    ("role", "version", "filename"),
    [
        ("bins", 3, "3.bins.json"),
        ("timestamp", None, "timestamp.json"),
        ("../x", 1, "1...%2Fx.json"),
        ("?", 1, "1.%3F.json"),
        ("..", None, "%2E%2E.json"),
        (".", 2, "2.%2E.json"),
        ("\u00e9", 1, "1.%C3%A9.json"),
    ],
)
def test_a_role_is_one_file_name(role: str, version: int | None, filename: str) -> None:
    assert metadata_filename(role, version) == filename
    assert "/" not in filename


@given(st.text("aZ09_.-~%/é?", max_size=4))
def test_a_role_name_is_percent_encoded_in_full(role: str) -> None:
    name = metadata_filename(role).removesuffix(".json")
    assert unquote(name) == role
    assert name == quote(role, safe="") or set(role) <= {"."}
    assert not name or name.strip(".")
    assert "/" not in name


def test_bins_cover_every_path_once_and_evenly() -> None:
    scheme = BinScheme.of(16)
    assert scheme.names() == tuple(f"bin-{n:x}" for n in range(16))
    spread = Counter(scheme.bin_of(f"files/p/{n}") for n in range(4096))
    assert set(spread) == set(scheme.names())
    digest = hashlib.sha256(b"files/p/1").hexdigest()
    assert scheme.bin_of("files/p/1") == f"bin-{digest[0]}"
    prefixes = [p for r in scheme.delegation([], 1)["roles"] for p in r["path_hash_prefixes"]]
    assert sorted(prefixes) == [f"{n:x}" for n in range(16)]


@pytest.mark.parametrize("count", [0, 1, 3, 255, 131072, -2])
def test_bins_come_in_powers_of_two(count: int) -> None:
    with pytest.raises(InputError, match="power of two"):
        BinScheme.of(count)


def test_many_bins_are_succinct_and_few_are_classic() -> None:
    assert not BinScheme.of(256).succinct
    assert BinScheme.of(512).succinct
    assert BinScheme.of(16384).delegation(["k"], 1) == {
        "succinct_roles": {"keyids": ["k"], "threshold": 1, "bit_length": 14, "name_prefix": "bin"}
    }
    for bits, succinct in ((9, False), (17, True), (0, True)):
        with pytest.raises(InputError):
            BinScheme(bits, succinct=succinct)


def test_few_bins_are_succinct_on_request_and_many_are_never_classic() -> None:
    few = BinScheme.of(4, succinct=True)
    assert (few.count, few.form) == (4, "succinct_roles")
    assert BinScheme.of(4).form == "path_hash_prefixes"
    assert few.names() == BinScheme.of(4).names()
    with pytest.raises(InputError, match="path-hash prefixes serve up to 256 bins, got 512"):
        BinScheme.of(512, succinct=False)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_told_by_what_is_delegated(layout: Layout) -> None:
    assert layout_of(target_paths(layout)) == layout
    assert is_target_path("simple/demo/index.json", layout)
    assert is_target_path("files/demo/demo-1.0.tar.gz", layout) == (layout == "pep458")
    for path in ("simple/demo", "simple/a/b/c", "other/demo/index.json", "simple", ""):
        assert not is_target_path(path, layout)


def test_a_distribution_file_refuses_what_it_is_not() -> None:
    good = {
        "project": "demo",
        "filename": "demo-1.0.tar.gz",
        "version": "1.0",
        "size": 5,
        "sha256": "a" * 64,
        "upload_time": "2026-01-01T00:00:00.123456Z",
    }
    file = DistributionFile(**good)  # type: ignore[arg-type]
    assert file.with_yank("broken").yanked == "broken"
    assert file.with_yank("broken").with_yank(None) == file
    for bad in (
        {"project": "Demo"},
        {"filename": "../x"},
        {"size": -1},
        {"sha256": "A" * 64},
        {"sha256": "a" * 64 + "\n"},
        {"upload_time": "2026-01-01"},
        {"metadata_sha256": "x"},
    ):
        with pytest.raises(InputError):
            DistributionFile(**(good | bad))  # type: ignore[arg-type]
