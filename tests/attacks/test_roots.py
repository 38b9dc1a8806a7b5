"""Attacks on the root: stolen root keys, one or a threshold of them, and very long histories."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import Key, Metadata, Root
from tuf.api.serialization.json import JSONSerializer

from indextrust.client import Project, TrustedIndexes, Urllib3Fetcher
from indextrust.errors import (
    BadFingerprintError,
    BudgetExceededError,
    ChangedArtifactError,
    IndextrustError,
    MalformedError,
    SignatureError,
    WrongVersionError,
)
from indextrust.testing import MetadataRepository
from indextrust.trust import Changed
from tests.attacks.story import Wire, one_honest_refresh, refused
from tests.client.pages import WHL, put, sha256
from tests.client.stage import NOW, WHEEL, Stage

# -- 50: one root key of a threshold -------------------------------------------------------------


@pytest.fixture
def keyholders(stage: Stage) -> tuple[Signer, Signer]:
    """The thief's stolen key and the honest one: two of two, known to the client from root 2."""
    stage.repository.add_key("root")
    stage.repository.root.signed.roles["root"].threshold = 2
    stage.repository.publish_root()
    stage.publish()
    stage.client().target(WHEEL)
    stage.requests()
    thief, honest = stage.repository.signers["root"]
    return thief, honest


def _forge(
    stage: Stage,
    signers: Sequence[Signer],
    change: Callable[[Root], object] = lambda root: None,
    envelope: Callable[[Any], object] = lambda tree: None,
) -> None:
    """Serve a next root, changed and signed as asked, in the place of none."""
    forged: Metadata[Root] = Metadata.from_bytes(
        stage.repository.root.to_bytes(JSONSerializer(compact=True))
    )
    forged.signed.version += 1
    version = forged.signed.version
    change(forged.signed)
    forged.signatures.clear()
    for signer in signers:
        forged.sign(signer, append=True)
    tree = forged.to_dict()
    envelope(tree)
    stage.server.tamper(f"metadata/{version}.root.json", json.dumps(tree).encode())


def _only(*keys: Key, threshold: int = 2) -> Callable[[Root], object]:
    """A root whose own keys are these."""

    def change(root: Root) -> None:
        for keyid in list(root.roles["root"].keyids):
            root.revoke_key(keyid, "root")
        for key in keys:
            root.add_key(key, "root")
        root.roles["root"].threshold = threshold

    return change


def _alias(signer: CryptoSigner, *, upper: bool = False) -> CryptoSigner:
    """The same private key under another key id, or in another spelling."""
    tree = signer.public_key.to_dict()
    if upper:
        tree["keyval"]["public"] = tree["keyval"]["public"].upper()
    key = Key.from_dict("0" * 64 if not upper else "1" * 64, tree)
    return CryptoSigner(signer._private_key, key)  # type: ignore[arg-type]


def _resigned_twice(tree: Any) -> None:
    tree["signatures"] *= 2


FORGERIES = [
    "by one of two",
    "by nobody",
    "by one key twice",
    "by one key under two ids",
    "by one key in two spellings",
    "by new keys alone",
    "by old keys alone",
    "by one old key and one new",
    "by one old key, threshold lowered",
    "by one old key and the timestamp's",
    "by one old key and a pasted signature",
    "by one old key and garbage",
]


@pytest.mark.parametrize("forgery", FORGERIES)
def test_attack_50_a_root_below_the_threshold_is_refused(
    stage: Stage, keyholders: tuple[CryptoSigner, CryptoSigner], forgery: str
) -> None:
    """A thief has one of two root keys (and the network, and may make any new keys he likes). He
    serves a next root that gives everything to him, signed in each way that somebody once took
    for two keys. The client refuses it, still trusts root 2 and all under it, and follows the
    honest root 3 when it comes."""
    thief, honest = keyholders
    new = [CryptoSigner.generate_ed25519() for _ in range(2)]
    alias, spelled = _alias(thief), _alias(thief, upper=True)
    error: type[IndextrustError] = SignatureError
    match forgery:
        case "by one of two":
            _forge(stage, [thief])
        case "by nobody":
            _forge(stage, [])
        case "by one key twice":
            error = MalformedError
            _forge(stage, [thief], envelope=_resigned_twice)
        case "by one key under two ids":
            _forge(stage, [thief, alias], _only(thief.public_key, alias.public_key))
        case "by one key in two spellings":
            _forge(stage, [thief, spelled], _only(thief.public_key, spelled.public_key))
        case "by new keys alone":
            _forge(stage, new, _only(*(signer.public_key for signer in new)))
        case "by old keys alone":
            _forge(stage, [thief, honest], _only(*(signer.public_key for signer in new)))
        case "by one old key and one new":
            _forge(stage, [thief, new[0]], _only(thief.public_key, new[0].public_key))
        case "by one old key, threshold lowered":
            _forge(stage, [thief], _only(thief.public_key, threshold=1))
        case "by one old key and the timestamp's":
            _forge(stage, [thief, stage.repository.signers["timestamp"][0]])
        case "by one old key and a pasted signature":
            stolen = json.loads(stage.repository.files["2.root.json"])["signatures"]
            _forge(
                stage,
                [thief],
                envelope=lambda tree: tree["signatures"].extend(
                    entry for entry in stolen if entry["keyid"] == honest.public_key.keyid
                ),
            )
        case "by one old key and garbage":
            garbage = {"keyid": honest.public_key.keyid, "sig": "zz" * 64}
            _forge(stage, [thief], envelope=lambda tree: tree["signatures"].append(garbage))
    with refused(
        stage, error, match=r"root", last="3.root.json", heal=lambda: _next_honest_root(stage)
    ):
        stage.client().refresh()
    assert stage.client().refresh().root_version == 3


