"""Core metadata of a file under another spelling of its name."""

from __future__ import annotations

import pytest

from indextrust.errors import ChangedArtifactError
from indextrust.trust import Unchanged
from tests.client.pages import WHL, listing, page, sha256
from tests.client.stage import Stage
from tests.client.test_index import GOOD, User

HONEST = b"Metadata-Version: 2.1\n"
EVIL = b"Metadata-Version: 2.1\nRequires-Dist: evil\n"


def publish(stage: Stage, filename: str, text: bytes) -> None:
    entries = [listing(filename, GOOD, **{"core-metadata": {"sha256": sha256(text)}})]
    stage.repository.targets["bins"].signed.targets.clear()
    stage.add(f"files/demo/{filename}", GOOD)
    stage.add(f"files/demo/{filename}.metadata", text)
    stage.add(
        "simple/demo/index.json",
        page("demo", [{**entries[0], "url": f"../../files/demo/{filename}"}]),
    )
    stage.publish()


@pytest.mark.parametrize("other", ["Demo-1.0-py3-none-any.whl", "demo-1.0.0-py3-none-any.whl"])
def test_a_respelled_name_gives_a_thief_no_new_core_metadata(stage: Stage, other: str) -> None:
    """The thief of the online key: the same wheel, so it is "unchanged", and other dependencies."""
    user = User(stage, "user")
    publish(stage, WHL, HONEST)
    client = user.client()
    assert client.metadata(client.file(WHL)) == HONEST
    publish(stage, other, EVIL)
    for _ in range(2):  # also by a later run
        client = user.client()
        listed = client.file(other)
        assert isinstance(listed.verdict, Unchanged)
        with pytest.raises(ChangedArtifactError, match=r"\.whl\.metadata: changed"):
            client.metadata(listed)
    publish(stage, other, HONEST)
    client = user.client()
    assert client.metadata(client.file(other)) == HONEST
