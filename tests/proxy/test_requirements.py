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
