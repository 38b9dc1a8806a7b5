"""The paper that is read in the room: of an event that is there, and of one that is planned."""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import pexpect
import pytest

from indextrust.ceremony import SignedRoles, read_roles
from indextrust.ceremony.event_file import read_event
from indextrust.ceremony.judge import judge
from indextrust.ceremony.keyholders import Profile
from indextrust.ceremony.paper import markdown, page
from indextrust.ceremony.proposal import Change, find_key
from indextrust.ceremony.runbook import sections
from indextrust.ceremony.script import Script, plan, script_of
from indextrust.cli.app import main
from indextrust.cli.ceremony import ceremony
from indextrust.cli.keys import key
from indextrust.errors import CeremonyError, InputError
from tests.ceremony.event_room import Person, genesis_of, next_of, person, server, signed

ANN, BOB, DEE = person("Ann Árvai", serial="YK-17"), person("Bob <b>|`x`"), person("Dee")
FIRST = signed(genesis_of([ANN, BOB], 2, server()), [ANN, BOB])
CHANGE = Change(add=[DEE.holder], remove=["Ann Árvai"], online=server().holder)
SECOND = next_of(FIRST.roles, CHANGE)


def planned(
    current: SignedRoles | None,
    come: list[str],
    threshold: int | None,
    *,
    go: list[str] | None = None,
    new_online: bool = False,
    profile: Profile | None = None,
    rehearsal: bool = False,
    event: str = "our event.json",
) -> Script:
    return plan(
        None if current is None else read_roles(current),
        come,
        go or [],
        threshold,
        event=event,
        current=None if current is None else "old roles",
        new_online=new_online,
        profile=profile,
        rehearsal=rehearsal,
    )


SCRIPTS = {
    "genesis": script_of(judge(FIRST), event="our event.json"),
    "rotation": script_of(judge(SECOND), event="our event.json"),
    "a genesis to come": planned(None, ["Ann Árvai", "Bob <b>|`x`", "ann arvai"], 2),
    "a rehearsal to come": planned(None, ["Ann", "Bob <b>|`x`"], 2, rehearsal=True),
    "a rotation to come": planned(
        FIRST.roles, ["Dee"], None, go=["Ann Árvai"], new_online=True, profile=Profile.HSM
    ),
    "a renewal to come": planned(FIRST.roles, [], None),
}
EVERY = pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.boxes = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.boxes += ("class", "box") in attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@EVERY
def test_the_runbook_has_a_box_for_every_step_and_leads_somewhere(script: Script) -> None:
    parts = sections(script)
    text, html = markdown(script), page(script)
    steps = [step for part in parts for step in part.steps]
    assert text.count("- [ ] ") == len(steps)
    assert {step.word for step in steps} <= {"DO", "IF", "GO TO", "END"}
    numbers = [part.number for part in parts]
    assert numbers == list(range(1, len(parts) + 1))
    titles = {part.number: part.title for part in parts}
    for step in steps:
        for target in re.findall(r"GO TO (\d+)", step.text):
            assert int(target) in numbers
        for stop in re.findall(r"(?:differs|surprises you).*GO TO (\d+)", step.text):
            assert titles[int(stop)] == "Stop"
    for one in (parts[-1], parts[-2]):  # it ends where it was done, and where it was stopped
        assert one.steps[-1].word == "END"
    read = _Page()
    read.feed(html)
    assert read.boxes == len(steps)
    assert "Bob <b>|`x`" in read.text  # a name is a text there, and no markup
    assert "script" not in read.tags
    assert not re.search(r"(src|href)=", html)
    assert "indextrust ceremony show 'our event.json'" in text


@EVERY
def test_every_command_of_the_runbook_is_one_that_exists(script: Script) -> None:
    there = {name: main.commands[name] for name in main.commands}
    there |= {f"ceremony {name}": command for name, command in ceremony.commands.items()}
    there |= {f"key {name}": command for name, command in key.commands.items()}
    typed = set()
    for part in sections(script):
        for step in part.steps:
            if step.command is None or not step.command.startswith("indextrust"):
                continue
            words = shlex.split(step.command)[1:]
            name = " ".join(words[:2]) if words[0] in ("ceremony", "key") else words[0]
            typed.add(name)
            context = there[name].make_context(name, words[len(name.split()) :])
            assert context.command is there[name]
    ours = {f"ceremony {name}" for name in ("show", "sign", "merge", "status", "verify", "finish")}
    if script.propose:
        ours |= {"ceremony propose", "ceremony runbook"}
    if script.makers:
        ours |= {"key generate", "key import", "key show"}
    assert typed - {"install"} == ours
    assert ("install" in typed) is not script.rehearsal


