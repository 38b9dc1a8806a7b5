"""After a theft: what changed is listed, brought back, and the thief is out."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from indextrust.ceremony import BinScheme, genesis, rotate
from indextrust.errors import (
    RepositoryError,
    SignatureError,
    SigningError,
    StoreError,
)
from indextrust.names import hash_prefixed
from indextrust.repository import Repository, SignedRoles, read_checkpoint
from indextrust.testing import OnlineKeyThief, malicious_wheel
from tests.repository.place import Place, everything
from tests.repository.test_publish import FailingSigner, client, reaches_only

DEMO = "demo-1.0-py3-none-any.whl"
DEMO_FILE = f"files/demo/{DEMO}"
DEMO_DOCUMENT = "simple/demo/index.json"


@pytest.fixture
def shop(place: Place) -> Place:
    """An index with two projects."""
    place.publish(place.wheel("demo", "1.0"), place.wheel("other", "1.0"))
    return place


def thief(place: Place) -> OnlineKeyThief:
    """He has copied the online key."""
    pem = place.online._private_key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    return OnlineKeyThief(place.public, pem, b"secret", now=place.clock.now)


def rob(place: Place) -> OnlineKeyThief:
    """The thief signs a malicious wheel over an existing one."""
    intruder = thief(place)
    honest = (place.public / DEMO_FILE).read_bytes()
    intruder.replace_file("demo", DEMO, malicious_wheel(honest, "demo.py", "print('evil')"))
    return intruder


def recover(place: Place) -> CryptoSigner:
    """The keyholders replace the online key, the operator installs the new roles."""
    new = CryptoSigner.generate_ed25519()
    place.repository.install(place.rotation(new), new)
    place.online = new
    return new


# -- the audit -------------------------------------------------------------------------------


def test_the_audit_lists_exactly_what_the_thief_signed(shop: Place) -> None:
    made = shop.repository.checkpoint(shop.roles.root[0], shop.folder / "good.checkpoint")
    assert shop.repository.audit().clean
    rob(shop)
    client(shop).refresh()  # a client can't know
    audit = shop.repository.audit()
    assert audit.changed == (DEMO_FILE, DEMO_DOCUMENT)
    assert (audit.added, audit.removed, audit.faults) == ((), (), ())
    with read_checkpoint(made.path, made.digest) as good:
        since = shop.repository.audit_since(good)
    assert tuple(f.difference.path for f in since.findings) == audit.changed
    assert (since.counts, since.unqueued, since.faults) == ({"changed": 2}, 2, ())
    expected, published = shop.repository.expected_targets(), shop.repository.published_targets()
    assert {path for path in expected if expected[path] != published[path]} == set(audit.changed)


def test_the_audit_lists_what_was_added_and_removed(shop: Place) -> None:
    made = shop.repository.checkpoint(shop.roles.root[0], shop.folder / "good.checkpoint")
    shop.publish(shop.wheel("new", "1.0"))
    shop.repository.remove("demo", DEMO)
    shop.repository.publish()
    with read_checkpoint(made.path, made.digest) as good:
        audit = shop.repository.audit_since(good)
    found = {kind: set[str]() for kind in ("added", "removed", "changed")}
    for finding in audit.findings:
        found[finding.difference.kind].add(finding.difference.path)
    assert found["added"] == {
        "files/new/new-1.0-py3-none-any.whl",
        "files/new/new-1.0-py3-none-any.whl.metadata",
        "simple/new/index.json",
    }
    assert found["removed"] == {DEMO_FILE, f"{DEMO_FILE}.metadata"}
    assert found["changed"] == {DEMO_DOCUMENT}
    assert audit.explained
    assert shop.repository.audit().clean


@pytest.mark.parametrize(
    "garbage",
    [b"", b"{}", b"[" * 100_000, b'{"signed":{"targets":7}}', b'{"signed":' + b"9" * 5000],
)
def test_the_audit_reads_what_an_attacker_left_and_says_what_it_could_not(
    shop: Place, garbage: bytes
) -> None:
    version = shop.versions()["bin-0"]
    (shop.public / f"metadata/{version}.bin-0.json").write_bytes(garbage)
    audit = shop.repository.audit()
    assert audit.faults == (f"bin-0: {version}.bin-0.json can't be read",)
    assert not audit.clean
    with pytest.raises(RepositoryError, match="bin-0"):
        shop.repository.published_targets()
    (shop.public / "metadata/timestamp.json").write_bytes(garbage)
    audit = shop.repository.audit()
    assert audit.faults == ("the served timestamp leads to no readable snapshot",)
    assert set(audit.removed) == set(shop.repository.expected_targets())


def test_an_entry_that_no_client_follows_is_a_fault_and_no_target(shop: Place) -> None:
    version = shop.versions()["bin-0"]
    path = shop.public / f"metadata/{version}.bin-0.json"
    tree = json.loads(path.read_bytes())
    in_other_bins = [
        p for p in shop.repository.expected_targets() if p not in tree["signed"]["targets"]
    ]
    sound = {"length": 1, "hashes": {"sha256": "a" * 64}}
    planted: dict[str, Any] = {
        in_other_bins[0]: sound,
        "\ud800": sound,
        "a": {"length": True, "hashes": {"sha256": "a" * 64}},
        "b": {"length": 1, "hashes": {"md5": "a" * 32}},
        "c": None,
    }
    tree["signed"]["targets"].update(planted)
    path.write_text(json.dumps(tree))
    audit = shop.repository.audit()
    assert len(audit.faults) == len(planted)
    assert (audit.added, audit.changed, audit.removed) == ((), (), ())


# -- a stolen online key ---------------------------------------------------------------------


def test_the_operator_recovers_and_the_thief_is_out(shop: Place) -> None:
    saw_only_good, saw_bad = client(shop), client(shop)
    saw_only_good.refresh()
    good = everything(shop.public)
    intruder = rob(shop)
    saw_bad.refresh()
    bad_versions = shop.versions()
    with pytest.raises(RepositoryError, match="somebody else wrote it"):
        shop.repository.publish()

    published = shop.repository.install(shop.rotation(new := CryptoSigner.generate_ed25519()), new)

    assert shop.repository.audit().clean
    assert {DEMO_FILE, DEMO_DOCUMENT, "simple/demo/index.html"} <= set(published.repaired)
    now = everything(shop.public)
    for name, data in good.items():
        if not name.startswith("metadata/"):
            assert now[name] == data
    for role, version in shop.versions().items():
        if role not in ("targets", "bins"):
            assert version > bad_versions[role]
    assert shop.repository.status().root_version == 2
    for driver in (saw_only_good, saw_bad, client(shop)):
        trusted = driver.refresh().trusted
        assert trusted.root.version == 2
        assert driver.find(DEMO_FILE).hashes["sha256"] == (  # type: ignore[union-attr]
            shop.repository.expected_targets()[DEMO_FILE].sha256
        )
    # the stolen key signs nothing any more
    forged = intruder_timestamp(intruder, shop)
    before = saw_bad.stored["timestamp"]
    with pytest.raises(SignatureError):
        saw_bad.refresh()
    assert saw_bad.stored["timestamp"] == before != forged


def intruder_timestamp(intruder: OnlineKeyThief, place: Place) -> bytes:
    """The thief comes back with the old key."""
    timestamp: Metadata[Any] = Metadata.from_file(str(place.public / "metadata/timestamp.json"))
    timestamp.signed.version += 1
    timestamp.signed.expires = place.clock.now + timedelta(days=1)
    timestamp.sign(place.online)
    data = timestamp.to_bytes()
    (place.public / "metadata/timestamp.json").write_bytes(data)
    return data


def test_versions_jump_above_what_the_thief_signed_and_stay_representable(shop: Place) -> None:
    intruder = thief(shop)
    intruder.sign_timestamp(2**31)
    # far beyond: not followed, the clients forget it with the stolen key
    metadata = shop.public / "metadata"
    (metadata / f"{10**60}.snapshot.json").write_bytes(b"{}")
    (metadata / f"{2**40}.bin-1.json").write_bytes(b"{}")
    returning = client(shop)
    returning.refresh()
    recover(shop)
    versions = shop.versions()
    assert versions["timestamp"] == 2**31 + 1
    assert versions["bin-1"] == 2**40 + 1
    assert versions["snapshot"] < 100
    returning.refresh()
    reaches_only(shop, "demo", [DEMO])


def test_the_thiefs_timestamp_at_the_end_of_all_numbers_is_survived(shop: Place) -> None:
    thief(shop).sign_timestamp(10**17)
    returning = client(shop)
    returning.refresh()
    recover(shop)
    assert shop.versions()["timestamp"] < 100
    assert returning.refresh().trusted.root.version == 2


def test_what_the_thief_left_is_kept_as_evidence(shop: Place) -> None:
    rob(shop)
    evil = (shop.public / DEMO_FILE).read_bytes()
    timestamp = (shop.public / "metadata/timestamp.json").read_bytes()
    (shop.public / "files/evil").mkdir()
    (shop.public / "files/evil/evil-1.0.tar.gz").write_bytes(b"evil")
    (shop.public / "simple/demo/evil.html").write_bytes(b"<script>")
    (shop.public / "metadata/2.root.json").write_bytes(b"garbage")
    (shop.public / "metadata/7.bins.json").write_bytes(b"garbage")
    recover(shop)
    (incident,) = (shop.repository.folder / "quarantine").iterdir()
    assert (incident / DEMO_FILE).read_bytes() == evil
    assert (incident / "metadata/timestamp.json").read_bytes() == timestamp
    for name in ("files/evil", "simple/demo/evil.html", "metadata/7.bins.json"):
        assert os.path.lexists(incident / name)
        assert not os.path.lexists(shop.public / name)
    assert (incident / "metadata/2.root.json").read_bytes() == b"garbage"
    assert Metadata.from_file(str(shop.public / "metadata/2.root.json")).signed.version == 2
    client(shop).refresh()


def test_a_link_that_the_thief_planted_leads_nowhere(shop: Place, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(shop.public / "files/demo", elsewhere)
    shutil.rmtree(shop.public / "files/demo")
    (shop.public / "files/demo").symlink_to(elsewhere)
    (elsewhere / DEMO).write_bytes(b"evil")
    before = everything(elsewhere)
    shop.repository.restore()
    assert everything(elsewhere) == before
    assert not (shop.public / "files/demo").is_symlink()
    reaches_only(shop, "demo", [DEMO])


def test_a_version_at_the_end_of_the_limit_blinds_no_later_audit(shop: Place) -> None:
    metadata = shop.public / "metadata"
    for version in (2**52, 2**52 + 1, 2**53):
        (metadata / f"{version}.snapshot.json").write_bytes(b"")
    for _ in range(2):
        shop.repository.restore()
        assert shop.repository.audit().clean
    assert 2**52 < shop.versions()["snapshot"] < 2**52 + 10
    client(shop).refresh()


def test_of_a_bin_full_of_rubbish_a_hundred_entries_are_named_and_the_rest_counted(
    shop: Place,
) -> None:
    version = shop.versions()["bin-0"]
    path = shop.public / f"metadata/{version}.bin-0.json"
    tree = json.loads(path.read_bytes())
    tree["signed"]["targets"].update({f"rubbish/{number}": None for number in range(1000)})
    path.write_text(json.dumps(tree))
    faults = shop.repository.audit().faults
    assert len(faults) == 101
    assert faults[-1] == "bin-0: 1000 such entries, of which 100 are named"


def test_what_no_client_would_read_is_not_read_by_the_audit(shop: Place) -> None:
    version = shop.versions()["bin-0"]
    path = shop.public / f"metadata/{version}.bin-0.json"
    tree = json.loads(path.read_bytes())
    path.write_text(json.dumps({**tree, "signatures": [0] * 400_000}))
    assert shop.repository.audit().faults == (f"bin-0: {version}.bin-0.json can't be read",)
    timestamp = shop.public / "metadata/timestamp.json"
    timestamp.write_bytes(timestamp.read_bytes() + b" " * 20_000)
    assert shop.repository.audit().faults == ("the served timestamp leads to no readable snapshot",)


def test_the_audit_looks_at_metadata_and_restoring_at_every_byte(shop: Place) -> None:
    (shop.public / DEMO_FILE).write_bytes(b"altered, and signed by nobody")
    assert shop.repository.audit().clean
    assert DEMO_FILE in shop.repository.restore().repaired


# -- a tampered public folder, the key is safe -----------------------------------------------


def test_restoring_puts_back_every_altered_missing_and_swapped_file(shop: Place) -> None:
    good = everything(shop.public)
    demo, other = (path for path in map(shop.public.joinpath, ("files/demo", "files/other")))
    expected = shop.repository.expected_targets()
    prefixed = hash_prefixed(DEMO_FILE, expected[DEMO_FILE].sha256)
    (demo / DEMO).write_bytes(b"altered in place, and so under both names")
    (other / "other-1.0-py3-none-any.whl.metadata").unlink()
    pages = [shop.public / f"simple/{name}/index.html" for name in ("demo", "other")]
    pages[0].write_bytes(pages[1].read_bytes())
    (shop.public / "simple/index.html").unlink()
    published = shop.repository.restore()
    now = everything(shop.public)
    assert {n: d for n, d in now.items() if "metadata/" not in n} == {
        n: d for n, d in good.items() if "metadata/" not in n
    }
    assert published.repaired == tuple(
        sorted(
            [
                DEMO_FILE,
                prefixed,
                "files/other/other-1.0-py3-none-any.whl.metadata",
                "simple/demo/index.html",
                "simple/index.html",
            ]
        )
    )
    assert shop.repository.restore().repaired == ()


def test_restoring_leaves_nothing_that_is_not_the_repositorys(shop: Place, tmp_path: Path) -> None:
    shop.repository.renew(timedelta(days=2))  # there are older versions now
    good = everything(shop.public)
    digest = hashlib.sha256(b"<script>").hexdigest()
    planted = [
        "evil.html",
        ".htaccess",
        f"{digest}.html",
        f"simple/{digest}.html",
        "metadata/evil.html",
        "metadata/.htaccess",
        "metadata/1.timestamp.json",
        "metadata/01.snapshot.json",
        "metadata/1.bin-9.json",
        "metadata/1000.snapshot.json.html",
    ]
    for name in planted:
        (shop.public / name).write_bytes(b"<script>")
    (tmp_path / "secret").write_bytes(b"secret")
    links = ["link", "metadata/1.bin-0.json"]
    (shop.public / links[1]).unlink()
    for name in links:
        (shop.public / name).symlink_to(tmp_path / "secret")
    (shop.public / "folder").mkdir()
    repaired = shop.repository.restore().repaired
    assert {*planted, *links, "folder"} == set(repaired)
    now = everything(shop.public)
    assert not {*planted, "link", "folder"} & now.keys()
    assert good.keys() - {*links} <= now.keys()
    assert not any(path.is_symlink() for path in shop.public.rglob("*"))
    (incident,) = (shop.repository.folder / "quarantine").iterdir()
    assert (incident / "metadata/.htaccess").read_bytes() == b"<script>"
    client(shop).refresh()


def test_restoring_gets_past_a_loop_of_links(shop: Place) -> None:
    shutil.rmtree(shop.public / "metadata")
    (shop.public / "metadata").symlink_to("metadata")
    shop.repository.restore()
    assert shop.repository.audit().clean
    client(shop).refresh()


def test_every_publication_serves_every_root(shop: Place) -> None:
    recover(shop)
    (shop.public / "metadata/1.root.json").unlink()
    shop.publish(shop.wheel("demo", "2.0"))
    assert (shop.public / "metadata/1.root.json").read_bytes() == shop.roles.root[0]


def test_restoring_heals_a_public_folder_that_is_gone(shop: Place) -> None:
    shutil.rmtree(shop.public)
    shop.repository.restore()
    assert shop.repository.audit().clean
    reaches_only(shop, "demo", [DEMO])
    client(shop).refresh()


def test_restoring_needs_the_private_copies(shop: Place) -> None:
    sha256 = shop.repository.expected_targets()[DEMO_FILE].sha256
    copy = shop.repository.folder / "objects" / sha256[:2] / sha256
    copy.write_bytes(b"damaged")
    (shop.public / DEMO_FILE).write_bytes(b"damaged")
    with pytest.raises(StoreError, match="is damaged: its bytes are not those of its name"):
        shop.repository.restore()


def test_an_old_backup_of_the_state_goes_on_above_what_was_served(shop: Place) -> None:
    backup = (shop.repository.folder / "state.sqlite").read_bytes()
    shop.publish(shop.wheel("demo", "2.0"))
    returning = client(shop)
    returning.refresh()
    before = shop.versions()
    (shop.repository.folder / "state.sqlite").write_bytes(backup)
    repository = shop.reopen()
    repository.restore()
    assert all(shop.versions()[role] >= version for role, version in before.items())
    returning.refresh()
    reaches_only(shop, "demo", [DEMO])
    repository.add(shop.wheel("demo", "2.0"))
    assert repository.publish().added == 1


def test_the_next_ceremony_starts_from_the_roles_in_force_whatever_is_served(shop: Place) -> None:
    assert shop.repository.signed_roles() == shop.roles
    shutil.rmtree(shop.public / "metadata")
    assert shop.repository.signed_roles() == shop.roles
    new = CryptoSigner.generate_ed25519()
    roles = shop.rotation(new)
    shop.repository.install(roles, new)
    assert shop.repository.signed_roles() == SignedRoles(
        (*shop.roles.root, *roles.root), roles.targets, roles.bins
    )


# -- installing ------------------------------------------------------------------------------


def test_installing_the_same_roles_again_is_harmless(shop: Place) -> None:
    new = CryptoSigner.generate_ed25519()
    roles = shop.rotation(new)
    shop.repository.install(roles, new)
    shop.repository.install(roles, new)
    client(shop).refresh()
    assert shop.repository.status().root_version == 2


def test_the_queue_survives_a_rotation(shop: Place) -> None:
    shop.repository.add(shop.wheel("demo", "2.0"))
    recover(shop)
    assert shop.repository.status().queued == 1
    shop.repository.publish()
    reaches_only(shop, "demo", [DEMO, "demo-2.0-py3-none-any.whl"])


def test_the_old_key_opens_nothing_after_a_rotation(shop: Place) -> None:
    old = shop.online
    recover(shop)
    with pytest.raises(RepositoryError, match="expected the online key"):
        Repository.open(shop.repository.folder, online=old)
    shop.reopen()


def test_roles_with_another_online_key_or_no_root_to_follow_are_refused(shop: Place) -> None:
    new, stranger = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()
    before = everything(shop.folder)
    with pytest.raises(RepositoryError, match="expected the online key"):
        shop.repository.install(shop.rotation(new), stranger)
    foreign = genesis(shop.keyholders, 2, new.public_key, bins=BinScheme.of(4), now=shop.clock.now)
    with pytest.raises(RepositoryError, match="'root' version 1 has other bytes than before"):
        shop.repository.install(foreign, new)
    first = shop.rotation(new)
    second = rotate(first, shop.keyholders, new.public_key, now=shop.clock.now)
    with pytest.raises(RepositoryError, match="'root': expected version 2, got 3"):
        shop.repository.install(second, new)
    assert everything(shop.folder) == before


def test_a_signer_that_fails_in_the_middle_of_a_rotation_is_made_good(shop: Place) -> None:
    returning = client(shop)
    returning.refresh()
    new = CryptoSigner.generate_ed25519()
    roles = shop.rotation(new)
    with pytest.raises(SigningError):
        shop.repository.install(roles, FailingSigner(new, 2))
    returning.refresh()  # nothing is visible yet
    repository = Repository.open(shop.repository.folder, online=new, clock=shop.clock)
    assert repository.publish().bins == ("bin-0", "bin-1", "bin-2", "bin-3")
    assert returning.refresh().trusted.root.version == 2
    reaches_only(shop, "demo", [DEMO])
