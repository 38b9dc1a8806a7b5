"""Key files: who can read them, what can't be made of them, and what never gets out."""

from __future__ import annotations

import base64
import errno
import json
import logging
import os
import shutil
import stat
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from securesystemslib.signer import CryptoSigner

from indextrust.ceremony import (
    BinScheme,
    generate_key,
    genesis,
    load_public,
    load_signer,
    public_path,
)
from indextrust.ceremony.keyholders import (
    import_pem,
    import_private,
    open_signer,
    public_pem,
)
from indextrust.errors import InputError, KeyFileError, PassphraseError
from indextrust.repository.key_files import place_new
from tests.ceremony.parties import NOW, root_of

PASSPHRASE = "correct-horse-battery-ünlü"


@pytest.fixture(scope="module")
def ann(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ann's key, made once: stretching a passphrase takes its time on purpose."""
    path = tmp_path_factory.mktemp("ann") / "ann.pem"
    generate_key(path, PASSPHRASE, keyholder="Ann Árvai")
    return path


@pytest.fixture
def key_file(ann: Path, tmp_path: Path) -> Path:
    """A copy of Ann's key, to play with."""
    shutil.copy2(public_path(ann), tmp_path)
    return Path(shutil.copy2(ann, tmp_path))


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """From the most open to the most closed."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def _tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _foreign(path: Path, key: Ed25519PrivateKey | X25519PrivateKey, passphrase: str) -> Path:
    """A key file that another tool wrote: PBKDF2, as OpenSSL has it."""
    path.write_bytes(
        key.private_bytes(
            ser.Encoding.PEM,
            ser.PrivateFormat.PKCS8,
            ser.BestAvailableEncryption(passphrase.encode()) if passphrase else ser.NoEncryption(),
        )
    )
    path.chmod(0o600)
    return path


def test_a_key_comes_back_and_signs(key_file: Path) -> None:
    signer = load_signer(key_file, PASSPHRASE)
    public = load_public(public_path(key_file))
    public.verify_signature(signer.sign(b"data"), b"data")
    assert signer.public_key == public


def test_the_keyholders_name_is_published_in_the_root(key_file: Path) -> None:
    ann, bob = load_signer(key_file, PASSPHRASE), CryptoSigner.generate_ed25519()
    online = CryptoSigner.generate_ed25519().public_key
    roles = genesis([ann, bob], 2, online, bins=BinScheme.of(2), now=NOW)
    listed = root_of(roles.root[0]).keys[ann.public_key.keyid]
    assert listed.unrecognized_fields == {"x-indextrust-keyholder": "Ann Árvai"}


@pytest.mark.parametrize("name", ["", "Ann\nBob", "\x1b[2J", "\udcfc"])
def test_a_keyholder_without_a_printable_name_gets_no_key(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="printable"):
        generate_key(tmp_path / "ann.pem", PASSPHRASE, keyholder=name)
    assert os.listdir(tmp_path) == []


def test_the_private_half_is_for_its_owner_alone_under_any_umask(
    tmp_path: Path, umask: int
) -> None:
    path = tmp_path / "ann.pem"
    generate_key(path, PASSPHRASE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(public_path(path).stat().st_mode) == 0o644
    assert sorted(_tree(tmp_path)) == ["ann.pem", "ann.pub.json"]


def test_the_file_is_standard_pkcs8_and_encrypted(key_file: Path) -> None:
    data = key_file.read_bytes()
    der = base64.b64decode(b"".join(data.splitlines()[1:-1]))
    private = ser.load_pem_private_key(data, PASSPHRASE.encode())
    assert isinstance(private, Ed25519PrivateKey)
    assert bytes.fromhex("2b06010401da47040b") in der  # the OID of scrypt
    assert private.private_bytes_raw() not in der


def test_a_key_file_of_openssl_is_a_key_file(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    signer = load_signer(_foreign(tmp_path / "k.pem", key, PASSPHRASE), PASSPHRASE)
    key.public_key().verify(bytes.fromhex(signer.sign(b"data").signature), b"data")


@pytest.mark.parametrize("existing", ["ann.pem", "ann.pub.json"])
@pytest.mark.parametrize("kind", ["file", "dangling link", "folder"])
def test_nothing_is_overwritten_and_nothing_is_left_behind(
    existing: str, kind: str, tmp_path: Path
) -> None:
    there = tmp_path / existing
    if kind == "file":
        there.write_text("precious")
    elif kind == "folder":
        there.mkdir()
    else:
        there.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError, match=f"{existing} exists"):
        generate_key(tmp_path / "ann.pem", PASSPHRASE)
    assert os.listdir(tmp_path) == [existing]
    if kind == "file":
        assert there.read_text() == "precious"


def test_a_second_key_does_not_replace_the_first(key_file: Path) -> None:
    before = _tree(key_file.parent)
    with pytest.raises(KeyFileError, match="never overwritten"):
        generate_key(key_file, "another passphrase")
    assert _tree(key_file.parent) == before


@pytest.mark.parametrize("budget", [0, 200, 300])
def test_a_full_disk_leaves_no_key_file_at_all(budget: int, tmp_path: Path) -> None:
    """The kernel refuses the write that passes `budget` bytes, as a full disk would."""
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from indextrust.errors import KeyFileError\n"
        "from indextrust.ceremony import generate_key\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({budget}, {budget}))\n"
        "try:\n"
        "    generate_key(Path(sys.argv[1]), 'x' * 20, keyholder='A' * 100)\n"
        "except KeyFileError as error:\n"
        "    sys.exit(0 if 'too large' in str(error) else 2)\n"
        "sys.exit(1)\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", script, str(tmp_path / "ann.pem")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode == 0
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("half", [1, 2], ids=["private", "public"])
@pytest.mark.parametrize("what", [KeyboardInterrupt(), OSError(errno.EIO, "error")], ids=repr)
def test_who_is_told_that_no_key_was_made_finds_no_half_of_one(
    half: int, what: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has its name, and a slow stick makes it durable: Ctrl-C, or an error, comes now. A
    public half alone would be listed, and nobody could sign with it."""
    real, folders = os.fsync, []

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            folders.append(descriptor)
            if len(folders) == half:
                raise what
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises((KeyFileError, KeyboardInterrupt)):
        generate_key(tmp_path / "bob.pem", PASSPHRASE, keyholder="Bob")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there_is_a_key_file_error(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="can't be written: No such file"):
        generate_key(tmp_path / "missing" / "ann.pem", PASSPHRASE)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o777])