def test_the_runbook_has_a_section_for_everybody_who_can_sign() -> None:
    titles = [part.title for part in sections(SCRIPTS["rotation"])]
    people: list[Person] = [ANN, BOB, DEE]
    for one in people:
        assert sum(f"key {one.keyid[:8]}" in title for title in titles) == 1
    assert shutil.which("sha256sum")


def test_the_runbook_is_typed_as_it_stands_at_a_terminal(tmp_path: Path) -> None:
    """By people who know nothing: each at home in the own folder, then in the folder of the event,
    where they type what the paper says, one after the other, in one shell. Bob is absent."""
    room, home = tmp_path / "room", {who: tmp_path / who for who in ("Bob", "Cid Ó", "op")}
    for folder in (room, *home.values()):
        folder.mkdir()
    shell = _Shell(room)
    people = ["--keyholder=Bob", "--keyholder='Cid Ó'", "--threshold=1"]
    shell.types(f"indextrust ceremony runbook e.json plan {' '.join(people)}")
    script = planned(None, ["Bob", "Cid Ó"], 1, event="e.json")
    assert (room / "plan" / "runbook.md").read_text() == markdown(script)
    for part in sections(script):
        who = part.title.partition(": ")[2].replace("the operator", "op")
        if part.title in ("Stop", "Sign: Bob"):
            continue
        making = part.title.startswith("Make")
        if making:
            shell.types(f"cd '{home[who]}'")
        for step in part.steps:
            if step.word == "DO" and step.command and not step.command.endswith("COPY…"):
                there = f"'{home.get(who, room)}'/"
                typed = step.command.replace("PATH/", there).replace("INDEX", "index")
                shell.types(typed + " --bins=4" * (" propose " in typed))  # "add --bins N"
        if making:
            (public,) = home[who].glob("*.pub.json")
            shutil.copy(public, room)
            shell.types(f"cd '{room}'")
    assert (room / "index" / "public" / "metadata" / "1.root.json").read_bytes() == (
        room / "finished" / "public" / "1.root.json"
    ).read_bytes()
    assert PASSPHRASE not in shell.shown.getvalue()


PASSPHRASE = "correct-horse-staple"


