"""The end of a signing event: would a client follow it, and what leaves the room.

`check_finished` is the last look. It refuses unless the old and the new threshold are met, and
then asks twice, independently: `indextrust.ceremony.check` (python-tuf) and the client itself
(`indextrust.repository.follow`), from the root in force and from a fresh start, now and some days
ahead.

`outputs` are the files of a finished event, by their names below one folder:

* ``public/``: the roles, for `Repository.create` or `Repository.install`;
* ``full-backup/``: the event, all roles with every root, all public keys, the transcript;
* ``online-backup/``: what a server needs to be set up again, and no more;
* ``hash-sheet.txt``: to print; ``sha256sum -c`` reads it, and so does an eye;
* ``transcript.md``: who, what, when, which digests, with which tools.

No private key is among them: keyholders take theirs home. Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from securesystemslib.signer import Key

from indextrust.ceremony.check import check_event
from indextrust.ceremony.event import encode
from indextrust.ceremony.judged import Judged, whose
from indextrust.ceremony.keyholders import KEYHOLDER_FIELD, spoken
from indextrust.ceremony.script import file_name
from indextrust.ceremony.words import REHEARSAL, changes, expiry, markdown, missing, tally, title
from indextrust.errors import CeremonyError
from indextrust.names import BINS, ROOT, TARGETS, metadata_filename
from indextrust.repository.follow import check_followed
from indextrust.repository.roles import SignedRoles

__all__ = ["check_finished", "outputs"]

_CLOCKS = timedelta(days=1)
"""How far the clocks of a proposer and of a room may be apart."""


def check_finished(judged: Judged, *, now: datetime, ahead: timedelta = timedelta(0)) -> None:
    """Refuse an event that no client would follow, now or `ahead` of now.

    Raises:
        CeremonyError: a threshold is not met (it names who could sign), or a client's reason.
    """
    if not judged.complete:
        raise CeremonyError(missing(judged))
    event = judged.event
    if event.proposed.at > now + _CLOCKS:
        raise CeremonyError(
            f"proposed in the future, at {event.proposed.at.isoformat()}, and it is "
            f"{now.isoformat()}: its roles would be valid for longer than a year. If this "
            f"machine's clock is wrong, set it"
        )
    for when in sorted({now, now + ahead}):
        check_event(event.roles, event.before, now=when)
        anchors = [event.root_file]
        if event.before is not None:
            anchors.append(event.before.root[-1])
        for anchor in anchors:
            check_followed(anchor, event.roles, now=when)


def outputs(judged: Judged, *, now: datetime, tools: Mapping[str, str]) -> dict[str, bytes]:
    """The files of an event that `check_finished` accepted, by name below one folder.

    Args:
        judged: the event.
        now: aware; when it was finished.
        tools: name and version of what was used, for the transcript.
    """
    event = judged.event
    public = _files(judged, event.roles)
    every_root = (*(event.before.root if event.before else ()), event.root_file)
    roles = _files(judged, replace(event.roles, root=every_root))
    keys = {f"{_file_name(key)}.pub.json": _public_key(key, ROOT) for key in judged.new.root_keys}
    online = {"online.pub.json": _public_key(judged.online, "online")}
    files = {f"public/{name}": data for name, data in public.items()}
    transcript = _transcript(judged, files, now, tools)
    full = {
        "event.json": encode(event),
        "transcript.md": transcript,
        **{f"roles/{name}": data for name, data in roles.items()},
        **{f"keys/{name}": data for name, data in {**keys, **online}.items()},
    }
    server = {**{f"roles/{name}": data for name, data in roles.items()}, **online}
    for folder, content in (("full-backup", full), ("online-backup", server)):
        marked = {**content, **_mark(judged)}
        marked["SHA256SUMS"] = _sums(marked)
        files |= {f"{folder}/{name}": data for name, data in marked.items()}
    files |= {f"public/{name}": data for name, data in _mark(judged).items()}
    files["transcript.md"] = transcript
    files["hash-sheet.txt"] = _hash_sheet(judged, files)
    return files


def _files(judged: Judged, roles: SignedRoles) -> dict[str, bytes]:
    """Roles under the names that they are published by."""
    last = judged.new.root.version
    first = last - len(roles.root) + 1
    return {
        **{metadata_filename(ROOT, first + number): data for number, data in enumerate(roles.root)},
        metadata_filename(TARGETS, judged.new.targets.version): roles.targets,
        metadata_filename(BINS, judged.new.bins.version): roles.bins,
        **roles.incidents,
    }


def _mark(judged: Judged) -> dict[str, bytes]:
    return {"REHEARSAL.txt": f"{REHEARSAL}\n".encode()} if judged.event.rehearsal else {}


def _public_key(key: Key, role: str) -> bytes:
    tree = {"keyid": key.keyid, "role": role, **key.to_dict()}
    return (json.dumps(tree, indent=2, sort_keys=True) + "\n").encode()


def _file_name(key: Key) -> str:
    owner = key.unrecognized_fields.get(KEYHOLDER_FIELD, "")
    return f"{file_name(str(owner))}-{key.keyid[:8]}"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sums(files: Mapping[str, bytes]) -> bytes:
    return "".join(f"{_sha256(data)}  {name}\n" for name, data in sorted(files.items())).encode()


def _hash_sheet(judged: Judged, files: Mapping[str, bytes]) -> bytes:
    """Comments for the eye, lines for ``sha256sum -c``."""
    root_name = f"public/{metadata_filename(ROOT, judged.new.root.version)}"
    digest, event = _sha256(files[root_name]), judged.event.digest
    sheet = [
        *([f"# {REHEARSAL}", "#"] if judged.event.rehearsal else []),
        f"# Signing event of {judged.event.proposed.at:%Y-%m-%d}: {title(judged)}",
        f"# Root {judged.new.root.version}, expires {judged.new.root.expires:%Y-%m-%d}. "
        f"Keep this sheet: the next event starts from",
        "#   this root, sha256",
        *(f"#     {line}" for line in _two_lines(digest)),
        "#   this event, digest as read aloud",
        *(f"#     {line}" for line in _two_lines(event)),
        "# In the folder of this sheet:  sha256sum -c hash-sheet.txt",
    ]
    listed = [
        *(name for name in files if name.startswith("public/") and name.endswith(".json")),
        "full-backup/event.json",
        "transcript.md",
    ]
    lines = [f"{_sha256(files[name])}  {name}" for name in listed]
    return ("\n".join([*sheet, *lines]) + "\n").encode()


def _two_lines(digest: str) -> list[str]:
    groups = spoken(digest).split()
    return [" ".join(groups[:8]), " ".join(groups[8:])]


def _transcript(
    judged: Judged, public: Mapping[str, bytes], now: datetime, tools: Mapping[str, str]
) -> bytes:
    event = judged.event
    gone = [
        f"- {role}: {keyid}" for role, ids in sorted(event.one_time_keys.items()) for keyid in ids
    ]
    before = event.before.root[-1:] if event.before else ()
    places = "from the root in force and from a fresh start" if before else "from a fresh start"
    roots = "the chain of roots, both thresholds" if before else "the root, its threshold"
    lines = [
        f"# Transcript: {title(judged)}",
        "",
        *([f"**{REHEARSAL}**", ""] if event.rehearsal else []),
        f"- proposed by {markdown(event.proposed.by)} at "
        f"{event.proposed.at:%Y-%m-%dT%H:%M:%SZ} with {markdown(event.proposed.software)} "
        f"(as the proposal says)",
        *(f"- follows the root with sha256 `{_sha256(data)}`" for data in before),
        f"- event digest `{event.digest}`",
        f"- finished at {now:%Y-%m-%dT%H:%M:%SZ}; expires {expiry(judged, now)}",
        "",
        "## What changed",
        "",
        *(f"    {line}" for line in changes(judged)),
        "",
        "## Who signed",
        "",
        *(
            f"- {markdown(whose(judged.signers[one.keyid]))} at {one.at:%Y-%m-%dT%H:%M:%SZ} by the "
            f"clock of the machine that signed, key `{one.keyid}`"
            for one in event.signatures
        ),
        "",
        *(f"    {line}" for line in tally(judged)),
        "",
        "## What was made",
        "",
        *(f"- `{name}` sha256 `{_sha256(data)}`" for name, data in sorted(public.items())),
        "",
        "## One-time keys, used once and gone",
        "",
        *gone,
        "",
        "## Checked",
        "",
        f"- by python-tuf: {roots}, targets and bins, expiry",
        f"- by indextrust's client: the same, {places}",
        "",
        "## With",
        "",
        *(f"- {name} {version}" for name, version in sorted(tools.items())),
    ]
    return ("\n".join(lines) + "\n").encode()
