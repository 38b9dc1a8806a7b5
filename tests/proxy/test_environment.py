"""The child's environment: the verified index, and no way past it."""

from __future__ import annotations

import os

import pytest

from indextrust.errors import InputError
from indextrust.proxy.arguments import Installer
from indextrust.proxy.environment import child_environment, files_in_environment

INDEX = "http://127.0.0.1:5000/token/simple/"
DOOR = "http://127.0.0.1:5000"


def of(parent: dict[str, str]) -> dict[str, str]:
    return dict(child_environment(parent, index_url=INDEX, door_url=DOOR).variables)


@pytest.mark.parametrize(
    "name",
    [
        "PIP_EXTRA_INDEX_URL",
        "PIP_extra_index_url",
        "PIP_EXTRA-INDEX-URL",
        "PIP_PYPI_URL",
        "PIP_FIND_LINKS",
        "PIP_NO_INDEX",
        "PIP_TRUSTED_HOST",
        "PIP_PROXY",
        "PIP_NO_PROXY_ENV",
        "PIP_ISOLATED",
        "PIP_CACHE_DIR",
        "PIP___EXTRA_INDEX_URL",
        "PIP_--extra-index-url",
        "PIP___Find_Links",
        "NO_PROXY",
        "No_Proxy",
        "Https_Proxy",
        "https://example.com_proxy",
        "REQUEST_METHOD",
        "UV_INDEX",
        "UV_INDEX_URL",
        "UV_EXTRA_INDEX_URL",
        "UV_FIND_LINKS",
        "UV_NO_INDEX",
        "UV_CONFIG_FILE",
        "UV_TORCH_BACKEND",
        "UV_INSECURE_HOST",
    ],
)
def test_a_variable_that_leads_past_the_index_is_removed_and_reported(name: str) -> None:
    made = child_environment(
        {name: "https://ann:s3cret@example.com"}, index_url=INDEX, door_url=DOOR
    )
    assert name not in made.variables
    assert made.removed == (name,)
    assert "s3cret" not in repr(made)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PIP_INDEX_URL", INDEX),
        ("PIP_CONFIG_FILE", os.devnull),
        ("PIP_RETRIES", "0"),
        ("UV_DEFAULT_INDEX", INDEX),
        ("UV_NO_CONFIG", "1"),
        ("UV_NO_SOURCES", "1"),
        ("UV_NO_CACHE", "1"),
        ("UV_HTTP_RETRIES", "0"),
        ("HTTPS_PROXY", DOOR),
        ("https_proxy", DOOR),
        ("HTTP_PROXY", DOOR),
        ("http_proxy", DOOR),
        ("ALL_PROXY", DOOR),
        ("all_proxy", DOOR),
        ("no_proxy", ""),
        ("GIT_ALLOW_PROTOCOL", "file"),
    ],
)
def test_what_the_parent_says_of_these_does_not_count(name: str, value: str) -> None:
    assert of({name: "https://example.com/other"})[name] == value
    assert of({})[name] == value


def test_exceptions_from_the_closed_door_are_reported_as_removed() -> None:
    made = child_environment({"no_proxy": "*"}, index_url=INDEX, door_url=DOOR)
    assert made.removed == ("no_proxy",)


def test_everything_else_is_passed_on() -> None:
    parent = {
        "PATH": "/bin",
        "HOME": "/home/ann",
        "VIRTUAL_ENV": "/venv",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PIP_CERT": "/etc/ca.pem",
        "PIP_TARGET": "/srv/target",
        "UV_PYTHON": "3.12",
        "UV_LINK_MODE": "hardlink",
        "UV_EXCLUDE_NEWER": "2026-01-01",
    }
    child = of(parent)
    assert {name: child[name] for name in parent} == parent
    assert child_environment(parent, index_url=INDEX, door_url=DOOR).removed == ()


def test_a_parent_that_is_itself_a_child_gives_the_new_index() -> None:
    once = of({"PATH": "/bin"})
    twice = dict(
        child_environment(once, index_url=INDEX.replace("5000", "6000"), door_url=DOOR).variables
    )
    assert twice["PIP_INDEX_URL"] == twice["UV_DEFAULT_INDEX"] == INDEX.replace("5000", "6000")
    assert set(once) == set(twice)


def test_files_that_variables_name_are_found() -> None:
    parent = {
        "PIP_CONSTRAINT": "a.txt b.txt",
        "PIP_REQUIREMENT": "c.txt",
        "PIP___REQUIREMENT": "g.txt",
        "PIP___CONSTRAINT": "h.txt",
        "UV_CONSTRAINT": "d.txt",
        "UV_OVERRIDE": "e.txt",
        "PIP_TARGET": "f.txt",
    }
    assert files_in_environment(parent, Installer.PIP) == (
        *("a.txt", "b.txt", "c.txt"),
        *("g.txt", "h.txt"),
    )
    assert files_in_environment(parent, Installer.UV) == ("d.txt", "e.txt")


@pytest.mark.parametrize(
    ("installer", "name", "value"),
    [
        (Installer.PIP, "PIP_CONSTRAINT", "a.txt https://example.com/c.txt"),
        (Installer.PIP, "PIP___REQUIREMENT", "https://example.com/r.txt"),
        (Installer.PIP, "PIP_EDITABLE", "git+https://example.com/a.git"),
        (Installer.UV, "UV_BUILD_CONSTRAINT", "https://example.com/c.txt"),
    ],
)
def test_a_variable_that_names_a_url_is_refused_by_name(
    installer: Installer, name: str, value: str
) -> None:
    with pytest.raises(InputError, match=f"^{name}: 'https?:|^{name}: 'git"):
        files_in_environment({name: value}, installer)
