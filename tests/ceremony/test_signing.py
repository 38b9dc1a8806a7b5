"""Signing a role: the bytes that come out, and the signers that are not believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner, Key, SecretsHandler, Signature, Signer
from tuf.api.metadata import Metadata, Targets

from indextrust.ceremony import generate_key
from indextrust.errors import InputError, KeyFileError, PassphraseError, SigningError
from indextrust.repository.signers import open_signer
from indextrust.repository.signing import sign_role
from tests.ceremony.parties import targets_of

ROLE: dict[str, Any] = {
    "_type": "targets",
    "spec_version": "1.0.34",
    "version": 3,
    "expires": "2027-01-31T12:00:00Z",
    "targets": {"simple/café/index.json": {"length": 1, "hashes": {"sha256": "00" * 32}}},
}


class Signing(Signer):
    """A signer that shows `key` and does what it is told."""

    def __init__(self, key: Key, behaviour: Callable[[bytes], Signature]) -> None:
        self._key = key
        self.behaviour = behaviour

    @property
    def public_key(self) -> Key:
        return self._key

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> Signer:
        raise NotImplementedError

    def sign(self, payload: bytes) -> Signature:
        return self.behaviour(payload)


def test_the_file_is_canonical_and_tuf_verifies_every_signature(
    keyholders: list[CryptoSigner],
) -> None:
    data = sign_role(ROLE, keyholders)
    envelope = json.loads(data)
    assert encode_canonical(envelope) == data.decode()
    assert envelope["signed"] == ROLE
    keyids = [signature["keyid"] for signature in envelope["signatures"]]
    assert keyids == sorted(signer.public_key.keyid for signer in keyholders)
    metadata = Metadata[Targets].from_bytes(data)
    for signer in keyholders:
        key = signer.public_key
        key.verify_signature(metadata.signatures[key.keyid], metadata.signed_bytes)


def test_the_order_of_the_signers_changes_nothing(keyholders: list[CryptoSigner]) -> None:
    assert sign_role(ROLE, keyholders) == sign_role(ROLE, keyholders[::-1])


def test_without_a_signer_or_with_one_key_id_twice_nothing_is_signed(
    keyholders: list[CryptoSigner],
) -> None:
    with pytest.raises(InputError, match="at least one signer"):
        sign_role(ROLE, [])
    twin = CryptoSigner.generate_ed25519(keyid=keyholders[0].public_key.keyid)
    with pytest.raises(InputError, match="distinct key ids"):
        sign_role(ROLE, [keyholders[0], twin])


@pytest.mark.parametrize("bad", [1.5, object(), "\ud800"])
def test_what_clients_could_not_parse_is_not_signed(bad: object, online: CryptoSigner) -> None:
    with pytest.raises(InputError, match="'targets' can't be signed"):
        sign_role({**ROLE, "x-note": bad}, [online])


def test_a_signer_with_another_private_key_than_it_shows_publishes_nothing(
    keyholders: list[CryptoSigner],
) -> None:
    ann, bob, _ = keyholders

    def as_ann_by_bob(payload: bytes) -> Signature:
        return Signature(ann.public_key.keyid, bob.sign(payload).signature)

    def as_bob_by_ann(payload: bytes) -> Signature:
        return Signature(bob.public_key.keyid, ann.sign(payload).signature)

    def something_else(payload: bytes) -> Signature:
        return ann.sign(payload + b" ")

    def rubbish(payload: bytes) -> Signature:
        return Signature(ann.public_key.keyid, "not hex")

    for behaviour in (as_ann_by_bob, as_bob_by_ann, something_else, rubbish):
        with pytest.raises(SigningError, match=f"{ann.public_key.keyid} gave a signature that"):
            sign_role(ROLE, [bob, Signing(ann.public_key, behaviour)])


def test_a_signer_that_fails_is_named_with_its_reason(online: CryptoSigner) -> None:
    def offline(payload: bytes) -> Signature:
        raise ConnectionError("key service unreachable")

    with pytest.raises(SigningError, match=rf"{online.public_key.keyid} failed: Conn.*unreach"):
        sign_role(ROLE, [Signing(online.public_key, offline)])


PASSPHRASE = "a passphrase for the server"


@pytest.fixture(scope="module")
def server_key(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Key]:
    path = tmp_path_factory.mktemp("key #1 %41?") / "online.pem"
    return path, generate_key(path, PASSPHRASE)


def test_an_online_key_is_loaded_from_an_encrypted_file(
    server_key: tuple[Path, Key], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, key = server_key
    asked: list[str] = []

    def ask(name: str) -> str:
        asked.append(name)
        return PASSPHRASE

    monkeypatch.setenv("CRYPTO_SIGNER_PATH_PREFIX", "/somewhere/else")
    signer = open_signer(f"file2:{path}", key, ask)
    assert asked == [f"passphrase of {path}"]
    assert targets_of(sign_role(ROLE, [signer])).version == 3
    assert signer.public_key == key


def test_an_online_key_file_with_another_key_is_refused(
    server_key: tuple[Path, Key], keyholders: list[CryptoSigner]
) -> None:
    path, key = server_key
    other = keyholders[0].public_key
    with pytest.raises(KeyFileError, match=f"expected key {other.keyid}, got key {key.keyid}"):
        open_signer(f"file2:{path}", other, lambda _: PASSPHRASE)


def test_an_online_key_file_wants_its_passphrase(server_key: tuple[Path, Key]) -> None:
    path, key = server_key
    with pytest.raises(PassphraseError, match="wrong passphrase"):
        open_signer(f"file2:{path}", key, lambda _: "another")
    with pytest.raises(PassphraseError, match="nobody to ask"):
        open_signer(f"file2:{path}", key)


@pytest.mark.parametrize("uri", ["", "nonsense", "ftp:x", "/etc/passwd"])
def test_a_key_uri_of_no_known_kind_is_bad_input(uri: str, online: CryptoSigner) -> None:
    with pytest.raises(InputError, match="can't use the key URI"):
        open_signer(uri, online.public_key)


def test_a_missing_environment_of_a_key_service_is_the_signers_failure(
    online: CryptoSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VAULT_ADDR", raising=False)
    with pytest.raises(SigningError, match="the signer at 'hv:online/1' could not be loaded"):
        open_signer("hv:online/1", online.public_key)
