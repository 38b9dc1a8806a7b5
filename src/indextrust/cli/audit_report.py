"""What an audit found, for people: Markdown, HTML, lines for the terminal, and a tree for JSON.

One list of parts is made (headings, sentences, tables), and written down in either form. What came
from the index was written by somebody who may be the thief: in Markdown its signs are escaped, in
HTML everything is, and what a terminal would obey is shown as an escape.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from indextrust.ceremony.words import markdown as _md
from indextrust.cli.output import printable

if TYPE_CHECKING:
    from indextrust.repository.audited import Audited, Finding, RoleChange
    from indextrust.repository.comparison import FileDifference, Signed
    from indextrust.repository.mirrored import Mirrored
    from indextrust.repository.stored import Stored

__all__ = ["NOBODY", "Report", "Table", "data", "markdown", "page", "parts", "verdict"]

NOBODY = "not queued by anybody"

_RENEWED = 20
"""Roles that were re-signed by the repository itself and are named; the others are counted."""


@dataclass(frozen=True)
class Report:
    """All that one audit found.

    Args:
        audited: what is served, compared with the checkpoint.
        stored: the stored files; None if they were not looked at.
        mirrored: a mirror; None if none was looked at.
        mirror: where the mirror is.
        at: when, aware, UTC.
    """

    audited: Audited
    stored: Stored | None
    mirrored: Mirrored | None
    mirror: str
    at: datetime

    @property
    def clean(self) -> bool:
        """Whether nothing differs."""
        others = (self.stored, self.mirrored)
        return self.audited.clean and all(part is None or part.clean for part in others)

    @property
    def explained(self) -> bool:
        """Whether everything that differs was queued."""
        others = (self.stored, self.mirrored)
        return self.audited.explained and all(part is None or part.clean for part in others)


@dataclass(frozen=True)
class Table:
    """A table of a report: what its columns are called, and its rows."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Part = str | Table


def verdict(report: Report) -> str:
    """The answer in one sentence."""
    if report.clean:
        return "No difference from the checkpoint."
    if report.explained:
        return "There are differences, and all of them were queued."
    found = report.audited
    if found.fault_count or found.strange or (found.unqueued and not found.log):
        return "There is something that nobody queued, or that no client can read: look at it."
    if found.log and found.count:
        return "There are differences, and nobody can tell of all of them who queued them."
    where = {"Stored files": report.stored, "The mirror": report.mirrored}
    bad = [name for name, part in where.items() if part is not None and not part.clean]
    return f"What is signed was queued. What differs: {', '.join(bad).lower()}."


def parts(report: Report) -> Iterator[tuple[str, list[Part]]]:
    """The sections of the report: heading and parts."""
    found = report.audited
    now = "no snapshot that a client takes" if found.now is None else f"snapshot {found.now}"
    lines: list[Part] = [
        verdict(report),
        f"At {report.at:%Y-%m-%d %H:%M:%S} UTC {now} was compared with snapshot {found.before}, "
        f"checkpoint {found.checkpoint}.",
    ]
    if found.log:
        lines.append(f"The log does not say of all of them who queued it: {found.log}")
    lines += [f"{role} has expired." for role in found.expired]
    yield "Audit", lines
    yield "Files", list(_files(found))
    yield "Roles that were signed again", list(_roles(found))
    if found.fault_count:
        lines = list(found.faults)
        yield "What no client can read", _more(lines, found.fault_count - len(lines))
    if report.stored is not None:
        yield "Stored files", list(_stored(report.stored))
    if report.mirrored is not None:
        yield f"Mirror {report.mirror}", list(_mirror(report.mirrored))


def _files(found: Audited) -> Iterator[Part]:
    if not found.count:
        yield "None was added, changed or removed."
        return
    yield _counted(found.counts) + ("" if found.log else f"; {found.unqueued} {NOBODY}.")
    rows = tuple(_row(finding, found.log) for finding in found.findings)
    yield Table(("what", "project", "file", "how", "was", "is", "queued"), rows)
    yield from _more([], found.count - len(found.findings))


def _row(finding: Finding, silent: str) -> tuple[str, ...]:
    difference, queued = finding.difference, finding.queued
    who = "can't be said" if silent else NOBODY
    if queued is not None:
        who = f"{queued.time} by {queued.who} (entry {queued.number})"
    return (*_told(difference), who)


def _told(difference: FileDifference) -> tuple[str, ...]:
    how = ", ".join(difference.fields)
    sides = (_sha256(difference.before), _sha256(difference.now))
    return (difference.kind, difference.project, difference.path, how, *sides)


def _sha256(signed: Signed | None) -> str:
    return "" if signed is None else signed.sha256


def _roles(found: Audited) -> Iterator[Part]:
    ours = [role for role in found.roles if role.published is not False]
    if found.strange:
        yield "Not signed by this repository, by its log:"
        yield _role_table(found.strange)
    if ours:
        yield f"{len(ours)} roles are other versions than in the checkpoint" + (
            "." if found.log else ", as this repository published them."
        )
        yield _role_table(ours[:_RENEWED])
        yield from _more([], len(ours) - _RENEWED)
    if not found.roles:
        yield "None."


