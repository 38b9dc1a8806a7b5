"""Who brings which key: public key files, keys made elsewhere, profiles, one key twice."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from securesystemslib.signer import CryptoSigner, SSlibKey

from indextrust.canonical import canonical
from indextrust.ceremony import BinScheme, generate_key, genesis, load_signer, public_path
from indextrust.ceremony.keyholders import (
    Keyholder,
    Profile,
    check_duplicates,
    check_profile,
    fingerprint,
    fitting,
    import_pem,
    public_pem,
    read_public,
    save_public,
    spoken,
)
from indextrust.errors import CeremonyError, InputError, KeyFileError
from indextrust.repository.keys import KeyType
from indextrust.repository.public_keys import keyholder_of
from tests.ceremony.parties import NOW, root_of

PASSPHRASE = "a passphrase"
SPKI = ser.PublicFormat.SubjectPublicKeyInfo


def pem(private: Any) -> bytes:
    """The public half as another tool writes it."""
    data: bytes = private.public_key().public_bytes(ser.Encoding.PEM, SPKI)
    return data


@pytest.fixture
def elsewhere(tmp_path: Path) -> Callable[[bytes], Path]:
    """A file that came from elsewhere."""

    def write(data: bytes) -> Path:
        path = tmp_path / "elsewhere.pem"
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize(
    ("kind", "scheme", "profiles"),
    [
        ("ed25519", "ed25519", [Profile.PORTABLE, Profile.HSM]),
        ("ecdsa-p256", "ecdsa-sha2-nistp256", [Profile.HSM]),
        ("ecdsa-p384", "ecdsa-sha2-nistp384", [Profile.HSM]),
    ],
)
def test_a_key_of_each_kind_is_made_signs_and_is_read_back(
    tmp_path: Path, kind: KeyType, scheme: str, profiles: list[Profile]
) -> None:
    path = tmp_path / "ann.pem"
    made = generate_key(path, PASSPHRASE, keyholder="Ann Árvai", serial="USB 7", kind=kind)
    holder = read_public(public_path(path))
    assert holder == Keyholder(made, "Ann Árvai", "USB 7", "root")
    assert (holder.key.scheme, fitting(holder.key)) == (scheme, profiles)
    signer = load_signer(path, PASSPHRASE)
    assert signer.public_key == holder.key
    holder.key.verify_signature(signer.sign(b"data"), b"data")


def test_holder_and_serial_are_signed_with_the_root_and_the_role_is_not(tmp_path: Path) -> None:
    path = tmp_path / "ann.pem"
    generate_key(path, PASSPHRASE, keyholder="Ann", serial="USB 7")
    ann, bob = load_signer(path, PASSPHRASE), CryptoSigner.generate_ed25519()
    online = CryptoSigner.generate_ed25519().public_key
    roles = genesis([ann, bob], 2, online, bins=BinScheme.of(2), now=NOW)
    listed = root_of(roles.root[0]).keys[ann.public_key.keyid]
    assert listed.unrecognized_fields == {
        "x-indextrust-keyholder": "Ann",
        "x-indextrust-serial": "USB 7",
    }


@pytest.mark.parametrize("owner", ["", " Ann", "Ann\nBob", "x" * 201, "\u202eAnn"])
def test_a_name_that_cannot_be_read_aloud_is_none(tmp_path: Path, owner: str) -> None:
    with pytest.raises(InputError, match="keyholder's name"):
        generate_key(tmp_path / "ann.pem", PASSPHRASE, keyholder=owner)
    assert list(tmp_path.iterdir()) == []


def test_a_root_key_of_nobody_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name of the person who holds the root key"):
        generate_key(tmp_path / "ann.pem", PASSPHRASE, role="root")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "private",
    [
        Ed25519PrivateKey.generate(),
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65_537, 2_048),
    ],
    ids=["ed25519", "p256", "p384", "rsa"],
)
def test_a_public_key_made_elsewhere_comes_in_and_goes_out_as_it_was(
    private: Any, elsewhere: Callable[[bytes], Path], tmp_path: Path
) -> None:
    holder = import_pem(elsewhere(pem(private)), "Ann", "HSM-1", "root")
    assert public_pem(holder.key) == pem(private)
    CryptoSigner(private).public_key.verify_signature(CryptoSigner(private).sign(b"x"), b"x")
    assert holder.key.keyid == CryptoSigner(private).public_key.keyid
    saved = tmp_path / "ann.pub.json"
    save_public(saved, holder)
    assert read_public(saved) == holder
    with pytest.raises(KeyFileError, match="never overwritten"):
        save_public(saved, holder)


def test_an_rsa_key_verifies_pss_and_is_for_the_hsm_profile(
    elsewhere: Callable[[bytes], Path],
) -> None:
    private = rsa.generate_private_key(65_537, 3_072)
    holder = import_pem(elsewhere(pem(private)), "Ann", None, "root")
    assert (holder.key.scheme, fitting(holder.key)) == ("rsassa-pss-sha256", [Profile.HSM])
    holder.key.verify_signature(CryptoSigner(private).sign(b"data"), b"data")


def test_openssl_agrees_on_what_is_read_aloud(elsewhere: Callable[[bytes], Path]) -> None:
    path = elsewhere(pem(ec.generate_private_key(ec.SECP256R1())))
    holder = import_pem(path, "Ann", None, "root")
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-outform", "DER", "-in", str(path)],
        check=True,
        capture_output=True,
    ).stdout
    summed = subprocess.run(["sha256sum"], input=der, check=True, capture_output=True).stdout
    assert summed.decode().split()[0] == fingerprint(holder.key)
    groups = spoken(fingerprint(holder.key)).split(" ")
    assert (len(groups), {len(group) for group in groups}) == (16, {4})
    assert "".join(groups) == fingerprint(holder.key)


def test_another_encoding_of_a_key_is_the_same_key(elsewhere: Callable[[bytes], Path]) -> None:
    """A compressed point, with text around it, as a stranger's tool may write it."""
    private = ec.generate_private_key(ec.SECP256R1())
    first = import_pem(elsewhere(pem(private)), "Ann", None, "root")
    point = private.public_key().public_bytes(ser.Encoding.X962, ser.PublicFormat.CompressedPoint)
    head = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    body = subprocess.run(["base64"], input=head + point, check=True, capture_output=True).stdout
    odd = b"-----BEGIN PUBLIC KEY-----\n" + body + b"-----END PUBLIC KEY-----\n"
    assert odd != pem(private)
    second = import_pem(elsewhere(b"a key:\n" + odd), "Bob", None, "root")
    assert second.key.keyid == first.key.keyid
    with pytest.raises(CeremonyError, match="Ann and Bob bring the same key"):
        check_duplicates([first, second])


