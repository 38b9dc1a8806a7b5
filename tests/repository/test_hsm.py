"""Keys in tokens, with real ones (SoftHSM): which key signs, and what a wrong PIN does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner, HSMSigner, Signer
from tuf.ngclient import Updater

from indextrust.ceremony import BinScheme, genesis
from indextrust.ceremony.keyholders import import_token
from indextrust.errors import (
    InputError,
    KeyFileError,
    MissingExtraError,
    PassphraseError,
    SigningError,
)
from indextrust.repository import Repository
from indextrust.repository.hsm import TokenPlace, TokenSigner, read_token_key
from indextrust.repository.signers import open_signer
from indextrust.repository.signing import sign_role
from indextrust.testing import TamperingServer
from tests.support.softhsm import Token, module, new_token
from tests.support.wheels import make_wheel


@pytest.fixture(scope="module")
def ann() -> Token:
    """Ann's token, with one key."""
    token = new_token("Ann", "pin-of-ann")
    token.add_key()
    return token


@pytest.fixture(scope="module")
def bob(ann: Token) -> Token:
    """Bob's token: two keys, ids of other lengths, one of them with a leading zero."""
    token = new_token("Bob", "pin-of-bob")
    token.add_key(b"\x00\x01")
    token.add_key(b"\x02", "secp384r1")
    return token


_OPEN: list[TokenSigner] = []


@pytest.fixture(autouse=True)
def _locked_again() -> Iterator[None]:
    """After each test every token is locked: one that is open looks at no PIN."""
    yield
    while _OPEN:
        _OPEN.pop().close()


def opened(token: Token, uri: str, pin: str | None = None) -> TokenSigner:
    """The signer of a key in a token, whatever key that is."""
    key, _ = read_token_key(uri)
    signer = open_signer(uri, key, lambda _: pin or token.pin)
    assert isinstance(signer, TokenSigner)
    _OPEN.append(signer)
    return signer


@pytest.mark.parametrize(
    ("key_id", "scheme"),
    [
        ("id=0001", "ecdsa-sha2-nistp256"),
        ("id=02", "ecdsa-sha2-nistp384"),
    ],
)
def test_any_key_id_signs_and_the_person_is_told_which_token_asks(
    bob: Token, key_id: str, scheme: str
) -> None:
    uri = bob.uri(key_id)
    key, serial = read_token_key(uri)
    asked: list[str] = []

    def ask(what: str) -> str:
        asked.append(what)
        return bob.pin

    signer = open_signer(uri, key, ask)
    assert isinstance(signer, TokenSigner)
    _OPEN.append(signer)
    assert asked == [f"PIN of token {bob.label!r}"]
    for payload in (b"", b"data", b"x" * 100_000):
        signer.public_key.verify_signature(signer.sign(payload), payload)
    assert len(asked) == 1, "the PIN is asked once, not for each signature"
    assert (signer.public_key.scheme, serial) == (scheme, bob.serial)


def test_two_tokens_at_once_sign_one_role(ann: Token, bob: Token) -> None:
    signers: list[Signer] = [opened(ann, ann.uri()), opened(bob, bob.uri("id=02"))]
    role = {"_type": "targets", "version": 1}
    assert sign_role(role, signers).count(b'"keyid"') == 2


def test_a_token_is_found_by_serial_number_too(ann: Token, bob: Token) -> None:
    by_label, _ = read_token_key(ann.uri())
    by_serial, _ = read_token_key(f"hsm:?serial={ann.serial}&id=a1")
    assert by_serial.keyid == by_label.keyid


def test_securesystemslibs_uris_mean_the_same(bob: Token) -> None:
    uri, theirs = HSMSigner.import_(2, bob.label)
    ours, _ = read_token_key(uri)
    assert ours == theirs
    signature = opened(bob, uri).sign(b"data")
    theirs.verify_signature(signature, b"data")