def _next_honest_root(stage: Stage) -> None:
    stage.repository.publish_root()
    stage.publish()


@pytest.mark.parametrize("upper", [False, True], ids=["two ids", "two spellings"])
def test_attack_50_one_key_that_a_trusted_root_lists_twice_is_one_key(
    stage: Stage, keyholders: tuple[CryptoSigner, CryptoSigner], upper: bool
) -> None:
    """A dishonest keyholder once brought his key to a ceremony under a second id as well, and the
    operator signed that root: threshold two, three ids, two keys. Alone he signs the next root
    under both of his ids. He counts once."""
    thief, _ = keyholders
    alias = _alias(thief, upper=upper)
    stage.repository.root.signed.add_key(alias.public_key, "root")
    _next_honest_root(stage)
    assert stage.client().refresh().root_version == 3
    _forge(stage, [thief, alias])
    with refused(
        stage,
        SignatureError,
        match="expected 2 distinct keys; got 1 valid",
        last="4.root.json",
        heal=lambda: _next_honest_root(stage),
    ):
        stage.client().refresh()


@pytest.mark.parametrize("version", [1, 2, 4, 2**31])
def test_attack_50_enough_keys_sign_only_for_the_next_version(
    stage: Stage, keyholders: tuple[CryptoSigner, CryptoSigner], version: int
) -> None:
    """A root signed by both keys for another occasion is served as root 3: an old one, the same
    again, or one from the far future that no later root could follow."""

    def renumber(root: Root) -> None:
        root.version = version

    _forge(stage, keyholders, renumber)
    with refused(
        stage,
        WrongVersionError,
        match=f"expected 3; got {version}",
        last="3.root.json",
        heal=lambda: _next_honest_root(stage),
    ):
        stage.client().refresh()


# -- 52: a threshold of root keys ----------------------------------------------------------------

EVIL = b"evil wheel" * 100


def _hostile_root(stage: Stage) -> MetadataRepository:
    """The thief of a threshold of root keys signs root 2, which gives every role to him.

    Returns:
        The honest repository as it was.
    """
    honest = stage.repository
    thief = MetadataRepository(now=NOW)
    thief.root.signed.version = 2
    thief.signers["root"] += honest.signers["root"]
    thief.publish_again("root")
    thief.delegate("targets", "bins", ["files/*/*", "simple/*/*"], terminating=True)
    thief.timestamp.signed.version = thief.snapshot.signed.version = 100
    thief.targets["targets"].signed.version = 100
    thief.files["1.root.json"] = honest.files["1.root.json"]
    thief.snapshot.signed.meta.update(honest.snapshot.signed.meta)
    thief.targets["bins"].signed.version = 100
    stage.repository = thief
    return honest


