"""Drill 2: one root key of five is stolen. docs/drills/2-one-root-key.md."""

from __future__ import annotations

import json
import shutil

from indextrust.cli.drills.every_role import (
    IN_EVERY_ROLE,
    counts,
    refused_by_all,
    refused_in_every_role,
)
from indextrust.cli.drills.followers import AT_WORK, SAW_BAD, at_work, converge, takes, visits
from indextrust.cli.drills.stage import KEYHOLDERS, THRESHOLD, Stage
from indextrust.cli.genesis import ONLINE
from indextrust.cli.stagecraft.acts import Scene
from indextrust.testing import Usurper

__all__ = ["SCENES"]

_STOLEN, *_HONEST = KEYHOLDERS
_REPLACEMENT = "ruth"


def _signs_alone(stage: Stage) -> tuple[str, bool]:
    """The thief controls the network too: clients are shown his root."""
    seized = stage.folder / "seized"
    shutil.copytree(stage.public, seized)
    stage.stolen = [stage.signer(_STOLEN)]
    thief = Usurper(seized, stage.stolen, now=stage.now)
    thief.sign_root()
    thief.sign_everything()
    stage.cdn.replay("", seized)
    run, environment = visits(stage, SAW_BAD)
    _, updater = takes(stage, SAW_BAD)
    stage.cdn.be_honest()
    observed = f"who saw the bad state: {run.verdict()}\nUpdater: {updater}"
    refused = run.stopped_as("SignatureError") and "UnsignedMetadataError" in updater
    return observed, refused and not environment.installed()


def _with_two_more(stage: Stage) -> tuple[str, bool]:
    """Asked of python-tuf: what two careless keyholders would make of it."""
    signers = [stage.signer(name) for name in (_STOLEN, *_HONEST[: THRESHOLD - 1])]
    plan = stage.command("recover", "plan", stage.repository, "--compromised", _STOLEN).data["plan"]
    alone = counts(stage, "root", signers[:1])
    together = counts(stage, "root", signers)
    observed = (
        f"python-tuf, root v1: the stolen key alone is {'ENOUGH' if alone else 'not enough'}; "
        f"with two honest ones it is {'enough' if together else 'NOT ENOUGH'}\n"
        f"recover plan: cure {plan['cure']}; {', '.join(step['name'] for step in plan['steps'])}"
    )
    return observed, together and not alone and plan["cure"] == "keyholders"


def _replace(stage: Stage) -> tuple[str, bool]:
    """As many of the other four as the threshold asks for, and a new key for the fifth."""
    from indextrust.ceremony import rotate

    replacement = stage.new_key(_REPLACEMENT)
    others = [stage.signer(name) for name in _HONEST]
    repository = stage.opened()
    before = repository.signed_roles()
    roles = rotate(
        before,
        others[:THRESHOLD],
        stage.signer(ONLINE).public_key,
        new_root_keys=[replacement.public_key, *(holder.public_key for holder in others)],
        now=stage.now,
    )
    repository.install(roles, stage.signer(ONLINE))
    root = json.loads(roles.root[-1])
    listed = root["signed"]["roles"]["root"]["keyids"]
    stolen = stage.signer(_STOLEN).public_key.keyid
    old = json.loads(before.root[-1])["signed"]["roles"]["root"]["keyids"]
    by = {signature["keyid"] for signature in root["signatures"]}
    observed = (
        f"root v{root['signed']['version']}: {len(by & set(old))} signatures by keys of root v1, "
        f"{len(by & set(listed))} by keys of root v2, threshold {THRESHOLD} in both; the stolen "
        f"key is {'STILL' if stolen in listed else 'no longer'} listed; timestamp, snapshot and "
        f"bins keep their key"
    )
    ok = stolen not in listed and len(listed) == len(KEYHOLDERS)
    return observed, ok and min(len(by & set(old)), len(by & set(listed))) >= THRESHOLD


def _cannot_sign(stage: Stage) -> tuple[str, bool]:
    """With one honest old key, with two; three honest ones can, to see that the test can fail."""
    told = []
    ok = True
    stolen, *honest = (stage.signer(name) for name in KEYHOLDERS)
    for number in range(THRESHOLD):
        refused, line = refused_by_all(stage, "root", [stolen, *honest[:number]])
        ok &= refused
        told.append(f"the stolen key and {number} honest: {line}")
    control = counts(stage, "root", honest[:THRESHOLD])
    told.append(f"{THRESHOLD} honest keys: {'count' if control else 'DO NOT COUNT'} for python-tuf")
    return "\n".join(told), ok and control


SCENES: tuple[Scene[Stage], ...] = (
    (*AT_WORK, at_work),
    (
        "one root key is stolen, and signs a root alone",
        "clients that are shown it refuse the signature and install nothing; python-tuf's does too",
        _signs_alone,
    ),
    (
        "what two more signatures would do",
        "as long as root v1 stands, the stolen key counts: with two honest ones it is a threshold; "
        "`recover plan` says what to do",
        _with_two_more,
    ),
    (
        "the keyholders replace it",
        "root v2 is signed by three keys of root v1 and by three of its own; the stolen key is not "
        "in it, a new one is",
        _replace,
    ),
    (
        "the stolen key with honest old ones",
        "neither with one honest key nor with two does it sign a root v3; three honest ones would",
        _cannot_sign,
    ),
    (
        "all converge",
        "all install by an ordinary refresh, nobody does anything; all trust the same versions",
        converge,
    ),
    (*IN_EVERY_ROLE, refused_in_every_role),
)
