"""The nine acts in their order, and the verdict.

Every act says beforehand what must happen. An act that raises did not go as written, and ends
the story: what follows builds on it. The ninth act is the summary.
"""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Callable
from pathlib import Path

from indextrust.cli.demo.attacks import altered_wheel, replayed_metadata, stolen_key
from indextrust.cli.demo.opening import genesis_ceremony, installation, publication
from indextrust.cli.demo.recovery import convergence, recovery
from indextrust.cli.demo.stage import Act, Stage
from indextrust.cli.output import Output
from indextrust.errors import IndextrustError

__all__ = ["play"]

_ACTS: tuple[tuple[str, str, Callable[[Stage], tuple[str, bool]]], ...] = (
    (
        "genesis ceremony",
        "3 keyholders, threshold 2: root, targets and bins are signed, an empty index is published",
        genesis_ceremony,
    ),
    (
        "publication",
        "at least 10 pinned real distributions, flask with all it needs and one sdist among "
        "them: fetched by pip with hashes, signed, published, served over loopback",
        publication,
    ),
    (
        "installation",
        "in fresh virtual environments `indextrust run -- pip install flask` succeeds, "
        "and the same through uv",
        installation,
    ),
    (
        "a CDN alters one byte of a wheel",
        "refused, nothing installed, the reason readable in pip's own output",
        altered_wheel,
    ),
    (
        "a CDN replays last week's metadata",
        "refused as rolled back by who was here before, as expired by a newcomer",
        replayed_metadata,
    ),
    (
        "a thief of the online key signs a malicious flask wheel",
        "the returning client raises the alarm from first-seen memory; a fresh client, as it "
        "must, cannot know, and installs it",
        stolen_key,
    ),
    (
        "the operator recovers",
        "compared with the last known good snapshot exactly the thief's changes are listed; "
        "they are restored, the online key is replaced through root v2, all is published",
        recovery,
    ),
    (
        "clients converge",
        "a new client and one that had seen only good install at once; the one poisoned is "
        "refused, shown both digests, and installs after an acknowledgement; nothing that the "
        "thief's key signs, neither timestamp, snapshot nor bin, is believed by old or new",
        convergence,
    ),
)


def play(folder: Path, output: Output) -> list[Act]:
    """Play the story in `folder`, which is empty, and tell it.

    Returns:
        All nine acts; those that were not reached are not ok.
    """
    acts: list[Act] = []
    stage = Stage(folder)
    fallen = False
    try:
        for number, (name, expected, perform) in enumerate(_ACTS, 1):
            if fallen:
                acts.append(Act(name, expected, "not reached", False))
                continue
            output.detail(f"{number}. {name} ...")
            with output.progress(f"{number}. {name}"):
                act, fallen = _perform(stage, name, expected, perform, output)
            acts.append(act)
            _tell(output, number, act)
    finally:
        stage.close()
    went_well = sum(act.ok for act in acts)
    acts.append(
        Act(
            "summary",
            f"all {len(acts)} acts before this one as written",
            f"{went_well} of {len(acts)} as written",
            went_well == len(acts),
        )
    )
    _summarise(output, acts)
    return acts


def _perform(
    stage: Stage,
    name: str,
    expected: str,
    perform: Callable[[Stage], tuple[str, bool]],
    output: Output,
) -> tuple[Act, bool]:
    """The act, and whether it raised."""
    try:
        observed, ok = perform(stage)
    except (IndextrustError, OSError, subprocess.SubprocessError) as error:
        output.complain(error)
        return Act(name, expected, f"{type(error).__name__}: {error}", False), True
    return Act(name, expected, observed, ok), False


def _tell(output: Output, number: int, act: Act) -> None:
    output.say(f"{number}. {act.name}: {_verdict(act)}")
    output.say(f"   expected: {act.expected}")
    first, *more = act.observed.splitlines() or [""]
    output.say(f"   observed: {first}")
    for line in more:
        output.say(f"             {line}")


def _verdict(act: Act) -> str:
    return "as written" if act.ok else "NOT AS WRITTEN"


def _summarise(output: Output, acts: list[Act]) -> None:
    output.say("")
    output.table(
        ("", "act", "verdict"),
        [(str(number), act.name, _verdict(act)) for number, act in enumerate(acts, 1)],
    )
    output.data(
        {"acts": [dataclasses.asdict(act) for act in acts], "ok": all(act.ok for act in acts)}
    )
