"""Which command lines are let through, and which would lead past the verified index."""

from __future__ import annotations

import pytest

from indextrust.errors import InputError
from indextrust.proxy.arguments import Installer, read_command


@pytest.mark.parametrize(
    ("line", "installer"),
    [
        ("pip install flask", Installer.PIP),
        ("/opt/venv/bin/pip3.11 install --upgrade flask", Installer.PIP),
        ("pip.exe download -d folder flask==3.0", Installer.PIP),
        ("pip --python .venv install flask", Installer.PIP),
        ("pip --log index.log -q install flask", Installer.PIP),
        ("python -m pip install flask", Installer.PIP),
        ("/usr/bin/python3.13t -I -X utf8 -mpip wheel flask", Installer.PIP),
        ("python -Wignore -Im pip install flask", Installer.PIP),
        ("pip install .", Installer.PIP),
        ("pip install ./dist/a-1.0-py3-none-any.whl a.tar.gz -e ../b[extra]", Installer.PIP),
        ("pip install a@file:///srv/a-1.0.tar.gz file:///srv/b.whl", Installer.PIP),
        ("pip install -Cx=https://example.com/ --config-settings y=git+x flask", Installer.PIP),
        ("pip install --no-binary :all: --no-deps flask", Installer.PIP),
        ("pip install -Uqt folder flask", Installer.PIP),
        ("pip index versions flask", Installer.PIP),
        ("uv pip install flask", Installer.UV),
        ("/opt/bin/uv --directory elsewhere -q pip install --python 3.11 flask", Installer.UV),
        ("python -m uv pip install --extra dev --no-index-cache flask", Installer.UV),
        ("uv pip compile requirements.in -o requirements.txt", Installer.UV),
    ],
)
def test_ordinary_commands_pass(line: str, installer: Installer) -> None:
    command = read_command(line.split())
    assert command.installer is installer
    assert command.argv == tuple(line.split())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("--index-url https://example.com/simple/ flask", "--index-url"),
        ("--index-url=https://example.com/simple/ flask", "--index-url"),
        ("--pypi-url https://example.com flask", "--pypi-url"),
        ("-i https://example.com flask", "-i"),
        ("-ihttps://example.com flask", "-i"),
        ("-Uqi https://example.com flask", "-i"),
        ("flask --extra-index-url https://example.com", "--extra-index-url"),
        ("--find-links ./wheels flask", "--find-links"),
        ("-f ./wheels flask", "-f"),
        ("-f./wheels flask", "-f"),
        ("--no-index flask", "--no-index"),
        ("--trusted-host 127.0.0.1 flask", "--trusted-host"),
        ("-- --index-url https://example.com flask", "--index-url"),
    ],
)
@pytest.mark.parametrize("tool", ["pip install", "uv pip install"])
def test_an_option_that_names_another_place_is_refused_by_name(
    tool: str, arguments: str, named: str
) -> None:
    if tool.startswith("uv") and named == "--pypi-url":
        named, arguments = "--default-index", "--default-index https://example.com flask"
    with pytest.raises(InputError, match=rf"command line: {named} "):
        read_command([*tool.split(), *arguments.split()])


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("pip --isolated install flask", "--isolated"),
        ("pip install --isolated flask", "--isolated"),
        ("pip --proxy http://example.com:8080 install flask", "--proxy"),
        ("pip install --no-proxy-env flask", "--no-proxy-env"),
        ("uv pip install --index https://example.com flask", "--index"),
        ("uv --config-file uv.toml pip install flask", "--config-file"),
        ("uv pip --config-file=uv.toml install flask", "--config-file"),
        ("uv pip install --torch-backend cu126 torch", "--torch-backend"),
        ("uv --allow-insecure-host example.com pip install flask", "--allow-insecure-host"),
        ("uv pip sync -ihttps://example.com requirements.txt", "-i"),
    ],
)
def test_options_of_one_installer_alone(line: str, named: str) -> None:
    with pytest.raises(InputError, match=rf"command line: {named} "):
        read_command(line.split())


@pytest.mark.parametrize("beginning", ["--index-u", "--index", "--extra", "--find", "--constr"])
def test_pip_takes_the_beginning_of_an_option_for_it_so_beginnings_are_refused(
    beginning: str,
) -> None:
    with pytest.raises(InputError, match=rf"{beginning} may be read as --"):
        read_command(["pip", "install", beginning, "x", "flask"])


