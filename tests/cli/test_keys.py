"""Keys at a terminal: every prompt, every way to get it wrong, and where the secret never is.

The terminal is a real one (a pseudo-terminal), the tokens are real (SoftHSM).
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pexpect
import pytest
from securesystemslib.signer import CryptoSigner

from indextrust.ceremony import BinScheme, generate_key, genesis, load_signer
from indextrust.ceremony.keyholders import open_signer, read_public
from indextrust.repository import Repository
from indextrust.repository.hsm import TokenSigner, read_token_key
from tests.cli.place import Place
from tests.support.softhsm import Token, new_token
from tests.support.wheels import make_wheel

SECRET = "correct-horse-9-ünlü"
WRONG = "wrong-horse-9"


class Terminal:
    """A command at a terminal, and a person in front of it.

    Args:
        place: where it runs.
        arguments: what stands after ``indextrust``.
    """

    def __init__(self, place: Place, *arguments: str | Path) -> None:
        self.shown = ""
        self._child: pexpect.spawn[str] = pexpect.spawn(
            sys.executable,
            ["-m", "indextrust", *map(str, arguments)],
            env={**os.environ, "INDEXTRUST_HOME": str(place.home)},
            cwd=str(place.folder),
            encoding="utf-8",
            timeout=120,
        )

    def asks(self, prompt: str) -> None:
        """Wait for a prompt (a pattern)."""
        self._child.expect(prompt + r"[^\n]*: ")
        self.shown += str(self._child.before) + str(self._child.after)

    def type(self, text: str) -> None:
        self._child.sendline(text)

    def press(self, control: str) -> None:
        self._child.sendcontrol(control)

    def process(self) -> bytes:
        """What other programs of this user see of the process."""
        root = Path(f"/proc/{self._child.pid}")
        return (root / "cmdline").read_bytes() + (root / "environ").read_bytes()

    def ends(self, code: int) -> str:
        """Wait for the end; everything shown from the first to the last character."""
        self._child.expect(pexpect.EOF)
        self.shown += str(self._child.before)
        self._child.close()
        assert self._child.exitstatus == code, self.shown
        assert "Traceback" not in self.shown
        return self.shown


def no_secret(place: Place, *seen: str | bytes) -> None:
    """No secret that was typed is in what was seen, nor in any file."""
    files = [path.read_bytes() for path in place.folder.rglob("*") if path.is_file()]
    for text in (*seen, *files):
        data = text.encode() if isinstance(text, str) else text
        for secret in (SECRET, WRONG):
            assert secret.encode() not in data


GENERATE = ("key", "generate", "ann.pem", "--keyholder", "Ann Árvai", "--serial", "USB 7")


def test_a_key_is_made_and_its_passphrase_asked_twice(place: Place) -> None:
    person = Terminal(place, *GENERATE)
    person.asks("Passphrase for the new key 'ann'")
    person.type(SECRET)
    person.asks("[Rr]epeat")
    no_secret(place, person.process())
    person.type(SECRET)
    shown = person.ends(0)
    no_secret(place, shown)
    path = place.folder / "ann.pem"
    holder = read_public(path.with_suffix(".pub.json"))
    assert load_signer(path, SECRET).public_key == holder.key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for text in (holder.key.keyid, "root key of Ann Árvai, serial USB 7", "read aloud"):
        assert text in shown


def test_a_passphrase_that_is_repeated_otherwise_is_asked_anew(place: Place) -> None:
    before = place.digest()
    person = Terminal(place, *GENERATE)
    person.asks("new key 'ann'")
    person.type(SECRET)
    person.asks("[Rr]epeat")
    person.type(WRONG)
    person.asks("do not match.*new key 'ann'")
    assert place.digest() == before
    person.type(SECRET)
    person.asks("[Rr]epeat")
    person.type(SECRET)
    no_secret(place, person.ends(0))
    assert load_signer(place.folder / "ann.pem", SECRET)


def test_an_empty_passphrase_makes_no_key(place: Place) -> None:
    before = place.digest()
    person = Terminal(place, *GENERATE)
    person.asks("new key 'ann'")
    person.type("")
    person.asks("[Rr]epeat")
    person.type("")
    assert "got an empty one" in person.ends(32)
    assert place.digest() == before


@pytest.mark.parametrize("control", ["c", "d"])
@pytest.mark.parametrize("at", ["first", "half", "repeat"])
def test_an_interrupted_entry_makes_no_key(place: Place, control: str, at: str) -> None:
    before = place.digest()
    person = Terminal(place, *GENERATE)
    person.asks("new key 'ann'")
    if at == "repeat":
        person.type(SECRET)
        person.asks("[Rr]epeat")
    elif at == "half" and control == "c":
        person._child.send(SECRET[:8])
    person.press(control)
    no_secret(place, person.ends(130))
    assert place.digest() == before


@dataclass(frozen=True)
class Opening:
    """A command that opens a key, and what it asks for.

    Args:
        place: where.
        arguments: the command.
        prompt: what it asks.
        secret: what opens the key.
        complaint: what it says of a wrong one.
    """

    place: Place
    arguments: tuple[str | Path, ...]
    prompt: str
    secret: str
    complaint: str


def _file(index: Place) -> Opening:
    """Publishing with the online key in a file."""
    index.must("add", index.repository, make_wheel(index.dist, "demo", "2.0"))
    arguments = ("publish", index.repository)
    secret = "the passphrase of online"
    return Opening(index, arguments, "Enter the passphrase of .*online.pem", secret, "wrong passph")


def _token(index: Place) -> Opening:
    """Publishing with the online key in a token."""
    token = new_token("server", SECRET)
    token.add_key()
    key, _ = read_token_key(token.uri())
    online = open_signer(token.uri(), key, lambda _: token.pin)
    assert isinstance(online, TokenSigner)
    people = [CryptoSigner.generate_ed25519() for _ in range(2)]
    roles = genesis(people, 2, key, bins=BinScheme.of(2), now=datetime.now(UTC))
    folder = index.folder / "another"
    Repository.create(folder, roles, online=online)
    online.close()
    index.must("add", folder, make_wheel(index.dist, "demo", "2.0"))
    arguments = ("publish", folder, "--signer", token.uri())
    return Opening(index, arguments, f"Enter the PIN of token '{token.label}'", SECRET, "wrong PIN")


@pytest.fixture(params=[_file, _token], ids=["passphrase", "PIN"])
def opening(request: pytest.FixtureRequest, index: Place) -> Opening:
    make: Callable[[Place], Opening] = request.param
    return make(index)


def test_a_wrong_secret_is_asked_for_again_and_nothing_is_signed_until_it_is_right(
    opening: Opening,
) -> None:
    before = opening.place.digest()
    person = Terminal(opening.place, *opening.arguments)
    person.asks(opening.prompt)
    for wrong in (WRONG, "", "x" * 300):
        person.type(wrong)
        person.asks(opening.prompt)
    assert opening.place.digest() == before
    assert opening.complaint in person.shown
    no_secret(opening.place, person.process())
    person.type(opening.secret)
    shown = person.ends(0)
    assert "published snapshot" in shown
    assert opening.secret not in shown
    no_secret(opening.place, shown)


@pytest.mark.parametrize("after", ["at once", "a wrong one"])
def test_ctrl_c_signs_nothing(opening: Opening, after: str) -> None:
    before = opening.place.digest()
    person = Terminal(opening.place, *opening.arguments)
    person.asks(opening.prompt)
    if after == "a wrong one":
        person.type(WRONG)
        person.asks(opening.prompt)
    person.press("c")
    no_secret(opening.place, person.ends(130))
    assert opening.place.digest() == before


def test_without_a_terminal_a_wrong_pin_is_the_end(index: Place) -> None:
    opening = _token(index)
    phrase = index.folder / "phrases" / "online"
    phrase.write_text("no pin\n")
    before = index.digest()
    done = index.run(*opening.arguments, *index.passphrases("online"))
    assert (done.returncode, "wrong PIN of token" in done.stderr) == (32, True)
    assert "no pin" not in done.stderr
    done = index.run(*opening.arguments)
    assert (done.returncode, "run this at a terminal" in done.stderr) == (32, True)
    assert index.digest() == before


@pytest.fixture(scope="module")
def token() -> Token:
    token = new_token("Ann")
    token.add_key()
    return token


def test_a_tokens_key_comes_in_without_a_pin_and_only_once(place: Place, token: Token) -> None:
    ann = place.folder / "ann.pub.json"
    place.must("key", "import", token.uri(), ann, "--keyholder=Ann")
    holder = read_public(ann)
    assert (holder.serial, holder.key.scheme) == (token.serial, "ecdsa-sha2-nistp256")
    before = place.digest()
    bob = place.folder / "bob.pub.json"
    done = place.run("key", "import", token.uri(), bob, "--keyholder=Bob", "--serial=1")
    assert (done.returncode, "Ann and Bob bring the same key" in done.stderr) == (30, True)
    assert place.digest() == before


def test_a_key_goes_out_as_pem_and_comes_in_again_as_the_same_key(place: Place) -> None:
    (place.folder / "phrases" / "ann").write_text("a passphrase\n")
    (place.folder / "phrases" / "ann").chmod(0o600)
    place.must(*GENERATE, "--type=ecdsa-p384", *place.passphrases("ann"))
    public = place.folder / "ann.pub.json"
    pem = place.folder / "ann.pub.pem"
    pem.write_text(place.must("key", "export", public))
    assert json.loads(place.must("key", "export", public, "--json"))["pem"] == pem.read_text()
    other = place.folder / "other"
    other.mkdir()
    holder = ("--keyholder=Ann Árvai", "--serial=USB 7")
    place.must("key", "import", pem, other / "x.pub.json", *holder)
    key = read_public(public).key
    assert read_public(other / "x.pub.json").key == key
    exported = json.loads(place.must("key", "export", public, "--format=tuf"))
    assert exported == {key.keyid: key.to_dict()}
    before = place.digest()
    done = place.run("key", "show", public, other / "x.pub.json")
    assert (done.returncode, "bring the same key" in done.stderr) == (30, True)
    (shown,) = json.loads(place.must("key", "show", public, "--json"))["keys"]
    assert (shown["keyid"], shown["keyholder"], shown["serial"], shown["role"]) == (
        *(key.keyid, "Ann Árvai", "USB 7", "root"),
    )
    assert (shown["scheme"], shown["profiles"]) == ("ecdsa-sha2-nistp384", ["hsm"])
    assert place.digest() == before


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("generate", "ann.pem"), 2, "--keyholder"),
        (("generate", "ann", "--keyholder=Ann"), 2, "ends in '.pem'"),
        (("generate", "ann.pem", "--keyholder=Ann", "--type=rsa"), 2, "'rsa' is not one of"),
        (("generate", "none/ann.pem", "--keyholder=Ann"), 32, "--passphrase-file ann=PATH"),
        (("import", "ann.pem", "ann.json", "--keyholder=Ann"), 2, "ends in '.pub.json'"),
        (("import", "no.pem", "ann.pub.json", "--keyholder=Ann"), 31, "No such file"),
        (("import", "hsm:?pin=1", "a.pub.json", "--keyholder=A"), 2, "can't use the key URI"),
        (("show", "no.pub.json"), 31, "No such file"),
        (("export", "no.pub.json"), 31, "No such file"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    place: Place, arguments: tuple[str, ...], code: int, complaint: str
) -> None:
    before = place.digest()
    done = place.run("key", *arguments)
    assert (done.returncode, complaint in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
    assert place.digest() == before


# -- halves --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def soft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rehearsal's key."""
    path = tmp_path_factory.mktemp("soft") / "ann.pem"
    generate_key(path, SECRET, keyholder="Ann", rehearsal=True)
    return path


