"""Requirements files that would lead past the verified index, seen before pip or uv reads them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from indextrust.errors import InputError
from indextrust.proxy.arguments import Installer
from indextrust.proxy.requirements import check_files


def check(folder: Path, name: str = "r.txt", env: Mapping[str, str] | None = None) -> None:
    for installer in Installer:
        check_files([name], installer, folder=folder, env=env or {})


def test_an_ordinary_file_passes(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "base.txt").write_text("-c ../constraints.txt\nclick\n")
    (tmp_path / "constraints.txt").write_text("click<9\n")
    (tmp_path / "r.txt").write_text(
        "# from https://example.com/requirements.txt\n"
        "-r more/base.txt\n"
        "flask>=3 ; python_version < '4'  # see https://example.com\n"
        "werkzeug==3.1 \\\n"
        "    --hash=sha256:0123 \\\n"
        "    --hash=sha256:4567\n"
        "-e ./local\n"
        "other @ file:///srv/other.whl\n"
        "${UNKNOWN}\n"
        "--no-binary :all:\n"
        "--pre\n",
        encoding="utf-8-sig",
    )
    check(tmp_path)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--index-url https://example.com/simple", "--index-url names another place"),
        ("-i https://example.com/simple", "-i names another place"),
        ("--extra-index-url=https://example.com/simple", "--extra-index-url names"),
        ("  --find-links\twheels", "--find-links names"),
        ("--find-\\\nlinks wheels", "--find-links names"),
        ("\\--index-url \\\nhttps://example.com/simple", "--index-url names"),
        ("--no-index", "--no-index turns the index off"),
        ("--trusted-host example.com", "--trusted-host"),
        ("flask --index-url https://example.com", "--index-url names"),
        ("'-i' https://example.com", "past the verified index"),
        ("--pre '--index-url' https://example.com", "--index-url names"),
        ("flask @ https://example.com/flask.whl", "'https://example.com/flask.whl' would"),
        ("git+https://example.com/flask.git", "git+https://example.com/flask.git"),
        ("-e git+https://example.com/flask.git#egg=flask", "would be fetched past"),
        ("-r https://example.com/r.txt", "would be fetched past"),
        ("-c https://example.com/c.txt", "would be fetched past"),
        ("${SNEAKY} https://example.com", "--index-url names"),
        ("flask @ ${PLACE}/flask.whl", "would be fetched past"),
        ("six # a comment \u2028--index-url https://example.com", "--index-url names"),
        ("--pre 'unclosed", "can't be split"),
    ],
)
def test_a_line_that_leads_past_the_index_is_named(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "r.txt").write_text(f"click\n\n{line}\n", encoding="utf-8")
    env = {"SNEAKY": "--index-url", "PLACE": "https://example.com"}
    with pytest.raises(InputError) as refused:
        check(tmp_path, env=env)
    assert said in str(refused.value)
    assert str(refused.value).startswith(f"{tmp_path / 'r.txt'}, line ")


def test_nested_files_are_read_from_the_folder_of_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "r.txt").write_text("-r a/one.txt\n")
    (tmp_path / "a" / "one.txt").write_text("-r one.txt\n-c b/two.txt\n")
    (tmp_path / "a" / "b" / "two.txt").write_text("flask\n--index-url https://example.com\n")
    with pytest.raises(InputError, match=r"two\.txt, line 2: --index-url"):
        check(tmp_path)


@pytest.mark.parametrize("scheme", ["file://", "file:", "FILE://localhost"])
def test_a_file_named_by_its_url_is_looked_into(tmp_path: Path, scheme: str) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "r.txt").write_text(f"-r {scheme}{tmp_path}/a%20b/one.txt#part\n")
    (tmp_path / "a b" / "one.txt").write_text("-c ../tw%6F.txt\n")
    (tmp_path / "two.txt").write_text("--index-url https://example.com\n")
    with pytest.raises(InputError, match=r"two\.txt, line 1: --index-url"):
        check(tmp_path)


def test_files_that_name_one_another_by_growing_paths_are_read_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "r.txt").write_text("-r ./r.txt\n-r a/../r.txt\n")
    check(tmp_path)
    (tmp_path / "a" / "r.txt").write_text(f"-r r.txt\n-r {(tmp_path / 'r.txt').as_uri()}\n")
    check(tmp_path, "a/r.txt")


def test_pip_reads_what_a_url_names_as_latin_1_so_it_has_to_be_ascii(tmp_path: Path) -> None:
    """A letter of ours would be the end of a line, and of a comment, to pip."""
    (tmp_path / "r.txt").write_text("# \u0145--index-url https://example.com\n", encoding="utf-8")
    check(tmp_path)
    with pytest.raises(InputError, match="expected ASCII"):
        check(tmp_path, (tmp_path / "r.txt").as_uri())


@pytest.mark.parametrize(
    "name", ["r.cfg", "r.py", "r.toml", "setup.cfg", "setup.py", "pyproject.toml", "r"]
)
def test_what_a_files_name_ends_in_hides_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "r.txt").write_text(f"-r {name}\n")
    (tmp_path / name).write_text("--index-url https://example.com\n")
    with pytest.raises(InputError, match="line 1: --index-url"):
        check(tmp_path)


@pytest.mark.parametrize("name", ["script.py", "script"])
def test_a_script_with_requirements_of_its_own_is_refused_for_uv(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(
        "# /// script\n# dependencies = ['six @ https://example.com/six.whl']\n# ///\n"
    )
    with pytest.raises(InputError, match=r"got a script \(PEP 723\)"):
        check_files([name], Installer.UV, folder=tmp_path, env={})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("--index-url https://example.com".encode("utf-16"), "expected UTF-8"),
        (b"# -*- coding: utf-7 -*-\n+AC0-i https://example.com", "declares b'utf-7'"),
        (b"# -*- coding: nonsense -*-\nflask", "declares b'nonsense'"),
        (b"flask\xff", "expected UTF-8"),
    ],
)
def test_an_encoding_that_could_hide_an_option_is_refused(
    tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "r.txt").write_bytes(content)
    with pytest.raises(InputError, match=said):
        check(tmp_path)


def test_what_can_only_be_read_once_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "r.txt")
    with pytest.raises(InputError, match="expected a regular file"):
        check(tmp_path)
    with pytest.raises(InputError, match="got standard input"):
        check(tmp_path, "-")


@pytest.mark.parametrize("name", ["pylock.toml", "pylock.dev.toml"])
def test_a_lock_file_is_refused_for_it_names_its_own_addresses(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("lock-version = '1.0'\n")
    with pytest.raises(InputError, match="a lock file names the addresses"):
        check(tmp_path, name)


def test_a_missing_file_is_left_to_the_installer(tmp_path: Path) -> None:
    check(tmp_path, "missing.txt")
