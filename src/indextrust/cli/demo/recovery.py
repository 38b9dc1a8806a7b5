"""Acts 7 and 8: the operator finds out, repairs and replaces; the clients follow."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from indextrust.cli.demo.stage import KEYHOLDERS, NEW_ONLINE, THRESHOLD, Stage
from indextrust.cli.genesis import ONLINE, key_path
from indextrust.cli.stagecraft.people import Environment, Installation
from indextrust.names import document_path, file_path, project_name
from indextrust.testing import OnlineKeyThief, malicious_wheel

__all__ = ["convergence", "recovery"]


def recovery(stage: Stage) -> tuple[str, bool]:
    """Act 7: audit, then a signing event by as many keyholders as the threshold asks for."""
    from indextrust.ceremony import rotate
    from indextrust.repository import Repository

    repository = Repository.open(stage.repository)
    with stage.good() as good:
        found = repository.audit_since(good)
    listed = tuple(sorted(finding.difference.path for finding in found.findings))
    exact = listed == stage.stolen_paths and found.counts == {"changed": len(listed)}
    exact = exact and found.unqueued == found.count and not found.faults
    online = stage.new_key(NEW_ONLINE)
    current = repository.signed_roles()  # the private copies: the public folder was the thief's
    keyholders = [stage.signer(name) for name in KEYHOLDERS[:THRESHOLD]]
    roles = rotate(current, keyholders, online.public_key, now=stage.now)
    published = repository.install(roles, online)
    with stage.good() as good:
        after = Repository.open(stage.repository).audit_since(good)
    filename, sha256 = stage.flask()
    wheel = stage.public / file_path(project_name("flask"), filename)
    restored = hashlib.sha256(wheel.read_bytes()).hexdigest() == sha256
    root = json.loads(roles.root[-1])["signed"]
    observed = (
        f"against the checkpoint of act 2, changed: {', '.join(listed) or 'nothing'}; "
        f"queued by nobody: {found.unqueued}\n"
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
    went_well, lines = _old_key(stage)
    ok &= went_well
    told.extend(lines)
    return "\n".join(told), ok


def _installs(stage: Stage, name: str, environment: Environment) -> tuple[bool, str]:
    run = stage.person(name).pip_install("flask", environment)
    if run.code != 0:
        return False, run.verdict()
    found = environment.origin("flask")
    return found == "honest", f"exit code 0, flask {found}"


def _poisoned(stage: Stage) -> tuple[bool, list[str]]:
    """The client of act 6 that remembers the malicious digest: alarm, a person's word, peace."""
    filename, honest = stage.flask()
    person = stage.person("poisoned")
    environment = stage.environment("poisoned-after")
    refused = person.pip_install("flask", environment)
    alarmed = (
        refused.stopped_as("ChangedArtifactError")
        and not environment.installed()
        and _shows_both(refused, stage.malicious, honest)
    )
    person.acknowledge(filename, honest)
    went_well, line = _installs(stage, "poisoned", environment)
    told = [f"the poisoned one: {refused.verdict()}", f"after `trust acknowledge`: {line}"]
    return alarmed and went_well, told


def _shows_both(run: Installation, remembered: str, offered: str) -> bool:
    """Whether the person sees both digests, in what pip printed."""
    return remembered in run.words and offered in run.words


def _old_key(stage: Stage) -> tuple[bool, list[str]]:
    """The thief signs flask once more with the old key, over a copy of the server.

    All that he signed is tried on who has root v2 and on a new client; then, on the latter, his
    snapshot alone and his bin alone, each in the place of the honest one.
    """
    copy, bin_name = _forged(stage)
    forged, honest = copy / "metadata", stage.public / "metadata"
    stage.cdn.replay("", copy)
    environment = stage.environment("old-key")
    tried = [
        _tried(stage, "newcomer", environment, "all signed again, one that has root v2"),
        _tried(stage, "brand-new", environment, "the same, a new client"),
    ]
    shutil.copy(honest / "timestamp.json", forged)
    version = json.loads((honest / "timestamp.json").read_bytes())["signed"]["meta"][
        "snapshot.json"
    ]["version"]
    snapshot = f"{version}.snapshot.json"
    shutil.copy(forged / f"{version + 1}.snapshot.json", forged / snapshot)
    others = ("LengthError", "HashMismatchError")
    tried.append(_tried(stage, "brand-new", environment, "the snapshot alone", *others))
    shutil.copy(honest / snapshot, forged)
    number, _, role = bin_name.partition(".")
    shutil.copy(forged / bin_name, forged / f"{int(number) - 1}.{role}")
    tried.append(_tried(stage, "brand-new", environment, "the bin alone", *others))
    stage.cdn.be_honest()
    told = [line for _, line in tried]
    return all(ok for ok, _ in tried), ["the thief signs again with the old key:", *told]


def _forged(stage: Stage) -> tuple[Path, str]:
    """A copy of the server as the thief would have it, and the file name of flask's bin there."""
    copy = stage.folder / "forged-with-the-old-key"
    shutil.copytree(stage.public, copy)
    newest = copy / "metadata" / "2.root.json"
    newest.unlink()  # he signs as the key that root v1 names
    pem, passphrase = key_path(stage.keys, ONLINE).read_bytes(), stage.passphrase(ONLINE)
    thief = OnlineKeyThief(copy, pem, passphrase.encode("utf-8"), now=stage.now)
    filename, _ = stage.flask()
    path = file_path(project_name("flask"), filename)
    wheel = malicious_wheel((copy / path).read_bytes(), "flask/__init__.py", "STOLEN = 'again'")
    thief.replace_file("flask", filename, wheel)
    shutil.copy(stage.public / "metadata" / newest.name, newest)
    bins = {file.name for file in (copy / "metadata").glob("*.bin-*.json")}
    bins -= {file.name for file in (stage.public / "metadata").iterdir()}
    document = document_path(project_name("flask"))
    return copy, next(
        name
        for name in sorted(bins)
        if document in json.loads((copy / "metadata" / name).read_bytes())["signed"]["targets"]
    )


def _tried(
    stage: Stage, name: str, environment: Environment, words: str, *errors: str
) -> tuple[bool, str]:
    run = stage.person(name).pip_install("flask", environment)
    ok = run.stopped_as(*(errors or ("SignatureError",))) and not environment.installed()
    return ok, f"- {words}: {run.verdict()}"
