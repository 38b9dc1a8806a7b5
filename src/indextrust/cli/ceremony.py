"""``indextrust ceremony``: signing events that travel as a file, from proposal to published root.

Every command reads the event, judges all of it, and only then does its one thing. Nothing needs a
network. What is interrupted leaves the event's file as it was.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indextrust.cli.consent import typed_groups
from indextrust.cli.options import FOLDER, by_option, common, output
from indextrust.cli.passphrases import Passphrases, passphrase_option
from indextrust.cli.runbook import (
    current_option,
    profile_option,
    rehearsal_option,
    remove_option,
    runbook,
    threshold_option,
)
from indextrust.errors import CeremonyError, InputError
from indextrust.names import CLASSIC_BINS_LIMIT, LAYOUTS, BinScheme, Layout

if TYPE_CHECKING:
    from indextrust.ceremony.event import Proposed
    from indextrust.ceremony.judged import Judged
    from indextrust.ceremony.keyholders import Keyholder

__all__ = ["ceremony"]

_ANOTHER = "another SHA-256 than the one on everybody's hash sheet"

_event = click.argument("event", type=FOLDER)


@click.group()
def ceremony() -> None:
    """Signing events of root, targets and bins: propose, sign one by one, finish."""


@ceremony.command()
@_event
@current_option
@click.option(
    "--add",
    type=FOLDER,
    multiple=True,
    metavar="NAME.pub.json",
    help="A keyholder's public key; once for each who comes.",
)
@remove_option
@threshold_option
@click.option(
    "--online", type=FOLDER, metavar="NAME.pub.json", help="Public key of the online key."
)
@click.option(
    "--bins",
    type=int,
    metavar="N",
    help=f"How many bins: a power of two.  [default: {CLASSIC_BINS_LIMIT}, or as before]",
)
@click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    help=f"What is a target; for a genesis.  [default: {LAYOUTS[0]}]",
)
@click.option(
    "--incident",
    "incidents",
    type=FOLDER,
    multiple=True,
    metavar="ID.json",
    help="An incident record to be listed in targets, for good; `recover` writes one.",
)
@profile_option
@rehearsal_option
@by_option
@common
def propose(
    event: Path,
    current: Path | None,
    add: tuple[Path, ...],
    remove: tuple[str, ...],
    threshold: int | None,
    online: Path | None,
    bins: int | None,
    layout: Layout | None,
    profile: str | None,
    incidents: tuple[Path, ...],
    rehearsal: bool,
    by: str | None,
) -> None:
    """Propose the next root, targets and bins; EVENT is the file to be signed.

    With --from and nothing else: the yearly renewal. No keyholder's key is needed. Targets and
    bins are signed at once, with keys that are made in memory for it and dropped.
    """
    from indextrust.ceremony.event_file import create_event
    from indextrust.ceremony.incidents import read_incident
    from indextrust.ceremony.judge import judge
    from indextrust.ceremony.keyholders import Profile, read_public
    from indextrust.ceremony.proposal import Change, propose_genesis, propose_next
    from indextrust.repository.roles import SignedRoles

    come = [read_public(path) for path in add]
    online_key = None if online is None else read_public(online)
    scheme = None if bins is None else BinScheme.of(bins)
    declared = None if profile is None else Profile(profile)
    records = [read_incident(path) for path in incidents]
    if current is None:
        keys = _genesis_only(come, remove, threshold, online_key)
        made = propose_genesis(
            come,
            *keys,
            bins=scheme or BinScheme.of(CLASSIC_BINS_LIMIT),
            layout=layout or LAYOUTS[0],
            profile=declared or Profile.PORTABLE,
            proposed=_proposed(by),
            rehearsal=rehearsal,
            incidents=records,
        )
    else:
        if layout is not None or rehearsal:
            raise InputError("--layout and --rehearsal are for a genesis: later ones keep both")
        change = Change(come, remove, threshold, online_key, scheme, records)
        roles = SignedRoles.load(current)
        made = propose_next(roles, change, profile=declared, proposed=_proposed(by))
    create_event(event, made)
    judged = judge(made)
    _show(judged)
    output().say("")
    output().say(f"{event}: copy it to every keyholder; `indextrust ceremony sign` signs it")
    output().data({"event": _data(judged)})


def _genesis_only(
    come: list[Keyholder], remove: tuple[str, ...], threshold: int | None, online: Keyholder | None
) -> tuple[int, Keyholder]:
    if remove:
        raise InputError("--remove: a genesis has nobody to remove; give --from for a rotation")
    if not come or threshold is None or online is None:
        raise InputError("a genesis needs --add for each keyholder, --threshold and --online")
    return threshold, online


def _proposed(by: str | None) -> Proposed:
    from indextrust.ceremony.event import Proposed
    from indextrust.ceremony.tools import software
    from indextrust.repository.log import author

    return Proposed(author(by), _now(), software())


@ceremony.command()
@_event
@common
def show(event: Path) -> None:
    """Show in plain words what EVENT changes for whom, and when not to sign it."""
    judged = _read(event)
    _show(judged)
    output().data({"event": _data(judged)})


@ceremony.command()
@_event
@click.option(
    "--keyholder", required=True, metavar="NAME", help="Who signs: the name, or a key id."
)
@click.option(
    "--key",
    required=True,
    metavar="URI",
    help="Where the private key is: file2:PATH, hsm:…, or another URI of securesystemslib.",
)
@click.option(
    "--digest",
    metavar="SHA256",
    help="Agree beforehand to the event with this digest.  [default: asked]",
)
@passphrase_option
@common
def sign(
    event: Path, keyholder: str, key: str, digest: str | None, passphrases: Passphrases
) -> None:
    """Sign EVENT as one keyholder, after showing it and asking for consent."""
    from indextrust.ceremony.event_file import update_event
    from indextrust.ceremony.gather import add_signature, check_may_sign
    from indextrust.ceremony.gather import merge as merged
    from indextrust.ceremony.judge import judge
    from indextrust.ceremony.judged import whose
    from indextrust.ceremony.keyholders import open_signer
    from indextrust.ceremony.proposal import find_key

    passphrases.only_for([keyholder])
    if digest is None and (output().quiet or output().json):
        raise InputError("with -q or --json nothing is shown: agree by --digest, or leave them out")
    judged = _read(event, now=_now())
    public = find_key(list(judged.signers.values()), keyholder)
    check_may_sign(judged, public.keyid)
    if judged.complete:
        output().note(
            "enough have signed already. If this event was finished, don't sign: its root would "
            f"get {_ANOTHER}",
            always=True,
        )
    if (proposed := judged.event.proposed.at) > _now():
        output().note(
            f"this machine's clock says {_now().isoformat()}, before the proposal was made "
            f"({proposed.isoformat()}): expiry can't be judged by it",
            always=True,
        )
    if digest is None:
        _show(judged)
        output().say("")
    _consent(judged, whose(public), digest)
    signer = passphrases.attempt(keyholder, lambda prompt: open_signer(key, public, prompt))
    made = add_signature(judged, signer, at=_now())
    there = update_event(event, lambda now: merged(now, made.event))
    output().say(f"{event}: signed by {whose(public)}")
    _tell(judge(there))


def _consent(judged: Judged, who: str, digest: str | None) -> None:
    """The keyholder's word. Raises CeremonyError: it is another event, or there is no word."""
    from indextrust.ceremony.keyholders import spoken

    expected = judged.event.digest
    if digest is not None:
        if "".join(digest.split()).lower() != expected:
            raise CeremonyError(f"not signed: expected the event {digest:.80}, got {expected}")
        return
    if not sys.stdin.isatty():
        raise CeremonyError("not signed: give --digest, or run this at a terminal to agree")
    question = (
        f"To sign as {who}, type the groups {{groups}} of the digest, as the others read them; "
        f"anything else stops"
    )
    if not typed_groups(spoken(expected), question):
        raise CeremonyError("not signed: these are not the groups of this event's digest")