def test_one_rsa_key_under_two_schemes_is_one_key(elsewhere: Callable[[bytes], Path]) -> None:
    path = elsewhere(pem(rsa.generate_private_key(65_537, 2_048)))
    ann = import_pem(path, "Ann", None, "root")
    value = dict(ann.key.keyval)
    other = SSlibKey.from_crypto(
        ser.load_pem_public_key(value["public"].encode()),
        scheme="rsassa-pss-sha512",
    )
    bob = keyholder_of(other, "Bob", None, "root")
    assert bob.key.keyid != ann.key.keyid
    with pytest.raises(CeremonyError, match="Ann and Bob bring the same key"):
        check_duplicates([ann, bob])


P521 = ec.generate_private_key(ec.SECP521R1())


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "expected a public key in PEM"),
        (b"ssh-ed25519 AAAA ann@host\n", "expected a public key in PEM"),
        (pem(P521), "expected an Ed25519, ECDSA P-256 or P-384, or RSA-PSS key"),
        (pem(ec.generate_private_key(ec.SECP256K1())), "unsupported curve"),
        (
            pem(rsa.generate_private_key(65_537, 1_024)),  # noqa: S505 - that is the point
            "2048 to 16384 bits, got 1024",
        ),
        (pem(dsa.generate_private_key(2_048)), "expected a public key in PEM"),
        (pem(Ed448PrivateKey.generate()), "expected a public key in PEM"),
        (pem(X25519PrivateKey.generate()), "expected a public key in PEM"),
        (
            P521.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption()),
            "got a private one",
        ),
        (b"-----BEGIN CERTIFICATE-----\n", "got a certificate"),
        (b"x" * 70_000, "more than 65536 bytes"),
    ],
)
def test_what_is_no_key_of_ours_does_not_come_in(
    data: bytes, complaint: str, elsewhere: Callable[[bytes], Path]
) -> None:
    with pytest.raises(KeyFileError, match=complaint):
        import_pem(elsewhere(data), "Ann", None, "root")


RSA = rsa.generate_private_key(65_537, 2_048).public_key().public_numbers()


@pytest.mark.parametrize(
    ("modulus", "exponent", "complaint"),
    [
        (RSA.n + 1, 65_537, "two large primes, got one with the factor"),
        (RSA.n * 751, 65_537, "two large primes, got one with the factor 751:"),
        (2**2203 - 1, 65_537, "two large primes, got one with itself as only factor"),
        (2**16_385 + 1, 65_537, "2048 to 16384 bits, got 16386"),
        (RSA.n, 3, r"RSA exponent from 65537 on .* got 3"),
        (RSA.n, 2**64 + 1, "below 2.*got a larger one"),
        (RSA.n, 1, "expected a public key in PEM"),  # what OpenSSL itself refuses
        (RSA.n, 65_538, "expected a public key in PEM"),
    ],
    ids=range(8),
)
def test_an_rsa_key_that_no_honest_program_makes_does_not_come_in(
    modulus: int, exponent: int, complaint: str, elsewhere: Callable[[bytes], Path]
) -> None:
    """The attacker writes the numbers himself, as DER: whoever can factor the modulus signs."""
    with pytest.raises(KeyFileError, match=complaint):
        import_pem(elsewhere(_rsa_pem(modulus, exponent)), "Ann", None, "root")