@pytest.mark.parametrize("pin", ["4711", "", "pin-of-bo\udcfc", "x" * 1_000, "pin\n"])
def test_a_wrong_pin_is_a_wrong_passphrase_and_is_not_shown(ann: Token, pin: str) -> None:
    key, _ = read_token_key(ann.uri())
    with pytest.raises(PassphraseError, match="PIN of token") as caught:
        open_signer(ann.uri(), key, lambda _: pin)
    error: BaseException | None = caught.value
    while error is not None:
        assert not pin or pin not in repr(error) + repr(vars(error))
        error = error.__cause__ or error.__context__


def test_without_anybody_to_ask_nothing_is_opened(ann: Token) -> None:
    key, _ = read_token_key(ann.uri())
    with pytest.raises(PassphraseError, match="nobody to ask"):
        open_signer(ann.uri(), key)


def test_a_public_key_that_is_hidden_is_read_with_the_pin(bob: Token) -> None:
    bob.add_key(b"\x0b", hidden=True)
    with pytest.raises(PassphraseError, match="nobody to ask"):
        read_token_key(bob.uri("id=0b"))
    with pytest.raises(PassphraseError, match="wrong PIN"):
        read_token_key(bob.uri("id=0b"), lambda _: "0000")
    key, _ = read_token_key(bob.uri("id=0b"), lambda _: bob.pin)
    signer = open_signer(bob.uri("id=0b"), key, lambda _: bob.pin)
    assert isinstance(signer, TokenSigner)
    _OPEN.append(signer)
    key.verify_signature(signer.sign(b"data"), b"data")


def test_a_second_key_of_a_token_that_is_open_needs_no_second_login(bob: Token) -> None:
    signers = [opened(bob, bob.uri(key_id)) for key_id in ("id=0001", "id=02")]
    for signer in signers:
        signer.public_key.verify_signature(signer.sign(b"data"), b"data")


def test_after_a_wrong_pin_the_right_one_signs(ann: Token) -> None:
    with pytest.raises(PassphraseError):
        opened(ann, ann.uri(), "0000")
    signer = opened(ann, ann.uri())
    signer.public_key.verify_signature(signer.sign(b"data"), b"data")


def test_a_closed_signer_signs_no_more_and_the_token_asks_again(ann: Token) -> None:
    signer = opened(ann, ann.uri())
    _OPEN.remove(signer)
    signer.close()
    with pytest.raises(SigningError, match=r"SessionHandleInvalid|ObjectHandleInvalid"):
        sign_role({"_type": "targets"}, [signer])
    with pytest.raises(PassphraseError):
        opened(ann, ann.uri(), "0000")


def test_another_key_than_the_expected_one_is_refused(ann: Token, bob: Token) -> None:
    key, _ = read_token_key(ann.uri())
    with pytest.raises(KeyFileError, match=f"expected key {key.keyid}, got key"):
        open_signer(bob.uri("id=0001"), key, lambda _: bob.pin)


def test_a_key_that_is_no_ecdsa_key_is_refused_before_the_pin_is_asked(ann: Token) -> None:
    key = CryptoSigner.generate_ed25519().public_key
    with pytest.raises(InputError, match=r"signs ECDSA P-256 or P-384, and key .* is ed25519"):
        open_signer(ann.uri(), key, lambda _: pytest.fail("asked"))


def test_a_curve_that_is_not_ours_is_not_imported(ann: Token) -> None:
    ann.add_key(b"\x21", "secp521r1")
    with pytest.raises(InputError, match="expected ECDSA P-256 or P-384, got ecdsa-sha2-nistp521"):
        read_token_key(ann.uri("id=21"))


@pytest.mark.parametrize(
    ("uri", "complaint"),
    [
        ("hsm:?label=nobody&id=a1", "expected one such token in .*, got 0"),
        ("hsm:?id=a1", r"expected one such token in .*, got \d+: tell them apart by serial="),
        ("hsm:?label={ann}&id=ff", "no such public key"),
        ("hsm:?label={ann}&id=a1&module-path=/nowhere.so", "cannot open shared object file"),
    ],
)
def test_what_is_not_there_is_never_guessed(
    ann: Token, bob: Token, uri: str, complaint: str
) -> None:
    with pytest.raises(SigningError, match=complaint):
        read_token_key(uri.format(ann=ann.label), lambda _: ann.pin)


