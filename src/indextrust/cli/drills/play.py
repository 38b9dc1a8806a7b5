"""Which drills there are, and how one is played."""

from __future__ import annotations

from pathlib import Path

from indextrust.cli.drills import artifacts, backup, database, online_key, root_key, root_keys
from indextrust.cli.drills.stage import Stage
from indextrust.cli.output import Output
from indextrust.cli.stagecraft.acts import Act, Scene, play_acts

__all__ = ["DRILLS", "play"]

DRILLS: dict[int, tuple[Scene[Stage], ...]] = {
    1: online_key.SCENES,
    2: root_key.SCENES,
    3: root_keys.SCENES,
    4: artifacts.SCENES,
    5: database.SCENES,
    6: backup.SCENES,
}
"""The acts of each drill, by its number."""


def play(number: int, folder: Path, output: Output, stage: type[Stage] = Stage) -> list[Act]:
    """Play one drill in `folder`, which is empty, and tell it.

    Returns:
        Its acts, and the summary; those that were not reached are not ok.
    """
    made = stage(folder)
    try:
        return play_acts(DRILLS[number], made, output)
    finally:
        made.close()
