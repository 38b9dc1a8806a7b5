"""Acts played in their order, and the verdict.

Every act says beforehand what must happen. An act that raises did not go as written, and ends
the story: what follows builds on it. The last act is the summary.
"""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tuf.api.exceptions import DownloadError, RepositoryError

from indextrust.cli.output import Output
from indextrust.errors import IndextrustError

__all__ = ["Act", "Scene", "play_acts"]

S = TypeVar("S")

Scene = tuple[str, str, Callable[[S], tuple[str, bool]]]
"""An act's title, what is to happen, and what performs it on a stage: it says what did happen,
and whether that is the same."""

_FORESEEN = (
    IndextrustError,
    OSError,
    subprocess.SubprocessError,
    DownloadError,
    RepositoryError,
)
"""What can go wrong outside of a bug, python-tuf's errors included."""


@dataclass(frozen=True)
class Act:
    """How an act went.

    Args:
        name: its title.
        expected: what is to happen.
        observed: what did.
        ok: whether that is the same.
    """

    name: str
    expected: str
    observed: str
    ok: bool


def play_acts(scenes: Sequence[Scene[S]], stage: S, output: Output) -> list[Act]:
    """Play them on `stage`, and tell it.

    Returns:
        All acts, and the summary; those that were not reached are not ok.
    """
    acts: list[Act] = []
    fallen = False
    for number, (name, expected, perform) in enumerate(scenes, 1):
        if fallen:
            acts.append(Act(name, expected, "not reached", False))
            continue
        output.detail(f"{number}. {name} ...")
        with output.progress(f"{number}. {name}"):
            act, fallen = _perform(stage, (name, expected, perform), output)
        acts.append(act)
        _tell(output, number, act)
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


def _perform(stage: S, scene: Scene[S], output: Output) -> tuple[Act, bool]:
    """The act, and whether it raised."""
    name, expected, perform = scene
    try:
        observed, ok = perform(stage)
    except _FORESEEN as error:
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
