"""Project pages as an index publishes them, written by hand."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tests.client.stage import Stage

SDIST = "demo-1.0.tar.gz"
WHL = "demo-1.0-py3-none-any.whl"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def listing(filename: str, data: bytes, **more: Any) -> dict[str, Any]:
    """A file's entry on its project's page."""
    project = filename.partition("-")[0]
    return {
        "core-metadata": False,
        "filename": filename,
        "hashes": {"sha256": sha256(data)},
        "size": len(data),
        "upload-time": "2026-01-01T00:00:00Z",
        "url": f"../../files/{project}/{filename}",
        "yanked": False,
        **more,
    }


def page(project: str, files: list[dict[str, Any]], **more: Any) -> bytes:
    """A project's document."""
    tree = {
        "files": files,
        "meta": {"api-version": "1.4"},
        "name": project,
        "versions": ["1.0"],
        **more,
    }
    return json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()


def put(stage: Stage, files: dict[str, bytes], *, as_targets: bool = True) -> None:
    """Publish the project ``demo`` with these files and no others."""
    stage.repository.targets["bins"].signed.targets.clear()
    for filename, data in files.items():
        stage.add(f"files/demo/{filename}", data)
        if not as_targets:
            del stage.repository.targets["bins"].signed.targets[f"files/demo/{filename}"]
    entries = [listing(filename, data) for filename, data in sorted(files.items())]
    stage.add("simple/demo/index.json", page("demo", entries))
    stage.publish()