def test_the_rsa_key_that_these_are_made_of_comes_in(elsewhere: Callable[[bytes], Path]) -> None:
    assert import_pem(elsewhere(_rsa_pem(RSA.n, RSA.e)), "Ann", None, "root").key.keytype == "rsa"


def _rsa_pem(modulus: int, exponent: int) -> bytes:
    """SubjectPublicKeyInfo of two numbers (RFC 8017 A.1.1)."""

    def der(tag: int, content: bytes) -> bytes:
        size = len(content)
        length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2)
        return bytes([tag]) + length + content

    numbers = b"".join(der(2, n.to_bytes(n.bit_length() // 8 + 1)) for n in (modulus, exponent))
    kind = bytes.fromhex("300d06092a864886f70d0101010500")
    body = der(0x30, kind + der(3, b"\0" + der(0x30, numbers)))
    text = base64.encodebytes(body)
    return b"-----BEGIN PUBLIC KEY-----\n" + text + b"-----END PUBLIC KEY-----\n"


def test_an_ed25519_key_of_small_order_is_everybodys_key(
    elsewhere: Callable[[bytes], Path],
) -> None:
    """For such a key signatures can be made without it; clients don't count them."""
    head = bytes.fromhex("302a300506032b6570032100")
    body = subprocess.run(
        ["base64"], input=head + b"\1" + b"\0" * 31, check=True, capture_output=True
    ).stdout
    weak = b"-----BEGIN PUBLIC KEY-----\n" + body + b"-----END PUBLIC KEY-----\n"
    with pytest.raises(KeyFileError, match="weak key"):
        import_pem(elsewhere(weak), "Ann", None, "root")


def _change(**fields: object) -> Callable[[dict[str, Any]], None]:
    return lambda tree: tree.update(fields)


def _value(**change: Callable[[str], str]) -> Callable[[dict[str, Any]], None]:
    """Other key values, made of the public one, under the key id that they have."""

    def apply(tree: dict[str, Any]) -> None:
        public = tree["keyval"]["public"]
        tree["keyval"].update({name: made(public) for name, made in change.items()})
        form = {name: tree[name] for name in ("keytype", "scheme", "keyval")}
        tree["keyid"] = hashlib.sha256(canonical(form)).hexdigest()

    return apply


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_change(role="admin"), "one of the roles"),
        (_change(role=None), "one of the roles"),
        (_change(**{"x-indextrust-keyholder": None}), "name of the person"),
        (_change(**{"x-indextrust-keyholder": 7}), "expected text"),
        (_change(**{"x-indextrust-keyholder": "Ann\x1b[2J"}), "keyholder's name"),
        (_change(**{"x-indextrust-serial": ""}), "serial number"),
        (_change(**{"x-note": "signed, and read by nobody"}), "no other fields"),
        (_change(**{"x-indextrust-rehearsal": 1}), "expected true"),
        (_change(**{"x-indextrust-rehearsal": False}), "expected true"),
        (_change(**{"x-indextrust-rehearsal": None}), "expected true"),
        (_change(keyid="00" * 32), "expected key id"),
        (_value(public=str.upper), "another encoding"),
        (_value(public=lambda text: text[:-2]), "not a public key"),
        (_value(private=lambda _: "00"), "'public' alone"),
        (lambda tree: tree.pop("role"), "expected a public key"),
    ],
)
def test_a_public_key_file_says_what_it_must_and_nothing_more(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], complaint: str
) -> None:
    path = tmp_path / "ann.pub.json"
    key = CryptoSigner.generate_ed25519().public_key
    save_public(path, keyholder_of(key, "Ann", None, "root"))
    tree = json.loads(path.read_bytes())
    change(tree)
    path.write_text(json.dumps(tree))
    with pytest.raises(KeyFileError, match=complaint):
        read_public(path)


def test_the_portable_profile_is_for_clients_that_verify_ed25519_alone() -> None:
    ed25519, ecdsa = (
        keyholder_of(make().public_key, owner, None, "root").key
        for owner, make in (
            ("Ann", CryptoSigner.generate_ed25519),
            ("Bob", CryptoSigner.generate_ecdsa),
        )
    )
    check_profile([ed25519], Profile.PORTABLE)
    check_profile([ed25519, ecdsa], Profile.HSM)
    with pytest.raises(CeremonyError, match=f"key {ecdsa.keyid} of Bob is 'ecdsa'.*such as pip"):
        check_profile([ed25519, ecdsa], Profile.PORTABLE)


@pytest.mark.parametrize("profile", Profile)
def test_a_key_of_another_family_fits_no_profile(profile: Profile) -> None:
    key = SSlibKey("ab" * 32, "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256", {"public": ""})
    with pytest.raises(CeremonyError, match="does not allow"):
        check_profile([key], profile)