class _Shell:
    """A shell at a pseudo-terminal, and somebody who answers what is asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        words = ["--norc", "--noprofile", "--noediting"]
        env = {**os.environ, "PS1": "<$?> ", "TERM": "dumb", "LC_ALL": "C.UTF-8"}
        self._child = pexpect.spawn(
            *("bash", words), cwd=str(folder), env=env, encoding="utf-8", timeout=60
        )
        self.shown = self._child.logfile_read = io.StringIO()
        self._child.expect("<0> ")
        self.types(f"indextrust() {{ '{sys.executable}' -m indextrust \"$@\"; }}")

    def types(self, command: str) -> None:
        """Type a command, which succeeds."""
        self._child.sendline(command)
        asked = [r"<(\d+)> ", r"groups (\d+), (\d+) and (\d+) of [^\n]* stops: "]
        asked.append(r"(?:Passphrase for|Enter the passphrase|Repeat for)[^\n]*: ")
        while (which := self._child.expect([*asked])) != 0:
            match = self._child.match
            assert isinstance(match, re.Match)
            digest = read_event(self._folder / "e.json").digest if which == 1 else ""
            groups = (digest[4 * int(n) - 4 : 4 * int(n)] for n in match.groups())
            self._child.sendline(" ".join(groups) if which == 1 else PASSPHRASE)
        match = self._child.match
        assert isinstance(match, re.Match)
        assert match[1] == "0", (command, self._child.before)


# -- before there is an event --------------------------------------------------------------------


def test_a_planned_genesis_begins_with_the_keys_and_ends_with_the_hash_sheet() -> None:
    script = SCRIPTS["a genesis to come"]
    titles = [part.title for part in sections(script)]
    assert titles == [
        *("Make a key: Ann Árvai", "Make a key: Bob <b>|`x`", "Make a key: ann arvai"),
        "Make a key: the operator",
        "Bring the public halves together: everybody",
        "Propose",
        "Before signing: everybody",
        *("Sign: Ann Árvai", "Sign: Bob <b>|`x`", "Sign: ann arvai"),
        "Bring the signatures together",
        *("Finish", "Publish: the operator", "Stop"),
    ]
    text = markdown(script)
    order = [
        "key generate ann-arvai.pem --keyholder 'Ann Árvai'",
        "key generate ann-arvai-2.pem --keyholder 'ann arvai'",
        "key generate online.pem --role online",
        "key show ann-arvai.pub.json bob-b-x.pub.json ann-arvai-2.pub.json online.pub.json",
        "reads aloud from the own page",
        "ceremony propose 'our event.json' --add ann-arvai.pub.json",
        "Read the digest aloud from the screen; everybody writes it",
        "compare with what they wrote",
        "ceremony sign 'our event.json' --keyholder 'ann arvai' --key file2:PATH/ann-arvai-2.pem",
        "ceremony finish 'our event.json' finished",
        "hash-sheet.txt, one for each person",
    ]
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    blanks = "____ " * 15 + "____"
    assert text.count(blanks) == page(script).count(blanks) == 5  # four keys and the digest


def test_a_planned_rotation_knows_who_stays_and_compares_the_root_in_force_first() -> None:
    script = SCRIPTS["a rotation to come"]
    assert script.title == "other keyholders; another online key"
    assert (script.root, script.follows) == (2, True)
    words = ["indextrust", "ceremony", "propose", "our event.json", "--from", "old roles"]
    words += ["--add", "dee.pub.json", "--online", "online-2.pub.json", "--remove", "Ann Árvai"]
    assert shlex.split(" ".join(script.propose)) == [*words, "--profile", "hsm"]
    titles = [part.title for part in sections(script) if part.title.startswith("Sign")]
    assert titles == [
        f"Sign: Ann Árvai (serial YK-17, key {ANN.keyid[:8]})",
        f"Sign: Bob <b>|`x` (key {BOB.keyid[:8]})",
        "Sign: Dee",
    ]
    text = markdown(script)
    assert text.index("sha256sum 'old roles'/*.root.json") < text.index("ceremony propose")
    assert "--type ecdsa-p256" in text
    assert "finish 'our event.json' finished-2" in text  # the last one's folder is there, too
    assert "fewer than 2 of the 2 keyholders of the old root" in text


def test_an_event_of_a_recovery_goes_back_to_it_and_is_not_installed_by_hand() -> None:
    """By hand it is refused under the freeze, and what people decided on each file is left out."""

    def published(script: Script) -> list[str]:
        (last,) = [part for part in sections(script) if part.title == "Publish: the operator"]
        return [f"{step.word} {step.text} {step.command}" for step in last.steps]

    steps = published(SCRIPTS["rotation"])
    (back,) = [n for n, step in enumerate(steps) if "recover next INDEX" in step]
    (taken,) = [n for n, step in enumerate(steps) if "indextrust install INDEX" in step]
    assert steps[back].startswith("IF a recovery is under way")
    assert steps[back].endswith("ceremony merge INDEX/recovery/event.json 'our event.json'")
    assert back < taken
    renewal = script_of(judge(next_of(FIRST.roles, Change())), event="event.json")
    assert not [step for step in published(renewal) if "recover" in step]


def test_two_keys_of_one_name_are_told_apart_in_what_is_typed() -> None:
    """Ann's key was lost, and Ann comes with another: `sign` wants to know which one is meant."""
    again = person("Ann Árvai")
    change = Change(add=[again.holder], remove=["Ann Árvai"])
    judged = judge(next_of(FIRST.roles, change))
    script = script_of(judged, event="e.json")
    keys = list(judged.signers.values())
    typed = {find_key(keys, one.name or "").keyid for one in script.signers}
    assert typed == {ANN.keyid, BOB.keyid, again.keyid}
    text = markdown(planned(FIRST.roles, ["Ann Árvai"], None, go=["Ann Árvai"]))
    assert f"--keyholder {ANN.keyid} --key file2:PATH/NAME.pem" in text
    assert text.index("For KEYID write") < text.index("--keyholder KEYID --key file2:PATH/ann-arva")


def test_a_planned_rehearsal_marks_its_keys() -> None:
    script = SCRIPTS["a rehearsal to come"]
    text = markdown(script)
    made = re.findall(r"indextrust key (?:generate|import) .*", text)
    assert len(made) == 9
    assert all("--rehearsal" in line for line in made)
    assert script.root == 900_000_001
    assert " ".join(script.propose).endswith("--rehearsal")


@pytest.mark.parametrize(
    ("current", "come", "threshold", "go", "complaint"),
    [
        (None, ["Ann", "Ann"], 2, [], "Ann would be a keyholder twice"),
        (None, ["Ann", "Bob"], 3, [], r"number of keyholders \(2\), got 3"),
        (None, ["Ann", "Bob"], 0, [], r"number of keyholders \(2\), got 0"),
        (FIRST.roles, ["Ann Árvai"], None, [], "Ann Árvai would be a keyholder twice"),
        (FIRST.roles, [], None, ["Cid"], "no keyholder 'Cid'"),
        (FIRST.roles, [], None, ["Ann Árvai"], r"number of keyholders \(1\), got 2"),
        (None, ["Ann\x1b[2J"], 1, [], "keyholder's name"),
    ],
)
def test_a_plan_that_propose_would_refuse_is_refused(
    current: SignedRoles | None,
    come: list[str],
    threshold: int | None,
    go: list[str],
    complaint: str,
) -> None:
    with pytest.raises((CeremonyError, InputError), match=complaint):
        planned(current, come, threshold, go=go)
