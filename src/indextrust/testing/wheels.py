"""Wheels made by hand: small honest ones, and the ones an attacker makes of them.

They are real: pip and uv install them, without a network.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from packaging.utils import canonicalize_name

__all__ = ["WHEEL_FILE", "core_metadata", "make_wheel", "malicious_wheel", "write_zip"]

WHEEL_FILE = "Wheel-Version: 1.0\nGenerator: indextrust\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
"""The file ``WHEEL`` of a wheel without compiled parts."""

# Fixed, so that files of the same content have the same digest.
_TIME = (2026, 1, 1, 0, 0, 0)


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


def malicious_wheel(honest: bytes, module: str, payload: str) -> bytes:
    """A wheel that installs like `honest`, with `payload` at the end of `module`.

    Args:
        honest: a wheel's bytes.
        module: the file inside it to add to, as ``flask/__init__.py``.
        payload: Python source.

    Returns:
        A complete wheel: its RECORD agrees with its files, its METADATA is the honest one.

    Raises:
        KeyError: the wheel has no such file.
    """
    with zipfile.ZipFile(io.BytesIO(honest)) as archive:
        files = {info.filename: archive.read(info) for info in archive.infolist()}
    files[module] = files[module] + b"\n" + payload.encode("utf-8") + b"\n"
    record = next(name for name in files if name.endswith(".dist-info/RECORD"))
    lines = [
        _record_line(name, files[name]) if name == module else line
        for line in files[record].decode("utf-8").splitlines()
        for name in [line.split(",", 1)[0]]
    ]
    files[record] = ("\n".join(lines) + "\n").encode("utf-8")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


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
        f"{info}/WHEEL": WHEEL_FILE.encode(),
    }
    record = "\n".join(_record_line(path, data) for path, data in members.items())
    members[f"{info}/RECORD"] = f"{record}\n{info}/RECORD,,\n".encode()
    return write_zip(folder / f"{module}-{version}-py3-none-any.whl", members)


def _record_line(name: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode("ascii")
    return f"{name},sha256={digest},{len(data)}"
