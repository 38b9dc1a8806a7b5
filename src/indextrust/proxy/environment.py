"""The child's environment: the verified index, and no way past it. Pure.

Three kinds of variables are set or taken away.

* *Where to install from.* pip and uv are told of the proxy; every variable that names another
  place is removed, and configuration files are turned off (`PIP_CONFIG_FILE` as the null device
  is the one way for pip; `UV_NO_CONFIG` and `UV_NO_SOURCES` for uv).
* *The closed door.* The proxy variables send every request to our own proxy, loopback
  addresses too. It answers those for the index, refuses all others and notes them. That stops
  what no command line shows: a direct URL in a package's metadata, a download in a build script.
  All that could switch it off goes: exceptions (``no_proxy``), other hosts' proxies, in any case
  of their letters, and ``REQUEST_METHOD``, which makes uv take itself for a CGI script and pass
  over ``HTTP_PROXY``. git is held to local repositories, as ssh knows no such proxy. It is no
  sandbox: a program that ignores these variables is not held by them; hg, svn and bzr over ssh
  are such programs.
* *Caches and patience.* An address is used once (its port and token are new in every run), so a
  cache that is keyed by URL can't hit, only grow; it is turned off, and nothing that an earlier
  run left behind can be installed by this one. The proxy answers when all of a file is verified,
  so the child waits longer than it would for a first byte; it does not retry, the proxy does.

Variables are set for pip and for uv alike, since a build run by one may call the other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from indextrust.proxy.arguments import Installer, check_words

__all__ = ["ChildEnvironment", "child_environment", "files_in_environment"]

_PATIENCE = "3600"  # seconds without a byte; the client behind the proxy has its own deadlines
_PIP_REMOVED = frozenset(
    {
        *("index-url", "pypi-url", "extra-index-url", "find-links", "no-index"),
        *("trusted-host", "proxy", "no-proxy-env", "isolated", "config-file"),
        *("cache-dir", "no-cache-dir", "timeout", "default-timeout"),
    }
)
_PIP_FILES = {
    "requirement": "--requirement",
    "constraint": "--constraint",
    "build-constraint": "--build-constraint",
    "editable": "--editable",
}
_UV_REMOVED = frozenset(
    {
        *("UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX"),
        *("UV_TORCH_BACKEND", "UV_CONFIG_FILE", "UV_INSECURE_HOST", "UV_CACHE_DIR"),
        *("UV_REQUEST_TIMEOUT", "HTTP_TIMEOUT"),
    }
)
_CGI = "REQUEST_METHOD"
_NO_PROXY = "no_proxy"
_UV_FILES = {
    "UV_CONSTRAINT": "--constraints",
    "UV_BUILD_CONSTRAINT": "--build-constraints",
    "UV_OVERRIDE": "--overrides",
    "UV_EXCLUDE": "--excludes",
}
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


@dataclass(frozen=True)
class ChildEnvironment:
    """An environment in which pip and uv install from one index only.

    Args:
        variables: all of it.
        removed: names whose values the child was not given, nor others of ours (an empty
            ``no_proxy`` apart), sorted. Not their values, which may hold passwords.
    """

    variables: Mapping[str, str]
    removed: tuple[str, ...]


def child_environment(
    parent: Mapping[str, str], *, index_url: str, door_url: str
) -> ChildEnvironment:
    """Derive the child's environment.

    Args:
        parent: the environment to start from.
        index_url: the verified simple index, on loopback.
        door_url: the HTTP proxy that refuses everything.
    """
    variables = {name: value for name, value in parent.items() if not _is_removed(name)}
    variables |= {
        "PIP_INDEX_URL": index_url,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_CACHE_DIR": "1",
        "PIP_TIMEOUT": _PATIENCE,
        "PIP_RETRIES": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",  # it asks the index for pip's own page
        "UV_DEFAULT_INDEX": index_url,
        "UV_NO_CONFIG": "1",
        "UV_NO_SOURCES": "1",
        "UV_NO_CACHE": "1",
        "UV_HTTP_TIMEOUT": _PATIENCE,
        "UV_HTTP_RETRIES": "0",
    }
    variables.setdefault("UV_LINK_MODE", "copy")  # its cache is a passing folder elsewhere
    variables["GIT_ALLOW_PROTOCOL"] = "file"  # git over ssh knows no HTTP proxy
    for name in _PROXIES:
        variables[name] = variables[name.upper()] = door_url
    replaced = set(variables)
    variables[_NO_PROXY] = ""  # no exceptions: not the system's either
    return ChildEnvironment(variables, tuple(sorted(set(parent) - replaced)))


def files_in_environment(parent: Mapping[str, str], installer: Installer) -> tuple[str, ...]:
    """The requirements and constraints files that variables name, as written.

    Raises:
        InputError: a variable that names a URL.
    """
    files: list[str] = []
    for name, value in parent.items():
        if installer is Installer.PIP:
            option = _PIP_FILES.get(_pip_option(name) or "")
        else:
            option = _UV_FILES.get(name)
        if option is not None:
            words = [word for part in value.split() for word in (option, part)]
            found = check_words(words, installer, where=name)
            files.extend(file for _, file in found.files)
    return tuple(files)


def _is_removed(name: str) -> bool:
    # Python's getproxies() reads NAME_proxy in any case, and requests takes even a URL as NAME.
    return (
        name in _UV_REMOVED
        or name.upper() == _CGI
        or name.lower().endswith("_proxy")
        or _pip_option(name) in _PIP_REMOVED
    )


def _pip_option(name: str) -> str | None:
    """The option that pip takes the variable `name` for, without its dashes.

    Source: pip's ``configuration._normalize_name``.
    """
    if not name.startswith("PIP_"):
        return None
    return name.removeprefix("PIP_").lower().replace("_", "-").removeprefix("--")
