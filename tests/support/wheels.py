"""Small real distributions, made on the spot: pip and uv install them without a network.

A wheel has a module whose ``VERSION`` is its version. An sdist carries its own build backend, so
that building it needs nothing but Python.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from packaging.utils import canonicalize_name

from indextrust.testing.wheels import WHEEL_FILE, core_metadata, make_wheel, write_zip

__all__ = ["core_metadata", "make_sdist", "make_wheel", "write_tar", "write_zip"]

_TAR_TIME = 1_767_225_600  # 2026-01-01

_BACKEND = """
import zipfile
from pathlib import Path

NAME, VERSION, MODULE = {name!r}, {version!r}, {module!r}


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    wheel = f"{{NAME}}-{{VERSION}}-py3-none-any.whl"
    info = f"{{NAME}}-{{VERSION}}.dist-info"
    with zipfile.ZipFile(Path(wheel_directory) / wheel, "w") as archive:
        archive.write(f"{{MODULE}}.py")
        archive.write("PKG-INFO", f"{{info}}/METADATA")
        archive.writestr(f"{{info}}/WHEEL", {wheel_file!r})
        archive.writestr(f"{{info}}/RECORD", "")
    return wheel
"""
_PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    """A gzipped tar archive of exactly these members."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), _TAR_TIME
            archive.addfile(member, io.BytesIO(data))
    path.write_bytes(gzip.compress(plain.getvalue(), mtime=_TAR_TIME))
    return path


def make_sdist(
    folder: Path,
    name: str,
    version: str,
    *,
    requires_python: str | None = None,
    content: str = "",
) -> Path:
    """An sdist ``name-version.tar.gz`` with one module and its own build backend.

    Arguments as for `make_wheel`.
    """
    module = canonicalize_name(name).replace("-", "_")
    top = f"{module}-{version}"
    backend = _BACKEND.format(name=module, version=version, module=module, wheel_file=WHEEL_FILE)
    members = {
        f"{top}/PKG-INFO": core_metadata(name, version, requires_python=requires_python),
        f"{top}/pyproject.toml": _PYPROJECT.encode(),
        f"{top}/backend.py": backend.encode(),
        f"{top}/{module}.py": f"VERSION = {version!r}\n{content}".encode(),
    }
    return write_tar(folder / f"{top}.tar.gz", members)
