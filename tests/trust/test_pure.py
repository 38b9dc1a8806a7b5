"""`indextrust.trust` can be vendored: it runs where nothing compiled can be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime

from indextrust.testing import MetadataRepository

NOW = datetime(2026, 1, 1, tzinfo=UTC)

_VENDORED = """
import base64, builtins, datetime, json, socket, sys
for name in ("cryptography", "urllib3", "attrs", "attr", "sqlalchemy", "aiohttp", "click", "rich",
             "filelock", "platformdirs", "requests", "msgspec", "orjson"):
    sys.modules[name] = None
import indextrust.trust as trust

def forbidden(*args, **kwargs):
    raise AssertionError("the trust core does no I/O")

files = {name: base64.b64decode(data) for name, data in json.load(sys.stdin).items()}
now = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
builtins.open = socket.socket = forbidden
persisted = []

def drive(machine):
    while not isinstance(want := machine.wants(), trust.Done):
        if isinstance(want, trust.Load):
            machine.feed(trust.ABSENT)
        elif isinstance(want, trust.Fetch):
            machine.feed(files.get(want.filename, trust.ABSENT))
        else:
            persisted.append(want.role)
            machine.feed(trust.STORED)
    return want.result

session = trust.Session(files["1.root.json"], now=now)
drive(session)
entry = drive(session.lookup("files/demo/demo-1.0.tar.gz"))
verified = list(persisted)
files["timestamp.json"] = files["timestamp.json"].replace(b"2026", b"2027")
try:
    drive(trust.Session(files["1.root.json"], now=now))
    refused = None
except Exception as error:
    refused = type(error).__name__
blocked = [name for name in ("cryptography", "urllib3", "attrs") if sys.modules[name]]
print(json.dumps({"role": entry.role, "persisted": verified, "refused": refused,
                  "blocked": blocked}))
"""


def test_a_chain_is_verified_and_a_forgery_refused_without_cryptography_urllib3_and_attrs() -> None:
    import base64

    repository = MetadataRepository(now=NOW)
    repository.delegate("targets", "bins", ["files/*/*"], terminating=True)
    repository.add_target("files/demo/demo-1.0.tar.gz", b"demo", role="bins")
    repository.rotate("timestamp")
    repository.publish_root()
    repository.publish()
    files = {name: base64.b64encode(data).decode() for name, data in repository.files.items()}
    ran = subprocess.run(
        [sys.executable, "-c", _VENDORED],
        input=json.dumps(files),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {
        "role": "bins",
        "persisted": ["root", "root", "timestamp", "snapshot", "targets", "bins"],
        "refused": "SignatureError",
        "blocked": [],
    }
