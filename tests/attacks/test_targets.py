"""Attacks on targets: what is listed, where, under which path and with which hashes.

The attacker holds the key of a delegated role, or the network, or just asks strange questions.
The repository's metadata is valid TUF in most of these stories; what is refused is the target.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, SuccinctRoles, Targets

from indextrust.errors import (
    BudgetExceededError,
    HashMismatchError,
    IndextrustError,
    LengthError,
    MalformedError,
    RefusedError,
    SignatureError,
    UnreachableError,
    UnsafePathError,
    WrongVersionError,
)
from indextrust.trust import NotListed, TargetEntry
from tests.attacks.forging import edited
from tests.attacks.story import (
    Rewrite,
    Wire,
    newest,
    one_honest_refresh,
    refused,
    stolen_keys_sign,
    verified_before,
)
from tests.client.processes import visible
from tests.client.stage import BYTES, WHEEL, Stage

EVIL = b"the thief's bytes" * 1000
ALL_ROLES = (*verified_before("bins"), "bins")
"""A newer set of which nothing was refused: the attack is on a target."""


def _hashes(hashes: object) -> Rewrite:
    def change(signed: Any) -> None:
        signed["targets"][WHEEL]["hashes"] = hashes

    return edited(change)


def _requested(digest: str) -> str:
    """The path under which the wheel is asked for."""
    folder, _, name = WHEEL.rpartition("/")
    return f"{folder}/{digest}.{name}"


def _read(stage: Stage) -> bytes:
    """Look the wheel up and get its bytes, as an installer does."""
    client = stage.client()
    entry = client.target(WHEEL)
    assert isinstance(entry, TargetEntry)
    return client.read(entry, max_length=1_000_000)


# -- 34: hashes that vouch for nothing -----------------------------------------------------------

MD5, SHA1 = (hashlib.new(name, BYTES).hexdigest() for name in ("md5", "sha1"))
SHA256, SHA512 = (hashlib.new(name, BYTES).hexdigest() for name in ("sha256", "sha512"))


@pytest.mark.parametrize(
    "hashes",
    [
        {"md5": MD5},
        {"sha1": SHA1},
        {"md5": MD5, "sha1": SHA1},
        {"sha224": hashlib.sha224(BYTES).hexdigest()},
        {"blake2b": hashlib.blake2b(BYTES).hexdigest()},
        {"blake2b-256": hashlib.blake2b(BYTES, digest_size=32).hexdigest()},
        {"blake2s": hashlib.blake2s(BYTES).hexdigest()},
        {"sha3_256": hashlib.sha3_256(BYTES).hexdigest()},
        {"shake_128": hashlib.shake_128(BYTES).hexdigest(16)},
        {"SHA256": SHA256},
        {"sha-256": SHA256},
        {"sha256 ": SHA256},
        {"\u017fha256": SHA256},
        {"crc32": "00000000"},
        {"": SHA256},
        {"sha256": SHA256, "blake2b": hashlib.blake2b(BYTES).hexdigest()},
    ],
    ids=lambda hashes: "+".join(hashes) or "none",
)
def test_attack_34_hashes_that_vouch_for_nothing_are_refused(
    stage: Stage, hashes: dict[str, str]
) -> None:
    """A thief of the online keys lists a wheel under weak or unknown hashes alone, to swap it by
    a collision later, or under one strong hash beside one that we can't check. The metadata is
    valid TUF and is trusted; the target is refused before it is asked for."""
    name = stolen_keys_sign(stage, "bins", _hashes(hashes))
    with refused(
        stage,
        HashMismatchError,
        match="no usable hash",
        stored=ALL_ROLES,
        last=name,
        heal=stage.publish,
    ):
        _read(stage)


@pytest.mark.parametrize(
    "digest",
    [
        SHA256.upper(),
        SHA256[:-1] + "G",
        "0x" + SHA256[2:],
        " " + SHA256,
        SHA256 + "\n",
        "",
        "-" + SHA256[1:],
        "\uff10" + SHA256[1:],
        "\u0660" + SHA256[1:],
        "../../../x",
        "/",
        "%2e%2e",
    ],
    ids=["upper case", "no hex", "0x", "blank before", "line end", "empty", "minus", "fullwidth",
         "arabic digit", "path", "slash", "encoded dots"],
)  # fmt: skip
def test_attack_34_a_digest_in_another_spelling_is_refused(stage: Stage, digest: str) -> None:
    """The digest becomes part of the file name in the request, so it has one spelling. A thief
    who writes another one gets no request for his name, though his metadata is trusted."""
    name = stolen_keys_sign(
        stage,
        "bins",
        _hashes({"sha256": digest}),
        envelope=lambda data: data.replace(b"\n", b"\\n"),  # canonical JSON escapes nothing
    )
    with refused(
        stage,
        HashMismatchError,
        match="no sha256 in hex",
        stored=ALL_ROLES,
        last=name,
        heal=stage.publish,
    ):
        _read(stage)


@pytest.mark.parametrize("length", [1, 8, 63, 65, 128])
def test_attack_34_a_digest_cut_short_or_drawn_out_vouches_for_nothing(
    stage: Stage, length: int
) -> None:
    """A thief lists the first digits of the right digest (eight are soon collided with), or more
    than it has, and serves the file under that name. It isn't asked for."""
    digest = (SHA256 * 2)[:length]
    name = stolen_keys_sign(stage, "bins", _hashes({"sha256": digest}))
    stage.server.tamper(_requested(digest), BYTES)
    with refused(
        stage,
        HashMismatchError,
        match="no sha256 in hex",
        stored=ALL_ROLES,
        last=name,
        heal=stage.publish,
    ):
        _read(stage)