@pytest.mark.parametrize(
    "requirement",
    [
        "https://example.com/flask-3.0-py3-none-any.whl",
        "http:example.com/flask.whl",
        "HTTPS://example.com/flask.whl",
        "ftp://example.com/flask.tar.gz",
        "file://example.com/share/flask.whl",
        "git+https://example.com/flask.git",
        "git+ssh://git@example.com/flask.git@main#egg=flask",
        "git+git@example.com:flask.git",
        "git+file:///srv/flask",
        "hg+https://example.com/flask",
        "flask@https://example.com/flask.whl",
        "flask @ git+https://example.com/flask.git",
        "flask[async] @ https://example.com/flask.whl ; python_version > '3'",
        "s3://bucket/flask.whl",
    ],
)
@pytest.mark.parametrize("before", [[], ["-e"], ["--editable"], ["-r"], ["-qc"]])
@pytest.mark.parametrize("tool", ["pip install", "uv pip install"])
def test_a_direct_reference_is_refused_wherever_it_stands(
    tool: str, before: list[str], requirement: str
) -> None:
    with pytest.raises(InputError, match="past the verified index"):
        read_command([*tool.split(), *before, requirement])


def test_a_password_in_a_refused_url_is_not_repeated() -> None:
    with pytest.raises(InputError) as refused:
        read_command(["pip", "install", "https://ann:s3cret@example.com/a.whl?token=s3cret"])
    assert "s3cret" not in str(refused.value)
    assert "https://example.com/a.whl" in str(refused.value)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "bash -c pip",
        "python setup.py install",
        "python -c pip",
        "python -m build",
        "python pip install flask",
        "pip",
        "pip lock flask",
        "pip --version",
        "pip list --outdated",
        "uv sync",
        "uv add flask",
        "uv tool install flask",
        "uv run pip install flask",
        "uv pip",
        "uvx flask",
        "pipx install flask",
    ],
)
def test_what_is_not_known_is_not_run(line: str) -> None:
    with pytest.raises(InputError, match=r"^expected"):
        read_command(line.split())


@pytest.mark.parametrize("option", ["-e", "-r", "-t", "--editable", "--log", "-Uqc"])
def test_an_option_can_not_hide_as_the_value_of_another(option: str) -> None:
    with pytest.raises(InputError, match="got '--extra-index-url=x'"):
        read_command(["pip", "install", option, "--extra-index-url=x", "flask"])


@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("pip install -r a.txt -rb.txt --requirement c.txt --requirement=d.txt", "a b c d"),
        ("pip install -c a.txt --constraint b.txt --build-constraint c.txt x", "a b c"),
        ("pip install -Uqr a.txt", "a"),
        ("uv pip install -r a.txt --requirements b.txt --overrides=c.txt -b d.txt", "a b c d"),
        ("uv pip sync a.txt b.txt", "a b"),
        ("uv pip compile a.txt -c b.txt", "b a"),
        ("pip install a.txt", ""),
    ],
)
def test_the_files_that_a_command_names_are_found(line: str, files: str) -> None:
    assert read_command(line.split()).files == tuple(f"{name}.txt" for name in files.split())


@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("uv pip install -r pyproject.toml --requirements=a/setup.py -r setup.cfg", ()),
        ("uv pip compile pyproject.toml", ()),
        ("uv pip install -c pyproject.toml -b setup.py x", ("pyproject.toml", "setup.py")),
        ("uv pip install -r SETUP.CFG -r my.toml -r s.py", ("SETUP.CFG", "my.toml", "s.py")),
        ("pip install -r pyproject.toml -r setup.cfg", ("pyproject.toml", "setup.cfg")),
    ],
)
def test_only_what_uv_reads_as_a_project_is_not_looked_into(
    line: str, files: tuple[str, ...]
) -> None:
    assert read_command(line.split()).files == files


def test_the_folder_that_uv_goes_to_first_is_found() -> None:
    assert read_command(["uv", "--directory", "a", "pip", "install", "b"]).directory == "a"
    assert read_command(["uv", "pip", "install", "--directory=a", "b"]).directory == "a"
    assert read_command(["uv", "pip", "install", "b"]).directory is None
