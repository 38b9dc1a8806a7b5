"""The room in which the examples of this folder are played: people, each with a folder of theirs.

What is typed is printed with a `$`. In earnest everybody types at the same offline machine, or at
their own; a passphrase is asked there, and here it comes from a file.
"""

import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from indextrust.__main__ import main as indextrust

FIVE = ("Ann", "Bob", "Cid", "Dee", "Eve")


class Room:
    """Folders: one for each keyholder, one for the server, and a stick that goes around.

    Args:
        folder: they are made in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stick = folder / "stick"
        self.stick.mkdir()

    def type(self, *words: object, fails: bool = False) -> None:
        """Type a command; it succeeds, unless it is expected to fail."""
        line = [str(word) for word in words]
        print("$ indextrust", " ".join(line).replace(f"{self.folder}/", ""))
        sys.argv = ["indextrust", *line]
        with contextlib.redirect_stderr(sys.stdout):
            code = indextrust()
        if (code != 0) is not fails:
            raise SystemExit(f"the example did not go as written: exit code {code}")
        if fails:
            print(f"  (refused, exit code {code})")

    def makes_a_key(self, name: str, *options: str) -> Path:
        """Somebody makes a key at home, and hands over its public half on the stick."""
        home = self.folder / name.lower()
        home.mkdir()
        phrase = home / "passphrase"
        phrase.touch(0o600)
        phrase.write_text(f"the passphrase of {name}\n")
        self.type(
            *("key", "generate", home / f"{name.lower()}.pem", *options, "-q"),
            f"--passphrase-file={name.lower()}={phrase}",
        )
        return Path(shutil.copy2(home / f"{name.lower()}.pub.json", self.stick))

    def keyholder(self, name: str) -> Path:
        """A keyholder comes; their public key."""
        return self.makes_a_key(name, f"--keyholder={name}", f"--serial=bag-{name}")

    def server(self, name: str = "online") -> Path:
        """The server gets a key of its own; its public half."""
        return self.makes_a_key(name, "--role=online")

    def signs(self, name: str, event: Path) -> None:
        """A keyholder compares the digest with what the others read, and signs."""
        home = self.folder / name.lower()
        self.type(
            *("ceremony", "sign", event, f"--keyholder={name}"),
            f"--key=file2:{home / name.lower()}.pem",
            *(f"--digest={digest(event)}", f"--passphrase-file={name}={home / 'passphrase'}"),
        )

    def takes(self, finished: Path, index: Path, server: str) -> None:
        """The operator takes a finished event to the server."""
        home = self.folder / server
        self.type(
            *("install", index, finished / "public", f"--signer=file2:{home / server}.pem"),
            f"--passphrase-file=online={home / 'passphrase'}",
        )

    def founded(self, *names: str, threshold: int = 3) -> Path:
        """An index that exists already. Returns the folder of its roles, for the next event."""
        print("# before this example: a genesis")
        event = self.stick / "genesis.json"
        add = [f"--add={self.keyholder(name)}" for name in names]
        online = self.server()
        self.type(
            *("ceremony", "propose", event, *add, f"--threshold={threshold}"),
            *(f"--online={online}", "--bins=16", "--by=Lea", "-q"),
        )
        for name in names[:threshold]:
            self.signs(name, event)
        self.type("ceremony", "finish", event, self.folder / "genesis", "-q")
        print("# the example")
        return self.folder / "genesis" / "full-backup" / "roles"


def digest(event: Path) -> str:
    """The digest of an event, as the people in the room read it to each other from the screen."""
    from indextrust.ceremony.event_file import read_event

    return read_event(event).digest


def play(story: Callable[[Room], None]) -> None:
    """Play one example in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        story(Room(Path(folder)))


def root_versions(folder: Path) -> list[int]:
    """The versions of the roots in a folder."""
    roots = (json.loads(path.read_bytes()) for path in sorted(folder.glob("*.root.json")))
    return [root["signed"]["version"] for root in roots]