def _role_table(roles: Iterable[RoleChange]) -> Table:
    rows = ((role.name, str(role.before or ""), str(role.now or "")) for role in roles)
    return Table(("role", "was", "is"), tuple(rows))


def _stored(stored: Stored) -> Iterator[Part]:
    share = "all" if stored.looked_at + stored.elsewhere == stored.files else "a random sample"
    yield (
        f"{stored.looked_at} of {stored.files} files were hashed ({share}), {stored.size} bytes: "
        f"{stored.count or 'none'} damaged."
    )
    if stored.elsewhere:
        yield f"{stored.elsewhere} are kept elsewhere, by the word of the state."
    if stored.damages:
        rows = ((d.kind, d.path, d.owner or "", d.expected, d.found or "") for d in stored.damages)
        yield Table(("what", "file", "has the bytes of", "should be", "is"), tuple(rows))
    yield from _more([], stored.count - len(stored.damages))


def _mirror(mirrored: Mirrored) -> Iterator[Part]:
    yield f"The mirror has snapshot {mirrored.there}, here is snapshot {mirrored.here}."
    yield from _more(list(mirrored.faults), mirrored.fault_count - len(mirrored.faults))
    if mirrored.counts:
        yield f"Seen from the mirror: {_counted(mirrored.counts)}."
        rows = tuple(_told(difference) for difference in mirrored.differences)
        yield Table(("what", "project", "file", "how", "there", "here"), rows)
    yield from _more([], sum(mirrored.counts.values()) - len(mirrored.differences))
    if mirrored.clean:
        yield "Both say the same."


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts.get(kind, 0)} {kind}" for kind in ("added", "changed", "removed"))


def _more(lines: list[Part], count: int) -> list[Part]:
    return [*lines, f"And {count} more."] if count > 0 else lines


def markdown(report: Report) -> str:
    """The report as Markdown."""
    lines: list[str] = []
    for level, (heading, section) in enumerate(parts(report)):
        lines += [f"{'#' if level == 0 else '##'} {_text(heading)}", ""]
        for part in section:
            if isinstance(part, str):
                lines += [_text(part), ""]
                continue
            lines += [_line(part.headings), _line(["---"] * len(part.headings))]
            lines += [_line(map(_text, row)) for row in part.rows]
            lines.append("")
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(text: str) -> str:
    return _md(printable(text).replace("\n", " "))


def page(report: Report) -> str:
    """The report as one HTML page that needs nothing but itself."""
    body: list[str] = []
    for level, (heading, section) in enumerate(parts(report)):
        tag = "h1" if level == 0 else "h2"
        body.append(f"<{tag}>{_escaped(heading)}</{tag}>")
        for part in section:
            if isinstance(part, str):
                body.append(f"<p>{_escaped(part)}</p>")
                continue
            head = "".join(f"<th>{_escaped(cell)}</th>" for cell in part.headings)
            body.append(f"<table><tr>{head}</tr>")
            for row in part.rows:
                body.append(f"<tr>{''.join(f'<td>{_escaped(cell)}</td>' for cell in row)}</tr>")
            body.append("</table>")
    return _PAGE.format(title=_escaped(verdict(report)), body="\n".join(body))


def _escaped(text: str) -> str:
    return html.escape(printable(text))


_PAGE = """<!doctype html>
<html lang=en><meta charset=utf-8><title>{title}</title>
<style>
body {{ font: 11pt/1.4 sans-serif; margin: 2em }}
table {{ border-collapse: collapse; font: 9pt monospace }}
th, td {{ border: 1px solid #999; padding: .2em .5em; text-align: left; overflow-wrap: anywhere }}
</style>
<body>
{body}
</body></html>
"""


def data(report: Report) -> dict[str, Any]:
    """The report as a tree for JSON."""
    found = report.audited
    return {
        "verdict": verdict(report),
        "clean": report.clean,
        "explained": report.explained,
        "at": report.at.isoformat(),
        "checkpoint": found.checkpoint,
        "snapshot": {"before": found.before, "now": found.now},
        "log": found.log,
        "counts": dict(found.counts),
        "unqueued": None if found.log else found.unqueued,
        "differences": [
            {
                **_difference(finding.difference),
                "queued": None if finding.queued is None else finding.queued._asdict(),
            }
            for finding in found.findings
        ],
        "roles": [asdict(role) for role in found.roles],
        "faults": {"count": found.fault_count, "named": list(found.faults)},
        "expired": list(found.expired),
        "stored": None if report.stored is None else asdict(report.stored),
        "mirror": None if report.mirrored is None else _mirror_data(report),
    }


def _difference(difference: FileDifference) -> dict[str, Any]:
    return {
        "kind": difference.kind,
        "project": difference.project,
        "path": difference.path,
        "fields": list(difference.fields),
        "before": _sha256(difference.before) or None,
        "now": _sha256(difference.now) or None,
    }


def _mirror_data(report: Report) -> dict[str, Any]:
    found = report.mirrored
    assert found is not None  # noqa: S101 - asked by the caller
    return {
        "where": report.mirror,
        "snapshot": {"there": found.there, "here": found.here},
        "counts": dict(found.counts),
        "differences": [_difference(difference) for difference in found.differences],
        "faults": {"count": found.fault_count, "named": list(found.faults)},
    }
