"""An index, its checkpoint, a thief of the online key, and the people who recover."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.ngclient import Updater

from indextrust.ceremony.event_file import read_event, update_event
from indextrust.ceremony.gather import add_signature
from indextrust.ceremony.judge import judge
from indextrust.ceremony.proposal import Change
from indextrust.ceremony.recoverer import Recovery
from indextrust.names import Layout
from indextrust.repository import Repository
from indextrust.repository.checkpoint_make import make_checkpoint
from indextrust.repository.public_keys import keyholder_of
from indextrust.repository.storage import FolderStorage
from indextrust.testing import TamperingServer
from tests.repository.forger import Forger, encoded, listed
from tests.repository.place import Clock, Place

DEMO, DEMO_2 = "demo-1.0-py3-none-any.whl", "demo-2.0-py3-none-any.whl"
LATER, OTHER = "demo-3.0-py3-none-any.whl", "other-1.0-py3-none-any.whl"
NEW = "demo-4.0-py3-none-any.whl"
SUMMARY = "The online key was stolen on 30 January. Run indextrust scan."
FAR = 2**31


@dataclass
class Shop:
    """An index with a checkpoint, and one upload after that."""

    place: Place
    checkpoint: tuple[Path, str]

    @property
    def repository(self) -> Repository:
        """As the operator of a recovery opens it: without the online key."""
        place = self.place
        return Repository.open(place.folder / "index", clock=place.clock)

    @property
    def forger(self) -> Forger:
        return Forger(self.place.public, self.place.online, self.place.clock.now)

    def copied(self, folder: Path) -> Shop:
        return Shop(self.place.copied(folder), self.checkpoint)

    def start(self, *compromised: str) -> Recovery:
        return Recovery.start(
            self.repository,
            compromised or ["timestamp"],
            summary=SUMMARY,
            checkpoint=self.checkpoint,
            now=self.place.clock.now,
        )

    def found(self) -> Recovery:
        """Another process, later."""
        return Recovery.found(self.repository, now=self.place.clock.now)

    def sign(self, *numbers: int) -> None:
        """These keyholders sign the event, each on a machine of their own."""
        path = self.repository.folder / "recovery" / "event.json"
        for number in numbers or (0, 1):
            now, signer = self.place.clock.now, self.place.keyholders[number]
            event = read_event(path)
            signed = add_signature(judge(event, now=now), signer, at=now).event
            update_event(path, lambda _, signed=signed: signed)  # type: ignore[misc]

    def recover(self, new: CryptoSigner) -> Recovery:
        """All of it, with the decisions that are proposed."""
        recovery = self.start().audit().decide().propose(replaced(new))
        self.sign()
        recovery = recovery.finish().install(new)
        self.place.online = new
        return recovery.verify().thaw()

    def served(self) -> dict[str, str]:
        """Target path to SHA-256, as the signed metadata has them."""
        found = {}
        for name, version in self.place.versions().items():
            if name.startswith("bin-"):
                signed = self.place.signed(f"{version}.{name}.json")
                for path, target in signed["targets"].items():
                    found[path] = target["hashes"]["sha256"]
        return found


def replaced(new: CryptoSigner, **more: Any) -> Change:
    """The change that brings this online key."""
    return Change(online=keyholder_of(new.public_key, None, None, "online"), **more)


def open_shop(folder: Path, *, bins: int = 4, layout: Layout = "pep458") -> Shop:
    """Three files when the checkpoint was made, and one since."""
    folder.mkdir()
    clock = Clock(datetime.now(UTC).replace(microsecond=0))
    place = Place(folder, clock, bins=bins, layout=layout)
    place.publish(*(place.wheel("demo", v) for v in ("1.0", "2.0")), place.wheel("other", "1.0"))
    path = folder / "good.checkpoint"
    storage = FolderStorage(place.public, folder / "nowhere", folder / "nowhere")
    made = make_checkpoint(storage, place.roles.root[0], path, place.clock.now)
    place.publish(place.wheel("demo", "3.0"))
    return Shop(place, (path, made.digest))


def rob(shop: Shop, *, version: int | None = FAR) -> dict[str, bytes]:
    """One file altered, one new release, one file taken away, one project added; at 2^31.

    Returns:
        What the thief's files have in them.
    """
    forger = shop.forger
    demo = forger.document("demo")
    demo["files"] = [entry for entry in demo["files"] if entry["filename"] != DEMO_2]
    demo["files"][0] = listed("demo", DEMO, b"altered")
    demo["files"].append(listed("demo", NEW, b"new release"))
    demo["versions"] = ["1.0", "3.0", "4.0"]
    evil = forger.document("evil")
    evil["files"], evil["versions"] = [listed("evil", "evil-1.0.tar.gz", b"evil")], ["1.0"]
    files = {
        f"files/demo/{DEMO}": b"altered",
        f"files/demo/{NEW}": b"new release",
        "files/evil/evil-1.0.tar.gz": b"evil",
    }
    targets: Mapping[str, bytes | None] = {
        **files,
        f"files/demo/{DEMO}.metadata": None,
        f"files/demo/{DEMO_2}": None,
        f"files/demo/{DEMO_2}.metadata": None,
        "simple/demo/index.json": encoded(demo),
        "simple/evil/index.json": encoded(evil),
    }
    forger.sign(targets, version=version)
    return files


class Client:
    """Somebody who uses tuf's own `Updater`, given the first root and nothing else."""

    def __init__(self, shop: Shop, server: TamperingServer, home: Path) -> None:
        self._arguments = (home, server.url, shop.place.roles.root[0])

    def moved_to(self, server: TamperingServer) -> None:
        """The index is served from elsewhere by now."""
        home, _, root = self._arguments
        self._arguments = (home, server.url, root)

    def sees(self, path: str) -> bytes | None:
        """What this client gets now; None if it is told that there is no such target."""
        home, url, root = self._arguments
        (home / "targets").mkdir(parents=True, exist_ok=True)
        updater = Updater(
            *(str(home / "metadata"), f"{url}metadata/", str(home / "targets"), url),
            bootstrap=root,
        )
        info = updater.get_targetinfo(path)
        return None if info is None else Path(updater.download_target(info)).read_bytes()