def test_attack_52_a_hostile_root_of_a_threshold_is_the_limit_and_is_said_aloud(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """A thief of a threshold of root keys signs a valid root: nothing in TUF tells him from the
    operator, and he is believed. What a person gets is a loud word that the root, and with it
    every key, was replaced, and by which version; so that somebody may ask why."""
    stage.client().refresh()
    _hostile_root(stage)
    put(stage, {WHL: EVIL})
    with caplog.at_level(logging.WARNING):
        refreshed = stage.client().refresh()
    assert refreshed.root_version == 2
    said = [notice.message for notice in refreshed.notices]
    said += [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert any("root" in message and "2" in message for message in said), said


def test_attack_52_from_a_hostile_root_back_by_a_fingerprint(stage: Stage) -> None:
    """The thief of a threshold of root keys was believed, and his wheel with him, by who had not
    seen the honest one. There is no cure in the band: the operator makes a new root line and
    tells its fingerprint by another way. A wrong fingerprint is refused and changes nothing; the
    right one resets the trust and keeps what was seen first: an alarm for the thief's wheel in
    the eyes of who had seen the honest one."""
    good = b"good wheel" * 100
    put(stage, {WHL: good})
    indexes = TrustedIndexes(
        stage.folder / "home", fetcher=Urllib3Fetcher(seconds=20), clock=lambda: NOW
    )
    first = indexes.add("internal", stage.server.url, stage.repository.files["1.root.json"])
    assert isinstance(indexes.client().project("demo"), Project)

    _hostile_root(stage)
    put(stage, {WHL: EVIL})
    client = indexes.client()
    assert client.refresh().root_version == 2, "the limit of the model"
    listed = client.file(WHL)
    assert isinstance(listed.verdict, Changed)
    with pytest.raises(ChangedArtifactError):
        client.download(listed, stage.folder)

    stage.repository = MetadataRepository(now=NOW)  # the operator, with new keys
    stage.repository.delegate("targets", "bins", ["files/*/*", "simple/*/*"], terminating=True)
    for old in (stage.public / "metadata").iterdir():
        old.unlink()
    put(stage, {WHL: good})
    root = stage.repository.files["1.root.json"]
    kept = sorted(path for path in (stage.folder / "home" / "indexes").rglob("*"))
    stage.requests()
    with pytest.raises(BadFingerprintError, match=sha256(root)):
        indexes.reset("internal", fingerprint=first.fingerprint)
    assert stage.requests()[-1] == "metadata/2.root.json"
    assert sorted(path for path in (stage.folder / "home" / "indexes").rglob("*")) == kept
    with pytest.raises(SignatureError):
        indexes.client().refresh()

    indexes.reset("internal", fingerprint=sha256(root))
    client = indexes.client()
    assert client.refresh().root_version == 1
    path = client.download(client.file(WHL), stage.folder)
    assert path.read_bytes() == good


def test_attack_52_a_pinned_fingerprint_takes_no_other_root(stage: Stage) -> None:
    """The thief serves his own first root to somebody new, who has the fingerprint by another
    way: no root of his has it, and nothing is trusted."""
    fingerprint = sha256(stage.repository.files["1.root.json"])
    thief = MetadataRepository(now=NOW)
    thief.publish_root()
    for version in (1, 2):
        name = f"{version}.root.json"
        stage.server.tamper(f"metadata/{name}", thief.files[name])
    indexes = TrustedIndexes(
        stage.folder / "home", fetcher=Urllib3Fetcher(seconds=20), clock=lambda: NOW
    )
    with pytest.raises(BadFingerprintError, match=fingerprint):
        indexes.add_by_fingerprint("internal", stage.server.url, fingerprint)
    assert indexes.list() == []
    assert stage.requests()[-1] == "metadata/3.root.json"
    stage.server.be_honest()
    indexes.add_by_fingerprint("internal", stage.server.url, fingerprint)
    assert indexes.client().refresh().root_version == 1


# -- 53: many roots after the one that is embedded -----------------------------------------------


def _roots(stage: Stage, count: int) -> None:
    """The operator has published so many roots since; keys were replaced on the way."""
    for number in range(count):
        if number % 100 == 50:
            stage.repository.rotate("timestamp")
            stage.repository.rotate("snapshot")
        stage.repository.publish_root()
    stage.publish()


def test_attack_53_three_hundred_roots_later_a_client_arrives(stage: Stage, wire: Wire) -> None:
    """No attack: the installer embeds root 1 and was not updated for years; 301 roots came since.
    One refresh arrives, and the next one asks for no root that it has."""
    _roots(stage, 301)
    assert wire.client().refresh().root_version == 302
    roots = [path for path in stage.requests() if path.endswith("root.json")]
    assert roots == [f"metadata/{version}.root.json" for version in range(2, 304)]
    one_honest_refresh(stage)
    roots = [path for path in stage.requests() if path.endswith("root.json")]
    assert set(roots) == {"metadata/303.root.json"}


def test_attack_53_eleven_hundred_roots_later_a_client_arrives_in_two_steps(
    stage: Stage, wire: Wire
) -> None:
    """More roots than one refresh may fetch, honest or endless: the budget runs out, which is an
    answer of its own and no refusal. Every root verified so far is stored, and the next refresh
    goes on from there."""
    _roots(stage, 1100)
    with refused(
        stage,
        BudgetExceededError,
        match="the next refresh goes on from version 1025",
        stored=("root",),
        last="1025.root.json",
    ):
        wire.client().refresh()
    assert stage.client().refresh().root_version == 1101
    history = sorted(
        int(path.name.split(".")[0]) for path in (stage.folder / "cache/root_history").iterdir()
    )
    assert history == list(range(1, 1102))
