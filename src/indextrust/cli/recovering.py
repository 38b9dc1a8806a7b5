"""``indextrust recover``: from a stolen key to clients that see the good state again.

``plan`` says what there is to do, and changes nothing. ``start`` freezes and remembers; each
``next`` does one step, or says what it needs for it; ``status`` says where it stands.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indextrust.cli.consent import checkpoint_digest_option, trusted_checkpoint
from indextrust.cli.operating import report
from indextrust.cli.options import (
    FOLDER,
    by_option,
    common,
    good_option,
    output,
    queue_key_option,
)
from indextrust.cli.output import on_one_line
from indextrust.cli.signing import Signing, signing
from indextrust.errors import InputError

if TYPE_CHECKING:
    from indextrust.ceremony.recoverer import Recovery
    from indextrust.ceremony.recovery import RecoveryPlan

__all__ = ["recover"]

_compromised = click.option(
    "--compromised",
    multiple=True,
    required=True,
    metavar="KEYID|NAME|ROLE",
    help="What was stolen: a key id, a keyholder's name, or a role; once for each.",
)


@click.group()
def recover() -> None:
    """After a theft of keys: plan, and go through the recovery step by step."""


@recover.command()
@click.argument("folder", type=FOLDER)
@_compromised
@good_option
@checkpoint_digest_option
@queue_key_option
@common
def plan(
    folder: Path,
    compromised: tuple[str, ...],
    good: Path | None,
    digest: str | None,
    queue_key: Path | None,
) -> None:
    """Print the steps of a recovery, and what each needs. Changes nothing."""
    from indextrust.ceremony import read_roles
    from indextrust.ceremony.recovery import make_plan
    from indextrust.repository import Repository

    _checkpoint(good, digest)
    roles = Repository.open(folder, queue_key=queue_key).signed_roles()
    made = make_plan(read_roles(roles), compromised)
    for line in made.lines():
        output().say(line)
    output().data({"plan": _plan(made)})


@recover.command()
@click.argument("folder", type=FOLDER)
@_compromised
@good_option
@checkpoint_digest_option
@click.option(
    "--summary", required=True, metavar="TEXT", help="What happened, in one line, for users."
)
@by_option
@queue_key_option
@common
def start(
    folder: Path,
    compromised: tuple[str, ...],
    good: Path | None,
    digest: str | None,
    summary: str,
    by: str | None,
    queue_key: Path | None,
) -> None:
    """Begin a recovery: freeze, if an online key was stolen, and remember the plan."""
    from indextrust.ceremony.recoverer import Recovery
    from indextrust.repository import Repository

    begun = Recovery.start(
        Repository.open(folder, queue_key=queue_key),
        compromised,
        summary=summary,
        checkpoint=_checkpoint(good, digest),
        by=by,
        queue_key=queue_key,
    )
    for line in begun.plan.lines():
        output().say(line)
    output().say("")
    _tell(begun)


@recover.command()
@click.argument("folder", type=FOLDER)
@queue_key_option
@common
def status(folder: Path, queue_key: Path | None) -> None:
    """Show which step of the recovery is next, and what it needs."""
    from indextrust.ceremony.recoverer import Recovery
    from indextrust.repository import Repository

    _tell(Recovery.found(Repository.open(folder, queue_key=queue_key)))


@recover.command(name="next")
@click.argument("folder", type=FOLDER)
@click.option(
    "--online",
    type=FOLDER,
    metavar="NAME.pub.json",
    help="For step propose: the public key of the new online key.",
)
@click.option(
    "--add",
    type=FOLDER,
    multiple=True,
    metavar="NAME.pub.json",
    help="For step propose: a keyholder who comes; once for each.",
)
@click.option("--threshold", type=int, metavar="N", help="For step propose: another threshold.")
@click.option("--record", metavar="ID", help="For step decide: id of the incident record.")
@click.option("--reason", metavar="TEXT", help="For step thaw: why it is over.")
@signing
@common
def next_(
    desk: Signing,
    online: Path | None,
    add: tuple[Path, ...],
    threshold: int | None,
    record: str | None,
    reason: str | None,
) -> None:
    """Do the next step of the recovery. What was cut short is done again."""
    from indextrust.ceremony.keyholders import read_public
    from indextrust.ceremony.proposal import Change
    from indextrust.ceremony.recoverer import Recovery

    now = Recovery.found(desk.opened())
    change = partial(
        Change,
        add=[read_public(path) for path in add],
        threshold=threshold,
        online=None if online is None else read_public(online),
    )
    steps: dict[str, Callable[[], Recovery]] = {
        "audit": now.audit,
        "decide": lambda: now.decide(record=record),
        "propose": lambda: now.propose(change(), by=desk.by),
        "sign": now.finish,
        "install": lambda: now.install(desk.online(now.online_key)),
        "verify": now.verify,
        "thaw": lambda: now.thaw(reason),
    }
    if now.step == "done":
        raise InputError("this recovery is done: `recover start` begins another")
    if now.step == "thaw" and reason is None:
        raise InputError("--reason TEXT: why the freeze is over; timers sign again after this step")
    with output().progress(now.step):
        after = steps[now.step]()
    if after.published is not None and not output().json:
        report(after.published)
    output().say(f"{now.step}: done")
    _tell(after)


def _checkpoint(good: Path | None, digest: str | None) -> tuple[Path, str] | None:
    """The checkpoint that was named, and the digest by which a person trusts it."""
    if good is None:
        return None
    with trusted_checkpoint(good, digest) as opened:
        return good, opened.digest


def _tell(now: Recovery) -> None:
    out = output()
    for item in now.items:
        out.say(on_one_line(f"{item.decision or item.proposed:<8} {item.path}"))
        out.detail(f"    {item.words()}")
    for note in now.progress.notes:
        out.say(on_one_line(f"note: {note}"))
    if now.step == "done":
        out.say("the recovery is done; take a new checkpoint, and start the timers again")
    else:
        out.say(f"next step: {now.step}. {_NEXT[now.step].format(folder=now.folder)}")
    out.data(
        {
            "recovery": {
                "step": now.step,
                "started": now.progress.started,
                "stolen": list(now.progress.stolen),
                "records": list(now.progress.records),
                "notes": list(now.progress.notes),
                "items": [
                    {**vars(item), "decision": item.decision or item.proposed} for item in now.items
                ],
            }
        }
    )


_NEXT = {
    "audit": "`recover next` compares what is served with the checkpoint",
    "decide": "Look at {folder}/decisions.txt and change what you want; then `recover next`",
    "propose": "`recover next --online NAME.pub.json`, with the new online key if it was stolen, "
    "and --add for keyholders who come",
    "sign": "Carry {folder}/event.json to the keyholders (`ceremony sign`), bring their "
    "signatures back into it (`ceremony merge`); then `recover next`",
    "install": "`recover next`, with the new online key as for `publish`",
    "verify": "`recover next` looks at what is served",
    "thaw": "`recover next --reason TEXT` ends the freeze",
}


def _plan(made: RecoveryPlan) -> dict[str, Any]:
    return {
        "cure": made.cure.value,
        "stolen": [
            {"keyid": stolen.key.keyid, "roles": list(stolen.roles)} for stolen in made.stolen
        ],
        "steps": [
            {"name": step.name, "what": step.what, "needs": list(step.needs)} for step in made.steps
        ],
    }
