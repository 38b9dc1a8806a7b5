"""A runbook on paper: the same steps as Markdown, and as one page to print, with boxes to tick.

Names come from people, so they are text here and never markup. Pure.
"""

from __future__ import annotations

import html

from indextrust.ceremony.keyholders import spoken
from indextrust.ceremony.runbook import sections
from indextrust.ceremony.script import Script
from indextrust.ceremony.words import REHEARSAL
from indextrust.ceremony.words import markdown as _md

__all__ = ["markdown", "page"]

_BLANK = "____"


def _digest(script: Script) -> str | None:
    return None if script.digest is None else spoken(script.digest)


def markdown(script: Script) -> str:
    """The runbook as Markdown."""
    lines = [f"# Runbook: {_md(script.title)}", ""]
    if script.rehearsal:
        lines += [f"**{REHEARSAL}**", ""]
    digest = _digest(script)
    known = "It is planned, and not proposed yet." if digest is None else f"Event digest `{digest}`"
    lines += [f"Root {script.root}. {known}", ""]
    for part in sections(script):
        lines += [f"## {part.number}. {_md(part.title)}", ""]
        for number, step in enumerate(part.steps, start=1):
            lines.append(f"- [ ] {part.number}.{number} **{step.word}** {_md(step.text)}")
            if step.command is not None:
                lines += ["", f"      {step.command}", ""]
            if step.blanks:
                lines += [
                    *([] if step.command else [""]),
                    f"      {' '.join([_BLANK] * step.blanks)}",
                    "",
                ]
        lines.append("")
    return "\n".join(lines)


def page(script: Script) -> str:
    """The runbook as one HTML page to print; it needs nothing but itself."""
    mark = f"<p class=mark>{html.escape(REHEARSAL)}</p>" if script.rehearsal else ""
    digest = _digest(script)
    known = "It is planned, and not proposed yet."
    if digest is not None:
        known = f"Event digest <code>{digest}</code>"
    body = [
        f"<h1>Runbook: {html.escape(script.title)}</h1>{mark}",
        f"<p>Root {script.root}. {known}</p>",
    ]
    for part in sections(script):
        body.append(f"<section><h2>{part.number}. {html.escape(part.title)}</h2>")
        for number, step in enumerate(part.steps, start=1):
            command = f"<pre>{html.escape(step.command)}</pre>" if step.command else ""
            if step.blanks:
                command += f"<p class=blanks>{' '.join([_BLANK] * step.blanks)}</p>"
            body.append(
                f"<div class=step><span class=box></span><span class=number>"
                f"{part.number}.{number}</span><div><b>{step.word}</b> "
                f"{html.escape(step.text)}{command}</div></div>"
            )
        body.append("</section>")
    return _PAGE.format(title=html.escape(script.title), body="\n".join(body))


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
.blanks {{ font: 14pt/2 monospace; margin: .3em 0 }}
pre {{ border: 1px solid #999; padding: .4em; margin: .3em 0 }}
</style>
<body>
{body}
</body></html>
"""