def test_a_private_key_that_others_may_touch_is_not_used(mode: int, key_file: Path) -> None:
    key_file.chmod(mode)
    with pytest.raises(KeyFileError, match=f"expected mode 0600, got {mode:04o}") as caught:
        load_signer(key_file, PASSPHRASE)
    assert not isinstance(caught.value, PassphraseError)


def test_a_stricter_mode_is_fine(key_file: Path) -> None:
    key_file.chmod(0o400)
    expected = load_public(public_path(key_file)).keyid
    assert load_signer(key_file, PASSPHRASE).public_key.keyid == expected


def _missing(path: Path) -> None:
    path.unlink()


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir(mode=0o700)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def _text(path: Path) -> None:
    path.write_text("not a key\n")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _half(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _endless(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n" * 100_000)


def _public(path: Path) -> None:
    path.write_bytes(public_path(path).read_bytes())


def _unencrypted(path: Path) -> None:
    _foreign(path, Ed25519PrivateKey.generate(), "")


def _no_signing_key(path: Path) -> None:
    _foreign(path, X25519PrivateKey.generate(), PASSPHRASE)


def _somebody_elses(path: Path) -> None:
    _foreign(path, Ed25519PrivateKey.generate(), PASSPHRASE)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (_missing, "No such file"),
        (_folder, "regular file"),
        (_pipe, "regular file"),
        (_text, "expected a passphrase-encrypted private key"),
        (_empty, "expected a passphrase-encrypted private key"),
        (_half, "expected a passphrase-encrypted private key"),
        (_endless, "more than 65536 bytes"),
        (_public, "expected a passphrase-encrypted private key"),
        (_unencrypted, "expected a passphrase-encrypted private key"),
        (_no_signing_key, "not a key that TUF signs with"),
        (_somebody_elses, "expected key [0-9a-f]{64}, got key [0-9a-f]{64}"),
    ],
)
def test_what_is_no_usable_private_key_is_said_to_be_none(
    damage: Callable[[Path], None], complaint: str, key_file: Path
) -> None:
    damage(key_file)
    with pytest.raises(KeyFileError, match=complaint) as caught:
        load_signer(key_file, PASSPHRASE)
    assert not isinstance(caught.value, PassphraseError)


