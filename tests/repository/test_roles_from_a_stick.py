"""A folder of roles on somebody's stick: pipes, links and huge files are refused at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from indextrust.errors import IndextrustError
from indextrust.repository.roles import SignedRoles


@pytest.mark.timeout(5)
@pytest.mark.parametrize("what", ["pipe", "link to another file", "huge"])
def test_what_is_no_role_is_not_read(what: str, tmp_path: Path) -> None:
    for name in ("1.root.json", "1.targets.json", "1.bins.json"):
        (tmp_path / name).write_text("{}")
    odd = tmp_path / "2.root.json"
    if what == "pipe":
        os.mkfifo(odd)
    elif what == "huge":
        with odd.open("wb") as file:
            file.truncate(1 << 28)
    else:
        odd.symlink_to("/etc/passwd")
    with pytest.raises(IndextrustError, match=r"2\.root\.json"):
        SignedRoles.load(tmp_path)
