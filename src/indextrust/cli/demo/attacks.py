"""Acts 4 to 6: three attackers, each with more in his hands than the one before."""

from __future__ import annotations

import hashlib

from indextrust.cli.demo.stage import Stage
from indextrust.cli.genesis import ONLINE, key_path
from indextrust.cli.stagecraft.people import Environment
from indextrust.names import file_path, hash_prefixed, project_name
from indextrust.testing import OnlineKeyThief, malicious_wheel

__all__ = ["altered_wheel", "replayed_metadata", "stolen_key"]

_PAYLOAD = "STOLEN = 'signed-by-the-thief'"


def altered_wheel(stage: Stage) -> tuple[str, bool]:
    """Act 4: the CDN holds no key."""
    wheel, sha256 = stage.flask()
    path = file_path(project_name("flask"), wheel)
    for name in (path, hash_prefixed(path, sha256)):
        stage.cdn.tamper(name, _with_one_byte_changed)
    empty = stage.environment("altered")
    run = stage.person("behind-a-cdn").pip_install("flask", empty)
    stage.cdn.be_honest()
    observed = f"{run.verdict()}; installed: {_list(empty)}\npip says: {run.reason()}"
    ok = run.stopped_as("HashMismatchError") and not empty.installed() and wheel in run.reason()
    return observed, ok


def replayed_metadata(stage: Stage) -> tuple[str, bool]:
    """Act 5: the CDN kept what was validly signed last week."""
    stage.cdn.replay("metadata/", stage.last_week)
    empty = stage.environment("replayed")
    before = stage.person("returning").pip_install("flask", empty)
    newcomer = stage.person("newcomer-on-replay-day").pip_install("flask", empty)
    stage.cdn.be_honest()
    observed = (
        f"who was here before: {before.verdict()}\n"
        f"a newcomer: {newcomer.verdict()}; installed: {_list(empty)}"
    )
    ok = (
        before.stopped_as("RollbackError", "ExpiredError")
        and newcomer.stopped_as("ExpiredError")
        and not empty.installed()
    )
    return observed, ok


def stolen_key(stage: Stage) -> tuple[str, bool]:
    """Act 6: the thief has the online key and writes to the server."""
    filename, _ = stage.flask()
    served = stage.public / file_path(project_name("flask"), filename)
    wheel = malicious_wheel(served.read_bytes(), "flask/__init__.py", _PAYLOAD)
    stage.malicious = hashlib.sha256(wheel).hexdigest()
    pem, passphrase = key_path(stage.keys, ONLINE).read_bytes(), stage.passphrase(ONLINE)
    thief = OnlineKeyThief(stage.public, pem, passphrase.encode("utf-8"), now=stage.now)
    stage.stolen_paths = thief.replace_file("flask", filename, wheel)
    empty = stage.environment("alarmed")
    alarmed = stage.person("returning").pip_install("flask", empty)
    full = stage.environment("poisoned")
    poisoned = stage.person("poisoned").pip_install("flask", full)
    found = full.origin("flask") if poisoned.code == 0 else "not installed"
    observed = (
        f"returning client: {alarmed.verdict()}; installed: {_list(empty)}\n"
        f"fresh client: exit code {poisoned.code}, flask {found}. Valid signatures are all it can "
        f"check: it has no memory, and the key was not revoked yet"
    )
    ok = (
        alarmed.stopped_as("ChangedArtifactError")
        and not empty.installed()
        and poisoned.code == 0
        and found == "signed-by-the-thief"
    )
    return observed, ok


def _with_one_byte_changed(honest: bytes) -> bytes:
    middle = len(honest) // 2
    return honest[:middle] + bytes([honest[middle] ^ 1]) + honest[middle + 1 :]


def _list(environment: Environment) -> str:
    return ", ".join(environment.installed()) or "nothing"