@ceremony.command()
@_event
@click.argument("copies", type=FOLDER, nargs=-1, required=True, metavar="COPY...")
@common
def merge(event: Path, copies: tuple[Path, ...]) -> None:
    """Bring the signatures of COPY… into EVENT. Copies of another event are refused."""
    from indextrust.ceremony.event_file import read_event, update_event
    from indextrust.ceremony.gather import merge as merged
    from indextrust.ceremony.judge import judge

    judged = _read(event)
    made = judged.event
    for path in copies:
        try:
            made = merged(made, read_event(path))
        except CeremonyError as error:
            raise CeremonyError(f"{path}: {error}") from None
    there = update_event(event, lambda now: merged(now, made))
    if judged.complete and there.root_file != judged.event.root_file:
        output().note(
            "enough had signed already, and the copies had other signatures. If this event was "
            f"finished, the outputs count, and this file no more: its root has {_ANOTHER}",
            always=True,
        )
    _tell(judge(there))


@ceremony.command()
@_event
@common
def status(event: Path) -> None:
    """Show who signed EVENT, and what is missing for the old and the new threshold, by name."""
    _tell(_read(event))


@ceremony.command()
@_event
@click.option(
    "--days",
    type=click.IntRange(0, 3650),
    default=30,
    show_default=True,
    help="Try it that many days ahead, too.",
)
@common
def verify(event: Path, days: int) -> None:
    """Follow EVENT as a client would: from the root in force and afresh, now and in some days."""
    from indextrust.ceremony.finish import check_finished
    from indextrust.ceremony.words import expiry

    judged = _read(event)
    now = _now()
    check_finished(judged, now=now, ahead=timedelta(days=days))
    output().say(f"a client follows it, today and in {days} days; expires {expiry(judged, now)}")
    output().data({"verified": {**_data(judged), "days": days}})


