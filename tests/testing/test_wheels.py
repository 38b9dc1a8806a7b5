"""A malicious wheel installs like the honest one: its RECORD agrees with its files."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile

from indextrust.testing import malicious_wheel


def honest_wheel() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("demo/__init__.py", "KIND = 'honest'\n")
        archive.writestr("demo-1.0.dist-info/METADATA", "Name: demo\nVersion: 1.0\n")
        archive.writestr(
            "demo-1.0.dist-info/RECORD",
            "demo/__init__.py,sha256=old,16\n"
            "demo-1.0.dist-info/METADATA,sha256=kept,25\n"
            "demo-1.0.dist-info/RECORD,,\n",
        )
    return out.getvalue()


def test_the_payload_is_added_and_recorded_and_nothing_else_changes() -> None:
    wheel = malicious_wheel(honest_wheel(), "demo/__init__.py", "KIND = 'stolen'")
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        module = archive.read("demo/__init__.py")
        record = archive.read("demo-1.0.dist-info/RECORD").decode().splitlines()
        metadata = archive.read("demo-1.0.dist-info/METADATA")
    namespace: dict[str, str] = {}
    exec(module, namespace)  # noqa: S102 - what an import would do
    assert namespace["KIND"] == "stolen"
    digest = base64.urlsafe_b64encode(hashlib.sha256(module).digest()).rstrip(b"=").decode()
    assert record == [
        f"demo/__init__.py,sha256={digest},{len(module)}",
        "demo-1.0.dist-info/METADATA,sha256=kept,25",
        "demo-1.0.dist-info/RECORD,,",
    ]
    assert metadata == b"Name: demo\nVersion: 1.0\n"
