"""Three clients of indextrust through a theft: who saw only good, who saw bad, who comes after."""

from __future__ import annotations

from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from indextrust.client import TrustedIndexes
from indextrust.errors import KnownBadArtifactError, RefusedError
from indextrust.testing import TamperingServer
from indextrust.trust import NotListed
from tests.ceremony.recovery_room import DEMO, NEW, Shop, open_shop, rob


class Installer:
    """An installer that uses indextrust, with a home of its own."""

    def __init__(self, shop: Shop, server: TamperingServer, home: Path) -> None:
        self._home = home
        (home / "downloads").mkdir(parents=True)
        self._indexes = TrustedIndexes(home / "trust")
        self._indexes.add("internal", server.url, shop.place.roles.root[0])

    def gets(self, filename: str) -> bytes | None:
        """The bytes of a file; None if there is no such one."""
        client = self._indexes.client("internal")
        client.refresh()
        page = client.project("demo")
        assert not isinstance(page, NotListed)
        for listed in page.files:
            if listed.file.filename == filename:
                return client.download(listed, self._home / "downloads").read_bytes()
        return None


def test_all_three_converge_and_who_saw_bad_needs_no_person(tmp_path: Path) -> None:
    shop = open_shop(tmp_path / "shop")
    honest = (shop.place.public / f"files/demo/{DEMO}").read_bytes()
    with TamperingServer(shop.place.public) as server:
        saw_good, saw_bad = (Installer(shop, server, tmp_path / name) for name in ("good", "bad"))
        assert saw_good.gets(DEMO) == honest
        rob(shop)
        assert saw_bad.gets(DEMO) == b"altered"
        with pytest.raises(RefusedError):
            saw_good.gets(DEMO)
        shop.recover(CryptoSigner.generate_ed25519())
        for installer in (saw_good, saw_bad, Installer(shop, server, tmp_path / "fresh")):
            assert installer.gets(DEMO) == honest
            assert installer.gets(NEW) is None


def test_a_thief_who_comes_again_with_the_same_file_is_known(tmp_path: Path) -> None:
    """The new online key is stolen too: what the record calls bad stays bad."""
    shop = open_shop(tmp_path / "shop")
    rob(shop)
    shop.recover(CryptoSigner.generate_ed25519())
    rob(shop)
    with TamperingServer(shop.place.public) as server, pytest.raises(KnownBadArtifactError):
        Installer(shop, server, tmp_path / "fresh").gets(DEMO)
