"""Drill 6: the server comes back from an old backup. docs/drills/6-old-backup.md."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from indextrust.cli.drills.every_role import IN_EVERY_ROLE, refused_in_every_role
from indextrust.cli.drills.followers import (
    AT_WORK,
    FOLLOWED,
    SAW_BAD,
    SAW_GOOD,
    at_work,
    converge,
    installs,
    takes,
    visits,
)
from indextrust.cli.drills.stage import INDEX, PROJECT, Stage, served_versions
from indextrust.cli.genesis import ONLINE
from indextrust.cli.stagecraft.acts import Scene
from indextrust.testing import TamperingServer

__all__ = ["SCENES"]

_LATER = PROJECT, "1.1"
_RENEWALS = 3


def _goes_on(stage: Stage) -> tuple[str, bool]:
    """After the backup a release comes, and days of renewals."""
    shutil.copytree(stage.repository, _backup(stage))
    before = served_versions(stage.metadata)
    stage.publish(stage.wheel(*_LATER))
    for _ in range(_RENEWALS):
        stage.opened().renew(timedelta(days=2))
    shutil.copytree(stage.public, _mirror(stage))
    after = served_versions(stage.metadata)
    installed, line = installs(stage, SAW_GOOD)
    taken, also = takes(stage, SAW_GOOD, stage.target(*_LATER))
    observed = (
        f"in the backup: snapshot {before['snapshot']}, timestamp {before['timestamp']}; served "
        f"since: up to snapshot {after['snapshot']}, timestamp {after['timestamp']}\n"
        f"{FOLLOWED[SAW_GOOD]}: {line}\nUpdater: {also}"
    )
    newer = all(after[role] > version for role, version in before.items())
    return observed, installed and taken and newer


def _restored(stage: Stage) -> tuple[str, bool]:
    """The whole folder: state, queue and its head, private copies, what is served."""
    shutil.rmtree(stage.repository)
    shutil.copytree(_backup(stage), stage.repository)
    run, empty = visits(stage, SAW_GOOD)
    _, updater = takes(stage, SAW_GOOD)
    _, line = installs(stage, SAW_BAD)
    _, also = takes(stage, SAW_BAD)
    observed = (
        f"{FOLLOWED[SAW_GOOD]}: {run.verdict()}\nUpdater: {updater}\n"
        f"{FOLLOWED[SAW_BAD]}: {line}: valid, and old\nUpdater: {also}"
    )
    refused = run.stopped_as("RollbackError") and not empty.installed()
    return observed, refused and "BadVersionNumberError" in updater


def _as_if_nothing(stage: Stage) -> tuple[str, bool]:
    """In a copy: another release is published from the backup."""
    from indextrust.repository import Repository

    copy = stage.folder / "as-if-nothing"
    shutil.copytree(stage.repository, copy)
    repository = Repository.open(copy, online=stage.signer(ONLINE))
    repository.add(stage.wheel("compass", "3.0"))
    repository.publish()
    ours, theirs = copy / "public" / "metadata", _mirror(stage) / "metadata"
    twice = sorted(
        path.name
        for path in ours.iterdir()
        if path.name != "timestamp.json"
        and (theirs / path.name).exists()
        and (theirs / path.name).read_bytes() != path.read_bytes()
    )
    stage.cdn.replay("", copy / "public")
    run, _ = visits(stage, SAW_GOOD)
    stage.cdn.be_honest()
    observed = (
        f"numbers that stand for two files now: {', '.join(twice) or 'none'}\n"
        f"{FOLLOWED[SAW_GOOD]}: {run.verdict()}"
    )
    return observed, bool(twice) and run.code != 0


def _jump(stage: Stage) -> tuple[str, bool]:
    """The highest number is known from a mirror; what was lost is taken from it, verified."""
    seen = served_versions(_mirror(stage) / "metadata")
    repository = stage.opened()
    repository.restore(above=max(seen.values()))
    wheel = _from_mirror(stage)
    stage.publish(wheel)
    now = served_versions(stage.metadata)
    above = all(now[role] > version for role, version in seen.items())
    observed = (
        f"highest number ever served: {max(seen.values())}; now snapshot {now['snapshot']}, "
        f"timestamp {now['timestamp']}, bins from {min(now[r] for r in now if r.startswith('bin'))}"
        f"\n{wheel.name} taken from the mirror, verified by the signed metadata there, and added"
    )
    return observed, above and stage.target(*_LATER) in stage.good


def _from_mirror(stage: Stage) -> Path:
    """The release that the backup lacks, as a client of the mirror gets it."""
    from indextrust.client import TrustedIndexes

    indexes = TrustedIndexes(stage.folder / "operator")
    folder = stage.folder / "from-the-mirror"
    folder.mkdir()
    with TamperingServer(_mirror(stage)) as mirror:
        indexes.add(INDEX, mirror.url, stage.announced)
        client = indexes.client(INDEX)
        return client.download(client.file(stage.filename(*_LATER)), folder)


def _replayed(stage: Stage) -> tuple[str, bool]:
    """Somebody on the network has the backup's metadata, too."""
    stage.cdn.replay("metadata/", _backup(stage) / "public" / "metadata")
    told = []
    ok = True
    for name in FOLLOWED:
        run, empty = visits(stage, name)
        _, also = takes(stage, name)
        ok &= run.stopped_as("RollbackError") and not empty.installed()
        ok &= "BadVersionNumberError" in also
        told.append(f"{FOLLOWED[name]}: {run.verdict()}\nUpdater: {also}")
    stage.cdn.be_honest()
    stage.stolen = [CryptoSigner.generate_ed25519()]
    return "\n".join(told), ok


def _backup(stage: Stage) -> Path:
    return stage.folder / "backup"


def _mirror(stage: Stage) -> Path:
    return stage.folder / "mirror"


SCENES: tuple[Scene[Stage], ...] = (
    (*AT_WORK, at_work),
    (
        "a backup, and days after it",
        "a release and renewals come; clients take the newest state",
        _goes_on,
    ),
    (
        "the server is put back from the backup",
        "who saw the newest state is refused the old one as rolled back, and so is python-tuf's "
        "Updater; who starts now can't know",
        _restored,
    ),
    (
        "going on as if nothing had happened",
        "in a copy: numbers stand for two files, and who saw the first is refused still",
        _as_if_nothing,
    ),
    (
        "restored above what was ever served",
        "every number of timestamp, snapshot and bins is above the highest one that a mirror has; "
        "the lost release comes back from the mirror by its hash",
        _jump,
    ),
    (
        "all converge",
        "all install, and trust the same versions; nobody does anything",
        converge,
    ),
    (
        "the backup's metadata is replayed",
        "refused as rolled back by all six",
        _replayed,
    ),
    (*IN_EVERY_ROLE, refused_in_every_role),
)
