"""The runbook of one event: a script for hands, with a box to tick at every step.

Every line is one of four words. DO: an action, and the command to type. IF: what may have gone
wrong, and where to go on then. GO TO: another section. END. What can't be undone says so first.

It is written for the very event (`indextrust.ceremony.script`): its digest, its keyholders by name,
its thresholds; and printed before the ceremony, so on paper it also says what the digest has to be.
For an event that is only planned it begins with the keys: how they are made, how people make sure
whose they are, how the event is proposed; then there are lines to write on.

Pure. `indextrust.ceremony.paper` puts it on paper. Source of the form: PEP 458 asks for ceremonies
that people can follow; PyPI's runbook of 2020 is the model.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from indextrust.ceremony.keyholders import spoken
from indextrust.ceremony.script import Maker, Script, Signer

__all__ = ["Section", "Step", "sections"]

Word = Literal["DO", "IF", "GO TO", "END"]

_GROUPS = 16
"""Groups of four digits in a SHA-256."""


@dataclass(frozen=True)
class Step:
    """One line of a runbook.

    Args:
        word: DO, IF, GO TO or END.
        text: one sentence or two.
        command: to be typed as it stands; None if there is none.
        blanks: places for groups of four digits, to be written in.
    """

    word: Word
    text: str
    command: str | None = None
    blanks: int = 0


@dataclass(frozen=True)
class Section:
    """Steps that belong together.

    Args:
        number: as in GO TO.
        title: who does what.
        steps: in order.
    """

    number: int
    title: str
    steps: Sequence[Step]


@dataclass(frozen=True)
class _Places:
    """Numbers of sections that others lead to."""

    propose: int
    sign: int
    merge: int
    finish: int
    stop: int


def sections(script: Script) -> list[Section]:
    """The whole script, in order."""
    before = len(script.makers) + 2 if script.propose else 0
    sign = before + 2
    merge = sign + len(script.signers)
    places = _Places(before, sign, merge, merge + 1, merge + 3)
    made: list[tuple[str, Iterable[Step]]] = []
    if script.propose:
        made += [(f"Make a key: {maker.who}", _make(maker, script)) for maker in script.makers]
        made += [
            ("Bring the public halves together: everybody", _collect(script, places)),
            ("Propose", _propose(script, places)),
        ]
    made += [
        ("Before signing: everybody", _room(script, places)),
        *((f"Sign: {signer.label}", _sign(signer, script, places)) for signer in script.signers),
        ("Bring the signatures together", _merge(script, places)),
        ("Finish", _finish(script, places)),
        ("Publish: the operator", _publish(script)),
        ("Stop", _stop(script)),
    ]
    return [
        Section(number, title, list(steps)) for number, (title, steps) in enumerate(made, start=1)
    ]


def _typed(*words: str) -> str:
    return shlex.join(words)


def _make(maker: Maker, script: Script) -> Iterator[Step]:
    private, public = f"{maker.name}.pem", f"{maker.name}.pub.json"
    holder = [word for word in maker.options if word not in ("--type", "ecdsa-p256")]
    if script.rehearsal:
        yield Step("DO", "Leave your real key in its bag: this one is made to practise.")
    if maker.serves:
        yield Step("DO", "Sit down at the server, or at the machine whose key it will have.")
    else:
        yield Step(
            "DO",
            "Sit down at a machine that is offline: cable out, wireless off. Go (cd) to an empty "
            "folder on your own medium; a FAT stick must be mounted with umask=077.",
        )
    yield Step(
        "DO",
        "Make the key. You are asked for a passphrase, twice; nothing is shown.",
        _typed("indextrust", "key", "generate", private, *maker.options),
    )
    yield Step(
        "IF",
        "the key lives in a token: take in its public half instead.",
        _typed("indextrust", "key", "import", "hsm:…", public, *holder),
    )
    yield Step(
        "IF",
        f"{private} is there and {public} is not (a power failure): make the public half anew.",
        _typed("indextrust", "key", "import", private, public, *holder),
    )
    yield Step(
        "DO",
        "Copy by hand what is read aloud.",
        _typed("indextrust", "key", "show", public),
        blanks=_GROUPS,
    )
    if maker.serves:
        yield Step("DO", f"Hand over {public} on a medium that goes around, and this page.")
    else:
        yield Step(
            "DO",
            f"Copy {public}, and no other file, to a medium that goes around. {private} stays on "
            f"yours, and its passphrase in another place.",
        )
        yield Step("DO", "Seal your medium in a bag, note its number: ______. Bring this page.")
    yield Step(
        "IF",
        "somebody could have seen the passphrase or the key: begin this section again, with "
        "another folder, and destroy what this one holds.",
    )


def _collect(script: Script, places: _Places) -> Iterator[Step]:
    files = [f"{maker.name}.pub.json" for maker in script.makers]
    if script.follows:
        yield Step(
            "DO",
            "Bring the folder of the roles in force (full-backup/roles of the last event). Compare "
            "the SHA-256 of the last root with the note that you took home.",
            f"sha256sum {script.propose[script.propose.index('--from') + 1]}/*.root.json",
        )
        yield Step("IF", f"it differs: GO TO {places.stop}. Somebody prepared a false event.")
    if not files:
        yield Step("DO", "No key is new: go on.")
        return
    yield Step("DO", "Copy the public halves into one folder of the machine that proposes.")
    yield Step("DO", "Show them.", _typed("indextrust", "key", "show", *files))
    yield Step(
        "DO",
        "Each in turn reads aloud from the own page, all groups; the others compare with the "
        "screen. The operator reads the online key's."
        if any(maker.serves for maker in script.makers)
        else "Each who comes reads aloud from the own page, all groups; the others compare.",
    )
    yield Step("IF", f"a group differs, or somebody can't read theirs: GO TO {places.stop}.")
    yield Step("IF", f"a name, a serial number or a role is wrong: GO TO {places.stop}.")


def _propose(script: Script, places: _Places) -> Iterator[Step]:
    yield Step(
        "DO",
        "Propose. No private key is needed; nothing is in force until enough have signed.",
        " ".join(script.propose),
    )
    if not script.follows:
        yield Step(
            "IF",
            "another number of bins or another layout was agreed: add --bins N or --layout NAME. "
            "The layout can't be changed later.",
        )
    yield Step(
        "IF", "it is refused: the message says which key or number, and nothing was written."
    )
    yield Step("DO", "Read the digest aloud from the screen; everybody writes it.", None, _GROUPS)
    yield Step(
        "IF",
        "a printer is at hand: print the script of the event itself, which has the digest, and go "
        "on there.",
        _typed("indextrust", "ceremony", "runbook", script.event, "paper"),
    )
    yield Step(
        "IF",
        f"something in it is not as agreed: delete {script.event}, it is void. GO TO "
        f"{places.propose}.",
    )


def _room(script: Script, places: _Places) -> Iterator[Step]:
    if script.rehearsal:
        yield Step("DO", "Say aloud: this is a rehearsal, we use keys made for it and no others.")
    yield Step(
        "DO",
        "Copy the event's file to the machine that stays offline, and go (cd) to its folder. "
        "Disconnect the machine: cable out, wireless off.",
    )
    yield Step(
        "DO",
        "Show the event. Every keyholder reads all of it.",
        _typed("indextrust", "ceremony", "show", script.event),
    )
    paper = "with what they wrote" if script.digest is None else "with this paper"
    digest = "" if script.digest is None else f": {spoken(script.digest)}"
    yield Step(
        "DO",
        f"One reads the digest aloud from the screen, the others compare {paper}{digest}"
        + ("." if script.digest is None else ""),
    )
    yield Step("IF", f"a group differs: GO TO {places.stop}.")
    if script.follows:
        yield Step(
            "DO", "Compare the SHA-256 of the root in force with the note of the last event."
        )
        yield Step("IF", f"it differs: GO TO {places.stop}. Somebody prepared a false event.")
    for reason in script.reasons[1:]:
        yield Step("IF", f"{reason}: GO TO {places.stop}.")


def _sign(signer: Signer, script: Script, places: _Places) -> Iterator[Step]:
    yield Step(
        "IF", f"{signer.label} is absent: GO TO the next section. Counts for {signer.counts}."
    )
    yield Step("DO", "Open your sealed bag. Compare the number on the seal with your note.")
    unknown = "" if signer.file else ", and the name of your key's file for NAME.pem"
    yield Step(
        "DO",
        f"Put your medium into the machine, and stay in the folder of the event. Below, write the "
        f"folder of your medium for PATH (as /media/you){unknown}.",
    )
    if signer.name is None:
        yield Step(
            "DO",
            f"Another key has the name {signer.label}, too. For KEYID write the eight digits that "
            f"the event shows behind the new one (+ keyholder {signer.label} (key …)).",
        )
    key = f"file2:PATH/{signer.file or 'NAME.pem'}"
    words = ("--keyholder", signer.name or "KEYID", "--key", key)
    yield Step(
        "DO",
        "Sign. You are shown the event again; type the groups of the digest that it asks for, then "
        "your passphrase or PIN.",
        _typed("indextrust", "ceremony", "sign", script.event, *words),
    )
    yield Step("IF", "the passphrase was mistyped: it is asked again. Nothing is half-signed.")
    yield Step("IF", f"the key is in a token: give --key 'hsm:…' in place of {key}.")
    yield Step("IF", f"anything on the screen surprises you: press Ctrl-C, GO TO {places.stop}.")
    yield Step(
        "DO", "Take your key out of the machine, seal it in a new bag, note its number: ______"
    )


def _merge(script: Script, places: _Places) -> Iterator[Step]:
    event = script.event
    yield Step("IF", f"everybody signed the same file: GO TO {places.finish}.")
    yield Step(
        "DO",
        "Bring copies that were signed elsewhere together; for COPY… write their names.",
        f"{_typed('indextrust', 'ceremony', 'merge', event)} COPY…",
    )
    yield Step("IF", f"a copy is refused: the message says what differs. GO TO {places.stop}.")
    yield Step("DO", "See what is missing.", _typed("indextrust", "ceremony", "status", event))
    for one in script.thresholds:
        yield Step(
            "IF",
            f"fewer than {one.needed} of the {one.keys} keyholders of the {one.which} root signed: "
            f"GO TO {places.sign}, for somebody who has not.",
        )


def _finish(script: Script, places: _Places) -> Iterator[Step]:
    event, out = script.event, shlex.quote(script.out)
    yield Step(
        "IF",
        f"somebody here has yet to sign: GO TO {places.sign}. After this section nobody signs this "
        f"event, ever.",
    )
    yield Step(
        "DO",
        "Try it as a client would, today and in 30 days.",
        _typed("indextrust", "ceremony", "verify", event, "--days", "30"),
    )
    yield Step("IF", f"signatures are missing: GO TO {places.merge}.")
    yield Step("IF", f"a client would refuse it: GO TO {places.stop}.")
    yield Step("DO", "Finish, once.", _typed("indextrust", "ceremony", "finish", event, script.out))
    yield Step("DO", f"Print {out}/hash-sheet.txt, one for each person in the room.")
    yield Step(
        "DO",
        "Check the sheet against the files on each medium that leaves the room.",
        f"(cd {out} && sha256sum -c hash-sheet.txt)",  # what is typed next is typed here
    )
    yield Step("DO", "Every keyholder takes the sheet home: the next event is compared with it.")


def _publish(script: Script) -> Iterator[Step]:
    out = shlex.quote(script.out)
    made = [f"{maker.name}.pem" for maker in script.makers if maker.serves]
    signer = ("--signer", f"file2:PATH/{[*made, 'NAME.pem'][0]}")
    where = (
        f"Go to the folder that you copied {out} into. For INDEX write the index's folder, for "
        f"PATH that of its key"
    )
    where += "." if made else ", for NAME.pem its name."
    command = _typed("indextrust", "install", "INDEX", f"{script.out}/public", *signer)
    if script.rehearsal:
        yield Step("DO", "Nothing is published: the rehearsal ends here. Destroy its keys.")
    elif not script.follows:
        yield Step("DO", where)
        yield Step(
            "DO",
            "This can't be undone: whoever starts from this root follows it. Found the index on "
            "the server.",
            command,
        )
        yield Step("DO", "Publish the root's SHA-256 where users look for it, by another way.")
    else:
        yield Step("DO", where)
        if script.recovers:
            yield Step(
                "IF",
                "a recovery is under way on the server (`indextrust recover status INDEX` says "
                "so): do not install. Bring the signatures back to it, then type `indextrust "
                "recover next INDEX`, with --signer as below, until it is done.",
                f"indextrust ceremony merge INDEX/recovery/event.json {shlex.quote(script.event)}",
            )
        yield Step(
            "DO",
            "This can't be undone: clients that have seen the new root take no older one. Take the "
            "new roles on the server.",
            command,
        )
        yield Step("IF", "it is refused: nothing changed on the server. Keep the old roles going.")
    yield Step("DO", f"Put {out}/full-backup and {out}/online-backup where you keep such things.")
    yield Step("DO", "Switch the offline machine off.")
    yield Step("END", "Signed: ______________________   Date: ____________")


def _stop(script: Script) -> Iterator[Step]:
    yield Step("DO", f"Sign nothing more. Keep {script.event} as it is: it is evidence.")
    yield Step("DO", "Seal the keys again. What was signed so far is worth nothing alone.")
    yield Step("DO", "Find out what happened, then propose again: a new event, a new digest.")
    yield Step("END", "Stopped at step: ______   Reason: ______________________")
