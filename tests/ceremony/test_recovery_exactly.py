"""Whatever a thief of the online key writes, recovery brings back exactly what was good."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner

from indextrust.repository import Repository
from indextrust.repository.checkpoint import read_checkpoint
from tests.ceremony.recovery_room import DEMO, DEMO_2, FAR, LATER, OTHER, Shop, open_shop
from tests.repository.forger import encoded, listed

NAMES = {
    "demo": (DEMO, DEMO_2, LATER, "demo-9.0.tar.gz"),
    "other": (OTHER, "other-2.0.tar.gz"),
    "evil": ("evil-1.0.tar.gz",),
}
WRITES = st.tuples(
    st.sampled_from([(project, name) for project, names in NAMES.items() for name in names]),
    st.sampled_from([b"first", b"second", None]),
    st.booleans(),
    st.sampled_from([None, 1000, FAR, 2**40]),
)
Write = tuple[tuple[str, str], bytes | None, bool, int | None]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return open_shop(tmp_path_factory.mktemp("exactly") / "shop")


def write(shop: Shop, what: Write) -> None:
    """One forgery: a file altered, added or taken away, in bins, page or both."""
    (project, name), data, in_the_page, version = what
    path = f"files/{project}/{name}"
    targets = {path: data}
    if in_the_page:
        document = shop.forger.document(project)
        document["files"] = [e for e in document["files"] if e["filename"] != name]
        if data is not None:
            document["files"].append(listed(project, name, data))
        targets[f"simple/{project}/index.json"] = encoded(document)
    shop.forger.sign(targets, version=version)


def recovers_exactly(opened: Shop, writes: Sequence[Write]) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        shop = opened.copied(folder / "copy")
        good = shop.served()
        top = 0
        for each in writes:
            write(shop, each)
            top = max(top, *shop.place.versions().values())
        recovery = shop.recover(CryptoSigner.generate_ed25519())
        assert recovery.step == "done"
        assert shop.served() == good
        assert shop.place.versions()["timestamp"] > shop.place.signed("2.root.json")["version"]
        assert max(shop.place.versions().values()) > top
        assert shop.repository.audit().clean
        assert shop.repository.check().clean
    finally:
        shutil.rmtree(folder)


@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(writes=st.lists(WRITES, min_size=1, max_size=5))
def test_recovery_restores_exactly_what_was_good(opened: Shop, writes: Sequence[Write]) -> None:
    recovers_exactly(opened, writes)


def rebuilt_and_recovered(opened: Shop, writes: Sequence[Write]) -> None:
    """The database is gone as well: only the checkpoint and the signed metadata are left."""
    folder = Path(tempfile.mkdtemp())
    try:
        shop = opened.copied(folder / "copy")
        for each in writes:
            write(shop, each)
        (shop.place.folder / "index" / "state.sqlite").unlink()
        root, clock = shop.place.roles.root[0], shop.place.clock
        with read_checkpoint(*shop.checkpoint) as good:
            expected = {name: target.sha256 for name, target in good.entries()}
            Repository.rebuild(shop.place.folder / "index", root, clock=clock, good=good)
        assert shop.recover(CryptoSigner.generate_ed25519()).step == "done"
        served = shop.served()
        for project in {"other", "evil"} - {path.split("/")[1] for path in expected}:
            served.pop(f"simple/{project}/index.json", None)  # without files it says nothing
        if f"files/demo/{LATER}" not in served:  # nobody could tell, so it went
            assert served == expected
        assert shop.repository.check().clean
    finally:
        shutil.rmtree(folder)


@pytest.mark.long
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(writes=st.lists(WRITES, min_size=1, max_size=6))
def test_without_the_database_exactly_the_checkpoint_comes_back(
    opened: Shop, writes: Sequence[Write]
) -> None:
    rebuilt_and_recovered(opened, writes)


@pytest.mark.long
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(writes=st.lists(WRITES, min_size=1, max_size=8))
def test_recovery_restores_exactly_what_was_good_at_length(
    opened: Shop, writes: Sequence[Write]
) -> None:
    recovers_exactly(opened, writes)
