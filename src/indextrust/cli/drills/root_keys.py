"""Drill 3: a threshold of root keys is stolen. docs/drills/3-root-threshold.md."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata, Root

from indextrust.cli.drills.every_role import (
    IN_EVERY_ROLE,
    refused_by_all,
    refused_in_every_role,
)
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
from indextrust.cli.drills.stage import KEYHOLDERS, PROJECT, THRESHOLD, Stage
from indextrust.cli.genesis import ONLINE, fingerprint
from indextrust.cli.stagecraft.acts import Scene
from indextrust.errors import BadFingerprintError, StoreError
from indextrust.testing import Usurper, malicious_wheel

__all__ = ["SCENES"]

_STOLEN = KEYHOLDERS[:THRESHOLD]
_ANEW = tuple(f"{name}-anew" for name in KEYHOLDERS)
_ONLINE_ANEW = f"{ONLINE}-anew"
_PAYLOAD = "STOLEN = 'signed-under-the-root-of-the-thief'"


def _seized(stage: Stage) -> tuple[str, bool]:
    """He writes to the server as well: the next root is his, and all below it."""
    stage.stolen = [stage.signer(name) for name in _STOLEN]
    thief = Usurper(stage.public, stage.stolen, now=stage.now)
    stage.stolen.append(thief.own)
    thief.sign_root()
    wheel = malicious_wheel((stage.public / stage.target()).read_bytes(), "lantern.py", _PAYLOAD)
    thief.sign_everything().replace_file(PROJECT, stage.filename(), wheel)
    run, environment = visits(stage, SAW_BAD)
    found = environment.origin(PROJECT) if run.code == 0 else "not installed"
    _, updater = takes(stage, SAW_BAD)
    empty = stage.environment("alarmed")
    alarmed = stage.newcomer(_copy(stage, SAW_GOOD)).pip_install(PROJECT, empty)
    observed = (
        f"who starts now: exit code {run.code}, {PROJECT} {found}\n"
        f"Updater: {updater}\n"
        f"a copy of who installed before: {alarmed.verdict()}"
    )
    ok = found == _PAYLOAD.split("'")[1] and updater.startswith("ANOTHER FILE")
    return observed, ok and alarmed.stopped_as("ChangedArtifactError") and not empty.installed()


def _no_cure(stage: Stage) -> tuple[str, bool]:
    """All five honest keyholders together, the three whose keys were copied among them."""
    from indextrust.ceremony import rotate

    honest = [stage.signer(name) for name in KEYHOLDERS]
    refused, line = refused_by_all(stage, Root.type, honest)
    roles = rotate(
        stage.opened().signed_roles(), honest, stage.signer(ONLINE).public_key, now=stage.now
    )
    first = Metadata[Root].from_bytes(stage.announced)
    seconds = ((stage.metadata / "2.root.json").read_bytes(), roles.root[-1])
    valid = []
    for data in seconds:
        second = Metadata[Root].from_bytes(data)
        result = first.signed.get_verification_result(
            Root.type, second.signed_bytes, second.signatures
        )
        valid.append(bool(result))
    stolen = [word for name in _STOLEN for word in ("--compromised", name)]
    plan = stage.command("recover", "plan", stage.repository, *stolen).data["plan"]
    summary = ("--summary", "three keys")
    begun = stage.command("recover", "start", stage.repository, *stolen, *summary)
    observed = (
        f"recover plan: cure {plan['cure']}; recover start: exit code {begun.code}\n"
        f"a root v3 signed by all {len(honest)} keyholders {line}\n"
        f"a root v2 of theirs and the thief's root v2, under root v1: "
        f"{' and '.join('valid' if one else 'NOT VALID' for one in valid)}; nothing tells "
        "them apart"
    )
    return observed, refused and all(valid) and plan["cure"] == "out of band" and begun.code != 0


def _founded_anew(stage: Stage) -> tuple[str, bool]:
    """Other keys, another root v1, the files from the private copies by their known hashes."""
    new = stage.folder / "founded-anew"
    stage.found(new, _ANEW, _ONLINE_ANEW)
    wheels = _from_private_copies(stage)
    os.rename(stage.repository, stage.folder / "seized")
    os.rename(new, stage.repository)
    before = {path: digest for path, digest in stage.good.items() if path.endswith(".whl")}
    stage.publish(*wheels, online=_ONLINE_ANEW)
    after = {path: digest for path, digest in stage.good.items() if path.endswith(".whl")}
    empty = stage.environment("without-a-reset")
    answers = [
        stage.newcomer(_copy(stage, name)).pip_install(PROJECT, empty)
        for name in (SAW_GOOD, SAW_BAD)
    ]
    observed = (
        f"another root v1, sha256 {fingerprint(stage.announced)[:16]}…, announced by another way; "
        f"{len(wheels)} wheels with the same hashes\n"
        f"without a reset: {'; '.join(answer.verdict() for answer in answers)}"
    )
    return observed, before == after and all(one.stopped_as("SignatureError") for one in answers)


def _from_private_copies(stage: Stage) -> list[Path]:
    """The wheels that are known to be honest, by their hashes, under their own names."""
    wheels = []
    for path, sha256 in stage.good.items():
        if path.endswith(".whl"):
            data = (stage.repository / "objects" / sha256[:2] / sha256).read_bytes()
            if hashlib.sha256(data).hexdigest() != sha256:
                raise StoreError(f"the private copy of {path} is damaged")
            wheels.append(stage.folder / "recovered" / path.rpartition("/")[2])
            wheels[-1].parent.mkdir(exist_ok=True)
            wheels[-1].write_bytes(data)
    return wheels


def _copy(stage: Stage, name: str) -> Path:
    """A copy of what a person's indextrust remembers."""
    copy = stage.folder / f"copy-{len(list(stage.folder.glob('copy-*')))}"
    shutil.copytree(stage.home(name), copy)
    return copy


