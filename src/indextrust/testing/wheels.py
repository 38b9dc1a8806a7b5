"""Wheels made by hand, the way an attacker makes them."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile

__all__ = ["malicious_wheel"]


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


def _record_line(name: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode("ascii")
    return f"{name},sha256={digest},{len(data)}"