@pytest.mark.parametrize("hashes", [{}, None, [], "x", {"sha256": None}, {"sha256": [SHA256]}])
def test_attack_34_an_entry_without_hashes_spoils_its_role(stage: Stage, hashes: object) -> None:
    """A thief leaves the hashes out, or writes them in another shape. That is no metadata."""
    name = stolen_keys_sign(stage, "bins", _hashes(hashes))
    with refused(
        stage,
        MalformedError,
        match="hashes|hex digest|wrong type",
        stored=verified_before("bins"),
        last=name,
        heal=stage.publish,
    ):
        _read(stage)


@pytest.mark.parametrize("wrong", ["md5", "sha1", "sha224", "sha384", "sha512"])
def test_attack_34_every_listed_hash_counts_also_the_weak_one(stage: Stage, wrong: str) -> None:
    """The right sha256 stands beside another hash that is not the file's: two readers would see
    two files. The bytes come, and are refused."""
    listed = {"sha256": SHA256, wrong: hashlib.new(wrong, EVIL).hexdigest()}
    stolen_keys_sign(stage, "bins", _hashes(listed))
    with refused(
        stage,
        HashMismatchError,
        match=f"wrong {wrong}",
        stored=ALL_ROLES,
        last=_requested(SHA256),
        heal=stage.publish,
    ):
        _read(stage)


def test_attack_34_sha512_alone_is_good_tuf(stage: Stage) -> None:
    """No attack: a repository that lists sha512 alone is valid, and its file is accepted. (An
    index of our profile has to list sha256; that story is told among the profile's.)"""
    stolen_keys_sign(stage, "bins", _hashes({"sha512": SHA512}))
    stage.server.tamper(_requested(SHA512), BYTES)
    assert _read(stage) == BYTES
    assert stage.requests()[-1] == _requested(SHA512)


# -- 36: paths that lead out ---------------------------------------------------------------------

UNSAFE = {
    "climbing": "../../etc/x",
    "climbing in the middle": "files/../../etc/x",
    "climbing at the end": "files/demo/..",
    "staying": "files/./x",
    "absolute": "/etc/passwd",
    "another host": "//evil.example/x",
    "empty": "",
    "empty component": "files//x",
    "a folder": "files/demo/",
    "backslash": "files\\..\\..\\x",
    "drive": "C:\\x",
    "nul": "files/demo/x\0.whl",
    "line end": "files/demo/x\r\nHost: evil",
    "delete": "files/demo/\x7f",
    "next line": "files/demo/\x85",
    "lone surrogate": "files/demo/\ud800",
    "very long": "files/demo/" + "x" * 4096,
    "very deep": "a/" * 3000 + "x",
}


@pytest.mark.parametrize("path", UNSAFE.values(), ids=UNSAFE)
def test_attack_36_a_path_that_leads_out_is_refused_unasked(stage: Stage, path: str) -> None:
    """Somebody gets our client to look up a path that leaves the repository: a dependency's
    name, a lock file of his. The client refuses without a single request."""
    stage.publish()
    with refused(stage, UnsafePathError, match="unsafe target path", last=None):
        stage.client().target(path)