def test_a_public_half_without_its_private_one_signs_nothing(ann: Token) -> None:
    ann.add_key(b"\x0c")
    key, _ = read_token_key(ann.uri("id=0c"))
    ann.remove_private(b"\x0c")
    with pytest.raises(SigningError, match="expected one ECDSA key of this id, got 0"):
        open_signer(ann.uri("id=0c"), key, lambda _: ann.pin)


def test_two_keys_of_one_id_are_one_too_many(bob: Token) -> None:
    bob.add_key(b"\x07")
    key, _ = read_token_key(bob.uri("id=07"))
    bob.add_key(b"\x07")
    with pytest.raises(SigningError, match="expected one ECDSA key of this id, got 2"):
        open_signer(bob.uri("id=07"), key, lambda _: bob.pin)


def test_without_a_module_the_message_says_where_to_name_it(
    ann: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = f"{ann.uri()}&module-path={module()}"
    monkeypatch.delenv("PYKCS11LIB")
    with pytest.raises(SigningError, match="module-path=FILE in the URI, or by PYKCS11LIB"):
        read_token_key(ann.uri())
    assert read_token_key(named)[0].scheme == "ecdsa-sha2-nistp256"


def test_without_python_pkcs11_the_message_names_the_extra(
    ann: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'indextrust\[hsm\]'"):
        read_token_key(ann.uri())


@pytest.mark.parametrize(
    "uri",
    [
        *("hsm:x", "hsm:-1", "hsm:1?label=", "hsm:1?id=01", "hsm:?id=0g", "hsm:?id=a"),
        *("hsm:1?lable=Ann", "hsm:1?label=Ann&label=Bob", "hsm:1?pin=4711", "hsm:" + "9" * 100),
    ],
)
def test_a_uri_with_a_typing_error_selects_no_other_key(uri: str) -> None:
    with pytest.raises(InputError, match="can't use the key URI"):
        TokenPlace.parse(uri)


@pytest.mark.parametrize(
    ("uri", "key_id"),
    [("hsm:", b"\2"), ("hsm:0", b"\0"), ("hsm:258", b"\1\2"), ("hsm:?id=000102", b"\0\1\2")],
)
def test_the_id_of_a_uri(uri: str, key_id: bytes) -> None:
    place = TokenPlace.parse(uri + ("&" if "?" in uri else "?") + "label=A+%26+B&serial=1")
    assert (place.key_id, place.label, place.serial) == (key_id, "A & B", "1")
    assert TokenPlace.parse(str(place)) == place


def test_tufs_updater_reads_an_index_whose_every_key_is_in_a_token(
    ann: Token, bob: Token, tmp_path: Path
) -> None:
    """Root keys of two people and the online key, in three places of two tokens."""
    bob.add_key(b"online")
    server = opened(bob, bob.uri(f"id={b'online'.hex()}"))
    people = [opened(ann, ann.uri()), opened(bob, bob.uri("id=0001"))]
    holder = import_token(ann.uri(), None, "Ann Árvai", None, "root")
    assert (holder.serial, holder.key.keyid) == (ann.serial, people[0].public_key.keyid)
    now = datetime.now(UTC)
    roles = genesis(people, 2, server.public_key, bins=BinScheme.of(4), now=now)
    repository = Repository.create(tmp_path / "index", roles, online=server)
    repository.add(make_wheel(tmp_path, "demo", "1.0"))
    repository.publish()
    with TamperingServer(repository.public) as served:
        updater = Updater(
            str(tmp_path / "metadata"),
            served.url + "metadata/",
            str(tmp_path),
            served.url,
            bootstrap=roles.root[0],
        )
        info = updater.get_targetinfo("simple/demo/index.json")
        assert info is not None
        assert b"demo-1.0-py3-none-any.whl" in Path(updater.download_target(info)).read_bytes()
