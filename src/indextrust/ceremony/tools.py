"""With what a signing event was made: names and versions, for proposals and transcripts."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

__all__ = ["software", "tools"]

_PACKAGES = ("indextrust", "tuf", "securesystemslib", "cryptography")


def software() -> str:
    """This library, for a proposal."""
    return f"indextrust {_version('indextrust')}"


def tools() -> dict[str, str]:
    """Everything that signing relies on, for a transcript: name to version."""
    return {
        **{name: _version(name) for name in _PACKAGES},
        "Python": platform.python_version(),
        "system": platform.platform(),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "from a source tree"
