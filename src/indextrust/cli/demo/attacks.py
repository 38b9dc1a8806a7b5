"""Acts 4 to 6: three attackers, each with more in his hands than the one before."""

from __future__ import annotations

import hashlib

from indextrust.cli.demo.people import Environment, Installation
from indextrust.cli.demo.stage import Stage
from indextrust.cli.exit_codes import REFUSED_IN_RUN
from indextrust.cli.genesis import ONLINE, key_path
from indextrust.names import file_path, hash_prefixed, project_name
from indextrust.testing import OnlineKeyThief, malicious_wheel

__all__ = ["altered_wheel", "refused_as", "replayed_metadata", "stolen_key", "verdict"]

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
    observed = f"{verdict(run)}; installed: {_list(empty)}\npip says: {run.reason()}"
    ok = refused_as(run, "HashMismatchError") and not empty.installed() and wheel in run.reason()
    return observed, ok


def replayed_metadata(stage: Stage) -> tuple[str, bool]:
    """Act 5: the CDN kept what was validly signed last week."""
    stage.cdn.replay("metadata/", stage.last_week)
    empty = stage.environment("replayed")
    before = stage.person("returning").pip_install("flask", empty)
    newcomer = stage.person("newcomer-on-replay-day").pip_install("flask", empty)
    stage.cdn.be_honest()
    observed = (
        f"who was here before: {verdict(before)}\n"
        f"a newcomer: {verdict(newcomer)}; installed: {_list(empty)}"
    )
    ok = (
        refused_as(before, "RollbackError", "ExpiredError")
        and refused_as(newcomer, "ExpiredError")
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
    found = full.flask() if poisoned.code == 0 else "not installed"
    observed = (
        f"returning client: {verdict(alarmed)}; installed: {_list(empty)}\n"
        f"fresh client: exit code {poisoned.code}, flask {found}. Valid signatures are all it can "
        f"check: it has no memory, and the key was not revoked yet"
    )
    ok = (
        refused_as(alarmed, "ChangedArtifactError")
        and not empty.installed()
        and poisoned.code == 0
        and found == "signed-by-the-thief"
    )
    return observed, ok


def _with_one_byte_changed(honest: bytes) -> bytes:
    middle = len(honest) // 2
    return honest[:middle] + bytes([honest[middle] ^ 1]) + honest[middle + 1 :]


def refused_as(run: Installation, *errors: str) -> bool:
    """Whether the run was stopped by these errors and no other."""
    return run.code == REFUSED_IN_RUN and run.refused_as(*errors)


def verdict(run: Installation) -> str:
    """How a run ended, in a line."""
    refusals = run.refusals()
    if not refusals:
        return f"exit code {run.code}, nothing refused"
    return f"refused ({refusals[-1]['error']}): {refusals[-1]['detail']}"


def _list(environment: Environment) -> str:
    return ", ".join(environment.installed()) or "nothing"
