"""Drill 1: the online key is stolen. docs/drills/1-online-key.md."""

from __future__ import annotations

import shutil
from typing import Any

from indextrust.cli.drills.every_role import IN_EVERY_ROLE, refused_in_every_role
from indextrust.cli.drills.followers import (
    AT_WORK,
    FOLLOWED,
    SAW_BAD,
    SAW_GOOD,
    at_work,
    converge,
    takes,
    visits,
)
from indextrust.cli.drills.stage import KEYHOLDERS, PROJECT, THRESHOLD, Stage, served_versions
from indextrust.cli.exit_codes import AFFECTED
from indextrust.cli.genesis import ONLINE, key_path
from indextrust.cli.stagecraft.acts import Scene
from indextrust.cli.stagecraft.commands import Answer
from indextrust.errors import FrozenError, StoreError
from indextrust.testing import OnlineKeyThief, malicious_wheel
from indextrust.testing.raw import latest

__all__ = ["SCENES"]

_FAR = 2**31
_QUEUED = "compass", "1.1"
_NEW_RELEASE = "compass", "6.6"
_NEW_PROJECT = "lantren", "1.0"
_REMOVED = "anchor", "1.0"
_ONLINE_ANEW = f"{ONLINE}-anew"
_SUMMARY = "The online key was stolen. Run indextrust scan, and reinstall what it names."


def _checkpoint(stage: Stage) -> tuple[str, bool]:
    """What is known to be good, and what honestly came after it."""
    stage.good_checkpoint = stage.checkpoint()
    stage.publish(stage.wheel(*_QUEUED))
    observed = f"digest {stage.good_checkpoint[-1]}\n{stage.target(*_QUEUED)} published since"
    return observed, stage.target(*_QUEUED) in stage.good


def _stolen(stage: Stage) -> tuple[str, bool]:
    """The thief signs all he likes, and drives every version far ahead."""
    pem, passphrase = stage.key_file(ONLINE)
    thief = OnlineKeyThief(stage.public, pem.read_bytes(), passphrase.encode(), now=stage.now)
    stage.stolen = [stage.signer(ONLINE)]
    bad = malicious_wheel((stage.public / stage.target()).read_bytes(), "lantern.py", "STOLEN = 1")
    changed = {
        *thief.replace_file(PROJECT, stage.filename(), bad),
        *thief.add_file(*_NEW_RELEASE, stage.filename(*_NEW_RELEASE), bad),
        *thief.remove_file(_REMOVED[0], stage.filename(*_REMOVED)),
        *thief.add_file(*_NEW_PROJECT, stage.filename(*_NEW_PROJECT), bad),
    }
    thief.drive_versions(_FAR)
    run, poisoned = visits(stage, SAW_BAD)
    found = poisoned.origin(PROJECT) if run.code == 0 else "not installed"
    _, updater = takes(stage, SAW_BAD)
    home = stage.folder / "returning"
    shutil.copytree(stage.home(SAW_GOOD), home)
    empty = stage.environment("alarmed")
    alarmed = stage.newcomer(home).pip_install(PROJECT, empty)
    observed = (
        f"{len(changed)} target paths, versions at {_FAR}\n"
        f"who starts now: exit code {run.code}, {PROJECT} STOLEN = {found}\nUpdater: {updater}\n"
        f"a copy of who installed before: {alarmed.verdict()}"
    )
    ok = found == "1" and updater.startswith("ANOTHER FILE")
    return observed, ok and alarmed.stopped_as("ChangedArtifactError") and not empty.installed()


def _frozen(stage: Stage) -> tuple[str, bool]:
    """The plan, the freeze; the hourly renewal stops."""
    compromised: tuple[str, ...] = ("--compromised", "timestamp", "--good", *stage.good_checkpoint)
    plan = stage.command("recover", "plan", stage.repository, *compromised)
    start = (*compromised, "--summary", _SUMMARY)
    begun = stage.command("recover", "start", stage.repository, *start)
    words = ("--keys", str(stage.keys), *stage.passphrase_of(ONLINE))
    renewal = stage.command("renew", stage.repository, *words)
    error = renewal.data.get("error", {}).get("kind")
    steps = [step["name"] for step in plan.data["plan"]["steps"]]
    observed = (
        f"recover plan: cure {plan.data['plan']['cure']}; {', '.join(steps)}\n"
        f"recover start: next step {begun.data['recovery']['step']}\n"
        f"renew: exit code {renewal.code}, {error}"
    )
    return observed, plan.code == begun.code == 0 and error == FrozenError.__name__


def _audited(stage: Stage) -> tuple[str, bool]:
    """`recover next`: compared with the checkpoint, by the log of what was queued."""
    recovery = _next(stage).data["recovery"]
    items = {item["path"]: item["decision"] for item in recovery["items"]}
    expected = {
        stage.target(): "restore",
        stage.target(*_REMOVED): "restore",
        stage.target(*_NEW_RELEASE): "remove",
        stage.target(*_NEW_PROJECT): "remove",
        stage.target(*_QUEUED): "keep",
    }
    observed = "\n".join(f"{decision}: {path}" for path, decision in sorted(items.items()))
    return observed, items == expected


