"""The nine acts in their order. The ninth is the summary."""

from __future__ import annotations

from pathlib import Path

from indextrust.cli.demo.attacks import altered_wheel, replayed_metadata, stolen_key
from indextrust.cli.demo.opening import genesis_ceremony, installation, publication
from indextrust.cli.demo.recovery import convergence, recovery
from indextrust.cli.demo.stage import Stage
from indextrust.cli.output import Output
from indextrust.cli.stagecraft.acts import Act, Scene, play_acts

__all__ = ["play"]

_ACTS: tuple[Scene[Stage], ...] = (
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
    stage = Stage(folder)
    try:
        return play_acts(_ACTS, stage, output)
    finally:
        stage.close()