@ceremony.command()
@_event
@click.argument("folder", type=FOLDER)
@common
def finish(event: Path, folder: Path) -> None:
    """Write what leaves the room to FOLDER. Refuses unless a client would follow EVENT."""
    from indextrust.ceremony.event_file import create_folder
    from indextrust.ceremony.finish import check_finished, outputs
    from indextrust.ceremony.tools import tools

    judged = _read(event)
    now = _now()
    check_finished(judged, now=now)
    files = outputs(judged, now=now, tools=tools())
    create_folder(folder, files)
    out = output()
    out.say(files["hash-sheet.txt"].decode())
    out.say(f"{folder}/public: for the operator; {folder}/hash-sheet.txt: print it for everybody")
    out.data({"finished": {**_data(judged), "folder": str(folder), "files": sorted(files)}})


ceremony.add_command(runbook)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _read(path: Path, *, now: datetime | None = None) -> Judged:
    """The event in a file, judged. Raises CeremonyError, StoreError."""
    from indextrust.ceremony.event_file import read_event
    from indextrust.ceremony.judge import judge

    event = read_event(path)
    try:
        return judge(event, now=now)
    except CeremonyError as error:
        raise CeremonyError(f"{path}: {error}") from None


def _show(judged: Judged) -> None:
    from indextrust.ceremony.words import show

    for line in show(judged, _now()):
        output().say(line)


def _tell(judged: Judged) -> None:
    from indextrust.ceremony.words import REHEARSAL, tally

    if judged.event.rehearsal:
        output().say(REHEARSAL)
    for line in tally(judged):
        output().say(line)
    output().data({"event": _data(judged)})


def _data(judged: Judged) -> dict[str, Any]:
    from indextrust.ceremony.judged import whose

    event = judged.event
    return {
        "digest": event.digest,
        "kinds": list(event.kinds),
        "rehearsal": event.rehearsal,
        "profile": event.profile,
        "root": judged.new.root.version,
        "expires": judged.new.root.expires.isoformat(),
        "complete": judged.complete,
        "thresholds": [
            {
                "which": group.which,
                "root": group.version,
                "threshold": group.threshold,
                "signed": [whose(key) for key in group.signed],
                "waiting": [whose(key) for key in group.waiting],
                "missing": group.missing,
            }
            for group in judged.groups
        ],
    }
