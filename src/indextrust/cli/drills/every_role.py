"""The act in which the thief comes back: his keys are tried in every role, and refused.

Twice: python-tuf is asked whether signatures by these keys count for the role, as it is delegated
now; and the next version of the role, signed by them and listed by whoever honestly lists it
(`indextrust.testing.forgery`), is shown to eight clients: copies of the six that are followed, and
a new one of each kind. They have to refuse the signature, and not something beside it.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from securesystemslib.signer import Signer
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp
from tuf.api.serialization.json import CanonicalJSONSerializer

from indextrust.cli.drills.followers import FOLLOWED
from indextrust.cli.drills.stage import INDEX, PROJECT, Stage
from indextrust.cli.genesis import ONLINE
from indextrust.errors import IndextrustError, SignatureError
from indextrust.testing.forgery import BINS, delegator_of, forge_role
from indextrust.testing.raw import latest

__all__ = ["IN_EVERY_ROLE", "counts", "refused_by_all", "refused_in_every_role"]

_REFUSED = (SignatureError.__name__, UnsignedMetadataError.__name__)
_NEW = "new"


IN_EVERY_ROLE = (
    "what the thief has, in every role",
    "refused as root, timestamp, snapshot, targets, bins and bin, by everybody",
)
"""Title and expectation of `refused_in_every_role`."""


def refused_in_every_role(stage: Stage, online: str = ONLINE) -> tuple[str, bool]:
    """The act.

    Args:
        stage: on which all have converged.
        online: name of the online key in force.
    """
    delegations = latest(stage.metadata, BINS).signed.delegations
    (bin_of_project, _) = next(delegations.get_roles_for_target(f"simple/{PROJECT}/index.json"))
    told: list[str] = []
    ok = True
    for role in (Root.type, Timestamp.type, Snapshot.type, Targets.type, BINS, bin_of_project):
        refused, line = refused_by_all(stage, role, stage.stolen, online)
        ok &= refused
        told.append(f"{role}: {line}")
    return "\n".join(told), ok


def refused_by_all(
    stage: Stage, role: str, signers: Sequence[Signer], online: str = ONLINE
) -> tuple[bool, str]:
    """Whether nobody takes the next version of `role` that `signers` signed, and in which words."""
    counted = counts(stage, role, signers)
    number = len(list(stage.folder.glob("forged-*")))
    forged = stage.folder / f"forged-{number}"
    shutil.copytree(stage.metadata, forged)
    forge_role(forged, role, signers, stage.signer(online), now=stage.now)
    stage.cdn.replay("metadata/", forged)
    answers = [*_people(stage, forged), *_updaters(stage, forged)]
    stage.cdn.be_honest()
    refused = sum(answer in _REFUSED for answer in answers)
    line = (
        f"{'COUNTS' if counted else 'does not count'} for python-tuf; the signature is refused by "
        f"{refused} of {len(answers)} clients"
    )
    if refused < len(answers):
        line += f" ({', '.join(answers)})"
    return not counted and refused == len(answers), line


def counts(stage: Stage, role: str, signers: Sequence[Signer]) -> bool:
    """Whether python-tuf finds a threshold of the role's keys, as served now, among these."""
    metadata = latest(stage.metadata, role)
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    payload = CanonicalJSONSerializer().serialize(metadata.signed)
    delegator = delegator_of(stage.metadata, role)
    return bool(delegator.get_verification_result(role, payload, metadata.signatures))


def _people(stage: Stage, copies: Path) -> list[str]:
    """What is answered to copies of the people followed, and to a new one."""
    from indextrust.client import TrustedIndexes

    answers = []
    for name in (*FOLLOWED, _NEW):
        home = copies / "homes" / name
        if name != _NEW and stage.home(name).exists():
            shutil.copytree(stage.home(name), home)
        else:
            TrustedIndexes(home).add(INDEX, stage.cdn.url, stage.announced)
        try:
            client = stage.client(home)
            client.refresh()
            client.project(PROJECT)
            answers.append("nothing refused")
        except IndextrustError as error:
            answers.append(type(error).__name__)
    return answers


def _updaters(stage: Stage, copies: Path) -> list[str]:
    """The same for python-tuf's own client."""
    answers = []
    for name in (*FOLLOWED, _NEW):
        cache = copies / "caches" / name
        if name != _NEW and stage.cache(name).exists():
            shutil.copytree(stage.cache(name), cache)
        try:
            stage.updater(cache).get_targetinfo(f"simple/{PROJECT}/index.json")
            answers.append("nothing refused")
        except RepositoryError as error:
            answers.append(type(error).__name__)
    return answers
