"""Those who are followed: an index at work in the first act, and in the end all converge.

Six clients are followed through each drill. Three people install with pip, each with a memory of
their own: one sees only what is good, one sees the bad state, one starts afterwards. Beside them
three of python-tuf's own `Updater`, with the same three pasts.
"""

from __future__ import annotations

from collections.abc import Callable

from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from indextrust.cli.drills.stage import KEYHOLDERS, PROJECT, THRESHOLD, Stage
from indextrust.cli.genesis import ONLINE, fingerprint
from indextrust.cli.stagecraft.people import Environment, Installation
from indextrust.testing.raw import latest

__all__ = [
    "AFTERWARDS",
    "AT_WORK",
    "FOLLOWED",
    "SAW_BAD",
    "SAW_GOOD",
    "at_work",
    "converge",
    "installs",
    "takes",
    "visits",
]

SAW_GOOD, SAW_BAD, AFTERWARDS = "saw-good", "saw-bad", "afterwards"
FOLLOWED = {
    SAW_GOOD: "who saw only good",
    SAW_BAD: "who saw the bad state",
    AFTERWARDS: "who starts afterwards",
}
"""Their names, and who they are."""

AT_WORK = (
    "an index at work",
    f"{len(KEYHOLDERS)} keyholders, threshold {THRESHOLD}; three wheels are published; the first "
    f"of the clients installs with pip, and python-tuf's Updater takes the same",
)
"""Title and expectation of `at_work`."""


def at_work(stage: Stage) -> tuple[str, bool]:
    """The first act."""
    stage.found(stage.repository, KEYHOLDERS, ONLINE)
    stage.publish(*(stage.wheel(project, "1.0") for project in (PROJECT, "compass", "anchor")))
    installed, line = installs(stage, SAW_GOOD)
    taken, also = takes(stage, SAW_GOOD)
    observed = (
        f"root v1, sha256 {fingerprint(stage.announced)[:16]}…; {len(stage.good)} targets; "
        f"served at {stage.cdn.url}\n{FOLLOWED[SAW_GOOD]}: {line}\nUpdater: {also}"
    )
    return observed, installed and taken


def visits(stage: Stage, name: str, project: str = PROJECT) -> tuple[Installation, Environment]:
    """This person runs pip install, into a fresh environment."""
    number = len(list((stage.folder / "environments").iterdir()))
    stage.environments[name] = environment = stage.environment(f"{name}-{number}")
    return stage.person(name).pip_install(project, environment), environment


def installs(stage: Stage, name: str, project: str = PROJECT) -> tuple[bool, str]:
    """Whether this person, with pip, gets the honest project."""
    run, environment = visits(stage, name, project)
    if run.code != 0:
        return False, run.verdict()
    found = environment.origin(project)
    return found == "honest", f"pip's exit code 0, {project} {found}"


def takes(stage: Stage, name: str, path: str | None = None) -> tuple[bool, str]:
    """Whether this `Updater` takes the honest target, and then holds what is served now."""
    path = path or stage.target()
    cache = stage.cache(name)
    try:
        updater = stage.updater(cache)
        found = updater.get_targetinfo(path)
        if found is None:
            return False, f"{path} is not listed"
        updater.download_target(found)
    except (DownloadError, RepositoryError) as error:
        return False, f"refused ({type(error).__name__}): {error}"
    honest = found.hashes["sha256"] == stage.good[path]
    served = (stage.metadata / "timestamp.json").read_bytes()
    newest = (cache / "metadata" / "timestamp.json").read_bytes() == served
    words = "the honest file" if honest else "ANOTHER FILE"
    return honest and newest, f"{words}, {'the' if newest else 'not the'} served timestamp"


def converge(stage: Stage, *, first: Callable[[str], None] = lambda name: None) -> tuple[str, bool]:
    """All six install the honest file, and trust the same versions.

    Args:
        stage: on which the index is repaired.
        first: what a person does before, by the operator's word, given their name.
    """
    told: list[str] = []
    ok = True
    trusted: set[tuple[int, ...]] = set()
    for name, words in FOLLOWED.items():
        first(name)
        well, line = installs(stage, name)
        now = stage.client(stage.home(name)).refresh()
        trusted.add(
            (now.root_version, now.targets_version, now.snapshot_version, now.timestamp_version)
        )
        ok &= well
        told.append(f"{words}: {line}")
    for name, words in FOLLOWED.items():
        well, line = takes(stage, name)
        ok &= well
        told.append(f"Updater, {words}: {line}")
    roles = (Root.type, Targets.type, Snapshot.type, Timestamp.type)
    served = tuple(latest(stage.metadata, role).signed.version for role in roles)
    told.append(
        "all trust " + ", ".join(f"{role} {v}" for role, v in zip(roles, served, strict=True))
        if trusted == {served}
        else f"trusted are {sorted(trusted)}, served is {served}"
    )
    return "\n".join(told), ok and trusted == {served}
