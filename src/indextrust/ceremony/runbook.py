"""The runbook of one event: a script for hands, with a box to tick at every step.

Every line is one of four words. DO: an action, and the command to type. IF: what may have gone
wrong, and where to go on then. GO TO: another section. END. What can't be undone says so first.

`steps` is rendered for the very event: its digest, its keyholders by name, its thresholds; and
printed before the ceremony, so on paper it also says what the digest has to be. `markdown` and
`page` are two forms of the same steps.

Pure. Source of the form: PEP 458 asks for ceremonies that people can follow; PyPI's runbook of
2020 is the model.
"""

from __future__ import annotations

import html
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from indextrust.ceremony.judged import Judged, whose
from indextrust.ceremony.keyholders import KEYHOLDER_FIELD, spoken
from indextrust.ceremony.words import REHEARSAL, refuse_if, title
from indextrust.ceremony.words import markdown as _md

__all__ = ["Section", "Step", "markdown", "page", "sections"]

Word = Literal["DO", "IF", "GO TO", "END"]


@dataclass(frozen=True)
class Step:
    """One line of a runbook.

    Args:
        word: DO, IF, GO TO or END.
        text: one sentence or two.
        command: to be typed as it stands; None if there is none.
    """

    word: Word
    text: str
    command: str | None = None


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


def sections(judged: Judged, *, event: str, out: str) -> list[Section]:
    """The whole script.

    Args:
        judged: the event, as it is when the runbook is printed.
        event: name of its file on everybody's medium.
        out: name of the folder that `finish` will make.
    """
    event, out = shlex.quote(event), shlex.quote(out)
    holders = sorted(judged.signers.values(), key=whose)
    stop = len(holders) + 5  # before: the room, the holders, merge, finish, publish
    made = [Section(1, "Before: everybody", list(_room(judged, event, stop)))]
    for number, key in enumerate(holders, start=2):
        made.append(
            Section(number, f"Sign: {whose(key)}", list(_sign(judged, key.keyid, event, stop)))
        )
    after = len(holders) + 2
    made.append(Section(after, "Bring together", list(_merge(judged, event, after + 1, stop))))
    made.append(Section(after + 1, "Finish", list(_finish(judged, event, out, after, stop))))
    made.append(Section(after + 2, "Publish: the operator", list(_publish(judged, out))))
    made.append(Section(stop, "Stop", list(_stop(event))))
    return made


def _room(judged: Judged, event: str, stop: int) -> Iterator[Step]:
    if judged.event.rehearsal:
        yield Step("DO", "Say aloud: this is a rehearsal, we use keys made for it and no others.")
    yield Step(
        "DO",
        "Copy the event's file to the machine that stays offline. Disconnect it: cable out, "
        "wireless off.",
    )
    yield Step(
        "DO",
        "Show the event. Every keyholder reads all of it.",
        f"indextrust ceremony show {event}",
    )
    yield Step(
        "DO",
        "One reads the digest aloud from the screen, the others compare with this paper: "
        f"{spoken(judged.event.digest)}",
    )
    yield Step("IF", f"a group differs: GO TO {stop}.")
    if judged.old is not None:
        yield Step(
            "DO", "Compare the SHA-256 of the root in force with the note of the last event."
        )
        yield Step("IF", f"it differs: GO TO {stop}. Somebody prepared a false event.")
    for reason in refuse_if(judged)[1:]:
        yield Step("IF", f"{reason}: GO TO {stop}.")


def _sign(judged: Judged, keyid: str, event: str, stop: int) -> Iterator[Step]:
    key = judged.signers[keyid]
    name = key.unrecognized_fields.get(KEYHOLDER_FIELD) or keyid
    groups = [group for group in judged.groups if key in group.keys]
    counts = " and ".join(f"the {group.which} root" for group in groups)
    yield Step("IF", f"{whose(key)} is absent: GO TO the next section. Counts for {counts}.")
    yield Step("DO", "Open your sealed bag. Compare the number on the seal with your note.")
    yield Step(
        "DO",
        "Sign. You are shown the event again; type the groups of the digest that it asks for, then "
        "your passphrase or PIN.",
        f"indextrust ceremony sign {event} --keyholder {shlex.quote(str(name))} --key file2:PATH",
    )
    yield Step("IF", "the passphrase was mistyped: it is asked again. Nothing is half-signed.")
    yield Step("IF", "the key is in a token: give --key 'hsm:…' in place of file2:PATH.")
    yield Step("IF", f"anything on the screen surprises you: press Ctrl-C, GO TO {stop}.")
    yield Step(
        "DO", "Take your key out of the machine, seal it in a new bag, note its number: ______"
    )


def _merge(judged: Judged, event: str, finish: int, stop: int) -> Iterator[Step]:
    yield Step("IF", f"everybody signed the same file: GO TO {finish}.")
    yield Step(
        "DO",
        "Bring copies that were signed elsewhere together.",
        f"indextrust ceremony merge {event} COPY…",
    )
    yield Step("IF", f"a copy is refused: the message says what differs. GO TO {stop}.")
    yield Step("DO", "See what is missing.", f"indextrust ceremony status {event}")
    for group in judged.groups:
        yield Step(
            "IF",
            f"fewer than {group.threshold} of the {len(group.keys)} keyholders of the "
            f"{group.which} root signed: GO TO 2, for somebody who has not.",
        )