def _lost_half(place: Place, soft: Path) -> tuple[str, ...]:
    """Ann's public half was lost; the words that make it anew."""
    shutil.copy2(soft, place.folder)
    return ("key", "import", "ann.pem", "ann.pub.json", "--keyholder=Ann")


def test_a_lost_public_half_is_made_anew_from_the_private_one(place: Place, soft: Path) -> None:
    words = _lost_half(place, soft)
    done = place.run(*GENERATE, "--passphrase-file=ann=phrases/online")
    assert (done.returncode, "`indextrust key import` makes it anew" in done.stderr) == (31, True)
    before = place.digest()
    done = place.run(*words)
    assert (done.returncode, "run this at a terminal" in done.stderr) == (32, True)
    person = Terminal(place, *words)
    person.asks("Enter the passphrase of ann.pem")
    person.type(WRONG)
    person.asks("Enter the passphrase of ann.pem")
    assert place.digest() == before
    person.type(SECRET)
    no_secret(place, person.ends(0))
    assert "REHEARSAL: root key of Ann" in person.shown
    assert read_public(place.folder / "ann.pub.json") == read_public(soft.with_suffix(".pub.json"))


@pytest.mark.parametrize("from_", ["token", "file"])
@pytest.mark.parametrize("control", ["c", "d"])
def test_ctrl_c_while_a_key_is_taken_in_leaves_nothing(
    place: Place, soft: Path, from_: str, control: str
) -> None:
    """The token shows its public keys to nobody without the PIN."""
    words, prompt = _lost_half(place, soft), "Enter the passphrase of ann.pem"
    if from_ == "token":
        token = new_token("hidden", SECRET)
        token.add_key(hidden=True)
        words = (*words[:2], token.uri(), *words[3:])
        prompt = f"Enter the PIN of token '{token.label}'"
    before = place.digest()
    person = Terminal(place, *words)
    person.asks(prompt)
    person.type(WRONG)
    person.asks(prompt)
    if control == "c":
        person._child.send(SECRET[:8])
    person.press(control)
    shown = person.ends(130)
    no_secret(place, shown)
    assert SECRET[:8] not in shown
    assert place.digest() == before


def test_a_key_of_a_rehearsal_is_told_for_what_it_is(place: Place) -> None:
    phrase = place.passphrases("ann")
    (place.folder / "phrases" / "ann").write_text(f"{SECRET}\n")
    (place.folder / "phrases" / "ann").chmod(0o600)
    assert "REHEARSAL: root key" in place.must(*GENERATE, "--rehearsal", *phrase)
    (shown,) = json.loads(place.must("key", "show", "ann.pub.json", "--json"))["keys"]
    assert shown["rehearsal"] is True
    pem = place.folder / "ann.pub.pem"
    pem.write_text(place.must("key", "export", "ann.pub.json"))
    other = place.folder / "other"
    other.mkdir()
    words = ("key", "import", pem, other / "ann.pub.json", "--keyholder=Ann")
    assert "REHEARSAL: root key of Ann" in place.must(*words, "--rehearsal")
