"""Small real distributions, made on the spot: pip and uv install them without a network.

A wheel has a module whose ``VERSION`` is its version. An sdist carries its own build backend, so
that building it needs nothing but Python.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from packaging.utils import canonicalize_name

__all__ = ["core_metadata", "make_sdist", "make_wheel", "write_tar", "write_zip"]

# Fixed, so that files of the same content have the same digest.
_TIME = (2026, 1, 1, 0, 0, 0)
_TAR_TIME = 1_767_225_600  # the same, in seconds

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
_WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def core_metadata(
    name: str,
    version: str,
    *,
    requires_python: str | None = None,
    requires: Sequence[str] = (),
    description: str = "",
) -> bytes:
    """METADATA or PKG-INFO, in Metadata-Version 2.2."""
    lines = ["Metadata-Version: 2.2", f"Name: {name}", f"Version: {version}"]
    if requires_python is not None:
        lines.append(f"Requires-Python: {requires_python}")
    lines.extend(f"Requires-Dist: {requirement}" for requirement in requires)
    return ("\n".join(lines) + f"\n\n{description}\n").encode()


def write_zip(path: Path, members: Mapping[str, bytes]) -> Path:
    """A zip archive of exactly these members."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, _TIME), data, zipfile.ZIP_DEFLATED)
    return path


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


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    *,
    requires_python: str | None = None,
    requires: Sequence[str] = (),
    content: str = "",
    description: str = "",
) -> Path:
    """A wheel ``name-version-py3-none-any.whl`` with one module.

    Args:
        folder: where to write it.
        name: as in METADATA; the file name and the module's have its escaped forms.
        version: normalised.
        requires_python: a specifier.
        requires: requirements.
        content: Python source at the end of the module; other content, other digest.
        description: of METADATA.
    """
    module = canonicalize_name(name).replace("-", "_")
    info = f"{module}-{version}.dist-info"
    members = {
        f"{module}.py": f"VERSION = {version!r}\n{content}".encode(),
        f"{info}/METADATA": core_metadata(
            name,
            version,
            requires_python=requires_python,
            requires=requires,
            description=description,
        ),
        f"{info}/WHEEL": _WHEEL.encode(),
    }
    record = "".join(f"{path},{_digest(data)},{len(data)}\n" for path, data in members.items())
    members[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    return write_zip(folder / f"{module}-{version}-py3-none-any.whl", members)


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
    backend = _BACKEND.format(name=module, version=version, module=module, wheel_file=_WHEEL)
    members = {
        f"{top}/PKG-INFO": core_metadata(name, version, requires_python=requires_python),
        f"{top}/pyproject.toml": _PYPROJECT.encode(),
        f"{top}/backend.py": backend.encode(),
        f"{top}/{module}.py": f"VERSION = {version!r}\n{content}".encode(),
    }
    return write_tar(folder / f"{top}.tar.gz", members)


def _digest(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"
