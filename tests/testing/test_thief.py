"""The thief's forgeries are as valid as his stolen key, for everybody's TUF client."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tuf.ngclient import Updater

from indextrust.ceremony import BinScheme, generate_key, genesis, load_signer
from indextrust.repository import Repository
from indextrust.testing import OnlineKeyThief, TamperingServer, malicious_wheel
from tests.support.wheels import make_wheel

WHEEL = "demo-1.0-py3-none-any.whl"
FILE = f"files/demo/{WHEEL}"
DOCUMENT = "simple/demo/index.json"


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """The served folder of an index with one wheel; its online key lies beside it."""
    for name in ("ann", "online"):
        generate_key(tmp_path / f"{name}.pem", "sesame")
    ann, online = (load_signer(tmp_path / f"{name}.pem", "sesame") for name in ("ann", "online"))
    bins = BinScheme.of(4)
    roles = genesis([ann], 1, online.public_key, bins=bins, now=datetime.now(UTC))
    repository = Repository.create(tmp_path / "index", roles, online=online)
    repository.add(make_wheel(tmp_path, "demo", "1.0"))
    repository.publish()
    return repository.public


def thief(public: Path) -> OnlineKeyThief:
    pem = (public.parent.parent / "online.pem").read_bytes()
    return OnlineKeyThief(public, pem, b"sesame", now=datetime.now(UTC))


def test_the_reference_client_believes_the_forgery(public: Path, tmp_path: Path) -> None:
    honest = (public / FILE).read_bytes()
    forged = malicious_wheel(honest, "demo.py", "STOLEN = True")
    assert thief(public).replace_file("demo", WHEEL, forged) == (FILE, DOCUMENT)
    (tmp_path / "got").mkdir()
    with TamperingServer(public) as server:
        client = Updater(
            metadata_dir=str(tmp_path / "cache"),
            metadata_base_url=server.url + "metadata/",
            target_base_url=server.url,
            target_dir=str(tmp_path / "got"),
            bootstrap=(public / "metadata" / "1.root.json").read_bytes(),
        )
        for path in (FILE, DOCUMENT):
            found = client.get_targetinfo(path)
            assert found is not None
            client.download_target(found, str(tmp_path / "got" / path.replace("/", "-")))
    assert (tmp_path / "got" / FILE.replace("/", "-")).read_bytes() == forged
    document = json.loads((tmp_path / "got" / DOCUMENT.replace("/", "-")).read_bytes())
    assert document["files"][0]["hashes"]["sha256"] == hashlib.sha256(forged).hexdigest()
    assert hashlib.sha256(forged).hexdigest() in (public / "simple/demo/index.html").read_text()


def test_the_operators_private_copies_are_out_of_his_reach(public: Path) -> None:
    honest = (public / FILE).read_bytes()
    digest = hashlib.sha256(honest).hexdigest()
    thief(public).replace_file("demo", WHEEL, b"other bytes")
    assert (public / FILE).read_bytes() == b"other bytes"
    assert (public / f"files/demo/{digest}.{WHEEL}").read_bytes() == honest
    audit = Repository.open(public.parent).audit()
    assert (audit.added, audit.changed, audit.removed) == ((), (FILE, DOCUMENT), ())


def test_he_needs_the_passphrase_too(public: Path) -> None:
    pem = (public.parent.parent / "online.pem").read_bytes()
    with pytest.raises(ValueError, match="password"):
        OnlineKeyThief(public, pem, b"guess", now=datetime.now(UTC))
