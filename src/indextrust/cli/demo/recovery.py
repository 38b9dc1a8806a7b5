"""Acts 7 and 8: the operator finds out, repairs and replaces; the clients follow."""

from __future__ import annotations

import hashlib
import json

from indextrust.cli.demo.attacks import refused_as, verdict
from indextrust.cli.demo.people import Environment, Installation
from indextrust.cli.demo.stage import KEYHOLDERS, NEW_ONLINE, THRESHOLD, Stage
from indextrust.cli.exit_codes import REFUSED_IN_RUN
from indextrust.names import file_path, project_name

__all__ = ["convergence", "recovery"]


def recovery(stage: Stage) -> tuple[str, bool]:
    """Act 7: audit, then a signing event by as many keyholders as the threshold asks for."""
    from indextrust.ceremony import rotate
    from indextrust.repository import Repository

    repository = Repository.open(stage.repository)
    found = repository.audit(stage.good())
    exact = found.changed == stage.stolen_paths and not (
        found.added or found.removed or found.faults
    )
    online = stage.new_key(NEW_ONLINE)
    current = repository.signed_roles()  # the private copies: the public folder was the thief's
    keyholders = [stage.signer(name) for name in KEYHOLDERS[:THRESHOLD]]
    roles = rotate(current, keyholders, online.public_key, now=stage.now)
    published = repository.install(roles, online)
    after = Repository.open(stage.repository).audit(stage.good())
    filename, sha256 = stage.flask()
    wheel = stage.public / file_path(project_name("flask"), filename)
    restored = hashlib.sha256(wheel.read_bytes()).hexdigest() == sha256
    root = json.loads(roles.root[-1])["signed"]
    observed = (
        f"against the checkpoint of act 2, changed: {', '.join(found.changed) or 'nothing'}; "
        f"added: {len(found.added)}, removed: {len(found.removed)}\n"
        f"root v{root['version']} signed by {' and '.join(KEYHOLDERS[:THRESHOLD])}; a new online "
        f"key\n"
        f"snapshot {published.snapshot_version} published; compared again: "
        f"{'no difference' if after.clean else after}"
    )
    return observed, exact and after.clean and restored and root["version"] == 2


def convergence(stage: Stage) -> tuple[str, bool]:
    """Act 8."""
    told: list[str] = []
    ok = True
    for name, words in (
        ("newcomer", "a new client"),
        ("returning", "one that had seen only good"),
    ):
        went_well, line = _installs(stage, name, stage.environment(f"{name}-after"))
        ok &= went_well
        told.append(f"{words}: {line}")
    went_well, lines = _poisoned(stage)
    ok &= went_well
    told.extend(lines)
    went_well, line = _old_key(stage)
    ok &= went_well
    told.append(line)
    return "\n".join(told), ok


def _installs(stage: Stage, name: str, environment: Environment) -> tuple[bool, str]:
    run = stage.person(name).pip_install("flask", environment)
    if run.code != 0:
        return False, verdict(run)
    found = environment.flask()
    return found == "honest", f"exit code 0, flask {found}"


def _poisoned(stage: Stage) -> tuple[bool, list[str]]:
    """The client of act 6 that remembers the malicious digest: alarm, a person's word, peace."""
    filename, honest = stage.flask()
    person = stage.person("poisoned")
    environment = stage.environment("poisoned-after")
    refused = person.pip_install("flask", environment)
    alarmed = (
        refused_as(refused, "ChangedArtifactError")
        and not environment.installed()
        and _shows_both(refused, stage.malicious, honest)
    )
    person.acknowledge(filename, honest)
    went_well, line = _installs(stage, "poisoned", environment)
    told = [f"the poisoned one: {verdict(refused)}", f"after `trust acknowledge`: {line}"]
    return alarmed and went_well, told


def _shows_both(run: Installation, remembered: str, offered: str) -> bool:
    """Whether the person sees both digests, in what pip printed."""
    return remembered in run.words and offered in run.words


def _old_key(stage: Stage) -> tuple[bool, str]:
    """The thief signs once more, over a copy of the server: nobody believes it."""
    served = stage.public / "metadata" / "timestamp.json"
    honest = served.read_bytes()
    if stage.thief is None:
        return False, "there was no thief"
    forged = stage.thief.sign_timestamp(json.loads(honest)["signed"]["version"] + 1)
    environment = stage.environment("old-key")
    run = stage.person("newcomer").pip_install("flask", environment)
    served.write_bytes(honest)
    ok = (
        run.code == REFUSED_IN_RUN
        and refused_as(run, "SignatureError")
        and not environment.installed()
        and forged != honest
    )
    return ok, f"the thief signs again with the old key: {verdict(run)}"