def _ceremony(stage: Stage) -> tuple[str, bool]:
    """Decisions as proposed; a new online key; as many keyholders as the threshold asks for."""
    _next(stage, "--record", "drill-1")
    folder = stage.folder / "new-key"
    folder.mkdir()
    stage.new_key(_ONLINE_ANEW, folder / f"{ONLINE}.pem")
    proposed = _next(stage, "--online", str(folder / f"{ONLINE}.pub.json"))
    event = stage.repository / "recovery" / "event.json"
    digest = stage.command("ceremony", "status", event).data["event"]["digest"]
    codes = []
    for name in KEYHOLDERS[:THRESHOLD]:
        key = f"file2:{key_path(stage.keys, name)}"
        words = ("--keyholder", name, "--key", key, "--digest", digest)
        signed = stage.command("ceremony", "sign", event, *words, *stage.passphrase_of(name))
        codes.append(signed.code)
    finished = _next(stage)
    observed = (
        f"next step after the decisions: {proposed.data['recovery']['step']}\n"
        f"event {digest[:16]}… signed by {', '.join(KEYHOLDERS[:THRESHOLD])}\n"
        f"next step: {finished.data['recovery']['step']}"
    )
    return observed, not any(codes) and finished.data["recovery"]["step"] == "install"


def _next(stage: Stage, *more: str) -> Answer:
    """The next step of the recovery. Raises StoreError if it fails."""
    answer = stage.command("recover", "next", stage.repository, *more)
    if answer.code != 0:
        raise StoreError(f"recover next ended with {answer.code}: {answer.words}")
    return answer


def _installed(stage: Stage) -> tuple[str, bool]:
    """One publication, looked at, and the end of the freeze."""
    keys = key_path(stage.folder / "new-key", ONLINE).parent
    _next(stage, "--keys", str(keys), *stage.passphrase_of(_ONLINE_ANEW, ONLINE))
    _next(stage)
    done = _next(stage, "--reason", "the online key is replaced, the good state is back")
    repository = stage.opened(_ONLINE_ANEW)
    served = {path: file.sha256 for path, file in repository.published_targets().items()}
    same = served == stage.good
    versions = served_versions(stage.metadata)
    lowest = min(versions.values())
    known = _records(stage)
    observed = (
        f"recover: {done.data['recovery']['step']}; what is served is "
        f"{'' if same else 'NOT '}the checkpoint and {stage.filename(*_QUEUED)}\n"
        f"versions go on from {lowest}; targets lists {', '.join(known) or 'NO RECORD'}"
    )
    return observed, same and lowest > _FAR and known == ["incidents/drill-1.json"]


def _records(stage: Stage) -> list[str]:
    """What the top-level targets role lists, whose keys are nowhere."""
    targets: dict[str, Any] = latest(stage.metadata, "targets").signed.targets
    return sorted(targets)


def _scanned(stage: Stage) -> tuple[str, bool]:
    """Who installed the thief's wheel asks which of the installed distributions are affected."""
    bad = stage.person(SAW_BAD).scan(stage.environments[SAW_BAD])
    good = stage.person(SAW_GOOD).scan(stage.environments[SAW_GOOD])
    told = [
        f"{finding['project']} {finding['version']} is {finding['judgement']}: {finding['reason']}"
        for finding in bad.data.get("findings", [])
    ]
    refreshed = stage.client(stage.home(SAW_BAD)).refresh()
    notices = [notice.message for notice in refreshed.notices]
    observed = (
        f"scan, {FOLLOWED[SAW_BAD]}: exit code {bad.code}; {'; '.join(told)}\n"
        f"scan, {FOLLOWED[SAW_GOOD]}: exit code {good.code}\n"
        f"{FOLLOWED[SAW_BAD]} is told by every refresh: {' '.join(notices) or 'NOTHING'}"
    )
    named = len(told) == 1 and told[0].startswith(f"{PROJECT} 1.0 is affected")
    said = any(_SUMMARY in notice for notice in notices)
    return observed, bad.code == AFFECTED and named and good.code == 0 and said


SCENES: tuple[Scene[Stage], ...] = (
    (*AT_WORK, at_work),
    (
        "a checkpoint",
        "made, and its digest kept elsewhere; an honest release is published after it",
        _checkpoint,
    ),
    (
        "the online key is stolen",
        "a file re-signed malicious, a malicious release, a file removed, a project added, all "
        f"versions at {_FAR}; who starts now installs the thief's wheel; first-seen memory alarms "
        "who had the file",
        _stolen,
    ),
    (
        "freeze",
        "a plan is made; from `recover start` on nothing is signed, timers included",
        _frozen,
    ),
    (
        "audit",
        "against the checkpoint exactly the thief's changes are listed, to be undone, and the "
        "honest release, to be kept: the log says who queued it",
        _audited,
    ),
    (
        "the signing event",
        f"{THRESHOLD} of {len(KEYHOLDERS)} keyholders sign root v2, with a new online key and the "
        "incident record",
        _ceremony,
    ),
    (
        "the good state, under the new key",
        "everything honest is served again, the release after the checkpoint too; all versions are "
        "above the thief's; the incident record is listed by top-level targets",
        _installed,
    ),
    (
        "which installed files are affected",
        "`scan` names the thief's wheel in the environment it was installed into, and nothing in "
        "the other; who saw it is told of the incident by every refresh",
        _scanned,
    ),
    (
        "all converge",
        "all install by an ordinary refresh; who saw the bad state too: the incident record says "
        "which digest is good; all trust the same versions",
        converge,
    ),
    (*IN_EVERY_ROLE, lambda stage: refused_in_every_role(stage, _ONLINE_ANEW)),
)
