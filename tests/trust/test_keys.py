"""Who signed: the same answer whichever library verifies, and one key never counts twice."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib.signer import CryptoSigner, SSlibKey

from indextrust.errors import MalformedError, SignatureError, UnsupportedKeyError
from indextrust.trust.keys import RoleKeys, parse_key, verify_threshold

PAYLOAD = b'{"what":"is signed"}'
L = 2**252 + 27742317777372353535851937790883648493
P = 2**255 - 19


def _role(*keys: SSlibKey, threshold: int = 1) -> RoleKeys:
    return RoleKeys(tuple(k.keyid for k in keys), threshold, {k.keyid: k for k in keys})


def _verify(role: RoleKeys, signatures: dict[str, str]) -> None:
    verify_threshold("timestamp", role, PAYLOAD, signatures, where="root")


def _plus_l(signature: str) -> str:
    raw = bytes.fromhex(signature)
    s = int.from_bytes(raw[32:], "little") + L
    return (raw[:32] + s.to_bytes(32, "little")).hex()


def _again(key: SSlibKey, keyid: str, public: str | None = None) -> SSlibKey:
    return SSlibKey(keyid, key.keytype, key.scheme, {"public": public or key.keyval["public"]})


def test_a_threshold_of_distinct_keys_is_enough_and_one_less_is_not() -> None:
    signers = [CryptoSigner.generate_ed25519() for _ in range(3)]
    role = _role(*(s.public_key for s in signers), threshold=2)
    signatures = {s.public_key.keyid: s.sign(PAYLOAD).signature for s in signers[:2]}
    _verify(role, signatures)
    signatures.popitem()
    with pytest.raises(SignatureError, match=r"expected 2 distinct keys; got 1 valid"):
        _verify(role, signatures)


def test_one_key_under_two_ids_counts_once() -> None:
    signer = CryptoSigner.generate_ed25519()
    twin = _again(signer.public_key, "f" * 64)
    shouting = _again(signer.public_key, "e" * 64, signer.public_key.keyval["public"].upper())
    signature = signer.sign(PAYLOAD).signature
    role = _role(signer.public_key, twin, shouting, threshold=2)
    with pytest.raises(SignatureError, match="got 1 valid"):
        _verify(role, dict.fromkeys(role.keyids, signature))


def test_one_ecdsa_key_in_two_encodings_counts_once() -> None:
    private = generate_private_key(SECP256R1())
    signer = CryptoSigner(private)
    spki = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    body = spki.decode().split("\n", 1)[1]
    other_lines = "-----BEGIN PUBLIC KEY-----\n" + body.replace("\n", "", 1)
    compressed = private.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    header = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    short = base64.b64encode(header + compressed).decode()
    pem = f"-----BEGIN PUBLIC KEY-----\n{short[:64]}\n{short[64:]}\n-----END PUBLIC KEY-----\n"
    signature = signer.sign(PAYLOAD).signature
    twins = [signer.public_key, _again(signer.public_key, "a", other_lines)]
    twins.append(_again(signer.public_key, "b", pem))
    with pytest.raises(SignatureError, match="got 1 valid"):
        _verify(_role(*twins, threshold=2), {key.keyid: signature for key in twins})
    _verify(_role(*twins, threshold=1), {key.keyid: signature for key in twins})


def test_a_signature_with_s_plus_l_is_refused_before_any_library_sees_it() -> None:
    signer = CryptoSigner.generate_ed25519()
    good = signer.sign(PAYLOAD).signature
    _verify(_role(signer.public_key), {signer.public_key.keyid: good})
    with pytest.raises(SignatureError):
        _verify(_role(signer.public_key), {signer.public_key.keyid: _plus_l(good)})


@pytest.mark.parametrize("y", [0, 1, P - 1, P, P + 1])
def test_a_key_that_fits_any_message_signs_nothing(y: int) -> None:
    """Under a key of small order, S = 0 and R = A pass the equation for many messages."""
    point = y.to_bytes(32, "little")
    key = SSlibKey("weak", "ed25519", "ed25519", {"public": point.hex()})
    for r in (point, (1).to_bytes(32, "little")):
        with pytest.raises(SignatureError):
            _verify(_role(key), {"weak": (r + bytes(32)).hex()})


@pytest.mark.parametrize(
    "spoil",
    [lambda s: "", lambda s: s[:-2], lambda s: s + "00", lambda s: "zz" + s[2:],
     lambda s: s[:2] + " " + s[2:], lambda s: "\u0661" + s[1:], lambda s: s + "\n",
     lambda s: "0x" + s[2:]],
    ids=["empty", "short", "long", "no hex", "blank inside", "arabic digit", "newline", "0x"],
)  # fmt: skip
def test_a_spoiled_signature_counts_for_nothing_and_spoils_nothing(spoil: Any) -> None:
    good, bad = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()
    signatures = {
        good.public_key.keyid: good.sign(PAYLOAD).signature,
        bad.public_key.keyid: spoil(bad.sign(PAYLOAD).signature),
    }
    _verify(_role(good.public_key, bad.public_key), signatures)
    with pytest.raises(SignatureError, match="got 1 valid"):
        _verify(_role(good.public_key, bad.public_key, threshold=2), signatures)


@pytest.mark.parametrize(
    "public",
    ["", "00" * 31, "zz" * 32, " " + "00" * 32, "-----BEGIN PUBLIC KEY-----"],
)
def test_an_ed25519_key_of_another_form_signs_nothing(public: str) -> None:
    signer = CryptoSigner.generate_ed25519()
    key = SSlibKey("id", "ed25519", "ed25519", {"public": public})
    with pytest.raises(SignatureError):
        _verify(_role(key), {"id": signer.sign(PAYLOAD).signature})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda pem: pem.replace("PUBLIC KEY", "RSA PUBLIC KEY"),
        lambda pem: pem.replace("\n", "\n=", 1),
        lambda pem: pem.replace("-----\n", "-----\nHeader: x\n", 1),
        lambda pem: "",
    ],
    ids=["other label", "other base64", "header", "empty"],
)
def test_a_pem_key_of_another_form_signs_nothing(spoil: Any) -> None:
    signer = CryptoSigner.generate_ecdsa()
    key = _again(signer.public_key, "id", spoil(signer.public_key.keyval["public"]) or " ")
    _verify(_role(signer.public_key), {signer.public_key.keyid: signer.sign(PAYLOAD).signature})
    with pytest.raises(SignatureError):
        _verify(_role(key), {"id": signer.sign(PAYLOAD).signature})


def test_one_rsa_key_in_two_encodings_counts_once() -> None:
    """The same modulus without the NULL of its algorithm, which cryptography reads as well."""
    signer = CryptoSigner.generate_rsa()
    der = base64.b64decode("".join(signer.public_key.keyval["public"].split("\n")[1:-2]))
    null = bytes.fromhex("300d06092a864886f70d0101010500")
    assert der[4:19] == null
    body = bytes.fromhex("300b06092a864886f70d010101") + der[19:]
    other = base64.encodebytes(b"\x30\x82" + len(body).to_bytes(2, "big") + body).decode()
    pem = f"-----BEGIN PUBLIC KEY-----\n{other}-----END PUBLIC KEY-----\n"
    twin = _again(signer.public_key, "twin", pem)
    signature = signer.sign(PAYLOAD).signature
    with pytest.raises(SignatureError, match="got 1 valid"):
        _verify(
            _role(signer.public_key, twin, threshold=2),
            {signer.public_key.keyid: signature, "twin": signature},
        )


def test_rsa_keys_verify_too() -> None:
    signer = CryptoSigner.generate_rsa()
    signature = signer.sign(PAYLOAD).signature
    _verify(_role(signer.public_key), {signer.public_key.keyid: signature})
    with pytest.raises(SignatureError):
        _verify(_role(signer.public_key), {signer.public_key.keyid: signature[:-2] + "00"})


def test_a_missing_library_is_said_before_anything_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Even where another key's signature would have reached the threshold."""
    ed25519, ecdsa = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ecdsa()
    role = _role(ed25519.public_key, ecdsa.public_key)
    signatures = {ed25519.public_key.keyid: ed25519.sign(PAYLOAD).signature}
    _verify(role, signatures)
    monkeypatch.setattr("indextrust.trust.keys._can_verify", lambda kind, _: kind == "ed25519")
    with pytest.raises(UnsupportedKeyError, match="needs the 'cryptography' package"):
        _verify(role, signatures)