def _finish(judged: Judged, event: str, out: str, merge: int, stop: int) -> Iterator[Step]:
    yield Step(
        "DO",
        "Try it as a client would, today and in 30 days.",
        f"indextrust ceremony verify {event} --days 30",
    )
    yield Step("IF", f"signatures are missing: GO TO {merge}.")
    yield Step("IF", f"a client would refuse it: GO TO {stop}.")
    yield Step("DO", "Finish.", f"indextrust ceremony finish {event} {out}")
    yield Step("DO", f"Print {out}/hash-sheet.txt, one for each person in the room.")
    yield Step(
        "DO",
        "Check the sheet against the files on each medium that leaves the room.",
        f"cd {out} && sha256sum -c hash-sheet.txt",
    )
    yield Step("DO", "Every keyholder takes the sheet home: the next event is compared with it.")


def _publish(judged: Judged, out: str) -> Iterator[Step]:
    if judged.event.rehearsal:
        yield Step("DO", "Nothing is published: the rehearsal ends here. Destroy its keys.")
    elif judged.old is None:
        yield Step(
            "DO",
            "This can't be undone: whoever starts from this root follows it. Found the index on "
            "the server.",
            f"indextrust install INDEX {out}/public --signer file2:PATH",
        )
        yield Step("DO", "Publish the root's SHA-256 where users look for it, by another way.")
    else:
        yield Step(
            "DO",
            "This can't be undone: clients that have seen the new root take no older one. Take the "
            "new roles on the server.",
            f"indextrust install INDEX {out}/public --signer file2:PATH",
        )
        yield Step("IF", "it is refused: nothing changed on the server. Keep the old roles going.")
    yield Step("DO", f"Put {out}/full-backup and {out}/online-backup where you keep such things.")
    yield Step("DO", "Switch the offline machine off.")
    yield Step("END", "Signed: ______________________   Date: ____________")


def _stop(event: str) -> Iterator[Step]:
    yield Step("DO", f"Sign nothing more. Keep {event} as it is: it is evidence.")
    yield Step("DO", "Seal the keys again. What was signed so far is worth nothing alone.")
    yield Step("DO", "Find out what happened, then propose again: a new event, a new digest.")
    yield Step("END", "Stopped at step: ______   Reason: ______________________")


def markdown(judged: Judged, parts: Iterable[Section]) -> str:
    """The runbook as Markdown."""
    lines = [f"# Runbook: {_md(title(judged))}", ""]
    if judged.event.rehearsal:
        lines += [f"**{REHEARSAL}**", ""]
    lines += [f"Root {judged.new.root.version}. Event digest `{spoken(judged.event.digest)}`", ""]
    for part in parts:
        lines += [f"## {part.number}. {_md(part.title)}", ""]
        for number, step in enumerate(part.steps, start=1):
            lines.append(f"- [ ] {part.number}.{number} **{step.word}** {_md(step.text)}")
            if step.command is not None:
                lines += ["", f"      {step.command}", ""]
        lines.append("")
    return "\n".join(lines)


def page(judged: Judged, parts: Iterable[Section]) -> str:
    """The runbook as one HTML page to print; it needs nothing but itself."""
    mark = f"<p class=mark>{html.escape(REHEARSAL)}</p>" if judged.event.rehearsal else ""
    body = [
        f"<h1>Runbook: {html.escape(title(judged))}</h1>{mark}",
        f"<p>Root {judged.new.root.version}. Event digest "
        f"<code>{spoken(judged.event.digest)}</code></p>",
    ]
    for part in parts:
        body.append(f"<section><h2>{part.number}. {html.escape(part.title)}</h2>")
        for number, step in enumerate(part.steps, start=1):
            command = f"<pre>{html.escape(step.command)}</pre>" if step.command else ""
            body.append(
                f"<div class=step><span class=box></span><span class=number>"
                f"{part.number}.{number}</span><div><b>{step.word}</b> "
                f"{html.escape(step.text)}{command}</div></div>"
            )
        body.append("</section>")
    return _PAGE.format(title=html.escape(title(judged)), body="\n".join(body))


_PAGE = """<!doctype html>
<html lang=en><meta charset=utf-8><title>Runbook: {title}</title>
<style>
body {{ font: 11pt/1.4 sans-serif; margin: 2em auto; max-width: 46em }}
section {{ break-inside: avoid-page; margin-top: 1.5em }}
h2 {{ font-size: 1.1em; border-bottom: 1px solid }}
.step {{ display: flex; gap: .7em; margin: .5em 0; break-inside: avoid }}
.box {{ flex: none; width: .9em; height: .9em; border: 1.5px solid; margin-top: .2em }}
.number {{ flex: none; width: 3em }}
.mark {{ border: 3px solid; padding: .5em; font-weight: bold }}
pre, code {{ font: 10pt monospace; white-space: pre-wrap; overflow-wrap: anywhere }}
pre {{ border: 1px solid #999; padding: .4em; margin: .3em 0 }}
</style>
<body>
{body}
</body></html>
"""
