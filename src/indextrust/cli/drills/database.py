"""Drill 5: the state database is tampered with. docs/drills/5-state-database.md."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from indextrust.cli.drills.every_role import IN_EVERY_ROLE, refused_in_every_role
from indextrust.cli.drills.followers import (
    AT_WORK,
    FOLLOWED,
    SAW_BAD,
    at_work,
    converge,
    installs,
    takes,
)
from indextrust.cli.drills.stage import PROJECT, Stage
from indextrust.cli.stagecraft.acts import Scene
from indextrust.errors import AlteredStateError
from indextrust.testing import Scribe, malicious_wheel

__all__ = ["SCENES"]

_NEW = "compass", "9.9"
_LATER = "compass", "2.0"


def _tampered(stage: Stage) -> tuple[str, bool]:
    """Twice: the whole log sealed anew with a key of his own; only what he appended."""
    stage.stolen = [CryptoSigner.generate_ed25519()]
    stage.opened().add(stage.wheel(*_LATER))  # queued, and not yet published
    database = stage.repository / "state.sqlite"
    honest = stage.folder / "honest.sqlite"
    shutil.copy(database, honest)
    before = _digests(stage.public)
    told = []
    ok = True
    for words, everything in (("what he queued alone", False), ("every table, and the log", True)):
        shutil.copy(honest, database)
        _write(stage, database, everything=everything)
        answers = _answers(stage)
        unsigned = _digests(stage.public) == before
        ok &= unsigned and all(answers.values())
        told.append(f"{words}; {'not one served byte differs' if unsigned else 'SIGNED'}:")
        told.extend(f"- {name}: {answer or 'WENT THROUGH'}" for name, answer in answers.items())
    return "\n".join(told), ok


def _write(stage: Stage, database: Path, *, everything: bool) -> None:
    scribe = Scribe(database)
    filename, path = stage.filename(), stage.public / f"simple/{PROJECT}/index.json"
    wheel = malicious_wheel(
        (stage.public / stage.target()).read_bytes(), "lantern.py", "STOLEN = 1"
    )
    document = json.loads(path.read_bytes())
    document["files"][0]["hashes"] = {"sha256": hashlib.sha256(wheel).hexdigest()}
    document["files"][0]["size"] = len(wheel)
    last = scribe.last()
    scribe.queue_file(*_NEW, stage.filename(*_NEW), wheel)
    if everything:
        text = json.dumps(document, sort_keys=True, separators=(",", ":"))
        scribe.replace_file(PROJECT, filename, wheel, text.encode())
    scribe.seal_from(1 if everything else last + 1)


def _digests(folder: Path) -> dict[str, str]:
    """Every file below a folder, by its SHA-256."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _answers(stage: Stage) -> dict[str, str]:
    """What the repository says when it is to sign: each operation, and its refusal or nothing."""
    repository = stage.opened()
    operations: dict[str, Callable[[], object]] = {
        "publish": repository.publish,
        "renew": lambda: repository.renew(timedelta(days=2)),
        "restore": repository.restore,
    }
    answers = {}
    for name, operation in operations.items():
        try:
            operation()
            answers[name] = ""
        except AlteredStateError as error:
            answers[name] = str(error)
    return answers


def _still_good(stage: Stage) -> tuple[str, bool]:
    """Clients come while the database is the thief's."""
    installed, line = installs(stage, SAW_BAD)
    taken, also = takes(stage, SAW_BAD)
    return f"{FOLLOWED[SAW_BAD]}: {line}\nUpdater: {also}", installed and taken


def _rebuilt(stage: Stage) -> tuple[str, bool]:
    """From root v1, which the operator has on paper, and the signed metadata that is served."""
    from indextrust.repository import Repository

    differences = Repository.open(stage.repository).check().count
    rebuilt = Repository.rebuild(stage.repository, stage.announced)
    repository = Repository.open(stage.repository)
    expected = {path: file.sha256 for path, file in repository.expected_targets().items()}
    checked = repository.check()
    lost = "unknown" if rebuilt.lost_changes is None else rebuilt.lost_changes
    observed = (
        f"before: {differences} differences between state, metadata, log and files\n"
        f"rebuilt from snapshot {rebuilt.snapshot_version}: {rebuilt.projects} projects, "
        f"{rebuilt.files} files; lost from the queue: {lost}; the old database "
        f"is kept as evidence\n"
        f"the state is {'' if expected == stage.good else 'NOT '}what was published before the "
        f"attack; {checked.count or 'no'} differences"
    )
    kept = rebuilt.aside is not None and rebuilt.aside.exists()
    return observed, differences > 0 and expected == stage.good and checked.clean and kept


def _goes_on(stage: Stage) -> tuple[str, bool]:
    """What the operator had queued is queued again, from the upload."""
    stage.publish(stage.wheel(*_LATER))
    evil = [path for path in stage.good if _NEW[1] in path]
    new = stage.target(*_LATER) in stage.good
    observed = f"{stage.target(*_LATER)} is {'' if new else 'NOT '}listed, the thief's is not"
    return observed, new and not evil


SCENES: tuple[Scene[Stage], ...] = (
    (*AT_WORK, at_work),
    (
        "the state database is written by somebody else",
        "every table consistently, queue and log included: publish, renew and restore refuse, and "
        "not one served byte changes",
        _tampered,
    ),
    (
        "clients in the meantime",
        "nothing is to be seen: they install what was published before",
        _still_good,
    ),
    (
        "the state is made anew from the signed metadata",
        "`check` finds differences; after `rebuild` the state is what was published, and there are "
        "none; what was queued is lost",
        _rebuilt,
    ),
    (
        "publication goes on",
        "what was queued and lost is added again and published",
        _goes_on,
    ),
    (
        "all converge",
        "all install, and trust the same versions",
        converge,
    ),
    (*IN_EVERY_ROLE, refused_in_every_role),
)
