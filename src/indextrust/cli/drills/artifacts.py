"""Drill 4: the stored files are tampered with. docs/drills/4-stored-files.md."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner

from indextrust.cli.drills.every_role import IN_EVERY_ROLE, refused_in_every_role
from indextrust.cli.drills.followers import (
    FOLLOWED,
    SAW_BAD,
    at_work,
    converge,
    takes,
    visits,
)
from indextrust.cli.drills.stage import Stage
from indextrust.cli.stagecraft.acts import Scene
from indextrust.cli.stagecraft.commands import Answer
from indextrust.errors import StoreError
from indextrust.names import hash_prefixed
from indextrust.testing import TamperingServer, malicious_wheel
from indextrust.testing.raw import put

__all__ = ["SCENES"]

_ALTERED, _MISSING, _SWAPPED = 7, 3, 2
_EVERYTHING = _ALTERED + _MISSING + _SWAPPED
_SAMPLE = 100


def _large_index(stage: Stage) -> tuple[str, bool]:
    """The first act, and many wheels more; a mirror copies them, and a checkpoint is made."""
    begun, ok = at_work(stage)
    number = stage.store_size - len(_wheels(stage))
    wheels = [stage.wheel(f"part-{n // 40:02}", f"{n % 40}.0") for n in range(number)]
    stage.publish(*wheels)
    shutil.copytree(stage.public, _mirror(stage))
    stage.good_checkpoint = stage.checkpoint()
    answer = _audit(stage)
    stored = answer.data["audit"]["stored"]
    observed = (
        f"{begun}\n{len(_wheels(stage))} wheels, {stored['files']} stored files with pages and "
        f"core metadata; copied by a mirror; checkpoint {stage.good_checkpoint[-1][:16]}…\n"
        f"audit --store: exit code {answer.code}, {stored['count']} damaged"
    )
    return observed, ok and answer.code == 0 and len(_wheels(stage)) == stage.store_size


def _tampered(stage: Stage) -> tuple[str, bool]:
    """He writes to the store, public names and private copies alike, and has no key."""
    stage.stolen = [CryptoSigner.generate_ed25519()]
    everything = [path for path in _wheels(stage) if path != stage.target()]
    others = everything[:: len(everything) // _EVERYTHING][: _EVERYTHING - 1]
    picked = [stage.target(), *others]
    stage.tampered = picked
    one, other = picked[-_SWAPPED:]
    contents = {path: (stage.public / path).read_bytes() for path in picked}
    wheel = malicious_wheel(contents[stage.target()], "lantern.py", "STOLEN = 'in-the-store'")
    bad: dict[str, bytes | None] = {path: contents[path] + b"!" for path in picked[:_ALTERED]}
    bad |= {stage.target(): wheel, **dict.fromkeys(picked[_ALTERED:-_SWAPPED])}
    bad |= {one: contents[other], other: contents[one]}
    for path, data in bad.items():
        for name in _names(stage, path):
            if data is None:
                name.unlink()
            else:
                put(name, data)
    run, empty = visits(stage, SAW_BAD)
    _, updater = takes(stage, SAW_BAD)
    observed = (
        f"altered {_ALTERED}, deleted {_MISSING}, swapped {_SWAPPED}, under every name they have\n"
        f"{FOLLOWED[SAW_BAD]}: {run.verdict()}\nUpdater: {updater}"
    )
    refused = run.stopped_as("HashMismatchError", "LengthError") and not empty.installed()
    return observed, refused and "MismatchError" in updater


def _found(stage: Stage) -> tuple[str, bool]:
    """Against the checkpoint, by the digest on paper; a sample says that it is one."""
    answer = _audit(stage)
    stored = answer.data["audit"]["stored"]
    kinds = Counter(damage["kind"] for damage in stored["damages"])
    exactly = sorted(damage["path"] for damage in stored["damages"]) == sorted(stage.tampered)
    sample = _audit(stage, "--sample", str(_SAMPLE)).data["audit"]["stored"]
    observed = (
        f"audit --store: exit code {answer.code}; {stored['count']} damaged: "
        f"{', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items()))}; "
        f"{'exactly those' if exactly else 'OTHERS'}\n"
        f"a sample: {sample['looked_at']} of {sample['files']} looked at, {sample['count']} damaged"
    )
    expected = {"altered": _ALTERED, "missing": _MISSING, "swapped": _SWAPPED}
    partial = sample["looked_at"] == _SAMPLE < sample["files"] and sample["count"] <= _EVERYTHING
    return observed, exactly and kinds == expected and stored["count"] == _EVERYTHING and partial


def _restored(stage: Stage) -> tuple[str, bool]:
    """From a mirror that was tampered with itself in one file, then from one that was not."""
    signed = _files(stage.metadata)
    with TamperingServer(_mirror(stage)) as mirror:
        false = stage.tampered[0]
        for name in (false, hash_prefixed(false, stage.good[false])):
            mirror.tamper(name, lambda honest: honest[:-1] + b"!")
        first = _repair(stage, mirror.url)
        mirror.be_honest()
        second = _repair(stage, mirror.url)
    after = _audit(stage)
    unsigned = _files(stage.metadata) == signed
    restored, lost = (len(first["restored"]), len(first["lost"]))
    observed = (
        f"from a mirror with one false file: {restored} restored, {lost} lost; from an honest one: "
        f"{len(second['restored'])} restored, {len(second['lost'])} lost\n"
        f"audit --store: exit code {after.code}, {after.data['audit']['stored']['count']} damaged; "
        f"metadata {'byte for byte as before: no version changed' if unsigned else 'CHANGED'}"
    )
    counts = (restored, lost, len(second["restored"]), len(second["lost"]))
    return observed, counts == (_EVERYTHING - 1, 1, 1, 0) and after.code == 0 and unsigned


def _audit(stage: Stage, *more: str) -> Answer:
    words = ("--since", *stage.good_checkpoint, "--store", *more)
    return stage.command("audit", stage.repository, *words)


def _repair(stage: Stage, mirror: str) -> dict[str, Any]:
    words = ("--since", *stage.good_checkpoint, "--from", mirror)
    answer = stage.command("repair", stage.repository, *words)
    if "repaired" not in answer.data:
        raise StoreError(f"repair ended with {answer.code}: {answer.words}")
    repaired: dict[str, Any] = answer.data["repaired"]
    return repaired


def _wheels(stage: Stage) -> list[str]:
    return sorted(path for path in stage.good if path.endswith(".whl"))


def _names(stage: Stage, path: str) -> Iterator[Path]:
    """Every name a stored file has: plain, by its hash, and the private copy."""
    sha256 = stage.good[path]
    yield stage.public / path
    yield stage.public / hash_prefixed(path, sha256)
    yield stage.repository / "objects" / sha256[:2] / sha256


def _files(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def _mirror(stage: Stage) -> Path:
    return stage.folder / "mirror"


SCENES: tuple[Scene[Stage], ...] = (
    (
        "an index of 1,000 files",
        "wheels are published, a mirror copies them, and a checkpoint is made and kept elsewhere; "
        "`audit --store` finds nothing; the first of the clients installs",
        _large_index,
    ),
    (
        "the store is tampered with",
        f"{_ALTERED} wheels are altered, {_MISSING} deleted, {_SWAPPED} swapped, private copies "
        f"too; clients refuse the bytes and install nothing",
        _tampered,
    ),
    (
        "the audit",
        f"exactly these {_EVERYTHING} are reported; of a sample it is said that it is one",
        _found,
    ),
    (
        "restored by their hashes",
        "from a mirror, which is believed for hashes alone; nothing is signed, and no byte of the "
        "metadata changes",
        _restored,
    ),
    (
        "all converge",
        "all install, and trust the same versions; nobody does anything",
        converge,
    ),
    (*IN_EVERY_ROLE, refused_in_every_role),
)