@pytest.mark.parametrize("path", ["../../etc/x", "/etc/x", "//evil.example/x", "a/../x", "a\\x"])
def test_attack_36_an_entry_with_such_a_path_is_not_fetched(
    stage: Stage, tmp_path: Path, path: str
) -> None:
    """A caller keeps entries in a file of his own, and somebody else writes one into it. Its path
    is looked at again before the request, and no file appears."""
    client = stage.client()
    entry = client.target(WHEEL)
    assert isinstance(entry, TargetEntry)
    with refused(stage, UnsafePathError, match="unsafe target path", last=None):
        client.download(replace(entry, path=path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "path",
    ["files/%2e%2e/%2e%2e%2fx", "files/%2E%2E/x", "files/..%2f../x", "files/a%00b/x",
     "files/..../x", "files/~root/x", "files/a?b#c/x", "files/a;b/x:80"],
)  # fmt: skip
def test_attack_36_what_a_server_might_decode_is_encoded_once_more(
    stage: Stage, wire: Wire, path: str
) -> None:
    """A thief lists a path that would climb if somebody decoded it once too often. It is a name
    like any other to us: each of its characters is encoded, and the request stays below."""
    stage.add(path, BYTES)
    stage.publish()
    client = wire.client()
    entry = client.target(path)
    assert isinstance(entry, TargetEntry)
    assert client.read(entry, max_length=len(BYTES)) == BYTES
    asked = wire.requests[-1].split(" ")[1]
    assert asked.startswith("/files/")
    assert ".." not in asked.split("/")
    assert not re.search("%2[ef]|%00|[?#]", asked, re.IGNORECASE)
    one_honest_refresh(stage)


REFUSED_ROLES = {
    "root": MalformedError,
    "timestamp": MalformedError,
    "snapshot": MalformedError,
    "targets": MalformedError,
    "Root": UnsafePathError,
    "ROOT": UnsafePathError,
    "Timestamp": UnsafePathError,
    "\u017fnapshot": UnsafePathError,
    "": MalformedError,
    "x" * 201: MalformedError,
    "x" * 200: UnsafePathError,
    "\u00e9" * 60: UnsafePathError,
}
"""Role names that are refused: a top-level role's, its twin in other case, too long ones."""


@pytest.mark.parametrize("role", REFUSED_ROLES, ids=lambda role: ascii(role)[:20])
def test_attack_36_a_role_named_like_a_top_level_role_is_refused(stage: Stage, role: str) -> None:
    """The thief of the online key delegates to a role whose file would stand where a top-level
    role's stands, on some file system at least, or to one that no file system can hold. No file
    of that role is asked for, and none of ours is touched."""

    def delegate(signed: Any) -> None:
        signed["delegations"] = _delegating_to(role)

    name = stolen_keys_sign(stage, "bins", edited(delegate))
    parsed = REFUSED_ROLES[role] is not MalformedError
    if parsed:  # the snapshot has to list the role, or that is what is refused
        stage.repository.snapshot.signed.meta[f"{role}.json"] = (
            stage.repository.snapshot.signed.meta["bins.json"]
        )
        stage.repository.publish_timestamp(stage.repository.publish_snapshot())
        stage.write()
    with refused(
        stage,
        REFUSED_ROLES[role],
        match="role name|too long",
        stored=ALL_ROLES if parsed else verified_before("bins"),
        last=name,
        heal=stage.publish,
    ):
        stage.client().target("files/odd/x")


def _delegating_to(role: str) -> dict[str, Any]:
    key = CryptoSigner.generate_ed25519().public_key
    return {
        "keys": {key.keyid: key.to_dict()},
        "roles": [
            {
                "keyids": [key.keyid],
                "name": role,
                "paths": ["files/odd/*"],
                "terminating": True,
                "threshold": 1,
            }
        ],
    }


@pytest.mark.parametrize(
    "role",
    ["../x", "../../../x", "a/b", "/etc/x", "..", ".", "...", "..\\x", "a\0b", "a\nb", "%2e%2e",
     "CON", "nul", "com1.txt", "1.root", "root.json", "store.lock", "tmp", "evidence",
     "root_history", "root_history/1.root", "evidence/x", "~", " ", "a?b#c", "caf\u00e9",
     "cafe\u0301", "\u202egpj", "-rf"],
    ids=ascii,
)  # fmt: skip
def test_attack_36_a_role_named_like_a_path_stays_in_its_place(
    stage: Stage, wire: Wire, role: str
) -> None:
    """The thief delegates to a role whose name is a path, a device, or a file of our own store.
    Such names are allowed, so the role is used: under one encoded file name, in the request and
    on disk. Nothing else on this machine is written, and no request leaves the metadata."""
    stage.repository.delegate("bins", role, ["files/odd/*"], terminating=True)
    stage.repository.add_target("files/odd/x", BYTES, role=role)
    stage.repository.publish()
    for path, data in stage.repository.served().items():
        if path.startswith("metadata/"):
            stage.server.tamper(unquote(path), data)
    before = _everything(stage.folder)

    entry = wire.client().target("files/odd/x")
    assert isinstance(entry, TargetEntry)
    assert entry.role == role

    for request in wire.requests:
        folder, _, name = request.split(" ")[1].rpartition("/")
        assert folder == "/metadata"
        assert re.fullmatch("[A-Za-z0-9_.~%-]+", name)
    after = _everything(stage.folder)
    (new,) = after.keys() - before.keys()
    assert new.startswith("cache/")
    assert new.count("/") == 1
    assert after[new] == stage.repository.files[f"1.{quote(role, safe='')}.json"]
    changed = {name for name in before if after.get(name) != before[name]}
    assert changed == {f"cache/{name}.json" for name in ALL_ROLES}
    stage.server.be_honest()
    stage.write()
    one_honest_refresh(stage)


def _everything(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in visible(folder)}


@pytest.mark.parametrize("place", ["path", "role"])
def test_attack_36_a_lone_surrogate_has_no_file_name_and_no_metadata(
    stage: Stage, place: str
) -> None:
    """JSON can escape half a character, which no file system and no UTF-8 can hold. A role that
    lists one, or delegates to one, is no metadata."""

    def add(signed: Any) -> None:
        path = "files/HALF/x" if place == "path" else "files/x/x"
        signed["targets"][path] = signed["targets"][WHEEL]
        signed["delegations"] = _delegating_to("HALF" if place == "role" else "role")

    name = stolen_keys_sign(
        stage, "bins", lambda signed: edited(add)(signed).replace(b"HALF", b"\\udc80")
    )
    with refused(
        stage,
        MalformedError,
        match="not UTF-8",
        stored=verified_before("bins"),
        last=name,
        heal=stage.publish,
    ):
        stage.client().target("files/odd/x")


# -- 41: a target in the wrong bin ---------------------------------------------------------------

STRANGER = "files/stranger/stranger-1.0.tar.gz"


def _bin_of(path: str) -> str:
    """The bin of four that a path's hash names."""
    return f"bin-{hashlib.sha256(path.encode()).digest()[0] >> 6:x}"


def _spread(stage: Stage, kind: str) -> None:
    """Have four bins with one key under ``bins``, by path-hash prefixes or by succinct roles."""
    signer = CryptoSigner.generate_ed25519()
    keyid = signer.public_key.keyid
    names = [f"bin-{number:x}" for number in range(4)]
    prefixes = ["0123", "4567", "89ab", "cdef"]
    roles = {
        name: DelegatedRole(name, [keyid], 1, True, None, list(prefix))
        for name, prefix in zip(names, prefixes, strict=True)
    }
    succinct = SuccinctRoles([keyid], 1, 2, "bin")
    repository = stage.repository
    bins = repository.targets["bins"].signed
    bins.delegations = (
        Delegations({keyid: signer.public_key}, roles)
        if kind == "prefixes"
        else Delegations({keyid: signer.public_key}, None, succinct)
    )
    bins.targets.clear()
    for name in names:
        repository.signers[name] = [signer]
        repository.targets[name] = Metadata(Targets(expires=bins.expires))
    repository.add_target(WHEEL, BYTES, role=_bin_of(WHEEL))
    stage.publish()


@pytest.mark.parametrize("kind", ["prefixes", "succinct"])
def test_attack_41_a_target_in_the_wrong_bin_is_never_returned(stage: Stage, kind: str) -> None:
    """The online keys' thief lists a wheel in every bin but the one that its hash names. The right
    bin alone is asked, and says that there is no such target."""
    _spread(stage, kind)
    right = _bin_of(STRANGER)
    wrong = [name for name in (f"bin-{number:x}" for number in range(4)) if name != right]
    for name in wrong:
        stage.repository.add_target(STRANGER, EVIL, role=name)
    stage.publish()
    client = stage.client()
    stage.requests()
    version = stage.repository.snapshot.signed.version
    assert client.target(STRANGER) == NotListed(STRANGER, version)
    asked = stage.requests()
    assert asked[-1] == f"metadata/{newest(stage, right)}"
    assert [path for path in asked if ".bin-" in path] == asked[-1:], "no other bin was asked"
    assert stage.stored()[f"{right}.json"] == stage.repository.files[newest(stage, right)]

    for path in (f"files/demo/{number}.whl" for number in range(40)):  # now all bins are held
        client.target(path)
    assert client.target(STRANGER) == NotListed(STRANGER, version)

    for name in wrong:
        del stage.repository.targets[name].signed.targets[STRANGER]
    stage.repository.add_target(STRANGER, BYTES, role=right)
    stage.publish()
    entry = stage.client().target(STRANGER)
    assert isinstance(entry, TargetEntry)
    assert (entry.role, entry.hashes) == (right, {"sha256": SHA256})
    one_honest_refresh(stage)


@pytest.mark.parametrize(
    "path",
    ["other/demo/x", "files/x", "files/demo/deeper/x", "Files/demo/x", "FILES/DEMO/X", "x",
     "xfiles/demo/x", "\uff46iles/demo/x", "files%2fdemo/x", "files/demo%2fx", "file?/demo/x"],
)  # fmt: skip
def test_attack_41_a_target_outside_the_delegated_paths_is_never_returned(
    stage: Stage, path: str
) -> None:
    """The thief lists what his role is not trusted with. Nobody asks him about it."""
    stage.add(path, EVIL)
    stage.publish()
    client = stage.client()
    assert client.target(path) == NotListed(path, 2)
    assert stage.requests()[-1] == "metadata/2.targets.json"
    assert stage.stored()["bins.json"] == stage.repository.files["1.bins.json"]
    one_honest_refresh(stage)


# -- 43: patterns that never end -----------------------------------------------------------------

ASKED = "files/demo/" + "a" * 60


def _patterns(patterns: list[str]) -> Rewrite:
    def change(signed: Any) -> None:
        delegations = _delegating_to("r")
        (role,) = delegations["roles"]
        delegations["roles"] = [
            {**role, "name": f"r{number}", "paths": [f"files/demo/{pattern}"]}
            for number, pattern in enumerate(patterns)
        ]
        signed["delegations"] = delegations

    return edited(change)


@pytest.mark.parametrize(
    "patterns",
    [
        ["*a" * 20 + "b"] * 30_000,
        ["?" * 50 + "*" * 100 + "c"] * 10_000,
        ["*[" + "#" * 1_000_000 + "]"],
        ["[" * 95_000 + "a" * 950_000] * 2,
        ["*" * 4_000_000 + "b"],
        ["*[!a-z]" * 6 + "b"] * 14_000,
    ],
    ids=["many stars", "marks and stars", "a long set", "open brackets", "only stars", "sets"],
)
def test_attack_43_patterns_that_never_end_run_out_of_steps(
    stage: Stage, patterns: list[str]
) -> None:
    """The thief of a role's key delegates to 30,000 roles by patterns of many stars, to keep the
    client busy for hours. Steps are counted (no clock is asked): the client stops, and says that
    it stopped, never that there is no such target."""
    name = stolen_keys_sign(stage, "bins", _patterns(patterns))
    with refused(
        stage,
        BudgetExceededError,
        match="path patterns take too long to match",
        stored=ALL_ROLES,
        last=name,
        heal=stage.publish,
    ) as caught:
        stage.client().target(ASKED)
    assert isinstance(caught.value, UnreachableError)


def test_attack_43_more_delegations_than_a_file_may_have_values_are_refused(stage: Stage) -> None:
    """Sixty thousand of them, and they are not even parsed."""
    name = stolen_keys_sign(stage, "bins", _patterns(["*a" * 20 + "b"] * 60_000))
    with refused(
        stage,
        MalformedError,
        match="too many values",
        stored=verified_before("bins"),
        last=name,
        heal=stage.publish,
    ):
        stage.client().target(ASKED)


def test_attack_43_thirty_thousand_honest_patterns_are_an_answer(stage: Stage) -> None:
    """No attack: as many delegations with patterns that people write are gone through."""
    stolen_keys_sign(
        stage,
        "bins",
        _patterns([f"a-project-with-a-name-of-its-own-{number:05}-*" for number in range(30_000)]),
    )
    version = stage.repository.snapshot.signed.version
    assert stage.client().target(ASKED) == NotListed(ASKED, version)


# -- 49: an old bin under a new snapshot ---------------------------------------------------------

Swap = Callable[[Stage], bytes]

SWAPS: dict[str, tuple[Swap, type[IndextrustError]]] = {
    "the old bin": (lambda stage: stage.repository.files["1.bins.json"], WrongVersionError),
    "the old bin renumbered": (
        lambda stage: stage.repository.files["1.bins.json"].replace(b'"version":1', b'"version":2'),
        SignatureError,
    ),
    "a newer bin": (lambda stage: _newer(stage), WrongVersionError),
    "the targets role": (lambda stage: stage.repository.files["2.targets.json"], SignatureError),
    "the snapshot": (lambda stage: stage.repository.files["2.snapshot.json"], SignatureError),
}
"""What is served instead of ``2.bins.json``, and what becomes of it where no hash is listed."""


def _newer(stage: Stage) -> bytes:
    """The bin that the operator has signed for the next set and not published yet."""
    tree = json.loads(stage.repository.files["2.bins.json"])
    metadata: Metadata[Targets] = Metadata.from_dict(tree)
    metadata.signed.version = 3
    metadata.sign(stage.repository.signers["bins"][0])
    return metadata.to_bytes()


@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("hashes", [True, False], ids=["hashes listed", "no hashes listed"])
def test_attack_49_an_old_bin_under_a_new_snapshot_is_refused(
    stage: Stage, swap: str, hashes: bool
) -> None:
    """The network serves a validly signed file, the old bin above all, under the name of the bin
    that the new snapshot lists: the vulnerable release would be the newest again. Where the
    snapshot lists hashes they don't match; where it lists versions alone, version or keys are
    wrong. The set's other roles were verified before and stay."""
    name = stolen_keys_sign(stage, "bins", hashes=hashes)
    served, error = SWAPS[swap]
    lie = served(stage)
    stage.server.tamper(f"metadata/{name}", lie)
    if hashes:
        listed = len(stage.repository.files[name])
        error = HashMismatchError if len(lie) == listed else LengthError
    with refused(
        stage,
        error,
        match="bins",
        stored=verified_before("bins"),
        last=name,
    ):
        stage.client().target(WHEEL)


@pytest.mark.parametrize("kind", ["prefixes", "succinct"])
@pytest.mark.parametrize("hashes", [True, False], ids=["hashes listed", "no hashes listed"])
def test_attack_49_one_bin_in_the_place_of_another_is_refused(
    stage: Stage, kind: str, hashes: bool
) -> None:
    """All bins have one key and, in a new index, one version; a bin doesn't say which it is. The
    network, without any key, serves one in the place of another. Taken for the other, it would
    read as "not listed" what is listed, and would be kept for as long as the bin's version."""
    _spread(stage, kind)
    right = _bin_of(WHEEL)
    wrong = next(name for name in (f"bin-{n:x}" for n in range(4)) if name != right)
    path = next(p for n in range(99) if _bin_of(p := f"files/demo/{n}.whl") == wrong)
    stage.repository.add_target(path, BYTES, role=wrong)
    stage.publish()
    stolen_keys_sign(stage, "bins", hashes=hashes)
    assert newest(stage, right).split(".")[0] == newest(stage, wrong).split(".")[0]
    stage.server.tamper(
        f"metadata/{newest(stage, right)}", stage.repository.files[newest(stage, wrong)]
    )
    before = stage.stored().get(f"{right}.json")
    with pytest.raises(RefusedError):
        stage.client().target(WHEEL)
    assert stage.stored().get(f"{right}.json") == before
    assert stage.requests()[-1] == f"metadata/{newest(stage, right)}"
    stage.server.be_honest()
    one_honest_refresh(stage)