def _wrong_fingerprint(stage: Stage) -> tuple[str, bool]:
    """Somebody who saw only good is told the fingerprint of the thief's root."""
    before = _remembered(stage, SAW_GOOD), _trusted(stage, SAW_GOOD)
    his = fingerprint((stage.folder / "seized" / "public/metadata/2.root.json").read_bytes())
    answer = stage.person(SAW_GOOD).reset(his)
    said = answer.words.strip()
    kept = (_remembered(stage, SAW_GOOD), _trusted(stage, SAW_GOOD)) == before
    observed = f"{said}\ntrust and memory are {'as before' if kept else 'CHANGED'}"
    refused = answer.code != 0 and answer.data["error"]["kind"] == BadFingerprintError.__name__
    return observed, kept and refused


def _reset(stage: Stage) -> tuple[str, bool]:
    """Who saw only good, and who saw the bad state; each is told the right fingerprint."""
    told = []
    ok = True
    for name in (SAW_GOOD, SAW_BAD):
        before = _remembered(stage, name)
        answer = stage.person(name).reset(fingerprint(stage.announced))
        kept = answer.code == 0 and bool(before) and _remembered(stage, name) == before
        ok &= kept
        told.append(f"{FOLLOWED[name]}: remembers {'the same' if kept else 'OTHERWISE'}")
    run, environment = visits(stage, SAW_BAD)
    honest = stage.good[stage.target()]
    stage.person(SAW_BAD).acknowledge(stage.filename(), honest)
    told.append(f"{FOLLOWED[SAW_BAD]}: {run.verdict()}; acknowledges {honest[:16]}…")
    alarmed = run.stopped_as("ChangedArtifactError") and not environment.installed()
    return "\n".join(told), ok and alarmed


def _remembered(stage: Stage, name: str) -> list[Any]:
    """The rows of a person's first-seen memory."""
    with contextlib.closing(sqlite3.connect(stage.home(name) / "memory.sqlite")) as db:
        return db.execute("SELECT * FROM first_seen ORDER BY 1, 2, 3").fetchall()


def _trusted(stage: Stage, name: str) -> dict[str, bytes]:
    """Every file of a person's trusted metadata."""
    folder = stage.home(name) / "indexes"
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


SCENES: tuple[Scene[Stage], ...] = (
    (*AT_WORK, at_work),
    (
        "three root keys are stolen: the thief signs the next root",
        "who starts now installs his wheel, and python-tuf's Updater takes it: nothing marks it; "
        "who installed before follows his root too, and first-seen memory raises the alarm",
        _seized,
    ),
    (
        "no cure within the protocol",
        "`recover plan` says so, and `recover start` refuses; clients that follow the thief's root "
        "refuse what all five keyholders sign together; two roots v2 are valid under root v1",
        _no_cure,
    ),
    (
        "the index is founded anew",
        "other keys and another root; the same wheels, from the private copies, by the hashes of a "
        "record kept elsewhere; nobody comes over without being told",
        _founded_anew,
    ),
    (
        "a wrong fingerprint",
        "`trust reset` with the fingerprint of the thief's root is refused; trust and memory stay",
        _wrong_fingerprint,
    ),
    (
        "the right fingerprint, by another way",
        "`trust reset` keeps the first-seen memory: who remembers the thief's wheel is refused the "
        "honest one until a person has compared the digests and acknowledged it",
        _reset,
    ),
    (
        "all converge",
        "all install, and trust the same versions under the new root",
        converge,
    ),
    (*IN_EVERY_ROLE, lambda stage: refused_in_every_role(stage, _ONLINE_ANEW)),
)