def test_whatever_the_wrong_passphrase_it_is_called_wrong(tmp_path: Path) -> None:
    """One in 256 wrong passphrases decrypts to something; that, too, is a wrong passphrase."""
    path = _foreign(tmp_path / "k.pem", Ed25519PrivateKey.generate(), PASSPHRASE)
    for number in range(1_000):
        with pytest.raises(PassphraseError, match="wrong passphrase"):
            load_signer(path, f"guess {number}")


@pytest.mark.parametrize("passphrase", ["", "\udcfc", "x" * 1_024], ids=["none", "bytes", "long"])
def test_an_unusable_passphrase_makes_no_key_and_opens_none(
    passphrase: str, key_file: Path
) -> None:
    with pytest.raises(PassphraseError):
        generate_key(key_file.parent / "bob.pem", passphrase)
    assert sorted(_tree(key_file.parent)) == ["ann.pem", "ann.pub.json"]
    with pytest.raises(PassphraseError):
        load_signer(key_file, passphrase)


@pytest.mark.parametrize("secret", ["hunter2-hunter2", "hunter2-\udcfc", "hunter2-" * 200])
@pytest.mark.parametrize("action", ["generate", "generate over", "load", "load no key"])
def test_the_passphrase_is_in_no_message_no_traceback_and_no_log(
    secret: str, action: str, key_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    path = key_file
    if action == "load no key":
        _text(path)
    try:
        if action == "generate":
            generate_key(path.parent / "missing" / "bob.pem", secret)
        elif action == "generate over":
            generate_key(path, secret)
        else:
            load_signer(path, secret)
    except KeyFileError as error:
        shown = traceback.format_exc()
        chain: BaseException | None = error
        while chain is not None:
            shown += repr(chain) + repr(chain.args) + repr(vars(chain))
            assert not isinstance(chain, UnicodeError)  # would carry the passphrase
            chain = chain.__cause__ or chain.__context__
        assert "hunter2" not in shown
    else:
        pytest.fail("accepted")
    assert "hunter2" not in caplog.text
    assert not any(b"hunter2" in data for data in _tree(path.parent).values())


def _public_with(**changes: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (_missing, "No such file"),
        (_text, "expected a public key"),
        (lambda path: path.write_text("[" * 50_000), "expected a public key"),
        (lambda path: path.write_text("[]"), "expected a public key"),
        (lambda path: path.write_text("{}"), "expected a public key"),
        (_public_with(keyval={}), "expected a public key"),
        (_public_with(keytype="rot13"), "expected a public key"),
        (_public_with(keyid=7), "expected a public key"),
        (_public_with(keyid="ab" * 32), "expected key id"),
        (_public_with(keyval={"public": "00" * 32}), "expected key id"),
    ],
)
def test_what_is_no_public_key_is_said_to_be_none(
    damage: Callable[[Path], None], complaint: str, key_file: Path
) -> None:
    damage(public_path(key_file))
    with pytest.raises(KeyFileError, match=complaint):
        load_public(public_path(key_file))


def test_a_lost_public_half_is_no_loss(key_file: Path) -> None:
    expected = load_public(public_path(key_file))
    public_path(key_file).unlink()
    assert load_signer(key_file, PASSPHRASE).public_key.keyid == expected.keyid


# -- keys to practise with -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def soft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key of a rehearsal."""
    path = tmp_path_factory.mktemp("soft") / "ann.pem"
    generate_key(path, PASSPHRASE, keyholder="Ann Árvai", rehearsal=True)
    return path


@pytest.fixture
def soft_file(soft: Path, tmp_path: Path) -> Path:
    shutil.copy2(public_path(soft), tmp_path)
    return Path(shutil.copy2(soft, tmp_path))


def test_a_rehearsals_key_says_so_in_both_files_and_opens_elsewhere(soft_file: Path) -> None:
    assert load_public(public_path(soft_file)).unrecognized_fields["x-indextrust-rehearsal"] is True
    assert soft_file.read_text().startswith("REHEARSAL: this key was made to practise")
    done = subprocess.run(
        ["openssl", "pkey", "-in", str(soft_file), "-passin", "stdin", "-pubout"],
        input=PASSPHRASE.encode(),
        capture_output=True,
        check=False,
    )
    assert done.stdout.startswith(b"-----BEGIN PUBLIC KEY-----")
    signer = load_signer(soft_file, PASSPHRASE)
    assert signer.public_key == load_public(public_path(soft_file))