@pytest.mark.parametrize(
    "tree",
    [None, [], {}, {"keytype": "ed25519", "scheme": "ed25519", "keyval": {}},
     {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": 5}},
     {"keytype": 1, "scheme": "ed25519", "keyval": {"public": "00"}}],
)  # fmt: skip
def test_what_is_no_key_is_malformed(tree: Any) -> None:
    with pytest.raises(MalformedError):
        parse_key("id", tree, where="root")


@pytest.mark.parametrize(
    "kind", [("sphincs", "sphincs-shake-128s"), ("ed25519", "rot13"), ("", "")]
)
def test_a_key_of_an_unknown_kind_is_unsupported_not_unsigned(kind: tuple[str, str]) -> None:
    tree = {"keytype": kind[0], "scheme": kind[1], "keyval": {"public": "00"}}
    with pytest.raises(UnsupportedKeyError):
        parse_key("id", tree, where="root")


_BLOCKED = """
import json, sys
for name in ("cryptography", "urllib3", "attrs", "attr"):
    sys.modules[name] = None
from indextrust.errors import SignatureError, UnsupportedKeyError
from indextrust.trust.keys import RoleKeys, parse_key, verify_threshold
for case in json.load(sys.stdin):
    key = parse_key("id", case["key"], where="test")
    try:
        verify_threshold("role", RoleKeys(("id",), 1, {"id": key}), bytes.fromhex(case["payload"]),
                         {"id": case["signature"]}, where="test")
        print("accepted")
    except (SignatureError, UnsupportedKeyError) as error:
        print(type(error).__name__)
"""


def test_without_cryptography_ed25519_gives_the_same_verdicts_and_ecdsa_is_unsupported() -> None:
    signer = CryptoSigner.generate_ed25519()
    good = signer.sign(PAYLOAD).signature
    ecdsa = CryptoSigner.generate_ecdsa()
    tree = signer.public_key.to_dict()
    flipped = good[:-2] + f"{int(good[-2:], 16) ^ 1:02x}"
    cases = [
        (tree, PAYLOAD, good, "accepted"),
        (tree, PAYLOAD, _plus_l(good), "SignatureError"),
        (tree, PAYLOAD + b" ", good, "SignatureError"),
        (tree, PAYLOAD, flipped, "SignatureError"),
        (tree, PAYLOAD, "", "SignatureError"),
    ]
    for key, payload, signature, verdict in cases:
        role = RoleKeys(("id",), 1, {"id": parse_key("id", key, where="test")})
        if verdict == "accepted":
            verify_threshold("role", role, payload, {"id": signature}, where="test")
        else:
            with pytest.raises(SignatureError):
                verify_threshold("role", role, payload, {"id": signature}, where="test")
    cases.append(
        (ecdsa.public_key.to_dict(), PAYLOAD, ecdsa.sign(PAYLOAD).signature, "UnsupportedKeyError")
    )
    blocked = subprocess.run(
        [sys.executable, "-c", _BLOCKED],
        input=json.dumps([{"key": k, "payload": p.hex(), "signature": s} for k, p, s, _ in cases]),
        capture_output=True,
        text=True,
        check=True,
    )
    assert blocked.stdout.split() == [verdict for *_, verdict in cases]


def test_the_points_of_small_order_are_what_the_list_says() -> None:
    """8 * P is the identity for each listed y (computed with securesystemslib's own curve)."""
    from securesystemslib._vendor.ed25519 import ed25519

    from indextrust.trust.keys import _SMALL_ORDER_Y

    curve: Any = ed25519
    for y in _SMALL_ORDER_Y:
        x = curve.xrecover(y)
        point = (x, y, 1, (x * y) % P)
        for _ in range(3):
            point = curve.edwards_double(point)
        z = pow(point[2], -1, P)
        assert (point[0] * z % P, point[1] * z % P) == (0, 1), y
    assert len(_SMALL_ORDER_Y) == 5