def _without_the_field(public: Path) -> None:
    tree = json.loads(public.read_text())
    del tree["x-indextrust-rehearsal"]
    public.write_text(json.dumps(tree))


def test_the_mark_is_not_lost_with_the_public_half(soft_file: Path) -> None:
    public_path(soft_file).unlink()
    again = import_private(soft_file, lambda _: PASSPHRASE, "Ann", None, "root")
    assert again.rehearsal
    assert again.key.keyid == load_signer(soft_file, PASSPHRASE).public_key.keyid


def test_a_mark_that_was_taken_out_of_the_public_half_is_missed_when_the_key_signs(
    soft_file: Path,
) -> None:
    """Somebody tidied the public file. The key gets into a proposal, and no further."""
    _without_the_field(public_path(soft_file))
    key = load_public(public_path(soft_file))
    for _ in ("beside it", "elsewhere"):
        with pytest.raises(KeyFileError, match=r"made in a rehearsal.*took the mark away"):
            open_signer(f"file2:{soft_file}", key, lambda _: PASSPHRASE)
        public_path(soft_file).unlink(missing_ok=True)


def test_a_real_key_signs_in_no_rehearsal_whoever_marked_its_public_half(key_file: Path) -> None:
    """It went out as PEM and came in again with ``--rehearsal``; that needs no editor."""
    pem = key_file.with_name("ann.txt")
    pem.write_bytes(public_pem(load_public(public_path(key_file))))
    marked = import_pem(pem, "Ann", None, "root", rehearsal=True)
    for _ in ("beside it", "elsewhere"):
        with pytest.raises(KeyFileError, match=r"is no rehearsal key.*Leave it in its bag"):
            open_signer(f"file2:{key_file}", marked.key, lambda _: PASSPHRASE)
        public_path(key_file).unlink(missing_ok=True)
    with pytest.raises(KeyFileError, match="leave it in its bag"):
        import_private(key_file, lambda _: PASSPHRASE, "Ann", None, "root", rehearsal=True)


# -- sticks --------------------------------------------------------------------------------------


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on FAT: the kernel answers link(2) so, and chmod(2) too.

    (On a real FAT the same was tried by hand: mounting one needs root and a loop device.)
    """

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "fchmod", refuse)


@pytest.mark.usefixtures("no_links")
def test_keys_are_made_where_there_are_no_links_and_still_overwrite_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ann.pem"
    generate_key(path, PASSPHRASE, keyholder="Ann")
    assert sorted(_tree(tmp_path)) == ["ann.pem", "ann.pub.json"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = _tree(tmp_path)
    for file in (path, public_path(path)):
        with pytest.raises(FileExistsError):
            place_new(file, b"another", 0o600)
    assert _tree(tmp_path) == before


@pytest.mark.usefixtures("no_links")
def test_of_two_who_take_one_name_without_links_one_gets_it(tmp_path: Path) -> None:
    """The other comes between the look and the taking."""
    path = tmp_path / "ann.pem"

    def write(number: int) -> bool:
        try:
            place_new(path, b"%d" % number * 100_000, 0o600)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        won = [number for number, done in enumerate(threads.map(write, range(8))) if done]
    assert len(won) == 1
    assert path.read_bytes() == b"%d" % won[0] * 100_000
    assert os.listdir(tmp_path) == ["ann.pem"]


def test_no_private_key_is_written_where_others_could_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stick whose files all have mode 0755: refused before a byte of the key is there, and
    what is public is written."""
    real = os.fchmod
    monkeypatch.setattr(os, "fchmod", lambda descriptor, _: real(descriptor, 0o755))
    with pytest.raises(
        KeyFileError, match=r"to be private, .*\(FAT\?\) gives every file mode 0755"
    ):
        generate_key(tmp_path / "ann.pem", PASSPHRASE)
    assert os.listdir(tmp_path) == []
    place_new(tmp_path / "ann.pub.json", b"{}", 0o644)
    assert os.listdir(tmp_path) == ["ann.pub.json"]
